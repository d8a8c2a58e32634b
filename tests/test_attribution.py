"""Attribution: each planted fault is named by the depth that should name it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import DT, follower, write_trials

from spikeport import show, transfer
from spikeport.convert.attribution.grid import rounded_bits
from spikeport.convert.attribution.steps import (
    FINETUNING,
    STEPS,
    UNDECLARED,
    at_dt,
    comparable,
    same,
    steps_between,
    undone,
)
from spikeport.convert.attribution.words import SPIKING
from spikeport.snn import engine
from spikeport.snn.drive import Inputs
from spikeport.snn.spiking import SpikingNetwork, sample_index
from spikeport.snn.synapses import Exponential
from spikeport.snn.tasks import FileTask
from spikeport.targets.base import RunOptions
from spikeport.targets.own import ENGINE, Own
from spikeport.validation import validate_network

Change = Callable[[SpikingNetwork], SpikingNetwork]
LAW = settings(deadline=None, derandomize=True, max_examples=60)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> FileTask:
    return write_trials(tmp_path_factory.mktemp("trials") / "steps.h5", n=24)


@pytest.fixture(scope="module")
def network() -> SpikingNetwork:
    return transfer(follower(), 60)


def neuron(network: SpikingNetwork, **changes: Any) -> SpikingNetwork:
    (p,) = network.populations
    return replace(network, populations=(replace(p, neuron=replace(p.neuron, **changes)),))


def population(network: SpikingNetwork, **changes: Any) -> SpikingNetwork:
    return replace(network, populations=(replace(network.populations[0], **changes),))


def rounded(network: SpikingNetwork, bits: int) -> SpikingNetwork:
    def to_grid(w: np.ndarray) -> np.ndarray:
        step = np.abs(w).max() / (2 ** (bits - 1) - 1)
        return np.rint(w / step) * step

    return replace(network, projections=tuple(replace(j, weight=to_grid(j.weight)) for j in network.projections))


def scaled(
    network: SpikingNetwork, factor: float, rows: Any = slice(None), columns: Any = slice(None)
) -> SpikingNetwork:
    """The recurrent weights of some units times a factor."""
    j = network.projections[1]
    weight = j.weight.copy()
    weight[rows, columns] *= factor
    return replace(network, projections=(network.projections[0], replace(j, weight=weight)))


def slower(network: SpikingNetwork, factor: float) -> SpikingNetwork:
    """The synaptic time constants of the first eight units times a factor."""
    (p,) = network.populations
    tau = np.array(p.synapses["rec"].tau_decay)  # type: ignore[union-attr]
    tau[:8] *= factor
    return population(network, synapses={"rec": replace(p.synapses["rec"], tau_decay=tau)})


def single(network: SpikingNetwork) -> SpikingNetwork:
    (p,) = network.populations
    tau = np.array(p.synapses["rec"].tau_decay)  # type: ignore[union-attr]
    readouts = tuple(replace(r, synapse=Exponential(tau=tau)) for r in network.readouts)
    return replace(population(network, synapses={"rec": Exponential(tau=tau)}), readouts=readouts)


DECLARED: dict[str, Change] = {
    "integrator": lambda n: replace(n, integrator="euler"),
    "dt": lambda n: at_dt(n, 2e-3),
    "dt: noise per step": lambda n: population(at_dt(n, 2e-3), noise_sd=n.populations[0].noise_sd),
    "synapse": single,
    "membrane": lambda n: neuron(n, tau_mem=0.02),
    "refractory": lambda n: neuron(n, t_ref=0.02),
    "reset": lambda n: neuron(n, v_reset=-60.0),
    "noise": lambda n: population(n, noise_sd=0.0),
    "initial v": lambda n: population(n, v0=-65.0),
    "delay": lambda n: replace(n, projections=(n.projections[0], replace(n.projections[1], delay=20))),
    "inputs": lambda n: replace(n, inputs=(replace(n.held_inputs[0], sampling="nearest"),)),
    "weights": lambda n: rounded(n, 3),
}  # fmt: skip
NOT_DECLARED: dict[str, tuple[Change, str]] = {
    "one unit's weights negated": (lambda n: scaled(n, -1, rows=3), "weights of unit 3, -1 times"),
    "a source unit's weights gone": (lambda n: scaled(n, 0, columns=5), "weights of source unit 5, all 0"),
    "all weights smaller": (lambda n: scaled(n, 0.8), "weights of 20 units (the first 0), 0.8 times"),
    "a wrong tau": (lambda n: slower(n, 1.5), "time constant of synapse rec of 8 units (the first 0), 1.5 times"),
    "one unit's bias": (
        lambda n: population(n, bias=n.populations[0].bias + np.eye(20)[4]), "bias, mV of unit 4",
    ),
}  # fmt: skip


# the steps between two networks


@pytest.mark.parametrize("name", DECLARED)
def test_each_setting_is_a_step_of_its_own(network: SpikingNetwork, name: str) -> None:
    below = DECLARED[name](network)
    steps = steps_between(network, below)
    wanted = ["dt", name] if name.startswith("dt:") else [name]
    assert [s.name for s in steps] == wanted
    assert all(s.declared and s.what for s in steps)
    assert same(steps[-1].network, below)


def test_every_step_has_a_case_here() -> None:
    assert set(DECLARED) == set(STEPS) - {FINETUNING}  # which needs a provenance that tells of it: test_finetuned.py


@pytest.mark.parametrize("name", NOT_DECLARED)
def test_what_breaks_the_transfers_promise_is_undeclared_and_named(network: SpikingNetwork, name: str) -> None:
    change, words = NOT_DECLARED[name]
    (step,) = steps_between(network, change(network))
    assert (step.name, step.declared) == (UNDECLARED, False)
    assert words in step.what


@given(st.lists(st.sampled_from([n for n in DECLARED if not n.startswith("dt")]), unique=True, min_size=1, max_size=4))
@LAW
def test_steps_come_in_one_order_and_end_at_the_network_below(names: list[str]) -> None:
    network = transfer(follower(), 60)
    below = network
    for name in names:
        below = DECLARED[name](below)
    steps = steps_between(network, below)
    assert [s.name for s in steps] == [n for n in STEPS if n in names]
    assert same(steps[-1].network, below)


@given(st.lists(st.sampled_from([n for n in DECLARED if not n.startswith("dt:")]), unique=True, min_size=1, max_size=4))
@LAW
def test_a_step_undone_leaves_the_others(names: list[str]) -> None:
    network = transfer(follower(), 60)
    below = network
    for name in sorted(names, key=lambda n: n != "dt"):  # what is counted in steps is changed at the last dt
        below = DECLARED[name](below)
    for name in names:
        left = [s.name for s in steps_between(network, undone(below, network, name))]
        assert name not in left
        assert set(left) <= set(names)


def test_a_network_has_no_step_to_itself(network: SpikingNetwork) -> None:
    assert steps_between(network, replace(network, provenance={"other": 1})) == []
    assert comparable(network, DECLARED["weights"](network))
    assert not comparable(network, transfer(follower(n=21), 60))


def test_another_dt_keeps_every_time(network: SpikingNetwork) -> None:
    coarse = at_dt(network, 2e-3)
    before, after = network.populations[0], coarse.populations[0]
    per_second = [p.noise_sd**2 / n.dt for n, p in ((network, before), (coarse, after))]
    assert per_second[0] == pytest.approx(per_second[1])
    assert coarse.projections[1].delay == 1
    assert same(at_dt(network, network.dt), network)


# weights on a grid


@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
@LAW
def test_rounded_weights_are_recognised_with_their_bits(seed: int, bits: int) -> None:
    w = np.random.default_rng(seed).normal(size=(40, 40))
    top = np.abs(w).max()
    for step in (top / (2 ** (bits - 1) - 1), top / (2 ** (bits - 1) - 1) / 1.02):
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        for way in (np.rint, np.trunc, np.floor):
            found = rounded_bits(w, np.clip(way(w / step), low, high) * step)
            assert found is not None
            assert found <= bits


@given(st.integers(0, 2**32 - 1), st.floats(-2, 2).filter(lambda c: abs(c - 1) > 1e-3))
@LAW
def test_scaled_or_negated_weights_are_no_rounding(seed: int, factor: float) -> None:
    w = np.random.default_rng(seed).normal(size=(30, 30))
    wrong = w.copy()
    wrong[7] *= factor
    assert rounded_bits(w, wrong) is None
    assert rounded_bits(w, w * factor) is None
    assert rounded_bits(w, w) == 0


# planted faults, through the verb


def why(task: FileTask, network: SpikingNetwork, *targets: Own, **more: Any) -> dict[str, Any]:
    found = validate_network(network, follower(), task, targets=targets, why=True, **{"trials": 16, **more})
    assert found.why is not None
    said = found.why.as_dict()
    json.dumps(said, allow_nan=False)
    assert found.as_dict()["why"] == said
    return said


@pytest.mark.parametrize("name", ["dt: noise per step", "refractory", "weights", "synapse", "noise"])
def test_a_declared_change_is_a_rung_with_its_cost_and_what_undoing_it_gives(
    task: FileTask, network: SpikingNetwork, name: str
) -> None:
    said = why(task, DECLARED[name](network))
    ladder = said["ladders"]["spiking network"]
    steps = [s["step"] for s in ladder["steps"]]
    assert steps[:2] == ["rate model", SPIKING]
    assert steps[-1] == name
    assert [s["step"] for s in ladder["restored"]] == steps[2:]
    assert ladder["restored"][-1]["accuracy"] == ladder["steps"][-2]["accuracy"]
    assert said["remainders"] == []


def test_a_long_refractory_period_is_named_as_the_costliest_step(task: FileTask, network: SpikingNetwork) -> None:
    said = why(task, neuron(network, t_ref=0.2), trials=24)
    assert said["sentence"].startswith("refractory (t_ref 2 -> 200 ms) costs most: accuracy ")
    assert "What would buy it back: a shorter refractory period." in said["sentence"]


def test_an_undeclared_change_of_the_file_is_found_by_replay(task: FileTask, network: SpikingNetwork) -> None:
    (remainder,) = why(task, scaled(network, -1, rows=3))["remainders"]
    assert (remainder["population"], remainder["units"], remainder["edges"]) == ("rec", [3], ["rec->rec"])
    assert remainder["seconds"] < 1
    assert "weights of unit 3, -1 times" in remainder["text"]


def test_an_undeclared_change_of_the_read_out_has_no_spike_and_is_said(task: FileTask, network: SpikingNetwork) -> None:
    readout = network.readouts[0]
    (remainder,) = why(task, replace(network, readouts=(replace(readout, weight=readout.weight * -1),)))["remainders"]
    assert (remainder["units"], remainder["edges"]) == ([], ["read-out out"])
    assert "no replayed spike differs, so it is in read-out out" in remainder["text"]
    assert "weights of output 0, -1 times what they were" in remainder["text"]


def test_another_rate_model_than_the_networks_own_is_noticed(task: FileTask, network: SpikingNetwork) -> None:
    other = follower(seed=3, provenance={"source": "another one"})
    found = validate_network(network, other, task, trials=4)
    (warning,) = found.validation.warnings
    assert "says that it was made from another rate network" in warning
    assert warning[1:] in " ".join(found.as_dict()["verdict"])
    assert validate_network(network, follower(), task, trials=4).validation.warnings == ()


Mutation = Callable[[SpikingNetwork, Inputs | None], tuple[SpikingNetwork, Inputs | None]]


def late(network: SpikingNetwork, inputs: Inputs | None) -> tuple[SpikingNetwork, Inputs | None]:
    """The held input one step late."""
    port = network.held_inputs[0]
    given = dict(inputs) if isinstance(inputs, dict) else {port.name: inputs}
    values = np.asarray(given[port.name])
    steps = np.arange(round(values.shape[0] * port.dt / network.dt))
    index = sample_index(np.maximum(steps, 1), network.dt, port, values.shape[0])
    ports = tuple(replace(i, dt=network.dt) if i is port else i for i in network.inputs)  # type: ignore[call-arg]
    return replace(network, inputs=ports), {**given, port.name: values[index]}  # type: ignore[dict-item]


MUTATIONS: dict[str, tuple[Mutation, list[int] | None, str, str]] = {
    "weights": (lambda n, i: (scaled(n, -1, rows=3), i), [3], "rec->rec", "weights rec->rec of these units negated"),
    "a part of the weights": (
        lambda n, i: (scaled(n, 0.7, rows=3), i), [3], "rec->rec", "weights rec->rec of these units 0.7 times",
    ),
    "outgoing weights": (lambda n, i: (scaled(n, -1, columns=5), i), None, "rec->rec", "from unit 5 of rec negated"),
    "tau": (
        lambda n, i: (slower(n, 1.5), i), list(range(8)), "rec->rec", "a time constant of synapse rec 1.5 times",
    ),
    "inputs": (late, None, "u->rec", "input u one step late"),
    "refractory": (
        lambda n, i: (neuron(n, t_ref=n.populations[0].neuron.t_ref + n.dt), i), None, "its own parameters",
        "a refractory period one step longer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_target_that_does_something_else_is_caught_by_replay_and_the_fault_is_named(
    task: FileTask, network: SpikingNetwork, name: str
) -> None:
    mutate, units, edge, words = MUTATIONS[name]

    def simulate(n: SpikingNetwork, inputs: Inputs | None, options: RunOptions) -> Any:
        wrong, given = mutate(n, inputs)
        names = ("n_steps", "n_batch", "seed", "first_trial", "with_noise", "record")
        return engine.simulate(wrong, given, **{k: getattr(options, k) for k in names})

    coarse = transfer(follower(), 60, dt=DT)
    (remainder,) = why(task, coarse, replace(ENGINE, name="faulty", simulate=simulate))["remainders"]
    assert remainder["edges"] == [edge]
    assert units is None or remainder["units"] == units
    assert remainder["seconds"] < 1
    assert words in remainder["text"]


def test_the_first_spike_that_differs_is_printed_with_its_v_and_its_distance(
    task: FileTask, network: SpikingNetwork, capsys: pytest.CaptureFixture[str]
) -> None:
    def simulate(n: SpikingNetwork, inputs: Inputs | None, options: RunOptions) -> Any:
        names = ("n_steps", "n_batch", "seed", "first_trial", "with_noise", "record")
        return engine.simulate(neuron(n, t_ref=0.02), inputs, **{k: getattr(options, k) for k in names})

    found = validate_network(network, follower(), task, targets=[replace(ENGINE, name="odd", simulate=simulate)])
    show.validation(found.as_dict())
    first = found.replays["odd"].first
    assert first is not None
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("  first: "))
    assert f"unit {first.neuron}, step {first.step} of trial {first.trial}" in line
    assert f"v {first.v_expected:.6g} mV, {first.distance:.3g} mV from the threshold" in line


def test_a_target_that_does_what_it_should_leaves_no_remainder(task: FileTask, network: SpikingNetwork) -> None:
    said = why(task, network, ENGINE)
    assert said["remainders"] == []
    assert [s["step"] for s in said["ladders"]["engine"]["steps"]] == [
        "rate model", SPIKING, "the target's own arithmetic",
    ]  # fmt: skip


def test_what_a_target_was_allowed_to_give_up_is_a_rung(task: FileTask, network: SpikingNetwork) -> None:
    limited = replace(ENGINE, name="limited", capabilities=replace(ENGINE.capabilities, refractory=False))
    said = why(task, network, limited, allow=["refractory"])
    ladder = said["ladders"]["limited"]
    assert [s["step"] for s in ladder["steps"]][2:] == ["limited: refractory", "the target's own arithmetic"]
    assert ladder["steps"][2]["accuracy"] == ladder["steps"][3]["accuracy"]
    assert said["remainders"] == []


def test_single_precision_is_a_rung(task: FileTask, network: SpikingNetwork) -> None:
    said = why(task, network, ENGINE, dtype="float32")
    assert "single precision" in [s["step"] for s in said["ladders"]["engine"]["steps"]]
    assert said["remainders"] == []


def test_a_network_of_another_origin_has_a_ladder_from_itself(task: FileTask, network: SpikingNetwork) -> None:
    coarse = replace(at_dt(network, 1e-3), provenance={"method": "imported"})
    steps = why(task, coarse)["ladders"]["spiking network"]["steps"]
    assert [s["step"] for s in steps] == ["rate model", SPIKING, "dt"]
    assert "names no transfer" in steps[1]["what"]
