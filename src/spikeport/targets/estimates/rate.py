"""The same counts for the rate network on a processor: multiply-accumulates and bytes of its own Euler steps.

    x = (1 - a) x + a (w_rec r + w_in u + b),    r = phi(x),    o = w_out r + b_out
    multiply-accumulates of a step = |w_rec| + |w_in| + |w_out| + 2 N      dense: all entries; sparse: those not 0
    bytes of a step = weights, and 6 N + inputs + outputs numbers: x and r read and written, a and b read

for one trial at a time. Trials that run together share the weights' bytes, and a processor that keeps the weights in
its registers moves none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from spikeport.snn.rate import RateNetwork

WORD = 4  # bytes: float32, in which such networks are trained and run
INDEX = 4  # bytes of a column's index beside each weight that is not 0


@dataclass(frozen=True, kw_only=True)
class RateCounts:
    """One trial of `steps` steps of dt s.  macs, bytes_moved: of a step, (sparse, dense).  memory: bytes, the same.

    activations, draws: of a step, phi and numbers of noise; they are counted and not priced.
    """

    dt: float
    steps: int
    units: int
    macs: tuple[int, int]
    bytes_moved: tuple[int, int]
    memory: tuple[int, int]
    activations: int
    draws: int

    @property
    def seconds(self) -> float:
        return self.steps * self.dt

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, of one trial."""
        names = ("nonzero", "dense")
        return {
            "dt_s": self.dt, "steps": self.steps, "seconds": self.seconds, "units": self.units,
            "multiply_accumulates": {n: self.steps * m for n, m in zip(names, self.macs, strict=True)},
            "bytes_moved": {n: self.steps * m for n, m in zip(names, self.bytes_moved, strict=True)},
            "memory_bytes": dict(zip(names, self.memory, strict=True)),
            "activations": self.steps * self.activations, "noise_draws": self.steps * self.draws,
        }  # fmt: skip


def count_rate(network: RateNetwork, seconds: float) -> RateCounts:
    """The counts of a trial of `seconds`, in the network's own steps."""
    n, matrices = network.n_neurons, (network.w_rec, network.w_in, network.w_out)
    dense, nonzero = sum(w.size for w in matrices), sum(int(np.count_nonzero(w)) for w in matrices)
    state = 6 * n + network.n_inputs + network.n_outputs
    weights = (min(dense * WORD, nonzero * (WORD + INDEX)), dense * WORD)
    return RateCounts(
        dt=network.dt, steps=max(1, round(seconds / network.dt)), units=n, macs=(nonzero + 2 * n, dense + 2 * n),
        bytes_moved=(weights[0] + WORD * state, weights[1] + WORD * state),
        memory=(weights[0] + WORD * 4 * n, weights[1] + WORD * 4 * n),
        activations=n, draws=n if network.noise_sd > 0 else 0,
    )  # fmt: skip
