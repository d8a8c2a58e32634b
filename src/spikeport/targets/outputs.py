"""feed.read_out compiled: outputs from spikes by the network's own read-outs, for targets that compute none.

    x[k] = D x[k-1] + jump z[k],    o[k] = weight x_0[k] + bias

The sum over units runs in ascending order; feed.read_out leaves its order to BLAS, so the last bits may differ.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spikeport.snn.compiling import cached
from spikeport.snn.neurons import Array
from spikeport.snn.recording import SpikeTrains
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.tables import readout_steps


def read_out_fast(network: SpikingNetwork, spikes: Mapping[str, SpikeTrains]) -> dict[str, Array]:
    """Read-out -> (time, batch, n_outputs)."""
    found: dict[str, Array] = {}
    for step in readout_steps(network):
        trains, weight = spikes[step.readout.source], np.ascontiguousarray(step.readout.weight.T)
        n_steps, n_batch, n = trains.shape
        # spikes trial by trial, each in order of time; only a state of one trial is in memory
        order = np.lexsort((trains.step, trains.batch))
        columns = [np.ascontiguousarray(column[order]) for column in (trains.step, trains.neuron, trains.count)]
        ends = np.searchsorted(trains.batch[order], np.arange(n_batch + 1))
        out: Array = np.empty((n_steps, n_batch, weight.shape[1]))
        x: Array = np.empty((n, step.table.D.shape[1]))
        _filter(step.table.D, step.table.jump, weight, step.readout.bias, *columns, ends, x, out)
        found[step.readout.name] = out
    return found


@cached
def _filter(D, jump, weight, bias, step, neuron, count, ends, x, out):  # type: ignore[no-untyped-def] # pragma: no cover (compiled)
    n, d = x.shape
    for b in range(out.shape[1]):
        x[:] = 0.0
        at = ends[b]
        for k in range(out.shape[0]):
            for i in range(n):
                for row in range(d):  # D is upper triangular: what a later row needs is not yet overwritten
                    new = 0.0
                    for column in range(row, d):
                        new += D[i, row, column] * x[i, column]
                    x[i, row] = new
            while at < ends[b + 1] and step[at] == k:
                for row in range(d):
                    x[neuron[at], row] += jump[neuron[at], row] * count[at]
                at += 1
            for o in range(out.shape[2]):
                out[k, b, o] = 0.0
            for i in range(n):
                for o in range(out.shape[2]):
                    out[k, b, o] += weight[i, o] * x[i, 0]
            for o in range(out.shape[2]):
                out[k, b, o] += bias[o]
