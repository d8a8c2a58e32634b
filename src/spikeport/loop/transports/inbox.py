"""What every source of a transport has: a bounded buffer, counts, and notes of what a record should explain."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from spikeport.loop.packets import Array, Packet
from spikeport.loop.ports import Clock
from spikeport.loop.transports.frame import FrameError, Sample, clock_identity, read_sample
from spikeport.loop.transports.stamps import Stamps
from spikeport.snn.errors import SpikeportError

MAX_NOTES = 64  # different ones between two looks; more of them are counted
READS = 4  # frames that one poll takes, as a multiple of the capacity: a flood cannot keep a tick for ever
_SESSIONS = 16  # earlier producers that are remembered


class Notes:
    """Things to be recorded, equal ones as one with their number `n`; taken once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], dict[str, Any]] = {}
        self._left_out = 0

    def add(self, event: str, reason: str = "", n: int = 1, **details: Any) -> None:
        """Note `event`; the details are those of the first of its reason."""
        key = (event, reason)
        if key in self._found:
            self._found[key]["n"] += n
        elif len(self._found) < MAX_NOTES:
            self._found[key] = {"reason": reason, **details, "n": n} if reason else {**details, "n": n}
        else:
            self._left_out += n

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        """All since the last call."""
        if not self._found:
            return []
        found = [(event, details) for (event, _), details in self._found.items()]
        if self._left_out:
            found.append(("notes left out", {"n": self._left_out}))
        self._found, self._left_out = {}, 0
        return found


class Inbox:
    """Packets between a transport and the loop, at most `capacity`: of more, the oldest are given up and counted.

    counts: came (whatever arrived), packets (handed on), malformed (by reason), stale (of a producer that another one
    has replaced), overflow (given up here), transport overflow (given up before, where the transport tells).
    """

    def __init__(self, name: str, n_channels: int, capacity: int, stamps: str = "auto") -> None:
        problems = [
            f"{what}: {value!r}, must be a whole number, 1 or more"
            for what, value in (("n_channels", n_channels), ("capacity", capacity))
            if isinstance(value, bool) or not isinstance(value, int) or value < 1
        ]
        if problems:
            raise SpikeportError(f"{name}: sizes that cannot be", problems)
        self.name, self.n_channels, self.capacity = name, n_channels, capacity
        self.stamps = Stamps(stamps, clock_identity())
        self.notes = Notes()
        self.clock: Clock | None = None
        self.counts: dict[str, int] = {}
        self.malformed: dict[str, int] = {}
        self._packets: deque[Packet] = deque()
        self._given_up: tuple[int, int, int] | None = None  # (n, first, last) since the last take
        self._sessions: list[int] = []
        self._dropped = 0
        self.begin(None)

    def begin(self, clock: Clock | None) -> None:
        """As new."""
        self.clock = clock
        names = ("came", "packets", "stale", "overflow", "transport overflow")
        self.counts, self.malformed = dict.fromkeys(names, 0), {}
        self._packets.clear()
        self._given_up, self._sessions, self._dropped = None, [], 0
        self.notes.take()

    def frame(self, data: bytes) -> None:
        """A frame has come, or something else."""
        self.counts["came"] += 1
        try:
            sample = read_sample(data)
        except FrameError as error:
            self.bad(error.reason, detail=str(error))
            return
        if len(sample.values) != self.n_channels:
            self.bad("width", seq=sample.seq, detail=f"{len(sample.values)} values, must be {self.n_channels}")
        elif self.current(sample.session, sample.clock):
            self._sample(sample)

    def _sample(self, sample: Sample) -> None:
        received = self.now()
        self.put(sample.seq, sample.values, self.stamps.map(sample.source_ns, received), received)

    def current(self, session: int, clock: int) -> bool:
        """Whether `session` is the producer that counts: the one that began last. What an earlier one still sends is
        stale, counted, and not handed on."""
        known = self._sessions
        if known and known[-1] == session:
            return True
        if session in known:
            self.counts["stale"] += 1
            self.notes.add("stale packet", f"session {session}")
            return False
        known.append(session)
        del known[:-_SESSIONS]
        mapping = self.stamps.begin(clock)
        self.notes.add("producer", f"session {session}", stamps=mapping, others_before=len(known) - 1)
        return True

    def put(self, seq: int, values: Array, source_ns: int, received_ns: int) -> None:
        """Hand on a packet at the next `take`."""
        self._packets.append(Packet(seq=seq, values=values, source_ns=source_ns, received_ns=received_ns))
        if len(self._packets) > self.capacity:
            oldest = self._packets.popleft().seq
            n, first, _ = self._given_up or (0, oldest, oldest)
            self._given_up = (n + 1, first, oldest)

    def take(self) -> list[Packet]:
        """The packets since the last call."""
        if self._given_up is not None:
            n, first, last = self._given_up
            self._given_up = None
            self.counts["overflow"] += n
            self._dropped += n
            self.notes.add("packets given up", n=n, first=first, last=last)
        found = list(self._packets)
        self._packets.clear()
        self.counts["packets"] += len(found)
        return found

    def bad(self, reason: str, **details: Any) -> None:
        """What came cannot be used."""
        self.malformed[reason] = self.malformed.get(reason, 0) + 1
        self.notes.add("malformed packet", reason, **details)

    def lost_before(self, n: int) -> None:
        """The transport says that its buffer on this side gave up n packets."""
        self.counts["transport overflow"] += n
        self._dropped += n
        self.notes.add("transport overflow", n=n)

    def overflowed(self) -> int:
        """Packets given up on this side since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def now(self) -> int:
        """The loop's time."""
        if self.clock is None:
            raise SpikeportError(f"{self.name}: not open", hint="open it first; Loop.run does")
        return self.clock.now_ns()

    def describe(self) -> dict[str, Any]:
        return {"n_channels": self.n_channels, "capacity": self.capacity, "stamps": self.stamps.mode}

    def report(self) -> Mapping[str, Any]:
        """What came of it all, for the summary."""
        return {**self.counts, "malformed": dict(self.malformed), "stamps": self.stamps.mapping or "none yet"}
