"""Where spikes are worth their price: a baseline and a 1/lambda for each unit, under a budget of spikes.

A unit need not say with spikes what never changes: b_i, a low quantile of its rate, is a constant, and spikes carry
r - b. A unit with L_i = 1/lambda spikes per second and unit of rate fires m_i L_i on average, m = mean max(r - b, 0),
and its spikes' noise has density m_i / L_i in units of r. With A_i the output's variance per noise density of unit i,

    minimise  sum_i A_i m_i / L_i    while    sum_i m_i L_i = N max_rate        =>    L_i proportional to sqrt(A_i)

A from the linearised rate network, by its adjoint, averaged over trials and times, at the output as it is read and
filtered with the unit's own tau. Noise as of a Poisson process; LIF units are more regular, all in about the same way.
"""

from __future__ import annotations

import numpy as np

from spikeport.convert.calibration.observed import Observed
from spikeport.convert.presets import Preset
from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork

SILENCE = 0.1  # quantile of r that becomes the baseline: of 0, 0.01 and 0.1 the best by far at few spikes
SPREAD = 10.0  # 1/lambda stays within this factor of the median: the linear estimate is rough
FULL = 0.4  # of the highest rate that a unit's step and refractory period allow: the f-I curve is coarse near it
HIGHEST = 400.0  # spikes/s of a unit at most, whatever the step: our choice, about the fastest of cortical units
ENOUGH = 10  # trials for A: it only ranks units
_SMALL = 1e-4  # of x, for derivatives of phi


def baselines(observed: Observed) -> Array:
    """(N,): b of the module; the mean of a unit that never moves."""
    return np.asarray(np.where(
        observed.alive, np.quantile(observed.r, SILENCE, axis=(0, 1)), observed.quiet_r.mean(axis=(0, 1))
    ), dtype=np.float64)  # fmt: skip


def inverse_lambdas(observed: Observed, preset: Preset, baseline: Array, worth: Array, max_rate_hz: float) -> Array:
    """(N,): L of the module: proportional to sqrt(worth), the budget spent, no unit above what it can fire."""
    share = np.sqrt(worth)
    middle = float(np.median(share[observed.alive]))
    share = np.clip(share, middle / SPREAD, middle * SPREAD) if middle > 0 else np.ones(share.shape)
    over = np.maximum(observed.r - baseline, 0.0)
    mean = np.where(observed.alive, over.mean(axis=(0, 1)), 0.0)
    ceiling = highest_rate(preset) / np.maximum(np.quantile(over, 0.999, axis=(0, 1)), 1e-9)
    budget, full = max_rate_hz * share.size, np.zeros(share.size, dtype=np.bool_)
    found = np.minimum(share, ceiling)
    for _ in range(share.size):  # what full units cannot take goes to the others
        left = budget - (ceiling * mean)[full].sum()
        weight = (share * mean)[~full].sum()
        if weight <= 0:
            break
        found = np.where(full, ceiling, share * (left / weight))
        more = ~full & (found > ceiling)
        if not more.any():
            break
        full |= more
    return np.asarray(np.minimum(found, ceiling), dtype=np.float64)


def highest_rate(preset: Preset) -> float:
    """Spikes/s that a unit may be asked for."""
    return min(HIGHEST, FULL / (preset.dt + preset.t_ref))


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
