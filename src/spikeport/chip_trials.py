"""Trials of a network in a chip's own arithmetic and in floating point, judged one by one, so that they pair.

A chip is a target that runs networks and rounds them: its capabilities have no `precision`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn import engine
from spikeport.snn.errors import SpikeportError
from spikeport.snn.losses import Loss
from spikeport.snn.measures import mcnemar, paired_difference, wilson
from spikeport.snn.neurons import Array
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import Task
from spikeport.targets.approximations import APPROXIMATIONS
from spikeport.targets.base import Runner, RunOptions, check_choices
from spikeport.targets.checking import runner
from spikeport.targets.registry import TARGETS, get_target

BATCH = 50  # trials at a time, for memory and for Ctrl-C
MARGIN = 0.02  # accuracy that a chip may lose against float: 2 points
EVERYTHING = tuple(APPROXIMATIONS)  # what a chip lacks is given up: asking for it is asking for that, each with a name

Simulate = Callable[[Array, int], Recording]
Progress = Callable[[int, int, str], None]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Trials of one network. right: rule -> (trials,), which were right."""

    right: Mapping[str, Bools]
    mean_rate_hz: float


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """A network as a chip runs it. allowed: the features that it gave up, by name; losses: what that and rounding
    are."""

    simulate: Simulate
    allowed: tuple[str, ...]
    losses: tuple[Loss, ...]


@dataclass(frozen=True, kw_only=True)
class Versus:
    """Float and chip on the same trials, by one rule: chip less float with Newcombe's interval, and McNemar's test."""

    float_right: int
    chip_right: int
    trials: int
    difference: float
    interval: tuple[float, float]
    only_float: int
    only_chip: int
    p: float

    @property
    def holds(self) -> bool:
        """Is the chip no more than MARGIN worse, by the interval?"""
        return self.interval[0] > -MARGIN

    @classmethod
    def of(cls, on_float: Bools, on_chip: Bools) -> Versus:
        difference, interval = paired_difference(on_float, on_chip)
        only_float, only_chip, p = mcnemar(on_float, on_chip)
        return cls(
            float_right=int(on_float.sum()), chip_right=int(on_chip.sum()), trials=on_float.size,
            difference=difference, interval=interval, only_float=only_float, only_chip=only_chip, p=p,
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        return {
            "float_accuracy": self.float_right / self.trials,
            "float_interval": list(wilson(self.float_right, self.trials)),
            "accuracy": self.chip_right / self.trials, "interval": list(wilson(self.chip_right, self.trials)),
            "trials": self.trials, "difference": self.difference, "difference_interval": list(self.interval),
            "only_float": self.only_float, "only_chip": self.only_chip, "p": self.p, "margin": MARGIN,
            "holds": self.holds,
        }  # fmt: skip


def chip(name: str) -> Runner:
    """The target of that name, if it is a chip: it runs networks, in integers of its own."""
    chips = [n for n in TARGETS if isinstance(get_target(n), Runner) and not get_target(n).capabilities.precision]
    if get_target(name).capabilities.precision:  # an unknown name is refused there
        raise SpikeportError(
            f"{name} is no chip: it computes in floating point, so there is no arithmetic to convert for",
            [f"there are: {', '.join(chips)}"],
            hint=f"convert without --for, then   spikeport check net.h5 --target {name}",
        )
    return runner(name)


def lowered(on: Runner, network: SpikingNetwork, choices: Mapping[str, str], seed: int) -> Lowered:
    """`network` on the chip, with what it lacks given up. RefusedError: even so it does not fit."""
    chosen = check_choices(on, dict(choices))
    lowering = on.lower(network, allow=EVERYTHING, **chosen)
    lacking = {p.feature for p in on.problems(network, **chosen)}

    def simulate(inputs: Array, first_trial: int) -> Recording:
        return on.run(lowering, inputs, RunOptions(seed=seed, first_trial=first_trial))

    allowed = tuple(feature for feature in APPROXIMATIONS if feature in lacking)
    return Lowered(simulate=simulate, allowed=allowed, losses=lowering.losses)


def in_float(network: SpikingNetwork, seed: int) -> Simulate:
    """`network` itself on the engine, in float64; without noise, as a chip has none."""

    def simulate(inputs: Array, first_trial: int) -> Recording:
        return engine.simulate(network, inputs, seed=seed, first_trial=first_trial, with_noise=False)

    return simulate


def judge(
    simulate: Simulate, network: SpikingNetwork, task: Task, *, first: int, n: int, seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Judged:  # fmt: skip
    """Trials first .. first + n - 1. progress: is told the trials done so far."""
    right: dict[str, list[Bools]] = {rule: [] for rule in task.rules}
    spikes, seconds = 0, 0.0
    for start in range(0, n, BATCH):
        part = task.trials(min(BATCH, n - start), seed=seed, first=first + start)
        run = simulate(part.inputs, part.first)
        outputs = run.outputs[network.readouts[0].name]
        for rule, found in right.items():
            found.append(task.judge(outputs, part, dt=network.dt, kind="spiking", rule=rule))
        spikes += sum(s.n_spikes for s in run.spikes.values())
        seconds += run.duration * run.n_batch
        progress(start + part.n_trials)
    return Judged(
        right={rule: np.concatenate(found) for rule, found in right.items()},
        mean_rate_hz=spikes / (seconds * network.n_neurons),
    )
