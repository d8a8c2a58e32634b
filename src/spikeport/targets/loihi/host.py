"""The biases that the host writes in a run: constants, held values, and what it filters of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.compiling import cached, inlined
from spikeport.snn.errors import RefusedError
from spikeport.snn.neurons import Array
from spikeport.targets.feed import Feed
from spikeport.targets.fixed_point.integers import Ints
from spikeport.targets.loihi.chip import Chip, Compartments
from spikeport.targets.loihi.drive import LARGEST_BIAS, edge, fits, round_bias
from spikeport.targets.loihi.limits import BIAS_EXPONENT_MAX, BIAS_MAX, DECAY_BITS

WHOLE = 1 << DECAY_BITS


class Biases:
    """Called with k0, k1, block after block from step 0 on: the biases of these steps.

    Returns (rows, n) biases of all compartments in a row, and (k1 - k0, batch) which of the rows each step and trial
    has: one for each combination of held values, or, where anything is filtered, one for each step and trial.
    """

    def __init__(self, chip: Chip, given: Feed) -> None:
        self.chip, self.given = chip, given
        direct = {name for c in chip.compartments for name in c.held}
        self.names = sorted(direct | {name for c in chip.compartments for f in c.filters for name in f.weights})
        filtered = any(c.filters for c in chip.compartments)
        shapes = {c.name: (len(c.filters), given.n_batch, c.n) for c in chip.compartments if filtered}
        self.state: dict[str, Array] = {name: np.zeros(shape) for name, shape in shapes.items()}

    def __call__(self, k0: int, k1: int) -> tuple[Ints, NDArray[np.int64]]:
        u, row = self._values(k0, k1)
        if not self.state:
            parts = [self._fit(c, self._direct(c, u)) for c in self.chip.compartments]
            return np.concatenate(parts, axis=1), row
        whole = np.concatenate([self._filtered(c, u, row) for c in self.chip.compartments], axis=2)
        return whole.reshape(-1, whole.shape[2]), np.arange(row.size, dtype=np.int64).reshape(row.shape)

    def _values(self, k0: int, k1: int) -> tuple[Array, NDArray[np.int64]]:
        """Every combination of held values that occurs (rows, all channels), and which each step and trial has."""
        if not self.names:
            return np.zeros((1, 0)), np.zeros((k1 - k0, self.given.n_batch), dtype=np.int64)
        samples = np.stack([self.given.samples(name, k0, k1) for name in self.names], axis=1)
        _, first, of_step = np.unique(samples, axis=0, return_index=True, return_inverse=True)
        values = [np.stack([self.given.held(name, k0 + j, k0 + j + 1)[0] for j in first]) for name in self.names]
        together = np.concatenate(values, axis=2)
        u, row = np.unique(together.reshape(-1, together.shape[2]), axis=0, return_inverse=True)
        return u, row.reshape(together.shape[:2])[of_step.reshape(-1)].astype(np.int64)

    def _channels(self, name: str) -> slice:
        """Where an input's channels are among all."""
        sizes = [self.given.drive.held[other].shape[2] for other in self.names]
        at = self.names.index(name)
        return slice(sum(sizes[:at]), sum(sizes[: at + 1]))

    def _direct(self, c: Compartments, u: Array) -> Array:
        """(rows, n): the bias with the held values that go straight to the membrane."""
        found = np.broadcast_to(c.bias, (len(u), c.n))
        for name, weight in c.held.items():
            found = found + u[:, self._channels(name)] @ weight.T
        return np.asarray(found)

    def _filtered(self, c: Compartments, u: Array, row: NDArray[np.int64]) -> Ints:
        """(steps, batch, n) biases with x of every filter; the states go on."""
        added = np.zeros((len(c.filters), len(u), c.n))
        for index, f in enumerate(c.filters):
            added[index] = f.constant
            for name, weight in f.weights.items():
                added[index] += u[:, self._channels(name)] @ weight.T
        keep = np.array([f.keep for f in c.filters]).reshape(-1, c.n)
        out = np.empty((*row.shape, c.n), dtype=np.int64)
        direct, rest = np.ascontiguousarray(self._direct(c, u)), float(c.scale) * c.dv
        largest = fill_biases(direct, row, keep, added, self.state[c.name], rest, edge(c), out)
        if not fits(largest):
            raise self._refusal(c, largest)
        return out

    def _fit(self, c: Compartments, wished: Array) -> Ints:
        if not fits(wished):
            raise self._refusal(c, float(np.abs(wished).max()))
        return round_bias(c, wished).value

    def _refusal(self, c: Compartments, value: float) -> RefusedError:
        names = ", ".join(self.names) or "its constants"
        return RefusedError(
            "loihi: these inputs do not fit the chip",
            [f"population {c.name}: bias with {names} {value:.6g}, limit {LARGEST_BIAS} (4095 * 2^7)"],
            hint="smaller values, or a network whose weights of them are smaller",
        )


@inlined
def bias_value(b: Any, rest: Any, limit: Any) -> Any:  # pragma: no cover (compiled)
    """drive.round_bias of one number; rest: the threshold times dv, limit: `edge`."""
    step, shift = 1.0, 0
    m = np.rint(b)
    while np.abs(m) > BIAS_MAX and shift < BIAS_EXPONENT_MAX:
        step *= 2.0
        shift += 1
        m = np.rint(b / step)
    mantissa = np.int64(min(max(m, -BIAS_MAX), BIAS_MAX))
    if b * WHOLE <= rest:
        if mantissa << shift > limit:
            mantissa -= 1
    else:
        for _ in range(2):
            if mantissa << shift <= limit and mantissa < BIAS_MAX:
                mantissa += 1
    return mantissa << shift


@cached
def fill_biases(direct, row, keep, added, x, rest, limit, out):  # type: ignore[no-untyped-def] # pragma: no cover (compiled)
    """out[k, b] = round_bias(direct[row] + sum of x), x = keep x + added[:, row]; the largest size before rounding.

    direct: (rows, n).  keep: (filters, n).  added: (filters, rows, n).  x: (filters, batch, n), moved on in place.
    """
    largest = 0.0
    for k in range(out.shape[0]):
        for b in range(out.shape[1]):
            r = row[k, b]
            for i in range(out.shape[2]):
                wished = direct[r, i]
                for f in range(x.shape[0]):
                    x[f, b, i] = keep[f, i] * x[f, b, i] + added[f, r, i]
                    wished += x[f, b, i]
                largest = max(largest, np.abs(wished))
                out[k, b, i] = bias_value(wished, rest[i], limit[i])
    return largest
