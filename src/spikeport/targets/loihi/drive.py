"""What the host does in a run: it sends input spikes, and it writes biases, which is how held values come in.

    b = bias + w_held u[k]            real, in v's units per step
    mantissa 2^exponent               the nearest with |mantissa| <= 4095 and the smallest exponent, 0 .. 7

A host may write the bias registers between two steps, so a held input that goes straight to the membrane is a bias that
changes with its samples; the rounding is to 12 bits of each value's own size.

One bias is special: the one at which v settles at the threshold. Under it a unit is silent by itself, above it the unit
spikes for ever, and networks whose resting drive equals the threshold (Kim's) stand exactly there. So rounding never
moves a bias across it: v stays at or under its threshold 2^6 vth =: t if  shift_to_zero(t (4096 - dv), 12) + b <= t.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from spikeport.snn.neurons import Array
from spikeport.targets.fixed_point.integers import Ints, decay
from spikeport.targets.loihi.chip import Compartments
from spikeport.targets.loihi.limits import BIAS_EXPONENT_MAX, BIAS_MAX, DECAY_BITS

LARGEST_BIAS = BIAS_MAX << BIAS_EXPONENT_MAX


class Bias(NamedTuple):
    """mantissa 2^exponent, arrays of one shape."""

    mantissa: Ints
    exponent: Ints

    @property
    def value(self) -> Ints:
        return self.mantissa << self.exponent

    @property
    def step(self) -> Ints:
        """To the next larger one."""
        return np.left_shift(1, self.exponent)


def nearest_bias(wanted: ArrayLike) -> Bias:
    """The nearest bias that the chip has; beyond LARGEST_BIAS the largest (callers refuse that: `fits`)."""
    b: Array = np.asarray(wanted, dtype=np.float64)
    _, power = np.frexp(np.abs(b) / (BIAS_MAX + 0.5))  # |b| < (BIAS_MAX + 1/2) 2^power
    exponent = np.clip(power, 0, BIAS_EXPONENT_MAX).astype(np.int64)
    mantissa = np.rint(np.ldexp(b, -exponent)).astype(np.int64)
    up = (np.abs(mantissa) > BIAS_MAX) & (exponent < BIAS_EXPONENT_MAX)  # the division above rounds
    exponent = exponent + up
    mantissa = np.where(up, np.rint(np.ldexp(b, -exponent)).astype(np.int64), mantissa)
    return Bias(np.clip(mantissa, -BIAS_MAX, BIAS_MAX), exponent)


def edge(c: Compartments) -> Ints:
    """(n,): the largest bias with which v, from at or under the threshold, never goes above it by itself."""
    return c.scale - decay(np.full(c.n, c.scale), (1 << DECAY_BITS) - c.dv, DECAY_BITS)


def round_bias(c: Compartments, wanted: ArrayLike) -> Bias:
    """The nearest bias on its side of `edge`; wanted: (..., n)."""
    b: Array = np.asarray(wanted, dtype=np.float64)
    found, limit = nearest_bias(b), edge(c)
    silent = b * (1 << DECAY_BITS) <= float(c.scale) * c.dv  # v settles at b / (1 - A)
    wrong = (found.value > limit) & silent
    found = Bias(found.mantissa - wrong, found.exponent)
    for _ in range(2):  # with exponent 0 the cut of v can take two
        wrong = (found.value <= limit) & ~silent & (found.mantissa < BIAS_MAX)
        found = Bias(found.mantissa + wrong, found.exponent)
    return found


def fits(wanted: ArrayLike) -> bool:
    """Can every one of these be a bias?"""
    return bool(np.all(np.rint(np.ldexp(np.abs(np.asarray(wanted, dtype=np.float64)), -BIAS_EXPONENT_MAX)) <= BIAS_MAX))
