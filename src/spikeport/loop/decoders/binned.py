"""Decoders that move on by whole bins of counts: what a Kalman filter and a linear read-out share.

A bin ends where the time reaches the next multiple of `period`. Counts that come in parts (a loop that is faster than
the bins) add up until then. A bin of which a part did not come (None) has no count: the decoder then goes on without,
as it does for bins that are passed over; counts that come with them belong to the last.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikeport.loop.decoders.rows import Rows
from spikeport.loop.packets import Array
from spikeport.snn.errors import SpikeportError


@dataclass
class Row:
    """One stream: bins so far, counts of the bin that is open, whether some came or were lost, and its own state."""

    k: int
    trial: int
    pending: Array
    came: bool
    lost: bool
    state: dict[str, Array]
    output: Array

    def copy(self) -> Row:
        state = {name: value.copy() for name, value in self.state.items()}
        return Row(self.k, self.trial, self.pending.copy(), self.came, self.lost, state, self.output.copy())


class Binned(Rows[Row]):
    """The Decoder's methods around begin() and bin(). period: s, of a bin; also that of predict() and observe()."""

    def __init__(self, n_inputs: int, n_outputs: int, *, period: float, batch_size: int = 1) -> None:
        if not (np.isfinite(period) and period > 0):
            raise SpikeportError(f"decoder: a bin of {period!r} s, must be positive")
        super().__init__(n_inputs, n_outputs, dt=float(period), period=period)
        self.set_batch_size(batch_size)

    @abstractmethod
    def begin(self) -> dict[str, Array]:
        """The state before the first bin; needs what is set before Binned's own __init__."""

    @abstractmethod
    def bin(self, state: dict[str, Array], counts: Array | None, output: Array) -> None:
        """One bin on, in place: (n_inputs,) counts, or None where there are none."""

    def fresh(self, trial: int) -> Row:
        return Row(0, trial, np.zeros(self.n_inputs), False, False, self.begin(), np.zeros(self.n_outputs))

    def take(self, row: Row, values: Array) -> None:
        row.pending += values
        row.came = True

    def miss(self, row: Row) -> None:
        row.lost = True

    def advance(self, row: Row, n: int) -> Array:
        if n > 0:
            for _ in range(n - 1):
                self.bin(row.state, None, row.output)
            self.bin(row.state, row.pending if row.came and not row.lost else None, row.output)
            row.pending[:] = 0.0
            row.came = row.lost = False
            row.k += n
        return row.output

    def describe(self) -> Mapping[str, Any]:
        return {
            "n_inputs": self.n_inputs,
            "n_outputs": self.n_outputs,
            "period": self.period,
            "dtype": "float64",
            **super().describe(),
        }
