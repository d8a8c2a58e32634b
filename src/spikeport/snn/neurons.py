"""Neuron models. One today: the leaky integrate-and-fire neuron."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PerUnit = float | Array  # one number for all units, or one per unit

RESETS = ("to_value", "subtract")


@dataclass(frozen=True, kw_only=True)
class LIF:
    """Leaky integrate-and-fire neuron with an absolute refractory period.

        tau_mem dv/dt = -(v - v_leak) + i        while t - t_spike > t_ref
        spike if v > v_threshold, then v = v_reset (to_value) or v = v - (v_threshold - v_reset) (subtract)

    tau_mem, t_ref: s.  v_leak, v_threshold, v_reset: mV.  i: mV (a resistance is folded into the weights).
    Each a number, or an array with one value per unit. `v >= t` is written v_threshold = nextafter(t, -inf): the same
    spikes, because no float lies between.
    """

    tau_mem: PerUnit
    v_threshold: PerUnit
    v_reset: PerUnit
    v_leak: PerUnit = 0.0
    t_ref: PerUnit = 0.0
    reset: str = "to_value"

    def problems(self, n: int) -> list[str]:
        """What is wrong with these parameters for n units, a line each."""
        found = [f"reset: '{self.reset}', must be one of {', '.join(RESETS)}"] if self.reset not in RESETS else []
        for name in ("tau_mem", "v_threshold", "v_reset", "v_leak", "t_ref"):
            found += per_unit_problems(name, getattr(self, name), n)
        if not found:
            if np.min(self.tau_mem) <= 0:
                found.append(f"tau_mem: {np.min(self.tau_mem):g} s, must be positive")
            if np.min(self.t_ref) < 0:
                found.append(f"t_ref: {np.min(self.t_ref):g} s, must be 0 or more")
            if np.any(np.asarray(self.v_reset) > np.asarray(self.v_threshold)):
                found.append("v_reset: above v_threshold, so a unit would spike at every step")
        return found


def per_unit(value: PerUnit, n: int) -> Array:
    """(n,) float64: one number repeated, or the array itself."""
    return np.array(np.broadcast_to(np.asarray(value, dtype=np.float64), (n,)))


def per_unit_problems(name: str, value: PerUnit, n: int, *, finite: bool = True) -> list[str]:
    """Shape and finiteness of a per-unit parameter, as a list of problems."""
    array = np.asarray(value, dtype=np.float64)
    if array.shape not in ((), (n,)):
        return [f"{name}: shape {array.shape}, must be a number or ({n},)"]
    if finite and not np.isfinite(array).all():
        return [f"{name}: {int((~np.isfinite(array)).sum())} values are NaN or infinite"]
    return []


def refractory_steps(t_ref: PerUnit, dt: float) -> NDArray[np.int64]:
    """n = floor(t_ref / dt + 1/2): how many steps after its spike's step a unit is frozen."""
    return np.floor(np.asarray(t_ref, dtype=np.float64) / dt + 0.5).astype(np.int64)
