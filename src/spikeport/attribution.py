"""Why a converted network does what it does: the ladder down to each level, and what no step of it declares."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spikeport.convert.attribution.ideal import ideal_of
from spikeport.convert.attribution.ladder import Ladder, Measured, Progress, climb, measure
from spikeport.convert.attribution.remainder import Bench, Given, Remainder, localise, probe
from spikeport.convert.attribution.steps import UNDECLARED, Step, steps_between, undone
from spikeport.convert.attribution.words import OWN, SPIKING, sentence
from spikeport.convert.validation.levels import Level, engine_level
from spikeport.convert.validation.validate import RATE, Validation
from spikeport.snn import engine
from spikeport.snn.errors import SpikeportError
from spikeport.snn.neurons import Array
from spikeport.snn.open_loop import open_loop, with_replay
from spikeport.snn.rate import RateNetwork
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import Task, Trials
from spikeport.targets.approximations import approximate
from spikeport.targets.base import Lowering, Runner, RunOptions, check_choices

# mV: what 20,000 float32 steps near 50 mV may add up to; a spike within it of the threshold is rounding's
SINGLE_MARGIN = 1e-2
SINGLE = "single precision"
Counted = tuple[str, str, Measured]


@dataclass(frozen=True, kw_only=True)
class Why:
    """A ladder for each level at the bottom, and the remainders that no step declares, each with where it sits."""

    ladders: Mapping[str, Ladder]
    remainders: tuple[Remainder, ...]

    @property
    def sentence(self) -> str:
        said = {level: sentence(ladder) for level, ladder in self.ladders.items()}
        texts = [text if len(said) == 1 else f"{level}: {text}" for level, text in said.items()]
        return " ".join([*texts, *(f"Undeclared: {r.text}" for r in self.remainders)])

    def as_dict(self) -> dict[str, Any]:
        ladders = {name: {**ladder.as_dict(), "sentence": sentence(ladder)} for name, ladder in self.ladders.items()}
        return {"sentence": self.sentence, "ladders": ladders, "remainders": [r.as_dict() for r in self.remainders]}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is asked of all levels alike."""

    source: RateNetwork
    network: SpikingNetwork
    task: Task
    validation: Validation
    options: RunOptions
    allow: Collection[str] = ()
    choices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # target -> its own

    def of(self, on: Runner) -> dict[str, str]:
        """Every choice of a target."""
        return check_choices(on, self.choices.get(on.name, {}))

    def measured(self, level: str) -> Measured:
        """What validation found of a level."""
        right = self.validation.verdicts.right[level][self.validation.rule]
        if level == RATE:
            return Measured(right=right, output_rms=0.0, mean_rate_hz=None)
        free = next(f for f in self.validation.free if f.name == level)
        rate = float(free.spikes.rates_hz(free.dt).mean())
        return Measured(right=right, output_rms=float(np.sqrt(np.mean(free.output_rms**2))), mean_rate_hz=rate)


@dataclass
class _Plan:
    """Networks to run once for all ladders: key -> level, and afterwards key -> what came of it."""

    setting: Setting
    levels: dict[str, Level] = field(default_factory=dict)
    found: dict[str, Measured] = field(default_factory=dict)

    def add(self, key: str, network: SpikingNetwork, *, dtype: str = "float64") -> str:
        o = self.setting.options
        level = engine_level(network, seed=o.seed, with_noise=o.with_noise, dtype=dtype, name=key)
        self.levels.setdefault(key, level)
        return key

    def add_lowered(self, key: str, on: Runner, network: SpikingNetwork) -> str:
        """`network` on the target; on the engine, where that gives the same spikes. SpikeportError: it refuses it."""
        o = self.setting.options
        lowering = on.lower(network, allow=self.setting.allow, **self.setting.of(on))
        if on.capabilities.precision:
            return self.add(key, lowering.network, dtype=o.dtype)

        def simulate(inputs: Array, first_trial: int) -> Recording:
            return on.run(lowering, inputs, replace(o, first_trial=first_trial))

        self.levels.setdefault(key, Level(name=key, network=network, simulate=simulate))
        return key

    def run(self, progress: Progress | None) -> None:
        v = self.setting.validation
        measured = measure(
            self.setting.source, list(self.levels.values()), self.setting.task, trials=v.trials, first=v.first,
            seed=v.seed, rule=v.rule, progress=progress,
        )  # fmt: skip
        self.found |= dict(zip(self.levels, measured, strict=True))


def attribute(
    setting: Setting,
    name: str,
    targets: Sequence[Runner],
    part: Trials,
    agreeing: Collection[str] = (),
    progress: Progress | None = None,
) -> Why:
    """The ladder to each target, or to the network itself where there is none; and by replay what is undeclared.

    name: what validation calls the network itself.  part: the trials to replay.  agreeing: targets that replayed
    them already without a difference but rounding; only a probe is left for those.
    """
    top, words = ideal_of(setting.source, setting.network)
    steps = steps_between(top, setting.network)
    plan = _Plan(setting=setting)
    shared = [(SPIKING, words, plan.add("top", top))] if steps else [(SPIKING, words, name)]
    for i, step in enumerate(steps):
        key = name if i == len(steps) - 1 else plan.add(f"step {step.name}", step.network)
        shared.append((step.name, step.what, key))
    climbs = {on.name: _target_steps(plan, on, top, steps) for on in targets}
    if not targets:
        climbs = {name: ([], _undone(plan, name, setting.network, top, steps))}
    if plan.levels:
        plan.run(progress)
    plan.found |= {name: setting.measured(name) for name in (RATE, name, *(on.name for on in targets))}
    ladders = {}
    for level, (more, restored) in climbs.items():
        rungs = [(RATE, "", plan.found[RATE])] + [(n, w, plan.found[key]) for n, w, key in [*shared, *more]]
        ladders[level] = climb(rungs, [(n, w, plan.found[key]) for n, w, key in restored])
    remainders = [_file_remainder(setting, name, top, steps, part)]
    remainders += [_target_remainder(setting, on, part, on.name in agreeing) for on in targets]
    return Why(ladders=ladders, remainders=tuple(r for r in remainders if r is not None))


def _undone(
    plan: _Plan,
    level: str,
    bottom: SpikingNetwork,
    top: SpikingNetwork,
    steps: Sequence[Step],
    on: Runner | None = None,
) -> list[tuple[str, str, str]]:
    """Each step undone alone at the bottom, lowered again where the bottom is a target."""
    found = []
    for i, step in enumerate(steps):
        if step.name == UNDECLARED:
            changed = steps[i - 1].network if i else top
        else:
            changed = undone(bottom, top, step.name)
        key = f"{level} without {step.name}"
        if on is None:
            plan.add(key, changed)
        else:
            try:
                plan.add_lowered(key, on, changed)
            except SpikeportError:  # the target refuses what the step had changed: there is nothing to buy back there
                continue
        found.append((step.name, step.what, key))
    return found


def _target_steps(
    plan: _Plan, on: Runner, top: SpikingNetwork, steps: Sequence[Step]
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
    """(the rungs from the network down to the target, each step undone alone)."""
    setting = plan.setting
    network, allow = setting.network, setting.allow
    lowering = on.lower(network, allow=allow, **setting.of(on))
    lacking = {p.feature for p in on.problems(network, **setting.of(on))} & set(allow)
    rungs, restored, current, declared = [], [], network, 0
    for feature in (f for f in allow if f in lacking):
        reduced, losses = approximate(current, {feature})
        if losses:
            name, what = f"{on.name}: {feature.replace('_', ' ')}", "; ".join(map(str, losses))
            rungs.append((name, what, plan.add(f"{on.name} step {feature}", reduced)))
            if on.capabilities.precision:  # a chip's integers cannot hold what it lacks, so it has no such row
                without, _ = approximate(network, lacking - {feature})
                restored.append((name, what, plan.add(f"{on.name} without {feature}", without)))
            current, declared = reduced, declared + len(losses)
    rest = lowering.losses[declared:]
    if rest:
        name, what = f"{on.name}: what else it gives up", "; ".join(map(str, rest))
        rungs.append((name, what, plan.add(f"{on.name} told", lowering.network)))
        both = name if on.capabilities.precision else f"{name}, and its own arithmetic"
        restored.append((both, what, plan.add(f"{on.name} step before told", current)))
    if setting.options.dtype == "float32":
        rungs.append((SINGLE, "float32", plan.add(f"{on.name} single", lowering.network, dtype="float32")))
        restored.append((SINGLE, "float32", plan.add(f"{on.name} double", lowering.network)))
    rungs.append((OWN, on.name, on.name))
    return rungs, [*_undone(plan, on.name, network, top, steps, on), *restored]


def _file_remainder(
    setting: Setting, level: str, top: SpikingNetwork, steps: Sequence[Step], part: Trials
) -> Remainder | None:
    """The network beside the one that its declared steps make, replayed."""
    if not steps or steps[-1].name != UNDECLARED:
        return None
    declared = steps[-2].network if len(steps) > 1 else top
    opened, given = _opened(declared, setting.options, part)
    wrong, _ = open_loop(setting.network, _free(declared, setting.options, part))
    bench = Bench(
        opened=opened, expected=_engine(opened, setting.options, part), found=_engine(wrong, setting.options, part),
        seed=setting.options.seed, first_trial=part.first,
    )  # fmt: skip
    known = (f"what the file has otherwise, {steps[-1].what}",)
    found = _localised(setting, level, bench, given, known=known)
    return _elsewhere(level, declared, known) if found is None else found


def _localised(
    setting: Setting, level: str, bench: Bench, given: Given, *, known: tuple[str, ...] = (), agrees: bool = False
) -> Remainder | None:
    """By the trials; where they show nothing, by a probe that uses everything: trials may leave some units silent."""
    found = None if agrees else localise(level, bench, given, labels=setting.source.labels, known=known)
    if found is not None:
        return found
    found = localise(level, bench, probe(bench.opened, given), labels=setting.source.labels, known=known)
    if found is None:
        return None
    first = None if found.first is None else replace(found.first, trial=found.first.trial - bench.first_trial)
    return replace(found, probed=True, trial=found.trial - bench.first_trial, first=first)


def _elsewhere(level: str, network: SpikingNetwork, known: tuple[str, ...]) -> Remainder:
    """Undeclared, but no replayed spike and no v differs: it is in what comes after the spikes."""
    readout = network.readouts[0]
    n = network.population(readout.source).n
    return Remainder(
        level=level, population=readout.source, n=n, units=(), kind="", edges=(f"read-out {readout.name}",), step=0,
        seconds=0.0, trial=0, first=None, differing=0, compared=0, faults=known,
    )  # fmt: skip


def _target_remainder(setting: Setting, on: Runner, part: Trials, agrees: bool) -> Remainder | None:
    """A target beside what it was told, replayed: its losses are in what it was told, so they do not count.

    A chip's own rounding of its state is a loss that no network in floating point can hold, so there is no remainder.
    """
    if not on.capabilities.precision:
        return None
    options = replace(setting.options, with_noise=False, noise_values=None, first_trial=part.first)
    opened, given = _opened(setting.network, options, part)
    lowering = on.lower(opened, allow=setting.allow, **setting.of(on))
    traces = [f"{p.name}.v" for p in opened.populations] if on.capabilities.records_v else []

    def found(inputs: Given) -> Recording:
        return on.run(lowering, dict(inputs), replace(options, record=traces))

    single = options.dtype == "float32"
    bench = Bench(
        opened=opened, expected=_told(lowering, options, part), found=found, seed=options.seed, first_trial=part.first,
        **({"tolerance": SINGLE_MARGIN, "margin": SINGLE_MARGIN} if single else {}),
    )  # fmt: skip
    return _localised(setting, on.name, bench, given, agrees=agrees)


def _free(network: SpikingNetwork, options: RunOptions, part: Trials) -> Recording:
    return engine.simulate(network, part.inputs, seed=options.seed, first_trial=part.first, with_noise=False)


def _opened(network: SpikingNetwork, options: RunOptions, part: Trials) -> tuple[SpikingNetwork, dict[str, Any]]:
    """The network with its loops opened, and what each of its inputs is given."""
    opened, trains = open_loop(network, _free(network, options, part))
    given = with_replay(part.inputs, network, trains)
    assert isinstance(given, dict)
    return opened, given


def _engine(network: SpikingNetwork, options: RunOptions, part: Trials) -> Any:
    def run(inputs: Given) -> Recording:
        return engine.simulate(
            network, dict(inputs), seed=options.seed, first_trial=part.first, with_noise=False,
            record=[f"{p.name}.v" for p in network.populations],
        )  # fmt: skip

    return run


def _told(lowering: Lowering, options: RunOptions, part: Trials) -> Any:
    """What the target was told, on the engine, in the units of the source."""
    run = _engine(lowering.network, options, part)
    names = {p.name for p in lowering.source.populations}

    def told(inputs: Given) -> Recording:
        recording = lowering.invert(run(inputs))
        return replace(
            recording, spikes={k: v for k, v in recording.spikes.items() if k in names},
            traces={k: v for k, v in recording.traces.items() if k.rpartition(".")[0] in names},
        )  # fmt: skip

    return told


__all__ = ["Setting", "Why", "attribute"]
