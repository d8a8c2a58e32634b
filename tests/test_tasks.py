"""The published tasks: what a trial is, and who is right by which rule."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.snn.errors import SpikeportError
from spikeport.snn.tasks import TASKS, GoNoGo, Task, Trials, get_task

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
