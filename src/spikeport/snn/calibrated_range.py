"""Does a run leave the range of inputs that a network was calibrated for? Outside it, its f-I curves were never fitted.

    drive_i = v_leak_i + bias_i + sum_j w_ij z_j + w_in_i u + b_i      mV, means over WINDOW seconds

z: spikes per second (what a filter of unit area does to them cancels in a mean), u: held inputs. The provenance of a
calibrated network says for each unit which drive its calibration trials gave, lowest and highest. Spikes make the drive
noisier than the rate model's x was, so a window counts as outside only beyond MARGIN of the range's width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import HeldInput, SpikingNetwork, sample_index

WINDOW = 0.1  # s, about the longest time constant of the published networks
MARGIN = 0.25  # of the width of a unit's range
TOLERATED = 0.002  # share of (unit, window, trial) outside without a warning; trials like the calibrated have 0.00003


@dataclass(frozen=True, kw_only=True)
class RangeWatch:
    """Counts windows outside the calibrated range while a run goes on.

    low, high: (n,) mV, margin included.  outside: (n,) windows; furthest: (n,) mV beyond the range.
    """

    network: SpikingNetwork
    low: Array
    high: Array
    windows: int
    outside: Array
    furthest: Array

    @classmethod
    def of(cls, network: SpikingNetwork) -> RangeWatch | None:
        """None where the network's provenance has no such range (it was not calibrated), or is of another shape."""
        said = network.provenance.get("calibration")
        if not isinstance(said, Mapping) or len(network.populations) != 1:
            return None
        n = network.populations[0].n
        try:
            low, high = (np.array(said[name], dtype=np.float64) for name in ("drive_low", "drive_high"))
        except (KeyError, TypeError, ValueError):
            return None
        if low.shape != (n,) or high.shape != (n,):
            return None
        width = high - low
        zero = np.zeros(n)
        return cls(
            network=network,
            low=low - MARGIN * width,
            high=high + MARGIN * width,
            windows=0,
            outside=zero,
            furthest=zero,
        )

    def add(self, recording: Recording, inputs: Array) -> RangeWatch:
        """With the spikes of some more trials and what was held: inputs (samples, batch, n_inputs)."""
        drive = mean_drive(self.network, recording, inputs)
        beyond = np.maximum(np.maximum(self.low - drive, drive - self.high), 0.0)
        return replace(
            self, windows=self.windows + drive.shape[0] * drive.shape[1],
            outside=self.outside + (beyond > 0).sum(axis=(0, 1)),
            furthest=np.maximum(self.furthest, beyond.max(axis=(0, 1), initial=0.0)),
        )  # fmt: skip

    def warnings(self) -> tuple[str, ...]:
        """One line where more than TOLERATED of all windows are outside."""
        total = self.windows * self.outside.size
        share = float(self.outside.sum()) / total if total else 0.0
        if share <= TOLERATED:
            return ()
        unit = int(self.furthest.argmax())
        return (
            f"{int((self.outside > 0).sum())} of {self.outside.size} units get inputs beyond their calibrated range in "
            f"{share:.1%} of all windows of {WINDOW * 1e3:g} ms; unit {unit} most, by {self.furthest[unit]:.3g} mV: "
            "calibrate on trials like these",
        )


def mean_drive(network: SpikingNetwork, recording: Recording, inputs: Array) -> Array:
    """(windows, batch, n): the mean drive of each unit of the one population, mV; see the module."""
    (p,) = network.populations
    steps = max(1, round(WINDOW / network.dt))
    n_windows = max(1, recording.n_steps // steps)
    trains = recording.spikes[p.name]
    inside = trains.step < n_windows * steps
    shape = (n_windows, recording.n_batch, p.n)
    counts = np.zeros(shape)
    where = (trains.step[inside] // steps, trains.batch[inside], trains.neuron[inside])
    np.add.at(counts, where, trains.count[inside])
    rates = counts / (min(steps, recording.n_steps) * network.dt)
    constant = per_unit(p.neuron.v_leak, p.n) + per_unit(p.bias, p.n)
    for bias in p.synaptic_bias.values():
        constant = constant + per_unit(bias, p.n)
    drive: Array = np.broadcast_to(constant, shape).copy()
    for j in network.projections:
        source = next((i for i in network.inputs if i.name == j.source), None)
        if isinstance(source, HeldInput):
            seen = sample_index(np.arange(1, n_windows * steps + 1), network.dt, source, inputs.shape[0])
            held = inputs[seen].reshape(n_windows, steps, *inputs.shape[1:]).mean(axis=1)
            drive += held @ j.weight.T
        elif source is None:
            drive += rates @ j.weight.T
    return drive
