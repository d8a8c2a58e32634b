"""One step of Loihi's CUBA LIF compartments, in NumPy that reads like the formulas; kernel.py is the same, compiled.

    1 arrivals   a    = sum of the weights of the spikes that arrive
    2 evolve     u    = wrap( shift_to_zero(u (4096 - (du + 1)), 12) + a,  24 bits )
                 ref = 0:  v = saturate( shift_to_zero(v (4096 - dv), 12) + u + bias,  +-(2^23 - 1) )
                 ref > 0:  v stays, ref = ref - 1
    3 spike      z = v > vth 2^6 and ref was 0;  then v = 0 and ref = refractory steps; u goes on

A spike of step k arrives at the start of step k + delay, at least 1. Integers throughout.

Source: lava-nc 0.10, PyLifModelBitAcc (tagged bit_accurate_loihi), without Lava's extra step in each Dense; refractory
as in brian2-loihi 0.5.2, which leaves u alone and holds v. The order is the one of reference.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeport.targets.fixed_point.integers import Ints, decay, saturate, wrap
from spikeport.targets.loihi.chip import Chip, Compartments
from spikeport.targets.loihi.limits import CURRENT_OFFSET, DECAY_BITS, STATE_BITS, STATE_SHIFT, V_MAX, V_MIN

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class State:
    """u, v and steps left of the refractory period, (batch, n) each."""

    u: Ints
    v: Ints
    ref: Ints


def step(c: Compartments, state: State, arrivals: Ints, bias: Ints) -> tuple[State, Bools, Ints]:
    """(state after the step, spikes, v before the reset); arrivals and bias: (batch, n) or (n,)."""
    whole = 1 << DECAY_BITS
    u = wrap(decay(state.u, whole - (c.du + CURRENT_OFFSET), DECAY_BITS) + arrivals, STATE_BITS)
    free = state.ref == 0
    v = np.where(free, saturate(decay(state.v, whole - c.dv, DECAY_BITS) + u + bias, V_MIN, V_MAX), state.v)
    z = free & (v > c.vth << STATE_SHIFT)
    after = State(u=u, v=np.where(z, 0, v), ref=np.where(z, c.refractory, np.maximum(state.ref - 1, 0)))
    return after, z, v


def start(c: Compartments, n_batch: int) -> State:
    """The state at the start of a trial."""
    zero = np.zeros((n_batch, c.n), dtype=np.int64)
    return State(u=zero, v=zero + c.v0, ref=zero)


def simulate(
    chip: Chip, given: Mapping[str, NDArray[np.int64]], biases: Mapping[str, Ints], n_steps: int, n_batch: int
) -> dict[str, dict[str, Ints]]:
    """Run slowly: population -> {"z", "u", "v"}, (time, batch, n); v before the reset.

    given: spike input -> (time, batch, channels) counts.  biases: population -> (n,), or (time, batch, n).
    """
    states = {c.name: start(c, n_batch) for c in chip.compartments}
    found: dict[str, dict[str, list[Ints]]] = {c.name: {"z": [], "u": [], "v": []} for c in chip.compartments}
    for k in range(n_steps):
        arriving = {c.name: np.zeros((n_batch, c.n), dtype=np.int64) for c in chip.compartments}
        for s in chip.synapses:
            rows = given[s.source] if s.source in chip.inputs else found[s.source]["z"]
            then = k - s.delay
            if 0 <= then < len(rows):
                arriving[s.target] += np.asarray(rows[then], dtype=np.int64) @ s.weight.T
        for c in chip.compartments:
            bias = np.asarray(biases[c.name])
            now = bias[k] if bias.ndim == 3 else bias
            states[c.name], z, v = step(c, states[c.name], arriving[c.name], now)
            for what, value in (("z", z.astype(np.int64)), ("u", states[c.name].u), ("v", v)):
                found[c.name][what].append(value)
    return {name: {w: np.stack(rows) for w, rows in parts.items()} for name, parts in found.items()}
