"""What a calibrated network was calibrated for, as its provenance keeps it for later runs (snn/calibrated_range.py).

    x_low, x_high           x of the rate network, with its noise
    drive_low, drive_high   mV: gain x + offset over these, and what the spiking network itself then had: its spikes
                            make its drive noisier than x was; wider where the trials were few
    input_low, input_high   by channel
    silent                  of units whose rate never moved: what they hear by the rate network's own weights, and the x
                            within which they stay as they are, |phi(x) - r| <= WAKES (typical rate), or that the
                            spiking network gave them anyhow

x of a silent unit, of r' = baseline + z / L:  sum_j w_ij z_j / L_j + w_in u + b_i + sum_j w_ij baseline_j.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.convert.calibration.observed import Observed
from spikeport.convert.calibration.units import Units
from spikeport.snn.calibrated_range import MARGIN, mean_drive, window_means, window_steps
from spikeport.snn.engine import simulate
from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork
from spikeport.snn.spiking import SpikingNetwork

WAKES = 0.01  # of the median over units of the highest rate: less does not matter to who listens
SURE = 5.0  # standard deviations: 6e-7 of a normal variable is beyond
PART = 10  # trials at a time, for memory
_WIDEST = 1e6  # in x: phi that has not moved until there never does
_HALVINGS = 60


def ranges(
    source: RateNetwork, network: SpikingNetwork, units: Units, observed: Observed, *, seed: int, first: int,
    n_threads: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """See the module: plain numbers."""
    low, high = observed.x_range
    inputs = observed.trials.inputs
    silent = _Silent(source, units, np.flatnonzero(~observed.alive))
    drive, heard = _extremes(network, inputs, silent, seed=seed, first=first, n_threads=n_threads)
    matched = units.gain * low + units.offset, units.gain * high + units.offset
    drive_low, drive_high = np.minimum(matched[0], drive[0]), np.maximum(matched[1], drive[1])
    found: dict[str, Any] = {
        "x_low": low, "x_high": high, "drive_low": drive_low, "drive_high": drive_high,
        "input_low": inputs.min(axis=(0, 1)), "input_high": inputs.max(axis=(0, 1)),
    }  # fmt: skip
    found = {name: _digits(value) for name, value in found.items()}
    return {**found, "silent": silent.as_dict(observed, heard)}


def drive_range(
    network: SpikingNetwork, inputs: Array, *, seed: int, first: int, n_threads: int | None = None
) -> tuple[Array, Array]:
    """(n,) each, mV: the lowest and highest mean drive of each unit on these trials."""
    return _extremes(network, inputs, None, seed=seed, first=first, n_threads=n_threads)[0]


class _Silent:
    """What units that never move hear; unit: (k,)."""

    def __init__(self, source: RateNetwork, units: Units, unit: NDArray[np.intp]) -> None:
        self.source, self.unit = source, unit
        self.w_spike = source.w_rec[unit] / units.inverse_lambda
        self.w_spike[:, unit] = 0.0  # they fire no spikes
        self.w_in = source.w_in[unit]
        self.constant = (source.b_rec + source.w_rec @ units.baseline)[unit]
        self.r = units.baseline[unit]

    def x(self, rates: Array, held: Array) -> Array:
        return np.asarray(rates @ self.w_spike.T + held @ self.w_in.T + self.constant)

    def as_dict(self, observed: Observed, heard: tuple[Array, Array]) -> dict[str, Any]:
        """heard: (k,) each, the lowest and highest x in the spiking network."""
        low, high = (found[self.unit] for found in observed.x_range)
        width = MARGIN * (heard[1] - heard[0])
        small = WAKES * float(np.median(observed.peak[observed.alive]))
        found = {
            "x_low": np.minimum(heard[0] - width, self._stays(low, small, -1.0)),
            "x_high": np.maximum(heard[1] + width, self._stays(high, small, 1.0)),
            "constant": self.constant, "w_in": self.w_in,
        }  # fmt: skip
        hears = [np.flatnonzero(row) for row in self.w_spike]
        return {
            "unit": self.unit.tolist(), **{name: _digits(value) for name, value in found.items()},
            "from": [j.tolist() for j in hears],
            "w_spike": [[float(f"{w:.6g}") for w in row[j]] for row, j in zip(self.w_spike, hears, strict=True)],
        }  # fmt: skip

    def _stays(self, start: Array, small: float, sign: float) -> Array:
        """(k,): how far x can go from `start` until phi has moved by `small`; phi is monotonic."""
        near, far = np.zeros(start.shape), np.full(start.shape, _WIDEST)
        for _ in range(_HALVINGS):
            middle = (near + far) / 2
            same = np.abs(self.source.activation(start + sign * middle) - self.r) <= small
            near, far = np.where(same, middle, near), np.where(same, far, middle)
        return np.asarray(start + sign * near)


def _digits(values: Array) -> Any:
    """As lists, with nine significant digits: what is read back is compared with a tolerance of 1e-6 of it."""
    return np.array([float(f"{value:.9g}") for value in values.ravel()]).reshape(values.shape).tolist()


def _extremes(
    network: SpikingNetwork, inputs: Array, silent: _Silent | None, *, seed: int, first: int, n_threads: int | None
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """The lowest and highest mean drive of each unit, mV, and x of each silent one, over windows and trials."""
    drives, heard, windows = [], [], 0.0
    for a in range(0, inputs.shape[1], PART):
        part = inputs[:, a : a + PART]
        run = simulate(network, part, seed=seed, first_trial=first + a, dtype="float32", n_threads=n_threads)
        means = window_means(network, run, part)
        found = mean_drive(network, *means)
        windows += run.n_batch * run.n_steps / window_steps(network, run.n_steps)  # overlaps show nothing new
        drives += [found.min(axis=(0, 1)), found.max(axis=(0, 1))]
        if silent is not None:
            x = silent.x(*means)
            heard += [x.min(axis=(0, 1)), x.max(axis=(0, 1))]
    return _ends(drives, windows), _ends(heard, windows)


def _ends(found: list[Array], windows: float) -> tuple[Array, Array]:
    """The lowest and the highest; wider where windows are few, by what a normal variable needs, with MARGIN, to be
    within SURE standard deviations of its mean: 300 windows show about 2.9 of them to either side."""
    if not found:
        return np.zeros(0), np.zeros(0)
    low, high = np.min(found, axis=0), np.max(found, axis=0)
    shown = NormalDist().inv_cdf(1 - 0.5 / max(windows, 2))
    more = max(0.0, SURE / (2 * shown) - 0.5 - MARGIN) * (high - low)
    return low - more, high + more
