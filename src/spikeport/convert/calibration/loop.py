"""The closed loop: run the spiking network on the calibration trials, and correct each unit by what it did.

In every bin of one rate step, with c spikes of a unit in it,

    r' = b + c / (L dt)                                     what the unit says
    x' = (1-a) x' + a (w_rec r' + w_in u + b_rec)           what the others tell it
    e  = phi(x') - r'                                       its own fault

and the step of Gauss and Newton on (log gain, offset) makes e small in the mean and in its slope over x'. The target is
phi(x'), not the rate network's r: a unit that answers its true input rightly is right, and corrects no other's fault.
(Towards r, units correct each other's faults: on the third party's network that loop ran away within three rounds.)

The read-out is learned again from what the units say in that run (readout.py), where that helps the trials that judge.

score: root mean square between outputs and those to follow (observed.py), over the latter's standard deviation, on
calibration trials that no correction sees. Which round is best, and what the next one starts from: rounds.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from spikeport.convert.calibration.curves import Curve
from spikeport.convert.calibration.match import gauss_newton
from spikeport.convert.calibration.observed import Observed
from spikeport.convert.calibration.readout import fit_readout, output_size, smoothed
from spikeport.convert.calibration.rounds import AIM, BETTER, MORE, Round, Step, best_of, next_step, satisfied
from spikeport.convert.calibration.units import Units, build
from spikeport.convert.presets import Preset
from spikeport.snn.blas import single_threaded
from spikeport.snn.engine import Engine
from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork

TAUS_OUT = (0.005, 0.010, 0.020, 0.030, 0.050)  # s, of the read-out: short ones lag less, long ones are quieter
AS_GOOD = 1.05  # the longest tau_out whose score is within this factor of the best: rules look at single extremes
HELD_OUT = 3  # one calibration trial in so many judges, the others correct
_PRIOR = (0.3, 3.0)  # sd of a correction: of log gain, and of the offset in mV; against noise where spikes are few
_MOST = (0.4, 3.0)  # of a round
_SAME = 0.01  # relative change of 1/lambda below which units are full: none may fire more

Improved = tuple[Units, tuple[Round, ...], int]
Matched = Callable[[float], Units]  # the plain match for so many spikes/s a unit


@dataclass(frozen=True, kw_only=True, eq=False)
class _Correction:
    """(N,) each: of log gain, and of the drive at the mean x, mV; middle: that x."""

    log_gain: Array
    offset: Array
    middle: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class _Made:
    """Units of a round; plain: the match that they were corrected from; correction: the whole of the next one."""

    units: Units
    plain: Units
    correction: _Correction


@dataclass(frozen=True, kw_only=True, eq=False)
class Loop:
    """What every round shares. curve: the units' f-I curve, smoothed, for derivatives alone.  weights: (n_trials,)
    with which the calibration trials stand for many (budget.py), or None: all the same."""

    source: RateNetwork
    preset: Preset
    observed: Observed
    curve: Curve
    seed: int
    first: int
    n_threads: int | None = None
    weights: Array | None = None
    refit: bool = True

    def improve(self, matched: Matched, *, rounds: int, max_rate_hz: float) -> Iterator[Improved]:
        """After the plain match and each round after it: the best units until then, the history, and which round that
        was. Up to `rounds` rounds, and up to MORE times as many as long as the best one is not what it should be.

        A match that is made again for more or fewer spikes has the corrections until then put on top.
        """
        history: list[Round] = []
        made: list[_Made] = []
        steps = [Step(origin=-1, asked_hz=AIM * max_rate_hz, damping=0.0)]
        units = plain = matched(AIM * max_rate_hz)
        full = False
        for number in range(MORE * rounds + 1):
            said = self.run(units)
            heard = self.heard(said)
            found, read = self._round(units, said, heard, steps[-1].asked_hz)
            history.append(found)
            made.append(_Made(units=read, plain=plain, correction=self._correction(units, said, heard)))
            best = best_of(history, max_rate_hz)
            yield made[best].units, tuple(history), best
            if number == MORE * rounds or (number >= rounds and satisfied(history, max_rate_hz)):
                return
            step = next_step(history, steps, max_rate_hz, full=full)
            if step is None:
                return
            origin = made[step.origin]
            units, plain = self._corrected(origin, step.damping), origin.plain
            if step.asked_hz != steps[step.origin].asked_hz:
                plain = matched(step.asked_hz)
                full = full or bool(np.allclose(plain.inverse_lambda, origin.plain.inverse_lambda, rtol=_SAME))
                units = self._moved(units, origin.plain, plain)
            steps.append(step)

    def _moved(self, units: Units, plain: Units, again: Units) -> Units:
        """`again` with the corrections that made `units` of `plain`: a factor of gain, and mV at the mean x."""
        alive = self.observed.alive
        middle = self.observed.quiet_x.mean(axis=(0, 1))
        factor = np.where(alive, units.gain / np.where(alive, plain.gain, 1.0), 1.0)
        shift = (units.offset + units.gain * middle) - (plain.offset + plain.gain * middle)
        gain = again.gain * factor
        offset = again.offset + again.gain * middle + shift - gain * middle
        return replace(again, gain=gain, offset=np.where(alive, offset, again.offset))

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

    def _round(self, units: Units, said: Array, heard: Array, asked: float) -> tuple[Round, Units]:
        """What a run did; and the units with the read-out that was best for it."""
        observed, source = self.observed, self.source
        taught = n_correct(said.shape[1])
        held = slice(min(taught, said.shape[1] - 1), None)
        scores = [self._score(said[:, held], tau) for tau in TAUS_OUT]
        good = [i for i, s in enumerate(scores) if s <= AS_GOOD * min(scores)]
        tau, score = (TAUS_OUT[good[-1]], scores[good[-1]]) if good else (TAUS_OUT[2], np.inf)
        read = replace(units, tau_out=tau, w_out=None, b_out=None)
        own = (source.activation(heard) - said).mean(axis=(0, 1))
        learned = score
        if self.refit and np.isfinite(score):
            fit = fit_readout(source, said, observed.outputs, tau, taught)
            if fit.score < BETTER * score:
                learned, read = fit.score, replace(read, w_out=fit.weight, b_out=fit.bias)
        weight, bias = read.read_out(source)
        right = observed.right(smoothed(said @ weight.T + bias, tau, source.dt))
        rates = ((said - units.baseline) * units.inverse_lambda).mean(axis=(0, 2))
        return Round(
            score=learned,
            own_score=score,
            own_error=float(np.sqrt((own**2).mean())),
            mean_error=float(np.sqrt(((said - observed.quiet_r).mean(axis=(0, 1)) ** 2).mean())),
            mean_rate_hz=float(rates.mean()),
            expected_rate_hz=float(rates.mean() if self.weights is None else rates @ self.weights),
            asked_hz=float(asked) if np.isfinite(asked) else None,
            tau_out=tau,
            right=int(right.sum()),
            judged=right.size,
            goal=self.goal,
        ), read

    def _score(self, said: Array, tau: float) -> float:
        """Of a read-out of decay `tau`, bin by bin."""
        wanted = self.observed.outputs[:, -said.shape[1] :]
        o = smoothed(said @ self.source.w_out.T + self.source.b_out, tau, self.source.dt)
        return float(np.sqrt(((o - wanted) ** 2).mean())) / output_size(wanted)

    @functools.cached_property
    def goal(self) -> int:
        """How many calibration trials the outputs to follow get right."""
        return int(self.observed.right(self.observed.outputs).sum())

    def _correction(self, units: Units, said: Array, heard: Array) -> _Correction:
        correct = slice(None, n_correct(said.shape[1]))
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
        log_gain, offset = (np.clip(s, -most, most) for s, most in zip(step, _MOST, strict=True))
        return _Correction(log_gain=log_gain, offset=offset, middle=middle)

    def _corrected(self, made: _Made, damping: float) -> Units:
        """Units of a round with so much of their correction."""
        units, by, alive = made.units, made.correction, self.observed.alive
        gain = units.gain * np.exp(damping * by.log_gain)
        offset = units.offset + units.gain * by.middle + damping * by.offset - gain * by.middle
        return replace(units, gain=np.where(alive, gain, units.gain), offset=np.where(alive, offset, units.offset))


def n_correct(trials: int) -> int:
    """How many of the calibration trials correct; with a single one, it judges too."""
    return trials if trials == 1 else trials - max(1, trials // HELD_OUT)
