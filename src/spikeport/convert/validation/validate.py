"""Validation: rate model, spiking network and target on the same trials, at the depths that need no replay.

    free-running   each runs on its own with the same inputs (and the same noise where it can be given)
    task           which trials are right, with intervals, paired on the same trials

(The third depth, replay, compares two recordings of the same inputs: measures/differences.py.) Trials are streamed:
memory does not grow with their number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.convert.attribution.steps import same
from spikeport.convert.validation.apart import distances_of
from spikeport.convert.validation.free import (
    Coincidences,
    Means,
    SpikeSums,
    Trajectories,
    no_coincidences,
    stand_in,
    trajectories,
)
from spikeport.convert.validation.levels import Level
from spikeport.convert.validation.picture import Picture
from spikeport.convert.validation.units import UnitNumbers
from spikeport.convert.validation.verdicts import Bools, Verdicts
from spikeport.snn.calibrated_range import RangeWatch
from spikeport.snn.errors import SpikeportError
from spikeport.snn.measures import PairedSums, Scores
from spikeport.snn.measures.differences import parted_at
from spikeport.snn.measures.filtering import sample_ends
from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork, simulate_rate
from spikeport.snn.recording import Recording
from spikeport.snn.seen import seen_trials
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import Task, Trials

BATCH = 10  # trials at a time
COINCIDENCE = 0.002  # s, half width of the window
RATE = "rate model"

Floats = NDArray[np.floating]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class FreeRunning:
    """One level against the rate model, and against the spiking network, the first level, where it is another.

    correlation, error: lambda s against r, per unit.  output_rms: of the outputs against the rate model's, (n_out,).
    coincidence: with the first level.  parted: for each trial, seconds until the first spike that differs from the
    first level; None where none does.  mean_r, mean_lambda_s: (n,), over all samples and trials.
    """

    name: str
    correlation: Scores
    error: Scores
    output_rms: Array
    spikes: SpikeSums
    dt: float
    trajectories: Trajectories
    coincidence: Scores | None
    parted: tuple[float | None, ...]
    distances: dict[str, Any] | None
    mean_r: Array
    mean_lambda_s: Array

    def units(self) -> UnitNumbers:
        """This level, unit by unit."""
        return UnitNumbers(
            name=self.name, rates_hz=self.spikes.rates_hz(self.dt), correlation=self.correlation, error=self.error,
            mean_r=self.mean_r, mean_lambda_s=self.mean_lambda_s,
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        rates = self.spikes.rates_hz(self.dt)
        found: dict[str, Any] = {
            "unit_correlation": _score(self.correlation),
            "unit_error": _score(self.error),
            "output_rms": self.output_rms.tolist(),
            "mean_rate_hz": float(rates.mean()),
            "median_rate_hz": float(np.median(rates)),
            "silent_units": int((rates == 0).sum()),
            "silent_trials": self.spikes.silent_trials,
            "cv": _score(self.spikes.cv()),
            "fano": _score(self.spikes.fano()),
            "trajectory_distance": self.trajectories.distance,
            "trajectory_distance_aligned": self.trajectories.distance_aligned,
            "trajectory_explained": self.trajectories.components.explained,
        }
        if self.coincidence is not None:
            parted = [t for t in self.parted if t is not None]
            found["coincidence"] = _score(self.coincidence)
            found["trials_that_part"] = len(parted)
            found["first_parted_s"] = min(parted) if parted else None
            found["distances"] = self.distances
        return found


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What validate found. free: a level each, from the spiking network down.  picture: more of it, as JSON has it."""

    task: str
    rule: str
    trials: int
    first: int
    seed: int
    verdicts: Verdicts
    free: tuple[FreeRunning, ...]
    picture: dict[str, Any]
    warnings: tuple[str, ...]
    seconds: float
    seconds_simulating: float

    def as_dict(self) -> dict[str, Any]:
        """What `spikeport validate --json` prints, but for replay and provenance."""
        return {
            "task": self.task,
            "rule": self.rule,
            "trials": self.trials,
            "first": self.first,
            "seed": self.seed,
            "warnings": list(self.warnings),
            "levels": [RATE, *(f.name for f in self.free)],
            "accuracy": self.verdicts.as_dict(),
            "free_running": {f.name: f.as_dict() for f in self.free},
            "seconds": self.seconds,
            "seconds_simulating": self.seconds_simulating,
            **self.picture,
        }


def validate(
    source: RateNetwork,
    levels: Sequence[Level],
    task: Task,
    *,
    trials: int = 100,
    first: int = 0,
    seed: int = 0,
    rule: str | None = None,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> Validation:
    """Run `source` and each of `levels` (the spiking network first, then what it became) on trials first .. of `task`.

    rule: of the task (default: its first).  batch: trials at a time.
    """
    started = time.perf_counter()
    rule = _check(source, levels, task, first, trials, batch, rule)
    sums = [_Sums.empty(source, level.network, levels[0].name if i else None) for i, level in enumerate(levels)]
    right: dict[str, dict[str, list[Bools]]] = {
        name: {r: [] for r in task.rules} for name in [RATE, *(v.name for v in levels)]
    }
    picture, simulating = Picture.of(source), 0.0
    watch = RangeWatch.of(levels[0].network)
    seen = seen_trials(levels[0].network, task, seed=seed, first=first, trials=trials)
    apart: dict[str, dict[str, Any]] = {}
    for done in range(0, trials, batch):
        part = task.trials(min(batch, trials - done), seed=seed, first=first + done)
        began = time.perf_counter()
        rate = simulate_rate(source, part.inputs, seed=seed, first_trial=part.first, record_state=True)
        runs = [level.simulate(part.inputs, part.first) for level in levels]
        simulating += time.perf_counter() - began
        _judge(right[RATE], task, rate.outputs, part, source.dt, "rate")
        above: Recording | None = None
        assert rate.r is not None
        outputs = {RATE: rate.outputs}
        for i, (level, run) in enumerate(zip(levels, runs, strict=True)):
            _judge(right[level.name], task, run.outputs[level.network.readouts[0].name], part, run.dt, "spiking")
            outputs[level.name] = sampled_outputs(level.network, run, source.dt)
            sums[i] = sums[i].add(level.network, rate.r, rate.outputs, outputs[level.name], source.dt, run, part, above)
            if above is not None and done == 0:
                apart[level.name] = distances_of(above, run, level.network.readouts[0].source)
            above = run if above is None else above
        named = {v.name: (run, v.network.readouts[0].source) for v, run in zip(levels, runs, strict=True)}
        picture = picture.add(part, rate, named, outputs, {name: found[rule][-1] for name, found in right.items()})
        watch = None if watch is None else watch.add(runs[0], part.inputs)
        if progress is not None:
            progress(min(done + batch, trials), trials, "trials")
    verdicts = Verdicts(
        right={name: {r: np.concatenate(v) for r, v in rules.items()} for name, rules in right.items()}, rule=rule
    )
    free = tuple(s.finish(level, apart.get(level.name)) for s, level in zip(sums, levels, strict=True))
    paths = {f.name: f.trajectories for f in free}
    return Validation(
        task=task.name, rule=rule, trials=trials, first=first, seed=seed, verdicts=verdicts, free=free,
        warnings=(*_stranger(source, levels[0].network), *seen, *(() if watch is None else watch.warnings())),
        picture=picture.as_dict(task, [f.units() for f in free], paths),
        seconds=time.perf_counter() - started, seconds_simulating=simulating,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """Everything that is added up for one level."""

    pairs: PairedSums
    outputs: PairedSums
    spikes: SpikeSums
    rate: Means
    spiking: Means
    coincidences: Coincidences | None
    parted: tuple[float | None, ...]

    @classmethod
    def empty(cls, source: RateNetwork, network: SpikingNetwork, above: str | None) -> _Sums:
        n = source.n_neurons
        window = round(COINCIDENCE / network.dt)
        return cls(
            pairs=PairedSums.empty(n), outputs=PairedSums.empty(source.n_outputs), spikes=SpikeSums.empty(n),
            rate=Means(), spiking=Means(), coincidences=None if above is None else no_coincidences(n, window),
            parted=(),
        )  # fmt: skip

    def add(
        self, network: SpikingNetwork, r: Array, rate_outputs: Array, outputs: Array, rate_dt: float, run: Recording,
        part: Trials, above: Recording | None,
    ) -> _Sums:  # fmt: skip
        unit = network.readouts[0].source
        s = stand_in(network, run, rate_dt)
        n = min(len(s), len(r), len(outputs))
        coincidences, parted = self.coincidences, self.parted
        if coincidences is not None and above is not None:
            coincidences = coincidences.add(above, run, unit)
            parted += tuple(None if k is None else k * run.dt for k in parted_at(above.spikes[unit], run.spikes[unit]))
        return _Sums(
            pairs=self.pairs.add(r[:n], s[:n]), outputs=self.outputs.add(rate_outputs[:n], outputs[:n]),
            spikes=self.spikes.add(run, unit), rate=self.rate.add(r[:n], part.labels),
            spiking=self.spiking.add(s[:n], part.labels), coincidences=coincidences, parted=parted,
        )  # fmt: skip

    def finish(self, level: Level, apart: dict[str, Any] | None) -> FreeRunning:
        return FreeRunning(
            name=level.name, correlation=self.pairs.correlation(), error=self.pairs.error(),
            output_rms=self.outputs.rms(), spikes=self.spikes, dt=level.network.dt,
            trajectories=trajectories(self.rate, self.spiking),
            coincidence=None if self.coincidences is None else self.coincidences.factor(), parted=self.parted,
            distances=apart,
            mean_r=self.pairs.shift_x + self.pairs.x / max(self.pairs.n, 1),
            mean_lambda_s=self.pairs.shift_y + self.pairs.y / max(self.pairs.n, 1),
        )  # fmt: skip


def sampled_outputs(network: SpikingNetwork, run: Recording, rate_dt: float) -> Array:
    """The first read-out at the rate network's own samples: (samples, batch, n_outputs), one at the end of each."""
    ends = sample_ends(run.n_steps, run.dt, rate_dt)
    return np.asarray(run.outputs[network.readouts[0].name][ends - 1], dtype=np.float64)


def _stranger(source: RateNetwork, network: SpikingNetwork) -> tuple[str, ...]:
    """A warning where the network says that it was made from another rate network than this one."""
    said = network.provenance.get("source")
    if not isinstance(said, Mapping) or same(_unnamed(said), _unnamed(source.provenance)):
        return ()
    here = str(source.provenance.get("file", "this one"))
    there = str(said.get("file", "another one"))
    return (
        f"the spiking network says that it was made from another rate network ({there}) than {here}: "
        "every comparison here is with the wrong model, if that is so",
    )


def _unnamed(said: Mapping[str, Any]) -> dict[str, Any]:
    """Without the file's name: a copy is the same network."""
    return {name: value for name, value in sorted(said.items()) if name != "file"}


def _judge(right: dict[str, list[Bools]], task: Task, outputs: Floats, part: Trials, dt: float, kind: str) -> None:
    for rule, verdicts in right.items():
        verdicts.append(task.judge(outputs, part, dt=dt, kind=kind, rule=rule))


def _score(scores: Scores) -> dict[str, Any]:
    return {"mean": scores.mean(), "median": scores.median(), "undefined": scores.n_undefined,
            "undefined_when": scores.undefined_when if scores.n_undefined else None}  # fmt: skip


def _check(
    source: RateNetwork, levels: Sequence[Level], task: Task, first: int, trials: int, batch: int, rule: str | None
) -> str:
    """Refuse what cannot be compared, all problems at once; the rule in use."""
    problems = [f"{name}: {n}, must be at least 1" for name, n in (("trials", trials), ("batch", batch)) if n < 1]
    if not levels:
        problems.append("levels: none, must be at least 1")
    if len({v.name for v in levels} | {RATE}) != len(levels) + 1:
        problems.append(f"levels: {', '.join(v.name for v in levels)}, each needs a name of its own")
    for level in levels:
        problems += [f"level {level.name}: {problem}" for problem in _level_problems(source, level.network)]
    if task.n_inputs != source.n_inputs or task.n_outputs != source.n_outputs:
        has = f"{task.n_inputs} inputs and {task.n_outputs} outputs"
        problems.append(f"task '{task.name}': {has}, the rate network {source.n_inputs} and {source.n_outputs}")
    if rule is not None and rule not in task.rules:
        problems.append(f"rule '{rule}': the task has {', '.join(task.rules)}")
    available: int | None = getattr(task, "n_trials", None)
    if first < 0:
        problems.append(f"first: {first}, must be 0 or more")
    elif available is not None and first >= available:
        problems = [p for p in problems if not p.startswith("trials:")]  # they followed from `first`
        problems.append(f"first: {first}, the file has {available} trials (0 to {available - 1})")
    elif available is not None and first + trials > available:
        problems.append(f"trials: {trials} from {first} on, the file has {available}")
    if problems:
        raise SpikeportError("these levels cannot be compared", problems, hint="spikeport inspect FILE   shows each")
    return task.rules[0] if rule is None else rule


def _level_problems(source: RateNetwork, network: SpikingNetwork) -> list[str]:
    if not network.readouts:
        return ["no read-out, so nothing stands for the rates and nothing answers the task"]
    readout = network.readouts[0]
    problems = []
    n = network.population(readout.source).n
    if n != source.n_neurons:
        problems.append(f"{n} units, the rate network has {source.n_neurons}")
    if readout.weight.shape[0] != source.n_outputs:
        problems.append(f"{readout.weight.shape[0]} outputs, the rate network has {source.n_outputs}")
    held = network.held_inputs
    if len(network.inputs) != 1 or len(held) != 1:
        problems.append(f"{len(network.inputs)} inputs ({len(held)} of them held), a task gives one, and holds it")
    elif held[0].n != source.n_inputs:
        problems.append(f"{held[0].n} input channels, the rate network has {source.n_inputs}")
    if network.dt > source.dt * (1 + 1e-9):
        problems.append(f"dt {network.dt:g} s: above the rate network's own {source.dt:g} s, so inputs are skipped")
    return problems
