"""The process that writes a record: reads messages from its standard input, appends frames, waits for the disk.

It takes the file, then says "ready"; it ends when the loop says so, or when the pipe ends because the loop is gone, and
then says that in the end frame. It has a session of its own, so that Ctrl-C reaches the loop and not the record.
"""

from __future__ import annotations

import json
import os
import select
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikeport.loop.record.format import END, HEADER, Framer
from spikeport.loop.record.messages import Unpacker
from spikeport.snn.locking import elsewhere, release, take

PIECE = 1 << 20  # bytes read from the pipe, and written to the file, at a time
_LOOK = 0.5  # s between looks whether the loop's process is still there, where the pipe is silent
GONE = "the recording program ended without closing the record"


class Backlog:
    """Bytes from the pipe that the disk has not taken yet, at most `limit`; beyond that the pipe itself fills."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._changed = threading.Condition()

    def put(self, piece: bytes) -> None:
        """Add a piece; waits while there is no room."""
        with self._changed:
            self._changed.wait_for(lambda: self._held < self._limit)
            self._pieces.append(piece)
            self._held += len(piece)
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def take(self, timeout: float | None) -> bytes | None:
        """All there is, b"" after `timeout` seconds without any, None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._pieces or self._ended, timeout)
            if not self._pieces:
                return None if self._ended else b""
            taken = b"".join(self._pieces)
            self._pieces.clear()
            self._held = 0
            self._changed.notify_all()
            return taken


class Appender:
    """An append-only file whose last `fsync_s` seconds at most the disk does not have yet, and which nobody replaces.

    unlocked: why the system does not keep others from it, "" where it does.
    """

    def __init__(self, path: Path, fsync_s: float) -> None:
        self._file, self.unlocked = take(path)  # before the first byte: what begins as a record is locked
        self._path = path
        self._folder = path.resolve().parent
        self._fsync_s = fsync_s
        self._flushed = time.monotonic()
        self._dirty = False
        self.bytes = 0

    def write(self, data: bytes | bytearray) -> None:
        rest = memoryview(data)
        while rest:
            n = os.write(self._file, rest)
            self.bytes += n
            self._dirty = True
            rest = rest[n:]

    def flush_if_due(self) -> None:
        if self._dirty and time.monotonic() - self._flushed >= self._fsync_s:
            self.flush()

    def flush(self) -> None:
        os.fsync(self._file)
        self._flushed, self._dirty = time.monotonic(), False

    def flush_name(self) -> None:
        """Wait until the disk has the file's name."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> str:
        """Wait for the disk; what became of the file meanwhile, "" where it is where it was made."""
        self.flush()
        found = elsewhere(self._file, self._path)
        release(self._file)
        os.close(self._file)
        return found


def answer(**words: Any) -> None:
    """A line to the loop; where it is gone, nobody has to know."""
    try:
        os.write(1, json.dumps(words).encode("ascii") + b"\n")
    except OSError:
        pass


def serve(path: Path, *, fsync_s: float, backlog: int, parent: int, notes: Sequence[str] = ()) -> None:
    """Write the record that comes in on standard input to `path`, which must not exist."""
    pieces = Backlog(backlog)
    threading.Thread(target=_read, args=(pieces, parent), daemon=True).start()
    unpacker, framer = Unpacker(), Framer()
    appender: Appender | None = None
    ending = b""
    while not ending:
        taken = pieces.take(fsync_s)
        if taken is None:
            left = f", in the middle of {unpacker.unfinished} bytes" if unpacker.unfinished else ""
            ending = framer.end(closed=False, reason=GONE + left)
            break
        frames = bytearray()
        for kind, payload in unpacker.feed(taken):
            if kind == HEADER:
                appender = Appender(path, fsync_s)
                appender.write(framer.start(payload))
                appender.flush()
                appender.flush_name()
                answer(ready=True, notes=[*notes, *([appender.unlocked] if appender.unlocked else [])])
            elif kind == END:
                ending = framer.end(closed=True, reason="")
                break
            else:
                frames += framer.frame(kind, payload)
        if appender is not None:
            appender.write(frames)
            appender.flush_if_due()
    if appender is not None:
        appender.write(ending)
        where = appender.close()
        answer(done=True, bytes=appender.bytes, ticks=framer.ticks, events=framer.events, elsewhere=where)


def _read(pieces: Backlog, parent: int) -> None:
    """Pass the pipe on until it ends; a child that the loop forked may hold it open: then until the loop has ended."""
    while True:
        ready = select.select([0], [], [], _LOOK)[0]
        if ready:
            piece = os.read(0, PIECE)
            if not piece:
                break
            pieces.put(piece)
        elif os.getppid() != parent:
            break
    pieces.end()


def settle(cpus: Sequence[int]) -> list[str]:
    """Leave the loop's real-time class, take the given CPUs; what the system refuses is returned in words."""
    notes = []
    try:
        if os.sched_getscheduler(0) != os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except (AttributeError, OSError) as error:  # the first: not Linux
        notes.append(f"ordinary scheduling: {error}")
    try:
        if cpus:
            os.sched_setaffinity(0, cpus)
    except (AttributeError, OSError, ValueError) as error:
        notes.append(f"CPUs {list(cpus)}: {error}")
    return notes


def main(arguments: Mapping[str, Any]) -> int:
    """What the process runs; arguments as `outside.ProcessRecorder` passes them. The exit status."""
    path = Path(arguments["path"])
    try:
        notes = settle(arguments["cpus"])
        serve(path, fsync_s=arguments["fsync_s"], backlog=arguments["backlog"], parent=arguments["parent"], notes=notes)
    except OSError as error:
        answer(error=f"{error.strerror or error}")
        return 1
    return 0
