"""Running a spiking network on a target, on trials of a task, and judging what comes out."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from spikeport.snn.calibrated_range import RangeWatch
from spikeport.snn.errors import SpikeportError
from spikeport.snn.files import load_spiking_network
from spikeport.snn.fingerprint import fingerprint
from spikeport.snn.losses import Loss
from spikeport.snn.measures import wilson
from spikeport.snn.recording import Recording, join
from spikeport.snn.seen import seen_trials
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import Task, get_task
from spikeport.targets.base import Runner, RunOptions, check_choices, run_problems
from spikeport.targets.checking import runner

CHUNK = 20  # trials at a time, for memory and for the progress bar

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Trials of a task on a target. right: rule -> how many trials were right. recording: where it was asked for.

    losses: what the target gave up, with permission.  warnings: what a user should look at.
    """

    task: str
    target: str
    dtype: str
    device: str
    seed: int
    trials: int
    right: dict[str, int]
    rule: str
    mean_rate_hz: float
    silent_trials: int
    seconds: float
    losses: tuple[Loss, ...]
    warnings: tuple[str, ...]
    recording: Recording | None

    def as_dict(self) -> dict[str, Any]:
        """What `spikeport run --json` prints."""
        used = self.right[self.rule]
        found: dict[str, Any] = {
            "spiking_accuracy": used / self.trials,
            "trials": self.trials,
            "rule": self.rule,
            "interval": list(wilson(used, self.trials)),
            "confidence": 0.95,
        }
        found |= {f"spiking_accuracy_{rule}": n / self.trials for rule, n in self.right.items()}
        found |= {f"interval_{rule}": list(wilson(n, self.trials)) for rule, n in self.right.items()}
        return found | {
            "mean_rate_hz": self.mean_rate_hz,
            "silent_trials": self.silent_trials,
            "task": self.task,
            "target": self.target,
            "dtype": self.dtype,
            "device": self.device,
            "seed": self.seed,
            "seconds": self.seconds,
            "losses": [{"what": loss.what, "where": loss.where, "how_much": loss.how_much} for loss in self.losses],
            "warnings": list(self.warnings),
        }


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C during a run: how far it was, and how many trials were right by each rule."""

    def __init__(self, done: int, trials: int, right: dict[str, int]) -> None:
        found = ", ".join(f"{n} right by rule '{rule}'" for rule, n in right.items()) if done else "nothing to tell"
        super().__init__(f"interrupted after {done} of {trials} trials: {found}")
        self.done, self.trials, self.right = done, trials, right


def run_network(  # long: a third of it is the signature
    network: SpikingNetwork | str | Path,
    task: Task | str | Path,
    *,
    target: str = "engine",
    trials: int | None = None,
    first: int = 0,
    seed: int = 0,
    rule: str | None = None,
    dtype: str = "float64",
    device: str = "cpu",
    allow: Collection[str] = (),
    batch: int = CHUNK,
    with_noise: bool = True,
    keep: bool = False,
    progress: Progress | None = None,
    **choices: str,
) -> RunResult:
    """Run trials first .. first + trials - 1 of `task` (default 100, or all of a file's) on a target, and judge them.

    batch: trials at a time.  allow: what the target may give up, by feature.  choices: the target's own (base.py).
    keep: return the whole recording, which takes memory for every trial.
    """
    started = time.perf_counter()
    network = network if isinstance(network, SpikingNetwork) else load_spiking_network(network)
    task = get_task(task) if isinstance(task, (str, Path)) else task
    on = runner(target)
    rule = check_run(network, task, on, dtype, device, rule, batch)
    trials = _how_many(task, trials, first)
    lowering = on.lower(network, allow=allow, **check_choices(on, choices))
    right = dict.fromkeys(task.rules, 0)
    kept, done, spikes, silent, duration = [], 0, 0, 0, 0.0
    watch = RangeWatch.of(network)
    try:
        for start in range(0, trials, batch):
            part = task.trials(min(batch, trials - start), seed=seed, first=first + start)
            options = RunOptions(seed=seed, first_trial=part.first, with_noise=with_noise, dtype=dtype, device=device)
            recording = on.run(lowering, part.inputs, options)
            outputs = recording.outputs[network.readouts[0].name]
            verdicts = {r: task.judge(outputs, part, dt=network.dt, kind="spiking", rule=r) for r in task.rules}
            per_trial = np.sum([s.counts().sum(axis=1) for s in recording.spikes.values()], axis=0)
            right = {r: n + int(verdicts[r].sum()) for r, n in right.items()}
            spikes, silent = spikes + int(per_trial.sum()), silent + int((per_trial == 0).sum())
            duration, done = recording.duration, done + part.n_trials
            watch = None if watch is None else watch.add(recording, part.inputs)
            kept += [recording] if keep else []
            if progress is not None:
                progress(done, trials, "trials")
    except KeyboardInterrupt:
        raise RunInterrupted(done, trials, right) from None
    return RunResult(
        task=task.name, target=target, dtype=dtype if on.capabilities.precision else on.capabilities.dtypes[0],
        device=device, seed=seed, trials=trials, right=right, rule=rule,
        mean_rate_hz=spikes / (trials * duration * network.n_neurons), silent_trials=silent,
        seconds=time.perf_counter() - started, losses=lowering.losses,
        warnings=(
            *seen_trials(network, task, seed=seed, first=first, trials=trials),
            *(() if watch is None else watch.warnings()),
        ),
        recording=replace(join(kept), network=fingerprint(network)) if keep else None,
    )  # fmt: skip


def _how_many(task: Task, trials: int | None, first: int) -> int:
    """Trials of this run: 100, or all that a file has from `first` on; more than a file has is refused."""
    available: int | None = getattr(task, "n_trials", None)
    problems = []
    if trials is not None and trials < 1:
        problems.append(f"trials: {trials}, must be at least 1")
    if first < 0:
        problems.append(f"first: {first}, must be 0 or more")
    elif available is not None and first + max(1, trials or 0) > available:
        problems.append(
            f"trials from {first} on: the file has {available} (0 to {available - 1}), {trials or 'at least 1'} wanted"
        )
    if problems:
        raise SpikeportError(f"task '{task.name}': cannot run these trials", problems, hint="spikeport run --help")
    if trials is not None:
        return trials
    return 100 if available is None else available - first


def check_run(
    network: SpikingNetwork, task: Task, on: Runner, dtype: str, device: str, rule: str | None, batch: int
) -> str:
    """Refuse a run that cannot be, all problems at once; the rule that will judge it."""
    problems = run_problems(on, dtype, device)
    if batch < 1:
        problems.append(f"batch: {batch}, must be at least 1")
    held = network.held_inputs
    if len(network.inputs) != 1 or len(held) != 1:
        problems.append(f"inputs: the network has {len(network.inputs)}, a task needs one held input")
    elif held[0].n != task.n_inputs:
        problems.append(f"inputs: the task has {task.n_inputs} channels, the network takes {held[0].n}")
    elif abs(held[0].dt - task.dt) > 1e-9:
        problems.append(f"clock: the task has a sample every {task.dt:g} s, the network expects {held[0].dt:g} s")
    outputs = network.readouts[0].weight.shape[0] if network.readouts else 0
    if outputs != task.n_outputs:
        problems.append(f"outputs: the task judges {task.n_outputs}, the network has {outputs}")
    if rule is not None and rule not in task.rules:
        problems.append(f"rule '{rule}': the task has {', '.join(task.rules)}")
    if problems:
        raise SpikeportError(
            f"task '{task.name}' cannot run on this network",
            problems,
            hint="spikeport inspect FILE   shows what it takes",
        )
    return task.rules[0] if rule is None else rule
