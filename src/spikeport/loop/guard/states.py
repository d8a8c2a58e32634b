"""The states of a guard, and every way from one to another; what is not in the table is refused."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class State(Enum):
    """DISARMED: nothing is given.  ARMED: a person allowed it, the loop has not begun.  RUNNING: the watchdog watches,
    commands are checked and given.  TRIPPED: latched; only a person's reset, who reads the cause back, ends it."""

    DISARMED = "disarmed"
    ARMED = "armed"
    RUNNING = "running"
    TRIPPED = "tripped"


EVENTS: Mapping[str, str] = {  # and whose they are
    "arm": "a person",
    "start": "the loop",
    "end": "the loop",
    "disarm": "a person",
    "trip": "the watchdog, the guard, the device or a person",
    "reset": "a person, with the cause read back",
}

TRANSITIONS: Mapping[tuple[State, str], State] = {
    (State.DISARMED, "arm"): State.ARMED,
    (State.ARMED, "start"): State.RUNNING,
    (State.ARMED, "end"): State.DISARMED,
    (State.RUNNING, "end"): State.DISARMED,
    (State.ARMED, "disarm"): State.DISARMED,
    (State.RUNNING, "disarm"): State.DISARMED,
    (State.DISARMED, "trip"): State.TRIPPED,
    (State.ARMED, "trip"): State.TRIPPED,
    (State.RUNNING, "trip"): State.TRIPPED,
    (State.TRIPPED, "reset"): State.DISARMED,
}
