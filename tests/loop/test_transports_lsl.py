"""The lab streaming layer, with its sender in another process: what an inlet loses without a word is named exactly.

LSL finds its streams by multicast, which a container may not have: here by a known peer, 127.0.0.1, in a session of
its own, so that runs beside this one are not seen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loop_parts import Kept, policy
from require import need
from transport_cases import PATIENCE_S, an_output, collect, collect_n, noted, numbers, producing, wait_for

from spikeport.loop.clocks import WallClock
from spikeport.loop.loop import Loop
from spikeport.loop.packets import CAUSES, Packet
from spikeport.loop.sinks.memory import MemorySink
from spikeport.loop.transports.lsl import LSL_OUTPUT, LslSink, LslSource, SequenceOutlet
from spikeport.loop.transports.numbering import Inferred
from spikeport.snn.errors import SpikeportError

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def lsl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """pylsl, told by a file of configuration before it is first used."""
    folder = tmp_path_factory.mktemp("lsl")
    config = folder / "lsl_api.cfg"
    config.write_text(
        "[lab]\nKnownPeers = {127.0.0.1}\n"
        f"SessionID = spikeport-{os.getpid()}\n"
        "[multicast]\nResolveScope = machine\n"
        "[log]\nlevel = -3\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSLAPICFG", str(config))
        yield need("pylsl", resource="lsl")


@pytest.fixture
def made() -> Iterator[list[Any]]:
    """What is closed at the end, whatever happens."""
    parts: list[Any] = []
    yield parts
    for part in reversed(parts):
        part.close()


def a_source(made: list[Any], n_channels: int, stream: str, **options: Any) -> LslSource:
    given_options = {"sequence": "last channel", "wait": 30.0, **options}
    source = LslSource(n_channels, stream=stream, **given_options)
    made.append(source)
    source.open(WallClock())
    return source


def name(what: str) -> str:
    return f"{what}-{os.getpid()}"


@contextmanager
def foreign(**asked: Any) -> Iterator[subprocess.Popen[str]]:
    """lsl_producer.py; it ends with the block."""
    command = [sys.executable, str(HERE / "lsl_producer.py"), json.dumps(asked)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def sent(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(json.loads(process.stdout.readline())["sent"])


def test_a_recording_from_another_process_arrives_whole_with_its_numbers_and_stamps(
    lsl: Any, made: list[Any], tmp_path: Path
) -> None:
    values = np.random.default_rng(1).normal(size=(200, 3))
    np.save(tmp_path / "samples.npy", values)
    stream = name("whole")
    arguments = ("lsl", stream, "--file", str(tmp_path / "samples.npy"), "--rate", "500", "--linger", "60")
    with producing(*arguments, "--first", "1000") as producer:
        source = a_source(made, 3, stream)
        packets = collect_n(source, 200)
        assert producer.done() == {"sent": 200, "dropped": 0}
    assert numbers(packets) == list(range(1000, 1200))
    assert np.array_equal([p.values for p in packets], values)
    assert all(p.source_ns <= p.received_ns for p in packets)
    assert source.report()["numbers"] == "exact"
    if sys.platform.startswith("linux"):
        assert source.report()["stamps"] == "same clock"
        assert noted(source)["producer"][0]["stamps"] == "same clock"


def settled(source: LslSource) -> bool:
    """Whether the inlet gets nothing more: what it holds is the same twice, some time apart."""
    import time

    before = source._inlet.samples_available()
    time.sleep(0.5)
    return bool(before == source._inlet.samples_available())


def test_a_stalled_inlet_loses_two_thirds_without_a_flag_and_the_numbers_name_each_one(
    lsl: Any, made: list[Any]
) -> None:
    stream, n = name("stalled"), 3000
    arguments = ("--count", "2", "--rate", "1000", "--n", str(n), "--linger", "60")
    with producing("lsl", stream, *arguments) as producer:
        source = a_source(made, 2, stream, buffer=1, capacity=4096)  # holds 1 s: 1000 samples
        before = collect_n(source, 1)
        assert producer.done() == {"sent": n, "dropped": 0}  # 3 s in which nobody polls
        wait_for(lambda: settled(source))
        after = collect(source, lambda found: bool(found) and found[-1].seq == n - 1)
    found = numbers(before) + numbers(after)
    lost = sorted({*range(n)} - {*found})
    assert len(after) == 1000  # what the inlet held
    assert len(lost) == n - len(found)
    assert lost == list(range(before[-1].seq + 1, n - 1000))  # the oldest, in one piece
    assert source.overflowed() == 0  # LSL itself says nothing


class Passing:
    """A decoder that does nothing; with `stall`, once, for so long as the function says."""

    n_inputs, n_outputs, period, dt = 2, 2, 5e-3, 5e-3

    def __init__(self, stall_at: int, stall: Any) -> None:
        self.out, self._steps, self._stall_at, self._stall = np.zeros(2), 0, stall_at, stall

    def reset(self, dataset_tags: Any = ()) -> None: ...
    def step(self, events: Any, t: float) -> Any:
        self._steps += 1
        if self._steps == self._stall_at:
            self._stall()
        return self.out

    def describe(self) -> Any:
        return {}


def test_a_loop_that_stalls_reports_exactly_the_numbers_that_its_inlet_lost(lsl: Any, made: list[Any]) -> None:
    stream, n = name("loop"), 700
    with producing("lsl", stream, "--count", "2", "--rate", "200", "--n", str(n), "--linger", "60") as producer:
        source = LslSource(2, stream=stream, sequence="last channel", wait=30.0, buffer=1, capacity=2048)
        seen: list[int] = []
        tap = Tap(source, seen)
        recorder = Kept()
        decoder = Passing(20, lambda: producer.done() and wait_for(lambda: settled(source)))
        choices = policy(overload="latest", capacity=2048, lost_after=10, safe=(0.0, 0.0))
        loop = Loop(tap, decoder, MemorySink(), WallClock(), choices, recorder, period=5e-3)
        summary = loop.run(stop=lambda: bool(seen) and seen[-1] == n - 1)
    lost = [s for e in recorder.of("lost") for s in range(e["first"], e["last"] + 1)]
    assert len(seen) == len(set(seen))
    assert lost == sorted({*range(seen[0], n)} - {*seen})
    assert len(lost) >= n // 2  # it stalled for all but the first and the last second
    assert summary.packets["lost"] == len(lost)
    assert summary.imbalances() == []


class Tap:
    """A source, and the numbers that it gave."""

    def __init__(self, source: LslSource, seen: list[int]) -> None:
        self._source, self._seen, self.n_channels = source, seen, source.n_channels

    def poll(self) -> list[Packet]:
        found = list(self._source.poll())
        self._seen += numbers(found)
        return found

    def __getattr__(self, what: str) -> Any:
        return getattr(self._source, what)


def test_a_source_that_gives_up_packets_itself_counts_them(lsl: Any, made: list[Any]) -> None:
    stream = name("small")
    with producing("lsl", stream, "--count", "2", "--rate", "1000", "--n", "400", "--linger", "60") as producer:
        source = a_source(made, 2, stream, capacity=10)
        producer.done()
        wait_for(lambda: settled(source))
        found = numbers(collect(source, lambda packets: bool(packets) and packets[-1].seq == 399))
    assert len(found) + source.overflowed() == 400


def test_a_sender_that_died_and_came_back_is_found_again_and_counts_from_zero(lsl: Any, made: list[Any]) -> None:
    stream = name("again")
    arguments = ("lsl", stream, "--count", "2", "--rate", "100", "--n", "100000", "--linger", "60")
    with producing(*arguments):
        source = a_source(made, 2, stream)
        first = numbers(collect_n(source, 50))
    with producing(*arguments):
        rest = numbers(collect(source, lambda found: 30 in tail(numbers(found))))
    assert first == list(range(len(first)))
    assert tail(rest)[:31] == list(range(31))


def test_a_stream_that_comes_back_in_another_form_is_noted_with_what_came(lsl: Any, made: list[Any]) -> None:
    stream = name("form")
    with foreign(source_id=stream, channels=3, rate=100.0, stamps=[0.0]) as process:
        source = a_source(made, 2, stream)
        sent(process)
        collect_n(source, 1)
    found: list[str] = []

    def told() -> bool:
        found.extend(note["reason"] for note in noted(source).get("stream changed", ()))
        return not source.poll() and bool(found)

    with foreign(source_id=stream, channels=4, rate=100.0, stamps=[], format=lsl.cf_int32, name="other"):
        wait_for(told, "the note")
    assert found == ["channels 4, was 3; format 4, was 2; name other, was foreign"]


def test_stamps_that_no_clock_has_are_malformed_and_move_no_number(lsl: Any, made: list[Any]) -> None:
    bad = [float("nan"), float("inf"), -1e300, 1e11, 1e18]
    for sequence in ("last channel", "inferred"):
        stream = name(f"stamp-{sequence[:4]}")
        with foreign(source_id=stream, channels=2, rate=100.0, stamps=[0.0, *bad, 0.01]) as process:
            source = a_source(made, 2 - (sequence == "last channel"), stream, sequence=sequence)
            sent(process)
            found = numbers(collect_n(source, 2))
        assert found == ([0, 6] if sequence == "last channel" else [0, 1])
        assert source.report()["malformed"] == {"stamp": 5}


def tail(found: list[int]) -> list[int]:
    """From the last 0 on."""
    return found[len(found) - 1 - found[::-1].index(0) :] if 0 in found else []


def test_a_sender_on_our_clock_that_turns_out_not_to_be_is_corrected_and_noted(lsl: Any, made: list[Any]) -> None:
    """As when a stream is recovered from another machine; here LSL's estimate is put in its place."""
    stream = name("moved")
    with producing("lsl", stream, "--count", "2", "--rate", "200", "--n", "100000", "--linger", "60"):
        source = a_source(made, 2, stream)
        if source.report()["stamps"] != "same clock":
            return  # a system that does not say which clock it has
        source._inlet.time_correction = lambda timeout: -3.0
        source._next_look = 0
        noted(source)
        collect_n(source, 1)
        moved = collect_n(source, 1)[0]
        assert 2.9e9 < moved.received_ns - moved.source_ns
        assert noted(source)["producer"][0]["correction_ns"] == -3_000_000_000
        assert source.report()["stamps"] == "time correction"
        source._inlet.time_correction = lambda timeout: -3.5
        source._next_look = 0
        collect_n(source, 1)
    assert source.report()["time_correction_ns"] == [-3_500_000_000, -3_000_000_000]


def test_a_count_that_is_no_whole_number_is_malformed_and_the_rest_arrives(lsl: Any, made: list[Any]) -> None:
    rows = [[1.0, 0.0], [1.0, 0.5], [1.0, float("nan")], [1.0, -1.0], [1.0, 2.0**53], [float("nan"), 5.0]]
    stamps = [i / 100 for i in range(len(rows))]
    with foreign(source_id=name("bad"), channels=2, rate=100.0, stamps=stamps, rows=rows) as process:
        source = a_source(made, 1, name("bad"))
        sent(process)
        packets = collect_n(source, 2)
    assert numbers(packets) == [0, 5]
    assert np.isnan(packets[1].values).all()
    assert source.report()["malformed"] == {"sequence": 4}


def test_gaps_of_a_foreign_stream_are_inferred_from_its_stamps_and_said_to_be(lsl: Any, made: list[Any]) -> None:
    kept = [i for i in range(300) if i not in {50, *range(100, 120), 250}]
    jitter = np.random.default_rng(3).uniform(-0.2, 0.2, 300)
    stamps = [(i + jitter[i]) / 100 for i in kept]
    with foreign(source_id=name("foreign"), channels=3, rate=100.0, stamps=stamps, format=1) as process:
        source = a_source(made, 3, name("foreign"), sequence="inferred", capacity=1000, buffer=10)
        sent(process)
        packets = collect_n(source, len(kept))
    assert numbers(packets) == kept
    report = source.report()
    assert report["numbers"] == "inferred" == source.describe()["numbers"]
    assert 0.2 < report["worst_residual_periods"] < 0.5
    assert report["stamps"] == "time correction"
    low, high = report["time_correction_ns"]
    assert -1_000_000 < low <= high < 1_000_000  # the same machine


def test_streams_that_do_not_fit_are_refused_with_all_reasons(lsl: Any) -> None:
    with foreign(source_id=name("odd"), channels=4, rate=0.0, stamps=[], format=3):
        with pytest.raises(SpikeportError, match=r"(?s)strings.*4 channels, must be 2.*no nominal rate"):
            LslSource(2, stream=name("odd"), sequence="inferred", wait=30.0).open(WallClock())
        with pytest.raises(SpikeportError, match=r"must be 3 \(with that of the sequence\)"):
            LslSource(2, stream=name("odd"), sequence="last channel", wait=30.0).open(WallClock())
    with pytest.raises(SpikeportError, match=r"no such stream within 0\.3 s"):
        LslSource(2, stream=name("nobody"), sequence="inferred", wait=0.3).open(WallClock())


def test_settings_that_cannot_be_are_refused_all_at_once() -> None:
    with pytest.raises(SpikeportError, match=r"(?s)sequence: 'guess'.*by: 'uid'.*stamps: 'none'.*buffer: 0"):
        LslSource(2, stream="x", sequence="guess", by="uid", stamps="none", buffer=0)
    with pytest.raises(SpikeportError, match="must be a name without quotes"):
        LslSource(2, stream="x' or '1'='1", sequence="inferred")


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=200),
    st.floats(0.1, 10_000),
    st.floats(-1e-3, 1e-3),
    st.integers(0, 2**32),
)
def test_inferred_numbers_are_right_within_the_stated_jitter_rate_and_gaps(
    steps: list[int], rate: float, drift: float, seed: int
) -> None:
    """Jitter of 0.2 periods and a rate that is 0.1 % off, with any gaps up to 50 samples."""
    inferred = Inferred(rate)
    true = np.cumsum([0, *steps])
    jitter = np.random.default_rng(seed).uniform(-0.2, 0.2, len(true))
    found = [inferred.next(t / rate + 1000) for t in (true * (1 + drift) + jitter).tolist()]
    assert found == true.tolist()
    assert inferred.worst < 0.5


def test_inferred_numbers_follow_a_sender_that_is_never_at_its_nominal_rate() -> None:
    for drift in (-1e-3, 1e-3):
        inferred = Inferred(250.0)
        assert [inferred.next(i * (1 + drift) / 250) for i in range(5000)] == list(range(5000))
        assert inferred.worst < 0.05


def test_inferred_numbers_never_stand_still_and_doubtful_ones_are_counted() -> None:
    inferred = Inferred(100.0)
    assert [inferred.next(t) for t in (0.0, 0.01, 0.01, 0.005, 0.04)] == [0, 1, 2, 3, 4]
    assert inferred.doubtful == 2


def test_the_outlet_refuses_what_its_count_or_width_cannot_say(lsl: Any, made: list[Any]) -> None:
    outlet = SequenceOutlet("spikeport test", 2, rate=100.0, source_id=name("outlet"))
    made.append(outlet)
    for seq, values in ((-1, [0, 0]), (2**53, [0, 0]), (0, [0])):
        with pytest.raises(SpikeportError, match=r"must be 0 to 2\^53 with \(2,\)"):
            outlet.send(values, seq=seq, source_ns=0)


def test_a_sink_reaches_its_consumer_with_number_tick_cause_and_safe_flag_to_the_last(
    lsl: Any, made: list[Any]
) -> None:
    sink = LslSink("spikeport outputs", 2, source_id=name("sink"))
    made.append(sink)
    sink.open(WallClock())
    sink.emit(an_output(0))
    assert sink.report() == {"emitted": 1, "unheard": 1}
    info = lsl.resolve_byprop("source_id", name("sink"), 1, 30)[0]
    assert info.channel_count() == 2 + len(LSL_OUTPUT)
    inlet = lsl.StreamInlet(info)  # recover=False would lose what it holds when the sink goes
    inlet.open_stream(30)
    wait_for(lambda: sink._outlet.have_consumers())
    given_outputs = [an_output(2, cause="held"), an_output(3, cause="stopped", safe=True, seq=-1)]
    for output in given_outputs:
        sink.emit(output)
    sink.close()
    found = [inlet.pull_sample(PATIENCE_S)[0] for _ in given_outputs]
    for number, (row, output) in enumerate(zip(found, given_outputs, strict=True), start=1):
        about = [number, output.tick, output.seq, CAUSES.index(output.cause), float(output.safe)]
        assert row == [*output.values.tolist(), *about]
    del inlet
    with pytest.raises(SpikeportError, match="not open"):
        sink.emit(an_output(0))
