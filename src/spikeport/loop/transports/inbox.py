"""What every source of a transport has: a bounded buffer, counts, and notes of what a record should explain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spikeport.loop.packets import Array, Packet
from spikeport.loop.ports import Clock
from spikeport.loop.sources.buffer import Buffer
from spikeport.loop.transports.frame import FrameError, Sample, clock_identity, read_sample
from spikeport.loop.transports.numbering import LIMIT
from spikeport.loop.transports.producers import Producers
from spikeport.loop.transports.stamps import Stamps
from spikeport.snn.errors import SpikeportError

MAX_NOTES = 64  # different ones between two looks; more of them are counted
READS = 4  # frames that one poll takes, as a multiple of the capacity: a flood cannot keep a tick for ever
_RECORDED = 2**63  # a record's times are signed 64-bit integers


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
    has replaced), unconfirmed (the only one of another producer), overflow (given up here), transport overflow (given
    up before, where the transport tells).
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
        self._buffer = Buffer(capacity)
        self._given_up: tuple[int, int, int] | None = None  # (n, first, last) since the last take
        self._producers = Producers()
        self.begin(None)

    def begin(self, clock: Clock | None) -> None:
        """As new."""
        self.clock = clock
        names = ("came", "packets", "stale", "unconfirmed", "overflow", "transport overflow")
        self.counts, self.malformed = dict.fromkeys(names, 0), {}
        self._buffer.clear()
        self._given_up, self._producers = None, Producers()
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
        elif self.possible(sample.seq, sample.source_ns):
            self._sample(sample)

    def _sample(self, sample: Sample) -> None:
        session = sample.session
        what, frames = self._producers.hear(sample, self.now())
        if what == "stale":
            self.counts["stale"] += 1
            self.notes.add("stale packet", f"session {session}")
        elif what == "unconfirmed":
            self.counts["unconfirmed"] += 1
            self.notes.add("unconfirmed producer", f"session {session}", seq=sample.seq)
        elif what:
            self.counts["unconfirmed"] -= len(frames) - 1
            known, mapping = self._producers.known, self.stamps.begin(sample.clock)
            again = ", again: the later one is silent" if what == "back" else ""
            self.notes.add("producer", f"session {session}{again}", stamps=mapping, others_before=len(known) - 1)
        for one, received in frames:
            self.put(one.seq, one.values, self.stamps.map(one.source_ns, received), received)

    def possible(self, seq: int, source_ns: int) -> bool:
        """Whether number and stamp, as they came, are such that what is made of them fits into a record."""
        if not 0 <= seq < LIMIT:
            self.bad("number", detail=f"{_short(seq)}, must be from 0 to 2^62")
        elif not -LIMIT < source_ns < LIMIT:
            self.bad("stamp", detail=f"{_short(source_ns)} ns, must be within 2^62 ns (146 years)")
        else:
            return True
        return False

    def put(self, seq: int, values: Array, source_ns: int, received_ns: int) -> None:
        """Hand on a packet at the next `take`; source_ns: on the loop's clock."""
        if not -_RECORDED <= source_ns < _RECORDED or not 0 <= seq < LIMIT:
            self.bad("stamp", detail=f"number {_short(seq)}, {_short(source_ns)} ns on the loop's clock")
            return
        oldest = self._buffer.put(Packet(seq=seq, values=values, source_ns=source_ns, received_ns=received_ns))
        if oldest is not None:
            n, first, _ = self._given_up or (0, oldest.seq, oldest.seq)
            self._given_up = (n + 1, first, oldest.seq)

    def take(self) -> list[Packet]:
        """The packets since the last call."""
        self._producers.looked()
        if self._given_up is not None:
            n, first, last = self._given_up
            self._given_up = None
            self.counts["overflow"] += n
            self.notes.add("packets given up", n=n, first=first, last=last)
        found = self._buffer.take()
        self.counts["packets"] += len(found)
        return found

    def bad(self, reason: str, **details: Any) -> None:
        """What came cannot be used."""
        self.malformed[reason] = self.malformed.get(reason, 0) + 1
        self.notes.add("malformed packet", reason, **details)

    def lost_before(self, n: int) -> None:
        """The transport says that its buffer on this side gave up n packets."""
        self.counts["transport overflow"] += n
        self._buffer.give_up(n)
        self.notes.add("transport overflow", n=n)

    def overflowed(self) -> int:
        """Packets given up on this side since the last call."""
        return self._buffer.overflowed()

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


def _short(number: int) -> str:
    return str(number) if number.bit_length() <= 64 else f"a number of {number.bit_length()} bits"
