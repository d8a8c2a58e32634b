"""Whether the loop lives and is sane: judged by what it sends, never by what it says of itself.

    heartbeat   now - last sign of life <= heartbeat_timeout_us; the sign counts from when it was sent, not read.  It is
                looked at in every pass, before each pulse, again when the pulse's line is in the log, and before each
                heartbeat that comes: a late one is too late
    clock       between two heartbeats the loop's clock and the sender's go on alike, within clock_jump_us, never back;
                and the guard's own clock goes on while the machine sleeps, and is not held up
    misses      a tick is missed where its stamp is later than its deadline by more than lateness_us, or where its
                number is left out; a run of more than missed_deadlines of them trips
    values      one NaN or infinity in the outputs trips

So no pulse is handed to the device later than heartbeat_timeout_us after the loop's last sign of life, whatever the
load and however long the log takes: this is checked after its line is written, and nothing is between but the handing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from spikeport.loop.guard.exact import Number, count, from_wire, shown, to_wire, whole
from spikeport.snn.errors import SpikeportError

_MAX_US = 10**8  # of the format


def _us(value: object) -> Fraction:
    return Fraction(whole(value, 1000, Fraction(1, 1000), _MAX_US, "us", "ns"), 1000)


WATCH_SPECS: Mapping[str, tuple[str, str, Callable[[object], Any]]] = {
    "heartbeat_timeout_us": ("us", "longest time without a sign of life", _us),
    "clock_jump_us": ("us", "largest difference of two clocks over one heartbeat", _us),
    "lateness_us": ("us", "how much later than its deadline a tick may be", _us),
    "missed_deadlines": ("", "longest run of missed ticks that is borne", lambda value: count(value, 0, 10**6)),
}


class WatchLimits:
    """The numbers of the watchdog; no defaults either."""

    def __init__(self, **given: object) -> None:
        problems = [
            f"{n} is missing: {m}{f', in {u}' if u else ''}" for n, (u, m, _) in WATCH_SPECS.items() if n not in given
        ]
        problems += [f"{n} is no limit; there are: {', '.join(WATCH_SPECS)}" for n in given if n not in WATCH_SPECS]
        self.given: dict[str, Any] = {}
        for name, (_, _, read) in WATCH_SPECS.items():
            try:
                if name in given:
                    self.given[name] = read(given[name])
            except ValueError as error:
                problems.append(f"{name} {error}")
        if problems:
            raise SpikeportError("limits of the watchdog", problems, hint="give every limit: none has a default")
        self.timeout_ns = int(self.given["heartbeat_timeout_us"] * 1000)
        self.jump_ns = int(self.given["clock_jump_us"] * 1000)
        self.lateness_ns = int(self.given["lateness_us"] * 1000)
        self.misses = int(self.given["missed_deadlines"])

    @property
    def silent_within_us(self) -> Fraction:
        """The stated time: no pulse begins later than this after the loop's last sign of life."""
        return Fraction(self.given["heartbeat_timeout_us"])

    def to_wire(self) -> dict[str, Any]:
        """As JSON values that `from_wire` reads without loss."""
        return {n: to_wire(value) if isinstance(value, Fraction) else value for n, value in self.given.items()}

    @classmethod
    def from_wire(cls, given: Mapping[str, Any]) -> WatchLimits:
        """What `to_wire` wrote, checked again."""
        try:
            return cls(**{name: from_wire(v) if isinstance(v, str) else v for name, v in given.items()})
        except ValueError as error:
            raise SpikeportError(f"limits of the watchdog: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """One tick of the loop. sent_ns: on the guard's clock, by the sender; loop_ns, deadline_ns: the loop's own."""

    tick: int
    sent_ns: int
    loop_ns: int
    deadline_ns: int
    values: Sequence[float]


class Watchdog:
    """Pure: times come in, a cause comes out ('' is well). `begin` starts the watch, `end` ends it."""

    def __init__(self, limits: WatchLimits) -> None:
        self.limits = limits
        self.watching = False
        self.beats = self.run_of_misses = 0
        self._alive_ns = self._passed_ns = self._asleep_ns = 0
        self._last: Heartbeat | None = None

    def begin(self, now_ns: int, asleep_ns: int = 0) -> None:
        """Watch from now on; the beginning counts as a sign of life."""
        self.watching, self._last, self.run_of_misses = True, None, 0
        self._alive_ns = self._passed_ns = now_ns
        self._asleep_ns = asleep_ns

    def end(self) -> None:
        """Watch no longer."""
        self.watching = False

    def beat(self, beat: Heartbeat, received_ns: int) -> str:
        """One heartbeat; the cause to trip for, or ''."""
        if not self.watching:
            return ""
        self.beats += 1
        if overdue := self._overdue(received_ns):
            return overdue
        bad = [index for index, value in enumerate(beat.values) if not math.isfinite(value)]
        if bad:
            return f"values: output {bad[0]} of tick {beat.tick} is {beat.values[bad[0]]}"
        if beat.sent_ns > received_ns:
            return f"clock: a heartbeat from {_us_text(beat.sent_ns - received_ns)} ahead"
        last, self._last = self._last, beat
        skipped = beat.tick if last is None else beat.tick - last.tick - 1
        if skipped < 0:
            return f"heartbeat: tick {beat.tick} after tick {last.tick if last else 0}"
        if last is not None:
            gone, sent = beat.loop_ns - last.loop_ns, beat.sent_ns - last.sent_ns
            if gone < 0 or sent < 0:
                return f"clock: it went back by {_us_text(max(-gone, -sent))}"
            if abs(gone - sent) > self.limits.jump_ns:
                return f"clock: {_us_text(gone)} passed for the loop, {_us_text(sent)} for its heartbeats"
        late = beat.loop_ns - beat.deadline_ns
        self.run_of_misses += skipped if last is not None else 0
        longest = self.run_of_misses
        self.run_of_misses = self.run_of_misses + 1 if late > self.limits.lateness_ns else 0
        longest = max(longest, self.run_of_misses)
        if longest > self.limits.misses:
            return f"misses: {longest} ticks in a row, limit {self.limits.misses}"
        self._alive_ns = max(self._alive_ns, beat.sent_ns)
        return ""

    def check(self, now_ns: int, asleep_ns: int = 0) -> str:
        """At each pass, and before each pulse; the cause to trip for, or ''. asleep_ns: how long the machine slept."""
        if not self.watching:
            return ""
        held_up, self._passed_ns = now_ns - self._passed_ns, now_ns
        if overdue := self._overdue(now_ns):
            return overdue
        if held_up > self.limits.timeout_ns:
            return f"held up: the guard itself, for {_us_text(held_up)}"
        if abs(asleep_ns - self._asleep_ns) > self.limits.jump_ns:
            return f"clock: the machine slept for {_us_text(asleep_ns - self._asleep_ns)}"
        return ""

    def _overdue(self, now_ns: int) -> str:
        gone = now_ns - self._alive_ns
        if gone <= self.limits.timeout_ns:
            return ""
        return f"heartbeat: none for {_us_text(gone)}, limit {_us_text(self.limits.timeout_ns)}"

    @property
    def deadline_ns(self) -> int:
        """When the last sign of life ends to count."""
        return self._alive_ns + self.limits.timeout_ns


def _us_text(ns: int) -> str:
    return f"{shown(Fraction(ns, 1000))} us"


__all__ = ["WATCH_SPECS", "Heartbeat", "Number", "WatchLimits", "Watchdog"]
