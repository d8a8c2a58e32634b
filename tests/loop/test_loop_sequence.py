"""Sequence numbers: whatever numbers come, each packet ends in one place, and what waits is bounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_parts import PERIOD, policy

from spikeport.loop.packets import Packet
from spikeport.loop.sequence import EXPECTED, HISTORY, RECEIVED, Sequence

NUMBERS = st.integers(-2, 40) | st.integers(0, 5000) | st.integers(0, 2**62)
STREAM = st.lists(st.lists(st.tuples(NUMBERS, st.integers(0, 10**12)), max_size=6), max_size=60)


class Stream:
    """A sequence that is fed number by number, tick by tick."""

    def __init__(self, **choices: Any) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.sequence = Sequence(
            period_ns=PERIOD, policy=policy(**choices), report=lambda kind, **d: self.events.append((kind, d))
        )
        self.used: list[tuple[int, int]] = []  # (epoch, number)
        self.tick = 0

    def feed(self, *numbers: int | tuple[int, int], merged: int = 0) -> int:
        """One tick with these packets, each a number or (number, producer's stamp); the number used, or -1."""
        self.tick += merged
        for item in numbers:
            seq, stamp = item if isinstance(item, tuple) else (item, 0)
            packet = Packet(seq=seq, values=np.zeros(1), source_ns=stamp, received_ns=(self.tick + 1) * PERIOD)
            self.sequence.arrive(packet, self.tick)
        taken = self.sequence.take(self.tick, merged)
        self.tick += 1
        if taken is None:
            return -1
        self.used.append((self.sequence.epoch, taken.seq))
        self.sequence.astray = False
        return taken.seq

    def details(self, kind: str) -> list[dict[str, Any]]:
        return [details for found, details in self.events if found == kind]

    def sums(self) -> None:
        self.sequence.close()
        counts = self.sequence.counts
        assert counts["received"] == sum(counts[name] for name in RECEIVED)
        assert counts["expected"] == sum(counts[name] for name in EXPECTED)
        lost = self.details("lost")
        assert sum(e["last"] - e["first"] + 1 for e in lost) == counts["lost"]
        assert [(e["epoch"], e["first"], e["last"]) for e in lost] == self.sequence.lost_ranges
        for kind in ("late", "duplicate", "superseded", "overflow", "old", "stray", "waiting"):
            assert len(self.details(kind)) == counts[kind], kind


@given(STREAM, st.integers(0, 3), st.sampled_from(["latest", "all"]), st.integers(6, 40), st.data())
@settings(max_examples=200, deadline=None)
def test_any_numbers_at_all_add_up_and_never_wait_without_bound(
    stream: Any, window: int, overload: str, capacity: int, data: Any
) -> None:
    feed = Stream(window=window, overload=overload, capacity=capacity)
    for packets in stream:
        feed.sequence.astray = data.draw(st.booleans())
        feed.feed(*packets, merged=data.draw(st.sampled_from([0, 0, 0, 1, 5])) if overload == "latest" else 0)
        assert feed.sequence.waiting <= capacity
    assert feed.sequence.counts["received"] == sum(map(len, stream))
    feed.sums()
    assert feed.used == sorted(set(feed.used))  # within an epoch never twice, and never back


def test_a_long_stream_with_gaps_gives_the_very_ranges() -> None:
    feed, n = Stream(), 3 * HISTORY
    gone = {5, 6, 7, 4000, *range(5000, 5040), n - 2}
    for k in range(n):
        assert feed.feed(*([] if k in gone else [k])) == (-1 if k in gone else k)
    feed.sums()
    assert feed.sequence.lost_ranges == [(0, 5, 7), (0, 4000, 4000), (0, 5000, 5039), (0, n - 2, n - 2)]


def test_a_packet_may_come_as_late_as_the_history_is_long() -> None:
    feed = Stream()
    for k in range(HISTORY + 10):
        feed.feed(*([] if k in (5, 9) else [k]))
    feed.feed(HISTORY + 10, 5, 9)  # 5 has left the history, 9 not... of numbers above HISTORY + 10 - HISTORY = 10
    assert feed.details("old") == [{"seq": 5}, {"seq": 9}]
    feed = Stream()
    for k in range(HISTORY):
        feed.feed(*([] if k == 9 else [k]))
    feed.feed(HISTORY, 9)
    assert feed.details("late") == [{"seq": 9, "ticks": HISTORY - 9}]
    feed.sums()
    assert feed.sequence.lost_ranges == []


def test_the_first_packet_may_have_any_number() -> None:
    feed = Stream()
    assert [feed.feed(), feed.feed(1000), feed.feed(1001), feed.feed(999, 1002)] == [-1, 1000, 1001, 1002]
    assert feed.details("old") == [{"seq": 999}]
    feed.sums()


def test_of_what_waited_before_the_first_tick_the_newest_is_used() -> None:
    feed = Stream()
    assert [feed.feed(0, 1, 2, 3), feed.feed(4)] == [3, 4]
    assert [e["seq"] for e in feed.details("late")] == [0, 1, 2]
    feed.sums()


def test_a_gap_of_thousands_within_an_interruption_is_one_range() -> None:
    """The producer counts on while nothing comes: its next number is in its place, whatever the capacity."""
    feed = Stream(capacity=8)
    for k in range(10):
        feed.feed(k)
    for _ in range(10, 9000):
        feed.feed()
    assert feed.feed(9000) == 9000
    feed.sums()
    assert feed.sequence.lost_ranges == [(0, 10, 8999)]


def test_a_jump_that_is_not_confirmed_moves_nothing_and_one_that_is_does() -> None:
    feed = Stream(capacity=8)
    assert [feed.feed(0), feed.feed(500), feed.feed(2), feed.feed(900), feed.feed(901)] == [0, -1, 2, -1, 901]
    assert feed.details("stray") == [{"seq": 500, "looked_like": "jump"}]
    assert feed.details("jump") == [{"after": 2, "seq": 900}]
    feed.sums()
    assert feed.sequence.lost_ranges == [(0, 1, 1), (0, 3, 899)]


def test_a_negative_number_is_a_stray() -> None:
    feed = Stream()
    assert feed.feed(-1) == -1
    assert feed.details("stray") == [{"seq": -1, "looked_like": "negative"}]
    feed.sums()


def test_a_restart_needs_later_stamps_and_a_second_packet() -> None:
    stamp = [k * PERIOD for k in range(1000)]
    feed = Stream()
    for k in range(100):
        feed.feed((k, stamp[k]))
    assert feed.feed((0, stamp[100])) == -1  # may be a stray
    assert feed.feed((1, stamp[101])) == 1
    assert feed.details("restart") == [{"after": 99, "seq": 0}]
    assert feed.feed((100, stamp[100]), (2, stamp[102])) == 2  # the old producer's last: not of this epoch
    assert feed.sequence.epoch == 1
    feed.sums()


@pytest.mark.parametrize(("by", "told"), [(5, []), (50, [50]), (-50, [-50])])
def test_a_step_of_the_producers_clock_is_told_with_its_size(by: int, told: list[int]) -> None:
    feed = Stream()
    for k in range(20):
        feed.feed((k, k * PERIOD + 1 + (by * PERIOD if k >= 10 else 0)))
    assert [e["by_ns"] for e in feed.details("clock step")] == [b * PERIOD for b in told]
    assert [e["seq"] for e in feed.details("clock step")] == [10] * len(told)
    assert len(feed.used) == 20


def test_a_pause_of_the_producer_and_a_slow_transport_are_no_steps_of_its_clock() -> None:
    feed = Stream()
    for k in range(10):
        feed.feed((k, feed.tick * PERIOD + 1))
    for _ in range(50):
        feed.feed()
    for k in range(10, 20):  # it goes on where it stopped, with a ns of jitter: its time went on, its numbers did not
        feed.feed((k, feed.tick * PERIOD + 2))
    for _ in range(50):
        feed.feed()
    for k in range(20, 30):  # what was taken all the while, and held back
        feed.feed((k, (k + 50) * PERIOD + 2))
    assert feed.details("clock step") == []
    assert len(feed.used) == 30
