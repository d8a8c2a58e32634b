"""What the loop asks of its parts. Anything with these methods will do; nothing here imports a transport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeport.loop.packets import Array, Output, Packet


@runtime_checkable
class Clock(Protocol):
    """Monotonic time in integer ns."""

    def now_ns(self) -> int:
        """The time now."""
        ...

    def wait_until(self, deadline_ns: int) -> int:
        """Return at the deadline or, where it has passed, at once; the time then."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """What a record should know: kind, scheduler and memory locks asked for and got, and each refusal's reason."""
        ...


@runtime_checkable
class Source(Protocol):
    """Where packets come from. It never blocks and never holds more than `capacity` packets.

    It may have, as a sink may: notes(), a list of (kind of event, details) for the record since the last call; and
    report(), counts for the summary, also after close().
    """

    n_channels: int

    def open(self, clock: Clock) -> None:
        """Begin to receive; refuse what cannot be reached with a reason."""

    def poll(self) -> Sequence[Packet]:
        """What has arrived since the last poll, in the order of arrival."""
        ...

    @property
    def ended(self) -> bool:
        """Nothing more will come (a recording's end); False for a live stream, also a silent one."""
        ...

    def overflowed(self) -> int:
        """Packets that this side's own buffer had to give up since the last call."""
        ...

    def close(self) -> None:
        """Give everything back; twice is once."""

    def describe(self) -> Mapping[str, Any]:
        """What a record should know: kind, address, capacity, how stamps were mapped."""
        ...


@runtime_checkable
class Sink(Protocol):
    """Where outputs go. It never blocks longer than it says, and raises where it cannot emit."""

    def open(self, clock: Clock) -> None:
        """Be ready to emit."""

    def emit(self, output: Output) -> None:
        """Pass it on."""

    def close(self) -> None:
        """Give everything back; twice is once."""

    def describe(self) -> Mapping[str, Any]:
        """What a record should know."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """FALCON's interface (reset, predict, observe, on_done) and one tick of real time.

    predict and observe take (n_batch, n_inputs) of one period each; on_done resets the state of the batch rows that are
    true. step takes (n_inputs,) and the time in s since reset to which the state goes on; the result is the decoder's
    own array, overwritten by the next call.
    """

    n_inputs: int
    n_outputs: int
    period: float  # s, that one predict() or observe() covers

    def reset(self, dataset_tags: Sequence[Path | str] = ()) -> None:
        """The state before the first step; the same each time."""

    def predict(self, neural_observations: ArrayLike) -> NDArray[np.floating]:
        """One period on; (n_batch, n_outputs)."""
        ...

    def observe(self, neural_observations: ArrayLike) -> None:
        """One period on, without an answer."""

    def on_done(self, dones: ArrayLike) -> None:
        """Trials that ended: those rows start afresh."""

    def step(self, events: ArrayLike | None, t: float) -> Array:
        """The state at time t, with `events` held (held inputs) or arriving (counts) in this interval.

        None: nothing came. Time goes on, held inputs stay as they are, no spikes arrive.
        """
        ...

    def snapshot(self) -> Any:
        """The whole state, which later steps do not change."""
        ...

    def restore(self, state: Any) -> None:
        """Go on from a snapshot."""

    def describe(self) -> Mapping[str, Any]:
        """What a record should know: kind, hash of the network, dt, dtype, seed."""
        ...


@runtime_checkable
class Recorder(Protocol):
    """What keeps the record. It never blocks the loop: what it cannot take is counted, and the count is recorded."""

    def open(self, header: Mapping[str, Any]) -> None:
        """Begin a record; the header says model, configuration, versions, seed."""

    def tick(self, output: Output, emitted_ns: int, values: Array) -> None:
        """One tick: what went in (values used), what came out, and its stamps."""

    def event(self, kind: str, at_ns: int, **details: Any) -> None:
        """Something that explains the ticks: a gap, a duplicate, a missed deadline, a refusal of the guard."""

    def close(self) -> None:
        """End the record; twice is once."""
