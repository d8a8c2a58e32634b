"""Small networks and recordings that hold one of everything, and equality to the last bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from spikeport.snn.neurons import LIF
from spikeport.snn.rate import RateNetwork
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import HeldInput, Population, Projection, ReadOut, SpikeInput, SpikingNetwork, Uniform
from spikeport.snn.synapses import Delta, DoubleExponential, Exponential


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Equal to the last bit, through dataclasses, mappings, tuples and arrays."""
    if dataclasses.is_dataclass(a):
        assert type(a) is type(b), where
        for f in dataclasses.fields(a):
            assert_same(getattr(a, f.name), getattr(b, f.name), f"{where}.{f.name}")
    elif isinstance(a, Mapping):
        assert set(a) == set(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}[{key!r}]")
    elif isinstance(a, tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    elif isinstance(a, np.ndarray):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), where
        assert a.tobytes() == b.tobytes(), where
    else:
        assert type(a) is type(b), where
        assert a == b or (a != a and b != b), where


def rate_network(n: int = 6, seed: int = 0, **changes: Any) -> RateNetwork:
    rng = np.random.default_rng(seed)
    fields: dict[str, Any] = {
        "tau": rng.uniform(0.02, 0.1, n),
        "w_rec": rng.normal(size=(n, n)).astype(np.float32).astype(np.float64),
        "w_in": rng.normal(size=(n, 2)),
        "w_out": rng.normal(size=(1, n)),
        "b_rec": np.zeros(n),
        "b_out": rng.normal(size=1),
        "dt": 0.005,
        "phi": "softplus",
        "phi_max": 20.0,
        "noise_sd": 0.1,
        "x0_sd": 0.01,
        "labels": {"exc": rng.random(n) < 0.7},
        "provenance": {"file": "model.mat", "published": {"all_perfs": [0.69, 1.0], "best": None}},
    }
    return RateNetwork(**{**fields, **changes})


def spiking_network(n: int = 5, seed: int = 0) -> SpikingNetwork:
    """One of everything that a spiking network can hold."""
    rng = np.random.default_rng(seed)
    rec = Population(
        name="rec",
        n=n,
        neuron=LIF(tau_mem=0.01, v_threshold=float(np.nextafter(-40.0, -np.inf)), v_reset=-65.0, t_ref=0.002),
        synapses={
            "double": DoubleExponential(tau_rise=0.002, tau_decay=rng.uniform(0.02, 0.1, n)),
            "single/fast": Exponential(tau=0.005),
            "at once": Delta(),
        },
        bias=rng.normal(size=n),
        synaptic_bias={"double": 0.5, "single/fast": rng.normal(size=n)},
        noise_sd=0.1,
        noise_while_refractory=True,
        spikes_while_refractory=True,
        v0=Uniform(-65.0, 30.0),
        ref0=40,
        noise_key=7,
        unit_ids=np.arange(100, 100 + n),
    )
    out = Population(
        name="out", n=2, neuron=LIF(tau_mem=np.array([0.01, 0.02]), v_threshold=1.0, v_reset=0.0, reset="subtract"),
        synapses={"s": Exponential(tau=0.01)}, v0=np.array([-0.0, 0.1]),
    )  # fmt: skip
    return SpikingNetwork(
        populations=(rec, out),
        inputs=(HeldInput(name="u", n=1, dt=0.005, sampling="nearest"), SpikeInput(name="z", n=3)),
        projections=(
            Projection(source="u", target="rec", weight=rng.normal(size=(n, 1))),
            Projection(source="z", target="rec", weight=rng.normal(size=(n, 3)), synapse="at once"),
            Projection(source="rec", target="rec", weight=rng.normal(size=(n, n)), synapse="double", delay=1),
            Projection(source="rec", target="out", weight=rng.normal(size=(2, n)), synapse="s"),
        ),
        readouts=(
            ReadOut(
                name="o",
                source="rec",
                weight=rng.normal(size=(1, n)),
                bias=np.zeros(1),
                synapse=DoubleExponential(tau_rise=0.002, tau_decay=0.05),
            ),
        ),
        dt=5e-5,
        integrator="kim2019",
        provenance={"lambda": 1 / 30, "@type": "a key of its own", "search": [{"accuracy": 0.95}]},
    )


def recording(seed: int = 0) -> Recording:
    rng = np.random.default_rng(seed)
    spikes = {
        "rec": SpikeTrains.from_dense(rng.integers(0, 3, (50, 2, 4))),
        "silent": SpikeTrains.from_dense(np.zeros((50, 2, 1))),
    }
    traces = {"rec.v": rng.normal(size=(50, 2, 4)).astype(np.float32)}
    return Recording(
        dt=5e-5, n_steps=50, n_batch=2, spikes=spikes, outputs={"o": rng.normal(size=(50, 2, 1))}, traces=traces
    )
