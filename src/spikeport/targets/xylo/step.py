"""One step of Xylo's neurons, in NumPy that reads like the formulas; kernel.py is the same, compiled.

    1 arrivals   i_s = sat(i_s + (w_s << shift))        for each spike: of the input channels in this step, then of the
                                                        hidden neurons in the step before; in ascending order
    2 evolve     i_s = i_s - decay(i_s, dash_syn_s)
                 dv  = sat(sat(-decay(v, dash_mem) + i_1 + i_2) + bias)
                 v   = sat(v + dv)
    3 spikes     while v >= threshold and z < 31:  z = z + 1,  v = v - threshold

sat: to 16 bits.  decay(x, k): x >> k, at least 1 away from 0 (fixed_point/integers.py); -decay(v) wraps in 16 bits,
which shows at v = -32768 with dash 0 only.  A read-out neuron has one synapse, is fed by
the hidden neurons of the step before, and spikes once at most.

Source: SynSense's xylosim 0.1.3, version 2 (SYNS61201), compared state by state in tests/targets/test_xylo_sim.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spikeport.targets.fixed_point.integers import Ints, bit_shift_decay, saturate, wrap_two
from spikeport.targets.xylo.chip import Chip, Weights
from spikeport.targets.xylo.limits import HIDDEN_SPIKES, STATE_BITS, STATE_MAX, STATE_MIN


@dataclass(frozen=True, kw_only=True)
class State:
    """i: (n, synapses); v and z, the spikes of the last step: (n,)."""

    i: Ints
    v: Ints
    z: Ints


def sat(x: Ints) -> Ints:
    """To 16 bits."""
    return saturate(x, STATE_MIN, STATE_MAX)


def deliver(i: Ints, spikes: Ints, weight: Weights, shift: int) -> Ints:
    """(n, synapses) currents after the spikes (sources,) through weight (sources, n, synapses).

    Several spikes of one source add as often, saturating each time: that is their sum, saturated once.
    """
    for source in np.flatnonzero(spikes):
        i = sat(i + spikes[source] * (weight[source].astype(np.int64) << shift))
    return i


def evolve(
    i: Ints, v: Ints, dash_syn: Ints, dash_mem: Ints, threshold: Ints, bias: Ints, most: int
) -> tuple[Ints, Ints, Ints]:
    """(i, v, z) after a step; most: spikes of a neuron in a step."""
    i = i - bit_shift_decay(i, dash_syn)
    dv = sat(sat(wrap_two(-bit_shift_decay(v, dash_mem), STATE_BITS) + i.sum(axis=1)) + bias)
    v = sat(v + dv)
    z = np.zeros_like(v)
    for _ in range(most):
        spike = v >= threshold
        z, v = z + spike, v - spike * threshold
    return i, v, z


def start(n: int, synapses: int = 2, v0: Ints | None = None) -> State:
    """The state at the start of a trial."""
    zero = np.zeros(n, dtype=np.int64)
    return State(i=np.zeros((n, synapses), dtype=np.int64), v=zero if v0 is None else v0, z=zero)


def step(chip: Chip, state: State, given: Ints) -> State:
    """The hidden neurons after a step; given: (channels,) spikes."""
    i = deliver(state.i, given, chip.weights_in, chip.shift_in)
    i = deliver(i, state.z, chip.weights_rec, chip.shift_rec)
    i, v, z = evolve(
        i, state.v, chip.whole("dash_syn"), chip.whole("dash_mem"), chip.whole("threshold"), chip.whole("bias"),
        HIDDEN_SPIKES,
    )  # fmt: skip
    return State(i=i, v=v, z=z)


def simulate(chip: Chip, given: Ints) -> dict[str, Ints]:
    """Run one trial slowly; given: (time, channels).  {"z", "v": (time, n), "i": (time, n, 2)}, and of the read-out
    neurons, where there are any, "z_out", "v_out": (time, m), "i_out": (time, m, 1). v: after the reset."""
    out, hidden = chip.readouts, start(chip.n, v0=chip.whole("v0"))
    rows: dict[str, list[Ints]] = {name: [] for name in ("z", "v", "i", "z_out", "v_out", "i_out")}
    reading = start(0 if out is None else out.weight.shape[1], synapses=1)
    for now in given:
        if out is not None:
            i = deliver(reading.i, hidden.z, out.weight[:, :, None], out.shift)
            i, v, z = evolve(i, reading.v, out.dash_syn[:, None], out.dash_mem, out.threshold, out.bias, 1)
            reading = replace(reading, i=i, v=v, z=z)
        hidden = step(chip, hidden, now)
        for tail, state in (("", hidden), ("_out", reading)):
            for name in ("z", "v", "i"):
                rows[name + tail].append(getattr(state, name))
    return {name: np.stack(values) for name, values in rows.items() if out is not None or "_" not in name}
