"""The currents that come in during a run: held values and constants, filtered where they act through a synapse.

    x = D x + (1 - D) (effect u + constant)         of each synapse that held values act through, mV; x starts at 0
    current = (settled(drive + held u + x) - rest) 2^gain        s16.15, nA

A step current source on the chip has a value for each change (StepCurrentSource of sPyNNaker); the amplitudes are
chosen so that R current + rest is exactly the rounded potential.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.errors import RefusedError
from spikeport.snn.neurons import Array
from spikeport.targets.feed import Feed
from spikeport.targets.fixed_point.fractions import S1615_BITS, S1615_HIGH
from spikeport.targets.fixed_point.integers import Ints
from spikeport.targets.spinnaker.chip import Cells, Chip
from spikeport.targets.spinnaker.limits import POTENTIAL_MAX
from spikeport.targets.spinnaker.quantise import settled


class Currents:
    """Called with k0, k1, block after block from step 0 on: (rows, n) currents of all units in a row, and (k1 - k0,
    batch) which of the rows each step and trial has."""

    def __init__(self, chip: Chip, given: Feed, most: Mapping[str, float], limits: Mapping[str, Array]) -> None:
        """most: mV by spikes (quantise.py); limits: population -> v_threshold of the source, mV."""
        self.chip, self.given, self.most, self.limits = chip, given, most, limits
        names = {name for c in chip.cells for name in c.held}
        self.names = sorted(names | {name for c in chip.cells for h in c.hosted for name in h.effects})
        self.x = {c.name: np.zeros((len(c.hosted), given.n_batch, c.n)) for c in chip.cells}

    def __call__(self, k0: int, k1: int) -> tuple[Ints, NDArray[np.int64]]:
        batch = self.given.n_batch
        if not any(c.driven for c in self.chip.cells):
            n = sum(c.n for c in self.chip.cells)
            return np.zeros((1, n), dtype=np.int64), np.zeros((k1 - k0, batch), dtype=np.int64)
        u = {name: self.given.held(name, k0, k1) for name in self.names}
        parts = [self._of(c, u, (k1 - k0, batch)) for c in self.chip.cells]
        whole = np.ascontiguousarray(np.concatenate(parts, axis=2).reshape((k1 - k0) * batch, -1))
        return whole, np.arange(len(whole), dtype=np.int64).reshape(k1 - k0, batch)

    def _of(self, c: Cells, u: Mapping[str, Array], shape: tuple[int, int]) -> Ints:
        total: Array = np.zeros((*shape, c.n)) + c.drive
        for name, weight in c.held.items():
            total += u[name] @ weight.T
        for index, h in enumerate(c.hosted):
            into: Array = np.zeros((*shape, c.n)) + h.constant
            for name, effect in h.effects.items():
                into += u[name] @ effect.T
            x = self.x[c.name]
            for k in range(shape[0]):
                x[index] = h.D * x[index] + (1 - h.D) * into[k]
                total[k] += x[index]
        return self._current(c, total)

    def _current(self, c: Cells, total: Array) -> Ints:
        """Of potentials that v is to settle at, mV (..., n)."""
        size = float(np.abs(total).max(initial=0)) + self.most[c.name]
        raw = (settled(total, self.limits[c.name], c.threshold) - c.rest) << c.gain
        room = S1615_HIGH - 2 * int(np.ldexp(self.most[c.name], S1615_BITS + c.gain))
        largest = int(np.abs(raw).max(initial=0))
        if size > POTENTIAL_MAX / 2 or largest > room:
            found = f"population {c.name}: a current of {np.ldexp(largest, -S1615_BITS):.6g} nA for {size:.6g} mV"
            limits = f"limit {np.ldexp(room, -S1615_BITS):.6g} nA, {POTENTIAL_MAX / 2:g} mV"
            raise RefusedError("spinnaker: these inputs do not fit the chip", [f"{found}, {limits}"],
                               hint="smaller values, or a network whose weights of them are smaller")  # fmt: skip
        return raw if c.driven else np.zeros_like(raw)
