"""What the chip is to compute, in real numbers: two decaying currents a neuron, in units of the threshold.

    i_s = D_s (i_s + arrivals),    v = A v + i_1 + i_2 + drive,      D = 1 - 2^-dash_syn,  A = 1 - 2^-dash_mem

`effect` is what counts: a neuron that gets one spike a step for ever has v = effect. Decays become the nearest powers
of two, and a spike's weight q is chosen so that its effect stays:  q = effect (1 - D) (1 - A) / D.

A double exponential is two of these currents, of opposite sign (modes.py): with the chip's own decays, of time
constants t = 2^dash steps,  effect_decay = effect t_d / (t_d - t_r),  effect_rise = -effect t_r / (t_d - t_r),  so that
it still starts at 0. Held values that act on the membrane become spikes through the faster current; a constant through
a synapse becomes spikes of a channel of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from spikeport.snn.neurons import Array
from spikeport.snn.spiking import Population, SpikingNetwork
from spikeport.targets.fixed_point.integers import Ints
from spikeport.targets.modes import rise_of
from spikeport.targets.tables import PopulationStep, SynapseStep, population_steps
from spikeport.targets.xylo.limits import DASH_MAX, DASH_SYN_MIN

CONSTANT = "constants through synapses"  # the input, always 1, that they come from
HELD = "held values"  # the current that is made for held values, where no other is in use


@dataclass(frozen=True, kw_only=True)
class Current:
    """One of a neuron's two synapses. dash: (n,).  asked: (n,) the D of the network's own synapse, or NaN."""

    name: str
    dash: Ints
    asked: Array

    @property
    def D(self) -> Array:
        return np.asarray(1 - 2.0**-self.dash, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One population. drive: (n,) constant that v settles at.  effects: (index of a projection, current) ->
    (n_target, n_source).  constants: (synapse, current) -> (n,) what v settles at by a constant through it.
    lost: synapse -> neurons whose rise decays like their decay."""

    step: PopulationStep
    currents: tuple[Current, ...]
    dash_mem: Ints
    drive: Array
    effects: Mapping[tuple[int, int], Array]
    constants: Mapping[tuple[str, int], Array] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)

    @property
    def population(self) -> Population:
        return self.step.population

    @property
    def fresh(self) -> Array:
        """1 - A of the chip."""
        return np.asarray(2.0**-self.dash_mem, dtype=np.float64)

    def gain(self, current: int) -> Array:
        """(n,): q per effect, in units of the threshold."""
        D = self.currents[current].D
        return np.asarray((1 - D) / D * self.fresh)


def dashes(keep: Array, least: int) -> Ints:
    """(n,): the dash whose decay is nearest to `keep` per step, by the ratio of what decays."""
    return np.asarray(np.clip(np.rint(-np.log2(np.maximum(1 - keep, 1e-9))), least, DASH_MAX), dtype=np.int64)


def wanted(network: SpikingNetwork) -> tuple[Wanted, ...]:
    """Every population of a normalised network (reset 0, threshold 1)."""
    steps = {s.name: s for s in population_steps(network)}
    return tuple(_wanted(network, steps[p.name]) for p in network.populations)


def currents(step: PopulationStep) -> tuple[Current, ...]:
    """The currents that a population needs; those that decay alike on the chip are one."""
    found: list[Current] = []
    for s in step.synapses:
        if acting(s):
            for name, keep in modes(s):
                found.append(Current(name=name, dash=dashes(keep, DASH_SYN_MIN), asked=keep))
    distinct = [c for i, c in enumerate(found) if not any(np.array_equal(c.dash, d.dash) for d in found[:i])]
    if step.held and len(distinct) < 2 and not any((c.dash == DASH_SYN_MIN).all() for c in distinct):
        none = np.full(step.n, np.nan)
        distinct.append(Current(name=HELD, dash=np.full(step.n, DASH_SYN_MIN), asked=none))
    return tuple(distinct)


def acting(s: SynapseStep) -> bool:
    """Does anything come through this synapse?"""
    return bool(s.spikes or s.held or s.bias.any())


def modes(s: SynapseStep) -> list[tuple[str, Array]]:
    """(name, decay a step) of a synapse's exponentials."""
    names = (s.name, rise_of(s.name))
    return [(names[i], s.table.D[:, i, i]) for i in range(s.n_states)]


def settled(step: PopulationStep, s: SynapseStep, jump: Array) -> Array:
    """(n,): what v settles at where each step adds `jump` (n, states) to the synapse."""
    inverse = np.linalg.solve(np.eye(s.n_states) - s.table.D, jump[:, :, None])[:, :, 0]
    return np.asarray((s.table.B * inverse).sum(axis=1) / (1 - step.A))


def _wanted(network: SpikingNetwork, step: PopulationStep) -> Wanted:
    found = currents(step)
    steps, held = {s.name: s for s in step.synapses}, {i.name for i in network.held_inputs}
    effects: dict[tuple[int, int], Array] = {}
    lost: dict[str, int] = {}
    for index, j in enumerate(network.projections):
        if j.target != step.name:
            continue
        if j.synapse is None:  # a held value on the membrane: through the fastest
            fastest = int(np.argmin([c.dash.mean() for c in found]))
            parts: list[tuple[int, Array]] = [(fastest, np.ones(step.n))]
        else:
            s = steps[j.synapse]
            gain = settled(step, s, s.table.held if j.source in held else s.table.jump)
            parts = [(c, gain * share) for c, share in _shares(s, found)]
            if s.n_states > 1:
                lost[s.name] = int((dashes_of(s)[0] == dashes_of(s)[1]).sum())
        for c, gain in parts:
            effects[index, c] = effects.get((index, c), 0.0) + j.weight * gain[:, None]
    constants = {
        (s.name, c): s.bias * settled(step, s, s.table.held) * share
        for s in step.synapses if s.bias.any() for c, share in _shares(s, found)
    }  # fmt: skip
    return Wanted(step=step, currents=found, dash_mem=dashes(step.A, 0), drive=step.constant, effects=effects,
                  constants=constants, lost={name: k for name, k in lost.items() if k})  # fmt: skip


def dashes_of(s: SynapseStep) -> list[Ints]:
    return [dashes(keep, DASH_SYN_MIN) for _, keep in modes(s)]


def _shares(s: SynapseStep, found: tuple[Current, ...]) -> list[tuple[int, Array]]:
    """(current, share (n,) of the effect) of a synapse; shares add up to 1."""
    dash = dashes_of(s)
    at = [next(i for i, c in enumerate(found) if np.array_equal(c.dash, d)) for d in dash]
    if len(dash) == 1:
        return [(at[0], np.ones(dash[0].size))]
    decay, rise = (2.0**d for d in dash)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(decay == rise, 1.0, decay / (decay - rise))
    return [(at[0], share), (at[1], 1 - share)]
