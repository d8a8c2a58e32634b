"""Clocks and the accounting of time: exact counts, percentiles of known error, refusals of the system that are said."""

from __future__ import annotations

import gc
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeport.loop.accounting import RELATIVE_ERROR, Accounting, Histogram, environment, table
from spikeport.loop.clocks import RealTime, VirtualClock, WallClock, timer_floor
from spikeport.snn.errors import SpikeportError

TIMES = st.lists(st.integers(0, 2**50) | st.integers(0, 3000), min_size=1, max_size=300)


@given(TIMES)
def test_a_percentile_is_at_most_the_stated_error_above_the_true_one(times: list[int]) -> None:
    histogram = Histogram()
    for value in times:
        histogram.add(value)
    ordered = sorted(times)
    for q in (0.0, 0.25, 0.5, 0.95, 0.99, 0.999, 1.0):
        exact = ordered[max(1, int(np.ceil(q * len(times) - 1e-12))) - 1]
        assert exact <= histogram.quantile(q) <= exact * (1 + RELATIVE_ERROR)
    assert (histogram.n, histogram.total) == (len(times), sum(times))
    assert (histogram.smallest, histogram.largest) == (ordered[0], ordered[-1])
    assert histogram.quantile(1.0) == ordered[-1]


@given(st.integers(0, 255))
def test_small_times_have_bins_of_their_own(ns: int) -> None:
    histogram = Histogram()
    histogram.add(ns)
    histogram.add(10**6)
    assert histogram.quantile(0.5) == ns


def test_a_histogram_has_the_same_size_after_a_million_values_of_any_size() -> None:
    histogram = Histogram()
    bins = len(histogram.bins)
    for k in range(64):
        histogram.add(2**k)
    assert len(histogram.bins) == bins < 10_000
    assert sum(histogram.bins) == histogram.n == 64


def test_a_negative_time_is_counted_and_is_in_nothing_else() -> None:
    histogram = Histogram()
    for ns in (-5, 10, -1):
        histogram.add(ns)
    assert histogram.as_dict() == {
        "n": 1, "min": 10, "mean": 10.0, "p50": 10, "p95": 10, "p99": 10, "p99.9": 10, "max": 10, "negative": 2,
    }  # fmt: skip
    assert "2 negative" in table({"x": histogram})


def test_an_empty_histogram_has_no_times() -> None:
    assert Histogram().as_dict() == {"n": 0, "negative": 0}
    assert table({"x": Histogram()}).splitlines()[1].split() == ["x", "0"]


@given(st.lists(st.booleans(), max_size=60))
def test_misses_and_their_longest_run_are_those_of_the_list(late: list[bool]) -> None:
    accounting = Accounting(budget_ns=100)
    for is_late in late:
        emitted = 1101 if is_late else 1100  # at the budget is in time
        assert accounting.tick(1000, 1000, 1000, 1050, emitted) == is_late
    runs = "".join("x" if is_late else " " for is_late in late).split()
    assert accounting.misses == sum(late)
    assert accounting.longest_run == max(map(len, runs), default=0)


def test_virtual_time_goes_on_only_where_something_waits_or_costs() -> None:
    clock = VirtualClock(start_ns=5, costs={"decode": [3, 4], "emit": 10, "poll": lambda n: n})
    assert (clock.now_ns(), clock.now_ns()) == (5, 5)
    assert (clock.wait_until(100), clock.wait_until(50)) == (100, 100)
    for operation, then in (
        ("decode", 103), ("decode", 107), ("decode", 107), ("emit", 117), ("poll", 117), ("poll", 118), ("record", 118),
    ):  # fmt: skip
        clock.spend(operation)
        assert clock.now_ns() == then


def test_costs_that_nothing_is_charged_for_or_that_are_negative_are_refused() -> None:
    with pytest.raises(SpikeportError, match="costs of sleep, which nothing is charged for"):
        VirtualClock(costs={"sleep": 1})
    with pytest.raises(SpikeportError, match="'poll' number 0 costs -1 ns"):
        VirtualClock(costs={"poll": -1}).spend("poll")


@pytest.mark.parametrize("spin_ns", [0, 200_000])
def test_the_wall_clock_never_returns_before_its_deadline(spin_ns: int) -> None:
    clock = WallClock(RealTime(spin_ns=spin_ns))
    for ahead in (-1_000_000, 0, 1000, 300_000, 2_000_000):
        deadline = clock.now_ns() + ahead
        assert clock.wait_until(deadline) >= deadline


def test_the_timer_floor_counts_every_empty_tick() -> None:
    assert timer_floor(VirtualClock(), 50).as_dict()["max"] == 0
    floor = timer_floor(WallClock(), 20, 1e-4)
    assert (floor.n, floor.negative) == (20, 0)


@pytest.mark.parametrize("spin_ns", [0, 1000])
def test_without_an_absolute_sleep_the_ordinary_one_is_taken(spin_ns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "elsewhere")
    clock = WallClock(RealTime(spin_ns=spin_ns))
    assert clock.describe()["sleep"] == "time.sleep"
    deadline = clock.now_ns() + 500_000
    assert clock.wait_until(deadline) >= deadline


def refuse(*_: Any) -> Any:
    raise PermissionError(1, "Operation not permitted")


def test_what_the_system_refuses_is_said_and_what_it_grants_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.sched_getaffinity(0)
    one = (min(before),)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    clock = WallClock(RealTime(fifo_priority=10, gc_freeze=True, cpus=one))
    clock.prepare()
    clock.begin()
    assert gc.get_freeze_count() > 0
    assert os.sched_getaffinity(0) == set(one)
    got = clock.describe()["got"]
    assert got["fifo_priority"] == "refused: [Errno 1] Operation not permitted"
    assert (got["cpus"], got["gc_freeze"]) == ("granted", "granted")
    assert clock.describe()["asked"] == {"fifo_priority": 10, "gc_freeze": True, "cpus": list(one)}
    for _ in range(2):
        clock.end()
        clock.release()
    assert gc.get_freeze_count() == 0
    assert os.sched_getaffinity(0) == before


def test_a_core_that_is_not_there_is_refused_and_said() -> None:
    clock = WallClock(RealTime(cpus=(10_000,)))
    clock.begin()
    assert clock.describe()["got"]["cpus"].startswith("refused: ")
    clock.end()


def test_a_priority_that_is_taken_and_not_given_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_setscheduler", lambda *_: None)
    clock = WallClock(RealTime(fifo_priority=10))
    clock.begin()
    assert clock.describe()["got"]["fifo_priority"] == "refused: the system took the call, and the priority is 0"
    clock.end()


def test_cores_of_which_some_are_not_there_are_refused_in_part_and_said() -> None:
    here = min(os.sched_getaffinity(0))
    clock = WallClock(RealTime(cpus=(here, 1000)))
    clock.begin()
    got = clock.describe()["got"]["cpus"]
    clock.end()
    assert got == f"refused in part: not core 1000; it runs on core {here}"


def test_memory_that_cannot_be_locked_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Libc:
        def mlockall(self, flags: int) -> int:
            return -1

    monkeypatch.setattr("ctypes.CDLL", lambda *a, **k: Libc())
    monkeypatch.setattr("ctypes.get_errno", lambda: 12)
    clock = WallClock.__new__(WallClock)
    monkeypatch.setattr("spikeport.loop.clocks._AbsoluteSleep.make", lambda: None)
    clock.__init__(RealTime(lock_memory=True))  # type: ignore[misc]
    clock.prepare()
    assert "refused: [Errno 12] mlockall" in clock.describe()["got"]["lock_memory"]


@pytest.mark.parametrize("wrong", [{"fifo_priority": 0}, {"fifo_priority": 100}, {"cpus": ()}, {"spin_ns": -1}])
def test_settings_that_no_system_has_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SpikeportError, match="settings that no system has"):
        RealTime(**wrong)


def test_the_box_says_what_a_timing_needs_beside_it() -> None:
    assert {"kernel", "machine", "cpu", "cpus", "python"} <= set(environment())
