"""What the integers cost, in words: one loss for each thing that is rounded, with its largest error."""

from __future__ import annotations

import numpy as np

from spikeport.snn.losses import Loss
from spikeport.snn.neurons import Array
from spikeport.snn.spiking import Projection, Uniform
from spikeport.targets.loihi.bounds import Bounds
from spikeport.targets.loihi.chip import Compartments
from spikeport.targets.loihi.drive import round_bias
from spikeport.targets.loihi.limits import V_MAX
from spikeport.targets.loihi.steps import Wanted


def population_losses(w: Wanted, c: Compartments, b: Bounds, span: Array, dt: float) -> list[Loss]:
    """span: (n,) mV from reset to threshold; b: in the chip's units."""
    where, found = f"population {c.name}", []
    unit = span / c.scale  # mV of one unit of v
    for name, wished, has in (("tau_mem", 1 - w.A, w.fresh_v), (f"tau of synapse {c.synapse}", 1 - w.D, w.fresh_u)):
        off = np.abs(has / wished - 1).max()
        if off > 1e-12 and (name == "tau_mem" or c.synapse):
            found.append(Loss("decays of 12 bits", f"{where}: {name}", f"up to {100 * off:.2g} % another decay a step"))
    if w.held or w.hosted:
        names = ", ".join(dict.fromkeys([*w.held, *(name for h in w.hosted for name in h.effects)])) or "none"
        often = ", filtered by the host, which writes every bias in every step" if w.hosted else ""
        off = float((round_bias(c, c.bias).step / w.fresh_v * unit).max())
        found.append(Loss("held values become biases of 12 bits", where,
                          f"inputs {names}{often}: steps of {off:.2g} mV where they are 0"))  # fmt: skip
    else:
        off = float(np.abs((round_bias(c, c.bias).value - c.bias) / w.fresh_v * unit).max())
        found += [Loss("biases of 12 bits", where, f"up to {off:.2g} mV")] if off > 0 else []
    v0 = w.population.v0
    if isinstance(v0, Uniform) or np.any(v0 != c.v0 / c.scale):
        found.append(Loss("v0 is a whole number", where, f"up to {unit.max() / 2:.2g} mV"))
    low = (1 / w.fresh_v * (1 + (1 / w.fresh_u if c.synapse else 0)) * unit).max()
    found.append(Loss("u and v are whole numbers, cut toward 0 in every step", where,
                      f"threshold {c.scale}; v up to {low:.2g} mV nearer its reset"))  # fmt: skip
    if b.current > V_MAX:
        found.append(Loss("u may overflow", where, f"worst case {b.current:.3g}, 24 bits hold {V_MAX}; a run in which "
                                                   "it does is refused"))  # fmt: skip
    if b.below > V_MAX:
        found.append(Loss("v stops at its floor", where, f"{(V_MAX * unit).min():.3g} mV below its reset, worst case "
                                                         f"{(b.below * unit).max():.3g} mV"))  # fmt: skip
    return found


def whole_bias_losses(w: Wanted, c: Compartments, span: Array) -> list[Loss]:
    """What it costs that netx has biases in steps of 2^6 only; span: (n,) mV."""
    off = np.abs(c.bias / (c.scale * w.fresh_v) - w.drive) * span
    if not off.max() > 1e-12:
        return []
    return [Loss("biases in steps of 64", f"population {c.name}", f"up to {off.max():.2g} mV")]


def projection_loss(j: Projection, weight: Array, span: Array, bits: int) -> Loss:
    """weight: as the chip has it; both normalised, span (n_target,) makes mV s of them."""
    wished, error = j.weight * span[:, None], (weight - j.weight) * span[:, None]
    rms = np.sqrt(np.mean(wished**2))
    relative = np.sqrt(np.mean(error**2)) / rms if rms > 0 else 0.0
    gone = int(((weight == 0) & (j.weight != 0)).sum())
    text = f"rms error {100 * relative:.2g} % of the rms weight, largest {np.abs(error).max():.2g} mV s"
    text += f"; {gone} of {int((j.weight != 0).sum())} become 0" if gone else ""
    return Loss(f"weights of {bits} {'bits' if bits > 1 else 'bit'}", f"projection {j.source}->{j.target}", text)
