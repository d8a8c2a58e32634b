"""What the chip is to compute, in real numbers: the step with one decaying current, in units of the threshold.

    u = D u + arrivals,    v = A v + u + drive,    a spike adds q to u        reset 0, threshold 1

`effect` is what counts in the end: a unit that gets one spike a step for ever has v = effect; where the decays are
rounded, q is chosen anew, so that the effect stays.  q = effect (1 - D) (1 - A).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spikeport.snn.neurons import Array
from spikeport.snn.spiking import Population, SpikingNetwork
from spikeport.targets.fixed_point.integers import Ints
from spikeport.targets.loihi.limits import CURRENT_OFFSET, DECAY_BITS, DECAY_MAX
from spikeport.targets.tables import PopulationStep, SynapseStep, population_steps

WHOLE = 1 << DECAY_BITS


@dataclass(frozen=True, kw_only=True)
class Hosted:
    """Held values and constants through one synapse: its decay (n,), and what v settles at, per unit of an input
    (n, channels) and of the constant (n,)."""

    synapse: str
    D: Array
    effects: Mapping[str, Array]
    constant: Array

    def most(self, size: float) -> Array:
        """(n,): how far held values up to `size` and the constant can move v."""
        found = np.abs(self.constant)
        for effect in self.effects.values():
            found = found + size * np.abs(effect).sum(axis=1)
        return found


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One population. D, A: (n,) decays asked for.  drive: (n,) constant that v settles at.  effects: of each
    projection through the synapse, (n_target, n_source).  held: input -> (n, channels), the same per unit of it.
    hosted: what the host filters."""

    step: PopulationStep
    synapse: str
    D: Array
    A: Array
    drive: Array
    effects: Mapping[int, Array]
    held: Mapping[str, Array]
    hosted: tuple[Hosted, ...]

    @property
    def population(self) -> Population:
        return self.step.population

    @property
    def du(self) -> Ints:
        """Decays of the current as the chip has them: the nearest."""
        return np.clip(np.rint(WHOLE * (1 - self.D)) - CURRENT_OFFSET, 0, DECAY_MAX).astype(np.int64)

    @property
    def dv(self) -> Ints:
        """Decays of the voltage as the chip has them: the nearest; never 0, which would leak nothing."""
        return np.clip(np.rint(WHOLE * (1 - self.A)), 1, DECAY_MAX).astype(np.int64)

    @property
    def fresh_u(self) -> Array:
        """1 - D of the chip."""
        return (self.du + CURRENT_OFFSET) / WHOLE

    @property
    def fresh_v(self) -> Array:
        """1 - A of the chip."""
        return self.dv / WHOLE

    @property
    def jumps(self) -> dict[int, Array]:
        """index of a projection -> (n_target, n_source): what a spike is to add to u, in units of the threshold."""
        gain = (self.fresh_u * self.fresh_v)[:, None]
        return {index: effect * gain for index, effect in self.effects.items()}


def wanted(network: SpikingNetwork) -> tuple[Wanted, ...]:
    """Every population of a normalised network (reset 0, threshold 1); synapses in use decay alike (`one_decay`)."""
    steps = {s.name: s for s in population_steps(network)}
    return tuple(_wanted(network, steps[p.name]) for p in network.populations)


def used(step: PopulationStep) -> tuple[SynapseStep, ...]:
    """The synapses that spikes act through."""
    return tuple(s for s in step.synapses if s.spikes)


def single(s: SynapseStep) -> tuple[Array, Array]:
    """(D, what a spike of weight 1 adds to v at once), (n,), of an exponential or a Delta."""
    if s.n_states == 0:
        return np.zeros(s.bias.size), s.table.jump[:, 0]
    return s.table.D[:, 0, 0], s.table.B[:, 0] * s.table.jump[:, 0]


def one_decay(acting: tuple[SynapseStep, ...]) -> bool:
    """Do these synapses decay alike, so that one current holds them all?"""
    decays = [single(s)[0] for s in acting if s.n_states < 2]
    return len(decays) == len(acting) and all(np.array_equal(decays[0], d) for d in decays[1:])


def _wanted(network: SpikingNetwork, step: PopulationStep) -> Wanted:
    acting, held_names = used(step), {i.name for i in network.held_inputs}
    decay = {s.name: single(s) for s in acting}
    D = decay[acting[0].name][0] if acting else np.zeros(step.n)
    effects = {}
    for i, j in enumerate(network.projections):
        if j.target == step.name and j.synapse in decay and j.source not in held_names:
            gain = decay[j.synapse][1] / ((1 - D) * (1 - step.A))
            effects[i] = j.weight * gain[:, None]
    held: dict[str, Array] = {}
    for j in step.held:  # several projections from one input add up
        held[j.source] = held.get(j.source, 0.0) + j.weight
    name = acting[0].name if acting else ""
    hosted = tuple(_hosted(step, s) for s in step.synapses if s.held or s.bias.any())
    return Wanted(step=step, synapse=name, D=D, A=step.A, drive=step.constant, effects=effects, held=held,
                  hosted=hosted)  # fmt: skip


def _hosted(step: PopulationStep, s: SynapseStep) -> Hosted:
    D = s.table.D[:, 0, 0]
    gain = s.table.B[:, 0] * s.table.held[:, 0] / ((1 - D) * (1 - step.A))
    effects: dict[str, Array] = {}
    for j in s.held:
        effects[j.source] = effects.get(j.source, 0.0) + j.weight * gain[:, None]
    return Hosted(synapse=s.name, D=D, effects=effects, constant=s.bias * gain)
