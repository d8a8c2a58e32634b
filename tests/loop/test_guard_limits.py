"""Each limit: at it is allowed, above it is refused by its name, and switched off it lets through what it must not."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from guard_cases import WIDE, Bench, pulse, train
from guard_checker import broken

from spikeport.loop.guard import ledger
from spikeport.loop.guard.commands import Pattern
from spikeport.loop.guard.limits import SPECS

AREA = {"area_um2": {"a": 1000, "b": 1000, "c": 1000}}
Step = tuple[Any, float]  # a command, and us after the one before
CASES: dict[str, tuple[dict[str, Any], list[Step], list[Step]]] = {  # limits; all allowed; the last one above
    "amplitude_uA": ({"amplitude_uA": 10}, [(pulse(), 0)], [(pulse(second_amplitude_uA=10.001), 0)]),
    "phase_charge_nC": ({"phase_charge_nC": 2}, [(pulse(), 0)], [(pulse(second_width_us=200.001), 0)]),
    "charge_density_uC_per_cm2": (
        AREA | {"charge_density_uC_per_cm2": 200},
        [(pulse(), 0)],
        [(pulse(width_us=200.001), 0)],
    ),
    # D Q = Q^2 / A = (2e-3 uC)^2 / 4e-6 cm^2 = 1 = 10^0
    "shannon_k": ({"area_um2": {"a": 400}, "shannon_k": 0}, [(pulse(), 0)], [(pulse(width_us=200.001), 0)]),
    "imbalance_fraction": (
        {"imbalance_fraction": 0.1},
        [(pulse(second_width_us=220), 0)],
        [(pulse(second_width_us=220.001), 0)],
    ),
    "net_charge_nC": (
        {"net_charge_nC": 0.4},
        [(pulse(second_width_us=220), 0), (pulse(second_width_us=220), 1000)],
        [(train(3, 100, second_width_us=220), 0)],
    ),
    "rate_hz": (
        {"rate_hz": 3, "rate_window_s": 1},
        [(pulse(), 0), (pulse(), 1000), (pulse(), 1000), (pulse(), 998_000)],  # the fourth exactly 1 s after the first
        [(pulse(), 0), (pulse(), 1000), (pulse(), 1000), (pulse(), 997_999.999)],
    ),
    "blanking_us": (
        {"blanking_us": 500},
        [(pulse(), 0), (pulse("b"), 0), (pulse(), 950)],
        [(pulse(), 0), (pulse(), 949.999)],
    ),
    "blanking_all_us": (
        {"blanking_all_us": 500},
        [(pulse(), 0), (pulse("b"), 950)],
        [(pulse(), 0), (pulse("b"), 949.999)],
    ),
    "simultaneous_sites": (
        {"simultaneous_sites": 2},
        [(Pattern((pulse("a"), pulse("b"))), 0), (pulse("c"), 450)],  # exactly at their end
        [(Pattern((pulse("a"), pulse("b"))), 0), (pulse("c"), 449.999)],
    ),
    "train_pulses": ({"train_pulses": 5}, [(train(5, 100), 0)], [(train(6, 100), 0)]),
    "window_charge_nC": (
        {"window_charge_nC": 8, "charge_window_s": 1},
        [(pulse(), 0), (pulse(), 1000), (pulse(), 999_000)],
        [(pulse(), 0), (pulse(), 1000), (pulse(), 998_999.999)],
    ),
    "session_charge_nC": (
        {"session_charge_nC": 8},
        [(pulse(), 0), (pulse(), 5e6)],
        [(pulse(), 0), (pulse(), 5e6), (pulse(), 5e6)],
    ),
}
NOT_OF_ONE_COMMAND = {"area_um2", "rate_window_s", "charge_window_s", "late_us"}  # quantities of other limits; lateness


def limits_of(name: str) -> dict[str, Any]:
    changed = CASES[name][0]
    if "area_um2" in changed and len(changed["area_um2"]) < 3:
        changed = changed | {"area_um2": {site: changed["area_um2"]["a"] for site in "abc"}}
    return WIDE | changed


def test_every_limit_has_a_case() -> None:
    assert set(CASES) | NOT_OF_ONE_COMMAND == set(SPECS)


@pytest.mark.parametrize("name", CASES)
def test_at_the_limit_is_allowed(name: str) -> None:
    bench = Bench.running(limits_of(name))
    for command, after in CASES[name][1]:
        assert bench.refused(command, after) == set()
    bench.wait(10**6)
    assert broken(bench.log, bench.given) == set()


@pytest.mark.parametrize("name", CASES)
def test_above_the_limit_is_refused_by_its_name(name: str) -> None:
    bench = Bench.running(limits_of(name))
    *before, (last, after) = CASES[name][2]
    for command, us in before:
        assert bench.refused(command, us) == set()
    assert bench.refused(last, after) == {name}
    assert any(record["kind"] == "refused" and name in record["limits"][0] for record in bench.records)


def switch_off(name: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "blanking_all_us":
        bench.guard.limits.blanking_all_ns = None
    elif name == "simultaneous_sites":
        bench.guard.limits.simultaneous = 1000
    else:
        monkeypatch.setitem(ledger.CHECKS, name, lambda asked: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CASES)
def test_nothing_else_stands_in_for_a_limit_that_is_switched_off(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the tests above fail without it; and the independent judge sees what got through."""
    bench = Bench.running(limits_of(name))
    switch_off(name, bench, monkeypatch)
    for command, after in CASES[name][2]:
        assert bench.refused(command, after) == set()
    bench.wait(10**6)
    assert broken(bench.log, bench.given) == {name}


@pytest.mark.parametrize("name", ["amplitude_uA", "phase_charge_nC", "rate_hz", "session_charge_nC", "blanking_us"])
def test_a_limit_of_one_site_is_not_that_of_another(name: str) -> None:
    strict = CASES[name][0][name]
    wide = WIDE[name]
    bench = Bench.running(WIDE | CASES[name][0] | {name: {"a": wide, "b": strict, "c": wide}})
    for command, after in CASES[name][2]:  # at site a
        assert bench.refused(command, after) == set()


def test_a_refusal_names_every_limit_that_applies() -> None:
    strict = {"amplitude_uA": 9, "phase_charge_nC": 1, "train_pulses": 2, "session_charge_nC": 3, "rate_hz": 2}
    bench = Bench.running(WIDE | strict | {"imbalance_fraction": 0})
    assert bench.refused(train(3, 100, second_width_us=100)) == {*strict, "imbalance_fraction"}


def test_a_refusal_says_value_and_limit() -> None:
    bench = Bench.running(WIDE | {"amplitude_uA": 0.1 + 0.2 - 0.2})  # 0.10000000000000003: as it is written
    assert bench.refused(pulse(amplitude_uA=0.1, second_amplitude_uA=0.1)) == set()
    answer = bench.ask(pulse(amplitude_uA=0.101), 1000)
    assert answer.violations[0].text == "amplitude_uA at 'a': 10 uA, limit 0.1 uA"


def test_a_refusal_uses_up_nothing() -> None:
    bench = Bench.running(WIDE | {"session_charge_nC": 8, "rate_hz": 2, "net_charge_nC": 0.2})
    for _ in range(100):
        assert bench.refused(train(3, 100))
        assert bench.refused(Pattern((pulse("a"), train(3, 100, "b"))))
    assert bench.refused(train(2, 100)) == set()


def test_a_pattern_is_allowed_whole_or_not_at_all() -> None:
    bench = Bench.running(WIDE | {"amplitude_uA": {"a": 10, "b": 5, "c": 10}})
    assert bench.refused(Pattern((pulse("a"), pulse("b")))) == {"amplitude_uA"}
    bench.wait(10**6)
    assert bench.log == []


def test_a_site_without_limits_gets_nothing() -> None:
    bench = Bench.running(WIDE)
    assert bench.refused(pulse("elsewhere")) == {"site"}
    assert bench.refused(Pattern((pulse("a"), pulse("elsewhere")))) == {"site"}
    assert bench.log == []


def test_a_site_that_is_busy_takes_nothing_else() -> None:
    bench = Bench.running(WIDE)
    assert bench.refused(train(10, 100)) == set()
    assert bench.refused(pulse(), 55_000) == {"blanking_us"}
    assert bench.refused(pulse(), 50_000) == set()


def test_pulses_that_are_still_to_come_count_where_sites_may_not_overlap() -> None:
    bench = Bench.running(WIDE | {"simultaneous_sites": 1})
    bench.ask(train(10, 100))
    assert bench.refused(pulse("b"), 9_800) == {"simultaneous_sites"}  # the next of a begins in 200 us
    assert bench.refused(pulse("b"), 650) == set()  # and ends now


def test_a_site_that_is_through_with_its_part_of_a_pattern_is_free() -> None:
    bench = Bench.running(WIDE)
    bench.ask(Pattern((pulse("a"), train(10, 100, "b"))))
    assert bench.refused(pulse("a"), 450) == set()
    assert bench.refused(pulse("b"), 1000) == {"blanking_us"}


def test_what_a_cut_train_did_not_give_is_not_used_up() -> None:
    bench = Bench.running(WIDE | {"session_charge_nC": 400})
    assert bench.refused(train(100, 100)) == set()
    bench.wait(95_000)  # ten of them
    bench.station.person("disarm", by="A. Tester")
    assert len(bench.log) == 10
    bench.station.person("arm", by="A. Tester")
    bench.station.start()
    assert bench.refused(train(91, 100), 1000) == {"session_charge_nC"}
    assert bench.refused(train(90, 100)) == set()


@pytest.mark.parametrize("late_us", [1000, 999.999, 0])
def test_a_late_pulse_is_given_within_the_limit(late_us: float) -> None:
    bench = Bench.running(WIDE)
    bench.ask(train(3, 100))
    bench.now_ns += round((10_000 + late_us) * 1000)
    bench.station.service()
    assert [given.at_ns for given in bench.log] == [0, bench.now_ns]


def test_a_pulse_that_is_too_late_is_not_given_and_ends_its_train() -> None:
    bench = Bench.running(WIDE)
    bench.ask(train(3, 100))
    bench.now_ns += 11_000_001
    bench.station.service()
    bench.wait(10**6)
    assert len(bench.log) == 1
    cut = next(record for record in bench.records if record["kind"] == "cut")
    assert cut["limits"] == ["late_us: 1000.001 us, limit 1000 us"]


def test_a_late_pulse_that_would_break_a_limit_waits() -> None:
    """3 Hz: pulse 3, on time, would come less than 1 s after a pulse 0 that was late."""
    bench = Bench.running(WIDE | {"rate_hz": 3})
    assert bench.station.command(train(4, 3)).allowed
    bench.now_ns = 700_000
    bench.station.service()
    bench.wait(1_000_100 - 700)
    assert len(bench.log) == 3
    bench.wait(2000)
    assert len(bench.log) == 4
    assert bench.log[3].at_ns - bench.log[0].at_ns >= 10**9
    assert broken(bench.log, bench.given) == set()


def test_a_late_pulse_does_not_overlap_with_another_site_where_it_may_not() -> None:
    """As planned, b begins just when a ends; a comes 300 us late, so b waits for its end."""
    bench = Bench.running(WIDE | {"simultaneous_sites": 1})
    bench.ask(train(2, 100))
    assert bench.refused(train(2, 100, "b"), 450) == set()
    bench.now_ns = 10_300_000
    bench.station.service()
    bench.wait(150)  # 10.45 ms: b is due
    assert [given.site for given in bench.log] == ["a", "b", "a"]
    bench.wait(300)
    assert [given.at_ns for given in bench.log] == [0, 450_000, 10_300_000, 10_750_000]
    assert broken(bench.log, bench.given) == set()


@pytest.mark.parametrize(
    ("name", "value", "given"),
    [
        ("amplitude_uA", 10, 1000),
        ("phase_charge_nC", 2, 10**9),
        ("charge_density_uC_per_cm2", Fraction(2, 1000), 10**12),
        ("window_charge_nC", 4, 10**9),
        ("session_charge_nC", 4, 10**9),
        ("net_charge_nC", Fraction(2, 10), 10**9),
    ],
)
def test_a_limit_between_two_whole_units_is_not_rounded_up(name: str, value: Any, given: int) -> None:
    """`given` of the smallest unit are one: half a unit less than the pulse has refuses it."""
    for below, expected in ((0, set()), (Fraction(1, 2 * given), {name})):
        bench = Bench.running(WIDE | {name: value - below})
        second_width_us = 220 if name == "net_charge_nC" else 200
        assert bench.refused(pulse(second_width_us=second_width_us)) == expected


@pytest.mark.parametrize(
    ("short", "long"), [("rate_window_s", "charge_window_s"), ("charge_window_s", "rate_window_s")]
)
def test_the_longer_of_two_windows_is_remembered(short: str, long: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_COMPACT", 1)
    bench = Bench.running(WIDE | {short: 0.01, long: 1, "rate_hz": 200 if short == "rate_window_s" else 2})
    limit = "window_charge_nC" if long == "charge_window_s" else "rate_hz"
    bench = Bench.running(bench.given | ({"window_charge_nC": 8} if limit == "window_charge_nC" else {}))
    assert bench.refused(pulse()) == bench.refused(pulse(), 500_000) == set()
    assert bench.refused(pulse(), 400_000) == {limit}
    assert bench.refused(pulse(), 100_000) == set()
