"""How far apart the spike trains of two levels are, by distances.py: on one trial and some units, for time's sake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spikeport.snn.errors import MissingDependencyError
from spikeport.snn.measures import distances
from spikeport.snn.neurons import Array
from spikeport.snn.recording import Recording

UNITS = 40  # at most, evenly spread over those that fire: elephant takes some 10 ms for a pair of trains
TAU = 0.02  # s, of van Rossum's filter: the scale of the published networks' synapses
Q = 1 / TAU  # 1/s, of Victor and Purpura: moving a spike by tau costs as much as removing it

Pair = Callable[[Array, Array, float], float]
DISTANCES: dict[str, Pair] = {
    "van_rossum": lambda a, b, t: distances.van_rossum(a, b, tau=TAU, duration=t),
    "victor_purpura": lambda a, b, t: distances.victor_purpura(a, b, q=Q, duration=t),
    "isi_distance": lambda a, b, t: distances.isi_distance(a, b, duration=t),
    "spike_distance": lambda a, b, t: distances.spike_distance(a, b, duration=t),
}  # fmt: skip


def distances_of(a: Recording, b: Recording, population: str, trial: int = 0) -> dict[str, Any]:
    """Mean of each distance over the units looked at, of one trial; `missing` says how to get them where they are not.

    equal_units: of those, how many have the same train in both.
    """
    mine, theirs = (_times(recording, population)[trial] for recording in (a, b))
    firing = np.flatnonzero([len(x) + len(y) > 0 for x, y in zip(mine, theirs, strict=True)])
    units = firing[np.unique(np.linspace(0, firing.size - 1, min(UNITS, firing.size)).astype(int))]
    pairs = [(mine[u], theirs[u]) for u in units]
    equal = [np.array_equal(x, y) for x, y in pairs]
    said: dict[str, Any] = {
        "trials": 1, "units": len(pairs), "firing_units": int(firing.size), "equal_units": sum(equal), "tau_s": TAU,
        "q_per_s": Q, "missing": None,
    }  # fmt: skip
    duration = max(a.duration, b.duration)
    try:
        for name, distance in DISTANCES.items():
            found = [0.0 if same else distance(x, y, duration) for (x, y), same in zip(pairs, equal, strict=True)]
            said[name] = float(np.mean(found)) if found else None
    except MissingDependencyError as missing:
        said |= dict.fromkeys(DISTANCES) | {"missing": missing.hint}
    return said


def _times(recording: Recording, population: str) -> list[list[Array]]:
    """[trial][unit] -> spike times in s, at the end of their steps."""
    trains = recording.spikes[population]
    _, n_batch, n = trains.shape
    times: Array = (np.repeat(trains.step, trains.count).astype(np.float64) + 1) * recording.dt
    key = np.repeat(trains.batch.astype(np.int64) * n + trains.neuron, trains.count)
    order = np.argsort(key, kind="stable")
    parts: list[Array] = np.split(times[order], np.searchsorted(key[order], np.arange(1, n_batch * n)))
    return [parts[b * n : (b + 1) * n] for b in range(n_batch)]
