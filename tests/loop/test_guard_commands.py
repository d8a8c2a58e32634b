"""Commands: what is one, what is none, and how they cross between processes."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from guard_cases import pulse, train
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.loop.guard.commands import (
    MAX_PULSES,
    Pattern,
    Pulse,
    Stop,
    down_to_nA,
    from_message,
    schedule,
    to_message,
)
from spikeport.snn.errors import SpikeportError


@pytest.mark.parametrize(
    "name", ["amplitude_uA", "second_amplitude_uA", "width_us", "second_width_us", "interphase_us"]
)
@pytest.mark.parametrize(
    "bad",
    [math.nan, math.inf, -math.inf, -1, -0.001, 1e7, 1e308, 10**400, True, np.True_, None, "10", [10], 0.0001, 1 / 3],
)
def test_a_pulse_with_a_bad_number_is_refused_and_never_clipped(name: str, bad: Any) -> None:
    with pytest.raises(SpikeportError, match=f"not a command\n  {name} "):
        pulse(**{name: bad})


@pytest.mark.parametrize("bad", [Decimal("NaN"), Decimal("Infinity"), Decimal("1e999999999"), np.float32(0.1), 1j])
def test_a_number_of_another_kind_is_refused(bad: Any) -> None:
    with pytest.raises(SpikeportError, match="amplitude_uA is"):
        pulse(amplitude_uA=bad)


@pytest.mark.parametrize("name", ["amplitude_uA", "second_amplitude_uA", "width_us", "second_width_us"])
def test_a_phase_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(SpikeportError, match=f"{name} is 0"):
        pulse(**{name: 0})


@pytest.mark.parametrize("site", ["", "x" * 65, "a\n", 3, None, ["a"]])
def test_a_site_that_is_no_name_is_refused(site: Any) -> None:
    with pytest.raises(SpikeportError, match="site must be a name"):
        pulse(site)


@pytest.mark.parametrize("polarity", ["cathodic", "", None, 1, ["cathodic first"]])
def test_a_polarity_that_is_none_is_refused(polarity: Any) -> None:
    with pytest.raises(SpikeportError, match="polarity must be one of: cathodic first, anodic first"):
        pulse(polarity=polarity)


def test_all_problems_of_a_command_are_named_at_once() -> None:
    with pytest.raises(SpikeportError, match="not a command") as raised:
        pulse("", amplitude_uA=math.nan, width_us=-1, polarity="up")
    assert len(raised.value.problems) == 4


@pytest.mark.parametrize("n", [0, -1, MAX_PULSES + 1, 2.0, True, math.nan, None, "3"])
def test_a_number_of_pulses_that_is_none_is_refused(n: Any) -> None:
    with pytest.raises(SpikeportError, match="n_pulses is"):
        train(n, 100)


@pytest.mark.parametrize("rate", [0, -5, math.nan, math.inf, 1e7, True, None, "100"])
def test_a_rate_that_is_none_is_refused(rate: Any) -> None:
    with pytest.raises(SpikeportError, match="rate_hz is"):
        train(3, rate)


def test_pulses_of_a_train_may_touch_but_not_overlap() -> None:
    shape = {"width_us": 200, "interphase_us": 100, "second_width_us": 200}  # 500 us
    assert train(3, 2000, **shape)
    with pytest.raises(SpikeportError, match="period of 499975 ns, shorter than its pulse of 500000 ns"):
        train(3, 2000.1, **shape)


@pytest.mark.parametrize(
    "parts", [(), (1,), [pulse()], (pulse("a"), train(2, 10, "a")), None, tuple(map(pulse, "abcdefghijklmnopq"))]
)
def test_a_pattern_that_is_none_is_refused(parts: Any) -> None:
    with pytest.raises(SpikeportError, match="pattern: not a command"):
        Pattern(parts)


def test_charges_are_those_of_the_formula() -> None:
    """Q = I w; 10 uA in 200 us are 2 nC."""
    cathodic = pulse(second_amplitude_uA=5, second_width_us=300)
    assert cathodic.charge_aC == 2 * 10**9
    assert cathodic.second_charge_aC == Fraction("1.5") * 10**9
    assert cathodic.balance == Fraction(3, 4)
    assert cathodic.net_aC == -cathodic.charge_aC + cathodic.second_charge_aC
    anodic = pulse(polarity="anodic first", second_amplitude_uA=5, second_width_us=300)
    assert anodic.net_aC == -cathodic.net_aC
    assert cathodic.duration_ns == 550_000


def test_a_symmetric_pulse_is_balanced() -> None:
    made = Pulse.symmetric("a", polarity="anodic first", amplitude_uA=0.1, width_us=0.3, interphase_us=0)
    assert (made.balance, made.net_aC) == (1, 0)


@given(rate=st.fractions(Fraction(1, 900), 1000, max_denominator=997), n=st.integers(1, 200))
@settings(deadline=None)
def test_pulse_j_of_a_train_begins_at_the_first_ns_not_before_j_periods(rate: Fraction, n: int) -> None:
    found = [onset for onset, _ in schedule(train(n, rate))]
    assert found == [math.ceil(Fraction(j * 10**9) / rate) for j in range(n)]


def test_the_parts_of_a_pattern_begin_together() -> None:
    found = schedule(Pattern((pulse("a"), train(2, 100, "b"), train(3, 100, "c"))))
    assert [(onset, [p.site for p in pulses]) for onset, pulses in found] == [
        (0, ["a", "b", "c"]),
        (10_000_000, ["b", "c"]),
        (20_000_000, ["c"]),
    ]


@pytest.mark.parametrize("value", [0.1, 12.3456789, np.float64(7.0009999), 3])
def test_rounding_down_to_nA_is_the_callers_choice(value: float) -> None:
    rounded = down_to_nA(value)
    assert 0 <= Fraction(repr(float(value))) - rounded < Fraction(1, 1000)
    assert pulse(amplitude_uA=rounded).amplitude_nA == rounded * 1000


@pytest.mark.parametrize("bad", [math.nan, math.inf, True, None])
def test_what_is_no_number_is_not_rounded(bad: Any) -> None:
    with pytest.raises(SpikeportError, match="amplitude is"):
        down_to_nA(bad)


COMMANDS = [Stop(), pulse(), train(7, Fraction(100, 3)), Pattern((pulse("a"), train(3, 10, "b"))), Pattern((pulse(),))]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: type(c).__name__)
def test_a_command_crosses_the_border_unchanged(command: Any) -> None:
    again = from_message(to_message(command))
    assert to_message(again) == to_message(command)
    assert type(again) is type(command)


PULSE = to_message(pulse())["parts"][0]


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        "stop",
        {"do": "arm"},
        {"do": "stop", "more": 1},
        {"do": "stimulate", "pattern": False, "parts": []},
        {"do": "stimulate", "pattern": False, "parts": "a"},
        {"do": "stimulate", "pattern": False, "parts": [None]},
        {"do": "stimulate", "pattern": False, "parts": [PULSE | {"more": 1}]},
        {"do": "stimulate", "pattern": False, "parts": [PULSE | {"nA": [10.0, 10]}]},
        {"do": "stimulate", "pattern": False, "parts": [PULSE | {"nA": [True, 10]}]},
        {"do": "stimulate", "pattern": False, "parts": [PULSE | {"nA": [10, 10, 10]}]},
        {"do": "stimulate", "pattern": False, "parts": [PULSE | {"ns": [-1, 0, 10]}]},
        {"do": "stimulate", "pattern": False, "parts": [PULSE | {"ns": [1, 0, 10**30]}]},
        {"do": "stimulate", "pattern": False, "parts": [PULSE | {"n_pulses": 3}]},
        {"do": "stimulate", "pattern": False, "parts": [PULSE | {"n_pulses": 3, "rate": 100}]},
        {"do": "stimulate", "pattern": False, "parts": [PULSE | {"n_pulses": 3.0, "rate": "100"}]},
        {"do": "stimulate", "pattern": False, "parts": [PULSE | {"n_pulses": 3, "rate": "1/0"}]},
        {"do": "stimulate", "pattern": True, "parts": [PULSE, PULSE]},
        {"do": "stimulate", "pattern": True, "parts": [PULSE] * 1000},
        {"do": "stimulate", "pattern": True, "parts": [PULSE | {"site": ["a"]}]},
    ],
)
def test_a_message_that_is_no_command_is_refused(message: Any) -> None:
    with pytest.raises(SpikeportError, match="not a command"):
        from_message(message)
