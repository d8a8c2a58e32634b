"""Packets that this process makes itself: the loop inside a program that has the samples."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikeport.loop.packets import Array, Packet
from spikeport.loop.ports import Clock
from spikeport.loop.sources.buffer import Buffer
from spikeport.snn.errors import SpikeportError


class MemorySource:
    """push() from any thread; at most `capacity` packets wait, then the oldest is given up and counted.

    A pushed packet is numbered after the last one, unless it says its seq; so a gap can be said, too.
    """

    def __init__(self, n_channels: int, *, capacity: int = 256) -> None:
        if n_channels < 1 or capacity < 1:
            raise SpikeportError(f"memory source: {n_channels} channels, capacity {capacity}, must be 1 or more each")
        self.n_channels, self.capacity = n_channels, capacity
        self._buffer = Buffer(capacity)
        self._lock = threading.Lock()
        self._clock: Clock | None = None
        self._next = 0
        self._ended = False

    def open(self, clock: Clock) -> None:
        self._clock = clock

    def push(self, values: ArrayLike, *, seq: int | None = None, source_ns: int | None = None) -> int:
        """Hand in a sample, (n_channels,), taken at source_ns on the loop's clock (default: now); its number."""
        sample: Array = np.array(values, dtype=np.float64)
        if sample.shape != (self.n_channels,):
            raise SpikeportError(f"memory source: a sample of shape {sample.shape}, must be ({self.n_channels},)")
        if self._clock is None:
            raise SpikeportError(
                "memory source: not open yet", hint="push after Loop.run has begun, from another thread"
            )
        with self._lock:
            number = self._next if seq is None else seq
            self._next = number + 1
            now = self._clock.now_ns()
            at = now if source_ns is None else source_ns
            self._buffer.put(Packet(seq=number, values=sample, source_ns=at, received_ns=now))
        return number

    def end(self) -> None:
        """Nothing more will be pushed."""
        self._ended = True

    def poll(self) -> Sequence[Packet]:
        with self._lock:
            return self._buffer.take()

    @property
    def ended(self) -> bool:
        return self._ended and not self._buffer

    def overflowed(self) -> int:
        with self._lock:
            return self._buffer.overflowed()

    def close(self) -> None:
        self._clock = None

    def describe(self) -> Mapping[str, Any]:
        return {
            "kind": "memory",
            "n_channels": self.n_channels,
            "capacity": self.capacity,
            "stamps": "the loop's clock",
        }
