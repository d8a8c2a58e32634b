"""ZeroMQ: a frame is a message of one part.

    pub / sub    to all who listen; what goes beyond a high-water mark is dropped. The numbers tell what
    push / pull  to one of those who listen; the sender is told where there is no room

A socket binds or connects, whichever side; what connects comes back by itself. On each side at most `high_water`
messages wait, and the kernel's buffers hold some more in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from spikeport.loop.packets import Output
from spikeport.loop.transports.base import TransportSink, TransportSource
from spikeport.loop.transports.frame import clock_identity, new_session, pack_sample
from spikeport.loop.transports.inbox import Inbox
from spikeport.snn.errors import MissingDependencyError, SpikeportError

MAX_MESSAGE = 1 << 24  # bytes; who sends a larger one is cut off by ZeroMQ
LINGER_MS = 200  # what a closing sender waits for its last messages
IN, OUT = ("sub", "pull"), ("pub", "push")


class ZmqSource(TransportSource):
    """Messages at `connect` or to `bind` (one of the two), an endpoint such as "tcp://127.0.0.1:5556".

    pattern: "sub" or "pull". wait: s within which what connects must have found its peer; 0: it may come later.
    high_water: messages that ZeroMQ may hold between two polls (default: the capacity).
    """

    kind = "zmq"

    def __init__(
        self,
        n_channels: int,
        *,
        pattern: str,
        connect: str | None = None,
        bind: str | None = None,
        wait: float = 5.0,
        capacity: int = 256,
        high_water: int | None = None,
        stamps: str = "auto",
    ) -> None:
        super().__init__(Inbox("zmq source", n_channels, capacity, stamps))
        self._plug = _Plug("zmq source", pattern, IN, connect, bind, capacity if high_water is None else high_water)
        self._wait = wait
        self._monitor: Any = None
        self.counts = {"disconnected": 0}

    @property
    def address(self) -> str:
        """The endpoint; with its port, once a bound one is open."""
        return self._plug.address

    def _open(self) -> None:
        zmq = _zmq()
        self.counts["disconnected"] = 0
        s = self._plug.make(zmq.SUB if self._plug.pattern == "sub" else zmq.PULL)
        s.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
        s.setsockopt(zmq.RCVHWM, self._plug.high_water)
        if self._plug.pattern == "sub":
            s.setsockopt(zmq.SUBSCRIBE, b"")
        self._monitor = s.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._plug.plug()
        if self._plug.connect is not None and self._wait > 0 and not self._monitor.poll(round(self._wait * 1000)):
            raise SpikeportError(
                f"zmq source: nobody at {self._plug.connect} within {self._wait:g} s",
                hint="start the producer first, or wait=0 to let it come later",
            )

    def _read(self, limit: int) -> None:
        zmq, s, inbox = _zmq(), self._plug.socket, self._inbox
        if s is None:
            return
        for n in range(limit):
            try:
                parts = s.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                if n == 0:
                    self._hear()
                return
            if len(parts) == 1:
                inbox.frame(parts[0])
            else:
                inbox.counts["came"] += 1
                inbox.bad("parts", detail=f"{len(parts)}, a frame has one")

    def _hear(self) -> None:
        """Peers that came and went."""
        from zmq.utils.monitor import recv_monitor_message

        zmq = _zmq()
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)
            gone = event["event"] == zmq.EVENT_DISCONNECTED
            self.counts["disconnected"] += gone
            self._inbox.notes.add("peer", "disconnected" if gone else "connected")

    def close(self) -> None:
        if self._monitor is not None:
            self._plug.socket.disable_monitor()
            self._monitor.close(0)
            self._monitor = None
        self._plug.close()

    def report(self) -> Mapping[str, Any]:
        return {**super().report(), **self.counts}

    def describe(self) -> Mapping[str, Any]:
        return {**super().describe(), **self._plug.describe(), "sequence": "in the frame"}


class _Plug:
    """A socket of a context of its own, that binds or connects."""

    def __init__(
        self, what: str, pattern: str, patterns: tuple[str, ...], connect: str | None, bind: str | None, high_water: int
    ) -> None:
        problems = []
        if pattern not in patterns:
            problems.append(f"pattern: {pattern!r:.40}, must be one of {', '.join(patterns)}")
        if (connect is None) == (bind is None):
            problems.append(f"connect: {connect!r:.100}, bind: {bind!r:.100}, must be one of the two")
        if isinstance(high_water, bool) or not isinstance(high_water, int) or high_water < 1:
            problems.append(f"high_water: {high_water!r}, must be a whole number, 1 or more (0 would be no limit)")
        if problems:
            raise SpikeportError(f"{what}: settings that cannot be", problems, hint="bind='tcp://127.0.0.1:5556'")
        self.what, self.pattern, self.connect, self.bind, self.high_water = what, pattern, connect, bind, high_water
        self.socket: Any = None
        self._context: Any = None

    def make(self, kind: int) -> Any:
        """The socket, not connected yet."""
        zmq = _zmq()
        self._context = zmq.Context(1)
        self.socket = self._context.socket(kind)
        self.socket.setsockopt(zmq.LINGER, 0)
        return self.socket

    def plug(self) -> None:
        """Bind or connect; what binds is there then, what connects need not be."""
        zmq = _zmq()
        try:
            if self.bind is not None:
                self.socket.bind(self.bind)
            else:
                self.socket.connect(self.connect)
        except zmq.ZMQError as error:
            verb, where = ("bind", self.bind) if self.bind is not None else ("connect to", self.connect)
            raise SpikeportError(
                f"{self.what}: cannot {verb} {where!r:.100}: {error.strerror}", hint="tcp://127.0.0.1:5556"
            ) from None

    def sending(self, high_water: int, linger_ms: int, counted: bool) -> Any:
        """A socket that sends: XPUB, which hears who listens, for pub; PUSH."""
        zmq = _zmq()
        s = self.make(zmq.XPUB if self.pattern == "pub" else zmq.PUSH)
        s.setsockopt(zmq.SNDHWM, high_water)
        s.setsockopt(zmq.LINGER, linger_ms)
        if self.pattern == "pub":
            if counted:
                s.setsockopt(zmq.XPUB_NODROP, 1)
        else:
            s.setsockopt(zmq.IMMEDIATE, 1)  # no queue for a peer that is not there
        self.plug()
        return s

    @property
    def address(self) -> str:
        if self.socket is not None and self.bind is not None:
            return str(self.socket.getsockopt_string(_zmq().LAST_ENDPOINT))
        return self.bind or self.connect or ""

    def close(self) -> None:
        if self._context is not None:
            self._context.destroy()
            self._context = self.socket = None

    def describe(self) -> dict[str, Any]:
        where = {"bind": self.bind} if self.bind is not None else {"connect": self.connect}
        return {"pattern": self.pattern, **where, "high_water": self.high_water}


class _Outlet:
    """Sends messages without waiting; with pub, knows whether someone listens."""

    def __init__(self, plug: _Plug, counted: bool) -> None:
        self._plug = plug
        self.listeners = 0
        self._socket = plug.sending(plug.high_water, LINGER_MS, counted)

    def hear(self, timeout_ms: int = 0) -> int:
        """Listeners now, after at most timeout_ms where there are none yet."""
        if self._plug.pattern != "pub":
            return int(bool(self._socket.poll(timeout_ms, _zmq().POLLOUT)))
        while self._socket.poll(timeout_ms if not self.listeners else 0):
            change = self._socket.recv()  # of a topic: its first listener came, or its last one went
            self.listeners += 1 if change[:1] == b"\x01" else -1
        return self.listeners

    def send(self, data: bytes) -> str:
        """Why it could not be sent; empty where it was."""
        zmq = _zmq()
        if self._plug.pattern == "pub":
            self.hear()
        try:
            self._socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            if self._plug.pattern == "push":
                return f"nobody takes it, or {self._plug.high_water} messages wait"
            return f"{self._plug.high_water} messages wait for a slow listener"
        return ""

    def close(self) -> None:
        self._plug.close()


class ZmqSender:
    """The producer's end. drops "counted": send says where a listener has no room, and then no listener gets the
    sample; "silent": as ZeroMQ's PUB does, each listener misses what it has no room for, and nobody says so."""

    def __init__(
        self,
        pattern: str,
        *,
        connect: str | None = None,
        bind: str | None = None,
        high_water: int = 1000,
        drops: str = "counted",
        dtype: str = "float64",
    ) -> None:
        self._plug = _Plug("zmq sender", pattern, OUT, connect, bind, high_water)
        self._dtype, self._session, self._clock = dtype, new_session(), clock_identity()
        try:
            self._outlet = _Outlet(self._plug, _counted("zmq sender", drops))
        except BaseException:
            self._plug.close()
            raise

    @property
    def address(self) -> str:
        return self._plug.address

    def ready(self, timeout: float) -> bool:
        return self._outlet.hear(round(timeout * 1000)) > 0

    def send(self, values: ArrayLike, *, seq: int, source_ns: int) -> bool:
        data = pack_sample(
            values, session=self._session, seq=seq, source_ns=source_ns, clock=self._clock, dtype=self._dtype
        )
        return not self._outlet.send(data)

    def close(self) -> None:
        self._plug.close()


class ZmqSink(TransportSink):
    """Outputs as messages at `connect` or to `bind`; pattern "pub" or "push"; drops as in ZmqSender.

    emit never waits; close waits LINGER_MS for the last messages. Outputs without any listener: dropped with push,
    unheard with pub.
    """

    kind = "zmq"

    def __init__(
        self,
        pattern: str,
        *,
        when_blocked: str,
        connect: str | None = None,
        bind: str | None = None,
        high_water: int = 1000,
        drops: str = "counted",
    ) -> None:
        super().__init__(when_blocked)
        self._drops, self._is_counted = drops, _counted("zmq sink", drops)
        self._plug = _Plug("zmq sink", pattern, OUT, connect, bind, high_water)
        self._outlet: _Outlet | None = None

    @property
    def address(self) -> str:
        """The endpoint; with its port, once a bound one is open."""
        return self._plug.address

    def _open(self) -> None:
        self._outlet = _Outlet(self._plug, self._is_counted)

    def _emit(self, output: Output, number: int) -> str:
        if self._outlet is None:
            return "the sink is closed"
        problem = self._outlet.send(self._frame(output, number))
        if not problem and self._plug.pattern == "pub" and not self._outlet.listeners:
            self.counts["unheard"] += 1
        return problem

    def close(self) -> None:
        self._outlet = None
        self._plug.close()

    def describe(self) -> Mapping[str, Any]:
        waits = {"waits_s": 0.0, "close_waits_s": LINGER_MS / 1000}
        return {**super().describe(), **self._plug.describe(), "drops": self._drops, **waits}


def _counted(what: str, drops: str) -> bool:
    if drops not in ("counted", "silent"):
        raise SpikeportError(f"{what}: drops {drops!r:.40}", hint="one of counted, silent")
    return drops == "counted"


def _zmq() -> Any:
    try:
        import zmq
    except ImportError:
        raise MissingDependencyError.for_extra("pyzmq", "zmq", "a ZeroMQ source or sink") from None
    return zmq
