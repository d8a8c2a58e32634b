"""What fine-tuning leaves alone: the coefficients of the canonical step as tensors, and the trials of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeport.snn.errors import UnsupportedError
from spikeport.snn.integrators import get_integrator, synapse_table
from spikeport.snn.neurons import Array, per_unit, refractory_steps
from spikeport.snn.spiking import SpikingNetwork, steps_of
from spikeport.snn.synapses import Delta, Synapse


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A table of integrators.py as tensors; D[i][j], B[i], jump[i], held[i] (n,), None where all are 0."""

    D: tuple[tuple[Tensor | None, ...], ...]
    B: tuple[Tensor | None, ...]
    jump: tuple[Tensor | None, ...]
    held: tuple[Tensor | None, ...]


@dataclass(frozen=True, kw_only=True)
class Model:
    """What training leaves alone: the network itself, its coefficients (n,), and the shape of the surrogate (mV)."""

    network: SpikingNetwork
    dtype: torch.dtype
    A: Tensor
    rest: Tensor  # 1 - A
    threshold: Tensor
    reset: Tensor
    steps: Tensor  # of the refractory period
    synapses: Mapping[str, Filter]
    readout: Filter
    width: float
    height: float

    @classmethod
    def of(
        cls, network: SpikingNetwork, *, width: float = 1.0, height: float = 1.0, dtype: torch.dtype = torch.float32
    ) -> Model:
        """The model of a network of this shape; another is refused, all reasons at once."""
        check_shape(network)
        p = network.populations[0]
        tau_mem, integrator = per_unit(p.neuron.tau_mem, p.n), get_integrator(network.integrator)
        A = integrator.decay(tau_mem, network.dt)

        def filter_of(synapse: Synapse) -> Filter:
            t = synapse_table(integrator, synapse, tau_mem, network.dt)
            columns = {
                name: tuple(_some(a[:, i], dtype) for i in range(a.shape[1]))
                for name, a in (("B", t.B), ("jump", t.jump), ("held", t.held))
            }
            d = range(t.D.shape[1])
            return Filter(D=tuple(tuple(_some(t.D[:, i, j], dtype) for j in d) for i in d), **columns)

        return cls(
            network=network, dtype=dtype, A=as_tensor(A, dtype), rest=as_tensor(1 - A, dtype),
            threshold=as_tensor(per_unit(p.neuron.v_threshold, p.n), dtype),
            reset=as_tensor(per_unit(p.neuron.v_reset, p.n), dtype),
            steps=torch.from_numpy(np.array(np.broadcast_to(refractory_steps(p.neuron.t_ref, network.dt), (p.n,)))),
            synapses={name: filter_of(s) for name, s in p.synapses.items()},
            readout=filter_of(network.readouts[0].synapse), width=width, height=height,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Trials to run: inputs, name -> (samples, batch, n); the key of their noise and v0, as of the engine."""

    inputs: Mapping[str, Array]
    n_steps: int
    edges: NDArray[np.int64]  # steps at which a sample of the answer starts, and n_steps
    seed: int
    first_trial: int
    with_noise: bool

    @classmethod
    def of(
        cls, network: SpikingNetwork, inputs: Array, *, seed: int, first_trial: int = 0, with_noise: bool = True
    ) -> Trial:
        """Trials of a network with one held input, (samples, batch, n), answered on the samples of that input."""
        port = network.held_inputs[0]
        n = steps_of(inputs.shape[0], port, network.dt)
        edges = np.floor(np.arange(inputs.shape[0] + 1) * port.dt / network.dt + 0.5).astype(np.int64)
        return cls(
            inputs={port.name: inputs}, n_steps=n, edges=np.minimum(edges, n), seed=seed, first_trial=first_trial,
            with_noise=with_noise,
        )  # fmt: skip

    @property
    def n_batch(self) -> int:
        return int(next(iter(self.inputs.values())).shape[1])


def check_shape(network: SpikingNetwork) -> None:
    """Refuse networks that this file does not step, all reasons at once."""
    problems = []
    if len(network.populations) != 1:
        problems.append(f"populations: {len(network.populations)}, must be 1")
    if len(network.readouts) != 1:
        problems.append(f"read-outs: {len(network.readouts)}, must be 1")
    if network.spike_inputs:
        problems.append(f"inputs of spikes: {len(network.spike_inputs)}, must be held ones")
    problems += [
        f"synapse {name}: a Delta, must have a time constant"
        for p in network.populations
        for name, synapse in p.synapses.items()
        if isinstance(synapse, Delta)
    ]
    if problems:
        raise UnsupportedError(
            "surrogate gradients: a network of another shape than conversion makes", problems,
            hint="spikeport inspect FILE   shows it",
        )  # fmt: skip


def as_tensor(array: Array, dtype: torch.dtype) -> Tensor:
    return torch.tensor(np.asarray(array, dtype=np.float64), dtype=dtype)


def _some(column: Array, dtype: torch.dtype) -> Tensor | None:
    return as_tensor(column, dtype) if column.any() else None
