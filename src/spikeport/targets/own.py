"""The project's own simulators: the fast engine, and the reference that judges every target."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import SpikeportError
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.base import Lowering, RunOptions, approximated, run_problems
from spikeport.targets.capabilities import Capabilities, Problem, check

Simulate = Callable[[SpikingNetwork, Inputs | None, RunOptions], Recording]


@dataclass(frozen=True, kw_only=True)
class Own:
    """A simulator of ours: it takes every network as it is."""

    name: str
    summary: str
    capabilities: Capabilities
    simulate: Simulate
    extra: str = ""
    requires: tuple[str, ...] = ()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def problems(self, network: SpikingNetwork, **choices: str) -> tuple[Problem, ...]:
        return check(network, self.capabilities)

    def lower(self, network: SpikingNetwork, *, allow: Collection[str] = (), **choices: str) -> Lowering:
        lowered, losses = approximated(self, network, allow)
        return Lowering(target=self.name, source=network, network=lowered, losses=losses)

    def run(self, lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
        problems = run_problems(self, options.dtype, options.device)
        if problems:
            raise SpikeportError(f"{self.name}: cannot run like that", problems, hint="spikeport targets")
        return self.simulate(lowering.network, inputs, options)


def _on_engine(network: SpikingNetwork, inputs: Inputs | None, options: RunOptions) -> Recording:
    from spikeport.snn import engine

    if options.noise_values is not None:
        raise SpikeportError("engine: it draws its noise itself, and takes no noise_values", hint="target reference")
    return engine.simulate(network, inputs, dtype=options.dtype, **_shared(options))


def _on_reference(network: SpikingNetwork, inputs: Inputs | None, options: RunOptions) -> Recording:
    from spikeport.snn import reference

    return reference.simulate(network, inputs, noise_values=options.noise_values, **_shared(options))


def _shared(options: RunOptions) -> dict[str, Any]:
    names = ("n_steps", "n_batch", "seed", "first_trial", "with_noise", "v0", "record")
    return {name: getattr(options, name) for name in names}


_SOURCE = "spikeport.snn.reference, which is the meaning of a network"
ENGINE = Own(
    name="engine",
    summary="spikeport's fast simulator (numba)",
    capabilities=Capabilities(dtypes=("float64", "float32"), source=_SOURCE),
    simulate=_on_engine,
)
REFERENCE = Own(
    name="reference",
    summary="the simulator that judges the others (NumPy, slow)",
    capabilities=Capabilities(source=_SOURCE),
    simulate=_on_reference,
)
