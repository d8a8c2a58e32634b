"""The canonical step against closed forms and laws, on the reference simulator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lively_network import lively, lively_inputs
from numpy.typing import NDArray
from scalar_step import scalar_simulate

from spikeport.snn import noise, reference
from spikeport.snn.integrators import INTEGRATORS
from spikeport.snn.neurons import LIF
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import HeldInput, Population, Projection, ReadOut, SpikeInput, SpikingNetwork, Uniform
from spikeport.snn.synapses import Delta, Exponential, Synapse

DT = 1e-3
Array = NDArray[np.float64]


def network_of(population: Population, integrator: str = "exact", dt: float = DT, **parts: Any) -> SpikingNetwork:
    assert population.name == "n"
    return SpikingNetwork(populations=(population,), dt=dt, integrator=integrator, **parts)


def v_of(run: Recording) -> Array:
    """(time, n) of the only trial."""
    v = run.traces["n.v"]
    assert v.shape[1] == 1
    return np.asarray(v[:, 0])


# The neuron alone

UNITS = [
    (tm, t_ref, v_inf) for tm in (0.005, 0.01, 0.02) for t_ref in (0.0, 0.001, 0.002) for v_inf in (-38.0, -30.0, 0.0)
]


@pytest.mark.parametrize("reset", ["to_value", "subtract"])
@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_the_rate_of_a_driven_neuron_matches_the_closed_form(integrator: str, reset: str) -> None:
    """1 / rate = t_ref + tau ln((v_inf - v_reset) / (v_inf - v_threshold)), to one step: the crossing is seen at the
    end of one (and a subtracting reset keeps the overshoot, less than a step's drift); the Euler membranes are
    faster by up to dt / (2 tau) besides, for they have tau' = dt / -ln(1 - dt/tau) in place of tau."""
    dt, v_threshold, v_reset = 1e-4, -40.0, -65.0
    tau, t_ref, v_inf = np.array(UNITS).T
    neuron = LIF(tau_mem=tau, v_threshold=v_threshold, v_reset=v_reset, t_ref=t_ref, reset=reset)
    population = Population(name="n", n=len(UNITS), neuron=neuron, bias=v_inf, v0=v_reset)
    spikes = reference.simulate(network_of(population, integrator, dt), n_steps=4000).spikes["n"]
    period = t_ref + tau * np.log((v_inf - v_reset) / (v_inf - v_threshold))
    faster = 0 if integrator == "exact" else dt / tau / 2 * (1 + dt / tau)
    bound = dt + (period - t_ref) * faster
    for unit in range(len(UNITS)):
        intervals = np.diff(spikes.step[spikes.neuron == unit]) * dt
        assert intervals.size >= 4
        assert np.abs(intervals - period[unit]).max() <= bound[unit] + 1e-12, UNITS[unit]
        assert abs(1 / intervals.mean() - 1 / period[unit]) <= bound[unit] / period[unit] / (period[unit] - bound[unit])


def test_a_neuron_whose_drive_ends_at_the_threshold_never_spikes() -> None:
    population = Population(
        name="n", n=1, neuron=LIF(tau_mem=0.01, v_threshold=-40.0, v_reset=-65.0), bias=-40.0, v0=-65.0
    )
    run = reference.simulate(network_of(population), n_steps=1000, record=["n.v"])
    assert run.spikes["n"].n_spikes == 0
    assert v_of(run)[-1, 0] == pytest.approx(-40.0)


@pytest.mark.parametrize("tau", [0.001, 0.01, 0.3])
def test_subthreshold_relaxation_is_the_closed_form_under_exact(tau: float) -> None:
    v0, v_leak, bias = np.array([-3.0, 0.0, 0.7]), 0.2, np.array([0.5, -1.0, 0.1])
    neuron = LIF(tau_mem=tau, v_threshold=1e9, v_reset=0.0, v_leak=v_leak)
    run = reference.simulate(
        network_of(Population(name="n", n=3, neuron=neuron, bias=bias, v0=v0)), n_steps=200, record=["n.v"]
    )
    t = DT * np.arange(1, 201)[:, None]
    np.testing.assert_allclose(v_of(run), v_leak + bias + (v0 - v_leak - bias) * np.exp(-t / tau), rtol=0, atol=1e-12)


@pytest.mark.parametrize("ratio", [0.0, 0.4, 0.5, 1.0, 1.4, 2.5, 3.0, 7.0])
def test_a_neuron_is_frozen_for_exactly_n_steps_after_a_spike(ratio: float) -> None:
    n = int(np.floor(ratio + 0.5))
    neuron = LIF(tau_mem=0.01, v_threshold=1.0, v_reset=-0.5, t_ref=ratio * DT)
    run = reference.simulate(network_of(Population(name="n", n=1, neuron=neuron, bias=2.0)), n_steps=60, record=["n.v"])
    v, spikes = v_of(run)[:, 0], run.spikes["n"].step
    assert spikes.size >= 3
    for step in spikes[:-1]:
        assert v[step] > 1.0  # the recorded v is the one before the reset
        assert (v[step + 1 : step + 1 + n] == -0.5).all()
        moved = 2.0 + (-0.5 - 2.0) * np.exp(-0.1)
        assert v[step + 1 + n] == pytest.approx(moved, abs=1e-12)


def test_ref0_freezes_every_unit_from_the_start() -> None:
    population = Population(
        name="n", n=3, neuron=LIF(tau_mem=0.01, v_threshold=1.0, v_reset=0.0), bias=0.8, ref0=np.array([0.0, 1, 4])
    )
    v = v_of(reference.simulate(network_of(population), n_steps=6, record=["n.v"]))
    np.testing.assert_array_equal(v == 0, np.arange(6)[:, None] < [0, 1, 4])


def test_a_subtracting_reset_keeps_the_overshoot() -> None:
    neuron = LIF(tau_mem=0.01, v_threshold=1.0, v_reset=-0.5, t_ref=DT)
    runs = {
        reset: reference.simulate(
            network_of(Population(name="n", n=1, neuron=replace(neuron, reset=reset), v0=0.9, bias=3.0)),
            n_steps=3,
            record=["n.v"],
        )
        for reset in ("to_value", "subtract")
    }
    peak = 3.0 - 2.1 * np.exp(-0.1)
    assert v_of(runs["to_value"])[:2, 0] == pytest.approx([peak, -0.5])
    assert v_of(runs["subtract"])[:2, 0] == pytest.approx([peak, peak - 1.5])


@pytest.mark.parametrize("noisy", [True, False])
@pytest.mark.parametrize("spiking", [True, False])
def test_the_two_refractory_flags_let_noise_in_and_spikes_out(noisy: bool, spiking: bool) -> None:
    neuron = LIF(tau_mem=0.01, v_threshold=1.0, v_reset=0.0, t_ref=10 * DT)
    population = Population(
        name="n",
        n=1,
        neuron=neuron,
        bias=0.5,
        v0=0.2,
        ref0=4,
        noise_while_refractory=noisy,
        spikes_while_refractory=spiking,
    )
    added = np.zeros((20, 1, 1))
    added[[0, 2, 5], 0, 0] = 0.1, 2.0, 0.3
    run = reference.simulate(network_of(population), n_steps=20, record=["n.v"], noise_values={"n": added})
    v = v_of(run)[:, 0]
    first = [0.3, 0.3, 2.3] if noisy else [0.2, 0.2, 0.2]  # frozen, but for the noise
    assert v[:3] == pytest.approx(first)
    if noisy and spiking:
        assert run.spikes["n"].step.tolist() == [2]  # and the period starts again, ten steps
        assert v[3:13] == pytest.approx([0.0, 0.0] + [0.3] * 8)
        assert v[13] != v[12]
    elif noisy:
        assert run.spikes["n"].step.tolist() == [4]  # 2.3 still above threshold when it is free again
    else:
        assert run.spikes["n"].n_spikes == 0
        assert v[4] == pytest.approx(0.5 - 0.3 * np.exp(-0.1))


def test_a_unit_above_threshold_spikes_in_its_first_step_even_while_refractory_if_it_may() -> None:
    for may in (True, False):
        neuron = LIF(tau_mem=0.01, v_threshold=1.0, v_reset=0.0)
        population = Population(name="n", n=1, neuron=neuron, v0=5.0, ref0=3, spikes_while_refractory=may)
        assert reference.simulate(network_of(population), n_steps=5).spikes["n"].step.tolist() == [0 if may else 3]


def test_the_noise_of_a_step_is_that_of_its_key_at_the_stated_size() -> None:
    population = Population(
        name="n", n=4, neuron=LIF(tau_mem=0.01, v_threshold=1e9, v_reset=0.0), noise_sd=np.array([0, 0.1, 0.2, 3.0]),
        ref0=100, noise_while_refractory=True, noise_key=7, unit_ids=np.array([5, 0, 2**20, 3]),
    )  # fmt: skip
    run = reference.simulate(network_of(population), n_steps=30, n_batch=2, seed=3, first_trial=11, record=["n.v"])
    key = (3, "membrane", 7, np.array([5, 0, 2**20, 3]), np.array([[11], [12]]), np.arange(30)[:, None, None])
    expected = noise.normal_integers(*key) / noise.NORMAL_SD * np.array([0, 0.1, 0.2, 3.0])
    np.testing.assert_allclose(run.traces["n.v"], np.cumsum(expected, axis=0), atol=1e-12)


def test_a_drawn_v0_is_that_of_its_key_in_the_stated_interval() -> None:
    ids = np.array([5, 0, 2**20])
    neuron = LIF(tau_mem=0.01, v_threshold=1e9, v_reset=0.0)
    population = Population(
        name="n", n=3, neuron=neuron, v0=Uniform(-65.0, 30.0), ref0=1, noise_key=7, unit_ids=ids
    )  # frozen: v of the first step is v0
    run = reference.simulate(network_of(population), n_steps=1, n_batch=2, seed=3, first_trial=11, record=["n.v"])
    expected = noise.uniforms(3, "v0", 7, ids, np.array([[11], [12]]), 0)
    np.testing.assert_allclose(run.traces["n.v"][0], -65 + 95 * expected, rtol=1e-15)
    assert np.unique(expected).size == 6


# Synapses, delays, inputs


def fed(synapse: Synapse, delay: int, **changes: Any) -> SpikingNetwork:
    fields: dict[str, Any] = {"neuron": LIF(tau_mem=0.01, v_threshold=1e9, v_reset=0.0)}
    population = Population(name="n", n=1, synapses={"s": synapse}, **(fields | changes))
    weight = np.array([[0.02, 0.005]])
    projections = (Projection(source="x", target="n", weight=weight, synapse="s", delay=delay),)
    return network_of(population, "euler", inputs=(SpikeInput(name="x", n=2),), projections=projections)


@pytest.mark.parametrize("delay", range(6))
@pytest.mark.parametrize("synapse", [Exponential(tau=0.005), Delta()], ids=["exponential", "delta"])
def test_a_spike_at_the_end_of_step_k_acts_from_the_start_of_step_k_plus_delay(synapse: Synapse, delay: int) -> None:
    spikes = np.zeros((20, 1, 2), dtype=int)
    spikes[6] = [[1, 3]]  # in step k = 7
    run = reference.simulate(fed(synapse, delay), spikes, record=["n.v", "n.s"])
    assert np.flatnonzero(run.traces["n.s"])[0] == 6 + delay
    assert np.flatnonzero(v_of(run))[0] == 6 + delay  # with the step in which it arrives
    arrived = (0.02 + 3 * 0.005) * (1 / 0.01 if isinstance(synapse, Delta) else 1 / 0.005)
    assert run.traces["n.s"][6 + delay, 0, 0] == pytest.approx(arrived)


def test_a_delta_adds_w_over_tau_mem_after_the_decay() -> None:
    spikes = np.zeros((3, 1, 2), dtype=int)
    spikes[1, 0, 0] = 1
    v = v_of(reference.simulate(fed(Delta(), 0, v0=1.0), spikes, record=["n.v"]))[:, 0]
    assert v == pytest.approx([0.9, 0.9 * 0.9 + 0.02 / 0.01, 0.9 * (0.9 * 0.9 + 2.0)])


def test_a_delta_is_lost_while_refractory_but_an_exponential_goes_on() -> None:
    spikes = np.zeros((8, 1, 2), dtype=int)
    spikes[1, 0, 0] = 1
    lost = v_of(reference.simulate(fed(Delta(), 0, ref0=3), spikes, record=["n.v"]))
    kept = v_of(reference.simulate(fed(Exponential(tau=0.005), 0, ref0=3), spikes, record=["n.v"]))
    assert (lost == 0).all()
    assert (kept[:3] == 0).all()
    assert (kept[3:] > 0).all()


def test_populations_are_stepped_so_that_a_zero_delay_arrives_in_the_same_step() -> None:
    """Whatever the order in which they are listed: here each one feeds the one before it."""
    neuron = LIF(tau_mem=0.01, v_threshold=1.0, v_reset=0.0)
    chain = tuple(
        Population(name=name, n=1, neuron=neuron, synapses={"s": Delta()}, v0=v0)
        for name, v0 in zip("cba", (0, 0, 2.0), strict=True)
    )
    projections = tuple(
        Projection(source=source, target=target, weight=np.full((1, 1), 0.02), synapse="s", delay=delay)
        for source, target, delay in (("a", "b", 0), ("b", "c", 0), ("c", "a", 3))
    )
    network = SpikingNetwork(populations=chain, projections=projections, dt=DT, integrator="exact")
    spikes = reference.simulate(network, n_steps=10).spikes
    assert [spikes[name].step.tolist() for name in "abc"] == [[0, 3, 6, 9]] * 3  # round the loop in three steps


def test_a_held_input_on_the_membrane_is_seen_in_its_own_step_and_by_matlabs_rounding() -> None:
    """With A = 0 the trace is the input: sample round(k / 100) at step k, half away from zero."""
    population = Population(name="n", n=1, neuron=LIF(tau_mem=5e-5, v_threshold=1e9, v_reset=0.0))
    for sampling in ("nearest", "floor"):
        port = HeldInput(name="u", n=2, dt=0.005, sampling=sampling)
        weight = Projection(source="u", target="n", weight=np.array([[1.0, 1000.0]]))
        network = network_of(population, "kim2019", 5e-5, inputs=(port,), projections=(weight,))
        samples = np.stack([np.arange(5), np.arange(5)], axis=1)[:, None]
        seen = v_of(reference.simulate(network, samples, n_steps=450, record=["n.v"]))[:, 0]
        k = np.arange(1, 451)
        expected = (k + 50) // 100 if sampling == "nearest" else (k - 1) // 100  # 50, 150, ... round up, not to even
        np.testing.assert_array_equal(seen, 1001.0 * np.minimum(expected, 4))


def test_a_read_out_follows_its_spikes_at_once_through_the_sources_own_taus() -> None:
    tau = np.array([0.005, 0.02])
    neuron = LIF(tau_mem=0.01, v_threshold=1.0, v_reset=-1e6)
    readout = ReadOut(
        name="o",
        source="n",
        weight=np.array([[2.0, 0.0], [0.0, 3.0]]),
        bias=np.array([0.5, -1]),
        synapse=Exponential(tau=tau),
    )
    network = network_of(Population(name="n", n=2, neuron=neuron, v0=2.0), readouts=(readout,))
    o = reference.simulate(network, n_steps=20).outputs["o"][:, 0]
    t = DT * np.arange(20)[:, None]
    np.testing.assert_allclose(o, [0.5, -1] + np.array([2.0, 3.0]) / tau * np.exp(-t / tau), atol=1e-9)


# Laws


def test_zero_weights_make_independent_neurons() -> None:
    """Each unit of a silent network is that unit alone, with its own noise, to the last bit."""
    network, inputs = lively(scale=0.0, n=6), lively_inputs(n_steps=30, n_batch=2)
    together = reference.simulate(network, inputs, seed=5, record=["a.v"])
    assert together.spikes["a"].n_spikes > 10
    a = network.populations[0]
    for unit in range(6):
        one = replace(a, n=1, bias=a.bias[unit], noise_key=0, unit_ids=np.array([unit]))  # type: ignore[index]
        alone = SpikingNetwork(populations=(one,), dt=network.dt, integrator=network.integrator)
        run = reference.simulate(alone, n_steps=30, n_batch=2, seed=5, record=["a.v"])
        np.testing.assert_array_equal(run.traces["a.v"][:, :, 0], together.traces["a.v"][:, :, unit])


def test_trials_do_not_depend_on_the_batch() -> None:
    network, inputs = lively(n=6), lively_inputs(n_steps=30)
    whole = reference.simulate(network, inputs, seed=5).spikes["a"].dense()
    for b in range(3):
        part = {"u": inputs["u"][:, b : b + 1], "x": inputs["x"].dense()[:, b : b + 1]}
        alone = reference.simulate(network, part, seed=5, first_trial=b).spikes["a"].dense()
        np.testing.assert_array_equal(alone[:, 0], whole[:, b])


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_the_equations_in_plain_numbers_give_every_spike(integrator: str) -> None:
    """The step written out a second time, for one neuron at a time, from the docstring and not from the code."""
    network, inputs = replace(lively(n=7, scale=2.0), integrator=integrator), lively_inputs(n_steps=80, n_batch=1)
    run = reference.simulate(network, inputs, seed=9, record=["a.v", "b.v"])
    spikes, v, outputs = scalar_simulate(network, inputs, 80, seed=9)
    for name, z in spikes.items():
        assert z.sum() > 10
        np.testing.assert_array_equal(run.spikes[name].dense()[:, 0], z, err_msg=name)
        np.testing.assert_allclose(run.traces[f"{name}.v"][:, 0], v[name], rtol=1e-9, atol=1e-9)
    for name, o in outputs.items():
        np.testing.assert_allclose(run.outputs[name][:, 0], o, atol=1e-9)


def test_the_refractory_hook_replaces_the_plain_count() -> None:
    neuron = LIF(tau_mem=0.01, v_threshold=1.0, v_reset=0.0, t_ref=3 * DT)
    network = network_of(Population(name="n", n=1, neuron=neuron, bias=1e9, v0=0.0))
    plain = reference.simulate(network, n_steps=12).spikes["n"].step
    fewer = reference.simulate(network, n_steps=12, refractory=lambda k, n: n - 1).spikes["n"].step
    assert plain.tolist() == [0, 4, 8]
    assert fewer.tolist() == [0, 3, 6, 9]
