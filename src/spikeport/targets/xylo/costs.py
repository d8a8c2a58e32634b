"""What the integers cost, in words: one loss for each thing that is rounded, with its largest error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spikeport.snn.losses import Loss
from spikeport.snn.neurons import Array
from spikeport.snn.spiking import Projection, Uniform
from spikeport.targets.fixed_point.integers import Ints
from spikeport.targets.xylo.bounds import Bounds
from spikeport.targets.xylo.chip import Chip
from spikeport.targets.xylo.limits import FULL, INPUT_SPIKES, STATE_MAX
from spikeport.targets.xylo.steps import CONSTANT, HELD, Wanted


def population_losses(w: Wanted, chip: Chip, b: Bounds, span: Array, sent: Mapping[int, Array]) -> list[Loss]:
    """span: (n,) mV from reset to threshold.  sent: what v settles at by the spikes for constants, by current."""
    where, found = f"population {w.step.name}", []
    c = chip.population(w.step.name)
    unit = span / c.threshold  # mV of one unit of v
    for name, keep, dash in (
        ("tau_mem", w.step.A, w.dash_mem), *((f"tau of synapse {x.name}", x.asked, x.dash) for x in w.currents)
    ):  # fmt: skip
        if np.isfinite(keep).all():
            found += _decay_loss(f"{where}: {name}", keep, dash, chip.dt)
    for name, n in w.lost.items():
        found.append(Loss("rise and decay are one decay on the chip", f"{where}: synapse {name}", f"in {n} units"))
    total = w.drive + sum(w.constants.values(), np.zeros(w.step.n)) - sum(sent.values(), np.zeros(w.step.n))
    off = float(np.abs((c.bias / (c.threshold * w.fresh) - total) * span).max())
    found += [Loss("biases of 16 bits", where, f"up to {off:.2g} mV")] if off > 1e-12 * span.max() else []
    if sent:
        early = float(np.abs(sum(sent.values(), np.zeros(w.step.n)) - sum(w.constants.values())) @ span / w.step.n)
        found.append(Loss("constants through a synapse are spikes of one channel", where,
                          f"{chip.counts[CONSTANT]:g} a step; {early:.2g} mV a unit act at once"))  # fmt: skip
    v0 = w.population.v0
    if isinstance(v0, Uniform) or np.any(v0 != c.v0 / c.threshold):
        found.append(Loss("v0 is a whole number", where, f"up to {unit.max() / 2:.2g} mV"))
    found += _held_losses(w, chip)
    found.append(Loss("currents and v are whole numbers of 16 bits, rounded in every step", where,
                      f"threshold {_range(c.threshold)}; v up to {(b.rounding * span).max():.2g} mV off"))  # fmt: skip
    return found + _saturation(w, where, c.threshold, unit, b)


def _decay_loss(where: str, keep: Array, dash: Ints, dt: float) -> list[Loss]:
    """The decay asked for, and the nearest that is."""
    off = np.abs(2.0**-dash / (1 - keep) - 1)
    if off.max() < 1e-12:
        return []
    with np.errstate(divide="ignore"):
        asked = -dt / np.log(np.maximum(keep, 0))
        has = -dt / np.log(np.maximum(1 - 2.0**-dash, 0))
    text = (
        f"asked {_range(asked * 1e3)} ms, nearest {_range(has * 1e3)} ms: up to {100 * off.max():.2g} % another decay"
    )
    return [Loss("decays are powers of two", where, f"{text} a step")]


def _held_losses(w: Wanted, chip: Chip) -> list[Loss]:
    """What becomes of held values: counts, and for those on the membrane a current before it."""
    found = []
    names = list(dict.fromkeys(j.source for j in (*w.step.held, *(j for s in w.step.synapses for j in s.held))))
    for name in names:
        counts = chip.counts[name]
        most = _most(chip, name) / counts
        found.append(Loss("held values become counts of spikes", f"input {name} to population {w.step.name}",
                          f"{counts:g} spikes a step per unit, up to {most:.3g}; what is left waits"))  # fmt: skip
    if w.step.held:
        fastest = min(w.currents, key=lambda x: float(x.dash.mean()))
        lag = _range(chip.dt * 2.0**fastest.dash * 1e3)
        through = "one of its own" if fastest.name == HELD else fastest.name
        found.append(Loss("held values reach v through a synapse", f"population {w.step.name}",
                          f"{through}, of {lag} ms"))  # fmt: skip
    return found


def _most(chip: Chip, name: str) -> int:
    """Spikes that the host can send in a step for one value."""
    return INPUT_SPIKES * sum(row.source == name and row.index == 0 and row.sign > 0 for row in chip.channels)


def _saturation(w: Wanted, where: str, threshold: Ints, unit: Array, b: Bounds) -> list[Loss]:
    found = []
    if b.current > STATE_MAX or b.above * float(w.fresh.max()) > STATE_MAX:
        found.append(Loss("a current may saturate", where, f"worst case {b.current:.3g}, 16 bits hold {STATE_MAX}; a "
                                                           "run in which it does is refused"))  # fmt: skip
    if b.below > STATE_MAX:
        found.append(Loss("v stops at its floor", where, f"{(STATE_MAX * unit).min():.3g} mV below its reset, worst "
                                                         f"case {(b.below * unit).max():.3g} mV"))  # fmt: skip
    if b.above > STATE_MAX and (threshold < FULL).any():
        found.append(Loss("v stops at its ceiling", where, f"{(STATE_MAX * unit).min():.3g} mV above its reset, worst "
                          f"case {(b.above * unit).max():.3g} mV; a run in which it does is refused"))  # fmt: skip
    return found


def projection_loss(j: Projection, has: Array, wished: Array, span: Array, dt: float, held: bool) -> Loss:
    """has, wished: effects of one spike a step (or of a held value of 1), in thresholds."""
    unit, scale = ("mV", 1.0) if held else ("mV s", dt)
    error, size = (has - wished) * span[:, None] * scale, wished * span[:, None] * scale
    rms = float(np.sqrt(np.mean(size**2)))
    relative = float(np.sqrt(np.mean(error**2))) / rms if rms > 0 else 0.0
    gone = int(((has == 0) & (wished != 0)).sum())
    text = f"rms error {100 * relative:.2g} % of the rms weight, largest {np.abs(error).max():.2g} {unit}"
    text += f"; {gone} of {int((wished != 0).sum())} become 0" if gone else ""
    return Loss("weights of 8 bits", f"projection {j.source}->{j.target}", text)


def _range(values: Any) -> str:
    low, high = float(np.min(values)), float(np.max(values))
    return f"{low:.6g}" if low == high else f"{low:.4g} to {high:.4g}"
