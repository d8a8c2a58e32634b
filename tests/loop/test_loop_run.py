"""The loop: ticks and deadlines, state by elapsed time, ends of every kind, the same record twice."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import numpy as np
import pytest
from loop_parts import MS, PERIOD, Adder, Kept, Played, policy
from small_models import follower

from spikeport.convert.transfer import transfer
from spikeport.loop.clocks import RealTime, VirtualClock, WallClock
from spikeport.loop.decoders.spiking import SpikingDecoder
from spikeport.loop.faults import Drop, FaultySource, random_faults
from spikeport.loop.loop import Loop
from spikeport.loop.packets import CAUSES
from spikeport.loop.policies import Policy
from spikeport.loop.ports import Clock, Decoder, Recorder, Sink, Source
from spikeport.loop.record.writer import NoRecorder
from spikeport.loop.sinks.memory import CallSink, MemorySink
from spikeport.loop.sources.memory import MemorySource
from spikeport.loop.sources.recording import ArraySource
from spikeport.snn.errors import SpikeportError


def test_a_clean_run_uses_every_packet_in_its_tick() -> None:
    played = Played(50)
    assert played.seqs == list(range(50))
    assert played.causes == ["fresh"] * 50
    assert played.decoder.given == [float(i + 1) for i in range(50)]
    assert played.summary.ended == "source ended"
    assert played.summary.imbalances() == []
    assert not any(played.summary.packets[name] for name in ("lost", "late", "duplicate", "stray", "old", "waiting"))


def test_tick_n_is_due_after_n_plus_1_periods_and_brings_the_decoder_there() -> None:
    played = Played(20)
    assert [o.deadline_ns for o in played.recorder.ticks] == [(n + 1) * PERIOD for n in range(20)]
    np.testing.assert_allclose(played.decoder.times, (np.arange(20) + 1) * MS, rtol=1e-15)


def test_stamps_are_in_the_order_of_a_packets_way() -> None:
    costs = {"poll": 1000, "decode": 20_000, "emit": 300, "record": 5}
    played = Played(30, clock=VirtualClock(costs=costs))
    for tick in played.recorder.ticks:
        emitted = tick.emitted_ns
        stamps = (tick.source_ns, tick.received_ns, tick.deadline_ns, tick.start_ns, tick.end_ns, emitted)
        assert stamps == tuple(sorted(stamps))
        assert (tick.start_ns - tick.deadline_ns, tick.end_ns - tick.start_ns) == (1000, 20_000)
        assert emitted - tick.end_ns == 300
        assert (tick.received_ns - tick.source_ns, tick.deadline_ns - tick.source_ns) == (200_000, 500_000)
    stages = played.summary.accounting.stages
    assert {name: (h.n, h.smallest, h.largest) for name, h in stages.items()} == {
        "source to received": (30, 200_000, 200_000),
        "received to start": (30, 301_000, 301_000),
        "decode": (30, 20_000, 20_000),
        "end to emitted": (30, 300, 300),
        "end to end": (30, 521_300, 521_300),
        "lateness": (30, 0, 0),
    }


def canonical(seed: int, n_ticks: int) -> tuple[str, int]:
    """A faulty run of a noisy spiking network; the SHA-256 of its record, and its size."""
    network = transfer(follower(n=6), 30.0, dt=5e-4)
    values = np.random.default_rng(seed).normal(size=(1000, 1))
    faults = random_faults(seed, n_ticks, rate=0.01, period_ns=PERIOD)
    source = FaultySource(ArraySource(values, period=MS, phase=5e-4, latency=2e-4, repeat=None), faults)
    costs = {"decode": lambda n: 3_000_000 if n % 977 == 0 else 400_000}
    recorder = Kept()
    choice = Policy(lost="hold", overload="latest", lost_after=20, good=3, safe=(0.0,))
    clock = VirtualClock(costs=costs)
    summary = Loop(
        source, SpikingDecoder(network, period=MS, seed=seed), CallSink(id), clock, choice, recorder, period=MS
    ).run(n_ticks)
    assert summary.imbalances() == []
    assert summary.ticks + summary.merged == n_ticks
    assert min(summary.causes["fresh"], summary.causes["held"], summary.merged, summary.packets["duplicate"]) > 0
    return recorder.digest(), len(recorder.data)


def test_a_virtual_run_with_faults_has_the_same_bytes_twice_and_other_bytes_with_another_seed() -> None:
    first = canonical(3, 4000)
    assert canonical(3, 4000) == first
    assert canonical(4, 4000) != first


@pytest.mark.slow
def test_a_hundred_thousand_virtual_ticks_twice_are_byte_identical() -> None:
    assert canonical(5, 100_000) == canonical(5, 100_000)


def test_the_parts_satisfy_their_ports() -> None:
    network = transfer(follower(n=4), 30.0, dt=5e-4)
    assert isinstance(VirtualClock(), Clock)
    assert isinstance(WallClock(), Clock)
    for source in (MemorySource(1), ArraySource([[0.0]], period=MS), FaultySource(MemorySource(1), [])):
        assert isinstance(source, Source)
    assert isinstance(MemorySink(), Sink)
    assert isinstance(CallSink(id), Sink)
    for recorder in (NoRecorder(), Kept()):
        assert isinstance(recorder, Recorder)
    assert isinstance(SpikingDecoder(network, period=MS), Decoder)
    assert isinstance(Adder(), Decoder)


def test_parts_that_do_not_fit_are_refused_all_at_once() -> None:
    with pytest.raises(SpikeportError, match=r"(?s)period.*3 channels, the decoder takes 1.*1, the decoder has 2"):
        Loop(MemorySource(3), Adder(), MemorySink(), VirtualClock(), policy(safe=(0.0,)), period=0.0)


@pytest.mark.parametrize("period", [float("nan"), -1e-3, 1.5e-9, 0.0])
def test_a_period_that_is_no_whole_number_of_ns_is_refused(period: float) -> None:
    with pytest.raises(SpikeportError, match="whole number of ns"):
        Loop(MemorySource(1), Adder(), MemorySink(), VirtualClock(), policy(), period=period)


def run_with(sink: Any = None, decoder: Any = None, recorder: Any = None, **run: Any) -> Any:
    source = ArraySource(np.ones((50, 1)), period=MS)
    return Loop(source, decoder or Adder(), sink or MemorySink(), VirtualClock(), policy(), recorder, period=MS).run(
        **run
    )


def test_every_end_gives_the_sink_the_safe_value_and_says_why() -> None:
    asked = threading.Event()
    for ended, run in (
        ("source ended", {}),
        ("all ticks run", {"n_ticks": 7}),
        ("asked to stop", {"stop": lambda: True}),
        ("asked to stop", {"stop": asked}),
    ):
        asked.set()
        sink, recorder = MemorySink(), Kept()
        assert run_with(sink, recorder=recorder, **run).ended == ended
        assert sink.outputs[-1].cause == "stopped"
        assert sink.outputs[-1].safe
        np.testing.assert_array_equal(sink.outputs[-1].values, [-1, -1])
        assert recorder.of("stopped")[0]["reason"] == ended


def test_ctrl_c_ends_between_two_ticks_with_the_safe_value_and_a_closed_record() -> None:
    sink, recorder = MemorySink(), Kept()
    closed = []
    recorder.close = lambda: closed.append(True)  # type: ignore[method-assign]

    class Pressed(Adder):
        def step(self, events: Any, t: float) -> Any:
            if len(self.given) == 10:
                os.kill(os.getpid(), signal.SIGINT)
            return super().step(events, t)

    summary = run_with(sink, Pressed(), recorder)
    assert summary.interrupted
    assert (summary.ticks, len(recorder.ticks)) == (11, 11)  # the tick of the key press is whole
    assert sink.outputs[-1].cause == "stopped"
    assert closed == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_ends_a_wall_clock_run_of_a_silent_source() -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    sink = MemorySink()
    summary = Loop(MemorySource(1), Adder(), sink, WallClock(), policy(), period=0.01).run()
    timer.join()
    assert summary.interrupted
    assert summary.causes["stream lost"] == summary.ticks > 0
    assert sink.outputs[-1].cause == "stopped"


def test_a_source_that_cannot_be_opened_leaves_the_sink_with_the_safe_value() -> None:
    class Shut(MemorySource):
        def open(self, clock: Any) -> None:
            raise SpikeportError("no such stream")

    sink = MemorySink()
    with pytest.raises(SpikeportError, match="no such stream"):
        Loop(Shut(1), Adder(), sink, VirtualClock(), policy(), period=MS).run()
    assert [o.cause for o in sink.outputs] == ["stopped"]


def test_the_safe_value_goes_out_before_a_record_that_fails_at_the_end() -> None:
    class Full(Kept):
        def event(self, kind: str, at_ns: int, **details: Any) -> None:
            raise OSError("no space left")

    sink = MemorySink()
    with pytest.raises(OSError, match="no space left"):
        run_with(sink, recorder=Full(), n_ticks=5)
    assert sink.outputs[-1].cause == "stopped"


def test_what_a_clock_asks_of_the_system_is_asked_when_the_parts_have_started_theirs() -> None:
    order: list[str] = []

    class Asking(VirtualClock):
        def __getattr__(self, name: str) -> Any:
            if name not in ("prepare", "begin", "end", "release"):
                raise AttributeError(name)
            return lambda: order.append(name)

    class Source(MemorySource):
        def open(self, clock: Any) -> None:
            order.append("source")
            super().open(clock)

    loop = Loop(Source(1), Adder(), MemorySink(), Asking(), policy(), period=MS, floor_ticks=3)
    loop.run(2)
    assert order == ["prepare", "begin", "end", "source", "begin", "end", "release"]


def test_the_summary_describes_the_clock_as_it_was_while_the_loop_ran() -> None:
    class Granted(VirtualClock):
        granted = False

        def begin(self) -> None:
            self.granted = True

        def end(self) -> None:
            self.granted = False

        def describe(self) -> Any:
            return {"kind": "virtual", "granted": self.granted}

    clock = Granted()
    summary = Loop(MemorySource(1), Adder(), MemorySink(), clock, policy(), period=MS).run(2)
    assert summary.clock["granted"]
    assert not clock.granted


def test_the_record_says_what_the_wall_clock_got() -> None:
    recorder = Kept()
    clock = WallClock(RealTime(cpus=(10_000,)))
    Loop(MemorySource(1), Adder(), MemorySink(), clock, policy(), recorder, period=MS).run(2)
    (event,) = recorder.of("clock")
    assert event["got"]["cpus"].startswith("refused: ")


@pytest.mark.parametrize("part", ["decoder", "sink", "recorder", "source"])
def test_a_part_that_fails_ends_the_run_with_everything_closed(part: str) -> None:
    closed: list[str] = []

    class Source(ArraySource):
        def poll(self) -> Any:
            found = super().poll()
            if part == "source" and found and found[0].seq == 5:
                raise RuntimeError("source broke")
            return found

        def close(self) -> None:
            closed.append("source")

    class Decoder(Adder):
        def step(self, events: Any, t: float) -> Any:
            if part == "decoder" and len(self.given) == 5:
                raise RuntimeError("decoder broke")
            return super().step(events, t)

    class Sink(MemorySink):
        def emit(self, output: Any) -> None:
            if part == "sink" and output.tick == 5:
                raise RuntimeError("sink broke")
            super().emit(output)

        def close(self) -> None:
            closed.append("sink")

    class Recorder(Kept):
        def tick(self, *args: Any) -> None:
            if part == "recorder" and args[0].tick == 5:
                raise RuntimeError("recorder broke")
            super().tick(*args)

        def close(self) -> None:
            closed.append("recorder")

    sink, recorder = Sink(), Recorder()
    loop = Loop(Source(np.ones((50, 1)), period=MS), Decoder(), sink, VirtualClock(), policy(), recorder, period=MS)
    with pytest.raises(RuntimeError, match=f"{part} broke"):
        loop.run()
    assert closed == ["source", "sink", "recorder"]
    assert "broke" in recorder.of("stopped")[0]["reason"]
    if part != "sink":
        assert sink.outputs[-1].cause == "stopped"


def test_an_output_that_is_not_finite_is_replaced_by_the_safe_value_and_counted() -> None:
    class Diverges(Adder):
        def step(self, events: Any, t: float) -> Any:
            out = super().step(events, t)
            return np.array([np.nan, 1.0]) if len(self.given) in (4, 9) else out

    sink, recorder = MemorySink(), Kept()
    summary = run_with(sink, Diverges(), recorder)
    assert summary.nonfinite == 2
    assert [e["tick"] for e in recorder.of("output not finite")] == [3, 8]
    assert [o.tick for o in sink.outputs if o.safe and o.cause == "fresh"] == [3, 8]
    np.testing.assert_array_equal(sink.outputs[3].values, [-1, -1])


def test_a_second_run_of_a_loop_is_the_first_again() -> None:
    source = FaultySource(ArraySource(np.ones((50, 1)), period=MS), [Drop((3,))])
    found = []
    for _ in range(2):
        recorder = Kept()
        loop = Loop(source, Adder(), MemorySink(), VirtualClock(), policy(), recorder, period=MS)
        loop.run()
        found.append(recorder.digest())
    assert found[0] == found[1]


def test_every_cause_of_a_tick_has_a_name_and_a_count() -> None:
    assert set(Played(3).summary.causes) | {"stopped"} == set(CAUSES)


def test_the_text_of_a_summary_names_what_was_lost() -> None:
    text = Played(40, [Drop((5, 6, 7, 20))]).summary.text()
    assert "lost            4: 5-7, 20" in text
    assert "40 of 1 ms" in text
    assert "wrong sum" not in text


def test_wall_clock_ticks_are_all_run_in_order_and_none_before_its_deadline() -> None:
    recorder = Kept()
    source = ArraySource(np.ones((10, 1)), period=MS, phase=1e-3, repeat=None)
    summary = Loop(
        source, Adder(), MemorySink(), WallClock(), policy(overload="all"), recorder, period=MS, floor_ticks=20
    ).run(200)
    assert summary.imbalances() == []
    assert [o.tick for o in recorder.ticks] == list(range(200))
    for tick in recorder.ticks:
        assert tick.deadline_ns <= tick.start_ns <= tick.end_ns <= tick.emitted_ns
    assert summary.timer_floor is not None
    assert summary.timer_floor.n == 20
    box = summary.as_dict()["clock"]["environment"]
    assert box["kernel"]
    assert "cpus" in box


@pytest.mark.parametrize("part", ["decoder", "sink's end", "recorder's end", "source's end"])
def test_a_run_that_raises_leaves_its_summary(part: str) -> None:
    class Decoder(Adder):
        def step(self, events: Any, t: float) -> Any:
            if part == "decoder" and len(self.given) == 5:
                raise RuntimeError("decoder broke")
            return super().step(events, t)

    class Source(ArraySource):
        def close(self) -> None:
            if part == "source's end":
                raise RuntimeError("source's end broke")

    class Sink(MemorySink):
        def close(self) -> None:
            if part == "sink's end":
                raise RuntimeError("sink's end broke")

    class Recorder(Kept):
        def close(self) -> None:
            if part == "recorder's end":
                raise RuntimeError("recorder's end broke")

    source = Source(np.ones((50, 1)), period=MS)
    loop = Loop(source, Decoder(), Sink(), VirtualClock(), policy(), Recorder(), period=MS)
    assert loop.summary is None
    with pytest.raises(RuntimeError, match=f"{part} broke"):
        loop.run()
    found = loop.summary
    assert found is not None
    if part == "decoder":
        assert (found.ended, found.ticks) == ("failed: RuntimeError: decoder broke", 5)
    else:
        assert (found.ended, found.ticks) == ("source ended", 50)
    assert found.imbalances() == []
    assert found.clock["kind"] == "virtual"


def test_a_run_that_failed_before_its_first_tick_has_no_summary() -> None:
    class Nowhere(MemorySource):
        nowhere = False

        def open(self, clock: Clock) -> None:
            if self.nowhere:
                raise SpikeportError("no such stream")

    source = Nowhere(1)
    loop = Loop(source, Adder(), MemorySink(), VirtualClock(), policy(), period=MS)
    assert loop.run(3) is loop.summary
    source.nowhere = True
    with pytest.raises(SpikeportError, match="no such stream"):
        loop.run(3)
    assert loop.summary is None
