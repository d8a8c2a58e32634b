"""NIR's neurons as ours: each node's equations, and the parameters for which our step computes them.

NIR has no dt and no order of a step; a step here is forward Euler, current before membrane, spikes at v > v_threshold:

    LIF        v = v + dt/tau (v_leak - v + r u)
    CubaLIF    i = i + dt/tau_syn (w_in u - i),  v = v + dt/tau_mem (v_leak - v + r i)
    IF         v = v + dt r u
    Threshold  v = u

with u = sum of w z + w_values values + b. Our step (reference.py, integrator euler) is v = A v + B x + (1 - A) (...):

    LIF        spikes through Delta, whose jump is 1/tau: weight dt r w; values and bias on the membrane: r w, r b
    CubaLIF    Exponential(tau_syn), whose jump is 1/tau_syn and whose x is r i: weight dt r w_in w; values r w_in w
    IF         tau_mem = 2^m s, at least 2^60 dt: 1 - dt/tau_mem is exactly 1 in float64 and 1 - A exactly 0, so there
               is no leak at all; weights carry the factor 2^m, exactly. Values and bias through Exponential(dt), D = 0
    Threshold  tau_mem = dt, so A = 0 and nothing is remembered. v is u times 2^m/dt, between 1 and 2, so that the
               weights (times 2^m) keep their bits, and whole numbers meet whole thresholds as they do in NIR

IF and Threshold round as NIR's equations do, where those add u from left to right. LIF and CubaLIF do not (A v is not
v - dt/tau v to the last bit), so there a v that meets its threshold to within some 1e-15 may fall on the other side.
Units of the file are taken as mV, seconds and mV per unit of u; r and w_in are folded into the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spikeport.snn.neurons import LIF, Array, PerUnit
from spikeport.snn.synapses import Delta, Exponential, Synapse
from spikeport.targets.nir.graph import Node
from spikeport.targets.nir.signals import gain_of, values_of

NO_LEAK = 60  # tau_mem is at least 2^60 dt: 1 - 2^-60 rounds to 1, as everything above 1 - 2^-54 does


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A neuron, and how NIR's u becomes its weights. Arrays are (n,).

    spikes: the synapse that spikes come through; jump: what it adds per mV s; target: what NIR adds per unit of weight.
    values: the synapse of held inputs and bias, None the membrane; gain: mV per unit of u.
    """

    neuron: LIF
    synapses: dict[str, Synapse]
    spikes: str
    jump: Array
    target: Array
    values: str | None
    gain: Array

    def spike_weight(self, weight: Array) -> Array:
        """(n, m) mV s: times the jump, it is target times weight."""
        return divided(self.target[:, None] * weight, self.jump[:, None])

    def constant(self, value: Array) -> Array:
        """(n,) mV: a bias of the input."""
        return self.gain * value

    def held_weight(self, weight: Array) -> Array:
        """(n, m) mV per unit of a held input."""
        return self.gain[:, None] * weight


def cell_of(node: Node, dt: float) -> Cell:
    """The cell of a LIF, CubaLIF, IF or Threshold that flat.check passed."""
    return _CELLS[node.kind](node, dt)


def _lif(node: Node, dt: float) -> Cell:
    tau, gain = values_of(node, "tau"), gain_of(node)
    return Cell(
        neuron=_neuron(node, tau), synapses={"delta": Delta()},
        spikes="delta", jump=1 / tau, target=dt / tau * gain, values=None, gain=gain,
    )  # fmt: skip


def _cuba_lif(node: Node, dt: float) -> Cell:
    tau, gain = values_of(node, "tau_syn"), gain_of(node)
    return Cell(
        neuron=_neuron(node, values_of(node, "tau_mem")), synapses={"current": Exponential(tau=common(tau))},
        spikes="current", jump=1 / tau, target=dt / tau * gain, values="current", gain=gain,
    )  # fmt: skip


def _if(node: Node, dt: float) -> Cell:
    gain = gain_of(node)
    tau = 2.0 ** (np.ceil(np.log2(dt)) + NO_LEAK)
    return Cell(
        neuron=_neuron(node, np.full(gain.size, tau)), synapses={"delta": Delta(), "current": Exponential(tau=dt)},
        spikes="delta", jump=np.full(gain.size, 1 / tau), target=dt * gain, values="current", gain=gain * tau,
    )  # fmt: skip


def _threshold(node: Node, dt: float) -> Cell:
    threshold = values_of(node, "threshold")
    n, power = threshold.size, 2.0 ** np.ceil(np.log2(dt))
    top = (1 / dt) * (power * threshold)  # as a step computes v from a u of the same size
    neuron = LIF(
        tau_mem=dt,
        v_threshold=common(top),
        v_reset=common(np.where(top > 0, 0.0, top - 1)),  # without effect, A = 0
    )
    one, scale = np.ones(n), np.full(n, (1 / dt) * power)
    return Cell(
        neuron=neuron,
        synapses={"delta": Delta()},
        spikes="delta",
        jump=one,
        target=one * power,
        values=None,
        gain=scale,
    )


_CELLS: dict[str, Callable[[Node, float], Cell]] = {
    "LIF": _lif,
    "CubaLIF": _cuba_lif,
    "IF": _if,
    "Threshold": _threshold,
}


def _neuron(node: Node, tau: Array) -> LIF:
    n = tau.size
    reset = values_of(node, "v_reset") if "v_reset" in node.fields else np.zeros(n)  # nir's own default
    leak = values_of(node, "v_leak") if "v_leak" in node.fields else np.zeros(n)
    return LIF(
        tau_mem=common(tau),
        v_threshold=common(values_of(node, "v_threshold")),
        v_reset=common(reset),
        v_leak=common(leak),
    )


def common(values: Array) -> PerUnit:
    """One number where all units share it."""
    return float(values[0]) if not np.ptp(values) else values


def divided(wanted: Array, by: Array) -> Array:
    """w with by * w = wanted, to the last bit where a number does it: no spike may miss a threshold by rounding."""
    best = np.asarray(wanted / by)
    for candidate in (np.nextafter(best, np.inf), np.nextafter(best, -np.inf)):
        best = np.where((by * best != wanted) & (by * candidate == wanted), candidate, best)
    return best
