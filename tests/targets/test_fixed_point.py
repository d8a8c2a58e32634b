"""Integer arithmetic of chips: hand-computed values, laws, and the compiled form equal to the plain one."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from spikeport.targets.fixed_point import compiled, fractions, integers

STATES = st.integers(-(2**26), 2**26)
SHIFTS = st.integers(0, 20)
FACTORS = st.integers(0, 4096)
BITS = st.integers(2, 26)
ACCUMS = st.integers(fractions.S1615_LOW, fractions.S1615_HIGH)
PARTS = st.integers(0, 2**31 - 1)  # of a u0.32: with 2^31 or more the product needs more than 63 bits


def test_a_shift_toward_zero_cuts_both_signs_alike() -> None:
    assert integers.shift_to_zero([7, -7, 1, -1, 8, -8, 0], 1).tolist() == [3, -3, 0, 0, 4, -4, 0]


def test_a_shift_goes_left_and_right_and_rounds_down() -> None:
    assert integers.shift([3, -3, 3, -3], [2, 2, -1, -1]).tolist() == [12, -12, 1, -2]


def test_a_decay_by_hand() -> None:
    """1000 * 3681 / 4096 = 898.68; of -1000 the same toward zero; 1 decays to 0."""
    assert integers.decay([1000, -1000, 1, 4096], 3681, 12).tolist() == [898, -898, 0, 3681]


def test_what_saturates_stays_at_the_end() -> None:
    assert integers.saturate([2**23, -(2**23), 5], -(2**23) + 1, 2**23 - 1).tolist() == [2**23 - 1, -(2**23) + 1, 5]


def test_what_wraps_comes_in_again_at_the_other_end() -> None:
    top = 2**23
    found = integers.wrap([top - 1, top, top + 1, -top + 1, -top, -top - 1, 3 * top + 5], 24)
    assert found.tolist() == [top - 1, top, -top + 1, -top + 1, top, top - 1, -top + 5]
    assert integers.wrap_two([127, 128, -128, -129, 384], 8).tolist() == [127, -128, -128, 127, -128]


def test_xylo_takes_at_least_one() -> None:
    assert integers.bit_shift_decay([100, 3, 0, -3, -100], 4).tolist() == [6, 1, 0, -1, -7]


@given(STATES, BITS)
def test_a_wrapped_number_differs_by_whole_turns(x: int, bits: int) -> None:
    for wrap, inside in ((integers.wrap, (-1, 0)), (integers.wrap_two, (0, 1))):
        found = int(wrap(x, bits))
        half = 2 ** (bits - 1)
        assert (x - found) % 2**bits == 0
        assert -half - inside[0] <= found <= half - inside[1]


@given(STATES, FACTORS)
def test_a_decay_is_the_product_cut_toward_zero(x: int, factor: int) -> None:
    assert int(integers.decay(x, factor, 12)) == int(Fraction(x * factor, 4096))  # int() of a fraction cuts toward zero


def test_s1615_by_hand() -> None:
    assert fractions.to_s1615([1.0, -1.0, 0.5**16, 1e9, -1e9]).tolist() == [32768, -32768, 0, 2**31 - 1, -(2**31)]
    assert fractions.from_s1615([32768, 1]).tolist() == [1.0, 0.5**15]


def test_u032_by_hand() -> None:
    assert fractions.to_u032([0.5, 1.0, -0.1]).tolist() == [2**31, 2**32 - 1, 0]
    assert fractions.multiply_u032([3, -3], 2**31).tolist() == [1, -2]  # rounded down


def test_products_of_s1615_by_hand() -> None:
    """2.5 * -1.5 = -3.75 exactly; 2^-15 * 0.5 is half a step: down to 0, to nearest (half up) one step."""
    x, y = fractions.to_s1615(2.5), fractions.to_s1615(-1.5)
    for multiply in (fractions.multiply_s1615, fractions.multiply_s1615_nearest):
        assert fractions.from_s1615(multiply(x, y)) == -3.75
        assert multiply(fractions.S1615_HIGH, fractions.to_s1615(2.0)) == fractions.S1615_HIGH
    assert (int(fractions.multiply_s1615(1, 2**14)), int(fractions.multiply_s1615_nearest(1, 2**14))) == (0, 1)


@pytest.mark.parametrize("convert", [fractions.to_s1615, fractions.to_u032])
def test_a_nan_is_no_fixed_point_number(convert: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="1 values are NaN"):
        convert([0.0, np.nan])


@given(st.floats(-65536, 65535.9999))
def test_s1615_is_the_nearest(value: float) -> None:
    raw = Fraction(value) * 2**15
    assert abs(int(fractions.to_s1615(value)) - raw) <= Fraction(1, 2)


def both(name: str, module: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(plain, compiled) of one formula, of numbers."""
    inner = getattr(compiled, name)
    if name in ("shift_to_zero", "shift", "wrap", "wrap_two", "bit_shift_decay"):
        called = njit(lambda x, y: inner(x, y))
    elif name in ("decay", "saturate"):
        called = njit(lambda x, y, w: inner(x, y, w))
    else:
        called = njit(lambda x, y: inner(x, y))
    return getattr(module, name), called


PAIRS = {
    "shift_to_zero": (*both("shift_to_zero", integers), st.tuples(STATES, SHIFTS)),
    "shift": (*both("shift", integers), st.tuples(STATES, st.integers(-20, 20))),
    "decay": (*both("decay", integers), st.tuples(STATES, FACTORS, st.just(12))),
    "saturate": (*both("saturate", integers), st.tuples(STATES, st.integers(-(2**23), 0), st.integers(0, 2**23))),
    "wrap": (*both("wrap", integers), st.tuples(STATES, BITS)),
    "wrap_two": (*both("wrap_two", integers), st.tuples(STATES, BITS)),
    "bit_shift_decay": (*both("bit_shift_decay", integers), st.tuples(STATES, SHIFTS)),
    "multiply_u032": (*both("multiply_u032", fractions), st.tuples(ACCUMS, PARTS)),
    "multiply_s1615": (*both("multiply_s1615", fractions), st.tuples(ACCUMS, ACCUMS)),
    "multiply_s1615_nearest": (*both("multiply_s1615_nearest", fractions), st.tuples(ACCUMS, ACCUMS)),
}


@pytest.mark.parametrize("name", PAIRS)
@given(data=st.data())
@settings(deadline=None)  # the first call compiles
def test_the_compiled_form_is_the_plain_one(name: str, data: st.DataObject) -> None:
    plain, fast, arguments = PAIRS[name]
    values = data.draw(arguments)
    assert int(plain(*values)) == fast(*values)
