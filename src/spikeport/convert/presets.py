"""Presets of the transfer: which LIF neuron, which clock, which quirks.

    kim2019    what the published code does, quirk by quirk: its integrator, its noise, spikes while refractory, every
               unit refractory for the first t_ref, inputs that change at half steps, v >= threshold, no b_out.
    standard   the same neuron and noise by the paper's equations: exact integration, nothing while refractory,
               v > threshold, inputs held from the start of their sample, b_out kept.

Source of the numbers: the published code of Kim, Li & Sejnowski (PNAS 2019), spiking/LIF_network_fnc.m; v0 of
`standard` is ours, from reset to threshold, so that no unit starts above it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikeport.snn.errors import SpikeportError
from spikeport.snn.neurons import refractory_steps
from spikeport.snn.spiking import Uniform

PUBLISHED_DT = 5e-5  # s, the step for which the noise per step was published
PUBLISHED_V0 = Uniform(-65.0, 30.0)  # mV
SHORTEST_DT = 1e-6  # s: fifty times as many steps as published, for no more accuracy where integration is exact
LONGEST_T_REF = 1.0  # s: beyond it a unit fires less than once a second; 2 ms was published


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Parameters of the transfer; times in s, potentials in mV.

    at_threshold: spike at v >= threshold, not only above.  noise_sd: mV per step.  sampling: of held inputs.
    starts_refractory: every unit, for t_ref from the start.  keep_b_out: False drops the read-out's bias (a named
    loss).  delay: steps of the recurrent projection.
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
    starts_refractory: bool = False
    sampling: str = "floor"
    keep_b_out: bool = True
    delay: int = 1

    def __post_init__(self) -> None:
        problems = step_problems(self.dt) + t_ref_problems(self.t_ref)
        if not (np.isfinite(self.noise_sd) and self.noise_sd >= 0):
            problems.append(f"noise: {self.noise_sd:g} mV a step, must be 0 or more")
        if problems:
            hint = "--dt 5e-5 --t-ref 0.002 --noise 0.1   are the published ones"
            raise SpikeportError(f"preset '{self.name}' cannot have these settings", problems, hint=hint)

    @property
    def v0_range(self) -> list[float]:
        """v0 as plain numbers, mV."""
        return [self.v0.low, self.v0.high]

    @property
    def ref0(self) -> int:
        """Steps for which every unit starts refractory: none, or as if it had fired at 0 s, as published."""
        return int(refractory_steps(self.t_ref, self.dt)) if self.starts_refractory else 0

    @property
    def t_ref_run(self) -> float:
        """s: the refractory period as it runs, floor(t_ref / dt + 1/2) steps."""
        return float(f"{int(refractory_steps(self.t_ref, self.dt)) * self.dt:.12g}")  # 3 x 1e-4 is 3e-4, as typed


def step_problems(dt: float) -> list[str]:
    """What is wrong with a step of the spiking network, a line each."""
    if not (np.isfinite(dt) and dt > 0):
        return [f"dt {dt} s, must be positive, and finite"]
    if dt < SHORTEST_DT:
        more = f"{PUBLISHED_DT / dt:.3g} times as many steps as the published {PUBLISHED_DT:g} s"
        return [f"dt {dt:g} s, must be at least {SHORTEST_DT:g} s: it takes {more}"]
    return []


def t_ref_problems(t_ref: float) -> list[str]:
    """What is wrong with a refractory period, a line each."""
    if not (np.isfinite(t_ref) and t_ref >= 0):
        return [f"t_ref: {t_ref:g} s, must be 0 or more, and finite"]
    if t_ref > LONGEST_T_REF:
        return [f"t_ref: {t_ref:g} s, must be at most {LONGEST_T_REF:g} s: no unit would fire once a second"]
    return []


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
            starts_refractory=True,
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
