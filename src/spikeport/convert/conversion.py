"""Converting a network: search the lambda, or calibrate each unit; then measure the result on fresh trials."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spikeport.convert.calibration.bounds import Bounds, Range
from spikeport.convert.calibration.budget import budget_problems
from spikeport.convert.calibration.calibrate import SILENT, Calibration
from spikeport.convert.calibration.calibrate import TRIALS as CALIBRATION_TRIALS
from spikeport.convert.finetuned import TRIALS as FINETUNING_TRIALS
from spikeport.convert.finetuned import Finetuning
from spikeport.convert.fits import check_fit
from spikeport.convert.fresh import CONFIDENCE, FreshRate, check_rate, rate_warnings, silence
from spikeport.convert.methods import Made, bounded, calibrated, check_method, finetuned, searched
from spikeport.convert.presets import Preset, get_preset
from spikeport.convert.provenance import provenance_of
from spikeport.convert.search import Candidate, Progress, Search, SearchInterrupted, run_parts
from spikeport.convert.sources import load_source
from spikeport.convert.transfer import Builder
from spikeport.snn.engine import DTYPES
from spikeport.snn.errors import SpikeportError
from spikeport.snn.losses import Loss
from spikeport.snn.measures import wilson
from spikeport.snn.rate import RateNetwork, simulate_rate
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import Task, get_task

RATE_BATCH = 100  # trials of the rate network at once
SEARCH_TRIALS = 100  # a candidate, as published
MOST_CALIBRATION = (
    300  # of a file, unless asked for: 100 show what goes wrong once in fifty, and memory grows with them
)
LOST = 0.05  # of accuracy against the rate network: more needs a reason


@dataclass(frozen=True, kw_only=True)
class Measured:
    """An accuracy: right of trials, with its 95 % Wilson interval."""

    right: int
    trials: int

    @property
    def accuracy(self) -> float:
        return self.right / self.trials

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.trials, CONFIDENCE)


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """A converted network and what it cost.

    rate, spiking: rule -> accuracy on the same fresh trials, which the search did not see.  mean_rate_hz: spikes per
    second and unit on them.  search: the curve, of method "lambda".  distance: root mean square between spiking and
    rate outputs, where there was no task.  calibration: of method "calibrated"; its inverse_lambda is a mean over
    units.  finetuning: of method "finetuned", which starts from a calibration.  max_rate_hz: the budget.  next_first:
    the first trial that nothing here has seen; where a file has no more, the first that chose nothing.
    warnings: what a user should look at.
    """

    method: str
    network: SpikingNetwork
    inverse_lambda: float
    task: str
    rule: str | None
    rate: dict[str, Measured]
    spiking: dict[str, Measured]
    mean_rate_hz: float
    distance: float | None
    search: tuple[Candidate, ...]
    calibration: Calibration | None
    finetuning: Finetuning | None
    max_rate_hz: float | None
    search_trials: int
    next_first: int
    losses: tuple[Loss, ...]
    warnings: tuple[str, ...]
    seed: int
    preset: str
    dtype: str
    seconds: float
    search_seconds: float

    def as_dict(self) -> dict[str, Any]:
        """What `spikeport convert --json` prints."""
        found: dict[str, Any] = {}
        if self.rule is not None:
            spiking, rate = self.spiking[self.rule], self.rate[self.rule]
            found |= {
                "rate_accuracy": rate.accuracy,
                "rate_interval": list(rate.interval),
                "spiking_accuracy": spiking.accuracy,
                "trials": spiking.trials,
                "interval": list(spiking.interval),
                "confidence": CONFIDENCE,
            }
            for rule, measured in self.spiking.items():
                found[f"rate_accuracy_{rule}"] = self.rate[rule].accuracy
                found[f"spiking_accuracy_{rule}"] = measured.accuracy
                found[f"interval_{rule}"] = list(measured.interval)
        return found | {
            "method": self.method,
            "max_rate_hz": self.max_rate_hz,
            "search_trials": self.search_trials,
            "next_first": self.next_first,
            "calibration": None if self.calibration is None else self.calibration.as_dict(),
            "finetuning": None if self.finetuning is None else self.finetuning.as_dict(),
            "distance": self.distance,
            "inverse_lambda": self.inverse_lambda,
            "mean_rate_hz": self.mean_rate_hz,
            "task": self.task,
            "rule": self.rule,
            "preset": self.preset,
            "seed": self.seed,
            "dtype": self.dtype,
            "dt": self.network.dt,
            "seconds": self.seconds,
            "search_seconds": self.search_seconds,
            "search": [c.as_dict() for c in self.search],
            "losses": [{"what": loss.what, "where": loss.where, "how_much": loss.how_much} for loss in self.losses],
            "warnings": list(self.warnings),
        }


def convert_network(  # long: a third of it is the signature
    source: RateNetwork | str | Path,
    task: Task | str | Path,
    *,
    method: str = "lambda",
    max_rate: float | None = None,
    grid: str | Sequence[float] | None = None,
    bracket: tuple[float, float] | None = None,
    trials: int | None = None,
    test_trials: int | None = None,
    seed: int = 0,
    preset: str | Preset = "standard",
    dt: float | None = None,
    noise: float | Range | None = None,
    t_ref: float | Range | None = None,
    rule: str | None = None,
    objective: str = "accuracy",
    fast: bool = False,
    dtype: str = "float32",
    scheduler: str | None = None,
    n_jobs: int = -1,
    progress: Progress | None = None,
) -> Conversion:
    """Convert `source` for `task`, and measure the accuracy on fresh trials; RefusedError where no network that was
    found stays within max_rate.

    method: "lambda", the published transfer with the best lambda of a grid (or a bracket); "calibrated", the f-I curve
    of each unit matched to phi and corrected in the closed loop (calibration/); "finetuned", that one trained further
    by surrogate gradients (finetuned.py; extra `train`).  max_rate: spikes/s a unit at most, in the search as in the
    calibration (where it is 20 by default).

    grid: values of 1/lambda, "START:STOP:STEP" or numbers (default: the published 20:75:5); bracket instead: (low,
    high), searched coarse to fine.

    trials: per candidate in the search (default 100), or of the calibration (30; 60 where it is trained further);
    test_trials: fresh ones for the accuracy (default 1000; a file's trials are halved by default, MOST_CALIBRATION to
    calibrate at most, and never used twice).  rule: one of the task's (default: its first).  objective: "accuracy", or
    "distance" to the rate network's outputs, which needs no labels.
    fast: stop candidates that can no longer win; the winner is the same.  dt: s.  noise: mV per step, and t_ref: s, in
    place of the preset's; a calibration takes (low, high) for either, and for bracket: 1/lambda of each unit, and
    chooses within.  dtype: of a search and of the fresh trials; a calibration is in float32.  scheduler: a Dask
    scheduler's address.
    """
    started = time.perf_counter()
    network = source if isinstance(source, RateNetwork) else load_source(source)
    task = get_task(task) if isinstance(task, (str, Path)) else task
    settings = get_preset(preset) if isinstance(preset, str) else preset
    settings = settings if dt is None else replace(settings, dt=dt)
    check_fit(network, task)
    _check_settings(seed, dtype, n_jobs, max_rate)
    settings, bounds = bounded(method, settings, noise, t_ref, bracket)
    check_method(method, grid=grid, objective=objective, fast=fast, scheduler=scheduler)
    enough = {"calibrated": CALIBRATION_TRIALS, "finetuned": FINETUNING_TRIALS}.get(method, SEARCH_TRIALS)
    most = None if method == "lambda" else MOST_CALIBRATION
    trials, test_trials = conversion_trials(task, trials, test_trials, enough, most)
    search = Search(
        build=Builder(network, settings), task=task, rule=_rule(task, rule, objective, fast), source=network,
        trials=trials, seed=seed, dtype=dtype, fast=fast, scheduler=scheduler, n_jobs=n_jobs, progress=progress,
    )  # fmt: skip
    if method == "lambda":
        made = searched(search, settings, grid, bracket, max_rate)
    else:
        made = (finetuned if method == "finetuned" else calibrated)(search, settings, max_rate, bounds)
    candidates = made.candidates
    search_seconds = time.perf_counter() - started
    winner = made.network
    try:
        fresh = _measure(winner, search, test_trials)
    except KeyboardInterrupt:
        raise SearchInterrupted("after the search, on the fresh trials", candidates) from None
    check_rate(fresh.fired, made)
    right = {rule: measured.right for rule, measured in fresh.spiking.items()}
    return Conversion(
        method=method,
        network=replace(winner, provenance=provenance_of(winner, search, right, test_trials, candidates)),
        inverse_lambda=made.inverse_lambda,
        task=task.name,
        rule=search.rule,
        rate=fresh.rate,
        spiking=fresh.spiking,
        mean_rate_hz=fresh.fired.hz,
        distance=fresh.distance,
        search=candidates,
        calibration=made.calibration,
        finetuning=made.finetuning,
        max_rate_hz=made.max_rate_hz,
        search_trials=trials,
        next_first=_next_first(task, trials, test_trials),
        losses=made.losses,
        warnings=tuple(_warnings(made, fresh, settings, bounds, search)),
        seed=seed,
        preset=settings.name,
        dtype=dtype,
        seconds=time.perf_counter() - started,
        search_seconds=search_seconds,
    )


@dataclass(frozen=True, kw_only=True)
class _Fresh:
    """What the winner did on trials that the search did not see."""

    trials: int
    rate: dict[str, Measured]
    spiking: dict[str, Measured]
    fired: FreshRate
    distance: float | None


def _measure(winner: SpikingNetwork, search: Search, n: int) -> _Fresh:
    """Run the winner, and the rate network beside it, on the n trials after those of the search."""
    task, judged = search.task, search.rule is not None
    found = run_parts(winner, search, first=search.trials, n=n)
    return _Fresh(
        trials=n,
        rate=rate_accuracy(search.source, task, seed=search.seed, first=search.trials, n=n) if judged else {},
        spiking={r: Measured(right=k, trials=n) for r, k in found.right.items()} if judged else {},
        fired=FreshRate(hz=found.rate_hz, error=found.rate_error, trials=n),
        distance=None if judged else found.distance,
    )


def rate_accuracy(
    network: RateNetwork, task: Task, *, seed: int, first: int, n: int, kind: str = "rate"
) -> dict[str, Measured]:
    """The rate network on trials first .. first + n - 1, with its own noise, by each rule of the task; kind: "spiking"
    judges its outputs as those of a spiking network are, which some rules look at elsewhere."""
    right = dict.fromkeys(task.rules, 0)
    for start in range(0, n, RATE_BATCH):
        trials = task.trials(min(RATE_BATCH, n - start), seed=seed, first=first + start)
        outputs = simulate_rate(network, trials.inputs, seed=seed, first_trial=first + start).outputs
        for rule in right:
            right[rule] += int(task.judge(outputs, trials, dt=network.dt, kind=kind, rule=rule).sum())
    return {rule: Measured(right=k, trials=n) for rule, k in right.items()}


def _rule(task: Task, rule: str | None, objective: str, fast: bool) -> str | None:
    """The rule that judges; None for the distance, which asks for none."""
    if objective not in ("accuracy", "distance"):
        raise SpikeportError(f"objective '{objective}' is unknown, must be accuracy or distance")
    if rule is not None and rule not in task.rules:
        raise SpikeportError(f"rule '{rule}': task '{task.name}' has {', '.join(task.rules)}")
    if objective == "accuracy":
        return rule if rule is not None else task.rules[0]
    problems = [] if rule is None else [f"rule '{rule}': says which trials are right, and a distance needs no labels"]
    problems += ["fast: stops who can no longer have the most trials right, and a distance counts none"] if fast else []
    if problems:
        raise SpikeportError(
            "objective 'distance' does not go with these options", problems, hint="--objective accuracy   takes both"
        )
    return None


def _next_first(task: Task, trials: int, test_trials: int) -> int:
    available: int | None = getattr(task, "n_trials", None)
    return trials + test_trials if available is None or trials + test_trials < available else trials


def conversion_trials(
    task: Task, trials: int | None, test_trials: int | None, enough: int = SEARCH_TRIALS, most: int | None = None
) -> tuple[int, int]:
    """How many trials the search sees, and how many fresh ones come after; a file's trials are never used twice.

    enough: of a task that makes them.  most: of a file, where nobody asked for a number; None: half of it.
    """
    asked = {name: n for name, n in (("trials", trials), ("test trials", test_trials)) if n is not None}
    problems = [f"{name}: {n}, must be at least 1" for name, n in asked.items() if n < 1]
    if problems:
        raise SpikeportError("no trials to convert with", problems, hint="--trials 100 --test-trials 1000")
    available: int | None = getattr(task, "n_trials", None)
    if available is None:
        return enough if trials is None else trials, 1000 if test_trials is None else test_trials
    half = available // 2
    if trials is None:
        trials = half if test_trials is None else max(1, available - test_trials)
        trials = trials if most is None else min(trials, most)
    test_trials = max(1, available - trials) if test_trials is None else test_trials
    if min(trials, half) < 1 or trials + test_trials > available:
        wanted = f"{max(1, trials)} for the search and {test_trials} fresh ones"
        raise SpikeportError(
            f"task '{task.name}': too few trials in its file",
            [f"wanted: {wanted}; the file has {available}, and no trial is used twice"],
            hint=f"--trials {half} --test-trials {available - half}" if half else "a file with more trials",
        )
    return trials, test_trials


def _check_settings(seed: int, dtype: str, n_jobs: int, max_rate: float | None) -> None:
    """Refuse what no worker could run with, before any starts."""
    problems = []
    if not 0 <= seed < 2**64:
        problems.append(f"seed: {seed}, must be from 0 to 2^64 - 1")
    if dtype not in DTYPES:
        problems.append(f"dtype: '{dtype}', must be one of {', '.join(DTYPES)}")
    if n_jobs == 0:
        problems.append("jobs: 0, must be 1 or more, or -1 for one per core")
    problems += budget_problems(max_rate)
    if problems:
        raise SpikeportError("a conversion cannot run with these settings", problems, hint="spikeport convert --help")


def _warnings(made: Made, fresh: _Fresh, settings: Preset, bounds: Bounds, search: Search) -> list[str]:
    """The method's own, and those of the fresh trials; a network that is silent everywhere says so once."""
    rate, task = fresh.fired, search.task
    silent = rate.hz == 0
    found = [w for w in made.warnings if not silent or w != SILENT]
    found += [silence(made, settings, bounds, task.n_samples * task.dt)] if silent else []
    found += rate_warnings(rate, made.max_rate_hz)
    accuracies = {rule: m.accuracy for rule, m in fresh.spiking.items()}
    if accuracies and max(accuracies.values()) - min(accuracies.values()) > 0.05:
        found.append("the rules disagree: " + ", ".join(f"{a:.3f} by {r}" for r, a in accuracies.items()))
    return found + _lost(made, fresh, search)


def _lost(made: Made, fresh: _Fresh, search: Search) -> list[str]:
    """Of clearly fewer right trials than the rate network's: is that answer over where the task judges a spiking one?
    If not, what may mend it."""
    rule = search.rule
    if rule is None or fresh.spiking[rule].accuracy >= fresh.rate[rule].accuracy - LOST:
        return []
    n = min(fresh.trials, RATE_BATCH)
    own = rate_accuracy(search.source, search.task, seed=search.seed, first=search.trials, n=n, kind="spiking")[rule]
    if own.accuracy >= fresh.rate[rule].accuracy - LOST:
        spiking, rate = fresh.spiking[rule], fresh.rate[rule]
        if spiking.interval[1] >= rate.interval[0]:
            return []
        return [
            f"right in {spiking.right} of {fresh.trials} fresh trials by '{rule}', the rate network in {rate.right}: "
            f"{made.remedy}"
        ]
    return [
        f"the rate network's own outputs, judged in the window of spiking networks, are right in {own.right} of {n} "
        f"trials by '{rule}': its answer is not there, so no spiking network that does the same can be right"
    ]
