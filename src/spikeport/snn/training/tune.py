"""Fine-tuning: some steps of Adam on surrogate gradients, towards a rate network's outputs and its units' rates.

    w_rec = w0 exp(p)    w_in = w0 exp(p)    bias = b0 + 1 mV p    w_out = w0 + c p where w0 is not 0

so zeros stay zeros, and every recurrent weight keeps its sign (Dale's law), by construction; c: per_spike times the
root mean square of w0 / per_spike, because a spike of a unit with few says more. On a batch of trials

    loss = mean (o - o*)^2 / var o*  +  rate_weight mean (F r - F r*)^2 / size  +  3 max(0, f / budget - 1)
    size = var r* + per_spike mean max(r* - baseline, 0) / (2 rate_tau)

o*, r*: of the rate network; r = baseline + per_spike z; F: an exponential filter of rate_tau, because a spike or none
says little about a rate; size: per unit, what moves and the shot noise of spikes that say it (Campbell's theorem), or
units with few spikes drown all others; f: spikes/s a unit. The noise of each step is another, and each look at the
held-out trials is the engine's: the network that comes out is the best of them, and one above the budget is worse than
any other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spikeport.snn.engine import Engine
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.training import bptt, surrogate
from spikeport.snn.training.tuning import (
    Teacher,
    Tuned,
    TuningInterrupted,
    TuningLook,
    TuningOptions,
    TuningProgress,
    check_tuning,
)

AIM = 0.9  # of the budget, in the loss: other trials have other rates
OVERSPENT = 3.0  # in the loss, for each budget too much: with 1 training stays above it
BIAS = 1.0  # mV of bias for a change of weights by 100 %: 3 was no better in the mean of three networks
MATCHING = 8  # trials on which the surrogate's height is matched


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What does not change: the model, the first weights, the teacher as tensors."""

    model: surrogate.Model
    start: surrogate.Named
    teacher: Teacher
    options: TuningOptions
    max_rate_hz: float
    smooth: Tensor  # (samples, samples), F
    output_size: float
    out_size: Tensor  # (N,)
    rate_size: Tensor  # (N,); infinite where a unit never moves


def tune(
    network: SpikingNetwork,
    teacher: Teacher,
    options: TuningOptions | None = None,
    *,
    max_rate_hz: float = float("inf"),
    n_threads: int | None = None,
    progress: TuningProgress | None = None,
) -> Tuned:
    """The network after a fine-tuning, or as it came where no look was better.

    max_rate_hz: the budget, spikes/s a unit.  n_threads: of the looks; None is one per core.  Ctrl-C raises
    TuningInterrupted, with the best until then.  The same arguments give the same network on one machine.
    """
    begun = time.perf_counter()
    options = options or TuningOptions()
    check_tuning(options)
    with _settings(options.threads):
        task = _task_of(network, teacher, options, max_rate_hz)
        state = bptt.initial_state({name: np.zeros(w.shape, dtype=np.float32) for name, w in task.start.items()})
        looks = [_look(network, teacher, options, 0, float("nan"), n_threads)]
        best = network

        def result() -> Tuned:
            return Tuned(
                network=best, looks=tuple(looks), best=_best(looks, max_rate_hz), steps=state.step,
                height=task.model.height, seconds=time.perf_counter() - begun,
            )  # fmt: skip

        try:
            while state.step < options.steps:
                loss, grads = _gradients(task, state.parameters, state.step)
                if not all(bool(torch.isfinite(g).all()) for g in grads.values()):
                    break  # what came until now is judged; a longer run would be NaN
                rate = options.learning_rate * (1 - state.step / options.steps)
                state = bptt.step_adam(state, grads, learning_rate=rate, clip_norm=options.clip_norm)
                if state.step % options.look_every == 0 or state.step == options.steps:
                    now = surrogate.with_weights(network, _effective(task, state.parameters))
                    look = _look(now, teacher, options, state.step, loss, n_threads)
                    looks = [*looks, look]
                    best = now if _best(looks, max_rate_hz) == len(looks) - 1 else best
                if progress is not None:
                    what = f"fine-tuning, loss {loss:.3f}, held-out error {looks[-1].score:.3f}"
                    progress(state.step, options.steps, what)
        except KeyboardInterrupt:
            raise TuningInterrupted(f"after {state.step} of {options.steps} steps", result()) from None
        return result()


def _task_of(network: SpikingNetwork, teacher: Teacher, options: TuningOptions, max_rate_hz: float) -> _Task:
    model = surrogate.Model.of(network, width=options.width)
    start = surrogate.weights_of(model)
    some = slice(0, min(MATCHING, teacher.training))
    trial = surrogate.Trial.of(network, teacher.inputs[:, some], seed=_noise_seed(options, 0), first_trial=0)
    model = surrogate.match_height(model, start, trial)
    train = slice(0, teacher.training)
    rates = teacher.rates[:, train]
    shot = teacher.per_spike * np.maximum(rates - teacher.baseline, 0).mean(axis=(0, 1)) / (2 * options.rate_tau)
    size = rates.var(axis=(0, 1)) + shot
    n = teacher.inputs.shape[0]
    keep = float(np.exp(-network.held_inputs[0].dt / options.rate_tau))
    since = np.subtract.outer(np.arange(n), np.arange(n))
    smooth = np.where(since >= 0, (1 - keep) * keep ** np.maximum(since, 0.0), 0.0)
    by_rate = network.readouts[0].weight / teacher.per_spike
    return _Task(
        model=model, start=start, teacher=teacher, options=options, max_rate_hz=max_rate_hz,
        smooth=bptt.tensor(smooth), output_size=_positive(float(teacher.outputs[:, train].var(axis=(0, 1)).mean())),
        out_size=bptt.tensor(teacher.per_spike * float(np.sqrt((by_rate**2).mean()))),
        rate_size=bptt.tensor(np.where(size > 0, size, np.inf)),
    )  # fmt: skip


def _positive(size: float) -> float:
    return size if size > 0 else 1.0


def _effective(task: _Task, p: surrogate.Named) -> dict[str, Tensor]:
    """The first equation of the module."""
    found = {}
    for name, w0 in task.start.items():
        if name == "bias":
            found[name] = w0 + BIAS * p[name]
        elif name == "out":
            found[name] = w0 + task.out_size * p[name] * (w0 != 0)
        else:
            found[name] = w0 * torch.exp(p[name])
    return found


def _gradients(task: _Task, parameters: surrogate.Named, step: int) -> tuple[float, dict[str, Tensor]]:
    """The loss of a step's batch and its gradient by parameter."""
    options, teacher = task.options, task.teacher
    rng = np.random.default_rng((options.seed, step))
    chosen = np.sort(rng.permutation(teacher.training)[: options.batch])
    trial = surrogate.Trial.of(
        task.model.network, teacher.inputs[:, chosen], seed=_noise_seed(options, step + 1), first_trial=0
    )
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    answer = surrogate.forward(task.model, _effective(task, leaves), trial)
    error = (answer.outputs - bptt.tensor(teacher.outputs[:, chosen])).square().mean() / task.output_size
    sample = task.model.network.held_inputs[0].dt
    counts = answer.counts
    if options.rate_weight > 0:
        missing = counts * bptt.tensor(teacher.per_spike / sample) + bptt.tensor(teacher.baseline)
        missing = missing - bptt.tensor(teacher.rates[:, chosen])
        slow = torch.tensordot(task.smooth, missing, dims=1)
        error = error + options.rate_weight * (slow.square() / task.rate_size).mean()
    if np.isfinite(task.max_rate_hz):
        share = teacher.shares[chosen] * teacher.training / (teacher.shares[: teacher.training].sum() * len(chosen))
        spent = (counts.mean(dim=(0, 2)) * bptt.tensor(share)).sum() / sample
        error = error + OVERSPENT * torch.relu(spent / (AIM * task.max_rate_hz) - 1)
    grads = torch.autograd.grad(error, list(leaves.values()))
    return float(error.detach()), dict(zip(leaves, grads, strict=True))


def _look(
    network: SpikingNetwork, teacher: Teacher, options: TuningOptions, step: int, loss: float, n_threads: int | None
) -> TuningLook:
    """The engine on all trials: the rate of all, because few may be untypical, the score of the held-out."""
    n = teacher.inputs.shape[1]
    start = min(teacher.training, n - 1)
    trial = surrogate.Trial.of(network, teacher.inputs, seed=options.seed)
    engine = Engine(network, dtype="float32")
    state = engine.start(n, seed=options.seed, first_trial=teacher.first)
    run = engine.run(state, teacher.inputs, n_threads=n_threads)
    o = np.add.reduceat(run.outputs[start:, 0].transpose(2, 0, 1).astype(np.float64), trial.edges[:-1], axis=0)
    o /= np.diff(trial.edges)[:, None, None]
    wanted = teacher.outputs[:, start:]
    size = _positive(float(np.sqrt(((wanted - wanted.mean(axis=(0, 1))) ** 2).mean())))
    score = float(np.sqrt(((o - wanted) ** 2).mean())) / size
    rates = run.counts[:, 0].sum(axis=1) / (trial.n_steps * network.dt * network.n_neurons)
    return TuningLook(
        step=step, score=score if np.isfinite(score) else float("inf"),
        mean_rate_hz=float(rates @ teacher.shares), loss=loss,
    )  # fmt: skip


def _best(looks: list[TuningLook], max_rate_hz: float) -> int:
    """The first of the best."""
    return min(range(len(looks)), key=lambda i: (looks[i].mean_rate_hz > max_rate_hz, looks[i].score))


def _noise_seed(options: TuningOptions, step: int) -> int:
    """Of a step's noise and v0: training sees no noise twice, and none of that of the looks."""
    return int(np.random.default_rng((options.seed, step, 1)).integers(2**63))


@contextmanager
def _settings(threads: int) -> Iterator[None]:
    """One thread, as reproducible sums want it, and no subnormal numbers: what decays for long would be slow."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)
