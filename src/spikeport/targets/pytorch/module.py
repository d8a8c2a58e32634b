"""A spiking network as an nn.Module: to run, to embed in a larger model, to train further, to save.

    outputs, spikes, state = module(inputs, state)      a block of steps: (time, batch, n) in, (time, batch, n) out
    outputs, spikes, state = module.step(inputs, state)  one step: (batch, n)

The step is the canonical one (spikeport.snn.reference); membrane, spike, reset and surrogate gradient are the library's
cell, the synapses are linear filters of ours. Parameters are the weights, those of a projection divided by the target
unit's v_threshold - v_reset (so s per spike, or 1 per unit of a held input): w_in, w_rec and w_out where there is one
of a kind, else w_in_0, w_in_1, ... in the network's order. Everything else is fixed. `network()` gives mV again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from spikeport.snn.drive import initial_v
from spikeport.snn.errors import SpikeportError
from spikeport.snn.neurons import Array
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.base import Lowering
from spikeport.targets.pytorch.cells import MakeCell
from spikeport.targets.pytorch.population import Filter, PopulationModule
from spikeport.targets.pytorch.state import PopulationState, State
from spikeport.targets.pytorch.stepping import Moving, run_block
from spikeport.targets.tables import population_steps, readout_steps

Named = dict[str, Tensor]


class ReadOutModule(nn.Module):
    """o = w_out x_0 + b_out, x = D x + jump z."""

    bias: Tensor

    def __init__(self, table: Any, bias: Array) -> None:
        super().__init__()
        self.filter = Filter(table)
        for c in range(self.filter.n_states):
            column = table.jump[:, c]
            self.register_buffer(f"jump{c}", torch.tensor(column) if column.any() else None, persistent=False)
        self.register_buffer("bias", torch.tensor(bias), persistent=False)

    def forward(self, z: Sequence[Tensor], x: tuple[Tensor, ...], weight: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(time, batch, n_outputs), and the filter's state after the last step."""
        jumps = [getattr(self, f"jump{c}") for c in range(self.filter.n_states)]
        arriving = [None if j is None else torch.unbind(torch.stack(tuple(z)) * j) for j in jumps]
        filt, seen = self.filter.prepare(), []
        for k in range(len(z)):
            x = filt.step(x, [None if rows is None else rows[k] for rows in arriving])
            seen.append(x[0])
        return torch.stack(seen) @ weight.T + self.bias, x


class SpikingModule(nn.Module):
    """A lowered network on PyTorch; made by `build_module` of a target."""

    def __init__(self, lowering: Lowering, make_cell: MakeCell) -> None:
        super().__init__()
        self.lowering = lowering
        network = lowering.network
        steps = population_steps(network)
        self.populations = nn.ModuleList(PopulationModule(s, make_cell(s), network.projections) for s in steps)
        self.readouts = nn.ModuleList(ReadOutModule(r.table, r.readout.bias) for r in readout_steps(network))
        names = {p.name for p in network.populations}
        rec = [j.source in names for j in network.projections]
        self.projection_names = _numbered(["w_rec" if r else "w_in" for r in rec])
        self.readout_names = _numbered(["w_out"] * len(network.readouts))
        weights = [j.weight for j in network.projections] + [r.weight for r in network.readouts]
        for name, weight in zip(self.projection_names + self.readout_names, weights, strict=True):
            self.register_parameter(name, nn.Parameter(torch.tensor(weight)))
        reach: dict[str, int] = {}
        for j in network.projections:
            reach[j.source] = max(reach.get(j.source, 0), j.delay)
        self.register_buffer("unit", torch.ones((), dtype=torch.float64), persistent=False)
        self.reach = reach  # how many steps back anything listens to a source

    @property
    def like(self) -> Tensor:
        """A tensor of the module's dtype and device."""
        return self.get_buffer("unit")

    # ---- state

    def initial_state(
        self, n_batch: int, *, v0: Mapping[str, Array] | None = None, seed: int = 0, first_trial: int = 0
    ) -> State:
        """The state at time 0.  v0: population -> (n,) or (batch, n) mV; default: the network's own, drawn by
        (seed, trial) where it is a distribution, with the numbers that the reference draws.
        """
        source = self.lowering.source
        drawn = {}
        for p in source.populations:
            drawn[p.name] = self.lowering.forward_v(p.name, initial_v(source, p, n_batch, seed, first_trial, v0))
        return self.state_from(drawn)

    def state_from(self, v0: Mapping[str, Array]) -> State:
        """The state at time 0, from v0 (batch, n) in the units of the lowered network."""
        network, like = self.lowering.network, self.like
        populations, n_batch = {}, next(iter(v0.values())).shape[0]
        for p in self.lowering.network.populations:
            zeros = like.new_zeros((n_batch, p.n))
            left = torch.as_tensor(p.ref0, dtype=torch.int64, device=like.device).expand(n_batch, p.n)
            populations[p.name] = PopulationState(
                v=torch.tensor(v0[p.name], dtype=like.dtype, device=like.device), left=left.clone(),
                x=tuple((zeros,) * s.n_states for s in p.synapses.values() if s.n_states),
                past=(zeros,) * self.reach.get(p.name, 0),
            )  # fmt: skip
        inputs = {
            i.name: like.new_zeros((self.reach[i.name], n_batch, i.n))
            for i in network.spike_inputs
            if self.reach.get(i.name)
        }
        readouts = {
            r.name: (like.new_zeros((n_batch, network.population(r.source).n)),) * r.synapse.n_states
            for r in network.readouts
        }
        return State(populations, inputs, readouts, given=True)

    # ---- running

    def forward(
        self,
        inputs: Tensor | Mapping[str, Tensor] | None,
        state: State | None = None,
        *,
        noise: Mapping[str, Tensor] | None = None,
        n_steps: int | None = None,
    ) -> tuple[Named, Named, State]:
        """(outputs, spikes, state) of a block of steps: read-out -> (time, batch, n), population -> (time, batch, n).

        inputs: name -> (time, batch, n), one row a step: the value held, or the count of spikes; a bare tensor where
        there is one input.  state: from `initial_state` or an earlier call.  noise: population -> (time, batch, n) mV.
        """
        given = self._checked(inputs)
        shapes = {tuple(t.shape[:2]) for t in given.values()} or {(n_steps or 1, 1)}
        length, n_batch = next(iter(shapes))
        if len(shapes) > 1 or length < 1:
            raise SpikeportError(f"inputs: times and batches {sorted(shapes)} differ or are 0, must be the same")
        state = self.initial_state(n_batch) if state is None else state
        added = {
            name: values / torch.as_tensor(self.lowering.scale[name][1], dtype=values.dtype, device=values.device)
            for name, values in (noise or {}).items()
        }
        outputs, spikes, _, after = self.advance(given, state, added, length, ())
        return outputs, spikes, after

    def step(
        self, inputs: Tensor | Mapping[str, Tensor] | None, state: State, *, noise: Mapping[str, Tensor] | None = None
    ) -> tuple[Named, Named, State]:
        """`forward` for one step, everything (batch, n)."""
        if isinstance(inputs, Tensor):
            rows: Tensor | Named | None = inputs[None]
        else:
            rows = None if inputs is None else {name: t[None] for name, t in inputs.items()}
        added = {name: t[None] for name, t in (noise or {}).items()}
        outputs, spikes, after = self.forward(rows, state, noise=added)
        return {name: t[0] for name, t in outputs.items()}, {name: t[0] for name, t in spikes.items()}, after

    def advance(
        self,
        inputs: Mapping[str, Tensor],
        state: State,
        noise: Mapping[str, Tensor],
        n_steps: int,
        record: Collection[str],
    ) -> tuple[Named, Named, Named, State]:
        """(outputs, spikes, v of the populations `record`, state): everything in the units of the lowered network."""
        network = self.lowering.network
        weights = [self.get_parameter(name) for name in self.projection_names]
        rows, kept = self._rows(inputs, state, n_steps)
        blocks = [
            p.block(weights, rows, noise.get(p.name), n_steps, state.populations[p.name].v) for p in self._modules_of()
        ]
        moving = {name: _moving(p) for name, p in state.populations.items()}
        run_block(blocks, moving, n_steps, tuple(record), state.given)
        spikes = {p.name: moving[p.name].z[moving[p.name].before :] for p in network.populations}
        outputs, filters = {}, {}
        for readout, module, name in zip(network.readouts, self.readouts, self.readout_names, strict=True):
            outputs[readout.name], filters[readout.name] = module(
                spikes[readout.source], state.readouts[readout.name], self.get_parameter(name)
            )
        after = State({name: self._state(name, m, n_steps) for name, m in moving.items()}, kept, filters)
        traces = {name: torch.stack(moving[name].trace) for name in record}
        return outputs, {name: torch.stack(z) for name, z in spikes.items()}, traces, after

    def _modules_of(self) -> list[PopulationModule]:
        return [p for p in self.populations if isinstance(p, PopulationModule)]

    def _state(self, name: str, m: Moving, n_steps: int) -> PopulationState:
        reach = self.reach.get(name, 0)
        past = tuple(m.z[len(m.z) - reach :])
        return PopulationState(m.v, (m.until - (n_steps - 1)).clamp(min=0), tuple(m.x), past)

    def _rows(self, inputs: Mapping[str, Tensor], state: State, n_steps: int) -> tuple[dict[int, Tensor], Named]:
        """(projection -> what its input sends in each step, with its delay; what to keep for the next block)."""
        rows, kept = {}, {}
        whole = {name: torch.cat([state.inputs[name], t]) if name in state.inputs else t for name, t in inputs.items()}
        for i, j in enumerate(self.lowering.network.projections):
            if j.source in inputs:
                start = self.reach[j.source] - j.delay if j.source in state.inputs else 0
                rows[i] = whole[j.source][start : start + n_steps]
        for name, before in state.inputs.items():
            kept[name] = whole[name][whole[name].shape[0] - before.shape[0] :]
        return rows, kept

    def _checked(self, inputs: Tensor | Mapping[str, Tensor] | None) -> Named:
        ports = {i.name: i.n for i in self.lowering.network.inputs}
        if isinstance(inputs, Tensor) and len(ports) != 1:
            raise SpikeportError(
                f"inputs: one tensor, but the network has {len(ports)} inputs", hint="pass name -> tensor"
            )
        given = {next(iter(ports)): inputs} if isinstance(inputs, Tensor) else dict(inputs or {})
        problems = [f"input '{name}': the network has no such input" for name in given if name not in ports]
        problems += [f"input '{name}': missing, {n} channels" for name, n in ports.items() if name not in given]
        problems += [
            f"input '{name}': shape {tuple(t.shape)}, must be (time, batch, {ports[name]})"
            for name, t in given.items() if name in ports and (t.ndim != 3 or t.shape[2] != ports[name])
        ]  # fmt: skip
        if problems:
            raise SpikeportError("inputs do not fit the network", problems)
        return {name: t.to(dtype=self.like.dtype, device=self.like.device) for name, t in given.items()}

    # ---- back

    def network(self) -> SpikingNetwork:
        """The source network with the weights as they are now, to export, validate or run elsewhere.

        A weight that has not changed comes back bit for bit.
        """
        source, lowered = self.lowering.source, self.lowering.network
        projections = []
        for name, old, was in zip(self.projection_names, source.projections, lowered.projections, strict=True):
            factor = self.lowering.scale[old.target][1][:, None]
            projections.append(replace(old, weight=self._weight(name, old.weight, was.weight, factor)))
        readouts = [
            replace(old, weight=self._weight(name, old.weight, old.weight, 1.0))
            for name, old in zip(self.readout_names, source.readouts, strict=True)
        ]
        return replace(source, projections=tuple(projections), readouts=tuple(readouts))

    def _weight(self, name: str, original: Array, lowered: Array, factor: Any) -> Array:
        now = self.get_parameter(name).detach().cpu()
        same = now == torch.tensor(lowered).to(now.dtype)
        changed: Array = now.double().numpy() * factor
        changed[same.numpy()] = original[same.numpy()]
        return changed


def _moving(p: PopulationState) -> Moving:
    return Moving(p.v, p.left - 1, list(p.x), list(p.past), [None] * len(p.past), len(p.past))


def _numbered(names: list[str]) -> list[str]:
    """Names that occur once as they are, others with a number."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        if names.count(name) == 1:
            found.append(name)
            continue
        seen[name] = seen.get(name, -1) + 1
        found.append(f"{name}_{seen[name]}")
    return found
