"""integers.py and fractions.py compiled, one number at a time, for the loops of an emulation.

The same names and the same formulas; a test compares them on random numbers and at every edge. All arguments and
results are int64.
"""

from __future__ import annotations

from typing import Any

from spikeport.snn.compiling import inlined
from spikeport.targets.fixed_point.fractions import S1615_BITS, S1615_HIGH, S1615_LOW, U032_BITS

_HALF_S1615 = 1 << (S1615_BITS - 1)


@inlined
def shift_to_zero(x: Any, k: Any) -> Any:  # pragma: no cover (compiled)
    return x >> k if x >= 0 else -((-x) >> k)


@inlined
def shift(x: Any, k: Any) -> Any:  # pragma: no cover (compiled)
    return x << k if k >= 0 else x >> -k


@inlined
def decay(x: Any, factor: Any, bits: Any) -> Any:  # pragma: no cover (compiled)
    product = x * factor
    return product >> bits if product >= 0 else -((-product) >> bits)


@inlined
def saturate(x: Any, low: Any, high: Any) -> Any:  # pragma: no cover (compiled)
    return low if x < low else (high if x > high else x)


@inlined
def wrap(x: Any, bits: Any) -> Any:  # pragma: no cover (compiled)
    # (& instead of %: the same for a power of two, and no division)
    half, whole = 1 << (bits - 1), 1 << bits
    return half - ((half - x) & (whole - 1))


@inlined
def wrap_two(x: Any, bits: Any) -> Any:  # pragma: no cover (compiled)
    half, whole = 1 << (bits - 1), 1 << bits
    return ((x + half) & (whole - 1)) - half


@inlined
def bit_shift_decay(x: Any, k: Any) -> Any:  # pragma: no cover (compiled)
    taken = x >> k
    return taken if taken != 0 else (1 if x > 0 else (-1 if x < 0 else 0))


@inlined
def multiply_u032(x: Any, fraction: Any) -> Any:  # pragma: no cover (compiled)
    return (x * fraction) >> U032_BITS


@inlined
def multiply_s1615(x: Any, y: Any) -> Any:  # pragma: no cover (compiled)
    found = (x * y) >> S1615_BITS
    return S1615_LOW if found < S1615_LOW else (S1615_HIGH if found > S1615_HIGH else found)


@inlined
def multiply_s1615_nearest(x: Any, y: Any) -> Any:  # pragma: no cover (compiled)
    found = (x * y + _HALF_S1615) >> S1615_BITS
    return S1615_LOW if found < S1615_LOW else (S1615_HIGH if found > S1615_HIGH else found)
