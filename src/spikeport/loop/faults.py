"""Faults on purpose: a source with a bad transport or a failing producer, a decoder or a sink that is slow.

    FaultySource(source, [Drop((3, 4)), Burst(10, 5), NotANumber((20,)), Restart(100)])

Faults are said by the numbers of the packets that they befall, before any Restart or Jump renumbers them; `done` lists
what was done to which packet, in order, so that a record can be held against it.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeport.loop.packets import Array, Output, Packet
from spikeport.loop.ports import Clock, Decoder, Sink, Source


@dataclass(frozen=True)
class Drop:
    """These never come."""

    seqs: tuple[int, ...]


@dataclass(frozen=True)
class Duplicate:
    """These come once more, after_ns later."""

    seqs: tuple[int, ...]
    after_ns: int = 0


@dataclass(frozen=True)
class Reorder:
    """Each of these comes after the packet that follows it, in the poll that brings that one."""

    seqs: tuple[int, ...]


@dataclass(frozen=True)
class Late:
    """These come by_ns later."""

    seqs: tuple[int, ...]
    by_ns: int


@dataclass(frozen=True)
class Burst:
    """n packets from `first` on are held back, and come together with the last of them."""

    first: int
    n: int


@dataclass(frozen=True)
class NotANumber:
    """One value of these, of `channel`, is NaN (or another `value`)."""

    seqs: tuple[int, ...]
    channel: int = 0
    value: float = float("nan")


@dataclass(frozen=True)
class ClockStep:
    """From `first` on the producer's clock is by_ns ahead (behind, where negative)."""

    first: int
    by_ns: int


@dataclass(frozen=True)
class Dead:
    """The producer is dead from `first` to before `until` (for ever, where None); what it would have sent is lost."""

    first: int
    until: int | None = None


@dataclass(frozen=True)
class Restart:
    """From `first` on the producer counts from 0 again."""

    first: int


@dataclass(frozen=True)
class Jump:
    """From `first` on the producer's numbers are `by` higher."""

    first: int
    by: int


_TO_WHAT_COMES = ("Duplicate", "Reorder", "Late", "Burst", "NotANumber")
Fault = Drop | Duplicate | Reorder | Late | Burst | NotANumber | ClockStep | Dead | Restart | Jump


class FaultySource:
    """`source`, with `faults`. done: (fault's name, number as sent, details) of all that was done."""

    def __init__(self, source: Source, faults: Iterable[Fault]) -> None:
        self._source, self._faults = source, tuple(faults)
        self.n_channels = source.n_channels
        self.done: list[tuple[str, int, dict[str, int]]] = []
        self.sent: list[int] = []  # numbers of all packets that were given out, in order
        self._order = itertools.count()
        self._held: list[tuple[int, int, Packet]] = []  # (when, order, packet) of what comes by time
        self._behind: dict[int, list[Packet]] = {}  # original number -> what comes after it
        self._clock: Clock | None = None

    def open(self, clock: Clock) -> None:
        self._clock = clock
        self.done.clear()
        self.sent.clear()
        self._held.clear()
        self._behind.clear()
        self._source.open(clock)

    def poll(self) -> Sequence[Packet]:
        out: list[Packet] = []
        for packet in self._source.poll():
            self._befall(packet, out)
        now = self._clock.now_ns() if self._clock is not None else 0
        while self._held and self._held[0][0] <= now:
            out.append(heapq.heappop(self._held)[2])
        self.sent += [packet.seq for packet in out]
        return out

    def _befall(self, original: Packet, out: list[Packet]) -> None:  # long: one fault after the other, in sending order
        n, packet, gone, again = original.seq, original, False, -1
        hold: int | None = None
        after: int | None = None
        noted = len(self.done)
        for fault in self._faults:
            name = type(fault).__name__
            match fault:
                case Dead(first, until) if n >= first and (until is None or n < until):
                    gone = True
                    self._note(name, packet.seq)
                case Drop(seqs) if n in seqs:
                    gone = True
                    self._note(name, packet.seq)
                case NotANumber(seqs, channel, value) if n in seqs:
                    values = packet.values.copy()
                    values[channel] = value
                    packet = replace(packet, values=values)
                    self._note(name, packet.seq, channel=channel)
                case ClockStep(first, by_ns) if n >= first:
                    packet = replace(packet, source_ns=packet.source_ns + by_ns)
                    if n == first:
                        self._note(name, packet.seq, by_ns=by_ns)
                case Restart(first) if n >= first:
                    packet = replace(packet, seq=n - first)
                    if n == first:
                        self._note(name, packet.seq, after=n - 1)
                case Jump(first, by) if n >= first:
                    packet = replace(packet, seq=packet.seq + by)
                    if n == first:
                        self._note(name, packet.seq, by=by)
                case Late(seqs, by_ns) if n in seqs:
                    hold = by_ns
                    self._note(name, packet.seq, by_ns=by_ns)
                case Reorder(seqs) if n in seqs:
                    after = n + 1
                    self._note(name, packet.seq)
                case Burst(first, size) if first <= n < first + size - 1:
                    after = first + size - 1
                    self._note(name, packet.seq)
                case Duplicate(seqs, after_ns) if n in seqs:
                    again = after_ns
                    self._note(name, packet.seq, after_ns=after_ns)
        if gone:  # nothing else was done to it; what was to come after it comes now
            self.done[noted:] = [note for note in self.done[noted:] if note[0] not in _TO_WHAT_COMES]
            out += self._behind.pop(n, [])
            return
        if again >= 0:
            self._hold(packet, again)
        if hold is not None:
            self._hold(packet, hold)
        elif after is not None:
            self._behind.setdefault(after, []).append(packet)
        else:
            self._give(packet, n, out)

    def _give(self, packet: Packet, n: int, out: list[Packet]) -> None:
        waited = self._behind.pop(n, [])
        burst = any(isinstance(f, Burst) and n == f.first + f.n - 1 for f in self._faults)
        now = self._clock.now_ns() if self._clock is not None else 0
        waited = [replace(p, received_ns=max(p.received_ns, now)) for p in waited]
        out += [*waited, packet] if burst else [packet, *waited]

    def _hold(self, packet: Packet, by_ns: int) -> None:
        at = packet.received_ns + by_ns
        heapq.heappush(self._held, (at, next(self._order), replace(packet, received_ns=at)))

    def _note(self, name: str, seq: int, **details: int) -> None:
        self.done.append((name, seq, details))

    @property
    def ended(self) -> bool:
        return self._source.ended and not self._held and not self._behind

    def overflowed(self) -> int:
        return self._source.overflowed()

    def close(self) -> None:
        self._source.close()

    def describe(self) -> Mapping[str, Any]:
        return {**self._source.describe(), "faults": [repr(fault) for fault in self._faults]}

    def __getattr__(self, name: str) -> Any:  # what some sources have beside: notes, report
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._source, name)


def random_faults(seed: int, n: int, *, rate: float = 0.02, period_ns: int, dead: bool = True) -> list[Fault]:
    """Faults of every kind among packets 0 .. n - 1, each packet hit by each kind with probability `rate`."""
    rng = np.random.default_rng(seed)

    def some() -> tuple[int, ...]:
        return tuple(int(i) for i in np.flatnonzero(rng.random(n) < rate))

    faults: list[Fault] = [
        Drop(some()),
        Duplicate(some(), int(rng.integers(0, 6)) * period_ns),
        Reorder(some()),
        Late(some(), int(rng.integers(1, 6)) * period_ns),
        NotANumber(some()),
        Burst(int(rng.integers(0, n)), int(rng.integers(2, 9))),
        ClockStep(int(rng.integers(0, n)), int(rng.choice([-1, 1])) * 50 * period_ns),
    ]
    if dead:
        first = int(rng.integers(0, n))
        faults.append(Dead(first, first + int(rng.integers(1, 40))))
    return faults


Delays = Mapping[int, int] | Callable[[int], int]


class Slow:
    """Waits of the loop's clock before the n-th call, n = 0, 1, ..., in ns: what a slow consumer takes."""

    def __init__(self, clock: Clock, delays: Delays) -> None:
        self._clock, self._n = clock, 0
        self._delay = delays if callable(delays) else lambda n: delays.get(n, 0)

    def __call__(self) -> None:
        delay = self._delay(self._n)
        self._n += 1
        if delay > 0:
            self._clock.wait_until(self._clock.now_ns() + delay)


class SlowDecoder:
    """`decoder`, each step of which takes so much longer."""

    def __init__(self, decoder: Decoder, clock: Clock, delays: Delays) -> None:
        self._decoder, self._wait = decoder, Slow(clock, delays)
        self.n_inputs, self.n_outputs, self.period = decoder.n_inputs, decoder.n_outputs, decoder.period

    def step(self, events: ArrayLike | None, t: float) -> Array:
        self._wait()
        return self._decoder.step(events, t)

    def reset(self, dataset_tags: Sequence[Path | str] = ()) -> None:
        self._decoder.reset(dataset_tags)

    def predict(self, neural_observations: ArrayLike) -> NDArray[np.floating]:
        self._wait()
        return self._decoder.predict(neural_observations)

    def observe(self, neural_observations: ArrayLike) -> None:
        self._wait()
        self._decoder.observe(neural_observations)

    def on_done(self, dones: ArrayLike) -> None:
        self._decoder.on_done(dones)

    def snapshot(self) -> Any:
        return self._decoder.snapshot()

    def restore(self, state: Any) -> None:
        self._decoder.restore(state)

    def describe(self) -> Mapping[str, Any]:
        return {**self._decoder.describe(), "slowed": True}

    def __getattr__(self, name: str) -> Any:  # what some decoders have beside: settle, report, refuses
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._decoder, name)


class SlowSink:
    """`sink`, each emission of which takes so much longer."""

    def __init__(self, sink: Sink, clock: Clock, delays: Delays) -> None:
        self._sink, self._wait = sink, Slow(clock, delays)

    def open(self, clock: Clock) -> None:
        self._sink.open(clock)

    def emit(self, output: Output) -> None:
        self._wait()
        self._sink.emit(output)

    def close(self) -> None:
        self._sink.close()

    def describe(self) -> Mapping[str, Any]:
        return {**self._sink.describe(), "slowed": True}
