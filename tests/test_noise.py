"""The counter noise: its generator against the published answers, its numbers against their stated law."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from spikeport.snn import noise
from spikeport.snn.errors import SpikeportError

U32, U64 = 2**32 - 1, 2**64 - 1

KNOWN_ANSWERS = {  # counter, key, result: Random123, examples/kat_vectors, "philox 4x32 10"
    "zeros": ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    "ones": ((U32,) * 4, (U32,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    "digits of pi": (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
}


def philox_in_plain_integers(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Philox4x32-10 as in Salmon et al. 2011, section 3.3: S-box by multiplication, permutation, Weyl keys."""
    x, k = list(counter), list(key)
    assert len(x) == 4
    assert len(k) == 2
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * x[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * x[2], 2**32)
        x = [high1 ^ x[1] ^ k[0], low1, high0 ^ x[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return tuple(x)


def word_in_plain_integers(seed: int, stream: str, population: int, unit: int, trial: int, step: int) -> int:
    counter = (step // 4, unit, trial, noise.STREAMS[stream] * 2**16 + population)
    return philox_in_plain_integers(counter, (seed % 2**32, seed // 2**32))[step % 4]


@pytest.mark.parametrize("case", KNOWN_ANSWERS)
def test_philox_gives_the_published_known_answers(case: str) -> None:
    counter, key, expected = KNOWN_ANSWERS[case]
    as_words = [np.array([c], dtype=np.uint64) for c in (*counter, *key)]
    with np.errstate(over="ignore"):  # products wrap by design
        found = tuple(int(w[0]) for w in noise.philox4x32.py_func(*as_words))
    assert found == expected
    assert philox_in_plain_integers(counter, key) == expected


PARTS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, U64),
        "stream": st.sampled_from(sorted(noise.STREAMS)),
        "population": st.integers(0, 2**16 - 1),
        "unit": st.integers(0, U32),
        "trial": st.integers(0, U32),
        "step": st.integers(0, 2**34 - 1),
    }
)


@given(PARTS)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_word_is_the_philox_of_its_key(key: dict[str, Any]) -> None:
    found = noise.words(key["seed"], key["stream"], key["population"], key["unit"], key["trial"], key["step"])
    assert int(found) == word_in_plain_integers(**key)


@given(PARTS)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_normal_integer_is_coins_and_two_dice(key: dict[str, Any]) -> None:
    word = word_in_plain_integers(**key)
    expected = 64 * (word % 2**20).bit_count() + (word >> 20) % 64 + (word >> 26) - 703
    arguments = (key["seed"], key["stream"], key["population"], key["unit"], key["trial"], key["step"])
    assert int(noise.normal_integers(*arguments)) == expected
    assert float(noise.uniforms(*arguments)) == (word >> 8) / 2**24


@given(
    key=PARTS,
    n_steps=st.integers(0, 11),
    n_units=st.integers(1, 9),
    cut=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    dtype=st.sampled_from([np.float64, np.float32]),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_filling_many_steps_gives_the_numbers_of_their_keys(
    key: dict[str, Any], n_steps: int, n_units: int, cut: tuple[int, int], dtype: type
) -> None:
    first, last = sorted(min(c, n_units) for c in cut)
    units = (key["unit"] + np.arange(n_units, dtype=np.uint64) * np.uint64(77)) % np.uint64(2**32)
    step0 = min(key["step"], 2**34 - 12)
    out = np.full((n_steps + 2, n_units), 9999, dtype=dtype)
    stream_population = noise.STREAMS[key["stream"]] << 16 | key["population"]
    scratch = np.zeros((noise.WORDS, n_units), dtype=np.uint32)
    seed = np.uint64(key["seed"])
    noise.fill_normal(out, n_steps, scratch, units, first, last, stream_population, key["trial"], step0, seed)
    steps = step0 + np.arange(n_steps)[:, None]
    expected = noise.normal_integers(key["seed"], key["stream"], key["population"], units, key["trial"], steps)
    np.testing.assert_array_equal(out[:n_steps, first:last], expected[:, first:last])
    untouched = np.ones(out.shape, dtype=bool)
    untouched[:n_steps, first:last] = False
    assert (out[untouched] == 9999).all()


# The stated law of the normal integer, by convolution: no sample, no tolerance but rounding.


def exact_distribution() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Values and probabilities of 64 (coins) + die + die - 703."""
    coins = np.zeros(20 * 64 + 1)
    coins[::64] = [math.comb(20, heads) / 2**20 for heads in range(21)]
    die = np.full(64, 1 / 64)
    p = np.convolve(np.convolve(coins, die), die)
    assert p.sum() == pytest.approx(1, abs=1e-12)
    return np.arange(p.size) - 703, p


def test_the_normal_integer_has_the_stated_moments() -> None:
    n, p = exact_distribution()
    sd = np.sqrt((p * n**2).sum())
    np.testing.assert_allclose(p, p[::-1], atol=1e-18)  # symmetric: every odd moment is 0
    assert sd == pytest.approx(noise.NORMAL_SD, rel=1e-12)
    assert (p * n.astype(float) ** 4).sum() / sd**4 - 3 == pytest.approx(-0.094, abs=5e-4)
    assert n[p > 0].max() == noise.NORMAL_BOUND
    assert pytest.approx(4.83, abs=5e-3) == noise.NORMAL_BOUND / noise.NORMAL_SD


def test_the_normal_integer_is_distributed_as_the_normal_to_the_stated_bound() -> None:
    n, p = exact_distribution()
    middle = np.cumsum(p) - p / 2  # of each jump: the integer stands for its unit interval
    assert np.abs(middle - norm.cdf(n / noise.NORMAL_SD)).max() < 0.0023
    assert np.abs(np.cumsum(p) - norm.cdf((n + 0.5) / noise.NORMAL_SD)).max() < 0.0023


# Samples of the key space. Seeds are fixed, so these either always pass or never do.

N_SAMPLE = 400_000
SIZE_SD = noise.NORMAL_SD * np.sqrt(2 - 0.094)  # of n^2 / sd, by the excess kurtosis


def a_large_sample() -> NDArray[np.int64]:
    n = noise.normal_integers(11, "membrane", 0, np.arange(40), np.arange(10)[:, None], np.arange(1000)[:, None, None])
    assert n.size == N_SAMPLE
    return n.ravel()


def test_sample_moments_are_those_of_the_distribution() -> None:
    values, p = exact_distribution()
    n = a_large_sample().astype(float)
    for power in (1, 2, 3, 4):
        moment = (p * values.astype(float) ** power).sum()
        error = np.sqrt(((p * values.astype(float) ** (2 * power)).sum() - moment**2) / N_SAMPLE)
        assert abs((n**power).mean() - moment) < 4.5 * error, f"moment {power}"


def test_sample_frequencies_and_tails_are_those_of_the_distribution() -> None:
    values, p = exact_distribution()
    n = a_large_sample()
    found = np.bincount(n + 703, minlength=p.size)
    for cut in (200, 300, 400, 500, 550):  # 550 is 3.8 sd
        expected = N_SAMPLE * p[np.abs(values) >= cut].sum()
        assert abs(found[np.abs(values) >= cut].sum() - expected) < 4.5 * np.sqrt(expected), f"|n| >= {cut}"
    common = N_SAMPLE * p >= 10
    chi2 = ((found - N_SAMPLE * p)[common] ** 2 / (N_SAMPLE * p)[common]).sum()
    assert abs(chi2 - common.sum()) < 4.5 * np.sqrt(2 * common.sum())


def test_uniforms_are_uniform_in_the_half_open_interval_and_exact_in_float32() -> None:
    u = noise.uniforms(3, "v0", 0, np.arange(400), np.arange(1000)[:, None], 0).ravel()
    assert 0 <= u.min() < 1e-4
    assert 1 - 1e-4 < u.max() < 1
    np.testing.assert_array_equal(u.astype(np.float32).astype(np.float64), u)
    counts = np.bincount((u * 100).astype(int), minlength=100)
    chi2 = ((counts - u.size / 100) ** 2 / (u.size / 100)).sum()
    assert abs(chi2 - 99) < 4.5 * np.sqrt(2 * 99)


Draw = Callable[..., NDArray[np.int64]]


def draw(n_steps: int = 2000, **changed: Any) -> NDArray[np.int64]:
    """n_steps x 100 units of one key, of which parts are changed."""
    key: dict[str, Any] = {"seed": 5, "stream": "membrane", "population": 2, "unit": 0, "trial": 7, "step": 0}
    assert changed.keys() <= key.keys()
    key |= changed
    units, steps = key["unit"] + np.arange(100), key["step"] + np.arange(n_steps)[:, None]
    return noise.normal_integers(key["seed"], key["stream"], key["population"], units, key["trial"], steps)


def correlation(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Of two samples with known mean 0 and standard deviation, in standard errors."""
    assert a.shape == b.shape
    return float((a / noise.NORMAL_SD * b / noise.NORMAL_SD).mean() * np.sqrt(a.size))


OTHERS = [
    {"seed": 6}, {"seed": 4}, {"seed": 5 + 2**32}, {"seed": 5 + 2**63}, {"seed": U64},
    {"stream": "v0"}, {"stream": "rate"}, {"stream": "x0"},
    {"population": 3}, {"population": 1}, {"population": 2 + 2**15},
    {"unit": 100}, {"unit": 2**31}, {"unit": 2**16},
    {"trial": 8}, {"trial": 6}, {"trial": 9}, {"trial": 7 + 2**31},
    {"step": 2000}, {"step": 2**33}, {"step": 2**20},
]  # fmt: skip


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_neighbouring_and_distant_keys_are_uncorrelated(other: dict[str, Any]) -> None:
    a, b = draw(), draw(**other)
    assert abs(correlation(a, b)) < 4.5
    assert abs(correlation(a**2 - round(noise.NORMAL_SD**2), b)) < 4.5 * SIZE_SD  # sizes with signs
    assert np.mean(a == b) == pytest.approx(0.0019, abs=0.0005)  # sum of p^2: they share no more numbers than chance


@pytest.mark.parametrize("axis", [0, 1], ids=["step", "unit"])
@pytest.mark.parametrize("lag", [1, 2, 3, 4, 5, 7, 8, 16, 32, 64])
def test_a_series_of_steps_or_units_is_white(axis: int, lag: int) -> None:
    n = np.moveaxis(draw(), axis, 0)
    assert abs(correlation(n[:-lag], n[lag:])) < 4.5
    assert abs(correlation(n[:-lag] ** 2 - round(noise.NORMAL_SD**2), n[lag:])) < 4.5 * SIZE_SD


@pytest.mark.parametrize("lag", [1, 2, 4, 8])
def test_a_series_of_trials_or_seeds_is_white(lag: int) -> None:
    trials = np.stack([draw(100, trial=t) for t in range(40)])
    seeds = np.stack([draw(100, seed=s) for s in range(40)])
    assert abs(correlation(trials[:-lag], trials[lag:])) < 4.5
    assert abs(correlation(seeds[:-lag], seeds[lag:])) < 4.5


def test_sums_over_any_axis_grow_as_those_of_independent_numbers() -> None:
    n = noise.normal_integers(1, "membrane", 0, np.arange(64), np.arange(64)[:, None], np.arange(64)[:, None, None])
    for axis in range(3):
        variance = (n.sum(axis=axis) / noise.NORMAL_SD).var() / 64  # 1, of 4096 sums
        assert abs(variance - 1) < 4.5 * np.sqrt(2 / 4096), f"axis {axis}"


@pytest.mark.parametrize(
    ("part", "value"),
    [("seed", -1), ("seed", 2**64), ("population", -1), ("population", 2**16), ("unit", -1), ("unit", 2**32),
     ("trial", -1), ("trial", 2**32), ("step", -1), ("step", 2**34)],
)  # fmt: skip
def test_a_key_out_of_range_is_refused_because_it_would_wrap_onto_another(part: str, value: int) -> None:
    key = {"seed": 0, "population": 0, "unit": 0, "trial": 0, "step": 0} | {part: value}
    with pytest.raises(SpikeportError, match=rf"noise key: {part} \d+|noise key: {part} -1"):
        noise.normal_integers(key["seed"], "membrane", key["population"], key["unit"], key["trial"], key["step"])


@pytest.mark.parametrize("part", ["seed", "population", "unit", "trial", "step"])
def test_the_last_key_in_range_is_taken(part: str) -> None:
    limits = {"seed": 2**64, "population": 2**16, "unit": 2**32, "trial": 2**32, "step": 2**34}
    key = dict.fromkeys(limits, 0) | {part: limits[part] - 1}
    found = noise.words(key["seed"], "membrane", key["population"], key["unit"], key["trial"], key["step"])
    assert int(found) == word_in_plain_integers(stream="membrane", **key)


def test_an_empty_request_gives_no_numbers() -> None:
    assert noise.normal_integers(0, "membrane", 0, np.arange(0), 0, 0).shape == (0,)
