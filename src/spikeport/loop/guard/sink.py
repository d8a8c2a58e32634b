"""The loop's sink in front of a guard: a heartbeat each tick, and the commands that a user's function makes of it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from spikeport.loop.guard.commands import Command, Stop
from spikeport.loop.guard.console import Link
from spikeport.loop.packets import Output
from spikeport.loop.ports import Clock
from spikeport.snn.errors import RefusedError, SpikeportError

WHEN_TRIPPED = ("stop", "go on")
MAX_COMMANDS = 16  # a tick


class GuardSink:
    """A Sink. `commands(output)` gives what this tick asks for: none, one or a few.

    An output that is the declared safe value asks for nothing, and cuts what is under way; where it stands for a
    decoder's NaN, the guard trips. A command that is none is refused, counted, and recorded by the guard.
    when_tripped: "stop" raises out of the loop, "go on" goes on decoding without stimulation.  on_answer is called with
    each answer of the guard; the last `keep` are kept.  It never waits, but in open and close.

    A guard that is gone, or leaves a heartbeat unanswered for longer than its own heartbeat_timeout_us, is an error in
    the tick that finds it, whatever when_tripped says.
    """

    def __init__(
        self,
        link: Link,
        commands: Callable[[Output], Iterable[Command]],
        *,
        when_tripped: str,
        on_answer: Callable[[Mapping[str, Any]], None] | None = None,
        keep: int = 256,
    ) -> None:
        if when_tripped not in WHEN_TRIPPED:
            raise SpikeportError(
                f"sink: when_tripped is {when_tripped!r:.40}", hint=f"one of: {', '.join(WHEN_TRIPPED)}"
            )
        self._link, self._commands, self._when_tripped, self._on_answer = link, commands, when_tripped, on_answer
        self._clock: Clock | None = None
        self._was_safe = False
        self._begun = -1
        self._begins: set[int] = set()  # whose answers are still to come; of a run before this one too
        self._stops: set[int] = set()
        self.last: deque[Mapping[str, Any]] = deque(maxlen=keep)
        self.counts = dict.fromkeys(("beats", "asked", "allowed", "refused", "invalid", "stopped"), 0)
        self.state, self.cause = "disarmed", ""

    def open(self, clock: Clock) -> None:
        """Refused where nobody armed. The watch begins with the first tick: what a loop prepares takes its time."""
        self._link.ready()
        self._clock, self._begun, self._was_safe = clock, -1, False
        self._hear()
        self.state, self.cause = "armed", ""

    def emit(self, output: Output) -> None:
        """Beat, ask, and read what was answered."""
        if self._clock is None:
            raise SpikeportError("sink: not open", hint="open it first; Loop.run does")
        if output.cause == "stopped":  # no tick: the run is over
            if self.state == "gone":
                self._gone(self.cause)
            self._stop(output)
            self._hear()
            return
        if self._begun < 0:
            self._begun = self._link.begin()
            self._begins.add(self._begun)
        self._beat(output, self._clock.now_ns())
        self._stop(output)
        if not output.safe and self.state != "tripped":
            self._ask(output)
        self._was_safe = output.safe
        self._hear()
        silent_ns = self._link.unanswered_ns
        if 0 < self._link.silent_ns < silent_ns:
            self._gone(f"it has answered no heartbeat for {silent_ns // 1000} us, limit {self._link.silent_ns // 1000}")
        if self.state == "tripped" and self._when_tripped == "stop":
            hint = "find the reason; then reset at the console, with the cause read back"
            raise SpikeportError(f"guard: tripped: {self.cause}", hint=hint)

    def _beat(self, output: Output, now_ns: int) -> None:
        values: Sequence[float] = [float(value) for value in output.values]
        if output.safe and output.cause != "stream lost":  # the loop put it for a decoder's NaN
            values = [math.nan]
        if not self._link.beat(tick=output.tick, loop_ns=now_ns, deadline_ns=output.deadline_ns, values=values):
            self._gone()
        self.counts["beats"] += 1

    def _stop(self, output: Output) -> None:
        """At the first safe output in a row."""
        if output.safe and not self._was_safe:
            self.counts["stopped"] += 1
            self._send(Stop())

    def _ask(self, output: Output) -> None:
        try:
            wanted = list(self._commands(output))
            if len(wanted) > MAX_COMMANDS:
                raise SpikeportError(f"sink: {len(wanted)} commands in tick {output.tick}, limit {MAX_COMMANDS}")
        except SpikeportError as error:
            self.counts["invalid"] += 1
            if self._link.invalid("; ".join((error.what, *error.problems))) < 0:
                self._gone()
            return
        for command in wanted:
            self._send(command)
            self.counts["stopped" if isinstance(command, Stop) else "asked"] += 1

    def _send(self, command: Command) -> None:
        number = self._link.command(command)
        if number < 0:
            self._gone()
        if isinstance(command, Stop):
            self._stops.add(number)

    def _hear(self) -> None:
        for answer in self._link.answers():
            self.last.append(answer)
            if "state" in answer:
                self.state, self.cause = str(answer["state"]), str(answer["cause"])
            elif answer.get("id") in self._stops:
                self._stops.discard(answer["id"])
            elif answer.get("id") in self._begins:
                self._begins.discard(answer["id"])
                ours = answer["id"] == self._begun
                if ours and answer.get("allowed") is False and self.state != "tripped":  # disarmed meanwhile
                    limits = answer.get("limits", ())
                    raise RefusedError("guard: start is refused", limits, hint="arm it at the console")
            elif "allowed" in answer:
                self.counts["allowed" if answer["allowed"] else "refused"] += 1
            if self._on_answer is not None:
                self._on_answer(answer)

    def _gone(self, why: str = "it does not read, or is gone") -> None:
        self.state, self.cause = "gone", why
        raise SpikeportError(f"guard: {why}", hint="its log says why")

    def close(self) -> None:
        """To DISARMED; twice is once."""
        clock, self._clock = self._clock, None
        if clock is None or self._link.closed or self.state not in ("armed", "running"):
            return
        try:
            self._link.end()
            self.state = "disarmed"
        except RefusedError as error:  # it tripped in this very moment: silent, and known at the console
            self.state, self.cause = "tripped", "; ".join(error.problems)

    def describe(self) -> Mapping[str, Any]:
        """Counts and state."""
        about = {"kind": "guard", "when_tripped": self._when_tripped, "state": self.state, "cause": self.cause}
        return {**about, **self.counts}
