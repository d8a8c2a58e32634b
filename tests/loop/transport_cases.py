"""What the tests of the transports share: producers in other processes, outputs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from spikeport.loop.packets import Output, Packet
from spikeport.loop.ports import Source

PATIENCE_S = 60.0
PRODUCE = "spikeport.loop.transports.produce"


def wait_for(happened: Callable[[], bool], what: str = "it") -> None:
    """Until it has; the machine may be busy."""
    until = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < until, f"{what} did not come within {PATIENCE_S:g} s"
        time.sleep(0.002)


def collect(source: Source, done: Callable[[list[Packet]], bool]) -> list[Packet]:
    """Every packet that polls give until `done`."""
    found: list[Packet] = []

    def enough() -> bool:
        found.extend(source.poll())
        return done(found)

    wait_for(enough, "the packets")
    return found


def collect_n(source: Source, n: int) -> list[Packet]:
    return collect(source, lambda found: len(found) >= n)


def numbers(packets: list[Packet]) -> list[int]:
    return [p.seq for p in packets]


def noted(part: Any) -> dict[str, list[dict[str, Any]]]:
    """The notes since the last call, by event."""
    found: dict[str, list[dict[str, Any]]] = {}
    for event, details in part.notes():
        found.setdefault(event, []).append(details)
    return found


class Producer:
    """produce.py in another process."""

    def __init__(self, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-m", PRODUCE, *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=None if env is None else dict(env)
        )
        assert self.process.stdout is not None
        try:
            self.address: str = self._line()["address"]
        except BaseException:
            self.close()
            raise

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        found: dict[str, Any] = json.loads(line)
        return found

    def done(self) -> dict[str, int]:
        """What it sent, when it is done sending; it may still linger."""
        return self._line()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


@contextmanager
def producing(*arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Producer]:
    made = Producer(*arguments, env=env)
    try:
        yield made
    finally:
        made.close()


def an_output(number: int, **changes: Any) -> Output:
    """Of tick `number`, with values of its own."""
    plain: dict[str, Any] = {
        "tick": number, "seq": number + 5, "values": np.array([number / 7, -1.5]), "safe": False, "cause": "fresh",
        "deadline_ns": 100 + number, "source_ns": 1, "received_ns": 2, "start_ns": 3, "end_ns": 4,
    }  # fmt: skip
    return Output(**{**plain, **changes})
