"""Distances between spike trains, by elephant and PySpike (extra `measures`): one place for their units and edge cases.

    victor_purpura   the cheapest way from one train to the other: 1 to add or remove a spike, q |t - t'| to move
    van_rossum       D^2 = 1/tau integral (f - g)^2, f, g the trains through exp(-t/tau): sqrt(1/2) for a spike more
    isi, spike       PySpike's ISI- and SPIKE-distance, 0 to 1, of the times in [0, duration]

Sources: Victor & Purpura, J. Neurophysiol. 76 (1996); van Rossum, Neural Computation 13 (2001); Kreuz et al., J.
Neurosci. Methods 165 (2007) and J. Neurophysiol. 109 (2013).
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np

from spikeport.snn.errors import MissingDependencyError
from spikeport.snn.neurons import Array


def victor_purpura(a: Array, b: Array, *, q: float, duration: float) -> float:
    """Victor-Purpura distance of two trains of times in s; q: cost of moving a spike, 1/s."""
    elephant, quantities, neo = _elephant()
    trains = [neo.SpikeTrain(np.asarray(t) * quantities.s, t_stop=duration * quantities.s) for t in (a, b)]
    found = elephant.victor_purpura_distance(trains, q * quantities.Hz, sort=False)
    return float(found[0, 1])


def van_rossum(a: Array, b: Array, *, tau: float, duration: float) -> float:
    """Van Rossum distance of two trains of times in s; tau: s. Two silent trains have 0."""
    elephant, quantities, neo = _elephant()
    if len(a) == 0 and len(b) == 0:
        return 0.0
    trains = [neo.SpikeTrain(np.asarray(t) * quantities.s, t_stop=duration * quantities.s) for t in (a, b)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*very small negative values")  # of equal trains: it sets them to 0
        found = elephant.van_rossum_distance(trains, tau * quantities.s, sort=False)
    return float(found[0, 1] / np.sqrt(2))  # elephant's is normalised to 1 for one spike more


def isi_distance(a: Array, b: Array, *, duration: float) -> float:
    """ISI-distance of two trains of times in s: 0 where all intervals agree. Two silent trains have 0."""
    return _pyspike("isi_distance", a, b, duration)


def spike_distance(a: Array, b: Array, *, duration: float) -> float:
    """SPIKE-distance of two trains of times in s: 0 where all spikes coincide. Two silent trains have 0."""
    return _pyspike("spike_distance", a, b, duration)


def _pyspike(name: str, a: Array, b: Array, duration: float) -> float:
    if len(a) == 0 and len(b) == 0:
        return 0.0
    pyspike = _need("pyspike")
    trains = [pyspike.SpikeTrain(np.asarray(t, dtype=np.float64), [0.0, duration]) for t in (a, b)]
    return float(getattr(pyspike, name)(*trains))


def _elephant() -> tuple[Any, Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies at import; no result of ours depends on them
        return _need("elephant.spike_train_dissimilarity"), _need("quantities"), _need("neo")


def _need(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingDependencyError.for_extra(module.split(".")[0], "measures", "this distance") from None
