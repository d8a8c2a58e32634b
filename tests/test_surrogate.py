"""Surrogate gradients: the step in torch is the engine's, and its adjoint by hand is autograd's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from require import need

from spikeport.snn.engine import simulate
from spikeport.snn.errors import UnsupportedError
from spikeport.snn.integrators import INTEGRATORS
from spikeport.snn.neurons import LIF, RESETS, per_unit
from spikeport.snn.recording import SpikeTrains
from spikeport.snn.spiking import (
    SAMPLINGS,
    HeldInput,
    Population,
    Projection,
    ReadOut,
    SpikingNetwork,
    Uniform,
    sample_index,
)
from spikeport.snn.synapses import Delta, DoubleExponential, Exponential

torch = need("torch", resource="train")

from spikeport.snn.training import surrogate, surrogate_scan  # noqa: E402 (needs torch)

DT = 1e-3


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # of tensors this small more threads make a slow test
    yield
    torch.set_num_threads(before)


@st.composite
def networks(draw: Any, *, noise: bool = False) -> SpikingNetwork:
    """One recurrent population with everything that the step in torch knows; hypothesis chooses the structure."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 6))
    names = ["s", "p"][: draw(st.integers(1, 2))]
    made = [
        Exponential(tau=rng.uniform(0.003, 0.02, n)),
        DoubleExponential(tau_rise=0.002, tau_decay=rng.uniform(0.004, 0.02, n)),
    ]
    synapses = {name: made[draw(st.integers(0, 1))] for name in names}
    via = st.sampled_from([None, *names])
    into = [Projection(source="u", target="a", weight=rng.normal(0.3, 0.5, (n, 2)), synapse=draw(via))]
    loops = [
        Projection(source="a", target="a", weight=rng.normal(0.002, 0.006, (n, n)),
                   synapse=draw(st.sampled_from(names)), delay=draw(st.integers(1, 3)))
        for _ in range(draw(st.integers(0, 2)))
    ]  # fmt: skip
    population = Population(
        name="a", n=n, synapses=synapses, bias=rng.uniform(0.6, 1.8, n),
        neuron=LIF(
            tau_mem=rng.uniform(0.004, 0.02, n), v_threshold=1.0, v_reset=rng.uniform(-0.5, 0.3, n), v_leak=0.1,
            t_ref=draw(st.sampled_from([0.0, 0.002])), reset=draw(st.sampled_from(RESETS)),
        ),
        synaptic_bias={name: rng.uniform(-0.2, 0.3, n) for name in names if draw(st.booleans())},
        noise_sd=0.2 if noise else 0.0, noise_while_refractory=draw(st.booleans()),
        spikes_while_refractory=draw(st.booleans()), v0=Uniform(-0.5, 1.2), ref0=draw(st.sampled_from([0, 3])),
    )  # fmt: skip
    port = HeldInput(name="u", n=2, dt=draw(st.sampled_from([5, 2.5])) * DT, sampling=draw(st.sampled_from(SAMPLINGS)))
    out = ReadOut(
        name="o", source="a", weight=rng.normal(size=(2, n)) * 0.01, bias=rng.normal(size=2),
        synapse=made[draw(st.integers(0, 1))],
    )  # fmt: skip
    return SpikingNetwork(
        populations=(population,), inputs=(port,), projections=(*into, *loops), readouts=(out,), dt=DT,
        integrator=draw(st.sampled_from(sorted(INTEGRATORS))),
    )  # fmt: skip


def levels(samples: int = 12, batch: int = 2, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 1.0, (samples, batch, 2))


def double(network: SpikingNetwork, **changes: Any) -> Any:
    return surrogate.Model.of(network, dtype=torch.float64, **changes)


@settings(deadline=None, max_examples=40)
@given(network=networks(), seed=st.sampled_from([0, 2**40 + 7]))
def test_forward_gives_the_engines_spikes_and_its_outputs_sample_by_sample(network: SpikingNetwork, seed: int) -> None:
    same_as_engine(network, seed)


@settings(deadline=None, max_examples=20)
@given(network=networks(noise=True), seed=st.sampled_from([0, 2**40 + 7]))
def test_forward_adds_the_engines_own_noise_numbers(network: SpikingNetwork, seed: int) -> None:
    same_as_engine(network, seed)


def same_as_engine(network: SpikingNetwork, seed: int) -> None:
    u, model = levels(), double(network)
    trial = surrogate.Trial.of(network, u, seed=seed, first_trial=5)
    with torch.no_grad():
        found = surrogate.forward(model, surrogate.weights_of(model), trial, record=True)
    wanted = simulate(network, u, seed=seed, first_trial=5, n_steps=trial.n_steps)
    assert SpikeTrains.from_dense(found.z.numpy()).differing(wanted.spikes["a"]) == 0
    assert found.counts.sum() == wanted.spikes["a"].n_spikes
    samples = np.add.reduceat(wanted.outputs["o"], trial.edges[:-1], axis=0) / np.diff(trial.edges)[:, None, None]
    np.testing.assert_allclose(found.outputs.numpy(), samples, rtol=0, atol=1e-9)


@settings(deadline=None, max_examples=15)
@given(network=networks(noise=True), cut=st.sampled_from([1, 7, 500]))
def test_the_adjoint_is_autograds_wherever_a_run_is_cut(network: SpikingNetwork, cut: int) -> None:
    model, u = double(network, width=0.3, height=0.2), levels()
    trial = surrogate.Trial.of(network, u, seed=1)
    rng = np.random.default_rng(0)
    asked = torch.tensor(rng.normal(size=(12, 2, 2))), torch.tensor(rng.normal(size=(12, 2, network.n_neurons)))
    found = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(surrogate_scan, "SEGMENT", cut)
        for run in (surrogate.forward, plainly):
            leaves = {name: w.clone().requires_grad_() for name, w in surrogate.weights_of(model).items()}
            answer = run(model, leaves, trial)
            loss = (answer.outputs * asked[0]).sum() + (answer.counts * asked[1]).sum()
            found.append(torch.autograd.grad(loss, list(leaves.values()), allow_unused=True))
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-7, atol=1e-9)


class Step(torch.autograd.Function):
    """The surrogate as written in the module's docstring."""

    @staticmethod
    def forward(ctx: Any, u: Any, width: float, height: float) -> Any:
        ctx.save_for_backward(u)
        ctx.shape = width, height
        return (u > 0).double()

    @staticmethod
    def backward(ctx: Any, *g: Any) -> Any:
        width, height = ctx.shape
        return g[0] * height / width / (1 + ctx.saved_tensors[0].abs() / width) ** 2, None, None


def plainly(model: Any, weights: Any, trial: Any) -> Any:
    """The equations of reference.py, step by step, differentiated by autograd: slow, and written for nothing else."""
    network = model.network
    (p,), (port,), (readout,) = network.populations, network.inputs, network.readouts
    u = torch.tensor(trial.inputs["u"])
    scan = surrogate_scan.Scan.of(model, trial, None)
    start, noise = scan.start(), scan._noise(0, trial.edges.size - 1)
    v, ref, past = start.v, start.ref, []
    x = {name: torch.zeros(*v.shape, s.n_states, dtype=v.dtype) for name, s in p.synapses.items()}
    out = torch.zeros(*v.shape, readout.synapse.n_states, dtype=v.dtype)
    tables = {name: dense(network, s) for name, s in {**p.synapses, "": readout.synapse}.items()}
    said, counts = [], []
    for k in range(1, trial.n_steps + 1):
        now = u[int(sample_index(k, network.dt, port, u.shape[0]))]
        constant = weights["bias"] + torch.tensor(per_unit(p.neuron.v_leak, p.n))
        current: Any = 0
        for name in x:
            J: Any = torch.zeros_like(v)
            H: Any = torch.zeros_like(v) + torch.tensor(per_unit(p.synaptic_bias.get(name, 0.0), p.n))
            for i, q in enumerate(network.projections):
                if q.synapse == name and q.source == "u":
                    H = H + now @ weights[f"projection {i}"].T
                elif q.synapse == name and k > q.delay:
                    J = J + past[k - q.delay - 1] @ weights[f"projection {i}"].T
            D, B, jump, held = tables[name]
            x[name] = torch.einsum("nij,bnj->bni", D, x[name]) + jump * J[..., None] + held * H[..., None]
            current = current + (B * x[name]).sum(-1)
        for i, q in enumerate(network.projections):
            if q.synapse is None:
                constant = constant + now @ weights[f"projection {i}"].T
        free = ref == 0
        new = torch.where(free, model.A * v + current + (1 - model.A) * constant, v)
        new = new if noise is None else new + noise[k - 1] * (free | p.noise_while_refractory)
        step: Any = Step.apply
        z = step(new - model.threshold, model.width, model.height) * (free | p.spikes_while_refractory)
        fired = z.detach()
        low = model.reset if p.neuron.reset == "to_value" else new - (model.threshold - model.reset)
        v, ref = torch.where(fired > 0, low, new), torch.where(fired > 0, model.steps, torch.clamp(ref - 1, min=0))
        D, _, jump, _ = tables[""]
        out = torch.einsum("nij,bnj->bni", D, out) + jump * z[..., None]
        past.append(z)
        said.append(out[..., 0])
        counts.append(z)
    parts = [slice(int(a), int(b)) for a, b in zip(trial.edges[:-1], trial.edges[1:], strict=True)]
    s = torch.stack([torch.stack(said[part]).mean(0) for part in parts])
    c = torch.stack([torch.stack(counts[part]).sum(0) for part in parts])
    return surrogate.Answer(outputs=s @ weights["out"].T + torch.tensor(readout.bias), counts=c, z=None)


def dense(network: SpikingNetwork, synapse: Any) -> Any:
    from spikeport.snn.integrators import get_integrator, synapse_table

    p = network.populations[0]
    t = synapse_table(get_integrator(network.integrator), synapse, per_unit(p.neuron.tau_mem, p.n), network.dt)
    return tuple(torch.tensor(a) for a in (t.D, t.B, t.jump, t.held))


def driven(n: int = 20, bias: float = 1.3, **changes: Any) -> SpikingNetwork:
    """Units around a threshold of 1, loosely coupled."""
    rng = np.random.default_rng(0)
    population = Population(
        name="a", n=n, neuron=LIF(tau_mem=0.01, v_threshold=1.0, v_reset=0.0),
        bias=rng.uniform(bias - 0.2, bias + 0.2, n),
        synapses={"s": Exponential(tau=0.01)}, v0=Uniform(0.0, 1.0), noise_sd=0.05,
    )  # fmt: skip
    parts: dict[str, Any] = {
        "populations": (population,),
        "inputs": (HeldInput(name="u", n=2, dt=5 * DT),),
        "projections": (
            Projection(source="u", target="a", weight=rng.normal(0, 0.05, (n, 2)), synapse="s"),
            Projection(source="a", target="a", weight=rng.normal(0, 0.001, (n, n)), synapse="s", delay=1),
        ),
        "readouts": (
            ReadOut(name="o", source="a", weight=np.ones((1, n)), bias=np.zeros(1), synapse=Exponential(tau=0.02)),
        ),
        "dt": DT, "integrator": "exact",
    }  # fmt: skip
    return SpikingNetwork(**{**parts, **changes})


@pytest.mark.parametrize("width", [0.05, 0.3])
def test_a_matched_surrogate_has_the_measured_slope_of_the_count_by_the_bias(width: float) -> None:
    network = driven()
    model = surrogate.Model.of(network, width=width, dtype=torch.float64)
    trial = surrogate.Trial.of(network, levels(40, 4), seed=0)
    weights = surrogate.weights_of(model)
    matched = surrogate.match_height(model, weights, trial, by=0.05)
    bias = weights["bias"].clone().requires_grad_()
    with torch.no_grad():
        z = surrogate.forward(model, weights, trial, record=True).z
        counts = [
            surrogate.forward(model, {**weights, "bias": weights["bias"] + d}, trial, given=z).counts.sum()
            for d in (0.05, -0.05)
        ]
    answer = surrogate.forward(matched, {**weights, "bias": bias}, trial, given=z)
    (slope,) = torch.autograd.grad(answer.counts.sum(), [bias])
    assert float(slope.sum()) == pytest.approx(float(counts[0] - counts[1]) / 0.1, rel=1e-6)
    # and it is the slope of the f-I curve, f = 1 / (tau log((I - v_reset) / (I - v_threshold))), within some per cent
    per_mv = float(slope.sum()) / (20 * 4 * 0.2)
    drive = np.random.default_rng(0).uniform(1.1, 1.5, 20)

    def f(i: np.ndarray) -> np.ndarray:
        return np.asarray(1 / (0.01 * np.log(i / (i - 1))))

    assert per_mv == pytest.approx(float((f(drive + 0.05) - f(drive - 0.05)).mean() / 0.1), rel=0.25)


def test_a_silent_network_keeps_the_height_it_came_with() -> None:
    network = driven(bias=-50.0)
    model = surrogate.Model.of(network, height=0.7)
    trial = surrogate.Trial.of(network, levels(20), seed=0)
    assert surrogate.match_height(model, surrogate.weights_of(model), trial).height == 0.7


def test_a_network_with_its_own_weights_is_the_same_network() -> None:
    network = driven()
    model = surrogate.Model.of(network, dtype=torch.float64)
    again = surrogate.with_weights(network, surrogate.weights_of(model))
    np.testing.assert_array_equal(again.populations[0].bias, network.populations[0].bias)
    for mine, theirs in zip(again.projections, network.projections, strict=True):
        np.testing.assert_array_equal(mine.weight, theirs.weight)


def test_networks_of_another_shape_are_refused_with_all_reasons() -> None:
    network = driven()
    p = network.populations[0]
    other = replace(
        network, readouts=(),
        populations=(replace(p, synapses={"s": Exponential(tau=0.01), "d": Delta()}), replace(p, name="b")),
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match=r"(?s)populations: 2, must be 1.*read-outs: 0.*synapse d: a Delta"):
        surrogate.Model.of(other)
