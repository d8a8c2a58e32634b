"""From a network to SpiNNaker's integers, and back to the network that those integers are; with what it costs.

What counts is what a unit's v settles at, `effect`, under one spike a step (loihi/steps.py): with the chip's own keep_i
and first, a weight is

    q = effect 2^gain (1 - keep_i) / first    nA,    weight = rint(|q| 2^(15 - shift))

shift is the least with which no ring buffer can ever saturate: the sum of one receptor's weights to one unit is at most
65535, should every source spike in one step. The tool would take 5 sigma of Poisson spikes instead; it is told ours.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from spikeport.snn.losses import Loss
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.spiking import Population, SpikingNetwork, Uniform
from spikeport.snn.synapses import Exponential
from spikeport.targets.fixed_point.fractions import S1615_BITS, U032_BITS, from_s1615, to_s1615
from spikeport.targets.fixed_point.integers import Ints
from spikeport.targets.loihi.bounds import bounds
from spikeport.targets.loihi.quantise import _euler_readout as euler_readout
from spikeport.targets.loihi.quantise import hosted_name, spike_intervals
from spikeport.targets.loihi.steps import Wanted, wanted
from spikeport.targets.spinnaker import arithmetic
from spikeport.targets.spinnaker.chip import EXCITATORY, INHIBITORY, Cells, Chip, Synapses
from spikeport.targets.spinnaker.costs import population_losses, projection_loss
from spikeport.targets.spinnaker.limits import CURRENT_ROOM, GAIN_MAX, WEIGHT_MAX

LARGEST_RAW = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """The chip; the network that it computes (but for the rounding of i and v in each step).

    most: population -> mV, how far spikes can move any v.
    """

    chip: Chip
    network: SpikingNetwork
    most: Mapping[str, float]
    losses: tuple[Loss, ...]


def quantise(network: SpikingNetwork) -> Quantised:
    """The chip's version of a network that has no other problem (problems.py)."""
    ts = int(to_s1615(network.dt * 1e3))
    cells: list[Cells] = []
    synapses: list[Synapses] = []
    told: dict[int, Array] = {}
    hosted: dict[int, Array] = {}
    losses: list[Loss] = []
    most: dict[str, float] = {}
    for w in wanted(network):
        most[w.step.name] = moved_by_spikes(network, w)
        c = _cells(network, w, ts, most[w.step.name])
        mine, c = _synapses(network, w, c)
        back = _back(c) * network.dt
        for index in w.effects:
            whole = sum(((1 - 2 * s.receptor) * 2.0 ** c.shifts[s.receptor] * s.weight
                         for s in mine if s.projection == index), np.zeros_like(w.effects[index]))  # fmt: skip
            told[index] = whole * back[:, None]
            losses += [projection_loss(network.projections[index], told[index], w.effects[index] * network.dt)]
        hosted |= _hosted(network, w)
        losses += population_losses(w, c, network.dt)
        cells.append(c)
        synapses += mine
    chip = Chip(cells=tuple(cells), synapses=tuple(synapses), inputs={i.name: i.n for i in network.spike_inputs},
                dt=network.dt, ts=ts)  # fmt: skip
    names = {c.name: c.synapse for c in cells}
    network_told = replace(
        network,
        populations=tuple(_population(network, w, c) for w, c in zip(wanted(network), cells, strict=True)),
        projections=tuple(
            replace(j, weight=told[i], synapse=names[j.target]) if i in told
            else (replace(j, weight=hosted[i], synapse=hosted_name(str(j.synapse))) if i in hosted else j)
            for i, j in enumerate(network.projections)
        ),
        readouts=tuple(euler_readout(network, r) for r in network.readouts),
        integrator="euler",
    )  # fmt: skip
    return Quantised(chip=chip, network=network_told, most=most, losses=tuple(losses))


def moved_by_spikes(network: SpikingNetwork, w: Wanted) -> float:
    """mV: how far the spikes of one sign can move a v, each source spiking as fast as it can, for ever."""
    intervals = spike_intervals(network)
    fresh = 1 - w.D
    parts = [(effect * fresh[:, None], intervals[network.projections[i].source]) for i, effect in w.effects.items()]
    return bounds(parts, fresh, 1 - w.A, np.zeros(w.step.n)).current


def moved_by_currents(w: Wanted, size: float = 1.0) -> Array:
    """(n,) mV: how far held values up to `size`, and constants through a synapse, can move v."""
    found: Array = np.zeros(w.step.n)
    for weight in w.held.values():
        found = found + size * np.abs(weight).sum(axis=1)
    for h in w.hosted:
        found = found + h.most(size)
    return found


def _cells(network: SpikingNetwork, w: Wanted, ts: int, most: float) -> Cells:
    p, n = w.population, w.step.n
    tau_m = arithmetic.nearest_taus(ts, w.A, arithmetic.keep_v, arithmetic.ONE)
    tau_syn = arithmetic.nearest_taus(ts, w.D, arithmetic.keep_i, arithmetic.WHOLE)
    size = most + float(moved_by_currents(w).max())
    room = [GAIN_MAX, int(np.log2(CURRENT_ROOM / size)) if 0 < size <= CURRENT_ROOM else GAIN_MAX * (size == 0)]
    room += [int(np.log2(LARGEST_RAW / tau_m.max()))]  # cm = tau_m 2^gain
    threshold = np.floor(np.ldexp(w.step.threshold, S1615_BITS)).astype(np.int64) + 1  # v > t
    v0 = np.zeros(n) if isinstance(p.v0, Uniform) else per_unit(p.v0, n)
    return Cells(
        name=p.name, tau_m=tau_m, tau_syn=tau_syn,
        keep_v=arithmetic.each(arithmetic.keep_v, ts, tau_m),
        keep_i=arithmetic.each(arithmetic.keep_i, ts, tau_syn),
        first=arithmetic.each(arithmetic.first, ts, tau_syn),
        rest=settled(w.drive, w.step.threshold, threshold), threshold=threshold,
        reset=settled(w.step.reset, w.step.threshold, threshold),
        v0=settled(v0, w.step.threshold, threshold),
        refractory=w.step.refractory, ref0=w.step.ref0, gain=max(0, min(room)), shifts=(0, 0), drive=w.drive,
        held=w.held, hosted=w.hosted, synapse=w.synapse,
    )  # fmt: skip


def settled(drive: Array, limit: Array, threshold: Ints) -> Ints:
    """The nearest s16.15 of a potential, mV, on its own side of the threshold: of where v settles, resets or starts.

    A unit is silent by itself up to drive = v_threshold, and Kim's networks rest exactly there: rounded up, every one
    would spike for ever.
    """
    raw = to_s1615(drive)
    return np.asarray(np.where(drive <= limit, np.minimum(raw, threshold - 1), np.maximum(raw, threshold)))


def _back(c: Cells) -> Array:
    """(n,) mV that v settles at under one spike a step, per unit of weight 2^shift."""
    fresh = 1 - np.ldexp(c.keep_i.astype(np.float64), -U032_BITS)
    return np.asarray(np.ldexp(c.first.astype(np.float64), -U032_BITS - S1615_BITS - c.gain) / fresh)


def _synapses(network: SpikingNetwork, w: Wanted, c: Cells) -> tuple[list[Synapses], Cells]:
    """The weights of both signs, and the cells with their shifts."""
    found, shifts = list[Synapses](), []
    for receptor, sign in ((EXCITATORY, 1), (INHIBITORY, -1)):
        wished = {i: np.maximum(sign * effect, 0) / _back(c)[:, None] for i, effect in w.effects.items()}
        shift = least_shift(wished.values())
        shifts.append(shift)
        for i, q in wished.items():
            j, weight = network.projections[i], np.rint(q / 2.0**shift)
            if weight.any():
                found.append(Synapses(source=j.source, target=j.target, weight=weight.astype(np.int64),
                                      receptor=receptor, delay=j.delay, projection=i))  # fmt: skip
    return found, replace(c, shifts=(shifts[0], shifts[1]))


def least_shift(wished: Collection[Array]) -> int:
    """The least shift with which weights rint(q / 2^shift), summed over all sources of a unit, are at most 65535."""
    if not wished:
        return 0
    most = float(np.sum([q.sum(axis=1) for q in wished], axis=0).max())
    shift = max(0, int(np.floor(np.log2(most / WEIGHT_MAX)))) if most > 0 else 0
    while np.sum([np.rint(q / 2.0**shift).sum(axis=1) for q in wished], axis=0).max() > WEIGHT_MAX:
        shift += 1
    return shift


def _hosted(network: SpikingNetwork, w: Wanted) -> dict[int, Array]:
    """index of a projection of held values through a synapse -> its weights under Euler, by the host's filter."""
    held, found = {i.name for i in network.held_inputs}, {}
    for index, j in enumerate(network.projections):
        if j.target == w.step.name and j.source in held and j.synapse is not None:
            h = next(h for h in w.hosted if h.synapse == j.synapse)
            s = next(s for s in w.step.synapses if s.name == j.synapse)
            gain = s.table.B[:, 0] * s.table.held[:, 0] / ((1 - h.D) * (1 - w.A))
            found[index] = j.weight * gain[:, None]
    return found


def _population(network: SpikingNetwork, w: Wanted, c: Cells) -> Population:
    """The population whose Euler step has the chip's decays and potentials."""
    p, dt = w.population, network.dt
    synapses = {hosted_name(h.synapse): Exponential(tau=_plain(dt / (1 - h.D))) for h in w.hosted}
    if w.synapse:
        keep = np.ldexp(c.keep_i.astype(np.float64), -U032_BITS)
        synapses = {w.synapse: Exponential(tau=_plain(dt / (1 - keep))), **synapses}
    neuron = replace(
        p.neuron, tau_mem=_plain(dt / (1 - from_s1615(c.keep_v))), v_leak=0.0, v_reset=_plain(from_s1615(c.reset)),
        v_threshold=_plain(from_s1615(c.threshold) - 2.0 ** -(S1615_BITS + 1)),
    )  # fmt: skip
    return replace(
        p, neuron=neuron, synapses=synapses, bias=_plain(w.drive if c.driven else from_s1615(c.rest)),
        synaptic_bias={hosted_name(h.synapse): h.constant for h in w.hosted if h.constant.any()},
        v0=p.v0 if isinstance(p.v0, Uniform) else from_s1615(c.v0),
    )  # fmt: skip


def _plain(values: Array) -> float | Array:
    """One number where all units agree."""
    return float(values[0]) if np.ptp(values) == 0 else values
