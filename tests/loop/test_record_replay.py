"""Replay: the same decoder gives the same bits, another one is named before its first difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_cases import HEADER, PERIOD, Leaky, feed, lines, record_of

from spikeport.loop.packets import Output
from spikeport.loop.record.format import TICK, Framer
from spikeport.loop.record.read import read_record
from spikeport.loop.record.reader import RecordReader
from spikeport.loop.record.replay import replay
from spikeport.loop.record.writer import MemoryRecorder, pack_header, pack_tick
from spikeport.snn.errors import SpikeportError


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.6]))
@settings(max_examples=20)
def test_the_same_decoder_gives_the_same_bits(seed: int, lost: float) -> None:
    record = read_record(record_of(60, seed, lost))
    found = replay(record, Leaky())
    assert found.identical
    assert found.other_decoder == found.other_versions == ()
    causes = record.causes_of()
    assert found.compared == len(record) - causes.count("skipped") - causes.count("stream lost")
    assert sum(found.not_compared.values()) == len(record) - found.compared


def test_a_record_on_disk_is_replayed_without_being_held() -> None:
    data = record_of(80)
    with RecordReader(data) as reader:
        assert replay(reader, Leaky()) == replay(read_record(data), Leaky())


def test_one_changed_bit_is_found_at_its_tick() -> None:
    record = read_record(record_of(50, lost=0.0))
    outputs = record.outputs.copy()
    outputs[30, 1] = np.nextafter(outputs[30, 1], 9)
    found = replay(replace(record, outputs=outputs), Leaky())
    assert not found.identical
    assert found.differing == 1
    assert found.first is not None
    assert (found.first.tick, found.first.output) == (30, 1)
    assert (found.first.recorded, found.first.replayed) == (outputs[30, 1], record.outputs[30, 1])
    assert found.largest == abs(outputs[30, 1] - record.outputs[30, 1])
    assert repr(outputs[30, 1].item()) in str(found)


def test_another_network_is_said_first_and_the_first_difference_is_named() -> None:
    record = read_record(record_of(50, lost=0.0))
    found = replay(record, Leaky(tau=0.03, network="cd" * 32))
    assert str(found).splitlines()[0] == f"another decoder: network: recorded {'ab' * 32}, here {'cd' * 32}"
    assert found.first is not None
    assert found.first.tick == 0
    assert found.differing == found.compared == 50


def test_minus_zero_is_not_zero() -> None:
    class Zero(Leaky):
        def step(self, events: object, t: float) -> np.ndarray:  # type: ignore[type-arg, override]
            return np.array([0.0, -0.0])

    output = Output(
        tick=0, seq=0, values=np.array([0.0, 0.0]), safe=False, cause="fresh", deadline_ns=PERIOD, source_ns=0,
        received_ns=0, start_ns=0, end_ns=0,
    )  # fmt: skip
    with MemoryRecorder() as recorder:
        recorder.open(HEADER)
        recorder.tick(output, 0, np.zeros(3))
    found = replay(read_record(recorder.data), Zero())
    assert found.first is not None
    assert str(found.first) == "tick 0, output 1: recorded 0.0, replayed -0.0"


def test_after_lost_ticks_nothing_is_compared_because_the_state_is_not_known() -> None:
    class Leaking(MemoryRecorder):
        taking = True

        def _put(self, kind: int, payload: bytes) -> bool:
            return self.taking and super()._put(kind, payload)

    with Leaking(on_loss="count") as recorder:
        recorder.open(HEADER)
        for k, line in enumerate(lines(30, lost=0.0)):
            recorder.taking = k != 20
            feed(recorder, iter([line]))
    found = replay(read_record(recorder.data), Leaky())
    assert found.identical
    assert found.compared == 20
    assert found.not_compared == {"after ticks that the recorder lost": 9}


def test_a_record_that_is_cut_is_compared_as_far_as_it_goes_and_that_is_said() -> None:
    data = record_of(30, lost=0.0)
    found = replay(read_record(data[:-300]), Leaky())
    assert found.identical
    assert 0 < found.compared < 30
    assert "the record is not whole: cut at byte" in str(found)
    assert not found.holds


def test_a_record_that_the_loop_left_behind_is_whole_and_that_it_was_left_is_said() -> None:
    framer = Framer()
    data = framer.start(pack_header(HEADER, None))
    for line in lines(30, lost=0.0):
        assert isinstance(line[0], Output)
        data += framer.frame(TICK, pack_tick(line[0], line[1], line[2]))  # type: ignore[arg-type]
    data += framer.end(closed=False, reason="the loop is gone")
    found = replay(read_record(data), Leaky())
    assert found.compared == 30
    assert found.holds
    assert "the loop did not close the record: abandoned" in str(found)


def test_what_has_nothing_to_compare_is_not_identical() -> None:
    found = replay(read_record(record_of(0)), Leaky())
    assert not found.identical
    assert "none to compare" in str(found)


def test_a_decoder_that_does_not_fit_is_refused() -> None:
    record = read_record(record_of(3))
    narrow, deaf = Leaky(), Leaky()
    narrow.n_outputs, deaf.n_inputs = 1, 2
    with pytest.raises(SpikeportError, match="2 outputs a tick, the decoder has 1"):
        replay(record, narrow)
    with pytest.raises(SpikeportError, match="3 values a tick, the decoder takes 2"):
        replay(record, deaf)


def test_without_a_period_the_times_are_not_known() -> None:
    record = read_record(record_of(5, header={}))
    with pytest.raises(SpikeportError, match="a period of None ns"):
        replay(record, Leaky())
    found = replay(record, Leaky(), period_ns=PERIOD)
    assert found.identical
    assert found.other_decoder == ("the record does not describe its decoder",)
    assert found.as_dict()["first_difference"] is None
