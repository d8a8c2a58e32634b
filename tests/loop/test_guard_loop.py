"""A whole loop on the wall's clock with a guard in another process behind it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from guard_cases import WIDE, pulse, train
from numpy.typing import ArrayLike

from spikeport.loop.clocks import WallClock
from spikeport.loop.guard.commands import Command
from spikeport.loop.guard.console import GuardProcess
from spikeport.loop.guard.limits import Limits
from spikeport.loop.guard.sink import GuardSink
from spikeport.loop.guard.watchdog import WatchLimits
from spikeport.loop.loop import Loop
from spikeport.loop.packets import Output
from spikeport.loop.policies import Policy
from spikeport.loop.sources.recording import ArraySource
from spikeport.snn.errors import SpikeportError

PERIOD = 0.005
WATCH = {"heartbeat_timeout_us": 5e6, "clock_jump_us": 10**7, "lateness_us": 10**7, "missed_deadlines": 10_000}


class Copy:
    """A decoder whose output is its input."""

    n_inputs = n_outputs = 1
    period = PERIOD

    def __init__(self) -> None:
        self.out = np.zeros(1)

    def reset(self, dataset_tags: Sequence[Any] = ()) -> None:
        self.out[:] = 0

    def step(self, events: ArrayLike | None, t: float) -> Any:
        if events is not None:
            self.out[:] = events
        return self.out

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "copy"}

    def snapshot(self) -> Any:
        return self.out.copy()

    def restore(self, state: Any) -> None:
        self.out[:] = state

    def predict(self, neural_observations: ArrayLike) -> Any: ...
    def observe(self, neural_observations: ArrayLike) -> None: ...
    def on_done(self, dones: ArrayLike) -> None: ...


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[GuardProcess]:
    limits = Limits(**(WIDE | {"late_us": 10**6, "blanking_us": 20_000}))
    with GuardProcess.start(limits, WatchLimits(**WATCH), log=tmp_path / "guard.jsonl") as made:
        made.console.arm(by="A. Tester")
        yield made


def loop_of(guard: GuardProcess, values: ArrayLike, commands: Any, **options: Any) -> tuple[Loop, GuardSink]:
    sink = GuardSink(guard.link, commands, **({"when_tripped": "stop"} | options))
    policy = Policy(lost="hold", overload="all", lost_after=1000, good=1, safe=(0.0,))
    source = ArraySource(values, period=PERIOD, phase=PERIOD / 2)
    return Loop(source, Copy(), sink, WallClock(), policy, period=PERIOD), sink


def above_one(output: Output) -> Iterable[Command]:
    return [pulse()] if output.values[0] > 1 else []


def test_a_loop_stimulates_through_the_guard_and_ends_disarmed(guard: GuardProcess, tmp_path: Path) -> None:
    values = np.zeros((120, 1))
    values[[30, 31, 80]] = 2  # 31 falls into the blanking of 30
    loop, sink = loop_of(guard, values, above_one)
    loop.run()
    status = guard.console.status()
    assert (status["state"], status["cause"], status["under_way"]) == ("disarmed", "", 0)
    log = [json.loads(line) for line in (tmp_path / "guard.jsonl").read_text().splitlines()]
    assert len([record for record in log if record["kind"] == "pulse"]) == status["given"]
    assert status["given"] + status["refused"] == 3
    assert 1 <= status["given"] <= 2
    assert sink.counts["beats"] == status["beats"]


def test_a_decoders_nan_ends_the_loop_and_its_stimulus(guard: GuardProcess) -> None:
    values = np.zeros((400, 1))
    values[20] = 2

    class Sick(Copy):
        def step(self, events: ArrayLike | None, t: float) -> Any:
            super().step(events, t)
            if t > 60 * PERIOD:
                self.out[:] = np.nan
            return self.out

    def long(output: Output) -> Iterable[Command]:
        return [train(1000, 100)] if output.values[0] > 1 else []

    loop, _ = loop_of(guard, values, long)
    loop.decoder = Sick()
    with pytest.raises(SpikeportError, match="guard: tripped: values: output 0 of tick"):
        loop.run()
    status = guard.console.status()
    assert (status["state"], status["cuts"]) == ("tripped", 1)
    assert 0 < status["given"] < 1000


def test_a_commands_function_that_fails_ends_in_silence(guard: GuardProcess) -> None:
    def faulty(output: Output) -> Iterable[Command]:
        if output.tick == 50:
            raise KeyError("no such electrode")
        return [train(1000, 100)] if output.tick == 5 else []

    loop, _ = loop_of(guard, np.ones((400, 1)), faulty)
    with pytest.raises(KeyError, match="no such electrode"):
        loop.run()
    status = guard.console.status()
    assert (status["state"], status["cuts"]) == ("disarmed", 1)


def test_a_guard_that_dies_ends_the_loop(guard: GuardProcess) -> None:
    def kill(output: Output) -> Iterable[Command]:
        if output.tick == 20:
            os.kill(guard.pid, 9)
        return []

    loop, _ = loop_of(guard, np.ones((2000, 1)), kill)
    with pytest.raises(SpikeportError, match="it does not read, or is gone"):
        loop.run()
