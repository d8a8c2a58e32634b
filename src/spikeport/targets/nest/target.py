"""NEST as a target: what it can say, and what it is told."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from spikeport.snn.drive import Inputs
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.base import Lowering, RunOptions, approximated
from spikeport.targets.capabilities import Capabilities, Problem, check
from spikeport.targets.modes import equal_units
from spikeport.targets.nest.parameters import decays, shortest

_SOURCE = "NEST 3.10, iaf_psc_exp_multisynapse: its equations, measured step by step (tests/targets/test_nest.py)"

CAPABILITIES = Capabilities(
    resets=frozenset({"to_value"}),  # V_m = V_reset is the model's only reset
    readouts=None,  # spikeport computes them from NEST's spikes
    noise_while_refractory=False,  # V_m is clamped, whatever current comes in
    min_delay=1,  # NEST's shortest; 2 where an arrival acts in its own step, see `shortest`
    source=_SOURCE,
)


@dataclass(frozen=True, kw_only=True)
class Nest:
    """NEST's `iaf_psc_exp_multisynapse`; its coefficients of a step are the reference's."""

    name: str = "nest"
    summary: str = "NEST, iaf_psc_exp_multisynapse with exact integration"
    extra: str = "nest"
    requires: tuple[str, ...] = ("nest",)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    capabilities: Capabilities = CAPABILITIES

    def problems(self, network: SpikingNetwork, **choices: str) -> tuple[Problem, ...]:
        return tuple(nest_problems(network, self.capabilities))

    def lower(self, network: SpikingNetwork, *, allow: Collection[str] = (), **choices: str) -> Lowering:
        lowered, losses = approximated(self, network, allow, shortest)
        return Lowering(target=self.name, source=network, network=lowered, losses=losses)

    def run(self, lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
        from spikeport.targets.nest.simulation import simulate

        return simulate(lowering, inputs, options)


def nest_problems(network: SpikingNetwork, can: Capabilities) -> Iterator[Problem]:
    """The generic check, and NEST's own: synapses without two modes, delays, decays that are no exponential."""
    yield from (p for p in check(network, can) if p.feature != "min_delay")
    for population in network.populations:
        for name, n in equal_units(population):
            where, value = f"population {population.name}: synapse {name}", f"tau_rise = tau_decay in {n} units"
            yield Problem(feature="synapse", where=where, value=value, limit="they must differ: NEST is told two modes")
    for where, value in decays(network):
        yield Problem(feature="integrator", where=where, value=value, limit="NEST's e^(-dt/tau) is above 0")
    sources = {p.name for p in network.populations}
    for j in network.projections:
        least = shortest(network, j) if j.source in sources else 0
        if j.delay < least:
            where, value = f"projection {j.source}->{j.target}", f"delay {j.delay} steps"
            yield Problem(feature="min_delay", where=where, value=value, limit=f"at least {least}")


NEST = Nest()
