"""Outputs kept in memory or given to a function: for programs that take them from there, and for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from spikeport.loop.packets import Output
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
