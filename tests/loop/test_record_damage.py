"""Damage to a record: no truncation and no changed byte goes unnoticed, and none gives a wrong tick."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from record_cases import HEADER, SMALL, WHOLE, record_of, same_item

from spikeport.loop.record import format as form
from spikeport.loop.record.reader import Event, RecordReader, Tick
from spikeport.snn.errors import SpikeportError


def what_is_left(data: bytes) -> tuple[list[Tick | Event], str]:
    """What a reader gives of some bytes, and how it says they ended; ([], "refused") where it reads none."""
    try:
        with RecordReader(data) as reader:
            return list(reader), reader.ending.kind
    except SpikeportError:
        return [], "refused"


def assert_noticed(data: bytes, allowed: set[str]) -> None:
    """Items that are a beginning of the whole ones, each the same, and an ending that says that they are not all."""
    found, ending = what_is_left(data)
    assert ending in allowed
    assert len(found) <= len(WHOLE)
    assert all(same_item(a, b) for a, b in zip(found, WHOLE, strict=False))


@given(st.integers(0, len(SMALL) - 1))
@example(0)
@example(len(SMALL) - 1)
@settings(max_examples=300)
def test_a_record_cut_anywhere_is_a_beginning_and_says_so(n: int) -> None:
    assert_noticed(SMALL[:n], {"cut", "refused"})


def test_a_cut_record_gives_every_frame_that_is_whole() -> None:
    ends, position = [], form.PREAMBLE.size
    while position < len(SMALL):  # by the lengths alone
        position += struct.unpack_from("<I", SMALL, position + 4)[0] + form.OVERHEAD
        ends.append(position)
    for n in range(ends[0], len(SMALL), 7):
        found, _ = what_is_left(SMALL[:n])
        assert len(found) == sum(end <= n for end in ends) - 1


@given(st.integers(0, len(SMALL) - 1), st.integers(1, 255))
@settings(max_examples=500)
def test_a_single_changed_byte_is_noticed_and_gives_no_wrong_tick(at: int, change: int) -> None:
    data = bytearray(SMALL)
    data[at] ^= change
    assert_noticed(bytes(data), {"damaged", "refused"})


def test_every_byte_of_a_record_is_watched() -> None:
    for at in range(0, len(SMALL)):
        data = bytearray(SMALL)
        data[at] ^= 0x01
        assert what_is_left(bytes(data))[1] in ("damaged", "refused"), at


@given(st.data())
@settings(max_examples=200)
def test_a_frame_that_is_missing_doubled_or_out_of_place_is_noticed(data: st.DataObject) -> None:
    frames, position = [], form.PREAMBLE.size
    while position < len(SMALL):
        size = struct.unpack_from("<I", SMALL, position + 4)[0] + form.OVERHEAD
        frames.append(SMALL[position : position + size])
        position += size
    a, b = (data.draw(st.integers(1, len(frames) - 1)) for _ in range(2))
    how = data.draw(st.sampled_from(["missing", "doubled", "swapped"]))
    if how == "missing":
        changed = frames[:a] + frames[a + 1 :]
    elif how == "doubled":
        changed = [*frames[:a], frames[b], *frames[a:]]
    else:
        changed = list(frames)
        changed[a], changed[b] = frames[b], frames[a]
    if changed != frames:
        assert_noticed(SMALL[: form.PREAMBLE.size] + b"".join(changed), {"damaged", "cut"})


def test_a_frame_of_another_record_does_not_fit() -> None:
    other = record_of(12, seed=1, lost=0.3, header=HEADER | {"seed": 4})
    begin = form.PREAMBLE.size + struct.unpack_from("<I", other, form.PREAMBLE.size + 4)[0] + form.OVERHEAD
    mine = form.PREAMBLE.size + struct.unpack_from("<I", SMALL, form.PREAMBLE.size + 4)[0] + form.OVERHEAD
    assert other[begin + 24 : begin + 60] == SMALL[mine + 24 : mine + 60]  # the same tick, byte for byte
    assert what_is_left(SMALL[:mine] + other[begin:]) == ([], "damaged")


def test_what_follows_the_end_is_damage() -> None:
    with RecordReader(SMALL + b"\0") as reader:
        assert len(list(reader)) == len(WHOLE)
        assert str(reader.ending).endswith("1 bytes follow the end frame")


def test_a_tail_of_zeros_is_damage_and_what_is_before_it_is_read() -> None:
    with RecordReader(SMALL[:-20] + bytes(4096)) as reader:
        assert len(list(reader)) == len(WHOLE)
        assert reader.ending.kind == "damaged"


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_any_other_bytes_are_refused(data: bytes) -> None:
    assert what_is_left(data) == ([], "refused")


def forged(kind: int, payload: bytes, *, length: int | None = None, number: int = 1) -> bytes:
    """A record of a header and one frame with checksums that are right, whatever it holds; made without our writer."""
    preamble = b"\x89SPKLOG\n\x01\x00\x00\x00"
    content = b'{"causes":["fresh"],"header":{},"versions":{}}'

    def frame(kind: int, payload: bytes, number: int, salt: int, length: int) -> bytes:
        head = struct.pack("<B3xIQ", kind, length, number)
        check = zlib.crc32(head, salt)
        return head + struct.pack("<I", check) + payload + struct.pack("<I", zlib.crc32(payload, check))

    first = frame(1, content, 0, zlib.crc32(preamble), len(content))
    return (
        preamble + first + frame(kind, payload, number, zlib.crc32(content), len(payload) if length is None else length)
    )


NEST = b'{"kind":"a","at_ns":0,"details":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (forged(2, b"", length=2**32 - 1), "limit of a frame of type tick"),
        (forged(3, b"", length=2**31), "limit of a frame of type event"),
        (forged(9, b""), "type 9 cannot stand here"),
        (forged(1, b"{}"), "type 1 cannot stand here"),
        (forged(3, b"", number=5), "says that it is frame 5"),
        (forged(3, NEST), "no JSON"),
        (forged(3, b'{"at_ns":0,"details":{},"kind":"a","kind":"b"}'), "canonical"),
        (forged(3, b'{"at_ns":NaN,"details":{},"kind":"a"}'), "no JSON"),
        (forged(3, b'{"at_ns":1.5,"details":{},"kind":"a"}'), "not that of an event"),
        (forged(3, b'{"at_ns":0,"details":{"ticks":1},"kind":"record lost"}'), "does not say what the recorder lost"),
        (forged(3, b"[]"), "no object"),
        (forged(3, b"\xff"), "no JSON"),
        (forged(3, b'{"at_ns":0,"details":{"$a":1},"kind":"a"}'), "no JSON"),
        (forged(3, b'{"at_ns":' + b"9" * 9000 + b',"details":{},"kind":"a"}'), "no JSON"),
        (forged(2, bytes(10)), "too short"),
        (forged(2, bytes(form.STAMPS.size + 8)), "contradicts itself"),
        (forged(2, form.STAMPS.pack(*range(8), 1, 0, 0, 0, 0)), "contradicts itself"),
        (forged(2, form.STAMPS.pack(*range(8), 0, 2, 0, 0, 0)), "contradicts itself"),
        (forged(2, form.STAMPS.pack(*range(8), 0, 0, 0, 2**32 - 1, 2**32 - 1)), "contradicts itself"),
        (forged(4, b'{"closed":true,"events":0,"reason":"","ticks":1}'), "counts 1 ticks"),
        (forged(4, b'{"closed":true}'), "not that of an end frame"),
    ],
)
def test_a_frame_made_to_harm_is_damage_with_its_reason(data: bytes, reason: str) -> None:
    with RecordReader(data) as reader:
        assert list(reader) == []
        assert reader.ending.kind == "damaged"
        assert reader.ending.frame == 1
        assert reason in str(reader.ending)


def test_the_published_layout_is_what_is_written() -> None:
    assert forged(4, b'{"closed":true,"events":0,"reason":"","ticks":0}')[:8] == form.MAGIC
    with RecordReader(forged(4, b'{"closed":true,"events":0,"reason":"","ticks":0}')) as reader:
        assert list(reader) == []
        assert str(reader.ending) == "clean"
