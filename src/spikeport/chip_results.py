"""What a search in a chip's own arithmetic found, as data (chips.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spikeport.chip_trials import Versus
from spikeport.convert.conversion import Measured
from spikeport.snn.losses import Loss
from spikeport.snn.spiking import SpikingNetwork


@dataclass(frozen=True, kw_only=True)
class ChipPoint:
    """A candidate with one setting of the chip, on the search's trials. accuracy: the chip's; None where it `refused`,
    with the reason.  inverse_lambda: of method "calibrated" a mean over units, and `scale` times what it calibrated."""

    inverse_lambda: float
    scale: float
    choices: Mapping[str, str]
    accuracy: float | None
    float_accuracy: float
    mean_rate_hz: float
    refused: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.choices, "inverse_lambda": self.inverse_lambda, "scale": self.scale, "accuracy": self.accuracy,
            "float_accuracy": self.float_accuracy, "mean_rate_hz": self.mean_rate_hz, "refused": self.refused or None,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ChipRow:
    """The best of one setting of the chip, on fresh trials. by_rule: rule -> float and chip.  allowed: what it gave up.

    network: with this row in its provenance.
    """

    choices: Mapping[str, str]
    point: ChipPoint
    network: SpikingNetwork
    by_rule: Mapping[str, Versus]
    mean_rate_hz: float
    allowed: tuple[str, ...]
    losses: tuple[Loss, ...]

    def as_dict(self, rule: str) -> dict[str, Any]:
        found = {
            **self.choices, "inverse_lambda": self.point.inverse_lambda, "scale": self.point.scale,
            "mean_rate_hz": self.mean_rate_hz, **self.by_rule[rule].as_dict(),
        }  # fmt: skip
        return found | {
            "by_rule": {name: versus.as_dict() for name, versus in self.by_rule.items()},
            "allowed": list(self.allowed), "losses": [str(loss) for loss in self.losses],
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Unmet:
    """A setting of the chip for which there is no network, and why."""

    choices: Mapping[str, str]
    why: str

    def as_dict(self) -> dict[str, Any]:
        return {**self.choices, "why": self.why}

    def __str__(self) -> str:
        named = " ".join(f"{name} {value}" for name, value in self.choices.items())
        return f"{named}: {self.why}" if named else self.why


@dataclass(frozen=True, kw_only=True)
class ChipSearch:
    """points: everything tried.  rows: one for each setting of the chip, in their order, but for those `unmet`.

    rate: the rate network on the fresh trials.  losses: of the conversion, before the chip; each row has the chip's.
    """

    chip: str
    method: str
    task: str
    rule: str
    preset: str
    dt: float
    seed: int
    max_rate_hz: float | None
    search_trials: int
    trials: int
    rate: Mapping[str, Measured]
    points: tuple[ChipPoint, ...]
    rows: tuple[ChipRow, ...]
    unmet: tuple[Unmet, ...]
    losses: tuple[Loss, ...]
    warnings: tuple[str, ...]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """What `spikeport convert --for CHIP --json` prints."""
        rate = self.rate[self.rule]
        return {
            "chip": self.chip, "method": self.method, "task": self.task, "rule": self.rule, "preset": self.preset,
            "dt": self.dt, "seed": self.seed, "max_rate_hz": self.max_rate_hz, "search_trials": self.search_trials,
            "trials": self.trials, "rate_accuracy": rate.accuracy, "rate_interval": list(rate.interval),
            "rows": [row.as_dict(self.rule) for row in self.rows], "search": [p.as_dict() for p in self.points],
            "unmet": [u.as_dict() for u in self.unmet],
            "losses": [str(loss) for loss in self.losses], "warnings": list(self.warnings), "seconds": self.seconds,
        }  # fmt: skip
