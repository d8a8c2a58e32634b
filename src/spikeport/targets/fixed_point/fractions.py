"""Fixed-point fractions of SpiNNaker: s16.15 numbers in 32 bits, and unsigned fractions u0.32, as plain NumPy.

    s16.15   an int32 n stands for n / 2^15: -65536 to 65535.99997, a step of 3.05e-5
    u0.32    a uint32 n stands for n / 2^32: 0 to 1 - 2.3e-10; decays and other factors below 1

Numbers are int64 arrays that hold the raw n, so that no product of two overflows before it is rounded.

Source: ISO/IEC TR 18037 (`accum`, `unsigned long fract`), as sPyNNaker's C code uses them (neural_modelling,
neuron/decay.h: decay_s1615 is the product's upper half, rounded down). Which of the two products of s16.15 numbers its
compiler takes is for the target that uses them to say and to test.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeport.targets.fixed_point.integers import Ints, saturate

S1615_BITS, U032_BITS = 15, 32
S1615_LOW, S1615_HIGH = -(2**31), 2**31 - 1
U032_HIGH = 2**32 - 1


def to_s1615(value: ArrayLike) -> Ints:
    """The nearest s16.15 number, half to even, and the nearest end where it does not fit. NaN is refused."""
    raw = np.rint(np.ldexp(_finite(value), S1615_BITS))
    return np.asarray(np.clip(raw, S1615_LOW, S1615_HIGH), dtype=np.int64)


def from_s1615(raw: ArrayLike) -> NDArray[np.float64]:
    """What raw s16.15 numbers stand for."""
    return np.asarray(np.ldexp(np.asarray(raw, dtype=np.float64), -S1615_BITS))


def to_u032(value: ArrayLike) -> Ints:
    """The nearest u0.32 fraction; 1 and more becomes the largest, below 0 becomes 0."""
    raw = np.rint(np.ldexp(_finite(value), U032_BITS))
    return np.asarray(np.clip(raw, 0, U032_HIGH), dtype=np.int64)


def from_u032(raw: ArrayLike) -> NDArray[np.float64]:
    """What raw u0.32 fractions stand for."""
    return np.asarray(np.ldexp(np.asarray(raw, dtype=np.float64), -U032_BITS))


def multiply_u032(x: ArrayLike, fraction: ArrayLike) -> Ints:
    """(x fraction) >> 32, rounded down: an s16.15 number times a u0.32 fraction."""
    return np.asarray((np.asarray(x, dtype=np.int64) * np.asarray(fraction, dtype=np.int64)) >> U032_BITS)


def multiply_s1615(x: ArrayLike, y: ArrayLike) -> Ints:
    """(x y) >> 15, rounded down and saturated: the product of two s16.15 numbers, as a truncating `accum` gives it."""
    product = np.asarray(x, dtype=np.int64) * np.asarray(y, dtype=np.int64)
    return saturate(product >> S1615_BITS, S1615_LOW, S1615_HIGH)


def multiply_s1615_nearest(x: ArrayLike, y: ArrayLike) -> Ints:
    """(x y + 2^14) >> 15, saturated: the product rounded to nearest, half up."""
    product = np.asarray(x, dtype=np.int64) * np.asarray(y, dtype=np.int64)
    return saturate((product + (1 << (S1615_BITS - 1))) >> S1615_BITS, S1615_LOW, S1615_HIGH)


def _finite(value: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(value, dtype=np.float64)
    if np.isnan(found).any():
        raise ValueError(f"fixed point: {int(np.isnan(found).sum())} values are NaN, must be numbers")
    return found
