"""Of kim2019.py: the table of its results, and what they say beside the paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from kim2019_conditions import (
    GRID,
    LOW_GRID,
    METHODS,
    NOISES,
    PAPER,
    PUBLISHED,
    SETS,
    SUCCESS,
    TEST_TRIALS,
    TRIALS,
    VARIANTS,
    Results,
    condition,
)
from scipy.stats import fisher_exact

from spikeport.snn.measures import wilson

PAPERS_NETWORKS = 100  # of each condition
CHANCE = 0.05  # of a difference at least as large between two samples of one kind
OVER = "its answer is not there"  # of the warning about a rate network that is right only before it is judged


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


def success(best: Sequence[float]) -> str:
    """How many accuracies are a success, and their mean in per cent."""
    return rate(sum(b >= SUCCESS for b in best), len(best)) + (f", mean {100 * np.mean(best):.1f}" if best else "")


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


def against(results: Results) -> str:
    """The section that compares two samples of networks, the paper's and ours; nothing before a condition has both."""
    lines, alike = [], dict[str, list[str]](published=[], strict=[])
    for name, (paper, _) in PAPER.items():
        if paper is None:
            continue
        high, low = (
            {x["seed"]: x["curve"] for x in results.find("conversion", condition=c, method="lambda")}
            for c in (name, name + "_low")
        )
        wider = {s: high[s] + low[s] for s in sorted(high.keys() & low.keys())}
        theirs = round(paper / 100 * PAPERS_NETWORKS)
        for grid, curves in ((GRID, high), (f"{GRID} and {LOW_GRID}", wider)):
            if curves:
                counts, p = zip(*(sampled([*curves.values()], column, theirs) for column in (1, 2)), strict=True)
                cells = [cell for count, one in zip(counts, p, strict=True) for cell in (count, f"{one:.2g}")]
                lines.append(f"| `{name}` | {grid} | {rate(theirs, PAPERS_NETWORKS)} | {' | '.join(cells)} |")
                for rule, one in zip(alike, p, strict=True):
                    alike[rule] += [f"`{name}`"] if grid == GRID and one >= CHANCE else []
    if not lines:
        return ""
    body = "\n".join(lines)
    said = ";\nby the ".join(f"{rule} rule for {', '.join(names) or 'none'}" for rule, names in alike.items())
    return f"""
## Two samples

The paper's figure is of {PAPERS_NETWORKS} networks, and has an interval of its own. p: of Fisher's exact test
(two-sided), how often two samples of one kind of network would differ by as much. Beside the published rule, which
looks at an output's maximum, the strict one, which looks at its mean: how much of a difference is the judge's.
Over {GRID} the samples differ by no more than chance (p of {CHANCE} and more) by the {said}.

| condition | 1/lambda | paper | ours, published rule | p | ours, strict rule | p |
| --- | --- | --- | --- | --- | --- | --- |
{body}
"""


def sampled(curves: Sequence[Sequence[Sequence[float | None]]], column: int, theirs: int) -> tuple[str, float]:
    """How many networks' best point of a search is a success, by the rule of that column, and p beside the paper's."""
    k, n = sum(max(point[column] or 0.0 for point in curve) >= SUCCESS for curve in curves), len(curves)
    return rate(k, n), float(fisher_exact([[k, n - k], [theirs, PAPERS_NETWORKS - theirs]]).pvalue)


def quieter(results: Results) -> str:
    """The section of the same networks searched with half the published noise; nothing where none was."""
    lines = []
    for name, (paper, _) in PAPER.items():
        full, low, half, half_low = (
            {x["seed"]: x["curve"] for x in results.find("conversion", condition=c, method="lambda")}
            for c in (name, f"{name}_low", f"{name}_noise05", f"{name}_noise05_low")
        )
        for grid, loud, quiet in (
            (GRID, full, half),
            (f"{GRID} and {LOW_GRID}", {s: full[s] + low[s] for s in full.keys() & low.keys()},
             {s: half[s] + half_low[s] for s in half.keys() & half_low.keys()}),
        ):  # fmt: skip
            seeds = sorted(loud.keys() & quiet.keys())
            if not seeds or paper is None:
                continue
            best = [[max(point[1] or 0.0 for point in curves[s]) for s in seeds] for curves in (loud, quiet)]
            k, theirs = sum(b >= SUCCESS for b in best[1]), round(paper / 100 * PAPERS_NETWORKS)
            p = fisher_exact([[k, len(seeds) - k], [theirs, PAPERS_NETWORKS - theirs]]).pvalue
            lines.append(f"| `{name}` | {grid} | {rate(theirs, PAPERS_NETWORKS)} | {success(best[0])} | "
                         f"{success(best[1])} | {p:.2g} |")  # fmt: skip
    if not lines:
        return ""
    body = "\n".join(lines)
    return f"""
## Half the noise

The published code adds noise of 0.1 mV a step to v, and so does the preset. The same networks and seeds searched with
0.05 mV, published rule, on the trials that chose 1/lambda; p beside the paper's networks, as above:

| condition | 1/lambda | paper | 0.1 mV | 0.05 mV | p |
| --- | --- | --- | --- | --- | --- |
{body}
"""


def failures(results: Results) -> str:
    """The section of the networks that calibration or training leaves below a success, each by its seed."""
    lines = []
    for x in sorted(results.find("conversion"), key=lambda x: (x["condition"], x["seed"], x["method"])):
        right = {rule: n / x["test_trials"] for rule, n in x["right"].items()}
        if x["method"] == "lambda" or right["published"] >= SUCCESS:
            continue
        if "refused" in x:
            said = ["-", "-", "-", "-", x["refused"].splitlines()[0]]
        else:
            over = any(OVER in warning for warning in x["warnings"])
            correlation = x.get("output_correlation")
            said = [
                f"{right['published']:.3f}", f"{right['strict']:.3f}", f"{x['mean_rate_hz']:.1f}",
                "-" if correlation is None else f"{correlation:.3f}",
                "its own answer is over before it is judged" if over else "",
            ]  # fmt: skip
        lines.append(f"| `{x['condition']}`, {x['method']} | {x['seed']} | {' | '.join(said)} |")
    if not lines:
        return ""
    body = "\n".join(lines)
    return f"""
## What calibration leaves below {SUCCESS}

Each network that a method other than `lambda` leaves below {SUCCESS} on {TEST_TRIALS:,} fresh trials (published rule).
Where the rate network's own outputs are wrong in the window in which spiking networks are judged, no spiking network
that does the same can be right.

| condition | seed | published | strict | spikes/s | output correlation | |
| --- | --- | --- | --- | --- | --- | --- |
{body}
"""


def stops(results: Results) -> str:
    """The section about where training stops: successes of the same seeds by their loss there, and trained further."""
    lines = []
    for name in ("gonogo_sigmoid_250", "gonogo_sigmoid_250_tau20", "gonogo_softplus_250"):
        loss = {x["seed"]: x["final_loss"] for x in results.find("training", network=name)}
        best = {x["seed"]: x["best"] for x in results.find("conversion", condition=name, method="lambda")}
        below, above = ([s for s in best if (loss[s] < 1.0) is low] for low in (True, False))
        cells = [success([best[s] for s in seeds]) for seeds in (below, above)]
        for variant in ("loss1", "trials3000", "trials5000"):
            longer = results.find("conversion", condition=f"{name}_{variant}", method="lambda")
            seeds = sorted(x["seed"] for x in longer if x["seed"] in best)
            after = success([x["best"] for x in longer if x["seed"] in best])
            cells.append(f"{after}; before {success([best[s] for s in seeds])}" if seeds else "-")
        if best:
            lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    if not any("before" in line for line in lines):
        return ""
    body = "\n".join(lines)
    told = [x["steps"] > 1500 for x in results.find("training") if x["network"].endswith("_loss1") and x["converged"]]
    loss1 = f": {sum(told)} of {len(told)} went on beyond 1,500 trials" if told else ""
    return f"""
## Where training stops

The published rule ends training at the first look (every 100 trials, at 100 fresh ones) with an accuracy above 95 % and
a mean loss below 7, from 1,500 trials on; {stopped(results)}.
Successes of the published transfer (best of {GRID}, on the trials that chose it) by the mean loss of the last 20 trials
of training, which is another draw than that of the look; and of the same seeds trained on until a look has a loss below
1 (`loss1`{loss1}), or for 3,000 or 5,000 trials
(`trials3000`, `trials5000`), beside what they were before, each with the mean accuracy of the networks. (Trained again,
in other batches, whose sums round otherwise: after 1,500 steps a seed is another network, of the same kind.)

| condition | loss below 1 | 1 or more | until the loss is below 1 | for 3,000 trials | for 5,000 trials |
| --- | --- | --- | --- | --- | --- |
{body}
"""


def stopped(results: Results) -> str:
    """How many of the published kind, N = 250, end training at 1,500 trials, and with which losses."""
    names = [name for name in PAPER if condition(name).network == name]
    done = [x for x in results.find("training") if x["network"] in names and x["converged"]]
    ends = [x["final_loss"] for x in done if x["steps"] == 1500]
    if not ends:
        return "none is here yet"
    return (
        f"{len(ends)} of these {len(done)} networks end at 1,500, with losses from {min(ends):.1f} to {max(ends):.1f}"
    )


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

{against(results)}{quieter(results)}{widened(results)}{stops(results)}{failures(results)}
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
