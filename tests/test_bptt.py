"""Back-propagation through time: the equations that are trained, their gradient, and the step down it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from require import need

from spikeport.snn.rate import simulate_rate
from spikeport.snn.tasks import GoNoGo
from spikeport.snn.training import TrainingOptions, train
from spikeport.snn.training.data import draw_noise
from spikeport.snn.training.initial import initial_network

torch = need("torch", resource="train")
from spikeport.snn.training import bptt  # noqa: E402  # after the check that torch is there

SMALL = TrainingOptions(n_neurons=24, batch=4, max_steps=6, look_every=3, look_trials=5, test_trials=20, seed=7)


def small_model(options: TrainingOptions = SMALL, n_trials: int = 3) -> tuple[Any, dict[str, Any], Any]:
    """The first network of `options` for Go-NoGo as torch sees it: model, parameters, and a batch of trials."""
    task = GoNoGo()
    fixed, first = initial_network(options, 1, 1)
    trials = task.trials(n_trials, seed=0)
    noise, x0 = draw_noise(options, "train", 0, task.n_samples, n_trials)
    arrays = {"inputs": trials.inputs, "targets": trials.targets, "noise": noise, "x0": x0}
    batch = bptt.Batch(**{name: bptt.tensor(a) for name, a in arrays.items()})
    assert set(first) == {"w", "w_out", "b_out", "tau_raw"}
    return bptt.Model.of(fixed, options, task.dt), dict(bptt.initial_state(first).parameters), batch


@pytest.mark.parametrize("phi", ["sigmoid", "softplus", "relu"])
def test_the_exported_network_gives_the_outputs_that_were_trained(phi):
    options = replace(SMALL, phi=phi, noise_sd=0.0, x0_sd=0.0)
    result = train("go-nogo", options)
    task, (fixed, _) = GoNoGo(), initial_network(options, 1, 1)
    trials = task.trials(5, seed=3)
    raw = {name: bptt.tensor(getattr(result.network, name)) for name in ("w_out", "b_out")}
    low, high = options.tau_bounds
    share = (result.network.tau - low) / (high - low)
    raw |= {"w": bptt.tensor(np.abs(result.network.w_rec)), "tau_raw": bptt.tensor(np.log(share / (1 - share)))}
    zero = np.zeros((200, 5, 24)), np.zeros((5, 24))
    batch = bptt.Batch(
        inputs=bptt.tensor(trials.inputs), targets=bptt.tensor(trials.targets),
        noise=bptt.tensor(zero[0]), x0=bptt.tensor(zero[1]),
    )  # fmt: skip
    outputs, _ = bptt.outputs_of(bptt.Model.of(fixed, options, task.dt), raw, batch)
    ours = simulate_rate(result.network, trials.inputs, with_noise=False).outputs
    assert np.abs(outputs).max() > 0.01
    np.testing.assert_allclose(ours, outputs, atol=1e-5 * max(1.0, np.abs(outputs).max()))


def test_the_forward_pass_is_the_equation_evaluated_by_hand():
    model, p, batch = small_model()
    got = bptt.forward(model, p, batch)[0].numpy()
    w, w_out, b_out, raw = (p[name].double().numpy() for name in ("w", "w_out", "b_out", "tau_raw"))
    sign, som, w_in = (t.double().numpy() for t in (model.sign, model.som_mask, model.w_in))
    w_rec = (np.maximum(w, 0) @ np.diag(sign)) * som
    tau = (0.125 - 0.020) / (1 + np.exp(-raw)) + 0.020
    x = batch.x0.double().numpy()
    for k in range(200):
        r = 1 / (1 + np.exp(-x))
        x = x + (0.005 / tau) * (-x + r @ w_rec.T + batch.inputs[k].numpy() @ w_in.T) + batch.noise[k].numpy()
        expected = (1 / (1 + np.exp(-x))) @ w_out.T + b_out
        np.testing.assert_allclose(got[k], expected, atol=1e-5)


@pytest.mark.parametrize("rate_cost", [0.0, 3.0])
@pytest.mark.parametrize("phi", ["sigmoid", "softplus", "relu"])
def test_the_gradient_is_the_slope_of_the_loss_and_the_cost_of_rates(phi, rate_cost):
    model, p, batch = small_model(replace(SMALL, phi=phi))
    double = {name: t.double() for name, t in p.items()}
    model = replace(model, **{name: getattr(model, name).double() for name in ("sign", "som_mask", "w_in")})
    batch = replace(batch, **{name: getattr(batch, name).double() for name in ("inputs", "targets", "noise", "x0")})
    _, grads = bptt.gradients(model, double, batch, rate_cost=rate_cost)

    def cost(parameters: dict[str, Any]) -> float:
        o, r = bptt.forward(model, parameters, batch)
        return float(bptt.trial_losses(o, batch.targets).mean() + rate_cost * (r**2).mean())

    generator = torch.Generator().manual_seed(0)
    for name, value in double.items():
        # only along existing connections: relu has a corner at 0
        direction = torch.randn(value.shape, generator=generator, dtype=torch.float64) * (
            value != 0 if name == "w" else 1
        )
        up, down = (cost({**double, name: value + h * direction}) for h in (1e-6, -1e-6))
        assert (up - down) / 2e-6 == pytest.approx(float((grads[name] * direction).sum()), rel=1e-4, abs=1e-7)


def test_a_cost_of_rates_makes_quieter_networks():
    loud, quiet = (
        train("go-nogo", replace(SMALL, max_steps=10, learning_rate=0.05, rate_cost=cost)) for cost in (0.0, 300.0)
    )
    inputs = GoNoGo().trials(5, seed=0).inputs
    rates = [simulate_rate(result.network, inputs, record_state=True).r for result in (loud, quiet)]
    assert rates[0] is not None
    assert rates[1] is not None
    assert rates[1].mean() < 0.9 * rates[0].mean()


def test_the_loss_is_the_root_of_the_summed_squares_where_there_is_a_target():
    rng = np.random.default_rng(0)
    outputs, targets = rng.standard_normal((2, 30, 4, 2))
    targets[5:9, 1] = np.nan
    expected = [np.sqrt(np.nansum((outputs[:, b] - targets[:, b]) ** 2)) for b in range(4)]
    got = bptt.trial_losses(bptt.tensor(outputs), bptt.tensor(targets)).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_the_gradient_is_finite_where_output_and_target_are_exactly_0():
    model, p, batch = small_model(replace(SMALL, phi="relu", noise_sd=0.0, x0_sd=0.0))
    batch = replace(batch, inputs=torch.zeros_like(batch.inputs), targets=torch.zeros_like(batch.targets))
    loss, grads = bptt.gradients(model, p, batch)
    assert loss == pytest.approx(1e-6)
    assert all(torch.isfinite(g).all() for g in grads.values())


def test_a_step_is_adam_on_the_clipped_gradient_as_torch_computes_it():
    model, p, batch = small_model()
    state = bptt.initial_state({name: t.numpy() for name, t in p.items()})
    leaves = {name: t.clone().requires_grad_() for name, t in p.items()}
    adam = torch.optim.Adam(leaves.values(), lr=0.01)
    for _ in range(4):
        _, grads = bptt.gradients(model, state.parameters, batch)
        state = bptt.step_adam(state, grads, learning_rate=0.01, clip_norm=0.5)
        for name, leaf in leaves.items():
            leaf.grad = grads[name].clone()
        torch.nn.utils.clip_grad_norm_(leaves.values(), 0.5)
        adam.step()
        for name, leaf in leaves.items():
            torch.testing.assert_close(state.parameters[name], leaf.detach(), rtol=1e-4, atol=1e-6)
    assert state.step == 4
