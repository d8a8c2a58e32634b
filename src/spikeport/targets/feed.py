"""What a target's run is given, step by step: held values, given spikes, noise, initial v; and outputs from spikes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeport.snn import noise
from spikeport.snn.drive import Drive, Inputs, initial_v, noise_key, resolve
from spikeport.snn.errors import SpikeportError
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.recording import SpikeTrains
from spikeport.snn.spiking import HeldInput, SpikingNetwork, sample_index
from spikeport.targets.base import Lowering, RunOptions
from spikeport.targets.tables import readout_steps


@dataclass(frozen=True, kw_only=True)
class Feed:
    """The inputs of one run, checked against the source network and given in the units of the lowered one.
    Where the lowering gave up noise or v0, there is none.

    v0: population -> (batch, n).  Everything else is asked for in blocks of steps, rows k0 .. k1 - 1 (0-based; row j is
    step j + 1), so that a long run needs little memory.
    """

    lowering: Lowering
    drive: Drive
    options: RunOptions
    v0: Mapping[str, Array]

    @property
    def n_steps(self) -> int:
        return self.drive.n_steps

    @property
    def n_batch(self) -> int:
        return self.drive.n_batch

    def samples(self, name: str, k0: int, k1: int) -> NDArray[np.int64]:
        """(k1 - k0,): which sample of held input `name` each step sees."""
        port = next(i for i in self.lowering.source.held_inputs if i.name == name)
        n = self.drive.held[name].shape[0]
        return np.asarray(sample_index(np.arange(k0 + 1, k1 + 1), self.lowering.source.dt, port, n))

    def held(self, name: str, k0: int, k1: int) -> Array:
        """(k1 - k0, batch, n): the values of a held input that each step sees."""
        return np.asarray(self.drive.held[name][self.samples(name, k0, k1)])

    def spikes(self, name: str, k0: int, k1: int) -> Array:
        """(k1 - k0, batch, n): counts of a spike input; 0 after its end."""
        trains = self.drive.spikes[name]
        dense = np.zeros((k1 - k0, *trains.shape[1:]))
        rows = slice(*np.searchsorted(trains.step, (k0, k1)))
        np.add.at(dense, (trains.step[rows] - k0, trains.batch[rows], trains.neuron[rows]), trains.count[rows])
        return dense

    def inputs(self, k0: int, k1: int) -> dict[str, Array]:
        """Every input of the source network, held or spikes, by name."""
        ports = self.lowering.source.inputs
        return {i.name: (self.held if isinstance(i, HeldInput) else self.spikes)(i.name, k0, k1) for i in ports}

    def noisy(self, population: str) -> bool:
        """Is any noise added to this population?"""
        if population in (self.options.noise_values or {}):
            return True
        p = self.lowering.network.population(population)
        return self.options.with_noise and bool(np.any(np.asarray(p.noise_sd) > 0))

    def noise(self, population: str, k0: int, k1: int) -> Array:
        """(k1 - k0, batch, n): what noise adds to v in each step; the same numbers as in the reference."""
        given = (self.options.noise_values or {}).get(population)
        network = self.lowering.network
        p = network.population(population)
        if given is not None:
            return self.lowering.forward_noise(population, np.asarray(given[k0:k1], dtype=np.float64))
        added = np.zeros((k1 - k0, self.n_batch, p.n))
        if not self.noisy(population):
            return added
        key, units = noise_key(network, p)
        tag, scale = (noise.STREAMS["membrane"] << 16) | key, per_unit(p.noise_sd, p.n) / noise.NORMAL_SD
        block, scratch = np.empty((k1 - k0, p.n)), np.empty((noise.WORDS, p.n), dtype=np.uint32)
        for b in range(self.n_batch):
            trial = self.options.first_trial + b
            noise.fill_normal(block, k1 - k0, scratch, units, 0, p.n, tag, trial, k0, np.uint64(self.options.seed))
            added[:, b] = block * scale
        return added


def feed(lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Feed:
    """Check a run's inputs and options against the source network."""
    source, network = lowering.source, lowering.network
    drive = resolve(source, inputs, options.n_steps, options.n_batch)
    for name, values in (options.noise_values or {}).items():
        shape = (drive.n_steps, drive.n_batch, source.population(name).n)
        if np.shape(values) != shape:
            raise SpikeportError(f"noise_values of {name}: shape {np.shape(values)}, must be {shape}")
    noise.check_key(seed=options.seed, trial=options.first_trial + drive.n_batch - 1)
    v0 = {}
    for p in network.populations:
        given = initial_v(network, p, drive.n_batch, options.seed, options.first_trial, options.v0)
        v0[p.name] = lowering.forward_v(p.name, given) if p.name in (options.v0 or {}) else given
    return Feed(lowering=lowering, drive=drive, options=options, v0=v0)


def read_out(network: SpikingNetwork, spikes: Mapping[str, SpikeTrains]) -> dict[str, Array]:
    """Outputs (time, batch, n_outputs) from spikes, by the network's own read-outs: for targets that have none."""
    found: dict[str, Array] = {}
    for step in readout_steps(network):
        readout, D, jump = step.readout, step.table.D, step.table.jump
        trains = spikes[readout.source]
        n_steps, n_batch, n = trains.shape
        x: Array = np.zeros((n_batch, n, D.shape[1]))
        out: Array = np.empty((n_steps, n_batch, readout.weight.shape[0]))
        ends = np.searchsorted(trains.step, np.arange(n_steps + 1))
        for k in range(n_steps):
            new = D[:, :, 0] * x[:, :, :1]
            for j in range(1, D.shape[2]):
                new += D[:, :, j] * x[:, :, j, None]
            x = new
            rows = slice(ends[k], ends[k + 1])
            b, unit = trains.batch[rows], trains.neuron[rows]
            x[b, unit] += jump[unit] * trains.count[rows, None]
            out[k] = x[:, :, 0] @ readout.weight.T + readout.bias
        found[readout.name] = out
    return found
