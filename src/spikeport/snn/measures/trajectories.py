"""Population trajectories: the principal components of a reference, and another population's path among them.

    covariance C = cov(x) = V diag(l) V^T;   trajectory  p(t) = V_d^T (x(t) - mean)
    aligned: the rotation and scale of q that bring it nearest to p (orthogonal Procrustes)
    distance  sqrt(mean |p - q|^2 / mean |p|^2): 0 equal, 1 as far as no trajectory at all

Source: Schönemann, Psychometrika 31 (1966), for the rotation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikeport.snn.neurons import Array


@dataclass(frozen=True, kw_only=True)
class Components:
    """Principal components: mean (n,), axes (n, d), variance (d,) in descending order, and the whole variance."""

    mean: Array
    axes: Array
    variance: Array
    total: float

    @property
    def explained(self) -> float:
        """Share of the variance that the axes hold; 1 where there is none to hold."""
        return float(self.variance.sum() / self.total) if self.total > 0 else 1.0

    def project(self, x: Array) -> Array:
        """(..., n) -> (..., d)."""
        return np.asarray((x - self.mean) @ self.axes)


def principal_components(x: Array, d: int = 3) -> Components:
    """Of x (..., n), samples of all trials alike; the sign of an axis is such that its largest entry is positive."""
    flat = np.asarray(x, dtype=np.float64).reshape(-1, x.shape[-1])
    mean = flat.mean(axis=0)
    centred = flat - mean
    values, vectors = np.linalg.eigh(centred.T @ centred / flat.shape[0])
    d = min(d, flat.shape[1])
    order = np.argsort(values)[::-1][:d]
    axes = vectors[:, order]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(d)])
    return Components(
        mean=mean, axes=axes * np.where(signs == 0, 1, signs), variance=np.maximum(values[order], 0.0),
        total=float(np.maximum(values, 0.0).sum()),
    )  # fmt: skip


def aligned(q: Array, p: Array) -> Array:
    """q (..., d) turned, scaled and moved to be nearest to p: mean_p + s (q - mean_q) R; a constant q: mean_p."""
    flat_q, flat_p = (np.asarray(a, dtype=np.float64).reshape(-1, a.shape[-1]) for a in (q, p))
    mean_q, mean_p = flat_q.mean(axis=0), flat_p.mean(axis=0)
    u, s, vt = np.linalg.svd((flat_q - mean_q).T @ (flat_p - mean_p))
    size = ((flat_q - mean_q) ** 2).sum()
    scale = s.sum() / size if size > 0 else 0.0
    return np.asarray(mean_p + scale * (q - mean_q) @ (u @ vt))


def distance(p: Array, q: Array) -> float | None:
    """sqrt(mean |p - q|^2 / mean |p - mean p|^2) of two trajectories (..., d); None where p never moves."""
    flat = np.asarray(p, dtype=np.float64).reshape(-1, p.shape[-1])
    size = ((flat - flat.mean(axis=0)) ** 2).sum()
    return float(np.sqrt(((p - q) ** 2).sum() / size)) if size > 0 else None
