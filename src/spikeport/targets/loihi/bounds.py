"""How large a state can ever become, whatever spikes arrive: sums over all sources, each spiking as fast as it can.

    arrivals   max over units of the sum of weights of one sign: every source in one step
    current    max over units of sum_j |w_j| / (1 - D^r_j): every source once in r_j steps, for ever (r_j: 1 and its
               refractory period), those of one sign
    below      how far v goes under 0 at most: (current of the negative ones + negative drive) / (1 - A)

In the units of the weights. Rounding toward zero only makes a state smaller.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from spikeport.snn.neurons import Array


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """See the module; numbers in the units of the weights they were made from."""

    arrivals: float
    current: float
    below: float


def bounds(parts: Iterable[tuple[Array, Array]], fresh_u: Array, fresh_v: Array, drive: Array) -> Bounds:
    """parts: (weights (n, n_source), steps from spike to spike (n_source,)).  fresh: 1 - D and 1 - A, (n,).

    drive: (n,) the least that is added to v in a step, or 0.
    """
    n = fresh_u.size
    once, forever = np.zeros((2, n)), np.zeros((2, n))
    for weight, interval in parts:
        gain = 1 / (1 - (1 - fresh_u)[:, None] ** interval[None, :])
        for sign, w in enumerate((np.maximum(weight, 0), np.maximum(-weight, 0))):
            once[sign] += w.sum(axis=1)
            forever[sign] += (w * gain).sum(axis=1)
    below = (forever[1] + np.maximum(-drive, 0)) / fresh_v
    return Bounds(arrivals=float(once.max()), current=float(forever.max()), below=float(below.max()))
