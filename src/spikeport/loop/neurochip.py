"""Spike-triggered stimulation: each spike of one unit asks for a stimulus at another site, a delay later.

The experiment of Jackson, Mavoori & Fetz, Nature 444, 2006, in which an implant made such an artificial connection
between two sites of motor cortex. The stimulus is seen at the recorded site, too, as an artefact or an evoked spike.
Without blanking it triggers itself:

    spike -> delay -> stimulus -> artefact -> delay -> stimulus -> ...        one chain more with every spike

With blanking, what is recorded within `blanking` after a stimulus asks for nothing. A stimulus goes through the guard
either way, whose limits hold even where blanking was forgotten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from spikeport.loop.decoders.binned import Binned
from spikeport.loop.decoders.common import whole_steps
from spikeport.loop.guard.commands import Command, Pulse
from spikeport.loop.guard.guard import Answer
from spikeport.loop.guard.station import Station
from spikeport.loop.guard.stimulator import DryRun
from spikeport.loop.guard.watchdog import Heartbeat
from spikeport.loop.packets import NS, Array, Output, Packet
from spikeport.loop.ports import Clock
from spikeport.loop.subject.centre_out import TISSUE
from spikeport.snn import noise
from spikeport.snn.errors import SpikeportError


class Trigger(Binned):
    """A decoder: counts in, 1 in the bin where a stimulus is due, else 0.

    unit: the channel that triggers.  delay, blanking: s, whole bins of `period`. Spikes in one bin ask for one
    stimulus; those in the `blanking` after a stimulus (from the next bin on) for none; 0: no blanking. A bin without
    counts asks for nothing; a stimulus that was due in a bin that was passed over is not given later.
    """

    def __init__(
        self, n_inputs: int, *, unit: int, delay: float, blanking: float, period: float = 1e-3, batch_size: int = 1
    ) -> None:
        if not 0 <= unit < n_inputs or not delay >= 0 or not blanking >= 0:
            raise SpikeportError(
                f"trigger: unit {unit} of {n_inputs}, delay {delay} s, blanking {blanking} s",
                hint="a unit from 0, a delay and a blanking of 0 s or more",
            )
        self.unit, self.delay, self.blanking = unit, delay, blanking
        self._late, self._blank = (whole_steps(s, period, "trigger") if s else 0 for s in (delay, blanking))
        super().__init__(n_inputs, 1, period=period, batch_size=batch_size)

    def begin(self) -> dict[str, Array]:
        return {"due": np.zeros(self._late + 1), "blank": np.zeros(1)}

    def bin(self, state: dict[str, Array], counts: Array | None, output: Array) -> None:
        due, blank = state["due"], state["blank"]
        if counts is not None and counts[self.unit] > 0 and blank[0] == 0:
            due[-1] = 1.0
        output[0] = due[0]
        due[:-1] = due[1:]
        due[-1] = 0.0
        if output[0]:
            blank[0] = self._blank
        elif blank[0]:
            blank[0] -= 1

    def describe(self) -> Mapping[str, Any]:
        own = {"kind": "trigger", "unit": self.unit, "delay": self.delay, "blanking": self.blanking}
        return {**own, **super().describe()}


class Tissue(DryRun):
    """Recorded units that fire on their own, and see the stimuli: a Source, and the guard's dry run of a device.

    rates: (n,) spikes/s, at most one spike a period.  artefact: s after a stimulus, in whole periods, at which every
    channel shows one more spike (0: in the period that begins with the stimulus).  seed: of the units' own spikes.
    `spikes` keeps each period's own counts, without artefacts.
    """

    def __init__(
        self, rates: Sequence[float], *, seed: int, artefact: float, period: float = 1e-3, n_periods: int, keep: int
    ) -> None:
        super().__init__(keep)
        chance = np.asarray(rates, dtype=np.float64) * period
        if chance.ndim != 1 or not ((chance >= 0) & (chance <= 1)).all() or n_periods < 1:
            raise SpikeportError(
                f"tissue: rates {rates} spikes/s in periods of {period} s", hint="at most one a period"
            )
        self.n_channels, self.seed, self._n = len(chance), seed, n_periods
        self._period_ns = round(period * NS)
        self._artefact = (whole_steps(artefact, period, "tissue") if artefact else 0) * self._period_ns
        units = np.arange(self.n_channels)
        ticks = np.arange(n_periods)[:, None]
        self.spikes = (noise.uniforms(seed, "subject", TISSUE, units[None], 0, ticks) < chance).astype(np.float64)
        self._clock: Clock | None = None
        self._begin()

    def _begin(self) -> None:
        self._next = self._origin = 0
        self._seen: deque[int] = deque()

    def deliver(self, pulses: tuple[Pulse, ...], at_ns: int) -> None:
        """As a dry run; the recorded channels will see it."""
        super().deliver(pulses, at_ns)
        self._seen.append(at_ns + self._artefact)

    def open(self, clock: Clock) -> None:
        self._begin()
        self._clock, self._origin = clock, clock.now_ns()

    def poll(self) -> Sequence[Packet]:
        if self._clock is None:
            raise SpikeportError("tissue: not open", hint="open it first; Loop.run does")
        now, found = self._clock.now_ns(), []
        while self._next < self._n and (due := self._origin + (self._next + 1) * self._period_ns) <= now:
            values = self.spikes[self._next].copy()
            while self._seen and self._seen[0] < due:
                self._seen.popleft()
                values += 1.0
            found.append(Packet(seq=self._next, values=values, source_ns=due, received_ns=now))
            self._next += 1
        return found

    @property
    def ended(self) -> bool:
        return self._next >= self._n

    def overflowed(self) -> int:
        return 0

    def close(self) -> None:
        self._clock = None

    def describe(self) -> Mapping[str, Any]:
        return {
            "kind": "simulated tissue",
            "n_channels": self.n_channels,
            "artefact_s": self._artefact / NS,
            "seed": self.seed,
            "stamps": "the loop's clock",
        }


class StationSink:
    """A guard's station in this process, in front of a dry run: for a virtual clock, which a process cannot follow.

    For a device use GuardSink and a process of its own: a loop that dies takes this one with it. The station must be
    armed, by a person; the sink starts it and ends it.
    """

    def __init__(self, station: Station, commands: Callable[[Output], Iterable[Command]]) -> None:
        self._station, self._commands = station, commands
        self._clock: Clock | None = None
        self.answers: list[Answer] = []

    def open(self, clock: Clock) -> None:
        self._clock = clock
        self.answers.clear()
        self._station.start()

    def emit(self, output: Output) -> None:
        if self._clock is None:
            raise SpikeportError("sink: not open", hint="open it first; Loop.run does")
        if output.cause == "stopped":
            return
        now = self._clock.now_ns()
        values = [float(value) for value in output.values]
        self._station.beat(
            Heartbeat(tick=output.tick, sent_ns=now, loop_ns=now, deadline_ns=output.deadline_ns, values=values)
        )
        for command in () if output.safe else self._commands(output):
            self.answers.append(self._station.command(command))
        self._station.service()

    @property
    def refusals(self) -> dict[str, int]:
        """How often each limit was a reason to refuse."""
        found: dict[str, int] = {}
        for answer in self.answers:
            for name in {violation.limit for violation in answer.violations}:
                found[name] = found.get(name, 0) + 1
        return found

    def close(self) -> None:
        if self._clock is not None and self._station.guard.state.value == "running":
            self._station.end()
        self._clock = None

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "guard in this process, dry run", **self._station.status()}


def triggered(spikes: Array, stimuli: Array, *, before: float, after: float, width: float) -> tuple[Array, Array]:
    """The spike-triggered histogram of stimuli: (left edges of the bins in s, stimuli/s around a spike).

    spikes, stimuli: times in s, in order.  The rate of a bin is its stimuli per spike and per width.
    """
    edges = np.arange(round(-before / width), round(after / width) + 1)
    count: Array = np.zeros(len(edges) - 1)
    for spike in spikes:
        near = stimuli[
            np.searchsorted(stimuli, spike - before - width) : np.searchsorted(stimuli, spike + after + width)
        ]
        at = np.floor((near - spike) / width + 1e-6).astype(np.int64) - edges[0]
        np.add.at(count, at[(at >= 0) & (at < len(count))], 1.0)
    return np.asarray(edges[:-1] * width, dtype=np.float64), np.asarray(count / max(len(spikes), 1) / width)
