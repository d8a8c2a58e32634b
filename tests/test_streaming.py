"""The stepper: call by call the spikes of a run, whatever the network, the cut, the dtype and what was restored."""

from __future__ import annotations

import copy
import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lively_network import lively
from numpy.typing import NDArray
from random_networks import Case, cases
from require import missing

from spikeport.snn import engine, reference
from spikeport.snn.engine import Engine
from spikeport.snn.errors import SpikeportError
from spikeport.snn.neurons import LIF
from spikeport.snn.recording import SpikeTrains
from spikeport.snn.spiking import HeldInput, Population, Projection, ReadOut, SpikingNetwork
from spikeport.snn.streaming import Stepper
from spikeport.snn.synapses import DoubleExponential, Exponential

PROPERTY = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
ENGINES: dict[tuple[int, str], Engine] = {}


def per_call(network: SpikingNetwork, n_steps: int) -> SpikingNetwork:
    """The same with inputs that hold for one call."""
    ports = tuple(
        replace(i, dt=n_steps * network.dt, sampling="floor") if isinstance(i, HeldInput) else i for i in network.inputs
    )
    return replace(network, inputs=ports)


def drive(network: SpikingNetwork, calls: int, n_batch: int, seed: int) -> NDArray[np.float64]:
    """(calls, batch, values) for every input, in the network's order; every other held sample is the one before."""
    rng, parts = np.random.default_rng(seed), [np.zeros((calls, n_batch, 0))]
    for i in network.inputs:
        if isinstance(i, HeldInput):
            parts.append(rng.normal(size=(calls, n_batch, i.n))[np.arange(calls) // 2])
        else:
            parts.append(rng.poisson(0.4, (calls, n_batch, i.n)).astype(float))
    return np.concatenate(parts, axis=2)


def given_to_a_run(network: SpikingNetwork, values: NDArray[np.float64], n_steps: int) -> dict[str, Any]:
    """The same for a run: held values call by call, counts in the first step of each."""
    found: dict[str, Any] = {}
    at = 0
    for i in network.inputs:
        mine = values[:, :, at : at + i.n]
        at += i.n
        if not isinstance(i, HeldInput):
            dense = np.zeros((len(mine) * n_steps, *mine.shape[1:]), dtype=np.int64)
            dense[::n_steps] = mine
            found[i.name] = SpikeTrains.from_dense(dense)
        else:
            found[i.name] = mine
    return found


def expected_calls(
    network: SpikingNetwork, values: NDArray[np.float64], n_steps: int, dtype: str, **keys: Any
) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """(calls, batch, units) spikes and (calls, batch, outputs) after each call, of a run."""
    calls, n_batch, _ = values.shape
    inputs = given_to_a_run(network, values, n_steps)
    run = engine.simulate(network, inputs, n_steps=calls * n_steps, n_batch=n_batch, dtype=dtype, n_threads=1, **keys)
    dense = np.concatenate([run.spikes[p.name].dense() for p in network.populations], axis=2)
    none = np.zeros((calls * n_steps, n_batch, 0))
    outputs = np.concatenate([none, *(run.outputs[r.name] for r in network.readouts)], axis=2)
    return dense.reshape(calls, n_steps, *dense.shape[1:]).sum(axis=1), outputs[n_steps - 1 :: n_steps]


@given(cases(), st.sampled_from([1, 1, 3, 20, 70]), st.sampled_from(["float64", "float32"]), st.integers(0, 99))
@PROPERTY
def test_any_network_steps_as_it_runs(case: Case, n_steps: int, dtype: str, seed: int) -> None:
    """All that a network may have: noise, delays, refractory periods, given spikes, several populations."""
    network = per_call(case.network, n_steps)
    values = drive(network, 24 if n_steps < 20 else 5, case.n_batch, seed)
    keys = {"seed": case.seed, "first_trial": case.first_trial, "with_noise": case.with_noise}
    spikes, outputs = expected_calls(network, values, n_steps, dtype, **keys)
    stepper = Stepper(Engine(network, dtype=dtype), n_steps=n_steps, n_batch=case.n_batch, **keys)
    for call, row in enumerate(values):
        np.testing.assert_array_equal(stepper.step(row), outputs[call])
        np.testing.assert_array_equal(stepper.counts, spikes[call])
    assert stepper.k == len(values) * n_steps


@given(st.lists(st.tuples(st.sampled_from(["step", "same", "keep", "back", "reset"]), st.integers(0, 9)), max_size=60),
       st.sampled_from([1, 3, 7]), st.booleans())  # fmt: skip
@PROPERTY
def test_a_snapshot_restored_anywhere_goes_on_as_the_run_did(
    plan: list[tuple[str, int]], n_steps: int, with_noise: bool
) -> None:
    """Whatever was done before: a stepper's past is what its snapshot says, and nothing else."""
    network = lively()
    machine = ENGINES.setdefault((0, "float64"), Engine(network))
    stepper = Stepper(machine, n_steps=n_steps, seed=4, with_noise=with_noise)
    rows = drive(network, 10, 1, 3)[:, 0]
    past: list[int] = []  # which rows were given since the start
    kept = (stepper.snapshot(), list(past))
    last = 0
    for what, which in plan:
        if what == "keep":
            kept = (stepper.snapshot(), list(past))
        elif what == "back":
            stepper.restore(kept[0])
            past = list(kept[1])
        elif what == "reset":
            stepper.reset()
            past = []
        else:
            last = which if what == "step" else last
            stepper.step(rows[last])
            past.append(last)
    state = machine.start(1, seed=4, with_noise=with_noise)
    for which in past:
        row = rows[which]
        machine.step(state, {n: row[None, s] for n, s in stepper.places.items()}, n_steps=n_steps)
    found = stepper.snapshot()
    assert found.k == state.k == stepper.k
    again = Stepper(machine, n_steps=n_steps)
    again.restore(state)
    for row in rows[:3]:
        np.testing.assert_array_equal(stepper.step(row), again.step(row))
        np.testing.assert_array_equal(stepper.counts, again.counts)


def test_a_run_goes_on_from_a_steppers_snapshot() -> None:
    network, rows = lively(), drive(lively(), 40, 1, 0)
    machine = Engine(network)
    stepper = Stepper(machine, seed=2)
    for row in rows[:17, 0]:
        stepper.step(row)
    state = stepper.snapshot()
    whole = per_call(network, 1)
    expected, _ = expected_calls(whole, rows, 1, "float64", seed=2)
    rest = Engine(whole).run(state, given_to_a_run(whole, rows[17:], 1))
    np.testing.assert_array_equal(rest.counts[0, 0], expected[17:].sum(axis=(0, 1)))
    assert expected[17:].sum() > 0
    assert (stepper.k, state.k) == (17, 40)


@pytest.mark.parametrize("given_as", [
    list, lambda r: r.astype(np.float32), lambda r: np.repeat(r, 2)[::2], lambda r: r.astype(">f8"), tuple,
    lambda r: _frozen(r), lambda r: None,
], ids=["list", "float32", "strided", "big-endian", "tuple", "read-only", "written into values"])  # fmt: skip
def test_values_may_come_in_any_form_of_the_same_numbers(given_as: Any) -> None:
    machine = ENGINES.setdefault((0, "float64"), Engine(lively()))
    one, other = Stepper(machine, seed=1), Stepper(machine, seed=1)
    for row in np.round(drive(lively(), 30, 1, 5)[:, 0] * 8) / 8:  # the same in float32
        form = given_as(row)
        if form is None:
            other.values[:] = row
        np.testing.assert_array_equal(one.step(row), other.step(form))
        np.testing.assert_array_equal(one.counts, other.counts)
    assert one.k == other.k == 30


def _frozen(row: NDArray[np.float64]) -> NDArray[np.float64]:
    row = row.copy()
    row.flags.writeable = False
    return row


@pytest.mark.parametrize("n_batch", [None, 2])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[..., :-1], r"values of shape \((2, )?4,?\) and type float64, must be numbers of shape"),
        (lambda v: np.zeros(0), r"values of shape \(0,\)"),
        (lambda v: v[..., None], r"values of shape"),
        (lambda v: 1.0, r"values of shape \(\)"),
        (lambda v: v.astype(str), r"type <U\d+, must be numbers"),
        (lambda v: _put(v, 0, np.nan), r"input 'u' .*finite: got nan"),
        (lambda v: _put(v, 1, -np.inf), r"input 'u' .*finite: got -inf"),
        (lambda v: _put(v, 2, 0.5), r"input 'x': counts of spikes must be whole numbers, 0 or more, got 0.5"),
        (lambda v: _put(v, 4, -1), r"input 'x': counts .* got -1"),
        (lambda v: _put(v, 4, 3e9), r"input 'x': counts"),
        (lambda v: _put(v, 3, np.nan), r"input 'x' .*finite: got nan"),
    ],
)
def test_what_cannot_be_is_refused_and_the_state_stays(n_batch: int | None, change: Any, message: str) -> None:
    stepper = Stepper(ENGINES.setdefault((0, "float64"), Engine(lively())), n_batch=n_batch)
    right = np.ones((5,) if n_batch is None else (n_batch, 5))
    stepper.step(right)
    before = stepper.snapshot()
    with pytest.raises(SpikeportError, match=message):
        stepper.step(change(right))
    after = stepper.snapshot()
    assert after.k == before.k == 1
    for one, other in zip(before.memory, after.memory, strict=True):
        np.testing.assert_array_equal(one, other)


def _put(values: NDArray[np.float64], at: int, value: float) -> NDArray[np.float64]:
    changed = values.copy()
    changed[..., at] = value
    return changed


def test_what_float32_cannot_hold_is_refused() -> None:
    stepper = Stepper(ENGINES.setdefault((0, "float32"), Engine(lively(), dtype="float32")))
    with pytest.raises(SpikeportError, match=r"input 'u' .*finite: got 1e"):
        stepper.step([1e39, 0, 0, 0, 0])
    assert stepper.k == 0


def test_a_stepper_of_no_steps_or_trials_and_a_foreign_snapshot_are_refused() -> None:
    machine = ENGINES.setdefault((0, "float64"), Engine(lively()))
    for wrong in ({"n_steps": 0}, {"n_batch": 0}):
        with pytest.raises(SpikeportError, match="must be at least 1"):
            Stepper(machine, **wrong)
    with pytest.raises(SpikeportError, match="of another network, batch or dtype"):
        Stepper(machine).restore(machine.start(2))
    with pytest.raises(SpikeportError, match="of another network, batch or dtype"):
        Stepper(machine).restore(ENGINES.setdefault((0, "float32"), Engine(lively(), dtype="float32")).start(1))


def test_a_call_leaves_no_memory_behind() -> None:
    stepper, row = Stepper(ENGINES.setdefault((0, "float64"), Engine(lively()))), np.ones(5)
    for _ in range(100):
        stepper.step(row)
    before = sys.getallocatedblocks()
    for _ in range(10_000):
        stepper.step(row)
    assert sys.getallocatedblocks() - before < 50


def test_outputs_are_zero_before_the_first_step_and_one_array_for_ever() -> None:
    stepper = Stepper(ENGINES.setdefault((0, "float64"), Engine(lively())))
    assert not stepper.outputs.any()
    assert not stepper.counts.any()
    assert stepper.step(np.ones(5)) is stepper.outputs


@given(st.lists(st.integers(1, 70), min_size=1, max_size=8), st.sampled_from(["float64", "float32"]), st.booleans())
@PROPERTY
def test_calls_of_any_length_are_one_run(lengths: list[int], dtype: str, with_noise: bool) -> None:
    """The same values held: after each call the outputs of a run of so many steps, and its spikes since."""
    network = lively()
    machine = ENGINES.setdefault((0, dtype), Engine(network, dtype=dtype))
    stepper = Stepper(machine, n_steps=70, seed=4, with_noise=with_noise)
    row = np.array([0.7, -0.3, 0, 0, 0])
    values = np.repeat(row[None, None], sum(lengths), axis=0)
    spikes, outputs = expected_calls(per_call(network, 1), values, 1, dtype, seed=4, with_noise=with_noise)
    done = 0
    for n in lengths:
        stepper.n_steps = n
        np.testing.assert_array_equal(stepper.step(row), outputs[done + n - 1, 0])
        np.testing.assert_array_equal(stepper.counts, spikes[done : done + n, 0].sum(axis=0))
        done += n
        assert stepper.k == done
    assert stepper.n_steps == lengths[-1]


@pytest.mark.parametrize("wrong", [0, 6])
def test_a_call_of_more_steps_than_a_stepper_was_made_for_is_refused(wrong: int) -> None:
    stepper = Stepper(ENGINES.setdefault((0, "float64"), Engine(lively())), n_steps=5)
    with pytest.raises(SpikeportError, match=f"calls of {wrong} steps, must be 1 to 5, as it was made for"):
        stepper.n_steps = wrong
    assert stepper.n_steps == 5


def common(n: int, held: bool, published: bool, alike: bool, t_ref: float, seed: int) -> SpikingNetwork:
    """One population and one synapse, as conversions make them; alike: all units have the same numbers."""
    rng = np.random.default_rng(seed)
    spread = 1.0 if alike else rng.uniform(0.7, 1.3, n)
    neuron = LIF(tau_mem=0.01 * spread, v_threshold=-40.0 * np.ones(n) - (0 if alike else rng.random(n)),
                 v_reset=-65.0, v_leak=-45.0, t_ref=t_ref, reset="to_value")  # fmt: skip
    synapse = DoubleExponential(tau_rise=0.002, tau_decay=0.03 * spread)
    population = Population(
        name="rec", n=n, neuron=neuron, synapses={"s": synapse}, noise_sd=0.5, noise_while_refractory=published,
        spikes_while_refractory=published, synaptic_bias={"s": rng.normal(size=n)} if held else {},
    )  # fmt: skip
    weights, one = (rng.normal(size=(n, 2)), rng.normal(size=(n, n)) * 0.5), np.ones(1)
    return SpikingNetwork(
        dt=1e-3, integrator="exact", populations=(population,), inputs=(HeldInput(name="u", n=2, dt=1e-3),),
        projections=(
            Projection(source="u", target="rec", weight=10 * weights[0], synapse="s" if held else None, delay=0),
            Projection(source="rec", target="rec", weight=weights[1], synapse="s", delay=1),
        ),
        readouts=(
            ReadOut(name="o", source="rec", synapse=synapse, weight=rng.normal(size=(3, n)), bias=np.ones(3)),
            ReadOut(name="p", source="rec", synapse=Exponential(tau=0.01), weight=rng.normal(size=(1, n)), bias=one),
        ),
    )  # fmt: skip


@given(st.sampled_from([1, 31, 32, 33, 70]), st.booleans(), st.booleans(), st.booleans(), st.sampled_from([0.0, 0.002]),
       st.sampled_from(["float64", "float32"]), st.booleans(), st.integers(0, 99))  # fmt: skip
@settings(PROPERTY, max_examples=60)
def test_the_commonest_network_steps_as_it_runs_and_as_the_reference_does(
    n: int, held: bool, published: bool, alike: bool, t_ref: float, dtype: str, with_noise: bool, seed: int
) -> None:
    """It has a path of its own in the kernel."""
    network = common(n, held, published, alike, t_ref, seed)
    values = drive(network, 70, 1, seed)
    keys = {"seed": seed, "with_noise": with_noise}
    spikes, outputs = expected_calls(network, values, 1, dtype, **keys)
    stepper = Stepper(Engine(network, dtype=dtype), **keys)
    for call, row in enumerate(values[:, 0]):
        np.testing.assert_array_equal(stepper.step(row), outputs[call, 0])
        np.testing.assert_array_equal(stepper.counts, spikes[call, 0])
    if dtype == "float64":
        known = reference.simulate(network, {"u": values}, n_steps=70, n_batch=1, **keys)
        np.testing.assert_array_equal(known.spikes["rec"].dense()[:, 0], spikes[:, 0])
    assert n < 31 or spikes.sum() > 0


ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("with_noise", [False, True], ids=["quiet", "noisy"])
def test_the_published_network_streamed_sample_by_sample_gives_the_batch_runs_spikes(
    dtype: str, with_noise: bool
) -> None:
    """Go-NoGo of Kim, Li & Sejnowski (2019), N = 200, 1/lambda 30: 1 ms a call, 20 steps of 0.05 ms."""
    from spikeport import load_source, transfer
    from spikeport.snn.tasks import get_task

    folder = Path(os.environ.get("SPIKEPORT_DATA", ROOT.parent / "shared" / "data"))
    model = folder / "kim" / "go_nogo_n200.mat"
    if not model.is_file():
        missing("data", f"{model} is not there")
    network = transfer(load_source(model), 30.0, preset="kim2019")
    trial = get_task("go-nogo").trials(1, seed=0).inputs[:60, 0]  # a sample is 5 ms
    expected, outputs = expected_calls(
        per_call(network, 20), np.repeat(trial, 5, axis=0)[:, None], 20, dtype, seed=3, with_noise=with_noise
    )
    stepper = Stepper(Engine(network, dtype=dtype), n_steps=20, seed=3, with_noise=with_noise)
    for call in range(300):
        np.testing.assert_array_equal(stepper.step(trial[call // 5]), outputs[call, 0])
        np.testing.assert_array_equal(stepper.counts, expected[call, 0])
    assert expected.sum() > 200


def test_a_stepper_cannot_be_copied_and_a_copied_engine_moves_alone() -> None:
    """A stepper's call goes to addresses: a copy would move the original."""
    network = lively()
    machine = Engine(network)
    stepper = Stepper(machine)
    for way in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"cannot be copied or sent; snapshot\(\) is its state"):
            way(stepper)
    values = {i.name: np.zeros((1, i.n)) for i in network.inputs}
    state = machine.start(1)
    machine.step(state, values)
    other, theirs = copy.deepcopy((machine, state))
    other.step(theirs, values)
    assert (state.k, theirs.k) == (1, 2)
    machine.step(state, values)
    for mine, its in zip(state.memory, theirs.memory, strict=True):
        assert np.array_equal(mine, its)
