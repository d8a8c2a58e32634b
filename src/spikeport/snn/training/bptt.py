"""Back-propagation through time in PyTorch, a batch of trials at a time.

    x[k] = (1 - a) x[k-1] + a (w_rec r[k-1] + w_in u[k]) + noise_sd n[k],
    a = dt / tau,    r = phi(x),    o = w_out r + b_out
    w_rec = (relu(w) diag(sign)) * som_mask,    tau = sigmoid(tau_raw) (high - low) + low
    loss = mean over trials of sqrt(sum over time and outputs of (o - target)^2), where there is a target

then one step of Adam on the gradient, cut to the norm `clip_norm`:

    m = b1 m + (1 - b1) g,    v = b2 v + (1 - b2) g^2,    p = p - rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

Written as state in, state out, so that an interrupt at any moment leaves a whole state behind.
Sources: Kim, Li & Sejnowski, PNAS 2019, eqs. 1-5 and SI; Kingma & Ba, ICLR 2015, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeport.snn.training.initial import Fixed
from spikeport.snn.training.options import PHI_MAX, TrainingOptions

BETAS = (0.9, 0.999)  # Kingma & Ba 2015, the defaults of the published code's optimiser too
EPS = 1e-8  # the same
_SQRT_EPS = 1e-12  # under the loss's root, whose slope at 0 is infinite: a silent network on a NoGo trial is there

Named = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class State:
    """Everything that changes: steps done, the trained parameters, and Adam's two moments of each."""

    step: int
    parameters: Named
    first: Named
    second: Named


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Trials for one step: inputs, targets (NaN: not asked), noise (time, batch, .), x0 (batch, N), sd included."""

    inputs: Tensor
    targets: Tensor
    noise: Tensor
    x0: Tensor


@dataclass(frozen=True, kw_only=True)
class Model:
    """The fixed half of the equations: sign (N,), som_mask (N, N), w_in (N, n_inputs), tau bounds and dt in s, phi."""

    sign: Tensor
    som_mask: Tensor
    w_in: Tensor
    tau_bounds: tuple[float, float]
    dt: float
    phi: str

    @classmethod
    def of(cls, fixed: Fixed, options: TrainingOptions, dt: float) -> Model:
        tensors = {name: tensor(getattr(fixed, name)) for name in ("sign", "som_mask", "w_in")}
        return cls(**tensors, tau_bounds=options.tau_bounds, dt=dt, phi=options.phi)


def tensor(array: NDArray[np.generic]) -> Tensor:
    """A float32 copy in torch's own memory: its alignment, on which the last bit of a product may depend."""
    return torch.tensor(np.asarray(array, dtype=np.float32))


def initial_state(parameters: Mapping[str, NDArray[np.float32]]) -> State:
    p = {name: tensor(value) for name, value in parameters.items()}
    zero = {name: torch.zeros_like(value) for name, value in p.items()}
    return State(step=0, parameters=p, first=zero, second=zero)


def effective(model: Model, parameters: Named) -> tuple[Tensor, Tensor]:
    """w_rec (N, N) and tau (N,) of the trained parameters: Dale's law, the SOM mask and the bounds always hold."""
    low, high = model.tau_bounds
    w_rec = (torch.relu(parameters["w"]) * model.sign) * model.som_mask
    tau = torch.sigmoid(parameters["tau_raw"]) * (high - low) + low
    return w_rec, tau


def forward(model: Model, parameters: Named, batch: Batch) -> tuple[Tensor, Tensor]:
    """o: (time, batch, n_outputs) and r: (time, batch, N), by the first two equations of the module."""
    w_rec, tau = effective(model, parameters)
    a = model.dt / tau
    decay = 1 - a
    aw = (a[:, None] * w_rec).T
    drive = a * (batch.inputs @ model.w_in.T) + batch.noise
    x, r, rates = batch.x0, _phi(model.phi, batch.x0), []
    for drive_k in drive.unbind(0):
        x = torch.addmm(torch.addcmul(drive_k, decay, x), r, aw)
        r = _phi(model.phi, x)
        rates.append(r)
    r = torch.stack(rates)
    return r @ parameters["w_out"].T + parameters["b_out"], r


def trial_losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """(batch,): sqrt(sum of squared errors) where the target is a number."""
    error = torch.where(torch.isnan(targets), 0.0, outputs - torch.nan_to_num(targets))
    return torch.sqrt(error.square().sum(dim=(0, 2)) + _SQRT_EPS)


def gradients(
    model: Model, parameters: Named, batch: Batch, *, rate_cost: float = 0.0
) -> tuple[float, dict[str, Tensor]]:
    """The mean loss of a batch, and the gradient of loss + rate_cost mean(r^2) by parameter."""
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    o, r = forward(model, leaves, batch)
    loss = trial_losses(o, batch.targets).mean()
    grads = torch.autograd.grad(loss + rate_cost * r.square().mean(), list(leaves.values()))
    return float(loss.detach()), dict(zip(leaves, grads, strict=True))


def step_adam(state: State, grads: Named, *, learning_rate: float, clip_norm: float) -> State:
    """The state after one step of Adam on the clipped gradient; the last equation of the module."""
    norm = torch.sqrt(torch.stack([g.square().sum() for g in grads.values()]).sum())
    shrink = torch.clamp(clip_norm / (norm + EPS), max=1.0)
    t = state.step + 1
    b1, b2 = BETAS
    first, second, parameters = {}, {}, {}
    for name, p in state.parameters.items():
        g = grads[name] * shrink
        first[name] = m = b1 * state.first[name] + (1 - b1) * g
        second[name] = v = b2 * state.second[name] + (1 - b2) * g.square()
        parameters[name] = p - learning_rate * (m / (1 - b1**t)) / (torch.sqrt(v / (1 - b2**t)) + EPS)
    return replace(state, step=t, parameters=parameters, first=first, second=second)


def outputs_of(model: Model, parameters: Named, batch: Batch) -> tuple[NDArray[np.float64], float]:
    """The outputs (time, batch, n_outputs) and the mean loss of a batch, without gradients."""
    with torch.no_grad():
        o, _ = forward(model, parameters, batch)
        return o.numpy().astype(np.float64), float(trial_losses(o, batch.targets).mean())


def _phi(name: str, x: Tensor) -> Tensor:
    if name == "sigmoid":
        return torch.sigmoid(x)
    r: Tensor = torch.nn.functional.softplus(x) if name == "softplus" else torch.relu(x)
    return torch.clamp(r, max=PHI_MAX[name])
