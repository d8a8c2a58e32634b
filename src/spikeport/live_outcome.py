"""What a run of a loop came to, also of one that failed, and what is said while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikeport.loop.ports import Recorder
from spikeport.loop.summary import Summary

UNKNOWN = "unknown"  # the state of a guard that does not answer


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A run. guard: its status when the loop was over, None without one.  subject: how a simulated one did.

    failed: the error that it ended with, "" without one.
    """

    summary: Summary
    record: Path | None
    guard: Mapping[str, Any] | None
    subject: Mapping[str, Any] | None
    warnings: tuple[str, ...] = ()
    failed: str = ""

    @property
    def holds(self) -> bool:
        """Nothing failed, no policy had to end it, the guard did not trip, and every sum is right."""
        ended = self.summary.ended.startswith(("overload", "lost data"))
        tripped = self.guard is not None and self.guard["state"] in ("tripped", UNKNOWN)
        return not (self.failed or ended or tripped or self.summary.imbalances())

    def as_dict(self) -> dict[str, Any]:
        guard = None if self.guard is None else {k: v for k, v in self.guard.items() if k != "id"}
        record = None if self.record is None else str(self.record)
        return {**self.summary.as_dict(), "record": record, "guard": guard, "subject": self.subject,
                "warnings": list(self.warnings), "failed": self.failed}  # fmt: skip


def record_watch(recorder: Recorder, record: Path | None, say: Callable[[str], None]) -> Callable[[], None]:
    """To be called each tick: says, once each, that ticks are lost from the record and that it has ended for good."""
    lost, told = getattr(recorder, "lost", None), [False, False]

    def look() -> None:
        broken = getattr(recorder, "broken", "")
        if broken and not told[0]:
            told[:] = [True, True]
            say(f"{record}: nothing more is recorded: {broken}")
        elif lost and not told[1]:
            told[1] = True
            say(f"{record}: ticks are being lost from the record: the disk cannot keep up")

    return look
