"""Validating a spiking network against its rate model, on any targets: the verb `validate` as a function."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spikeport.convert.sources import load_source
from spikeport.convert.validation.gate import Verdict, judge, parse_requirements
from spikeport.convert.validation.levels import Level, engine_level
from spikeport.convert.validation.validate import Progress, Validation, validate
from spikeport.snn.errors import SpikeportError
from spikeport.snn.files import load_spiking_network
from spikeport.snn.losses import Loss
from spikeport.snn.measures.differences import Difference, first_difference
from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import Task, get_task
from spikeport.targets.base import Runner, RunOptions, check_choices, run_problems
from spikeport.targets.checking import runner
from spikeport.targets.replay import Replay, replay

IDEAL = "ideal"
REPLAYED = 2  # trials
TRIALS, FIRST = 100, 2000  # of a task that makes as many as one asks for; a conversion uses those before FIRST


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """A target's replay: on how many spikes it was compared, how many differ, and the first that does (replay.py)."""

    compared: int
    differing: int
    by_rounding: int
    trials: int
    silent_trials: int
    losses: tuple[Loss, ...]
    first: Difference | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "compared": self.compared, "differing": self.differing,
            "by_rounding": self.by_rounding, "trials": self.trials,
            "silent_trials": self.silent_trials, "losses": [str(loss) for loss in self.losses],
            "first": None if self.first is None else self.first.as_dict(),
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ValidationResult:
    """What validate_network found: each level's numbers, each target's replay, and the gate's verdicts."""

    validation: Validation
    replays: dict[str, Replayed]
    verdicts: tuple[Verdict, ...]
    losses: dict[str, tuple[Loss, ...]]

    @property
    def holds(self) -> bool:
        """Does every requirement hold?"""
        return all(v.holds for v in self.verdicts)

    def as_dict(self) -> dict[str, Any]:
        """What `spikeport validate --json` prints."""
        return {
            **self.validation.as_dict(),
            "replay": {name: found.as_dict() for name, found in self.replays.items()},
            "losses": {name: [str(loss) for loss in losses] for name, losses in self.losses.items()},
            "requirements": [v.as_dict() for v in self.verdicts],
            "holds": self.holds,
        }


def validate_network(
    network: SpikingNetwork | str | Path,
    against: RateNetwork | str | Path,
    task: Task | str | Path,
    *,
    targets: Sequence[str] = (),
    trials: int | None = None,
    first: int | None = None,
    seed: int = 0,
    rule: str | None = None,
    require: Sequence[str] = (),
    allow: Collection[str] = (),
    dtype: str = "float64",
    device: str = "cpu",
    with_noise: bool = True,
    progress: Progress | None = None,
) -> ValidationResult:
    """Put the rate model `against`, the ideal spiking network and each of `targets` beside each other on `task`.

    require: "accuracy>=0.95" and the like, checked on every level (gate.py).  allow: what a target may give up, by
    feature; it is then a named loss.  first: the first trial's number (default: 2000, beyond those of a conversion; of
    a file 0).  trials: how many (default: 100, or as many as a file has left).
    """
    requirements = parse_requirements(require)
    network = network if isinstance(network, SpikingNetwork) else load_spiking_network(network)
    source = against if isinstance(against, RateNetwork) else load_source(against)
    task = get_task(task) if isinstance(task, (str, Path)) else task
    runners = [runner(name) for name in targets]
    wrong = [problem for on in runners for problem in run_problems(on, dtype, device)]
    if wrong:
        raise SpikeportError("targets cannot run like that", wrong, hint="spikeport targets")
    available: int | None = getattr(task, "n_trials", None)
    if first is None:
        first = FIRST if available is None else 0
    if trials is None:
        trials = TRIALS if available is None else min(TRIALS, available - first)
    options = RunOptions(seed=seed, with_noise=with_noise, dtype=dtype, device=device)
    levels = [engine_level(network, seed=seed, with_noise=with_noise, name=IDEAL)]
    levels += [_level(on, network, allow, options) for on in runners]
    found = validate(source, levels, task, trials=trials, first=first, seed=seed, rule=rule, progress=progress)
    part = task.trials(min(REPLAYED, trials), seed=seed, first=first)
    replays = {on.name: _replay(on, network, part.inputs, part.first, allow, options) for on in runners}
    said = found.as_dict()
    numbers: dict[str, dict[str, Any]] = {
        level.name: {
            "accuracy": said["accuracy"][level.name],
            "free_running": said["free_running"][level.name],
            **({"replay": replays[level.name].as_dict()} if level.name in replays else {}),
        }
        for level in levels
    }
    return ValidationResult(
        validation=found, replays=replays, verdicts=judge(requirements, numbers),
        losses={level.name: level.losses for level in levels},
    )  # fmt: skip


def _level(on: Runner, network: SpikingNetwork, allow: Collection[str], options: RunOptions) -> Level:
    """A target as something that validation can run."""
    lowering = on.lower(network, allow=allow, **check_choices(on, {}))

    def simulate(inputs: Array, first_trial: int) -> Recording:
        return on.run(lowering, inputs, replace(options, first_trial=first_trial))

    return Level(name=on.name, network=network, simulate=simulate, losses=lowering.losses)


def _replay(
    on: Runner, network: SpikingNetwork, inputs: Array, first: int, allow: Collection[str], options: RunOptions
) -> Replayed:
    traces = [f"{p.name}.v" for p in network.populations] if on.capabilities.records_v else []
    found: Replay = replay(on, network, inputs, replace(options, first_trial=first, record=traces), allow=allow)
    return Replayed(
        compared=found.compared, differing=found.differing, by_rounding=found.by_rounding,
        trials=found.expected.n_batch, silent_trials=found.silent_trials, losses=found.losses,
        first=first_difference(found.expected, found.found, network),
    )  # fmt: skip
