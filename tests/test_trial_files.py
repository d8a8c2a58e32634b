"""A user's own task: its file of trials, its rules, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.snn.errors import InvalidNetworkError, SpikeportError
from spikeport.snn.tasks import Task, get_task, load_trials, save_trials
from spikeport.snn.tasks.from_file import FileTask


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
