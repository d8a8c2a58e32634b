"""A spiking network says everything that is wrong with it at once; its clock and its order are closed forms."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lively_network import lively

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.neurons import LIF, per_unit, refractory_steps
from spikeport.snn.spiking import (
    HeldInput,
    Population,
    Projection,
    ReadOut,
    SpikeInput,
    SpikingNetwork,
    Uniform,
    sample_index,
    steps_of,
)
from spikeport.snn.synapses import Delta, DoubleExponential, Exponential

NEURON = LIF(tau_mem=0.01, v_threshold=1.0, v_reset=0.0)
SYNAPSES = {"s": Exponential(tau=0.005), "now": Delta()}


def network(
    populations: Any = None, *, inputs: Any = (), projections: Any = (), readouts: Any = (), **changes: Any
) -> SpikingNetwork:
    populations = (Population(name="a", n=2, neuron=NEURON, synapses=SYNAPSES),) if populations is None else populations
    fields: dict[str, Any] = {"dt": 1e-3, "integrator": "exact"}
    assert changes.keys() <= fields.keys()
    return SpikingNetwork(
        populations=populations, inputs=inputs, projections=projections, readouts=readouts, **(fields | changes)
    )


def problems_of(**parts: Any) -> tuple[str, ...]:
    with pytest.raises(InvalidNetworkError, match="its parts contradict each other") as error:
        network(**parts)
    return error.value.problems


def test_every_problem_of_a_network_is_listed_at_once() -> None:
    bad = Population(
        name="a",
        n=2,
        neuron=replace(NEURON, tau_mem=-1.0, t_ref=np.zeros(3)),
        synapses={"s": DoubleExponential(tau_rise=0.0, tau_decay=np.array([1.0, np.nan]))},
        noise_sd=-0.5,
        ref0=-1,
        v0=Uniform(1.0, 0.0),
        bias=np.array([np.inf, 0.0]),
        unit_ids=np.arange(3),
    )
    found = problems_of(
        populations=(bad, Population(name="a", n=0, neuron=NEURON)),
        inputs=(HeldInput(name="u", n=1, dt=0.0, sampling="ceil"),),
        projections=(Projection(source="a", target="b", weight=np.ones((1, 1))),),
        readouts=(ReadOut(name="o", source="z", weight=np.ones((1, 2)), bias=np.zeros(1), synapse=Delta()),),
        dt=-1.0,
        integrator="heun",
    )
    text = "\n".join(found)
    for part in (
        "integrator: 'heun', must be one of kim2019, euler, exact",
        "dt: -1.0 s, must be positive",
        "name 'a': used 2 times, must be unique",
        "population a: t_ref: shape (3,), must be a number or (2,)",
        "population a: synapse s: tau_rise: 0 s, must be positive",
        "population a: synapse s: tau_decay: 1 values are NaN or infinite",
        "population a: noise_sd: -0.5, must be 0 or more",
        "population a: ref0: -1, must be 0 or more",
        "population a: v0: uniform in [1.0, 0.0), its ends are swapped",
        "population a: bias: 1 values are NaN or infinite",
        "population a: unit_ids: shape (3,), must be (2,)",
        "population a: n: 0, must be at least 1",
        "input u: dt 0.0 s, must be positive",
        "input u: sampling 'ceil', must be one of floor, nearest",
        "projection a->b: target 'b' does not exist",
        "read-out o: source 'z' does not exist",
    ):
        assert part in text, part


def projection(**changes: Any) -> Projection:
    fields = {"source": "a", "target": "a", "weight": np.ones((2, 2)), "synapse": "s", "delay": 1}
    return Projection(**(fields | changes))


U, X = HeldInput(name="u", n=3, dt=0.005), SpikeInput(name="x", n=3)
ONE_THREE = np.ones((2, 3))
PROJECTIONS = {
    "the weight's shape": (projection(weight=np.ones((2, 3))), r"weight: shape (2, 3), must be (2, 2)"),
    "a NaN weight": (projection(weight=np.full((2, 2), np.nan)), "weight: 4 values are NaN or infinite"),
    "an unknown synapse": (projection(synapse="t"), "synapse 't' does not exist, a has s, now"),
    "spikes on the membrane": (projection(synapse=None), "synapse: none, but spikes need one (Delta acts at once)"),
    "spike input on the membrane": (projection(source="x", weight=ONE_THREE, synapse=None), "synapse: none"),
    "a held Delta": (projection(source="u", weight=ONE_THREE, synapse="now", delay=0), "a Delta, but a held input"),
    "a delayed held input": (projection(source="u", weight=ONE_THREE), "delay: 1 steps of a held input, must be 0"),
    "a loop at once": (projection(delay=0), "delay: 0 steps, must be at least 1 where it closes a loop"),
    "a negative delay": (projection(source="x", weight=ONE_THREE, delay=-1), "delay: -1 steps, must be a whole number"),
    "half a delay": (projection(source="x", weight=ONE_THREE, delay=1.5), "delay: 1.5 steps, must be a whole number"),
    "an unknown source": (projection(source="q"), "source 'q' does not exist"),
    "an input as target": (projection(target="u"), "target 'u' does not exist"),
}


@pytest.mark.parametrize("what", PROJECTIONS)
def test_a_projection_that_cannot_be_is_refused(what: str) -> None:
    wrong, message = PROJECTIONS[what]
    found = problems_of(inputs=(U, X), projections=(wrong,))
    assert any(message in problem for problem in found), found


READOUTS = {
    "the weight's shape": ({"weight": np.ones((1, 3))}, "weight: shape (1, 3), must be (n_outputs, 2)"),
    "the bias's shape": ({"bias": np.zeros(2)}, "bias: shape (2,), must be (1,)"),
    "NaN": ({"bias": np.array([np.nan])}, "weight, bias: values that are NaN or infinite"),
    "Delta": ({"synapse": Delta()}, "synapse: a Delta, but a read-out needs a time constant"),
    "tau": ({"synapse": Exponential(tau=-1.0)}, "synapse: tau: -1 s, must be positive"),
}


@pytest.mark.parametrize("what", READOUTS)
def test_a_read_out_that_cannot_be_is_refused(what: str) -> None:
    changes, message = READOUTS[what]
    fields: dict[str, Any] = {"weight": np.ones((1, 2)), "bias": np.zeros(1), "synapse": Exponential(tau=0.01)}
    found = problems_of(readouts=(ReadOut(name="o", source="a", **(fields | changes)),))
    assert found == (f"read-out o: {message}",)


NEURONS = {
    "reset": ({"reset": "zero"}, "reset: 'zero', must be one of to_value, subtract"),
    "tau": ({"tau_mem": 0.0}, "tau_mem: 0 s, must be positive"),
    "t_ref": ({"t_ref": -1.0}, "t_ref: -1 s, must be 0 or more"),
    "v_reset": ({"v_reset": np.array([0.0, 2.0])}, "v_reset: above v_threshold"),
    "NaN": ({"v_leak": np.array([np.nan, 0.0])}, "v_leak: 1 values are NaN or infinite"),
}


@pytest.mark.parametrize("what", NEURONS)
def test_a_neuron_that_cannot_be_is_refused(what: str) -> None:
    changes, message = NEURONS[what]
    found = problems_of(populations=(Population(name="a", n=2, neuron=replace(NEURON, **changes)),))
    assert len(found) == 1
    assert message in found[0]


def test_a_synaptic_bias_needs_a_synapse_with_a_time_constant() -> None:
    for name in ("now", "nowhere"):
        population = Population(name="a", n=2, neuron=NEURON, synapses=SYNAPSES, synaptic_bias={name: 1.0})
        found = problems_of(populations=(population,))
        assert found == (f"population a: synaptic_bias {name}: names no synapse with a time constant",)


@pytest.mark.parametrize("dt", [0.0, -1.0, np.inf, np.nan])
def test_the_clock_of_a_held_input_is_positive_and_finite(dt: float) -> None:
    assert problems_of(inputs=(HeldInput(name="u", n=1, dt=dt),)) == (f"input u: dt {dt} s, must be positive",)


def test_a_network_without_populations_is_refused() -> None:
    assert problems_of(populations=()) == ("populations: none, must be at least 1",)


@pytest.mark.parametrize("name", ["a\x1b[2J", "two\nlines", ""])
def test_a_name_that_a_terminal_would_obey_is_refused(name: str) -> None:
    assert any(
        p.startswith(f"name {name!r}: must be printable") for p in problems_of(inputs=(SpikeInput(name=name, n=1),))
    )


def test_two_read_outs_of_one_name_are_refused_because_one_would_hide_the_other() -> None:
    readout = ReadOut(name="o", source="a", weight=np.ones((1, 2)), bias=np.zeros(1), synapse=Exponential(tau=0.01))
    assert any("read-out 'o'" in p for p in problems_of(readouts=(readout, readout)))


# Order


def chain(edges: list[tuple[int, int, int]], n: int) -> SpikingNetwork:
    populations = tuple(Population(name=str(i), n=1, neuron=NEURON, synapses=SYNAPSES) for i in range(n))
    weight = np.ones((1, 1))
    projections = tuple(
        Projection(source=str(a), target=str(b), weight=weight, synapse="s", delay=d) for a, b, d in edges
    )
    return network(populations=populations, projections=projections)


@pytest.mark.parametrize("length", [2, 3, 5])
def test_a_loop_without_any_delay_is_refused_and_one_step_anywhere_in_it_mends_it(length: int) -> None:
    loop = [(i, (i + 1) % length, 0) for i in range(length)]
    with pytest.raises(InvalidNetworkError, match="a loop of populations without any delay"):
        chain(loop, length)
    for mended in range(length):
        edges = [(a, b, int(i == mended)) for i, (a, b, _) in enumerate(loop)]
        assert sorted(chain(edges, length).population_order()) == list(range(length))


@given(st.permutations(range(5)), st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4))))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_projection_without_delay_comes_from_an_earlier_population(
    rank: list[int], pairs: set[tuple[int, int]]
) -> None:
    edges = [(a, b, 0 if rank[a] < rank[b] else 1) for a, b in pairs]
    order = chain(edges, 5).population_order()
    assert sorted(order) == list(range(5))
    for a, b, delay in edges:
        assert delay or order.index(a) < order.index(b)


# Clock


@given(k=st.integers(1, 10**6), per_sample=st.integers(1, 500), n_samples=st.integers(1, 10**6))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_sample_of_a_step_is_the_closed_form_in_exact_arithmetic(k: int, per_sample: int, n_samples: int) -> None:
    """floor: (k - 1) dt / dt_input rounded down; nearest: k dt / dt_input rounded half up; the last one is held."""
    dt = 5e-5
    for sampling, position in (
        ("floor", Fraction(k - 1, per_sample)),
        ("nearest", Fraction(k, per_sample) + Fraction(1, 2)),
    ):
        held = HeldInput(name="u", n=1, dt=per_sample * dt, sampling=sampling)
        assert int(sample_index(k, dt, held, n_samples)) == min(position.__floor__(), n_samples - 1)


@pytest.mark.parametrize(("dt", "held_dt"), [(1e-3, 2.5e-3), (1e-3, 5e-4), (1e-4, 3.3e-4)])
def test_a_clock_that_does_not_divide_the_inputs_rounds_the_time(dt: float, held_dt: float) -> None:
    ratio = Fraction(str(held_dt)) / Fraction(str(dt))
    k = np.arange(1, 200)
    floor = sample_index(k, dt, HeldInput(name="u", n=1, dt=held_dt), 10**6)
    nearest = sample_index(k, dt, HeldInput(name="u", n=1, dt=held_dt, sampling="nearest"), 10**6)
    assert floor.tolist() == [((i - 1) / ratio).__floor__() for i in map(Fraction, range(1, 200))]
    assert nearest.tolist() == [(i / ratio + Fraction(1, 2)).__floor__() for i in map(Fraction, range(1, 200))]


def test_matlabs_rounding_goes_up_at_every_half_step() -> None:
    held = HeldInput(name="u", n=1, dt=0.005, sampling="nearest")
    halves = np.array([50, 150, 250, 350])  # where Python's round would give 0, 2, 2, 4
    assert sample_index(halves, 5e-5, held, 1000).tolist() == [1, 2, 3, 4]
    assert sample_index(halves - 1, 5e-5, held, 1000).tolist() == [0, 1, 2, 3]


@given(st.integers(0, 10**5), st.integers(1, 500))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_samples_last_as_many_steps_as_their_time(n_samples: int, per_sample: int) -> None:
    assert steps_of(n_samples, HeldInput(name="u", n=1, dt=per_sample * 5e-5), 5e-5) == n_samples * per_sample


@given(st.integers(0, 10**4), st.floats(-0.49, 0.49))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_refractory_steps_round_to_the_nearest_and_half_up(n: int, off: float) -> None:
    assert int(refractory_steps(max(n + off, 0) * 2**-10, 2**-10)) == n
    assert int(refractory_steps((n + 0.5) * 2**-10, 2**-10)) == n + 1


def test_a_parameter_is_one_number_or_one_per_unit() -> None:
    assert per_unit(2.0, 3).tolist() == [2.0, 2.0, 2.0]
    given_array = np.array([1.0, 2.0])
    found = per_unit(given_array, 2)
    found[0] = 9
    assert given_array.tolist() == [1.0, 2.0]  # a copy: arrays are not modified across a function's border


def test_a_network_knows_its_parts() -> None:
    net = lively()
    assert net.n_neurons == 45
    assert [i.name for i in net.held_inputs] == ["u"]
    assert [i.name for i in net.spike_inputs] == ["x"]
    assert net.population("b").n == 5
    assert net.population_order() == (0, 1)
