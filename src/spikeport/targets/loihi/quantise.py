"""From a network to Loihi's integers, and back to the network that those integers are; with what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from spikeport.snn.integrators import get_integrator, synapse_table
from spikeport.snn.losses import Loss
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.spiking import Population, Projection, ReadOut, SpikingNetwork, Uniform
from spikeport.snn.synapses import DoubleExponential, Exponential
from spikeport.targets.loihi.bounds import Bounds, bounds
from spikeport.targets.loihi.chip import Chip, Compartments, Filter, Synapses
from spikeport.targets.loihi.costs import population_losses, projection_loss, whole_bias_losses
from spikeport.targets.loihi.drive import round_bias
from spikeport.targets.loihi.formats import Format, formats, given, threshold
from spikeport.targets.loihi.limits import STATE_SHIFT, WEIGHT_BITS
from spikeport.targets.loihi.netx import with_whole_biases
from spikeport.targets.loihi.steps import Hosted, Wanted, wanted
from spikeport.targets.rewrites import Scale, normalised
from spikeport.targets.tables import population_steps


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """The chip; the network that it computes (but for the rounding of u and v in each step); the way back to mV."""

    chip: Chip
    network: SpikingNetwork
    scale: Mapping[str, Scale]
    bounds: Mapping[str, Bounds]  # population -> in units of the chip
    losses: tuple[Loss, ...]


def quantise(source: SpikingNetwork, bits: int = WEIGHT_BITS, chain: bool = False) -> Quantised:
    """The chip's version of a network that has no other problem (problems.py); bits: of a weight; chain: for netx."""
    network, scale = normalised(source)
    intervals = spike_intervals(network)
    parts: list[_Part] = [_part(network, w, intervals, bits, chain) for w in wanted(network)]
    weights = {index: weight for part in parts for index, weight in part.weights.items()}
    currents = {part.wanted.step.name: part.wanted.synapse for part in parts}  # of several alike, the first
    losses: list[Loss] = []
    for part in parts:
        span = scale[part.wanted.step.name][1]
        losses += population_losses(part.wanted, part.compartments, part.bounds, span, network.dt)
        losses += whole_bias_losses(part.wanted, part.compartments, span) if chain else []
        losses += [projection_loss(network.projections[i], w, span, bits) for i, w in part.weights.items()]
    chip = Chip(
        compartments=tuple(part.compartments for part in parts),
        synapses=tuple(s for part in parts for s in part.synapses),
        inputs={i.name: i.n for i in network.spike_inputs},
        dt=network.dt,
    )
    told = replace(
        network,
        populations=tuple(part.population for part in parts),
        projections=tuple(
            replace(j, weight=weights[i], synapse=currents[j.target]) if i in weights else _held(j, parts)
            for i, j in enumerate(network.projections)
        ),
        readouts=tuple(_euler_readout(network, r) for r in network.readouts),
        integrator="euler",
    )
    found = {part.wanted.step.name: part.bounds for part in parts}
    return Quantised(chip=chip, network=told, scale=scale, bounds=found, losses=tuple(losses))


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One population. weights: index of a projection -> its weights as the chip has them, in those of the network."""

    wanted: Wanted
    compartments: Compartments
    synapses: tuple[Synapses, ...]
    population: Population
    weights: Mapping[int, Array]
    bounds: Bounds


def _part(network: SpikingNetwork, w: Wanted, intervals: Mapping[str, Array], bits: int, chain: bool) -> _Part:
    parts = formats(w, bits, chain)
    of_format = [(f, intervals[network.projections[f.projection].source]) for f in parts]
    drive = (w.drive - given(w)) * w.fresh_v
    real = bounds([(f.jump, r) for f, r in of_format], w.fresh_u, w.fresh_v, drive)
    vth = max(1, threshold(w, real, parts))
    c = with_whole_biases(_compartments(w, vth)) if chain else _compartments(w, vth)
    synapses = tuple(_synapses(network, f, vth) for f in parts)
    whole = bounds(
        [(s.weight.astype(np.float64), r) for s, (_, r) in zip(synapses, of_format, strict=True)],
        w.fresh_u, w.fresh_v, drive * c.scale,
    )  # fmt: skip
    back = (network.dt / (c.scale * w.fresh_u * w.fresh_v))[:, None]
    weights = {
        index: sum((s.weight * back for f, s in zip(parts, synapses, strict=True) if f.projection == index),
                   np.zeros_like(effect))
        for index, effect in w.effects.items()
    }  # fmt: skip
    return _Part(wanted=w, compartments=c, synapses=synapses, population=_population(network, w, c), weights=weights,
                 bounds=whole)  # fmt: skip


def spike_intervals(network: SpikingNetwork) -> dict[str, Array]:
    """population or spike input -> (n,) steps from one spike to the next, at least."""
    found: dict[str, Array] = {i.name: np.ones(i.n) for i in network.spike_inputs}
    for s in population_steps(network):
        found[s.name] = np.asarray(s.refractory + 1, dtype=np.float64)
    return found


def _compartments(w: Wanted, vth: int) -> Compartments:
    scale = vth << STATE_SHIFT
    p, n = w.population, w.step.n
    v0 = np.zeros(n) if isinstance(p.v0, Uniform) else per_unit(p.v0, n)
    return Compartments(
        name=p.name, du=w.du, dv=w.dv, vth=vth, refractory=w.step.refractory, bias=w.drive * w.fresh_v * scale,
        held={name: h * (w.fresh_v * scale)[:, None] for name, h in w.held.items()},
        filters=tuple(_filter(h, w.fresh_v * scale) for h in w.hosted),
        v0=np.rint(v0 * scale).astype(np.int64), synapse=w.synapse,
    )  # fmt: skip


def _held(j: Projection, parts: Sequence[_Part]) -> Projection:
    """A projection of held values, through the synapse that stands for the host's filter."""
    if j.synapse is None:
        return j
    w = next(part.wanted for part in parts if part.wanted.step.name == j.target)
    h = next(h for h in w.hosted if h.synapse == j.synapse)
    step = next(s for s in w.step.synapses if s.name == j.synapse)
    gain = step.table.B[:, 0] * step.table.held[:, 0] / ((1 - h.D) * (1 - w.A))
    return replace(j, weight=j.weight * gain[:, None], synapse=hosted_name(j.synapse))


def _filter(h: Hosted, unit: Array) -> Filter:
    fresh = (1 - h.D) * unit
    return Filter(
        synapse=h.synapse, keep=h.D, weights={name: e * fresh[:, None] for name, e in h.effects.items()},
        constant=h.constant * fresh,
    )  # fmt: skip


def hosted_name(synapse: str) -> str:
    """The synapse of the network as told that holds what the host filters for `synapse`."""
    return f"{synapse} (host)"


def _synapses(network: SpikingNetwork, f: Format, vth: int) -> Synapses:
    j = network.projections[f.projection]
    return Synapses(
        source=j.source, target=j.target, mantissa=f.mantissa(vth), exponent=f.exponent(vth), mode=f.mode,
        delay=j.delay, bits=f.bits, projection=f.projection,
    )  # fmt: skip


def _population(network: SpikingNetwork, w: Wanted, c: Compartments) -> Population:
    """The population whose Euler step has the chip's decays; a bias that no held input moves is rounded."""
    p, dt = w.population, network.dt
    hosted = {hosted_name(h.synapse): Exponential(tau=_plain(dt / (1 - h.D))) for h in w.hosted}
    bias = w.drive if w.held or w.hosted else round_bias(c, c.bias).value / (c.scale * w.fresh_v)
    return replace(
        p,
        neuron=replace(p.neuron, tau_mem=_plain(dt / w.fresh_v)),
        synapses={w.synapse: Exponential(tau=_plain(dt / w.fresh_u))} | hosted if w.synapse else hosted,
        synaptic_bias={hosted_name(h.synapse): h.constant for h in w.hosted if h.constant.any()},
        bias=_plain(bias),
        v0=p.v0 if isinstance(p.v0, Uniform) else c.v0 / c.scale,
    )


def _plain(values: Array) -> float | Array:
    """One number where all units agree."""
    return float(values[0]) if np.ptp(values) == 0 else values


def _euler_readout(network: SpikingNetwork, r: ReadOut) -> ReadOut:
    """The same filter, said to Euler: its decays by other time constants, its gain in the weights. Exact."""
    p, dt = network.population(r.source), network.dt
    tau_mem = per_unit(p.neuron.tau_mem, p.n)
    table = synapse_table(get_integrator(network.integrator), r.synapse, tau_mem, dt)
    decays = [dt / (1 - table.D[:, i, i]) for i in range(table.D.shape[1])]
    if isinstance(r.synapse, DoubleExponential):
        synapse: DoubleExponential | Exponential = DoubleExponential(tau_decay=decays[0], tau_rise=decays[1])
        gain = table.jump[:, 1] * table.D[:, 0, 1] / dt * decays[0] * decays[1]
    else:
        synapse = Exponential(tau=decays[0])
        gain = table.jump[:, 0] * decays[0]
    return replace(r, synapse=synapse, weight=r.weight * gain)
