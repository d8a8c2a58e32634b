"""Is a matrix another one, rounded? Weights of few bits lie on a grid, near the weights that they stand for."""

from __future__ import annotations

import math

import numpy as np

from spikeport.snn.neurons import Array

MOST_BITS = 16  # no chip here has wider weights, and floats lie on such a grid by chance
_ON = 1e-6  # how far from a multiple of the step a value may be, in steps
_CLIPPED = 0.1  # share of values beyond the end of a grid; a scaled matrix would be beyond it everywhere


def rounded_bits(a: Array, b: Array) -> int | None:
    """How many bits the values of `b` need, if `b` is `a` rounded to a grid; None if it is not. 0 where they are equal.

    On a grid: every value of b is a whole multiple of one step q (of the whole matrix, or of each row). Rounded:
    |b - a| < q, so that rounding to nearest, down and towards zero all count, but for the few values beyond the end of
    the grid, which are its end; and b has fewer different values than a. Bits: of a two's complement number that holds
    the multiples.
    """
    if a.shape != b.shape:
        return None
    if np.array_equal(a, b):
        return 0
    whole = _bits(a.ravel(), b.ravel())
    if whole is not None or a.ndim != 2:
        return whole
    rows = [_bits(x, y) for x, y in zip(a, b, strict=True)]
    return None if any(r is None for r in rows) else max(r for r in rows if r is not None)


def _bits(a: Array, b: Array) -> int | None:
    if np.array_equal(a, b):
        return 0
    values = np.unique(np.concatenate([b, [0.0]]))
    if not 2 <= values.size <= 2**MOST_BITS or np.unique(b).size >= np.unique(a).size:
        return None
    q = float(np.diff(values).min())
    multiples = b / q
    nearest = np.rint(multiples)
    low, high = float(nearest.min()), float(nearest.max())
    if high - low >= 2**MOST_BITS or np.abs(multiples - nearest).max() > _ON * max(1.0, np.abs(nearest).max()):
        return None
    clipped = ((nearest == high) & (a > b)) | ((nearest == low) & (a < b))
    near = np.abs(b - a) < q * (1 + _ON)
    if not (near | clipped).all() or (~near).mean() > _CLIPPED:
        return None
    largest = max(high, -low - 1)  # two's complement holds -2^(n-1) .. 2^(n-1) - 1
    return 1 + max(1, math.ceil(math.log2(largest + 1))) if largest >= 1 else 1
