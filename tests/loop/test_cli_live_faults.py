"""`spikeport live run` with a file: a slow consumer, and a producer and a transport with every fault, accounted for."""

from __future__ import annotations

import itertools
import json
import signal
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_cases import PATIENCE, answer, listening, running, write_loop
from loop_audit import Account, audit
from loop_parts import Given
from require import need

from spikeport.loop.clocks import VirtualClock
from spikeport.loop.faults import Burst, Dead, Drop, Duplicate, Fault, Late, NotANumber, Reorder, Restart
from spikeport.loop.packets import Array, Packet
from spikeport.loop.policies import LOST, OVERLOAD, Policy
from spikeport.loop.record.reader import RecordReader
from spikeport.loop.sources.recording import ArraySource
from spikeport.loop.transports.frame import clock_identity, pack_sample

need("yaml", resource="live")
N, P = 120, 5_000_000  # packets; ns of a tick
SAMPLES = np.arange(1.0, N + 1)[:, None] / 64
CHOICES = list(itertools.product(LOST, OVERLOAD))
FAULTS: list[Fault] = [
    Drop((5, 6)), Duplicate((9,)), Duplicate((15,), 4 * P), Reorder((20,)), Late((30,), 3 * P), Burst(36, 5),
    NotANumber((45,)), Restart(50), Dead(70, 80), Drop((100,)), NotANumber((105,)),
]  # fmt: skip


def original(values: Array) -> int:
    return round(float(values[0]) * 64) - 1


def chosen(lost: str, overload: str, **more: Any) -> dict[str, Any]:
    return {"lost": lost, "overload": overload, "lost_after": 1000, "good": 1, "safe": [-1], **more}


def account(folder: Path, found: dict[str, Any], given: list[Packet], choice: dict[str, Any]) -> Account:
    """That of the record, which adds up, and which what the program says agrees with."""
    with RecordReader(folder / "session.spklog") as reader:
        items = list(reader)
    assert str(reader.ending) == "clean"
    said = audit(items, given, Policy(**{**choice, "safe": tuple(choice["safe"])}), original)
    assert found["imbalances"] == []
    assert {kind: len(numbers) for kind, numbers in said.fates.items()} == {k: found["packets"][k] for k in said.fates}
    assert (len(said.used), len(said.lost)) == (found["packets"]["used"], found["packets"]["lost"])
    assert (len(said.ticks), len(said.merged)) == (found["ticks"], found["merged_ticks"])
    assert said.of("stopped")[0]["reason"] == found["ended"]
    replayed = answer("live", "replay", folder / "session.spklog", "--decoder", folder / "rate.h5")
    assert replayed["differing"] == 0
    return said


@pytest.mark.parametrize(("lost", "overload"), CHOICES)
def test_a_slow_decoder_in_a_file_is_what_each_policy_says(lost: str, overload: str, tmp_path: Path) -> None:
    """Its 11th step takes 40 periods, and the source's buffer holds 8 packets."""
    choice = chosen(lost, overload)
    loop = write_loop(
        tmp_path, policy=choice, clock={"kind": "virtual", "costs": {"decode": [0] * 10 + [40 * P]}},
        source={"kind": "recording", "file": "samples.npy", "phase": "2.5e-3", "capacity": 8},
    )  # fmt: skip
    np.save(tmp_path / "samples.npy", SAMPLES)
    ends = overload == "stop" or (lost, overload) == ("abort", "all")
    found = answer("live", "run", loop, code=1 if ends else 0)
    came = [*range(11), *range(43, 51)] if (lost, overload) == ("abort", "all") else [*range(11), *range(43, N)]
    given = [Packet(seq=i, values=SAMPLES[i], source_ns=0, received_ns=0) for i in came]
    said = account(tmp_path, found, given[:11] if overload == "stop" else given, choice)
    if overload == "stop":
        assert found["ended"] == "overload: tick 11 began 39 periods late"
        assert (len(said.ticks), said.numbers("lost")) == (11, [])
        return
    assert said.numbers("lost") == list(range(11, 43))
    assert [e["n"] for e in said.of("source overflow")] == [32]
    if overload == "latest":
        assert said.merged == list(range(11, 50))
        assert said.numbers("superseded") == list(range(43, 50))
        assert said.without == []
    elif lost == "abort":
        assert found["ended"] == "lost data: tick 11, packet 11 is not there"
        assert said.numbers("waiting") == list(range(43, 51))
    else:
        assert said.without == list(range(11, 43))


def script(faults: list[Fault]) -> list[tuple[int, Packet]]:
    """(tick, packet) of all that a producer and a transport with these faults bring."""
    clock = VirtualClock()
    source = Given(ArraySource(SAMPLES, period=P / 1e9), faults)
    source.open(clock)
    found = []
    for tick in range(N + 20):
        clock.wait_until((tick + 1) * P)
        found += [(tick, packet) for packet in source.poll()]
    return found


def send(address: str, what: list[tuple[int, Packet]], restart: int) -> None:
    """As datagrams, in time. A producer that began again says so: sample `restart` is the first of the second one."""
    host, _, port = address.rpartition(":")
    begun = time.monotonic_ns()
    sessions = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        for tick, packet in what:
            time.sleep(max(0.0, (begun + tick * P - time.monotonic_ns()) / 1e9))
            sessions[packet.seq, packet.source_ns] = session = 1 + (packet.source_ns > restart * P)
            made.sendto(
                pack_sample(packet.values, session=session, seq=packet.seq, source_ns=begun + packet.source_ns - P,
                            clock=clock_identity()),
                (host, int(port)),
            )  # fmt: skip


def over_udp(folder: Path, choice: dict[str, Any], code: int) -> tuple[Account, dict[str, Any]]:
    """A run of a UDP source that all of FAULTS befall: what it says, and its record's account."""
    what = script(FAULTS)
    with listening() as listener:
        loop = write_loop(
            folder, policy=choice, clock={"kind": "wall"},
            record={"path": "session.spklog", "on_loss": "stop"},
            source={"kind": "udp", "bind": "127.0.0.1:0", "capacity": 1000},
            sink={"kind": "udp", "to": listener.address, "when_blocked": "drop"},
        )  # fmt: skip
        with running(loop) as run:
            send(run.address, what, restart=50)
            if code:
                out, errors = run.process.communicate(timeout=PATIENCE)
                assert run.process.returncode == code, out + errors
                found = json.loads(out)
            else:
                last = what[-1][1].seq  # which the first producer never came to
                listener.wait_for(lambda: any(e.output.seq == last for e in listener.outputs[-99:]), "the last packet")
                found = run.end(signal.SIGTERM, 143)
    came = found["transports"]["source"]["packets"]
    return account(folder, found, [packet for _, packet in what][:came], choice), found


@pytest.mark.parametrize(
    ("lost", "overload"),
    [c if c in (("hold", "all"), ("skip", "latest")) else pytest.param(*c, marks=pytest.mark.slow)
     for c in CHOICES if c[0] != "abort" and c[1] != "stop"],
)  # fmt: skip
def test_each_number_that_a_faulty_producer_over_udp_sent_ends_once(lost: str, overload: str, tmp_path: Path) -> None:
    said, found = over_udp(tmp_path, chosen(lost, overload, capacity=2000, window=3), 0)
    assert found["transports"]["source"]["came"] == len(script(FAULTS))
    assert found["restarts"] == 1
    assert sorted(said.lost) == [(0, 5), (0, 6), *[(1, s) for s in range(20, 30)], (1, 50)]
    assert sorted(said.fates["duplicate"]) == [(0, 9), (0, 15)]
    assert sorted(said.fates["invalid"]) == [(0, 45), (1, 55)]
    assert said.numbers("stray") == said.numbers("old") == said.numbers("overflow") == []


@pytest.mark.parametrize("overload", [pytest.param("latest", marks=pytest.mark.slow), "all"])
def test_a_lost_packet_over_udp_ends_a_run_that_is_to_abort(overload: str, tmp_path: Path) -> None:
    said, found = over_udp(tmp_path, chosen("abort", overload, capacity=2000, window=3), 1)
    assert found["ended"].startswith("lost data: tick ")
    assert set(said.numbers("lost")) <= {5, 6}
    assert max(tick.seq for tick in said.ticks) <= 5 + 3
