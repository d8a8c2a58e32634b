"""Options and results of a fine-tuning (surrogate gradients); no torch here, so that anyone can name them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from spikeport.snn.errors import MissingDependencyError, SpikeportError
from spikeport.snn.neurons import Array
from spikeport.snn.spiking import SpikingNetwork

TuningProgress = Callable[[int, int, str], None]  # steps done, in all, what


@dataclass(frozen=True, kw_only=True)
class TuningOptions:
    """steps: of Adam.  batch: trials of a step.  learning_rate: of the first step, falling to 0 over the steps.

    rate_weight: of the units' rates beside the outputs in the loss.  rate_tau: s, of the filter of rates in it.
    width: mV, of the surrogate.  look_every: steps between looks at held-out trials.  seed: of batches and noise.
    """

    steps: int = 60
    batch: int = 16
    learning_rate: float = 0.03
    rate_weight: float = 0.3
    rate_tau: float = 0.1
    width: float = 1.0
    clip_norm: float = 1.0
    look_every: int = 5
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Teacher:
    """What a spiking network should do on some trials: inputs (samples, trials, n_inputs), outputs and rates of the
    rate network on them, (samples, trials, .), and what a spike of each unit says: r = baseline + per_spike z, z in
    spikes/s, (N,) both.  first: number of the first trial, the key of its noise.  held_out: how many, the last, judge.
    weights: (trials,), sum 1, with which these trials stand for many in the mean rate, or None: all the same.
    """

    inputs: Array
    outputs: Array
    rates: Array
    baseline: Array
    per_spike: Array
    first: int
    held_out: int
    weights: Array | None = None

    @property
    def shares(self) -> Array:
        """(trials,): `weights`, or the same for all."""
        n = self.inputs.shape[1]
        return np.full(n, 1 / n) if self.weights is None else self.weights

    @property
    def training(self) -> int:
        """Trials that train; with a single one, it judges too."""
        return max(1, self.inputs.shape[1] - self.held_out)


@dataclass(frozen=True, kw_only=True)
class TuningLook:
    """After `step` steps.  score: on the held-out trials, root mean square of the output's error over the standard
    deviation of the rate network's output.  mean_rate_hz: spikes/s a unit, on all trials by their weights.
    loss: of the step's batch.
    """

    step: int
    score: float
    mean_rate_hz: float
    loss: float

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True, eq=False)
class Tuned:
    """network: the best of the looks, which is the first, the network as it came, where no other is better."""

    network: SpikingNetwork
    looks: tuple[TuningLook, ...]
    best: int
    steps: int
    height: float
    seconds: float

    @property
    def before(self) -> TuningLook:
        return self.looks[0]

    @property
    def after(self) -> TuningLook:
        return self.looks[self.best]


class TuningInterrupted(KeyboardInterrupt):
    """Ctrl-C during a fine-tuning; `result` has the best network until then."""

    def __init__(self, message: str, result: Tuned) -> None:
        super().__init__(message)
        self.result = result


def check_tuning(options: TuningOptions) -> None:
    """Refuse options that cannot train, all reasons at once."""
    problems = [
        f"{name}: {getattr(options, name)}, must be at least 1"
        for name in ("steps", "batch", "look_every", "threads")
        if getattr(options, name) < 1
    ]
    for name, least in (("learning_rate", 0.0), ("rate_tau", 0.0), ("width", 0.0), ("clip_norm", 0.0)):
        value = getattr(options, name)
        if not (np.isfinite(value) and value > least):
            problems.append(f"{name}: {value}, must be positive")
    if not (np.isfinite(options.rate_weight) and options.rate_weight >= 0):
        problems.append(f"rate_weight: {options.rate_weight}, must be 0 or more")
    if not 0 <= options.seed < 2**64:
        problems.append(f"seed: {options.seed}, must be from 0 to 2^64 - 1")
    if problems:
        raise SpikeportError("fine-tuning cannot run with these options", problems, hint="TuningOptions()")


def load_tune() -> Any:
    """The module that needs torch; a missing torch is said with the line that brings it."""
    try:
        return import_module("spikeport.snn.training.tune")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError.for_extra("torch", "train", "fine-tuning (method 'finetuned')") from error
