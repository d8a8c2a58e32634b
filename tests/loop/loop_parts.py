"""Parts of a loop whose behaviour is known in closed form, and a run of all of them on a virtual clock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikeport.loop.clocks import VirtualClock
from spikeport.loop.faults import Fault, FaultySource
from spikeport.loop.loop import Loop
from spikeport.loop.packets import Packet
from spikeport.loop.policies import Policy
from spikeport.loop.ports import Clock
from spikeport.loop.record.reader import Event, RecordReader, Tick
from spikeport.loop.record.writer import MemoryRecorder
from spikeport.loop.sinks.memory import MemorySink
from spikeport.loop.sources.recording import ArraySource
from spikeport.loop.summary import Summary

PERIOD = 1_000_000  # ns
MS = 1e-3


class Adder:
    """A decoder with dt 0.5 ms: its output is its input, and the number of its steps; it keeps what it was given."""

    n_inputs, n_outputs, period, dt = 1, 2, MS, 5e-4

    def __init__(self) -> None:
        self.given: list[float | None] = []
        self.times: list[float] = []
        self.out = np.zeros(2)

    def reset(self, dataset_tags: Sequence[Any] = ()) -> None:
        self.given.clear()
        self.times.clear()
        self.out[:] = 0

    def step(self, events: ArrayLike | None, t: float) -> Any:
        self.given.append(None if events is None else float(np.asarray(events)[0]))
        self.times.append(t)
        if events is not None:
            self.out[0] = np.asarray(events)[0]
        self.out[1] = round(t / self.dt)
        return self.out

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "adder"}

    def snapshot(self) -> Any:
        return self.out.copy()

    def restore(self, state: Any) -> None:
        self.out[:] = state

    def predict(self, neural_observations: ArrayLike) -> Any: ...
    def observe(self, neural_observations: ArrayLike) -> None: ...
    def on_done(self, dones: ArrayLike) -> None: ...


def policy(**changes: Any) -> Policy:
    """hold, all, a stream lost after 1000 ticks and back with one packet, safe (-1, -1)."""
    choices: dict[str, Any] = {"lost": "hold", "overload": "all", "lost_after": 1000, "good": 1, "safe": (-1.0, -1.0)}
    return Policy(**{**choices, **changes})


class Kept(MemoryRecorder):
    """A record in memory, and what a reader finds in its bytes."""

    def items(self) -> list[Tick | Event]:
        return list(RecordReader(self.data))

    @property
    def ticks(self) -> list[Tick]:
        return [item for item in self.items() if isinstance(item, Tick)]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The details of the events of one kind, in order."""
        return [dict(item.details) for item in self.items() if isinstance(item, Event) and item.kind == kind]

    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


class Given(FaultySource):
    """A faulty source that keeps what it gave to the loop."""

    def open(self, clock: Any) -> None:
        self.given: list[Packet] = []
        super().open(clock)

    def poll(self) -> Sequence[Packet]:
        found = super().poll()
        self.given += found
        return found


class Played:
    """What a run of n samples 1, 2, ..., n gave: summary, recorder, sink, decoder and the source with its faults."""

    def __init__(
        self,
        n: int,
        faults: Iterable[Fault] = (),
        *,
        clock: Clock | None = None,
        decoder: Any = None,
        n_ticks: int | None = None,
        capacity: int = 256,
        latency: float = 0.2e-3,
        wrap_sink: Any = lambda sink: sink,
        **choices: Any,
    ) -> None:
        self.clock = VirtualClock() if clock is None else clock
        self.decoder = Adder() if decoder is None else decoder
        values = np.arange(1.0, n + 1)[:, None]
        inner = ArraySource(values, period=MS, phase=0.5e-3, latency=latency, capacity=capacity)
        self.source = Given(inner, faults)
        self.sink, self.recorder = MemorySink(), Kept()
        self.loop = Loop(
            self.source,
            self.decoder,
            wrap_sink(self.sink),
            self.clock,
            choices.pop("policy", None) or policy(**choices),
            self.recorder,
            period=MS,
        )
        self.summary: Summary = self.loop.run(n_ticks)

    @property
    def causes(self) -> list[str]:
        return [tick.cause for tick in self.recorder.ticks]

    @property
    def seqs(self) -> list[int]:
        return [tick.seq for tick in self.recorder.ticks]

    def events(self, kind: str) -> list[dict[str, Any]]:
        return self.recorder.of(kind)

    def numbers(self, kind: str) -> list[int]:
        return [event["seq"] for event in self.events(kind)]

    def lost(self) -> list[int]:
        """Every lost number, from the record's events."""
        return [s for e in self.events("lost") for s in range(e["first"], e["last"] + 1)]
