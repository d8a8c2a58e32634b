"""How regular spiking is: rates, CV of the intervals, Fano factor of the counts.

    CV    sd(interval) / mean(interval), over a unit's intervals of all trials (never across two trials)
    Fano  var(count) / mean(count) over trials, variance with n - 1

A Poisson process has 1 of both, a clock 0.  Source: Dayan & Abbott, Theoretical Neuroscience (2001), section 1.4.
"""

from __future__ import annotations

import numpy as np

from spikeport.snn.measures.scores import Scores, ratio
from spikeport.snn.neurons import Array
from spikeport.snn.recording import SpikeTrains


def rates_hz(trains: SpikeTrains, dt: float) -> Array:
    """(n,) spikes per second of each unit, over all trials; 0 of no time."""
    n_steps, n_batch, _ = trains.shape
    seconds = n_steps * dt * n_batch
    return np.asarray(trains.counts().sum(axis=0) / seconds if seconds else np.zeros(trains.shape[2]))


def cv_of_intervals(trains: SpikeTrains) -> Scores:
    """CV of the inter-spike intervals, (n,); a unit with fewer than two intervals has none."""
    n_intervals, total, squares = interval_sums(trains)
    defined = n_intervals >= 2
    n = np.maximum(n_intervals, 1)
    mean = total / n
    spread = np.sqrt(np.maximum(squares / n - mean * mean, 0.0))
    return ratio(spread, mean, defined, "fewer than two intervals between spikes")


def interval_sums(trains: SpikeTrains) -> tuple[Array, Array, Array]:
    """(number of intervals, their sum, their sum of squares) in steps, (n,); sums can be added over recordings."""
    n = trains.shape[2]
    order = np.lexsort((trains.step, trains.neuron, trains.batch))
    batch, neuron, step = (c[order].astype(np.int64) for c in (trains.batch, trains.neuron, trains.step))
    same = (np.diff(batch) == 0) & (np.diff(neuron) == 0)
    gaps, unit = np.diff(step)[same].astype(np.float64), neuron[1:][same]
    return (
        np.bincount(unit, minlength=n).astype(np.float64),
        np.bincount(unit, weights=gaps, minlength=n).astype(np.float64),
        np.bincount(unit, weights=gaps**2, minlength=n).astype(np.float64),
    )


def fano_factor(counts: Array) -> Scores:
    """Fano factor of counts (trials, n), (n,); a silent unit has none, and one trial gives none at all."""
    counts = np.asarray(counts, dtype=np.float64)
    n_trials = counts.shape[0]
    if n_trials < 2:
        nothing = np.zeros(counts.shape[1])
        return Scores(values=nothing, defined=nothing > 0, undefined_when="fewer than two trials")
    mean = counts.mean(axis=0)
    return ratio(counts.var(axis=0, ddof=1), mean, mean > 0, "it never fired")
