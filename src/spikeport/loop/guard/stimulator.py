"""What talks to a device. It takes permits and nothing else, and is a dry run unless a device is named.

A device is handed one group of biphasic pulses at a time, never a train, so that cutting a train needs nothing of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

from spikeport.loop.guard.commands import Pulse
from spikeport.loop.guard.guard import Guard, Permit, Record


@runtime_checkable
class Device(Protocol):
    """A user's class. Both methods return at once; one that raises trips the guard.

    `address`, where it has one: the name of what it drives, e.g. "/dev/ttyUSB0"; no two guards get the same (lock.py).
    """

    def deliver(self, pulses: tuple[Pulse, ...], at_ns: int) -> None:
        """Begin these pulses now, together, and return when they have begun; the device times their phases, and each
        is over within its duration from then."""

    def silence(self) -> None:
        """No current from now on, also in the middle of a pulse; called again and again must be harmless."""


class DryRun:
    """No device: what it would have given is recorded, and the last of it kept in memory."""

    def __init__(self, keep: int = 4096) -> None:
        self.pulses: deque[tuple[int, Pulse]] = deque(maxlen=keep)
        self.silences = 0

    def deliver(self, pulses: tuple[Pulse, ...], at_ns: int) -> None:
        """Keep them."""
        self.pulses.extend((at_ns, pulse) for pulse in pulses)

    def silence(self) -> None:
        """Count it."""
        self.silences += 1


class _Unrecorded(Exception):
    """What is not recorded is not given."""


class _Overdue(Exception):
    """The watchdog found a cause after the record; not given."""


def _well(now_ns: int) -> str:
    return ""


class Stimulator:
    """The holder of the device. guard: the one whose permits it takes.  now_ns: the guard's clock.

    watch(now_ns): a cause to trip for instead of giving, or ''.
    """

    def __init__(
        self,
        guard: Guard,
        device: Device,
        record: Record,
        now_ns: Callable[[], int],
        watch: Callable[[int], str] = _well,
    ) -> None:
        self._guard, self._device, self._record, self._now, self._watch = guard, device, record, now_ns, watch
        self._to_silence = False

    def give(self, permit: Permit, now_ns: int) -> int:
        """Give what the permit stands for, now; the number of pulses. Each is recorded before it is given.

        A record may take long: the clock is read after it, and what is too late by then is recorded as not given.
        """
        recorded: list[tuple[int, int]] = []  # the stimulus, and when its line was written

        def first(stimulus: int, pulses: tuple[Pulse, ...]) -> int:
            try:
                self._record("pulse", now_ns, stimulus=stimulus, pulses=[_told(pulse) for pulse in pulses])
            except Exception as error:
                raise _Unrecorded(f"record: it raised {type(error).__name__}: {error!s:.200}") from error
            written_ns = self._now()
            recorded.append((stimulus, written_ns))
            if cause := self._watch(written_ns):
                raise _Overdue(cause)
            return written_ns

        try:
            _, pulses = self._guard.redeem(permit, now_ns, first)
        except _Unrecorded as error:  # nothing counts as given
            self._guard.trip(str(error), now_ns)
            return 0
        except _Overdue as error:
            self._not_given(*recorded[0], str(error))
            self._guard.trip(str(error), recorded[0][1])
            return 0
        if not pulses:
            if recorded:
                self._not_given(*recorded[0], "late")
            return 0
        failed = ""
        try:
            self._device.deliver(pulses, now_ns)
        except Exception as error:  # whatever a user's device raises: the guard must latch
            failed = f"device: it raised {type(error).__name__}: {error!s:.200}"
        by_ns = self._now()
        self._guard.begun(pulses, by_ns)  # also where it raised: they may have begun
        if failed:
            self._guard.trip(failed, by_ns)
        return len(pulses)

    def _not_given(self, stimulus: int, at_ns: int, cause: str) -> None:
        """Take back the last line of pulses, in the record."""
        try:
            self._record("not given", at_ns, stimulus=stimulus, cause=cause)
        except Exception as error:
            self._guard.trip(f"record: it raised {type(error).__name__}: {error!s:.200}", at_ns)

    def silence(self, now_ns: int, cause: str) -> bool:
        """Silence the device; False where it raised, and must be tried again. cause: for the record."""
        failed = ""
        try:
            self._device.silence()
        except Exception as error:
            failed = f"{type(error).__name__}: {error!s:.200}"
        first, self._to_silence = not self._to_silence, bool(failed)
        if failed and first:  # once: it is tried again in every pass
            self._guard.trip(f"device: silence raised {failed}", now_ns)
        elif not failed:
            with suppress(Exception):  # it is silent, whether or not that can be recorded
                self._record("silence", now_ns, cause=cause)
        return not failed

    @property
    def to_silence(self) -> bool:
        """The device did not obey the last time."""
        return self._to_silence


def _told(pulse: Pulse) -> Mapping[str, Any]:
    return {
        "site": pulse.site,
        "polarity": pulse.polarity,
        "nA": [pulse.amplitude_nA, pulse.second_amplitude_nA],
        "ns": [pulse.width_ns, pulse.interphase_ns, pulse.second_width_ns],
    }
