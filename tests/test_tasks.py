"""The tasks: what a trial is, who is right by which rule, and a user's own file of trials."""

from __future__ import annotations

import os
import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.snn.errors import InvalidNetworkError, SpikeportError
from spikeport.snn.tasks import TASKS, GoNoGo, Task, Trials, get_task, load_trials, save_trials
from spikeport.snn.tasks.from_file import FileTask

FINE = 0.05e-3  # s: the published step of spiking outputs
every_task = pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
every_kind = pytest.mark.parametrize("kind", ["rate", "spiking"])
two_sided = pytest.mark.parametrize("name", ["xor", "integration"])


def held(task: Task, trials: Trials, dt: float) -> Any:
    """The targets as outputs at `dt`: each sample repeated."""
    assert round(trials.dt / dt) >= 1
    return np.repeat(trials.targets, round(trials.dt / dt), axis=0)


# ---------------------------------------------------------------- trials


@every_task
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**40), first=st.integers(0, 2**31), n=st.integers(1, 4), cut=st.integers(0, 3))
def test_a_trial_depends_on_its_seed_and_index_and_on_no_batch(task, seed, first, n, cut):
    whole = task.trials(n, seed=seed, first=first)
    part = task.trials(n - min(cut, n - 1), seed=seed, first=first + min(cut, n - 1))
    for name in ("inputs", "targets"):
        assert np.array_equal(getattr(whole, name)[:, min(cut, n - 1) :], getattr(part, name))
    assert np.array_equal(whole.labels[min(cut, n - 1) :], part.labels)
    assert part.first == first + min(cut, n - 1)


@every_task
def test_a_task_satisfies_the_protocol_and_its_trials_have_the_declared_shapes(task):
    trials = task.trials(7, seed=1)
    assert isinstance(task, Task)
    assert trials.inputs.shape == (task.n_samples, 7, task.n_inputs)
    assert trials.targets.shape == (task.n_samples, 7, task.n_outputs)
    assert (trials.labels.shape, trials.dt, trials.n_trials) == ((7,), task.dt, 7)


@every_task
def test_a_task_is_frozen_and_survives_a_process_border(task):
    with pytest.raises(FrozenInstanceError, match="assign"):
        task.dt = 1.0
    assert pickle.loads(pickle.dumps(task)) == task


@every_task
def test_classes_are_drawn_with_probability_one_half(task):
    labels = task.trials(2000, seed=0).labels
    assert abs(np.mean(labels == labels.max()) - 0.5) < 4 * 0.5 / np.sqrt(2000)


@every_task
def test_other_seeds_give_other_trials(task):
    a, b = (task.trials(64, seed=seed).inputs for seed in (0, 1))
    assert not np.array_equal(a, b)


def test_go_nogo_is_a_pulse_and_the_answer_that_follows_it():
    trials = get_task("go-nogo").trials(20, seed=0)
    go = trials.labels.astype(float)
    time = np.arange(200)
    assert np.array_equal(trials.inputs[:, :, 0], np.outer((time >= 50) & (time < 75), go))
    assert np.array_equal(trials.targets[:, :, 0], np.outer(time >= 75, go))


def test_xor_answers_the_product_of_two_signs():
    trials = get_task("xor").trials(40, seed=0)
    first, second = trials.inputs[50, :, 0], trials.inputs[110, :, 1]
    assert {(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)} == set(zip(first, second, strict=True))
    assert np.array_equal(trials.labels, first * second)
    time = np.arange(300)
    assert np.array_equal(trials.inputs[:, :, 0], np.outer((time >= 50) & (time < 100), first))
    assert np.array_equal(trials.inputs[:, :, 1], np.outer((time >= 110) & (time < 160), second))
    assert np.array_equal(trials.targets[:, :, 0], np.outer((time >= 170) & (time < 270), first * second))


def test_integration_names_one_channel_whose_true_mean_is_the_answer():
    trials = get_task("integration").trials(400, seed=0)
    context = trials.inputs[:, :, 2:]
    assert np.array_equal(context, np.broadcast_to(context[0], context.shape))
    assert np.array_equal(context.sum(axis=2), np.ones((500, 400)))
    named = context[0].argmax(axis=1)
    assert set(named) == {0, 1}
    stimulus = trials.inputs[50:250, :, :2]
    means = np.take_along_axis(stimulus.mean(axis=0), named[:, None], axis=1)[:, 0]
    # 0.5 is 7 standard errors of a mean of 200 samples: its sign is the label's on each of 400 trials
    assert np.array_equal(np.sign(means), trials.labels)
    assert abs(np.abs(means).mean() - 0.5) < 5 / np.sqrt(200 * 400)
    assert abs(stimulus.std(axis=0).mean() - 1) < 0.01
    assert not trials.inputs[:50, :, :2].any()
    assert not trials.inputs[250:, :, :2].any()
    assert np.array_equal(trials.targets[:, :, 0], np.outer(np.arange(500) >= 250, trials.labels))


def test_the_other_channel_of_integration_says_nothing_about_the_answer():
    trials = get_task("integration").trials(2000, seed=5)
    other = 1 - trials.inputs[0, :, 2:].argmax(axis=1)
    means = np.take_along_axis(trials.inputs[50:250, :, :2].mean(axis=0), other[:, None], axis=1)[:, 0]
    assert abs(np.mean(np.sign(means) == trials.labels) - 0.5) < 4 * 0.5 / np.sqrt(2000)


@pytest.mark.parametrize(
    ("n", "seed", "first", "what"),
    [(0, 0, 0, "number of trials: 0"), (1, -1, 0, "seed: -1"), (1, 0, -3, "first trial: -3")],
)
@every_task
def test_a_request_for_no_trials_is_refused(task, n, seed, first, what):
    with pytest.raises(SpikeportError, match=what):
        task.trials(n, seed=seed, first=first)


# ---------------------------------------------------------------- verdicts


@every_task
@every_kind
@pytest.mark.parametrize("dt", [5e-3, 1e-3, FINE])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_target_itself_is_right_and_its_negative_wrong_at_any_dt(task, kind, dt, dtype):
    trials = task.trials(12, seed=2)
    outputs = held(task, trials, dt).astype(dtype)
    for rule in task.rules:
        assert task.judge(outputs, trials, dt=dt, kind=kind, rule=rule).all()
        answered = trials.labels != 0  # minus nothing is nothing
        assert not task.judge(-outputs, trials, dt=dt, kind=kind, rule=rule)[answered].any()


@every_task
@every_kind
@settings(max_examples=30, deadline=None)
@given(level=st.floats(-2, 2), seed=st.integers(0, 1000))
def test_no_constant_output_is_right_for_both_classes_under_the_strict_rule(task, kind, level, seed):
    trials = task.trials(16, seed=seed)
    outputs = np.full((task.n_samples, 16, 1), level)
    right = task.judge(outputs, trials, dt=task.dt, kind=kind, rule="strict")
    assert len(set(trials.labels[right])) <= 1


@two_sided
@every_kind
def test_an_output_that_swings_both_ways_passes_the_published_rule_on_every_trial_and_the_strict_one_on_none(
    name, kind
):
    task = get_task(name)
    trials = task.trials(200, seed=3)
    swing = np.sin(np.arange(task.n_samples) * 2 * np.pi / 10)[:, None, None] * np.ones((1, 200, 1))
    assert task.judge(swing, trials, dt=task.dt, kind=kind, rule="published").all()
    assert not task.judge(swing, trials, dt=task.dt, kind=kind, rule="strict").any()
    assert task.rules[0] == "strict"


def test_swinging_cannot_meet_the_published_rule_of_go_nogo():
    task = get_task("go-nogo")
    trials = task.trials(200, seed=3)
    swing = np.sin(np.arange(200) * 2 * np.pi / 10)[:, None, None] * np.ones((1, 200, 1))
    right = task.judge(swing, trials, dt=task.dt, kind="rate", rule=task.rules[0])
    assert np.array_equal(right, trials.labels == 1)
    assert task.rules[0] == "published"


@pytest.mark.parametrize(
    ("name", "kind", "rule", "step", "dt"),
    [
        ("go-nogo", "rate", "published", 75, 5e-3),
        ("go-nogo", "spiking", "published", 10_000, FINE),
        ("xor", "rate", "published", 200, 5e-3),
        ("xor", "spiking", "published", 20_000, FINE),
        ("integration", "rate", "published", 300, 5e-3),
        ("integration", "spiking", "published", 26_000, FINE),
    ],
)
def test_the_published_window_begins_at_the_published_step(name, kind, rule, step, dt):
    task = get_task(name)
    trials = task.trials(8, seed=0)
    answered = trials.labels != 0
    outputs = np.zeros((round(task.n_samples * task.dt / dt), 8, 1))
    outputs[step - 1] = trials.labels[:, None]
    assert not task.judge(outputs, trials, dt=dt, kind=kind, rule=rule)[answered].any()
    outputs[step] = trials.labels[:, None]
    assert task.judge(outputs, trials, dt=dt, kind=kind, rule=rule).all()


def test_the_strict_window_of_xor_ends_with_its_target():
    task = get_task("xor")
    trials = task.trials(30, seed=0)
    outputs = np.zeros((300, 30, 1))
    outputs[200:270, :, 0] = trials.labels
    outputs[270:, :, 0] = -100.0 * trials.labels
    assert task.judge(outputs, trials, dt=task.dt, kind="rate", rule="strict").all()


def test_the_published_rules_of_go_nogo_differ_below_zero_only():
    task = get_task("go-nogo")
    trials = task.trials(30, seed=0)
    nogo = trials.labels == 0
    low = np.full((200, 30, 1), -0.4)
    assert task.judge(low, trials, dt=task.dt, kind="spiking", rule="published")[nogo].all()
    assert not task.judge(low, trials, dt=task.dt, kind="rate", rule="published").any()
    assert not task.judge(-low, trials, dt=task.dt, kind="spiking", rule="published").any()


@every_task
@every_kind
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("step", [0, -1])
def test_an_output_that_blew_up_is_never_right(task, kind, bad, step):
    trials = task.trials(10, seed=0)
    outputs = trials.targets.copy()
    outputs[step, 3] = bad
    for rule in task.rules:
        right = task.judge(outputs, trials, dt=task.dt, kind=kind, rule=rule)
        assert np.array_equal(right, np.arange(10) != 3)


def test_the_rate_rule_agrees_with_the_published_evaluation_on_the_published_outputs(shared_data):
    stored = scipy.io.loadmat(shared_data / "kim" / "go_nogo_n200.mat")
    outputs, labels = stored["eval_os"].T[:, :, None], stored["eval_labels"][0].astype(np.int64)
    n = len(labels)
    task = GoNoGo()
    trials = Trials(inputs=np.zeros((200, n, 1)), targets=np.zeros((200, n, 1)), labels=labels, dt=task.dt)
    right = task.judge(outputs, trials, dt=task.dt, kind="rate", rule="published")
    assert right.mean() == stored["eval_perf_mean"].item()


@every_task
def test_outputs_that_cannot_be_judged_are_refused_with_every_reason(task):
    trials = task.trials(3, seed=0)
    good = trials.targets
    with pytest.raises(
        SpikeportError, match=r"(?s)rule 'loose'.*published.*kind 'lava'.*dt: 0 s.*outputs: shape \(5, 2\)"
    ):
        task.judge(np.zeros((5, 2)), trials, dt=0, kind="lava", rule="loose")
    with pytest.raises(SpikeportError, match=r"must be \(time, 3, 1\)"):
        task.judge(good[:, :2], trials, dt=task.dt, kind="rate", rule="strict")
    with pytest.raises(SpikeportError, match=r"outputs: 10 steps of 0.005 s, the window begins at"):
        task.judge(good[:10], trials, dt=task.dt, kind="rate", rule="strict")


def test_an_unknown_task_is_refused_with_the_known_ones_and_the_nearest():
    with pytest.raises(SpikeportError, match=r"(?s)'go_nogoo' is unknown.*go-nogo, xor, integration.*--task go-nogo"):
        get_task("go_nogoo")
    with pytest.raises(SpikeportError, match=r"(?s)'chess' is unknown.*--task FILE"):
        get_task("chess")


# ---------------------------------------------------------------- a user's own file


def sine_file(path: Path, **changes: Any) -> FileTask:
    """A file of 6 trials of 20 samples: three classes of a sine, two inputs, one output."""
    time = np.arange(20) / 20
    classes = np.array([0, 1, 2, 0, 1, 2])
    targets = np.sin(2 * np.pi * time[:, None] + 2 * np.pi * classes / 3)[:, :, None]
    inputs = np.random.default_rng(0).standard_normal((20, 6, 2))
    arrays = {"inputs": inputs, "targets": targets, "labels": classes}
    task = save_trials(path, **{**arrays, "dt": 0.01, "window": (0.05, 0.15), "rule": "nearest", **changes})
    assert task.n_trials == 6
    return task


def level_file(path: Path, rule: str = "mean") -> FileTask:
    """A file of 4 trials whose labels are the target levels: 2, -2, 0, 1."""
    task = save_trials(path, inputs=np.zeros((10, 4, 1)), labels=[2, -2, 0, 1], dt=0.1, window=(0.5, 1.0), rule=rule)
    assert task.rules[0] == rule
    return task


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_a_file_of_trials_survives_a_round_trip_bit_for_bit(tmp_path, suffix):
    written = sine_file(tmp_path / f"mine{suffix}", name="sines")
    read = get_task(tmp_path / f"mine{suffix}")
    assert isinstance(read, FileTask)
    assert isinstance(read, Task)
    for name in ("inputs", "targets", "labels"):
        assert np.array_equal(getattr(read, name), getattr(written, name))
    assert (read.name, read.dt, read.window, read.rules) == ("sines", 0.01, written.window, ("nearest", "max", "mean"))
    assert (read.n_samples, read.n_trials, read.n_inputs, read.n_outputs) == (20, 6, 2, 1)


def test_one_call_of_savez_makes_a_file_of_trials(tmp_path):
    arrays = {"inputs": np.zeros((5, 2, 1)), "labels": np.array([1, -1])}
    np.savez(tmp_path / "plain.npz", dt=0.1, window_start=0.2, window_end=0.5, rule="mean", **arrays)
    task = load_trials(tmp_path / "plain.npz")
    assert task.name == "plain"
    assert np.array_equal(task.targets[2:, :, 0], [[1, -1]] * 3)
    assert np.isnan(task.targets[:2]).all()


def test_row_i_of_the_file_is_trial_i_and_none_is_used_twice(tmp_path):
    task = sine_file(tmp_path / "mine.h5")
    for seed in (0, 9):
        trials = task.trials(2, seed=seed, first=3)
        assert np.array_equal(trials.inputs, task.inputs[:, 3:5])
        assert np.array_equal(trials.labels, [0, 1])
    with pytest.raises(SpikeportError, match=r"trials 4 to 6 asked for, the file has 6 \(0 to 5\)"):
        task.trials(3, seed=0, first=4)


@pytest.mark.parametrize("rule", ["max", "mean", "nearest"])
@pytest.mark.parametrize("dt", [0.1, 0.01, 0.03])
def test_each_rule_accepts_the_target_and_refuses_another_trials_target(tmp_path, rule, dt):
    task = level_file(tmp_path / "levels.h5", rule)
    trials = task.trials(4, seed=0)
    n_steps = round(1.0 / dt)
    levels = trials.targets[-1, :, 0]
    own = np.broadcast_to(levels[None, :, None], (n_steps, 4, 1))
    assert task.judge(own, trials, dt=dt, kind="spiking", rule=rule).all()
    for shift in (1, 2, 3):
        other = np.roll(levels, shift)
        right = task.judge(np.broadcast_to(other[None, :, None], own.shape), trials, dt=dt, kind="rate", rule=rule)
        # "max" and "mean" look at the sign and half the size: 2 is good enough where 1 was asked
        good_enough = (np.sign(levels) == np.sign(other)) & (np.abs(other) > 0.7 * np.abs(levels))
        assert np.array_equal(right, np.zeros(4, bool) if rule == "nearest" else good_enough)


def test_the_rule_mean_is_half_the_level_and_max_the_published_share_of_it(tmp_path):
    task = level_file(tmp_path / "levels.h5")
    trials = task.trials(4, seed=0)  # levels 2, -2, 0, 1
    for rule, at in (("mean", [1.0, -1.0, 1.0, 0.5]), ("max", [1.4, -1.4, 0.6, 0.7])):
        for factor, expected in ((0.99, [False, False, True, False]), (1.01, [True, True, False, True])):
            outputs = np.broadcast_to(factor * np.array(at)[None, :, None], (10, 4, 1))
            assert task.judge(outputs, trials, dt=0.1, kind="rate", rule=rule).tolist() == expected


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), per_sample=st.integers(1, 7))
def test_nearest_is_the_smallest_squared_distance_in_the_window(tmp_path_factory, seed, per_sample):
    rng = np.random.default_rng(seed)
    targets = rng.standard_normal((8, 5, 2))
    folder = tmp_path_factory.mktemp("nearest")
    inputs = np.zeros((8, 5, 1))
    task = save_trials(folder / "t.npz", inputs=inputs, targets=targets, dt=0.1, window=(0.2, 0.7), rule="nearest")
    outputs = rng.standard_normal((8 * per_sample, 5, 2))
    fine = np.repeat(targets, per_sample, axis=0)[2 * per_sample : 7 * per_sample]
    seen = outputs[2 * per_sample : 7 * per_sample]
    distance = ((seen[:, :, None] - fine[:, None]) ** 2).sum(
        axis=(0, 3)
    )  # brute force: (output of trial, target of trial)
    right = task.judge(outputs, task.trials(5, seed=0), dt=0.1 / per_sample, kind="rate", rule="nearest")
    assert np.array_equal(right, distance.argmin(axis=1) == np.arange(5))


def test_an_infinite_output_is_wrong_by_every_rule_of_a_file(tmp_path):
    task = level_file(tmp_path / "levels.h5")
    trials = task.trials(4, seed=0)
    outputs = np.nan_to_num(trials.targets)
    outputs[7, 1] = np.inf
    for rule in task.rules:
        assert task.judge(outputs, trials, dt=0.1, kind="rate", rule=rule).tolist() == [True, False, True, True]


BAD = {
    "nan in inputs": (
        {"inputs": np.full((20, 6, 2), np.nan)},
        r"inputs: 240 values are NaN or infinite, the first at \(0, 0, 0\)",
    ),
    "flat inputs": ({"inputs": np.zeros((20, 6))}, r"inputs: shape \(20, 6\), must be \(time, trials, n_inputs\)"),
    "no samples": ({"inputs": np.zeros((0, 6, 2))}, "each 1 or more"),
    "targets of another length": (
        {"targets": np.zeros((19, 6, 1))},
        r"targets: shape \(19, 6, 1\), must be \(20, 6, n_outputs\)",
    ),
    "infinite targets": ({"targets": np.full((20, 6, 1), np.inf)}, "targets: infinite values"),
    "nan in the window": ({"targets": np.full((20, 6, 1), np.nan)}, "targets: not a number in the window of 6 trials"),
    "labels of another length": ({"labels": [1, 2]}, r"labels: shape \(2,\), must be \(6,\)"),
    "fractional labels": ({"labels": [0.5] * 6}, "labels: float64, must be an array of whole numbers"),
    "text": ({"inputs": np.full((20, 6, 2), "x")}, "inputs: <U1, must be an array of numbers"),
    "neither": ({"targets": None, "labels": None}, "targets, labels: both missing"),
    "no time": ({"dt": 0.0}, "dt: 0.0 s, must be positive"),
    "late window": ({"window": (0.1, 0.3)}, "window: 0.1 to 0.3 s, must lie in 0 to 0.2 s"),
    "empty window": ({"window": (0.1, 0.1)}, "window: 0.1 to 0.1 s"),
    "window between samples": ({"window": (0.1, 0.101)}, "must hold a sample of 0.01 s"),
    "unknown rule": ({"rule": "fair"}, "rule: 'fair', must be one of max, mean, nearest"),
    "no level": (
        {"targets": np.zeros((20, 6, 1)), "rule": "mean"},
        "rule 'mean' can tell nothing: the target of output 0",
    ),
    "no choice": ({"targets": np.ones((20, 6, 1))}, "rule 'nearest' can tell nothing: every trial has the same target"),
}


@pytest.mark.parametrize(("changes", "what"), BAD.values(), ids=list(BAD))
def test_a_file_that_contradicts_itself_is_refused_before_anything_is_written(tmp_path, changes, what):
    with pytest.raises(InvalidNetworkError, match=what):
        sine_file(tmp_path / "mine.h5", **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_file_is_refused_with_every_problem_at_once(tmp_path):
    with pytest.raises(InvalidNetworkError, match=r"(?s)inputs: 240 values.*targets: shape.*labels: shape.*window: "):
        sine_file(
            tmp_path / "mine.h5",
            inputs=np.full((20, 6, 2), np.nan),
            targets=np.zeros((1, 1, 1)),
            labels=[1],
            window=(3.0, 4.0),
        )


def test_a_newer_version_is_refused(tmp_path):
    sine_file(tmp_path / "mine.h5")
    with h5py.File(tmp_path / "mine.h5", "a") as file:
        file.attrs["version"] = 2
    with pytest.raises(InvalidNetworkError, match="version 2"):
        load_trials(tmp_path / "mine.h5")
    sine_file(tmp_path / "mine.npz")
    with np.load(tmp_path / "mine.npz") as file:
        arrays = {**file, "version": np.array(2)}
    np.savez(tmp_path / "newer.npz", **arrays)
    with pytest.raises(InvalidNetworkError, match="version 2; this spikeport reads up to version 1"):
        load_trials(tmp_path / "newer.npz")
    np.savez(tmp_path / "other.npz", **{**arrays, "kind": np.array("recording")})
    with pytest.raises(InvalidNetworkError, match="kind 'recording', must be 'trials'"):
        load_trials(tmp_path / "other.npz")


class Trap:
    """An object whose unpickling would make a folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("entry", ["labels", "rule"])
def test_pickled_objects_are_refused_and_never_loaded(tmp_path, monkeypatch, entry):
    monkeypatch.chdir(tmp_path)
    trap = np.array([Trap()], dtype=object)
    np.savez("trap.npz", **{"inputs": np.zeros((2, 1, 1)), entry: trap})
    with pytest.raises(InvalidNetworkError, match="pickled Python objects"):
        load_trials("trap.npz")
    assert not Path("sprung").exists()


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
@pytest.mark.parametrize("content", [b"", b"not a file of trials at all", b"PK\x03\x04 cut", b"\x89HDF\r\n\x1a\n cut"])
def test_a_damaged_file_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with pytest.raises(InvalidNetworkError, match="damaged"):
        get_task(path)


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_a_truncated_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    sine_file(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InvalidNetworkError, match="mine"):
        get_task(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(SpikeportError, match="no such file"):
        get_task(tmp_path / "missing.npz")
    with pytest.raises(SpikeportError, match="no such file"):
        get_task(tmp_path / "missing.h5")


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_an_existing_file_stays_as_it_was_unless_overwriting_is_asked_for(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(b"precious")
    with pytest.raises(SpikeportError, match="exists already"):
        sine_file(path)
    assert path.read_bytes() == b"precious"
    sine_file(path, overwrite=True)
    assert load_trials(path).n_trials == 6
    assert list(tmp_path.iterdir()) == [path]
