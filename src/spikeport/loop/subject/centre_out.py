"""The centre-out task: reach one of n targets on a circle, stay there, begin again at the centre.

A trial ends in success when the cursor was inside the target for `hold` without a break, and in failure at `timeout`.
After each trial the cursor is back at the centre for `pause`, with no target to be seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikeport.loop.packets import Array
from spikeport.snn import noise
from spikeport.snn.errors import SpikeportError

COUNTS, TARGETS, TUNING, ASSIST, TISSUE = range(
    5
)  # uses of the subject's random numbers: the "population" of their keys


@dataclass(frozen=True, kw_only=True)
class CentreOut:
    """The task. Eight directions, 45 degrees apart: Georgopoulos et al., J. Neurosci. 2(11) 1982; the hold: Gilja et
    al., EMBC 2012. The other numbers are choices of this simulation.

    distance: cm from the centre to a target.  radius: cm, within which the target counts as reached.  hold, timeout,
    pause: s.  edge: cm, the screen ends so far from the centre, in x and in y.
    """

    n_targets: int = 8
    distance: float = 8.0
    radius: float = 2.0
    hold: float = 0.5
    timeout: float = 5.0
    pause: float = 0.5
    edge: float = 16.0

    def __post_init__(self) -> None:
        problems = [] if self.n_targets >= 2 else [f"n_targets: {self.n_targets}, must be 2 or more"]
        for name in ("distance", "radius", "hold", "timeout", "pause", "edge"):
            value, least = getattr(self, name), 0 if name in ("hold", "pause") else 1e-9
            if not (np.isfinite(value) and value >= least):
                problems.append(f"{name}: {value}, must be {'0 or more' if least == 0 else 'positive'}")
        if not problems and self.radius >= self.distance:
            problems.append(f"radius: {self.radius} cm, the cursor would begin inside a target at {self.distance} cm")
        possible = not problems
        if possible and self.edge < self.distance:
            problems.append(f"edge: {self.edge} cm, targets at {self.distance} cm would be off the screen")
        if possible and self.timeout <= self.hold:
            problems.append(f"timeout: {self.timeout} s, nobody can hold for {self.hold} s before it")
        if problems:
            raise SpikeportError("centre-out task: it cannot be done", problems)

    def targets(self) -> Array:
        """(n_targets, 2) cm, the first to the right, then against the clock."""
        angles = 2 * np.pi * np.arange(self.n_targets) / self.n_targets
        return np.asarray(self.distance * np.stack([np.cos(angles), np.sin(angles)], axis=1))

    def target_of(self, trial: int, seed: int) -> int:
        """The target of a trial: every n_targets trials in a row show each once, in an order that `seed` draws."""
        block, place = divmod(trial, self.n_targets)
        draws = noise.words(seed, "subject", TARGETS, np.arange(self.n_targets), block, 0)
        return int(np.argsort(draws, kind="stable")[place])


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How a trial went. Times in s since its target appeared, lengths in cm.

    duration: to its end.  reached: when the cursor entered the target for good (nan: it never held).  straight: from
    where the cursor began to where it entered; path: what it travelled on its way there.
    """

    number: int
    target: int
    success: bool
    duration: float
    reached: float
    straight: float
    path: float


@dataclass(frozen=True, slots=True)
class Screen:
    """What is to be seen. cursor: (2,) cm.  target: (2,) cm, or None in a pause."""

    cursor: Array
    target: Array | None


class Game:
    """The task as it goes on: period by period, a cursor that is moved at a velocity (cm/s).

    keep: the paths of all trials stay in `paths`, (ticks, 2) each; else nothing grows but the list of trials.
    """

    def __init__(self, task: CentreOut, *, period: float, seed: int, keep: bool = False) -> None:
        self.task, self.period, self.seed, self.keep = task, period, seed, keep
        self._targets = task.targets()
        self._hold, self._timeout, self._pause = (round(s / period) for s in (task.hold, task.timeout, task.pause))
        self.trials: list[Trial] = []
        self.paths: list[Array] = []
        self.target: int | None = None
        self._wait = self._pause
        self.cursor: Array = np.zeros(2)
        self._begin()

    def _begin(self) -> None:
        """The cursor at the centre, nothing to do yet."""
        self.cursor = np.zeros(2)
        self._ticks = self._inside = 0
        self._travelled = self._at_entry = 0.0
        self._entry: Array = np.zeros(2)
        self._path: list[Array] = []

    def screen(self) -> Screen:
        return Screen(self.cursor, None if self.target is None else self._targets[self.target])

    def advance(self, velocity: Array) -> None:
        """One period on. In a pause the cursor stays at the centre, whatever the velocity."""
        if self.target is None:
            self._wait -= 1
            if self._wait <= 0:
                self.target = self.task.target_of(len(self.trials), self.seed)
                self._begin()
            return
        before, edge = self.cursor, self.task.edge
        self.cursor = np.clip(before + velocity * self.period, -edge, edge)
        self._travelled += float(np.hypot(*(self.cursor - before)))
        self._ticks += 1
        if self.keep:
            self._path.append(self.cursor)
        if np.hypot(*(self.cursor - self._targets[self.target])) <= self.task.radius:
            if self._inside == 0:
                self._entry, self._at_entry = self.cursor, self._travelled
            self._inside += 1
        else:
            self._inside = 0
        held = self._inside > self._hold  # the tick of entry, and the hold after it
        if held or self._ticks >= self._timeout:
            self._end(held)

    def _end(self, success: bool) -> None:
        assert self.target is not None
        nothing = float("nan")
        self.trials.append(
            Trial(
                number=len(self.trials),
                target=self.target,
                success=success,
                duration=self._ticks * self.period,
                reached=(self._ticks - self._inside + 1) * self.period if success else nothing,
                straight=float(np.hypot(*self._entry)) if success else nothing,
                path=self._at_entry if success else nothing,
            )
        )
        if self.keep:
            self.paths.append(np.array(self._path))
        self.target, self._wait = None, self._pause
        self._begin()
