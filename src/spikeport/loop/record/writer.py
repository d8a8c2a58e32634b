"""Recorders: the same bytes into another process (`ProcessRecorder`), a file (`FileRecorder`) or memory.

    with a loop            ProcessRecorder("session.spklog", on_loss="count")
    deterministic runs     FileRecorder("session.spklog", machine=None)
    tests                  MemoryRecorder()
    no record              NoRecorder(), which a Loop has where it is given none

None waits for a reader or a disk while the loop runs, except FileRecorder. What cannot be taken is lost whole, tick or
event, and counted, and the count stands in the record where it happened, as an event `record lost`; or the loop is
stopped.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from spikeport.loop.packets import CAUSES, Array, Output
from spikeport.loop.record.format import EVENT, HEADER, LIMITS, MAGIC, MAX_VALUES, STAMPS, TICK, Framer, encode_json
from spikeport.snn.errors import SpikeportError
from spikeport.snn.locking import elsewhere, hold, in_use, release, take
from spikeport.snn.writing import check_writable

LOST = "record lost"  # the kind of the event that stands where ticks or events are missing
ON_LOSS = ("count", "stop")
_HELD = 1 << 16  # bytes that FileRecorder gathers before it writes
_CAUSE = {cause: i for i, cause in enumerate(CAUSES)}


@cache
def versions() -> dict[str, str]:
    """What computes: Python and the packages of the loop."""
    found = {"python": platform.python_version()}
    for name in ("spikeport", "numpy", "numba"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a checkout that is not installed
            found[name] = "not installed"
    return found


def machine() -> dict[str, Any]:
    """What differs from machine to machine and from run to run; not for a record that must be the same twice.

    monotonic_ns is CLOCK_MONOTONIC, as wall clocks of the loop have it, at the moment `started`: it dates the stamps.
    """
    return {
        "started": datetime.now(UTC).isoformat(),
        "monotonic_ns": time.monotonic_ns(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "argv0": Path(sys.argv[0]).name if sys.argv else "",
    }


def pack_header(header: Mapping[str, Any], machine: Mapping[str, Any] | None) -> bytes:
    """The header's payload; `machine` is left out where it is None."""
    content = {"causes": list(CAUSES), "header": dict(header), "versions": versions()}
    payload = encode_json(content if machine is None else content | {"machine": dict(machine)}, "record")
    if len(payload) > LIMITS[HEADER]:
        raise SpikeportError(f"record: a header of {len(payload)} bytes, the limit is {LIMITS[HEADER]}")
    return payload


def pack_tick(output: Output, emitted_ns: int, values: Array) -> bytes:
    """A tick's payload. values: what the decoder was given; all NaN, or none, where it was given None."""
    given = np.ascontiguousarray(values, dtype="<f8")
    gave = np.ascontiguousarray(output.values, dtype="<f8")
    if given.ndim != 1 or gave.ndim != 1 or max(given.size, gave.size) > MAX_VALUES:
        raise SpikeportError(
            f"record: tick {output.tick} has values of shape {given.shape} in and {gave.shape} out, "
            f"must be one row of at most {MAX_VALUES} each"
        )
    cause = _CAUSE.get(output.cause)
    if cause is None:
        raise SpikeportError(f"record: tick {output.tick}: cause {output.cause!r}, must be one of {', '.join(CAUSES)}")
    stamps = STAMPS.pack(
        output.tick, output.seq, output.deadline_ns, output.source_ns, output.received_ns, output.start_ns,
        output.end_ns, emitted_ns, cause, output.safe, 0, given.size, gave.size,
    )  # fmt: skip
    return b"".join((stamps, given.tobytes(), gave.tobytes()))


def pack_event(kind: str, at_ns: int, details: Mapping[str, Any]) -> bytes:
    """An event's payload."""
    payload = encode_json({"kind": kind, "at_ns": int(at_ns), "details": details}, f"event {kind!r}")
    if len(payload) > LIMITS[EVENT]:
        raise SpikeportError(f"record: event {kind!r} has {len(payload)} bytes, the limit is {LIMITS[EVENT]}")
    return payload


@dataclass
class Lost:
    """What a recorder could not take: since the last that it took, and in all."""

    ticks: int = 0
    events: int = 0
    first_tick: int = -1
    last_tick: int = -1
    at_ns: int = 0
    all_ticks: int = 0
    all_events: int = 0

    def __bool__(self) -> bool:
        return bool(self.ticks or self.events)

    def add(self, kind: int, at_ns: int, tick: int) -> None:
        if not self:
            self.at_ns = at_ns
        if kind == TICK:
            self.first_tick = tick if not self.ticks else self.first_tick
            self.last_tick = tick
            self.ticks, self.all_ticks = self.ticks + 1, self.all_ticks + 1
        else:
            self.events, self.all_events = self.events + 1, self.all_events + 1

    def event(self) -> bytes:
        """The event that stands in the record for what is missing before it."""
        which = {"first_tick": self.first_tick, "last_tick": self.last_tick} if self.ticks else {}
        return pack_event(LOST, self.at_ns, {"ticks": self.ticks, "events": self.events, **which})

    def said(self) -> None:
        """The event is in the record."""
        self.ticks = self.events = 0


class NoRecorder:
    """Keeps nothing."""

    def open(self, header: Mapping[str, Any]) -> None: ...
    def tick(self, output: Output, emitted_ns: int, values: Array) -> None: ...
    def event(self, kind: str, at_ns: int, **details: Any) -> None: ...
    def close(self) -> None: ...


class Recording:
    """What all that keep a record share. A kind of recorder says how a payload is taken (`_put`), begun and ended."""

    def __init__(self, *, machine: Mapping[str, Any] | None, on_loss: str) -> None:
        if on_loss not in ON_LOSS:
            raise SpikeportError(f"record: on_loss {on_loss!r}, must be one of {', '.join(ON_LOSS)}")
        self._machine = machine
        self._on_loss = on_loss
        self._state = "new"
        self._broken = ""  # why nothing more can be taken
        self._told = False
        self._notes: list[str] = []  # what the system refused
        self.lost = Lost()

    def open(self, header: Mapping[str, Any]) -> None:
        """Begin the record; refuse what cannot be written, and a header that has no form in JSON."""
        if self._state != "new":
            raise SpikeportError(f"record: it is {self._state} already, a recorder makes one record")
        self._begin(pack_header(header, self._machine))
        self._state = "open"

    def tick(self, output: Output, emitted_ns: int, values: Array) -> None:
        """One tick. values: (n_inputs,) that the decoder was given; all NaN, or (0,), where it was given None."""
        self._take(TICK, pack_tick(output, emitted_ns, values), emitted_ns, output.tick)

    def event(self, kind: str, at_ns: int, **details: Any) -> None:
        """One event, in its place between the ticks."""
        self._take(EVENT, pack_event(kind, at_ns, details), at_ns, -1)

    def close(self) -> None:
        """End the record; twice is once. SpikeportError where it is not whole, with the reason."""
        if self._state == "open":
            self._state = "closed"
            self._end()

    def _take(self, kind: int, payload: bytes, at_ns: int, tick: int) -> None:
        if self._state != "open":
            raise SpikeportError(f"record: a {'tick' if kind == TICK else 'event'}, but it is {self._state}")
        if (not self.lost or self._say_lost()) and self._put(kind, payload):
            return
        self.lost.add(kind, at_ns, tick)
        if self._on_loss == "stop" and not self._told:
            self._told = True  # once: what the loop does to end itself must not be stopped by us again
            raise SpikeportError(
                f"record: {self._why()}; {self.lost.all_ticks} ticks and {self.lost.all_events} events are lost, and "
                "on_loss is 'stop'",
                hint="a faster disk, a larger backlog, or on_loss='count'",
            )

    def _say_lost(self) -> bool:
        if not self._put(EVENT, self.lost.event()):
            return False
        self.lost.said()
        return True

    def _why(self) -> str:
        return self._broken or "its buffer is full"

    def _begin(self, header: bytes) -> None:
        raise NotImplementedError

    def _put(self, kind: int, payload: bytes) -> bool:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError

    @property
    def broken(self) -> str:
        """Why nothing more is taken, and all that comes is lost; "" while it goes on."""
        return self._broken

    def _not_whole(self, path: Path) -> SpikeportError:
        return SpikeportError(
            f"{path}: the record is not whole: {self._broken}",
            [f"{self.lost.all_ticks} ticks and {self.lost.all_events} events were not taken"],
            hint="it can be read up to its last whole frame",
        )

    def report(self) -> Mapping[str, Any]:
        """What was lost, why it stopped for good, and what the system refused; also after `close`."""
        lost = {"lost_ticks": self.lost.all_ticks, "lost_events": self.lost.all_events}
        return {**lost, "broken": self._broken, "refused": list(self._notes)}

    def describe(self) -> Mapping[str, Any]:
        """What it is and what it lost."""
        lost = {"ticks": self.lost.all_ticks, "events": self.lost.all_events}
        return {"kind": type(self).__name__, "on_loss": self._on_loss, "lost": lost}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class MemoryRecorder(Recording):
    """The bytes of a record in memory, `data`, at most `limit` of them; what is beyond is lost like anywhere else."""

    def __init__(
        self, *, limit: int = 1 << 28, machine: Mapping[str, Any] | None = None, on_loss: str = "stop"
    ) -> None:
        super().__init__(machine=machine, on_loss=on_loss)
        self._limit = limit
        self._framer = Framer()
        self.data = bytearray()

    def _begin(self, header: bytes) -> None:
        self.data += self._framer.start(header)

    def _put(self, kind: int, payload: bytes) -> bool:
        if len(self.data) + len(payload) > self._limit:
            return False
        self.data += self._framer.frame(kind, payload)
        return True

    def _end(self) -> None:
        if self.lost:
            self.data += self._framer.frame(EVENT, self.lost.event())
        self.data += self._framer.end(closed=True, reason="")


class FileRecorder(Recording):
    """A record written by the loop's own process: for tests and for runs whose bytes must be the same twice.

    It waits for the system where that is slow, and a kill loses what it still holds (64 KiB). The disk is waited for at
    `close` only. A file that is there already is refused, or with overwrite=True removed first, if it is a record.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        machine: Mapping[str, Any] | None = None,
        on_loss: str = "stop",
    ) -> None:
        super().__init__(machine=machine, on_loss=on_loss)
        check_record(path, overwrite)
        self.path = Path(path)
        self._overwrite = overwrite
        self._framer = Framer()
        self._held = bytearray()
        self._file = -1

    def _begin(self, header: bytes) -> None:
        self._at = make_way(self.path, self._overwrite)
        try:
            self._file, unlocked = take(self._at)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._notes += [unlocked] if unlocked else []
        self._held += self._framer.start(header)
        self._write()
        if self._broken:
            os.close(self._file)
            raise SpikeportError(f"{self.path}: the record cannot be written: {self._broken}")

    def _put(self, kind: int, payload: bytes) -> bool:
        if not self._broken:
            self._held += self._framer.frame(kind, payload)
            if len(self._held) >= _HELD:
                self._write()
        return not self._broken

    def _write(self) -> None:
        """All that is held; what a full disk does not take stays held, and nothing more is taken."""
        try:
            while self._held:
                del self._held[: os.write(self._file, self._held)]
        except OSError as error:
            self._broken = error.strerror or str(error)

    def _end(self) -> None:
        if not self._broken:
            self._held += self._framer.end(closed=True, reason="")
            self._write()
        try:
            os.fsync(self._file)
        except OSError as error:
            self._broken = self._broken or error.strerror or str(error)
        where = elsewhere(self._file, self._at)
        release(self._file)
        os.close(self._file)
        if self._broken:
            raise self._not_whole(self.path)
        if where:
            self._broken = where
            raise not_there(self.path, where)


def check_record(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Refuse a path that cannot be written, and one of a file that is no record: only a record is ever replaced."""
    check_writable(path, overwrite)
    if not Path(path).exists():
        return
    try:
        with open(path, "rb") as file:
            found = file.read(len(MAGIC))
    except OSError as error:
        raise cannot_write(Path(path), error) from error
    if found != MAGIC:
        raise SpikeportError(
            f"{path}: exists already and is no record: a record never replaces another kind of file",
            hint="name a new file",
        )


def make_way(path: Path, overwrite: bool) -> Path:
    """Check again that `path` may be written, and remove the old record where that is wanted and nobody writes it.

    Returns the file to be made: a link stays a link, the file that it names is replaced.
    """
    check_record(path, overwrite)
    path = Path(os.path.realpath(path))
    try:
        old = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return path
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        hold(old)  # of two that want its place, one gets it
        if elsewhere(old, path) or os.read(old, len(MAGIC)) != MAGIC:  # the other's new file, which is empty yet
            raise in_use(path)
        path.unlink()
    except BlockingIOError:
        raise in_use(path) from None
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        os.close(old)
    return path


def not_there(path: Path, where: str) -> SpikeportError:
    return SpikeportError(f"{path}: the record is not there: {where} while it was written")


def cannot_write(path: Path, error: OSError) -> SpikeportError:
    return SpikeportError(f"{path}: the record cannot be written: {error.strerror or error}")
