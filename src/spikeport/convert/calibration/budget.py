"""Where spikes are worth their price: a baseline and a 1/lambda for each unit, under a budget of spikes.

A unit need not say with spikes what never changes: b_i, a low quantile of its rate, is a constant, and spikes carry
r - b. A unit with L_i = 1/lambda spikes per second and unit of rate fires m_i L_i on average, m = mean max(r - b, 0),
and its spikes' noise has density m_i / L_i in units of r. With A_i the output's variance per noise density of unit i,

    minimise  sum_i A_i m_i / L_i    while    sum_i m_i L_i = N max_rate        =>    L_i proportional to sqrt(A_i)

A from the linearised rate network, by its adjoint, averaged over trials and times, at the output as it is read and
filtered with the unit's own tau. Noise as of a Poisson process; LIF units are more regular, all in about the same way.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from spikeport.convert.calibration.bounds import Bounds, Range
from spikeport.convert.calibration.observed import Observed
from spikeport.convert.presets import Preset
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork
from spikeport.snn.tasks.base import Task, Trials

SPREAD = 10.0  # 1/lambda stays within this factor of the median: the linear estimate is rough
FULL = 0.4  # of the highest rate that a unit's step and refractory period allow: the f-I curve is coarse near it
HIGHEST = 400.0  # spikes/s of a unit at most, whatever the step: our choice, about the fastest of cortical units
HARDLY = (
    0.01  # of the median unit's rise of r: who moves less has the 1/lambda of that, or a rare spike would say nothing
)
ENOUGH = 10  # trials for A: it only ranks units
MANY = 1000  # trials of the task, to see how often it has which kind; the standard error of a half is 0.016
MOST_KINDS = 10  # the published tasks have 2 or 4 kinds, or as many as trials
LEAST = 1e-6  # spikes/s a unit: 1000 units then fire one spike in 1000 trials of a second, so nothing can be measured
_HALVINGS = 60
_SMALL = 1e-4  # of x, for derivatives of phi


def budget_problems(max_rate_hz: float | None) -> list[str]:
    """Why that is no budget, if so; None is no budget either, and nothing is wrong with it."""
    if max_rate_hz is None or LEAST <= max_rate_hz < float("inf"):
        return []
    return [
        f"max rate: {max_rate_hz:g} spikes/s a unit, must be at least {LEAST:g}, and finite: with less, "
        "1,000 units fire not one spike in 1,000 trials of a second, so nothing could be measured"
    ]


def check_budget(max_rate_hz: float | None) -> None:
    """Refuse a budget that is none."""
    if problems := budget_problems(max_rate_hz):
        raise SpikeportError("the budget cannot be kept", problems, hint="--max-rate 20")


def inverse_lambdas(
    observed: Observed, preset: Preset, baseline: Array, worth: Array, max_rate_hz: float, within: Range | None = None
) -> Array:
    """(N,): L of the module: proportional to sqrt(worth), the budget spent, no unit above what it can fire.

    within: (low, high) for each L, kept even over the budget. What full units cannot take goes to the others. Where a
    unit's ceiling is below low, keep_bracket has refused it.
    """
    share = np.sqrt(worth)
    middle = float(np.median(share[observed.alive]))
    share = np.clip(share, middle / SPREAD, middle * SPREAD) if middle > 0 else np.ones(share.shape)
    over = np.maximum(observed.r - baseline, 0.0)
    mean = np.where(observed.alive, over.mean(axis=(0, 1)), 0.0)
    rise = observed.peak - baseline
    hardly = HARDLY * float(np.median(rise[observed.alive]))
    ceiling = highest_rate(preset) / np.maximum(rise, max(hardly, 1e-9))
    low, high = (0.0, np.inf) if within is None else within
    ceiling = np.minimum(ceiling, high)

    def at(scale: float) -> Array:
        return np.asarray(np.minimum(np.maximum(scale * share, low), ceiling), dtype=np.float64)

    budget = max_rate_hz * share.size
    least, most = 0.0, float((ceiling / share).max())
    if float((at(most) * mean).sum()) <= budget:
        return at(most)
    for _ in range(_HALVINGS):  # the spikes grow with the scale
        scale = (least + most) / 2
        least, most = (scale, most) if float((at(scale) * mean).sum()) <= budget else (least, scale)
    return at(least)


def keep_bracket(observed: Observed, preset: Preset, bounds: Bounds) -> tuple[Preset, Bounds]:
    """The preset and bounds with the refractory periods at which every unit can have 1/lambda within its bracket.

    RefusedError where no period is short enough for the bracket's lower end.
    """
    if bounds.inverse_lambda is None:
        return preset, bounds
    low, high = bounds.inverse_lambda
    peak = np.where(observed.alive, observed.peak - observed.baseline, 0.0)
    shortest = min(bounds.t_refs(preset))
    most, needed = highest_rate(replace(preset, t_ref=shortest)), float(peak.max()) * low
    if needed > most:
        fits = most / float(peak.max())
        full = int((peak * low > most).sum())
        raise RefusedError(
            f"1/lambda cannot be {low:g} or more for {full} of {peak.size} units",
            [
                f"unit {int(peak.argmax())}: would be asked for {needed:.3g} spikes/s; at a step of {preset.dt:g} s, "
                f"t_ref {shortest:g} s, none is asked for more than {most:g}",
                f"the largest 1/lambda that every unit can have: {fits:.4g}",
            ],
            hint=f"--bracket {_below(fits):g}:{high:g}   or no --bracket: each unit then has what it can",
        )
    if needed <= 0:
        return preset, bounds
    steps = np.floor((FULL / needed - preset.dt) / preset.dt + 1e-9)  # of t_ref, for highest_rate to be what is needed
    longest = max(shortest, float(steps) * preset.dt)
    if bounds.t_ref is None:
        return (preset if preset.t_ref_run <= longest else replace(preset, t_ref=0.0)), bounds
    return preset, replace(bounds, t_ref=(shortest, max(shortest, min(bounds.t_ref[1], longest))))


def _below(value: float) -> float:
    """Two digits, rounded down."""
    digits = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(np.floor(value / digits) * digits)


def trial_weights(task: Task, trials: Trials, seed: int) -> Array:
    """(n_trials,), sum 1: how often the task has a trial like each of these, for a mean that stands for many.

    A few trials have, by chance, more of one kind than of another, and the kinds differ in their spikes. Kinds are
    equal inputs; where inputs hardly repeat (or a file has no more trials) all weigh the same. The many are of another
    seed than those that measure a conversion.
    """
    n = trials.n_trials
    equal: Array = np.full(n, 1 / n)
    if getattr(task, "n_trials", None) is not None:
        return equal
    mine = [trials.inputs[:, b].tobytes() for b in range(n)]
    inputs = task.trials(MANY, seed=(seed + 1) % 2**64, first=0).inputs
    often = Counter(inputs[:, b].tobytes() for b in range(MANY))
    if len(often) > MOST_KINDS or any(kind not in often for kind in mine):
        return equal
    found = np.array([often[kind] / mine.count(kind) for kind in mine], dtype=np.float64)
    return np.asarray(found / found.sum())


def highest_rate(preset: Preset) -> float:
    """Spikes/s that a unit may be asked for."""
    return min(HIGHEST, FULL / (preset.dt + preset.t_ref_run))


def output_worth(source: RateNetwork, observed: Observed, seed: int) -> Array:
    """(N,): A of the module: variance of the outputs (summed) per density of white noise added to r_i.

    The adjoint of the linearised Euler steps runs back from outputs with random signs at all times: the square of what
    arrives is, in the mean, the sum over output times of the squared response (Hutchinson's estimate).
    """
    rng = np.random.default_rng(seed)
    a = source.dt / source.tau
    x = observed.quiet_x[:, :ENOUGH]
    n_steps, n_batch, n = x.shape
    q: Array = np.zeros((n_batch, n))
    total = np.zeros(n)
    for k in range(n_steps - 1, -1, -1):
        through_x = (a * q) @ source.w_rec  # by way of the next x of all units
        total += (through_x**2).mean(axis=0) / source.dt
        slope = (source.activation(x[k] + _SMALL) - source.activation(x[k] - _SMALL)) / (2 * _SMALL)
        signs = rng.choice((-1.0, 1.0), size=(n_batch, source.n_outputs))
        q = (1 - a) * q + slope * (through_x + signs @ source.w_out)
        np.clip(q, -_LARGEST, _LARGEST, out=q)  # an unstable trajectory: the order of units is all that matters
    return np.asarray(total / n_steps + (source.w_out**2).sum(axis=0) / (2 * source.tau))


_LARGEST = 1e6
