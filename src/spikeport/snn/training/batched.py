"""The equations of bptt.py for M networks at once: a leading network axis, and the scan's gradient written out.

    forward     x[k] = (1 - a) x[k-1] + r[k-1] c^T + drive[k],    r = phi(x),    c = a w_rec
    backward    e[k] = dL/dr[k] + d[k+1] c,    d[k] = e[k] phi'(x[k]) + (1 - a) d[k+1]
                dL/d drive[k] = d[k],    dL/d(1 - a) = sum d[k] x[k-1],    dL/dc = sum d[k]^T r[k-1]

Everything around the scan is differentiated by torch. Networks share nothing: each has its own trials, noise, weights,
Adam's moments and number of steps, so a network's result does not depend on its company, but for rounding.
Source: bptt.py; the backward pass is its adjoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeport.snn.training import bptt
from spikeport.snn.training.options import PHI_MAX

Named = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Models:
    """The fixed halves of M networks: sign (M, N), som_mask (M, N, N), w_in (M, N, n_inputs); the rest is shared."""

    sign: Tensor
    som_mask: Tensor
    w_in: Tensor
    tau_bounds: tuple[float, float]
    dt: float
    phi: str


@dataclass(frozen=True, kw_only=True)
class States:
    """What changes, of M networks: step (M,) of each, and name -> (M, ...) as in bptt.State."""

    step: NDArray[np.int64]
    parameters: Named
    first: Named
    second: Named


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Trials of each network: inputs, targets, noise (time, M, batch, .), x0 (M, batch, N), sd included."""

    inputs: Tensor
    targets: Tensor
    noise: Tensor
    x0: Tensor


def stack_models(models: Sequence[bptt.Model], device: str) -> Models:
    """M models of the same sizes as one, on `device`."""
    one = models[0]
    tensors = {name: _stack([getattr(m, name) for m in models], device) for name in ("sign", "som_mask", "w_in")}
    return Models(**tensors, tau_bounds=one.tau_bounds, dt=one.dt, phi=one.phi)


def stack_states(states: Sequence[bptt.State], device: str) -> States:
    """M states as one, on `device`."""
    step = np.array([s.step for s in states], dtype=np.int64)
    return States(step=step, **{g: _stack_named([getattr(s, g) for s in states], device) for g in _GROUPS})


def state_of(states: States, i: int) -> bptt.State:
    """The state of network i alone, in memory of its own on the CPU."""
    groups = {g: {name: t[i].detach().cpu().clone() for name, t in getattr(states, g).items()} for g in _GROUPS}
    return bptt.State(step=int(states.step[i]), **groups)


def pick(stacked: Any, which: Sequence[int]) -> Any:
    """The Models or States of some of the networks, in that order."""
    if isinstance(stacked, Models):
        return replace(stacked, **{n: getattr(stacked, n)[list(which)] for n in ("sign", "som_mask", "w_in")})
    groups = {g: {name: t[list(which)] for name, t in getattr(stacked, g).items()} for g in _GROUPS}
    return States(step=stacked.step[list(which)], **groups)


def stack_batches(drawn: Sequence[Mapping[str, NDArray[np.generic]]], device: str) -> Batches:
    """Arrays by name (time, batch, .) and x0 (batch, N) of each network, as one float32 batch on `device`."""
    axis = {"inputs": 1, "targets": 1, "noise": 1, "x0": 0}
    stacked = {name: np.stack([d[name] for d in drawn], axis=at).astype(np.float32) for name, at in axis.items()}
    return Batches(**{name: torch.from_numpy(array).to(device) for name, array in stacked.items()})


def effective(models: Models, parameters: Named) -> tuple[Tensor, Tensor]:
    """w_rec (M, N, N) and tau (M, N): the laws of bptt.effective, network by network."""
    low, high = models.tau_bounds
    w_rec = (torch.relu(parameters["w"]) * models.sign[:, None, :]) * models.som_mask
    return w_rec, torch.sigmoid(parameters["tau_raw"]) * (high - low) + low


def forward(models: Models, parameters: Named, batches: Batches) -> tuple[Tensor, Tensor]:
    """o: (time, M, batch, n_outputs) and r: (time, M, batch, N)."""
    w_rec, tau = effective(models, parameters)
    a = (models.dt / tau)[:, None, :]
    drive = a * (batches.inputs @ models.w_in.transpose(1, 2)) + batches.noise
    scan: Any = _Scan.apply  # untyped in torch
    r: Tensor = scan(drive, 1 - a, a.transpose(1, 2) * w_rec, batches.x0, models.phi)
    return r @ parameters["w_out"].transpose(1, 2) + parameters["b_out"][:, None, :], r


def trial_losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """(M, batch): bptt.trial_losses of each network."""
    n, m, b, o = outputs.shape
    return bptt.trial_losses(outputs.reshape(n, m * b, o), targets.reshape(n, m * b, o)).reshape(m, b)


def gradients(
    models: Models, parameters: Named, batches: Batches, *, rate_cost: float = 0.0
) -> tuple[NDArray[np.float64], dict[str, Tensor]]:
    """(M,) mean losses, and the gradients of loss + rate_cost mean(r^2) of each network, by parameter."""
    leaves = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
    o, r = forward(models, leaves, batches)
    losses = trial_losses(o, batches.targets).mean(dim=1)
    total = losses.sum()  # a network's parameters are in its own loss alone
    if rate_cost:
        total = total + rate_cost * r.square().mean(dim=(0, 2, 3)).sum()
    grads = torch.autograd.grad(total, list(leaves.values()))
    return losses.detach().cpu().numpy().astype(np.float64), dict(zip(leaves, grads, strict=True))


def step_adam(states: States, grads: Named, *, learning_rate: NDArray[np.float64], clip_norm: float) -> States:
    """bptt.step_adam of each network. learning_rate: (M,)."""
    norm = torch.sqrt(torch.stack([g.square().flatten(1).sum(dim=1) for g in grads.values()]).sum(dim=0))
    shrink = torch.clamp(clip_norm / (norm + bptt.EPS), max=1.0)
    t = states.step + 1
    b1, b2 = bptt.BETAS
    first, second, parameters = {}, {}, {}
    for name, p in states.parameters.items():
        shape = (-1, *[1] * (p.dim() - 1))
        c1, c2, rate = (
            torch.as_tensor(v.astype(np.float32), device=p.device).reshape(shape)
            for v in (1 - b1**t, 1 - b2**t, learning_rate)
        )
        g = grads[name] * shrink.reshape(shape)
        first[name] = m = torch.lerp(g, states.first[name], b1)
        second[name] = v = (b2 * states.second[name]).addcmul_(g, g, value=1 - b2)
        step = (v / c2).sqrt_().add_(bptt.EPS).reciprocal_().mul_(m).mul_(rate / c1)
        parameters[name] = p - step
    return States(step=t, parameters=parameters, first=first, second=second)


def outputs_of(models: Models, parameters: Named, batches: Batches) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The outputs (M, time, batch, n_outputs) and the mean losses (M,), without gradients."""
    with torch.no_grad():
        o, _ = forward(models, parameters, batches)
        losses = trial_losses(o, batches.targets).mean(dim=1)
        return o.transpose(0, 1).cpu().numpy().astype(np.float64), losses.cpu().numpy().astype(np.float64)


class _Scan(torch.autograd.Function):
    """(drive (time, M, batch, N), 1 - a (M, 1, N), c (M, N, N), x0 (M, batch, N), phi) -> r (time, M, batch, N).

    torch's own backward pass of such a loop adds an (N, N) gradient at every step; here all steps are one product.
    """

    @staticmethod
    def forward(ctx: Any, drive: Tensor, decay: Tensor, c: Tensor, x0: Tensor, phi: str) -> Tensor:
        with_grad = any(ctx.needs_input_grad)
        xs, rs = torch.empty_like(drive), torch.empty_like(drive)
        w = c.transpose(1, 2).contiguous()
        x, r = x0, _phi(phi, x0, torch.empty_like(x0))
        for drive_k, x_k, r_k in zip(drive.unbind(0), xs.unbind(0), rs.unbind(0), strict=True):
            torch.addcmul(drive_k, decay, x, out=x_k)
            x = x_k.baddbmm_(r, w)
            r = _phi(phi, x, r_k)
        if with_grad:
            ctx.save_for_backward(xs, rs, decay, c, x0)
            ctx.phi = phi
        return rs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        xs, rs, decay, c, x0 = ctx.saved_tensors
        phi: str = ctx.phi
        slope = _slope(phi, xs, rs)
        d = torch.empty_like(xs)
        e = grads[0].contiguous().clone()
        steps = list(zip(d.unbind(0), e.unbind(0), slope.unbind(0), strict=True))
        d_next = None
        for d_k, e_k, slope_k in reversed(steps):
            if d_next is None:
                torch.mul(e_k, slope_k, out=d_k)
            else:
                e_k.baddbmm_(d_next, c)
                torch.mul(d_next, decay, out=d_k).addcmul_(e_k, slope_k)
            d_next = d_k
        r0 = _phi(phi, x0, torch.empty_like(x0))
        xp, rp = torch.cat([x0[None], xs[:-1]]), torch.cat([r0[None], rs[:-1]])
        n = d.shape[-1]
        flat_d, flat_r = (t.transpose(0, 1).reshape(t.shape[1], -1, n) for t in (d, rp))
        return d, (d * xp).sum(dim=(0, 2))[:, None, :], flat_d.transpose(1, 2) @ flat_r, None, None


_GROUPS = ("parameters", "first", "second")


def _phi(phi: str, x: Tensor, out: Tensor) -> Tensor:
    """r = phi(x), clipped as in bptt, into `out`."""
    if phi == "sigmoid":
        return torch.sigmoid(x, out=out)
    if phi == "relu":
        return torch.clamp(x, min=0.0, max=PHI_MAX[phi], out=out)
    return torch.clamp(torch.nn.functional.softplus(x), max=PHI_MAX[phi], out=out)


def _slope(phi: str, x: Tensor, r: Tensor) -> Tensor:
    """phi'(x), 0 where r is clipped."""
    if phi == "sigmoid":
        return r * (1 - r)
    high = PHI_MAX[phi]
    assert high is not None
    if phi == "relu":
        return ((x > 0) & (x <= high)).to(x.dtype)
    return torch.sigmoid(x) * (r < high)


def _stack(tensors: Sequence[Tensor], device: str) -> Tensor:
    return torch.stack(list(tensors)).to(device)


def _stack_named(named: Sequence[Named], device: str) -> dict[str, Tensor]:
    return {name: _stack([n[name] for n in named], device) for name in named[0]}
