"""The guard: the only maker of permits, and so the only way to a stimulator.

A command is judged twice. When it is asked for, with all its pulses at their planned times: it is allowed whole or
refused whole, with every limit that it would break, and a refusal uses up nothing. And pulse by pulse when it is given,
at the time that it really is: what comes late waits until the limits allow it, `late_us` at most, then its stimulus is
cut. So the limits hold of what was given, not of what was planned.

A stop that is no trip lets each pulse that has begun come to its end, so that its phases balance, and silences the
device then; nothing begins before that. A trip silences at once: what a pulse that it cuts may have left is counted at
its worst, and where that is above net_charge_nC, the site gets nothing any more.

Nothing here reads a clock: `now_ns` comes in, on one monotonic clock. Not thread-safe: one thread owns a guard. What is
private is so by convention, as in all of Python: code in the same process can break anything. Hence process.py.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from spikeport.loop.guard.commands import Command, Pattern, Pulse, Stop, Train, pulse_of, schedule, to_message
from spikeport.loop.guard.ledger import CHECKS, Asked, SiteLedger, Violation, judge
from spikeport.loop.guard.limits import Limits
from spikeport.loop.guard.states import TRANSITIONS, State
from spikeport.loop.guard.under_way import Stimulus
from spikeport.snn.errors import RefusedError, SpikeportError

Record = Callable[..., None]  # record(kind, at_ns, **details), as Recorder.event
_SILENCE = {  # the word of the log for what ended the current
    "stop": "asked by the loop",
    "disarm": "disarmed",
    "trip": "tripped",
    "end": "the loop's end",
    "reset": "reset",
    "exit": "the guard's end",
}
_AT_ONCE = ("trip", "reset")  # the others let pulses end
MAX_UNDER_WAY = 64  # stimuli at once, whatever the limits say: bounds the time of one pass
_HISTORY = [name for name in CHECKS if name in ("net_charge_nC", "rate_hz", "window_charge_nC", "session_charge_nC")]


class Permit:
    """Leave to give one group of pulses, once. Only the guard that made it takes it; it says nothing by itself."""

    __slots__ = ("__weakref__", "nonce")

    def __init__(self) -> None:
        self.nonce = secrets.token_bytes(16)

    def __reduce__(self) -> str:
        raise TypeError("a permit cannot be copied or sent")


@dataclass(frozen=True, slots=True)
class Answer:
    """To one command. stimulus: its number, where allowed.  violations: every limit it would break, where refused."""

    at_ns: int
    allowed: bool
    stimulus: int
    violations: tuple[Violation, ...]


def _no_record(kind: str, at_ns: int, **details: Any) -> None:
    """Where nobody listens."""


class Guard:
    """Limits, states and what is under way. A session is the life of this object: no event gives budget back."""

    def __init__(self, limits: Limits, *, record: Record = _no_record) -> None:
        self.limits = limits
        self.state = State.DISARMED
        self.cause = ""  # of the trip, to be read back
        self._also = ""
        self.asked = self.allowed = self.refused = self.given = self.cuts = 0  # stimuli, and pulses given
        self.stops = 0  # commands to stop: none of `asked`, and never refused
        self.silences = 0  # how often the device had to be silenced: whoever holds it compares
        self.silence_cause = "the guard's start"  # of the last of them
        self.silence_ns = 0  # and from when on: not before the pulses that have begun are over
        self._listener = record
        self.unrecorded = ""  # why the record could not take something: whoever holds the guard trips it
        self.lines_lost = 0  # of the record, as its holder counts them
        self._ledgers = {site: SiteLedger() for site in limits.sites}
        self._under_way: dict[int, Stimulus] = {}
        self._issued: dict[bytes, tuple[Permit, int, int]] = {}  # nonce: the permit, its stimulus, its group
        self._last_ns: int | None = None
        self._count = 0

    def _record(self, kind: str, at_ns: int, **details: Any) -> None:
        try:
            self._listener(kind, at_ns, **details)
        except Exception as error:  # a full disk must not keep the guard from its state
            self.unrecorded = f"{type(error).__name__}: {error!s:.200}"

    # -- states

    def event(self, name: str, now_ns: int, *, by: str = "", cause: str = "") -> None:
        """One event of states.EVENTS; RefusedError where the table has no way. All but arm and start silence first.

        A reset is recorded before it is done, and refused while the record takes nothing.
        """
        if name in ("arm", "disarm", "reset") and not by.strip():
            raise RefusedError(f"guard: {name} needs the name of who does it", hint=f'{name}(by="your name")')
        after = TRANSITIONS.get((self.state, name))
        problem = "" if after else f"{name} is not possible in the state {self.state.value}"
        if name == "reset" and after and cause != self.cause:
            problem = f"reset must read back the cause of the trip, which is: {self.cause}"
        if problem:
            self._record("event refused", now_ns, event=name, state=self.state.value, by=by, reason=problem)
            raise RefusedError(f"guard: {problem}", hint="status   says the state and the cause")
        assert after is not None
        if name not in ("arm", "start"):
            self.cut(name, now_ns)
        details: dict[str, Any] = {"event": name, "before": self.state.value, "after": after.value, "cause": cause}
        details |= {"by": by} if by else {}
        if name == "reset":
            self._record_reset(now_ns, details)
        self.state = after
        self.cause = cause if name == "trip" else "" if name == "reset" else self.cause
        if name != "reset":
            self._record("state", now_ns, **details)

    def _record_reset(self, now_ns: int, details: Mapping[str, Any]) -> None:
        """With how many lines are missing before it; RefusedError where it cannot be recorded."""
        lost, self.unrecorded = self.lines_lost, ""
        self._record("state", now_ns, **details, **({"lines_lost": lost} if lost else {}))
        if self.unrecorded:
            raise RefusedError(
                f"guard: reset is not possible while its log takes nothing: {self.unrecorded}", hint="make room for it"
            )
        self.lines_lost, self._also = 0, ""

    def trip(self, cause: str, now_ns: int, *, by: str = "") -> None:
        """To TRIPPED from any state, and stay; the first cause is the one to be read back, later ones are recorded."""
        if self.state is State.TRIPPED:
            if cause != self._also:  # once, where it comes in every pass
                self._record("also", now_ns, cause=cause)
            self._also = cause
        else:
            self.event("trip", now_ns, cause=cause, by=by)

    # -- commands

    def request(self, command: Command, now_ns: int) -> Answer:
        """Judge one command; an allowed one begins at once."""
        forward = self._forward(now_ns)
        if isinstance(command, Stop):
            self.stops += 1
            self._record("stop", now_ns, command=to_message(command), state=self.state.value)
            self.cut("stop", now_ns)
            return Answer(now_ns, True, -1, ())
        if not isinstance(command, Pulse | Train | Pattern):
            raise SpikeportError(f"guard: {type(command).__name__} is no command", hint="Pulse, Train, Pattern or Stop")
        self.asked += 1
        if not forward:
            return self._refuse(command, now_ns, [Violation("state", "", self.state.value, State.RUNNING.value)])
        groups = [(now_ns + after, pulses) for after, pulses in schedule(command)]
        parts = command.parts if isinstance(command, Pattern) else (command,)
        lengths = {pulse_of(part).site: part.n_pulses if isinstance(part, Train) else 1 for part in parts}
        violations = self._judge(groups, lengths, now_ns)
        if violations:
            return self._refuse(command, now_ns, violations)
        self._count += 1
        self._under_way[self._count] = Stimulus(self._count, groups, lengths)
        self.allowed += 1
        self._record("allowed", now_ns, stimulus=self._count, command=to_message(command))
        return Answer(now_ns, True, self._count, ())

    def _judge(
        self, groups: list[tuple[int, tuple[Pulse, ...]]], lengths: Mapping[str, int], now_ns: int
    ) -> list[Violation]:
        """Every limit that the plan would break, each once a site."""
        found: dict[tuple[str, str], Violation] = {}
        if self.state is not State.RUNNING:
            found["state", ""] = Violation("state", "", self.state.value, State.RUNNING.value)
        if now_ns < self.silence_ns:  # what began now would be cut by it
            left_us = Fraction(self.silence_ns - now_ns, 1000)
            found["stopping", ""] = Violation("stopping", "", left_us, Fraction(0), "us")
        if len(self._under_way) >= MAX_UNDER_WAY:
            found["under way", ""] = Violation(
                "under way", "", Fraction(len(self._under_way)), Fraction(MAX_UNDER_WAY - 1), "stimuli"
            )
        for site in sorted(lengths.keys() - self._ledgers.keys()):
            found["site", site] = Violation(
                "site", site, "unknown", f"one of the {len(self._ledgers)} sites of area_um2"
            )
        known = {site: self._ledgers[site] for site in lengths if site in self._ledgers}
        for violation in (*self._blanked(known, now_ns), *self._crowded(groups)):
            found[violation.limit, violation.site] = violation
        saved = {site: ledger.state() for site, ledger in known.items()}
        for onset, pulses in groups:
            for pulse in pulses:
                ledger = known.get(pulse.site)
                planned = len(ledger.onsets) - saved[pulse.site][0] if ledger else 0
                # of a train that is too long, what is beyond the limit costs time and adds no reason
                if ledger is None or planned > self.limits.sites[pulse.site].train_pulses:
                    continue
                asked = Asked(pulse, onset, self._count + 1, lengths[pulse.site], self.limits.sites[pulse.site], ledger)
                for violation in judge(asked, _HISTORY if planned else CHECKS):  # what is of the pulse alone: once
                    found.setdefault((violation.limit, violation.site), violation)
                ledger.add(pulse, onset, self._count + 1)
        for site, ledger in known.items():
            ledger.rollback(saved[site])
        return list(found.values())

    def _blanked(self, sites: Mapping[str, SiteLedger], now_ns: int) -> list[Violation]:
        """Blanking against what is still to come, and over all sites."""
        found = []
        planned: dict[str, int] = {}
        for stimulus in self._under_way.values():
            for site, end in stimulus.ends().items():
                planned[site] = max(planned.get(site, 0), end)
        for site in sites:
            if site in planned:  # also a pulse that is overdue: it is still to come
                silent = Fraction(min(now_ns - planned[site], -1), 1000)
                least = Fraction(self.limits.sites[site].blanking_ns, 1000)
                found.append(Violation("blanking_us", site, silent, least, "us"))
        least_ns = self.limits.blanking_all_ns
        if least_ns is not None:
            ends = [ledger.last_end_ns for ledger in self._ledgers.values() if ledger.last_end_ns is not None]
            silent_ns = now_ns - max(ends) if ends else least_ns
            if planned:
                silent_ns = min(silent_ns, now_ns - max(planned.values()), -1)
            if silent_ns < least_ns:
                found.append(
                    Violation("blanking_all_us", "", Fraction(silent_ns, 1000), Fraction(least_ns, 1000), "us")
                )
        return found

    def _crowded(self, groups: list[tuple[int, tuple[Pulse, ...]]]) -> list[Violation]:
        """Sites within a pulse at once, as planned: counted where each pulse begins, an end before a beginning."""
        start = groups[0][0]
        changes: list[tuple[int, int]] = []
        sites = {pulse.site for _, pulses in groups for pulse in pulses}
        for site, ledger in self._ledgers.items():
            if ledger.last_end_ns is not None and ledger.last_end_ns > start:
                changes += [(start, 1), (ledger.last_end_ns, -1)]
                sites.add(site)
        waiting = [stimulus.groups[stimulus.next :] for stimulus in self._under_way.values()]
        sites |= {pulse.site for plan in waiting for _, pulses in plan for pulse in pulses}
        if len(sites) <= self.limits.simultaneous:
            return []
        for plan in (groups, *waiting):
            for planned, pulses in plan:
                onset = max(planned, start)  # an overdue one comes now
                changes += [change for p in pulses for change in ((onset, 1), (onset + p.duration_ns, -1))]
        within = most = 0
        for _, change in sorted(changes):
            within += change
            most = max(most, within)
        if most <= self.limits.simultaneous:
            return []
        return [Violation("simultaneous_sites", "", Fraction(most), Fraction(self.limits.simultaneous), "sites")]

    def invalid(self, reason: str, now_ns: int) -> None:
        """What was sent as a command is none: refused, and recorded."""
        self.asked += 1
        self.refused += 1
        self._record("refused", now_ns, command=None, limits=[f"command: {reason}"])

    def _refuse(self, command: Command, now_ns: int, violations: list[Violation]) -> Answer:
        self.refused += 1
        limits = [violation.text for violation in violations]
        self._record("refused", now_ns, command=to_message(command), limits=limits)
        return Answer(now_ns, False, -1, tuple(violations))

    # -- giving

    def due(self, now_ns: int) -> list[Permit]:
        """One permit for each stimulus whose next pulses are due; each is judged again when it is redeemed."""
        self._issued.clear()  # what was not redeemed in its own pass is void
        if not self._forward(now_ns) or self.state is not State.RUNNING:
            return []
        permits = []
        for stimulus in self._under_way.values():
            if stimulus.groups[stimulus.next][0] <= now_ns:
                permit = Permit()
                self._issued[permit.nonce] = (permit, stimulus.number, stimulus.next)
                permits.append(permit)
        return permits

    def next_ns(self) -> int | None:
        """When the next pulse is due; None: nothing is under way."""
        return min((stimulus.groups[stimulus.next][0] for stimulus in self._under_way.values()), default=None)

    def redeem(
        self, permit: Permit, now_ns: int, first: Callable[[int, tuple[Pulse, ...]], int] | None = None
    ) -> tuple[int, tuple[Pulse, ...]]:
        """(stimulus, its pulses), which count as given at now_ns; no pulses where they must wait or were cut.

        first: called with them before they count; gives the time then. Where it raises, or is too late, none is given.
        What is no open permit of this guard (made elsewhere, copied, used before) trips it, and raises RefusedError.
        """
        held = self._issued.pop(permit.nonce, None) if type(permit) is Permit else None
        if held is None or held[0] is not permit:
            self.trip("permit: one that this guard did not make, or that was used before", now_ns)
            raise RefusedError("guard: this permit is not valid", hint="permits come from Guard.due, each for one use")
        stimulus = self._under_way.get(held[1])
        if not self._forward(now_ns) or self.state is not State.RUNNING or stimulus is None:
            return held[1], ()
        pulses = stimulus.groups[stimulus.next][1]
        violations = self._judge_now(stimulus, pulses, now_ns)
        if self._late(stimulus, now_ns, violations) or violations:
            return stimulus.number, ()
        if first is not None and self._late(stimulus, first(stimulus.number, pulses), []):
            return stimulus.number, ()
        for pulse in pulses:
            ledger, limits = self._ledgers[pulse.site], self.limits.sites[pulse.site]
            ledger.add(pulse, now_ns, stimulus.number)
            ledger.forget(now_ns - max(limits.rate_window_ns, limits.charge_window_ns))
        self.given += len(pulses)
        stimulus.next += 1
        if stimulus.next == len(stimulus.groups):
            del self._under_way[stimulus.number]
        return stimulus.number, pulses

    def _late(self, stimulus: Stimulus, now_ns: int, others: list[Violation]) -> bool:
        """Whether its next pulses are past their time by more than late_us: then it is cut."""
        late = now_ns - stimulus.groups[stimulus.next][0]
        if late <= self.limits.late_ns:
            return False
        violation = Violation("late_us", "", Fraction(late, 1000), Fraction(self.limits.late_ns, 1000), "us")
        del self._under_way[stimulus.number]
        self.cuts += 1
        texts = [each.text for each in (*others, violation)]
        self._record("cut", now_ns, stimulus=stimulus.number, cause="late", limits=texts)
        return True

    def _judge_now(self, stimulus: Stimulus, pulses: tuple[Pulse, ...], now_ns: int) -> list[Violation]:
        """The same limits, at the time that the pulses would really be given."""
        found = []
        for pulse in pulses:
            ledger, limits = self._ledgers[pulse.site], self.limits.sites[pulse.site]
            found += judge(Asked(pulse, now_ns, stimulus.number, stimulus.n_pulses[pulse.site], limits, ledger))
        within = [e for ledger in self._ledgers.values() if (e := ledger.last_end_ns) is not None and e > now_ns]
        if len(within) + len(pulses) > self.limits.simultaneous:
            most, limit = Fraction(len(within) + len(pulses)), Fraction(self.limits.simultaneous)
            found.append(Violation("simultaneous_sites", "", most, limit, "sites"))
        return found

    def begun(self, pulses: tuple[Pulse, ...], by_ns: int) -> None:
        """The device has taken them, and they began by then."""
        for pulse in pulses:
            self._ledgers[pulse.site].begun(by_ns)
        self._forward(by_ns)  # onsets stay in order

    def cut(self, cause: str, now_ns: int) -> None:
        """End all that is under way; its pulses to come are dropped and use up nothing. The device must be silenced:

        after a trip at once, else from `silence_ns` on, when the pulses that have begun are over.
        """
        self._issued.clear()
        self.silences += 1
        self.silence_cause = _SILENCE.get(cause, cause)
        self.silence_ns = now_ns
        if cause in _AT_ONCE:
            self._cut_pulses(now_ns)
        else:
            self.silence_ns = max(ledger.ends_after(now_ns) for ledger in self._ledgers.values())
        for stimulus in self._under_way.values():
            self.cuts += 1
            left = sum(len(pulses) for _, pulses in stimulus.groups[stimulus.next :])
            self._record("cut", now_ns, stimulus=stimulus.number, cause=cause, pulses_left=left)
        self._under_way.clear()

    def _cut_pulses(self, now_ns: int) -> None:
        """Of those that have begun, what any instant of the cut may have left counts, in favour of neither sign."""
        for site, ledger in self._ledgers.items():
            if (left := ledger.cut(now_ns)) is not None:
                net = [ledger.net_low_aC, ledger.net_high_aC]
                limit = self.limits.sites[site].net_aC
                details = {"left_aC": left, "net_aC": net, "above_limit": max(map(abs, net)) > limit}
                self._record("pulse cut", now_ns, site=site, **details)

    def _forward(self, now_ns: int) -> bool:
        """Whether time went on; where it went back, every window is void: trip."""
        if self._last_ns is not None and now_ns < self._last_ns:
            back = Fraction(self._last_ns - now_ns, 1000)
            self.trip(f"clock: the guard's own went back by {float(back):.12g} us", now_ns)
            return False
        self._last_ns = now_ns
        return True

    def status(self) -> dict[str, Any]:
        """State, cause, counts, and what each site has had."""
        names = ("asked", "allowed", "refused", "given", "cuts", "stops")
        return {
            "state": self.state.value,
            "cause": self.cause,
            "under_way": len(self._under_way),
            **{name: getattr(self, name) for name in names},
            "sites": {
                site: {"charge_aC": ledger.given_aC, "net_aC": ledger.net_aC, "pulses_cut": ledger.cuts}
                for site, ledger in self._ledgers.items()
            },
        }
