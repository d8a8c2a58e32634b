"""The frames of UDP and ZeroMQ, the mapping of stamps, and what a source does with what comes."""

from __future__ import annotations

import struct
import zlib
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transport_cases import an_output

from spikeport.loop.clocks import VirtualClock
from spikeport.loop.packets import CAUSES, NS, Output
from spikeport.loop.transports import frame as wire
from spikeport.loop.transports.base import host_and_port
from spikeport.loop.transports.frame import FrameError, pack_output, pack_sample, read_output, read_sample
from spikeport.loop.transports.inbox import MAX_NOTES, Inbox, Notes
from spikeport.loop.transports.producers import REMEMBERED, SILENT_NS
from spikeport.loop.transports.stamps import LeastDelay, Stamps
from spikeport.snn.errors import SpikeportError

I64 = st.integers(-(2**63), 2**63 - 1)
U64 = st.integers(0, 2**64 - 1)


def sample(seq: int = 0, values: tuple[float, ...] = (1.0, 2.0), **changes: int) -> bytes:
    head = {"session": 7, "source_ns": 1000, "clock": 3, **changes}
    return pack_sample(values, seq=seq, **head)


@given(st.lists(st.floats(), max_size=40), U64, U64, I64, U64)
def test_a_sample_survives_the_wire_bit_for_bit(
    values: list[float], session: int, seq: int, source_ns: int, clock: int
) -> None:
    found = read_sample(pack_sample(values, session=session, seq=seq, source_ns=source_ns, clock=clock))
    assert (found.session, found.seq, found.source_ns, found.clock) == (session, seq, source_ns, clock)
    assert found.values.tobytes() == np.array(values, dtype=float).tobytes()


def test_a_sample_has_the_layout_that_the_docstring_states() -> None:
    data = pack_sample([1.5, -2.0], session=11, seq=12, source_ns=-13, clock=14)
    assert data[:4] == b"SPKF"
    assert struct.unpack_from("<BBBB", data, 4) == (1, 1, 1, 0)
    assert struct.unpack_from("<IQQqQ", data, 8) == (2, 11, 12, -13, 14)
    assert struct.unpack_from("<I", data, 44) == (zlib.crc32(data[:44] + data[48:]),)
    assert struct.unpack_from("<2d", data, 48) == (1.5, -2.0)
    assert len(data) == 64


@given(I64, I64, st.sampled_from(CAUSES), st.booleans(), st.lists(st.floats(), max_size=20), U64)
def test_an_output_survives_the_wire(
    tick: int, seq: int, cause: str, safe: bool, values: list[float], number: int
) -> None:
    given_one = an_output(0, tick=tick, seq=seq, cause=cause, safe=safe, values=np.array(values))
    found = read_output(pack_output(given_one, session=1, number=number, sent_ns=5, clock=6))
    assert (found.session, found.number, found.sent_ns, found.clock) == (1, number, 5, 6)
    for field in fields(Output):
        if field.name != "values":
            assert getattr(found.output, field.name) == getattr(given_one, field.name)
    assert found.output.values.tobytes() == given_one.values.tobytes()


@given(st.binary(max_size=200))
def test_bytes_that_are_no_frame_are_refused_with_a_reason(data: bytes) -> None:
    for read in (read_sample, read_output):
        with pytest.raises(FrameError, match=r"length|no frame"):
            read(data)


@given(st.data())
def test_no_byte_of_a_frame_can_change_unseen(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([sample(), pack_output(an_output(3), session=1, number=2, sent_ns=3, clock=4)]))
    i = data.draw(st.integers(0, len(whole) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = whole[:i] + bytes([whole[i] ^ flip]) + whole[i + 1 :]
    for read in (read_sample, read_output):
        with pytest.raises(FrameError, match=r"length|no frame|version|checksum|kind"):
            read(changed)


@given(st.data())
def test_a_frame_that_was_cut_or_lengthened_is_refused(data: st.DataObject) -> None:
    whole = sample()
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(FrameError, match=r"length|checksum"):
        read_sample(cut)
    with pytest.raises(FrameError, match="checksum"):
        read_sample(whole + b"\0")


def resealed(data: bytes) -> bytes:
    """With a checksum that is right."""
    return data[:44] + struct.pack("<I", zlib.crc32(data[:44] + data[48:])) + data[48:]


@pytest.mark.parametrize(
    ("at", "byte", "reason"),
    [(4, 2, "version"), (5, 2, "kind"), (5, 9, "kind"), (6, 9, "kind"), (8, 3, "length"), (8, 1, "length")],
)
def test_a_frame_of_another_version_kind_or_length_is_refused_by_that_reason(at: int, byte: int, reason: str) -> None:
    data = bytearray(sample())
    data[at] = byte
    with pytest.raises(FrameError, match=reason) as caught:
        read_sample(resealed(bytes(data)))
    assert caught.value.reason == reason


def test_an_output_with_an_unknown_cause_or_flag_is_refused() -> None:
    for at, byte in ((48 + 16, len(CAUSES)), (48 + 17, 2)):
        data = bytearray(pack_output(an_output(0), session=1, number=0, sent_ns=0, clock=0))
        data[at] = byte
        with pytest.raises(FrameError, match="kind"):
            read_output(resealed(bytes(data)))


def test_float32_rounds_and_int16_is_exact_or_refused() -> None:
    rounded = read_sample(pack_sample([0.1, np.nan], session=1, seq=0, source_ns=0, clock=0, dtype="float32")).values
    assert rounded[0] == np.float32(0.1)
    assert np.isnan(rounded[1])
    exact = [-32768.0, 32767.0, 3.0]
    found = read_sample(pack_sample(exact, session=1, seq=0, source_ns=0, clock=0, dtype="int16")).values
    assert found.tolist() == exact
    for bad in (0.5, 32768.0, np.nan, np.inf):
        with pytest.raises(SpikeportError, match="int16 takes whole numbers"):
            pack_sample([1.0, bad], session=1, seq=0, source_ns=0, clock=0, dtype="int16")
    with pytest.raises(SpikeportError, match="one of float64, float32, int16"):
        pack_sample([1.0], session=1, seq=0, source_ns=0, clock=0, dtype="complex64")
    with pytest.raises(SpikeportError, match=r"shape \(1, 1\)"):
        pack_sample([[1.0]], session=1, seq=0, source_ns=0, clock=0)


def an_inbox(capacity: int = 4, stamps: str = "same clock") -> Inbox:
    made = Inbox("test source", 2, capacity, stamps)
    made.begin(VirtualClock(start_ns=5000))
    return made


def test_an_inbox_gives_what_came_in_its_order_with_the_stamps_of_both_sides() -> None:
    inbox = an_inbox()
    for seq in (3, 1, 1):
        inbox.frame(sample(seq))
    assert [(p.seq, p.source_ns, p.received_ns, p.values.tolist()) for p in inbox.take()] == [
        (seq, 1000, 5000, [1.0, 2.0]) for seq in (3, 1, 1)
    ]
    assert inbox.take() == []


def test_nan_passes_the_source_since_the_loop_decides() -> None:
    inbox = an_inbox()
    inbox.frame(sample(0, (np.nan, np.inf)))
    assert np.isnan(inbox.take()[0].values[0])


@given(st.integers(0, 30), st.integers(1, 8))
def test_an_inbox_holds_the_newest_and_counts_what_it_gave_up(n: int, capacity: int) -> None:
    inbox = an_inbox(capacity)
    for seq in range(n):
        inbox.frame(sample(seq))
    given_up = max(0, n - capacity)
    assert [p.seq for p in inbox.take()] == list(range(given_up, n))
    assert inbox.overflowed() == given_up
    assert inbox.overflowed() == 0
    expected = [{"n": given_up, "first": 0, "last": given_up - 1}] if given_up else []
    assert [details for event, details in inbox.notes.take() if event == "packets given up"] == expected


def test_every_thing_that_came_is_counted_once() -> None:
    inbox = an_inbox()
    bad = (b"", b"x" * 99, sample(1, (1.0,)), sample(2)[:-1] + b"\1", sample(2**62), sample(5, source_ns=-(2**62)))
    for data in (*bad, sample(0), sample(3, session=8), sample(4, session=8), sample(4), sample(0, session=9)):
        inbox.frame(data)
    inbox.take()
    found = inbox.report()
    assert found["malformed"] == {"length": 1, "no frame": 1, "width": 1, "checksum": 1, "number": 1, "stamp": 1}
    assert (found["packets"], found["stale"], found["unconfirmed"], found["overflow"]) == (3, 1, 1, 0)
    assert found["came"] == 6 + 3 + 1 + 1


def test_a_malformed_packet_is_noted_by_its_reason_with_its_number_where_it_has_one() -> None:
    inbox = an_inbox()
    inbox.frame(sample(41, (1.0, 2.0, 3.0)))
    inbox.frame(sample(42, (1.0,)))
    assert inbox.notes.take() == [
        ("malformed packet", {"reason": "width", "seq": 41, "detail": "3 values, must be 2", "n": 2})
    ]
    assert inbox.notes.take() == []


def test_the_producer_that_began_last_counts_and_an_earlier_one_is_stale() -> None:
    inbox = an_inbox(capacity=100)
    for session, seq in ((7, 0), (7, 1), (8, 0), (7, 2), (8, 1), (7, 3), (8, 2)):
        inbox.frame(sample(seq, session=session))
    assert [p.seq for p in inbox.take()] == [0, 1, 2, 0, 1, 2]
    events = [event for event, _ in inbox.notes.take()]
    assert events.count("producer") == 2
    assert events.count("unconfirmed producer") == 1
    assert events.count("stale packet") == 1


def test_one_stray_packet_changes_nothing_though_it_comes_twice_or_from_many() -> None:
    inbox = an_inbox(capacity=100)
    inbox.frame(sample(0))
    for stray in range(100, 140):
        inbox.frame(sample(5, session=stray))
        inbox.frame(sample(5, session=stray))
    inbox.frame(sample(1))
    assert [p.seq for p in inbox.take()] == [0, 1]
    assert inbox.report()["unconfirmed"] == 80
    assert len(inbox._producers._waiting) <= REMEMBERED


def test_an_earlier_producer_counts_again_once_the_later_one_is_silent_and_the_record_says_so() -> None:
    clock = VirtualClock()
    inbox = Inbox("test source", 2, 100, "same clock")
    inbox.begin(clock)

    def at(ns: int, seq: int, session: int) -> list[int]:
        clock.wait_until(ns)
        inbox.frame(sample(seq, session=session))
        return [p.seq for p in inbox.take()]

    assert at(0, 0, 7) == [0]
    assert at(1, 0, 8) == []
    assert at(2, 1, 8) == [0, 1]
    assert at(3, 1, 7) == []
    assert at(SILENT_NS + 1, 2, 7) == []  # not yet
    assert at(SILENT_NS + 2, 3, 7) == [3]
    assert at(SILENT_NS + 3, 2, 8) == []  # now this one is stale
    reasons = [details["reason"] for event, details in inbox.notes.take() if event == "producer"]
    assert reasons == ["session 7", "session 8", "session 7, again: the later one is silent"]
    assert inbox.report()["stale"] == 3


def test_a_loop_that_stood_still_takes_no_producer_for_silent() -> None:
    clock = VirtualClock()
    inbox = Inbox("test source", 2, 100, "same clock")
    inbox.begin(clock)
    for seq, session in ((0, 7), (0, 8), (1, 8)):
        inbox.frame(sample(seq, session=session))
    inbox.take()
    clock.wait_until(10 * SILENT_NS)  # both have sent meanwhile, the earlier one first
    for seq, session in ((1, 7), (2, 8)):
        inbox.frame(sample(seq, session=session))
    assert [p.seq for p in inbox.take()] == [2]


def test_notes_are_bounded_and_say_what_they_left_out() -> None:
    notes = Notes()
    for i in range(MAX_NOTES + 10):
        notes.add("event", f"reason {i}")
    found = notes.take()
    assert found[-1] == ("notes left out", {"n": 10})
    assert len(found) == MAX_NOTES + 1


def test_stamps_of_our_own_clock_stay_and_of_another_are_mapped_by_the_least_delay() -> None:
    stamps = Stamps("auto", ours=5)
    assert stamps.begin(5) == "same clock"
    assert stamps.map(123, 999) == 123
    for other in (6, 0):
        assert stamps.begin(other) == "least delay"
    assert Stamps("auto", ours=0).begin(0) == "least delay"  # neither side knows its clock
    assert Stamps("same clock", ours=0).begin(0) == "same clock"
    with pytest.raises(SpikeportError, match="one of auto, same clock, least delay"):
        Stamps("guess", ours=0)


@given(st.integers(-(10**15), 10**15), st.lists(st.integers(0, 10**7), min_size=1, max_size=50))
def test_the_least_delay_is_exact_where_a_packet_took_no_time_and_never_later_than_reception(
    offset: int, delays: list[int]
) -> None:
    estimate, at = LeastDelay(), 10**9
    mapped = []
    for i, delay in enumerate([0, *delays]):
        sent = at + i * 1_000_000
        mapped.append((sent, estimate.map(sent - offset, sent + delay), sent + delay))
    assert all(found == sent for sent, found, _ in mapped)
    assert all(found <= received for _, found, received in mapped)


def test_the_least_delay_is_that_of_this_half_minute_and_of_the_one_before() -> None:
    estimate, found = LeastDelay(), []
    for at_s, lag in ((0, 10), (29, 7), (31, 20), (32, 5), (62, 30), (93, 40), (200, 50)):
        received = at_s * NS
        found.append(received - estimate.map(received - lag, received))
    assert found == [lag - least for lag, least in ((10, 10), (7, 7), (20, 7), (5, 5), (30, 5), (40, 30), (50, 50))]


def test_the_least_delay_follows_a_clock_that_drifts() -> None:
    estimate, drift = LeastDelay(), 50e-6
    errors = [abs(estimate.map(round(t * NS * (1 - drift)), t * NS) - t * NS) for t in range(1, 3600)]
    assert max(errors) <= 60 * NS * drift + 1  # an hour's drift is 180 ms


def test_sizes_that_cannot_be_are_refused_all_at_once() -> None:
    with pytest.raises(SpikeportError, match=r"(?s)n_channels: 0.*capacity: True"):
        Inbox("test source", 0, True)


def test_addresses_are_host_and_port() -> None:
    assert host_and_port("127.0.0.1:5000", "x") == ("127.0.0.1", 5000)
    assert host_and_port("[::1]:0", "x") == ("::1", 0)
    for bad in ("127.0.0.1", ":5000", "a:b", "a:65536", "a:-1", "a:٣"):
        with pytest.raises(SpikeportError, match="must be host:port"):
            host_and_port(bad, "x")


def test_this_machine_has_one_clock_and_each_start_of_a_sender_a_session_of_its_own() -> None:
    assert wire.clock_identity() == wire.clock_identity() < 2**64
    assert len({wire.new_session() for _ in range(100)}) == 100
