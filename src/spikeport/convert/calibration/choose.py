"""The choice of noise and refractory period: every candidate is matched, some run in the closed loop, all are reported.

    1 of each noise, the refractory period whose f-I match fits best: it costs no run
    2 each noise with that one, in the closed loop under the same budget
    3 where t_ref has bounds of its own: the others too, with the noise that was best

The measured output error on calibration trials that no correction sees decides, among candidates of which none has
SURE fewer of them right than another. Errors within TIE of the least differ by chance: of these the smallest noise,
which costs a target nothing, then the smallest error.

Candidates race: all run LOOK rounds, then each goes on, the best first, as long as its error is within HOPE of what the
best of the others had after as many rounds. (Not of its last: a network with two states may take some to find both.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from spikeport.convert.calibration.bounds import Bounds, Range
from spikeport.convert.calibration.budget import inverse_lambdas
from spikeport.convert.calibration.curves import Curve, fi_curve
from spikeport.convert.calibration.loop import TAUS_OUT, Loop
from spikeport.convert.calibration.match import match, samples
from spikeport.convert.calibration.observed import Observed
from spikeport.convert.calibration.rounds import AIM, LOOK, SURE, Round, hopeless
from spikeport.convert.calibration.units import Units
from spikeport.convert.presets import Preset
from spikeport.convert.transfer import noise_of_v
from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork

Key = tuple[float, float]  # noise_sd, t_ref

TIE = 1.05  # of the least error: two calibrations of one network, on other trials, differ by as much
DITHER = 1.0  # mV: a curve without noise has a jump at threshold, and is matched as if v had this standard deviation
QUIET = 8.0  # standard deviations of v: a normal variable is beyond in 6e-16
SLOPES = 3.0  # mV: derivatives in the loop are of a curve smoothed by so much, for the same reason


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A candidate. curve_error: of its plain match, in units of r.  score, rate_hz: output error and expected spikes/s
    a unit, of those that ran; stopped: too far behind."""

    noise_sd: float
    t_ref: float
    curve_error: float
    score: float | None = None
    rate_hz: float | None = None
    stopped: bool = False
    chosen: bool = False

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True, eq=False)
class Tried:
    """A candidate that ran."""

    preset: Preset
    curve_error: float
    units: Units
    history: tuple[Round, ...]
    best: int
    stopped: bool = False

    def within(self, max_rate_hz: float) -> bool:
        return self.history[self.best].expected_rate_hz <= max_rate_hz

    @property
    def score(self) -> float:
        return self.history[self.best].score

    @property
    def right(self) -> int:
        return self.history[self.best].right


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """What all candidates share. limit: spikes/s a unit, or infinite; single: one 1/lambda for all units; within:
    bounds of 1/lambda."""

    source: RateNetwork
    observed: Observed
    worth: Array
    weights: Array | None
    limit: float
    single: float | None
    within: Range | None
    rounds: int
    seed: int
    first: int
    n_threads: int | None
    refit: bool = True

    def matched(self, preset: Preset, asked_hz: float) -> tuple[Units, float]:
        """The plain match: units before the loop, and their curve error."""
        source, observed = self.source, self.observed
        n, alive = source.n_neurons, observed.alive
        baseline = observed.baseline
        if self.single is None:
            scale = inverse_lambdas(observed, preset, baseline, self.worth, asked_hz, self.within)
        else:
            scale = np.full(n, float(self.single))
        over = np.where(alive, np.maximum(observed.r - baseline, 0).mean(axis=(0, 1)), 0.0)
        x = samples(source, observed.x_quantiles, over, scale, self.seed)[alive]
        wanted = source.activation(x) - baseline[alive, None]
        curve = smooth(preset, float(np.sqrt(max(0.0, DITHER**2 - noise_of_v(preset) ** 2))))
        gain, offset = np.zeros(n), np.full(n, quiet_offset(preset))  # of a unit that never moves: it stays silent
        gain[alive], offset[alive], error = match(x, wanted, scale[alive], curve, preset.v_threshold)
        units = Units(gain=gain, offset=offset, inverse_lambda=scale, baseline=baseline, tau_out=TAUS_OUT[2])
        return units, float(np.sqrt((error**2).mean()))

    def loop(self, preset: Preset) -> Loop:
        return Loop(
            source=self.source, preset=preset, observed=self.observed, curve=smooth(preset, SLOPES), seed=self.seed,
            first=self.first, n_threads=self.n_threads, weights=self.weights, refit=self.refit,
        )  # fmt: skip

    def run(self, preset: Preset, start: tuple[Units, float]) -> Iterator[Tried]:
        """The closed loop of one candidate, whose plain match is `start`, after each round."""
        aim = AIM * self.limit

        def matched(asked_hz: float) -> Units:
            return start[0] if asked_hz == aim else self.matched(preset, asked_hz)[0]

        for units, history, best in self.loop(preset).improve(matched, rounds=self.rounds, max_rate_hz=self.limit):
            yield Tried(preset=preset, curve_error=start[1], units=units, history=history, best=best)


def choose(bench: Bench, preset: Preset, bounds: Bounds) -> tuple[Tried, tuple[Choice, ...], str]:
    """The best candidate, all of them, and the reason in words; see the module."""
    starts: dict[Key, tuple[Units, float]] = {}
    tried: dict[Key, Tried] = {}

    def at(key: Key) -> Preset:
        return replace(preset, noise_sd=key[0], t_ref=key[1])

    def run(keys: Sequence[Key]) -> None:
        race({key: bench.run(at(key), starts[key]) for key in keys}, tried, bench.limit)

    fits = []
    for sd in bounds.noises(preset):
        keys = [(sd, t) for t in bounds.t_refs(preset)]
        for key in keys:
            starts[key] = bench.matched(at(key), AIM * bench.limit)
        fits.append(min(keys, key=lambda k: starts[k][1]))
    run(fits)
    chosen = _least(list(tried.values()), bench.limit)
    if bounds.t_ref is not None:
        run([k for k in starts if k[0] == chosen.preset.noise_sd and k not in tried])
        chosen = _least(list(tried.values()), bench.limit)
    choices = []
    for key, (_, error) in starts.items():
        ran = tried.get(key)
        choices.append(
            Choice(
                noise_sd=key[0], t_ref=key[1], curve_error=error, chosen=ran is chosen,
                stopped=ran is not None and ran.stopped,
                score=None if ran is None else ran.score,
                rate_hz=None if ran is None else ran.history[ran.best].expected_rate_hz,
            )
        )  # fmt: skip
    return chosen, tuple(choices), _reason(chosen, list(tried.values()), bench.limit)


def race(running: Mapping[Key, Iterator[Tried]], tried: dict[Key, Tried], limit: float) -> None:
    """Run these candidates, beside those that were tried before, and add them; see the module."""
    for key, rounds in running.items():
        for now in islice(rounds, LOOK):
            tried[key] = now
    for key in sorted(running, key=lambda k: tried[k].score):
        while True:
            others = [t for k, t in tried.items() if k != key and t.within(limit)]
            if others and hopeless(tried[key].history, _least(others, limit).history):
                tried[key] = replace(tried[key], stopped=True)
                break
            more = next(running[key], None)
            if more is None:
                break
            tried[key] = more


def _least(tried: Sequence[Tried], limit: float) -> Tried:
    """See the module."""
    allowed = _allowed(tried, limit)
    least = min(t.score for t in allowed)
    as_good = [t for t in allowed if t.score <= TIE * least] or allowed
    return min(as_good, key=lambda t: (t.preset.noise_sd, t.score))


def _allowed(tried: Sequence[Tried], limit: float) -> list[Tried]:
    """Over the budget is worse than fewer right, and that is worse than any error."""
    within = [t for t in tried if t.within(limit)] or list(tried)
    most = max(t.right for t in within)
    return [t for t in within if t.right > most - SURE]


def _reason(chosen: Tried, tried: Sequence[Tried], limit: float) -> str:
    """Why this one."""
    name = f"noise {chosen.preset.noise_sd:g} mV a step, t_ref {chosen.preset.t_ref * 1e3:g} ms"
    if len(tried) == 1:
        return f"{name}: the only noise there was to try, and the t_ref whose f-I match fits best"
    over = sum(not t.within(limit) and not t.stopped for t in tried)
    said = f"; {over} of {len(tried)} stay above the budget" if over else ""
    stopped = sum(t.stopped for t in tried)
    said += f"; {stopped} stopped, too far behind" if stopped else ""
    allowed = _allowed(tried, limit)
    fewer = sum(t.within(limit) and not t.stopped and t not in allowed for t in tried)
    said += f"; {fewer} with clearly fewer calibration trials right" if fewer else ""
    least = min(allowed, key=lambda t: t.score)
    if least is chosen:
        return f"{name}: the least output error of {len(tried)} that ran, {chosen.score:.3f}{said}"
    return (
        f"{name}: output error {chosen.score:.3f}, within {TIE - 1:.0%} of the least of {len(tried)} that ran, "
        f"{least.score:.3f}, with less noise{said}"
    )


def smooth(preset: Preset, sd: float) -> Curve:
    """The preset's curve, of a drive that swings by sd mV."""
    return fi_curve(preset).smoothed(sd)


def quiet_offset(preset: Preset) -> float:
    """mV: a drive at which noise fires no spikes; v_reset where that is far enough below the threshold."""
    return min(preset.v_reset, preset.v_threshold - QUIET * noise_of_v(preset))
