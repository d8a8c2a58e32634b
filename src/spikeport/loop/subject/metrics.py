"""How well the cursor was controlled, each figure with a 95 % interval.

    success      trials that ended in a hold, of all                                       Wilson's interval
    time         s from the target's appearance to the entry that led to the hold          successes only
    efficiency   straight way from begin to entry / way travelled, at most 1               successes only
    throughput   ID / time, ID = log2(D / W + 1) bits, W = 2 radius                        successes only
    bit rate     log2(N - 1) max(S - F, 0) / t, bits/s                                     all trials

Throughput: Fitts' law in the form of ISO 9241-9, see MacKenzie & Buxton, CHI 1992; D: distance, N: targets.
Bit rate: the achieved bit rate of Nuyujukian et al., IEEE Trans. Biomed. Eng. 62(1), 2015, with S successes, t the time
of all trials (holds included, pauses not); a trial that ran out of time is counted as their wrong selection, F.
The intervals but the first are percentile bootstraps over trials (Efron, Ann. Stat. 7, 1979), which takes trials as
independent; they say nothing of other subjects or other decoders from the same training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikeport.loop.packets import Array
from spikeport.loop.subject.centre_out import CentreOut, Trial
from spikeport.snn.errors import SpikeportError
from spikeport.snn.measures.intervals import wilson

RESAMPLES = 2000


@dataclass(frozen=True)
class Figure:
    """A value and its 95 % interval; nan where no trial can say."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of some trials; see the module."""

    trials: int
    successes: int
    success: Figure
    time: Figure
    efficiency: Figure
    throughput: Figure
    bit_rate: Figure

    @classmethod
    def of(cls, trials: Sequence[Trial], task: CentreOut, *, seed: int = 0) -> Figures:
        """seed: of the bootstrap."""
        if not trials:
            raise SpikeportError("figures: no trial has ended", hint="a longer run")
        good = [trial for trial in trials if trial.success]
        bits = np.log2(task.distance / (2 * task.radius) + 1)
        reached = np.array([trial.reached for trial in good])
        efficiency = np.array([trial.straight / trial.path for trial in good])
        every = np.array([[1.0 if trial.success else -1.0, trial.duration] for trial in trials])
        choice = np.log2(task.n_targets - 1)

        def rate(rows: Array) -> Array:
            sums = rows.sum(axis=-2)
            return np.asarray(choice * np.maximum(sums[..., 0], 0.0) / sums[..., 1])

        low, high = wilson(len(good), len(trials))
        return cls(
            trials=len(trials),
            successes=len(good),
            success=Figure(len(good) / len(trials), low, high),
            time=_mean(reached, seed),
            efficiency=_mean(efficiency, seed),
            throughput=_mean(bits / reached, seed),
            bit_rate=bootstrap(every, rate, seed=seed),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers; NaN becomes None, as JSON has none."""
        found: dict[str, Any] = {"trials": self.trials, "successes": self.successes}
        for name in ("success", "time", "efficiency", "throughput", "bit_rate"):
            figure = getattr(self, name)
            found[name] = [None if np.isnan(v) else float(v) for v in (figure.value, figure.low, figure.high)]
        return found


def bootstrap(rows: Array, statistic: Callable[[Array], Array], *, seed: int, resamples: int = RESAMPLES) -> Figure:
    """The statistic of rows (n, ...) and its interval. statistic: of (..., n, k) over its last but one axis."""
    if len(rows) == 0:
        nothing = float("nan")
        return Figure(nothing, nothing, nothing)
    drawn = np.random.default_rng(seed).integers(0, len(rows), (resamples, len(rows)))
    low, high = np.quantile(statistic(rows[drawn]), [0.025, 0.975])
    return Figure(float(statistic(rows)), float(low), float(high))


def _mean(values: Array, seed: int) -> Figure:
    return bootstrap(values[:, None], lambda rows: np.asarray(rows[..., 0].mean(axis=-1)), seed=seed)
