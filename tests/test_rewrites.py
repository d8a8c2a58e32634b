"""Exact rewrites change no spike: on random networks, before and after are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conformance_networks import DOUBLE, NETWORKS, Conformance, populated
from hypothesis import HealthCheck, assume, given, settings
from lively_network import lively, lively_inputs
from random_networks import Case, cases

from spikeport.snn import reference
from spikeport.snn.errors import UnsupportedError
from spikeport.snn.neurons import LIF, per_unit
from spikeport.snn.open_loop import open_loop, with_replay
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork, Uniform
from spikeport.snn.synapses import DoubleExponential, Exponential
from spikeport.targets.base import Lowering
from spikeport.targets.modes import mode_gains, split_double
from spikeport.targets.rewrites import (
    CONSTANT,
    at_or_above,
    bias_as_input,
    constant_samples,
    leak_as_bias,
    normalised,
)

PROPERTY = settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=list(HealthCheck))
MARGIN = 1e-9


def far(network: SpikingNetwork, recording: Recording) -> bool:
    """Does every v stay so far from its threshold that rounding decides no spike?"""
    return all(
        np.abs(recording.traces[f"{p.name}.v"] - per_unit(p.neuron.v_threshold, p.n)).min(initial=np.inf) > MARGIN
        for p in network.populations
    )


def traces(network: SpikingNetwork) -> list[str]:
    return [f"{p.name}.v" for p in network.populations]


def same_spikes(a: Recording, b: Recording) -> int:
    """How many spikes were compared; none differs."""
    assert {name: s.differing(b.spikes[name]) for name, s in a.spikes.items()} == dict.fromkeys(a.spikes, 0)
    for name, values in a.outputs.items():
        np.testing.assert_allclose(b.outputs[name], values, rtol=1e-9, atol=1e-9)
    return sum(s.n_spikes for s in a.spikes.values())


def law(rewrite: Callable[[Case], tuple[SpikingNetwork, dict[str, Any]]]) -> int:
    """Run random networks before and after; how many spikes were compared in all."""
    compared = 0

    @given(cases())
    @PROPERTY
    def holds(case: Case) -> None:
        nonlocal compared
        try:
            after, inputs = rewrite(case)
        except UnsupportedError:
            assume(False)
        before = reference.simulate(case.network, case.inputs, record=traces(case.network), **case.run())
        assume(far(case.network, before))
        compared += same_spikes(before, reference.simulate(after, inputs, **case.run()))

    holds()
    return compared


def test_leak_as_bias_changes_no_spike() -> None:
    assert law(lambda case: (leak_as_bias(case.network), case.inputs)) > 100


def test_scaling_to_threshold_1_and_reset_0_changes_no_spike() -> None:
    assert law(lambda case: (normalised(case.network)[0], case.inputs)) > 100


def test_a_bias_as_a_constant_input_changes_no_spike() -> None:
    def rewrite(case: Case) -> tuple[SpikingNetwork, dict[str, Any]]:
        return bias_as_input(case.network), {**case.inputs, CONSTANT: constant_samples(case.n_batch)}

    assert law(rewrite) > 100


def test_two_single_exponentials_for_a_double_one_change_no_spike() -> None:
    assert law(lambda case: (split_double(case.network), case.inputs)) > 100


def test_after_scaling_every_reset_is_0_every_threshold_1_and_every_leak_0() -> None:
    network, scales = normalised(lively())
    assert {(p.neuron.v_reset, p.neuron.v_threshold, p.neuron.v_leak) for p in network.populations} == {(0.0, 1.0, 0.0)}
    assert scales.keys() == {"a", "b"}


def test_a_scaled_recording_inverts_to_millivolts() -> None:
    case = NETWORKS["millivolts"]
    scaled, scale = normalised(case.network)
    lowering = Lowering(target="t", source=case.network, network=scaled, scale=scale)
    found = lowering.invert(reference.simulate(scaled, case.inputs, record=["a.v", "a.s"], **case.run()))
    expected = reference.simulate(case.network, case.inputs, record=["a.v", "a.s"], **case.run())
    for name in ("a.v", "a.s"):
        np.testing.assert_allclose(found.traces[name], expected.traces[name], rtol=1e-12, atol=1e-12)
    v = np.array([[-65.0, -52.5, -40.0, 0.0, 1.0]])
    np.testing.assert_allclose(lowering.forward_v("a", v), (v + 65) / 25)
    np.testing.assert_allclose(lowering.forward_noise("a", v), v / 25)


def test_a_threshold_at_its_reset_cannot_be_scaled() -> None:
    network = populated(neuron=LIF(tau_mem=0.01, v_threshold=0.0, v_reset=0.0))
    with pytest.raises(UnsupportedError, match="population a: 5 units have v_threshold = v_reset"):
        normalised(network)


def test_a_drawn_v0_is_scaled_with_its_population() -> None:
    network = populated(v0=Uniform(-65.0, 30.0), neuron=LIF(tau_mem=0.01, v_threshold=-40.0, v_reset=-65.0))
    v0 = normalised(network)[0].populations[0].v0
    assert v0 == Uniform(0.0, 3.8)
    varied = replace(network.populations[0].neuron, v_reset=np.linspace(-66, -65, 5))
    with pytest.raises(UnsupportedError, match="v0 is drawn"):
        normalised(replace(network, populations=(replace(network.populations[0], neuron=varied),)))


def test_at_or_above_moves_a_threshold_by_one_float() -> None:
    moved = at_or_above(populated()).populations[0].neuron.v_threshold
    assert moved == np.nextafter(1.0, 2.0)
    v = np.array([np.nextafter(1.0, 0.0), 1.0, np.nextafter(1.0, 2.0)])
    np.testing.assert_array_equal(v > 1.0, v >= moved)


# two exponentials for one double


@pytest.mark.parametrize("integrator", ["kim2019", "euler", "exact"])
def test_the_two_modes_have_the_area_of_the_double_exponential_in_continuous_time(integrator: str) -> None:
    """w tau_d / (tau_d - tau_r) and -w tau_r / (tau_d - tau_r), in the limit of a small step."""
    network = replace(populated(synapses={"s": DOUBLE}), integrator=integrator, dt=1e-7)
    (decay, rise), _ = mode_gains(network, network.populations[0], "s")
    np.testing.assert_allclose(decay, 0.006 / 0.004, rtol=1e-3)
    np.testing.assert_allclose(rise, -0.002 / 0.004, rtol=1e-3)


def test_a_split_network_has_only_single_exponentials_of_the_same_time_constants() -> None:
    split = split_double(populated(synapses={"s": DOUBLE}))
    assert split.populations[0].synapses == {"s": Exponential(tau=0.006), "s_rise": Exponential(tau=0.002)}


def test_a_double_exponential_of_equal_time_constants_is_refused() -> None:
    network = populated(synapses={"s": DoubleExponential(tau_rise=np.linspace(0.001, 0.005, 5), tau_decay=0.005)})
    with pytest.raises(UnsupportedError, match=r"population a, synapse s: tau_rise = tau_decay in 1 units"):
        split_double(network)


# replay


@pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS)
def test_a_replayed_network_gives_the_spikes_that_it_was_given(case: Conformance) -> None:
    expected = case.expected(with_noise=False)
    opened, given = open_loop(case.network, expected)
    names = {p.name for p in opened.populations}
    assert not [j for j in opened.projections if j.source in names], "no population drives another"
    found = reference.simulate(opened, with_replay(case.inputs, case.network, given), **case.run())
    assert same_spikes(expected, found) == sum(s.n_spikes for s in expected.spikes.values())


def test_replay_cannot_hide_a_wrong_step_and_does_not_magnify_it() -> None:
    """A unit with another threshold differs by itself alone, where running freely it would drag all others along."""
    network, inputs = lively(), lively_inputs()
    expected = reference.simulate(network, inputs, with_noise=False)
    opened, given = open_loop(network, expected)
    a = opened.populations[0]
    high = per_unit(a.neuron.v_threshold, a.n)
    high[0] += 0.2
    wrong = replace(
        opened, populations=(replace(a, neuron=replace(a.neuron, v_threshold=high)), *opened.populations[1:])
    )
    found = reference.simulate(wrong, with_replay(inputs, network, given))
    differing = {n for n in range(a.n) if not np.array_equal(
        found.spikes["a"].dense()[:, :, n], expected.spikes["a"].dense()[:, :, n])}  # fmt: skip
    assert differing == {0}
    assert found.spikes["b"].differing(expected.spikes["b"]) == 0
