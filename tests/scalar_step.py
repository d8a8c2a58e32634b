"""The canonical step of reference.py's docstring, written a second time: plain numbers, one neuron at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from spikeport.snn import noise
from spikeport.snn.spiking import HeldInput, SpikingNetwork
from spikeport.snn.synapses import Delta, DoubleExponential

Array = NDArray[Any]


def at(value: Any, unit: int) -> float:
    return float(value if np.ndim(value) == 0 else value[unit])


class Filter:
    """One synapse of one neuron: (s, h) or s alone; `feel` is what it adds to v in a step."""

    def __init__(self, synapse: Any, unit: int, integrator: str, tau_mem: float, dt: float) -> None:
        self.integrator, self.tau_mem, self.dt = integrator, tau_mem, dt
        if isinstance(synapse, DoubleExponential):
            rise, decay = at(synapse.tau_rise, unit), at(synapse.tau_decay, unit)
            self.M, self.jump = [[-1 / decay, 1.0], [0.0, -1 / rise]], [0.0, 1 / (rise * decay)]
        else:
            self.M, self.jump = [[-1 / at(synapse.tau, unit)]], [1 / at(synapse.tau, unit)]
        self.x = [0.0] * len(self.jump)
        size = len(self.x)
        whole = np.zeros((size + 1, size + 1))
        whole[:size, :size], whole[size, 0], whole[size, size] = self.M, 1 / tau_mem, -1 / tau_mem
        self.flow = expm(whole * dt)  # of `exact`

    def _decayed(self, x: list[float]) -> list[float]:
        if self.integrator == "exact":
            return [sum(self.flow[i, j] * x[j] for j in range(len(x))) for i in range(len(x))]
        diagonal = [
            math.exp(m[i] * self.dt) if self.integrator == "kim2019" else 1 + m[i] * self.dt
            for i, m in enumerate(self.M)
        ]
        return [diagonal[i] * x[i] + (self.dt * x[1] if i == 0 and len(x) == 2 else 0.0) for i in range(len(x))]

    def step(self, spikes: float, held: float) -> None:
        x = self._decayed(self.x)
        if self.integrator == "exact":  # settles at jump held / -M, that is at held for s
            settled = [held, self.jump[1] * held / -self.M[1][1]] if len(x) == 2 else [held]
            gone = self._decayed(settled)
            felt = sum(self.flow[-1, j] * settled[j] for j in range(len(settled)))
            gain = (1 - self.flow[-1, -1]) * held / felt if held else 0.0  # so that v settles at what is held
            push = [gain * (a - b) for a, b in zip(settled, gone, strict=True)]
        else:
            push = [j * self.dt * held for j in self.jump]
        self.x = [a + j * spikes + p for a, j, p in zip(x, self.jump, push, strict=True)]

    def feel(self) -> float:
        if self.integrator == "exact":
            return float(sum(self.flow[-1, j] * self.x[j] for j in range(len(self.x))))
        return self.dt / self.tau_mem * self.x[0]


def scalar_simulate(
    network: SpikingNetwork, inputs: Mapping[str, Any], n_steps: int, seed: int
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    """spikes (time, n), v before the reset (time, n) by population, and outputs (time, n_outputs), of trial 0."""
    # long: the whole step in the order of the equations, to be read beside the docstring of reference.py
    assert [p.name for p in network.populations] == ["a", "b"]  # a's spikes may reach b without delay, not b's a
    dt, whole = network.dt, network.integrator
    z = {p.name: np.zeros((n_steps, p.n), dtype=int) for p in network.populations}
    z |= {i.name: inputs[i.name].dense()[:, 0] for i in network.spike_inputs}
    seen = {p.name: np.zeros((n_steps, p.n)) for p in network.populations}
    outputs = {r.name: np.zeros((n_steps, r.weight.shape[0])) for r in network.readouts}
    v, ref, filters = {}, {}, {}
    for number, p in enumerate(network.populations):
        for j in range(p.n):
            tau = at(p.neuron.tau_mem, j)
            if hasattr(p.v0, "low"):
                u = float(noise.uniforms(seed, "v0", number, j, 0, 0))
                v[p.name, j] = p.v0.low + (p.v0.high - p.v0.low) * u
            else:
                v[p.name, j] = at(p.v0, j)
            ref[p.name, j] = int(at(p.ref0, j))
            for name, synapse in p.synapses.items():
                if not isinstance(synapse, Delta):
                    filters[p.name, j, name] = Filter(synapse, j, whole, tau, dt)
    read = {
        (r.name, j): Filter(r.synapse, j, whole, 1.0, dt)
        for r in network.readouts
        for j in range(network.population(r.source).n)
    }
    held_ports = {i.name: i for i in network.inputs if isinstance(i, HeldInput)}
    for k in range(1, n_steps + 1):

        def held_now(name: str, k: int = k) -> Array:
            port, samples = held_ports[name], inputs[name]
            assert port.sampling == "floor"
            return np.asarray(samples[min(int((k - 1) * dt / port.dt + 1e-9), samples.shape[0] - 1), 0])

        for number, p in enumerate(network.populations):
            into = [q for q in network.projections if q.target == p.name]
            for j in range(p.n):
                tau, t = at(p.neuron.tau_mem, j), p.neuron
                current, drive = 0.0, at(t.v_leak, j) + at(p.bias, j)
                for name, synapse in p.synapses.items():
                    spikes, held = 0.0, at(p.synaptic_bias.get(name, 0.0), j)
                    for q in into:
                        if q.synapse == name and q.source in held_ports:
                            held += float(q.weight[j] @ held_now(q.source))
                        elif q.synapse == name and k - q.delay >= 1:
                            spikes += float(q.weight[j] @ z[q.source][k - q.delay - 1])
                    if isinstance(synapse, Delta):
                        current += spikes / tau
                    else:
                        filters[p.name, j, name].step(spikes, held)
                        current += filters[p.name, j, name].feel()
                for q in into:
                    if q.synapse is None:
                        drive += float(q.weight[j] @ held_now(q.source))
                a = math.exp(-dt / tau) if whole == "exact" else 1 - dt / tau
                free, u = ref[p.name, j] == 0, v[p.name, j]
                if free:
                    u = a * u + current + (1 - a) * drive
                if free or p.noise_while_refractory:
                    u += (
                        at(p.noise_sd, j)
                        * int(noise.normal_integers(seed, "membrane", number, j, 0, k - 1))
                        / noise.NORMAL_SD
                    )
                seen[p.name][k - 1, j] = u
                fires = u > at(t.v_threshold, j) and (free or p.spikes_while_refractory)
                if fires:
                    u = at(t.v_reset, j) if t.reset == "to_value" else u - (at(t.v_threshold, j) - at(t.v_reset, j))
                ref[p.name, j] = math.floor(at(t.t_ref, j) / dt + 0.5) if fires else max(ref[p.name, j] - 1, 0)
                v[p.name, j], z[p.name][k - 1, j] = u, fires
        for r in network.readouts:
            for j in range(r.weight.shape[1]):
                read[r.name, j].step(float(z[r.source][k - 1, j]), 0.0)
            s = np.array([read[r.name, j].x[0] for j in range(r.weight.shape[1])])
            outputs[r.name][k - 1] = r.weight @ s + r.bias
    return {p.name: z[p.name] for p in network.populations}, seen, outputs
