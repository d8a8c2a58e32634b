"""Trials to train a decoder on, before there is one: the cursor is moved for the subject, who wants what it does.

    cursor's velocity = v + n,    v = what a subject without delay intends,    tau dn/dt = -n + noise, sd of n: sway

The sway makes the subject correct, as it will have to. The label of a tick is v: the experimenter's own controller
knows it, and takes it for the intention (as Gilja et al., Nat. Neurosci. 15, 2012 take "straight at the target").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spikeport.loop.packets import Array
from spikeport.loop.subject.centre_out import ASSIST
from spikeport.loop.subject.subject import Subject, World
from spikeport.snn import noise
from spikeport.snn.errors import SpikeportError

_BLOCK = 1024  # ticks of sway drawn at once


@dataclass(frozen=True, kw_only=True)
class Assisted:
    """counts: (ticks, n_units).  velocity: (ticks, 2) cm/s, the label.  trial: (ticks,), a pause belongs to the trial
    that follows it.  period: s."""

    counts: Array
    velocity: Array
    trial: NDArray[np.int64]
    period: float

    @property
    def n_trials(self) -> int:
        return int(self.trial[-1]) + 1

    def part(self, first: int, last: int) -> Assisted:
        """Trials first .. last - 1, numbered from 0."""
        inside = (self.trial >= first) & (self.trial < last)
        if not inside.any():
            raise SpikeportError(f"assisted trials: {first} to {last - 1}, there are {self.n_trials}")
        return replace(
            self, counts=self.counts[inside], velocity=self.velocity[inside], trial=self.trial[inside] - first
        )


def assisted(subject: Subject, n_trials: int, *, seed: int, sway: float = 4.0, tau: float = 0.3) -> Assisted:
    """n_trials of the subject's task. sway: cm/s; tau: s; choices of this simulation."""
    if n_trials < 1 or not sway >= 0 or not tau >= subject.period:
        raise SpikeportError(
            f"assisted trials: {n_trials} trials, sway {sway} cm/s, tau {tau} s",
            hint="1 trial or more, a sway of 0 or more, a tau of a period or more",
        )
    world = World(subject, seed=seed)
    keep = np.exp(-subject.period / tau)
    shake = sway * np.sqrt(1 - keep**2) / noise.NORMAL_SD
    moved: Array = np.zeros(2)
    label: Array = np.zeros(2)
    counts, labels, trial = [], [], []
    drawn: Array = np.empty((0, 2))
    while len(world.game.trials) < n_trials:
        if world.tick % _BLOCK == 0:
            ticks = np.arange(world.tick, world.tick + _BLOCK)[:, None]
            drawn = shake * noise.normal_integers(seed, "subject", ASSIST, [[0, 1]], 0, ticks)
        trial.append(len(world.game.trials))
        counts.append(world.advance(label + moved))
        label = subject.intends(world.game.screen())
        labels.append(label)
        moved = keep * moved + drawn[(world.tick - 1) % _BLOCK]
    return Assisted(counts=np.array(counts), velocity=np.array(labels), trial=np.array(trial), period=subject.period)
