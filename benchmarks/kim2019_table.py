"""Of kim2019.py: its conditions, its file of results, and the table that it makes of them."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from spikeport.convert.presets import Preset, get_preset
from spikeport.snn.errors import SpikeportError
from spikeport.snn.measures import wilson
from spikeport.snn.training import TrainingOptions
from spikeport.snn.writing import check_writable

GRID = "20:75:5"  # of 1/lambda; with TRIALS each, the published search (lambda_grid_search.m)
LOW_GRID = "4:20:2"  # below the published grid, where the best of it is its lower end
TRIALS, TEST_TRIALS = 100, 1000
SUCCESS = 0.95  # "task performance >= 95 %" of the paper
# The paper and the example in its code's README: a trial a gradient step, no clipping, no SOM units, tau 20 to 100 ms,
# 5,000 trials at most, a look at 100 fresh trials every 100 trials.
PUBLISHED = TrainingOptions(
    batch=1, clip_norm=1e9, n_som=0, tau_bounds=(0.020, 0.100), look_every=100, max_steps=5000, test_trials=TEST_TRIALS
)
OURS = TrainingOptions()  # the defaults of `spikeport train`
VARIANTS: dict[str, dict[str, Any]] = {  # of training, to find out which of its details decides
    "batch16": {"batch": 16, "look_every": 10, "max_steps": 1000},
    "clipped": {"clip_norm": 1.0},
    "quiet": {"rate_cost": 30.0},
    "pinh30": {"p_inh": 0.3},
    "trials3000": {"min_trials": 3000},
    "loss1": {"loss_below": 1.0},
    "ours": {n: getattr(OURS, n) for n in ("batch", "look_every", "max_steps", "clip_norm", "n_som", "tau_bounds")},
}
TASKS = {"gonogo": "go-nogo", "xor": "xor", "integration": "integration"}


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What is trained (`network`, the name of its files) and how it is converted."""

    name: str
    network: str
    task: str
    options: TrainingOptions
    preset: Preset
    grid: str


NOISES = (0.0, 1.0)  # mV a step: networks with two states, which one without noise enters at the wrong time, need some
AT_1_MS = {"method": "calibrated", "preset": "standard", "max_rate": 20.0, "dt": 1e-3, "noise": 0.0}
METHODS: dict[str, dict[str, Any]] = {  # name here -> arguments of convert_network in place of the published search's
    "lambda": {},
    "calibrated": {"method": "calibrated", "preset": "standard", "max_rate": 20.0},
    "calibrated_1ms": AT_1_MS,
    "calibrated_1ms_noise": AT_1_MS | {"noise": NOISES},
    "calibrated_100hz": AT_1_MS | {"max_rate": 100.0},
    "finetuned_1ms": AT_1_MS | {"method": "finetuned"},
}

PAPER: dict[str, tuple[float | None, float | None]] = {  # per cent of 100 networks: success, mean accuracy
    "gonogo_sigmoid_250": (94, 98.8),
    "gonogo_softplus_250": (55, 88.3),
    "gonogo_relu_250": (0, 59.7),
    "gonogo_sigmoid_250_tau20": (65, None),
}
SETS = {
    "headline": ["gonogo_sigmoid_250", "gonogo_softplus_250", "gonogo_relu_250"],
    "tau": ["gonogo_sigmoid_250_tau20"],
    "sizes": [f"gonogo_{phi}_{n}" for n in (100, 50, 10) for phi in ("sigmoid", "softplus", "relu")],
    "refractory": [f"gonogo_sigmoid_250_ref{ms}" for ms in (0, 1, 4, 6, 8, 10)],  # 2 ms is the headline's
    "tasks": ["integration_sigmoid_250", "xor_sigmoid_250"],
}


def condition(name: str) -> Condition:
    """TASK_PHI_N, then any of: tau20 (fixed), the VARIANTS of training; of the conversion refMS, bout and low."""
    task, phi, n, *extras = [*name.split("_"), *[""] * (3 - len(name.split("_")))]
    options, preset, grid, trained = PUBLISHED, get_preset("kim2019"), GRID, [task, phi, n]
    problems = [] if task in TASKS and n.isdigit() else [f"must begin with {'|'.join(TASKS)}_PHI_N"]
    for extra in extras:
        if extra.startswith("ref") and extra[3:].isdigit():
            t_ref = int(extra[3:]) / 1000  # published: also what every unit starts with, so ref0 follows it
            preset = replace(preset, t_ref=t_ref, ref0=round(t_ref / preset.dt))
            continue
        if extra == "bout":
            preset = replace(preset, keep_b_out=True)
            continue
        if extra == "low":
            grid = LOW_GRID
            continue
        trained.append(extra)
        if extra == "tau20":
            options = replace(options, tau_bounds=(0.020, 0.020))
        elif extra in VARIANTS:
            options = replace(options, **VARIANTS[extra])
        else:
            problems.append(f"'{extra}' is unknown, must be tau20, refMS, bout, low, {' or '.join(VARIANTS)}")
    if problems:
        raise SpikeportError(f"condition '{name}'", problems, hint=f"--conditions {','.join(SETS)} are sets")
    return Condition(
        name=name,
        network="_".join(trained),
        task=TASKS[task],
        options=replace(options, phi=phi, n_neurons=int(n)),
        preset=preset,
        grid=grid,
    )


def conditions_of(text: str) -> list[Condition]:
    names = list(SETS) if text == "all" else text.split(",")
    return [condition(n) for name in names for n in SETS.get(name, [name])]


# ---------------------------------------------------------------- the file of results


@dataclass
class Results:
    """A file of JSON lines, added to line by line. lines: what it holds; a line that was cut off is told and left."""

    path: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    broken: int = 0

    def __post_init__(self) -> None:
        if not self.path.exists():
            check_writable(self.path)
            return
        for text in self.path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                line = None
            if isinstance(line, dict) and "kind" in line:
                self.lines.append(line)
            else:
                self.broken += bool(text.strip())

    def find(self, kind: str, **keys: Any) -> list[dict[str, Any]]:
        return [x for x in self.lines if x["kind"] == kind and all(x.get(k) == v for k, v in keys.items())]

    def add(self, line: dict[str, Any]) -> None:
        """Write a line, whole and on the disk, before anything else is done."""
        cut = self.path.exists() and self.path.read_bytes()[-1:] not in (
            b"",
            b"\n",
        )  # a run that was killed as it wrote
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if cut else "") + json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.lines.append(line)


# ---------------------------------------------------------------- the table


def rate(k: int, n: int) -> str:
    """x of n with the 95 % Wilson interval, in per cent."""
    if n == 0:
        return "-"
    low, high = wilson(k, n, 0.95)
    return f"{k} of {n} [{100 * low:.0f}, {100 * high:.0f}]"


def rows(results: Results) -> list[list[str]]:
    found = []
    keys = dict.fromkeys((x["condition"], x["method"]) for x in results.find("conversion"))
    order = [name for names in SETS.values() for name in names]
    networks = dict.fromkeys(x["network"] for x in results.find("training"))
    keys |= dict.fromkeys((name, "lambda") for name in networks if not results.find("conversion", network=name))
    for name, method in sorted(keys, key=lambda k: (order.index(k[0]) if k[0] in order else len(order), k)):
        c, paper = condition(name), PAPER.get(name, (None, None))
        done = results.find("conversion", condition=name, method=method)
        trained = results.find("training", network=c.network)
        best = np.array([x["best"] for x in done if x["best"] is not None])
        correlations = [x.get("output_correlation") for x in done]
        fresh = {
            rule: np.array([x["right"][rule] / x["test_trials"] for x in done]) for rule in ("published", "strict")
        }
        kept = np.array(["refused" not in x for x in done], dtype=bool)
        mean = (lambda a: f"{100 * a.mean():.1f}") if kept.any() else (lambda a: "-")
        found.append(
            [
                f"`{name}`" + ("" if method == "lambda" else f", {method}"),
                f"{sum(x['converged'] for x in trained)} of {len(trained)}",
                "" if paper[0] is None else f"{paper[0]:g}",
                rate(int((best >= SUCCESS).sum()), len(best)),
                rate(int((fresh["published"] >= SUCCESS).sum()), len(done)),
                rate(int((fresh["strict"] >= SUCCESS).sum()), len(done)),
                "" if paper[1] is None else f"{paper[1]:g}",
                *(mean(a) if a.size else "" for a in (best, *(f[kept] for f in fresh.values()))),
                middle([x["inverse_lambda"] for x in done], "g") or "-",
                middle([x["mean_rate_hz"] for x in done], ".1f") or "-",
                middle(correlations),
            ]
        )
    return found


def middle(values: list[float | None], form: str = ".3f") -> str:
    """The median, and of how many where some were not measured (by an earlier version, or of an output at rest)."""
    known = [v for v in values if v is not None]
    if not known:
        return ""
    return f"{np.median(known):{form}}" + (f" ({len(known)} of {len(values)})" if len(known) < len(values) else "")


def wider(results: Results) -> list[str]:
    """Lines of a table: the networks of a condition that was searched over the low grid too, the better point of both.

    Each network's best accuracy on the 100 trials that chose it, by the published rule and by the strict one.
    """
    lines = []
    for name in dict.fromkeys(x["condition"] for x in results.find("conversion") if "_low" in x["condition"]):
        same = name.replace("_low", "")
        high, low = (
            {x["seed"]: x["curve"] for x in results.find("conversion", condition=c, method="lambda")}
            for c in (same, name)
        )
        seeds = sorted(high.keys() & low.keys())
        if not seeds:
            continue
        cells = []
        for column in (1, 2):
            for curves in (high, {s: high[s] + low[s] for s in seeds}):
                best = [max(point[column] or 0.0 for point in curves[s]) for s in seeds]
                cells += [rate(sum(b >= SUCCESS for b in best), len(best)), f"{100 * np.mean(best):.1f}"]
        lines.append(f"| `{same}` | " + " | ".join(cells) + " |")
    return lines


HEAD = [
    "condition", "trained", "paper: success, %", "as published", "1,000 fresh trials", "strict rule",
    "paper: mean, %", "mean, as published", "mean, fresh", "mean, strict", "1/lambda", "spikes/s", "output correlation",
]  # fmt: skip


def widened(results: Results) -> str:
    """The section about the grid's lower end; nothing where no condition was searched below it."""
    lines = wider(results)
    if not lines:
        return ""
    head = "| condition | " + " | ".join(
        f"{rule}, {grid}{what}"
        for rule in ("published", "strict")
        for grid in (GRID, "and " + LOW_GRID)
        for what in (": success", ": mean, %")
    )
    body = "\n".join([head + " |", "|" + " --- |" * 9, *lines])
    return f"""
## Where the published grid ends too early

The published code searches from 20 on, whatever the activation. Softplus networks are at their best below that, so the
lower end of the grid decides how many convert. The same networks, searched over {LOW_GRID} too, the better point of
both, on the 100 trials that chose it, by both rules:

{body}

{softplus_verdict(results)}
By the strict rule nearly all of them convert there: what is left is an output whose mean is right and that swings past
0.3 or falls short of 0.7. ReLU networks gain nothing: no 1/lambda bends a LIF unit's curve into a line.
"""


def softplus_verdict(results: Results) -> str:
    """Does the paper's figure lie in the interval of our softplus networks, over the published grid and the wider?"""
    name, (paper, _) = "gonogo_softplus_250", PAPER["gonogo_softplus_250"]
    high, low = (
        {x["seed"]: x["best"] for x in results.find("conversion", condition=c, method="lambda")}
        for c in (name, name + "_low")
    )
    assert paper is not None
    said = []
    for grid, best in (
        ("Over the published grid", list(high.values())),
        ("with the lower values", [max(high[s], low[s]) for s in sorted(high.keys() & low.keys())]),
    ):
        k, n = sum(b >= SUCCESS for b in best), len(best)
        inside = n > 0 and wilson(k, n, 0.95)[0] <= paper / 100 <= wilson(k, n, 0.95)[1]
        said.append(f"{grid} {rate(k, n)} softplus networks convert: the paper's {paper:g} % is "
                    f"{'inside' if inside else 'OUTSIDE'} that interval")  # fmt: skip
    return ";\n".join(said) + "."


def stops(results: Results) -> str:
    """The section about where training stops: successes of the same seeds by their loss there, and trained further."""
    lines = []
    for name in ("gonogo_sigmoid_250", "gonogo_sigmoid_250_tau20", "gonogo_softplus_250"):
        loss = {x["seed"]: x["final_loss"] for x in results.find("training", network=name)}
        best = {x["seed"]: x["best"] for x in results.find("conversion", condition=name, method="lambda")}
        below, above = ([s for s in best if (loss[s] < 1.0) is low] for low in (True, False))
        cells = [rate(sum(best[s] >= SUCCESS for s in seeds), len(seeds)) for seeds in (below, above)]
        for variant in ("loss1", "trials3000"):
            longer = results.find("conversion", condition=f"{name}_{variant}", method="lambda")
            seeds = sorted(x["seed"] for x in longer if x["seed"] in best)
            after = rate(sum(x["best"] >= SUCCESS for x in longer if x["seed"] in best), len(seeds))
            before = rate(sum(best[s] >= SUCCESS for s in seeds), len(seeds))
            cells.append(f"{after}, before {before}" if seeds else "-")
        if best:
            lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    if not any("before" in line for line in lines):
        return ""
    body = "\n".join(lines)
    return f"""
## Where training stops

The published rule ends training at the first look with an accuracy above 95 % and a mean loss below 7, from 1,500
trials on; nearly all networks end at 1,500, with losses from 0.6 to 6 there. Successes of the published transfer (best
of {GRID}, on the trials that chose it) by the loss at the stop; and of the same seeds trained on until a look has a
loss below 1 (`loss1`), or for 3,000 trials at least (`trials3000`), beside what they were before:

| condition | loss below 1 | 1 or more | until the loss is below 1 | for 3,000 trials |
| --- | --- | --- | --- | --- |
{body}
"""


def markdown(results: Results) -> str:
    lines = [HEAD, ["---"] * len(HEAD), *rows(results)]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    training, conversion = results.find("training"), results.find("conversion")
    seeds = sorted({x["seed"] for x in training})
    names = ",".join(dict.fromkeys(x["condition"] for x in conversion))
    methods = ",".join(m for m in METHODS if any(x["method"] == m for x in conversion)) or "lambda"
    made = sorted({", ".join(f"{k} {v}" for k, v in x["versions"].items()) for x in conversion})
    n = max(seeds, default=-1) + 1
    codes = Counter(x.get("code") for x in conversion)
    unnamed = codes.pop(None, 0)
    by_code = ", ".join(f"`{c}` {k}" for c, k in codes.most_common()) or "-"
    command = f"python benchmarks/kim2019.py --out docs/kim2019.jsonl --nets nets --networks {n}"
    variants = "; ".join(f"`{k}`: {', '.join(f'{a} {b}' for a, b in v.items())}" for k, v in VARIANTS.items())
    return f"""# The published experiment, repeated

Kim, Li & Sejnowski (PNAS 2019) trained 100 rate networks per condition, converted each by a search over 1/lambda from
20 to 75 in steps of 5 with 100 trials a value, and called an accuracy of 95 % or more a success. Here is the same, by
the preset `kim2019`, beside the paper's figures where it states them; and by calibration: `calibrated` at 0.05 ms with
the published noise, `calibrated_1ms` at 1 ms without any, both within 20 spikes/s a unit, `calibrated_100hz` as the
latter within 100, `calibrated_1ms_noise` with the noise chosen between {NOISES[0]:g} and {NOISES[1]:g} mV a step; and
`finetuned_1ms` is `calibrated_1ms` trained further.

{table}

- *trained*: networks that met the published stopping rule, of those begun. Only these are converted, and not all of
  them yet: the counts are out of those that are.
- *as published*: the accuracy of the best 1/lambda, on the same 100 trials that chose it; x of n with the 95 % Wilson
  interval in per cent. The best of twelve noisy values is too high, so beside it: the chosen network over 1,000 *fresh*
  trials, by the published rule and by the strict one (the mean output on the right side of half the target).
- 1/lambda and spikes/s per unit: medians over networks. *Output correlation*: between the outputs and the rate
  network's without its noise, over all samples of 100 fresh trials; median over networks, and over how many where
  not all have one (an earlier version did not measure it). A network that cannot keep the budget is no success, and in
  no mean.
- Calibration here has {TRIALS} trials; `spikeport convert` takes 30 unless told otherwise.

A condition's name is task, activation, N, then what differs: `tau20` (all tau fixed at 20 ms), `refMS` (refractory
period of the conversion), `bout` (the read-out's bias kept, which the published code drops), `low` (searched over
{LOW_GRID} instead), and of training {variants}.
Training is as published otherwise: one trial a gradient step, {PUBLISHED.max_steps} at most, Adam at
{PUBLISHED.learning_rate:g}, no clipping of gradients, no SOM units.

{widened(results)}{stops(results)}
## To repeat it

Seeds {min(seeds, default=0)} to {max(seeds, default=0)}, with {"; or ".join(made) or "nothing yet"}. Commands like
this one made it, with other conditions and numbers of networks; it goes on from the file and adds what a row lacks:

```sh
{command} \\
    --conditions {names} \\
    --methods {methods} --table docs/kim2019.md
```

A line of `kim2019.jsonl` names the code that made it (`code`, of the SHA-256 of what converts). Conversions by code:
{by_code}; {unnamed} are older than that, of several versions of the calibration.
"""
