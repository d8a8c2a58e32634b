"""One trial of each label as it was: every spike of every level, the rate model's r, the inputs.

What is too much for a page is thinned by units, and the result says how many are left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spikeport.convert.validation.lists import rounded
from spikeport.snn.neurons import Array
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.tasks import Trials

LABELS = 3  # of which a trial is shown
UNITS = 300  # rows of a figure, at most
SPIKES = 90_000  # of all figures together, at most: 2 MB of page
BINS = 125  # columns of r, at most


@dataclass(frozen=True, kw_only=True)
class Shown:
    """order: the units in the figures' rows.  left_out: how many units are not among them."""

    order: tuple[int, ...]
    left_out: int
    trials: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, order: tuple[int, ...]) -> Shown:
        every = -(-len(order) // UNITS)
        return cls(order=order[::every], left_out=len(order) - len(order[::every]))

    def add(self, part: Trials, r: Array, rate_dt: float, runs: Mapping[str, tuple[Recording, str]]) -> Shown:
        """r: (samples, batch, n).  runs: level -> (its recording, the population of the units)."""
        trials = self.trials
        for b in range(part.n_trials if len(trials) < LABELS else 0):
            if len(trials) == LABELS or int(part.labels[b]) in (t["label"] for t in trials):
                continue
            most = SPIKES // (LABELS * len(runs))
            levels = {name: self._spikes(run.spikes[unit], run.dt, b, most) for name, (run, unit) in runs.items()}
            found = {
                "trial": part.first + b,
                "label": int(part.labels[b]),
                "inputs": rounded(part.inputs[:, b].T),
                "r": self._rates(r[:, b], rate_dt),
                "levels": levels,
            }
            trials += (found,)
        return replace(self, trials=trials)

    def as_dict(self) -> dict[str, Any]:
        """The key `shown` of the JSON."""
        trials = sorted(self.trials, key=lambda t: int(t["label"]))
        return {"order": list(self.order), "units_left_out": self.left_out, "trials": trials}

    def _rates(self, r: Array, dt: float) -> dict[str, Any]:
        """r (samples, n) in bins of time: a row for each unit of `order`."""
        per_bin = max(1, -(-len(r) // BINS))
        edges = np.arange(0, len(r), per_bin)
        sums = np.add.reduceat(r[:, list(self.order)], edges, axis=0)
        return {"dt": per_bin * dt, "values": rounded((sums / np.diff(edges, append=len(r))[:, None]).T, 3)}

    def _spikes(self, trains: SpikeTrains, dt: float, b: int, most: int) -> dict[str, Any]:
        """The spikes of trial b; `units`: of how many units, where there are too many spikes to show them all."""
        mine = trains.batch == b
        step, unit, count = trains.step[mine], trains.neuron[mine], trains.count[mine]
        rows = self.order
        shown = np.isin(unit, rows)
        while int(shown.sum()) > most and len(rows) > 1:
            rows = rows[::2]
            shown = np.isin(unit, rows)
        return {
            "spikes": int(count.sum()),
            "units": len(rows),
            "unit": unit[shown].tolist(),
            "time_s": np.round((step[shown] + 1.0) * dt, 5).tolist(),
        }
