"""Coincidences of two spike trains within +-d steps, beyond what chance gives.

    Gamma = (N - <N>) / ((N_a + N_b) / 2 * (1 - 2 nu D))       <N> = 2 nu D N_a,  nu: rate of b,  D: half width

1: every spike has its partner; 0: as many as a Poisson train of the same rate would have.  Source: Kistler, Gerstner &
van Hemmen, Neural Computation 9 (1997), eq. 6; the window is 2 d + 1 steps wide, so 2 nu D is rate x (2 d + 1).
"""

from __future__ import annotations

import numpy as np

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.measures.scores import Scores, ratio
from spikeport.snn.neurons import Array
from spikeport.snn.recording import SpikeTrains


def coincident(a: SpikeTrains, b: SpikeTrains, d: int) -> Array:
    """(n,) how many spikes of each unit of `a` have a partner in `b` within d steps; each partner serves once."""
    if a.shape != b.shape:
        raise InvalidNetworkError(f"coincidence: shapes {a.shape} and {b.shape} differ")
    if d < 0:
        raise InvalidNetworkError(f"coincidence: window of {d} steps, must be 0 or more")
    found = np.zeros(a.shape[2])
    mine, theirs = _by_train(a), _by_train(b)
    for (batch, unit), steps in mine.items():
        others = theirs.get((batch, unit))
        if others is not None:
            found[unit] += _matched(steps, others, d)
    return found


def coincidence_factor(a: SpikeTrains, b: SpikeTrains, d: int) -> Scores:
    """Gamma of each unit, (n,), over all trials; two silent trains have none."""
    n_steps, n_batch, _ = a.shape
    total_a, total_b = (np.asarray(s.counts().sum(axis=0), dtype=np.float64) for s in (a, b))
    return factor_of_counts(coincident(a, b, d), total_a, total_b, d, n_steps * n_batch)


def factor_of_counts(both: Array, a: Array, b: Array, d: int, trial_steps: int) -> Scores:
    """Gamma from counts, (n,): coincidences, spikes of a and of b; trial_steps: steps of all trials."""
    chance = b / max(trial_steps, 1) * (2 * d + 1)
    below = (a + b) / 2 * (1 - chance)
    why = "it never fired in either, or fires so often that every step coincides"
    return ratio(both - chance * a, below, below > 0, why)


def _by_train(s: SpikeTrains) -> dict[tuple[int, int], Array]:
    """(batch, unit) -> steps in ascending order."""
    order = np.lexsort((s.step, s.neuron, s.batch))
    key = s.batch[order].astype(np.int64) * s.shape[2] + s.neuron[order]
    steps = np.repeat(s.step[order].astype(np.float64), s.count[order])
    key = np.repeat(key, s.count[order])
    names, starts = np.unique(key, return_index=True)
    return {divmod(int(k), s.shape[2]): part for k, part in zip(names, np.split(steps, starts[1:]), strict=False)}


def _matched(a: Array, b: Array, d: int) -> int:
    """The most pairs |a_i - b_j| <= d with no spike used twice: the earliest free partner first."""
    found, j = 0, 0
    for step in a:
        while j < b.size and b[j] < step - d:
            j += 1
        if j < b.size and b[j] <= step + d:
            found, j = found + 1, j + 1
    return found
