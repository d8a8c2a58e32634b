"""One network with one of everything, that spikes a lot: for the ways to run it."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikeport.snn.neurons import LIF
from spikeport.snn.recording import SpikeTrains
from spikeport.snn.spiking import HeldInput, Population, Projection, ReadOut, SpikeInput, SpikingNetwork, Uniform
from spikeport.snn.synapses import Delta, DoubleExponential, Exponential


def lively(seed: int = 0, n: int = 40, scale: float = 1.0) -> SpikingNetwork:
    """Two populations in a loop, one of each synapse and input, noise, read-outs of both kinds; it spikes a lot."""
    rng = np.random.default_rng(seed)
    slow = DoubleExponential(tau_rise=0.002, tau_decay=0.01)
    a = Population(
        name="a",
        n=n,
        neuron=LIF(tau_mem=0.01, v_threshold=1.0, v_reset=0.0, t_ref=0.002),
        synapses={"slow": slow, "now": Delta()},
        bias=rng.uniform(0.8, 1.6, n),
        synaptic_bias={"slow": 0.1},
        noise_sd=0.2,
        noise_while_refractory=True,
        v0=Uniform(-0.5, 1.0),
        ref0=2,
    )
    b = Population(
        name="b",
        n=5,
        neuron=LIF(tau_mem=0.02, v_threshold=0.8, v_reset=0.0, reset="subtract"),
        synapses={"fast": Exponential(tau=0.004)},
        bias=0.6,
        noise_sd=0.1,
    )

    def weight(post: int, pre: int, size: float) -> Any:
        return scale * size * rng.normal(0.5, 1.0, (post, pre))

    return SpikingNetwork(
        populations=(a, b),
        inputs=(HeldInput(name="u", n=2, dt=0.005), SpikeInput(name="x", n=3)),
        projections=(
            Projection(source="u", target="a", weight=weight(n, 2, 0.4)),
            Projection(source="u", target="b", weight=weight(5, 2, 0.4), synapse="fast"),
            Projection(source="x", target="a", weight=weight(n, 3, 0.003), synapse="now", delay=3),
            Projection(source="a", target="a", weight=weight(n, n, 0.001), synapse="slow", delay=2),
            Projection(source="a", target="b", weight=weight(5, n, 0.002), synapse="fast", delay=0),
            Projection(source="b", target="a", weight=weight(n, 5, 0.002), synapse="slow", delay=1),
        ),
        readouts=(
            ReadOut(name="o", source="a", weight=weight(2, n, 0.01), bias=np.array([0.5, -1.0]), synapse=slow),
            ReadOut(name="p", source="b", weight=weight(1, 5, 0.01), bias=np.zeros(1), synapse=Exponential(tau=0.01)),
        ),
        dt=0.001,
        integrator="kim2019",
    )


def lively_inputs(n_steps: int = 60, n_batch: int = 3, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    assert n_steps % 5 == 0
    spikes = SpikeTrains.from_dense(rng.poisson(0.1, (n_steps, n_batch, 3)))
    return {"u": rng.normal(size=(n_steps // 5, n_batch, 2)), "x": spikes}
