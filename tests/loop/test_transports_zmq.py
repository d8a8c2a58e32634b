"""ZeroMQ on loopback: what a high-water mark drops in silence is found from the numbers, and never waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from require import need
from transport_cases import an_output, collect, collect_n, noted, numbers, producing, wait_for

from spikeport.loop.clocks import WallClock
from spikeport.loop.transports.frame import Emitted, clock_identity, pack_sample, read_output
from spikeport.loop.transports.zmq import ZmqSender, ZmqSink, ZmqSource
from spikeport.snn.errors import SpikeportError

zmq = need("zmq", resource="zmq")
LOOPBACK = "tcp://127.0.0.1:*"
PAIRS = [("pub", "sub"), ("push", "pull")]


@pytest.fixture
def made() -> Iterator[list[Any]]:
    """What is closed at the end, whatever happens."""
    parts: list[Any] = []
    yield parts
    for part in reversed(parts):
        part.close()


def keep(made: list[Any], part: Any, opened: bool = False) -> Any:
    made.append(part)
    if opened:
        part.open(WallClock())
    return part


def test_a_recording_from_another_process_arrives_whole(made: list[Any], tmp_path: Any) -> None:
    values = np.random.default_rng(1).normal(size=(200, 3))
    np.save(tmp_path / "samples.npy", values)
    with producing("zmq-pub", LOOPBACK, "--file", str(tmp_path / "samples.npy"), "--rate", "1000") as producer:
        source = keep(made, ZmqSource(3, pattern="sub", connect=producer.address), opened=True)
        packets = collect_n(source, 200)
        assert producer.done() == {"sent": 200, "dropped": 0}
    assert numbers(packets) == list(range(200))
    assert np.array_equal([p.values for p in packets], values)
    assert all(p.source_ns <= p.received_ns for p in packets)


@pytest.mark.parametrize(("out", "into"), PAIRS)
@pytest.mark.parametrize("source_binds", [False, True])
def test_either_side_may_bind(made: list[Any], out: str, into: str, source_binds: bool) -> None:
    if source_binds:
        source = keep(made, ZmqSource(2, pattern=into, bind=LOOPBACK), opened=True)
        sender = keep(made, ZmqSender(out, connect=source.address))
    else:
        sender = keep(made, ZmqSender(out, bind=LOOPBACK))
        source = keep(made, ZmqSource(2, pattern=into, connect=sender.address), opened=True)
    wait_for(lambda: not source.poll() and sender.ready(0.1))  # a bound SUB subscribes when it is polled
    assert all(sender.send([i, i], seq=i, source_ns=i) for i in range(20))
    assert numbers(collect_n(source, 20)) == list(range(20))


@pytest.mark.parametrize(("out", "into"), PAIRS)
def test_a_stalled_source_makes_a_counting_sender_drop_and_the_numbers_say_exactly_which(
    made: list[Any], out: str, into: str
) -> None:
    sender = keep(made, ZmqSender(out, bind=LOOPBACK, high_water=10))
    source = keep(
        made, ZmqSource(1000, pattern=into, connect=sender.address, high_water=10, capacity=100_000), opened=True
    )
    wait_for(lambda: sender.ready(0.1))
    dropped: list[int] = []
    n = 0
    while len(dropped) < 50:  # the kernel's buffers take some too
        if not sender.send(np.zeros(1000), seq=n, source_ns=n):
            dropped.append(n)
        n += 1
        assert n < 100_000
    found: list[int] = []
    wait_for(lambda: found.extend(numbers(source.poll())) or len(found) + len(dropped) == n)
    assert sorted({*range(n)} - {*found}) == dropped
    assert source.overflowed() == 0


def test_what_a_silent_publisher_drops_is_a_hole_in_the_numbers(made: list[Any]) -> None:
    sender = keep(made, ZmqSender("pub", bind=LOOPBACK, high_water=5, drops="silent"))
    source = keep(
        made, ZmqSource(1000, pattern="sub", connect=sender.address, high_water=5, capacity=100_000), opened=True
    )
    wait_for(lambda: sender.ready(0.1))
    n = 3000  # 24 MB
    assert all(sender.send(np.zeros(1000), seq=i, source_ns=i) for i in range(n))  # nobody says a word
    found = numbers(collect_n(source, 5))
    marker = n
    while not found or found[-1] < n:  # one that certainly comes, after all that was kept
        sender.send(np.zeros(1000), seq=marker, source_ns=0)
        marker += 1
        found += numbers(source.poll())
    kept = [s for s in found if s < n]
    assert kept == sorted(set(kept))
    assert 0 < len(kept) < n


def test_a_source_that_is_not_polled_keeps_the_newest_and_counts_the_others(made: list[Any]) -> None:
    sender = keep(made, ZmqSender("push", bind=LOOPBACK))
    source = keep(made, ZmqSource(2, pattern="pull", connect=sender.address, capacity=10, high_water=1000), opened=True)
    wait_for(lambda: sender.ready(0.1))
    assert all(sender.send([i, i], seq=i, source_ns=i) for i in range(200))
    found = numbers(collect(source, lambda packets: bool(packets) and packets[-1].seq == 199))
    given_up = source.overflowed()
    assert len(found) + given_up == 200
    notes = noted(source).get("packets given up", [])
    assert sum(note["n"] for note in notes) == given_up


def test_messages_that_are_no_frames_are_counted_and_the_rest_arrives(made: list[Any]) -> None:
    source = keep(made, ZmqSource(2, pattern="pull", bind=LOOPBACK), opened=True)
    context = zmq.Context()
    try:
        raw = context.socket(zmq.PUSH)
        raw.connect(source.address)
        good = pack_sample([1, 2], session=1, seq=0, source_ns=0, clock=clock_identity())
        raw.send_multipart([b"topic", good])
        for data in (b"", b"\xff" * 1000, good[:50], pack_sample([1], session=1, seq=1, source_ns=0, clock=0), good):
            raw.send(data)
        assert numbers(collect_n(source, 1)) == [0]
    finally:
        context.destroy(linger=0)
    assert source.report()["malformed"] == {"parts": 1, "length": 1, "no frame": 1, "checksum": 1, "width": 1}


def test_a_peer_that_went_and_came_back_is_noted_and_its_restart_too(made: list[Any]) -> None:
    first = ZmqSender("pub", bind=LOOPBACK)
    address = first.address
    source = keep(made, ZmqSource(2, pattern="sub", connect=address), opened=True)
    wait_for(lambda: first.ready(0.1))
    first.send([0, 0], seq=0, source_ns=0)
    collect_n(source, 1)
    first.close()
    wait_for(lambda: not source.poll() and source.report()["disconnected"] == 1)
    second = keep(made, ZmqSender("pub", bind=address))
    wait_for(lambda: second.ready(0.1))
    for seq in range(2):
        second.send([0, 0], seq=seq, source_ns=0)
    assert numbers(collect_n(source, 2)) == [0, 1]
    source.poll()
    notes = noted(source)
    assert {note["reason"] for note in notes["peer"]} >= {"disconnected"}
    assert [note["others_before"] for note in notes["producer"]] == [0, 1]


def test_nobody_there_is_refused_unless_it_may_come_later(made: list[Any]) -> None:
    absent = "tcp://127.0.0.1:1"
    with pytest.raises(SpikeportError, match=r"nobody at tcp://127\.0\.0\.1:1 within 0\.2 s"):
        ZmqSource(2, pattern="sub", connect=absent, wait=0.2).open(WallClock())
    source = keep(made, ZmqSource(2, pattern="sub", connect=absent, wait=0), opened=True)
    assert list(source.poll()) == []


def test_settings_that_cannot_be_are_refused_all_at_once(made: list[Any]) -> None:
    with pytest.raises(SpikeportError, match=r"(?s)pattern: 'req'.*must be one of the two.*high_water: 0"):
        ZmqSource(2, pattern="req", high_water=0)
    with pytest.raises(SpikeportError, match="cannot bind 'tcp://nonsense'"):
        ZmqSource(2, pattern="sub", bind="tcp://nonsense").open(WallClock())
    taken = keep(made, ZmqSender("pub", bind=LOOPBACK))
    with pytest.raises(SpikeportError, match=r"cannot bind .*in use"):
        ZmqSender("pub", bind=taken.address)
    with pytest.raises(SpikeportError, match="one of counted, silent"):
        ZmqSender("pub", bind=LOOPBACK, drops="some")


class Listener:
    """Another process's end of a sink, in this one."""

    def __init__(self, kind: int, address: str, high_water: int = 1000) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(kind)
        if kind == zmq.SUB:
            self.socket.setsockopt(zmq.SUBSCRIBE, b"")
        self.socket.setsockopt(zmq.RCVTIMEO, 30_000)
        self.socket.setsockopt(zmq.RCVHWM, high_water)
        self.socket.connect(address)

    def take(self, n: int) -> list[Emitted]:
        return [read_output(self.socket.recv()) for _ in range(n)]

    def close(self) -> None:
        self.context.destroy(linger=0)


def test_a_published_output_reaches_who_listens_and_is_unheard_before(made: list[Any]) -> None:
    sink = keep(made, ZmqSink("pub", bind=LOOPBACK, when_blocked="raise"), opened=True)
    sink.emit(an_output(0))
    assert sink.report() == {"emitted": 1, "dropped": 0, "unheard": 1}
    listener = keep(made, Listener(zmq.SUB, sink.address))
    wait_for(lambda: sink.emit(an_output(1)) or sink.report()["unheard"] < sink.report()["emitted"])
    first = listener.take(1)[0]
    sink.emit(an_output(2, cause="zero", safe=True))
    second = listener.take(1)[0]
    assert second.number == first.number + 1 == sink.report()["emitted"] - 1
    assert (second.output.cause, second.output.safe) == ("zero", True)


@pytest.mark.parametrize(("out", "kind"), [("pub", "SUB"), ("push", "PULL")])
def test_a_slow_consumer_is_never_waited_for_and_the_drops_are_the_holes_that_it_sees(
    made: list[Any], out: str, kind: str
) -> None:
    sink = keep(made, ZmqSink(out, bind=LOOPBACK, when_blocked="drop", high_water=10), opened=True)
    listener = keep(made, Listener(getattr(zmq, kind), sink.address))
    heard: list[int] = []
    n = dropped = 0
    while dropped < 50:
        before = sink.report()
        sink.emit(an_output(n, values=np.zeros(1000)))
        after = sink.report()
        if after["emitted"] > before["emitted"] and after["unheard"] == before["unheard"]:
            heard.append(n)
        dropped += bool(heard) and after["dropped"] > before["dropped"]
        n += 1
        assert n < 1_000_000
    # the output during which the subscription came may be heard although it is counted as unheard
    found = [e for e in listener.take(len(heard)) if e.number >= heard[0]]
    assert len(found) >= len(heard) - 1
    assert [e.number for e in found] == [e.output.tick for e in found] == heard[: len(found)]


def test_a_sink_without_a_peer_drops_or_raises_as_chosen(made: list[Any]) -> None:
    sink = keep(made, ZmqSink("push", bind=LOOPBACK, when_blocked="drop"), opened=True)
    sink.emit(an_output(0))
    assert sink.report() == {"emitted": 0, "dropped": 1, "unheard": 0}
    assert noted(sink)["output dropped"][0]["number"] == 0
    strict = keep(made, ZmqSink("push", bind=LOOPBACK, when_blocked="raise"), opened=True)
    with pytest.raises(SpikeportError, match="output of tick 4 was not taken: nobody takes it"):
        strict.emit(an_output(4))


def test_the_last_output_gets_out_when_the_sink_closes(made: list[Any]) -> None:
    sink = keep(made, ZmqSink("push", bind=LOOPBACK, when_blocked="drop"), opened=True)
    listener = keep(made, Listener(zmq.PULL, sink.address))
    wait_for(lambda: sink.emit(an_output(0)) or sink.report()["emitted"] == 1)
    sink.emit(an_output(9, cause="stopped", safe=True))
    sink.close()
    sink.close()
    assert [e.output.cause for e in listener.take(2)] == ["fresh", "stopped"]


def test_closing_waits_for_what_is_still_on_its_way(made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikeport.loop.transports.zmq.LINGER_MS", 60_000)  # 26 MB, on a busy machine
    sink = keep(made, ZmqSink("push", bind=LOOPBACK, when_blocked="raise"), opened=True)
    listener = keep(made, Listener(zmq.PULL, sink.address, high_water=1))
    wait_for(lambda: bool(sink._outlet.hear(100)))
    for n in range(800):
        sink.emit(an_output(n, values=np.zeros(4000)))
    closing = threading.Thread(target=sink.close)
    closing.start()
    assert [e.number for e in listener.take(800)] == list(range(800))
    closing.join()


def test_a_sender_that_connects_to_nobody_keeps_no_queue_and_a_source_no_longer_one_than_asked(
    made: list[Any],
) -> None:
    sender = keep(made, ZmqSender("push", connect="tcp://127.0.0.1:1"))
    assert not sender.send([0], seq=0, source_ns=0)
    source = keep(made, ZmqSource(2, pattern="pull", bind=LOOPBACK, high_water=10), opened=True)
    assert source._plug.socket.getsockopt(zmq.RCVHWM) == 10
    assert keep(made, ZmqSource(2, pattern="pull", bind=LOOPBACK, capacity=33)).describe()["high_water"] == 33
