"""What a training run is asked to do: every number with the published value as its default, or the reason why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.errors import SpikeportError
from spikeport.snn.rate import RateNetwork, unsupported_activation

PHI_MAX: dict[str, float | None] = {"sigmoid": None, "softplus": 20.0, "relu": 20.0}  # the published code clips at 20
WEIGHTS = ("normal", "gamma")
MIN_TRIALS = {"go-nogo": 1500}  # "to ensure that the trained rate model is stable": comment of the published code


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of `train`; the defaults are those of Kim, Li & Sejnowski (PNAS 2019) and their code, unless said.

    n_neurons: N.  phi: "sigmoid", "softplus" or "relu", the last two clipped at 20.  tau_bounds: s; published 0.020 to
    0.100 or 0.125 by task; two equal ones fix tau, as published where it is not trained.  p_inh: probability of a unit
    to be inhibitory.  n_som: inhibitory units that are SOM, None for N / 10.  p_rec, gain, weights: the sparse initial
    weights, see initial.py.  noise_sd: of a step; x0_sd: of x at the start of a trial.
    batch: trials per gradient step (published 1).  learning_rate: Adam's.  clip_norm: of the gradient (ours).
    rate_cost: weight of mean(r^2) beside the loss (ours; 0 as published): quiet units are what a LIF unit does best.
    max_steps: gradient steps before giving up.  min_trials: none below it, None for the published number (Go-NoGo
    1,500, else 0).  look_every: steps between looks at look_trials fresh trials (published: every 100 trials, which
    would be every few steps of a batch).  The run has converged at the look where accuracy under the task's default
    rule is above accuracy_above and the mean loss below loss_below.  extra_steps: go on for so many after that, the
    learning rate falling linearly to 0, for a margin (ours).
    test_trials: fresh trials for the exported network's final accuracy.  threads: of torch; with one, a seed
    gives the same bits on every run.
    """

    n_neurons: int = 200
    seed: int = 0
    phi: str = "sigmoid"
    tau_bounds: tuple[float, float] = (0.020, 0.125)
    p_inh: float = 0.20
    n_som: int | None = None
    p_rec: float = 0.20
    gain: float = 1.5
    weights: str = "normal"
    noise_sd: float = 0.1
    x0_sd: float = 0.01
    batch: int = 16
    learning_rate: float = 0.01
    clip_norm: float = 1.0
    rate_cost: float = 0.0
    max_steps: int = 2000
    min_trials: int | None = None
    look_every: int = 10
    look_trials: int = 100
    accuracy_above: float = 0.95
    loss_below: float = 7.0
    extra_steps: int = 0
    test_trials: int = 1000
    threads: int = 1

    @property
    def n_som_units(self) -> int:
        return self.n_neurons // 10 if self.n_som is None else self.n_som  # 20 of 200, as published


FREE_ON_RESUME = ("max_steps", "test_trials")  # what a resumed run may change: where to stop, not the way there


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """What the progress callback receives after each step. accuracy: of the last look, None before the first.

    total_steps: when it will stop as things stand: max_steps, or the end of the extra steps once it has converged.
    """

    step: int
    total_steps: int
    loss: float
    accuracy: float | None
    converged: bool


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look at fresh trials after `step` steps: accuracy by rule, mean loss."""

    step: int
    accuracy: Mapping[str, float]
    loss: float


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training run made.

    accuracy: by rule, of the exported network on `test_trials` fresh noisy trials (empty where it was interrupted).
    losses: (steps,) the loss of each step.  converged: the stopping rule was met, at step converged_at.
    seconds: wall-clock time of this call, without what came before a resume.
    """

    network: RateNetwork
    accuracy: Mapping[str, float]
    losses: NDArray[np.float64]
    looks: tuple[Look, ...]
    steps: int
    converged_at: int | None
    interrupted: bool
    test_trials: int
    seconds: float

    @property
    def converged(self) -> bool:
        return self.converged_at is not None


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during training: `result` is what was reached, and the checkpoint, where one was named, is written."""

    def __init__(self, message: str, result: TrainingResult) -> None:
        super().__init__(message)
        self.result = result


def check_options(options: TrainingOptions, dt: float) -> None:
    """Refuse options that cannot be trained with at steps of dt seconds, all at once."""
    if options.phi not in PHI_MAX:
        raise unsupported_activation(options.phi)
    low, high = options.tau_bounds
    checks: tuple[tuple[bool, str], ...] = (
        (options.n_neurons >= 2, f"n_neurons: {options.n_neurons}, must be 2 or more"),
        (0 <= options.seed, f"seed: {options.seed}, must be 0 or more"),
        (0 < low <= high < np.inf, f"tau_bounds: {low:g} to {high:g} s, must be positive and ascending (seconds)"),
        (not 0 < low <= dt, f"tau_bounds: from {low:g} s, must be above the task's step of {dt:g} s"),
        (options.weights in WEIGHTS, f"weights: '{options.weights}', must be one of {', '.join(WEIGHTS)}"),
        (0 <= options.p_inh < 1, f"p_inh: {options.p_inh}, must be in [0, 1)"),
        (0 < options.p_rec <= 1, f"p_rec: {options.p_rec}, must be in (0, 1]"),
        (options.n_som_units >= 0, f"n_som: {options.n_som}, must be 0 or more"),
        (0 <= options.accuracy_above <= 1, f"accuracy_above: {options.accuracy_above}, must be in [0, 1]"),
        *_at_least(options, 1, "batch", "max_steps", "look_every", "look_trials", "test_trials", "threads"),
        *_at_least(options, 0, "extra_steps", "noise_sd", "x0_sd", "rate_cost"),
        *((getattr(options, n) > 0, f"{n}: {getattr(options, n)}, must be positive") for n in _POSITIVE),
    )
    problems = [text for good, text in checks if not good]
    if problems:
        raise SpikeportError("training: these options make no sense", problems, hint="spikeport train --help")


_POSITIVE = ("gain", "learning_rate", "clip_norm", "loss_below")

Progress = Callable[[TrainingProgress], Any]


def _at_least(options: TrainingOptions, least: int, *names: str) -> list[tuple[bool, str]]:
    found = {name: getattr(options, name) for name in names}
    return [(value >= least, f"{name}: {value}, must be {least} or more") for name, value in found.items()]
