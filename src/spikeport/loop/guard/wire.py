"""Frames between the loop's process and the guard's: bounded, checked, and never waited for.

    magic "SG" | kind (1 byte) | number (4) | length of the body (4) | CRC-32 of all that and the body (4) | body

number counts the frames of a direction from 0, without holes. A heartbeat's body is fixed binary, the others are JSON.
What does not fit is no frame, and ends the connection: there is no search for the next one in garbage.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from spikeport.loop.guard.watchdog import Heartbeat
from spikeport.snn.errors import SpikeportError

_HEAD = struct.Struct("<2sBIII")
_BEAT = struct.Struct("<qqqqH")
MAGIC = b"SG"
BEAT, JSON = 1, 2
MAX_BODY = 16_384  # between loop and guard
MAX_CONSOLE = 2**21  # between a person and the guard: limits of many sites
MAX_VALUES = 1024
MAX_UNSENT = 262_144  # bytes that may wait for the other side to read
CHUNK = 16_384


class WireError(ValueError):
    """What came is no frame."""


def frame(kind: int, number: int, body: bytes) -> bytes:
    """One frame."""
    head = _HEAD.pack(MAGIC, kind, number, len(body), 0)
    return _HEAD.pack(MAGIC, kind, number, len(body), zlib.crc32(head + body)) + body


def beat_body(beat: Heartbeat) -> bytes:
    """A heartbeat as bytes."""
    head = _BEAT.pack(beat.tick, beat.sent_ns, beat.loop_ns, beat.deadline_ns, len(beat.values))
    return head + struct.pack(f"<{len(beat.values)}d", *beat.values)


def read_beat(body: bytes) -> Heartbeat:
    """What `beat_body` wrote."""
    if len(body) < _BEAT.size:
        raise WireError("a heartbeat that is too short")
    tick, sent_ns, loop_ns, deadline_ns, n = _BEAT.unpack_from(body)
    if len(body) != _BEAT.size + 8 * n or n > MAX_VALUES:
        raise WireError("a heartbeat of the wrong length")
    values = struct.unpack_from(f"<{n}d", body, _BEAT.size)
    return Heartbeat(tick=tick, sent_ns=sent_ns, loop_ns=loop_ns, deadline_ns=deadline_ns, values=values)


def read_json(body: bytes) -> dict[str, Any]:
    """A JSON object of plain values; WireError otherwise."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise WireError(f"no JSON: {error!s:.100}") from None
    if not isinstance(value, dict):
        raise WireError("JSON that is no object")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number here")


class Frames:
    """Bytes in, whole frames out. Holds less than one frame and one chunk."""

    def __init__(self, max_body: int) -> None:
        self._max_body = max_body
        self._held = bytearray()
        self._number = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that are complete now, (kind, body); WireError at the first that is none."""
        self._held += data
        found = []
        while len(self._held) >= _HEAD.size:
            magic, kind, number, length, crc = _HEAD.unpack_from(self._held)
            if magic != MAGIC or kind not in (BEAT, JSON) or length > self._max_body:
                raise WireError("bytes that are no frame")
            end = _HEAD.size + length
            if len(self._held) < end:
                break
            body = bytes(self._held[_HEAD.size : end])
            if zlib.crc32(_HEAD.pack(magic, kind, number, length, 0) + body) != crc:
                raise WireError("a frame that was changed on its way")
            if number != self._number % 2**32:
                raise WireError(f"frame {number} where {self._number % 2**32} is due")
            self._number += 1
            found.append((kind, body))
            del self._held[:end]
        return found


class Channel:
    """One end of a connected stream socket, never blocking."""

    def __init__(self, end: socket.socket, max_body: int = MAX_BODY) -> None:
        end.setblocking(False)
        self._socket, self._max_body = end, max_body
        self._frames = Frames(max_body)
        self._unsent = bytearray()
        self._number = 0
        self._descriptors: list[int] = []
        self.closed = False

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    @property
    def unsent(self) -> int:
        """Bytes that still wait."""
        return len(self._unsent)

    def send(self, kind: int, body: bytes) -> bool:
        """Queue one frame and send what the socket takes; False, and nothing queued, where too much waits already."""
        if len(body) > self._max_body:
            raise SpikeportError(
                f"guard: a message of {len(body)} bytes, limit {self._max_body}", hint="fewer parts or outputs at once"
            )
        self.flush()
        if self.closed or len(self._unsent) > MAX_UNSENT:
            return False
        self._unsent += frame(kind, self._number % 2**32, body)
        self._number += 1
        self.flush()
        return not self.closed

    def send_json(self, message: Mapping[str, Any]) -> bool:
        """As `send`."""
        return self.send(JSON, json.dumps(message, allow_nan=False, separators=(",", ":")).encode())

    def flush(self) -> None:
        """Send what the socket takes."""
        while self._unsent and not self.closed:
            try:
                n = self._socket.send(self._unsent)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self.closed = True
                return
            del self._unsent[:n]

    def receive(self) -> tuple[list[tuple[int, bytes]], bool]:
        """(frames that came, whether more may wait), at most one chunk; `closed` after the other side's end."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, CHUNK, 1)
            self._keep(descriptors)
        except (BlockingIOError, InterruptedError):
            return [], False
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return [], False
        return self._frames.feed(data), True

    def _keep(self, descriptors: list[int]) -> None:
        """One descriptor that came may wait to be taken; others are closed."""
        self._descriptors += descriptors
        while len(self._descriptors) > 1:
            os.close(self._descriptors.pop())

    def take_descriptor(self) -> int | None:
        """A descriptor that came with a frame, once."""
        return self._descriptors.pop() if self._descriptors else None

    def send_descriptor(self, message: Mapping[str, Any], descriptor: int) -> bool:
        """One frame with an open descriptor, to the other process; False where frames still wait before it."""
        self.flush()
        if self.closed or self._unsent:
            return False
        body = json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
        data = frame(JSON, self._number % 2**32, body)
        self._number += 1
        n = socket.send_fds(self._socket, [data], [descriptor])
        self._unsent += data[n:]
        return True

    def close(self) -> None:
        """Give the socket back; twice is once."""
        self.closed = True
        self._socket.close()
