"""The guard's own process, started by console.GuardProcess, which keeps the current folder out of its imports.

Two sockets come in: the link to the loop, which can start, end, ask and beat; and the console to a person, which can
arm, disarm, stop, reset. A message of one on the other is a fault. When the link ends, or sends what is no message, the
guard trips; when the console ends, it silences the device and exits. SIGINT is ignored (Ctrl-C goes to every process of
a terminal), SIGTERM trips, silences, exits.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from spikeport.loop.guard import wire
from spikeport.loop.guard.commands import from_message
from spikeport.loop.guard.guard import Answer
from spikeport.loop.guard.limits import Limits
from spikeport.loop.guard.lock import Locks, address, names
from spikeport.loop.guard.states import State
from spikeport.loop.guard.station import Station
from spikeport.loop.guard.stimulator import Device, DryRun
from spikeport.loop.guard.watchdog import WatchLimits
from spikeport.snn.errors import SpikeportError
from spikeport.snn.locking import hold

DRY_RUN = "dry run"
CHUNKS = 4  # of one pass and channel: then what is due is looked at again
IDLE_S = 0.2
RETRY_S = 50e-6  # a pulse that must wait is tried again after this


class Log:
    """Append-only JSON lines, each written at once: readable after a crash of either process.

    What a full disk took of a line is ended where the next one is written, so that only that one is no JSON.
    """

    def __init__(self, path: str) -> None:
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            hold(self._file)  # so that nothing is written in its place, where the system has locks
        except OSError as error:
            raise SpikeportError(
                f"{path}: no log of the guard: {error.strerror}", hint="a new file: a guard's log is never replaced"
            ) from None
        self._torn = False

    def __call__(self, kind: str, at_ns: int, **details: Any) -> None:
        """One line; OSError where it cannot be written, also in part."""
        line = json.dumps({"kind": kind, "at_ns": at_ns, **details}, default=str).encode() + b"\n"
        line = b"\n" + line if self._torn else line
        n = os.write(self._file, line)
        if n:
            self._torn = line[n - 1 : n] != b"\n"
        if n != len(line):
            raise OSError("the log took only a part of a line: is the disk full?")


def asleep_ns() -> int:
    """How long the machine has slept, where the system tells: Linux's CLOCK_BOOTTIME goes on in sleep."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return 0 if boot is None else time.clock_gettime_ns(boot) - time.monotonic_ns()


def make_device(name: str, options: Mapping[str, Any], places: Sequence[str] = ()) -> Device:
    """'module:Class' of the user's, called with the options.

    places: folders where the module may be, too; last, so that nothing in them takes the place of another module.
    """
    sys.path += [place for place in places if place not in sys.path]
    module, _, attribute = name.partition(":")
    try:
        device = getattr(importlib.import_module(module), attribute)(**options)
    except Exception as error:  # the user's code
        raise SpikeportError(
            f"device {name!r}: {type(error).__name__}: {error!s:.500}", hint='device="module:Class"'
        ) from None
    if not isinstance(device, Device):
        raise SpikeportError(f"device {name!r}: lacks deliver or silence", hint="see stimulator.Device")
    return device


class _Server:
    """The loop of the process."""

    def __init__(self, link: socket.socket, console: socket.socket) -> None:
        self.link: wire.Channel | None = wire.Channel(link)
        self.console = wire.Channel(console, wire.MAX_CONSOLE)
        self.station: Station | None = None
        self.terminated = False
        self.locks = Locks()
        self.last_state = State.DISARMED
        self.last_id = -1
        self.beat_tick: int | None = None  # of a heartbeat that is to be answered

    def run(self) -> int:
        """Until the console ends or SIGTERM comes. However it ends, silence is the last thing that it does."""
        try:
            while not self.console.closed and not self.terminated:
                self._wait()
                if not self._pass():
                    break
                self._tell_state()
                self._answer_beat()
        finally:
            self._finish()
        return 0

    def _pass(self) -> bool:
        """What console, loop and clock ask for; False where the console cannot be understood."""
        try:
            self._read(self.console, self._console_message)
            self._tell_state()  # before the answers to what the loop sent meanwhile
            if self.link is not None and self.station is not None:
                self._read(self.link, self._link_message)
            if self.station is not None:
                self.station.service()
        except wire.WireError as error:
            self._trip(f"console: {error}")
            return False
        except Exception as error:  # a fault of ours: latched, never a guard that is gone with current on
            self._trip(f"internal: {type(error).__name__}: {error!s:.200}")
        return True

    def _finish(self) -> None:
        """Silence; where that meets a fault of ours, a trip, which silences at once, and one more pass."""
        try:
            self._end()
        except Exception as error:
            with suppress(Exception):
                self._trip(f"internal: {type(error).__name__}: {error!s:.200}")
            if self.station is not None:
                with suppress(Exception):
                    self.station.service()

    def _end(self) -> None:
        if self.station is not None:
            active = self.station.guard.state in (State.ARMED, State.RUNNING)
            if active:
                self._trip("terminated" if self.terminated else "console: its end of the pipe is closed")
            self.station.guard.cut("exit", time.monotonic_ns())
            self.station.service()
            while (at := self.station.silent_at_ns) is not None and not self.terminated:
                time.sleep(min(max((at - time.monotonic_ns()) / 1e9, RETRY_S), IDLE_S))  # a pulse comes to its end
                self.station.service()
            if self.station.silent_at_ns is not None:  # SIGTERM meanwhile
                self._trip("terminated")

    def _trip(self, cause: str) -> None:
        if self.station is not None:
            self.station.trip(cause)

    def _wait(self) -> None:
        """Sleep until a message, the next pulse, or the end of the loop's life."""
        timeout = IDLE_S
        if self.station is not None:
            wake = self.station.next_ns()
            if wake is not None:
                timeout = min(timeout, max((wake - time.monotonic_ns()) / 1e9, RETRY_S))
            if self.station.watchdog.watching:  # the guard's own pass must not seem held up
                timeout = min(timeout, self.station.watchdog.limits.timeout_ns / 4e9)
        open_ones = [c for c in (self.console, self.link) if c is not None and not c.closed]
        readers = open_ones if self.station is not None else [self.console]
        select.select(readers, [c for c in open_ones if c.unsent], [], timeout)
        for channel in open_ones:
            channel.flush()

    def _read(self, channel: wire.Channel, handle: Callable[[int, bytes], None]) -> None:
        for _ in range(CHUNKS):
            if channel.closed:
                break
            try:
                frames, more = channel.receive()
            except wire.WireError as error:
                if channel is self.console:
                    raise
                self._drop_link(f"message: {error}")
                return
            for kind, body in frames:
                handle(kind, body)
            if not more:
                break
        if channel is self.link and channel.closed:
            self._drop_link("loop: its end of the pipe is closed")

    def _drop_link(self, cause: str) -> None:
        if self.link is not None and self.station is not None:
            self.link.close()
            self.link = None
            self.station.lost(cause)

    # -- the loop

    def _link_message(self, kind: int, body: bytes) -> None:
        station, link = self.station, self.link
        if station is None or link is None:
            return
        try:
            if kind == wire.BEAT:
                beat = wire.read_beat(body)
                self.beat_tick = beat.tick
                station.beat(beat)
                return
            message = wire.read_json(body)
            number = message.pop("id", None)
            if type(number) is not int or number != self.last_id + 1:
                raise wire.WireError(f"message {number!r:.40} where {self.last_id + 1} is due")
            self.last_id = number
            self._do(station, link, number, message)
        except wire.WireError as error:
            self._drop_link(f"message: {error}")

    def _do(self, station: Station, link: wire.Channel, number: int, message: dict[str, Any]) -> None:
        if message.get("do") in ("start", "end"):
            try:
                station.start() if message["do"] == "start" else station.end()
                link.send_json({"id": number, "allowed": True})
            except SpikeportError as error:
                link.send_json({"id": number, "allowed": False, "limits": [f"state: {error.what[:1000]}"]})
        elif message.get("do") == "ready":
            state = station.guard.state
            limits = [] if state is State.ARMED else [f"state: {state.value}, limit {State.ARMED.value}"]
            silent_ns = station.watchdog.limits.timeout_ns
            link.send_json({"id": number, "allowed": not limits, "limits": limits, "silent_ns": silent_ns})
        elif message.get("do") == "invalid":
            station.invalid(str(message.get("reason"))[:1000])
        elif message.get("do") in ("stop", "stimulate"):
            try:
                command = from_message(message)
            except SpikeportError as error:
                station.invalid("; ".join((error.what, *error.problems))[:1000])
                link.send_json({"id": number, "allowed": False, "limits": [f"command: {error.what[:1000]}"]})
                return
            link.send_json({"id": number, **_told(station.command(command))})
        else:
            raise wire.WireError("a message that a loop cannot send")

    def _tell_state(self) -> None:
        """The loop hears of every change of state that it did not ask for."""
        if self.station is None or self.station.guard.state is self.last_state:
            return
        self.last_state = self.station.guard.state
        if self.link is not None:
            self.link.send_json({"state": self.last_state.value, "cause": self.station.guard.cause[:1000]})

    def _answer_beat(self) -> None:
        """After each pass: so a loop knows that this process goes on. Not where it does not read."""
        tick, self.beat_tick = self.beat_tick, None
        if tick is not None and self.link is not None and not self.link.unsent:
            self.link.send_json({"beat": tick})

    # -- a person

    def _console_message(self, kind: int, body: bytes) -> None:
        if kind != wire.JSON:
            raise wire.WireError("a frame that a console cannot send")
        message = wire.read_json(body)
        number = message.get("id")
        try:
            found = self._asked(message)
        except SpikeportError as error:
            lines = [error.what, *error.problems]
            self.console.send_json({"id": number, "error": lines, "hint": error.hint})
        except Exception as error:
            self.console.send_json({"id": number, "error": [f"guard: {type(error).__name__}: {error!s:.500}"]})
            raise
        else:
            self.console.send_json({"id": number, **found})

    def _asked(self, message: dict[str, Any]) -> Mapping[str, Any]:
        do, by = message.get("do"), str(message.get("by", ""))[:200]
        if do == "configure":
            return self._configure(message)
        if self.station is None:
            raise SpikeportError("guard: not configured yet")
        if do in ("arm", "disarm", "trip", "reset"):
            self.station.person(do, by=by, cause=str(message.get("cause", "")))
        elif do == "attach":
            self._attach()
        elif do != "status":
            raise SpikeportError(f"guard: {do!r:.40} is nothing that a console can ask")
        return self.station.status()

    def _configure(self, message: dict[str, Any]) -> Mapping[str, Any]:
        if self.station is not None:
            raise SpikeportError("guard: it is configured, for the whole session")
        limits, watch = Limits.from_wire(message["limits"]), WatchLimits.from_wire(message["watch"])
        device = self._device(message["device"], message["options"], message.get("places", ()))
        log = Log(message["log"])
        header = {"limits": limits.to_wire(), "watch": watch.to_wire(), "digest": limits.digest()}
        about = {"device": message["device"], "pid": os.getpid(), "python": platform.python_version()}
        log("header", time.monotonic_ns(), wall_s=time.time(), **header, **about, versions=message.get("versions"))
        self.station = Station(limits, watch, now_ns=time.monotonic_ns, record=log, device=device, asleep_ns=asleep_ns)
        return {**self.station.status(), "pid": os.getpid()}

    def _device(self, name: str, options: Mapping[str, Any], places: Sequence[str]) -> Device:
        """Made, and this guard's alone."""
        if name == DRY_RUN:
            return DryRun()
        try:
            for each in names(name, options):
                self.locks.take(each)
            device = make_device(name, options, places)
            own = getattr(device, "address", None)
            if isinstance(own, str):
                self.locks.take(address(own))
        except BaseException:
            self.locks.free()
            raise
        return device

    def _attach(self) -> None:
        """A new loop for the same session, after the last one's end."""
        descriptor = self.console.take_descriptor()
        if descriptor is None:
            raise SpikeportError("guard: attach came without a socket")
        if self.link is not None or self.station is None or self.station.guard.state is not State.DISARMED:
            os.close(descriptor)
            raise SpikeportError("guard: attach is possible when the last loop is gone and the guard is disarmed")
        self.link, self.last_id = wire.Channel(socket.socket(fileno=descriptor)), -1


def _told(answer: Answer) -> dict[str, Any]:
    limits = [violation.text[:300] for violation in answer.violations[:32]]  # fits a frame; the log has them whole
    return {"allowed": answer.allowed, "at_ns": answer.at_ns, "stimulus": answer.stimulus, "limits": limits}


def main(arguments: list[str]) -> int:
    """The two descriptors as numbers."""
    server = _Server(*(socket.socket(fileno=int(number)) for number in arguments))

    def terminate(signum: int, _: object) -> None:
        server.terminated = True

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, terminate)
    return server.run()
