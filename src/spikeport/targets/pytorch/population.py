"""One population in PyTorch: its synapses as linear filters, and what it needs for a block of steps.

    x[k] = D x[k-1] + jump J[k] + held H[k]      per synapse, D upper triangular, (batch, n) for each of its states

The tables are those of tables.py. What comes from outside is known for a whole block of steps and is added up for all
of them at once; what comes from spikes of the network is added in each step, with jump folded into the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from spikeport.snn.integrators import TINY, SynapseTable
from spikeport.snn.neurons import Array
from spikeport.snn.spiking import Projection
from spikeport.targets.pytorch.cells import Cell
from spikeport.targets.tables import PopulationStep

States = tuple[Tensor, ...]  # of one synapse


@dataclass(frozen=True)
class FromSpikes:
    """A projection from a population: (n_source, n) with the jump folded in."""

    source: str
    delay: int
    weight: Tensor


@dataclass(frozen=True)
class Entry:
    """A projection into a population: its index in the network, its source, its delay in steps."""

    index: int
    source: str
    delay: int


class Filter(nn.Module):
    """x = D x + arrivals, for one or two states with D upper triangular; every buffer is (n,)."""

    def __init__(self, table: SynapseTable) -> None:
        super().__init__()
        self.n_states = int(table.D.shape[1])
        assert self.n_states in (1, 2)
        for i in range(self.n_states):
            self.register_buffer(f"d{i}{i}", torch.tensor(table.D[:, i, i]), persistent=False)
        if self.n_states == 2:
            assert not table.D[:, 1, 0].any()
            self.register_buffer("d01", torch.tensor(table.D[:, 0, 1]), persistent=False)
        self.decays: list[Tensor] = []

    def prepare(self) -> Filter:
        """Look the buffers up once: attributes of a Module cost as much as a small operation."""
        self.decays = [getattr(self, name) for name in ("d00", "d11", "d01") if hasattr(self, name)]
        return self

    def step(self, x: States, arrivals: Sequence[Tensor | None]) -> States:
        d = self.decays
        first = d[0] * x[0] if arrivals[0] is None else torch.addcmul(arrivals[0], d[0], x[0])
        if self.n_states == 1:
            return (first,)
        second = d[1] * x[1] if arrivals[1] is None else torch.addcmul(arrivals[1], d[1], x[1])
        return torch.addcmul(first, d[2], x[1]), second


def flushed(x: States) -> States:
    """x, with 0 where |x| <= TINY: subnormal numbers are slow."""
    return tuple(functional.hardshrink(a, TINY) for a in x)


@dataclass
class SynapseBlock:
    """One synapse for a block of steps. outside: per state, the arrivals of each step, or None; inside: likewise."""

    filter: Filter
    outside: list[Sequence[Tensor] | None]
    inside: list[list[FromSpikes]]
    coupling: list[Tensor | None]  # B * gain, per state


@dataclass
class PopulationBlock:
    """A population for a block of steps.  drive: (batch, n) of each step, from outside.  moves: Delta synapses.
    noise: of each step, where a refractory unit gets it too.
    """

    name: str
    cell: Cell
    synapses: list[SynapseBlock]
    drive: Sequence[Tensor]
    moves: list[FromSpikes]
    noise: Sequence[Tensor] | None
    freezes: bool
    spikes_frozen: bool
    steps: Tensor
    same_steps: int | None
    zero: Tensor


class PopulationModule(nn.Module):
    """The tables of one population, the library's cell, and how weights enter."""

    def __init__(self, step: PopulationStep, cell: Cell, projections: Sequence[Projection]) -> None:
        super().__init__()
        index = {id(j): i for i, j in enumerate(projections)}

        def entries(into: Sequence[Projection]) -> tuple[Entry, ...]:
            return tuple(Entry(index[id(j)], j.source, j.delay) for j in into)

        self.name, self.n = step.name, step.n
        self.cell: Cell = cell
        self.noise_frozen = step.population.noise_while_refractory and step.may_freeze
        self.freezes, self.spikes_frozen = step.may_freeze, step.population.spikes_while_refractory
        synapses = [s for s in step.synapses if s.n_states]
        deltas = [s for s in step.synapses if not s.n_states]
        self.filters = nn.ModuleList(Filter(s.table) for s in synapses)
        self.spikes_into = [entries(s.spikes) for s in synapses]
        self.held_into = [entries(s.held) for s in synapses]
        self.deltas = [entries(s.spikes) for s in deltas]
        self.held = entries(step.held)
        same = (step.refractory == step.refractory[0]).all()
        self.same_steps = int(step.refractory[0]) if same else None
        self.register_buffer("steps", torch.tensor(step.refractory), persistent=False)
        self._keep("constant", (1 - step.A) * step.constant)
        self._keep("leak", 1 - step.A)
        for i, s in enumerate(synapses):
            for c in range(s.n_states):
                self._keep(f"jump{i}{c}", s.table.jump[:, c])
                self._keep(f"held{i}{c}", s.table.held[:, c])
                self._keep(f"bias{i}{c}", s.table.held[:, c] * s.bias)
                self._keep(f"coupling{i}{c}", s.table.B[:, c])
        for i, s in enumerate(deltas):
            self._keep(f"move{i}", s.table.jump[:, 0])

    def _keep(self, name: str, values: Array) -> None:
        """A buffer (n,), or None where it is 0 and what it would multiply can be left out."""
        self.register_buffer(f"t_{name}", torch.tensor(values) if values.any() else None, persistent=False)

    def table(self, name: str) -> Tensor | None:
        found = getattr(self, f"t_{name}")
        assert found is None or isinstance(found, Tensor)
        return found

    def block(  # long: a paragraph for each way into a population
        self, weights: Sequence[Tensor], rows: Mapping[int, Tensor], noise: Tensor | None, n_steps: int, like: Tensor
    ) -> PopulationBlock:
        """Everything for n_steps steps.  weights: (n, n_source) of every projection of the network.  rows: of each
        projection from an input, what it sends in each step, (time, batch, n_source).  noise: (time, batch, n).
        """
        gain = self.cell.gain
        whole = (n_steps, *like.shape)

        def scaled(x: Tensor) -> Tensor:
            return x if gain is None else x * gain

        def outside(into: Sequence[Entry], factor: Tensor | None) -> list[Tensor]:
            return (
                []
                if factor is None
                else [(rows[e.index] @ weights[e.index].T) * factor for e in into if e.index in rows]
            )

        def inside(into: Sequence[Entry], factor: Tensor | None) -> list[FromSpikes]:
            if factor is None:
                return []
            return [
                FromSpikes(e.source, e.delay, (weights[e.index] * factor[:, None]).T.contiguous())
                for e in into if e.index not in rows
            ]  # fmt: skip

        constant = self.table("constant")
        drive = like.new_zeros(whole) if constant is None else constant.expand(whole)
        for part in outside(self.held, self.table("leak")):
            drive = drive + part
        moves = []
        for i, into in enumerate(self.deltas):
            move = self.table(f"move{i}")
            assert move is not None
            for part in outside(into, move):
                drive = drive + part
            moves += inside(into, scaled(move))
        drive = scaled(drive)
        synapses = []
        for i, filt in enumerate(self.filters):
            assert isinstance(filt, Filter)
            block = SynapseBlock(filt.prepare(), [], [], [])
            for c in range(filt.n_states):
                jump, bias = self.table(f"jump{i}{c}"), self.table(f"bias{i}{c}")
                known = outside(self.spikes_into[i], jump) + outside(self.held_into[i], self.table(f"held{i}{c}"))
                known += [] if bias is None else [bias]
                block.outside.append(torch.unbind(sum(known[1:], known[0]).expand(whole)) if known else None)
                block.inside.append(inside(self.spikes_into[i], jump))
                coupling = self.table(f"coupling{i}{c}")
                block.coupling.append(None if coupling is None else scaled(coupling))
            synapses.append(block)
        apart = None
        if noise is not None and self.noise_frozen:
            # a frozen unit that may spike gets it from its cell, one that may not does not see its cell
            drive, apart = (drive, scaled(noise)) if self.spikes_frozen else (drive + scaled(noise), noise)
        elif noise is not None:
            drive = drive + scaled(noise)
        steps = self.steps
        assert isinstance(steps, Tensor)
        return PopulationBlock(
            name=self.name, cell=self.cell, synapses=synapses, drive=torch.unbind(drive), moves=moves,
            noise=None if apart is None else torch.unbind(apart), freezes=self.freezes,
            spikes_frozen=self.spikes_frozen, steps=steps, same_steps=self.same_steps, zero=like.new_zeros(()),
        )  # fmt: skip
