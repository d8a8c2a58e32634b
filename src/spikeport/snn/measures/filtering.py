"""Filtered spikes: what a unit's spikes look like to those that read them, sampled as often as one likes.

    x[k] = D x[k-1] + jump z[k],   s = x_0   at the end of the steps that one asks for

the read-out's filter of the canonical step (reference.py), so lambda s is what stands for the rate r in the transfer.
Between samples nothing is stepped: a spike m steps before a sample adds D^m jump to it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.integrators import SynapseTable
from spikeport.snn.neurons import Array
from spikeport.snn.recording import SpikeTrains


def sample_ends(n_steps: int, dt: float, sample_dt: float) -> NDArray[np.int64]:
    """The last step (1, 2, ...) of each sample of sample_dt s that n_steps steps of dt s hold: floor(j ratio + 1/2).

    ratio = sample_dt / dt, at least 1; where it is no whole number, samples are a step longer or shorter.
    """
    ratio = sample_dt / dt
    if ratio < 1 - 1e-9:
        raise InvalidNetworkError(f"samples: one every {sample_dt:g} s, must be at least a step of {dt:g} s")
    ends = np.floor(np.arange(1, int(n_steps / ratio + 1) + 1) * ratio + 0.5 + 1e-9).astype(np.int64)
    return np.asarray(ends[ends <= n_steps])


def filtered(trains: SpikeTrains, table: SynapseTable, ends: NDArray[np.int64]) -> Array:
    """s at the end of steps `ends` (1, 2, ..., ascending): (samples, batch, n).

    table: of the synapse, on the units of `trains` (n, states).
    """
    n_steps, n_batch, n = trains.shape
    gaps = np.diff(np.concatenate([[0], ends]))
    if ends.size and (gaps.min() < 1 or ends[-1] > n_steps):
        raise InvalidNetworkError(f"filtered spikes: samples at steps {ends}, must ascend from 1 to at most {n_steps}")
    states = table.jump.shape[1]
    longest = int(gaps.max(initial=0))
    decayed = np.empty((longest, n, states))  # D^m jump
    decayed[:1] = table.jump
    power = np.broadcast_to(np.eye(states), (n, states, states))
    powers = {}  # D^gap
    for m in range(longest):
        if m:
            decayed[m] = np.einsum("nij,nj->ni", table.D, decayed[m - 1])
        power = table.D @ power
        powers[m + 1] = power
    s = np.empty((ends.size, n_batch, n))
    x = np.zeros((n_batch, n, states))
    edges = np.searchsorted(trains.step, np.concatenate([[0], ends]))
    for j, end in enumerate(ends):
        x = np.einsum("nij,bnj->bni", powers[int(gaps[j])], x)
        rows = slice(edges[j], edges[j + 1])
        unit = trains.neuron[rows]
        before = end - 1 - trains.step[rows]  # steps from the spike's to the sample's
        np.add.at(x, (trains.batch[rows], unit), decayed[before, unit] * trains.count[rows, None])
        s[j] = x[:, :, 0]
    return s
