"""Transports in a loop: what went wrong on the way stands in the record and in the summary, and the sums hold."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from loop_parts import MS, Adder, Kept, policy
from transport_cases import Producer, producing

from spikeport.loop.clocks import VirtualClock, WallClock
from spikeport.loop.loop import Loop
from spikeport.loop.sinks.memory import MemorySink
from spikeport.loop.transports.frame import clock_identity, pack_sample, read_output
from spikeport.loop.transports.udp import UdpSink, UdpSource

N = 60
PERIOD_NS = 1_000_000


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(30)
        yield made


class Scripted(UdpSource):
    """A UDP source that, on a virtual clock, is sent what `script` says for each poll, before it looks."""

    def __init__(self, script: dict[int, list[bytes]]) -> None:
        super().__init__(1, bind="127.0.0.1:0", stamps="same clock")
        self._script, self._polls = script, 0

    def poll(self) -> Any:
        host, _, port = self.address.rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for data in self._script.get(self._polls, []):
                s.sendto(data, (host, int(port)))
        self._polls += 1
        return super().poll()


def frame(seq: int, session: int = 1, n: int = 1) -> bytes:
    return pack_sample(
        np.full(n, seq), session=session, seq=seq, source_ns=(seq + 1) * PERIOD_NS - 1, clock=clock_identity()
    )


def test_a_record_explains_every_number_that_a_transport_lost_or_could_not_read(listener: socket.socket) -> None:
    script = {i: [frame(i)] for i in range(N)}
    script[10] = []  # lost on the way
    script[20] = [b"\0" + frame(20)[1:]]  # changed on its way
    script[30] = [frame(30, n=2)]  # of another width
    script[40] = [frame(40), frame(40)]  # twice
    source, recorder = Scripted(script), Kept()
    sink = UdpSink(f"127.0.0.1:{listener.getsockname()[1]}", when_blocked="raise")
    loop = Loop(source, Adder(), sink, VirtualClock(), policy(), recorder, period=MS)
    summary = loop.run(N)
    lost = [s for e in recorder.of("lost") for s in range(e["first"], e["last"] + 1)]
    assert lost == [10, 20, 30]
    assert [e["seq"] for e in recorder.of("duplicate")] == [40]
    assert [e["reason"] for e in recorder.of("malformed packet")] == ["no frame", "width"]
    assert recorder.of("malformed packet")[1]["seq"] == 30
    assert summary.imbalances() == []
    assert summary.transports["source"]["malformed"] == {"no frame": 1, "width": 1}
    assert summary.transports["source"]["packets"] == summary.packets["received"] == N - 3 + 1
    assert summary.transports["sink"]["emitted"] == N + 1  # and the safe value at the end
    emitted = [read_output(listener.recv(65536)) for _ in range(N + 1)]
    assert [e.number for e in emitted] == list(range(N + 1))
    assert [e.output.cause for e in emitted if e.output.cause != "fresh"] == ["held"] * 3 + ["stopped"]
    assert [e.output.tick for e in emitted if e.output.cause == "held"] == lost
    assert "transports" in summary.as_dict()
    assert "malformed" in summary.text()


def test_a_producer_that_is_killed_and_started_again_loses_what_the_record_says() -> None:
    source, sink, recorder, seen = UdpSource(2, bind="127.0.0.1:0"), MemorySink(), Kept(), []
    producers: list[Producer] = []

    class Two(Adder):
        n_inputs = 2

    def over() -> bool:
        """Kill the first after 50 packets, end the run 50 packets into the second."""
        used = [output.seq for output in sink.outputs if output.seq >= 0]
        if not producers:
            producers.append(Producer("udp", source.address, "--count", "2", "--rate", "200", "--n", "100000"))
        elif len(producers) == 1 and len(used) >= 50:
            producers[0].close()
            seen.append(len(used))
            producers.append(Producer("udp", source.address, "--count", "2", "--rate", "200", "--n", "100000"))
        return len(producers) == 2 and len(used) >= seen[0] + 50

    try:
        loop = Loop(source, Two(), sink, WallClock(), policy(overload="latest", lost_after=5), recorder, period=5e-3)
        summary = loop.run(stop=over)
    finally:
        for producer in producers:
            producer.close()
    assert summary.restarts == 1
    assert [e["others_before"] for e in recorder.of("producer")] == [0, 1]
    assert len(recorder.of("restart")) == 1
    assert summary.imbalances() == []


def test_a_recording_is_sent_once_by_the_rate_and_files_that_are_none_are_refused(tmp_path: Any) -> None:
    np.save(tmp_path / "flat.npy", np.zeros(3))
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    for file, reason in (("flat.npy", "must be numbers"), ("bad.npy", "cannot be read")):
        with pytest.raises(AssertionError, match=reason):
            Producer("udp", "127.0.0.1:9", "--file", str(tmp_path / file), "--rate", "0")
    np.save(tmp_path / "good.npy", np.zeros((3, 2)))
    with producing("udp", "127.0.0.1:9", "--file", str(tmp_path / "good.npy"), "--rate", "0") as producer:
        assert sum(producer.done().values()) == 3
        assert producer.process.wait(60) == 0
