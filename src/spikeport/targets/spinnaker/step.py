"""One step of sPyNNaker's IF_curr_exp, in NumPy that reads like the formulas; kernel.py is the same, compiled.

    1 arrivals   per receptor   ring = min(sum of the weights that arrive, 65535)
                                i = i + ((ring << shift) first >> 32)
    2 evolve     ref = 0:  alpha = nearest(R (i_exc - i_inh + current)) + rest
                           v = alpha - nearest(keep_v (alpha - v))
                 ref > 0:  v stays, ref = ref - 1
    3 spike      z = v >= threshold, also while ref > 0;  then v = reset, ref = refractory steps
    4 shape      i = i keep_i >> 32, rounded down

s16.15 and u0.32 throughout; nearest: multiply_s1615_nearest. A spike of step k arrives at the start of step k + delay.

Source: sPyNNaker, neural_modelling/src/neuron: synapses.c (ring buffers, their saturation and shift),
implementations/neuron_impl_standard.h (the order), models/neuron_model_lif_impl.h, synapse_types/exp_synapse_utils.h,
threshold_types/threshold_type_static.h (at or above), as published 2019 to 2023; sums of s16.15 numbers wrap, which the
limits in problems.py keep from happening.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeport.targets.fixed_point.fractions import multiply_s1615_nearest, multiply_u032
from spikeport.targets.fixed_point.integers import Ints
from spikeport.targets.spinnaker.chip import Cells, Chip
from spikeport.targets.spinnaker.limits import WEIGHT_MAX

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class State:
    """i (2, batch, n), v and steps left of the refractory period (batch, n)."""

    i: Ints
    v: Ints
    ref: Ints


def step(c: Cells, state: State, arrivals: Ints, current: Ints) -> tuple[State, Bools, Ints]:
    """(state after the step, spikes, v before the reset); arrivals (2, batch, n), current (batch, n)."""
    shifts = np.array(c.shifts, dtype=np.int64)[:, None, None]
    i = state.i + multiply_u032(np.minimum(arrivals, WEIGHT_MAX) << shifts, c.first)
    alpha = multiply_s1615_nearest(i[0] - i[1] + current, c.resistance) + c.rest
    v = np.where(state.ref <= 0, alpha - multiply_s1615_nearest(c.keep_v, alpha - state.v), state.v)
    z = v >= c.threshold
    after = State(
        i=multiply_u032(i, c.keep_i),
        v=np.where(z, c.reset, v),
        ref=np.where(z, c.refractory, np.maximum(state.ref - 1, 0)),
    )
    return after, z, v


def start(c: Cells, n_batch: int) -> State:
    """The state at the start of a trial."""
    zero = np.zeros((n_batch, c.n), dtype=np.int64)
    return State(i=np.zeros((2, n_batch, c.n), dtype=np.int64), v=zero + c.v0, ref=zero + c.ref0)


def simulate(
    chip: Chip, given: Mapping[str, NDArray[np.int64]], currents: Mapping[str, Ints], n_steps: int, n_batch: int
) -> dict[str, dict[str, Ints]]:
    """Run slowly: population -> {"z", "v"}, (time, batch, n); v before the reset.

    given: spike input -> (time, batch, channels).  currents: population -> (time, batch, n).
    """
    states = {c.name: start(c, n_batch) for c in chip.cells}
    found: dict[str, dict[str, list[Ints]]] = {c.name: {"z": [], "v": []} for c in chip.cells}
    for k in range(n_steps):
        arriving = {c.name: np.zeros((2, n_batch, c.n), dtype=np.int64) for c in chip.cells}
        for s in chip.synapses:
            rows = given[s.source] if s.source in chip.inputs else found[s.source]["z"]
            then = k - s.delay
            if 0 <= then < len(rows):
                arriving[s.target][s.receptor] += np.asarray(rows[then], dtype=np.int64) @ s.weight.T
        for c in chip.cells:
            states[c.name], z, v = step(c, states[c.name], arriving[c.name], currents[c.name][k])
            found[c.name]["z"].append(z.astype(np.int64))
            found[c.name]["v"].append(v)
    return {name: {what: np.stack(rows) for what, rows in parts.items()} for name, parts in found.items()}
