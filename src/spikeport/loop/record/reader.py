"""Reading a record frame by frame: what is whole, and how it ended; never a guess.

A frame counts only if it is whole and its number and both checksums are right; reading ends at the first that is not,
because nobody can tell where the next one begins. Lengths are compared with their limits and with what is left of the
file before anything is allocated, and nothing in a file is executed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from zlib import crc32

import numpy as np

from spikeport.loop.packets import Array
from spikeport.loop.record.format import (
    CRC,
    END,
    EVENT,
    HEAD,
    OVERHEAD,
    PREAMBLE,
    STAMPS,
    TICK,
    BadFrame,
    check_payload,
    decode_json,
    read_head,
    read_preamble,
)
from spikeport.loop.record.writer import LOST
from spikeport.snn.errors import SpikeportError

INTEGERS = ("tick", "seq", "deadline_ns", "source_ns", "received_ns", "start_ns", "end_ns", "emitted_ns")

Source = str | os.PathLike[str] | bytes | bytearray


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a record ended.

    clean      the loop closed it.
    abandoned  the loop was gone without closing it; what had reached the writing process is all there.
    cut        the file ends within frame `frame`, or before an end frame: the writing process was killed, or the disk
               was full, or the machine stopped, or it is still being written.
    damaged    frame `frame`, at byte `byte`, is not as it was written; what is after it is not read.

    byte: where reading stopped: what is before it is whole.
    """

    kind: str
    frame: int
    byte: int
    why: str = ""

    @property
    def whole(self) -> bool:
        """All that was written is there: clean or abandoned."""
        return self.kind in ("clean", "abandoned")

    def __str__(self) -> str:
        if self.kind == "clean":
            return "clean"
        where = f"at byte {self.byte}" if self.kind == "cut" else f"at frame {self.frame}, byte {self.byte}"
        return f"{self.kind}{'' if self.kind == 'abandoned' else ' ' + where}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One tick as it was recorded. inputs: what the decoder was given; all NaN, or (0,), where it was given None."""

    tick: int
    seq: int
    deadline_ns: int
    source_ns: int
    received_ns: int
    start_ns: int
    end_ns: int
    emitted_ns: int
    cause: str
    safe: bool
    inputs: Array
    outputs: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. index: how many ticks stand before it."""

    index: int
    kind: str
    at_ns: int
    details: Mapping[str, Any]


class RecordReader:
    """A record, frame by frame, in memory that does not grow. `ending` is there when the iteration is over."""

    def __init__(self, source: Source) -> None:
        self.name = "record" if isinstance(source, (bytes, bytearray)) else str(Path(source))
        self._file: BinaryIO
        try:
            self._file = io.BytesIO(source) if isinstance(source, (bytes, bytearray)) else open(Path(source), "rb")
        except OSError as error:
            raise SpikeportError(f"{self.name}: cannot be read: {error.strerror or error}") from error
        self._ending: Ending | None = None
        self._frame = self._byte = self._ticks = self._events = self.event_bytes = 0
        self._salt = 0
        try:
            if self._file.seekable():
                self.size = self._file.seek(0, os.SEEK_END)
                self._file.seek(0)
            else:
                raise SpikeportError(f"{self.name}: a pipe or a device, must be a plain file")
            self._read_header()
        except BaseException:
            self._file.close()
            raise

    def _read_header(self) -> None:
        data = self._file.read(PREAMBLE.size)
        try:
            if len(data) < PREAMBLE.size:
                raise BadFrame(f"it is cut at byte {len(data)}, before its header is whole")
            self._salt = read_preamble(data)
            self._byte = PREAMBLE.size
            found = self._next_frame()
            if found is None:
                raise BadFrame(f"it is cut at byte {self.size}, before its header is whole")
            content = decode_json(found[1])
            self.header, self.versions, self.machine, self.causes = _header(content)
        except BadFrame as error:
            raise SpikeportError(
                f"{self.name}: no record that can be read: {error}", hint="a file that `spikeport live` wrote"
            ) from error
        self._salt = crc32(found[1])

    @property
    def ending(self) -> Ending:
        """How the record ended; known when everything is read."""
        if self._ending is None:
            raise SpikeportError(f"{self.name}: how it ended is known when all is read", hint="for item in reader")
        return self._ending

    def __iter__(self) -> Iterator[Tick | Event]:
        for item in self.frames():
            yield item if isinstance(item, Event) else unpack_tick(item, self.causes)

    def frames(self) -> Iterator[bytes | Event]:
        """The same, ticks as their payloads, which are checked: for what unpacks many at once."""
        while self._ending is None:
            at, number = self._byte, self._frame
            try:
                found = self._next_frame()
                if found is None:
                    what = "in the middle of a frame" if self.size > at else "without an end frame"
                    self._ending = Ending(kind="cut", frame=number, byte=at, why=f"the file ends {what}")
                    return
                kind, payload = found
                item = self._item(kind, payload)
            except BadFrame as error:
                self._ending = Ending(kind="damaged", frame=number, byte=at, why=str(error))
                return
            if isinstance(item, Ending):
                self._ending = item
                return
            yield item

    def _next_frame(self) -> tuple[int, bytes] | None:
        """(type, payload) of the next frame; None where the file ends before it does."""
        left = self.size - self._byte
        head = self._file.read(HEAD.size + CRC.size)
        if len(head) < HEAD.size + CRC.size:
            return None
        kind, length, check = read_head(head, number=self._frame, salt=self._salt, first=self._frame == 0)
        if OVERHEAD + length > left:
            return None
        payload = self._file.read(length)
        stored = self._file.read(CRC.size)
        if len(payload) < length or len(stored) < CRC.size:  # it became shorter while it was read
            return None
        check_payload(payload, stored, check)
        self._byte += OVERHEAD + length
        self._frame += 1
        return kind, payload

    def _item(self, kind: int, payload: bytes) -> bytes | Event | Ending:
        if kind == TICK:
            self._ticks += 1
            check_tick(payload, len(self.causes))
            return payload
        content = decode_json(payload)
        if kind == EVENT:
            self._events += 1
            self.event_bytes += len(payload)
            return _event(content, self._ticks)
        if kind != END or content.keys() != {"ticks", "events", "closed", "reason"}:
            raise BadFrame("its JSON is not that of an end frame")
        if (content["ticks"], content["events"]) != (self._ticks, self._events):
            raise BadFrame(
                f"it counts {content['ticks']} ticks and {content['events']} events, "
                f"there are {self._ticks} and {self._events}"
            )
        if self.size != self._byte:
            raise BadFrame(f"{self.size - self._byte} bytes follow the end frame")
        closed = content["closed"] is True
        return Ending(
            kind="clean" if closed else "abandoned", frame=self._frame, byte=self._byte, why=str(content["reason"])
        )

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_tick(payload: bytes, n_causes: int) -> None:
    """BadFrame where a tick's payload contradicts itself."""
    if len(payload) < STAMPS.size:
        raise BadFrame("it is too short for a tick")
    *_, cause, safe, zero, n_in, n_out = STAMPS.unpack_from(payload)
    if STAMPS.size + 8 * (n_in + n_out) != len(payload) or cause >= n_causes or safe > 1 or zero:
        raise BadFrame("its tick contradicts itself")


def unpack_tick(payload: bytes, causes: tuple[str, ...]) -> Tick:
    """The tick of a payload that is checked."""
    *integers, cause, safe, _, n_in, _ = STAMPS.unpack_from(payload)
    values = np.frombuffer(payload, dtype="<f8", offset=STAMPS.size).astype(np.float64)
    return Tick(
        **dict(zip(INTEGERS, integers, strict=True)),
        cause=causes[cause], safe=bool(safe), inputs=values[:n_in], outputs=values[n_in:],
    )  # fmt: skip


def _header(content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], tuple[str, ...]]:
    header, versions, machine = (content.get(name, {}) for name in ("header", "versions", "machine"))
    causes = content.get("causes")
    known = content.keys() <= {"causes", "header", "versions", "machine"}
    if not (known and all(isinstance(part, dict) for part in (header, versions, machine))):
        raise BadFrame("its JSON is not that of a header")
    if not isinstance(causes, list) or not all(isinstance(cause, str) for cause in causes):
        raise BadFrame("its header names no causes")
    return header, versions, machine, tuple(causes)


def _event(content: Mapping[str, Any], index: int) -> Event:
    if content.keys() != {"kind", "at_ns", "details"}:
        raise BadFrame("its JSON is not that of an event")
    kind, at_ns, details = content["kind"], content["at_ns"], content["details"]
    if not (isinstance(kind, str) and type(at_ns) is int and isinstance(details, dict)):
        raise BadFrame("its JSON is not that of an event")
    if kind == LOST and not all(type(details.get(name)) is int for name in ("ticks", "events")):
        raise BadFrame("it does not say what the recorder lost")
    return Event(index=index, kind=kind, at_ns=at_ns, details=details)


def lost_by(event: Event) -> dict[str, int]:
    """What an event says that the recorder lost; BadFrame took those that say it in no numbers."""
    lost = event.kind == LOST
    return {name: int(event.details[name]) if lost else 0 for name in ("ticks", "events")}
