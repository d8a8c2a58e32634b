"""Integers as chips compute with them: NumPy that reads like the formulas; compiled.py has the same for numba.

    shift_to_zero    sign(x) (|x| >> k)                          what a division by 2^k is on Loihi: toward zero
    shift            x << k, or x >> -k rounded down             mantissa and exponent
    decay            shift_to_zero(x f, bits)                    x times the fraction f / 2^bits
    saturate         to [low, high]                              what does not fit stays at the end
    wrap             x - 2^bits j, in (-2^(bits-1), 2^(bits-1)]  what does not fit comes in again at the other end
    bit_shift_decay  x >> k, and at least 1 away from 0          Xylo: never sticks

All take and give int64 arrays (or Python integers) and never round in floating point. A result that does not fit into
64 bits is the caller's mistake; no chip here has more than 32.

Sources. Loihi: lava-nc 0.10, lava/proc/lif/models.py, the model tagged bit_accurate_loihi, compared bit for bit with a
recorded layer (tests/targets/test_loihi_truth.py); nengo-loihi 1.1, builder/discretize.py (decay_int); Michaelis, Lehr,
Oed & Tetzlaff, Front. Neuroinform. 16:1015624 (2022), whose emulator gives the same. Xylo: xylosim 0.1.3, version 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]


def shift_to_zero(x: ArrayLike, k: ArrayLike) -> Ints:
    """sign(x) (|x| >> k): x / 2^k rounded toward zero, k >= 0. (Not x >> k, which rounds -1 / 2 to -1.)"""
    x = np.asarray(x, dtype=np.int64)
    return np.asarray(np.sign(x) * (np.abs(x) >> np.asarray(k, dtype=np.int64)))


def shift(x: ArrayLike, k: ArrayLike) -> Ints:
    """x 2^k: x << k for k >= 0, x >> -k (rounded down) for k < 0."""
    x, k = np.asarray(x, dtype=np.int64), np.asarray(k, dtype=np.int64)
    return np.asarray(np.where(k >= 0, x << np.maximum(k, 0), x >> np.maximum(-k, 0)))


def decay(x: ArrayLike, factor: ArrayLike, bits: int) -> Ints:
    """shift_to_zero(x factor, bits): x times factor / 2^bits, toward zero; |x factor| < 2^63."""
    return shift_to_zero(np.asarray(x, dtype=np.int64) * np.asarray(factor, dtype=np.int64), bits)


def saturate(x: ArrayLike, low: int, high: int) -> Ints:
    """min(max(x, low), high)."""
    return np.asarray(np.clip(np.asarray(x, dtype=np.int64), low, high))


def wrap(x: ArrayLike, bits: int) -> Ints:
    """The one of x + 2^bits j, j whole, that lies in (-2^(bits-1), 2^(bits-1)].

    This is Lava's side of the edge; two's complement has -2^(bits-1) where this has 2^(bits-1).
    """
    half, whole = 1 << (bits - 1), 1 << bits
    return np.asarray(half - (half - np.asarray(x, dtype=np.int64)) % whole)


def wrap_two(x: ArrayLike, bits: int) -> Ints:
    """Two's complement of `bits` bits: the one of x + 2^bits j that lies in [-2^(bits-1), 2^(bits-1))."""
    half, whole = 1 << (bits - 1), 1 << bits
    return np.asarray((np.asarray(x, dtype=np.int64) + half) % whole - half)


def bit_shift_decay(x: ArrayLike, k: ArrayLike) -> Ints:
    """What Xylo takes from a state in a step: x >> k rounded down, or sign(x) where that is 0, so that none sticks."""
    x = np.asarray(x, dtype=np.int64)
    taken = x >> np.asarray(k, dtype=np.int64)
    return np.asarray(np.where(taken == 0, np.sign(x), taken))
