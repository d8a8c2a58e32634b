"""The scan of surrogate.py and its adjoint, by hand: autograd over single steps takes five times as long.

With g_y = dL/dy, u = v[k] - v_threshold before the reset, f = 1 where ref = 0, the adjoint of a step is

    g_z  = jump g_out + g_count + w^T g_J[k+d],    g_u = g_v (1 - z) + g_z dz/dv      (subtract: g_v + g_z dz/dv)
    g_x  = D^T g_x[k+1] + B f g_u,    g_J = jump g_x,    g_v[k-1] = A f g_u + (1 - f) g_u

Memory is bounded by checkpoints: a segment of samples keeps nothing but the state at its start, and is run again in the
backward pass (Chen et al., arXiv:1604.06174), so gradients are whole, not truncated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeport.snn import noise
from spikeport.snn.drive import initial_v, noise_key
from spikeport.snn.integrators import FLUSH_EVERY, TINY
from spikeport.snn.neurons import per_unit
from spikeport.snn.spiking import sample_index
from spikeport.snn.training.surrogate_model import Filter, Model, Trial, as_tensor

SEGMENT = 500  # steps between checkpoints, about: 16 bytes a unit, trial and step within one, 32 MB at 20 x 200


@dataclass(frozen=True, kw_only=True)
class _State:
    """At the end of a step, (batch, N) each: v after the reset, ref, synapses' states by name, the read-out's, and
    past[d - 1], the spikes of d steps ago. The same class holds their gradients."""

    v: Tensor
    ref: Tensor
    x: Mapping[str, list[Tensor]]
    out: list[Tensor]
    past: list[Tensor]


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """What the adjoint of a segment needs: u, z, what acted (z or given), free, by step."""

    u: list[Tensor]
    z: list[Tensor]
    acted: list[Tensor]
    free: list[Tensor | None]


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A run of trials: which sample each step sees, which projections close the loop, and where segments are cut."""

    model: Model
    trial: Trial
    sample: NDArray[np.int64]
    loops: tuple[tuple[str, int], ...]  # (synapse, delay)
    names: tuple[tuple[str, int], ...]  # (synapse, state) with a held input
    refractory: bool
    given: Tensor | None

    @classmethod
    def of(cls, model: Model, trial: Trial, given: Tensor | None) -> Scan:
        network, p = model.network, model.network.populations[0]
        port = network.held_inputs[0]
        into = {*p.synaptic_bias, *(q.synapse for q in network.projections if q.source == port.name)}
        return cls(
            model=model, trial=trial, given=given,
            sample=np.asarray(
                sample_index(np.arange(1, trial.n_steps + 1), network.dt, port, trial.inputs[port.name].shape[0])
            ),
            loops=tuple((q.synapse or "", q.delay) for q in network.projections if q.source == p.name),
            names=tuple(
                (name, i)
                for name, f in model.synapses.items() if name in into
                for i, g in enumerate(f.held) if g is not None
            ),
            refractory=bool((model.steps > 0).any()) or bool(np.any(np.asarray(p.ref0) > 0)),
        )  # fmt: skip

    def segments(self) -> list[tuple[int, int]]:
        samples = self.trial.edges.size - 1
        size = max(1, round(SEGMENT * samples / max(1, self.trial.n_steps)))
        return [(a, min(a + size, samples)) for a in range(0, samples, size)]

    def start(self) -> _State:
        model, trial, p = self.model, self.trial, self.model.network.populations[0]
        v = as_tensor(initial_v(model.network, p, trial.n_batch, trial.seed, trial.first_trial, None), model.dtype)
        ref = torch.from_numpy(np.array(np.broadcast_to(per_unit(p.ref0, p.n).astype(np.int64), v.shape)))
        return self.zeros(v, ref)

    def zeros(self, v: Tensor, ref: Tensor) -> _State:
        model = self.model
        return _State(
            v=v, ref=ref, x={name: [torch.zeros_like(v) for _ in f.B] for name, f in model.synapses.items()},
            out=[torch.zeros_like(v) for _ in model.readout.B],
            past=[torch.zeros_like(v) for _ in range(max((d for _, d in self.loops), default=1))],
        )  # fmt: skip

    def run(
        self,
        state: _State,
        drive: Sequence[Tensor],
        first: int,
        last: int,
        kept: _Kept | None,
        z_all: list[Tensor] | None,
    ) -> tuple[_State, Tensor, Tensor]:
        """Samples first .. last - 1: the state after them, the read-out's mean state and the counts of each."""
        model, edges = self.model, self.trial.edges
        v, ref, x, out, past = state.v, state.ref, dict(state.x), state.out, state.past
        held = {key: drive[1 + i] for i, key in enumerate(self.names)}
        transposed = [w.T for w in drive[1 + len(self.names) :]]
        added, begin = self._noise(first, last), int(edges[first])
        said, counts = torch.zeros((2, last - first, *v.shape), dtype=v.dtype)
        for j in range(first, last):
            total, count = said[j - first], counts[j - first]
            for k in range(int(edges[j]), int(edges[j + 1])):  # step k + 1 of the equations
                sample = int(self.sample[k])
                new = torch.addcmul(drive[0][sample], model.A, v)
                for name, table in model.synapses.items():
                    J = [past[d - 1] @ w for (s, d), w in zip(self.loops, transposed, strict=True) if s == name]
                    x[name] = _filtered(table, x[name], sum(J[1:], J[0]) if J else None)
                    for i, (B, a) in enumerate(zip(table.B, x[name], strict=True)):
                        if (name, i) in held:
                            a += held[name, i][sample]
                        if B is not None:
                            new.addcmul_(B, a)
                z, v, ref, u, free = self._spike(new, v, ref, None if added is None else added[k - begin])
                out = _filtered(model.readout, out, z)
                acts = z if self.given is None else self.given[k].to(z.dtype)
                past = [acts, *past[:-1]]
                total += out[0]
                count += z
                if kept is not None:
                    kept.u.append(u)
                    kept.z.append(z)
                    kept.acted.append(acts)
                    kept.free.append(free)
                if z_all is not None:
                    z_all.append((z > 0)[None])
                if (k + 1) % FLUSH_EVERY == 0:
                    v, out = _flushed(v), [_flushed(a) for a in out]
                    x = {name: [_flushed(a) for a in states] for name, states in x.items()}
            total /= max(1, int(edges[j + 1] - edges[j]))
        return _State(v=v, ref=ref, x=x, out=out, past=past), said, counts

    def _spike(
        self, new: Tensor, v: Tensor, ref: Tensor, added: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """2 and 3: z, v after the reset, ref, u, and which units were free (None: all)."""
        model, p = self.model, self.model.network.populations[0]
        free = ref == 0 if self.refractory else None
        if free is not None:
            new = torch.where(free, new, v)
        if added is not None:
            new = new + (added if free is None or p.noise_while_refractory else added * free)
        u = new - model.threshold
        fired = u > 0
        if free is not None and not p.spikes_while_refractory:
            fired &= free
        z = fired.to(new.dtype)
        if p.neuron.reset == "to_value":
            v = torch.where(fired, model.reset, new)
        else:
            v = new - z * (model.threshold - model.reset)
        if free is not None:
            ref = torch.where(fired, model.steps, torch.clamp(ref - 1, min=0))
        return z, v, ref, u, free

    def back(
        self, state: _State, g: _State, drive: Sequence[Tensor], first: int, last: int, g_said: Tensor,
        g_counts: Tensor, grads: list[Tensor],
    ) -> _State:  # fmt: skip
        """The adjoint of run(): adds to `grads`, gives the gradient by the state at the segment's start.

        state: at the segment's start.  g: by the state at its end.
        """
        kept = _Kept(u=[], z=[], acted=[], free=[])
        self.run(state, drive, first, last, kept, None)
        model, edges, p = self.model, self.trial.edges, self.model.network.populations[0]
        weights = drive[1 + len(self.names) :]
        to_value, masked = p.neuron.reset == "to_value", self.refractory and not p.spikes_while_refractory
        arrived: list[list[Tensor]] = [[] for _ in self.loops]  # g_J, last step first
        g_v, x, out, past = g.v, dict(g.x), g.out, g.past
        begin = int(edges[first])
        for j in range(last - 1, first - 1, -1):
            said = g_said[j] / max(1, int(edges[j + 1] - edges[j]))
            for k in range(int(edges[j + 1]) - 1, int(edges[j]) - 1, -1):
                u, z, free, sample = kept.u[k - begin], kept.z[k - begin], kept.free[k - begin], int(self.sample[k])
                out[0] = out[0] + said
                g_z = g_counts[j] + past[0]
                for jump, a in zip(model.readout.jump, out, strict=True):
                    g_z = g_z if jump is None else torch.addcmul(g_z, jump, a)
                slope = (u.abs() / model.width).add_(1).square_().reciprocal_().mul_(model.height / model.width)
                g_z = g_z * slope
                g_z = g_z if free is None or not masked else g_z * free
                g_u = (torch.addcmul(g_v, g_v, z, value=-1) if to_value else g_v) + g_z
                g_free = g_u if free is None else g_u * free
                g_v = model.A * g_free if free is None else torch.addcmul(g_u - g_free, model.A, g_free)
                grads[0][sample] += g_free
                past = [*past[1:], torch.zeros_like(g_v)]
                for name, table in model.synapses.items():
                    for i, B in enumerate(table.B):
                        x[name][i] = x[name][i] if B is None else torch.addcmul(x[name][i], B, g_free)
                    for i, key in enumerate(self.names):
                        if key[0] == name:
                            grads[1 + i][sample] += x[name][key[1]]
                for i, (name, delay) in enumerate(self.loops):
                    g_J = _weighted(model.synapses[name].jump, x[name])
                    arrived[i].append(g_J)
                    if self.given is None:
                        past[delay - 1] = torch.addmm(past[delay - 1], g_J, weights[i])
                x = {name: _adjoint(model.synapses[name], states) for name, states in x.items()}
                out = _adjoint(model.readout, out)
        for i, (_, delay) in enumerate(self.loops):
            sent = [*reversed(state.past[:delay]), *kept.acted][: len(kept.acted)]  # z of `delay` steps before each
            g_J = torch.stack(arrived[i][::-1]).flatten(0, 1)
            grads[1 + len(self.names) + i] += g_J.T @ torch.stack(sent).flatten(0, 1)
        return _State(v=g_v, ref=g.ref, x=x, out=out, past=past)

    def _noise(self, first: int, last: int) -> Tensor | None:
        """(steps of samples first .. last - 1, batch, N) mV: the engine's numbers."""
        model, trial = self.model, self.trial
        p = model.network.populations[0]
        scale = per_unit(p.noise_sd, p.n) / noise.NORMAL_SD
        if not trial.with_noise or not scale.any():
            return None
        key, units = noise_key(model.network, p)
        a, b = int(trial.edges[first]), int(trial.edges[last])
        one, scratch = np.empty((b - a, p.n)), np.empty((noise.WORDS, p.n), dtype=np.uint32)
        found = np.empty((b - a, trial.n_batch, p.n))
        stream = noise.STREAMS["membrane"] << 16 | key
        seed = np.uint64(trial.seed)
        for i in range(trial.n_batch):
            noise.fill_normal(one, b - a, scratch, units, 0, p.n, stream, trial.first_trial + i, a, seed)
            found[:, i] = one
        return as_tensor(found * scale, model.dtype)


class Run(torch.autograd.Function):
    """A whole run as one function of its drive, segment by segment; equations of the module."""

    @staticmethod
    def forward(ctx: Any, scan: Scan, z: list[Tensor] | None, *drive: Tensor) -> tuple[Tensor, Tensor]:
        state, starts, said, counts = scan.start(), [], [], []
        for first, last in scan.segments():
            starts.append(state)
            state, s, c = scan.run(state, drive, first, last, None, z)
            said.append(s)
            counts.append(c)
        ctx.scan, ctx.starts = scan, starts
        ctx.save_for_backward(*drive)
        return torch.cat(said), torch.cat(counts)

    @staticmethod
    def backward(ctx: Any, *g: Any) -> Any:
        scan, drive = ctx.scan, ctx.saved_tensors
        grads = [torch.zeros(d.shape, dtype=d.dtype) for d in drive]
        last_state = ctx.starts[-1]
        back = scan.zeros(torch.zeros_like(last_state.v), last_state.ref)
        for state, (first, last) in zip(reversed(ctx.starts), reversed(scan.segments()), strict=True):
            back = scan.back(state, back, drive, first, last, g[0], g[1], grads)
        return None, None, *grads


def _filtered(table: Filter, x: list[Tensor], J: Tensor | None) -> list[Tensor]:
    """x = D x + jump J, in new memory."""
    found = []
    for row, jump in zip(table.D, table.jump, strict=True):
        new = _weighted(row, x)
        found.append(new if jump is None or J is None else new.addcmul_(jump, J))
    return found


def _adjoint(table: Filter, g: list[Tensor]) -> list[Tensor]:
    """D^T g."""
    return [_weighted(tuple(row[j] for row in table.D), g) for j in range(len(g))]


def _weighted(row: Sequence[Tensor | None], x: Sequence[Tensor]) -> Tensor:
    """sum of row[j] x[j], in new memory."""
    new: Tensor | None = None
    for D, a in ((D, a) for D, a in zip(row, x, strict=True) if D is not None):
        new = D * a if new is None else new.addcmul_(D, a)
    return torch.zeros_like(x[0]) if new is None else new


def _flushed(x: Tensor) -> Tensor:
    """x, with 0 where |x| <= TINY."""
    return torch.nn.functional.hardshrink(x, TINY)
