"""What a silence in the middle of a pulse leaves at a site: a stop lets the pulse end, a trip counts at its worst."""

from __future__ import annotations

import os
import signal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from guard_cases import WIDE, Bench, pulse, train
from hypothesis import given
from hypothesis import strategies as st

from spikeport.loop.guard.commands import Pattern, Pulse, Stop
from spikeport.loop.guard.ledger import SiteLedger

BALANCED: dict[str, Any] = WIDE | {"net_charge_nC": 0, "imbalance_fraction": 0}
Q_NC = 2  # of each phase of `pulse()`, 200 us, a pause of 50 us, 200 us


class Electrodes:
    """A device that adds up the current that really flows, in nC by site, on the bench's clock."""

    def __init__(self) -> None:
        self.bench: Bench | None = None
        self.net: dict[str, Fraction] = {}
        self.flowing: dict[str, tuple[Pulse, int]] = {}

    def deliver(self, pulses: tuple[Pulse, ...], at_ns: int) -> None:
        for each in pulses:
            self._end(each.site)
            self.flowing[each.site] = (each, self.now_ns)

    def silence(self) -> None:
        for site in list(self.flowing):
            self._end(site)

    @property
    def now_ns(self) -> int:
        return 0 if self.bench is None else self.bench.now_ns

    def _end(self, site: str) -> None:
        if site in self.flowing:
            made, begun = self.flowing.pop(site)
            self.net[site] = self.net.get(site, Fraction(0)) + flowed_nC(made, self.now_ns - begun)


def flowed_nC(made: Pulse, ns: int) -> Fraction:
    """The integral of the current from the onset, by its sign, step by step."""
    sign = -1 if made.polarity == "cathodic first" else 1
    first = sign * made.amplitude_nA * min(ns, made.width_ns)
    second = made.second_amplitude_nA * min(max(ns - made.width_ns - made.interphase_ns, 0), made.second_width_ns)
    return Fraction(first - sign * second, 10**9)


def bench_of(limits: dict[str, Any]) -> tuple[Bench, Electrodes]:
    device = Electrodes()
    device.bench = bench = Bench.running(limits, device=device)
    return bench, device


def silences(bench: Bench) -> list[tuple[int, str]]:
    return [(record["at_ns"], record["cause"]) for record in bench.records if record["kind"] == "silence"]


@pytest.mark.parametrize("after_us", [0, 0.001, 100, 200, 225, 449.999])
@pytest.mark.parametrize("how", ["stop", "end", "disarm"])
def test_a_stop_that_is_no_trip_lets_the_pulse_come_to_its_end(how: str, after_us: float) -> None:
    bench, device = bench_of(BALANCED)
    bench.ask(train(10, 100))
    bench.wait(after_us)
    if how == "stop":
        bench.ask(Stop())
    else:
        bench.station.end() if how == "end" else bench.station.person("disarm", by="A. Tester")
    bench.wait(10**6)
    assert silences(bench)[1][0] == 450_000
    assert device.net == {"a": 0}
    assert len(bench.log) == 1
    assert bench.station.status()["sites"]["a"]["pulses_cut"] == 0


def test_many_stops_in_pulses_leave_no_charge() -> None:
    bench, device = bench_of(BALANCED)
    for number in range(100):
        assert bench.refused(pulse(), 1000) == set()
        bench.ask(Stop(), 4.5 * number)
    bench.wait(1000)
    assert device.net == {"a": 0}
    assert len(bench.log) == 100


def test_nothing_begins_between_a_stop_and_its_silence() -> None:
    bench, _ = bench_of(WIDE)
    bench.ask(pulse())
    bench.ask(Stop(), 100)
    answer = bench.ask(pulse("b"), 349.999)
    assert [violation.text for violation in answer.violations] == ["stopping: 0.001 us, limit 0 us"]
    assert bench.refused(pulse("b"), 0.001) == set()
    assert silences(bench)[-1] == (450_000, "asked by the loop")
    bench.wait(1000)
    assert [each.cut_ns for each in bench.log] == [None, None]


def test_the_silence_waits_for_the_longest_pulse_that_has_begun() -> None:
    bench, device = bench_of(BALANCED)
    bench.ask(Pattern((pulse("a"), pulse("b", width_us=900, second_width_us=900))))
    bench.ask(Stop(), 10)
    bench.wait(10_000)
    assert silences(bench)[-1][0] == 1_850_000
    assert device.net == {"a": 0, "b": 0}


def test_a_pulse_ends_its_duration_after_the_device_took_it() -> None:
    """A device that takes 300 us to begin is not silenced 300 us before its pulse is over."""
    bench, device = bench_of(BALANCED)
    deliver = device.deliver

    def slow(pulses: tuple[Pulse, ...], at_ns: int) -> None:
        bench.now_ns += 300_000
        deliver(pulses, at_ns)

    device.deliver = slow  # type: ignore[method-assign]
    bench.ask(pulse())
    bench.ask(Stop())
    bench.wait(10_000)
    assert silences(bench)[-1][0] == 750_000
    assert device.net == {"a": 0}


@pytest.mark.parametrize("limit", ["rate_hz", "window_charge_nC"])
@pytest.mark.parametrize("raises", [False, True])
def test_a_pulse_counts_in_its_windows_from_when_the_device_had_begun_it(limit: str, raises: bool) -> None:
    """One pulse in 100 ms, and a device that takes 60 ms to begin the first."""
    one = {"rate_hz": {"rate_hz": 10, "rate_window_s": 0.1}, "window_charge_nC": {"window_charge_nC": 2 * Q_NC}}[limit]
    bench, device = bench_of(WIDE | {"charge_window_s": 0.1} | one)
    deliver = device.deliver

    def slow(pulses: tuple[Pulse, ...], at_ns: int) -> None:
        bench.now_ns += 60_000_000
        deliver(pulses, at_ns)
        device.deliver = deliver  # type: ignore[method-assign]
        if raises:
            raise OSError("no answer")

    device.deliver = slow  # type: ignore[method-assign]
    assert bench.refused(pulse()) == set()
    if raises:
        running_again(bench)
    assert bench.refused(pulse(), 40_000) == {limit}
    assert bench.refused(pulse(), 59_999.999) == {limit}
    assert bench.refused(pulse(), 0.001) == set()


def test_a_clock_that_goes_back_behind_a_slow_device_trips() -> None:
    bench, device = bench_of(WIDE)
    device.deliver = lambda pulses, at_ns: setattr(bench, "now_ns", 10**6)  # type: ignore[method-assign]
    bench.ask(pulse())
    bench.now_ns = 999_000
    bench.ask(pulse())
    assert bench.guard.cause == "clock: the guard's own went back by 1 us"


@pytest.mark.parametrize("after_us", [0, 0.001, 100, 200, 225, 300, 449.999])
def test_a_trip_silences_at_once_and_what_it_may_have_left_counts(after_us: float) -> None:
    bench, device = bench_of(BALANCED)
    bench.ask(Pattern((pulse("a"), pulse("b", polarity="anodic first"))))
    bench.wait(after_us)
    bench.station.trip("a cause")
    assert silences(bench)[-1] == (bench.now_ns, "tripped")
    sites = bench.station.status()["sites"]
    assert [sites[site]["net_aC"] for site in "abc"] == [-Q_NC * 10**9, Q_NC * 10**9, 0]
    assert [sites[site]["pulses_cut"] for site in "abc"] == [1, 1, 0]
    assert all(abs(device.net[site] * 10**9) <= abs(sites[site]["net_aC"]) for site in "ab")
    cut = [record for record in bench.records if record["kind"] == "pulse cut"]
    assert [(each["site"], each["left_aC"], each["above_limit"]) for each in cut] == [
        ("a", (-Q_NC * 10**9, 0), True), ("b", (0, Q_NC * 10**9), True),
    ]  # fmt: skip


def running_again(bench: Bench) -> None:
    bench.station.person("reset", by="A. Tester", cause=bench.guard.cause)
    bench.station.person("arm", by="A. Tester")
    bench.station.start()


def test_a_site_that_a_trip_may_have_left_above_the_limit_gets_nothing_more() -> None:
    bench, _ = bench_of(BALANCED)
    bench.ask(pulse(), 0)
    bench.wait(200)
    bench.station.trip("a cause")
    running_again(bench)
    answer = bench.ask(pulse(), 10_000)
    assert [violation.text for violation in answer.violations] == ["net_charge_nC at 'a': 2 nC, limit 0 nC"]
    assert bench.refused(pulse("b")) == set()


def test_what_trips_may_have_left_adds_up_to_the_limit() -> None:
    bench, device = bench_of(WIDE | {"net_charge_nC": 3 * Q_NC, "imbalance_fraction": 0})
    for _ in range(3):
        assert bench.refused(pulse(), 10_000) == set()
        bench.wait(200)
        bench.station.trip("a cause")
        running_again(bench)
    assert device.net == {"a": -3 * Q_NC}
    assert bench.refused(pulse(), 10_000) == set()
    bench.wait(225)
    bench.station.trip("a cause")
    running_again(bench)
    assert bench.refused(pulse(), 10_000) == {"net_charge_nC"}
    assert device.net == {"a": -4 * Q_NC}


def test_a_trip_after_a_stop_cuts_the_pulse_that_was_to_end() -> None:
    bench, device = bench_of(BALANCED)
    bench.ask(pulse())
    bench.ask(Stop(), 100)
    bench.wait(100)
    bench.station.trip("a cause")
    assert device.net == {"a": -Q_NC}
    assert bench.station.status()["sites"]["a"]["net_aC"] == -Q_NC * 10**9


def test_a_pulse_is_cut_once_and_a_whole_one_not_at_all() -> None:
    bench, _ = bench_of(BALANCED)
    bench.ask(pulse())
    bench.wait(450)
    bench.station.trip("a cause")
    running_again(bench)
    assert bench.refused(pulse(), 1) == set()
    bench.station.trip("a cause")
    running_again(bench)
    bench.station.trip("another")
    assert bench.station.status()["sites"]["a"]["pulses_cut"] == 1


sizes = st.integers(1, 10**6)


@given(
    sizes, sizes, sizes, sizes, st.integers(0, 10**6), st.sampled_from(["cathodic first", "anodic first"]), st.data()
)
def test_no_instant_of_a_cut_leaves_more_than_is_counted(
    first_nA: int, second_nA: int, first_ns: int, second_ns: int, pause_ns: int, polarity: str, data: st.DataObject
) -> None:
    made = Pulse(
        site="a",
        polarity=polarity,
        amplitude_uA=Fraction(first_nA, 1000),
        second_amplitude_uA=Fraction(second_nA, 1000),
        width_us=Fraction(first_ns, 1000),
        interphase_us=Fraction(pause_ns, 1000),
        second_width_us=Fraction(second_ns, 1000),
    )
    ledger = SiteLedger()
    ledger.add(made, 0, 0)
    at_ns = data.draw(st.integers(0, made.duration_ns - 1))
    assert ledger.cut(made.duration_ns) is None
    assert ledger.cut(at_ns) is not None
    assert ledger.net_low_aC <= flowed_nC(made, at_ns) * 10**9 <= ledger.net_high_aC
    assert {ledger.net_low_aC, ledger.net_high_aC} <= {
        flowed_nC(made, ns) * 10**9 for ns in (0, first_ns, first_ns + pause_ns, made.duration_ns)
    }


# -- with processes

DEVICE = """
import os, time

class Stamps:
    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def deliver(self, pulses, at_ns):
        os.write(self.file, f"deliver {time.monotonic_ns()}\\n".encode())

    def silence(self):
        os.write(self.file, f"silence {time.monotonic_ns()}\\n".encode())
"""
LONG = {"width_us": 400_000, "second_width_us": 400_000, "amplitude_uA": 1, "second_amplitude_uA": 1}


@pytest.mark.parametrize("how", ["the loop's end", "SIGTERM"])
def test_the_guards_end_waits_for_a_pulse_where_it_did_not_trip(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_guard_process import Rig

    (tmp_path / "stamps.py").write_text(DEVICE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    rig = Rig(tmp_path, device="stamps:Stamps", options={"path": str(tmp_path / "stamps.txt")})
    try:
        rig.guard.console.arm(by="A. Tester")
        rig.guard.link.start()
        rig.guard.link.command(pulse(**LONG))
        rig.wait_for_pulses(1)
        if how == "SIGTERM":
            os.kill(rig.guard.pid, signal.SIGTERM)
            rig.guard._process.wait(60)
        else:
            rig.guard.link.end()
    finally:
        rig.close()
    lines = [line.split() for line in (tmp_path / "stamps.txt").read_text().splitlines()]
    first = next(i for i, line in enumerate(lines) if line[0] == "deliver")
    assert {line[0] for line in lines[first + 1 :]} == {"silence"}
    lasted_ns = int(lines[first + 1][1]) - int(lines[first][1])
    cuts = [record for record in rig.log if record["kind"] == "pulse cut"]
    if how == "SIGTERM":
        assert len(cuts) == 1
    else:
        assert lasted_ns >= pulse(**LONG).duration_ns
        assert cuts == []
