"""Trials of a spiking network, judged: the unit of work of the search, on any joblib backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.engine import Engine
from spikeport.snn.rate import RateNetwork, simulate_rate
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks.base import Array, Task, Trials


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some trials of some candidates, the first of them trial `first`.

    right: rule -> (candidates, trials) bool.  spikes: (candidates, trials) over all units.  distance: (candidates,
    trials) squared distance to the rate outputs, mean over time and outputs; NaN where it was not asked for.
    """

    first: int
    right: dict[str, NDArray[np.bool_]]
    spikes: NDArray[np.int64]
    distance: Array


def evaluate(
    networks: Sequence[SpikingNetwork],
    task: Task,
    *,
    seed: int,
    first: int,
    n: int,
    dtype: str,
    source: RateNetwork | None = None,
) -> Part:
    """Trials first .. first + n - 1 of every candidate, on one thread. source: measure the distance to its outputs."""
    trials = task.trials(n, seed=seed, first=first)
    engine = Engine(networks, dtype=dtype)
    state = engine.start(n, seed=seed, first_trial=first)
    run = engine.run(state, trials.inputs)
    outputs = [run.outputs[:, c].transpose(2, 0, 1) for c in range(len(networks))]
    dt = networks[0].dt
    right = {
        rule: np.stack([task.judge(o, trials, dt=dt, kind="spiking", rule=rule) for o in outputs])
        for rule in task.rules
    }
    distance: Array = np.full((len(networks), n), np.nan)
    if source is not None:
        wanted = rate_outputs(source, trials, seed)
        found = np.stack([squared_distance(o, dt, wanted, source.dt) for o in outputs])
        distance = np.where(np.isnan(found), np.inf, found)  # outputs that blew up are not unmeasured, but far away
    return Part(first=first, right=right, spikes=run.counts.sum(axis=2).T, distance=distance)


def rate_outputs(source: RateNetwork, trials: Trials, seed: int) -> Array:
    """(time, trials, n_outputs): what the rate network answers, without its noise: the target of the distance.

    One trial at a time: a matrix product rounds in another order in another batch, and the answer must not depend
    on that.
    """
    alone = [
        simulate_rate(source, trials.inputs[:, b : b + 1], seed=seed, first_trial=trials.first + b, with_noise=False)
        for b in range(trials.n_trials)
    ]
    return np.concatenate([run.outputs for run in alone], axis=1)


def squared_distance(outputs: NDArray[np.floating], dt: float, wanted: Array, wanted_dt: float) -> Array:
    """(trials,): mean over time and outputs of (o - wanted)^2, o averaged over each sample of `wanted`."""
    n = wanted.shape[0]
    edges = np.minimum(np.floor(np.arange(n + 1) * wanted_dt / dt + 0.5).astype(np.int64), outputs.shape[0])
    sums = np.add.reduceat(outputs.astype(np.float64), edges[:-1], axis=0)
    mean = sums / np.diff(edges)[:, None, None]
    squared = np.ascontiguousarray(((mean - wanted) ** 2).transpose(1, 0, 2)).reshape(mean.shape[1], -1)
    return np.array([row.mean() for row in squared])  # row by row: the same order of summation in any batch
