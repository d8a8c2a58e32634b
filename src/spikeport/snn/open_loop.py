"""The open loop: each population is driven by recorded spikes, so that a difference is that population's own step.

Running freely, a recurrent network magnifies a last bit until every spike differs; driven like this, it cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from spikeport.snn.drive import Inputs
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import SpikeInput, SpikingNetwork


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
