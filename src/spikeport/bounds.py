"""What a target leaves a calibration to choose: noise and refractory period, by the target's own check."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikeport.convert.calibration.bounds import Bounds
from spikeport.convert.calibration.curves import lif
from spikeport.convert.presets import Preset, get_preset
from spikeport.snn.spiking import HeldInput, Population, Projection, ReadOut, SpikingNetwork
from spikeport.snn.synapses import Exponential
from spikeport.targets.base import Target
from spikeport.targets.registry import get_target

LONGEST = 0.010  # s, of a refractory period: the longest of Kim, Li & Sejnowski, PNAS 2019, who try 0 to 10 ms


def bounds_of(target: str | Target, *, preset: str | Preset = "standard", dt: float | None = None) -> Bounds:
    """The bounds for `convert_network` or `calibrate` that this target sets at this step (default: the preset's).

    noise: from 0 to the preset's, where the target has noise; else none.  t_ref: from 0 to the longest that the
    target's own check takes, up to 10 ms.  1/lambda is not bounded: what weights can hold depends on the network.
    """
    on = get_target(target) if isinstance(target, str) else target
    settings = get_preset(preset) if isinstance(preset, str) else preset
    settings = settings if dt is None else replace(settings, dt=dt)
    noise = settings.noise_sd if on.capabilities.noise else 0.0
    low, high = 0, int(np.floor(LONGEST / settings.dt + 0.5))
    while low < high:  # the longest that is taken: what takes n steps takes fewer
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _takes(on, settings, middle) else (low, middle - 1)
    return Bounds(noise_sd=(0.0, noise), t_ref=(0.0, low * settings.dt))


def _takes(on: Target, preset: Preset, steps: int) -> bool:
    """Does the target take a neuron that is refractory for so many steps? Whatever else it refuses does not count."""
    neuron = lif(replace(preset, t_ref=steps * preset.dt))
    unit = Population(name="unit", n=1, neuron=neuron, synapses={"in": Exponential(tau=0.02)}, v0=preset.v_reset)
    network = SpikingNetwork(
        populations=(unit,), dt=preset.dt, integrator=preset.integrator,
        inputs=(HeldInput(name="u", n=1, dt=max(preset.dt, 0.005)),),
        projections=(Projection(source="u", target="unit", weight=np.ones((1, 1)), synapse="in"),),
        readouts=(ReadOut(name="out", source="unit", weight=np.ones((1, 1)), bias=np.zeros(1),
                          synapse=Exponential(tau=0.02)),),
    )  # fmt: skip
    return not any(p.feature == "refractory" or p.where.endswith("t_ref") for p in on.problems(network))
