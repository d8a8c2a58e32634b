"""Outputs and records kept in memory: for programs that take them from there, and for tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from spikeport.loop.packets import Array, Output
from spikeport.loop.ports import Clock


class MemorySink:
    """Every output, in order: `outputs`, with their own values. limit: only the last so many."""

    def __init__(self, limit: int | None = None) -> None:
        self.outputs: list[Output] = []
        self._limit = limit

    def open(self, clock: Clock) -> None:
        self.outputs.clear()

    def emit(self, output: Output) -> None:
        self.outputs.append(replace(output, values=output.values.copy()))
        if self._limit is not None and len(self.outputs) > self._limit:
            del self.outputs[0]

    def close(self) -> None:
        """Nothing to give back."""

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "memory"}


class CallSink:
    """A function that is called with every output: the loop inside a program. It must return soon."""

    def __init__(self, call: Callable[[Output], object]) -> None:
        self._call = call

    def open(self, clock: Clock) -> None:
        """Nothing to open."""

    def emit(self, output: Output) -> None:
        self._call(output)

    def close(self) -> None:
        """Nothing to give back."""

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "function", "name": getattr(self._call, "__qualname__", type(self._call).__name__)}


class NoRecorder:
    """Keeps nothing."""

    def open(self, header: Mapping[str, Any]) -> None: ...
    def tick(self, output: Output, emitted_ns: int, values: Array) -> None: ...
    def event(self, kind: str, at_ns: int, **details: Any) -> None: ...
    def close(self) -> None: ...


class MemoryRecorder:
    """The header, every tick and every event, as lists: for short runs."""

    def __init__(self) -> None:
        self.header: Mapping[str, Any] = {}
        self.ticks: list[tuple[Output, int, Array]] = []
        self.events: list[tuple[str, int, dict[str, Any]]] = []

    def open(self, header: Mapping[str, Any]) -> None:
        self.header = dict(header)
        self.ticks.clear()
        self.events.clear()

    def tick(self, output: Output, emitted_ns: int, values: Array) -> None:
        self.ticks.append((replace(output, values=output.values.copy()), emitted_ns, values.copy()))

    def event(self, kind: str, at_ns: int, **details: Any) -> None:
        self.events.append((kind, at_ns, details))

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The details of the events of one kind, in order."""
        return [details for found, _, details in self.events if found == kind]

    def close(self) -> None:
        """Nothing to give back."""


class CanonicalRecorder:
    """The record as bytes that depend on what happened and on nothing else: JSON lines with sorted keys, numbers as
    their shortest exact text. Two runs are the same where their bytes are.

    Into `file` where one is given; the SHA-256 of the bytes is at hand either way.
    """

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.n_bytes = 0

    def hexdigest(self) -> str:
        return self._digest.hexdigest()

    def open(self, header: Mapping[str, Any]) -> None:
        self._write({"header": header})

    def tick(self, output: Output, emitted_ns: int, values: Array) -> None:
        o = output
        stamps = [o.deadline_ns, o.source_ns, o.received_ns, o.start_ns, o.end_ns, emitted_ns]
        self._write([o.tick, o.seq, o.cause, o.safe, stamps, values.tolist(), o.values.tolist()])

    def event(self, kind: str, at_ns: int, **details: Any) -> None:
        self._write({"event": kind, "at_ns": at_ns, "details": details})

    def _write(self, value: Any) -> None:
        line = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain).encode("ascii") + b"\n"
        self.n_bytes += len(line)
        self._digest.update(line)
        if self._file is not None:
            self._file.write(line)

    def close(self) -> None:
        """The file stays its owner's."""


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"a record cannot hold a {type(value).__name__}")
