"""Which packet a tick uses, and what became of every other one: the gaps of a stream, from its sequence numbers.

Each sequence number has a place, a tick: place = seq + anchor, and the first packet's is the tick that finds it (plus
the window). A tick uses the packet of its place; where that is not there, the newest one whose place has passed and
which is newer than the last used (a producer whose clock is a little slow is then used late, not lost); else nothing.

Every packet received ends in exactly one of RECEIVED, every number from an epoch's first to its highest in exactly one
of EXPECTED. A number is called lost when HISTORY higher ones are known, or at the end: until then it may still come.

    late       came after its place, and a newer one was used
    duplicate  its number came before
    invalid    NaN, infinite, or what the decoder refuses: counted as lost data
    superseded passed over by policy `latest`, or by a restart or jump of the producer
    overflow   given up because `capacity` packets were waiting
    old        more than HISTORY numbers back, or before the first: late or duplicate, which cannot be told
    stray      a number out of all order that the next packet did not confirm

A jump (beyond `capacity`, or by more than the producer's stamps went on), or a number that went back while its stamps
went on (a restart), is believed when the next packet goes on from it. That two in a row make a source valid is RFC
3550, appendix A.1.
Stamps equal to 0 or to the time of reception count as none; without stamps a restart is seen once the stream is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spikeport.loop.packets import Packet
from spikeport.loop.policies import Policy

HISTORY = 4096  # numbers; at least 4 times the capacity
MAX_RANGES = 10_000  # lost ranges kept for the summary; later ones are counted, and all are in the record
STAMP_PERIODS = 10  # a producer's clock that moves by more than so many periods between two packets has stepped
RECEIVED = ("used", "late", "duplicate", "invalid", "superseded", "overflow", "old", "stray", "waiting")
EXPECTED = ("used", "late", "invalid", "superseded", "overflow", "lost", "waiting")
_ABSENT, _WAITING, _DONE = range(3)

Report = Callable[..., None]


class Sequence:
    """A stream's numbers so far. report(kind, **details): each thing that explains a gap, as it is found."""

    def __init__(
        self, *, period_ns: int, policy: Policy, report: Report, check: Callable[[Any], str] = lambda values: ""
    ) -> None:
        self.policy, self._report, self._check = policy, report, check
        self._capacity, self._window = policy.capacity, policy.window
        self._period_ns, self._tolerance_ns = period_ns, STAMP_PERIODS * period_ns
        self._size = max(HISTORY, 4 * policy.capacity)
        self.counts: dict[str, int] = dict.fromkeys((*RECEIVED, "received", "lost", "expected"), 0)
        self.used_late = 0
        self.lost_ranges: list[tuple[int, int, int]] = []  # (epoch, first, last)
        self.lost_ranges_left_out = 0
        self.epoch = 0
        self.astray = True  # the loop says so: the stream is lost, a packet may find a new place
        self.overloaded = ""
        self.behind = 0  # the loop says so: ticks that are due by now, beyond the one that it is at
        self._candidate: tuple[Packet, str] | None = None
        self._opened = -1
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._status = bytearray(self._size)
        self._waiting: dict[int, Packet] = {}
        self._first = self._head = self._last_used = -1
        self._anchor = 0
        self._offset: int | None = None  # of the producer's stamps to its numbers, ns
        self._lag_ns = self._newest_ns = 0
        self._run_late = self._run_ahead = self._least_lag = self._least_ahead = self._lag = 0
        self._losing: tuple[int, int] | None = None

    @property
    def waiting(self) -> int:
        """Packets that still have a place to come."""
        return len(self._waiting)

    def due(self, tick: int) -> int:
        """The number whose place is `tick`; -1 before the first packet."""
        return tick - self._anchor if self._head >= 0 else -1

    # ---- arrivals

    def arrive(self, packet: Packet, tick: int) -> None:
        """Take a packet that the source gave in `tick`."""
        self.counts["received"] += 1
        s, head = packet.seq, self._head
        if s < 0:
            self._stray(packet, "negative")
        elif head < 0:
            self._open(s, tick)
            self._opened = tick
            self._note_stamp(packet)
            self._accept(packet, tick)
        elif s > head and (
            s > max(head, tick + self.behind - self._anchor) + self._capacity or self._ran_ahead(packet)
        ):
            self._doubt(packet, "jump", tick)
        elif s > head:
            self._drop_candidate()
            self._note_stamp(packet)
            self._advance(s)
            if tick == self._opened:  # what waited before the first tick: the newest has the place
                self._anchor = tick - s + self._window
            self._accept(packet, tick)
        else:
            self._go_back(packet, tick)

    def _open(self, s: int, tick: int) -> None:
        self._first, self._head, self._anchor = s, s - 1, tick - s + self._window
        self._advance(s)

    def _go_back(self, packet: Packet, tick: int) -> None:
        """A number not above the highest: late, out of order, twice, or a producer that began again."""
        s = packet.seq
        status = self._status[s % self._size] if s > self._head - self._size and s >= self._first else None
        if self._began_again(packet, status):
            self._doubt(packet, "restart", tick)
        elif status is None:
            self.counts["old"] += 1
            self._report("old", seq=s)
        elif status == _ABSENT:
            self._accept(packet, tick)
        else:
            self.counts["duplicate"] += 1
            self._report("duplicate", seq=s)

    def _began_again(self, packet: Packet, status: int | None) -> bool:
        if not _stamped(packet) or self._offset is None:
            return self.astray and status != _ABSENT
        same = abs(packet.source_ns - packet.seq * self._period_ns - self._offset) <= self._tolerance_ns
        return not same and packet.source_ns > self._newest_ns

    def _ran_ahead(self, packet: Packet) -> bool:
        """Whether the number went on by more than the producer's time did, on a clock that did not step."""
        if not _stamped(packet) or self._offset is None:
            return False
        moved = packet.source_ns - packet.seq * self._period_ns - self._offset
        stepped = packet.source_ns - packet.received_ns - self._lag_ns
        return moved < -self._tolerance_ns <= stepped

    def _accept(self, packet: Packet, tick: int) -> None:
        s = packet.seq
        problem = self._check(packet.values)
        if problem:
            self._status[s % self._size] = _DONE
            self.counts["invalid"] += 1
            self._report("invalid", seq=s, problem=problem)
            return
        self._status[s % self._size] = _WAITING
        self._waiting[s] = packet
        while len(self._waiting) > self._capacity:
            self._finish(min(self._waiting), "overflow")
            self.overloaded = f"{self._capacity} packets were waiting, and more came"
            if s + self._anchor > tick + self.behind + self._window:  # the producer is fast, not the loop slow
                self._anchor -= 1

    def _pass_over(self, what: str, below: int) -> None:
        """Give up the waiting packets of numbers below `below`."""
        for s in sorted(q for q in self._waiting if q < below):
            self._finish(s, what)

    def _finish(self, s: int, what: str, **details: int) -> Packet:
        packet = self._waiting.pop(s)
        if s > self._head - self._size:  # else its slot is another number's by now
            self._status[s % self._size] = _DONE
        self.counts[what] += 1
        if what != "used":
            self._report(what, seq=s, **details)
        return packet

    # ---- numbers out of all order

    def _doubt(self, packet: Packet, kind: str, tick: int) -> None:
        if self._candidate is not None:
            first, was = self._candidate
            if was == kind and first.seq < packet.seq <= first.seq + self._capacity:
                self._believe(first, packet, kind, tick)
                return
            self._drop_candidate()
        self._candidate = (packet, kind)

    def _believe(self, first: Packet, packet: Packet, kind: str, tick: int) -> None:
        """The producer began again, or jumped: `first` announced it, and `packet` takes this tick's place."""
        self._candidate = None
        self._pass_over("superseded", self._head + 1)
        self._report(kind, after=self._head, seq=first.seq)  # numbers after it are the new ones; `lost` says its epoch
        if kind == "restart":
            self._close_epoch()
            self.epoch += 1
            self._begin_epoch()
            self._open(first.seq, tick)
        self._advance(packet.seq)
        self._status[first.seq % self._size] = _DONE
        self.counts["late"] += 1
        self._report("late", seq=first.seq, ticks=packet.seq - first.seq)
        self._anchor = tick - packet.seq + self._window
        self._offset = None
        self._note_stamp(packet)
        self._accept(packet, tick)

    def _drop_candidate(self) -> None:
        if self._candidate is not None:
            packet, kind = self._candidate
            self._candidate = None
            self._stray(packet, kind)

    def _stray(self, packet: Packet, kind: str) -> None:
        self.counts["stray"] += 1
        self._report("stray", seq=packet.seq, looked_like=kind)

    def _note_stamp(self, packet: Packet) -> None:
        """A step of the producer's clock: against its numbers and against our clock. A pause moves the first only,
        a transport that held packets back the second only."""
        if not _stamped(packet):
            return
        offset = packet.source_ns - packet.seq * self._period_ns
        lag = packet.source_ns - packet.received_ns
        if self._offset is not None:
            a, b = offset - self._offset, lag - self._lag_ns
            if min(abs(a), abs(b)) > self._tolerance_ns and (a > 0) == (b > 0):
                self._report("clock step", seq=packet.seq, by_ns=a)
        self._offset, self._lag_ns, self._newest_ns = offset, lag, packet.source_ns

    # ---- ticks

    def take(self, tick: int, merged: int = 0) -> Packet | None:
        """The packet that `tick` uses, or None. merged: ticks before this one that were not run."""
        waiting = self._waiting
        if not waiting:
            self._run_ahead = 0
            return None
        newest = max(waiting)
        if self.astray and newest == self._head and newest + self._anchor < tick:
            self._move_anchor(tick - newest + self._window, "the stream came back")
        due = tick - self._anchor
        ahead = newest - due - self._window
        if ahead > self.policy.backlog:
            self.overloaded = f"{newest - due} packets wait beyond the one that is due"
        if self.policy.overload == "stop" and self.overloaded:
            return None  # the run is over: what waits is not used
        if self.policy.overload == "latest" and ahead > 0 and self._too_far_ahead(ahead):
            due += ahead
            self._move_anchor(tick - due, "catching up")
            self._pass_over("superseded", due)
        passed = sorted(q for q in waiting if q < due)
        chosen = due if due in waiting else next((q for q in reversed(passed) if q > self._last_used), -1)
        for s in passed:
            if s != chosen:
                if due - s <= merged:
                    self._finish(s, "superseded")
                else:
                    self._finish(s, "late", ticks=due - s)
        if ahead <= 0:
            self._run_ahead = 0
        if chosen < 0:
            return None
        self._follow(chosen, due, tick)
        self._last_used = chosen
        return self._finish(chosen, "used")

    def _too_far_ahead(self, ahead: int) -> bool:
        """More wait than may; or some did in each of `capacity` ticks, which is no jitter but a delay for nothing."""
        self._least_ahead = min(ahead, self._least_ahead) if self._run_ahead else ahead
        self._run_ahead += 1
        return ahead > self.policy.backlog or (self._run_ahead >= self._capacity and ahead == self._least_ahead)

    def _follow(self, s: int, due: int, tick: int) -> None:
        """Where every packet of `capacity` ticks came late, the producer has fallen behind: its places move with it."""
        lag = due - s
        if lag != self._lag:
            self._lag = lag
            self._report("used late", seq=s, ticks=lag)  # until the next such event, or one that moves the places
        if lag <= 0:
            self._run_late = 0
            return
        self.used_late += 1
        self._least_lag = lag if not self._run_late else min(lag, self._least_lag)
        self._run_late += 1
        if self._run_late >= self._capacity and lag == self._least_lag and len(self._waiting) == 1:
            self._move_anchor(tick - s, "every packet came late")

    def _move_anchor(self, anchor: int, why: str) -> None:
        self._report("places moved", ticks=anchor - self._anchor, why=why)
        self._anchor = anchor
        self._run_late = self._run_ahead = self._lag = 0

    # ---- what never came

    def _advance(self, s: int) -> None:
        """The highest number is `s`: what leaves the history without having come is lost."""
        head, size = self._head, self._size
        if s - head > size:
            self._lose_absent(max(self._first, head - size + 1), head)
            self._pass_over("superseded", s)
            self._lose(max(self._first, head + 1), s - size)
            self._status = bytearray(size)
        else:
            self._lose_absent(max(self._first, head - size + 1), s - size)
            for q in range(head + 1, s + 1):
                self._status[q % size] = _ABSENT
        self._head = s

    def _lose_absent(self, first: int, last: int) -> None:
        for q in range(first, last + 1):
            if self._status[q % self._size] == _ABSENT:
                self._lose(q, q)

    def _lose(self, first: int, last: int) -> None:
        if first > last:
            return
        self.counts["lost"] += last - first + 1
        if self._losing is not None and self._losing[1] == first - 1:
            self._losing = (self._losing[0], last)
            return
        self._tell_lost()
        self._losing = (first, last)

    def _tell_lost(self) -> None:
        if self._losing is None:
            return
        first, last = self._losing
        self._losing = None
        self._report("lost", first=first, last=last, n=last - first + 1, epoch=self.epoch)
        if len(self.lost_ranges) < MAX_RANGES:
            self.lost_ranges.append((self.epoch, first, last))
        else:
            self.lost_ranges_left_out += 1

    def _close_epoch(self) -> None:
        if self._head >= 0:
            self.counts["expected"] += self._head - self._first + 1
            self._lose_absent(max(self._first, self._head - self._size + 1), self._head)
            self._tell_lost()

    def close(self) -> None:
        """The run is over: what waits is counted as waiting, what never came as lost."""
        self._drop_candidate()
        for s in sorted(self._waiting):
            self._finish(s, "waiting")
        self._close_epoch()
        self._head = -1


def _stamped(packet: Packet) -> bool:
    return packet.source_ns not in (0, packet.received_ns)
