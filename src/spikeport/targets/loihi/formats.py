"""How a population's numbers become mantissas: one scale, found for the least error.

The threshold mantissa vth sets the size of v's unit: v = 1 (its threshold) is vth 2^6, and weights and biases move with
it. Synapses whose sources have one sign share a format (exponent, sign mode) of 8 bits and no sign; sources with both
signs get 7 bits and one. The search goes over vth in the highest octave that leaves room (`caps`), gives each format
the smallest exponent that holds its largest weight, and takes the vth with the least squared error of the effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.spiking import Uniform
from spikeport.targets.loihi.bounds import Bounds
from spikeport.targets.loihi.chip import EXCITATORY, INHIBITORY, MIXED, grain
from spikeport.targets.loihi.drive import LARGEST_BIAS
from spikeport.targets.loihi.limits import (
    ARRIVALS_MAX,
    STATE_SHIFT,
    THRESHOLD_MAX,
    V_MAX,
    WEIGHT_BITS,
    WEIGHT_EXPONENT_MAX,
)
from spikeport.targets.loihi.steps import Wanted

ROOM = 4.0  # v may go so many thresholds below its reset before it saturates, unless less is enough
HELD_ROOM = 4.0  # held values up to this size find room in the bias; beyond what fits, a run is refused
CARE = 1.5  # as many times the least squared error for a scale at which no state can overflow
MARGIN = 1.01  # rounded weights may add up to a little more than the real ones
CANDIDATES = 64  # thresholds tried in an octave, besides those that fill a format exactly


@dataclass(frozen=True, kw_only=True)
class Format:
    """The synapses of one projection with one sign mode. jump: (n_target, n_source), 0 where it is another format's;
    largest: of its sizes; highest: the largest exponent that it may have."""

    projection: int
    mode: str
    jump: Array
    largest: float
    bits: int
    highest: int = WEIGHT_EXPONENT_MAX

    @property
    def most(self) -> int:
        """The largest mantissa: 255, or the last multiple of the grain."""
        return (1 << WEIGHT_BITS) - self.grain

    @property
    def grain(self) -> int:
        """From one mantissa to the next."""
        return grain(self.mode, self.bits)

    def exponents(self, vth: Array) -> Array:
        """For each threshold the smallest exponent that holds the largest weight; above `highest` it does not fit."""
        return np.asarray(np.maximum(0.0, np.ceil(np.log2(self.largest * vth / self.most) - 1e-12)))

    def exponent(self, vth: int) -> int:
        return int(self.exponents(np.array([vth], dtype=np.float64))[0])

    def mantissa(self, vth: int) -> NDArray[np.int16]:
        """The nearest mantissas at this threshold."""
        m = np.rint(self.jump * (vth / (self.grain * 2.0 ** self.exponent(vth)))) * self.grain
        return np.clip(m, -self.most, self.most).astype(np.int16)

    def errors(self, vth: Array, weigh: Array) -> Array:
        """For each threshold the sum of squared errors of the weights, each row times `weigh`."""
        rows, columns = np.nonzero(self.jump)
        jump, weigh = self.jump[rows, columns], weigh[rows]
        units = self.grain * 2.0 ** self.exponents(vth) / vth
        return np.array([np.sum(((np.rint(jump / unit) * unit - jump) * weigh) ** 2) for unit in units])


def formats(w: Wanted, bits: int = WEIGHT_BITS, chain: bool = False) -> tuple[Format, ...]:
    """The synapses of a population by projection and sign of their source; chain: by projection alone, with exponent 0
    (netx.py)."""
    found = []
    for index, jump in w.jumps.items():
        if chain:
            mode, largest = (EXCITATORY if (jump >= 0).all() else MIXED), float(np.abs(jump).max(initial=0))
            if largest:
                found.append(Format(projection=index, mode=mode, jump=jump, largest=largest, bits=bits, highest=0))
            continue
        up, down = (jump > 0).any(axis=0), (jump < 0).any(axis=0)
        for mode, columns in ((EXCITATORY, up & ~down), (INHIBITORY, down & ~up), (MIXED, up & down)):
            if columns.any():
                mine = np.where(columns, jump, 0.0)
                found.append(
                    Format(projection=index, mode=mode, jump=mine, largest=float(np.abs(mine).max()), bits=bits)
                )
    return tuple(found)


def caps(w: Wanted, b: Bounds, parts: Sequence[Format]) -> dict[str, float]:
    """Why the threshold cannot be larger -> the largest (real) mantissa: vth 2^6 of the threshold is v's unit."""
    unit = 1 << STATE_SHIFT
    most = max((p.largest / p.most / 2.0**p.highest for p in parts), default=0.0)
    drive = np.abs(w.drive) + given(w)
    return {
        "threshold": THRESHOLD_MAX,
        "weight": 1 / most if most else np.inf,
        "bias": _over(LARGEST_BIAS / unit, float((drive * w.fresh_v).max())),
        "arrivals": _over(ARRIVALS_MAX / unit, b.arrivals * MARGIN),
        "room": V_MAX / unit / max(1.0, min(ROOM, b.below * MARGIN), _start(w)),
    }


def given(w: Wanted) -> Array:
    """(n,): how far held values for which there is room, and constants through synapses, can move v."""
    straight = HELD_ROOM * sum((np.abs(h).sum(axis=1) for h in w.held.values()), np.zeros(w.step.n))
    return np.asarray(straight + sum((h.most(HELD_ROOM) for h in w.hosted), np.zeros(w.step.n)))


def threshold(w: Wanted, b: Bounds, parts: Sequence[Format]) -> int:
    """The mantissa of the threshold with the least error; below 1 the population does not fit (problems.py)."""
    cap = int(min(min(caps(w, b, parts).values()), THRESHOLD_MAX))
    best, error = _search(w, parts, cap)
    top = V_MAX / (1 << STATE_SHIFT) / MARGIN
    # where no run can take u, or v, out of its bits, that is worth some error
    for worst in (max(b.current, b.below), b.current):
        safe = int(min(cap, _over(top, worst)))
        if 1 <= safe < cap:
            careful, its = _search(w, parts, safe)
            if its <= CARE * error:
                return careful
    return best


def _search(w: Wanted, parts: Sequence[Format], cap: int) -> tuple[int, float]:
    if not parts or cap < 2:
        return cap, 0.0
    tried = {int(t) for t in np.geomspace(cap / 2, cap, CANDIDATES)}
    for p in parts:
        full = p.most / p.largest  # there the largest weight is the largest mantissa, exponent 0
        tried.add(int(full * 2.0 ** np.floor(np.log2(cap / full))))
    vth = np.array(sorted(t for t in tried if cap / 2.1 < t <= cap), dtype=np.float64)
    weigh = 1 / (w.fresh_u * w.fresh_v)  # the error of an effect is what counts
    errors = sum((p.errors(vth, weigh) for p in parts), np.zeros(vth.size))
    best = int(vth.size - 1 - np.argmin(errors[::-1]))  # of equals, the largest threshold: the finest states
    return int(vth[best]), float(errors[best])


def _over(limit: float, value: float) -> float:
    return limit / value if value > 0 else np.inf


def _start(w: Wanted) -> float:
    """The largest |v0|, in thresholds."""
    v0 = w.population.v0
    ends = np.array([v0.low, v0.high]) if isinstance(v0, Uniform) else per_unit(v0, w.step.n)
    return float(np.abs(ends).max())
