"""Decoders that move on by whole bins of counts: what a Kalman filter and a linear read-out share.

A bin ends where the time reaches the next multiple of `period`. Counts that come in parts (a loop that is faster than
the bins) add up until then. A bin of which a part did not come (None) has no count: the decoder then goes on without,
as it does for bins that are passed over; counts that come with them belong to the last.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeport.loop.decoders.common import check_batch, check_tags, ended, rows, steps_until
from spikeport.loop.packets import Array
from spikeport.snn.errors import SpikeportError


@dataclass
class Row:
    """One stream: bins so far, counts of the bin that is open, whether some came or were lost, and its own state."""

    k: int
    pending: Array
    came: bool
    lost: bool
    state: dict[str, Array]
    output: Array

    def copy(self) -> Row:
        state = {name: value.copy() for name, value in self.state.items()}
        return Row(self.k, self.pending.copy(), self.came, self.lost, state, self.output.copy())


class Binned(ABC):
    """The Decoder's methods around begin() and bin(). period: s, of a bin; also that of predict() and observe()."""

    def __init__(self, n_inputs: int, n_outputs: int, *, period: float, batch_size: int = 1) -> None:
        if not (np.isfinite(period) and period > 0):
            raise SpikeportError(f"decoder: a bin of {period!r} s, must be positive")
        self.n_inputs, self.n_outputs, self.period = n_inputs, n_outputs, float(period)
        self._tags: list[str] = []
        self.set_batch_size(batch_size)

    @abstractmethod
    def begin(self) -> dict[str, Array]:
        """The state before the first bin."""

    @abstractmethod
    def bin(self, state: dict[str, Array], counts: Array | None, output: Array) -> None:
        """One bin on, in place: (n_inputs,) counts, or None where there are none."""

    def set_batch_size(self, batch_size: int) -> None:
        """Another number of rows; all start afresh."""
        self.batch_size = check_batch(batch_size)
        self._result = np.zeros((self.batch_size, self.n_outputs))
        self._rows: list[Row] = []

    def _all(self) -> list[Row]:
        if not self._rows:
            self._rows = [self._fresh() for _ in range(self.batch_size)]
        return self._rows

    def _fresh(self) -> Row:
        return Row(0, np.zeros(self.n_inputs), False, False, self.begin(), np.zeros(self.n_outputs))

    def reset(self, dataset_tags: Sequence[Path | str] = ()) -> None:
        self._tags = check_tags(dataset_tags, self.batch_size)
        self._rows = []

    def predict(self, neural_observations: ArrayLike) -> NDArray[np.floating]:
        values = rows(neural_observations, self.batch_size, self.n_inputs)
        for i, row in enumerate(self._all()):
            self._take(row, values[i])
            self._advance(row, 1)
            self._result[i] = row.output
        return self._result

    def observe(self, neural_observations: ArrayLike) -> None:
        self.predict(neural_observations)

    def on_done(self, dones: ArrayLike) -> None:
        found = self._all()
        for i in np.flatnonzero(ended(dones, self.batch_size)):
            found[i] = self._fresh()

    def step(self, events: ArrayLike | None, t: float) -> Array:
        """The output of the last bin that ended by t; row 0 of a batch of one."""
        if self.batch_size != 1:
            raise SpikeportError(f"decoder: step() with a batch of {self.batch_size}, must be 1")
        row = self._all()[0]
        n = steps_until(t, self.period, row.k)
        if events is None:
            row.lost = True
        else:
            self._take(row, np.asarray(events, dtype=np.float64))
        self._advance(row, n)
        return row.output

    def _take(self, row: Row, values: Array) -> None:
        if values.shape != (self.n_inputs,):
            raise SpikeportError(f"decoder: a sample of shape {values.shape}, must be ({self.n_inputs},)")
        row.pending += values
        row.came = True

    def _advance(self, row: Row, n: int) -> None:
        if n == 0:
            return
        for _ in range(n - 1):
            self.bin(row.state, None, row.output)
        self.bin(row.state, row.pending if row.came and not row.lost else None, row.output)
        row.pending[:] = 0.0
        row.came = row.lost = False
        row.k += n

    def snapshot(self) -> Any:
        return [row.copy() for row in self._all()]

    def restore(self, state: Any) -> None:
        if len(state) != self.batch_size:
            raise SpikeportError(f"decoder: a snapshot of {len(state)} rows, must be {self.batch_size}")
        self._rows = [row.copy() for row in state]

    def describe(self) -> Mapping[str, Any]:
        return {
            "n_inputs": self.n_inputs,
            "n_outputs": self.n_outputs,
            "period": self.period,
            "dtype": "float64",
            "batch_size": self.batch_size,
            "dataset_tags": list(self._tags),
        }
