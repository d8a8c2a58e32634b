"""Accuracy against spikes: a calibrated conversion for each of several budgets, on the same fresh trials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spikeport.convert.conversion import Conversion, convert_network
from spikeport.snn.errors import SpikeportError
from spikeport.snn.rate import RateNetwork
from spikeport.snn.tasks import Task

MOST = 50  # budgets: more is a typing error, and would take hours


def parse_budgets(text: str | Sequence[float]) -> tuple[float, ...]:
    """ "A,B,C" or the numbers themselves, in spikes/s a unit; sorted, unique."""
    try:
        values = [float(v) for v in (text.split(",") if isinstance(text, str) else text)]
    except ValueError:
        values = []
    if not values or len(values) > MOST or not all(np.isfinite(v) and v > 0 for v in values):
        raise SpikeportError(
            f"budgets '{text}': must be 1 to {MOST} positive numbers, in spikes/s a unit", hint="--pareto 2,5,10,20"
        )
    return tuple(sorted(set(values)))


class ParetoInterrupted(KeyboardInterrupt):
    """Ctrl-C during a comparison of budgets: `points` has the conversions that were finished."""

    def __init__(self, message: str, points: tuple[Conversion, ...]) -> None:
        super().__init__(message)
        self.points = points


def pareto(
    source: RateNetwork | str | Path, task: Task | str | Path, budgets: str | Sequence[float], **options: Any
) -> list[Conversion]:
    """A conversion by method "calibrated" for each budget, ascending; options: of convert_network.

    Ctrl-C raises ParetoInterrupted, with what was finished.
    """
    values = parse_budgets(budgets)
    points: list[Conversion] = []
    for budget in values:
        try:
            points.append(convert_network(source, task, method="calibrated", max_rate=budget, **options))
        except KeyboardInterrupt:
            where = f"interrupted at budget {budget:g}, after {len(points)} of {len(values)} budgets"
            raise ParetoInterrupted(where, tuple(points)) from None
    return points


def compared(task: str, points: Sequence[Conversion], *, interrupted: bool = False) -> dict[str, Any]:
    """What `spikeport convert --pareto --json` prints; warnings: of all budgets, each with those that it is about."""
    rows = [p.as_dict() for p in points]
    budgets: dict[str, list[str]] = {}
    for row in rows:
        for warning in row["warnings"]:
            budgets.setdefault(warning, []).append(f"{row['max_rate_hz']:g}")
    warnings = [f"budget{'s' if len(of) > 1 else ''} {', '.join(of)}: {warning}" for warning, of in budgets.items()]
    return {"task": task, "points": rows, "warnings": warnings, "interrupted": interrupted}
