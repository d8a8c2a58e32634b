"""A double exponential as two single ones, exactly: the modes of its step.

A double-exponential synapse steps by x = D x + jump J with D upper triangular; its eigenvectors, scaled so that each
mode enters the current with factor 1, are two states that decay on their own:

    D = P diag(d_decay, d_rise) P^-1,   P = [[1, 1], [0, d_rise - d_decay) / D_01]],   y = P^-1 x
    y = d y + (P^-1 jump) J + (P^-1 held) H,   current x_0 = y_decay + y_rise

so spikes get weights of opposite sign on two Exponential synapses, `NAME` (tau_decay) and `NAME_rise` (tau_rise).
True for kim2019, euler and exact alike, because an Exponential of the same tau has the same decay in each of them.
It needs tau_rise and tau_decay to differ in every unit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikeport.snn.errors import UnsupportedError
from spikeport.snn.integrators import get_integrator, synapse_table
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.spiking import Population, Projection, SpikingNetwork
from spikeport.snn.synapses import DoubleExponential, Exponential

CLOSE = 1e-6  # relative difference of two decays: below, the two modes cancel to more than half the digits
Gains = tuple[Array, Array]  # of the decay mode and of the rise mode, (n,)


def rise_of(name: str) -> str:
    """The synapse that holds the rise mode of synapse `name`."""
    return f"{name}_rise"


def split_double(network: SpikingNetwork) -> SpikingNetwork:
    """Every DoubleExponential of a population becomes two Exponentials; the spikes are the same."""
    equal = [f"population {p.name}, synapse {s}: tau_rise = tau_decay in {n} units" for p in network.populations
             for s, n in equal_units(p)]  # fmt: skip
    if equal:
        raise UnsupportedError("network: a double exponential with equal time constants has no two modes", equal)
    doubles = {
        p.name: [n for n, s in p.synapses.items() if isinstance(s, DoubleExponential)] for p in network.populations
    }
    gains = {(p.name, s): mode_gains(network, p, s) for p in network.populations for s in doubles[p.name]}
    populations = tuple(_split_population(p, doubles[p.name], gains) for p in network.populations)
    held = {i.name for i in network.held_inputs}
    projections: list[Projection] = []
    for j in network.projections:
        if j.synapse is None or j.synapse not in doubles[j.target]:
            projections.append(j)
            continue
        decay, rise = gains[j.target, j.synapse][1 if j.source in held else 0]
        projections.append(replace(j, weight=j.weight * decay[:, None]))
        projections.append(replace(j, weight=j.weight * rise[:, None], synapse=rise_of(j.synapse)))
    return replace(network, populations=populations, projections=tuple(projections))


def mode_gains(network: SpikingNetwork, p: Population, synapse: str) -> tuple[Gains, Gains]:
    """Factors of weights on the decay and the rise Exponential: (of spikes, of held inputs)."""
    double = p.synapses[synapse]
    assert isinstance(double, DoubleExponential)
    tau_mem, integrator = per_unit(p.neuron.tau_mem, p.n), get_integrator(network.integrator)
    table = synapse_table(integrator, double, tau_mem, network.dt)
    modes = [
        synapse_table(integrator, Exponential(tau=t), tau_mem, network.dt) for t in (double.tau_decay, double.tau_rise)
    ]
    second = (table.D[:, 1, 1] - table.D[:, 0, 0]) / table.D[:, 0, 1]  # h per unit of the rise mode
    gains = []
    for vector, single in ((table.jump, "jump"), (table.held, "held")):
        rise = vector[:, 1] / second
        decay = vector[:, 0] - rise
        gains.append((decay / getattr(modes[0], single)[:, 0], rise / getattr(modes[1], single)[:, 0]))
    return gains[0], gains[1]


def _split_population(
    p: Population, doubles: list[str], gains: dict[tuple[str, str], tuple[Gains, Gains]]
) -> Population:
    synapses, bias = dict(p.synapses), dict(p.synaptic_bias)
    for name in doubles:
        double = p.synapses[name]
        assert isinstance(double, DoubleExponential)
        synapses[name] = Exponential(tau=double.tau_decay)
        synapses[rise_of(name)] = Exponential(tau=double.tau_rise)
        if name in p.synaptic_bias:
            decay, rise = gains[p.name, name][1]
            bias[name] = per_unit(p.synaptic_bias[name], p.n) * decay
            bias[rise_of(name)] = per_unit(p.synaptic_bias[name], p.n) * rise
    return replace(p, synapses=synapses, synaptic_bias=bias)


def equal_units(p: Population) -> list[tuple[str, int]]:
    """(synapse, how many units) whose two time constants are too close to be told apart."""
    found = []
    for name, synapse in p.synapses.items():
        if isinstance(synapse, DoubleExponential):
            rise, decay = per_unit(synapse.tau_rise, p.n), per_unit(synapse.tau_decay, p.n)
            n = int((np.abs(rise - decay) <= CLOSE * decay).sum())
            found += [(name, n)] if n else []
    return found
