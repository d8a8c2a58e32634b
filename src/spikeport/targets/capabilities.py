"""What a target can say, as data, and the one check that reads it.

A feature is something that a network has and a target may lack. `check` looks for every feature and compares it with
the target's Capabilities; it runs nothing and imports no simulator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spikeport.snn.neurons import PerUnit, per_unit, refractory_steps
from spikeport.snn.spiking import HeldInput, Population, SpikingNetwork, Uniform
from spikeport.snn.synapses import Delta, DoubleExponential, Exponential, Synapse

ALL_INTEGRATORS = frozenset({"kim2019", "euler", "exact"})
ALL_SYNAPSES: frozenset[type] = frozenset({DoubleExponential, Exponential, Delta})
ALL_READOUTS: frozenset[type] = frozenset({DoubleExponential, Exponential})
ALL_PARAMETERS = frozenset(
    {"tau_mem", "tau_syn", "v_threshold", "v_reset", "v_leak", "t_ref", "bias", "noise_sd", "ref0"}
)


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """The limits of a target, after its exact rewrites; None: no limit. Every number has a source.

    precision: its numbers are floating point, so that parameters and states come out as they are; False: integers of
    few bits, to which they are rounded.  integrators: those whose tables it can hold exactly.  synapses, readouts: the
    kinds it computes; readouts None: outputs are computed by spikeport, from the target's spikes.  held_via: how values
    that are held between samples may come in, "membrane" and "synapse".
    heterogeneous: what may differ between units of one population.
    keyed_noise: the noise is the reference's own, number by number, and so are the spikes; else only its statistics.
    records_v: it can record v as it is before the reset.
    delays: the longest, in steps.  min_delay: the shortest that a projection from a population may have.
    """

    precision: bool = True
    integrators: frozenset[str] = ALL_INTEGRATORS
    synapses: frozenset[type] = ALL_SYNAPSES
    readouts: frozenset[type] | None = ALL_READOUTS
    resets: frozenset[str] = frozenset({"to_value", "subtract"})
    held_via: frozenset[str] = frozenset({"membrane", "synapse"})
    heterogeneous: frozenset[str] = ALL_PARAMETERS
    recurrent: bool = True
    spike_inputs: bool = True
    bias: bool = True
    synaptic_bias: bool = True
    refractory: bool = True
    initially_refractory: bool = True
    noise: bool = True
    keyed_noise: bool = True
    noise_while_refractory: bool = True
    spikes_while_refractory: bool = True
    initial_v: bool = True
    delays: int | None = None
    min_delay: int = 0
    populations: int | None = None
    neurons: int | None = None
    records_v: bool = True
    dtypes: tuple[str, ...] = ("float64",)
    devices: tuple[str, ...] = ("cpu",)
    source: str


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that a target cannot take: the feature's name, where it is, the value found, what the target can."""

    feature: str
    where: str
    value: str
    limit: str

    def __str__(self) -> str:
        return f"{self.where}: {self.value}, {self.limit}"


def check(network: SpikingNetwork, can: Capabilities) -> tuple[Problem, ...]:
    """Every feature of `network` that is beyond `can`, in the order of its parts; () where it can all be said."""
    found = [*_clock(network, can)]
    for population in network.populations:
        found += _population(network, population, can)
    found += _inputs(network, can)
    found += _projections(network, can)
    found += _readouts(network, can)
    return tuple(found)


def _clock(network: SpikingNetwork, can: Capabilities) -> Iterator[Problem]:
    if not can.precision:
        yield Problem(
            feature="precision", where="network: parameters and states", value="floating-point numbers",
            limit="computes in integers of few bits",
        )  # fmt: skip
    if network.integrator not in can.integrators:
        limit = f"supports {_list(can.integrators)}"
        yield Problem(feature="integrator", where="network: integrator", value=f"'{network.integrator}'", limit=limit)
    for feature, value, most in (
        ("populations", len(network.populations), can.populations),
        ("neurons", network.n_neurons, can.neurons),
    ):
        if most is not None and value > most:
            yield Problem(feature=feature, where=f"network: {feature}", value=str(value), limit=f"limit {most}")


def _population(network: SpikingNetwork, p: Population, can: Capabilities) -> Iterator[Problem]:
    where, neuron = f"population {p.name}", p.neuron

    def no(feature: str, what: str, value: str, limit: str = "not supported") -> Problem:
        return Problem(feature=feature, where=f"{where}: {what}", value=value, limit=limit)

    if neuron.reset not in can.resets:
        yield no("reset", "reset", f"'{neuron.reset}'", f"supports {_list(can.resets)}")
    steps = refractory_steps(neuron.t_ref, network.dt)
    if not can.refractory and np.any(steps > 0):
        yield no("refractory", "t_ref", f"{np.max(neuron.t_ref) * 1e3:g} ms ({np.max(steps)} steps)")
    if not can.initially_refractory and np.any(np.asarray(p.ref0) > 0):
        yield no("initially_refractory", "ref0", f"{np.max(p.ref0):g} steps")
    frozen = np.any(steps > 0) or np.any(np.asarray(p.ref0) > 0)
    if frozen and p.spikes_while_refractory and not can.spikes_while_refractory:
        yield no("spikes_while_refractory", "spikes while refractory", "yes")
    noisy = bool(np.any(np.asarray(p.noise_sd) > 0))
    if noisy and not can.noise:
        yield no("noise", "noise_sd", f"{np.max(p.noise_sd):g} mV a step")
    if noisy and frozen and p.noise_while_refractory and not can.noise_while_refractory:
        yield no("noise_while_refractory", "noise while refractory", "yes")
    if not can.bias and _has_bias(p):
        yield no("bias", "bias", f"v_leak + bias differs from v_reset, by up to {_resting(p):g} mV")
    if not can.synaptic_bias and any(np.any(np.asarray(b)) for b in p.synaptic_bias.values()):
        yield no("synaptic_bias", "bias of a synapse", _list(frozenset(p.synaptic_bias)))
    if not can.initial_v and (isinstance(p.v0, Uniform) or np.any(np.asarray(p.v0) != np.asarray(neuron.v_reset))):
        v0 = f"uniform in [{p.v0.low:g}, {p.v0.high:g})" if isinstance(p.v0, Uniform) else "other than v_reset"
        yield no("initial_v", "v0", v0, "starts at v_reset")
    yield from (
        no("heterogeneous", name, "differs between units", "one value for all units of a population")
        for name, value in per_unit_parameters(p).items()
        if name not in can.heterogeneous and np.ptp(per_unit(value, p.n)) > 0
    )
    for name, synapse in p.synapses.items():
        if type(synapse) not in can.synapses:
            yield no("synapse", f"synapse {name}", type(synapse).__name__, f"supports {_kinds(can.synapses)}")
        elif "tau_syn" not in can.heterogeneous and _differs(synapse, p.n):
            yield no("heterogeneous", f"tau of synapse {name}", "differs between units", "one value for all units")


def per_unit_parameters(p: Population) -> dict[str, PerUnit]:
    """The parameters of a population that may be arrays, by the names that `heterogeneous` uses (tau_syn apart)."""
    names = ("tau_mem", "v_threshold", "v_reset", "v_leak", "t_ref")
    return {name: getattr(p.neuron, name) for name in names} | {"bias": p.bias, "noise_sd": p.noise_sd, "ref0": p.ref0}


def _inputs(network: SpikingNetwork, can: Capabilities) -> Iterator[Problem]:
    for port in network.spike_inputs:
        if not can.spike_inputs:
            yield Problem(
                feature="spike_inputs", where=f"input {port.name}", value="spikes", limit="takes held values only"
            )


def _projections(network: SpikingNetwork, can: Capabilities) -> Iterator[Problem]:
    kinds = {p.name: p for p in (*network.populations, *network.inputs)}
    looping = loops(network)
    for projection in network.projections:
        where = f"projection {projection.source}->{projection.target}"
        source = kinds[projection.source]
        if isinstance(source, HeldInput):
            via = "membrane" if projection.synapse is None else "synapse"
            if via not in can.held_via:
                limit = f"supports {_list(can.held_via)}" if can.held_via else "takes spikes only"
                yield Problem(feature="held_via", where=where, value=f"held values via {via}", limit=limit)
        if can.delays is not None and projection.delay > can.delays:
            value = f"delay {projection.delay} steps"
            yield Problem(feature="delays", where=where, value=value, limit=f"limit {can.delays}")
        if isinstance(source, Population) and projection.delay < can.min_delay:
            value = f"delay {projection.delay} steps"
            yield Problem(feature="min_delay", where=where, value=value, limit=f"at least {can.min_delay}")
        if not can.recurrent and (projection.source, projection.target) in looping:
            yield Problem(feature="recurrent", where=where, value="closes a loop", limit="feed-forward only")


def _readouts(network: SpikingNetwork, can: Capabilities) -> Iterator[Problem]:
    for readout in network.readouts:
        if can.readouts is not None and type(readout.synapse) not in can.readouts:
            limit = f"supports {_kinds(can.readouts)}" if can.readouts else "not supported"
            where, value = f"read-out {readout.name}: synapse", type(readout.synapse).__name__
            yield Problem(feature="readouts", where=where, value=value, limit=limit)


def loops(network: SpikingNetwork) -> set[tuple[str, str]]:
    """(source, target) of each projection whose target leads back to its source."""
    names = [p.name for p in network.populations]
    edges = {(p.source, p.target) for p in network.projections if p.source in names}
    reach = {a: {b for s, b in edges if s == a} for a in names}
    for _ in names:
        reach = {a: bs.union(*(reach[b] for b in bs)) if bs else bs for a, bs in reach.items()}
    return {(a, b) for a, b in edges if a in reach[b] or a == b}


def _has_bias(p: Population) -> bool:
    return _resting(p) > 0


def _resting(p: Population) -> float:
    """How far the resting drive, v_leak + bias, is from v_reset: what is a bias where reset and leak are both 0."""
    drive = per_unit(p.neuron.v_leak, p.n) + per_unit(p.bias, p.n) - per_unit(p.neuron.v_reset, p.n)
    return float(np.abs(drive).max())


def _differs(synapse: Synapse, n: int) -> bool:
    return any(
        np.ptp(per_unit(getattr(synapse, t), n)) > 0 for t in ("tau", "tau_rise", "tau_decay") if hasattr(synapse, t)
    )


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _kinds(kinds: frozenset[type]) -> str:
    return ", ".join(sorted(k.__name__ for k in kinds)) or "none"
