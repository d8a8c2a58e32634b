"""The record of a real loop: the same run gives the same file, and its decoder gives the same outputs again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lively_network import lively

from spikeport.live_outcome import record_watch
from spikeport.loop.clocks import VirtualClock
from spikeport.loop.decoders.spiking import SpikingDecoder
from spikeport.loop.faults import Burst, Drop, FaultySource, NotANumber, Reorder
from spikeport.loop.loop import Loop
from spikeport.loop.policies import Policy
from spikeport.loop.record.outside import ProcessRecorder
from spikeport.loop.record.read import read_record
from spikeport.loop.record.replay import replay
from spikeport.loop.record.writer import FileRecorder, MemoryRecorder, Recording
from spikeport.loop.sinks.memory import MemorySink
from spikeport.loop.sources.recording import ArraySource
from spikeport.loop.summary import Summary
from spikeport.snn.errors import SpikeportError

MS = 1e-3
FAULTS = [Drop((5, 6, 30)), NotANumber((12,)), Burst(18, 4), Reorder((40,))]


def decoder(seed: int = 3) -> SpikingDecoder:
    return SpikingDecoder(lively(), period=5 * MS, seed=seed)


def run(recorder: Recording, lost: str = "hold", n: int = 60, seed: int = 3) -> Summary:
    d = decoder(seed)
    values = np.abs(np.round(np.random.default_rng(0).normal(size=(n, d.n_inputs)) * 5))  # counts, or held values
    source = ArraySource(values, period=5 * MS, phase=2 * MS, latency=MS)
    policy = Policy(lost=lost, overload="latest", lost_after=2, good=2, safe=(0.0,) * d.n_outputs)
    clock = VirtualClock(costs={"decode": [100_000] * 25 + [12_000_000], "emit": 1000})
    return Loop(FaultySource(source, FAULTS), d, MemorySink(), clock, policy, recorder, period=5 * MS).run()


@pytest.mark.parametrize("lost", ["hold", "zero", "skip"])
def test_a_run_with_faults_is_replayed_bit_for_bit(lost: str) -> None:
    recorder = MemoryRecorder()
    done = run(recorder, lost)
    record = read_record(recorder.data)
    found = replay(record, decoder())
    assert found.identical, str(found)
    assert found.other_decoder == found.other_versions == ()
    assert record.ending.kind == "clean"
    assert len(record) == done.ticks
    assert {c: n for c, n in done.causes.items() if n} == {
        c: record.causes_of().count(c) for c in set(record.causes_of())
    }
    assert len(set(record.causes_of())) > 1
    assert found.compared > 20
    assert len(np.unique(record.outputs)) > 20
    assert record.tick[-1] + 1 == done.ticks + done.merged > done.ticks  # merged ticks have no row of their own


def test_another_seed_is_said_before_the_first_difference() -> None:
    recorder = MemoryRecorder()
    run(recorder)
    found = replay(read_record(recorder.data), decoder(seed=4))
    assert found.other_decoder == ("seed: recorded 3, here 4",)
    assert str(found).startswith("another decoder: seed")
    assert found.differing > 0


def test_the_same_run_gives_the_same_file_whoever_writes_it(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.spklog", "b.spklog", "c.spklog")]
    run(FileRecorder(paths[0]))
    run(FileRecorder(paths[1]))
    run(ProcessRecorder(paths[2], on_loss="stop", deterministic=True))
    one, two, three = (path.read_bytes() for path in paths)
    assert one == two == three


@given(st.integers(3000, 30_000))
@settings(max_examples=10, deadline=None)
def test_a_recorder_that_stops_the_loop_lets_it_end_with_the_safe_value(limit: int) -> None:
    sink, d = MemorySink(), decoder()
    source = ArraySource(np.zeros((400, d.n_inputs)), period=5 * MS)
    policy = Policy(lost="hold", overload="latest", lost_after=2, good=2, safe=(0.25,) * d.n_outputs)
    recorder = MemoryRecorder(limit=limit, on_loss="stop")
    with pytest.raises(SpikeportError, match="its buffer is full; 1 ticks and 0 events are lost"):
        Loop(source, d, sink, VirtualClock(), policy, recorder, period=5 * MS).run()
    last: Any = sink.outputs[-1]
    assert last.cause == "stopped"
    assert last.values.tolist() == [0.25] * d.n_outputs
    record = read_record(recorder.data)
    assert record.ending.kind == "clean"
    assert record.lost["ticks"] == 1


def test_what_a_record_lost_is_in_the_summary_and_said_once_while_the_loop_runs() -> None:
    recorder, said, d = MemoryRecorder(limit=8000, on_loss="count"), list[str](), decoder()
    look = record_watch(recorder, Path("a.spklog"), said.append)
    source = ArraySource(np.zeros((400, d.n_inputs)), period=5 * MS)
    policy = Policy(lost="hold", overload="latest", lost_after=2, good=2, safe=(0.0,) * d.n_outputs)
    loop = Loop(source, d, MemorySink(), VirtualClock(), policy, recorder, period=5 * MS)
    done = loop.run(stop=lambda: bool(look()))
    lost = recorder.lost
    assert done.as_dict()["recorder"] == recorder.report()
    assert done.recorder["lost_ticks"] == lost.all_ticks > 0
    assert f"record lost     {lost.all_ticks} ticks and {lost.all_events} events: the disk could" in done.text()
    assert said == ["a.spklog: ticks are being lost from the record: the disk cannot keep up"]


def test_a_record_that_lost_nothing_says_nothing() -> None:
    done = run(MemoryRecorder())
    assert done.recorder == {"lost_ticks": 0, "lost_events": 0, "broken": "", "refused": []}
    assert "record" not in done.text()
