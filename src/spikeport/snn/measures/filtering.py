"""Filtered spikes: what a unit's spikes look like to those that read them, sampled as often as one likes.

    x[k] = D x[k-1] + jump z[k],   s = x_0   at steps `every`, 2 `every`, ...

the read-out's filter of the canonical step (reference.py), so lambda s is what stands for the rate r in the transfer.
Between samples nothing is stepped: a spike m steps before a sample adds D^m jump to it.
"""

from __future__ import annotations

import numpy as np

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.integrators import SynapseTable
from spikeport.snn.neurons import Array
from spikeport.snn.recording import SpikeTrains


def filtered(trains: SpikeTrains, table: SynapseTable, every: int) -> Array:
    """s at the end of steps every, 2 every, ...: (n_steps // every, batch, n).

    table: of the synapse, on the units of `trains` (n, states); every: steps from one sample to the next, at least 1.
    """
    n_steps, n_batch, n = trains.shape
    if every < 1:
        raise InvalidNetworkError(f"filtered spikes: a sample every {every} steps, must be 1 or more")
    states = table.jump.shape[1]
    decayed = np.empty((every, n, states))  # D^m jump
    decayed[0] = table.jump
    power = np.broadcast_to(np.eye(states), (n, states, states))
    for m in range(every):
        if m:
            decayed[m] = np.einsum("nij,nj->ni", table.D, decayed[m - 1])
        power = table.D @ power
    n_samples = n_steps // every
    s = np.empty((n_samples, n_batch, n))
    x = np.zeros((n_batch, n, states))
    ends = np.searchsorted(trains.step, np.arange(n_samples + 1) * every)
    for j in range(n_samples):
        x = np.einsum("nij,bnj->bni", power, x)
        rows = slice(ends[j], ends[j + 1])
        unit = trains.neuron[rows]
        before = (j + 1) * every - 1 - trains.step[rows]  # steps from the spike's to the sample's
        np.add.at(x, (trains.batch[rows], unit), decayed[before, unit] * trains.count[rows, None])
        s[j] = x[:, :, 0]
    return s
