"""What a NIR reader cannot take of a network, beyond the generic check, and what it would do otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spikeport.snn.losses import Loss
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.synapses import DoubleExponential
from spikeport.targets.capabilities import Problem, check, loops
from spikeport.targets.modes import CLOSE
from spikeport.targets.nir.conventions import ANY, READERS, Convention, differences
from spikeport.targets.tables import PopulationStep, SynapseStep, population_steps

TOLD = 1e-6  # relative error of a time constant from which on it is a loss; below, it is as float32 is everywhere


def problems_for(network: SpikingNetwork, c: Convention) -> tuple[Problem, ...]:
    """Every reason why the reader would not give the network's spikes."""
    return (*check(network, c.capabilities), *_own_problems(network, c))


def left_out(network: SpikingNetwork) -> dict[str, list[str]]:
    """Reader -> why it would get a file for `any` wrong: another convention, or something that it lacks. Derived."""
    found: dict[str, list[str]] = {}
    for name, c in READERS.items():
        reasons = [] if c is ANY else differences(c, network.dt) + [str(p) for p in problems_for(network, c)]
        if reasons:
            found[name] = reasons
    return found


def losses_of(network: SpikingNetwork, c: Convention) -> Iterator[Loss]:
    """What the reader does otherwise in a network that it takes."""
    where = f"reader {c.name}"
    if c is ANY:
        size = f"{', '.join(left_out(network))} read another network from it; choose the reader that is meant"
        yield Loss("not for every reader", where, size)
    if c.several_spikes:
        size = "floor(v / threshold) of them, where v reaches two thresholds; the same spikes where it does not"
        yield Loss("several spikes in a step", where, size)
    yield from _rounded_decays(network, c)
    if c.rounds:
        yield Loss("rounded numbers", where, c.rounds)
    if not c.measured:
        yield Loss("the reader was not run", where, f"its convention is from its documents: {c.version}")
    if not c.readout:
        for r in network.readouts:
            size = f"{r.weight.shape[0]} x {r.weight.shape[1]} weights, in the file's metadata; the spikes come out"
            yield Loss("read-out left out", f"read-out {r.name}", size)


def _rounded_decays(network: SpikingNetwork, c: Convention) -> Iterator[Loss]:
    """1 - decay, which is dt/tau, as it is when the decay is a float32."""
    for step in population_steps(network) if c.float32_decays else ():
        decays = np.concatenate(
            [step.A, *(np.diagonal(s.table.D, axis1=1, axis2=2).ravel() for s in used_synapses(step))]
        )
        error = np.abs(decays.astype(np.float32) - decays) / (1 - decays)
        if error.max() > TOLD:
            yield Loss("decays in float32", f"population {step.name}", f"time constants off by up to {error.max():.1e}")


def used_synapses(step: PopulationStep) -> tuple[SynapseStep, ...]:
    """The synapses of a population that anything comes through."""
    return tuple(s for s in step.synapses if s.spikes or s.held or s.bias.any())


def sinks(network: SpikingNetwork) -> tuple[str, ...]:
    """Populations that lead to no other one."""
    onward = {p.source for p in network.projections if p.source != p.target}
    return tuple(p.name for p in network.populations if p.name not in onward)


def synapse_decay(c: Convention, step: PopulationStep) -> Array:
    """a, (n,): the decay of the one synapse of a CubaLIF; without one, 0, or what the reader can hold instead."""
    used = used_synapses(step)
    if used and used[0].n_states:
        return used[0].table.D[:, 0, 0]
    return np.zeros(step.n) if c.decay == "euler" else np.full(step.n, np.exp(-1.0))


def needs_start(c: Convention, step: PopulationStep) -> bool:
    """Must a constant drive of the membrane be brought through a synapse that remembers? (columns.py)"""
    drive = step.constant - step.reset
    return c.node == "CubaLIF" and not c.leak and bool(drive.any()) and bool(synapse_decay(c, step).any())


def _own_problems(network: SpikingNetwork, c: Convention) -> Iterator[Problem]:
    steps = population_steps(network)
    for step in steps:
        yield from _population(network, step, c)
    yield from _delays(network, c)
    resets = sorted({p.neuron.reset for p in network.populations})
    if len(resets) > 1:
        value, limit = " and ".join(resets), "a reader takes one for all populations"
        yield Problem(feature="reset", where="network: resets", value=value, limit=limit)
    ends = sinks(network)
    if len(ends) != 1:
        limit = "NIR readers return one output"
        yield Problem(
            feature="populations", where="network", value=f"{len(ends)} populations lead nowhere", limit=limit
        )
    if c.one_path:
        for step in steps:
            yield from _ways(network, step, c)
    if c.readout and len(network.readouts) > 1:
        value = f"{len(network.readouts)} read-outs"
        yield Problem(feature="readouts", where="network", value=value, limit="NIR readers return one output")


def _population(network: SpikingNetwork, step: PopulationStep, c: Convention) -> Iterator[Problem]:
    p, where = step.population, f"population {step.name}"
    flat = step.threshold == step.reset
    if flat.any():
        value = f"v_threshold = v_reset in {int(flat.sum())} units"
        yield Problem(feature="reset", where=where, value=value, limit="must differ, to be scaled to 1 and 0")
    used = used_synapses(step)
    if c.node == "CubaLIF" and len(used) > 1:
        value = ", ".join(s.name for s in used)
        yield Problem(feature="synapse", where=f"{where}: synapses", value=value, limit="one for a CubaLIF")
    if DoubleExponential in c.capabilities.synapses:
        for name, s in p.synapses.items():
            if isinstance(s, DoubleExponential) and _close(s, p.n):
                value, limit = "tau_rise = tau_decay", "must differ, to be two LI"
                yield Problem(feature="synapse", where=f"{where}: synapse {name}", value=value, limit=limit)
    decays = {"v": step.A} | {f"synapse {s.name}": np.diagonal(s.table.D, axis1=1, axis2=2) for s in used if s.n_states}
    for what, decay in decays.items():
        if np.any(decay < 0) or np.any(decay >= 1) or (c.decay == "exponential" and np.any(decay == 0)):
            value = f"{decay.min():g} to {decay.max():g} a step, by integrator '{network.integrator}'"
            limit = f"{c.name} holds decays from 0 to 1, less than 1"
            yield Problem(feature="integrator", where=f"{where}: decay of {what}", value=value, limit=limit)


def _close(s: DoubleExponential, n: int) -> bool:
    rise, decay = per_unit(s.tau_rise, n), per_unit(s.tau_decay, n)
    return bool(np.any(np.abs(rise - decay) <= CLOSE * decay))


def _delays(network: SpikingNetwork, c: Convention) -> Iterator[Problem]:
    """A loop takes one step in every reader; the way from one population to another as many as it takes there."""
    names = {p.name for p in network.populations}
    looping = loops(network)
    for j in network.projections:
        if j.source not in names:
            continue
        where = f"projection {j.source}->{j.target}"
        if j.source != j.target and (j.source, j.target) in looping:
            limit = "a population may lead back to itself only"
            yield Problem(feature="recurrent", where=where, value="a loop through several populations", limit=limit)
            continue
        takes = 1 if j.source == j.target else c.between
        if j.delay != takes:
            feature = "delays" if j.delay > takes else "min_delay"
            yield Problem(feature=feature, where=where, value=f"delay {j.delay} steps", limit=f"{c.name} takes {takes}")


def _ways(network: SpikingNetwork, step: PopulationStep, c: Convention) -> Iterator[Problem]:
    """A reader of one path runs a population when its first way in has been run: any other comes late, or never."""
    inputs, where = {i.name for i in network.inputs}, f"population {step.name}"
    before = {j.source for j in network.projections if j.target == step.name} - {step.name}
    ways = before - inputs | ({"the inputs"} if before & inputs else set())
    if len(ways) > 1:
        value = f"comes from {', '.join(sorted(ways))}"
        yield Problem(feature="populations", where=where, value=value, limit=f"{c.name} reads one path")
    elif ways != {"the inputs"} and needs_start(c, step):
        value, limit = "bias behind another population", f"{c.name} reads one path"
        yield Problem(feature="bias", where=where, value=value, limit=limit)
    elif not ways and network.populations[0].name != step.name:
        value, limit = "nothing comes in", f"{c.name} reads one path"
        yield Problem(feature="populations", where=where, value=value, limit=limit)
