"""Gain and offset of each unit, such that its f-I curve follows phi over the x that it takes.

    minimise over (gain_i, offset_i)   mean over x of  (f(gain_i x + offset_i) / L_i - (phi(x) - b_i))^2

x: quantiles of the unit's x on the calibration trials, spread by the noise that the spikes of others will add,
sd^2 = sum_j w_ij^2 m_j / (2 tau_i L_j). A grid, then Levenberg and Marquardt's steps, all units at once.
"""

from __future__ import annotations

import numpy as np

from spikeport.convert.calibration.curves import Curve
from spikeport.convert.calibration.observed import QUANTILES
from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork

COARSE = 8  # of them on the grid
STEPS = 20
_GAINS = np.geomspace(0.1, 60.0, 20)  # mV per standard deviation of x
_OFFSETS = np.concatenate([np.linspace(-12.0, 12.0, 33), np.geomspace(14.0, 150.0, 10)])  # mV from the threshold


def samples(source: RateNetwork, quantiles: Array, mean_over: Array, inverse_lambda: Array, seed: int) -> Array:
    """(N, q): what x takes in the spiking network. quantiles: (N, q) of x; mean_over: (N,) mean max(r - b, 0)."""
    from scipy.special import ndtri  # here, because importing it takes long

    levels = (np.arange(quantiles.shape[1]) + 0.5) / quantiles.shape[1]
    sd = np.sqrt((source.w_rec**2) @ (mean_over / inverse_lambda) / (2 * source.tau))
    swing = ndtri(np.random.default_rng(seed).permutation(levels))  # shuffled: independent of the quantiles of x
    return np.asarray(quantiles + sd[:, None] * swing, dtype=np.float64)


def match(x: Array, wanted: Array, inverse_lambda: Array, curve: Curve, threshold: float) -> tuple[Array, Array, Array]:
    """(gain, offset, error), (N,) each; error: root mean square, in units of r.

    x: (N, q); wanted: (N, q), phi(x) - b; threshold: mV, of the neuron.
    """
    middle, width = x.mean(axis=1), np.maximum(x.std(axis=1), 1e-6)
    scaled = (x - middle[:, None]) / width[:, None]

    def residual(gain: Array, offset: Array) -> Array:
        return curve(gain[:, None] * scaled + offset[:, None]) / inverse_lambda[:, None] - wanted

    gain, offset = _grid(scaled, wanted, inverse_lambda, curve, threshold)
    error = (residual(gain, offset) ** 2).mean(axis=1)
    damping: Array = np.full(x.shape[0], 1e-2)
    for _ in range(STEPS):
        slope = curve.slope(gain[:, None] * scaled + offset[:, None]) / inverse_lambda[:, None]
        step = gauss_newton(slope * scaled * gain[:, None], slope, -residual(gain, offset), damping=damping, axis=1)
        tried = gain * np.exp(np.clip(step[0], -0.5, 0.5)), offset + np.clip(step[1], -5.0, 5.0)
        now = (residual(*tried) ** 2).mean(axis=1)
        better = now < error
        gain, offset = np.where(better, tried[0], gain), np.where(better, tried[1], offset)
        error = np.where(better, now, error)
        damping = np.where(better, damping / 3, np.minimum(damping * 4, 1e6))
    return gain / width, offset - gain / width * middle, np.sqrt(error)


def gauss_newton(
    by_gain: Array,
    by_offset: Array,
    missing: Array,
    *,
    damping: Array | float = 0.0,
    ridge: tuple[Array | float, Array | float] = (1e-12, 1e-12),
    axis: int | tuple[int, ...],
) -> tuple[Array, Array]:
    """The step (of log gain, of offset) that makes up for `missing` best, by its derivatives; 2 x 2 for each unit."""
    aa = ((by_gain**2).mean(axis=axis) + ridge[0]) * (1 + damping)
    bb = ((by_offset**2).mean(axis=axis) + ridge[1]) * (1 + damping)
    ab = (by_gain * by_offset).mean(axis=axis)
    ga, gb = (by_gain * missing).mean(axis=axis), (by_offset * missing).mean(axis=axis)
    det = np.maximum(aa * bb - ab**2, 1e-30)
    return (bb * ga - ab * gb) / det, (aa * gb - ab * ga) / det


def _grid(scaled: Array, wanted: Array, inverse_lambda: Array, curve: Curve, threshold: float) -> tuple[Array, Array]:
    """The best (gain, offset) of a grid, on some of the samples: a place to start from."""
    order = np.argsort(scaled, axis=1)[:, 1 :: QUANTILES // COARSE]
    x, r = np.take_along_axis(scaled, order, axis=1), np.take_along_axis(wanted, order, axis=1)
    r = r * inverse_lambda[:, None]
    gain, offset, error = np.ones(x.shape[0]), np.full(x.shape[0], threshold), np.full(x.shape[0], np.inf)
    for g in _GAINS:
        drive = g * x
        for o in threshold + _OFFSETS:
            miss = curve(drive + o)
            miss -= r
            now = np.einsum("iq,iq->i", miss, miss)
            better = now < error
            gain[better], offset[better], error[better] = g, o, now[better]
    return gain, offset
