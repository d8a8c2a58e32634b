"""The engine's borders: snapshots, float32, candidates, what it refuses, sizes at the edges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lively_network import lively, lively_inputs
from numpy.typing import NDArray

from spikeport.snn import engine, reference
from spikeport.snn.engine import Engine
from spikeport.snn.errors import InvalidNetworkError, SpikeportError
from spikeport.snn.neurons import LIF
from spikeport.snn.spiking import Population, Projection, SpikeInput, SpikingNetwork
from spikeport.snn.synapses import Delta, Exponential

U, X = np.zeros((1, 2)), np.zeros((1, 3))


def one_population(n: int = 3, **changes: Any) -> SpikingNetwork:
    """Driven neurons without any input."""
    fields: dict[str, Any] = {"neuron": LIF(tau_mem=0.01, v_threshold=1.0, v_reset=0.0), "bias": 1.5, "noise_sd": 0.2}
    population = Population(name="a", n=n, **(fields | changes))
    assert population.n == n
    return SpikingNetwork(populations=(population,), dt=1e-3, integrator="exact")


# States


def test_a_snapshot_continues_as_the_original_and_neither_touches_the_other() -> None:
    machine, inputs = Engine(lively()), lively_inputs(n_steps=30)
    state = machine.start(3, seed=2)
    machine.run(state, inputs)
    snapshot = state.copy()
    runs = [machine.run(s, inputs, record_spikes=True, record_v=True) for s in (state, snapshot)]
    runs.append(machine.run(snapshot.copy(), inputs, record_v=True))
    assert runs[0].counts.sum() > 20
    for name in ("outputs", "counts", "events", "v"):
        np.testing.assert_array_equal(getattr(runs[1], name), getattr(runs[0], name))
    assert state.k == snapshot.k == 60
    assert (runs[2].v != runs[1].v).any()  # a copy of the state after the second run goes on from there


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_streaming_goes_on_from_a_snapshot(dtype: str) -> None:
    machine = Engine(lively(), dtype=dtype)
    state = machine.start(1, seed=2)

    def twenty_steps(state: Any) -> NDArray[np.int64]:
        return np.array([machine.step(state, {"u": U, "x": X}).spikes["a"].copy() for _ in range(20)])

    twenty_steps(state)
    snapshot = state.copy()
    first, second = twenty_steps(state), twenty_steps(snapshot)
    assert first.sum() > 0
    np.testing.assert_array_equal(first, second)


def test_states_of_one_engine_do_not_share_noise() -> None:
    """The streaming form keeps its buffers between calls: a quiet state must not hear a noisy one."""
    machine = Engine(one_population())
    noisy, quiet = machine.start(1, seed=1), machine.start(1, with_noise=False)
    for _ in range(30):
        machine.step(noisy)
        machine.step(quiet)
    expected = Engine(one_population())
    alone = expected.start(1, with_noise=False)
    expected.run(alone, n_steps=30)
    np.testing.assert_array_equal(quiet.memory.v[..., :3], alone.memory.v[..., :3])


def test_other_seeds_and_other_trials_are_other_runs_and_noise_off_is_every_seeds_run() -> None:
    network, inputs = lively(), lively_inputs()
    base = engine.simulate(network, inputs, seed=0).spikes["a"]
    assert base.differing(engine.simulate(network, inputs, seed=1).spikes["a"]) > 20
    assert base.differing(engine.simulate(network, inputs, seed=0, first_trial=3).spikes["a"]) > 20
    fixed = replace(network, populations=tuple(replace(p, v0=0.0) for p in network.populations))
    quiet = [engine.simulate(fixed, inputs, seed=s, with_noise=False).spikes["a"] for s in (0, 1)]
    assert quiet[0].differing(quiet[1]) == 0


# float32


def test_float32_differs_in_few_spikes_and_they_are_counted() -> None:
    network, inputs = lively(), lively_inputs(n_steps=200)
    double, single = (engine.simulate(network, inputs, seed=3, dtype=d, record=["a.v"]) for d in ("float64", "float32"))
    assert single.traces["a.v"].dtype == single.outputs["o"].dtype == np.float32
    for name, trains in double.spikes.items():
        differing = single.spikes[name].differing(trains)
        assert trains.n_spikes > 100
        assert 0 <= differing < 0.05 * trains.n_spikes, name  # 0 or few: a unit may cross one step early or late
    early = slice(0, 5)  # before rounding could grow
    np.testing.assert_allclose(single.outputs["o"][early], double.outputs["o"][early], atol=1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("threshold", [-40.0, 0.1, 1.0])
def test_a_threshold_keeps_its_meaning_at_the_value_itself(dtype: str, threshold: float) -> None:
    """v = t spikes under `>=`, written v > nextafter(t, -inf), and not under `>`, in float32 too."""
    real = np.dtype(dtype).type
    for value in (threshold, float(real(threshold))):
        for v0 in (real(value), np.nextafter(real(value), real(-np.inf)), np.nextafter(real(value), real(np.inf))):
            for at_threshold in (True, False):
                limit = float(np.nextafter(value, -np.inf)) if at_threshold else value
                neuron = LIF(tau_mem=0.01, v_threshold=limit, v_reset=-100.0)
                network = one_population(
                    1, neuron=neuron, bias=0.0, noise_sd=0.0, v0=float(v0), ref0=1, spikes_while_refractory=True
                )  # refractory: v is v0, untouched, at the first step
                spikes = engine.simulate(network, n_steps=1, dtype=dtype).spikes["a"].n_spikes
                assert spikes == int(float(v0) >= value if at_threshold else float(v0) > value), (value, float(v0))


def test_an_unknown_dtype_is_refused_with_the_list() -> None:
    with pytest.raises(SpikeportError, match=r"dtype 'float16', must be one of float32, float64"):
        Engine(one_population(), dtype="float16")


# Candidates


def change(network: SpikingNetwork, **fields: Any) -> SpikingNetwork:
    """The network with its first population changed."""
    first, *rest = network.populations
    changed = replace(first, **fields)
    assert changed != first
    return replace(network, populations=(changed, *rest))


OTHER_STRUCTURES = {
    "dt": lambda: replace(lively(), dt=5e-4),
    "integrator": lambda: replace(lively(), integrator="exact"),
    "size": lambda: lively(n=41),
    "reset": lambda: change(lively(), neuron=replace(lively().populations[0].neuron, reset="subtract")),
    "a flag": lambda: change(lively(), spikes_while_refractory=True),
    "noise key": lambda: change(lively(), noise_key=9),
    "synapse": lambda: change(lively(), synapses={"slow": Exponential(tau=0.01), "now": Delta()}),
    "no synaptic bias": lambda: change(lively(), synaptic_bias={}),
    "delay": lambda: replace(
        lively(), projections=(*lively().projections[:-1], replace(lively().projections[-1], delay=2))
    ),
    "a projection less": lambda: replace(lively(), projections=lively().projections[1:]),
    "a read-out less": lambda: replace(lively(), readouts=lively().readouts[1:]),
    "input clock": lambda: replace(lively(), inputs=(replace(lively().inputs[0], dt=0.01), lively().inputs[1])),
}


@pytest.mark.parametrize("what", OTHER_STRUCTURES)
def test_candidates_of_another_structure_are_refused(what: str) -> None:
    with pytest.raises(InvalidNetworkError, match="network 2 differs from network 0 in structure, not only in numbers"):
        Engine([lively(), lively(seed=1), OTHER_STRUCTURES[what]()])


def test_no_candidates_and_streaming_several_are_refused() -> None:
    with pytest.raises(SpikeportError, match="no networks, must be at least 1"):
        Engine([])
    machine = Engine([lively(), lively(seed=1)])
    with pytest.raises(SpikeportError, match=r"step\(\) with 2 candidates, must be 1"):
        machine.step(machine.start(1), {"u": U, "x": X})


# Wrong calls


@pytest.mark.parametrize("simulate", [reference.simulate, engine.simulate], ids=["reference", "engine"])
def test_wrong_inputs_are_refused_with_every_problem_at_once(simulate: Any) -> None:
    wrong = {"u": np.full((4, 2, 2), np.nan), "x": np.zeros((4, 2, 7)), "typo": np.zeros((4, 2, 1))}
    with pytest.raises(SpikeportError, match="inputs do not fit the network") as error:
        simulate(lively(), wrong)
    text = str(error.value)
    for problem in ("'typo': the network has no such input", "'u': 16 values are NaN", "'x': 7 channels, must be 3"):
        assert problem in text
    with pytest.raises(SpikeportError, match="'x': missing, 3 channels"):
        simulate(lively(), {"u": np.zeros((4, 2, 2))})
    with pytest.raises(SpikeportError, match=r"batch: inputs differ, \{'u': 2, 'x': 3\}"):
        simulate(lively(), {"u": np.zeros((4, 2, 2)), "x": np.zeros((4, 3, 3))})
    with pytest.raises(SpikeportError, match=r"shape \(4, 2\), must be \(samples, batch, 2\)"):
        simulate(lively(), {"u": np.zeros((4, 2)), "x": np.zeros((4, 2, 3))})
    with pytest.raises(SpikeportError, match="one array, but the network's inputs are: u, x"):
        simulate(lively(), np.zeros((4, 2, 2)))


@pytest.mark.parametrize("simulate", [reference.simulate, engine.simulate], ids=["reference", "engine"])
def test_a_run_without_a_length_or_a_trial_is_refused(simulate: Any) -> None:
    with pytest.raises(SpikeportError, match="n_steps: not given, and the network has no inputs"):
        simulate(one_population())
    for steps, batch in ((-1, 1), (5, 0)):
        with pytest.raises(SpikeportError, match=rf"run: {steps} steps of {batch} trials, must be at least 0 and 1"):
            simulate(one_population(), n_steps=steps, n_batch=batch)
    with pytest.raises(SpikeportError, match=r"v0 of a: shape \(4,\), must be \(3,\) or \(1, 3\)"):
        simulate(one_population(), n_steps=1, v0={"a": np.zeros(4)})


def test_unknown_traces_are_refused_with_those_there_are() -> None:
    inputs = lively_inputs()
    with pytest.raises(SpikeportError, match=r"the engine has no trace a.slow\n  it has: a.v, b.v\n.*reference"):
        engine.simulate(lively(), inputs, record=["a.slow"])
    with pytest.raises(SpikeportError, match=r"no trace c.v\n  this network has: a.v, a.slow, a.now, b.v, b.fast"):
        reference.simulate(lively(), inputs, record=["c.v"])


def test_streaming_refuses_inputs_that_do_not_fit() -> None:
    machine = Engine(lively())
    state = machine.start(1)
    with pytest.raises(SpikeportError, match=r"got inputs u, the network's are: u, x"):
        machine.step(state, {"u": U})
    with pytest.raises(SpikeportError, match=r"input 'x' of shape \(1, 2\), must be \(1, 3\) and finite"):
        machine.step(state, {"u": U, "x": U})
    with pytest.raises(SpikeportError, match=r"input 'u' of shape \(1, 2\), must be \(1, 2\) and finite"):
        machine.step(state, {"u": np.full((1, 2), np.inf), "x": X})
    assert state.k == 0


# Edges


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 64, 65])
def test_sizes_around_the_tiles_give_the_reference(n: int) -> None:
    weight = np.random.default_rng(n).normal(0.001, 0.004, (n, n))
    network = one_population(n, synapses={"s": Exponential(tau=0.005)}, bias=np.linspace(0.8, 2, n))
    network = replace(network, projections=(Projection(source="a", target="a", weight=weight, synapse="s", delay=1),))
    expected = reference.simulate(network, n_steps=40, n_batch=2, seed=1, record=["a.v"])
    found = engine.simulate(network, n_steps=40, n_batch=2, seed=1, record=["a.v"])
    assert expected.spikes["a"].n_spikes > 0
    assert found.spikes["a"].differing(expected.spikes["a"]) == 0
    np.testing.assert_array_equal(found.traces["a.v"], expected.traces["a.v"])


@pytest.mark.parametrize("simulate", [reference.simulate, engine.simulate], ids=["reference", "engine"])
def test_zero_steps_are_an_empty_recording(simulate: Any) -> None:
    inputs = {"u": np.zeros((1, 2, 2)), "x": np.zeros((0, 2, 3), dtype=int)}
    run = simulate(lively(), inputs, n_steps=0, record=["a.v"])
    assert run.outputs["o"].shape == (0, 2, 2)
    assert run.traces["a.v"].shape == (0, 2, 40)
    assert run.spikes["a"].shape == (0, 2, 40)
    assert run.mean_rate_hz() == 0.0


def test_everyone_spiking_at_every_step_is_recorded_whole() -> None:
    """More spikes than a buffer could guess."""
    always = LIF(tau_mem=0.01, v_threshold=-1.0, v_reset=-1.0)
    network = one_population(40, neuron=always, bias=5.0, noise_sd=0.0)
    run = engine.simulate(network, n_steps=300, n_batch=3, n_threads=2)
    assert run.spikes["a"].n_spikes == 40 * 300 * 3
    assert run.mean_rate_hz() == pytest.approx(1000)
    assert (run.spikes["a"].counts() == 300).all()


def test_an_input_longer_than_the_run_is_cut_and_a_shorter_one_ends() -> None:
    network = replace(
        one_population(synapses={"d": Delta()}, bias=0.0, noise_sd=0.0),
        inputs=(SpikeInput(name="x", n=1),),
        projections=(Projection(source="x", target="a", weight=np.full((3, 1), 0.02), synapse="d", delay=1),),
    )
    long = np.zeros((20, 1, 1), dtype=int)
    long[4] = 1
    for n_steps, spikes in ((4, 0), (5, 0), (6, 3), (30, 3)):  # in step 5, acting with delay 1 in step 6
        for simulate in (reference.simulate, engine.simulate):
            assert simulate(network, long, n_steps=n_steps).spikes["a"].n_spikes == spikes, n_steps


# Wrong keys and counts


@pytest.mark.parametrize(
    ("part", "run"),
    [
        ("population", lambda: engine.simulate(one_population(noise_key=2**16), n_steps=1)),
        ("unit", lambda: engine.simulate(one_population(unit_ids=np.array([0, 1, 2**32])), n_steps=1)),
        ("trial", lambda: engine.simulate(one_population(), n_steps=1, n_batch=3, first_trial=-1)),
        ("trial", lambda: engine.simulate(one_population(), n_steps=1, first_trial=2**32)),
        ("seed", lambda: engine.simulate(one_population(), n_steps=1, seed=2**64)),
    ],
    ids=["noise_key", "unit_ids", "first_trial below 0", "first_trial above", "seed"],
)
def test_noise_keys_out_of_range_are_refused_as_in_the_reference(part: str, run: Any) -> None:
    with pytest.raises(SpikeportError, match=f"{part}"):
        run()


def test_streaming_inputs_to_a_network_without_any_are_refused() -> None:
    machine = Engine(one_population())
    with pytest.raises(SpikeportError, match="the network's are: none"):
        machine.step(machine.start(1), np.zeros((1, 1)))


@pytest.mark.parametrize("n_threads", [0, -1])
def test_fewer_than_one_thread_is_refused(n_threads: int) -> None:
    with pytest.raises(SpikeportError, match="n_threads"):
        engine.simulate(one_population(), n_steps=1, n_threads=n_threads)


@pytest.mark.parametrize("count", [0.5, -1.0, np.nan])
def test_counts_of_given_spikes_are_whole_and_not_negative(count: float) -> None:
    inputs = {"u": np.zeros((4, 1, 2)), "x": np.full((4, 1, 3), count)}
    with pytest.raises(SpikeportError, match="whole numbers, 0 or more"):
        engine.simulate(lively(), inputs)


@pytest.mark.parametrize("simulate", [reference.simulate, engine.simulate], ids=["reference", "engine"])
def test_v0_of_an_unknown_population_is_refused(simulate: Any) -> None:
    inputs = {"u": np.zeros((4, 1, 2)), "x": np.zeros((4, 1, 3))}
    with pytest.raises(SpikeportError, match="v0: no population typo"):
        simulate(lively(), inputs, v0={"typo": np.zeros(3)})
