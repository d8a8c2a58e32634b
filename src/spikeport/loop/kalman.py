"""The velocity Kalman filter: the decoder that others are measured against.

    x[t] = A x[t-1] + w,  w ~ N(0, W)          x: velocity, (d,)
    y[t] = C x[t] + b + q,  q ~ N(0, Q)        y: counts in a bin, (n,)

    x-, P-  =  A x, A P A' + W
    P  =  (P-^-1 + C' Q^-1 C)^-1               x  =  x- + P C' Q^-1 (y - b - C x-)

A bin without counts is a prediction alone. The form with d x d inverses is the usual one by the matrix inversion lemma.
Source: Wu, Gao, Bienenstock, Donoghue & Black, Neural Comput. 18, 2006 (fit by least squares, eqs. 8 to 11); velocity
alone as the state: Kim, Simeral, Hochberg, Donoghue & Black, J. Neural Eng. 5, 2008.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeport.loop.decoders.binned import Binned
from spikeport.loop.decoders.common import fingerprint
from spikeport.loop.packets import Array
from spikeport.snn.errors import SpikeportError


@dataclass(frozen=True, kw_only=True)
class KalmanModel:
    """a, w: (d, d).  c: (n, d).  b: (n,).  q: (n, n).  period: s, of a bin."""

    a: Array
    w: Array
    c: Array
    b: Array
    q: Array
    period: float

    def __post_init__(self) -> None:
        n, d = np.shape(self.c) if np.ndim(self.c) == 2 else (0, 0)
        shapes = {"a": (d, d), "w": (d, d), "c": (n, d), "b": (n,), "q": (n, n)}
        problems = []
        for name, shape in shapes.items():
            found = np.array(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, found)
            if found.shape != shape or 0 in shape:
                problems.append(f"{name}: shape {found.shape}, must be {shape}, as c has {n} channels and {d} states")
            elif not np.isfinite(found).all():
                problems.append(f"{name}: has a value that is not finite")
        for name in () if problems else ("w", "q"):
            matrix = getattr(self, name)
            if not np.allclose(matrix, matrix.T) or np.linalg.eigvalsh(matrix)[0] <= 0:
                problems.append(f"{name}: no covariance, or a singular one: a channel that never fires, or a copy")
        if not (np.isfinite(self.period) and self.period > 0):
            problems.append(f"period: {self.period} s, must be positive")
        if problems:
            raise SpikeportError("Kalman filter: its model contradicts itself", problems)


def fit_kalman(
    counts: ArrayLike, velocity: ArrayLike, trial: ArrayLike, *, period: float, q_floor: float = 1e-6
) -> KalmanModel:
    """The model that fits counts (ticks, n) and velocity (ticks, d) best, by least squares; steps that lead from one
    trial to the next are left out of A and W. q_floor: counts^2, added to Q's diagonal (a silent channel has none)."""
    y, x, which = check_trials(counts, velocity, trial)
    same = which[1:] == which[:-1]
    before, after = x[:-1][same], x[1:][same]
    if len(before) < x.shape[1] + 1 or len(y) <= y.shape[1] + x.shape[1] + 1:
        raise SpikeportError(
            f"Kalman filter: {len(y)} bins do not determine {y.shape[1]} channels", hint="more trials to train on"
        )
    a: Array = np.asarray(np.linalg.lstsq(before, after, rcond=None)[0].T, dtype=np.float64)
    left = after - before @ a.T
    design = np.column_stack([x, np.ones(len(x))])
    both: Array = np.asarray(np.linalg.lstsq(design, y, rcond=None)[0].T, dtype=np.float64)
    rest = y - design @ both.T
    q = rest.T @ rest / len(y) + q_floor * np.eye(y.shape[1])
    return KalmanModel(a=a, w=left.T @ left / len(left), c=both[:, :-1], b=both[:, -1], q=q, period=period)


def check_trials(counts: ArrayLike, velocity: ArrayLike, trial: ArrayLike) -> tuple[Array, Array, NDArray[np.int64]]:
    """Training data as arrays that fit together; SpikeportError otherwise."""
    y, x = (np.asarray(a, dtype=np.float64) for a in (counts, velocity))
    which = np.asarray(trial)
    problems = []
    if y.ndim != 2 or x.ndim != 2 or which.ndim != 1 or not len(y) == len(x) == len(which) > 0:
        problems.append(f"counts {y.shape}, velocity {x.shape}, trial {which.shape}: (ticks, n), (ticks, d), (ticks,)")
    elif not (np.isfinite(y).all() and np.isfinite(x).all()):
        problems.append("counts or velocity: a value that is not finite")
    if problems:
        raise SpikeportError("training data: nothing can be fitted to them", problems)
    return y, x, which.astype(np.int64)


class KalmanDecoder(Binned):
    """The filter as a decoder; its outputs are the velocity. x0, p0: of the state before the first bin (default: 0, and
    the variance that the model has without observations, W where that has no limit)."""

    def __init__(
        self, model: KalmanModel, *, x0: ArrayLike | None = None, p0: ArrayLike | None = None, batch_size: int = 1
    ) -> None:
        n, d = model.c.shape
        self.model = model
        weighted = np.linalg.solve(model.q, model.c).T  # C' Q^-1, as Q is symmetric
        self._weighted, self._information = weighted, weighted @ model.c
        self._x0: Array = np.zeros(d) if x0 is None else np.array(x0, dtype=np.float64)
        self._p0: Array = _stationary(model) if p0 is None else np.array(p0, dtype=np.float64)
        if self._x0.shape != (d,) or self._p0.shape != (d, d):
            raise SpikeportError(f"Kalman filter: x0 {self._x0.shape}, p0 {self._p0.shape}, must be ({d},), ({d}, {d})")
        super().__init__(n, d, period=model.period, batch_size=batch_size)

    def begin(self) -> dict[str, Array]:
        return {"x": self._x0.copy(), "p": self._p0.copy()}

    def bin(self, state: dict[str, Array], counts: Array | None, output: Array) -> None:
        m = self.model
        x, p = m.a @ state["x"], m.a @ state["p"] @ m.a.T + m.w
        if counts is not None:
            p = np.asarray(np.linalg.inv(np.linalg.inv(p) + self._information), dtype=np.float64)
            x = x + p @ (self._weighted @ (counts - m.b) - self._information @ x)
        state["x"], state["p"] = x, (p + p.T) / 2
        output[:] = x

    def gain(self) -> Array:
        """K = P C' Q^-1 (d, n) after the bins so far, of row 0."""
        return np.asarray(self._rows[0].state["p"] @ self._weighted)

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "Kalman filter", "model": fingerprint(self.model), **super().describe()}


def _stationary(model: KalmanModel) -> Array:
    """P = A P A' + W, where it exists."""
    d = len(model.a)
    if np.abs(np.linalg.eigvals(model.a)).max() >= 1 - 1e-9:
        return model.w.copy()
    found = np.linalg.solve(np.eye(d * d) - np.kron(model.a, model.a), model.w.ravel()).reshape(d, d)
    return np.asarray((found + found.T) / 2)
