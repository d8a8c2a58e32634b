"""Grids of 1/lambda, the winner of a curve, and the interval of an accuracy."""

from __future__ import annotations

from decimal import Decimal
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from spikeport.convert.grid import MAX_CANDIDATES, PUBLISHED_GRID, bracket, middle_of_plateau, parse_grid
from spikeport.snn.errors import SpikeportError
from spikeport.snn.measures import wilson

TENTHS = st.integers(1, 5000).map(lambda n: Decimal(n) / 10)


@given(start=TENTHS, step=TENTHS, n=st.integers(0, 60))
def test_a_range_has_both_ends_in(start: Decimal, step: Decimal, n: int) -> None:
    """In decimal arithmetic: a step of 0.1 must not lose the last value to binary rounding."""
    stop = start + n * step
    found = parse_grid(f"{start}:{stop}:{step}")
    assert len(found) == n + 1
    np.testing.assert_allclose(found, [float(start + i * step) for i in range(n + 1)], rtol=1e-12)


@given(start=TENTHS, step=TENTHS, n=st.integers(0, 60), rest=st.integers(1, 9))
def test_a_range_never_goes_beyond_its_stop(start: Decimal, step: Decimal, n: int, rest: int) -> None:
    stop = start + n * step + step * rest / 10
    found = parse_grid(f"{start}:{stop}:{step}")
    assert len(found) == n + 1
    assert found[-1] < float(stop)


def test_the_published_grid_has_twelve_values() -> None:
    assert parse_grid(PUBLISHED_GRID) == tuple(range(20, 76, 5))


@pytest.mark.parametrize(
    ("given_grid", "values"),
    [("30", (30,)), ("40,20,30", (20, 30, 40)), ("30,30", (30,)), ([50, 20], (20, 50)), (np.array([2.5]), (2.5,))],
)
def test_a_grid_is_sorted_and_without_repeats(given_grid: str, values: tuple[float, ...]) -> None:
    assert parse_grid(given_grid) == values


@pytest.mark.parametrize(
    ("given_grid", "reason"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ([], "empty"),
        ("75:20:5", "STOP not below START"),
        ("20:75:0", "STEP must be positive"),
        ("20:75:-5", "STEP must be positive"),
        ("20:inf:5", "empty: STEP"),
        ("a:b:c", "not numbers"),
        ("20,,30", "not numbers"),
        ("20:75", "three numbers"),
        ("20:75:5:1", "three numbers"),
        ("20:75,5", "three numbers"),
        ("0", "1/lambda 0, every value must be positive"),
        ("-5:5:1", "1/lambda -5"),
        ("nan", "1/lambda nan"),
        ([30, -1], "1/lambda -1"),
        ("1:1e6:1", f"1000000 values, at most {MAX_CANDIDATES}"),
    ],
)
def test_a_grid_that_names_no_candidates_is_refused_with_the_form_it_must_have(given_grid: str, reason: str) -> None:
    with pytest.raises(SpikeportError, match=reason) as refusal:
        parse_grid(given_grid)
    assert "--grid 20:75:5" in refusal.value.hint


@given(low=st.floats(0.1, 100), ratio=st.floats(1.01, 100), n=st.integers(2, 20))
def test_a_bracket_is_even_in_ratio_with_both_ends_in(low: float, ratio: float, n: int) -> None:
    found = np.array(bracket(low, low * ratio, n))
    assert found.size == n
    assert found[0] == pytest.approx(low)
    assert found[-1] == pytest.approx(low * ratio)
    np.testing.assert_allclose(found[1:] / found[:-1], ratio ** (1 / (n - 1)))


@pytest.mark.parametrize(("low", "high"), [(20, 20), (30, 20), (0, 10), (-1, 10), (1, float("inf")), (float("nan"), 2)])
def test_a_bracket_that_holds_nothing_is_refused(low: float, high: float) -> None:
    with pytest.raises(SpikeportError, match=r"must be 0 < LOW < HIGH"):
        bracket(low, high)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=15))
def test_the_winner_is_the_middle_of_the_longest_run_of_the_best(scores: list[int]) -> None:
    found = middle_of_plateau([float(s) for s in scores])
    assert scores[found] == max(scores)
    left, right = found, found
    while left > 0 and scores[left - 1] == max(scores):
        left -= 1
    while right < len(scores) - 1 and scores[right + 1] == max(scores):
        right += 1
    lengths = [len(list(run)) for score, run in groupby(scores) if score == max(scores)]
    assert right - left + 1 == max(lengths)
    assert 0 <= (right - found) - (found - left) <= 1


def test_of_two_equal_plateaus_the_first_wins() -> None:
    assert middle_of_plateau([1, 1, 1, 0, 1, 1, 1]) == 1


@given(st.integers(1, 2000), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_wilson_interval_is_scipys(trials: int, data: st.DataObject, confidence: float) -> None:
    successes = data.draw(st.integers(0, trials))
    expected = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    assert wilson(successes, trials, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_wilson_interval_of_a_published_example() -> None:
    """15 of 148; Newcombe, Statistics in Medicine 17 (1998), table I: 0.0624 to 0.1605."""
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5), (0, 0)])
def test_a_proportion_of_nothing_has_no_interval(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="0 <= successes <= trials"):
        wilson(successes, trials)
