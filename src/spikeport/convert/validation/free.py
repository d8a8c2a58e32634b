"""The free-running depth: both levels run on their own, and every measure is a sum that trials are added to.

Memory grows with the units and the length of a trial, never with the number of trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.integrators import get_integrator, synapse_table
from spikeport.snn.measures import Components, PairedSums, Scores, aligned, distance, principal_components
from spikeport.snn.measures.coincidence import coincident, factor_of_counts
from spikeport.snn.measures.filtering import filtered, sample_ends
from spikeport.snn.measures.scores import ratio
from spikeport.snn.measures.variability import interval_sums
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import ReadOut, SpikingNetwork


def stand_in(network: SpikingNetwork, recording: Recording, sample_dt: float) -> Array:
    """What stands for the rates r: b + lambda s, s the read-out's filtered spikes: (samples, batch, n), one every
    sample_dt s.

    lambda: 1 / inverse_lambda of the provenance; 1 where there is none.  b: 0; a calibrated network has both per unit.
    """
    readout = network.readouts[0]
    table = read_table(network, readout)
    ends = sample_ends(recording.n_steps, recording.dt, sample_dt)
    s = filtered(recording.spikes[readout.source], table, ends)
    said = network.provenance.get("calibration")
    units = said.get("units") if isinstance(said, Mapping) else None
    if isinstance(units, Mapping) and len(units.get("inverse_lambda", ())) == s.shape[2]:
        return np.asarray(np.asarray(units["baseline"]) + s / np.asarray(units["inverse_lambda"]))
    return np.asarray(s / float(network.provenance.get("inverse_lambda", 1.0)))


def read_table(network: SpikingNetwork, readout: ReadOut) -> Any:
    """The table of a read-out's filter."""
    source = network.population(readout.source)
    tau_mem = per_unit(source.neuron.tau_mem, source.n)
    return synapse_table(get_integrator(network.integrator), readout.synapse, tau_mem, network.dt)


@dataclass(frozen=True, kw_only=True)
class SpikeSums:
    """Sums over one level's spikes, (n,) each; counts and their squares over trials."""

    trials: int
    steps: int
    counts: Array
    squares: Array
    intervals: Array
    gaps: Array
    gaps_squared: Array
    silent_trials: int

    @classmethod
    def empty(cls, n: int) -> SpikeSums:
        zero = np.zeros(n)
        return cls(
            trials=0, steps=0, counts=zero, squares=zero, intervals=zero, gaps=zero, gaps_squared=zero, silent_trials=0
        )

    def add(self, recording: Recording, population: str) -> SpikeSums:
        trains = recording.spikes[population]
        counts = trains.counts().astype(np.float64)
        n, total, squares = interval_sums(trains)
        return replace(
            self, trials=self.trials + recording.n_batch, steps=recording.n_steps, counts=self.counts + counts.sum(0),
            squares=self.squares + (counts**2).sum(0), intervals=self.intervals + n, gaps=self.gaps + total,
            gaps_squared=self.gaps_squared + squares,
            silent_trials=self.silent_trials + int((counts.sum(axis=1) == 0).sum()),
        )  # fmt: skip

    def rates_hz(self, dt: float) -> Array:
        seconds = self.trials * self.steps * dt
        return np.asarray(self.counts / seconds if seconds else np.zeros_like(self.counts))

    def cv(self) -> Scores:
        """CV of the intervals; see measures/variability.py."""
        n = np.maximum(self.intervals, 1)
        mean = self.gaps / n
        spread = np.sqrt(np.maximum(self.gaps_squared / n - mean * mean, 0.0))
        return ratio(spread, mean, self.intervals >= 2, "fewer than two intervals between spikes")

    def fano(self) -> Scores:
        """Fano factor of the counts over trials; see measures/variability.py."""
        n = self.trials
        if n < 2:
            nothing = np.zeros_like(self.counts)
            return Scores(values=nothing, defined=nothing > 0, undefined_when="fewer than two trials")
        mean = self.counts / n
        variance = np.maximum(self.squares - n * mean * mean, 0.0) / (n - 1)
        return ratio(variance, mean, mean > 0, "it never fired")


PATHS = 16  # labels that have a mean: a file may have as many labels as trials


@dataclass(frozen=True, kw_only=True)
class Means:
    """Mean over trials of a signal, by label: label -> (trials, sum (samples, n)); of the first PATHS labels."""

    sums: dict[int, tuple[int, Array]] = field(default_factory=dict)

    def add(self, signal: Array, labels: NDArray[np.int64]) -> Means:
        """signal (samples, batch, n)."""
        sums = dict(self.sums)
        for label in map(int, dict.fromkeys(labels.tolist())):  # in order of appearance: the same at any batch size
            if label in sums or len(sums) < PATHS:
                mine = signal[:, labels == label]
                n, total = sums.get(label, (0, 0.0))
                sums[label] = (n + mine.shape[1], total + mine.sum(axis=1))
        return Means(sums=sums)

    def labels(self) -> NDArray[np.int64]:
        """Of the columns of stacked()."""
        return np.array(sorted(self.sums), dtype=np.int64)

    def stacked(self) -> Array:
        """(samples, labels, n), labels in ascending order."""
        return np.stack([total / n for _, (n, total) in sorted(self.sums.items())], axis=1)


@dataclass(frozen=True, kw_only=True)
class Trajectories:
    """Label means among the principal components of the rate model's: rate and spiking (samples, labels, d).

    labels: (labels,), of the columns.
    """

    labels: NDArray[np.int64]
    components: Components
    rate: Array
    spiking: Array
    distance: float | None
    distance_aligned: float | None


def trajectories(rate: Means, spiking: Means, d: int = 3) -> Trajectories:
    """The path of the population, of the rate model and of its spiking stand-in, and how far they are apart."""
    p = rate.stacked()
    components = principal_components(p, d)
    a, b = components.project(p), components.project(spiking.stacked())
    return Trajectories(
        labels=rate.labels(), components=components, rate=a, spiking=b, distance=distance(a, b),
        distance_aligned=distance(a, aligned(b, a)),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Coincidences:
    """Sums for the coincidence factor of two levels within d steps."""

    d: int
    trial_steps: int
    both: Array
    a: Array
    b: Array

    def add(self, a: Recording, b: Recording, population: str) -> Coincidences:
        x, y = a.spikes[population], b.spikes[population]
        return replace(
            self, trial_steps=self.trial_steps + a.n_steps * a.n_batch, both=self.both + coincident(x, y, self.d),
            a=self.a + x.counts().sum(axis=0), b=self.b + y.counts().sum(axis=0),
        )  # fmt: skip

    def factor(self) -> Scores:
        return factor_of_counts(self.both, self.a, self.b, self.d, self.trial_steps)


def no_coincidences(n: int, d: int) -> Coincidences:
    zero = np.zeros(n)
    return Coincidences(d=d, trial_steps=0, both=zero, a=zero, b=zero)


__all__ = [
    "Coincidences", "Means", "PairedSums", "SpikeSums", "Trajectories", "no_coincidences", "stand_in", "trajectories",
]  # fmt: skip
