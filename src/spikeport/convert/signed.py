"""Signed activations: tanh as sigmoid, exactly; the others have no such form.

    tanh(x) = 2 sigmoid(2 x) - 1.   With X = 2 x and R = sigmoid(X), r = 2 R - 1 turns

        tau dx/dt = -x + w_rec r + w_in u + b_rec,              o = w_out r + b_out            into
        tau dX/dt = -X + 4 w_rec R + 2 w_in u + 2 b_rec - 2 w_rec 1,    o = 2 w_out R + b_out - w_out 1

an Euler step of the one being twice that of the other; noise and the spread of x0 are doubled, and a clip of r at p is
one of R at (p + 1) / 2. Nothing is approximated: o is the same to rounding. It does not make every signed activation
convertible: the form needs phi(x) = a sigmoid(k x + c) + d, and of the common ones only tanh has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork

REWRITTEN = "tanh(x) = 2 sigmoid(2x) - 1: x, noise and x0 doubled, weights and biases re-derived; outputs are the same"


def from_tanh(
    *, tau: Array, w_rec: Array, w_in: Array, w_out: Array, b_rec: Array, b_out: Array, dt: float,
    phi_max: float | None = None, noise_sd: float = 0.0, x0_sd: float = 0.0,
    labels: Mapping[str, NDArray[Any]] | None = None, provenance: Mapping[str, Any] | None = None,
) -> RateNetwork:  # fmt: skip
    """The sigmoid network whose outputs are those of the tanh network with these arrays; its x is twice the other's."""
    given = RateNetwork(  # checks the arrays, under the only name that fits both
        tau=tau, w_rec=w_rec, w_in=w_in, w_out=w_out, b_rec=b_rec, b_out=b_out, dt=dt, phi="sigmoid", phi_max=phi_max,
        noise_sd=noise_sd, x0_sd=x0_sd, labels=labels or {}, provenance={**(provenance or {}), "rewritten": REWRITTEN},
    )  # fmt: skip
    return replace(
        given,
        w_rec=4 * w_rec,
        w_in=2 * w_in,
        w_out=2 * w_out,
        b_rec=2 * b_rec - 2 * w_rec.sum(axis=1),
        b_out=b_out - w_out.sum(axis=1),
        phi_max=None if phi_max is None else (phi_max + 1) / 2,
        noise_sd=2 * noise_sd,
        x0_sd=2 * x0_sd,
    )
