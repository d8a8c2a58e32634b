"""Units that are tuned to the velocity that the subject intends, and fire at random around that.

    rate_i = max(0, baseline_i + depth_i p_i . v / v_full),    counts in a period T ~ Poisson(rate_i T)

p_i: preferred direction (unit vector), v: intended velocity (cm/s). Along a direction, at full speed, this is the
cosine of Georgopoulos, Kalaska, Caminiti & Massey, J. Neurosci. 2(11) 1982, D = b0 + c1 cos(theta - theta0); here its
depth grows with speed. Simulated units in a closed loop: Cunningham et al., J. Neurophysiol. 105, 2011; Lagang &
Srinivasan, Neural Comput. 25, 2013.

A count is a function of (seed, tick, unit): the inverse of the Poisson distribution at a 32-bit uniform number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeport.loop.packets import Array
from spikeport.loop.subject.centre_out import COUNTS, TUNING
from spikeport.snn import noise
from spikeport.snn.errors import SpikeportError

MOST = 20.0  # expected counts in a period: beyond it a period is too long to be one count
_BLOCK = 64  # ticks of random numbers drawn at once; a multiple of noise.WORDS


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """(n,) each: preferred direction (rad), baseline and depth (spikes/s). full: cm/s, the speed of the full depth."""

    direction: Array
    baseline: Array
    depth: Array
    full: float

    def __post_init__(self) -> None:
        problems = [
            f"{name}: shape {np.shape(getattr(self, name))}, must be one finite number per unit"
            for name in ("direction", "baseline", "depth")
            if np.shape(getattr(self, name)) != (len(self.direction),) or not np.isfinite(getattr(self, name)).all()
        ]
        if not problems and (self.baseline < 0).any():
            problems.append("baseline: must be 0 spikes/s or more")
        if not (np.isfinite(self.full) and self.full > 0):
            problems.append(f"full: {self.full} cm/s, must be positive")
        if problems:
            raise SpikeportError("tuning: no unit fires like that", problems)

    @property
    def n(self) -> int:
        return len(self.direction)

    @classmethod
    def drawn(cls, n: int, *, seed: int, full: float, baseline: float = 10.0) -> Tuning:
        """n units: directions all round, one at random in each n-th of the circle; baselines of 0.5 to 1.5 times
        `baseline`; depths of 0.5 to 1 times the unit's own, so that no rate has to be cut at 0 up to full speed.

        All choices of this simulation; the directions all round are as found in 1982.
        """
        units = np.arange(n)
        place, level, share = (noise.uniforms(seed, "subject", TUNING, units, 0, k) for k in range(3))
        base = baseline * (0.5 + level)
        return cls(direction=2 * np.pi * (units + place) / n, baseline=base, depth=base * (0.5 + share / 2), full=full)

    def rates(self, velocity: Array) -> Array:
        """(n,) spikes/s at an intended velocity, (2,) cm/s."""
        along = np.cos(self.direction) * velocity[0] + np.sin(self.direction) * velocity[1]
        return np.asarray(np.maximum(0.0, self.baseline + self.depth * along / self.full))


class PoissonEncoder:
    """Counts per tick of tuned units; deterministic: the same (seed, tick) and velocity give the same counts."""

    def __init__(self, tuning: Tuning, *, period: float, seed: int) -> None:
        self.tuning, self.period, self.seed = tuning, period, seed
        self._units = np.arange(tuning.n)
        self._x, self._y = (period * tuning.depth / tuning.full * wave(tuning.direction) for wave in (np.cos, np.sin))
        self._base = period * tuning.baseline
        self._first = -1
        self._drawn: Array = np.empty((0, tuning.n))
        most = float((self._base + period * np.abs(tuning.depth)).max(initial=0.0))
        noise.check_key(seed=seed)
        if most > MOST:
            raise SpikeportError(
                f"encoder: up to {most:.3g} counts expected in {period:g} s, limit {MOST:g}", hint="a shorter period"
            )

    def counts(self, tick: int, velocity: Array) -> NDArray[np.int64]:
        """(n,) counts of the period `tick` at an intended velocity, (2,) cm/s."""
        expected = np.maximum(0.0, self._base + self._x * velocity[0] + self._y * velocity[1])
        if not expected.max(initial=0.0) <= MOST:
            raise SpikeportError(
                f"encoder: {expected.max():.3g} counts expected in tick {tick}, limit {MOST:g}",
                [f"intended velocity {velocity} cm/s, the tuning is for up to {self.tuning.full:g} cm/s"],
            )
        return poisson(expected, self._uniforms(tick))

    def _uniforms(self, tick: int) -> Array:
        first = tick - tick % _BLOCK
        if first != self._first:
            steps = np.arange(first, first + _BLOCK)[:, None]
            words = noise.words(self.seed, "subject", COUNTS, self._units[None, :], 0, steps)
            self._first, self._drawn = first, (words.astype(np.float64) + 0.5) / 2**32
        return np.asarray(self._drawn[tick - first])


def poisson(expected: Array, uniform: Array) -> NDArray[np.int64]:
    """The smallest k with P(K <= k) >= uniform, K ~ Poisson(expected), uniform in (0, 1); elementwise."""
    probability = np.exp(-expected)
    below = probability.copy()
    found = np.zeros(expected.shape, dtype=np.int64)
    left = uniform > below
    k = 0
    while left.any() and k < 200:  # P(K > 200) is below 2^-32 for every expected value up to MOST
        k += 1
        probability = probability * expected / k
        below = below + probability
        found += left
        left = uniform > below
    return found
