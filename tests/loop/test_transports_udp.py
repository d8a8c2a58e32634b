"""UDP on loopback: datagrams that come, come twice, out of order, not at all, or are none."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from transport_cases import an_output, collect, collect_n, noted, numbers, producing, wait_for

from spikeport.loop.clocks import WallClock
from spikeport.loop.packets import Output
from spikeport.loop.transports.frame import clock_identity, pack_sample, read_output
from spikeport.loop.transports.udp import UdpSender, UdpSink, UdpSource
from spikeport.snn.errors import SpikeportError


@pytest.fixture
def made() -> Iterator[list[Any]]:
    """What is closed at the end, whatever happens."""
    parts: list[Any] = []
    yield parts
    for part in reversed(parts):
        part.close()


def a_source(made: list[Any], n_channels: int = 2, **options: Any) -> UdpSource:
    source = UdpSource(n_channels, bind="127.0.0.1:0", **options)
    made.append(source)
    source.open(WallClock())
    return source


def a_sender(made: list[Any], source: UdpSource, **options: Any) -> UdpSender:
    made.append(UdpSender(source.address, **options))
    return made[-1]


def frames(n: int, n_channels: int = 2, session: int = 1) -> list[bytes]:
    return [
        pack_sample(np.full(n_channels, i), session=session, seq=i, source_ns=i, clock=clock_identity())
        for i in range(n)
    ]


def raw_to(made: list[Any], source: UdpSource) -> socket.socket:
    host, _, port = source.address.rpartition(":")
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.append(s)
    s.connect((host, int(port)))
    return s


def test_a_recording_from_another_process_arrives_whole_in_order_and_stamped_by_the_same_clock(
    made: list[Any], tmp_path: Any
) -> None:
    values = np.random.default_rng(1).normal(size=(200, 3))
    np.save(tmp_path / "samples.npy", values)
    source = a_source(made, 3)
    before = WallClock().now_ns()
    with producing("udp", source.address, "--file", str(tmp_path / "samples.npy"), "--rate", "1000") as producer:
        packets = collect_n(source, 200)
        assert producer.done() == {"sent": 200, "dropped": 0}
    assert numbers(packets) == list(range(200))
    assert np.array_equal([p.values for p in packets], values)
    assert all(p.source_ns <= p.received_ns for p in packets)
    stamps = [before, *(p.source_ns for p in packets), WallClock().now_ns()]
    if sys.platform.startswith("linux"):
        assert stamps == sorted(stamps)
        assert source.report()["stamps"] == "same clock"
    assert source.report()["malformed"] == {}


def test_order_doubles_and_holes_reach_the_loop_as_they_came(made: list[Any]) -> None:
    source = a_source(made)
    sender = raw_to(made, source)
    order = [0, 2, 1, 1, 5, 4]
    for i in order:
        sender.send(frames(6)[i])
    assert numbers(collect_n(source, len(order))) == order


def test_datagrams_that_are_no_frames_are_counted_and_the_rest_arrives(made: list[Any]) -> None:
    source = a_source(made)
    sender = raw_to(made, source)
    good = frames(2)
    for data in (good[0], b"", b"nonsense", b"y" * 60_000, good[1][:-3], *frames(1, 5), good[1]):
        sender.send(data)
    assert numbers(collect_n(source, 2)) == [0, 1]
    assert source.report()["malformed"] == {"length": 2, "no frame": 1, "checksum": 1, "width": 1}
    assert {note["reason"] for note in noted(source)["malformed packet"]} == {"length", "no frame", "checksum", "width"}


def test_a_source_that_is_not_polled_keeps_the_newest_and_counts_the_others(made: list[Any]) -> None:
    source = a_source(made, capacity=10)
    sender = a_sender(made, source)
    for i in range(25):
        assert sender.send([i, i], seq=i, source_ns=i)
    assert numbers(collect(source, lambda found: bool(found) and found[-1].seq == 24))[-10:] == list(range(15, 25))
    assert source.overflowed() == source.report()["overflow"]


def test_what_the_kernel_gave_up_is_counted_exactly(made: list[Any]) -> None:
    source = a_source(made, 1000, capacity=1000, buffer=1)  # the least buffer that the system gives
    if not sys.platform.startswith("linux"):
        assert source.describe()["kernel_drops"] == "not told by this system"
        return
    sender = a_sender(made, source)
    found: list[int] = []
    for burst in range(2):
        first, last = 200 * burst, 200 * burst + 199
        for i in range(first, last):
            assert sender.send(np.zeros(1000), seq=i, source_ns=i)
        found += numbers(source.poll())
        assert sender.send(np.zeros(1000), seq=last, source_ns=last)  # the count comes with a later datagram
        wait_for(lambda: found.extend(numbers(source.poll())) or last in found, "the last")  # noqa: B023
        lost = last + 1 - len(found)
        assert 0 < lost < last
        assert source.report()["transport overflow"] == lost
    assert source.overflowed() == lost
    assert noted(source)["transport overflow"] == [{"n": lost}]


def test_only_the_named_peer_is_heard(made: list[Any]) -> None:
    source = a_source(made, peer="127.0.0.2")
    sender = raw_to(made, source)
    sender.send(frames(1)[0])
    wait_for(lambda: list(source.poll()) or source.report()["came"] == 1)
    assert source.report()["malformed"] == {"sender": 1}
    assert source.report()["packets"] == 0
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.append(other)
    other.bind(("127.0.0.2", 0))
    other.sendto(frames(1)[0], ("127.0.0.1", int(source.address.rpartition(":")[2])))
    assert numbers(collect_n(source, 1)) == [0]


def test_a_restarted_producer_is_noted_and_begins_at_zero(made: list[Any]) -> None:
    source = a_source(made)
    for _ in range(2):
        sender = a_sender(made, source)
        for i in range(3):
            sender.send([0, 0], seq=i, source_ns=i)
    assert numbers(collect_n(source, 6)) == [0, 1, 2, 0, 1, 2]
    assert [note["others_before"] for note in noted(source)["producer"]] == [0, 1]


def test_a_source_can_be_opened_again_and_closed_twice(made: list[Any]) -> None:
    source = a_source(made)
    raw_to(made, source).send(b"nonsense")
    wait_for(lambda: not source.poll() and source.report()["came"] == 1)
    source.open(WallClock())
    assert source.report()["came"] == 0
    assert not noted(source)
    source.close()
    source.close()
    assert list(source.poll()) == []


def test_an_address_that_is_taken_or_unknown_is_refused(made: list[Any]) -> None:
    source = a_source(made)
    with pytest.raises(SpikeportError, match=r"cannot bind .*in use"):
        UdpSource(2, bind=source.address).open(WallClock())
    with pytest.raises(SpikeportError, match="must be host:port"):
        UdpSource(2, bind="5000")
    with pytest.raises(SpikeportError, match="host 'no host'"):
        UdpSender("no host:1")


def test_a_sample_that_no_datagram_takes_is_refused(made: list[Any]) -> None:
    source = a_source(made)
    sender = a_sender(made, source)
    with pytest.raises(SpikeportError, match="a datagram takes 65459"):
        sender.send(np.zeros(9000), seq=0, source_ns=0)


def a_listener(made: list[Any]) -> tuple[socket.socket, str]:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.append(s)
    s.bind(("127.0.0.1", 0))
    s.settimeout(30)
    return s, f"127.0.0.1:{s.getsockname()[1]}"


def test_a_sink_sends_every_output_with_its_number_tick_cause_and_safe_flag(made: list[Any]) -> None:
    listener, address = a_listener(made)
    sink = UdpSink(address, when_blocked="raise")
    made.append(sink)
    sink.open(WallClock())
    given: list[Output] = [an_output(0), an_output(2, cause="held"), an_output(3, cause="stopped", safe=True, seq=-1)]
    for output in given:
        sink.emit(output)
    found = [read_output(listener.recv(65536)) for _ in given]
    assert [e.number for e in found] == [0, 1, 2]  # without holes, though tick 1 emitted nothing
    assert [(e.output.tick, e.output.seq, e.output.cause, e.output.safe) for e in found] == [
        (o.tick, o.seq, o.cause, o.safe) for o in given
    ]
    assert np.array_equal([e.output.values for e in found], [o.values for o in given])
    assert sink.report() == {"emitted": 3, "dropped": 0, "unheard": 0}


def test_a_sink_to_which_nobody_listens_goes_on_and_counts(made: list[Any]) -> None:
    listener, address = a_listener(made)
    listener.close()
    sink = UdpSink(address, when_blocked="drop")
    made.append(sink)
    sink.open(WallClock())
    wait_for(lambda: sink.emit(an_output(0)) or sink.report()["unheard"] > 0)
    report = sink.report()
    assert report["emitted"] + report["dropped"] >= report["unheard"]


def test_an_output_that_no_datagram_takes_is_dropped_or_raised_as_chosen(made: list[Any]) -> None:
    _, address = a_listener(made)
    big = an_output(7, values=np.zeros(9000))
    sink = UdpSink(address, when_blocked="drop")
    made.append(sink)
    sink.open(WallClock())
    sink.emit(big)
    assert sink.report()["dropped"] == 1
    assert noted(sink)["output dropped"][0]["tick"] == 7
    strict = UdpSink(address, when_blocked="raise")
    made.append(strict)
    strict.open(WallClock())
    with pytest.raises(SpikeportError, match=r"output of tick 7 was not taken: .* a datagram takes"):
        strict.emit(big)
    with pytest.raises(SpikeportError, match="one of drop, raise"):
        UdpSink(address, when_blocked="wait")
    with pytest.raises(SpikeportError, match="not open"):
        UdpSink(address, when_blocked="drop").emit(an_output(0))
