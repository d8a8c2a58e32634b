"""The conformance networks are what they say: they spike, far from every threshold, and ask for what they name."""

from __future__ import annotations

import dataclasses

import pytest
from conformance_networks import NETWORKS, Conformance

from spikeport.targets.capabilities import Capabilities, check

NOTHING = Capabilities(
    precision=False, integrators=frozenset({"euler"}), synapses=frozenset(), readouts=frozenset(),
    resets=frozenset({"to_value"}), held_via=frozenset(), heterogeneous=frozenset(), recurrent=False, bias=False,
    synaptic_bias=False,
    refractory=False, initially_refractory=False, noise=False, noise_while_refractory=False,
    spikes_while_refractory=False, initial_v=False, delays=0, min_delay=2, populations=1, source="a test",
)  # fmt: skip


@pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS)
def test_a_network_runs_far_from_its_thresholds(case: Conformance) -> None:
    assert case.expected().n_steps == case.n_steps


@pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS)
def test_a_network_asks_for_the_features_that_it_names(case: Conformance) -> None:
    can = dataclasses.replace(NOTHING, synapses=NOTHING.synapses if "synapse" in case.features else _simple(case))
    found = {p.feature for p in check(case.network, can)}
    assert found == case.features


def _simple(case: Conformance) -> frozenset[type]:
    return frozenset(type(s) for p in case.network.populations for s in p.synapses.values())


def test_every_capability_has_a_network_that_needs_it() -> None:
    fields = {f.name for f in dataclasses.fields(Capabilities)}
    needed = set().union(*(c.features for c in NETWORKS.values()))
    assert needed <= {"integrator", "synapse", "reset"} | fields
    plural = {"integrators": "integrator", "synapses": "synapse", "resets": "reset"}
    other = {"dtypes", "devices", "source", "neurons", "keyed_noise", "records_v"}  # no part of a network
    untested = {plural.get(name, name) for name in fields} - needed - other
    assert untested == {"spike_inputs"}  # the plain network itself needs those
