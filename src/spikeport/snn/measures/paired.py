"""How well one signal follows another, unit by unit, from sums that grow with the units and not with the trials.

    correlation   cov(x, y) / sqrt(var(x) var(y))                         Pearson's
    error         sqrt(mean (y - x)^2) / sqrt(var(x))                     0: equal; 1: as good as the mean of x
    gain, offset  the line y = gain x + offset of least squares

x is the reference (the rate model's r), y what should follow it. All samples of all trials count alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.measures.scores import Scores, ratio
from spikeport.snn.neurons import Array

FLAT = 1e-24  # a variance below this times the mean square is rounding (2e-16 of each value), not variance


@dataclass(frozen=True, kw_only=True)
class PairedSums:
    """Running sums over samples, (n,) each; the shifts keep them near 0, where float64 has most digits."""

    n: int
    shift_x: Array
    shift_y: Array
    x: Array
    y: Array
    xx: Array
    yy: Array
    xy: Array
    dd: Array

    @classmethod
    def empty(cls, n_units: int) -> PairedSums:
        zero = np.zeros(n_units)
        return cls(n=0, shift_x=zero, shift_y=zero, x=zero, y=zero, xx=zero, yy=zero, xy=zero, dd=zero)

    def add(self, x: Array, y: Array) -> PairedSums:
        """With more samples: x, y (..., n_units)."""
        if x.shape != y.shape or x.shape[-1] != self.x.size:
            raise InvalidNetworkError(
                f"paired signals: shapes {x.shape} and {y.shape}, must be equal, {self.x.size} units"
            )
        flat_x, flat_y = (np.asarray(a, dtype=np.float64).reshape(-1, self.x.size) for a in (x, y))
        if flat_x.shape[0] == 0:
            return self
        first = self.n == 0
        shift_x = flat_x.mean(axis=0) if first else self.shift_x
        shift_y = flat_y.mean(axis=0) if first else self.shift_y
        a, b, d = flat_x - shift_x, flat_y - shift_y, flat_y - flat_x
        return PairedSums(
            n=self.n + a.shape[0], shift_x=shift_x, shift_y=shift_y, x=self.x + a.sum(0), y=self.y + b.sum(0),
            xx=self.xx + (a * a).sum(0),
            yy=self.yy + (b * b).sum(0), xy=self.xy + (a * b).sum(0), dd=self.dd + (d * d).sum(0),
        )  # fmt: skip

    def _moments(self) -> tuple[Array, Array, Array]:
        """var(x), var(y), cov(x, y); 0 of nothing."""
        n = max(self.n, 1)
        mx, my = self.x / n, self.y / n
        return self.xx / n - mx * mx, self.yy / n - my * my, self.xy / n - mx * my

    def _scale(self) -> tuple[Array, Array]:
        """Mean squares of x and y themselves: what a variance is compared with to be more than rounding."""
        n = max(self.n, 1)
        mx, my = self.x / n + self.shift_x, self.y / n + self.shift_y
        vx, vy, _ = self._moments()
        return vx + mx * mx, vy + my * my

    def correlation(self) -> Scores:
        """Pearson's, per unit; a unit whose x or y never changes has none."""
        vx, vy, cov = self._moments()
        sx, sy = self._scale()
        defined = (vx > FLAT * sx) & (vy > FLAT * sy)
        found = ratio(cov, np.sqrt(np.abs(vx * vy)), defined, "its signal, or that of its partner, never changes")
        return Scores(values=np.clip(found.values, -1, 1), defined=defined, undefined_when=found.undefined_when)

    def error(self) -> Scores:
        """Root mean square of y - x over the standard deviation of x, per unit; where x never changes there is none."""
        vx, _, _ = self._moments()
        defined = vx > FLAT * self._scale()[0]
        below = np.sqrt(np.abs(vx))
        return ratio(np.sqrt(self.dd / max(self.n, 1)), below, defined, "the reference's signal never changes")

    def rms(self) -> Array:
        """Root mean square of y - x, (n_units,), in their own units; 0 of nothing."""
        return np.asarray(np.sqrt(self.dd / max(self.n, 1)))
