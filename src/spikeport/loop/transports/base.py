"""Sources and sinks of frames, less the transport itself; and how addresses are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import ArrayLike

from spikeport.loop.packets import Output, Packet
from spikeport.loop.ports import Clock
from spikeport.loop.transports.frame import clock_identity, new_session, pack_output
from spikeport.loop.transports.inbox import READS, Inbox, Notes
from spikeport.snn.errors import SpikeportError

WHEN_BLOCKED = ("drop", "raise")


class Sender(Protocol):
    """What feeds a source from another process: the producer's end."""

    def ready(self, timeout: float) -> bool:
        """Whether someone listens, after at most `timeout` s; True at once where that cannot be known (UDP)."""
        ...

    def send(self, values: ArrayLike, *, seq: int, source_ns: int) -> bool:
        """Send (n,) values; False where the transport would have to wait, and the packet is dropped."""
        ...

    def close(self) -> None:
        """Give everything back; twice is once."""


class TransportSource:
    """A Source around an Inbox. A transport says how it is opened, read and closed."""

    kind = ""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self.n_channels, self.capacity = inbox.n_channels, inbox.capacity

    def open(self, clock: Clock) -> None:
        """Begin to receive."""
        self.close()
        self._inbox.begin(clock)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        raise NotImplementedError

    def _read(self, limit: int) -> None:
        """Put what has arrived into the inbox, at most `limit` packets."""
        raise NotImplementedError

    def poll(self) -> Sequence[Packet]:
        """What has arrived since the last poll."""
        self._read(READS * self.capacity)
        return self._inbox.take()

    @property
    def ended(self) -> bool:
        """A live stream has no end."""
        return False

    def overflowed(self) -> int:
        return self._inbox.overflowed()

    def notes(self) -> list[tuple[str, dict[str, Any]]]:
        """What the record should explain, since the last call: (kind of event, details)."""
        return self._inbox.notes.take()

    def report(self) -> Mapping[str, Any]:
        """Counts, for the summary."""
        return self._inbox.report()

    def close(self) -> None:
        raise NotImplementedError

    def describe(self) -> Mapping[str, Any]:
        return {"kind": self.kind, **self._inbox.describe()}


class TransportSink:
    """A Sink that numbers what it emits. when_blocked: what to do where the transport would have to wait.

    drop   the output is dropped, counted and noted; the consumer sees a hole in the numbers
    raise  the run ends with an error
    """

    kind = ""

    def __init__(self, when_blocked: str) -> None:
        if when_blocked not in WHEN_BLOCKED:
            raise SpikeportError(
                f"{self.kind} sink: when_blocked is {when_blocked!r:.40}", hint=f"one of {', '.join(WHEN_BLOCKED)}"
            )
        self.when_blocked = when_blocked
        self.counts = {"emitted": 0, "dropped": 0, "unheard": 0}
        self._notes = Notes()
        self._clock: Clock | None = None
        self._number = self._session = self._identity = 0

    def open(self, clock: Clock) -> None:
        """Be ready to emit; numbers begin at 0."""
        self.close()
        self.counts = dict.fromkeys(self.counts, 0)
        self._notes.take()
        self._number, self._session, self._identity = 0, new_session(), clock_identity()
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        self._clock = clock

    def _open(self) -> None:
        raise NotImplementedError

    def _emit(self, output: Output, number: int) -> str:
        """Send it; why it could not be sent, empty where it was."""
        raise NotImplementedError

    def _frame(self, output: Output, number: int) -> bytes:
        return pack_output(output, session=self._session, number=number, sent_ns=self.now(), clock=self._identity)

    def now(self) -> int:
        """The loop's time."""
        if self._clock is None:
            raise SpikeportError(f"{self.kind} sink: not open", hint="open it first; Loop.run does")
        return self._clock.now_ns()

    def emit(self, output: Output) -> None:
        """Pass it on, without waiting longer than describe() says."""
        self.now()
        number, self._number = self._number, self._number + 1
        problem = self._emit(output, number)
        if not problem:
            self.counts["emitted"] += 1
            return
        self.counts["dropped"] += 1
        self._notes.add("output dropped", problem, tick=output.tick, number=number)
        if self.when_blocked == "raise":
            raise SpikeportError(f"{self.kind} sink: output of tick {output.tick} was not taken: {problem}")

    def notes(self) -> list[tuple[str, dict[str, Any]]]:
        """What the record should explain, since the last call: (kind of event, details)."""
        return self._notes.take()

    def report(self) -> Mapping[str, Any]:
        """Counts, for the summary. dropped is known here; what a transport drops further on, the numbers tell."""
        return dict(self.counts)

    def close(self) -> None:
        raise NotImplementedError

    def describe(self) -> Mapping[str, Any]:
        return {"kind": self.kind, "when_blocked": self.when_blocked}


def host_and_port(address: str, what: str) -> tuple[str, int]:
    """("127.0.0.1", 5000) of "127.0.0.1:5000", also "[::1]:5000"; port 0 where the system may choose."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise SpikeportError(f"{what}: address {address!r:.100}, must be host:port", hint="127.0.0.1:5000")
    return host.removeprefix("[").removesuffix("]"), int(port)
