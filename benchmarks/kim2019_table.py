"""Of kim2019.py: the page of its results, with the table."""

from __future__ import annotations

from collections import Counter

import numpy as np
from kim2019_conditions import (
    LOW_GRID,
    METHODS,
    NOISES,
    PAPER,
    PUBLISHED,
    SETS,
    SUCCESS,
    TRIALS,
    VARIANTS,
    Results,
    condition,
)
from kim2019_sections import against, failures, quieter, rate, stops, untrained, widened


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
        best = np.array([x["best"] for x in done if x.get("best") is not None])
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


HEAD = [
    "condition", "trained", "paper: success, %", "as published", "1,000 fresh trials", "strict rule",
    "paper: mean, %", "mean, as published", "mean, fresh", "mean, strict", "1/lambda", "spikes/s", "output correlation",
]  # fmt: skip


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
period of the conversion), `noiseNN` (NN hundredths of a mV a step; published: 10), `bout` (the read-out's bias kept,
which the published code drops), `low` (searched over {LOW_GRID} instead), and of training {variants}.
Training is as published otherwise: one trial a gradient step, {PUBLISHED.max_steps} at most, Adam at
{PUBLISHED.learning_rate:g}, no clipping of gradients, no SOM units.

{against(results)}{quieter(results)}{widened(results)}{stops(results)}{untrained(results)}{failures(results)}
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
