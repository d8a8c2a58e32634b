"""The NIR reference equations, node by node, in NumPy: forward Euler, current before membrane, v > v_threshold.

Written from the equations in the docstrings of `nir`, without anything of ours, to judge what we make of a graph. A
neuron that another one needs and that was not yet stepped gives its spikes of the step before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class NirReference:
    """A flat `nir` graph, one trial of one row per step. order: its neurons (and LI) in the order of a step."""

    def __init__(self, graph: Any, order: list[str], dt: float) -> None:
        self.nodes, self.edges, self.order, self.dt = graph.nodes, graph.edges, order, dt
        assert set(order) <= set(self.nodes), "the order names nodes of the graph"
        self.state: dict[str, dict[str, Array]] = {name: {} for name in self.nodes}
        self.out: dict[str, Array] = {name: np.zeros(self._size(name)) for name in order}
        self.past: dict[str, list[Array]] = {n: [] for n, node in self.nodes.items() if type(node).__name__ == "Delay"}

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """name -> (time, n) of every neuron and LI; of an Output what enters it."""
        steps = len(next(iter(inputs.values())))
        outputs = [name for name, node in self.nodes.items() if type(node).__name__ == "Output"]
        rows: dict[str, list[Array]] = {name: [] for name in [*self.order, *outputs]}
        for t in range(steps):
            now = {name: values[t] for name, values in inputs.items()}
            for name in self.order:
                self.out[name] = self._step(name, self._into(name, now))
            for name in rows:
                rows[name].append(self.out[name] if name in self.out else self._into(name, now))
            entered = {name: self._into(name, now) for name in self.past}
            for name, value in entered.items():
                self.past[name].append(value)
        return {name: np.array(values) for name, values in rows.items()}

    def _size(self, name: str) -> int:
        return int(np.prod(next(iter(self.nodes[name].output_type.values()))))

    def _into(self, name: str, now: dict[str, Array]) -> Array:
        total: Array = np.zeros(int(np.prod(next(iter(self.nodes[name].input_type.values())))))
        for a, b in self.edges:
            if b == name:
                total = total + self._value(a, now)
        return total

    def _value(self, name: str, now: dict[str, Array]) -> Array:
        if name in now:
            return now[name]
        if name in self.out:
            return self.out[name]
        node, x = self.nodes[name], self._into(name, now)
        kind = type(node).__name__
        if kind == "Affine":
            return np.asarray(_product(node.weight, x) + node.bias)
        if kind == "Linear":
            return _product(node.weight, x)
        if kind == "Scale":
            return np.asarray(node.scale * x)
        if kind == "Delay":
            y = x.copy()
            for channel, seconds in enumerate(node.delay):
                steps, past = round(float(seconds) / self.dt), self.past[name]
                if steps:
                    y[channel] = past[-steps][channel] if len(past) >= steps else 0.0
            return y
        raise AssertionError(f"{name} is a {kind}")

    def _step(self, name: str, u: Array) -> Array:
        node, dt, state = self.nodes[name], self.dt, self.state[name]
        kind = type(node).__name__
        v = state.get("v", np.zeros_like(u))
        if kind == "Threshold":
            return (u > node.threshold).astype(float)
        if kind in ("CubaLIF", "CubaLI"):
            i = state.get("i", np.zeros_like(u))
            state["i"] = i = i + dt / node.tau_syn * (-i + node.w_in * u)
            v = v + dt / node.tau_mem * (node.v_leak - v + node.r * i)
        elif kind in ("LIF", "LI"):
            v = v + dt / node.tau * (node.v_leak - v + node.r * u)
        elif kind == "IF":
            v = v + dt * node.r * u
        if kind in ("LI", "CubaLI"):
            state["v"] = v
            return v
        z = v > node.v_threshold
        state["v"] = np.where(z, node.v_reset, v)
        return z.astype(float)


def _product(weight: Any, x: Array) -> Array:
    """weight @ x, added from left to right: BLAS has an order of its own, and a threshold may be met exactly."""
    total: Array = np.zeros(weight.shape[0])
    for column, value in zip(weight.astype(float).T, x, strict=True):
        total = total + column * value
    return total
