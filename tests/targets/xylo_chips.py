"""Random networks in Xylo's integers, and the compiled form called like the plain one."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikeport.snn.neurons import LIF
from spikeport.snn.spiking import Population, Projection, SpikeInput, SpikingNetwork
from spikeport.snn.synapses import Exponential
from spikeport.targets.base import Lowering
from spikeport.targets.xylo import XYLO, kernel
from spikeport.targets.xylo.chip import Channel, Chip, Neurons, Readouts
from spikeport.targets.xylo.limits import INPUT_SPIKES


def random_chip(seed: int, *, from_zero: bool = False) -> tuple[Chip, Any]:
    """(chip, spikes (time, channels)): from quiet ones to those in which everything saturates."""
    rng = np.random.default_rng(seed)
    n, channels, m, n_steps = int(rng.integers(2, 9)), int(rng.integers(1, 5)), int(rng.integers(1, 4)), 80
    top = int(rng.choice([300, 3000, 32767]))
    threshold = np.where(rng.random(n) < 0.2, 32767, rng.integers(1, top + 1, n))

    def weights(*shape: int) -> Any:
        w = rng.integers(-128, 128, shape) * (rng.random(shape) < 0.7)
        return w.astype(np.int8)

    size = int(rng.choice([1, 50, 2000]))
    neurons = Neurons(
        name="a", dash_mem=rng.integers(0, 9, n), dash_syn=rng.integers(0, 9, (n, 2)), threshold=threshold,
        bias=rng.integers(-size, size + 1, n), v0=rng.integers(-500, 500, n) * (not from_zero),
    )  # fmt: skip
    readouts = Readouts(
        weight=weights(n, m), dash_mem=rng.integers(0, 9, m), dash_syn=rng.integers(0, 9, m),
        threshold=rng.integers(1, top + 1, m), bias=rng.integers(-size, size + 1, m), shift=int(rng.integers(0, 8)),
    )  # fmt: skip
    chip = Chip(
        neurons=(neurons,), channels=tuple(Channel(source="x", index=i) for i in range(channels)),
        weights_in=weights(channels, n, 2), weights_rec=weights(n, n, 2), shift_in=int(rng.integers(0, 8)),
        shift_rec=int(rng.integers(0, 8)), counts={}, dt=1e-3, readouts=readouts,
    )  # fmt: skip
    given = rng.integers(0, int(rng.integers(2, INPUT_SPIKES + 2)), (n_steps, channels)) * (
        rng.random((n_steps, channels)) < rng.random()
    )
    return chip, given


def compiled_run(chip: Chip, given: Any) -> tuple[dict[str, Any], Any]:
    """step.simulate, by kernel.py, in two calls and beside another trial, so that its memory is tested too; and what
    saturated."""
    t, m = kernel.tables(chip), kernel.memory(np.stack([np.zeros(chip.n, dtype=np.int64), chip.whole("v0")]))
    both = np.ascontiguousarray(np.stack([np.zeros_like(given), given], axis=1).astype(np.int64))
    n_steps, half = len(given), len(given) // 3
    z = np.zeros((n_steps, 2, chip.n), dtype=np.uint8)
    states = np.zeros((n_steps, 2, chip.n, 3), dtype=np.int64)
    for k0, k1 in ((0, half), (half, n_steps)):
        kernel.run(t, m, k0, both[k0:k1], z[k0:k1], states[k0:k1])
    found = {"z": z[:, 1].astype(np.int64), "v": states[:, 1, :, 2], "i": states[:, 1, :, :2]}
    return found, m.over


# how networks are lowered

ALLOWED = ("precision", "held_via")


def lower(network: SpikingNetwork, *more: str, **choices: str) -> Lowering:
    return XYLO.lower(network, allow=(*ALLOWED, *more), **choices)


def texts(network: SpikingNetwork) -> dict[str, str]:
    """feature -> the problem."""
    return {p.feature: str(p) for p in XYLO.problems(network)}


def fed(w: Any, tau: Any = 0.008, **neuron: Any) -> SpikingNetwork:
    """A population with an exponential synapse s, fed by spike input x through weights w (n, channels)."""
    weight = np.asarray(w, dtype=np.float64)
    cell = LIF(**{"tau_mem": 0.008, "v_threshold": 1.0, "v_reset": 0.0, **neuron})
    a = Population(name="a", n=weight.shape[0], neuron=cell, synapses={"s": Exponential(tau=tau)})
    into = Projection(source="x", target="a", weight=weight, synapse="s")
    return SpikingNetwork(
        populations=(a,), inputs=(SpikeInput(name="x", n=weight.shape[1]),), projections=(into,), dt=1e-3,
        integrator="euler",
    )  # fmt: skip
