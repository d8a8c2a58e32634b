"""A user's own task: trials of a file, with the window in which to answer and the rule that says what is right.

The rules, for level g = the mean target in the window, G = the largest |g| of that output in the file; every output
must be right:

    max       g != 0: the output reaches 0.7 g in the window     g = 0: |o| stays below 0.3 G   (as published)
    mean      g != 0: sign(g) mean(o) > |g| / 2                  g = 0: |mean(o)| < G / 2
    nearest   of all the different targets in the file, the trial's own is the nearest to the output in the window, in
              squared distance: for targets that are trajectories, or levels that the other rules cannot tell apart

trial_files.py reads and writes the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.errors import SpikeportError
from spikeport.snn.tasks import rules as judging
from spikeport.snn.tasks.base import Array, Trials, Verdict, Window

RULES = ("max", "mean", "nearest")
_SAME = 1e-9  # relative: a level below this is 0


@dataclass(frozen=True, kw_only=True, eq=False)
class FileTask:
    """A task that has as many trials as its file; trial i is row i of the file, whatever the seed.

    inputs: (time, trials, n_inputs), one sample per dt seconds.  targets: (time, trials, n_outputs), NaN where nothing
    is asked.  labels: (trials,).  window: s.  rules: those that can judge these targets, the file's own first.
    """

    name: str
    inputs: Array
    targets: Array
    labels: NDArray[np.int64]
    dt: float
    window: Window
    rules: tuple[str, ...]

    @property
    def n_samples(self) -> int:
        return int(self.inputs.shape[0])

    @property
    def n_trials(self) -> int:
        return int(self.inputs.shape[1])

    @property
    def n_inputs(self) -> int:
        return int(self.inputs.shape[2])

    @property
    def n_outputs(self) -> int:
        return int(self.targets.shape[2])

    @property
    def windows(self) -> Mapping[str, Window]:
        return {"rate": self.window, "spiking": self.window}

    def trials(self, n: int, *, seed: int, first: int = 0) -> Trials:
        """Rows first .. first + n - 1 of the file. The seed chooses nothing: a file's trials are what they are."""
        judging.check_request(self.name, n, seed, first)
        if first + n > self.n_trials:
            wanted = f"trials {first} to {first + n - 1} asked for"
            raise SpikeportError(
                f"task '{self.name}': {wanted}, the file has {self.n_trials} (0 to {self.n_trials - 1})",
                ["no trial is used twice in silence"],
                hint="fewer trials, or a file with more of them",
            )
        part = slice(first, first + n)
        chosen = {"inputs": self.inputs[:, part], "targets": self.targets[:, part]}
        return Trials(**chosen, labels=self.labels[part], dt=self.dt, first=first)

    def judge(self, outputs: NDArray[np.floating], trials: Trials, *, dt: float, kind: str, rule: str) -> Verdict:
        judging.check_judged(self, outputs, trials, dt=dt, kind=kind, rule=rule)
        o = judging.in_window(outputs, self.window, dt)
        wanted = trials.targets[self.window.slice(self.dt)]
        if rule == "nearest":
            right = self._nearest(o, wanted, dt)
        else:
            g = self._levels(wanted)
            right = (_reaches if rule == "max" else _on_side)(o, g, self._largest)
        return np.asarray(right & judging.all_finite(outputs))

    def _nearest(self, o: Array, wanted: Array, dt: float) -> Verdict:
        """Squared distance of o[k] to the target sample j(k) that holds at step k, without what all targets share:

        sum_j n_j c_j^2 - 2 sum_j c_j S_j,   n_j: steps in sample j, S_j: sum of o over them
        """
        steps = self.window.slice(dt).start + np.arange(o.shape[0])
        sample = np.floor((steps + 0.5) * (dt / self.dt)).astype(np.int64) - self.window.slice(self.dt).start
        sample = np.clip(sample, 0, wanted.shape[0] - 1)  # the window's ends, where dt does not divide the sample
        starts = np.flatnonzero(np.diff(sample, prepend=-1))
        counts = np.diff(starts, append=sample.size)
        sums = np.add.reduceat(o, starts, axis=0, dtype=np.float64)
        c = np.stack(list(self._patterns.values()))[:, sample[starts]]  # (classes, j, n_outputs)
        own = np.array([self._class_of(wanted[:, b]) for b in range(wanted.shape[1])])
        with np.errstate(invalid="ignore"):  # infinite outputs, which all_finite refuses
            distance = np.einsum("j,cjo->c", counts, c**2) - 2 * np.einsum("cjo,jbo->bc", c, sums, optimize=True)
        mine = np.take_along_axis(distance, own[:, None], axis=1)[:, 0]
        np.put_along_axis(distance, own[:, None], np.inf, axis=1)
        return np.asarray(mine < distance.min(axis=1))

    def _class_of(self, target: Array) -> int:
        try:
            return list(self._patterns).index(_key(target))
        except ValueError:
            raise SpikeportError(
                f"task '{self.name}': these trials are not the file's, rule 'nearest' cannot judge them"
            ) from None

    def _levels(self, wanted: Array) -> Array:
        """(trials, n_outputs): the mean target in the window, exactly 0 where it is rounding only."""
        g = wanted.mean(axis=0)
        return np.asarray(np.where(np.abs(g) <= _SAME * self._largest, 0.0, g))

    @cached_property
    def _largest(self) -> Array:
        """(n_outputs,): G of the module."""
        return largest_level(self.targets[self.window.slice(self.dt)])

    @cached_property
    def _patterns(self) -> dict[bytes, Array]:
        """The different targets of the window, (samples, n_outputs) each, by their bytes."""
        return patterns(self.targets[self.window.slice(self.dt)])


def largest_level(wanted: Array) -> Array:
    """(n_outputs,): the largest |mean target| of the window over trials. wanted: (time, trials, n_outputs)."""
    return np.asarray(np.abs(wanted.mean(axis=0)).max(axis=0))


def patterns(wanted: Array) -> dict[bytes, Array]:
    """The different targets among (time, trials, n_outputs), in order of appearance."""
    return {_key(wanted[:, b]): wanted[:, b] for b in range(wanted.shape[1])}


def usable_rules(wanted: Array) -> dict[str, str]:
    """For each rule "", or the reason why it cannot judge these targets of the window: (time, trials, n_outputs)."""
    flat = np.flatnonzero(largest_level(wanted) == 0)
    no_level = f"the target of output {flat[0]} is 0 in the window of every trial" if flat.size else ""
    no_choice = "" if len(patterns(wanted)) > 1 else "every trial has the same target in the window"
    return {"max": no_level, "mean": no_level, "nearest": no_choice}


def _reaches(o: Array, g: Array, largest: Array) -> Verdict:
    reached = (np.sign(g) * o).max(axis=0) > judging.HIGH * np.abs(g)
    quiet = np.abs(o).max(axis=0) < judging.LOW * largest
    return np.asarray(np.where(g != 0, reached, quiet).all(axis=1))


def _on_side(o: Array, g: Array, largest: Array) -> Verdict:
    m = judging.window_mean(o)
    return np.asarray(np.where(g != 0, np.sign(g) * m > np.abs(g) / 2, np.abs(m) < largest / 2).all(axis=1))


def _key(target: Array) -> bytes:
    return np.ascontiguousarray(target + 0.0).tobytes()  # + 0.0: -0.0 and 0.0 are one target
