"""The arithmetic of the limits, their completeness, and the page that names them."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from guard_cases import WIDE
from guard_checker import above_power_of_ten
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.loop.guard import charge
from spikeport.loop.guard.exact import exact, from_wire, shown, to_wire
from spikeport.loop.guard.limits import SPECS, Limits
from spikeport.loop.guard.states import EVENTS, TRANSITIONS
from spikeport.loop.guard.watchdog import WATCH_SPECS
from spikeport.snn.errors import SpikeportError

# -- arithmetic


@given(
    k=st.integers(-3000, 3000),
    area=st.fractions(Fraction(1, 100), 10**9, max_denominator=1000),
)
@settings(deadline=None, max_examples=40)
def test_the_largest_charge_by_shannon_is_that_of_many_digits(k: int, area: Fraction) -> None:
    """Q_max = sqrt(10^k A) in 60 digits."""
    with localcontext() as context:
        context.prec = 60
        area_cm2 = Decimal(area.numerator) / Decimal(area.denominator) / Decimal(10**8)
        q_uC = (Decimal(10) ** (Decimal(k) / 1000) * area_cm2).sqrt()
        expected = q_uC * Decimal(10**12)
    found = charge.largest_by_shannon(Fraction(k, 1000), area)
    assert found in {math.floor(expected + Decimal("1e-20")), math.floor(expected - Decimal("1e-20"))}


@pytest.mark.parametrize("k", [Fraction(37, 20), Fraction(0), Fraction(-1, 2), Fraction(3, 2), Fraction(10)])
@pytest.mark.parametrize("area", [Fraction(2000), Fraction(1, 10**6), Fraction(10**9 - 1, 7), Fraction(10**9)])
def test_the_largest_charge_by_shannon_is_the_largest(k: Fraction, area: Fraction) -> None:
    largest = charge.largest_by_shannon(k, area)

    def product(q: int) -> Fraction:
        return Fraction(q, 10**12) ** 2 / (area / 10**8)

    assert not above_power_of_ten(product(largest), k)
    assert above_power_of_ten(product(largest + 1), k)


def test_a_float_stands_for_its_shortest_decimal() -> None:
    assert exact(0.1) == Fraction(1, 10)
    assert exact(np.float64(0.1)) == Fraction(1, 10)
    assert exact(np.int32(7)) == 7
    assert exact(Decimal("0.1")) == Fraction(1, 10)


@given(st.fractions(max_denominator=10**9))
def test_a_number_crosses_the_border_unchanged(number: Fraction) -> None:
    assert from_wire(to_wire(number)) == number


@pytest.mark.parametrize("text", ["1/0", "1/00", "0x1", "1e3", " 1", "1/-2", "", "9" * 61, None, 1.5, True, "nan"])
def test_what_is_no_number_does_not_cross_the_border(text: Any) -> None:
    with pytest.raises(ValueError, match=r"number|denominator"):
        from_wire(text)


def test_a_number_is_shown_with_all_its_decimals() -> None:
    assert [shown(Fraction(n)) for n in ("1/1000", "-5/2", "20", "1/3", "20001/1000")] == [
        "0.001",
        "-2.5",
        "20",
        "0.333333333333",
        "20.001",
    ]
    assert shown(Fraction(10**5000)).startswith("about 2^")


# -- the limits themselves


def test_limits_have_no_defaults_and_all_that_miss_are_named() -> None:
    with pytest.raises(SpikeportError, match="limits of the guard") as raised:
        Limits()
    assert [problem.split()[0] for problem in raised.value.problems] == list(SPECS)


@pytest.mark.parametrize("name", [name for name in SPECS])
def test_one_limit_that_misses_is_an_error(name: str) -> None:
    with pytest.raises(SpikeportError, match=f"{name} is missing"):
        Limits(**{key: value for key, value in WIDE.items() if key != name})


@pytest.mark.parametrize("name", [name for name in SPECS if name != "area_um2"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -1e9, 1e30, True, "5", [5], np.float32(0.1), {"a": 1}])
def test_a_limit_that_is_no_such_number_is_refused(name: str, bad: Any) -> None:
    with pytest.raises(SpikeportError, match=rf"  {name} "):
        Limits(**(WIDE | {name: bad}))


@pytest.mark.parametrize("name", [name for name in SPECS if name not in ("area_um2", "blanking_all_us")])
def test_no_limit_can_be_none(name: str) -> None:
    with pytest.raises(SpikeportError, match=rf"  {name} is a NoneType"):
        Limits(**(WIDE | {name: None}))


@pytest.mark.parametrize("bad", [1000, {}, {"": 1}, {"a": 0}, {"a": math.nan}, {1: 5}, {"a\n": 1}, None])
def test_areas_that_are_none_are_refused(bad: Any) -> None:
    with pytest.raises(SpikeportError, match="  area_um2"):
        Limits(**(WIDE | {"area_um2": bad}))


def test_a_limit_must_name_the_same_sites() -> None:
    with pytest.raises(SpikeportError, match="rate_hz must name the sites of area_um2; differs in 'c', 'd'"):
        Limits(**(WIDE | {"rate_hz": {"a": 1, "b": 1, "d": 1}}))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rate_hz": 0.5, "rate_window_s": 1}, "allows no pulse at 'a': less than one fits"),
        ({"rate_hz": 1000, "charge_window_s": 10_000}, "limit 1000000"),
        ({"shannon_k": 1.8501}, "at most 3 decimals"),
        ({"late_us": 0.0001}, "whole number of ns"),
    ],
)
def test_limits_that_make_no_sense_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SpikeportError, match=message):
        Limits(**(WIDE | changed))


def test_limits_cross_the_border_unchanged() -> None:
    limits = Limits(**(WIDE | {"rate_hz": {"a": 0.1 + 10, "b": 7, "c": Fraction(22, 3)}}))
    again = Limits.from_wire(limits.to_wire())
    assert again.sites == limits.sites
    assert again.digest() == limits.digest()
    assert Limits(**(WIDE | {"rate_hz": 11})).digest() != limits.digest()


def test_the_page_names_every_number_that_a_person_must_give(repo_root: Path) -> None:
    page = (repo_root / "docs" / "guard.md").read_text(encoding="utf-8")
    assert not [name for name in (*SPECS, *WATCH_SPECS) if f"`{name}`" not in page]


def test_the_page_has_the_table_of_states(repo_root: Path) -> None:
    page = (repo_root / "docs" / "guard.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:2] == "| "]
    shown = {
        (before.strip(), event, whose, after)
        for states, event, whose, after in (row for row in rows if len(row) == 4 and row[1] in EVENTS)
        for before in states.split(",")
    }
    assert shown == {
        (before.value, event, EVENTS[event], after.value) for (before, event), after in TRANSITIONS.items()
    }
