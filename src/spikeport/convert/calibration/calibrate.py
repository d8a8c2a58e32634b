"""Calibrated conversion: LIF units whose own f-I curves follow phi, corrected in the closed loop, under a rate budget.

    1 observe   the rate network on calibration trials: what x takes                         observed.py
    2 budget    a baseline and a 1/lambda for each unit, for max_rate_hz spikes/s a unit     budget.py
    3 match     gain and offset from the f-I curve; the refractory period that fits best      curves.py, match.py
    4 correct   run the spiking network, correct each unit, keep the best held-out score     loop.py

The published transfer has one number for all of this, so an LIF's curve must happen to look like phi.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spikeport.convert.calibration.budget import baselines, highest_rate, inverse_lambdas, output_worth
from spikeport.convert.calibration.curves import Curve, fi_curve, noise_of_v
from spikeport.convert.calibration.loop import TAUS_OUT, Loop, Round
from spikeport.convert.calibration.match import match, samples
from spikeport.convert.calibration.observed import Observed, observe
from spikeport.convert.calibration.units import SETTINGS, Units, build, check_preset, losses
from spikeport.convert.presets import Preset, get_preset
from spikeport.snn.errors import SpikeportError
from spikeport.snn.losses import Loss
from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks.base import Task

TRIALS = 30  # calibration trials: 20 correct, 10 judge
ROUNDS = 6  # corrections at most
MAX_RATE_HZ = 20.0  # spikes/s a unit by default: what cortical networks and chips afford
MARGINS = (0.95, 0.85, 0.7)  # of the budget, aimed at in turn where the one before was overspent
DITHER = 1.0  # mV: a curve without noise has a jump at threshold, and is matched as if v had this standard deviation
SLOPES = 3.0  # mV: derivatives in the loop are of a curve smoothed by so much, for the same reason


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A calibrated network. units: what was chosen; history: the rounds of the loop that gave it; best: which one.

    inverse_lambda: mean over the units that fire, weighted by their spikes.  curve_error: root mean square over units
    of f(gain x + offset) / L - (phi(x) - b).  x_low, x_high: (N,), the x that was calibrated.
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
    losses: tuple[Loss, ...]
    warnings: tuple[str, ...]
    seconds: float

    @property
    def mean_rate_hz(self) -> float:
        """Spikes/s a unit on the calibration trials."""
        return self.history[self.best].mean_rate_hz

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
            "units": _summary(self.units),
            "losses": [{"what": loss.what, "where": loss.where, "how_much": loss.how_much} for loss in self.losses],
            "warnings": list(self.warnings),
            "seconds": self.seconds,
        }


def calibrate(  # long: a third of it is the signature
    source: RateNetwork,
    task: Task,
    *,
    seed: int = 0,
    trials: int = TRIALS,
    first: int = 0,
    max_rate_hz: float | None = None,
    inverse_lambda: float | None = None,
    preset: str | Preset = "standard",
    dt: float | None = None,
    noise_sd: float | None = None,
    t_ref: float | Sequence[float] | None = None,
    rounds: int = ROUNDS,
    n_threads: int | None = None,
) -> Calibration:
    """The spiking network of `source` that says the same on `task` with at most max_rate_hz spikes/s a unit.

    trials: those that calibrate, from number `first` of the sequence that `seed` names; measure on others.
    max_rate_hz: the budget (default 20); or inverse_lambda: one 1/lambda for all units, and as many spikes as it takes.
    preset: the neuron and the step; dt: s; noise_sd: mV a step; t_ref: s, or several to choose from (default: the
    preset's and 0).  rounds: of the closed loop.  n_threads: None is one per core.
    """
    started = time.perf_counter()
    chosen = get_preset(preset) if isinstance(preset, str) else preset
    chosen = replace(chosen, dt=chosen.dt if dt is None else dt, keep_b_out=True)
    chosen = chosen if noise_sd is None else replace(chosen, noise_sd=noise_sd)
    _check(trials, rounds, max_rate_hz, inverse_lambda)
    options = [replace(chosen, t_ref=t) for t in _t_refs(chosen, t_ref)]
    for option in options:
        check_preset(source, option)
    observed = observe(source, task, seed=seed, trials=trials, first=first)
    worth = np.ones(source.n_neurons) if inverse_lambda is not None else output_worth(source, observed, seed)
    limit = np.inf if inverse_lambda is not None else MAX_RATE_HZ if max_rate_hz is None else max_rate_hz
    for margin in MARGINS:
        made = [_start(source, observed, option, worth, limit * margin, inverse_lambda, seed) for option in options]
        best = int(np.argmin([error for _, error in made]))
        units, error = made[best]
        loop = Loop(
            source=source, preset=options[best], observed=observed, curve=_smooth(options[best], SLOPES), seed=seed,
            first=first, n_threads=n_threads,
        )  # fmt: skip
        units, history = loop.improve(units, rounds=rounds, max_rate_hz=limit)
        at = min(range(len(history)), key=lambda i: (history[i].mean_rate_hz > limit, history[i].score))
        if history[at].mean_rate_hz <= limit:
            break
    low, high = observed.x_range
    mean_lambda = _mean_inverse_lambda(units, observed)
    warnings = (*observed.warnings, *_warnings(units, observed, options[best], history[at], limit, inverse_lambda))
    found = losses(options[best])
    provenance = {
        "method": "calibrated",
        "preset": chosen.name,
        "inverse_lambda": mean_lambda,
        "source": dict(source.provenance),
        "losses": [str(loss) for loss in found],
        "calibration": {
            "task": task.name, "seed": seed, "first": first, "trials": trials, "rounds": len(history) - 1,
            "max_rate_hz": None if np.isinf(limit) else float(limit), "score": history[at].score,
            "curve_error": error, "units": units.as_dict(), "warnings": list(warnings),
            "settings": {name: getattr(options[best], name) for name in SETTINGS},
            **_ranges(units, low, high),
        },
    }  # fmt: skip
    return Calibration(
        network=build(source, options[best], units, provenance), inverse_lambda=mean_lambda, units=units,
        history=tuple(history), best=at, curve_error=error, t_ref=options[best].t_ref, x_low=low, x_high=high,
        losses=tuple(found), warnings=warnings, seconds=time.perf_counter() - started,
    )  # fmt: skip


def _start(
    source: RateNetwork, observed: Observed, preset: Preset, worth: Array, max_rate_hz: float,
    inverse_lambda: float | None, seed: int,
) -> tuple[Units, float]:  # fmt: skip
    """The plain match: units before the loop, and their curve error."""
    n, alive = source.n_neurons, observed.alive
    baseline = baselines(observed)
    if inverse_lambda is None:
        scale = inverse_lambdas(observed, preset, baseline, worth, max_rate_hz)
    else:
        scale = np.full(n, float(inverse_lambda))
    over = np.where(alive, np.maximum(observed.r - baseline, 0).mean(axis=(0, 1)), 0.0)
    x = samples(source, observed.x, over, scale, seed)[alive]
    wanted = source.activation(x) - baseline[alive, None]
    curve = _smooth(preset, float(np.sqrt(max(0.0, DITHER**2 - noise_of_v(preset) ** 2))))
    gain, offset = np.zeros(n), np.full(n, preset.v_reset)  # of a unit that never moves: it stays silent
    gain[alive], offset[alive], error = match(x, wanted, scale[alive], curve, preset.v_threshold)
    units = Units(gain=gain, offset=offset, inverse_lambda=scale, baseline=baseline, tau_out=TAUS_OUT[2])
    return units, float(np.sqrt((error**2).mean()))


def _smooth(preset: Preset, sd: float) -> Curve:
    return fi_curve(preset).smoothed(sd)


def _t_refs(preset: Preset, asked: float | Sequence[float] | None) -> tuple[float, ...]:
    if asked is None:
        return tuple(dict.fromkeys((0.0, preset.t_ref)))
    found = (float(asked),) if isinstance(asked, (int, float)) else tuple(float(t) for t in asked)
    if not found:
        raise SpikeportError("calibration: no refractory period to choose from, must be at least 1 value of t_ref")
    return found


def _check(trials: int, rounds: int, max_rate_hz: float | None, inverse_lambda: float | None) -> None:
    """Refuse what cannot be asked for, all reasons at once."""
    problems = []
    if trials < 1:
        problems.append(f"trials: {trials}, must be at least 1: without trials nobody knows which x the units take")
    if rounds < 0:
        problems.append(f"rounds: {rounds}, must be 0 or more")
    for name, value in (("max rate", max_rate_hz), ("1/lambda", inverse_lambda)):
        if value is not None and not (np.isfinite(value) and value > 0):
            problems.append(f"{name}: {value} spikes/s, must be positive")
    if max_rate_hz is not None and inverse_lambda is not None:
        problems.append("a budget and a 1/lambda: the one follows from the other, give one of them")
    if problems:
        raise SpikeportError("calibration cannot run with these settings", problems, hint="--max-rate 20 --trials 30")


def _mean_inverse_lambda(units: Units, observed: Observed) -> float:
    said = np.where(observed.alive, np.maximum(observed.quiet_r - units.baseline, 0).mean(axis=(0, 1)), 0.0)
    spikes = said * units.inverse_lambda
    total = float(spikes.sum())
    return float((spikes * units.inverse_lambda).sum() / total) if total > 0 else float(units.inverse_lambda.mean())


def _warnings(
    units: Units, observed: Observed, preset: Preset, best: Round, limit: float, inverse_lambda: float | None
) -> list[str]:
    found = []
    if best.mean_rate_hz > limit:
        found.append(f"{best.mean_rate_hz:.3g} spikes/s a unit on the calibration trials, above the budget {limit:g}")
    if best.mean_rate_hz == 0:
        found.append("the network is silent on every calibration trial")
    if not best.score < 1:
        found.append(
            f"the outputs miss the rate network's by {best.score:.2f} of their standard deviation on held-out "
            "calibration trials: a constant would do as well"
        )
    peak = np.quantile(np.maximum(observed.r - units.baseline, 0), 0.999, axis=(0, 1)) * units.inverse_lambda
    full = int((peak[observed.alive] > highest_rate(preset) * (1 + 1e-6)).sum())
    if inverse_lambda is not None and full:
        found.append(
            f"{full} units are asked for more than {highest_rate(preset):g} spikes/s at this step: a smaller 1/lambda"
        )
    return found


def _ranges(units: Units, low: Array, high: Array) -> dict[str, list[float]]:
    """x that each unit took on the calibration trials, and the drive gain x + offset (mV) that this is: what a run can
    look at, because a spiking network knows its drive and not x."""
    found = {"x_low": low, "x_high": high, "drive_low": units.gain * low + units.offset,
             "drive_high": units.gain * high + units.offset}  # fmt: skip
    return {name: np.round(value, 6).tolist() for name, value in found.items()}


def _summary(units: Units) -> dict[str, Any]:
    """Quantiles over units of what was chosen per unit."""
    levels = (0.0, 0.25, 0.5, 0.75, 1.0)
    named = {"gain": units.gain, "offset": units.offset, "inverse_lambda": units.inverse_lambda,
             "baseline": units.baseline}  # fmt: skip
    found: dict[str, Any] = {name: [float(v) for v in np.quantile(a, levels)] for name, a in named.items()}
    return {"quantiles": list(levels), **found, "tau_out": units.tau_out}
