"""The ladder: a rate model, and each network on the way down from it, on the same trials; and each step undone alone.

Losses interact, so a step's cost on the way down is not what undoing it at the bottom buys back: both are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.convert.attribution.steps import UNDECLARED
from spikeport.convert.validation.levels import Level
from spikeport.convert.validation.validate import sampled_outputs
from spikeport.snn.measures import PairedSums, mcnemar, paired_difference, wilson
from spikeport.snn.rate import RateNetwork, simulate_rate
from spikeport.snn.tasks import Task

BATCH = 10  # trials at a time
Progress = Callable[[int, int, str], None]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One network on the trials: which are right, the error of its outputs, its mean rate (None of a rate model).

    output_rms: root mean square of the outputs' difference from the rate model's, over all of them, in output units.
    """

    right: Bools
    output_rms: float
    mean_rate_hz: float | None

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    def as_dict(self) -> dict[str, Any]:
        return {
            "accuracy": self.accuracy, "interval": list(wilson(int(self.right.sum()), self.right.size)),
            "trials": int(self.right.size), "output_rms": self.output_rms, "mean_rate_hz": self.mean_rate_hz,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Accuracy here less accuracy there, on the same trials, with its interval and the exact McNemar test."""

    difference: float
    interval: tuple[float, float]
    only_there: int
    only_here: int
    p: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "difference": self.difference, "interval": list(self.interval), "only_above": self.only_there,
            "only_here": self.only_here, "p": self.p,
        }  # fmt: skip


def cost(there: Measured, here: Measured) -> Cost:
    """What it costs to be `here` and not `there`; negative where it costs accuracy."""
    difference, interval = paired_difference(there.right, here.right)
    only_there, only_here, p = mcnemar(there.right, here.right)
    return Cost(difference=difference, interval=interval, only_there=only_there, only_here=only_here, p=p)


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A step of the ladder with what it costs against the rung above it; the rate model has none above."""

    name: str
    what: str
    declared: bool
    measured: Measured
    against_above: Cost | None

    def as_dict(self) -> dict[str, Any]:
        above = None if self.against_above is None else self.against_above.as_dict()
        return {"step": self.name, "what": self.what, "declared": self.declared, **self.measured.as_dict(),
                "against_above": above}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Restored:
    """The bottom of the ladder with one step undone, and what that is worth against the bottom."""

    name: str
    what: str
    measured: Measured
    against_bottom: Cost

    def as_dict(self) -> dict[str, Any]:
        return {"step": self.name, "what": self.what, **self.measured.as_dict(),
                "against_bottom": self.against_bottom.as_dict()}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """rungs: the rate model first, the level under test last.  restored: each step undone alone."""

    rungs: tuple[Rung, ...]
    restored: tuple[Restored, ...]

    @property
    def bottom(self) -> Rung:
        return self.rungs[-1]

    def as_dict(self) -> dict[str, Any]:
        return {"steps": [r.as_dict() for r in self.rungs], "restored": [r.as_dict() for r in self.restored]}


def measure(
    source: RateNetwork,
    levels: Sequence[Level],
    task: Task,
    *,
    trials: int,
    first: int,
    seed: int,
    rule: str,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> list[Measured]:
    """Run every level on trials first .. first + trials - 1, streamed; `source` beside them, for its outputs."""
    right: list[list[Bools]] = [[] for _ in levels]
    sums = [PairedSums.empty(source.n_outputs) for _ in levels]
    spikes, seconds = np.zeros(len(levels)), np.zeros(len(levels))
    for done in range(0, trials, batch):
        part = task.trials(min(batch, trials - done), seed=seed, first=first + done)
        wanted = simulate_rate(source, part.inputs, seed=seed, first_trial=part.first).outputs
        for i, level in enumerate(levels):
            run = level.simulate(part.inputs, part.first)
            readout = level.network.readouts[0]
            outputs = run.outputs[readout.name]
            sampled = sampled_outputs(level.network, run, source.dt)
            right[i].append(task.judge(outputs, part, dt=run.dt, kind="spiking", rule=rule))
            n = min(len(sampled), len(wanted))
            sums[i] = sums[i].add(wanted[:n], sampled[:n])
            spikes[i] += run.spikes[readout.source].n_spikes
            seconds[i] += run.duration * run.n_batch * level.network.population(readout.source).n
        if progress is not None:
            progress(min(done + batch, trials), trials, "the ladder")
    return [
        Measured(
            right=np.concatenate(right[i]),
            output_rms=float(np.sqrt(np.mean(sums[i].rms() ** 2))),
            mean_rate_hz=float(spikes[i] / seconds[i]),
        )
        for i in range(len(levels))
    ]


def climb(rungs: Sequence[tuple[str, str, Measured]], restored: Sequence[tuple[str, str, Measured]]) -> Ladder:
    """The ladder of (name, what, measured), from the rate model down, and the bottom with each step undone."""
    found = [
        Rung(
            name=name, what=what, declared=name != UNDECLARED, measured=here,
            against_above=cost(rungs[i - 1][2], here) if i else None,
        )
        for i, (name, what, here) in enumerate(rungs)
    ]  # fmt: skip
    bottom = rungs[-1][2]
    undone = [Restored(name=n, what=w, measured=m, against_bottom=cost(bottom, m)) for n, w, m in restored]
    return Ladder(rungs=tuple(found), restored=tuple(undone))
