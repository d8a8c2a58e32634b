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
calibration trials that no correction sees; right: how many of these the task's rule takes. A round with SURE fewer
right than another is worse whatever its score; fewer than that is chance, and the score decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spikeport.convert.calibration.curves import Curve
from spikeport.convert.calibration.match import gauss_newton
from spikeport.convert.calibration.observed import Observed
from spikeport.convert.calibration.readout import fit_readout, output_size, smoothed
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
SURE = 5  # trials: a sign test of so many to none is 3 %
GIVE_UP = 2  # rounds that are no better
LOOK = 2  # rounds that show whether a candidate may still be the best one
HOPE = 1.15  # of the score that the best one had after as many: of 30 runs on six networks none that was worse won
ALONE = 2  # corrections before 1/lambda moves: at few spikes the plain match is far off, and so is its rate
AIM = 0.93  # of the budget: where the next round's spikes should be
SPENT = (0.85, 0.98)  # of the budget: within, no round moves 1/lambda; above, other trials may spend more than it
_PRIOR = (0.3, 3.0)  # sd of a correction: of log gain, and of the offset in mV; against noise where spikes are few
_MOST = (0.4, 3.0)  # of a round
_FACTOR = (0.5, 2.0)  # by which a round may change the spikes that are asked for
_SAME = 0.01  # relative change of 1/lambda below which units are full: none may fire more
_MOST_ASKED = 4.0  # budgets: units that are full spend no more, whatever they are asked for

Improved = tuple[Units, tuple["Round", ...], int]
Matched = Callable[[float], Units]  # the plain match for so many spikes/s a unit


@dataclass(frozen=True, kw_only=True)
class Round:
    """A run of the loop. score: of the module, with the read-out learned again where that helps; own_score: with the
    rate network's own; own_error: root mean square over units of their mean e; mean_error: of their mean r' - r,
    against the rate network; mean_rate_hz: spikes/s a unit on the calibration trials; expected_rate_hz: the same on
    many trials of the task; asked_hz: what the match was made for, if there is a budget; tau_out: s; right: of `judged`
    held-out calibration trials, by the task's rule."""

    score: float
    own_score: float
    own_error: float
    mean_error: float
    mean_rate_hz: float
    expected_rate_hz: float
    asked_hz: float | None
    tau_out: float
    right: int
    judged: int

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Made:
    """Units of a round; plain: the match that they were corrected from, made for asked_hz."""

    units: Units
    plain: Units
    asked_hz: float


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
    damping: float = 0.4
    n_threads: int | None = None
    weights: Array | None = None
    refit: bool = True

    def improve(self, matched: Matched, *, rounds: int, max_rate_hz: float) -> Iterator[Improved]:
        """After the plain match and each of up to `rounds` corrections: the best units until then, the history, and
        which round that was.

        Where the best round spends too little or too much of the budget, the match is made again for more or fewer
        spikes, and the corrections until then are put on top. Too many spikes are worse than any score; of rounds whose
        scores differ by chance, one that spends SPENT of the budget.
        """
        history: list[Round] = []
        made: list[_Made] = []
        plain = matched(AIM * max_rate_hz)
        now = _Made(units=plain, plain=plain, asked_hz=AIM * max_rate_hz)
        since, full = 0, False
        again_from: set[tuple[int, float]] = set()  # a best round that was matched again as it was, and for how many
        for number in range(rounds + 1):
            said = self.run(now.units)
            heard = self.heard(said)
            found, read = self._round(now.units, said, heard, now.asked_hz)
            since = 0 if _is_better(found, history, max_rate_hz) else since + 1
            history.append(found)
            made.append(replace(now, units=read))
            best = _best(history, max_rate_hz)
            asked = made[best].asked_hz if full else _asks(history, best, max_rate_hz)
            moves = asked != made[best].asked_hz and (best, asked) not in again_from
            yield made[best].units, tuple(history), best
            if number == rounds or (since >= GIVE_UP and not moves):
                return
            corrected = self._corrected(now.units, said, heard)
            if moves:  # the best, as it was, with other spikes; where it is the latest, its correction comes along
                origin = made[best] if best < number else replace(now, units=corrected)
                again_from |= {(best, asked)} if best < number else set()
                again = matched(asked)
                full = bool(np.allclose(again.inverse_lambda, origin.plain.inverse_lambda, rtol=_SAME))
                now = _Made(units=self._moved(origin.units, origin.plain, again), plain=again, asked_hz=asked)
            else:
                now = replace(now, units=corrected)

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
        taught = _n_correct(said.shape[1])
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
        right = observed.right(smoothed(said @ weight.T + bias, tau, source.dt))[held]
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
        ), read

    def _score(self, said: Array, tau: float) -> float:
        """Of a read-out of decay `tau`, bin by bin."""
        wanted = self.observed.outputs[:, -said.shape[1] :]
        o = smoothed(said @ self.source.w_out.T + self.source.b_out, tau, self.source.dt)
        return float(np.sqrt(((o - wanted) ** 2).mean())) / output_size(wanted)

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


def hopeless(history: Sequence[Round], leader: Sequence[Round]) -> bool:
    """After LOOK rounds or more: is the best score worse than the leader's was by then, by HOPE, and no more right?"""
    if len(history) < LOOK:
        return False
    score, right = min(r.score for r in history), max(r.right for r in history)
    return score > HOPE * min(r.score for r in leader[: len(history)]) and right < max(r.right for r in leader) + SURE


def _spends(made: Round, max_rate_hz: float) -> bool:
    return SPENT[0] * max_rate_hz <= made.expected_rate_hz <= SPENT[1] * max_rate_hz


def _rank(made: Round, history: Sequence[Round], max_rate_hz: float) -> tuple[bool, bool, float]:
    """Smaller is better: too many spikes are worse than SURE fewer right than another within the budget, that is worse
    than any score."""
    within = [r for r in (*history, made) if r.expected_rate_hz <= SPENT[1] * max_rate_hz]
    most = max((r.right for r in within), default=0)
    return made.expected_rate_hz > SPENT[1] * max_rate_hz, made.right <= most - SURE, made.score


def _is_better(made: Round, history: Sequence[Round], max_rate_hz: float) -> bool:
    """By more than chance than all before."""
    every = (*history, made)
    over, fewer, best = min((_rank(r, every, max_rate_hz) for r in history), default=(True, True, np.inf))
    return _rank(made, every, max_rate_hz) < (over, fewer, BETTER * best)


def _best(history: Sequence[Round], max_rate_hz: float) -> int:
    """The index of the best rank; where all are over the budget, of the fewest spikes; see Loop.improve."""
    ranks = [_rank(r, history, max_rate_hz) for r in history]
    best = min(range(len(history)), key=lambda i: ranks[i])
    if ranks[best][0]:
        return min(range(len(history)), key=lambda i: history[i].expected_rate_hz)
    as_good = [
        i
        for i, r in enumerate(history)
        if BETTER * r.score <= history[best].score and ranks[i][1] == ranks[best][1] and _spends(r, max_rate_hz)
    ]
    return min(as_good or [best], key=lambda i: history[i].score)


def _asks(history: Sequence[Round], best: int, max_rate_hz: float) -> float:
    """Spikes/s a unit to make the next match for, after the best round; as it was where that spends the budget.

    The first corrections come ALONE: before them, units are not yet where they will be. Between one match that gave too
    few and one that gave too many, the geometric middle: rates do not grow in proportion where a network has two
    states.
    """
    asked = history[best].asked_hz
    if asked is None:
        return np.inf
    found = history[best].expected_rate_hz / max_rate_hz
    if SPENT[0] <= found <= SPENT[1] or len(history) <= ALONE:
        return asked
    tried = [(r.asked_hz, r.expected_rate_hz / max_rate_hz) for r in history[ALONE:] if r.asked_hz is not None]
    few = max((a for a, share in tried if share < SPENT[0]), default=0.0)
    many = min((a for a, share in tried if share > SPENT[1]), default=np.inf)
    if 0 < few < many < np.inf:
        return float(np.sqrt(few * many))
    factor = AIM / found if found > 0 else _FACTOR[1]
    return min(asked * float(np.clip(factor, *_FACTOR)), _MOST_ASKED * max_rate_hz)


def _n_correct(trials: int) -> int:
    """How many of the calibration trials correct; with a single one, it judges too."""
    return trials if trials == 1 else trials - max(1, trials // HELD_OUT)
