"""Compiling a network for engine_kernel.py: fields at offsets, tiles padded, numbers cast once.

Candidates are networks that differ in numbers only (weights, biases, time constants, thresholds); their structure
(populations, synapse classes, projections, delays, inputs) is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn import engine_loops, noise
from spikeport.snn.drive import noise_key
from spikeport.snn.engine_kernel import Plan
from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.integrators import SynapseTable, get_integrator, synapse_table
from spikeport.snn.neurons import Array, per_unit, refractory_steps
from spikeport.snn.spiking import HeldInput, Population, SpikingNetwork

Ints = NDArray[np.int64]
W, POP = int(engine_loops.W), int(engine_loops.POP)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A Plan and the sizes its memory needs. Populations are found by their place in the network."""

    plan: Plan
    sizes: tuple[int, int, int, int]  # of the state: populations, synapses, held inputs, read-outs
    slots: int  # of the ring: a power of two above the longest delay
    ring_units: int
    n_outputs: int
    padded_units: int
    noisy: bool
    tile_of: dict[str, tuple[int, int]]  # population -> (offset of its first tile in the state, units)
    first_unit: dict[str, int]  # population -> its first global unit


class _Params:
    """Parameter vectors of all candidates, grown together."""

    def __init__(self, dtype: type[np.floating], n_candidates: int) -> None:
        self.dtype, self.size = dtype, 0
        self.parts: list[list[NDArray[Any]]] = [[] for _ in range(n_candidates)]

    def tiles(self, fields: Sequence[Sequence[Array]], pads: Sequence[float] = (), floor: Sequence[int] = ()) -> int:
        """Append tiles of fields: fields[candidate][field] is (n,); returns the offset."""
        at = self.size
        for part, candidate in zip(self.parts, fields, strict=True):
            padded = np.stack([_pad(f, pads[i] if pads else 0.0) for i, f in enumerate(candidate)])
            cast = padded.astype(self.dtype)
            for i in floor:  # v > t for a float32 v and a float64 t is v > (t rounded down to float32)
                up = cast[i].astype(np.float64) > padded[i]
                cast[i][up] = np.nextafter(cast[i][up], self.dtype(-np.inf))
            tiled = cast.reshape(len(candidate), -1, W).transpose(1, 0, 2).ravel()
            part.append(tiled)
        self.size += self.parts[0][-1].size
        return at

    def shared(
        self, fields: Sequence[Sequence[Array]], pads: Sequence[float] = (), floor: Sequence[int] = ()
    ) -> tuple[int, int]:
        """The same, but one tile where it is the same for every unit of each candidate; the offset, and the step."""
        if all(np.ptp(f) == 0 for candidate in fields for f in candidate):
            return self.tiles([[np.full(W, f[0]) for f in candidate] for candidate in fields], pads, floor), 0
        return self.tiles(fields, pads, floor), len(fields[0]) * W

    def rows(self, weights: Sequence[Array]) -> int:
        """Append the columns of weights[candidate] (post, pre), each padded: one row of targets per source."""
        at = self.size
        for part, w in zip(self.parts, weights, strict=True):
            n, sources = w.shape
            padded = np.zeros((sources, _padded(n)), dtype=self.dtype)
            padded[:, :n] = w.T
            part.append(padded.ravel())
        self.size += self.parts[0][-1].size
        return at

    def values(self, values: Sequence[Array]) -> int:
        at = self.size
        for part, v in zip(self.parts, values, strict=True):
            part.append(np.asarray(v, dtype=self.dtype).ravel())
        self.size += self.parts[0][-1].size
        return at

    def finish(self) -> NDArray[Any]:
        return np.stack([np.concatenate(part) for part in self.parts])


def compile_networks(networks: Sequence[SpikingNetwork], dtype: type[np.floating]) -> Layout:
    """The layout of `networks`, candidates of one structure."""
    # long: the tables refer to each other by offsets that grow together
    network = networks[0]
    check_same_structure(networks)
    params = _Params(dtype, len(networks))
    order = network.population_order()
    sources, ring_units = _sources(network, order)
    source_id = {**{network.populations[i].name: row for row, i in enumerate(order)},
                 **{s.name: len(order) + j for j, s in enumerate(network.spike_inputs)}}  # fmt: skip
    first_unit = dict(
        zip(
            (p.name for p in network.populations),
            np.cumsum([0, *(p.n for p in network.populations)]).tolist(),
            strict=False,
        )
    )
    size = x_size = hold_size = 0
    pops: list[list[int]] = []
    syns: list[list[int]] = []
    projs: list[list[int]] = []
    helds: list[list[int]] = []
    keep, units = [], []
    tile_of = {}
    padded = 0
    for row, index in enumerate(order):
        population = network.populations[index]
        tiles = _padded(population.n) // W
        tile_of[population.name] = (size, population.n)
        at, size = size, size + tiles * POP
        first_syn = len(syns)
        for name in population.synapses:
            syn = _synapse(networks, index, name, params, projs, helds, source_id)
            syn[1], x_size = x_size, x_size + tiles * W * (syn[0] + 1)
            if syn[6] >= 0:
                syn[5], hold_size = hold_size, hold_size + tiles * W * 2
            syns.append(syn)
        first_held = len(helds)
        helds += _helds(networks, population.name, None, params)
        key, ids = noise_key(network, population)
        g, dg = params.shared([_membrane_fields(n, index) for n in networks], _MEMBRANE_PADS, (2,))
        pops.append([
            population.n, tiles, at, g, padded, row, first_unit[population.name], first_syn, len(syns), first_held,
            len(helds), int(any(np.any(np.asarray(n.populations[index].noise_sd) > 0) for n in networks)),
            (noise.STREAMS["membrane"] << 16) | key, params.tiles([_drive_fields(n, index) for n in networks]), dg,
        ])  # fmt: skip
        keep.append(
            [
                population.neuron.reset == "subtract",
                population.noise_while_refractory,
                population.spikes_while_refractory,
            ]
        )
        units.append(_pad(ids, 0).astype(np.uint64))
        padded += tiles * W
    outs, r_size, n_outputs = _readouts(networks, params, source_id)
    delays = [p.delay for p in network.projections]
    plan = Plan(
        pops=_table(pops, 15), syns=_table(syns, 12), projs=_table(projs, 3), helds=_table(helds, 3),
        outs=_table(outs, 12), sources=sources, keep=np.array(keep, dtype=dtype), units=np.concatenate(units),
        params=params.finish(),
    )  # fmt: skip
    slots = 1 << int(max(delays, default=0)).bit_length()
    return Layout(
        plan=plan, sizes=(size, x_size, hold_size, r_size), slots=slots, ring_units=ring_units,
        n_outputs=n_outputs, padded_units=padded, noisy=any(row[11] for row in pops), tile_of=tile_of,
        first_unit=first_unit,
    )  # fmt: skip


def check_same_structure(networks: Sequence[SpikingNetwork]) -> None:
    """Refuse candidates that differ in more than numbers."""
    first = _structure(networks[0])
    for i, other in enumerate(networks[1:], start=1):
        if _structure(other) != first:
            raise InvalidNetworkError(
                f"candidates: network {i} differs from network 0 in structure, not only in numbers"
            )


def _structure(network: SpikingNetwork) -> tuple[Any, ...]:
    def population(p: Population) -> tuple[Any, ...]:
        kinds = tuple((name, type(s)) for name, s in p.synapses.items())
        ids = None if p.unit_ids is None else tuple(np.asarray(p.unit_ids).tolist())
        return (p.name, p.n, type(p.neuron), p.neuron.reset, kinds, tuple(p.synaptic_bias), p.noise_while_refractory,
                p.spikes_while_refractory, p.noise_key, ids)  # fmt: skip

    return (
        network.dt,
        network.integrator,
        tuple(population(p) for p in network.populations),
        network.inputs,
        tuple((p.source, p.target, p.synapse, p.delay, p.weight.shape) for p in network.projections),
        tuple((r.name, r.source, type(r.synapse), r.weight.shape) for r in network.readouts),
    )


_MEMBRANE_PADS = (1.0, 0.0, np.inf, 0.0, 0.0)  # a padding unit is at -inf and never reaches its threshold


def _membrane_fields(network: SpikingNetwork, index: int) -> list[Array]:
    p = network.populations[index]
    neuron = p.neuron
    threshold, reset = per_unit(neuron.v_threshold, p.n), per_unit(neuron.v_reset, p.n)
    a = get_integrator(network.integrator).decay(per_unit(neuron.tau_mem, p.n), network.dt)
    return [
        a,
        per_unit(p.noise_sd, p.n) / noise.NORMAL_SD,
        threshold,
        -(threshold - reset) if neuron.reset == "subtract" else reset,
        per_unit(refractory_steps(neuron.t_ref, network.dt).astype(np.float64), p.n),
    ]


def _drive_fields(network: SpikingNetwork, index: int) -> list[Array]:
    p = network.populations[index]
    a = get_integrator(network.integrator).decay(per_unit(p.neuron.tau_mem, p.n), network.dt)
    return [1 - a, per_unit(p.neuron.v_leak, p.n) + per_unit(p.bias, p.n)]


def _synapse(
    networks: Sequence[SpikingNetwork], index: int, name: str, params: _Params, projs: list[list[int]],
    helds: list[list[int]], source_id: dict[str, int],
) -> list[int]:  # fmt: skip
    """One row of `syns` (its offsets in the state still open) and its projections' rows."""
    population = networks[0].populations[index]
    tables = [_table_of(n, index, name) for n in networks]
    states = population.synapses[name].n_states
    at, step = params.shared([_synapse_fields(t) for t in tables])
    more = params.shared([_second_fields(t) for t in tables]) if states == 2 else (-1, 0)
    first = len(projs)
    held_sources = {i.name for i in networks[0].held_inputs}
    for j, p in enumerate(networks[0].projections):
        if p.target == population.name and p.synapse == name and p.source not in held_sources:
            projs.append([source_id[p.source], p.delay, params.rows([n.projections[j].weight for n in networks])])
    first_held = len(helds)
    helds += _helds(networks, population.name, name, params)
    gains = -1
    if len(helds) > first_held or name in population.synaptic_bias:
        gains = params.tiles([
            [per_unit(n.populations[index].synaptic_bias.get(name, 0.0), population.n), t.held[:, 0], t.held[:, -1]]
            for n, t in zip(networks, tables, strict=True)
        ])  # fmt: skip
    return [states, -1, at, first, len(projs), -1, gains, first_held, len(helds), step, *more]


def _table_of(network: SpikingNetwork, index: int, name: str) -> SynapseTable:
    p = network.populations[index]
    return synapse_table(
        get_integrator(network.integrator), p.synapses[name], per_unit(p.neuron.tau_mem, p.n), network.dt
    )


def _synapse_fields(table: SynapseTable) -> list[Array]:
    states = table.D.shape[1]
    if states == 2:
        return [table.D[:, 0, 0], table.jump[:, 1]]
    if states == 1:
        return [table.D[:, 0, 0], table.jump[:, 0], table.B[:, 0]]
    return [table.jump[:, 0]]


def _second_fields(table: SynapseTable) -> list[Array]:
    return [table.D[:, 0, 1], table.D[:, 1, 1], table.B[:, 0], table.B[:, 1]]


def _helds(networks: Sequence[SpikingNetwork], target: str, synapse: str | None, params: _Params) -> list[list[int]]:
    ports: dict[str, tuple[int, HeldInput]] = {h.name: (i, h) for i, h in enumerate(networks[0].held_inputs)}
    rows = []
    for j, p in enumerate(networks[0].projections):
        if p.target == target and p.synapse == synapse and p.source in ports:
            number, port = ports[p.source]
            rows.append([number, port.n, params.rows([n.projections[j].weight for n in networks])])
    return rows


def _readouts(
    networks: Sequence[SpikingNetwork], params: _Params, source_id: dict[str, int]
) -> tuple[list[list[int]], int, int]:
    outs: list[list[int]] = []
    size = first = 0
    for j, readout in enumerate(networks[0].readouts):
        source = networks[0].population(readout.source)
        tiles = _padded(source.n) // W
        fields, second = [], []
        for n in networks:
            p = n.population(readout.source)
            table = synapse_table(
                get_integrator(n.integrator), n.readouts[j].synapse, per_unit(p.neuron.tau_mem, p.n), n.dt
            )
            states = table.D.shape[1]
            fields.append([table.D[:, 0, 0], table.jump[:, states - 1]])
            second.append([table.D[:, 0, 1], table.D[:, 1, 1]] if states == 2 else [])
        at, step = params.shared(fields)
        more = params.shared(second) if second[0] else (-1, 0)
        weights = params.rows([n.readouts[j].weight.T for n in networks])
        bias = params.values([n.readouts[j].bias for n in networks])
        n_out = readout.weight.shape[0]
        outs.append([
            readout.synapse.n_states, size, at, tiles, source_id[readout.source], weights, first, n_out, bias, step,
            *more,
        ])  # fmt: skip
        size += tiles * 2 * W
        first += n_out
    return outs, size, first


def _sources(network: SpikingNetwork, order: Sequence[int]) -> tuple[Ints, int]:
    sizes = [network.populations[i].n for i in order] + [s.n for s in network.spike_inputs]
    starts = np.cumsum([0, *sizes])
    return starts[:-1].reshape(-1, 1).astype(np.int64), int(starts[-1])


def _padded(n: int) -> int:
    return -(-n // W) * W


def _pad(values: NDArray[Any], pad: float) -> NDArray[Any]:
    out = np.full(_padded(values.shape[0]), pad, dtype=values.dtype)
    out[: values.shape[0]] = values
    return out


def _table(rows: Sequence[Sequence[int]], width: int) -> Ints:
    return np.array(rows, dtype=np.int64).reshape(len(rows), width)
