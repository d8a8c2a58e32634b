"""Random numbers by counter: a number is a function of its key, never of who asked before.

    word(seed, stream, population, unit, trial, step) = Philox4x32-10(counter, key)[step mod 4]
    counter = (step div 4, unit, trial, stream * 2^16 + population),   key = the 64 bits of seed

so a result depends neither on batch size, threads or grid, nor on the machine: integers only. Different keys are
different counters of one bijection: no two of them share a word by construction, and none by a hash collision.
Source: Salmon, Moraes, Dror & Shaw, SC 2011 (Philox4x32-10, its constants and known answers).

A word becomes an almost normal integer: 20 coin flips, weighted 64, plus two dice of 64 sides,

    n = 64 popcount(word bits 0-19) + (word bits 20-25) + (word bits 26-31) - 703

symmetric about 0, standard deviation NORMAL_SD = 145.47, excess kurtosis -0.094, and bounded: |n| <= 703, 4.83 sd.
The cumulative distribution, read in the middle of its jumps, is within 0.0023 of the normal one everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeport.snn.compiling import cached, inlined
from spikeport.snn.errors import SpikeportError

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)  # Salmon et al. 2011, Philox4x32
WEYL = (0x9E3779B9, 0xBB67AE85)  # the same: key increments, golden ratio and sqrt(3) - 1
ROUNDS = 10
WORDS = 4  # words a counter gives
NORMAL_BOUND = 703  # (20 * 64 + 63 + 63) / 2
NORMAL_SD = float(np.sqrt(20 / 4 * 64**2 + 2 * (64**2 - 1) / 12))

# a stream per use, so that uses never share a number
STREAMS = {"membrane": 0, "v0": 1, "rate": 2, "x0": 3, "subject": 4}
LIMITS = {"seed": 2**64, "population": 2**16, "unit": 2**32, "trial": 2**32, "step": 2**34}

_M0, _M1 = (np.uint64(m) for m in MULTIPLIERS)
_W0, _W1 = (np.uint64(w) for w in WEYL)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_u32 = np.uint32

Words = NDArray[np.uint64]


@inlined
def philox4x32(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:  # pragma: no cover (compiled)
    """Ten rounds of Philox4x32; every argument and result a uint64 below 2^32, scalars or arrays."""
    for _ in range(ROUNDS):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0 = (p1 >> _32) ^ c1 ^ k0
        c1 = p1 & _LOW
        c2 = (p0 >> _32) ^ c3 ^ k1
        c3 = p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@inlined
def normal_integer(word: Any) -> Any:  # pragma: no cover (compiled)
    """The almost normal integer of a word, plus NORMAL_BOUND (so that it stays unsigned); uint32 in and out.

    Cast after each operation, because numba widens to 64 bits, and 32-bit lanes are twice as many.
    """
    x = _u32(word & _u32(0xFFFFF))
    x = _u32(x - _u32((x >> _u32(1)) & _u32(0x55555)))  # popcount: pairs, nibbles, bytes, all
    x = _u32(_u32(x & _u32(0x33333)) + _u32((x >> _u32(2)) & _u32(0x33333)))
    x = _u32(_u32(x & _u32(0x0F0F0F)) + _u32((x >> _u32(4)) & _u32(0x0F0F0F)))
    x = _u32((x + (x >> _u32(8)) + (x >> _u32(16))) & _u32(0xFF))
    return _u32(_u32(x << _u32(6)) + _u32((word >> _u32(20)) & _u32(63)) + _u32(word >> _u32(26)))


def check_key(**parts: int) -> None:
    """Refuse a part of a key (seed, population, unit, trial, step) outside its bits: it would wrap onto another's."""
    for name, value in parts.items():
        if not 0 <= value < LIMITS[name]:
            raise SpikeportError(f"noise key: {name} {value}, must be in [0, {LIMITS[name]})")


def words(seed: int, stream: str, population: int, units: ArrayLike, trials: ArrayLike, steps: ArrayLike) -> Words:
    """The words of a key, broadcast over integer arrays `units`, `trials` and `steps`; uint64 below 2^32."""
    unit, trial, step = (np.asarray(a).astype(np.uint64) for a in (units, trials, steps))
    for name, found in (("unit", unit), ("trial", trial), ("step", step)):
        if np.size(found):
            check_key(**{name: int(np.max(found))})
    check_key(seed=seed, population=population)
    c0, c1, c2 = np.broadcast_arrays(step >> np.uint64(2), unit, trial)
    c3 = np.full_like(c0, STREAMS[stream] << 16 | population)
    k0, k1 = np.uint64(seed) & _LOW, np.uint64(seed) >> _32
    with np.errstate(over="ignore"):  # products wrap by design
        four = np.stack(philox4x32.py_func(c0, c1, c2, c3, k0, k1))
    which = np.broadcast_to(step & np.uint64(3), c0.shape).astype(np.intp)
    return np.asarray(np.take_along_axis(four, which[None], axis=0)[0], dtype=np.uint64)


def normal_integers(
    seed: int, stream: str, population: int, units: ArrayLike, trials: ArrayLike, steps: ArrayLike
) -> NDArray[np.int64]:
    """Almost normal integers of mean 0 and standard deviation NORMAL_SD, |n| <= NORMAL_BOUND; see the module."""
    raw = normal_integer.py_func(words(seed, stream, population, units, trials, steps).astype(np.uint32))
    return np.asarray(raw, dtype=np.int64) - NORMAL_BOUND


def uniforms(
    seed: int, stream: str, population: int, units: ArrayLike, trials: ArrayLike, steps: ArrayLike
) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1): the word's upper 24 bits / 2^24, exact in float32 too."""
    return (words(seed, stream, population, units, trials, steps) >> np.uint64(8)).astype(np.float64) / 2**24


@cached
def fill_normal(out, n_steps, scratch, units, first, last, stream_population, trial, step0, seed):  # type: ignore[no-untyped-def] # pragma: no cover (compiled)
    """out[k, u] = normal_integers(...) of step0 + k, units[u], for k < n_steps and first <= u < last.

    The same numbers as normal_integers, many steps of a trial at once. out: (>= n_steps, n_units) float, scratch:
    (4, n_units) uint32, units: (n_units,) uint64.
    """
    k0, k1 = np.uint64(seed) & _LOW, np.uint64(seed) >> _32
    c2, c3 = np.uint64(trial), np.uint64(stream_population)
    first, last = np.uint64(first), np.uint64(last)
    for group in range(step0 // WORDS, (step0 + n_steps - 1) // WORDS + 1):
        c0 = np.uint64(group)
        for u in range(first, last):
            a, b, c, d = philox4x32(c0, units[u], c2, c3, k0, k1)
            scratch[0, u] = _u32(a)
            scratch[1, u] = _u32(b)
            scratch[2, u] = _u32(c)
            scratch[3, u] = _u32(d)
        for j in range(WORDS):
            k = group * WORDS + j - step0
            if 0 <= k < n_steps:
                for u in range(first, last):
                    out[k, u] = np.int32(normal_integer(scratch[j, u])) - np.int32(NORMAL_BOUND)
