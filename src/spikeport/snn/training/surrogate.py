"""The canonical step in torch, for one recurrent population, with a surrogate for the derivative of a spike.

    forward     reference.py, equation by equation: z[k] = v[k] > v_threshold
    backward    dz/dv = height / width / (1 + |v - v_threshold| / width)^2,    and none through the reset

the fast sigmoid of Zenke & Ganguli, Neural Computation 30, 2018 (SuperSpike, their sigma'), with a height below 1 that
keeps errors from growing from step to step (Bellec et al., NeurIPS 2018, their gamma). The reset has no derivative,
which trains better (Zenke & Vogels, Neural Computation 33, 2021). Overview: Neftci, Mostafa & Zenke, IEEE SPM 2019.

The height is not guessed: match_height makes the surrogate's derivative of a unit's spike count by its bias, in the
mean, the one that is measured. With a height of 0.3 errors grow along a trial of the published task until they
overflow.

In float64 the spikes are the engine's, with its own noise numbers, but where v and threshold differ by rounding: sums
are taken by BLAS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeport.snn.neurons import per_unit
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.training.surrogate_model import Model, Trial, as_tensor
from spikeport.snn.training.surrogate_scan import Run, Scan

Named = Mapping[str, Tensor]

__all__ = ["Answer", "Model", "Named", "Trial", "forward", "match_height", "weights_of", "with_weights"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """On the samples: outputs (samples, batch, n_outputs), mean over each; counts (samples, batch, N), spikes in each.
    z: (steps, batch, N) bool where it was recorded."""

    outputs: Tensor
    counts: Tensor
    z: Tensor | None


def weights_of(model: Model) -> dict[str, Tensor]:
    """What may be trained, by name: "bias" (N,) mV, "out" (n_outputs, N), "projection i" (N, n) as in the network."""
    network, n = model.network, model.network.populations[0].n
    found = {"bias": per_unit(network.populations[0].bias, n), "out": network.readouts[0].weight}
    found |= {f"projection {i}": p.weight for i, p in enumerate(network.projections)}
    return {name: as_tensor(value, model.dtype) for name, value in found.items()}


def with_weights(network: SpikingNetwork, weights: Named) -> SpikingNetwork:
    """The network with other weights; float64 of what was trained, and what is not named as it was."""
    arrays = {name: w.detach().numpy().astype(np.float64) for name, w in weights.items()}
    p, out = network.populations[0], network.readouts[0]
    return replace(
        network,
        populations=(replace(p, bias=arrays.get("bias", p.bias)),),
        readouts=(replace(out, weight=arrays.get("out", out.weight)),),
        projections=tuple(
            replace(q, weight=arrays.get(f"projection {i}", q.weight)) for i, q in enumerate(network.projections)
        ),
    )


def forward(model: Model, weights: Named, trial: Trial, *, record: bool = False, given: Tensor | None = None) -> Answer:
    """Run trials by the equations of the module; differentiable in `weights`.

    given: (steps, batch, N) spikes that act on the network in place of its own: an open loop, without a gradient
    through it.
    """
    scan = Scan.of(model, trial, given)
    drive = _drive(model, weights, trial)
    held = [drive.held[name][i] for name, i in scan.names]
    z: list[Tensor] = []
    run: Any = Run.apply  # untyped in torch
    said, counts = run(scan, z if record else None, drive.constant, *held, *drive.weights)
    bias = as_tensor(model.network.readouts[0].bias, model.dtype)
    return Answer(outputs=said @ weights["out"].T + bias, counts=counts, z=torch.cat(z) if record else None)


def match_height(model: Model, weights: Named, trial: Trial, *, by: float = 2.0) -> Model:
    """The model whose surrogate has, in the mean over units, the measured derivative of the spike count by the bias.

    Measured over 2 `by` mV in the open loop: all units get the spikes of the undisturbed run. A network whose counts do
    not rise with the bias (it is silent, or saturated) keeps its height.
    """
    with torch.no_grad():
        z = forward(model, weights, trial, record=True).z
        assert z is not None
        shifted = [{**weights, "bias": weights["bias"] + d} for d in (by, -by)]
        high, low = (forward(model, w, trial, given=z).counts.sum() for w in shifted)
    bias = weights["bias"].detach().clone().requires_grad_()
    counts = forward(model, {**weights, "bias": bias}, trial, given=z).counts
    (found,) = torch.autograd.grad(counts.sum(), [bias])
    measured, now = float(high - low) / (2 * by), float(found.sum())
    return replace(model, height=model.height * measured / now) if measured > 0 and now > 0 else model


@dataclass(frozen=True, kw_only=True)
class _Drive:
    """What inputs and weights give: constant (samples, batch, N) mV a step at the membrane; held: name -> one by state
    of the synapse, the same shape or None; weights: w (N, N) of each recurrent projection."""

    constant: Tensor
    held: Mapping[str, tuple[Tensor | None, ...]]
    weights: tuple[Tensor, ...]


def _drive(model: Model, weights: Named, trial: Trial) -> _Drive:
    network, p, dtype = model.network, model.network.populations[0], model.dtype
    u = trial.inputs[network.held_inputs[0].name]
    constant = weights["bias"] + as_tensor(per_unit(p.neuron.v_leak, p.n), dtype)
    into: dict[str, Any] = {name: as_tensor(per_unit(bias, p.n), dtype) for name, bias in p.synaptic_bias.items()}
    sent = as_tensor(u, dtype)
    recurrent = []
    for i, q in enumerate(network.projections):
        w = weights[f"projection {i}"]
        if q.source == p.name:
            recurrent.append(w)
        elif q.synapse is None:
            constant = constant + sent @ w.T
        else:
            into[q.synapse] = into.get(q.synapse, 0) + sent @ w.T
    shape = (u.shape[0], trial.n_batch, p.n)
    held = {
        name: tuple(None if g is None else (h * g).expand(shape) for g in model.synapses[name].held)
        for name, h in into.items()
    }
    return _Drive(constant=(model.rest * constant).expand(shape), held=held, weights=tuple(recurrent))
