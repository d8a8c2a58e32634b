"""Does a run leave the range of inputs that a network was calibrated for? Outside it, its f-I curves were never fitted.

    drive_i = v_leak_i + bias_i + sum_j w_ij z_j + w_in_i u + b_i      mV, means over windows of WINDOW seconds
    x_i     = sum_j w_ij / L_j z_j + w_in_i u + b_i                    of a silent unit, by the rate network's weights

z: spikes per second (what a filter of unit area does to them cancels in a mean), u: held inputs. The provenance of a
calibrated network says three things, each of which a run can leave:

    the drive of each unit, lowest and highest: as matched, and as its own calibration trials then gave
    the x within which a unit whose rate never moved stays as it is: it has no weights that could wake it
    the inputs, lowest and highest by channel: what a channel that was still would do, nothing else can show

Few trials do not show the extremes of many, so what is outside is beyond MARGIN of a range's width. On 50 to 100 fresh
trials of the calibrated kind, the share of (unit, window, trial) outside was 0 in 24 calibrations and 5e-6 in one, of
17 networks with noise and without (N 40 to 270, sigmoid, softplus, ReLU, tanh, retanh, at 1e-3 and 5e-5 s, with and
without membrane noise, 30 calibration trials, seed 0); a test holds it to 1e-4. With the inputs three times as large it
was 0.02 to 0.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import HeldInput, SpikingNetwork, sample_index

WINDOW = 0.1  # s, about the longest time constant of the published networks
MARGIN = 0.25  # of the width of a range
TOLERATED = 0.002  # share of (unit, window, trial) outside without a warning
TOLERATED_OF_ONE = 0.05  # of a single unit's windows; among many units it would not show in the share of all
LEAST_OF_ONE = 10  # windows of it, or one rare trial would do
TOLERATED_TRIALS = 0.01  # with an input outside: one of many may have a rare peak of what is random


@dataclass(frozen=True, kw_only=True)
class Watched:
    """Units, or channels, whose values should stay between low and high, (n,) each, margin included.

    counted: windows, or trials.  outside: (n,), of them.  furthest: (n,) beyond the range.
    """

    low: Array
    high: Array
    counted: int
    outside: Array
    furthest: Array

    @classmethod
    def between(cls, low: Array, high: Array) -> Watched:
        return cls(low=low, high=high, counted=0, outside=np.zeros(low.shape), furthest=np.zeros(low.shape))

    def add(self, values: Array) -> Watched:
        """values: (windows, batch, n)."""
        beyond = np.maximum(np.maximum(self.low - values, values - self.high), 0.0)
        return replace(
            self, counted=self.counted + values.shape[0] * values.shape[1],
            outside=self.outside + (beyond > 0).sum(axis=(0, 1)),
            furthest=np.maximum(self.furthest, beyond.max(axis=(0, 1), initial=0.0)),
        )  # fmt: skip

    @property
    def most(self) -> int:
        """The unit that is outside most often, of those the one that is furthest."""
        return int(np.lexsort((self.furthest, self.outside))[-1])

    @property
    def left(self) -> bool:
        """More often than is tolerated: of all units together, or one of them alone."""
        one = self.outside.max(initial=0)
        return self.share > TOLERATED or (one >= LEAST_OF_ONE and one > TOLERATED_OF_ONE * self.counted)

    @property
    def share(self) -> float:
        """Of all (unit, window, trial)."""
        total = self.counted * self.outside.size
        return float(self.outside.sum()) / total if total else 0.0


@dataclass(frozen=True, kw_only=True)
class Silent:
    """Units whose rate never moved on the calibration trials, and what they hear by the rate network's own weights.

    unit: (k,) which.  w_spike: (k, n), of r per spikes/s: w_ij / L_j.  w_in: (k, n_inputs).  constant: (k,).
    """

    unit: NDArray[np.int64]
    w_spike: Array
    w_in: Array
    constant: Array
    x: Watched


@dataclass(frozen=True, kw_only=True)
class RangeWatch:
    """Counts what is outside the calibrated range while a run goes on. silent, inputs: None where the provenance says
    nothing of them, as that of a network calibrated by an earlier version."""

    network: SpikingNetwork
    drive: Watched
    silent: Silent | None
    inputs: Watched | None

    @classmethod
    def of(cls, network: SpikingNetwork) -> RangeWatch | None:
        """None where the network's provenance has no such range (it was not calibrated), or is of another shape."""
        said = network.provenance.get("calibration")
        if not isinstance(said, Mapping) or len(network.populations) != 1 or len(network.held_inputs) != 1:
            return None
        n, n_inputs = network.populations[0].n, network.held_inputs[0].n
        drive = _range(said, "drive", n, MARGIN)
        if drive is None:
            return None
        return cls(
            network=network, drive=drive, silent=_silent(said, n, n_inputs),
            inputs=_range(said, "input", n_inputs, MARGIN, size=0.0),
        )  # fmt: skip

    def add(self, recording: Recording, inputs: Array) -> RangeWatch:
        """With the spikes of some more trials and what was held: inputs (samples, batch, n_inputs)."""
        silent, held = self.silent, self.inputs
        rates, u = window_means(self.network, recording, inputs)
        if silent is not None and silent.unit.size:
            x = rates @ silent.w_spike.T + u @ silent.w_in.T + silent.constant
            silent = replace(silent, x=silent.x.add(x))
        if held is not None:
            low, high = inputs.min(axis=0), inputs.max(axis=0)  # a trial counts once, by the end that is further out
            held = held.add(np.where(held.low - low > high - held.high, low, high)[None])
        drive = self.drive.add(mean_drive(self.network, rates, u))
        return replace(self, drive=drive, silent=silent, inputs=held)

    def warnings(self) -> tuple[str, ...]:
        """A line for each of the three that is left more than is tolerated."""
        return (*self._inputs_left(), *self._woken(), *self._drive_left())

    def _inputs_left(self) -> list[str]:
        found: list[str] = []
        if self.inputs is None or not self.inputs.counted:
            return found
        said = self.network.provenance["calibration"]
        for channel in np.flatnonzero(self.inputs.outside > TOLERATED_TRIALS * self.inputs.counted):
            low, high = (float(said[f"input_{end}"][channel]) for end in ("low", "high"))
            was = f"always {low:g}" if low == high else f"from {low:g} to {high:g}"
            found.append(
                f"input channel {channel} leaves its calibrated range in {int(self.inputs.outside[channel])} of "
                f"{self.inputs.counted} trials, by up to "
                f"{self.inputs.furthest[channel]:.3g}; it was {was} on the calibration trials, and what it does beyond "
                "was never matched: calibrate on trials like these"
            )
        return found

    def _woken(self) -> list[str]:
        silent = self.silent
        if silent is None or not silent.x.left:
            return []
        x, most = silent.x, silent.x.most
        return [
            f"{(x.outside > 0).sum()} of {silent.unit.size} units whose rate never moved on the calibration trials "
            f"would move here, in {100 * x.share:.2g} % of their windows of {WINDOW * 1e3:g} ms; unit "
            f"{int(silent.unit[most])} most, in {x.outside[most] / x.counted:.0%} of its own and by up to "
            f"{x.furthest[most]:.3g} in x. They are constant in this network, whatever they hear: calibrate on trials "
            "like these"
        ]

    def _drive_left(self) -> list[str]:
        drive = self.drive
        if not drive.left:
            return []
        most = drive.most
        return [
            f"{(drive.outside > 0).sum()} of {drive.outside.size} units get inputs beyond their calibrated range in "
            f"{100 * drive.share:.2g} % of all windows of {WINDOW * 1e3:g} ms; unit {most} most, in "
            f"{drive.outside[most] / drive.counted:.0%} of its own and by up to {drive.furthest[most]:.3g} mV: "
            "calibrate on trials like these"
        ]


def _range(said: Mapping[str, Any], name: str, n: int, margin: float, size: float = 1.0) -> Watched | None:
    """NAME_low and NAME_high of a provenance, wider by `margin`; None where it has none for n of them.

    size: of the terms that the values are sums of, at least; of inputs, which may be in any unit, nothing is known."""
    try:
        low, high = (np.array(said[f"{name}_{end}"], dtype=np.float64) for end in ("low", "high"))
    except (KeyError, TypeError, ValueError):
        return None
    if low.shape != (n,) or high.shape != (n,):
        return None
    width = margin * (high - low)
    beside = [1e-6 * np.maximum(size, np.abs(end)) for end in (low, high)]  # float32, and decimals of a provenance
    return Watched.between(low - width - beside[0], high + width + beside[1])


def _silent(said: Mapping[str, Any], n: int, n_inputs: int) -> Silent | None:
    kept = said.get("silent")
    if not isinstance(kept, Mapping):
        return None
    try:
        unit = np.array(kept["unit"], dtype=np.int64)
        k = unit.size
        w_spike = np.zeros((k, n))
        for row, (source, weight) in enumerate(zip(kept["from"], kept["w_spike"], strict=True)):
            w_spike[row, np.array(source, dtype=np.int64)] = weight
        w_in = np.array(kept["w_in"], dtype=np.float64).reshape(k, n_inputs)
        constant = np.array(kept["constant"], dtype=np.float64).reshape(k)
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    x = _range(kept, "x", k, 0.0)
    return None if x is None else Silent(unit=unit, w_spike=w_spike, w_in=w_in, constant=constant, x=x)


def window_steps(network: SpikingNetwork, n_steps: int) -> int:
    """Steps of a window; of a trial that is shorter, all."""
    return min(max(1, round(WINDOW / network.dt)), n_steps)


def window_means(network: SpikingNetwork, recording: Recording, inputs: Array) -> tuple[Array, Array]:
    """(windows, batch, n) spikes/s of the one population, and (windows, batch, n_inputs) of what was held.

    Windows follow each other from the first step. Where steps are left at the end, where most answers are, a last
    window ends with the trial and overlaps the one before.
    """
    (p,), (source,) = network.populations, network.held_inputs
    n_steps = recording.n_steps
    steps = window_steps(network, n_steps)
    starts = [*range(0, n_steps - steps + 1, steps), *([n_steps - steps] if n_steps % steps else [])]
    trains = recording.spikes[p.name]
    counts = np.zeros((len(starts), recording.n_batch, p.n))
    for window, start in enumerate(starts):
        inside = slice(*np.searchsorted(trains.step, (start, start + steps)))
        np.add.at(counts[window], (trains.batch[inside], trains.neuron[inside]), trains.count[inside])
    seen = inputs[sample_index(np.arange(1, n_steps + 1), network.dt, source, inputs.shape[0])]
    held = np.stack([seen[start : start + steps].mean(axis=0) for start in starts])
    return counts / (steps * network.dt), held


def mean_drive(network: SpikingNetwork, rates: Array, held: Array) -> Array:
    """(windows, batch, n): the mean drive of each unit of the one population, mV, of its window_means(); see the
    module."""
    (p,) = network.populations
    constant = per_unit(p.neuron.v_leak, p.n) + per_unit(p.bias, p.n)
    for bias in p.synaptic_bias.values():
        constant = constant + per_unit(bias, p.n)
    drive: Array = np.broadcast_to(constant, rates.shape).copy()
    for j in network.projections:
        source = next((i for i in network.inputs if i.name == j.source), None)
        if isinstance(source, HeldInput):
            drive += held @ j.weight.T
        elif source is None:
            drive += rates @ j.weight.T
    return drive
