"""Guard, watchdog and stimulator together: messages come in, pulses go out, in the one order that is safe.

In every pass: read what came, judge the loop's life, then give what is due, each pulse after one more look at the
clock, and another one when it was recorded. In a process of its own this is driven by process.py; with a virtual
clock, by whoever drives that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from spikeport.loop.guard.commands import Command
from spikeport.loop.guard.guard import Answer, Guard, Record
from spikeport.loop.guard.limits import Limits
from spikeport.loop.guard.states import State
from spikeport.loop.guard.stimulator import Device, DryRun, Stimulator
from spikeport.loop.guard.watchdog import Heartbeat, Watchdog, WatchLimits


def _never_asleep() -> int:
    return 0


class Station:
    """now_ns: the guard's monotonic clock.  asleep_ns: how long the machine has slept since it was started."""

    def __init__(
        self,
        limits: Limits,
        watch: WatchLimits,
        *,
        now_ns: Callable[[], int],
        record: Record,
        device: Device | None = None,
        asleep_ns: Callable[[], int] = _never_asleep,
    ) -> None:
        self._now, self._asleep, self._listener = now_ns, asleep_ns, record
        self.guard = Guard(limits, record=self._record)
        self.watchdog = Watchdog(watch)
        self.device: Device = DryRun() if device is None else device
        self._stimulator = Stimulator(self.guard, self.device, self._record, now_ns, self._cause)
        self._silenced = 0
        self._stimulator.silence(now_ns(), self.guard.silence_cause)  # a device may come to us with current on

    def _record(self, kind: str, at_ns: int, **details: Any) -> None:
        try:
            self._listener(kind, at_ns, **details)
        except Exception:
            self.guard.lines_lost += 1
            raise

    # -- from the loop

    def start(self) -> None:
        """The loop begins; RefusedError where nobody armed."""
        self.guard.event("start", self._now())
        self.watchdog.begin(self._now(), self._asleep())

    def end(self) -> None:
        """The loop ends in order: silence, and DISARMED."""
        self.guard.event("end", self._now())
        self._settle()

    def beat(self, beat: Heartbeat) -> None:
        """One tick of the loop."""
        self._trip_for(self.watchdog.beat(beat, self._now()))

    def command(self, command: Command) -> Answer:
        """Judge one command, after the loop's life."""
        self._watch(self._now())
        self._settle()
        answer = self.guard.request(command, self._now())
        self._settle()
        return answer

    def invalid(self, reason: str) -> None:
        """What the loop sent is no command: refused, and recorded."""
        self.guard.invalid(reason, self._now())
        self._settle()

    def lost(self, cause: str) -> None:
        """The loop is gone, or sends what is no message. Trips, but not where it ended in order before."""
        if self.guard.state is not State.DISARMED:
            self._trip_for(cause)

    # -- from a person

    def person(self, event: str, *, by: str, cause: str = "") -> None:
        """arm, disarm, trip or reset; RefusedError where the table of states has no way."""
        self.guard.event(event, self._now(), by=by, cause=cause)
        self._settle()

    # -- by itself

    def service(self) -> None:
        """One pass: look, then give what is due."""
        now = self._now()
        self._watch(now)
        self._settle()
        for permit in self.guard.due(now):
            now = self._now()
            if self._watch(now) or self.guard.state is not State.RUNNING:  # the one before may have tripped it
                break
            self._stimulator.give(permit, now)
        self._settle()

    def next_ns(self) -> int | None:
        """When service is needed again by; None: when a message comes."""
        due = self.guard.next_ns()
        dead = self.watchdog.deadline_ns + 1 if self.watchdog.watching else None
        return min((at for at in (due, dead, self.silent_at_ns) if at is not None), default=None)

    @property
    def silent_at_ns(self) -> int | None:
        """When the device is to be silenced, as the pulses that have begun are over then; None: it was told."""
        return self.guard.silence_ns if self._silenced != self.guard.silences else None

    def trip(self, cause: str) -> None:
        """To TRIPPED, silent."""
        self._trip_for(cause)

    def _watch(self, now_ns: int) -> bool:
        """Whether the watchdog found a cause."""
        cause = self._cause(now_ns)
        self._trip_for(cause)
        return bool(cause)

    def _cause(self, now_ns: int) -> str:
        return self.watchdog.check(now_ns, self._asleep())

    def _trip_for(self, cause: str) -> None:
        if cause:
            self.guard.trip(cause, self._now())
            self._settle()

    def _settle(self) -> None:
        """The device follows the guard: silent after every cut, until it obeys; the watch ends with RUNNING.

        After a stop that is no trip, only when the pulses that have begun are over.
        """
        if self.guard.unrecorded and self.guard.state is not State.TRIPPED:
            self.guard.trip(f"record: {self.guard.unrecorded}", self._now())
        if self.guard.state is not State.RUNNING:
            self.watchdog.end()
        at, now = self.silent_at_ns, self._now()
        if self._stimulator.to_silence or (at is not None and now >= at):
            self._silenced = self.guard.silences
            self._stimulator.silence(now, self.guard.silence_cause)
            if self.guard.state is not State.RUNNING:
                self.watchdog.end()

    def status(self) -> Mapping[str, Any]:
        """As Guard.status, with the watchdog's counts."""
        watch = {"watching": self.watchdog.watching, "beats": self.watchdog.beats}
        return {**self.guard.status(), **watch, "limits": self.guard.limits.digest()}
