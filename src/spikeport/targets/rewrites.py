"""Exact rewrites: the same spikes, said in another way. A test proves each on random networks.

    normalised      v' = (v - v_reset) / (v_threshold - v_reset): reset 0, threshold 1, leak 0; the rest is bias
    leak_as_bias    v_leak 0, what it was becomes bias
    bias_as_input   a bias becomes a held input of constant 1
    at_or_above     for targets that spike at v >= threshold
    open_loop       each population's spikes come from a recording: replay

All but the last change no unit's inputs and no names, so a recording of the rewritten network has the same spikes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import UnsupportedError
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import HeldInput, Population, Projection, SpikeInput, SpikingNetwork, Uniform

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


def open_loop(network: SpikingNetwork, recording: Recording) -> tuple[SpikingNetwork, dict[str, SpikeTrains]]:
    """Replay: every projection from a population comes from a spike input instead, fed from `recording`; no noise.

    Returns the network and the inputs to add, name -> SpikeTrains. Then each unit gets exactly what it got in the
    recording, and a difference is this unit's own step, not chaos.
    """
    names = {p.name for p in network.populations}
    sources = [p.name for p in network.populations if any(j.source == p.name for j in network.projections)]
    replayed = {name: f"{name}_replay" for name in sources}
    inputs = tuple(SpikeInput(name=replayed[p.name], n=p.n) for p in network.populations if p.name in replayed)
    projections = tuple(replace(p, source=replayed[p.source]) if p.source in names else p for p in network.projections)
    # the noise of a unit would need the recording's own; replay compares steps, so there is none
    populations = tuple(replace(p, noise_sd=0.0) for p in network.populations)
    opened = replace(network, inputs=(*network.inputs, *inputs), projections=projections, populations=populations)
    return opened, {replayed[name]: recording.spikes[name] for name in sources}


def with_replay(inputs: Inputs | None, network: SpikingNetwork, replayed: Mapping[str, SpikeTrains]) -> Inputs:
    """`inputs` of the closed network together with the replayed spikes."""
    if inputs is None:
        return dict(replayed)
    given = dict(inputs) if isinstance(inputs, Mapping) else {network.inputs[0].name: inputs}
    return {**given, **replayed}
