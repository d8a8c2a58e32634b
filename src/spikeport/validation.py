"""Validating a spiking network against its rate model, on any targets: the verb `validate` as a function."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from spikeport.attribution import Setting, Why, attribute
from spikeport.convert.sources import load_source
from spikeport.convert.validation.gate import Verdict, judge, parse_requirements
from spikeport.convert.validation.levels import Level, engine_level
from spikeport.convert.validation.origin import file_record, origin, search_curve, versions
from spikeport.convert.validation.validate import Progress, Validation, validate
from spikeport.convert.validation.words import verdict
from spikeport.snn.errors import SpikeportError
from spikeport.snn.files import load_spiking_network
from spikeport.snn.losses import Loss
from spikeport.snn.measures.differences import Difference, first_difference
from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import Task, Trials, get_task
from spikeport.targets.base import Runner, RunOptions, check_choices, run_problems
from spikeport.targets.checking import runner, shared_choices
from spikeport.targets.replay import Replay, replay

SPIKING = "spiking network"  # the network itself, on the engine
REPLAYED = 2  # trials
LOOKED_AT = 20  # trials, for two of different labels
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
    """What validate_network found: each level's numbers, each target's replay, and the gate's verdicts.

    provenance: files, settings, versions, machine.  search: the network's own search over lambda (origin.py).
    """

    validation: Validation
    replays: dict[str, Replayed]
    verdicts: tuple[Verdict, ...]
    losses: dict[str, tuple[Loss, ...]]
    provenance: dict[str, Any]
    search: dict[str, Any] | None
    why: Why | None = None

    @property
    def holds(self) -> bool:
        """Does every requirement hold?"""
        return all(v.holds for v in self.verdicts)

    def as_dict(self) -> dict[str, Any]:
        """What `spikeport validate --json` prints; all that the page shows is in it."""
        found = {
            **self.validation.as_dict(),
            "replay": {name: found.as_dict() for name, found in self.replays.items()},
            "losses": {name: [str(loss) for loss in losses] for name, losses in self.losses.items()},
            "why": None if self.why is None else self.why.as_dict(),
            "requirements": [v.as_dict() for v in self.verdicts],
            "holds": self.holds,
            "search": self.search,
            "provenance": self.provenance,
        }
        status, sentences = verdict(found)
        return {"status": status, "verdict": sentences, **found}


def validate_network(
    network: SpikingNetwork | str | Path,
    against: RateNetwork | str | Path,
    task: Task | str | Path,
    *,
    targets: Sequence[str | Runner] = (),
    trials: int | None = None,
    first: int | None = None,
    seed: int = 0,
    rule: str | None = None,
    require: Sequence[str] = (),
    allow: Collection[str] = (),
    choices: Mapping[str, str] | None = None,
    dtype: str = "float64",
    device: str = "cpu",
    with_noise: bool = True,
    why: bool = False,
    progress: Progress | None = None,
) -> ValidationResult:
    """Put the rate model `against`, the spiking network and each of `targets` beside each other on `task`.

    require: "accuracy>=0.95" and the like, checked on every level (gate.py).  allow: what a target may give up, by
    feature; it is then a named loss.  choices: of the targets, {"bits": "4"} for all that have it, {"loihi.bits": "4"}
    for one.  first: the first trial's number (default: 2000, beyond those of a conversion; of
    a file 0).  trials: how many (default: 100, or as many as a file has left).  targets: by name, or a runner of your
    own (targets/base.py).  why: measure what each step on the way down costs, too (attribution.py).
    """
    requirements = parse_requirements(require)
    files = _files(network, against, task)
    network = network if isinstance(network, SpikingNetwork) else load_spiking_network(network)
    source = against if isinstance(against, RateNetwork) else load_source(against)
    task = get_task(task) if isinstance(task, (str, Path)) else task
    runners = [runner(on) if isinstance(on, str) else on for on in targets]
    mine = shared_choices(runners, choices or {})
    wrong = [problem for on in runners for problem in run_problems(on, dtype, device)]
    if wrong:
        raise SpikeportError("targets cannot run like that", wrong, hint="spikeport targets")
    available: int | None = getattr(task, "n_trials", None)
    if first is None:
        first = FIRST if available is None else 0
    if trials is None:
        trials = TRIALS if available is None else min(TRIALS, available - first)
    options = RunOptions(seed=seed, with_noise=with_noise, dtype=dtype, device=device)
    levels = [engine_level(network, seed=seed, with_noise=with_noise, name=SPIKING)]
    levels += [_level(on, network, allow, mine[on.name], options) for on in runners]
    found = validate(source, levels, task, trials=trials, first=first, seed=seed, rule=rule, progress=progress)
    part = _to_replay(task, trials, seed, first)
    replays = {on.name: _replay(on, network, part, allow, mine[on.name], options) for on in runners}
    numbers = _numbers(found, replays)
    agreeing = [name for name, r in replays.items() if r.differing == r.by_rounding]
    setting = Setting(
        source=source, network=network, task=task, validation=found, options=options, allow=allow, choices=mine
    )  # fmt: skip
    return ValidationResult(
        why=attribute(setting, SPIKING, runners, part, agreeing, progress) if why else None,
        validation=found, replays=replays, verdicts=judge(requirements, numbers),
        losses={level.name: level.losses for level in levels}, search=search_curve(network),
        provenance=_provenance(network, files, found, runners, options, allow, choices or {}),
    )  # fmt: skip


def _to_replay(task: Task, trials: int, seed: int, first: int) -> Trials:
    """Two trials in a row, of two labels where the first ones have them: a stimulus that is never on shows little."""
    labels = task.trials(min(LOOKED_AT, trials), seed=seed, first=first).labels
    change = np.flatnonzero(np.diff(labels))
    at = int(change[0]) if change.size else 0
    return task.trials(min(REPLAYED, trials - at), seed=seed, first=first + at)


def _numbers(found: Validation, replays: dict[str, Replayed]) -> dict[str, dict[str, Any]]:
    """What the gate judges: each level's numbers."""
    said = found.as_dict()
    return {
        name: {
            "accuracy": said["accuracy"][name],
            "free_running": said["free_running"][name],
            **({"replay": replays[name].as_dict()} if name in replays else {}),
        }
        for name in said["free_running"]
    }


def _files(
    network: SpikingNetwork | str | Path, against: RateNetwork | str | Path, task: Task | str | Path
) -> list[dict[str, Any]]:
    """Names and hashes, of the files as they are before the work."""
    return [
        file_record("network", "in memory" if isinstance(network, SpikingNetwork) else network),
        file_record("rate model", "in memory" if isinstance(against, RateNetwork) else against),
        file_record("task", task if isinstance(task, (str, Path)) else task.name),
    ]


def _provenance(
    network: SpikingNetwork, files: list[dict[str, Any]], found: Validation, runners: Sequence[Runner],
    options: RunOptions, allow: Collection[str], choices: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    settings = {
        "targets": ", ".join(on.name for on in runners), "trials": found.trials, "first_trial": found.first,
        "seed": found.seed, "rule": found.rule, "dtype": options.dtype, "device": options.device,
        "noise": options.with_noise, "allowed": ", ".join(allow),
        "choices": ", ".join(f"{name}={value}" for name, value in choices.items()),
    }  # fmt: skip
    return origin(network, files, settings) | {"versions": versions(m for on in runners for m in on.requires)}


def _level(
    on: Runner, network: SpikingNetwork, allow: Collection[str], choices: Mapping[str, str], options: RunOptions
) -> Level:
    """A target as something that validation can run."""
    lowering = on.lower(network, allow=allow, **check_choices(on, choices))

    def simulate(inputs: Array, first_trial: int) -> Recording:
        return on.run(lowering, inputs, replace(options, first_trial=first_trial))

    return Level(name=on.name, network=network, simulate=simulate, losses=lowering.losses)


def _replay(
    on: Runner, network: SpikingNetwork, part: Trials, allow: Collection[str], choices: Mapping[str, str],
    options: RunOptions,
) -> Replayed:  # fmt: skip
    traces = [f"{p.name}.v" for p in network.populations] if on.capabilities.records_v else []
    timed = replace(options, first_trial=part.first, record=traces)
    found: Replay = replay(on, network, part.inputs, timed, allow=allow, **choices)
    differs = first_difference(found.expected, found.found, network)
    return Replayed(
        compared=found.compared, differing=found.differing, by_rounding=found.by_rounding,
        trials=found.expected.n_batch, silent_trials=found.silent_trials, losses=found.losses,
        first=None if differs is None else replace(differs, trial=part.first + differs.trial),
    )  # fmt: skip
