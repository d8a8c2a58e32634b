"""The file of a record: what is written comes back bit for bit, and no damage goes unnoticed."""

from __future__ import annotations

import json
import math
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_cases import (
    HEADER,
    SMALL,
    WHOLE,
    feed,
    lines,
    random_output,
    record_of,
    same_bits,
    same_item,
    write_record,
)

from spikeport.loop.packets import CAUSES, Output
from spikeport.loop.record import format as form
from spikeport.loop.record.outside import ProcessRecorder
from spikeport.loop.record.read import read_record, summary
from spikeport.loop.record.reader import Event, RecordReader, Tick
from spikeport.loop.record.writer import LOST, FileRecorder, MemoryRecorder
from spikeport.snn.errors import SpikeportError


@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=50)
def test_any_tick_comes_back_bit_for_bit(seed: int, n_in: int, n_out: int) -> None:
    rng = np.random.default_rng(seed)
    given_values = rng.integers(0, 2**64 - 1, n_in, dtype=np.uint64, endpoint=True).view(np.float64)
    output = random_output(rng, tick=7, n_out=n_out)
    with MemoryRecorder() as recorder:
        recorder.open({})
        recorder.tick(output, -5, given_values)
    (found,) = RecordReader(recorder.data)
    assert isinstance(found, Tick)
    names = ("tick", "seq", "deadline_ns", "source_ns", "received_ns", "start_ns", "end_ns", "cause", "safe")
    assert [getattr(found, n) for n in names] == [getattr(output, n) for n in names]
    assert found.emitted_ns == -5
    assert same_bits(found.inputs, given_values)
    assert same_bits(found.outputs, output.values)


NUMBERS = st.integers() | st.floats() | st.booleans() | st.none() | st.text()
KEYS = st.text(max_size=3) | st.sampled_from(["$", "$float", "$$float"])
DETAILS = st.recursive(
    NUMBERS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


@given(st.dictionaries(KEYS, DETAILS, max_size=4))
@settings(max_examples=50)
def test_any_details_of_an_event_come_back(details: dict[str, Any]) -> None:
    payload = form.encode_json({"kind": "k", "details": details}, "event")
    found = form.decode_json(payload)["details"]
    assert equal(found, details)


def equal(a: Any, b: Any) -> bool:
    """Equality in which NaN equals NaN, and 0.0 is not -0.0."""
    if isinstance(b, dict):
        return isinstance(a, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in b)
    if isinstance(b, list):
        return isinstance(a, list) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(b, float):
        return type(a) is float and (same_bits(a, b) or (math.isnan(a) and math.isnan(b)))
    return type(a) is type(b) and bool(a == b)


def test_numpys_numbers_are_written_as_numbers() -> None:
    details = {"a": np.int64(3), "b": np.float32(0.5), "c": np.arange(3), "d": np.bool_(True), "e": (1, 2)}
    assert form.encode_json(details, "e") == b'{"a":3,"b":0.5,"c":[0,1,2],"d":true,"e":[1,2]}'


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), r"event\.a: object has no form"),
        ({1: 2}, "key 1, must be a text"),
        ([[1j]], r"event\.a\[0\]\[0\]: complex"),
    ],
)
def test_what_has_no_form_in_a_record_is_refused_with_its_place(value: Any, reason: str) -> None:
    with pytest.raises(SpikeportError, match=reason):
        form.encode_json({"a": value}, "event")


def test_a_later_version_is_refused_with_both_numbers() -> None:
    with pytest.raises(SpikeportError, match="version 2, this program reads version 1"):
        RecordReader(form.PREAMBLE.pack(form.MAGIC, 2, 0) + SMALL[12:])


def test_the_columns_of_a_record_are_the_ticks() -> None:
    ticks = [item for item in WHOLE if isinstance(item, Tick)]
    record = read_record(SMALL)
    assert len(record) == len(ticks) == 12
    assert record.header == HEADER
    assert record.causes == CAUSES
    assert record.causes_of() == [t.cause for t in ticks]
    for name in ("tick", "seq", "deadline_ns", "source_ns", "received_ns", "start_ns", "end_ns", "emitted_ns", "safe"):
        assert getattr(record, name).tolist() == [getattr(t, name) for t in ticks]
    assert all(same_bits(record.inputs[i], t.inputs) for i, t in enumerate(ticks))
    assert record.emitted.tolist() == [t.cause != "skipped" for t in ticks]
    assert all(map(same_item, record, WHOLE))
    assert len(record.events) == len(WHOLE) - 12
    assert [e.index for e in record.events] == [e.details["first"] for e in record.events]  # in its place


def test_the_same_run_gives_the_same_bytes_and_says_nothing_of_the_machine(tmp_path: Path) -> None:
    one, two = (write_record(tmp_path / name, 50) for name in ("a.spklog", "b.spklog"))
    assert one.read_bytes() == two.read_bytes() == record_of(50)
    assert read_record(one).machine == {}


def test_the_machine_is_told_where_it_may_be(tmp_path: Path) -> None:
    with MemoryRecorder(machine={"host": "h"}) as recorder:
        recorder.open({})
    assert read_record(recorder.data).machine == {"host": "h"}


def test_a_record_is_not_written_over_another(tmp_path: Path) -> None:
    path = write_record(tmp_path / "a.spklog", 3)
    with pytest.raises(SpikeportError, match="exists already"):
        FileRecorder(path)
    with FileRecorder(path, overwrite=True) as recorder:
        recorder.open({})
    assert len(read_record(path)) == 0


def test_only_a_record_is_ever_replaced(tmp_path: Path) -> None:
    path = tmp_path / "thesis.h5"
    path.write_bytes(b"not a record")
    for recorder in (FileRecorder, ProcessRecorder):
        with pytest.raises(SpikeportError, match="is no record"):
            recorder(path, overwrite=True, on_loss="stop")
    path.unlink()
    late = FileRecorder(path, overwrite=True)
    path.write_bytes(b"not a record")  # meanwhile
    with pytest.raises(SpikeportError, match="is no record"):
        late.open({})
    assert path.read_bytes() == b"not a record"


def test_a_recorder_makes_one_record_and_closes_once() -> None:
    recorder = MemoryRecorder()
    with pytest.raises(SpikeportError, match="but it is new"):
        recorder.event("early", 0)
    recorder.open({})
    recorder.close()
    before = bytes(recorder.data)
    recorder.close()
    assert bytes(recorder.data) == before
    with pytest.raises(SpikeportError, match="closed already"):
        recorder.open({})
    with pytest.raises(SpikeportError, match="but it is closed"):
        recorder.event("late", 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cause": "whim"}, "cause 'whim', must be one of"),
        ({"values": np.zeros((2, 2))}, r"shape \(3,\) in and \(2, 2\) out"),
        ({"values": np.zeros(form.MAX_VALUES + 1)}, "at most 65536"),
    ],
)
def test_a_tick_that_no_record_can_hold_is_refused(change: dict[str, Any], reason: str) -> None:
    output = random_output(np.random.default_rng(0), 0, 2)
    with MemoryRecorder() as recorder:
        recorder.open({})
        with pytest.raises(SpikeportError, match=reason):
            recorder.tick(replace(output, **change), 0, np.zeros(3))


def test_an_event_over_the_limit_is_refused() -> None:
    with MemoryRecorder() as recorder:
        recorder.open({})
        with pytest.raises(SpikeportError, match="the limit is 1048576"):
            recorder.event("long", 0, text="x" * form.LIMITS[form.EVENT])


@given(st.lists(st.booleans(), min_size=1, max_size=40))
@settings(max_examples=100)
def test_what_is_lost_is_said_where_it_happened(takes: list[bool]) -> None:
    class Choosy(MemoryRecorder):
        """Takes a tick only where `takes` says so."""

        taking = True

        def _put(self, kind: int, payload: bytes) -> bool:
            return self.taking and super()._put(kind, payload)

    with Choosy(on_loss="count") as recorder:
        recorder.open({})
        for k, recorder.taking in enumerate(takes):
            recorder.tick(replace(random_output(np.random.default_rng(0), k, 2), cause="fresh"), k, np.zeros(3))
    position = 0
    for item in RecordReader(recorder.data):
        if isinstance(item, Event):
            assert item.kind == LOST
            assert item.details["first_tick"] == position
            assert item.details["last_tick"] == position + item.details["ticks"] - 1
            assert not any(takes[position : position + item.details["ticks"]])
            position += item.details["ticks"]
        else:
            assert takes[position]
            assert item.tick == position
            position += 1
    assert position == len(takes)
    assert recorder.lost.all_ticks == takes.count(False) == read_record(recorder.data).lost["ticks"]


def test_a_recorder_that_must_lose_nothing_stops_the_loop() -> None:
    recorder = MemoryRecorder(limit=2000, on_loss="stop")
    recorder.open({})
    with pytest.raises(SpikeportError, match="its buffer is full; 1 ticks and 0 events are lost"):
        feed(recorder, lines(100, lost=0.0))
    recorder.close()
    record = read_record(recorder.data)
    assert record.ending.kind == "clean"
    assert record.lost == {"ticks": 1, "events": 0}
    assert 0 < len(record) == record.events[-1].details["first_tick"]


def test_a_file_over_the_limit_is_read_one_by_one(tmp_path: Path) -> None:
    path = write_record(tmp_path / "a.spklog", 20)
    with pytest.raises(SpikeportError, match="limit 1000"):
        read_record(path, limit=1000)
    with RecordReader(path) as reader, pytest.raises(SpikeportError, match="known when all is read"):
        str(reader.ending)


def test_ticks_of_several_widths_have_no_columns() -> None:
    output = random_output(np.random.default_rng(0), 0, 2)
    with MemoryRecorder() as recorder:
        recorder.open({})
        for n in (2, 3):
            recorder.tick(output, 0, np.zeros(n))
    with pytest.raises(SpikeportError, match="2, 3 values in have no common columns"):
        read_record(recorder.data)


def test_a_small_file_cannot_ask_for_a_large_array() -> None:
    output = random_output(np.random.default_rng(0), 0, 1)
    with MemoryRecorder() as recorder:
        recorder.open({})
        for k in range(2000):
            recorder.tick(output, 0, np.zeros(form.MAX_VALUES if k == 0 else 0))
    assert len(recorder.data) < 1_000_000
    with pytest.raises(SpikeportError, match="2000 x 65536 values in, limit 1000000000 bytes"):
        read_record(recorder.data, limit=10**9)


def test_reading_one_by_one_holds_little(tmp_path: Path) -> None:
    path = write_record(tmp_path / "a.spklog", 3000)
    with RecordReader(path) as reader:
        next(iter(reader))
        tracemalloc.start()
        try:
            assert sum(isinstance(item, Tick) for item in reader) == 2999
            assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 5
        finally:
            tracemalloc.stop()


def test_a_summary_counts_what_the_record_has() -> None:
    record, found = read_record(SMALL), summary(SMALL)
    causes = record.causes_of()
    assert found["ticks"] == 12
    assert found["causes"] == {cause: causes.count(cause) for cause in set(causes)}
    assert found["events"] == {"gap": len(record.events)}
    assert found["safe"] == record.safe.sum()
    assert (found["first_deadline_ns"], found["last_deadline_ns"]) == (record.deadline_ns[0], record.deadline_ns[-1])
    assert (found["ending"], found["lost"], found["header"]) == ("clean", {"ticks": 0, "events": 0}, HEADER)
    assert summary(record_of(0))["first_deadline_ns"] is None


def test_ticks_without_values_are_rows_of_nan_among_the_others() -> None:
    output = random_output(np.random.default_rng(0), 0, 2)
    with MemoryRecorder() as recorder:
        recorder.open({})
        for n_in, n_out in ((0, 2), (3, 2), (0, 2), (3, 0)):
            recorder.tick(replace(output, values=np.full(n_out, 0.5)), 0, np.arange(1.0, n_in + 1))
    record = read_record(recorder.data)
    none, some = [np.nan] * 3, [1.0, 2.0, 3.0]
    assert np.array_equal(record.inputs, [none, some, none, some], equal_nan=True)
    assert np.array_equal(record.outputs, [[0.5] * 2] * 3 + [[np.nan] * 2], equal_nan=True)


def test_what_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpikeportError, match="cannot be read: No such file"):
        read_record(tmp_path / "none.spklog")
    with pytest.raises(SpikeportError, match="cannot be read: Is a directory"):
        read_record(tmp_path)


def test_the_header_is_one_canonical_json_object() -> None:
    length = struct.unpack_from("<I", SMALL, form.PREAMBLE.size + 4)[0]
    start = form.PREAMBLE.size + form.HEAD.size + form.CRC.size
    content = json.loads(SMALL[start : start + length])
    assert sorted(content) == ["causes", "header", "versions"]
    assert {"python", "numpy", "spikeport"} <= set(content["versions"])


def test_an_unused_output_is_the_protocols() -> None:
    from spikeport.loop.ports import Recorder

    assert isinstance(MemoryRecorder(), Recorder)
    assert Output.__dataclass_params__.frozen  # type: ignore[attr-defined]
