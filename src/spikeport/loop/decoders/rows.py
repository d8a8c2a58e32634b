"""The rows of a batch, each a stream with a state of its own: what decoders share of FALCON's interface and of step().

Row i is trial first_trial + i, and after on_done trial first_trial + i + batch_size, and so on: what is drawn at random
depends on the trial alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeport.loop.decoders.common import check_batch, check_tags, ended, rows, steps_until
from spikeport.loop.packets import Array
from spikeport.snn.errors import SpikeportError


class Stream(Protocol):
    """k: the steps it has made.  trial: what its random numbers are drawn by.  output: (n_outputs,), its own."""

    k: int
    trial: int
    output: Array

    def copy(self) -> Any:
        """A snapshot, which later steps do not change."""


Row = TypeVar("Row", bound=Stream)


class Rows(ABC, Generic[Row]):
    """The Decoder's methods around fresh(), take() and advance().

    n_inputs, n_outputs: channels of a row.  dt: s, of a step.  period: s, of predict() and observe(); `chunk` steps.
    A subclass calls set_batch_size() when all that fresh() needs is there.
    """

    def __init__(
        self, n_inputs: int, n_outputs: int, *, dt: float, period: float, chunk: int = 1, first_trial: int = 0
    ) -> None:
        self.n_inputs, self.n_outputs, self.period = n_inputs, n_outputs, float(period)
        self._dt, self._chunk, self._first_trial = dt, chunk, first_trial
        self._tags: list[str] = []
        self._rows: list[Row] = []

    @abstractmethod
    def fresh(self, trial: int) -> Row:
        """The state before the first step of a trial."""

    def begin_again(self, row: Row, trial: int) -> Row:
        """The same in place of what `row` was."""
        return self.fresh(trial)

    def back_to(self, row: Row, kept: Any) -> Row:
        """The state that copy() gave, in place of what `row` was."""
        found: Row = kept.copy()
        return found

    @abstractmethod
    def take(self, row: Row, values: Array) -> None:
        """(n_inputs,) values that came."""

    def refuses(self, values: Array) -> str:
        """Why a sample cannot be decoded, "" where it can."""
        return ""

    def miss(self, row: Row) -> None:
        """Nothing came."""
        return

    @abstractmethod
    def advance(self, row: Row, n: int) -> Array:
        """n steps on, 0 or more; row.output."""

    def set_batch_size(self, batch_size: int) -> None:
        """Another number of rows; all start afresh."""
        self.batch_size = check_batch(batch_size)
        self._served = self.batch_size
        self._tags = []
        self._rows = [self.fresh(self._first_trial + i) for i in range(self.batch_size)]

    # ---- FALCON

    def reset(self, dataset_tags: Sequence[Path | str] = ()) -> None:
        """All rows start afresh. Fewer tags than rows: as many rows as tags are served until the next reset."""
        self._tags = check_tags(dataset_tags, self.batch_size)
        self._served = self.batch_size if self._tags in ([], [""]) else len(self._tags)
        self._rows = [self.begin_again(row, self._first_trial + i) for i, row in enumerate(self._rows)]

    def predict(self, neural_observations: ArrayLike) -> NDArray[np.floating]:
        """(n_batch, n_outputs), an array of the caller's: FALCON's evaluator keeps them all."""
        values = rows(neural_observations, self._served, self.n_inputs)
        for i in range(self._served):  # before any of them moves
            why = self.refuses(values[i])
            if why:
                raise SpikeportError(f"decoder: row {i}: {why}")
        result = np.empty((self._served, self.n_outputs))
        for i in range(self._served):
            self.take(self._rows[i], values[i])
            result[i] = self.advance(self._rows[i], self._chunk)
        return result

    def observe(self, neural_observations: ArrayLike) -> None:
        self.predict(neural_observations)

    def on_done(self, dones: ArrayLike) -> None:
        for i in np.flatnonzero(ended(dones, self._served)):
            self._rows[i] = self.begin_again(self._rows[i], self._rows[i].trial + self.batch_size)

    # ---- one tick of real time

    def step(self, events: ArrayLike | None, t: float) -> Array:
        """The output of the last whole step that ended by t; row 0 of a batch of one."""
        if self.batch_size != 1:
            raise SpikeportError(f"decoder: step() with a batch of {self.batch_size}, must be 1")
        row = self._rows[0]
        n = steps_until(t, self._dt, row.k)
        if events is None:
            self.miss(row)
        else:
            values = np.asarray(events, dtype=np.float64)
            if values.shape != (self.n_inputs,):
                raise SpikeportError(f"decoder: a sample of shape {values.shape}, must be ({self.n_inputs},)")
            self.take(row, values)
        return self.advance(row, n)

    # ---- state

    def snapshot(self) -> Any:
        return [row.copy() for row in self._rows]

    def restore(self, state: Any) -> None:
        if len(state) != self.batch_size:
            raise SpikeportError(f"decoder: a snapshot of {len(state)} rows, must be {self.batch_size}")
        self._rows = [self.back_to(row, kept) for row, kept in zip(self._rows, state, strict=True)]

    def describe(self) -> Mapping[str, Any]:
        return {"batch_size": self.batch_size, "dataset_tags": list(self._tags)}
