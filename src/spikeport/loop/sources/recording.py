"""Samples that were recorded, given out in time again: arrays, and files of trials."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikeport.loop.packets import NS, Array, Packet
from spikeport.loop.ports import Clock
from spikeport.loop.sources.buffer import Buffer
from spikeport.snn.errors import SpikeportError
from spikeport.snn.spiking import HeldInput, sample_index


class ArraySource:
    """values (n_samples, n_channels), a packet each `period` s from the moment it is opened.

    Packet i is taken at (i + 1) period - phase and here latency later: in time for tick i where latency <= phase.
    repeat: how often the array is played, numbered through; None: for ever. More than `capacity` packets since the
    last poll: the oldest are given up and counted.
    """

    def __init__(
        self,
        values: ArrayLike,
        *,
        period: float,
        phase: float = 0.0,
        latency: float = 0.0,
        repeat: int | None = 1,
        capacity: int = 256,
        name: str = "array",
    ) -> None:
        self._values: Array = np.ascontiguousarray(values, dtype=np.float64)
        self._period_ns, self._phase_ns, self._latency_ns = (round(x * NS) for x in (period, phase, latency))
        problems = []
        if self._values.ndim != 2 or 0 in self._values.shape:
            problems.append(f"values: shape {self._values.shape}, must be (n_samples, n_channels), each 1 or more")
        if self._period_ns < 1:
            problems.append(f"period: {period} s, must be positive")
        if not 0 <= self._phase_ns <= self._period_ns:
            problems.append(f"phase: {phase} s, must be 0 to the period, {period} s")
        if self._latency_ns < 0:
            problems.append(f"latency: {latency} s, must be 0 or more")
        if capacity < 1:
            problems.append(f"capacity: {capacity}, must be 1 or more")
        if repeat is not None and repeat < 1:
            problems.append(f"repeat: {repeat}, must be 1 or more, or None for ever")
        if problems:
            raise SpikeportError("replay: what cannot be replayed", problems)
        self._n, self.n_channels = self._values.shape
        self._total = None if repeat is None else self._n * repeat
        self.capacity, self._repeat, self._name = capacity, repeat, name
        self._clock: Clock | None = None
        self._buffer = Buffer(capacity)
        self._next = self._start = 0

    def open(self, clock: Clock) -> None:
        self._clock, self._start = clock, clock.now_ns()
        self._next = 0
        self._buffer.clear()

    def _taken(self, i: int) -> int:
        return self._start + (i + 1) * self._period_ns - self._phase_ns

    def poll(self) -> Sequence[Packet]:
        if self._clock is None:
            return ()
        since = self._clock.now_ns() - self._start + self._phase_ns - self._latency_ns
        here = max(self._next, since // self._period_ns)  # packets 0 .. here - 1 have arrived
        if self._total is not None:
            here = min(here, self._total)
        given_up = max(0, here - self._next - self.capacity)
        self._buffer.give_up(given_up)
        first, self._next = self._next + given_up, here
        return [
            Packet(
                seq=i,
                values=self._values[i % self._n],
                source_ns=self._taken(i),
                received_ns=self._taken(i) + self._latency_ns,
            )
            for i in range(first, here)
        ]

    @property
    def ended(self) -> bool:
        return self._total is not None and self._next >= self._total

    def overflowed(self) -> int:
        return self._buffer.overflowed()

    def close(self) -> None:
        self._clock = None

    def describe(self) -> Mapping[str, Any]:
        return {
            "kind": "replay",
            "of": self._name,
            "n_samples": self._n,
            "n_channels": self.n_channels,
            "period": self._period_ns / NS,
            "phase": self._phase_ns / NS,
            "latency": self._latency_ns / NS,
            "repeat": self._repeat,
            "capacity": self.capacity,
            "stamps": "the loop's clock",
        }


def replay_trials(
    path: str | os.PathLike[str], *, trials: Sequence[int] | None = None, pause: float = 0.0, **options: Any
) -> ArraySource:
    """The inputs of a file of trials (snn/tasks/trial_files.py), one trial after the other, `pause` s of 0 between.

    The period is the file's own; the other options are ArraySource's.
    """
    from spikeport.snn.tasks.trial_files import load_trials

    task = load_trials(path)
    chosen = range(task.inputs.shape[1]) if trials is None else trials
    unknown = [i for i in chosen if not 0 <= i < task.inputs.shape[1]]
    if unknown or not chosen:
        raise SpikeportError(
            f"{path}: no trial {', '.join(map(str, unknown))}, it has 0 to {task.inputs.shape[1] - 1}"
            if unknown
            else f"{path}: no trial chosen, must be one at least"
        )
    if not (np.isfinite(pause) and pause >= 0):
        raise SpikeportError(f"replay: pause {pause} s, must be 0 or more")
    quiet = np.zeros((round(pause / task.dt), task.inputs.shape[2]))
    parts = [part for i in chosen for part in (task.inputs[:, i], quiet)]
    return ArraySource(np.concatenate(parts), period=task.dt, **{"name": f"trials of {task.name}", **options})


def as_the_network_sees(samples: ArrayLike, held: HeldInput, *, dt: float, period: float) -> Array:
    """(n_ticks, n): samples (n_samples, n) of a held input, as steps of dt s see them, one row per tick of period s.

    A tick holds its value for all of its steps, so it is refused where the sample changes inside one: with sampling
    "nearest" (the published code) a sample changes at half of its time, one step early; ticks of one step are exact.
    """
    values: Array = np.asarray(samples, dtype=np.float64)
    per_tick = round(period / dt)
    if per_tick < 1 or abs(per_tick * dt - period) > 1e-9 * period:
        raise SpikeportError(f"replay: a tick of {period} s is not a whole number of steps of {dt} s")
    n_ticks = int(np.floor(values.shape[0] * held.dt / period + 1e-9))
    index = sample_index(np.arange(1, n_ticks * per_tick + 1), dt, held, values.shape[0]).reshape(n_ticks, per_tick)
    if (index != index[:, :1]).any():
        tick = int(np.argwhere((index != index[:, :1]).any(axis=1))[0, 0])
        raise SpikeportError(
            f"replay: the sample of input '{held.name}' changes inside tick {tick}, so no tick of {period:g} s can "
            f"show it as the network was made to see it (sampling '{held.sampling}')",
            hint=f"ticks of one step, {dt:g} s, or a network with sampling 'floor'",
        )
    return np.asarray(values[index[:, 0]])
