"""The constants of a step as sPyNNaker computes them on the chip, from parameters in s16.15: Python integers.

    divide(a, b)          floor(2^15 a / b)                  kdivk of common/maths-util.h
    exponential(n)        e^(n / 2^15) 2^32, n <= 0          __expi64 of stdfix-exp.c: table, table, quadratic
    keep_v(ts, tau)       floor(exponential / 2^17)          expk: exp_TC of models/neuron_model_lif_impl.h, s16.15
    keep_i(ts, tau)       exponential                        expulr: decay of synapse_types/exp_synapse_utils.h, u0.32
    first(ts, tau)        floor(tau/ts (2^32 - 1 - keep) / 2^15)    its init_input: the mean of a step of the decay
    ring_shift(w)         ceil(log2 w), at least 0, and one more where 2^shift <= w

Sources: the C files of sPyNNaker and spinn_common as published (2019 to 2023); the chip runs them once, when a run
starts. ring_shift: sPyNNaker 1!7.4.1, population_vertex.py (get_ring_buffer_shifts). A test compares `exponential` with
e^x, which it meets within 1e-6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from spikeport.snn.neurons import Array
from spikeport.targets.fixed_point.fractions import S1615_BITS
from spikeport.targets.fixed_point.integers import Ints

ONE = 1 << S1615_BITS
WHOLE = 1 << 32
MASK = WHOLE - 1
GONE = -340695  # stdfix-exp.c: below this, e^x is 0
SERIES = (5294, 4293434720, 2081624032)  # stdfix-exp.c: 1 - e^(-y) ~ s0 + y (s1 - s2 y), in u0.32
_WHOLES = tuple(round(math.exp(-z) * WHOLE) for z in range(14))
_SIXTEENTHS = tuple(round(-math.expm1(-i / 16) * WHOLE) for i in range(16))


def divide(a: int, b: int) -> int:
    """floor(2^15 a / b), for a >= 0 and b > 0."""
    return (a << S1615_BITS) // b


def _scale(x: int, y: int) -> int:
    """x y / 2^32; its lower half is rounded up from 2^31 - 1 on (scale64 and round64 of spinn_common's utils.h)."""
    product = (x & MASK) * y
    return (product >> 32) + ((product & MASK) >= 2**31 - 1) + (x >> 32) * y


def exponential(n: int) -> int:
    """e^(n / 2^15) as a multiple of 2^-32, n <= 0."""
    if n < GONE:
        return 0
    whole, rest = divmod(-n, ONE)
    found = _WHOLES[whole]
    if rest:
        y = (rest & 0x7FF) << 17
        found -= _scale(found, _SIXTEENTHS[rest >> 11])
        series = (((SERIES[1] - ((SERIES[2] * y) >> 32)) * y) >> 32) + SERIES[0]
        found -= _scale(found, series)
    return found


def keep_v(ts: int, tau: int) -> int:
    """s16.15: what is left of v's distance to its rest after a step; ts, tau: s16.15, ms."""
    return exponential(-divide(ts, tau)) >> 17


def keep_i(ts: int, tau: int) -> int:
    """u0.32: what is left of a synaptic current after a step. (e^0 does not fit, and wraps to 0.)"""
    return exponential(-divide(ts, tau)) & MASK


def first(ts: int, tau: int) -> int:
    """u0.32: how much of its weight a spike adds to the current."""
    return ((divide(tau, ts) * (MASK - keep_i(ts, tau))) >> S1615_BITS) & MASK


def nearest_tau(ts: int, keep: float, decay: Callable[[int, int], int], whole: int) -> int:
    """The tau (s16.15, ms) whose `decay` / whole is nearest to `keep` per step; dt/11 where nothing is to be kept.

    Every tau with one quotient dt/tau decays alike. The middle one is taken: at the slow end of a long tau (800 steps
    and more), `first` comes out above 1, since 1 - keep has an error of 1e-6, and wraps to nearly 0.
    """
    if keep <= 0:
        return max(ts // 11, 1)  # e^(-11) is 0 on the chip
    wished = -math.log(keep) * ONE
    steps = [max(1, math.floor(wished) + i) for i in (-1, 0, 1, 2)]
    taus = [max(1, (ts << (S1615_BITS + 1)) // (2 * n + 1)) for n in steps]
    taus += [max(1, round(ts * ONE / wished))] if wished > 1000 else []  # of a short tau the middle may be no number
    return min(taus, key=lambda tau: abs(decay(ts, tau) / whole - keep))


def nearest_taus(ts: int, keep: Array, decay: Callable[[int, int], int], whole: int) -> Ints:
    """nearest_tau of every unit."""
    known = {k: nearest_tau(ts, k, decay, whole) for k in set(keep.tolist())}
    return np.array([known[k] for k in keep.tolist()], dtype=np.int64)


def each(function: Callable[[int, int], int], ts: int, taus: Iterable[int]) -> Ints:
    """function(ts, tau) of every unit."""
    return np.array([function(ts, int(tau)) for tau in taus], dtype=np.int64)


def ring_shift(largest: float) -> int:
    """How far sPyNNaker shifts a ring buffer to the left, for the largest sum of weights that it expects (nA)."""
    shift = math.ceil(max(0.0, math.log2(largest))) if largest > 0 else 0
    return shift + 1 if 2**shift <= largest else shift


def expected(shift: int) -> float:
    """A largest sum for which ring_shift is `shift`: what the script tells sPyNNaker."""
    return 0.75 * 2.0**shift
