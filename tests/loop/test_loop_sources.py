"""Sources that need no transport: arrays and files of trials in time again, and packets from the same process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loop_parts import MS, PERIOD, Adder, policy
from small_models import write_trials

from spikeport.loop.clocks import VirtualClock, WallClock
from spikeport.loop.loop import Loop
from spikeport.loop.sinks.memory import MemorySink
from spikeport.loop.sources.memory import MemorySource
from spikeport.loop.sources.recording import ArraySource, as_the_network_sees, replay_trials
from spikeport.snn.errors import SpikeportError
from spikeport.snn.spiking import SAMPLINGS, HeldInput, sample_index


def test_a_replayed_packet_comes_when_it_was_taken_and_its_latency_later() -> None:
    clock = VirtualClock(start_ns=77)
    source = ArraySource(np.arange(6.0).reshape(3, 2), period=MS, phase=4e-4, latency=3e-4)
    source.open(clock)
    assert source.poll() == []
    for i in range(3):
        taken = 77 + (i + 1) * PERIOD - 400_000
        clock.wait_until(taken + 300_000 - 1)
        assert source.poll() == []
        clock.wait_until(taken + 300_000)
        (packet,) = source.poll()
        assert (packet.seq, packet.source_ns, packet.received_ns) == (i, taken, taken + 300_000)
        np.testing.assert_array_equal(packet.values, [2.0 * i, 2.0 * i + 1])
    assert source.ended


def test_a_replay_may_be_repeated_with_numbers_that_go_on() -> None:
    for repeat, ended in ((3, True), (None, False)):
        clock = VirtualClock()
        source = ArraySource([[1.0], [2.0]], period=MS, repeat=repeat)
        source.open(clock)
        clock.wait_until(6 * PERIOD)
        packets = source.poll()
        assert [p.seq for p in packets] == list(range(6))
        assert [p.values[0] for p in packets] == [1, 2] * 3
        assert source.ended is ended


def test_a_source_that_is_not_asked_gives_up_its_oldest_and_counts_them() -> None:
    clock = VirtualClock()
    source = ArraySource(np.zeros((100, 1)), period=MS, capacity=8)
    source.open(clock)
    clock.wait_until(30 * PERIOD)
    assert [p.seq for p in source.poll()] == list(range(22, 30))
    assert (source.overflowed(), source.overflowed()) == (22, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"period": 0.0}, "period: 0.0 s, must be positive"),
        ({"phase": 2e-3}, "phase: 0.002 s, must be 0 to the period"),
        ({"latency": -1e-3, "capacity": 0}, r"(?s)latency.*capacity: 0"),
        ({"repeat": 0}, "repeat: 0"),
    ],
)
def test_a_replay_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpikeportError, match=message):
        ArraySource(**{"values": np.zeros((2, 1)), "period": MS, **options})


def test_an_array_of_another_shape_is_refused() -> None:
    with pytest.raises(SpikeportError, match=r"must be \(n_samples, n_channels\)"):
        ArraySource(np.zeros(3), period=MS)


def test_a_file_of_trials_is_replayed_trial_after_trial(tmp_path: Path) -> None:
    task = write_trials(tmp_path / "trials.h5", n=4)
    source = replay_trials(tmp_path / "trials.h5", trials=[2, 0], pause=0.05)
    decoder = Adder()
    loop = Loop(source, decoder, MemorySink(), VirtualClock(), policy(), period=task.dt)
    assert loop.run().ended == "source ended"
    gap = np.zeros(10)
    np.testing.assert_array_equal(decoder.given, np.concatenate([task.inputs[:, 2, 0], gap, task.inputs[:, 0, 0], gap]))
    with pytest.raises(SpikeportError, match="no trial 7, it has 0 to 3"):
        replay_trials(tmp_path / "trials.h5", trials=[7])
    with pytest.raises(SpikeportError, match="no trial chosen"):
        replay_trials(tmp_path / "trials.h5", trials=[])


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_ticks_of_one_step_show_the_samples_as_the_network_sees_them(sampling: str) -> None:
    held = HeldInput(name="u", n=1, dt=5e-3, sampling=sampling)
    samples = np.arange(20.0)[:, None]
    found = as_the_network_sees(samples, held, dt=5e-4, period=5e-4)
    np.testing.assert_array_equal(found[:, 0], sample_index(np.arange(1, 201), 5e-4, held, 20))


def test_a_sample_that_changes_inside_a_tick_is_refused() -> None:
    samples = np.arange(20.0)[:, None]
    floor = HeldInput(name="u", n=1, dt=5e-3)
    np.testing.assert_array_equal(as_the_network_sees(samples, floor, dt=5e-5, period=5e-3), samples)
    nearest = HeldInput(name="u", n=1, dt=5e-3, sampling="nearest")
    with pytest.raises(SpikeportError, match="changes inside tick 0"):
        as_the_network_sees(samples, nearest, dt=5e-5, period=5e-3)
    with pytest.raises(SpikeportError, match="changes inside tick 1"):
        as_the_network_sees(samples, floor, dt=5e-5, period=4e-3)
    with pytest.raises(SpikeportError, match="not a whole number of steps"):
        as_the_network_sees(samples, floor, dt=5e-5, period=7e-5)


def test_a_memory_source_is_bounded_and_numbers_its_packets() -> None:
    source, clock = MemorySource(2, capacity=3), VirtualClock(start_ns=9)
    with pytest.raises(SpikeportError, match="not open yet"):
        source.push([1.0, 2.0])
    source.open(clock)
    assert [source.push([k, 0.0]) for k in range(5)] == [0, 1, 2, 3, 4]
    assert source.push([9.0, 0.0], seq=17, source_ns=4) == 17
    packets = source.poll()
    assert [p.seq for p in packets] == [3, 4, 17]
    assert (packets[2].source_ns, packets[2].received_ns) == (4, 9)
    assert source.overflowed() == 3
    with pytest.raises(SpikeportError, match=r"shape \(1,\), must be \(2,\)"):
        source.push([1.0])
    assert not source.ended
    source.end()
    assert source.ended


def test_packets_from_another_thread_are_all_accounted_for() -> None:
    source, decoder = MemorySource(1, capacity=64), Adder()
    pushed: list[int] = []

    def produce() -> None:
        clock = WallClock()
        start = clock.now_ns()
        while source._clock is None:
            clock.wait_until(clock.now_ns() + 100_000)
        for k in range(100):
            pushed.append(source.push([float(k)]))
            clock.wait_until(start + (k + 1) * 2 * PERIOD)
        source.end()

    thread = threading.Thread(target=produce)
    thread.start()
    choice = policy(overload="all", lost="zero")
    summary = Loop(source, decoder, MemorySink(), WallClock(), choice, period=2 * MS).run(5000)
    thread.join()
    assert summary.ended == "source ended"
    assert summary.packets["received"] == len(pushed) == 100
    assert summary.imbalances() == []
