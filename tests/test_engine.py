"""The engine gives the reference's spikes, every one, and the same answer however a run is cut up."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from lively_network import lively, lively_inputs
from random_networks import FEATURES, Case, cases, features

from spikeport.snn import engine, reference
from spikeport.snn.engine import Engine
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import HeldInput, SpikingNetwork

PROPERTY = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def traces(network: SpikingNetwork) -> list[str]:
    assert network.populations
    return [f"{p.name}.v" for p in network.populations]


def assert_spike_for_spike(found: Recording, expected: Recording) -> None:
    """Every spike, outputs to rounding, v to the last bit."""
    assert (found.n_steps, found.n_batch, found.dt) == (expected.n_steps, expected.n_batch, expected.dt)
    assert found.spikes.keys() == expected.spikes.keys()
    for name, trains in expected.spikes.items():
        assert found.spikes[name].differing(trains) == 0, name
    assert found.outputs.keys() == expected.outputs.keys()
    for name, output in expected.outputs.items():  # the read-out is summed by lanes, so not to the last bit
        np.testing.assert_allclose(found.outputs[name], output, rtol=0, atol=1e-9, err_msg=name)
    for name, v in found.traces.items():
        np.testing.assert_array_equal(v, expected.traces[name], err_msg=name)


def test_the_engine_gives_every_spike_of_the_reference_on_networks_with_every_feature() -> None:
    seen: Counter[str] = Counter()

    @given(cases())
    @settings(PROPERTY, max_examples=150)
    def law(case: Case) -> None:
        record = traces(case.network)
        expected = reference.simulate(case.network, case.inputs, record=record, **case.run())
        found = engine.simulate(case.network, case.inputs, record=record, n_threads=1, **case.run())
        assert_spike_for_spike(found, expected)
        reached = set(features(case, expected))
        seen.update(reached)
        for feature in reached:
            event(feature)

    law()
    assert set(seen) <= set(FEATURES)
    absent = [feature for feature in FEATURES if not seen[feature]]
    assert not absent, f"the strategy never reaches {absent}"


@given(cases())
@settings(PROPERTY, max_examples=30)
def test_recording_v_changes_no_spike_and_no_output(case: Case) -> None:
    """Without a trace the kernel takes a shorter path."""
    plain = engine.simulate(case.network, case.inputs, n_threads=1, **case.run())
    traced = engine.simulate(case.network, case.inputs, record=traces(case.network), n_threads=1, **case.run())
    assert_spike_for_spike(plain, replace(traced, traces={}))
    assert_spike_for_spike(plain, reference.simulate(case.network, case.inputs, **case.run()))


@given(cases(), st.integers(0, 10))
@settings(PROPERTY, max_examples=40)
def test_a_run_cut_into_trials_and_threads_is_the_same_run(case: Case, n_threads: int) -> None:
    case = replace(case, n_batch=3, inputs={name: three_trials(value) for name, value in case.inputs.items()})
    whole = engine.simulate(case.network, case.inputs, n_threads=1, **case.run())
    threaded = engine.simulate(case.network, case.inputs, n_threads=2 + n_threads % 2, **case.run())
    assert_same_run(whole, threaded)
    for b in range(3):
        alone = replace(case, n_batch=1, first_trial=case.first_trial + b)
        inputs = {name: one_trial(value, b) for name, value in case.inputs.items()}
        part = engine.simulate(alone.network, inputs, n_threads=1, **alone.run())
        for name, trains in part.spikes.items():
            np.testing.assert_array_equal(trains.dense()[:, 0], whole.spikes[name].dense()[:, b])
        for name, output in part.outputs.items():
            np.testing.assert_array_equal(output[:, 0], whole.outputs[name][:, b])


def three_trials(value: Any) -> Any:
    """Trial 0 of an input, and two unlike it."""
    z = dense_of(value)
    return np.concatenate([z[:, :1], np.roll(z[:, :1], 1, axis=0), z[::-1, :1]], axis=1)


def one_trial(value: Any, b: int) -> Any:
    assert value.shape[1] == 3
    return value[:, b : b + 1]


def assert_same_run(a: Recording, b: Recording) -> None:
    """To the last bit, outputs too."""
    assert a.spikes.keys() == b.spikes.keys()
    assert all(a.spikes[name].differing(b.spikes[name]) == 0 for name in a.spikes)
    for name, output in a.outputs.items():
        np.testing.assert_array_equal(output, b.outputs[name])


# Ways to run one network


def test_candidates_side_by_side_are_each_the_run_alone() -> None:
    networks, inputs = [lively(scale=s) for s in (0.5, 1.0, 2.0)], lively_inputs()
    together = Engine(networks)
    run = together.run(together.start(3, seed=4), inputs, record_spikes=True, record_v=True)
    for c, network in enumerate(networks):
        alone = Engine(network)
        expected = alone.run(alone.start(3, seed=4), inputs, record_spikes=True, record_v=True)
        np.testing.assert_array_equal(run.outputs[:, c], expected.outputs[:, 0])
        np.testing.assert_array_equal(run.counts[:, c], expected.counts[:, 0])
        np.testing.assert_array_equal(run.v[:, c], expected.v[:, 0])
        mine = run.events[run.events[:, 2] == c]
        assert set(map(tuple, mine[:, [0, 1, 3]])) == set(map(tuple, expected.events[:, [0, 1, 3]]))
    assert (run.counts[:, 0] != run.counts[:, 2]).any()  # the candidates do differ


@pytest.mark.parametrize("cut", [5, 10, 35, 55])  # between samples of the held input, inside blocks of the kernel
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_run_cut_in_two_with_its_state_carried_is_the_run_in_one(cut: int, dtype: str) -> None:
    inputs, machine = lively_inputs(), Engine(lively(), dtype=dtype)
    whole = machine.run(machine.start(3, seed=4), inputs, record_spikes=True, record_v=True)
    state = machine.start(3, seed=4)
    dense = inputs["x"].dense()
    first = machine.run(
        state, {"u": inputs["u"][: cut // 5], "x": dense[:cut]}, record_spikes=True, record_v=True, n_steps=cut
    )
    rest = machine.run(state, {"u": inputs["u"][cut // 5 :], "x": dense[cut:]}, record_spikes=True, record_v=True)
    np.testing.assert_array_equal(np.concatenate([first.outputs, rest.outputs], axis=3), whole.outputs)
    np.testing.assert_array_equal(np.concatenate([first.v, rest.v], axis=2), whole.v)
    np.testing.assert_array_equal(first.counts + rest.counts, whole.counts)
    events = np.concatenate([first.events, rest.events + np.array([cut, 0, 0, 0])])
    assert sorted(map(tuple, events)) == sorted(map(tuple, whole.events))
    assert state.k == 60


@pytest.mark.parametrize("hold", [1, 5])
def test_streaming_step_by_step_is_the_batch_run(hold: int) -> None:
    """One step a call, or five with the input held."""
    network, inputs = lively(), lively_inputs()
    dense = inputs["x"].dense()
    if hold > 1:
        dense[np.arange(60) % hold != 0] = 0  # given spikes arrive in the first step of a call
        inputs["x"] = SpikeTrains.from_dense(dense)
    expected = engine.simulate(network, inputs, seed=4, n_threads=1)
    machine = Engine(network)
    state = machine.start(3, seed=4)
    for k in range(0, 60, hold):
        step = machine.step(state, {"u": inputs["u"][k // 5], "x": dense[k]}, n_steps=hold)
        for name, counts in step.spikes.items():
            np.testing.assert_array_equal(counts, expected.spikes[name].dense()[k : k + hold].sum(axis=0))
        for name, output in step.outputs.items():
            np.testing.assert_array_equal(output, expected.outputs[name][k + hold - 1])
    assert state.k == 60


@given(cases(max_steps=20))
@settings(PROPERTY, max_examples=30)
def test_any_network_streams_as_it_runs(case: Case) -> None:
    ports = tuple(
        replace(i, dt=case.network.dt, sampling="floor") if isinstance(i, HeldInput) else i for i in case.network.inputs
    )
    network, n_steps = replace(case.network, inputs=ports), max(case.n_steps, 1)
    case = replace(case, network=network, n_steps=n_steps)
    inputs = {i.name: np.resize(dense_of(case.inputs[i.name]), (n_steps, case.n_batch, i.n)) for i in ports}
    expected = engine.simulate(network, inputs, n_threads=1, **case.run())
    machine = Engine(network)
    state = machine.start(case.n_batch, seed=case.seed, first_trial=case.first_trial, with_noise=case.with_noise)
    for k in range(n_steps):
        step = machine.step(state, {name: value[k] for name, value in inputs.items()})
        for name, counts in step.spikes.items():
            np.testing.assert_array_equal(counts, expected.spikes[name].dense()[k])
        for name, output in step.outputs.items():
            np.testing.assert_array_equal(output, expected.outputs[name][k])


def dense_of(value: Any) -> Any:
    dense = value.dense() if isinstance(value, SpikeTrains) else np.asarray(value)
    assert dense.ndim == 3
    return dense
