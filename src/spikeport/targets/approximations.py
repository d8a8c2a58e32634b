"""Approximations: what a target lacks is given up, by name, with its size. Made only where the caller allows it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np

from spikeport.snn.losses import Loss
from spikeport.snn.neurons import per_unit, refractory_steps
from spikeport.snn.spiking import Population, Projection, SpikingNetwork, Uniform
from spikeport.snn.synapses import DoubleExponential, Exponential

Approximation = Callable[[SpikingNetwork, Population], tuple[Population, Loss | None]]
Shortest = Callable[
    [SpikingNetwork, Projection], int
]  # the shortest delay that a projection from a population may have


def _refractory(network: SpikingNetwork, p: Population) -> tuple[Population, Loss | None]:
    steps = int(np.max(refractory_steps(p.neuron.t_ref, network.dt)))
    if steps == 0:
        return p, None
    size = f"{np.max(p.neuron.t_ref) * 1e3:g} ms, {steps} steps"
    return replace(p, neuron=replace(p.neuron, t_ref=0.0)), Loss("no refractory period", f"population {p.name}", size)


def _initially_refractory(network: SpikingNetwork, p: Population) -> tuple[Population, Loss | None]:
    if not np.any(np.asarray(p.ref0) > 0):
        return p, None
    size = f"{np.max(p.ref0):g} steps at the start of a trial"
    return replace(p, ref0=0), Loss("no unit starts refractory", f"population {p.name}", size)


def _noise(network: SpikingNetwork, p: Population) -> tuple[Population, Loss | None]:
    if not np.any(np.asarray(p.noise_sd) > 0):
        return p, None
    size = f"sd {np.max(p.noise_sd):g} mV a step"
    return replace(p, noise_sd=0.0), Loss("no membrane noise", f"population {p.name}", size)


def _noise_while_refractory(network: SpikingNetwork, p: Population) -> tuple[Population, Loss | None]:
    if not (p.noise_while_refractory and np.any(np.asarray(p.noise_sd) > 0)):
        return p, None
    size = f"sd {np.max(p.noise_sd):g} mV a step"
    return replace(p, noise_while_refractory=False), Loss("no noise while refractory", f"population {p.name}", size)


def _spikes_while_refractory(network: SpikingNetwork, p: Population) -> tuple[Population, Loss | None]:
    if not p.spikes_while_refractory:
        return p, None
    why = "a unit that noise lifts over the threshold waits"
    return replace(p, spikes_while_refractory=False), Loss("no spikes while refractory", f"population {p.name}", why)


def _initial_v(network: SpikingNetwork, p: Population) -> tuple[Population, Loss | None]:
    reset = per_unit(p.neuron.v_reset, p.n)
    if isinstance(p.v0, Uniform):
        size = f"v0 uniform in [{p.v0.low:g}, {p.v0.high:g}) mV"
    elif np.any(p.v0 != reset):
        size = f"v0 up to {np.abs(per_unit(p.v0, p.n) - reset).max():g} mV from v_reset"
    else:
        return p, None
    return replace(p, v0=reset), Loss("every unit starts at v_reset", f"population {p.name}", size)


def _single_exponential(network: SpikingNetwork, p: Population) -> tuple[Population, Loss | None]:
    doubles = {name: s for name, s in p.synapses.items() if isinstance(s, DoubleExponential)}
    if not doubles:
        return p, None
    single = {name: Exponential(tau=s.tau_decay) for name, s in doubles.items()}
    rise = max(float(np.max(s.tau_rise)) for s in doubles.values())
    where, size = f"population {p.name}: {', '.join(doubles)}", f"a rise of {rise * 1e3:g} ms, the area is kept"
    return replace(p, synapses={**p.synapses, **single}), Loss("one exponential for two", where, size)


APPROXIMATIONS: dict[str, Approximation | None] = {  # the feature that is given up -> how, in one population
    "refractory": _refractory,
    "initially_refractory": _initially_refractory,
    "noise": _noise,
    "noise_while_refractory": _noise_while_refractory,
    "spikes_while_refractory": _spikes_while_refractory,
    "initial_v": _initial_v,
    "synapse": _single_exponential,
    "min_delay": None,  # not of a population: longer_delays
    "held_via": None,  # a target's host makes spikes of held values; see `approximated` in base.py
    "precision": None,  # the target rounds when it lowers, and names what that costs
}


def approximate(network: SpikingNetwork, features: Collection[str]) -> tuple[SpikingNetwork, tuple[Loss, ...]]:
    """`network` without `features`, and a loss for each population that had one."""
    populations, losses = [], list[Loss]()
    for population in network.populations:
        for feature, give_up in APPROXIMATIONS.items():
            if feature in features and give_up is not None:
                population, loss = give_up(network, population)
                losses += [loss] if loss is not None else []
        populations.append(population)
    return replace(network, populations=tuple(populations)), tuple(losses)


def longer_delays(network: SpikingNetwork, shortest: Shortest) -> tuple[SpikingNetwork, tuple[Loss, ...]]:
    """Every projection from a population with the delay that the target needs at least; a loss for each that grew."""
    sources = {p.name for p in network.populations}
    projections, losses = [], []
    for j in network.projections:
        late = shortest(network, j) - j.delay if j.source in sources else 0
        if late > 0:
            size = f"{late * network.dt * 1e3:g} ms, {late} {'step' if late == 1 else 'steps'}"
            losses.append(Loss("spikes act later", f"projection {j.source}->{j.target}", size))
        projections.append(replace(j, delay=j.delay + max(late, 0)))
    return replace(network, projections=tuple(projections)), tuple(losses)
