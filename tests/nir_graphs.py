"""Foreign NIR graphs of every node type, with random parameters, for the tests of the import."""

from __future__ import annotations

from typing import Any

import numpy as np
from require import need

from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.nir.graph import from_nir
from spikeport.targets.nir.importing import network_of

nir = need("nir", resource="nir")

DT = 1e-4


def neuron(kind: str, n: int, rng: np.random.Generator) -> Any:
    """A node of random parameters, another set for each unit, that spikes for weights of about 1."""
    leak, threshold = rng.uniform(-0.2, 0.2, n), rng.uniform(0.5, 1.5, n)
    reset = rng.uniform(-0.5, 0.3, n)
    tau, syn = rng.uniform(1e-3, 1e-2, n), rng.uniform(5e-4, 5e-3, n)
    if kind == "LIF":
        return nir.LIF(tau=tau, r=tau / DT, v_leak=leak, v_threshold=threshold, v_reset=reset)
    if kind == "CubaLIF":
        return nir.CubaLIF(
            tau_syn=syn, tau_mem=tau, r=tau / syn, v_leak=leak, v_threshold=threshold, v_reset=reset,
            w_in=rng.uniform(0.5, 1, n) * syn / DT,
        )  # fmt: skip
    if kind == "IF":
        return nir.IF(r=rng.uniform(0.2, 1, n) / DT, v_threshold=threshold, v_reset=reset)
    return nir.Threshold(threshold=threshold)


def affine(to: int, n: int, rng: np.random.Generator, bias: float = 0.05) -> Any:
    return nir.Affine(weight=rng.normal(size=(to, n)), bias=bias * rng.normal(size=to))


def recurrent(kind: str, seed: int) -> Any:
    """input -> Affine -> a (with a loop) -> Scale -> Delay, a delay for each channel -> Linear -> b -> output."""
    rng = np.random.default_rng(seed)
    nodes = {
        "input": nir.Input(np.array([5])), "fc": affine(7, 5, rng), "a": neuron(kind, 7, rng),
        "w_rec": affine(7, 7, rng), "scale": nir.Scale(rng.uniform(0.5, 1.5, 7)),
        "delay": nir.Delay(rng.integers(0, 4, 7) * DT), "w": nir.Linear(rng.normal(size=(4, 7))),
        "b": neuron(kind, 4, rng), "output": nir.Output(np.array([4])),
    }  # fmt: skip
    edges = [("input", "fc"), ("fc", "a"), ("a", "w_rec"), ("w_rec", "a"), ("a", "scale"), ("scale", "delay"),
             ("delay", "w"), ("w", "b"), ("b", "output")]  # fmt: skip
    return nir.NIRGraph(nodes=nodes, edges=edges)


def imported(graph: Any, **options: Any) -> SpikingNetwork:
    return network_of(from_nir(graph), **{"dt": DT, **options})
