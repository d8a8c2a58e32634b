"""The read-out, learned again from the filtered spikes that it reads: ridge regression towards the network's own.

    o = w s + b,    s = F_out(baseline + z / L)           what a unit says, as the read-out filters it
    minimise over w, b    |o* - w s - b|^2 + ridge mean(var s) n |w - w_out|^2         o*: of the rate network

A unit's f-I curve is not quite phi, and the read-out can undo what that does to the outputs, which the units cannot.
What the rate network does not read (w_out = 0) stays unread. The ridge is the best of RIDGES on the trials that judge,
or infinite, which is w_out as it was. Source: Hoerl & Kennard, Technometrics 12, 1970.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikeport.snn.blas import single_threaded
from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork

RIDGES = (0.01, 0.1, 1.0, 10.0)  # of the mean variance of what units say; below 0.01 no network of ten gained


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadOutFit:
    """weight (n_outputs, N), in units of r; bias (n_outputs,).  ridge: infinite where nothing was learned.

    score, own_score: root mean square of the outputs' error over the standard deviation of the rate network's, with
    these weights and with the network's own, on the trials that judge.
    """

    weight: Array
    bias: Array
    ridge: float
    score: float
    own_score: float


def fit_readout(source: RateNetwork, said: Array, wanted: Array, tau: float, n_correct: int) -> ReadOutFit:
    """said (time, batch, N): what units say, not yet filtered; wanted (time, batch, n_outputs); tau: s, read-out's.

    Trials below n_correct teach, the others judge (with a single trial it does both, and nothing is learned).
    """
    s = smoothed(said, tau, source.dt)
    judged = slice(min(n_correct, s.shape[1] - 1), None)
    own = ReadOutFit(weight=source.w_out, bias=source.b_out, ridge=np.inf, score=np.inf, own_score=np.inf)
    size = output_size(wanted[:, judged])

    def score(weight: Array, bias: Array) -> float:
        found = float(np.sqrt(((s[:, judged] @ weight.T + bias - wanted[:, judged]) ** 2).mean())) / size
        return found if np.isfinite(found) else np.inf

    with single_threaded():
        base = score(own.weight, own.bias)
        best = ReadOutFit(weight=own.weight, bias=own.bias, ridge=np.inf, score=base, own_score=base)
        if s.shape[1] == 1:
            return best
        taught = s[:, :n_correct].reshape(-1, s.shape[2])
        middle = taught.mean(axis=0)
        taught = taught - middle
        missing = (wanted - s @ source.w_out.T - source.b_out)[:, :n_correct].reshape(taught.shape[0], -1)
        gram, into = taught.T @ taught, taught.T @ (missing - missing.mean(axis=0))
        for ridge in RIDGES:
            change = np.zeros_like(source.w_out)
            for k, reads in enumerate(source.w_out != 0):
                part = gram[np.ix_(reads, reads)]
                added = ridge * float(np.diag(part).mean()) * np.eye(part.shape[0]) if part.size else part
                if part.size and np.trace(part) > 0:
                    change[k, reads] = np.linalg.solve(part + added, into[reads, k])
            bias = source.b_out + missing.mean(axis=0) - change @ middle
            now = score(source.w_out + change, bias)
            if now < best.score:
                best = ReadOutFit(weight=source.w_out + change, bias=bias, ridge=ridge, score=now, own_score=base)
    return best


def smoothed(said: Array, tau: float, dt: float) -> Array:
    """An exponential filter of decay tau along time, bin by bin, that starts settled."""
    keep = np.exp(-dt / tau)
    found = np.empty(said.shape)
    now = said[0]
    for k in range(said.shape[0]):
        now = keep * now + (1 - keep) * said[k]
        found[k] = now
    return found


def output_size(wanted: Array) -> float:
    """Standard deviation of outputs around their mean course; 1 where they never move."""
    size = float(np.sqrt(((wanted - wanted.mean(axis=(0, 1))) ** 2).mean()))
    return size if size > 0 else 1.0
