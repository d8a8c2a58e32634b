"""What a user of `convert --for CHIP` should look at."""

from __future__ import annotations

from collections.abc import Sequence

from spikeport.chip_results import ChipPoint, ChipRow, Unmet
from spikeport.chip_trials import MARGIN
from spikeport.convert.calibration.bounds import Range


def slow(chip: str, dt: float, real_time: float) -> list[str]:
    """Is the step shorter than the one with which boards keep up? s, both."""
    if dt >= real_time * (1 - 1e-9):
        return []
    return [
        f"dt {dt * 1e3:g} ms: boards of {chip} keep up with real time at {real_time * 1e3:g} ms, at less perhaps not"
    ]


def warnings(
    rows: Sequence[ChipRow], unmet: Sequence[Unmet], points: Sequence[ChipPoint], rule: str, limit: float | None,
    scales: Sequence[float], bracket: Range | None,
) -> list[str]:  # fmt: skip
    """Of every row. limit: spikes/s a unit.  bracket: of 1/lambda, where it may have kept some of `scales` out."""
    found = [str(u) for u in unmet]
    for row in rows:
        named = " ".join(f"{name} {value}" for name, value in row.choices.items()) or "the chip"
        mine = [p for p in points if p.choices == row.choices]
        found += [f"{named}: {text}" for text in _end(row.point, mine, scales, bracket)]
        found += [f"{named}: 1/lambda {p.inverse_lambda:g} is refused: {p.refused}" for p in mine if p.refused]
        versus = row.by_rule[rule]
        if not versus.holds:
            low = f"{versus.interval[0]:+.3f} by its interval, beyond {-MARGIN:+.2f}"
            found.append(f"{named}: chip less float may be {low}; {versus.trials} trials")
        if row.mean_rate_hz == 0:
            found.append(f"{named}: the network is silent: no unit fired in any trial")
        if limit is not None and row.mean_rate_hz > limit:
            found.append(f"{named}: {row.mean_rate_hz:.4g} spikes/s a unit, above the budget of {limit:g}")
        right = {name: v.chip_right / v.trials for name, v in row.by_rule.items()}
        if max(right.values()) - min(right.values()) > 0.05:
            found.append(f"{named}: the rules disagree: " + ", ".join(f"{a:.3f} by {r}" for r, a in right.items()))
    return found


def _end(best: ChipPoint, tried: Sequence[ChipPoint], scales: Sequence[float], bracket: Range | None) -> list[str]:
    """Is the best at an end of what was tried, so that a better one may be beyond? And what made that the end?"""
    said = f"the best 1/lambda, {best.inverse_lambda:g}, is the end of what was tried"
    least, most = min(p.scale for p in tried), max(p.scale for p in tried)
    left = [s for s in scales if (best.scale == least and s < least) or (best.scale == most and s > most)]
    if bracket is not None and left:
        beyond = ", ".join(f"{s:g}" for s in left)
        return [
            f"{said}: the bracket {bracket[0]:g}:{bracket[1]:g} is that end, units would leave it at these times the "
            f"calibrated 1/lambda: {beyond}"
        ]
    values = [p.inverse_lambda for p in tried]
    return [said] if len(values) > 1 and best.inverse_lambda in (values[0], values[-1]) else []
