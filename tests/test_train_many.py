"""Training many networks at once: the same equations, random numbers and stopping rule as one network alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from require import need

from spikeport.snn.errors import SpikeportError
from spikeport.snn.tasks import GoNoGo, get_task
from spikeport.snn.training import ManyProgress, TrainingOptions, TrainingResult, train, train_many
from spikeport.snn.training.initial import initial_network

torch = need("torch", resource="train")
from spikeport.snn.training import batched, bptt, many  # noqa: E402  # after the check that torch is there

SMALL = TrainingOptions(n_neurons=24, batch=3, max_steps=6, look_every=3, look_trials=5, test_trials=20)
GROUPS = ("parameters", "first", "second")
ARRAYS = ("tau", "w_rec", "w_in", "w_out", "b_rec", "b_out")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As `train` has it: on so small products threads only wait for each other."""
    with many.torch_threads(1):
        yield


def seeds(options: TrainingOptions, n: int) -> list[TrainingOptions]:
    return [replace(options, seed=seed) for seed in range(n)]


def together(options: list[TrainingOptions], **kwargs: Any) -> dict[int, TrainingResult]:
    return dict(train_many("go-nogo", options, **kwargs))


def same_network(a: TrainingResult, b: TrainingResult, tolerance: float) -> bool:
    assert a.network.n_neurons == b.network.n_neurons
    pairs = [(getattr(a.network, name), getattr(b.network, name)) for name in ARRAYS]
    return all(np.allclose(x, y, rtol=tolerance, atol=tolerance) for x, y in pairs)


@pytest.mark.parametrize("rate_cost", [0.0, 3.0])
@pytest.mark.parametrize("phi", ["sigmoid", "softplus", "relu"])
def test_loss_and_gradient_are_those_of_each_network_alone(phi, rate_cost):
    """In double precision, where only a wrong equation can differ; torch differentiates the other side step by step."""
    options = seeds(replace(SMALL, phi=phi, n_neurons=12, gain=1.0), 2)
    live = [many._Job(i, o, GoNoGo(), None).begin(bptt) for i, o in enumerate(options)]
    models = batched.stack_models([one.run.model for one in live], "cpu")
    models = replace(models, **{n: getattr(models, n).double() for n in ("sign", "som_mask", "w_in")})
    states = batched.stack_states([one.done.state for one in live], "cpu")
    parameters = {name: t.double() for name, t in states.parameters.items()}
    drawn = [many.drawn(one.run, "train", 5, 3)[0] for one in live]
    batches = batched.stack_batches(drawn, "cpu")
    batches = replace(batches, **{n: getattr(batches, n).double() for n in ("inputs", "targets", "noise", "x0")})
    losses, grads = batched.gradients(models, parameters, batches, rate_cost=rate_cost)
    for i, one in enumerate(live):
        fixed = {n: getattr(models, n)[i] for n in ("sign", "som_mask", "w_in")}
        alone = bptt.Batch(
            inputs=batches.inputs[:, i], targets=batches.targets[:, i], noise=batches.noise[:, i], x0=batches.x0[i]
        )
        loss, expected = bptt.gradients(
            replace(one.run.model, **fixed), {n: t[i] for n, t in parameters.items()}, alone, rate_cost=rate_cost
        )
        assert losses[i] == pytest.approx(loss, rel=1e-10)
        for name, value in expected.items():
            assert value.abs().max() > 0
            torch.testing.assert_close(grads[name][i], value, rtol=1e-7, atol=1e-9 * float(value.abs().max()))


def test_a_step_of_adam_is_that_of_each_network_alone_at_its_own_step_and_rate():
    rng = np.random.default_rng(0)
    shapes = {"w": (4, 4), "b_out": (1,)}

    def some() -> dict[str, Any]:
        return {n: torch.tensor(rng.random(shape), dtype=torch.float32) for n, shape in shapes.items()}

    alone = [bptt.State(step=step, **{group: some() for group in GROUPS}) for step in (0, 7)]
    grads = {n: torch.tensor(rng.standard_normal((2, *s)), dtype=torch.float32) for n, s in shapes.items()}
    rates = np.array([0.01, 0.003])
    stepped = batched.step_adam(batched.stack_states(alone, "cpu"), grads, learning_rate=rates, clip_norm=1.0)
    for i, state in enumerate(alone):
        expected = bptt.step_adam(state, {n: g[i] for n, g in grads.items()}, learning_rate=rates[i], clip_norm=1.0)
        got = batched.state_of(stepped, i)
        assert got.step == expected.step
        for group in GROUPS:
            for name in shapes:
                torch.testing.assert_close(getattr(got, group)[name], getattr(expected, group)[name])


@pytest.mark.parametrize("phi", ["sigmoid", "relu"])
def test_two_networks_at_once_are_two_networks_one_by_one(phi):
    options = seeds(replace(SMALL, phi=phi), 2)
    for i, result in together(options).items():
        alone = train("go-nogo", options[i])
        assert same_network(result, alone, 1e-3)
        np.testing.assert_allclose(result.losses, alone.losses, rtol=1e-3)
        assert [look.step for look in result.looks] == [look.step for look in alone.looks]
        assert result.steps == alone.steps
        assert result.network.provenance["options"] == alone.network.provenance["options"]
        assert set(result.accuracy) == set(alone.accuracy)
        for name, mask in alone.network.labels.items():
            assert np.array_equal(result.network.labels[name], mask)


@pytest.mark.parametrize("width", [1, 2])
def test_a_network_does_not_depend_on_who_shares_its_batch(width):
    options = seeds(SMALL, 3)
    wide, narrow = together(options, width=3), together(options, width=width)
    assert sorted(narrow) == [0, 1, 2]
    for i, result in narrow.items():
        assert same_network(result, wide[i], 1e-4)


def test_the_same_call_gives_the_same_networks_bit_for_bit():
    first, again = (together(seeds(SMALL, 3), width=2) for _ in range(2))
    assert all(same_network(first[i], again[i], 0.0) for i in range(3))


def test_a_network_that_has_converged_leaves_and_the_next_takes_its_place():
    easy = replace(SMALL, accuracy_above=0.0, loss_below=1e9, min_trials=0, look_every=1, look_trials=1, max_steps=30)
    options = seeds(easy, 4)
    seen: list[ManyProgress] = []
    found = list(train_many("go-nogo", options, width=2, progress=seen.append))
    assert sorted(i for i, _ in found) == [0, 1, 2, 3]
    for _, result in found:
        assert result.converged_at == result.steps == result.looks[-1].step
        assert all(look.accuracy["published"] == 0 for look in result.looks[:-1])
    steps = {i: result.steps for i, result in found}
    assert len(set(steps.values())) > 1  # or the test would not see a place being taken
    assert seen[-1].finished == 4
    assert max(p.live for p in seen) <= 2
    assert sum(steps.values()) >= seen[-1].steps >= sum(steps.values()) / 2


def test_the_extra_steps_after_convergence_are_those_of_one_network_alone():
    easy = replace(SMALL, accuracy_above=0.0, loss_below=1e9, min_trials=0, extra_steps=3, max_steps=20)
    options = seeds(easy, 2)
    for i, result in together(options).items():
        alone = train("go-nogo", options[i])
        assert (result.converged_at, result.steps) == (alone.converged_at, alone.steps)
        assert same_network(result, alone, 1e-3)


def test_a_result_is_there_as_soon_as_its_network_is_finished():
    options = seeds(replace(SMALL, max_steps=2), 3)
    seen: list[ManyProgress] = []
    results = train_many("go-nogo", options, width=1, progress=seen.append)
    next(results)
    assert (seen[-1].finished, seen[-1].steps) == (1, 2)


@pytest.mark.parametrize("at", [1, 4, 7, 9])
def test_an_interrupted_batch_goes_on_as_if_it_had_not_been(tmp_path, at):
    """6 steps of a batch of two, then one of its places is the third network's."""
    options = seeds(SMALL, 3)
    straight = together(options, width=2)
    calls: list[ManyProgress] = []

    def stop(progress: ManyProgress) -> None:
        calls.append(progress)
        if len(calls) == at:
            raise KeyboardInterrupt

    found: dict[int, TrainingResult] = {}
    with pytest.raises(KeyboardInterrupt):
        found.update(train_many("go-nogo", options, width=2, checkpoints=tmp_path, progress=stop))
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == {1: ["seed0.npz", "seed1.npz"], 4: ["seed0.npz", "seed1.npz"], 7: [], 9: ["seed2.npz"]}[at]
    resumed = together(options, width=2, checkpoints=tmp_path)
    assert not list(tmp_path.iterdir())
    for i, result in resumed.items():
        assert same_network(result, straight[i], 1e-4)
        np.testing.assert_allclose(result.losses, straight[i].losses, rtol=1e-4)
        assert [look.step for look in result.looks] == [3, 6]


def test_a_batch_that_is_left_early_leaves_checkpoints_that_train_can_go_on_from(tmp_path):
    options = [
        replace(SMALL, seed=0, max_steps=2),
        replace(SMALL, seed=1, max_steps=2),
        replace(SMALL, seed=2, max_steps=2),
    ]
    results = train_many("go-nogo", options, width=1, checkpoints=tmp_path)
    next(results)
    next(results)
    results.close()
    assert not list(tmp_path.iterdir())  # between two networks there is none in the batch
    longer = [replace(o, max_steps=4) for o in options[:1]]
    stopped = train_many("go-nogo", longer, checkpoints=tmp_path, progress=_stop_at(3))
    with pytest.raises(KeyboardInterrupt):
        next(stopped)
    alone = train("go-nogo", longer[0], checkpoint=tmp_path / "seed0.npz", resume=True)
    assert same_network(alone, train("go-nogo", longer[0]), 1e-3)


def _stop_at(step: int) -> Any:
    def callback(progress: ManyProgress) -> None:
        if progress.steps == step:
            raise KeyboardInterrupt

    return callback


def test_the_checkpoint_of_another_batch_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        together([SMALL], checkpoints=tmp_path, progress=_stop_at(2))
    with pytest.raises(SpikeportError, match="batch: 3 in the checkpoint, 4 asked for"):
        together([replace(SMALL, batch=4)], checkpoints=tmp_path)
    with pytest.raises(SpikeportError, match="does not exist"):
        together([SMALL], checkpoints=tmp_path / "nowhere")


def test_no_networks_are_no_results():
    assert together([]) == {}


def test_other_tasks_train_in_batches_too():
    options = seeds(replace(SMALL, max_steps=2), 2)
    results = dict(train_many(get_task("integration"), options))
    assert results[0].network.n_inputs == 4
    assert same_network(results[0], train("integration", options[0]), 1e-3)


def test_equal_bounds_fix_every_time_constant():
    fixed = replace(SMALL, tau_bounds=(0.020, 0.020))
    for result in (train("go-nogo", fixed), together([fixed])[0]):
        np.testing.assert_allclose(result.network.tau, 0.020, rtol=1e-6)
        assert result.losses[-1] != result.losses[0]
        assert np.isfinite(result.network.w_rec).all()
    assert initial_network(fixed, 1, 1)[1]["tau_raw"].std() > 0


def test_batches_that_cannot_be_one_are_refused():
    with pytest.raises(
        SpikeportError, match=r"(?s)differ in more than their seed.*phi: 'relu', 'sigmoid'.*batch: 3, 4"
    ):
        train_many("go-nogo", [SMALL, replace(SMALL, batch=4, phi="relu")])
    with pytest.raises(SpikeportError, match="0 networks at once, must be 1 or more"):
        train_many("go-nogo", [SMALL], width=0)
    with pytest.raises(SpikeportError, match="n_neurons: 1"):
        train_many("go-nogo", [replace(SMALL, n_neurons=1)])
    with pytest.raises(SpikeportError, match="device 'abacus' cannot be used"):
        train_many("go-nogo", [SMALL], device="abacus")


@pytest.mark.gpu
def test_a_gpu_trains_the_networks_of_the_cpu():
    options = seeds(SMALL, 3)
    cpu, cuda = together(options), together(options, device="cuda")
    assert all(same_network(cpu[i], cuda[i], 1e-3) for i in range(3))
