"""The project's own simulators: the fast engine, and the reference that judges every target."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import SpikeportError
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.base import Lowering, RunOptions, approximated
from spikeport.targets.capabilities import Capabilities, Problem, check

_SOURCE = "spikeport.snn.reference, which is the meaning of a network"
_ENGINE = Capabilities(dtypes=("float64", "float32"), source=_SOURCE)
_REFERENCE = Capabilities(source=_SOURCE)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The fast simulator: it takes every network as it is."""

    name: str = "engine"
    summary: str = "spikeport's fast simulator (numba)"
    extra: str = ""
    requires: tuple[str, ...] = ()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    capabilities: Capabilities = _ENGINE

    def problems(self, network: SpikingNetwork, **choices: str) -> tuple[Problem, ...]:
        return check(network, self.capabilities)

    def lower(self, network: SpikingNetwork, *, allow: Collection[str] = (), **choices: str) -> Lowering:
        lowered, losses = approximated(self, network, allow)
        return Lowering(target=self.name, source=network, network=lowered, losses=losses)

    def run(self, lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
        from spikeport.snn import engine

        if options.noise_values is not None:
            raise SpikeportError(
                "engine: it draws its noise itself, and takes no noise_values", hint="target reference"
            )
        return engine.simulate(lowering.network, inputs, dtype=options.dtype, **_shared(options))


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The slow, obvious simulator that judges every other one."""

    name: str = "reference"
    summary: str = "the simulator that judges the others (NumPy, slow)"
    extra: str = ""
    requires: tuple[str, ...] = ()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    capabilities: Capabilities = _REFERENCE

    def problems(self, network: SpikingNetwork, **choices: str) -> tuple[Problem, ...]:
        return check(network, self.capabilities)

    def lower(self, network: SpikingNetwork, *, allow: Collection[str] = (), **choices: str) -> Lowering:
        lowered, losses = approximated(self, network, allow)
        return Lowering(target=self.name, source=network, network=lowered, losses=losses)

    def run(self, lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
        from spikeport.snn import reference

        return reference.simulate(lowering.network, inputs, noise_values=options.noise_values, **_shared(options))


def _shared(options: RunOptions) -> dict[str, Any]:
    names = ("n_steps", "n_batch", "seed", "first_trial", "with_noise", "v0", "record")
    return {name: getattr(options, name) for name in names}


ENGINE = Engine()
REFERENCE = Reference()
