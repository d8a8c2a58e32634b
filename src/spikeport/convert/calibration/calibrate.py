"""Calibrated conversion: LIF units whose own f-I curves follow phi, corrected in the closed loop, under a rate budget.

    1 observe   the rate network on calibration trials: what x takes                         observed.py
    2 budget    a baseline and a 1/lambda for each unit, for max_rate_hz spikes/s a unit     budget.py
    3 match     gain and offset from the f-I curve; the refractory period that fits best      curves.py, match.py
    4 correct   run the spiking network, correct each unit, spend the budget, learn the
                read-out again, keep the best held-out score                                 loop.py, readout.py
    5 choose    the same for each noise and refractory period within bounds                  bounds.py, choose.py

The published transfer has one number for all of this, so an LIF's curve must happen to look like phi.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.convert.calibration.bounds import Bounds, Range, parse_range
from spikeport.convert.calibration.budget import (
    budget_problems,
    highest_rate,
    keep_bracket,
    output_worth,
    trial_weights,
)
from spikeport.convert.calibration.choose import Bench, Choice, Tried, choose
from spikeport.convert.calibration.loop import n_correct
from spikeport.convert.calibration.observed import Observed, observe
from spikeport.convert.calibration.ranges import ranges
from spikeport.convert.calibration.rounds import SPENT, Round, left_because
from spikeport.convert.calibration.units import SETTINGS, Units, build, check_preset, losses
from spikeport.convert.fits import check_fit
from spikeport.convert.presets import Preset, get_preset
from spikeport.convert.search import beyond
from spikeport.convert.transfer import refractory_losses
from spikeport.snn.blas import single_threaded
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.losses import Loss
from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork
from spikeport.snn.seen import mark
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks.base import Task

TRIALS = 30  # calibration trials: 20 correct, 10 judge
ROUNDS = 8  # of the closed loop: as long as they may be better (rounds.py); twice as many where the best is not right
SILENT = "the network is silent on every calibration trial"
SOME = 50  # trials, to see which labels a task has
MAX_RATE_HZ = 20.0  # spikes/s a unit by default: what cortical networks and chips afford


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A calibrated network. units: what was chosen; history: the rounds of the loop that gave it; best: which one.

    inverse_lambda: mean over the units that fire, weighted by their spikes.  curve_error: root mean square over units
    of f(gain x + offset) / L - (phi(x) - b).  x_low, x_high: (N,), the x that was calibrated.  alive: (N,), units whose
    rate moves.  choices: every noise and refractory period that was a candidate; reason: of the chosen one.
    """

    network: SpikingNetwork
    inverse_lambda: float
    units: Units
    history: tuple[Round, ...]
    best: int
    curve_error: float
    t_ref: float
    x_low: Array
    x_high: Array
    alive: NDArray[np.bool_]
    choices: tuple[Choice, ...]
    reason: str
    losses: tuple[Loss, ...]
    warnings: tuple[str, ...]
    seconds: float

    @property
    def mean_rate_hz(self) -> float:
        """Spikes/s a unit on the calibration trials."""
        return self.history[self.best].mean_rate_hz

    @property
    def budget_spent(self) -> float | None:
        """Expected spikes on trials of the task, as a share of the budget; None where there is none."""
        said = self.network.provenance["calibration"]["max_rate_hz"]
        return None if said is None else self.history[self.best].expected_rate_hz / float(said)

    @property
    def budget_left(self) -> str | None:
        """Why it spends less than it may."""
        if self.budget_spent is None or self.budget_spent >= SPENT[0]:
            return None
        said = self.network.provenance["calibration"]
        return left_because(self.history, self.best, float(said["max_rate_hz"]), judged_on(said["trials"]))

    def as_dict(self) -> dict[str, Any]:
        """What was chosen and how it went; plain numbers."""
        return {
            "method": "calibrated",
            "inverse_lambda": self.inverse_lambda,
            "mean_rate_hz": self.mean_rate_hz,
            "curve_error": self.curve_error,
            "t_ref": self.t_ref,
            "noise_sd": float(np.max(self.network.populations[0].noise_sd)),
            "tau_out": self.units.tau_out,
            "dt": self.network.dt,
            "history": [r.as_dict() for r in self.history],
            "best": self.best,
            "units": _summary(self.units, self.alive),
            "budget_spent": self.budget_spent,
            "budget_left": self.budget_left,
            "read_out": _read_out(self.history[self.best], self.units),
            "choices": [c.as_dict() for c in self.choices],
            "reason": self.reason,
            "losses": [{"what": loss.what, "where": loss.where, "how_much": loss.how_much} for loss in self.losses],
            "warnings": list(self.warnings),
            "seconds": self.seconds,
        }


@single_threaded()  # of NumPy: many small products, none of them worth a second thread
def calibrate(  # long: a third of it is the signature
    source: RateNetwork,
    task: Task,
    *,
    seed: int = 0,
    trials: int = TRIALS,
    first: int = 0,
    max_rate_hz: float | None = None,
    inverse_lambda: float | Range | None = None,
    preset: str | Preset = "standard",
    dt: float | None = None,
    noise_sd: float | Range | None = None,
    t_ref: float | Range | None = None,
    rounds: int = ROUNDS,
    refit: bool = True,
    rule: str | None = None,
    n_threads: int | None = None,
) -> Calibration:
    """The spiking network of `source` that says the same on `task` with at most max_rate_hz spikes/s a unit.

    trials: those that calibrate, from number `first` of the sequence that `seed` names; measure on others.
    max_rate_hz: the budget (default 20).  inverse_lambda: (low, high) for each unit under that budget; or one number
    for all units, and as many spikes as it takes.  preset: the neuron and the step; dt: s.  noise_sd: mV a step, and
    t_ref: s, a number or (low, high) to choose within (default: the preset's noise, and its t_ref or 0).  rounds: of
    the closed loop.  refit: may the read-out be learned again?  rule: of the task (default: its first), that says which
    outputs are right.  n_threads: None is one per core.
    """
    started = time.perf_counter()
    base = get_preset(preset) if isinstance(preset, str) else preset
    base = replace(base, dt=base.dt if dt is None else dt, keep_b_out=True)
    lambdas = None if inverse_lambda is None else parse_range(inverse_lambda, "1/lambda", "--bracket 10:200")
    one = not isinstance(inverse_lambda, str) and np.size(np.asarray(inverse_lambda)) == 1
    single = lambdas[0] if lambdas is not None and one else None
    bounds = _bounds(noise_sd, t_ref, lambdas if single is None else None)
    check_fit(source, task)
    _check(trials, rounds, max_rate_hz, single)
    for noise in bounds.noises(base):
        for period in bounds.t_refs(base):
            check_preset(source, replace(base, noise_sd=noise, t_ref=period))
    observed = observe(source, task, seed=seed, trials=trials, first=first, rule=rule)
    asked, (base, bounds) = bounds, keep_bracket(observed, base, bounds)
    limit = np.inf if single is not None else MAX_RATE_HZ if max_rate_hz is None else max_rate_hz
    bench = Bench(
        source=source, observed=observed, limit=limit, single=single, within=bounds.inverse_lambda, rounds=rounds,
        worth=np.ones(source.n_neurons) if single is not None else output_worth(source, observed, seed),
        weights=trial_weights(task, observed.trials, seed) if np.isfinite(limit) else None,
        seed=seed, first=first, n_threads=n_threads, refit=refit,
    )  # fmt: skip
    chosen, choices, reason = choose(bench, base, bounds)
    _check_budget(chosen, choices, limit, bounds)
    low, high = observed.x_range
    mean_lambda = _mean_inverse_lambda(chosen.units, observed)
    warnings = (*observed.warnings, *_warnings(chosen, observed, single), *_judges(observed, task, seed))
    found = [*losses(chosen.preset), *_rounded(chosen.preset.t_ref, base, asked)]
    provenance: dict[str, Any] = {
        "method": "calibrated",
        "preset": base.name,
        "inverse_lambda": mean_lambda,
        "source": dict(source.provenance),
        "losses": [str(loss) for loss in found],
        "calibration": {
            "task": task.name, "seed": seed, "first": first, "trials": trials, "rounds": len(chosen.history) - 1,
            "max_rate_hz": None if np.isinf(limit) else float(limit), "score": chosen.score,
            "curve_error": chosen.curve_error, "units": chosen.units.as_dict(), "warnings": list(warnings),
            "settings": {name: getattr(chosen.preset, name) for name in SETTINGS},
            "choices": [c.as_dict() for c in choices], "reason": reason,
            "read_out": _read_out(chosen.history[chosen.best], chosen.units), **mark(task),
        },
    }  # fmt: skip
    network = build(source, chosen.preset, chosen.units, provenance)
    kept = ranges(source, network, chosen.units, observed, seed=seed, first=first, n_threads=n_threads)
    network = replace(network, provenance={**provenance, "calibration": {**provenance["calibration"], **kept}})
    return Calibration(
        network=network, inverse_lambda=mean_lambda, units=chosen.units,
        history=chosen.history, best=chosen.best, curve_error=chosen.curve_error, t_ref=chosen.preset.t_ref, x_low=low,
        x_high=high, alive=observed.alive, choices=choices, reason=reason, losses=tuple(found), warnings=warnings,
        seconds=time.perf_counter() - started,
    )  # fmt: skip


def _bounds(noise_sd: float | Range | None, t_ref: float | Range | None, lambdas: Range | None) -> Bounds:
    return Bounds(
        noise_sd=None if noise_sd is None else parse_range(noise_sd, "noise", "--noise 0:0.1"),
        t_ref=None if t_ref is None else parse_range(t_ref, "t_ref", "--t-ref 0:0.002"),
        inverse_lambda=lambdas,
    )


def _rounded(chosen: float, settings: Preset, bounds: Bounds) -> list[Loss]:
    """The loss where `chosen`, a refractory period in whole steps, is for that none that was asked for."""
    if bounds.t_ref is not None:
        asked = min(max(chosen, bounds.t_ref[0]), bounds.t_ref[1])
    else:  # the preset's, or none
        asked = settings.t_ref if chosen == settings.t_ref_run else chosen
    return refractory_losses(replace(settings, t_ref=asked))


def _check(trials: int, rounds: int, max_rate_hz: float | None, single: float | None) -> None:
    """Refuse what cannot be asked for, all reasons at once."""
    problems = []
    if trials < 1:
        problems.append(f"trials: {trials}, must be at least 1: without trials nobody knows which x the units take")
    if rounds < 0:
        problems.append(f"rounds: {rounds}, must be 0 or more")
    problems += budget_problems(max_rate_hz)
    if single is not None and not (np.isfinite(single) and single > 0):
        problems.append(f"1/lambda: {single} spikes/s, must be positive")
    if max_rate_hz is not None and single is not None:
        problems.append("a budget and a 1/lambda: the one follows from the other, give one of them")
    if problems:
        raise SpikeportError("calibration cannot run with these settings", problems, hint="--max-rate 20 --trials 30")


def _mean_inverse_lambda(units: Units, observed: Observed) -> float:
    said = np.where(observed.alive, np.maximum(observed.quiet_r - units.baseline, 0).mean(axis=(0, 1)), 0.0)
    spikes = said * units.inverse_lambda
    total = float(spikes.sum())
    return float((spikes * units.inverse_lambda).sum() / total) if total > 0 else float(units.inverse_lambda.mean())


def _check_budget(chosen: Tried, choices: Sequence[Choice], limit: float, bounds: Bounds) -> None:
    """The budget is a constraint: refuse what stays above it on the calibration trials, in every round."""
    if chosen.within(limit):
        return
    tried = [c.rate_hz for c in choices if c.rate_hz is not None]
    least = min([r.expected_rate_hz for r in chosen.history] + tried)
    problems = [f"the fewest: {beyond(least, limit)} spikes/s a unit on trials of this task"]
    bracket = bounds.inverse_lambda
    at_low = bracket is not None and bool((chosen.units.inverse_lambda <= bracket[0] * (1 + 1e-9)).any())
    if bracket is not None and at_low:
        problems.append(f"1/lambda may not be below {bracket[0]:g}, and units are there")
    smaller = "   or a smaller LOW of --bracket" if at_low else ""
    raise RefusedError(
        f"no calibration stays within {limit:g} spikes/s a unit", problems,
        hint=f"--max-rate {float(f'{1.1 * least:.2g}'):g}{smaller}",
    )  # fmt: skip


def judged_on(trials: int) -> str:
    """In words: the trials that judge a calibration on so many."""
    return "held-out calibration trials" if trials > 1 else "the one calibration trial, which also corrects"


def _judges(observed: Observed, task: Task, seed: int) -> list[str]:
    """What the trials that judge cannot show."""
    n = observed.trials.n_trials
    if n == 1:
        return ["1 calibration trial: the one that corrects also judges, and none is held out; 2 or more hold one out"]
    labels = observed.trials.labels[n_correct(n) :]
    kinds = set(labels.tolist())
    if len(kinds) > 1 or len(_labels(task, seed)) < 2:
        return []
    return [
        f"held out to judge: {len(labels)} of {n} calibration trials, with one kind of answer only (label "
        f"{kinds.pop()}), so the output error and the choice of the round say nothing of others; more of them, or mixed"
    ]


def _labels(task: Task, seed: int) -> set[int]:
    """The labels that trials of the task have: of a file all, else those of some."""
    found = getattr(task, "labels", None)
    return set((found if found is not None else task.trials(SOME, seed=seed).labels).tolist())


def _warnings(chosen: Tried, observed: Observed, single: float | None) -> list[str]:
    found, units, preset = [], chosen.units, chosen.preset
    best = chosen.history[chosen.best]
    if best.mean_rate_hz == 0:
        found.append(SILENT)
    elif not best.score < 1:
        found.append(
            f"the outputs miss the rate network's by {best.score:.2f} of their standard deviation on "
            f"{judged_on(observed.trials.n_trials)}: a constant would do as well there"
        )
    peak = np.maximum(observed.peak - units.baseline, 0) * units.inverse_lambda
    full = int((peak[observed.alive] > highest_rate(preset) * (1 + 1e-6)).sum())
    if single is not None and full:
        found.append(
            f"{full} units are asked for more than {highest_rate(preset):g} spikes/s at this step: a smaller 1/lambda"
        )
    return found


def _read_out(best: Round, units: Units) -> dict[str, Any]:
    """Was it learned again, and what did that give? Errors on held-out calibration trials."""
    return {"learned": units.w_out is not None, "score": best.score, "own_score": best.own_score}


def _summary(units: Units, alive: NDArray[np.bool_]) -> dict[str, Any]:
    """Quantiles, over the units whose rate moves, of what was chosen per unit; the others say nothing."""
    levels = (0.0, 0.25, 0.5, 0.75, 1.0)
    named = {"gain": units.gain, "offset": units.offset, "inverse_lambda": units.inverse_lambda,
             "baseline": units.baseline}  # fmt: skip
    found: dict[str, Any] = {name: [float(v) for v in np.quantile(a[alive], levels)] for name, a in named.items()}
    return {"quantiles": list(levels), **found, "tau_out": units.tau_out, "silent": int((~alive).sum())}
