"""The network before training: who is inhibitory, who is SOM, and the first weights.

    w_rec = (relu(w) diag(sign)) * som_mask,     sign_j = -1 where unit j is inhibitory, else +1

w: |normal| gain / sqrt(N p_rec), or gamma(2, 0.003), with probability p_rec, else 0.  som_mask is 0 where the target is
an SOM unit and the source is inhibitory: SOM units receive no inhibition.  w_in: normal, never trained.
w_out: normal / 100.  tau = sigmoid(tau_raw) (high - low) + low with tau_raw normal.
Source: Kim, Li & Sejnowski, PNAS 2019, methods and SI; the constants from their code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.training.options import TrainingOptions

Float32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """What training leaves alone. sign: (N,) +-1.  som_mask: (N, N) of 0 and 1.  w_in: (N, n_inputs)."""

    sign: Float32
    som_mask: Float32
    w_in: Float32
    som: NDArray[np.bool_]


def initial_network(options: TrainingOptions, n_inputs: int, n_outputs: int) -> tuple[Fixed, dict[str, Float32]]:
    """The fixed part, and the trained parameters w (N, N), w_out (n_outputs, N), b_out (n_outputs,), tau_raw (N,)."""
    n = options.n_neurons
    rng = np.random.default_rng([options.seed, _KEY])
    inhibitory = rng.random(n) < options.p_inh
    som = inhibitory & (np.cumsum(inhibitory) <= options.n_som_units)  # the first ones, as published
    w = np.abs(rng.standard_normal((n, n))) * options.gain / np.sqrt(n * options.p_rec)
    if options.weights == "gamma":
        w = rng.gamma(2, 0.003, (n, n))
    w *= rng.random((n, n)) < options.p_rec
    fixed = Fixed(
        sign=np.where(inhibitory, -1.0, 1.0).astype(np.float32),
        som_mask=1.0 - np.outer(som, inhibitory).astype(np.float32),
        w_in=rng.standard_normal((n, n_inputs)).astype(np.float32),
        som=som,
    )
    parameters = {
        "w": w,
        "w_out": rng.standard_normal((n_outputs, n)) / 100,
        "b_out": np.zeros(n_outputs),
        "tau_raw": rng.standard_normal(n),
    }
    return fixed, {name: value.astype(np.float32) for name, value in parameters.items()}


_KEY = 10  # of these random numbers, apart from the trials' and the noise's
