"""Synapses: linear filters of unit area between a spike and the current it makes.

Each class states its continuous system, one per unit of the population it acts on,

    dx/dt = M x,    x jumps by jump * w at a spike of weight w (mV s),    current = x[0] (mV)

and an integrator (integrators.py) turns that into a step. Unit area: the integral of x[0] after one spike is w.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikeport.snn.neurons import Array, PerUnit, per_unit, per_unit_problems


@dataclass(frozen=True, kw_only=True)
class DoubleExponential:
    """Double-exponential synapse with states (s, h).

        ds/dt = -s / tau_decay + h,    dh/dt = -h / tau_rise,    h jumps by w / (tau_rise tau_decay)

    tau_rise, tau_decay: s, a number or one per unit.  Source: Kim, Li & Sejnowski, PNAS 2019, Methods.
    """

    tau_rise: PerUnit
    tau_decay: PerUnit
    n_states = 2

    def system(self, n: int) -> tuple[Array, Array]:
        """M (n, 2, 2) in 1/s and jump (n, 2)."""
        rise, decay = per_unit(self.tau_rise, n), per_unit(self.tau_decay, n)
        m = np.zeros((n, 2, 2))
        m[:, 0, 0], m[:, 0, 1], m[:, 1, 1] = -1 / decay, 1.0, -1 / rise
        return m, np.stack([np.zeros(n), 1 / (rise * decay)], axis=1)

    def problems(self, n: int) -> list[str]:
        return _tau_problems(self, ("tau_rise", "tau_decay"), n)


@dataclass(frozen=True, kw_only=True)
class Exponential:
    """Single-exponential synapse: ds/dt = -s / tau, s jumps by w / tau.  tau: s, a number or one per unit."""

    tau: PerUnit
    n_states = 1

    def system(self, n: int) -> tuple[Array, Array]:
        """M (n, 1, 1) in 1/s and jump (n, 1)."""
        tau = per_unit(self.tau, n)
        return (-1 / tau)[:, None, None], (1 / tau)[:, None]

    def problems(self, n: int) -> list[str]:
        return _tau_problems(self, ("tau",), n)


@dataclass(frozen=True, kw_only=True)
class Delta:
    """A synapse without memory: a spike of weight w (mV s) moves v by w / tau_mem at once, and not while refractory."""

    n_states = 0

    def system(self, n: int) -> tuple[Array, Array]:
        """No states: M (n, 0, 0), jump (n, 0)."""
        return np.zeros((n, 0, 0)), np.zeros((n, 0))

    def problems(self, n: int) -> list[str]:
        return []


Synapse = DoubleExponential | Exponential | Delta


def _tau_problems(synapse: DoubleExponential | Exponential, names: tuple[str, ...], n: int) -> list[str]:
    found: list[str] = []
    for name in names:
        value = getattr(synapse, name)
        shape = per_unit_problems(name, value, n)
        found += shape
        if not shape and np.min(value) <= 0:
            found.append(f"{name}: {np.min(value):g} s, must be positive")
    return found
