"""A guard that hangs, dies or trips: the loop finds it, says what each sink took, and comes to its summary."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from guard_cases import WIDE, Bench, pulse
from test_guard_loop import PERIOD, Copy

from spikeport.live_guard import GuardedSink
from spikeport.loop.clocks import VirtualClock, WallClock
from spikeport.loop.guard.commands import Command
from spikeport.loop.guard.console import GuardProcess
from spikeport.loop.guard.limits import Limits
from spikeport.loop.guard.process import _Server
from spikeport.loop.guard.sink import GuardSink
from spikeport.loop.guard.watchdog import WatchLimits
from spikeport.loop.loop import Loop
from spikeport.loop.packets import Output
from spikeport.loop.policies import Policy
from spikeport.loop.record.read import read_record
from spikeport.loop.record.writer import MemoryRecorder
from spikeport.loop.sources.recording import ArraySource
from spikeport.snn.errors import SpikeportError

TIMEOUT_S = 1.5
WATCH = {"heartbeat_timeout_us": TIMEOUT_S * 1e6, "clock_jump_us": 10**7, "lateness_us": 10**7,
         "missed_deadlines": 10_000}  # fmt: skip
POLICY = Policy(lost="hold", overload="all", lost_after=1000, good=1, safe=(7.0,))


class Kept:
    """A sink that keeps what it took."""

    def __init__(self) -> None:
        self.outputs: list[tuple[int, bool, float]] = []

    def open(self, clock: Any) -> None: ...
    def close(self) -> None: ...

    def emit(self, output: Output) -> None:
        self.outputs.append((output.tick, output.safe, float(output.values[0])))

    def describe(self) -> dict[str, Any]:
        return {"kind": "kept"}


class Guardlike(Kept):
    """What a GuardSink does from a tick on: it raises, also at the end where it is gone."""

    def __init__(self, tick: int, *, gone: bool) -> None:
        super().__init__()
        self.tick, self.gone = tick, gone

    def emit(self, output: Output) -> None:
        if output.tick == self.tick or (self.gone and output.tick > self.tick):
            raise SpikeportError("guard: gone" if self.gone else "guard: tripped")
        super().emit(output)


def run(guard: Any, n: int = 40, clock: Any = None) -> tuple[Kept, Any, Loop, str]:
    sink, recorder = Kept(), MemoryRecorder()
    source = ArraySource(np.arange(n, dtype=float)[:, None], period=PERIOD, phase=PERIOD / 2)
    parts = (source, Copy(), GuardedSink(guard, sink), clock or VirtualClock(), POLICY, recorder)
    loop = Loop(*parts, period=PERIOD)
    try:
        loop.run()
    except SpikeportError as error:
        return sink, read_record(bytes(recorder.data)), loop, str(error)
    return sink, read_record(bytes(recorder.data)), loop, ""


def stopped(record: Any) -> dict[str, Any]:
    return next(dict(event.details) for event in record.events if event.kind == "stopped")


@pytest.mark.parametrize("gone", [True, False])
def test_the_record_says_what_each_sink_took_of_the_tick_and_of_the_safe_value(gone: bool) -> None:
    sink, record, loop, error = run(Guardlike(20, gone=gone))
    assert error == ("guard: gone" if gone else "guard: tripped")
    assert sink.outputs[-2:] == [(19, False, sink.outputs[-2][2]), (21, True, 7.0)]  # not the decoder's of tick 20
    assert record.tick.tolist() == list(range(21))
    assert record.emitted.tolist() == [True] * 20 + [False]
    assert stopped(record)["safe_value_emitted"] is True
    assert stopped(record)["took"] == {"guard": not gone, "sink": True}
    (event,) = (dict(each.details) for each in record.events if each.kind == "not taken")
    assert event == {"tick": 20, "took": {"guard": False, "sink": False}}
    assert loop.summary is not None
    assert (loop.summary.ticks, loop.summary.imbalances()) == (21, [])


def test_a_safe_value_reaches_the_sink_in_the_tick_in_which_the_guard_is_found_gone() -> None:
    sink, guard = Kept(), GuardedSink(Guardlike(3, gone=True), (kept := Kept()))  # type: ignore[arg-type]
    made = {"seq": -1, "values": np.array([7.0]), "safe": True, "cause": "stream lost", "deadline_ns": 0}
    with pytest.raises(SpikeportError, match="gone"):
        guard.emit(Output(tick=3, source_ns=0, received_ns=0, start_ns=0, end_ns=0, **made))
    assert kept.outputs == [(3, True, 7.0)]
    assert guard.took == {"guard": False, "sink": True}
    assert sink.outputs == []


def test_a_run_without_a_fault_says_that_both_took_the_safe_value() -> None:
    sink, record, _, error = run(Guardlike(10**6, gone=True))
    assert (error, stopped(record)["took"]) == ("", {"guard": True, "sink": True})
    assert len(sink.outputs) == len(record.tick) + 1


def test_a_sink_that_fails_alone_leaves_its_tick_in_the_record() -> None:
    class Broken(Kept):
        def emit(self, output: Output) -> None:
            if output.tick == 5:
                raise OSError("unplugged")

    recorder = MemoryRecorder()
    source = ArraySource(np.ones((20, 1)), period=PERIOD, phase=PERIOD / 2)
    with pytest.raises(OSError, match="unplugged"):
        Loop(source, Copy(), Broken(), VirtualClock(), POLICY, recorder, period=PERIOD).run()
    record = read_record(bytes(recorder.data))
    assert (record.tick.tolist(), record.emitted.tolist()) == (list(range(6)), [True] * 5 + [False])
    assert stopped(record)["safe_value_emitted"] is True


# -- with a process


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[GuardProcess]:
    with GuardProcess.start(Limits(**WIDE), WatchLimits(**WATCH), log=tmp_path / "guard.jsonl") as made:
        made.console.arm(by="A. Tester")
        yield made


def at_tick(tick: int, do: Callable[[], None]) -> Callable[[Output], Iterable[Command]]:
    def commands(output: Output) -> Iterable[Command]:
        if output.tick == tick:
            do()
        return ()

    return commands


@pytest.mark.parametrize("when_tripped", ["stop", "go on"])
def test_a_guard_that_hangs_ends_the_loop_as_a_dead_one_does(guard: GuardProcess, when_tripped: str) -> None:
    commands = at_tick(20, lambda: os.kill(guard.pid, signal.SIGSTOP))
    n = 20_000  # of which it runs some 300
    sink, record, loop, error = run(GuardSink(guard.link, commands, when_tripped=when_tripped), n, WallClock())
    assert "guard: it has answered no heartbeat for " in error
    assert f", limit {TIMEOUT_S * 1e6:.0f}" in error
    assert loop.summary is not None
    assert TIMEOUT_S / PERIOD <= loop.summary.ticks + loop.summary.merged < n
    assert sink.outputs[-1][1:] == (True, 7.0)
    assert stopped(record)["took"] == {"guard": False, "sink": True}
    if when_tripped == "stop":  # it takes its time
        with pytest.raises(SpikeportError, match="no answer within 5 s"):
            guard.status()
    os.kill(guard.pid, signal.SIGCONT)


def test_a_guard_that_answers_is_not_gone_however_long_the_run(guard: GuardProcess) -> None:
    n = round(2 * TIMEOUT_S / PERIOD)
    _, _, _, error = run(GuardSink(guard.link, lambda output: (), when_tripped="stop"), n, WallClock())
    assert error == ""
    assert guard.link.unanswered_ns < 60e9
    assert guard.status()["state"] == "disarmed"


def test_a_tripped_guard_goes_on_to_answer_where_the_loop_was_told_to_go_on(guard: GuardProcess) -> None:
    commands = at_tick(20, lambda: guard.console.trip(by="A. Tester", cause="it twitched") and None)
    n = round(2 * TIMEOUT_S / PERIOD)
    _, record, _, error = run(GuardSink(guard.link, commands, when_tripped="go on"), n, WallClock())
    assert error == ""
    assert len(record.tick) > TIMEOUT_S / PERIOD


def test_an_answer_to_a_heartbeat_is_no_answer_to_a_command(guard: GuardProcess) -> None:
    link = guard.link
    link.ready()
    link.start()
    assert link.silent_ns == TIMEOUT_S * 1e9
    for tick in range(3):
        now = time.monotonic_ns()
        link.beat(tick=tick, loop_ns=now, deadline_ns=now, values=(0.0,))
    until, heard = time.monotonic() + 60, []
    while link.unanswered_ns:
        heard += link.answers()
        assert time.monotonic() < until
    assert [answer for answer in heard if "state" not in answer] == []


@pytest.mark.parametrize("faults", [1, 2])
def test_a_fault_of_the_guards_own_end_silences_at_once(faults: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench.running(WIDE)
    bench.ask(pulse())
    bench.station.person("disarm", by="A. Tester")  # the pulse goes on
    silences, left = bench.station.device.silences, list(range(faults))  # type: ignore[attr-defined]

    def faulty() -> None:
        if left:
            raise ZeroDivisionError(left.pop())

    monkeypatch.setattr(bench.station, "service", faulty)
    ends = [*socket.socketpair(), *socket.socketpair()]
    server = _Server(ends[0], ends[2])
    server.station = bench.station
    try:
        server._finish()
    finally:
        for end in ends:
            end.close()
    assert (left, bench.state, bench.guard.cause) == ([], "tripped", f"internal: ZeroDivisionError: {faults - 1}")
    assert bench.station.device.silences > silences  # type: ignore[attr-defined]


@pytest.mark.parametrize("where", ["_wait", "_tell_state", "_answer_beat"])
def test_a_fault_between_two_passes_ends_in_silence_too(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(self: _Server) -> None:
        raise ZeroDivisionError(where)

    finished: list[_Server] = []
    ends = [*socket.socketpair(), *socket.socketpair()]
    server = _Server(ends[0], ends[2])
    monkeypatch.setattr(_Server, where, faulty)
    monkeypatch.setattr(_Server, "_finish", lambda self: finished.append(self))
    try:
        with pytest.raises(ZeroDivisionError, match=where):
            server.run()
    finally:
        for end in ends:
            end.close()
    assert finished == [server]
