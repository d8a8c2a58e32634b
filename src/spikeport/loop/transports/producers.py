"""Which of several senders at one address counts: the one that began last, once it has sent a second frame.

    new          the second frame, of another number, of a sender not heard before: it counts from now on, and its first
                 frame, which waited, is handed on with it. The first sender of all counts at once
    unconfirmed  the first frame of another sender: it waits, and changes nothing
    stale        a frame of an earlier sender
    back         a frame of an earlier sender after the one that counts was silent, for SILENT_NS and SILENT_LOOKS: the
                 earlier one counts again

That two in a row make a source valid is RFC 3550, appendix A.1.
"""

from __future__ import annotations

from spikeport.loop.packets import NS
from spikeport.loop.transports.frame import Sample

SILENT_NS = NS
SILENT_LOOKS = 2  # of the loop: a frame that waited while the loop stood still is no sign that the other is silent
REMEMBERED = 16  # earlier senders, and unconfirmed ones

Received = tuple[Sample, int]  # a frame, and when it was received, ns


class Producers:
    """The senders of one address; its memory is bounded."""

    def __init__(self) -> None:
        self.known: list[int] = []  # sessions; the last one counts
        self._waiting: dict[int, Received] = {}
        self._heard_ns = self._looks = 0

    def looked(self) -> None:
        """The loop has taken all that came."""
        self._looks += 1

    def hear(self, sample: Sample, now_ns: int) -> tuple[str, list[Received]]:
        """("" or what is new about its sender, the frames to be handed on)."""
        session, known, this = sample.session, self.known, (sample, now_ns)
        if known and known[-1] == session:
            return self._counts("", now_ns, [this])
        if session in known:
            if self._looks < SILENT_LOOKS or now_ns - self._heard_ns < SILENT_NS:
                return "stale", []
            known.remove(session)
            known.append(session)
            return self._counts("back", now_ns, [this])
        first = self._waiting.pop(session, None)
        if known and (first is None or first[0].seq == sample.seq):  # a datagram that came twice confirms nothing
            self._waiting[session] = this
            if len(self._waiting) > REMEMBERED:
                del self._waiting[next(iter(self._waiting))]
            return "unconfirmed", []
        known.append(session)
        del known[:-REMEMBERED]
        return self._counts("new", now_ns, [this] if first is None else [first, this])

    def _counts(self, what: str, now_ns: int, frames: list[Received]) -> tuple[str, list[Received]]:
        self._heard_ns, self._looks = now_ns, 0
        return what, frames
