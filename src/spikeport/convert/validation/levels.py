"""What can be validated: a spiking network and a way to run it. Validation never sees the simulator itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spikeport.snn import engine
from spikeport.snn.losses import Loss
from spikeport.snn.neurons import Array
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork

Simulate = Callable[[Array, int], Recording]


@dataclass(frozen=True, kw_only=True)
class Level:
    """`network` on something that runs it.

    simulate: (inputs (samples, batch, n_inputs), the first trial's number) -> Recording, in mV.  losses: what was
    given up on the way from the level above.
    """

    name: str
    network: SpikingNetwork
    simulate: Simulate
    losses: tuple[Loss, ...] = ()


def engine_level(
    network: SpikingNetwork, *, seed: int = 0, with_noise: bool = True, dtype: str = "float64", name: str = "engine"
) -> Level:
    """The network on the engine: in float64, spike for spike the reference."""

    def simulate(inputs: Array, first_trial: int) -> Recording:
        return engine.simulate(network, inputs, seed=seed, first_trial=first_trial, with_noise=with_noise, dtype=dtype)

    return Level(name=name, network=network, simulate=simulate)
