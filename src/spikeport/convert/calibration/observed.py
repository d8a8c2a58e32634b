"""The rate network on the calibration trials: what x takes, what r and o must be, and what these trials cannot show.

    o* = o without noise                          where the task's rule finds that as right as with the network's noise
    o* = mean of o over DRAWS of the noise        where without it clearly fewer trials are right

The second is for a network that was trained with its noise and needs it: max(x, 0) has a higher mean with noise in x
than without, so a ReLU network without its noise may hold an output where no rule takes it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.errors import UnsupportedError
from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork, simulate_rate
from spikeport.snn.tasks.base import Task, Trials, Verdict

SILENCE = 0.1  # quantile of r that becomes the baseline: of 0, 0.01 and 0.1 the best by far at few spikes
QUANTILES = 32
DRAWS = 8  # of the noise: what is left of it is a third, and ridge regression averages over trials too
STILL = 1e-6  # r that moves less over all trials and times does not move: far above rounding, far below a spike


@dataclass(frozen=True, kw_only=True, eq=False)
class Observed:
    """trials: the calibration trials.  x, r: (time, batch, N) with the network's own noise: what units really take.
    quiet_x, quiet_r: without noise: what the spiking network must follow.  outputs: (time, batch, n_outputs), o* of the
    module.  rule: of the task, None for its first.  alive: (N,) r moves."""

    task: Task
    rule: str | None
    trials: Trials
    x: Array
    r: Array
    quiet_x: Array
    quiet_r: Array
    outputs: Array
    alive: NDArray[np.bool_]
    warnings: tuple[str, ...]

    def right(self, outputs: Array) -> Verdict:
        """(batch,): which of the trials these outputs get right, in bins of the rate network's dt."""
        return _right(self.task, self.rule, self.trials, outputs)

    @functools.cached_property
    def baseline(self) -> Array:
        """(N,): the r that stands for silence, a low quantile of the unit's r; the mean of one that never moves."""
        low = np.quantile(self.r, SILENCE, axis=(0, 1))
        return np.asarray(np.where(self.alive, low, self.quiet_r.mean(axis=(0, 1))), dtype=np.float64)

    @functools.cached_property
    def peak(self) -> Array:
        """(N,): nearly the highest r of each unit: its 99.9 % quantile."""
        return np.asarray(np.quantile(self.r, 0.999, axis=(0, 1)), dtype=np.float64)

    @functools.cached_property
    def x_quantiles(self) -> Array:
        """(N, QUANTILES): evenly spaced quantiles of x."""
        levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
        return np.asarray(np.quantile(self.x, levels, axis=(0, 1)).T, dtype=np.float64)

    @property
    def x_range(self) -> tuple[Array, Array]:
        """(N,) each: the lowest and the highest x of each unit."""
        return self.x.min(axis=(0, 1)), self.x.max(axis=(0, 1))


def observe(
    source: RateNetwork, task: Task, *, seed: int, trials: int, first: int, rule: str | None = None
) -> Observed:
    """Run `source` on trials first .. first + trials - 1, with its noise and without; refuse what teaches nothing."""
    given = task.trials(trials, seed=seed, first=first)
    noisy = simulate_rate(source, given.inputs, seed=seed, first_trial=first, record_state=True)
    quiet = simulate_rate(source, given.inputs, seed=seed, first_trial=first, with_noise=False, record_state=True)
    assert noisy.x is not None
    assert noisy.r is not None
    assert quiet.x is not None
    assert quiet.r is not None
    if not all(np.isfinite(run).all() for run in (noisy.x, noisy.r, quiet.x, quiet.r)):
        raise UnsupportedError(
            "calibration: the rate network diverges",
            [f"x is infinite or NaN within the {trials} calibration trials, so there is nothing to match"],
            hint="spikeport inspect MODEL   and a smaller dt, or other weights",
        )
    r = np.concatenate([noisy.r, quiet.r], axis=1)
    alive = np.ptp(r, axis=(0, 1)) > STILL
    if not alive.any():
        raise UnsupportedError(
            "calibration: no unit's rate ever moves on the calibration trials, so there is nothing to match",
            [f"{source.n_neurons} units, {trials} trials of task '{task.name}'"],
            hint="trials with an input that drives the network, or --method lambda, which needs none",
        )
    outputs, why = _to_follow(source, task, rule, given, (noisy.outputs, quiet.outputs), seed)
    return Observed(
        task=task, rule=rule, trials=given, x=noisy.x, r=noisy.r, quiet_x=quiet.x, quiet_r=quiet.r, outputs=outputs,
        alive=alive, warnings=(*_warnings(given, alive, outputs), *why),
    )  # fmt: skip


def _to_follow(
    source: RateNetwork, task: Task, rule: str | None, trials: Trials, found: tuple[Array, Array], seed: int
) -> tuple[Array, list[str]]:
    """o* of the module, and a warning where it is the mean. found: outputs with noise and without.

    Clearly: the trials that only one of the two gets right differ by more than two standard deviations of a fair coin.
    """
    noisy, quiet = found
    with_noise, without = _right(task, rule, trials, noisy), _right(task, rule, trials, quiet)
    gained, lost = int((with_noise & ~without).sum()), int((without & ~with_noise).sum())
    if gained - lost <= 2 * np.sqrt(gained + lost):
        return quiet, []
    mean = noisy / DRAWS
    for k in range(1, DRAWS):
        again = simulate_rate(source, trials.inputs, seed=(seed + k) % 2**64, first_trial=trials.first)
        mean += again.outputs / DRAWS
    if int(_right(task, rule, trials, mean).sum()) <= int(without.sum()):
        return quiet, []
    n, by = trials.n_trials, rule or task.rules[0]
    return mean, [
        f"without its noise the rate network is right in {int(without.sum())} of {n} calibration trials by '{by}' in "
        f"the window of spiking networks, with it in {int(with_noise.sum())}: the read-out follows its mean outputs "
        f"over {DRAWS} draws of the noise"
    ]


def _right(task: Task, rule: str | None, trials: Trials, outputs: Array) -> Verdict:
    return task.judge(outputs, trials, dt=trials.dt, kind="spiking", rule=rule or task.rules[0])


def _warnings(given: Trials, alive: NDArray[np.bool_], outputs: Array) -> list[str]:
    found = []
    still = np.flatnonzero(np.ptp(given.inputs, axis=(0, 1)) == 0)
    if still.size:
        names = ", ".join(map(str, still))
        found.append(f"input channel {names} never changes on the calibration trials: what it does is not calibrated")
    dead = int((~alive).sum())
    if dead:
        found.append(
            f"{dead} of {alive.size} units have a rate that never moves on the calibration trials: after the random "
            "start of a trial they are silent here, their constant rate is a bias, and what would wake them is not "
            "calibrated"
        )
    flat = np.flatnonzero(np.ptp(outputs, axis=(0, 1)) <= STILL)
    if flat.size:
        found.append(f"output {', '.join(map(str, flat))} of the rate network never moves on the calibration trials")
    return found
