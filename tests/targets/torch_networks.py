"""What the tests of the PyTorch targets share: a network with one of everything, and both libraries' modules."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
from conformance_networks import BATCH, DOUBLE, NETWORKS, STEPS, N, held, levels, spikes
from require import need

from spikeport.snn.spiking import Projection, ReadOut, SpikingNetwork, Uniform
from spikeport.snn.synapses import Delta

NAMES = ("snntorch", "norse")


def need_library(name: str) -> ModuleType:
    """The library; Norse uses what torch calls deprecated as it is imported, which the target keeps from its users."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        found = need(name, resource=name)
    assert found.__name__ == name
    return found


def everything(reset: str = "to_value") -> SpikingNetwork:
    """Loops with delays, three kinds of synapse, held and spike inputs, refractory periods, noise, a read-out."""
    network, rng = held(None, "kim2019"), np.random.default_rng(11)
    a = network.populations[0]
    neuron = replace(
        a.neuron, v_threshold=-40.0, v_reset=-65.0, v_leak=-60.0, t_ref=np.linspace(0, 0.004, N), reset=reset
    )
    synapses = {**a.synapses, "double": DOUBLE, "delta": Delta()}
    a = replace(a, neuron=neuron, synapses=synapses, noise_sd=0.3, noise_while_refractory=True, ref0=2,
                v0=Uniform(-65.0, -30.0), synaptic_bias={"double": 1.5})  # fmt: skip
    b = replace(a, name="b", ref0=0, noise_while_refractory=False)
    joins = [("a", "a", "double", 3), ("a", "b", "s", 0), ("b", "a", "delta", 1), ("x", "b", "s", 2)]
    sizes = {"a": N, "b": N, "x": 3}
    more = tuple(
        Projection(source=s, target=t, weight=rng.normal(0.05, 0.1, (N, sizes[s])), synapse=via, delay=d)
        for s, t, via, d in joins
    )
    first = tuple(replace(p, weight=p.weight * 25) for p in network.projections)
    out = ReadOut(name="o", source="b", weight=rng.normal(size=(2, N)), bias=np.array([0.1, -0.2]), synapse=DOUBLE)
    return replace(network, populations=(a, b), projections=(*first, *more), readouts=(out,))


def given() -> dict[str, Any]:
    return spikes() | {"u": levels()}


def run() -> dict[str, Any]:
    return {"n_steps": STEPS, "n_batch": BATCH, "seed": 3, "first_trial": 7}


def trainable() -> SpikingNetwork:
    """A loop with a read-out, one weight of each kind."""
    loop = NETWORKS["recurrent"].network
    out = ReadOut(
        name="o", source="a", weight=np.random.default_rng(8).normal(size=(2, N)), bias=np.zeros(2), synapse=DOUBLE
    )
    return replace(loop, readouts=(out,))
