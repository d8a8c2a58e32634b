"""How far a neuron's states can go, whatever arrives, and how far rounding can take them; in units of the chip.

current    largest |i| before it decays: sum over sources of |w| most / (1 - D), of one sign; most: spikes a step
above      v at most: (positive currents + bias) / (1 - A)
below      how far v goes under 0 at most
rounding   every decay is off by less than 1, so i is by 1/(1 - D) at most, and v by (1 + sum of those) / (1 - A);
           counts of held values are off by half a spike at any time, each moves v by |w| D / (1 - D) at most
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikeport.snn.neurons import Array
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.xylo.chip import Chip
from spikeport.targets.xylo.limits import INPUT_SPIKES
from spikeport.targets.xylo.steps import Wanted


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """See the module; rounding: (n,), in thresholds."""

    current: float
    above: float
    below: float
    rounding: Array


def bounds(network: SpikingNetwork, w: Wanted, chip: Chip) -> Bounds:
    """Of one population."""
    mine = chip.places()[w.step.name]
    neurons = chip.population(w.step.name)
    flow: Array = np.zeros((2, w.step.n))  # of both signs
    current, rounding = 0.0, np.ones(w.step.n)
    for c, each in enumerate(w.currents):
        into = chip.weights_in[:, mine, c] * (INPUT_SPIKES * 2.0**chip.shift_in)
        rec = chip.weights_rec[:, mine, c] * 2.0**chip.shift_rec
        for sign in (0, 1):
            side = sum((np.maximum(x * (1 - 2 * sign), 0).sum(axis=0) for x in (into, rec)), np.zeros(w.step.n))
            total = side * 2.0**each.dash
            current = max(current, float(total.max()))
            flow[sign] += total * each.D
        rounding = rounding + 2.0**each.dash
        held = [k for k, row in enumerate(chip.channels) if row.sign]
        size = np.abs(chip.weights_in[held][:, mine, c]).sum(axis=0) * 2.0**chip.shift_in
        rounding = rounding + 0.5 * size * each.D * 2.0**each.dash * w.fresh  # divided by fresh below
    above = (flow[0] + np.maximum(neurons.bias, 0)) / w.fresh
    below = (flow[1] + np.maximum(-neurons.bias, 0)) / w.fresh
    return Bounds(current=current, above=float(above.max()), below=float(below.max()),
                  rounding=rounding / (w.fresh * neurons.threshold))  # fmt: skip
