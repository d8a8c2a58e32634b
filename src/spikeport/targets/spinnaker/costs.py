"""What the integers cost, in words: one loss for each thing that is rounded, with its largest error."""

from __future__ import annotations

import numpy as np

from spikeport.snn.losses import Loss
from spikeport.snn.neurons import Array
from spikeport.snn.spiking import Projection
from spikeport.targets.fixed_point.fractions import S1615_BITS, U032_BITS, from_s1615
from spikeport.targets.loihi.steps import Wanted
from spikeport.targets.spinnaker.chip import Cells


def population_losses(w: Wanted, c: Cells, dt: float) -> list[Loss]:
    """Decays, potentials, states and currents of one population."""
    where, found = f"population {c.name}", []
    keep_v, keep_i = from_s1615(c.keep_v), np.ldexp(c.keep_i.astype(np.float64), -U032_BITS)
    for name, wished, has in (("tau_mem", w.A, keep_v), (f"tau of synapse {c.synapse}", w.D, keep_i)):
        off = float(np.abs((1 - has) / (1 - wished) - 1).max())
        if off > 1e-12 and (name == "tau_mem" or c.synapse):
            text = f"up to {100 * off:.2g} % another decay a step"
            found.append(Loss("decays as the chip computes them", f"{where}: {name}", text))
    last = 2.0**-S1615_BITS
    for name, raw, value in (
        ("threshold", c.threshold, w.step.threshold), ("reset", c.reset, w.step.reset), ("rest", c.rest, w.drive)
    ):  # fmt: skip
        off = float(np.abs(from_s1615(raw) - value).max())
        if off > 0:
            found.append(Loss("potentials in s16.15", f"{where}: {name}", f"up to {off:.2g} mV"))
    stuck = float((np.floor(0.5 / (1 - keep_v)) * last).max())
    lost = float((last * 2.0**-c.gain / (1 - keep_i)).max()) if c.synapse else 0.0
    text = f"v stops {stuck:.2g} mV before where it settles"
    text += f"; each receptor's current is up to {lost:.2g} mV too low" if c.synapse else ""
    found.append(Loss("states in s16.15, rounded in every step", where, text))
    if c.driven:
        names = ", ".join(dict.fromkeys([*w.held, *(name for h in w.hosted for name in h.effects)])) or "constants"
        often = ", filtered by the host: a new current in every step" if w.hosted else ""
        found.append(Loss("held values become step currents in s16.15", where,
                          f"{names}{often}: up to {last / 2:.2g} mV"))  # fmt: skip
    return found


def projection_loss(j: Projection, weight: Array, wished: Array) -> Loss:
    """weight, wished: (n_target, n_source) mV s."""
    error = weight - wished
    rms = float(np.sqrt(np.mean(wished**2)))
    relative = float(np.sqrt(np.mean(error**2))) / rms if rms > 0 else 0.0
    gone = int(((weight == 0) & (wished != 0)).sum())
    text = f"rms error {100 * relative:.2g} % of the rms weight, largest {np.abs(error).max():.2g} mV s"
    text += f"; {gone} of {int((wished != 0).sum())} become 0" if gone else ""
    return Loss("weights of 16 bits", f"projection {j.source}->{j.target}", text)
