"""Outputs over time: mean and spread over the trials of each label, and a few single trials.

Sums over trials, for the first LABELS labels that come up: memory does not grow with the trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.convert.validation.lists import rounded
from spikeport.convert.validation.verdicts import Bools
from spikeport.snn.neurons import Array
from spikeport.snn.tasks import Trials

LABELS = 6  # labels whose outputs are kept
SINGLES = 6  # trials whose outputs are kept one by one, spread evenly over their labels


@dataclass(frozen=True, kw_only=True)
class Band:
    """Sums over n trials of a signal (samples, outputs), and of its square."""

    n: int
    total: Array
    squares: Array

    def mean(self) -> Array:
        return self.total / self.n

    def sd(self) -> Array:
        """Standard deviation over the trials (n of them, not n - 1: what was seen, not what is inferred)."""
        with np.errstate(invalid="ignore"):  # inf - inf of outputs that blew up: no number
            return np.asarray(np.sqrt(np.maximum(self.squares / self.n - self.mean() ** 2, 0.0)))


@dataclass(frozen=True, kw_only=True)
class Traces:
    """bands: label -> level (or "target") -> its sums.  seen: label -> trials.  singles: of the first trials."""

    dt: float
    bands: Mapping[int, Mapping[str, Band]] = field(default_factory=dict)
    seen: Mapping[int, int] = field(default_factory=dict)
    singles: tuple[dict[str, Any], ...] = ()

    def add(self, outputs: Mapping[str, Array], right: Mapping[str, Bools], part: Trials) -> Traces:
        """outputs: level -> (samples, batch, n_outputs), a sample per dt.  right: level -> (batch,)."""
        bands, seen = dict(self.bands), dict(self.seen)
        for label in map(int, dict.fromkeys(part.labels.tolist())):
            chosen = part.labels == label
            seen[label] = seen.get(label, 0) + int(chosen.sum())
            if label in bands or len(bands) < LABELS:
                signals = {**outputs, "target": part.targets}
                bands[label] = {
                    name: _added(bands.get(label, {}).get(name), signal[:, chosen]) for name, signal in signals.items()
                }
        singles = self.singles
        for b in range(part.n_trials if len(singles) < SINGLES else 0):
            label = int(part.labels[b])
            mine = sum(s["label"] == label for s in singles)
            if label in bands and mine < 2 and len(singles) < SINGLES:
                singles += (_single(outputs, right, part, b),)
        return Traces(dt=self.dt, bands=bands, seen=seen, singles=singles)

    def as_dict(self) -> dict[str, Any]:
        """The key `traces` of the JSON; sample j is at (j + 1) dt, signals are [output][sample]."""
        return {
            "dt": self.dt,
            "labels": [self._label(label) for label in sorted(self.bands)],
            "labels_left_out": len(self.seen) - len(self.bands),
            "single": list(self.singles),
        }

    def _label(self, label: int) -> dict[str, Any]:
        bands = self.bands[label]
        target = bands["target"]
        return {
            "label": label,
            "trials": self.seen[label],
            "target": rounded(target.mean().T),
            "target_varies": bool(np.nan_to_num(target.sd()).max() > 1e-6),
            "levels": {
                name: {"mean": rounded(band.mean().T), "sd": rounded(band.sd().T)}
                for name, band in bands.items() if name != "target"
            },
        }  # fmt: skip


def _added(band: Band | None, signal: NDArray[np.floating]) -> Band:
    """`band` with more trials, signal (samples, trials, outputs)."""
    with np.errstate(invalid="ignore", over="ignore"):  # outputs that blew up
        n, total, squares = signal.shape[1], signal.sum(axis=1), (signal**2).sum(axis=1)
        if band is not None:
            n, total, squares = n + band.n, total + band.total, squares + band.squares
    return Band(n=n, total=total, squares=squares)


def _single(outputs: Mapping[str, Array], right: Mapping[str, Bools], part: Trials, b: int) -> dict[str, Any]:
    return {
        "trial": part.first + b,
        "label": int(part.labels[b]),
        "levels": {
            name: {"outputs": rounded(signal[:, b].T), "right": bool(right[name][b])}
            for name, signal in outputs.items()
        },
    }  # fmt: skip
