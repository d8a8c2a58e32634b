"""The canonical step as tables, for targets that are told coefficients rather than equations.

    x[k] = D x[k-1] + jump J[k] + held H[k]         per synapse; J from spikes, H from held values and the bias
    v[k] = A v[k-1] + sum of B x[k] + (1-A) (constant + w u[k]) + noise        where ref = 0
    a Delta has no x: it adds jump J[k] to v[k]

(see reference.py in snn, which is the meaning of these; here everything of one population is in one place.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.integrators import SynapseTable, get_integrator, synapse_table
from spikeport.snn.neurons import Array, per_unit, refractory_steps
from spikeport.snn.spiking import HeldInput, Population, Projection, ReadOut, SpikingNetwork


@dataclass(frozen=True, kw_only=True)
class SynapseStep:
    """One synapse of a population: its table, its constant input (n,), and the projections that act through it."""

    name: str
    table: SynapseTable
    bias: Array
    spikes: tuple[Projection, ...]
    held: tuple[Projection, ...]

    @property
    def n_states(self) -> int:
        return int(self.table.D.shape[1])


@dataclass(frozen=True, kw_only=True)
class PopulationStep:
    """One population: everything that its step needs, (n,) each. refractory: steps; held: straight on the membrane."""

    population: Population
    A: Array
    constant: Array
    threshold: Array
    reset: Array
    refractory: NDArray[np.int64]
    ref0: NDArray[np.int64]
    synapses: tuple[SynapseStep, ...]
    held: tuple[Projection, ...]

    @property
    def name(self) -> str:
        return self.population.name

    @property
    def n(self) -> int:
        return self.population.n

    @property
    def subtracts(self) -> bool:
        return self.population.neuron.reset == "subtract"

    @property
    def noisy(self) -> bool:
        return bool(np.any(np.asarray(self.population.noise_sd) > 0))

    @property
    def may_freeze(self) -> bool:
        """Can any unit ever be refractory?"""
        return bool(self.refractory.any() or self.ref0.any())


@dataclass(frozen=True, kw_only=True)
class ReadOutStep:
    """One read-out: x = D x + jump z, o = weight x_0 + bias."""

    readout: ReadOut
    table: SynapseTable


def population_steps(network: SpikingNetwork) -> tuple[PopulationStep, ...]:
    """The populations, in the order in which they are stepped."""
    return tuple(_step(network, network.populations[i]) for i in network.population_order())


def readout_steps(network: SpikingNetwork) -> tuple[ReadOutStep, ...]:
    """The read-outs, in the network's order."""
    found = []
    for readout in network.readouts:
        source = network.population(readout.source)
        tau_mem = per_unit(source.neuron.tau_mem, source.n)
        table = synapse_table(get_integrator(network.integrator), readout.synapse, tau_mem, network.dt)
        found.append(ReadOutStep(readout=readout, table=table))
    return tuple(found)


def _step(network: SpikingNetwork, p: Population) -> PopulationStep:
    integrator, tau_mem = get_integrator(network.integrator), per_unit(p.neuron.tau_mem, p.n)
    held = {i.name for i in network.inputs if isinstance(i, HeldInput)}

    def into(synapse: str | None, from_held: bool) -> tuple[Projection, ...]:
        mine = (j for j in network.projections if j.target == p.name and j.synapse == synapse)
        return tuple(j for j in mine if (j.source in held) == from_held)

    return PopulationStep(
        population=p,
        A=integrator.decay(tau_mem, network.dt),
        constant=per_unit(p.neuron.v_leak, p.n) + per_unit(p.bias, p.n),
        threshold=per_unit(p.neuron.v_threshold, p.n),
        reset=per_unit(p.neuron.v_reset, p.n),
        refractory=np.array(np.broadcast_to(refractory_steps(p.neuron.t_ref, network.dt), (p.n,))),
        ref0=per_unit(p.ref0, p.n).astype(np.int64),
        synapses=tuple(
            SynapseStep(
                name=name, table=synapse_table(integrator, synapse, tau_mem, network.dt),
                bias=per_unit(p.synaptic_bias.get(name, 0.0), p.n), spikes=into(name, False), held=into(name, True),
            )
            for name, synapse in p.synapses.items()
        ),
        held=into(None, True),
    )  # fmt: skip
