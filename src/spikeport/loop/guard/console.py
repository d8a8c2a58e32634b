"""What starts the guard's process, and what a person and a loop hold of it.

    GuardProcess.start(limits, watch, log=...)   in the process of a person (or of both)
      .console   arm, disarm, trip, reset, status       waits for the answer
      .link      start, beat, command, end              never waits, but for start and end
                 link.detach() gives the descriptor for a loop in another process: Link.of(descriptor) there

With the two in one process the console is a promise of that script's author; with two processes, a loop cannot arm.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from spikeport.loop.guard import wire
from spikeport.loop.guard.commands import Command, to_message
from spikeport.loop.guard.limits import Limits
from spikeport.loop.guard.process import DRY_RUN
from spikeport.loop.guard.watchdog import Heartbeat, WatchLimits
from spikeport.snn.errors import RefusedError, SpikeportError

ANSWER_S = 30.0  # a console waits this long
CLOSE_S = 5.0
_ROOT = str(Path(__file__).resolve().parents[3])  # the folder of the package itself
_START = (  # with -P: a file beside the loop that has the name of a module must not run in the guard
    "import os, sys; here, root, *ends = sys.argv[1:]; "
    "sys.path[:] = [p for p in sys.path if os.path.realpath(p) != here] + [root]; "
    "from spikeport.loop.guard.process import main; sys.exit(main(ends))"
)


def _here() -> str:
    """The current folder; '' where it was removed."""
    try:
        return os.path.realpath(os.getcwd())
    except OSError:
        return ""


def _places() -> list[str]:
    """Where this process finds modules, and the current folder: where the module of a device may be."""
    here = _here()
    return [place or here for place in dict.fromkeys([*sys.path, here]) if place or here]


def _await(channel: wire.Channel, number: int, timeout_s: float, others: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer to message `number`; what else came is put into `others`."""
    until = time.monotonic() + timeout_s
    while True:
        channel.flush()
        frames, _ = channel.receive()
        found = None
        for kind, body in frames:
            message = wire.read_json(body) if kind == wire.JSON else {}
            if message.get("id") == number:
                found = message
            else:
                others.append(message)
        if found is not None:
            return found
        if channel.closed:
            raise SpikeportError("guard: its process is gone", hint="its log says why; start another")
        left = until - time.monotonic()
        if left <= 0:
            raise SpikeportError(f"guard: no answer within {timeout_s:g} s", hint="is its process stopped?")
        select.select([channel], [channel] if channel.unsent else [], [], left)


class Console:
    """A person's end."""

    def __init__(self, end: socket.socket) -> None:
        self._channel = wire.Channel(end, wire.MAX_CONSOLE)
        self._count = 0

    def _ask(
        self, message: Mapping[str, Any], descriptor: int | None = None, timeout_s: float = ANSWER_S
    ) -> Mapping[str, Any]:
        number, self._count = self._count, self._count + 1
        numbered = {"id": number, **message}
        if descriptor is None:
            self._channel.send_json(numbered)
        else:
            self._channel.send_descriptor(numbered, descriptor)
        answer = _await(self._channel, number, timeout_s, [])
        if "error" in answer:
            first, *rest = answer["error"]
            raise RefusedError(first, rest, hint=answer.get("hint", ""))
        return answer

    def arm(self, *, by: str) -> Mapping[str, Any]:
        """DISARMED to ARMED."""
        return self._ask({"do": "arm", "by": by})

    def disarm(self, *, by: str) -> Mapping[str, Any]:
        """DISARMED, and silence when each pulse that has begun has come to its end; `trip` is at once."""
        return self._ask({"do": "disarm", "by": by})

    def trip(self, *, by: str, cause: str) -> Mapping[str, Any]:
        """The emergency stop: silence, and TRIPPED."""
        return self._ask({"do": "trip", "by": by, "cause": cause})

    def reset(self, *, by: str, cause: str) -> Mapping[str, Any]:
        """TRIPPED to DISARMED; `cause` reads back what status says, to the letter."""
        return self._ask({"do": "reset", "by": by, "cause": cause})

    def status(self, timeout_s: float = ANSWER_S) -> Mapping[str, Any]:
        """State, cause, counts, charge by site."""
        return self._ask({"do": "status"}, timeout_s=timeout_s)

    def attach(self) -> Link:
        """A link for a new loop, after the last one's end: the session goes on, with what it has used up."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._ask({"do": "attach"}, theirs.fileno())
            except SpikeportError:
                ours.close()
                raise
        return Link(ours)

    def close(self) -> None:
        """End the session: the guard silences its device and exits."""
        self._channel.close()


class Link:
    """The loop's end. A method that gives False could not send: the guard is gone, or does not read."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._channel = wire.Channel(end)
        self._count = 0
        self.silent_ns = 0  # how long the guard may leave a heartbeat unanswered; known from `ready` on
        self._last_tick = 0
        self._waiting_ns: int | None = None  # since when a heartbeat waits for an answer, and nothing was heard
        self.messages: list[dict[str, Any]] = []

    @classmethod
    def of(cls, descriptor: int) -> Link:
        """From a descriptor that another process gave to this one."""
        return cls(socket.socket(fileno=descriptor))

    def detach(self) -> int:
        """The descriptor, inheritable, before anything was sent; this object is of no use afterwards."""
        if self._count:
            raise SpikeportError("guard: the link was used already", hint="detach it before")
        descriptor = self._socket.detach()
        os.set_inheritable(descriptor, True)
        self._channel.closed = True
        return descriptor

    @property
    def closed(self) -> bool:
        """The guard is gone, or this end was closed."""
        return self._channel.closed

    def _number(self) -> int:
        number, self._count = self._count, self._count + 1
        return number

    def _wait_for(self, do: str, timeout_s: float) -> Mapping[str, Any]:
        number = self._number()
        self._channel.send_json({"id": number, "do": do})
        answer = _await(self._channel, number, timeout_s, self.messages)
        if not answer.get("allowed"):
            raise RefusedError(f"guard: {do} is refused", answer.get("limits", ()), hint="arm it at the console first")
        return answer

    def ready(self, timeout_s: float = ANSWER_S) -> None:
        """RefusedError where nobody armed; nothing begins yet."""
        self.silent_ns = int(self._wait_for("ready", timeout_s).get("silent_ns", 0))

    def start(self, timeout_s: float = ANSWER_S) -> None:
        """ARMED to RUNNING: heartbeats are due from now on."""
        self._wait_for("start", timeout_s)

    def begin(self) -> int:
        """As `start`, without waiting: the number that the answer bears, or -1 where it could not be sent."""
        return self._numbered({"do": "start"})

    def end(self, timeout_s: float = CLOSE_S) -> None:
        """RUNNING to DISARMED, in order."""
        self._wait_for("end", timeout_s)

    def beat(self, *, tick: int, loop_ns: int, deadline_ns: int, values: Sequence[float]) -> bool:
        """One tick, with its outputs, at most wire.MAX_VALUES."""
        if len(values) > wire.MAX_VALUES:
            raise SpikeportError(f"guard: {len(values)} outputs, limit {wire.MAX_VALUES}", hint="fewer outputs")
        sent_ns = time.monotonic_ns()
        beat = Heartbeat(tick=tick, sent_ns=sent_ns, loop_ns=loop_ns, deadline_ns=deadline_ns, values=values)
        if not self._channel.send(wire.BEAT, wire.beat_body(beat)):
            return False
        self._last_tick = tick
        self._waiting_ns = sent_ns if self._waiting_ns is None else self._waiting_ns
        return True

    @property
    def unanswered_ns(self) -> int:
        """For how long a heartbeat has waited in vain for an answer, as far as `answers` has read; 0: none does."""
        return 0 if self._waiting_ns is None else time.monotonic_ns() - self._waiting_ns

    def command(self, command: Command) -> int:
        """Ask for one command; its number, which the answer bears, or -1 where it could not be sent."""
        return self._numbered(to_message(command))

    def invalid(self, reason: str) -> int:
        """Tell that what should be a command is none: it is recorded."""
        return self._numbered({"do": "invalid", "reason": reason[:1000]})

    def _numbered(self, message: Mapping[str, Any]) -> int:
        if not self._channel.send_json({"id": self._count, **message}):
            return -1
        return self._number()

    def answers(self) -> list[dict[str, Any]]:
        """What came since the last call: answers to commands, changes of state; not those to heartbeats."""
        frames, _ = self._channel.receive() if not self._channel.closed else ([], False)
        came = [*self.messages, *(wire.read_json(body) for kind, body in frames if kind == wire.JSON)]
        self.messages.clear()
        found = []
        for message in came:
            if "beat" not in message:
                found.append(message)
                continue
            self._waiting_ns = None if message["beat"] >= self._last_tick else time.monotonic_ns()
        return found

    def close(self) -> None:
        """Without `end` before it, a running guard trips."""
        self._channel.close()


class GuardProcess:
    """The guard in a process of its own."""

    def __init__(
        self, process: subprocess.Popen[bytes], console: Console, link: Link, about: Mapping[str, Any]
    ) -> None:
        self._process = process
        self.console, self.link = console, link
        self.pid = process.pid
        self.about = about

    @classmethod
    def start(
        cls,
        limits: Limits,
        watch: WatchLimits,
        *,
        log: str | Path,
        device: str = DRY_RUN,
        options: Mapping[str, Any] | None = None,
        versions: Mapping[str, str] | None = None,
    ) -> GuardProcess:
        """Start it, DISARMED. log: a new file.  device: DRY_RUN, or 'module:Class', made there with options.

        The process imports nothing from the current folder, but the module of a device.
        """
        if os.name != "posix":
            raise SpikeportError("guard: its process needs POSIX sockets", hint="run the guard on Linux or macOS")
        (link, far_link), (console, far_console) = socket.socketpair(), socket.socketpair()
        with far_link, far_console:
            ends = (far_link.fileno(), far_console.fileno())
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, _here(), _ROOT, *map(str, ends)],
                pass_fds=ends,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a terminal's Ctrl-C and hang-up are not for it
            )
        guard = cls(process, Console(console), Link(link), {})
        config = {"limits": limits.to_wire(), "watch": watch.to_wire(), "versions": versions}
        where = {"device": device, "options": dict(options or {}), "log": str(Path(log).absolute())}
        places = {} if device == DRY_RUN else {"places": _places()}
        try:
            guard.about = guard.console._ask({"do": "configure", **config, **where, **places})
        except BaseException:
            guard.close()
            raise
        return guard

    def status(self) -> Mapping[str, Any]:
        """As `console.status`, without its patience where heartbeats were not answered."""
        hangs = 0 < self.link.silent_ns < self.link.unanswered_ns
        return self.console.status(CLOSE_S if hangs else ANSWER_S)

    def close(self) -> None:
        """End the session: silence, and the process exits, or is killed where it does not; twice is once."""
        self.link.close()
        self.console.close()
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> GuardProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
