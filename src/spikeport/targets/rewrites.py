"""Exact rewrites: the same spikes, said in another way. A test proves each on random networks.

    normalised      v' = (v - v_reset) / (v_threshold - v_reset): reset 0, threshold 1, leak 0; the rest is bias
    leak_as_bias    v_leak 0, what it was becomes bias
    bias_as_input   a bias becomes a held input of constant 1
    at_or_above     for targets that spike at v >= threshold

None changes a unit's inputs or names, so a recording of the rewritten network has the same spikes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikeport.snn.errors import UnsupportedError
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.spiking import HeldInput, Population, Projection, SpikingNetwork, Uniform

Scale = tuple[Array, Array]


def leak_as_bias(network: SpikingNetwork) -> SpikingNetwork:
    """v_leak = 0 everywhere; v_leak + bias is what a step sees of either."""
    populations = tuple(
        replace(p, neuron=replace(p.neuron, v_leak=0.0), bias=np.asarray(p.neuron.v_leak) + np.asarray(p.bias))
        for p in network.populations
    )
    return replace(network, populations=populations)


def normalised(network: SpikingNetwork) -> tuple[SpikingNetwork, dict[str, Scale]]:
    """v' = (v - v_reset) / (v_threshold - v_reset), and population -> (v_reset, v_threshold - v_reset) to go back.

        A v + B x + (1-A) c   becomes   A v' + B x' + (1-A) c',   c' = (c - v_reset) / span,  weights / span

    Resets to_value and subtract become v' = 0 and v' = v' - 1. A threshold at its reset is refused. Scaling by
    v_threshold - v_leak instead would divide by zero where the resting drive equals the threshold, as in Kim's.
    """
    scales, flat = {}, []
    for p in network.populations:
        offset, top = per_unit(p.neuron.v_reset, p.n), per_unit(p.neuron.v_threshold, p.n)
        scales[p.name] = (offset, top - offset)
        flat += [f"population {p.name}: {int((top == offset).sum())} units have v_threshold = v_reset"] * bool(
            (top == offset).any()
        )
    if flat:
        raise UnsupportedError("network: cannot be scaled to threshold 1 and reset 0", flat)
    populations = tuple(_scaled_population(p, *scales[p.name]) for p in network.populations)
    projections = tuple(replace(p, weight=p.weight / scales[p.target][1][:, None]) for p in network.projections)
    return replace(network, populations=populations, projections=projections), scales


def _scaled_population(p: Population, offset: Array, span: Array) -> Population:
    drive = per_unit(p.neuron.v_leak, p.n) + per_unit(p.bias, p.n)
    # one number where all units agree: many targets say it better
    neuron = replace(p.neuron, v_threshold=1.0, v_reset=0.0, v_leak=0.0)
    v0: float | Array | Uniform
    if isinstance(p.v0, Uniform):
        if np.ptp(offset) or np.ptp(span):
            raise UnsupportedError(f"population {p.name}: v0 is drawn, and thresholds or resets differ between units")
        v0 = Uniform((p.v0.low - offset[0]) / span[0], (p.v0.high - offset[0]) / span[0])
    else:
        v0 = (per_unit(p.v0, p.n) - offset) / span
    return replace(
        p, neuron=neuron, bias=(drive - offset) / span, noise_sd=per_unit(p.noise_sd, p.n) / span, v0=v0,
        synaptic_bias={name: per_unit(b, p.n) / span for name, b in p.synaptic_bias.items()},
    )  # fmt: skip


def at_or_above(network: SpikingNetwork) -> SpikingNetwork:
    """Thresholds for a target that spikes at v >= threshold: v > t is v >= nextafter(t, inf)."""
    populations = tuple(
        replace(p, neuron=replace(p.neuron, v_threshold=np.nextafter(p.neuron.v_threshold, np.inf)))
        for p in network.populations
    )
    return replace(network, populations=populations)


CONSTANT = "constant"  # the input that bias_as_input adds


def bias_as_input(network: SpikingNetwork) -> SpikingNetwork:
    """Biases become weights of one more held input, `constant`, that is always 1; see constant_samples."""
    dt = network.dt
    inputs = (*network.inputs, HeldInput(name=CONSTANT, n=1, dt=dt))
    added = tuple(
        Projection(source=CONSTANT, target=p.name, weight=per_unit(p.bias, p.n)[:, None])
        for p in network.populations if np.any(np.asarray(p.bias) != 0)
    )  # fmt: skip
    populations = tuple(replace(p, bias=0.0) for p in network.populations)
    return replace(network, inputs=inputs, populations=populations, projections=(*network.projections, *added))


def constant_samples(n_batch: int) -> Array:
    """What the input `constant` is given: (1, batch, 1) ones, held for ever."""
    return np.ones((1, n_batch, 1))
