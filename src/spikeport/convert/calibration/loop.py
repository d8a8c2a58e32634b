"""The closed loop: run the spiking network on the calibration trials, and correct each unit by what it did.

In every bin of one rate step, with c spikes of a unit in it,

    r' = b + c / (L dt)                                     what the unit says
    x' = (1-a) x' + a (w_rec r' + w_in u + b_rec)           what the others tell it
    e  = phi(x') - r'                                       its own fault

and the step of Gauss and Newton on (log gain, offset) makes e small in the mean and in its slope over x'. The target is
phi(x'), not the rate network's r: a unit that answers its true input rightly is right, and corrects no other's fault.
(Towards r, units correct each other's faults: on the third party's network that loop ran away within three rounds.)

score: root mean square between outputs and the rate network's noise-free ones, over the latter's standard deviation,
on calibration trials that no correction sees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spikeport.convert.calibration.curves import Curve
from spikeport.convert.calibration.match import gauss_newton
from spikeport.convert.calibration.observed import Observed
from spikeport.convert.calibration.units import Units, build
from spikeport.convert.presets import Preset
from spikeport.snn.blas import single_threaded
from spikeport.snn.engine import Engine
from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork

TAUS_OUT = (0.005, 0.010, 0.020, 0.030, 0.050)  # s, of the read-out: short ones lag less, long ones are quieter
AS_GOOD = 1.05  # the longest tau_out whose score is within this factor of the best: rules look at single extremes
HELD_OUT = 3  # one calibration trial in so many judges, the others correct
BETTER = 0.97  # of the best score so far: less is chance
GIVE_UP = 2  # rounds that are no better
_PRIOR = (0.3, 3.0)  # sd of a correction: of log gain, and of the offset in mV; against noise where spikes are few
_MOST = (0.4, 3.0)  # of a round


@dataclass(frozen=True, kw_only=True)
class Round:
    """A run of the loop. score: of the module; own_error: root mean square over units of their mean e; mean_error: of
    their mean r' - r, against the rate network; mean_rate_hz: spikes/s a unit; tau_out: s."""

    score: float
    own_error: float
    mean_error: float
    mean_rate_hz: float
    tau_out: float

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True, eq=False)
class Loop:
    """What every round shares. curve: the units' f-I curve, smoothed, for derivatives alone."""

    source: RateNetwork
    preset: Preset
    observed: Observed
    curve: Curve
    seed: int
    first: int
    damping: float = 0.4
    n_threads: int | None = None

    def improve(self, units: Units, *, rounds: int, max_rate_hz: float) -> tuple[Units, list[Round]]:
        """The best units of up to `rounds` corrections, and the history; too many spikes is worse than any score."""
        history: list[Round] = []
        best, rank = units, (True, np.inf)
        since = 0
        for number in range(rounds + 1):
            said = self.run(units)
            heard = self.heard(said)
            found, tau_out = self._round(units, said, heard)
            history.append(found)
            now = (found.mean_rate_hz > max_rate_hz, found.score)
            since = 0 if now < (rank[0], BETTER * rank[1]) else since + 1
            if now < rank:
                best, rank = replace(units, tau_out=tau_out), now
            if number == rounds or since >= GIVE_UP:
                break
            units = self._corrected(units, said, heard)
        return best, history

    def run(self, units: Units) -> Array:
        """r' (time, batch, N) of the module, of the network with these units on all calibration trials."""
        trials, network = self.observed.trials, build(self.source, self.preset, units, {})
        engine = Engine(network, dtype="float32")
        state = engine.start(trials.n_trials, seed=self.seed, first_trial=self.first)
        run = engine.run(state, trials.inputs, n_threads=self.n_threads, record_spikes=True, record_outputs=False)
        step, trial, _, unit = run.events.T
        n_bins, n_batch = trials.inputs.shape[:2]
        bins = np.minimum(np.floor((step + 0.5) * (network.dt / self.source.dt)).astype(np.int64), n_bins - 1)
        where = (bins * n_batch + trial) * self.source.n_neurons + unit
        counts = np.bincount(where, minlength=n_bins * n_batch * self.source.n_neurons)
        counts = counts.reshape(n_bins, n_batch, self.source.n_neurons)
        return np.asarray(units.baseline + counts / (units.inverse_lambda * self.source.dt), dtype=np.float64)

    def heard(self, said: Array) -> Array:
        """x' (time, batch, N) of the module in the middle of each bin."""
        source, u = self.source, self.observed.trials.inputs
        a = source.dt / source.tau
        x = np.zeros(said.shape[1:])
        with single_threaded():
            drive = said @ source.w_rec.T + u @ source.w_in.T + source.b_rec
        found = np.empty(said.shape)
        for k in range(said.shape[0]):
            new = (1 - a) * x + a * drive[k]
            found[k] = (x + new) / 2
            x = new
        return found

    def _round(self, units: Units, said: Array, heard: Array) -> tuple[Round, float]:
        observed, source = self.observed, self.source
        held = slice(min(_n_correct(said.shape[1]), said.shape[1] - 1), None)
        scores = [self._score(said[:, held], tau) for tau in TAUS_OUT]
        good = [i for i, s in enumerate(scores) if s <= AS_GOOD * min(scores)]
        tau, score = (TAUS_OUT[good[-1]], scores[good[-1]]) if good else (TAUS_OUT[2], np.inf)
        own = (source.activation(heard) - said).mean(axis=(0, 1))
        return Round(
            score=score,
            own_error=float(np.sqrt((own**2).mean())),
            mean_error=float(np.sqrt(((said - observed.quiet_r).mean(axis=(0, 1)) ** 2).mean())),
            mean_rate_hz=float(((said - units.baseline) * units.inverse_lambda).mean()),
            tau_out=tau,
        ), tau

    def _score(self, said: Array, tau: float) -> float:
        """Of a read-out of decay `tau`, bin by bin."""
        wanted = self.observed.quiet_outputs[:, -said.shape[1] :]
        into = said @ self.source.w_out.T + self.source.b_out
        keep = np.exp(-self.source.dt / tau)
        o = np.empty(into.shape)
        now = into[0]
        for k in range(into.shape[0]):
            now = keep * now + (1 - keep) * into[k]
            o[k] = now
        size = float(np.sqrt(((wanted - wanted.mean(axis=(0, 1))) ** 2).mean()))
        return float(np.sqrt(((o - wanted) ** 2).mean())) / (size if size > 0 else 1.0)

    def _corrected(self, units: Units, said: Array, heard: Array) -> Units:
        correct = slice(None, _n_correct(said.shape[1]))
        said, x = said[:, correct], heard[:, correct]
        wanted = self.source.activation(x)
        middle = x.mean(axis=(0, 1))
        slope = self.curve.slope(units.gain * x + units.offset) / units.inverse_lambda
        per_bin = units.inverse_lambda * self.source.dt
        chance = np.maximum(wanted - units.baseline, 0).mean(axis=(0, 1)) / per_bin / (x.shape[0] * x.shape[1])
        step = gauss_newton(
            slope * (x - middle) * units.gain, slope, wanted - said, axis=(0, 1),
            ridge=(chance / _PRIOR[0] ** 2 + 1e-12, chance / _PRIOR[1] ** 2 + 1e-12),
        )  # fmt: skip
        log_gain, offset = (self.damping * np.clip(s, -most, most) for s, most in zip(step, _MOST, strict=True))
        gain = units.gain * np.exp(log_gain)
        at_middle = units.offset + units.gain * middle + offset
        moved = replace(units, gain=gain, offset=at_middle - gain * middle)
        alive = self.observed.alive
        return replace(
            moved, gain=np.where(alive, moved.gain, units.gain), offset=np.where(alive, moved.offset, units.offset)
        )


def _n_correct(trials: int) -> int:
    """How many of the calibration trials correct; with a single one, it judges too."""
    return trials if trials == 1 else trials - max(1, trials // HELD_OUT)
