"""`ProcessRecorder`: another process writes the record, so that neither a slow disk nor a crash reaches the loop."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikeport.loop.record.format import END, EVENT, HEADER
from spikeport.loop.record.messages import pack_message
from spikeport.loop.record.writer import Recording, check_record, machine, make_way, not_there
from spikeport.snn.errors import SpikeportError

PIPE_BYTES = 1 << 20  # what Linux gives an ordinary user by default (/proc/sys/fs/pipe-max-size)
_START = (  # the same modules from the same places as in this process
    "import json, sys; given = json.loads(sys.argv[1]); sys.path[:] = given['sys.path']; "
    "from spikeport.loop.record.process import main; sys.exit(main(given))"
)
_START_S = 60.0  # until the process must have the file; Python's start on a busy machine is the long part


class ProcessRecorder(Recording):
    """A record at `path`, written by a process of its own through a pipe that the loop never waits for.

    on_loss: "count" (what does not fit is lost, counted and said in its place) or "stop" (the loop is stopped by a
    SpikeportError); no default, because it is the user's to choose.  backlog: bytes that the other process may hold
    while its disk is slow, beside the pipe's own.  fsync_s: after how many seconds the disk must have what was written;
    a kill of either process loses nothing that the pipe took, a power cut the last fsync_s.  close_s: how long `close`
    waits for the last bytes.  cpus: where the process may run, by default where this one may when the recorder is made:
    a loop that is bound to one CPU later does not take it along; the loop's real-time class it leaves, too.
    """

    def __init__(  # a record has this many choices, each with its reason above
        self,
        path: str | os.PathLike[str],
        *,
        on_loss: str,
        overwrite: bool = False,
        backlog: int = 64 << 20,
        fsync_s: float = 1.0,
        close_s: float = 60.0,
        cpus: Sequence[int] | None = None,
        deterministic: bool = False,
    ) -> None:
        super().__init__(machine=None if deterministic else machine(), on_loss=on_loss)
        check_record(path, overwrite)
        problems = [
            f"{name}: {value!r}, must be above 0"
            for name, value in (("backlog", backlog), ("fsync_s", fsync_s), ("close_s", close_s))
            if not value > 0
        ]
        if problems:
            raise SpikeportError("record: it cannot be begun", problems)
        self.path = Path(path)
        self._overwrite = overwrite
        cpus = sorted(os.sched_getaffinity(0)) if cpus is None and hasattr(os, "sched_getaffinity") else cpus or ()
        self._arguments = {"fsync_s": fsync_s, "backlog": backlog, "cpus": list(cpus)}
        self._close_s = close_s
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._answers = -1
        self._rest: bytes = b""  # of a message that the pipe took in part

    def _begin(self, header: bytes) -> None:
        self._arguments["path"] = str(make_way(self.path, self._overwrite))
        inner, self._pipe = os.pipe()
        self._answers, outer = os.pipe()
        try:
            self._process = self._start(inner, outer)
            os.set_blocking(self._pipe, False)
            self._size = self._resize()
            self._deliver(pack_message(HEADER, header), time.monotonic() + _START_S)
            said = self._answer(time.monotonic() + _START_S)
        except BaseException:
            self._give_back(kill=True)
            raise
        finally:
            os.close(inner)
            os.close(outer)
        if "ready" not in said:
            self._give_back(kill=True)
            raise SpikeportError(f"{self.path}: the record cannot be written: {said.get('error') or self._broken}")
        self._notes += said.get("notes", [])

    def _start(self, inner: int, outer: int) -> subprocess.Popen[bytes]:
        arguments = json.dumps(self._arguments | {"parent": os.getpid(), "sys.path": sys.path})
        return subprocess.Popen(
            [sys.executable, "-P", "-c", _START, arguments],
            stdin=inner,
            stdout=outer,
            start_new_session=True,  # Ctrl-C is the loop's
        )

    def _resize(self) -> int:
        """Ask for a larger pipe; a refusal is noted."""
        if not hasattr(fcntl, "F_SETPIPE_SZ"):
            return 0
        try:
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError as error:
            self._notes.append(f"a pipe of {PIPE_BYTES} bytes: {error.strerror}")
        return fcntl.fcntl(self._pipe, fcntl.F_GETPIPE_SZ)

    def _put(self, kind: int, payload: bytes) -> bool:
        if self._rest:
            self._push()
        if self._rest or self._broken:
            return False
        self._rest = pack_message(kind, payload)
        if self._push():
            return True  # in part is enough: what is left goes before the next
        self._rest = b""
        return False

    def _push(self) -> bool:
        """Hand over what the pipe takes now of `_rest`; whether it took any."""
        try:
            n = os.write(self._pipe, self._rest)
        except BlockingIOError:
            return False
        except OSError as error:
            gone = "the process that writes it is gone"
            self._broken = self._last_words() or gone if error.errno == errno.EPIPE else str(error)
            return False
        self._rest = self._rest[n:]
        return n > 0

    def _last_words(self) -> str:
        """Why the process ended, where it said so: it does before its end of the pipe is closed."""
        try:
            os.set_blocking(self._answers, False)
            said = json.loads(os.read(self._answers, 4096) or b"{}")
        except (OSError, ValueError):
            return ""
        return str(said.get("error", "")) if isinstance(said, dict) else ""

    def _deliver(self, message: bytes, until: float) -> bool:
        """Wait until the pipe has all of it; False where the other side is gone or the time is over."""
        self._rest += message
        while self._rest and not self._broken:
            if not self._push():
                if time.monotonic() > until:
                    self._broken = self._broken or "the process that writes it does not answer"
                time.sleep(0.001)
        return not self._broken

    def _answer(self, until: float) -> dict[str, Any]:
        """The next line that the process says; {} where it ended without one, or the time is over."""
        os.set_blocking(self._answers, False)
        line = b""
        while not line.endswith(b"\n"):
            try:
                piece = os.read(self._answers, 4096)
            except BlockingIOError:
                if time.monotonic() > until:
                    self._broken = self._broken or "the process that writes it does not answer"
                    return {}
                time.sleep(0.001)
                continue
            if not piece:
                self._broken = self._broken or "the process that writes it is gone"
                return {}
            line += piece
        said = json.loads(line.splitlines()[0])
        return said if isinstance(said, dict) else {}

    def _end(self) -> None:
        until = time.monotonic() + self._close_s
        try:
            if self.lost and self._deliver(pack_message(EVENT, self.lost.event()), until):
                self.lost.said()
            self._deliver(pack_message(END, b""), until)
            said = self._answer(until)
        finally:
            self._give_back(kill=False)
        if "done" not in said:
            self._broken = said.get("error") or self._broken
            raise self._not_whole(self.path)
        if said["elsewhere"]:
            self._broken = said["elsewhere"]
            raise not_there(self.path, self._broken)

    def _why(self) -> str:
        return self._broken or "the pipe to the process that writes it is full"

    def _give_back(self, *, kill: bool) -> None:
        for handle in (self._pipe, self._answers):
            if handle >= 0:
                os.close(handle)
        self._pipe = self._answers = -1
        if self._process is None:
            return
        if kill:
            self._process.kill()
        try:
            self._process.wait(5.0 if not self._broken else 0.5)
        except subprocess.TimeoutExpired:  # it hangs in the disk's hands; what it has, it still writes
            self._notes.append(f"process {self._process.pid} has not ended")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # that it runs on is in the notes
            self._process = None

    @property
    def pid(self) -> int | None:
        """The writing process, while there is one."""
        return None if self._process is None else self._process.pid

    def describe(self) -> Mapping[str, Any]:
        chosen = {key: self._arguments[key] for key in ("fsync_s", "backlog", "cpus")}
        state = {"pipe_bytes": getattr(self, "_size", 0), "broken": self._broken, "refused": list(self._notes)}
        return dict(super().describe()) | chosen | state
