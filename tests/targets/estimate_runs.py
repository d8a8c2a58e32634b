"""Small networks and made-up recordings for the tests of estimates."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikeport.snn.neurons import LIF
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import HeldInput, Population, Projection, ReadOut, SpikeInput, SpikingNetwork
from spikeport.snn.synapses import Exponential
from spikeport.targets.base import Lowering
from spikeport.targets.registry import get_target

DT, STEPS = 1e-3, 6
CHIPS = ("loihi", "spinnaker")
CELL = LIF(tau_mem=0.01, v_leak=0.0, v_threshold=1.0, v_reset=0.0, t_ref=2e-3)


def population(name: str, n: int) -> Population:
    return Population(name=name, n=n, neuron=CELL, synapses={"s": Exponential(tau=0.005)})


def network(
    *projections: Projection, sizes: dict[str, int], inputs: tuple[Any, ...] = (), **more: Any
) -> SpikingNetwork:
    return SpikingNetwork(populations=tuple(population(k, n) for k, n in sizes.items()), projections=projections,
                          inputs=inputs, dt=DT, integrator="euler", **more)  # fmt: skip


def joined(source: str, target: str, weight: Any, delay: int = 1) -> Projection:
    return Projection(
        source=source, target=target, weight=np.asarray(weight, dtype=np.float64), synapse="s", delay=delay
    )


def recorded(z: dict[str, Any], dt: float = DT) -> Recording:
    """From population -> (steps, trials, units)."""
    steps, trials, _ = next(iter(z.values())).shape
    return Recording(dt=dt, n_steps=steps, n_batch=trials, spikes={k: SpikeTrains.from_dense(v) for k, v in z.items()})


def lowered(net: SpikingNetwork, target: str) -> Lowering:
    return get_target(target).lower(net, allow=("precision",) if target in CHIPS else ())


def tiny() -> tuple[SpikingNetwork, Recording, dict[str, Any]]:
    """Two channels drive a (3 units), which drives b (2); unit 1 of a reaches nobody."""
    w = 2e-3
    net = network(
        joined("x", "a", [[w, 0], [0, w], [w, w]]), joined("a", "b", [[w, 0, w], [0, 0, w]]),
        sizes={"a": 3, "b": 2}, inputs=(SpikeInput(name="x", n=2),),
    )  # fmt: skip
    a, b, x = (np.zeros((STEPS, 2, n), dtype=int) for n in (3, 2, 2))
    a[1, 0, 0] = a[4, 0, 0] = a[2, 0, 2] = 1  # trial 0: unit 0 twice, unit 2 once
    a[0:3, 1, 1] = 1  # trial 1: unit 1 three times
    b[5, 0, 1] = 1
    x[0, 0, 0] = x[3, 1, 1] = x[5, 1, 1] = 1
    return net, recorded({"a": a, "b": b}), {"x": x}


def with_host(synapse: Any) -> tuple[SpikingNetwork, Recording]:
    u = HeldInput(name="u", n=2, dt=2e-3)
    into = Projection(source="u", target="a", weight=np.array([[1.0, 0], [0, 0], [1, 1]]))
    out = ReadOut(name="o", source="a", weight=np.array([[1.0, 0, 1]]), bias=np.zeros(1), synapse=synapse)
    z = np.zeros((STEPS, 1, 3), dtype=int)
    z[0, 0, 0] = z[1, 0, 1] = z[2, 0, 2] = 1
    return network(into, sizes={"a": 3}, inputs=(u,), readouts=(out,)), recorded({"a": z})
