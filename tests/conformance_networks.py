"""Small networks for every target: a plain one, and one for each feature that a target may lack.

Each differs from the plain one by what `features` names, in the words of capabilities.py, and by nothing else; so a
target either agrees with the reference on it or refuses exactly that. None comes near its threshold (MARGIN), so that
rounding decides no spike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spikeport.snn import reference
from spikeport.snn.neurons import LIF, per_unit
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import HeldInput, Population, Projection, ReadOut, SpikeInput, SpikingNetwork
from spikeport.snn.synapses import Delta, DoubleExponential, Exponential

DT = 1e-3
STEPS, BATCH, N = 120, 2, 5
MARGIN = 1e-9  # mV
LESS = {"v_threshold": 1.0, "v_reset": 0.0}


@dataclass(frozen=True, kw_only=True)
class Conformance:
    """A network and its inputs. features: what a target must have for it."""

    name: str
    network: SpikingNetwork
    inputs: dict[str, Any]
    features: frozenset[str] = frozenset()
    n_steps: int = STEPS
    n_batch: int = BATCH
    spikes: bool = field(default=True)  # False: it is silent, on purpose

    def run(self) -> dict[str, Any]:
        return {"n_steps": self.n_steps, "n_batch": self.n_batch, "seed": 3, "first_trial": 7}

    def expected(self, **changes: Any) -> Recording:
        """What the reference does; far from every threshold."""
        traces = [f"{p.name}.v" for p in self.network.populations]
        found = reference.simulate(self.network, self.inputs, record=traces, **self.run(), **changes)
        for p in self.network.populations:
            near = np.abs(found.traces[f"{p.name}.v"] - per_unit(p.neuron.v_threshold, p.n)).min()
            assert near > MARGIN, f"{self.name}: {p.name} comes within {near:g} mV of its threshold"
        n_spikes = sum(s.n_spikes for s in found.spikes.values())
        assert (n_spikes > 0) == self.spikes, f"{self.name}: {n_spikes} spikes"
        return found


def plain(**changes: Any) -> SpikingNetwork:
    """The least that a network can ask for: given spikes, one exponential synapse, reset and leak 0, Euler."""
    rng = np.random.default_rng(1)
    a = Population(name="a", n=N, neuron=LIF(tau_mem=0.01, **LESS), synapses={"s": Exponential(tau=0.005)})
    given = Projection(source="x", target="a", weight=rng.uniform(0.001, 0.02, (N, 3)), synapse="s")
    parts: dict[str, Any] = {
        "populations": (a,), "inputs": (SpikeInput(name="x", n=3),), "projections": (given,), "dt": DT,
        "integrator": "euler",
    }  # fmt: skip
    return SpikingNetwork(**{**parts, **changes})


def spikes(seed: int = 2, p: float = 0.25) -> dict[str, Any]:
    return {"x": (np.random.default_rng(seed).random((STEPS, BATCH, 3)) < p).astype(np.int64)}


def levels(seed: int = 4, samples: int = STEPS // 5, high: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, high, (samples, BATCH, 2))


def populated(**changes: Any) -> SpikingNetwork:
    """The plain network with its population changed."""
    network = plain()
    return replace(network, populations=(replace(network.populations[0], **changes),))


def neuron(**changes: Any) -> SpikingNetwork:
    """The plain network with its neuron changed."""
    return populated(neuron=replace(plain().populations[0].neuron, **changes))


def joined(*projections: Projection, **changes: Any) -> SpikingNetwork:
    """The plain network with more projections."""
    network = plain()
    return replace(network, projections=(*network.projections, *projections), **changes)


def recurrent(delay: int, integrator: str = "euler", synapse: str = "s") -> SpikingNetwork:
    w = np.random.default_rng(5).normal(0.001, 0.004, (N, N))
    return joined(Projection(source="a", target="a", weight=w, synapse=synapse, delay=delay), integrator=integrator)


def chain(delay: int) -> SpikingNetwork:
    """A second population behind the first."""
    network = plain()
    b = Population(name="b", n=3, neuron=LIF(tau_mem=0.02, **LESS), synapses={"s": Exponential(tau=0.008)})
    w = np.random.default_rng(6).uniform(0.002, 0.03, (3, N))
    onward = Projection(source="a", target="b", weight=w, synapse="s", delay=delay)
    return replace(network, populations=(*network.populations, b), projections=(*network.projections, onward))


def held(synapse: str | None, integrator: str = "euler") -> SpikingNetwork:
    rng = np.random.default_rng(7)
    port = HeldInput(name="u", n=2, dt=5 * DT)
    into = Projection(source="u", target="a", weight=rng.uniform(0.2, 0.8, (N, 2)), synapse=synapse)
    return joined(into, inputs=(SpikeInput(name="x", n=3), port), integrator=integrator)


def reading(synapse: Any) -> SpikingNetwork:
    w = np.random.default_rng(8).normal(size=(2, N))
    return replace(
        plain(), readouts=(ReadOut(name="o", source="a", weight=w, bias=np.array([0.3, -0.2]), synapse=synapse),)
    )


def subtracting(network: SpikingNetwork) -> SpikingNetwork:
    """The same, with every reset by subtraction."""
    populations = tuple(replace(p, neuron=replace(p.neuron, reset="subtract")) for p in network.populations)
    return replace(network, populations=populations)


def spread(low: float, high: float) -> np.ndarray:
    return np.linspace(low, high, N)


def in_millivolts() -> SpikingNetwork:
    """The plain network as a physiologist writes it: threshold -40, reset and leak -65 mV."""
    network = neuron(v_threshold=-40.0, v_reset=-65.0, v_leak=-65.0)
    given = replace(network.projections[0], weight=network.projections[0].weight * 25)
    return replace(network, projections=(given,), populations=(replace(network.populations[0], v0=-65.0),))


def noisy_and_refractory() -> SpikingNetwork:
    network = neuron(t_ref=0.003)
    noisy = replace(network.populations[0], noise_sd=0.1, noise_while_refractory=True)
    return replace(network, populations=(noisy,))


DOUBLE = DoubleExponential(tau_rise=0.002, tau_decay=0.006)


def networks() -> Iterator[Conformance]:
    """Every conformance network."""

    def one(name: str, network: SpikingNetwork, *features: str, **changes: Any) -> Conformance:
        inputs = spikes() | ({"u": levels()} if network.held_inputs else {})
        asked = frozenset({"precision", *features})  # all of these have numbers that no integers hold
        fields = {"name": name, "network": network, "inputs": inputs, "features": asked}
        return Conformance(**{**fields, **changes})

    double, euler = populated(synapses={"s": DOUBLE}), populated()
    equal = populated(synapses={"s": DoubleExponential(tau_rise=0.004, tau_decay=0.004)})
    lifted = populated(ref0=6, v0=spread(-0.5, 1.7), spikes_while_refractory=True)
    strong = replace(euler.projections[0], weight=euler.projections[0].weight * 200)
    none = {"x": np.zeros((STEPS, BATCH, 3), dtype=np.int64)}

    yield one("plain", euler)
    yield one("kim2019", plain(integrator="kim2019"), "integrator")
    yield one("exact", plain(integrator="exact"), "integrator")
    yield one("double exponential", double, "synapse")
    yield one("double exponential, kim2019", replace(double, integrator="kim2019"), "synapse", "integrator")
    yield one("double exponential, exact", replace(double, integrator="exact"), "synapse", "integrator")
    yield one("double exponential, rise = decay", equal, "synapse")
    yield one("delta", populated(synapses={"s": Delta()}), "synapse")
    yield one("recurrent", recurrent(1), "recurrent", "min_delay", "delays")
    yield one("recurrent, exact", recurrent(1, "exact"), "recurrent", "min_delay", "delays", "integrator")
    yield one("recurrent, delay 4", recurrent(4), "recurrent", "delays")
    yield one("chain, delay 0", chain(0), "populations", "min_delay")
    yield one("chain, delay 1", chain(1), "populations", "min_delay", "delays")
    yield one("chain, delay 3", chain(3), "populations", "delays")
    yield one("held input on the membrane", held(None), "held_via")
    yield one("held input through a synapse", held("s"), "held_via")
    yield one("held input through a synapse, exact", held("s", "exact"), "held_via", "integrator")
    yield one("bias", populated(bias=0.7), "bias")
    yield one("leak", neuron(v_leak=-0.3), "bias")
    yield one("bias of a synapse", populated(synaptic_bias={"s": 0.6}), "synaptic_bias")
    yield one("millivolts", in_millivolts())
    yield one("reset by subtraction", neuron(reset="subtract"), "reset")
    yield one("refractory", neuron(t_ref=0.003), "refractory")
    yield one("initially refractory", populated(ref0=20), "initially_refractory")
    yield one("spikes while refractory", lifted, "initially_refractory", "initial_v", "spikes_while_refractory")
    yield one("initial v", populated(v0=spread(-0.5, 0.9)), "initial_v")
    yield one("noise", populated(noise_sd=0.1), "noise")
    yield one("noise while refractory", noisy_and_refractory(), "noise", "refractory", "noise_while_refractory")
    yield one("tau_mem per unit", neuron(tau_mem=spread(0.005, 0.03)), "heterogeneous")
    yield one("tau_syn per unit", populated(synapses={"s": Exponential(tau=spread(0.003, 0.02))}), "heterogeneous")
    yield one("threshold per unit", neuron(v_threshold=spread(0.5, 1.5)), "heterogeneous")
    yield one("reset per unit", neuron(v_reset=spread(-0.5, 0.3)), "heterogeneous", "bias", "initial_v")
    yield one("bias per unit", populated(bias=spread(-0.5, 0.9)), "heterogeneous", "bias")
    yield one("leak per unit", neuron(v_leak=spread(-0.5, 0.9)), "heterogeneous", "bias")
    yield one("noise per unit", populated(noise_sd=spread(0.0, 0.2)), "heterogeneous", "noise")
    yield one("ref0 per unit", populated(ref0=np.arange(0, 20, 4)), "heterogeneous", "initially_refractory")
    yield one("t_ref per unit", neuron(t_ref=spread(0.0, 0.006)), "heterogeneous", "refractory")
    yield one("read-out", reading(Exponential(tau=0.01)), "readouts")
    yield one("read-out, double exponential", reading(DOUBLE), "readouts")
    yield one("silence", euler, inputs=none, spikes=False)
    yield one("saturation", plain(projections=(strong,)), inputs=spikes(p=0.95))


NETWORKS = {c.name: c for c in networks()}
