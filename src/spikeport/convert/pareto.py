"""Accuracy against spikes: a calibrated conversion for each of several budgets, on the same fresh trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikeport.convert.conversion import Conversion, convert_network
from spikeport.snn.errors import RefusedError, SpikeportError
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


@dataclass(frozen=True)
class Refused:
    """A budget that cannot be kept, and why."""

    max_rate_hz: float
    reason: RefusedError

    @property
    def warning(self) -> str:
        return f"budget {self.max_rate_hz:g}: {'; '.join((self.reason.what, *self.reason.problems))}"


class ParetoInterrupted(KeyboardInterrupt):
    """Ctrl-C during a comparison of budgets: `points` has the conversions that were finished."""

    def __init__(self, message: str, points: tuple[Conversion, ...]) -> None:
        super().__init__(message)
        self.points = points


def pareto(
    source: RateNetwork | str | Path, task: Task | str | Path, budgets: str | Sequence[float], *,
    refused: list[Refused] | None = None, **options: Any,
) -> list[Conversion]:  # fmt: skip
    """A conversion by method "calibrated" for each budget, ascending; options: of convert_network.

    A budget that cannot be kept is added to `refused`; RefusedError where there is no such list, or no budget can.
    Ctrl-C raises ParetoInterrupted, with what was finished.
    """
    values = parse_budgets(budgets)
    points: list[Conversion] = []
    for budget in values:
        try:
            points.append(convert_network(source, task, method="calibrated", max_rate=budget, **options))
        except RefusedError as reason:
            if refused is None or (budget == values[-1] and not points):
                raise
            refused.append(Refused(budget, reason))
        except KeyboardInterrupt:
            where = f"interrupted at budget {budget:g}, after {len(points)} of {len(values)} budgets"
            raise ParetoInterrupted(where, tuple(points)) from None
    return points


def compared(
    task: str, points: Sequence[Conversion], refused: Sequence[Refused] = (), *, interrupted: bool = False
) -> dict[str, Any]:
    """What `spikeport convert --pareto --json` prints; warnings: of all budgets, each with those that it is about."""
    rows = [p.as_dict() for p in points]
    budgets: dict[str, list[str]] = {}
    for row in rows:
        for warning in row["warnings"]:
            budgets.setdefault(warning, []).append(f"{row['max_rate_hz']:g}")
    warnings = [f"budget{'s' if len(of) > 1 else ''} {', '.join(of)}: {warning}" for warning, of in budgets.items()]
    warnings = [*(r.warning for r in refused), *warnings]
    return {"task": task, "points": rows, "warnings": warnings, "interrupted": interrupted}
