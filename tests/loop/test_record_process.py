"""The record in another process: kills, stops and full disks leave what was taken, and say how it ended."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_cases import HEADER, feed, lines, random_output, record_of

import spikeport
from spikeport.loop.record.messages import Unpacker, pack_message
from spikeport.loop.record.outside import ProcessRecorder
from spikeport.loop.record.read import Record, read_record
from spikeport.loop.record.reader import Event, RecordReader, Tick
from spikeport.loop.record.writer import LOST
from spikeport.snn.errors import SpikeportError

PATIENCE = 120.0  # s; the machine may be busy, and nothing is measured


@contextmanager
def stopped(pid: int | None) -> Iterator[None]:
    """The process stands still."""
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


def opened(path: Path, *, on_loss: str = "count", close_s: float = PATIENCE) -> ProcessRecorder:
    recorder = ProcessRecorder(path, on_loss=on_loss, deterministic=True, close_s=close_s)
    recorder.open(HEADER)
    return recorder


def accounted(record: Record) -> list[range]:
    """The ticks that the record says are lost, after a check that all others are there, in their places."""
    lost, position = list[range](), 0
    for index in range(len(record) + 1):
        for event in record.events:
            if event.index == index and event.kind == LOST:
                first, last = event.details["first_tick"], event.details["last_tick"]
                assert (first, last - first + 1) == (position, event.details["ticks"])
                lost.append(range(first, last + 1))
                position = last + 1
        if index < len(record):
            assert record.tick[index] == position
            position += 1
    return lost


def test_another_process_writes_the_bytes_that_this_one_would(tmp_path: Path) -> None:
    path = tmp_path / "a.spklog"
    with opened(path) as recorder:
        assert recorder.pid not in (None, os.getpid())
        feed(recorder, lines(2000))
    assert path.read_bytes() == record_of(2000)
    assert recorder.describe()["lost"] == {"ticks": 0, "events": 0}


def test_the_machine_is_in_the_header_unless_the_record_is_deterministic(tmp_path: Path) -> None:
    with ProcessRecorder(tmp_path / "a.spklog", on_loss="count") as recorder:
        recorder.open(HEADER)
    assert {"started", "monotonic_ns", "host", "pid"} <= read_record(tmp_path / "a.spklog").machine.keys()


def test_ctrl_c_reaches_the_loop_and_not_the_record(tmp_path: Path) -> None:
    with opened(tmp_path / "a.spklog") as recorder:
        assert recorder.pid is not None
        assert os.getsid(recorder.pid) != os.getsid(0)


@pytest.mark.parametrize("n_in", [300, 1000])  # 2 KiB: the pipe takes all or nothing; 8 KiB: it may take a part
def test_a_writer_that_stands_still_costs_ticks_and_every_one_is_told(tmp_path: Path, n_in: int) -> None:
    path = tmp_path / "a.spklog"
    output = random_output(np.random.default_rng(0), 0, 2)
    ticks = [type(output)(**{n: getattr(output, n) for n in output.__slots__} | {"tick": k}) for k in range(3000)]
    with opened(path) as recorder:
        for k, tick in enumerate(ticks):
            if k in (500, 2000):
                os.kill(recorder.pid or 0, signal.SIGSTOP)
            if k == 1500:
                os.kill(recorder.pid or 0, signal.SIGCONT)
                wait_for(lambda: recorder._say_lost())  # until the pipe has room again
            recorder.tick(tick, k, np.full(n_in, k))
        os.kill(recorder.pid or 0, signal.SIGCONT)
    record = read_record(path)
    lost = accounted(record)
    assert record.ending.kind == "clean"
    assert len(record) + sum(map(len, lost)) == len(ticks)
    assert record.lost["ticks"] == recorder.lost.all_ticks == sum(map(len, lost)) > 0
    assert all((record.inputs == record.tick[:, None]).all(axis=1))
    assert any(1499 in part for part in lost)
    assert 2999 in lost[-1]


def test_a_loop_that_must_not_lose_is_stopped(tmp_path: Path) -> None:
    recorder = opened(tmp_path / "a.spklog", on_loss="stop")
    with stopped(recorder.pid), pytest.raises(SpikeportError, match="the pipe to the process that writes it is full"):
        feed(recorder, lines(100_000, lost=0.0))
    recorder.close()
    record = read_record(tmp_path / "a.spklog")
    assert record.ending.kind == "clean"
    assert record.lost == {"ticks": 1, "events": 0}
    assert accounted(record) == [range(len(record), len(record) + 1)]


@pytest.mark.parametrize("after", [0, 1, 700])
def test_a_killed_writer_leaves_a_beginning_and_the_loop_hears_of_it(tmp_path: Path, after: int) -> None:
    path = tmp_path / "a.spklog"
    recorder = opened(path)
    whole = lines(100_000)
    for _, line in zip(range(after), whole, strict=False):
        feed(recorder, iter([line]))
    os.kill(recorder.pid or 0, signal.SIGKILL)
    wait_for(lambda: feed(recorder, iter([next(whole)])) is None and recorder.lost.all_ticks > 2)
    with pytest.raises(SpikeportError, match="not whole: the process that writes it is gone"):
        recorder.close()
    with RecordReader(path) as reader:
        found = list(reader)
        assert reader.ending.kind == "cut"
    assert path.read_bytes() == record_of(after + 100)[: path.stat().st_size]
    assert [item.tick for item in found if isinstance(item, Tick)] == list(range(count_ticks(found)))


def count_ticks(items: list[Tick | Event]) -> int:
    return sum(isinstance(item, Tick) for item in items)


def test_a_killed_writer_stops_a_loop_that_must_not_lose(tmp_path: Path) -> None:
    recorder = opened(tmp_path / "a.spklog", on_loss="stop")
    os.kill(recorder.pid or 0, signal.SIGKILL)
    with pytest.raises(SpikeportError, match="the process that writes it is gone"):
        feed(recorder, lines(10**9))
    with pytest.raises(SpikeportError, match="not whole"):
        recorder.close()


LOOP = """
import itertools, os, subprocess, sys
from record_cases import HEADER, feed, lines
from spikeport.loop.record.outside import ProcessRecorder
recorder = ProcessRecorder(sys.argv[1], on_loss="stop", backlog=1 << 28)
recorder.open(HEADER)
if sys.argv[2] == "held":  # somebody keeps the pipe open
    print(subprocess.Popen(["sleep", "100"], stdout=2, pass_fds=[recorder._pipe]).pid, flush=True)
for k, line in enumerate(lines(10**9, lost=0.0)):
    feed(recorder, iter([line]))
    os.write(1, b"%d\\n" % k)
"""


@pytest.mark.parametrize("pipe", ["free", "held"])
def test_a_killed_loop_leaves_every_tick_that_it_gave(tmp_path: Path, pipe: str) -> None:
    path = tmp_path / "a.spklog"
    here, source = str(Path(__file__).parent), str(Path(spikeport.__file__).parents[1])
    loop = subprocess.Popen(
        [sys.executable, "-c", LOOP, str(path), pipe],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([here, source])},
    )
    assert loop.stdout is not None
    holder = int(loop.stdout.readline()) if pipe == "held" else 0
    try:
        said = [loop.stdout.readline() for _ in range(500)]
        loop.kill()
        said += loop.stdout.read().splitlines(keepends=True)
        given_ticks = int([line for line in said if line.endswith(b"\n")][-1]) + 1  # said after the pipe had taken it
        loop.wait()
        wait_for(lambda: read_record(path).ending.kind == "abandoned")
    finally:
        loop.kill()
        loop.wait()
        loop.stdout.close()
        if holder:
            with suppress(ProcessLookupError):
                os.kill(holder, signal.SIGKILL)
    record = read_record(path)
    assert given_ticks <= len(record) <= given_ticks + 1
    assert accounted(record) == []
    assert "without closing the record" in str(record.ending)


def test_a_full_disk_is_told_with_its_reason_and_leaves_a_beginning(tmp_path: Path) -> None:
    path, limits = tmp_path / "a.spklog", resource.getrlimit(resource.RLIMIT_FSIZE)
    recorder = ProcessRecorder(path, on_loss="count", deterministic=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # the process inherits it
    try:
        recorder.open(HEADER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    feed(recorder, lines(3000))
    with pytest.raises(SpikeportError, match="the record is not whole: File too large"):
        recorder.close()
    assert path.stat().st_size == 100_000
    assert path.read_bytes() == record_of(3000)[:100_000]
    assert read_record(path).ending.kind == "cut"


def test_a_writer_that_never_answers_is_told_at_the_end(tmp_path: Path) -> None:
    recorder = opened(tmp_path / "a.spklog", close_s=0.2)
    pid = recorder.pid
    with stopped(pid):
        feed(recorder, lines(10))
        with pytest.raises(SpikeportError, match="does not answer"):
            recorder.close()
    recorder.close()
    wait_for(lambda: read_record(tmp_path / "a.spklog").ending.kind == "clean")  # it was only slow


def test_a_record_that_cannot_be_begun_says_why(tmp_path: Path) -> None:
    with pytest.raises(SpikeportError, match="does not exist"):
        ProcessRecorder(tmp_path / "none" / "a.spklog", on_loss="count")
    with pytest.raises(SpikeportError, match=r"backlog: 0, must be above 0\n.*fsync_s: -1"):
        ProcessRecorder(tmp_path / "a.spklog", on_loss="count", backlog=0, fsync_s=-1)
    with pytest.raises(SpikeportError, match="on_loss 'block', must be one of count, stop"):
        ProcessRecorder(tmp_path / "a.spklog", on_loss="block")
    recorder = ProcessRecorder(tmp_path / "a.spklog", on_loss="count")
    with pytest.raises(SpikeportError, match=r"record\.header\.network: object has no form"):
        recorder.open({"network": object()})
    (tmp_path / "a.spklog").touch()
    with pytest.raises(SpikeportError, match="exists already"):
        recorder.open({})
    assert recorder.pid is None


def test_cpus_that_are_not_there_are_noted_and_the_record_is_made(tmp_path: Path) -> None:
    with ProcessRecorder(tmp_path / "a.spklog", on_loss="count", cpus=[100_000]) as recorder:
        recorder.open(HEADER)
        (note,) = recorder.describe()["refused"]
        assert note.startswith("CPUs [100000]")
    assert read_record(tmp_path / "a.spklog").ending.kind == "clean"


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=30)), max_size=8), st.lists(st.integers(1, 40)))
@settings(max_examples=100)
def test_messages_come_out_whole_however_the_pipe_cuts_them(messages: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data, found, unpacker = b"".join(pack_message(*m) for m in messages), [], Unpacker()
    for size in [*cuts, len(data) + 1]:
        found += list(unpacker.feed(data[:size]))
        data = data[size:]
    assert found == messages
    assert unpacker.unfinished == 0
