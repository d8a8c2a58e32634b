"""Presets of the transfer: which LIF neuron, which clock, which quirks.

    kim2019    what the published code does, quirk by quirk: its integrator, its noise, spikes while refractory, every
               unit refractory for the first 40 steps, inputs that change at half steps, v >= threshold, no b_out.
    standard   the same neuron and noise by the paper's equations: exact integration, nothing while refractory,
               v > threshold, inputs held from the start of their sample, b_out kept.

Source of the numbers: the published code of Kim, Li & Sejnowski (PNAS 2019), spiking/LIF_network_fnc.m; v0 of
`standard` is ours, from reset to threshold, so that no unit starts above it.
"""

from __future__ import annotations

from dataclasses import dataclass

from spikeport.snn.errors import SpikeportError
from spikeport.snn.spiking import Uniform

PUBLISHED_DT = 5e-5  # s, the step for which the noise per step was published
PUBLISHED_V0 = Uniform(-65.0, 30.0)  # mV


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Parameters of the transfer; times in s, potentials in mV.

    at_threshold: spike at v >= threshold, not only above.  noise_sd: mV per step.  sampling: of held inputs.
    ref0: steps for which every unit starts refractory.  keep_b_out: False drops the read-out's bias (a named loss).
    delay: steps of the recurrent projection.
    """

    name: str
    integrator: str
    dt: float = PUBLISHED_DT
    tau_mem: float = 0.01
    tau_rise: float = 0.002
    v_threshold: float = -40.0
    v_reset: float = -65.0
    bias: float = -40.0
    t_ref: float = 0.002
    noise_sd: float = 0.1
    v0: Uniform = PUBLISHED_V0
    at_threshold: bool = False
    noise_while_refractory: bool = False
    spikes_while_refractory: bool = False
    ref0: int = 0
    sampling: str = "floor"
    keep_b_out: bool = True
    delay: int = 1


PRESETS = {
    p.name: p
    for p in (
        Preset(name="standard", integrator="exact", v0=Uniform(-65.0, -40.0)),
        Preset(
            name="kim2019",
            integrator="kim2019",
            at_threshold=True,
            noise_while_refractory=True,
            spikes_while_refractory=True,
            ref0=40,
            sampling="nearest",
            keep_b_out=False,
        ),
    )
}


def get_preset(name: str) -> Preset:
    """The preset of that name; an unknown one is refused with the list."""
    if name not in PRESETS:
        raise SpikeportError(f"preset '{name}' is unknown", [f"known: {', '.join(PRESETS)}"], hint="--preset kim2019")
    return PRESETS[name]
