"""Of kim2019.py: what its results say beside the paper, a section each; "" where there is nothing to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from kim2019_conditions import (
    GRID,
    LOW_GRID,
    METHODS,
    PAPER,
    PUBLISHED,
    SUCCESS,
    TEST_TRIALS,
    Results,
    condition,
)
from scipy.stats import fisher_exact

from spikeport.snn.measures import wilson

Curve = Sequence[Sequence[float | None]]  # 1/lambda, accuracy by the published rule, by the strict one, spikes/s

PAPERS_NETWORKS = 100  # of each condition
CHANCE = 0.05  # of a difference at least as large between two samples of one kind
OVER = "its answer is not there"  # of the warning about a rate network that is right only before it is judged


def rate(k: int, n: int) -> str:
    """x of n with the 95 % Wilson interval, in per cent."""
    if n == 0:
        return "-"
    low, high = wilson(k, n, 0.95)
    return f"{k} of {n} [{100 * low:.0f}, {100 * high:.0f}]"


def success(best: Sequence[float]) -> str:
    """How many accuracies are a success, and their mean in per cent."""
    return rate(sum(b >= SUCCESS for b in best), len(best)) + (f", mean {100 * np.mean(best):.1f}" if best else "")


def curves_of(results: Results, name: str) -> dict[int, Curve]:
    """Of each network of a condition, by its seed, the curve of its search."""
    return {x["seed"]: x["curve"] for x in results.find("conversion", condition=name, method="lambda")}


def joined(high: dict[int, Curve], low: dict[int, Curve]) -> dict[int, Curve]:
    """The curves of the networks that were searched over both grids."""
    return {seed: [*high[seed], *low[seed]] for seed in sorted(high.keys() & low.keys())}


def wider(results: Results) -> list[str]:
    """Lines of a table: the networks of a condition that was searched over the low grid too, the better point of both.

    Each network's best accuracy on the 100 trials that chose it, by the published rule and by the strict one.
    """
    lines = []
    for name in dict.fromkeys(x["condition"] for x in results.find("conversion") if "_low" in x["condition"]):
        same = name.replace("_low", "")
        high, low = curves_of(results, same), curves_of(results, name)
        seeds = sorted(high.keys() & low.keys())
        if not seeds:
            continue
        cells = []
        for column in (1, 2):
            for curves in (high, joined(high, low)):
                best = [max(point[column] or 0.0 for point in curves[s]) for s in seeds]
                cells += [rate(sum(b >= SUCCESS for b in best), len(best)), f"{100 * np.mean(best):.1f}"]
        lines.append(f"| `{same}` | " + " | ".join(cells) + " |")
    return lines


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
        high, low = curves_of(results, name), curves_of(results, name + "_low")
        theirs = round(paper / 100 * PAPERS_NETWORKS)
        for grid, curves in ((GRID, high), (f"{GRID} and {LOW_GRID}", joined(high, low))):
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


def sampled(curves: Sequence[Curve], column: int, theirs: int) -> tuple[str, float]:
    """How many networks' best point of a search is a success, by the rule of that column, and p beside the paper's."""
    k, n = sum(max(point[column] or 0.0 for point in curve) >= SUCCESS for curve in curves), len(curves)
    return rate(k, n), float(fisher_exact([[k, n - k], [theirs, PAPERS_NETWORKS - theirs]]).pvalue)


def quieter(results: Results) -> str:
    """The section of the same networks searched with half the published noise; nothing where none was."""
    lines = []
    for name, (paper, _) in PAPER.items():
        full, low, half, half_low = (
            curves_of(results, name + extra) for extra in ("", "_low", "_noise05", "_noise05_low")
        )
        for grid, loud, quiet in (
            (GRID, full, half),
            (f"{GRID} and {LOW_GRID}", joined(full, low), joined(half, half_low)),
        ):
            seeds = sorted(loud.keys() & quiet.keys())
            if not seeds or paper is None:
                continue
            best = [[max(point[1] or 0.0 for point in curves[s]) for s in seeds] for curves in (loud, quiet)]
            theirs = round(paper / 100 * PAPERS_NETWORKS)
            _, p = sampled([quiet[s] for s in seeds], 1, theirs)
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


def untrained(results: Results) -> str:
    """The section of XOR, which a trial a gradient step does not teach; nothing before both trainings are here."""
    alone, ours = (results.find("training", network=f"xor_sigmoid_250{extra}") for extra in ("", "_ours"))
    if not (alone and ours):
        return ""
    learned = [sum(x["converged"] for x in found) for found in (alone, ours)]
    lost = [x["final_loss"] for x in alone if not x["converged"]]
    how = (
        f": their losses end at {min(lost):.1f} to {max(lost):.1f}, and 10 is that of an output at rest" if lost else ""
    )
    return f"""
## XOR

With one trial a gradient step {learned[0]} of {len(alone)} XOR networks learn within {PUBLISHED.max_steps:,}
trials{how}.
With batches of 16 and gradients clipped, as `spikeport train` does unless told otherwise (`ours`), {learned[1]} of
{len(ours)} do, and these are converted.
"""


def failures(results: Results) -> str:
    """The section of the networks that calibration or training leaves below a success, each by its seed."""
    found: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for x in results.find("conversion"):
        if x["method"] != "lambda":
            found.setdefault((x["condition"], x["seed"]), {})[x["method"]] = x
    below = {
        key: by for key, by in sorted(found.items())
        if any(x["right"]["published"] < SUCCESS * x["test_trials"] for x in by.values())
    }  # fmt: skip
    if not below:
        return ""
    methods = [m for m in METHODS if any(m in by for by in below.values())]
    lines, over = [], 0
    for (name, seed), by in below.items():
        gone = any(OVER in warning for x in by.values() for warning in x["warnings"])
        over += gone
        cells = [_accuracies(by[m]) if m in by else "-" for m in methods]
        lines.append(f"| `{name}` | {seed} | {' | '.join(cells)} | {'its own answer is over' if gone else ''} |")
    body = "\n".join([f"| condition | seed | {' | '.join(methods)} | |", "| --- " * (len(methods) + 3) + "|", *lines])
    return f"""
## What calibration leaves below {SUCCESS}

Each network that a method other than `lambda` leaves below {SUCCESS} on {TEST_TRIALS:,} fresh trials, published rule:
accuracy by that rule, by the strict one; spikes/s a unit; output correlation. Of these {len(below)} networks
{over} cannot be right: their own outputs are wrong in the window in which spiking networks are judged,
because the answer is over.

{body}
"""


def _accuracies(x: dict[str, Any]) -> str:
    if "refused" in x:
        return str(x["refused"].splitlines()[0])
    right = [f"{n / x['test_trials']:.3f}" for n in (x["right"]["published"], x["right"]["strict"])]
    correlation = x.get("output_correlation")
    return f"{', '.join(right)}; {x['mean_rate_hz']:.1f}; {'-' if correlation is None else f'{correlation:.3f}'}"


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
