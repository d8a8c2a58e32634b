"""The watchdog: what ends RUNNING, at which value, and that no pulse comes later."""

from __future__ import annotations

import math
from typing import Any

import pytest
from guard_cases import WATCH, WIDE, Bench, pulse, train
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.loop.guard.watchdog import WATCH_SPECS, WatchLimits
from spikeport.snn.errors import SpikeportError

TIMEOUT_US = WATCH["heartbeat_timeout_us"]


def watched(**changed: Any) -> Bench:
    return Bench.running(WIDE, WATCH | changed)


def test_the_watchdog_has_no_defaults_and_all_that_miss_are_named() -> None:
    with pytest.raises(SpikeportError, match="limits of the watchdog") as raised:
        WatchLimits()
    assert [problem.split()[0] for problem in raised.value.problems] == list(WATCH_SPECS)


@pytest.mark.parametrize("name", WATCH_SPECS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -1, 1e30, True, "5", None, 0.00001])
def test_a_number_of_the_watchdog_that_is_none_is_refused(name: str, bad: Any) -> None:
    with pytest.raises(SpikeportError, match=f"  {name} "):
        WatchLimits(**(WATCH | {name: bad}))


def test_its_numbers_cross_the_border_unchanged() -> None:
    limits = WatchLimits(**(WATCH | {"clock_jump_us": 0.125}))
    assert WatchLimits.from_wire(limits.to_wire()).given == limits.given


def test_a_loop_that_beats_lives() -> None:
    bench = watched()
    for _ in range(500):
        bench.beat(TIMEOUT_US / 2)
        bench.station.service()
    assert bench.state == "running"


def test_at_the_timeout_it_lives_and_after_it_it_is_dead() -> None:
    bench = watched()
    bench.beat()
    bench.station.service()
    bench.now_ns += TIMEOUT_US * 1000
    bench.station.service()
    assert bench.state == "running"
    bench.now_ns += 1
    bench.station.service()
    assert bench.state == "tripped"
    assert bench.guard.cause == "heartbeat: none for 50000.001 us, limit 50000 us"


def test_the_beginning_counts_as_one_sign_of_life() -> None:
    bench = watched()
    bench.now_ns += TIMEOUT_US * 1000 + 1
    bench.station.service()
    assert bench.guard.cause.startswith("heartbeat: ")


def test_a_heartbeat_counts_from_when_it_was_sent() -> None:
    bench = watched()
    bench.beat(1000)
    bench.beat(40_000, sent_ns=bench.now_ns + 2_000_000, loop_ns=bench.now_ns + 2_000_000, deadline_ns=bench.now_ns)
    bench.now_ns += 12_000_001
    bench.station.service()
    assert bench.guard.cause.startswith("heartbeat: none for 50000.001 us")


@pytest.mark.parametrize("late_us", [0, 100_000])
def test_no_pulse_comes_after_the_stated_time(late_us: float) -> None:
    """Also where the guard itself wakes up late, before it looked at anything."""
    bench = watched()
    bench.beat()
    alive_ns = bench.now_ns
    bench.ask(train(1000, 100))
    bench.now_ns += round(late_us * 1000)
    bench.wait(10**6)
    assert bench.state == "tripped"
    stated_ns = bench.station.watchdog.limits.silent_within_us * 1000
    assert all(given.at_ns <= alive_ns + stated_ns for given in bench.log)
    assert len(bench.log) == (6 if late_us == 0 else 1)


@given(
    gaps=st.lists(st.floats(0, 80_000), min_size=1, max_size=30),
    polls=st.lists(st.integers(1, 30_000_000), min_size=1, max_size=50),
)
@settings(deadline=None, max_examples=40)
def test_whenever_beats_and_passes_come_no_pulse_is_later_than_the_stated_time(
    gaps: list[float], polls: list[int]
) -> None:
    bench = watched(clock_jump_us=10**8, lateness_us=10**8)
    bench.ask(train(1000, 100))
    beats = [0]
    for gap in gaps:
        beats.append(beats[-1] + round(gap * 1000))
    due = beats[1:]
    for poll in polls * 3:
        bench.now_ns += poll
        while due and due[0] <= bench.now_ns and bench.state == "running":
            at = due.pop(0)
            bench.beat(0, sent_ns=at, loop_ns=at, deadline_ns=at)
        bench.station.service()
    stated_ns = TIMEOUT_US * 1000
    for given_ in bench.log:
        assert given_.at_ns - max(beat for beat in beats if beat <= given_.at_ns) <= stated_ns


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_output_trips(bad: float) -> None:
    bench = watched()
    bench.ask(train(100, 100))
    bench.beat(values=(0.0, 1.0, bad))
    assert bench.guard.cause == f"values: output 2 of tick 0 is {bad}"
    bench.wait(10**5)
    assert len(bench.log) == 1


def test_a_run_of_missed_deadlines_trips_above_its_limit() -> None:
    bench = watched(missed_deadlines=3)
    for late_us, n in ((1001, 3), (1000, 1), (1001, 3)):  # 1000 us late is no miss, and ends the run
        for _ in range(n):
            bench.beat(deadline_ns=bench.now_ns + 1_000_000 - late_us * 1000)
    assert bench.state == "running"
    bench.beat(deadline_ns=bench.now_ns + 1_000_000 - 1_001_000)
    assert bench.guard.cause == "misses: 4 ticks in a row, limit 3"


@pytest.mark.parametrize(("left_out", "state"), [(3, "running"), (4, "tripped")])
def test_ticks_that_are_left_out_are_missed(left_out: int, state: str) -> None:
    bench = watched(missed_deadlines=3)
    bench.beat()
    bench.beat(tick=1 + left_out)
    assert bench.state == state


@pytest.mark.parametrize("tick", [0, -1, -(2**62)])
def test_a_tick_that_goes_back_trips(tick: int) -> None:
    bench = watched()
    bench.beat()
    bench.beat(tick=tick)
    assert bench.guard.cause == f"heartbeat: tick {tick} after tick 0"


@pytest.mark.parametrize(("jump_us", "state"), [(5000, "running"), (5000.001, "tripped"), (-5000.001, "tripped")])
def test_a_jump_of_the_loops_clock_trips_above_its_limit(jump_us: float, state: str) -> None:
    bench = watched(lateness_us=10**6)
    bench.beat()
    bench.beat(10_000, loop_ns=bench.now_ns + 10_000_000 + round(jump_us * 1000))
    assert bench.state == state
    assert bench.guard.cause.startswith("clock: " if state == "tripped" else "")


@pytest.mark.parametrize("name", ["loop_ns", "sent_ns"])
def test_a_clock_of_the_loop_that_goes_back_trips(name: str) -> None:
    bench = watched()
    bench.beat()
    bench.beat(1000, **{name: bench.now_ns - 1})
    assert bench.guard.cause == "clock: it went back by 0.001 us"


def test_a_heartbeat_from_the_future_trips() -> None:
    bench = watched()
    bench.beat(sent_ns=bench.now_ns + 1_000_001)
    assert bench.guard.cause == "clock: a heartbeat from 0.001 us ahead"


def test_a_machine_that_slept_trips() -> None:
    bench = watched()
    bench.beat()
    bench.asleep_ns = 5_000_000
    bench.station.service()
    assert bench.state == "running"
    bench.asleep_ns = 5_000_001
    bench.station.service()
    assert bench.guard.cause == "clock: the machine slept for 5000.001 us"


def test_a_guard_that_was_held_up_trips() -> None:
    bench = watched()
    for after_us in (25_000, 25_000, 0.001):  # the loop lives, and is read; but nothing looks at what is due
        bench.beat(after_us)
    assert bench.state == "running"
    bench.station.service()
    assert bench.guard.cause == "held up: the guard itself, for 50000.001 us"


@pytest.mark.parametrize("look_first", [True, False])
@pytest.mark.parametrize(("gap_us", "state"), [(TIMEOUT_US, "running"), (TIMEOUT_US + 0.001, "tripped")])
def test_a_gap_above_the_timeout_latches_whichever_is_looked_at_first(
    gap_us: float, state: str, look_first: bool
) -> None:
    """The late heartbeat waits already when the guard wakes up, which was held up for less than the timeout."""
    bench = watched(clock_jump_us=10**7, lateness_us=10**7)
    bench.beat(1000)
    bench.now_ns += 40_000_000
    bench.station.service()
    bench.now_ns += round(gap_us * 1000) - 40_000_000
    if look_first:
        bench.station.service()
    bench.beat(0)
    assert bench.ask(train(1, 1)).allowed == (state == "running")
    assert bench.state == state
    assert bench.guard.cause in ("", "heartbeat: none for 50000.001 us, limit 50000 us")


@given(
    sent=st.lists(st.integers(1, 60_000_000), min_size=1, max_size=12),
    looks=st.lists(st.integers(1, 60_000_000), min_size=1, max_size=12),
)
@settings(deadline=None, max_examples=200)
def test_no_gap_of_the_heartbeats_above_the_timeout_is_survived(sent: list[int], looks: list[int]) -> None:
    """Whenever the guard reads what came, and in whatever portions."""
    bench = watched(clock_jump_us=10**7, lateness_us=10**7, missed_deadlines=1000)
    waiting = [sum(sent[: index + 1]) for index in range(len(sent))]
    last = 0
    for gap in looks:
        bench.now_ns += gap
        while waiting and waiting[0] <= bench.now_ns and bench.state == "running":
            at = waiting.pop(0)
            bench.beat(0, sent_ns=at, loop_ns=at, deadline_ns=at)
            if at - last > TIMEOUT_US * 1000:
                assert bench.state == "tripped"
            last = at
        bench.station.service()
        if bench.state == "tripped":
            break


def test_a_loop_that_is_lost_trips_but_not_after_its_end() -> None:
    bench = watched()
    bench.station.lost("loop: gone")
    assert bench.guard.cause == "loop: gone"
    ended = watched()
    ended.station.end()
    ended.station.lost("loop: gone")
    assert ended.state == "disarmed"


def test_an_armed_guard_whose_loop_is_lost_trips() -> None:
    bench = Bench(WIDE, WATCH)
    bench.station.person("arm", by="A. Tester")
    bench.station.lost("loop: gone")
    assert bench.state == "tripped"


def test_it_does_not_watch_before_the_start_nor_after_the_end() -> None:
    bench = Bench(WIDE, WATCH)
    bench.station.person("arm", by="A. Tester")
    bench.now_ns += 10**12
    bench.beat(values=(math.nan,))
    bench.station.service()
    assert bench.state == "armed"
    bench.station.start()
    bench.station.end()
    bench.now_ns += 10**12
    bench.station.service()
    assert bench.state == "disarmed"


CAUSES = {  # a mutation of each: without it, its case goes on running
    "values": lambda bench: bench.beat(values=(math.nan,)),
    "timeout": lambda bench: bench.wait(TIMEOUT_US + 1),
    "misses": lambda bench: [bench.beat(deadline_ns=0) for _ in range(5)],
    "clock": lambda bench: bench.beat(loop_ns=10**12, deadline_ns=10**12),
}


@pytest.mark.parametrize("name", CAUSES)
def test_each_cause_cuts_a_train_that_is_under_way(name: str) -> None:
    bench = watched()
    for _ in range(3):
        bench.beat()
    bench.ask(train(1000, 100))
    CAUSES[name](bench)  # type: ignore[no-untyped-call]
    assert bench.state == "tripped"
    n = len(bench.log)
    bench.wait(10**6)
    assert len(bench.log) == n
    assert bench.station.device.silences >= 2  # type: ignore[attr-defined]


def with_a_log_that_blocks(bench: Bench, block_us: int, fails: bool = False) -> list[int]:
    """At each pulse. The numbers of pulses that the device really gets."""
    listener, got = bench.station._listener, []

    def record(kind: str, at_ns: int, **details: Any) -> None:
        if fails and kind == "not given":
            raise OSError("No space left")
        listener(kind, at_ns, **details)
        bench.now_ns += block_us * 1000 if kind == "pulse" else 0

    bench.station._listener = record
    bench.station.device.deliver = lambda pulses, at_ns: got.append(len(pulses))  # type: ignore[method-assign]
    return got


def test_a_pulse_whose_line_takes_longer_than_the_timeout_is_not_given() -> None:
    bench = Bench.running(WIDE | {"late_us": 10**6}, WATCH)
    got = with_a_log_that_blocks(bench, 200_000)
    bench.ask(train(3, 100))
    assert (bench.state, got, bench.guard.given, bench.log) == ("tripped", [], 0, [])
    assert bench.guard.cause == "heartbeat: none for 200000 us, limit 50000 us"
    taken_back = next(record for record in bench.records if record["kind"] == "not given")
    assert taken_back == {"kind": "not given", "at_ns": 2 * 10**8, "stimulus": 1, "cause": bench.guard.cause}


@pytest.mark.parametrize(("block_us", "n"), [(1000, 1), (1001, 0)])
def test_a_pulse_whose_line_takes_longer_than_it_may_be_late_is_cut(block_us: int, n: int) -> None:
    bench = Bench.running(WIDE | {"late_us": 1000})
    got = with_a_log_that_blocks(bench, block_us)
    bench.ask(pulse())
    assert (bench.state, len(got), bench.guard.given, len(bench.log)) == ("running", n, n, n)
    assert bench.station.status()["sites"]["a"]["charge_aC"] == n * 4 * 10**9
    assert [r["cause"] for r in bench.records if r["kind"] in ("cut", "not given")] == ["late"] * 2 * (1 - n)
    assert bench.guard.next_ns() is None


def test_a_line_that_cannot_be_taken_back_trips() -> None:
    bench = Bench.running(WIDE | {"late_us": 1000})
    got = with_a_log_that_blocks(bench, 2000, fails=True)
    bench.ask(pulse())
    assert (bench.state, got) == ("tripped", [])
    assert bench.guard.cause == "record: it raised OSError: No space left"


def test_the_clock_is_looked_at_again_before_each_pulse() -> None:
    """The guard is held up between its look at the loop and the pulse: the loop's time ran out meanwhile."""
    bench = watched()
    bench.beat()
    assert bench.station.command(train(10, 100)).allowed
    reads = iter([bench.now_ns, bench.now_ns + 60_000_000])
    bench.station._now = lambda: next(reads, bench.now_ns + 60_000_000)
    bench.station.service()
    assert bench.state == "tripped"
    assert bench.log == []
