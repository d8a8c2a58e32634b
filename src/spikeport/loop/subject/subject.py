"""The subject: a Source of counts and a Sink of cursor velocities, so that a Loop around it is closed.

    v = speed e / max(|e|, near),    e = target - cursor, as seen `delay` ago;    0 where no target is seen

e is what the subject sees, target and cursor alike late by the feedback delay; it makes no guess at what it will see.
Pushing at the target with a strength that falls linearly near it is the simplest case of the feedback control model
that Willett et al., Sci. Rep. 9:8881, 2019 fitted to users of a real interface (who also predict, and so bear delay).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikeport.loop.packets import NS, Array, Output, Packet
from spikeport.loop.ports import Clock
from spikeport.loop.sources.buffer import Buffer
from spikeport.loop.subject.centre_out import CentreOut, Game, Screen, Trial
from spikeport.loop.subject.encoder import PoissonEncoder, Tuning
from spikeport.snn.errors import SpikeportError

N_UNITS = 96  # of the array in Gilja et al., EMBC 2012
SPEED = 15.0  # cm/s; a choice


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Who sits there. period: s, of a packet of counts.  delay: s, whole periods: what is seen is so old.
    speed: cm/s, intended when far away.  near: cm, where slowing down begins.  Choices of this simulation."""

    task: CentreOut = field(default_factory=CentreOut)
    tuning: Tuning = field(default_factory=lambda: Tuning.drawn(N_UNITS, seed=0, full=SPEED))
    period: float = 0.01
    delay: float = 0.1
    speed: float = SPEED
    near: float = 5.0

    def __post_init__(self) -> None:
        problems = [
            f"{name}: {getattr(self, name)}, must be positive"
            for name in ("period", "speed", "near")
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0)
        ]
        if not (np.isfinite(self.delay) and self.delay >= 0):
            problems.append(f"delay: {self.delay} s, must be 0 or more")
        if self.speed > self.tuning.full:
            problems.append(f"speed: {self.speed} cm/s, the units are tuned up to {self.tuning.full} cm/s")
        for name in ("delay", *(f"task.{n}" for n in ("hold", "timeout", "pause"))):
            value = self.delay if name == "delay" else getattr(self.task, name[5:])
            if not problems and abs(round(value / self.period) * self.period - value) > 1e-9:
                problems.append(f"{name}: {value} s, must be whole periods of {self.period:g} s")
        if not problems and self.delay > self.task.pause:
            problems.append(
                f"delay: {self.delay} s, above the pause of {self.task.pause} s: a trial would be seen in the next one"
            )
        if problems:
            raise SpikeportError("subject: settings that cannot be simulated", problems)

    def intends(self, screen: Screen) -> Array:
        """(2,) cm/s, of who sees this screen."""
        if screen.target is None:
            return np.zeros(2)
        error = screen.target - screen.cursor
        return np.asarray(self.speed * error / max(float(np.hypot(*error)), self.near))

    def as_dict(self) -> dict[str, Any]:
        task = {name: getattr(self.task, name) for name in self.task.__dataclass_fields__}
        own = {name: getattr(self, name) for name in ("period", "delay", "speed", "near")}
        return {**own, "n_units": self.tuning.n, "task": task}


class World:
    """Cursor, task and subject, period after period; no clock. seed: of the counts and of the targets' order."""

    def __init__(self, subject: Subject, *, seed: int, keep: bool = False) -> None:
        self.subject = subject
        self.game = Game(subject.task, period=subject.period, seed=seed, keep=keep)
        self._encoder = PoissonEncoder(subject.tuning, period=subject.period, seed=seed)
        n = round(subject.delay / subject.period) + 1
        self._seen: deque[Screen] = deque([self.game.screen()] * n, maxlen=n)
        self.tick = 0
        self.intention: Array = np.zeros(2)

    def advance(self, velocity: Array) -> Array:
        """One period with the cursor at `velocity` (2,) cm/s; the counts of that period, (n_units,)."""
        self.game.advance(velocity)
        self._seen.append(self.game.screen())
        self.intention = self.subject.intends(self._seen[0])
        counts = self._encoder.counts(self.tick, self.intention)
        self.tick += 1
        return counts.astype(np.float64)


class SubjectInLoop:
    """The source and the sink of one Loop: give it as both. Outputs are the cursor's velocity in cm/s.

    It lives on the loop's clock: a packet every period, of the counts of that period, and between two of them the
    cursor goes on at the last velocity. It ends after n_trials. capacity: packets that may wait for a poll; the oldest
    is given up, and counted, but the world goes on.  keep: the cursor's paths stay in `paths`.
    """

    def __init__(
        self, subject: Subject, *, seed: int, n_trials: int | None = None, capacity: int = 256, keep: bool = False
    ) -> None:
        if capacity < 1 or (n_trials is not None and n_trials < 1):
            raise SpikeportError(f"subject: capacity {capacity}, {n_trials} trials, must be 1 or more each")
        self.subject, self.seed, self.n_trials, self.capacity, self._keep = subject, seed, n_trials, capacity, keep
        self.n_channels = subject.tuning.n
        self._period_ns = round(subject.period * NS)
        self._clock: Clock | None = None
        self._begin()

    def _begin(self) -> None:
        self._world = World(self.subject, seed=self.seed, keep=self._keep)
        self._velocity: Array = np.zeros(2)
        self._buffer = Buffer(self.capacity)

    @property
    def trials(self) -> list[Trial]:
        """Those that are over."""
        return self._world.game.trials

    @property
    def paths(self) -> list[Array]:
        """(ticks, 2) cm of each of them, where kept."""
        return self._world.game.paths

    def open(self, clock: Clock) -> None:
        """A new session; a loop opens its source and its sink, so twice is once."""
        self._begin()
        self._clock, self._origin = clock, clock.now_ns()

    def poll(self) -> Sequence[Packet]:
        if self._clock is None:
            raise SpikeportError("subject: not open", hint="open it first; Loop.run does")
        now = self._clock.now_ns()
        while not self.ended:
            seq = self._world.tick
            due = self._origin + (seq + 1) * self._period_ns
            if due > now:
                break
            counts = self._world.advance(self._velocity)
            self._buffer.put(Packet(seq=seq, values=counts, source_ns=due, received_ns=now))
        return self._buffer.take()

    def emit(self, output: Output) -> None:
        """The cursor moves at this velocity from now on; after the run it stands still."""
        if output.values.shape != (2,):
            raise SpikeportError(f"subject: outputs of shape {output.values.shape}, a velocity has 2")
        self._velocity = np.zeros(2) if output.cause == "stopped" else output.values.copy()

    @property
    def ended(self) -> bool:
        return self.n_trials is not None and len(self.trials) >= self.n_trials

    def overflowed(self) -> int:
        return self._buffer.overflowed()

    def close(self) -> None:
        self._clock = None

    def describe(self) -> Mapping[str, Any]:
        return {
            "kind": "simulated subject",
            **self.subject.as_dict(),
            "seed": self.seed,
            "n_trials": self.n_trials,
            "capacity": self.capacity,
            "stamps": "the loop's clock",
        }
