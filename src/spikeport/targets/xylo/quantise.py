"""From a network to Xylo's integers, and back to the network that those integers are; with what it costs.

A network whose reset is a value gets the threshold 32767 everywhere: v saturates there, so whatever lifts v over the
threshold, v - threshold is 0 after a spike. That is a reset to 0, exactly, and never two spikes in a step; the price is
that v has only one threshold of room below its reset. A network that resets by subtraction gets thresholds from 16384
to 18432, searched neuron by neuron for the least error of its weights; v is below two of them, so again no neuron
spikes twice in a step; above it has 1.8 to 2 thresholds of room.

The shifts of both weight matrices are searched for the least squared error of all effects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from spikeport.snn.losses import Loss
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.spiking import HeldInput, Population, Projection, SpikingNetwork, Uniform
from spikeport.snn.synapses import Exponential
from spikeport.targets.fixed_point.integers import Ints, bit_shift_decay
from spikeport.targets.loihi.quantise import _euler_readout as euler_readout
from spikeport.targets.rewrites import Scale, normalised
from spikeport.targets.xylo.bounds import Bounds, bounds
from spikeport.targets.xylo.chip import Channel, Chip, Neurons, Weights
from spikeport.targets.xylo.costs import population_losses, projection_loss
from spikeport.targets.xylo.host import channels, counts_of
from spikeport.targets.xylo.limits import BIAS_MAX, BIAS_MIN, FULL, HALF, SHIFT_MAX, WEIGHT_MAX, WEIGHT_MIN
from spikeport.targets.xylo.steps import CONSTANT, Wanted, wanted

THRESHOLDS = 33  # tried for a neuron that subtracts


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """The chip; the network that it computes (but for the rounding of i and v in each step); the way back to mV.

    bounds: population -> how far its states can go, and how far rounding can take them.
    """

    chip: Chip
    network: SpikingNetwork
    scale: Mapping[str, Scale]
    bounds: Mapping[str, Bounds]
    losses: tuple[Loss, ...]


@dataclass(frozen=True, kw_only=True)
class _Matrix:
    """Real weights of one of the chip's matrices, (sources, n, 2): q per threshold, and the effect of a q of 1."""

    q: Array
    worth: Array


def quantise(source: SpikingNetwork) -> Quantised:
    """The chip's version of a network that has no other problem (problems.py)."""
    network, scale = normalised(source)
    whole = wanted(network)
    counts = counts_of(network, whole)
    rows = channels(network, counts)
    into, rec = _matrices(network, whole, rows, counts)
    tried = [_tried(w) for w in whole]
    shift_in, shift_rec, threshold = _search(into, rec, np.concatenate(tried))
    weights_in = _whole(into.q, threshold, shift_in)
    ends = np.cumsum([0, *(w.step.n for w in whole)])
    neurons = []
    for w, i, j in zip(whole, ends, ends[1:], strict=False):
        sent = constants_of(w, threshold[i:j], rows, weights_in[:, i:j], shift_in, counts)
        neurons.append(_neurons(w, threshold[i:j], sent))
    chip = Chip(
        neurons=tuple(neurons), channels=rows, weights_in=weights_in,
        weights_rec=_whole(rec.q, threshold, shift_rec), shift_in=shift_in, shift_rec=shift_rec, counts=counts,
        dt=network.dt,
    )  # fmt: skip
    told, losses = _told(network, whole, chip, scale)
    losses += _cut("input", into.q, threshold, shift_in) + _cut("recurrent", rec.q, threshold, shift_rec)
    limits = {w.step.name: bounds(network, w, chip) for w in whole}
    for w in whole:
        c, at = chip.population(w.step.name), chip.places()[w.step.name]
        sent = constants_of(w, c.threshold, rows, weights_in[:, at], shift_in, counts)
        losses += population_losses(w, chip, limits[w.step.name], scale[w.step.name][1], sent)
    return Quantised(chip=chip, network=told, scale=scale, bounds=limits, losses=tuple(losses))


def _matrices(
    network: SpikingNetwork, whole: tuple[Wanted, ...], rows: tuple[Channel, ...], counts: Mapping[str, float]
) -> tuple[_Matrix, _Matrix]:
    """The real weights from the input channels and between the hidden neurons."""
    ends = np.cumsum([0, *(w.step.n for w in whole)])
    at = {w.step.name: slice(int(i), int(j)) for w, i, j in zip(whole, ends, ends[1:], strict=False)}
    n = int(ends[-1])
    into, rec, worth = np.zeros((len(rows), n, 2)), np.zeros((n, n, 2)), np.zeros((n, 2))
    for w in whole:
        mine = at[w.step.name]
        for c in range(len(w.currents)):
            worth[mine, c] = 1 / w.gain(c)
        for (index, c), effect in w.effects.items():
            j = network.projections[index]
            q = effect * w.gain(c)[:, None]
            if j.source in at:
                rec[at[j.source], mine, c] += q.T
                continue
            for k, row in enumerate(rows):
                if row.source == j.source and row.delay == j.delay:
                    into[k, mine, c] += q[:, row.index] * (row.sign / counts[j.source] if row.sign else 1.0)
        for (_, c), effect in w.constants.items():
            k = next(k for k, row in enumerate(rows) if row.source == CONSTANT)
            into[k, mine, c] += effect * w.gain(c) / counts[CONSTANT]
    return _Matrix(q=into, worth=worth), _Matrix(q=rec, worth=worth)


def _tried(w: Wanted) -> Array:
    """(n, THRESHOLDS): thresholds to choose from."""
    if w.population.neuron.reset == "to_value":
        return np.full((w.step.n, THRESHOLDS), float(FULL))
    return np.tile(np.rint(np.linspace(HALF, 1.125 * HALF, THRESHOLDS)), (w.step.n, 1))


def _search(into: _Matrix, rec: _Matrix, tried: Array) -> tuple[int, int, Ints]:
    """(shift of the input weights, of the recurrent ones, thresholds (n,)) with the least squared error of effects."""
    shifts, n = range(SHIFT_MAX + 1), tried.shape[0]
    errors: dict[tuple[str, int], Array] = {}
    same = bool(np.ptp(tried) == 0)
    for shift in shifts:
        for name, m in (("in", into), ("rec", rec)):
            found = np.zeros((n, tried.shape[1]))
            for k in range(1 if same else tried.shape[1]):
                off = _whole(m.q, tried[:, k], shift) * 2.0**shift / tried[:, k, None] - m.q
                found[:, k] = ((off * m.worth) ** 2).sum(axis=(0, 2))
            errors[name, shift] = found if not same else np.repeat(found[:, :1], tried.shape[1], axis=1)
    best = min(product(shifts, shifts), key=lambda s: _least(errors["in", s[0]] + errors["rec", s[1]]))
    # of equals, the largest threshold: the finest states
    total = errors["in", best[0]] + errors["rec", best[1]]
    column = tried.shape[1] - 1 - np.argmin(total[:, ::-1], axis=1)
    return best[0], best[1], tried[np.arange(n), column].astype(np.int64)


def _least(error: Array) -> float:
    return float(error.min(axis=1).sum())


def _whole(q: Array, threshold: Array | Ints, shift: int) -> Weights:
    """The nearest weights of 8 bits; those beyond are cut."""
    found = np.rint(q * (np.asarray(threshold) / 2.0**shift)[None, :, None])
    return np.asarray(np.clip(found, WEIGHT_MIN, WEIGHT_MAX), dtype=np.int8)


def _cut(name: str, q: Array, threshold: Ints, shift: int) -> list[Loss]:
    """What is beyond 8 bits at the shift that was chosen."""
    asked = q * threshold[None, :, None]
    off = np.rint(asked / 2.0**shift)
    beyond = int(((off > WEIGHT_MAX) | (off < WEIGHT_MIN)).sum())
    text = f"{beyond} of {int((q != 0).sum())}, largest asked {np.abs(asked).max(initial=0):.4g}"
    text += f", limit {WEIGHT_MAX << shift}"
    return [Loss("weights stop at the largest", f"{name} weights", text)] if beyond else []


def constants_of(
    w: Wanted, threshold: Ints, rows: tuple[Channel, ...], weights_in: Weights, shift: int, counts: Mapping[str, float]
) -> dict[int, Array]:
    """current -> (n,): what v settles at by the spikes that stand for constants; weights_in: of these neurons."""
    k = next((k for k, row in enumerate(rows) if row.source == CONSTANT), None)
    if k is None:
        return {}
    used = {c for _, c in w.constants}
    return {c: weights_in[k, :, c] * 2.0**shift * counts[CONSTANT] / (threshold * w.gain(c)) for c in used}


def _neurons(w: Wanted, threshold: Ints, sent: Mapping[int, Array]) -> Neurons:
    p, n = w.population, w.step.n
    v0 = np.zeros(n) if isinstance(p.v0, Uniform) else per_unit(p.v0, n)
    names = [*(c.name for c in w.currents), "", ""]
    dash = np.ones((n, 2), dtype=np.int64)
    for k, c in enumerate(w.currents):
        dash[:, k] = c.dash
    return Neurons(
        name=p.name, dash_mem=w.dash_mem, dash_syn=dash, threshold=threshold, bias=round_bias(w, threshold, sent),
        v0=np.rint(v0 * threshold).astype(np.int64), synapses=(names[0], names[1]),
    )  # fmt: skip


def round_bias(w: Wanted, threshold: Ints, sent: Mapping[int, Array]) -> Ints:
    """(n,): the nearest bias that leaves a neuron on its own side of its threshold; sent: what spikes for constants
    bring (`constants_of`): the bias makes up for their rounding.

    v is silent by itself up to drive = 1, and Kim's networks rest exactly there. On the chip v, from below, stays under
    its threshold while bias <= decay(threshold - 1, dash_mem).
    """
    drive = w.drive + sum(w.constants.values(), np.zeros(w.step.n)) - sum(sent.values(), np.zeros(w.step.n))
    found = np.clip(np.rint(drive * w.fresh * threshold), BIAS_MIN, BIAS_MAX).astype(np.int64)
    if sent:
        return found  # they ripple, so there is no edge
    edge, silent = bit_shift_decay(threshold - 1, w.dash_mem), drive <= 1
    return np.asarray(np.where(silent, np.minimum(found, edge), np.maximum(found, edge + 1)))


def _told(
    network: SpikingNetwork, whole: tuple[Wanted, ...], chip: Chip, scale: Mapping[str, Scale]
) -> tuple[SpikingNetwork, list[Loss]]:
    """The network whose Euler step has the chip's decays and weights, still in units of the threshold.

    Projections that join the same neurons with the same delay through one current are one on the chip, and here.
    """
    places, held = chip.places(), {i.name for i in network.inputs if isinstance(i, HeldInput)}
    groups: dict[tuple[str, str, int], list[int]] = {}
    for index, j in enumerate(network.projections):
        groups.setdefault((j.source, j.target, j.delay), []).append(index)
    projections: list[Projection] = []
    losses: list[Loss] = []
    for (source, target, _), members in groups.items():
        w, j = next(w for w in whole if w.step.name == target), network.projections[members[0]]
        unit = 1.0 if source in held else network.dt
        total, wished = np.zeros_like(j.weight), np.zeros_like(j.weight)
        for c in sorted({c for index, c in w.effects if index in members}):
            weight = _effect_of(chip, w, j, places, places[target], c)
            projections.append(replace(j, synapse=w.currents[c].name, weight=weight * unit))
            total = total + weight
        wished = sum((effect for (index, _), effect in w.effects.items() if index in members), wished)
        losses.append(projection_loss(j, total, wished, scale[target][1], network.dt, source in held))
    told = replace(
        network, populations=tuple(_population(network, w, chip) for w in whole), projections=tuple(projections),
        readouts=tuple(euler_readout(network, r) for r in network.readouts), integrator="euler",
    )  # fmt: skip
    return told, losses


def _effect_of(chip: Chip, w: Wanted, j: Projection, places: Mapping[str, slice], mine: slice, current: int) -> Array:
    """(n_target, n_source): the effects of a projection's weights as the chip has them."""
    threshold = chip.whole("threshold")[mine].astype(np.float64)
    back = (1 / (threshold * w.gain(current)))[:, None]
    if j.source in places:
        return np.asarray(chip.weights_rec[places[j.source], mine, current].T * 2.0**chip.shift_rec * back)
    found: Array = np.zeros_like(j.weight)
    for k, row in enumerate(chip.channels):
        if row.source == j.source and row.delay == j.delay and row.sign >= 0:
            found[:, row.index] = chip.weights_in[k, mine, current] * 2.0**chip.shift_in
    return found * back * chip.counts.get(j.source, 1.0)


def _population(network: SpikingNetwork, w: Wanted, chip: Chip) -> Population:
    p, c = w.population, chip.population(w.step.name)
    synapses = {x.name: Exponential(tau=_plain(network.dt * 2.0**x.dash)) for x in w.currents}
    at = chip.places()[w.step.name]
    sent = constants_of(w, c.threshold, chip.channels, chip.weights_in[:, at], chip.shift_in, chip.counts)
    return replace(
        p,
        neuron=replace(
            p.neuron, tau_mem=_plain(network.dt * 2.0**w.dash_mem), v_threshold=float(np.nextafter(1.0, 0.0))
        ),
        synapses=synapses, synaptic_bias={w.currents[k].name: _plain(e) for k, e in sent.items()},
        bias=_plain(c.bias / (c.threshold * w.fresh)),
        v0=p.v0 if isinstance(p.v0, Uniform) else c.v0 / c.threshold,
    )  # fmt: skip


def _plain(values: Any) -> float | Array:
    """One number where all units agree."""
    return float(values[0]) if np.ptp(values) == 0 else np.asarray(values, dtype=np.float64)
