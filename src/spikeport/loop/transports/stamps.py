"""A producer's stamps as times of the loop's clock.

    same clock    as they are: the producer read the clock that the loop reads
    least delay   source' = source + min(received - source), the minimum of the last half to full minute; the fastest
                  packet then counts as having taken no time, so that every delay is short by that least one, and by
                  what the clocks drift in a minute (10 to 100 ppm: 0.6 to 6 ms)

A producer without stamps has packets whose source_ns is 0.
"""

from __future__ import annotations

from spikeport.loop.packets import NS
from spikeport.snn.errors import SpikeportError

MODES = ("auto", "same clock", "least delay")
_HALF_NS = 30 * NS


class LeastDelay:
    """The offset of another clock to ours, from one-way packets. Memory: two minima."""

    def __init__(self) -> None:
        self._before: int | None = None
        self._now: int | None = None
        self._turn_ns = 0

    def map(self, source_ns: int, received_ns: int) -> int:
        """source_ns on our clock; never after received_ns."""
        lag = received_ns - source_ns
        if self._now is None or received_ns >= self._turn_ns:
            paused = received_ns >= self._turn_ns + _HALF_NS  # then the minimum is of long ago
            self._before, self._now, self._turn_ns = None if paused else self._now, lag, received_ns + _HALF_NS
        else:
            self._now = min(self._now, lag)
        return source_ns + (self._now if self._before is None else min(self._now, self._before))


class Stamps:
    """How the stamps of one source are mapped. mode "auto": as they are where the producer says which clock it reads
    and it is ours, by the least delay otherwise."""

    def __init__(self, mode: str, ours: int) -> None:
        if mode not in MODES:
            raise SpikeportError(f"source: stamps {mode!r:.40}", hint=f"one of {', '.join(MODES)}")
        self.mode, self._ours = mode, ours
        self._estimate: LeastDelay | None = None
        self.mapping = ""

    def begin(self, clock: int) -> str:
        """A producer whose clock is `clock` begins (0: it does not say); the mapping."""
        same = self.mode == "same clock" or (self.mode == "auto" and clock != 0 and clock == self._ours)
        self._estimate = None if same else LeastDelay()
        self.mapping = "same clock" if same else "least delay"
        return self.mapping

    def map(self, source_ns: int, received_ns: int) -> int:
        """A stamp on the loop's clock."""
        return source_ns if self._estimate is None else self._estimate.map(source_ns, received_ns)
