"""The sink in front of a guard in another process: heartbeats, commands, answers, and what ends a run."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from guard_cases import WIDE, pulse, train

from spikeport.loop.guard.commands import Command, Pulse, down_to_nA
from spikeport.loop.guard.console import GuardProcess
from spikeport.loop.guard.limits import Limits
from spikeport.loop.guard.sink import GuardSink
from spikeport.loop.guard.watchdog import WatchLimits
from spikeport.loop.packets import Output
from spikeport.loop.ports import Sink
from spikeport.snn.errors import RefusedError, SpikeportError

WATCH = {
    "heartbeat_timeout_us": 20e6,
    "clock_jump_us": 10**7,
    "lateness_us": 10**7,
    "missed_deadlines": 1000,
}


class Monotonic:
    """The clock of the machine, as a loop's."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def wait_until(self, deadline_ns: int) -> int:
        return self.now_ns()

    def describe(self) -> dict[str, Any]:
        return {}


def output(tick: int, *values: float, safe: bool = False) -> Output:
    now = time.monotonic_ns()
    return Output(
        tick=tick,
        seq=tick,
        values=np.array(values),
        safe=safe,
        cause="stream lost" if safe else "fresh",
        deadline_ns=now,
        source_ns=now,
        received_ns=now,
        start_ns=now,
        end_ns=now,
    )


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[GuardProcess]:
    limits = Limits(**(WIDE | {"late_us": 10**6, "amplitude_uA": 20}))
    with GuardProcess.start(limits, WatchLimits(**WATCH), log=tmp_path / "guard.jsonl") as made:
        yield made


def proportional(made: Output) -> Iterable[Command]:
    """The usual kind of function: an amplitude from the first output, where it is above 0."""
    if made.values[0] > 0:
        amplitude = down_to_nA(made.values[0])
        yield pulse(amplitude_uA=amplitude, second_amplitude_uA=amplitude)


def nothing(made: Output) -> Iterable[Command]:
    return ()


def opened(
    guard: GuardProcess, commands: Callable[[Output], Iterable[Command]] = proportional, **options: Any
) -> GuardSink:
    sink = GuardSink(guard.link, commands, **({"when_tripped": "stop"} | options))
    guard.console.arm(by="A. Tester")
    sink.open(Monotonic())
    return sink


def until(sink: GuardSink, tick: int, happened: Callable[[], bool]) -> int:
    """Ticks on, without asking for anything, until it happened; the next tick."""
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end, sink.describe()
        sink.emit(output(tick, 0.0))
        tick += 1
        time.sleep(0.002)
    return tick


def test_it_is_a_sink(guard: GuardProcess) -> None:
    assert isinstance(GuardSink(guard.link, nothing, when_tripped="stop"), Sink)


@pytest.mark.parametrize("wrong", ["", "ignore", None])
def test_what_happens_after_a_trip_must_be_chosen(guard: GuardProcess, wrong: Any) -> None:
    with pytest.raises(SpikeportError, match="when_tripped is"):
        GuardSink(guard.link, nothing, when_tripped=wrong)


def test_it_does_not_open_where_nobody_armed(guard: GuardProcess) -> None:
    with pytest.raises(RefusedError, match="ready is refused"):
        GuardSink(guard.link, nothing, when_tripped="stop").open(Monotonic())


def test_it_does_not_emit_before_it_is_open(guard: GuardProcess) -> None:
    with pytest.raises(SpikeportError, match="not open"):
        GuardSink(guard.link, nothing, when_tripped="stop").emit(output(0, 0.0))


def test_outputs_become_commands_and_each_is_answered(guard: GuardProcess) -> None:
    heard: list[Any] = []
    sink = opened(guard, on_answer=heard.append)
    for tick, value in enumerate((0.0, 12.3456789, 20.0, 20.0009, 20.001)):
        sink.emit(output(tick, value))
        time.sleep(0.01)  # longer than a pulse
    until(sink, 5, lambda: sink.counts["allowed"] + sink.counts["refused"] == 4)
    assert sink.counts["allowed"] == 3  # 20.0009 is rounded down by the function, which says so
    assert [answer["limits"] for answer in heard if answer.get("allowed") is False] == [
        ["amplitude_uA at 'a': 20.001 uA, limit 20 uA"]
    ]
    assert list(sink.last) == heard
    sink.close()
    sink.close()
    status = guard.console.status()
    assert (status["state"], status["given"], status["beats"]) == ("disarmed", 3, sink.counts["beats"])


def test_an_output_that_is_no_number_is_no_command_and_trips(guard: GuardProcess) -> None:
    sink = opened(guard)
    sink.emit(output(0, 0.0))

    def go_on() -> None:
        sink.emit(output(1, math.inf))
        until(sink, 2, lambda: False)

    with pytest.raises(SpikeportError, match=r"tripped: values: output 0 of tick 1 is inf"):
        go_on()
    assert sink.counts["invalid"] == 1
    assert guard.console.status()["given"] == 0


def test_a_command_that_is_none_is_recorded_and_the_run_goes_on(guard: GuardProcess) -> None:
    def wrong(made: Output) -> Iterable[Command]:
        return [Pulse.symmetric("a", polarity="up", amplitude_uA=1, width_us=1, interphase_us=0)]

    sink = opened(guard, wrong)
    sink.emit(output(0, 0.0))
    sink.emit(output(1, 0.0))
    sink.close()
    assert sink.counts["invalid"] == 2
    assert guard.console.status()["refused"] == 2


def test_more_commands_than_a_tick_may_hold_are_none(guard: GuardProcess) -> None:
    sink = opened(guard, lambda made: [pulse()] * 17)
    sink.emit(output(0, 0.0))
    sink.close()
    assert (sink.counts["invalid"], sink.counts["asked"]) == (1, 0)


def test_a_safe_output_asks_for_nothing_and_cuts_what_is_under_way(guard: GuardProcess) -> None:
    sink = opened(guard, lambda made: [train(500, 100)] if made.tick == 0 else [])
    sink.emit(output(0, 0.0))
    tick = until(sink, 1, lambda: guard.console.status()["given"] > 2)
    for later in range(3):
        sink.emit(output(tick + later, 50.0, safe=True))
    until(sink, tick + 3, lambda: guard.console.status()["cuts"] == 1)
    assert [sink.counts[name] for name in ("stopped", "asked", "allowed")] == [1, 1, 1]
    n = guard.console.status()["given"]
    until(sink, sink.counts["beats"], lambda: guard.console.status()["beats"] > 100)
    assert guard.console.status()["given"] == n


def test_it_goes_on_without_stimulation_where_that_was_chosen(guard: GuardProcess) -> None:
    sink = opened(guard, when_tripped="go on")
    guard.console.trip(by="A. Tester", cause="it twitched")
    tick = until(sink, 0, lambda: sink.state == "tripped")
    sink.emit(output(tick, 5.0))
    assert (sink.cause, sink.counts["asked"]) == ("it twitched", 0)
    sink.close()


def test_a_run_ends_with_the_cause_where_that_was_chosen(guard: GuardProcess) -> None:
    sink = opened(guard)
    guard.console.trip(by="A. Tester", cause="it twitched")
    with pytest.raises(SpikeportError, match="guard: tripped: it twitched"):
        until(sink, 0, lambda: False)
    sink.close()
    assert sink.describe()["state"] == "tripped"


def test_the_watch_begins_with_the_first_tick(guard: GuardProcess) -> None:
    sink = opened(guard)
    assert guard.console.status()["state"] == "armed"
    sink.emit(output(0, 0.0))
    until(sink, 1, lambda: guard.console.status()["state"] == "running")
    sink.close()
    assert guard.console.status()["state"] == "disarmed"


def test_a_run_without_a_tick_disarms(guard: GuardProcess) -> None:
    sink = opened(guard)
    sink.emit(dataclasses.replace(output(0, 0.0, safe=True), cause="stopped"))
    sink.close()
    assert guard.console.status()["state"] == "disarmed"


def test_a_decoders_nan_trips_also_where_the_loop_puts_the_safe_value(guard: GuardProcess) -> None:
    sink = opened(guard, when_tripped="go on")
    sink.emit(output(0, 0.0))
    sink.emit(dataclasses.replace(output(1, 0.0, safe=True), cause="fresh"))
    until(sink, 2, lambda: sink.state == "tripped")
    assert sink.cause == "values: output 0 of tick 1 is nan"
    sink.emit(dataclasses.replace(output(10**6, 0.0, safe=True), cause="stopped"))
    sink.close()


def test_a_second_run_over_the_same_link_needs_a_person_again(guard: GuardProcess) -> None:
    sink = opened(guard)
    sink.emit(output(0, 5.0))
    sink.close()
    with pytest.raises(RefusedError, match="ready is refused"):
        sink.open(Monotonic())
    guard.console.arm(by="A. Tester")
    sink.open(Monotonic())
    sink.emit(output(0, 5.0))
    until(sink, 1, lambda: sink.counts["allowed"] == 2)
    sink.close()


def test_a_guard_that_is_gone_is_an_error(guard: GuardProcess) -> None:
    sink = opened(guard)
    guard._process.kill()
    guard._process.wait()
    with pytest.raises(SpikeportError, match="it does not read, or is gone"):
        until(sink, 0, lambda: False)
    sink.close()
