"""What a task is: trials in, verdicts out.

A trial is a held input per sample, a target and a label; a rule looks at the outputs in the response window and says
which trials are right. The rules for rate outputs and for spiking outputs differ in the published code: both are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Verdict = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Some trials of a task.

    inputs: (time, batch, n_inputs), one sample per dt seconds.  targets: (time, batch, n_outputs); NaN where the
    task asks for nothing.  labels: (batch,) int, the class of each trial.  dt: s.  first: index of the first trial
    in the task's own sequence (the key of its random numbers).
    """

    inputs: Array
    targets: Array
    labels: NDArray[np.int64]
    dt: float
    first: int = 0

    @property
    def n_trials(self) -> int:
        return int(self.inputs.shape[1])


@dataclass(frozen=True, kw_only=True)
class Window:
    """The response window, seconds from the start of the trial: start included, end excluded (None: to the end)."""

    start: float
    end: float | None = None

    def slice(self, dt: float) -> slice:
        """The steps of a recording at `dt` that end in the window: step k (0-based) ends at (k + 1) dt."""
        first = int(np.floor(self.start / dt + 0.5))
        return slice(first, None if self.end is None else int(np.floor(self.end / dt + 0.5)))


@runtime_checkable
class Task(Protocol):
    """A task: a name, its channels, its clock, seeded trials and its rules; read-only, so a frozen dataclass fits.

    A task that ends (a file of trials) also has an int `n_trials`; one without makes as many trials as one asks for.
    One whose trials have parts may have `events`: name -> (start, end) in s from the start of a trial.
    """

    @property
    def name(self) -> str: ...
    @property
    def n_inputs(self) -> int: ...
    @property
    def n_outputs(self) -> int: ...
    @property
    def dt(self) -> float:
        """Seconds per input sample."""
        ...

    @property
    def n_samples(self) -> int:
        """Input samples of a trial."""
        ...

    @property
    def windows(self) -> Mapping[str, Window]:
        """ "rate" and "spiking": the response window by kind of output."""
        ...

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that judge() knows; the first is the default."""
        ...

    def trials(self, n: int, *, seed: int, first: int = 0) -> Trials:
        """Trials first .. first + n - 1 of the sequence that `seed` names, the same at any batch size."""
        ...

    def judge(self, outputs: NDArray[np.floating], trials: Trials, *, dt: float, kind: str, rule: str) -> Verdict:
        """(batch,) bool: which trials are right. outputs: (time, batch, n_outputs), one per dt seconds."""
        ...
