"""ONNX: the graph is a valid one, names what it holds, and computes what the reference computes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance_networks import NETWORKS, Conformance, neuron, plain, recurrent, spikes
from hypothesis import given, settings
from lively_network import lively
from random_networks import Case, cases
from require import need

from spikeport import load_source, transfer
from spikeport.snn import engine, reference
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import get_task
from spikeport.targets.base import Lowering, RunOptions
from spikeport.targets.onnx import ONNX, load_onnx, model, runtime
from spikeport.targets.onnx.graph import real
from spikeport.targets.replay import replay

onnx = need("onnx", resource="onnx")
need("onnxruntime", resource="onnx")

BATCH, STEPS = 3, 200


def export(network: SpikingNetwork, tmp_path: Path, **choices: str) -> Any:
    """The model in the file that an export writes."""
    path = ONNX.export(ONNX.lower(network, **choices), tmp_path / "net.onnx", overwrite=True)
    found = load_onnx(path)
    assert found.graph.node
    return found


def call(found: Any, **fed: np.ndarray) -> dict[str, np.ndarray]:
    """Everything that a graph gives for these inputs; names have _ for the dots."""
    names = {i.name.replace(".", "_"): i.name for i in found.graph.input}
    outputs = [o.name for o in found.graph.output]
    results = runtime.session(found).run(outputs, {names[name]: values for name, values in fed.items()})
    assert len(results) == len(outputs)
    return dict(zip(outputs, results, strict=True))


def metadata(found: Any) -> dict[str, str]:
    props = {p.key: p.value for p in found.metadata_props}
    assert props
    return props


def run(network: SpikingNetwork, inputs: Any, form: str = "sequence", **options: Any) -> Recording:
    found = ONNX.run(ONNX.lower(network, form=form), inputs, RunOptions(**options))
    assert found.n_batch
    return found


def differing(a: Recording, b: Recording) -> int:
    assert a.spikes.keys() == b.spikes.keys()
    return sum(s.differing(b.spikes[name]) for name, s in a.spikes.items())


def lively_inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(9)
    return {"u": rng.uniform(0, 1, (STEPS // 5, BATCH, 2)), "x": rng.integers(0, 2, (STEPS, BATCH, 3))}


def odd_names() -> SpikingNetwork:
    """The lively network with names that look like those of other parts."""
    network = lively()
    a, b = network.populations
    u, x = network.inputs
    new = {"a": "a.b", "b": "x[k-1]", "u": "a.b.noise", "x": "x"}
    return replace(
        network,
        populations=(replace(a, name=new["a"], noise_key=0), replace(b, name=new["b"], noise_key=1)),
        inputs=(replace(u, name=new["u"]), x),
        projections=tuple(replace(j, source=new[j.source], target=new[j.target]) for j in network.projections),
        readouts=(replace(network.readouts[0], name="a.b.v", source="a.b"),
                  replace(network.readouts[1], name="a.b.spikes", source="x[k-1]")),
    )  # fmt: skip


# the graph


@pytest.mark.parametrize("form", ["sequence", "step"])
@pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS)
def test_the_graph_of_every_network_passes_the_checker(case: Conformance, form: str, tmp_path: Path) -> None:
    for dtype in ("float64", "float32"):
        found = export(case.network, tmp_path, form=form, dtype=dtype)
        onnx.checker.check_model(found, full_check=True)
        assert [o.version for o in found.opset_import] == [model.OPSET]


@pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS)
def test_the_step_form_iterated_is_the_sequence_form_bit_for_bit(case: Conformance) -> None:
    traces = [f"{p.name}.v" for p in case.network.populations]
    sequence, step = (
        run(case.network, case.inputs, form, record=traces, **case.run()) for form in ("sequence", "step")
    )
    assert differing(sequence, step) == 0
    for name, values in (*sequence.outputs.items(), *sequence.traces.items()):
        np.testing.assert_array_equal(values, (step.outputs | step.traces)[name])


def test_a_value_is_named_after_what_it_is(tmp_path: Path) -> None:
    inputs = ["u", "x", "a.noise", "b.noise"]
    states = ["x.past", "a.past", "b.past", "a.v", "a.ref", "a.slow.x0", "a.slow.x1", "b.v", "b.fast.x0",
              "o.x0", "o.x1", "p.x0"]  # fmt: skip
    for form in ("step", "sequence"):
        found = export(lively(), tmp_path, form=form)
        assert {i.name for i in found.graph.input} == {*inputs, *states}
        outputs = [o.name for o in found.graph.output]
        assert outputs[:4] == ["a.spikes", "b.spikes", "o", "p"]
        assert {*outputs[4:]} == {f"{name}.next" for name in states}


def test_traces_v_adds_v_before_the_reset(tmp_path: Path) -> None:
    network = NETWORKS["millivolts"].network
    found = call(export(network, tmp_path, traces="v"), x=spikes()["x"].astype(float))
    expected = NETWORKS["millivolts"].expected().traces["a.v"]
    np.testing.assert_allclose(found["a.v_before_reset"], expected, rtol=1e-12)


def test_parts_whose_names_lead_to_the_same_one_are_told_apart(tmp_path: Path) -> None:
    network = lively()
    readout = replace(network.readouts[0], name="a.slow")  # its filter's states are called as the synapse's
    clash = replace(network, readouts=(readout,))
    assert {"a.slow.x0", "a.slow.x0_2"} <= {i.name for i in export(clash, tmp_path).graph.input}
    found, expected = run(clash, lively_inputs()), reference.simulate(clash, lively_inputs())
    np.testing.assert_allclose(found.outputs["a.slow"], expected.outputs["a.slow"], atol=1e-12)


@pytest.mark.parametrize("form", ["sequence", "step"])
def test_names_that_look_like_other_parts_change_nothing(form: str) -> None:
    inputs = lively_inputs()
    expected = reference.simulate(odd_names(), {"a.b.noise": inputs["u"], "x": inputs["x"]}, seed=1)
    found = run(odd_names(), {"a.b.noise": inputs["u"], "x": inputs["x"]}, form, seed=1, record=["a.b.v"])
    assert differing(found, expected) == 0
    assert expected.spikes["a.b"].n_spikes > 1000
    for name, values in expected.outputs.items():
        np.testing.assert_allclose(found.outputs[name], values, atol=1e-12)
    assert found.traces["a.b.v"].shape == (STEPS, BATCH, 40)


def test_the_file_says_what_a_caller_must_know(tmp_path: Path) -> None:
    provenance = {"source": {"file": "m.mat"}, "lambda": np.float64(0.5), "kept": np.arange(2)}
    told = metadata(export(replace(lively(), provenance=provenance), tmp_path, dtype="float32"))
    assert (told["dt"], told["integrator"], told["form"], told["dtype"]) == ("0.001", "kim2019", "sequence", "float32")
    assert json.loads(told["provenance"]) == {"source": {"file": "m.mat"}, "lambda": 0.5, "kept": [0, 1]}
    assert json.loads(told["units"])["v"] == "mV"
    assert "floor((k - 1) dt / sample_dt)" in json.loads(told["inputs"])["u"]["values"]
    assert json.loads(told["noise"])["a.noise"]["sd_mV_per_step"] == [0.2]
    assert json.loads(told["initial_state"])["a.v"] == {"uniform": [-0.5, 1.0]}
    assert json.loads(told["states"])["a.ref"] == "a.ref.next"
    assert told["spikeport"] == model.version()


def test_an_export_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    files = [ONNX.export(ONNX.lower(lively()), tmp_path / name).read_bytes() for name in ("a.onnx", "b.onnx")]
    assert files[0] == files[1]


# what it computes, for a caller who has the file only


@pytest.mark.parametrize("n_batch", [1, 2, 7])
def test_a_file_takes_any_number_of_trials_and_starts_them_itself(n_batch: int, tmp_path: Path) -> None:
    network, case = recurrent(4), NETWORKS["recurrent, delay 4"]
    x = np.repeat(case.inputs["x"][:, :1], n_batch, axis=1)
    found = call(export(network, tmp_path), x=x.astype(float))
    expected = reference.simulate(network, {"x": x}).spikes["a"]
    assert expected.n_spikes > 0
    np.testing.assert_array_equal(found["a.spikes"], expected.dense())


def test_the_next_states_fed_back_go_on_where_a_sequence_ended(tmp_path: Path) -> None:
    network, x = recurrent(4), spikes()["x"].astype(float)
    found = export(network, tmp_path)
    whole, first = call(found, x=x), call(found, x=x[:50])
    carried = {name.removesuffix(".next").replace(".", "_"): v for name, v in first.items() if name.endswith(".next")}
    second = call(found, x=x[50:], **carried)
    np.testing.assert_array_equal(np.concatenate([first["a.spikes"], second["a.spikes"]]), whole["a.spikes"])


def test_in_the_step_form_no_state_can_be_forgotten(tmp_path: Path) -> None:
    found = export(plain(), tmp_path, form="step")
    with pytest.raises(ValueError, match=r"Required inputs .*a\.v"):
        call(found, x=np.zeros((1, 3)))


def test_v_that_is_drawn_must_be_given(tmp_path: Path) -> None:
    found = export(lively(), tmp_path)
    fed = {
        name: v.astype(float) for name, v in {"u": np.zeros((STEPS, 1, 2)), "x": lively_inputs()["x"][:, :1]}.items()
    }
    with pytest.raises(ValueError, match=r"Required inputs .*a\.v"):
        call(found, **fed)
    assert call(found, a_v=np.zeros((1, 40)), **fed)["a.spikes"].shape == (STEPS, 1, 40)


def test_a_file_has_no_noise_unless_it_is_given(tmp_path: Path) -> None:
    case = NETWORKS["noise"]
    found, x = export(case.network, tmp_path), case.inputs["x"].astype(float)
    added = np.random.default_rng(0).normal(0, 0.1, (*x.shape[:2], 5))
    for noise, expected in (({}, case.expected(with_noise=False)), ({"a_noise": added}, None)):
        expected = expected or reference.simulate(case.network, case.inputs, noise_values={"a": added})
        np.testing.assert_array_equal(call(found, x=x, **noise)["a.spikes"], expected.spikes["a"].dense())


def test_a_network_without_inputs_is_told_its_length(tmp_path: Path) -> None:
    network = replace(neuron(v_leak=1.4), inputs=(), projections=())
    found = call(export(network, tmp_path), ticks=np.ones((STEPS, BATCH), dtype=np.bool_))
    expected = reference.simulate(network, n_steps=STEPS, n_batch=BATCH)
    np.testing.assert_array_equal(found["a.spikes"], expected.spikes["a"].dense())
    for form in ("sequence", "step"):
        assert differing(run(network, None, form, n_steps=STEPS, n_batch=BATCH), expected) == 0


# what `run` computes


def test_noise_delays_and_everything_else_together_give_the_references_spikes() -> None:
    options = {"seed": 5, "first_trial": 2}
    expected = reference.simulate(lively(), lively_inputs(), **options)
    assert sum(s.n_spikes for s in expected.spikes.values()) > 1000
    assert differing(run(lively(), lively_inputs(), **options), expected) == 0


@settings(max_examples=15, deadline=None, derandomize=True)
@given(cases())
def test_random_networks_give_the_references_spikes(case: Case) -> None:
    expected = reference.simulate(case.network, case.inputs, **case.run())
    found = run(case.network, case.inputs, **case.run())
    assert differing(found, expected) == 0


def test_a_run_does_not_depend_on_how_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(lively(), lively_inputs(), record=["a.v"])
    monkeypatch.setattr(runtime, "LONGEST", 7)
    cut = run(lively(), lively_inputs(), record=["a.v"])
    assert differing(whole, cut) == 0
    np.testing.assert_array_equal(whole.traces["a.v"], cut.traces["a.v"])


def test_a_block_of_steps_stays_within_its_bytes() -> None:
    inputs = {"u": np.zeros((4, 5000, 2)), "x": np.zeros((STEPS, 5000, 3), dtype=np.int64)}
    lowering = ONNX.lower(lively())
    fed = runtime.feed(lowering, inputs, RunOptions())
    form = runtime.network_form(lowering.network, "sequence", "float64", noise=("a", "b"))
    a_step = 8 * (2 + 3 + 40 + 5) + (40 + 5) + 8 * (2 + 1)  # inputs and noise, spikes, outputs
    assert runtime.block_length(form, fed) == runtime.BLOCK_BYTES // (5000 * a_step)


def test_every_trace_of_the_reference_can_be_recorded() -> None:
    record = ["a.v", "a.slow", "a.now", "b.fast"]
    expected = reference.simulate(lively(), lively_inputs(), record=record)
    found = run(lively(), lively_inputs(), record=record)
    for name in record:
        np.testing.assert_allclose(found.traces[name], expected.traces[name], atol=1e-12)


def test_a_run_of_no_steps_is_empty() -> None:
    found = run(lively(), lively_inputs(), n_steps=0, record=["a.v"])
    assert (found.n_steps, found.spikes["a"].n_spikes, found.traces["a.v"].shape) == (0, 0, (0, BATCH, 40))


@pytest.mark.parametrize("preset", ["kim2019", pytest.param("standard", marks=pytest.mark.slow)])
def test_replay_of_a_published_network_differs_in_no_spike(preset: str, shared_data: Path) -> None:
    network = transfer(load_source(shared_data / "kim" / "go_nogo_n200.mat"), 45, preset=preset)
    trials = get_task("go-nogo").trials(2, seed=0).inputs
    found = replay(ONNX, network, trials)
    assert found.expected.n_steps == 20_000
    assert (found.differing, found.compared) == (0, {"kim2019": 2229, "standard": 1894}[preset])


# float32


def test_float32_is_counted_against_float64() -> None:
    # no spike moves where none comes near a threshold; on the published network it moves many, even replayed
    counts = {}
    for name, case in NETWORKS.items():
        expected = engine.simulate(case.network, case.inputs, **case.run())
        counts[name] = differing(run(case.network, case.inputs, dtype="float32", **case.run()), expected)
    assert {name: n for name, n in counts.items() if n} == {}


def test_a_threshold_is_rounded_down_to_float32() -> None:
    just_below = np.nextafter(-40.0, -np.inf)  # how `v >= -40` is written
    rounded = real(np.array([just_below]), "float32", "v_threshold", below=True)
    assert np.float32(-40) > rounded[0]
    assert real(np.array([just_below]), "float32", "v")[0] == np.float32(-40)


def test_what_decays_becomes_0_and_not_subnormal(tmp_path: Path) -> None:
    x = np.zeros((2000, 1, 3), dtype=np.float32)
    x[0] = 1
    found = call(export(NETWORKS["double exponential"].network, tmp_path, dtype="float32"), x=x)
    assert [np.abs(found[name]).max() for name in ("a.v.next", "a.s.x0.next", "a.s.x1.next")] == [0, 0, 0]


def test_a_number_that_float32_cannot_hold_is_refused(tmp_path: Path) -> None:
    network = plain()
    heavy = replace(network, projections=(replace(network.projections[0], weight=np.full((5, 3), 1e39)),))
    with pytest.raises(SpikeportError, match=r"a\.s\.w: 1e\+39 is beyond float32"):
        export(heavy, tmp_path, dtype="float32")
    assert not list(tmp_path.iterdir())


# refusals


def test_a_precision_or_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(SpikeportError, match=r"(?s)dtype 'float16'.*device 'cuda'"):
        run(plain(), spikes(), dtype="float16", device="cuda")


def test_an_unknown_trace_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SpikeportError, match=r"(?s)no trace a\.w.*a\.v, a\.s"):
        run(plain(), spikes(), record=["a.w"])


def test_what_does_not_fit_into_a_file_is_refused_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_BYTES", 100)
    assert [p.feature for p in ONNX.problems(plain())] == ["neurons"]
    assert not ONNX.problems(plain(), dtype="float32")  # 15 weights of 4 bytes
    with pytest.raises(RefusedError, match="GiB of weights, an ONNX file holds 2 GiB"):
        ONNX.lower(plain())


def test_a_file_that_is_too_large_is_not_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lowering = ONNX.lower(plain())
    monkeypatch.setattr(model, "MAX_BYTES", 100)
    with pytest.raises(SpikeportError, match="an ONNX file holds 2"):
        ONNX.export(lowering, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_text("mine")
    lowering: Lowering = ONNX.lower(plain())
    with pytest.raises(SpikeportError, match="exists already"):
        ONNX.export(lowering, tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").read_text() == "mine"


def test_the_engine_agrees_running_freely_on_a_larger_network() -> None:
    network, inputs = lively(n=150), lively_inputs()
    expected = engine.simulate(network, inputs, seed=1)
    assert sum(s.n_spikes for s in expected.spikes.values()) > 1000
    assert differing(run(network, inputs, seed=1), expected) == 0
