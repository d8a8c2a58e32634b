"""A spiking network as an nn.Module on either library: it runs, embeds, trains, saves, and comes back."""

from __future__ import annotations

import copy
import importlib
import io
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conformance_networks import NETWORKS
from require import need
from torch_networks import NAMES, everything, given, need_library, run, trainable

from spikeport.snn import reference
from spikeport.snn.errors import SpikeportError
from spikeport.snn.recording import SpikeTrains
from spikeport.targets.base import RunOptions
from spikeport.targets.registry import get_target


@pytest.fixture(params=NAMES)
def library(request: pytest.FixtureRequest) -> str:
    need_library(request.param)
    return str(request.param)


def build(library: str, network: Any, **how: Any) -> Any:
    return importlib.import_module(f"spikeport.targets.{library}").build_module(network, **how)


def rows(network: Any, inputs: dict[str, Any], n_steps: int) -> dict[str, Any]:
    """The inputs of a conformance network, one row a step, as the module takes them."""
    torch = need("torch", resource="train")
    repeat = {i.name: round(i.dt / network.dt) for i in network.held_inputs}
    return {
        n: torch.tensor(np.repeat(v, repeat.get(n, 1), axis=0)[:n_steps], dtype=torch.float64)
        for n, v in inputs.items()
    }


def differing(spikes: dict[str, Any], expected: Any) -> int:
    found = {name: SpikeTrains.from_dense(z.detach().numpy() > 0.5) for name, z in spikes.items()}
    assert found.keys() == expected.spikes.keys()
    return sum(s.differing(found[name]) for name, s in expected.spikes.items())


@pytest.mark.parametrize("reset", ["to_value", "subtract"])
def test_everything_at_once_agrees_with_the_reference(library: str, reset: str) -> None:
    network, target = everything(reset), get_target(library)
    expected = reference.simulate(network, given(), record=["a.v", "b.v"], **run())
    assert min(s.n_spikes for s in expected.spikes.values()) > 50
    found = target.run(target.lower(network), given(), RunOptions(**run(), record=("a.v", "b.v")))
    assert {n: s.differing(found.spikes[n]) for n, s in expected.spikes.items()} == {"a": 0, "b": 0}
    np.testing.assert_allclose(found.outputs["o"], expected.outputs["o"], rtol=1e-9, atol=1e-9)
    for name, v in expected.traces.items():
        np.testing.assert_allclose(found.traces[name], v, rtol=1e-9, atol=1e-9)


def test_a_state_carried_over_blocks_changes_nothing(library: str) -> None:
    network = replace(everything("subtract"), provenance={})
    module, inputs = build(library, network, dtype="float64"), rows(network, given(), 120)
    start = module.initial_state(2, seed=3, first_trial=7)
    _, whole, _ = module(inputs, start)
    state, parts = start, []
    for cut in (slice(0, 1), slice(1, 50), slice(50, 120)):
        _, spikes, state = module({name: x[cut] for name, x in inputs.items()}, state)
        parts.append(spikes)
    joined = {name: np.concatenate([p[name].detach().numpy() for p in parts]) for name in whole}
    assert {name: int((joined[name] != z.detach().numpy()).sum()) for name, z in whole.items()} == {"a": 0, "b": 0}
    assert differing(whole, reference.simulate(network, given(), **run(), with_noise=False)) == 0


def test_steps_make_the_same_as_a_block(library: str) -> None:
    network = trainable()
    module = build(library, network, dtype="float64")
    x = rows(network, NETWORKS["recurrent"].inputs, 30)["x"]
    outputs, spikes, _ = module(x, module.initial_state(2))
    state = module.initial_state(2)
    for k in range(30):
        out, z, state = module.step(x[k], state)
        assert (z["a"] == spikes["a"][k]).all()
        np.testing.assert_allclose(out["o"].detach(), outputs["o"][k].detach(), rtol=1e-12, atol=1e-12)


def test_given_noise_is_in_millivolts(library: str) -> None:
    network = NETWORKS["millivolts"].network
    values = np.random.default_rng(0).normal(0, 3, (120, 2, 5))
    torch = need("torch", resource="train")
    module, x = build(library, network, dtype="float64"), rows(network, NETWORKS["millivolts"].inputs, 120)
    _, found, _ = module(x, noise={"a": torch.tensor(values)})
    expected = reference.simulate(network, NETWORKS["millivolts"].inputs, **run(), noise_values={"a": values})
    quiet = reference.simulate(network, NETWORKS["millivolts"].inputs, **run())
    assert differing(found, expected) == 0
    assert quiet.spikes["a"].differing(expected.spikes["a"]) > 0


def loss_of(module: Any, x: Any) -> Any:
    outputs, _, _ = module(x, module.initial_state(x.shape[1]))
    return ((outputs["o"] - 1.0) ** 2).mean()


def test_a_gradient_reaches_every_parameter(library: str) -> None:
    network = trainable()
    module, x = build(library, network, dtype="float64"), rows(network, NETWORKS["recurrent"].inputs, 40)["x"]
    loss_of(module, x).backward()
    grads = {name: p.grad for name, p in module.named_parameters()}
    assert sorted(grads) == ["w_in", "w_out", "w_rec"]
    assert all(bool(g.isfinite().all()) and bool((g != 0).any()) for g in grads.values())


def test_gradients_are_finite_and_not_zero_with_everything_at_once(library: str) -> None:
    network = everything()
    module = build(library, network, dtype="float64")
    outputs, _, _ = module(rows(network, given(), 60), module.initial_state(2, seed=3))
    (outputs["o"] ** 2).mean().backward()
    assert len(list(module.parameters())) == len(network.projections) + 1
    assert all(bool(p.grad.isfinite().all()) and bool((p.grad != 0).any()) for p in module.parameters())


def test_training_lowers_a_loss_and_the_network_comes_back_with_its_weights(library: str) -> None:
    torch = need("torch", resource="train")
    network = trainable()
    module, x = build(library, network, dtype="float64"), rows(network, NETWORKS["recurrent"].inputs, 40)["x"]
    optimiser, losses = torch.optim.Adam(module.parameters(), lr=1e-3), []
    for _ in range(8):
        optimiser.zero_grad()
        losses.append(loss_of(module, x))
        losses[-1].backward()
        optimiser.step()
    assert losses[-1].item() < 0.9 * losses[0].item()
    trained, options = module.network(), RunOptions(n_steps=40, n_batch=2)
    assert not np.array_equal(trained.projections[1].weight, network.projections[1].weight)
    expected = reference.simulate(trained, NETWORKS["recurrent"].inputs, n_steps=40)
    found = get_target(library).run(get_target(library).lower(trained), NETWORKS["recurrent"].inputs, options)
    assert expected.spikes["a"].differing(found.spikes["a"]) == 0
    assert differing(module(x)[1], expected) == 0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_untrained_network_comes_back_bit_for_bit(library: str, dtype: str) -> None:
    network = everything()
    back = build(library, network, dtype=dtype).network()
    pairs = zip(back.projections + back.readouts, network.projections + network.readouts, strict=True)
    assert all(np.array_equal(new.weight, old.weight) for new, old in pairs)


def test_saved_weights_load_without_running_code_and_make_the_same_spikes(library: str) -> None:
    torch = need("torch", resource="train")
    network = trainable()
    module, x = build(library, network, dtype="float64"), rows(network, NETWORKS["recurrent"].inputs, 120)["x"]
    with torch.no_grad():
        module.w_rec.mul_(-1.5)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other = build(library, network, dtype="float64")
    before = other(x)[1]["a"]
    other.load_state_dict(torch.load(file, weights_only=True))
    assert (other(x)[1]["a"] == module(x)[1]["a"]).all()
    assert (before != module(x)[1]["a"]).any()


def test_a_module_can_be_copied_after_training_on_it(library: str) -> None:
    network = trainable()
    module, x = build(library, network, dtype="float64"), rows(network, NETWORKS["recurrent"].inputs, 40)["x"]
    loss_of(module, x).backward()
    assert (copy.deepcopy(module)(x)[1]["a"] == module(x)[1]["a"]).all()


def test_float32_is_float32_and_stays_close(library: str) -> None:
    case, target = NETWORKS["recurrent"], get_target(library)
    found = target.run(
        target.lower(case.network), case.inputs, RunOptions(**case.run(), dtype="float32", record=("a.v",))
    )
    expected = case.expected()
    v, exact = found.traces["a.v"], expected.traces["a.v"]
    assert found.spikes["a"].differing(expected.spikes["a"]) == 0
    assert 0 < np.abs(v - exact).max() < 1e-5


@pytest.mark.parametrize(
    ("how", "says"),
    [({"dtype": "float16"}, "dtype 'float16': must be one of float64, float32"), ({"device": "tpu"}, "device 'tpu'")],
)
def test_what_it_cannot_run_on_is_refused(library: str, how: dict[str, str], says: str) -> None:
    case, target = NETWORKS["plain"], get_target(library)
    with pytest.raises(SpikeportError, match=says):
        target.run(target.lower(case.network), case.inputs, RunOptions(**case.run(), **how))


def test_a_missing_cuda_device_is_an_error_with_the_next_step(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = need("torch", resource="train")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SpikeportError, match=r"device 'cuda': torch .* sees no CUDA device\nTry: --device cpu"):
        build(library, NETWORKS["plain"].network, device="cuda")


def test_cuda_graphs_on_the_cpu_are_refused(library: str) -> None:
    case, target = NETWORKS["plain"], get_target(library)
    with pytest.raises(SpikeportError, match="cuda_graphs: on, but the device is cpu"):
        target.run(target.lower(case.network, cuda_graphs="on"), case.inputs, RunOptions(**case.run()))


@pytest.mark.gpu
@pytest.mark.parametrize("graphs", ["off", "on"])
def test_cuda_makes_the_spikes_of_the_reference(library: str, graphs: str) -> None:
    network, target = everything(), get_target(library)
    expected = reference.simulate(network, given(), **run())
    lowering = target.lower(network, cuda_graphs=graphs)
    found = target.run(lowering, given(), RunOptions(**run(), device="cuda"))
    assert {n: s.differing(found.spikes[n]) for n, s in expected.spikes.items()} == {"a": 0, "b": 0}


def test_an_unknown_trace_is_refused(library: str) -> None:
    case, target = NETWORKS["plain"], get_target(library)
    with pytest.raises(SpikeportError, match=r"no trace a\.w\n  there are: a\.v"):
        target.run(target.lower(case.network), case.inputs, RunOptions(**case.run(), record=("a.w",)))


@pytest.mark.parametrize(
    ("inputs", "says"),
    [({}, "input 'x': missing, 3 channels"), ({"x": (4, 2, 2)}, r"shape \(4, 2, 2\), must be \(time, batch, 3\)"),
     ({"x": (4, 2, 3), "y": (4, 2, 3)}, "input 'y': the network has no such input")],
)  # fmt: skip
def test_wrong_inputs_of_a_module_are_refused(library: str, inputs: dict[str, Any], says: str) -> None:
    torch = need("torch", resource="train")
    module = build(library, NETWORKS["plain"].network)
    with pytest.raises(SpikeportError, match=says):
        module({name: torch.zeros(shape) for name, shape in inputs.items()})


def test_a_run_leaves_torch_as_it_was(library: str) -> None:
    torch = need("torch", resource="train")
    case, target = NETWORKS["recurrent"], get_target(library)

    def settings() -> list[Any]:
        return [
            torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.random.get_rng_state().sum(), torch.are_deterministic_algorithms_enabled(),
            torch.is_inference_mode_enabled(),
        ]  # fmt: skip

    before = settings()
    target.run(target.lower(case.network), case.inputs, RunOptions(**case.run()))
    build(library, case.network)
    assert settings() == before


def test_checking_and_lowering_import_no_torch(library: str) -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from conformance_networks import NETWORKS\n"
        "from spikeport.targets.checking import check_network\n"
        f"verdict, = check_network(NETWORKS['recurrent'].network, ['{library}'])\n"
        "assert verdict.takes\n"
        f"print(sorted({{'torch', 'snntorch', 'norse'}} & sys.modules.keys()))"
    )
    root = str(importlib.import_module("conformance_networks").__file__).rsplit("/tests/", 1)[0]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_cannot_be_scaled_is_refused_by_name(library: str) -> None:
    target, network = get_target(library), NETWORKS["plain"].network
    flat = replace(
        network,
        populations=(replace(network.populations[0], neuron=replace(network.populations[0].neuron, v_reset=1.0)),),
    )
    assert [p.feature for p in target.problems(flat) if p.where == "population a: v_reset"] == ["reset"]
    a = everything().populations[0]
    drawn = replace(a, neuron=replace(a.neuron, v_threshold=np.linspace(-45, -40, a.n)))
    several = replace(everything(), populations=(drawn, everything().populations[1]))
    assert [p.feature for p in target.problems(several)] == ["heterogeneous"]
