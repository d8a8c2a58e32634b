"""Faults on purpose: whatever a transport, a producer or a slow consumer does, the record explains each gap exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_audit import agrees, audit
from loop_parts import MS, PERIOD, Adder, Given, Kept, Played, policy

from spikeport.loop.clocks import VirtualClock
from spikeport.loop.faults import (
    ClockStep,
    Dead,
    Drop,
    FaultySource,
    Jump,
    Late,
    Reorder,
    Restart,
    SlowDecoder,
    SlowSink,
    random_faults,
)
from spikeport.loop.loop import Loop
from spikeport.loop.packets import Packet
from spikeport.loop.policies import LOST, OVERLOAD
from spikeport.loop.ports import Clock
from spikeport.loop.sinks.memory import MemorySink
from spikeport.loop.sources.recording import ArraySource

N = 120
NO_ABORT = [p for p in LOST if p != "abort"]


def oracle(polled: list[list[Packet]], window: int) -> tuple[list[int], dict[str, list[int]]]:
    """Which number each tick uses, and how all others end: by looking at the whole history each time."""
    used: list[int] = []
    ends: dict[str, list[int]] = {name: [] for name in ("duplicate", "late", "invalid", "old")}
    seen: set[int] = set()
    open_: set[int] = set()
    first = anchor = opened = None
    for tick, packets in enumerate(polled):
        for p in packets:
            if first is None:
                first, anchor, opened = p.seq, tick - p.seq + window, tick
            elif tick == opened and p.seq > max(seen):
                anchor = tick - p.seq + window
            if p.seq in seen:
                ends["duplicate"].append(p.seq)
            elif p.seq < first:
                ends["old"].append(p.seq)
            else:
                seen.add(p.seq)
                if np.isfinite(p.values).all():
                    open_.add(p.seq)
                else:
                    ends["invalid"].append(p.seq)
        if max(used, default=-1) < 0 and open_ and max(open_) == max(seen) and max(open_) + anchor < tick:
            anchor = tick - max(open_) + window  # before the first good packet there is no stream, and no place yet
        due = -1 if anchor is None else tick - anchor
        usable = [q for q in open_ if q <= due and q > max(used, default=-1)]
        used.append(max(usable, default=-1))
        passed = {q for q in open_ if q <= due}
        ends["late"] += sorted(passed - {used[-1]})
        open_ -= passed
    ends["lost"] = sorted(set(range(first or 0, max(seen, default=-1) + 1)) - seen) if first is not None else []
    ends["waiting"] = sorted(open_)
    return used, ends


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.4), st.integers(0, 3), st.sampled_from(NO_ABORT))
@settings(max_examples=60, deadline=None)
def test_any_mixture_of_faults_is_accounted_for_as_by_hand(seed: int, rate: float, window: int, lost: str) -> None:
    faults = [f for f in random_faults(seed, N, rate=rate, period_ns=PERIOD) if not isinstance(f, ClockStep)]
    polled: list[list[Packet]] = []
    original = FaultySource.poll

    def poll(self: FaultySource) -> Sequence[Packet]:
        polled.append(list(original(self)))
        return polled[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FaultySource, "poll", poll)
        played = Played(N, faults, n_ticks=N + 30, lost=lost, window=window)
    used, ends = oracle(polled, window)
    assert played.seqs == used[: len(played.seqs)]
    assert played.lost() == ends["lost"]
    for kind in ("duplicate", "late", "invalid", "old"):
        assert sorted(played.numbers(kind)) == sorted(ends[kind]), kind
    assert played.summary.imbalances() == []
    assert played.summary.packets["received"] == len(played.source.sent)


@given(
    st.integers(0, 2**32 - 1), st.floats(0.0, 0.3), st.integers(0, 3), st.sampled_from(LOST),
    st.sampled_from(OVERLOAD), st.integers(1, 6), st.integers(1, 5), st.integers(5, 12),
    st.sampled_from([0.0, 2e-4, 0.9e-3]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_everything_adds_up_whatever_happens(
    seed: int,
    rate: float,
    window: int,
    lost: str,
    overload: str,
    lost_after: int,
    good: int,
    capacity: int,
    latency: float,
) -> None:
    rng = np.random.default_rng(seed)
    faults = random_faults(seed, N, rate=rate, period_ns=PERIOD)
    faults += [Restart(int(rng.integers(20, N)))] if rng.random() < 0.5 else []
    faults += [Jump(int(rng.integers(20, N)), int(rng.integers(1, 3000)))] if rng.random() < 0.5 else []
    costs = {"decode": lambda n: int(rng.integers(0, 40)) * PERIOD if rng.random() < 0.05 else PERIOD // 2}
    choice = policy(lost=lost, overload=overload, window=window, lost_after=lost_after, good=good, capacity=capacity)
    played = Played(
        N, faults, clock=VirtualClock(costs=costs), n_ticks=N + 30, policy=choice, latency=latency,
        capacity=int(rng.integers(1, 20)),
    )  # fmt: skip
    found = audit(played.recorder.items(), played.source.given, choice, lambda values: round(float(values[0])) - 1)
    agrees(found, played.summary, len(played.source.sent))


def test_a_reorder_window_takes_packets_in_order_for_a_delay() -> None:
    played = Played(N, [Reorder((7, 30)), Late((50,), PERIOD)], window=1)
    assert played.seqs == [-1, *range(N)]  # a period of delay, and nothing lost
    assert played.summary.packets["late"] == 0
    assert played.causes == ["stream lost"] + ["fresh"] * N or played.causes == ["held"] + ["fresh"] * N


def test_a_restart_is_seen_and_counted_from_there() -> None:
    played = Played(N, [Restart(50), Drop((70,))], n_ticks=N)
    assert played.events("restart") == [{"after": 49, "seq": 0}]
    assert played.summary.restarts == 1
    assert [o.tick for o in played.recorder.ticks if o.cause != "fresh"] == [50, 70]  # 50: not yet believed
    assert played.seqs[51:54] == [1, 2, 3]
    assert played.summary.lost_ranges == ((1, 20, 20),)
    assert played.decoder.given[51] == 52.0
    assert played.summary.imbalances() == []


def test_a_jump_beyond_the_capacity_is_a_range_of_lost_numbers() -> None:
    played = Played(N, [Jump(50, 1_000_000)], n_ticks=N)
    assert played.events("jump") == [{"after": 49, "seq": 1_000_050}]
    assert played.summary.lost_ranges == ((0, 50, 1_000_049),)
    assert played.seqs[50:53] == [-1, 1_000_051, 1_000_052]
    assert played.summary.imbalances() == []


def test_a_jump_within_the_capacity_is_known_by_the_stamps() -> None:
    played = Played(N, [Jump(50, 40)], n_ticks=N)
    assert played.events("jump") == [{"after": 49, "seq": 90}]
    assert played.summary.lost_ranges == ((0, 50, 89),)
    assert played.seqs[49:53] == [49, -1, 91, 92]
    assert played.summary.imbalances() == []


def test_one_wrong_number_alone_is_a_stray_and_moves_nothing() -> None:
    played = Played(N, [Jump(50, 10**9), Jump(51, -(10**9))], n_ticks=N)
    assert played.events("stray") == [{"seq": 10**9 + 50, "looked_like": "jump"}]
    assert [o.tick for o in played.recorder.ticks if o.cause != "fresh"] == [50]
    assert played.lost() == [50]
    assert played.summary.packets["used"] == N - 1


def test_a_pause_of_the_producer_is_no_step_of_its_clock() -> None:
    played = Played(N, [Dead(40, 70), Jump(70, -30)], n_ticks=N)  # it goes on where it stopped
    assert played.events("clock step") == []
    assert played.lost() == []
    assert [o.tick for o in played.recorder.ticks if o.cause != "fresh"] == list(range(40, 70))
    assert played.seqs[70:73] == [40, 41, 42]
    assert played.events("used late") == [{"seq": 40, "ticks": 30}]  # said once: each later one is as late
    assert played.summary.used_late == 50


def test_a_producer_that_came_back_finds_a_new_place_at_once_when_the_stream_was_lost() -> None:
    played = Played(N, [Dead(40, 70), Jump(70, -30)], n_ticks=N, lost_after=5)
    assert played.events("places moved") == [{"ticks": 30, "why": "the stream came back"}]
    assert played.events("used late") == []
    assert played.causes[40:70] == ["held"] * 4 + ["stream lost"] * 26
    assert played.seqs[70:] == list(range(40, 90))


def test_a_slow_producer_is_used_late_and_not_lost() -> None:
    """5 % slower than the ticks: one tick without a packet each time that it has fallen a period behind."""
    n = 2000
    clock, decoder = VirtualClock(), Adder()
    recorder = Kept()
    source = ArraySource(np.arange(1.0, n)[:, None], period=1.05e-3, phase=5e-4, latency=1e-4)
    loop = Loop(source, decoder, MemorySink(), clock, policy(capacity=16), recorder, period=1e-3)
    summary = loop.run(n)
    assert summary.imbalances() == []
    assert summary.packets["used"] == summary.packets["received"]
    assert summary.causes["held"] == pytest.approx(n - n / 1.05, abs=2)
    assert max(e["ticks"] for e in recorder.of("used late")) <= 2  # the places follow
    assert len(recorder.of("places moved")) == pytest.approx(n - n / 1.05, abs=3)


@pytest.mark.parametrize("overload", ["latest", "all"])
def test_a_fast_producer_is_caught_up_with_or_queued_as_chosen(overload: str) -> None:
    recorder, n = Kept(), 1000
    source = ArraySource(np.arange(1.0, 2 * n)[:, None], period=0.95e-3, phase=5e-4, latency=1e-4)
    choice = policy(overload=overload, capacity=16, backlog=2)
    summary = Loop(source, Adder(), MemorySink(), VirtualClock(), choice, recorder, period=1e-3).run(n)
    given_up = "superseded" if overload == "latest" else "overflow"
    surplus = n / 0.95 - n
    assert summary.imbalances() == []
    assert summary.causes["fresh"] >= n - 1
    assert summary.packets[given_up] == pytest.approx(surplus - (2 if overload == "latest" else 15), abs=3)
    assert len(recorder.of(given_up)) == summary.packets[given_up]


@pytest.mark.parametrize("slow", ["decoder", "sink"])
@pytest.mark.parametrize("overload", OVERLOAD)
def test_a_slow_consumer_is_an_overload_and_each_passed_packet_is_named(slow: str, overload: str) -> None:
    """The 11th tick takes 7.5 periods: the next one is due, and 6 more."""
    clock, delay = VirtualClock(), {10: 15 * PERIOD // 2}
    played = Played(
        N, clock=clock, n_ticks=N, overload=overload,
        decoder=SlowDecoder(Adder(), clock, delay) if slow == "decoder" else None,
        wrap_sink=lambda sink: SlowSink(sink, clock, delay) if slow == "sink" else sink,
    )  # fmt: skip
    assert played.summary.imbalances() == []
    if overload == "stop":
        assert played.summary.ended == "overload: tick 11 began 6 periods late"
        assert len(played.causes) == 11
        assert played.sink.outputs[-1].cause == "stopped"
    elif overload == "latest":
        assert played.events("ticks merged") == [{"first": 11, "last": 16, "into": 17}]
        assert played.numbers("superseded") == [11, 12, 13, 14, 15, 16]
        assert played.seqs == [*range(11), *range(17, N)]
        assert played.summary.merged == 6
        assert played.summary.accounting.misses == 7  # the slow one, and those that never came out
        assert played.summary.accounting.longest_run == 7
    else:
        assert played.seqs == list(range(N))
        assert played.summary.merged == 0
        assert played.events("deadlines missed") == [{"first_tick": 10, "last_tick": 16}]
        assert played.summary.accounting.longest_run == 7


def test_what_waits_when_an_overload_stops_the_run_was_not_used() -> None:
    """Three packets a tick: after the third tick more wait than may, and the tick that finds them is not run."""
    recorder, choice = Kept(), policy(overload="stop", backlog=4)
    source = Given(ArraySource(np.arange(1.0, N)[:, None], period=MS / 3, latency=1e-5), [])
    summary = Loop(source, Adder(), MemorySink(), VirtualClock(), choice, recorder, period=MS).run()
    assert summary.ended == "overload: 6 packets wait beyond the one that is due"
    found = audit(recorder.items(), source.given, choice, lambda values: round(float(values[0])) - 1)
    agrees(found, summary, len(source.given))
    assert found.numbers("waiting")[0] == found.used[-1][1] + 1


def test_a_consumer_that_is_too_slow_for_the_sources_buffer_loses_what_the_source_says() -> None:
    clock = VirtualClock()
    decoder = SlowDecoder(Adder(), clock, {10: 40 * PERIOD})
    played = Played(N, clock=clock, decoder=decoder, capacity=8, n_ticks=N, overload="all")
    assert played.summary.source_overflow == 32
    assert played.lost() == list(range(11, 43))
    assert played.summary.packets["lost"] == 32
    assert played.summary.imbalances() == []


def test_the_loops_own_queue_gives_up_the_oldest_and_names_them() -> None:
    clock = VirtualClock()
    decoder = SlowDecoder(Adder(), clock, {10: 40 * PERIOD})
    played = Played(N, clock=clock, decoder=decoder, n_ticks=N, policy=policy(capacity=8, overload="all"))
    assert played.numbers("overflow") == list(range(11, 43))
    assert played.seqs == [*range(11), *[-1] * 32, *range(43, N)]  # each one that is left in its own place
    assert played.summary.imbalances() == []


def test_without_stamps_a_restart_is_seen_once_the_stream_is_lost() -> None:
    """A source whose stamps are the times of reception says nothing about the producer's clock."""
    played = Played(N, [Restart(50)], n_ticks=N, latency=0.0, lost_after=4)
    assert played.numbers("duplicate") == [0, 1, 2, 3]
    assert played.events("restart") == [{"after": 49, "seq": 4}]
    assert played.causes[50:56] == ["held"] * 3 + ["stream lost"] * 2 + ["fresh"]
    assert played.seqs[55:] == list(range(5, 70))
    assert played.summary.imbalances() == []


@pytest.mark.parametrize("opened_before", [0, 450_000, 900_000, 250_450_000])
@pytest.mark.parametrize("seed", range(4))
def test_hiccups_leave_no_delay_behind(opened_before: int, seed: int) -> None:
    """Ticks that are late now and then, at the start too, on a source that began at any moment before: in the end a
    packet waits as long as it takes from its arrival to the next tick, and not a period longer."""
    rng = np.random.default_rng(seed)

    class Early(ArraySource):
        def open(self, clock: Clock) -> None:
            super().open(clock)
            clock.wait_until(clock.now_ns() + opened_before)

    hiccups = {"decode": lambda n: 12 * PERIOD // 5 if n < 400 and rng.random() < (0.5 if n < 3 else 0.02) else 0}
    clock = VirtualClock(costs=hiccups)
    source = Early(np.ones((100, 1)), period=1e-3, phase=5e-4, repeat=None)
    recorder = Kept()
    choice = policy(overload="latest", good=3, capacity=64)
    Loop(source, Adder(), MemorySink(), clock, choice, recorder, period=1e-3).run(800)
    waited = {o.start_ns - o.received_ns for o in recorder.ticks[-100:]}
    assert waited == {(PERIOD // 2 + opened_before) % PERIOD}
