"""Training runs: the laws that hold throughout, stopping, resuming, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from require import need

from spikeport.snn.errors import MissingDependencyError, SpikeportError, UnsupportedError
from spikeport.snn.tasks import GoNoGo, get_task, save_trials
from spikeport.snn.training import (
    TrainingInterrupted,
    TrainingOptions,
    TrainingProgress,
    TrainingResult,
    run,
    train,
)
from spikeport.snn.training.data import draw_trials
from spikeport.snn.training.initial import initial_network

torch = need("torch", resource="train")
from spikeport.snn.training import bptt  # noqa: E402  # after the check that torch is there

SMALL = TrainingOptions(n_neurons=24, batch=4, max_steps=6, look_every=3, look_trials=5, test_trials=20, seed=7)
ARRAYS = ("tau", "w_rec", "w_in", "w_out", "b_rec", "b_out")


def same_network(a: TrainingResult, b: TrainingResult) -> bool:
    assert a.network.n_neurons == b.network.n_neurons
    return all(np.array_equal(getattr(a.network, name), getattr(b.network, name)) for name in ARRAYS)


def stop_at(step: int) -> Any:
    """A progress callback that is Ctrl-C after so many steps."""

    def callback(progress: TrainingProgress) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    return callback


# ---------------------------------------------------------------- laws that hold before and after training


@pytest.fixture(scope="module")
def trained() -> TrainingResult:
    """Thirty steps at a rate that would break any law that were not held by construction."""
    options = TrainingOptions(
        n_neurons=40,
        batch=4,
        max_steps=30,
        learning_rate=0.1,
        tau_bounds=(0.03, 0.05),
        look_every=15,
        test_trials=20,
        n_som=3,
    )
    return train("go-nogo", options)


def test_dale_every_unit_excites_or_inhibits_and_never_both(trained):
    w, inh = trained.network.w_rec, trained.network.labels["inh"]
    assert (w[:, ~inh] >= 0).all()
    assert (w[:, inh] <= 0).all()
    assert w[:, ~inh].any()
    assert w[:, inh].any()
    assert np.array_equal(trained.network.labels["exc"], ~inh)


def test_som_units_are_inhibitory_and_receive_no_inhibition(trained):
    labels = trained.network.labels
    assert labels["som"].sum() == 3
    assert labels["inh"][labels["som"]].all()
    assert not trained.network.w_rec[np.ix_(labels["som"], labels["inh"])].any()
    others = labels["inh"] & ~labels["som"]
    assert trained.network.w_rec[np.ix_(~labels["som"], labels["som"])].any()
    assert trained.network.w_rec[np.ix_(others, labels["inh"])].any()


def test_tau_stays_within_its_bounds_and_is_trained(trained):
    tau = trained.network.tau
    assert (tau > 0.03).all()
    assert (tau < 0.05).all()
    first = initial_network(TrainingOptions(n_neurons=40, n_som=3), 1, 1)[1]["tau_raw"]
    assert not np.allclose(tau, 0.02 / (1 + np.exp(-first)) + 0.03)


def test_no_connection_grows_where_there_was_none(trained):
    fixed, first = initial_network(TrainingOptions(n_neurons=40, n_som=3), 1, 1)
    assert not trained.network.w_rec[first["w"] == 0].any()
    assert np.array_equal(trained.network.w_in, fixed.w_in)


@pytest.mark.parametrize(
    ("weights", "mean"), [("normal", 1.5 / np.sqrt(400 * 0.2) * np.sqrt(2 / np.pi)), ("gamma", 0.006)]
)
def test_first_weights_are_sparse_and_of_the_published_size(weights, mean):
    fixed, first = initial_network(TrainingOptions(n_neurons=400, weights=weights), 2, 1)
    w = first["w"]
    assert (w >= 0).all()
    assert (w > 0).mean() == pytest.approx(0.2, abs=4 * np.sqrt(0.2 * 0.8 / 400**2))
    assert w[w > 0].mean() == pytest.approx(mean, rel=0.03)
    assert (fixed.sign < 0).mean() == pytest.approx(0.2, abs=4 * np.sqrt(0.2 * 0.8 / 400))
    assert (fixed.w_in.shape, fixed.som.sum()) == ((400, 2), 40)


# ---------------------------------------------------------------- runs


def test_a_seed_gives_the_same_network_bit_for_bit_and_another_seed_another():
    assert same_network(train("go-nogo", SMALL), train(GoNoGo(), SMALL))
    assert not same_network(train("go-nogo", SMALL), train("go-nogo", replace(SMALL, seed=8)))


@pytest.mark.parametrize("at", [1, 4])
def test_a_run_that_is_interrupted_and_resumed_ends_bit_for_bit_as_if_it_had_not_been(tmp_path, at):
    straight = train("go-nogo", SMALL)
    path = tmp_path / "run.npz"
    with pytest.raises(TrainingInterrupted, match=f"stopped after {at} steps; go on with --resume") as caught:
        train("go-nogo", SMALL, checkpoint=path, progress=stop_at(at))
    assert (caught.value.result.interrupted, caught.value.result.steps) == (True, at)
    resumed = train("go-nogo", SMALL, checkpoint=path, resume=True)
    assert same_network(resumed, straight)
    assert resumed.steps == straight.steps
    assert np.array_equal(resumed.losses, straight.losses)
    assert resumed.looks == straight.looks
    assert resumed.accuracy == straight.accuracy


def test_a_resume_may_go_on_for_longer(tmp_path):
    train("go-nogo", SMALL, checkpoint=tmp_path / "run.npz")
    longer = replace(SMALL, max_steps=8)
    assert same_network(
        train("go-nogo", longer, checkpoint=tmp_path / "run.npz", resume=True), train("go-nogo", longer)
    )


def test_an_interrupt_between_the_parts_of_a_step_leaves_the_last_whole_step(tmp_path, monkeypatch):
    straight = train("go-nogo", SMALL)
    whole, calls = bptt.step_adam, []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls.append(whole(*args, **kwargs))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return calls[-1]

    monkeypatch.setattr(bptt, "step_adam", interrupted)
    with pytest.raises(TrainingInterrupted, match="stopped after 2 steps"):
        train("go-nogo", SMALL, checkpoint=tmp_path / "run.npz")
    monkeypatch.undo()
    assert same_network(train("go-nogo", SMALL, checkpoint=tmp_path / "run.npz", resume=True), straight)
    assert list(tmp_path.iterdir()) == [tmp_path / "run.npz"]


def test_an_interrupted_script_stops_unless_it_asks_for_the_result():
    with pytest.raises(KeyboardInterrupt, match=r"stopped after 1 steps$"):
        train("go-nogo", SMALL, progress=stop_at(1))


def test_a_checkpoint_of_another_run_is_refused_with_every_difference(tmp_path):
    path = tmp_path / "run.npz"
    train("go-nogo", SMALL, checkpoint=path)
    with pytest.raises(
        SpikeportError, match=r"(?s)another run.*seed: 7 in the checkpoint, 8 asked for.*batch: 4.*5 asked"
    ):
        train("go-nogo", replace(SMALL, seed=8, batch=5), checkpoint=path, resume=True)
    with pytest.raises(SpikeportError, match="task: go-nogo in the checkpoint, xor asked for"):
        train("xor", SMALL, checkpoint=path, resume=True)


def test_a_checkpoint_is_never_overwritten_by_a_new_run(tmp_path):
    (tmp_path / "run.npz").write_bytes(b"precious")
    with pytest.raises(SpikeportError, match="exists already"):
        train("go-nogo", SMALL, checkpoint=tmp_path / "run.npz")
    assert (tmp_path / "run.npz").read_bytes() == b"precious"
    with pytest.raises(SpikeportError, match="does not exist"):
        train("go-nogo", SMALL, checkpoint=tmp_path / "nowhere" / "run.npz")


def test_a_resume_from_nothing_or_from_something_else_is_refused(tmp_path):
    with pytest.raises(SpikeportError, match="no checkpoint there"):
        train("go-nogo", SMALL, checkpoint=tmp_path / "run.npz", resume=True)
    (tmp_path / "run.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(SpikeportError, match="damaged or truncated"):
        train("go-nogo", SMALL, checkpoint=tmp_path / "run.npz", resume=True)
    np.savez(tmp_path / "run.npz", about=np.array('{"kind": "training-checkpoint", "version": 2}'))
    with pytest.raises(SpikeportError, match="version 2, this spikeport resumes kind 'training-checkpoint', version 1"):
        train("go-nogo", SMALL, checkpoint=tmp_path / "run.npz", resume=True)


def test_progress_is_called_after_each_step_with_what_the_result_says():
    seen: list[TrainingProgress] = []
    result = train("go-nogo", SMALL, progress=seen.append)
    assert [p.step for p in seen] == [1, 2, 3, 4, 5, 6]
    assert [p.loss for p in seen] == result.losses.tolist()
    assert [p.accuracy for p in seen] == [None] * 2 + [result.looks[0].accuracy["published"]] * 3 + [
        result.looks[1].accuracy["published"]
    ]
    assert [look.step for look in result.looks] == [3, 6]
    assert not result.converged
    assert set(result.accuracy) == {"published", "strict"}


def test_the_stopping_rule_is_met_at_a_look_and_the_extra_steps_follow():
    easy = replace(SMALL, accuracy_above=0.0, loss_below=1e9, min_trials=0)
    result = train("go-nogo", replace(easy, extra_steps=2))
    looks = [look for look in result.looks if look.accuracy["published"] > 0]
    assert looks  # half of the trials ask for nothing, and some untrained network gives it
    assert (result.converged_at, result.steps) == (looks[0].step, looks[0].step + 2)


def test_go_nogo_trains_for_the_published_1500_trials_at_least(monkeypatch):
    result = train("go-nogo", replace(SMALL, loss_below=1e9, accuracy_above=0.0, max_steps=20, look_every=5))
    assert not result.converged
    monkeypatch.setitem(run.MIN_TRIALS, "go-nogo", 60)
    again = train("go-nogo", replace(SMALL, loss_below=1e9, accuracy_above=0.0, max_steps=20, look_every=5))
    good = [look.step for look in again.looks if look.accuracy["published"] > 0 and look.step * SMALL.batch >= 60]
    assert again.converged_at == (good[0] if good else None)


def test_training_and_looks_and_the_test_share_no_trial():
    task = get_task("integration")
    drawn = [draw_trials(task, SMALL, purpose, 0, 3).inputs for purpose in ("train", "look", "test")]
    drawn.append(task.trials(3, seed=SMALL.seed).inputs)
    for i, a in enumerate(drawn):
        for b in drawn[i + 1 :]:
            assert not np.array_equal(a[:, :, :2], b[:, :, :2])


def test_a_file_of_trials_is_trained_on_four_fifths_each_once_a_round(tmp_path):
    inputs = np.arange(10.0)[None, :, None] * np.ones((8, 10, 1))
    task = save_trials(tmp_path / "t.npz", inputs=inputs, labels=[1, -1] * 5, dt=0.005, window=(0.02, 0.04))
    rounds = [draw_trials(task, SMALL, "train", k, 4).inputs[0, :, 0].tolist() for k in range(4)]
    assert sorted(rounds[0] + rounds[1]) == sorted(rounds[2] + rounds[3]) == [0, 1, 2, 3, 4, 5, 6, 7]
    for purpose in ("look", "test"):
        assert draw_trials(task, SMALL, purpose, 5, 100).inputs[0, :, 0].tolist() == [8, 9]
    result = train(tmp_path / "t.npz", SMALL)
    assert set(result.accuracy) == {"mean", "max", "nearest"}
    assert result.network.provenance["task"] == "t"


def test_bad_options_are_refused_all_at_once():
    bad = TrainingOptions(n_neurons=1, batch=0, tau_bounds=(0.1, 0.02), weights="wild", gain=-1.0)
    with pytest.raises(
        SpikeportError, match=r"(?s)n_neurons: 1.*tau_bounds: 0.1 to 0.02.*weights: 'wild'.*batch: 0.*gain: -1"
    ):
        train("go-nogo", bad)
    with pytest.raises(SpikeportError, match=r"above the task's step of 0\.005 s"):
        train("go-nogo", TrainingOptions(tau_bounds=(0.001, 0.02)))
    with pytest.raises(UnsupportedError, match="'tanh' is signed"):
        train("go-nogo", TrainingOptions(phi="tanh"))


def test_without_torch_the_refusal_ends_with_the_line_that_brings_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "spikeport.snn.training.bptt")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r'needs torch(?s:.*)pip install "spikeport\[train\]"$'):
        train("go-nogo", SMALL)


def test_importing_the_package_imports_no_torch():
    code = "import sys, spikeport.snn.training, spikeport.snn.tasks; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_small_network_learns_a_users_own_task_in_seconds(tmp_path):
    labels = np.resize([1, -1, -1, 1], 50)
    inputs = np.zeros((40, 50, 1))
    inputs[5:15, :, 0] = labels
    task = save_trials(tmp_path / "hold.h5", inputs=inputs, labels=labels, dt=0.005, window=(0.1, 0.2))
    result = train(
        task, TrainingOptions(n_neurons=20, batch=8, max_steps=150, learning_rate=0.03, tau_bounds=(0.02, 0.1))
    )
    assert result.accuracy["mean"] == 1.0
    assert result.losses[-10:].mean() < 0.5 * result.losses[:10].mean()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "batch", "max_steps"), [("go-nogo", 16, 400), ("xor", 32, 1500), ("integration", 16, 1000)]
)
def test_each_published_task_trains_at_200_units_to_the_published_stopping_rule(name, batch, max_steps):
    result = train(name, TrainingOptions(batch=batch, max_steps=max_steps, extra_steps=150))
    assert result.converged
    assert all(accuracy > 0.95 for accuracy in result.accuracy.values())


def test_provenance_says_what_made_the_network(tmp_path: Path):
    result = train("go-nogo", SMALL)
    found = result.network.provenance
    assert found["options"]["seed"] == 7
    assert found["steps"] == 6
    assert found["test_accuracy"] == result.accuracy
    assert set(found["versions"]) == {"python", "spikeport", "torch", "numpy"}
