"""Networks for the tests of Loihi, and how they are lowered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from conformance_networks import plain

from spikeport.snn.spiking import Population, Projection, SpikeInput, SpikingNetwork
from spikeport.targets.base import Lowering
from spikeport.targets.loihi import LOIHI

WHOLE = ("precision",)


def lower(network: SpikingNetwork, *more: str) -> Lowering:
    return LOIHI.lower(network, allow=(*WHOLE, *more))


def texts(network: SpikingNetwork) -> dict[str, str]:
    """feature -> the problem."""
    return {p.feature: str(p) for p in LOIHI.problems(network)}


def weights(w: Any) -> SpikingNetwork:
    """The plain network with these weights of its input."""
    network = plain()
    given_ = replace(network.projections[0], weight=np.asarray(w, dtype=np.float64))
    port = SpikeInput(name="x", n=given_.weight.shape[1])
    a = replace(network.populations[0], n=given_.weight.shape[0])
    return replace(network, projections=(given_,), inputs=(port,), populations=(a,))


def fed(population: Population, w: Any) -> SpikingNetwork:
    """A population with synapse s, fed by input x through weights w."""
    into = Projection(source="x", target=population.name, weight=w, synapse="s")
    port = SpikeInput(name="x", n=w.shape[1])
    return replace(plain(), populations=(population,), inputs=(port,), projections=(into,))
