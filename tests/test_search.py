"""The search over lambda and the conversion around it: what they measure, on which trials, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import DT, follower, write_trials

from spikeport.convert import conversion, search
from spikeport.convert.conversion import Conversion, convert_network, rate_accuracy
from spikeport.convert.evaluate import evaluate, squared_distance
from spikeport.convert.search import SearchInterrupted
from spikeport.convert.transfer import transfer
from spikeport.snn import engine
from spikeport.snn.errors import SpikeportError
from spikeport.snn.rate import simulate_rate
from spikeport.snn.tasks import FileTask, GoNoGo, Trials

GRID = "20:140:20"


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> FileTask:
    return write_trials(tmp_path_factory.mktemp("trials") / "steps.h5", n=40)


def converted(task: Any, **changes: Any) -> Conversion:
    over = {} if "bracket" in changes else {"grid": GRID}
    return convert_network(follower(), task, **{**over, "dt": DT, "n_jobs": 2, **changes})


def answer(found: Conversion) -> dict[str, Any]:
    """Everything that was found but the time that it took."""
    return {name: value for name, value in found.as_dict().items() if "seconds" not in name}


class Spy:
    """A task that notes which trials it was asked for."""

    def __init__(self, task: Any) -> None:
        self.task, self.asked = task, list[tuple[int, int]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def trials(self, n: int, *, seed: int, first: int = 0) -> Trials:
        self.asked.append((first, n))
        return self.task.trials(n, seed=seed, first=first)

    def numbers(self) -> set[int]:
        return {i for first, n in self.asked for i in range(first, first + n)}


def stop_after(calls: int, what: str = "search") -> Callable[[int, int, str], None]:
    """A progress callback that is Ctrl-C at its n-th call of that kind."""
    seen = [0]

    def callback(done: int, total: int, kind: str) -> None:
        seen[0] += kind == what
        if seen[0] == calls:
            raise KeyboardInterrupt

    return callback


# The same answer however the work is cut


@pytest.mark.parametrize("objective", ["accuracy", "distance"])
@pytest.mark.parametrize(("n_jobs", "chunk"), [(1, 1), (2, 3), (3, 7)])
def test_the_answer_does_not_depend_on_threads_or_chunks(
    task: FileTask, monkeypatch: pytest.MonkeyPatch, objective: str, n_jobs: int, chunk: int
) -> None:
    expected = answer(converted(task, objective=objective, n_jobs=1))
    monkeypatch.setattr(search, "CHUNK", chunk)
    assert answer(converted(task, objective=objective, n_jobs=n_jobs)) == expected


def test_another_seed_gives_another_answer(task: FileTask) -> None:
    assert answer(converted(task, seed=1))["mean_rate_hz"] != answer(converted(task, seed=0))["mean_rate_hz"]


def test_a_candidate_does_not_depend_on_the_rest_of_the_grid(task: FileTask) -> None:
    full = {c.inverse_lambda: c for c in converted(task).search}
    for values in ((60.0,), (20.0, 100.0)):
        assert converted(task, grid=values).search == tuple(full[v] for v in values)


def test_every_candidate_sees_the_same_trials_and_noise(task: FileTask) -> None:
    """Two candidates of one lambda are one candidate, trial by trial."""
    network = transfer(follower(), 60, dt=DT)
    part = evaluate([network, network], task, seed=0, first=0, n=10, dtype="float32", source=follower())
    assert part.spikes.sum() > 0
    for measured in (part.spikes, part.distance, *part.right.values()):
        np.testing.assert_array_equal(measured[0], measured[1])


def test_dtype_and_dt_are_those_asked_for(task: FileTask) -> None:
    found = converted(task, grid="60", dtype="float64", dt=1e-3)
    assert (found.dtype, found.network.dt) == ("float64", 1e-3)


# The curve and its winner


def test_the_winner_has_the_best_accuracy_of_the_curve(task: FileTask) -> None:
    found = converted(task)
    by_value = {c.inverse_lambda: c.accuracy for c in found.search}
    assert list(by_value) == [20, 40, 60, 80, 100, 120, 140]
    assert by_value[found.inverse_lambda] == max(by_value.values())
    assert min(by_value.values()) < max(by_value.values()), "a flat curve would test nothing"
    assert found.network.provenance["inverse_lambda"] == found.inverse_lambda


def test_the_accuracy_is_that_of_the_engine_judged_by_the_task(task: FileTask) -> None:
    trials = task.trials(20, seed=0)
    outputs = engine.simulate(transfer(follower(), 100, dt=DT), trials.inputs, seed=0, dtype="float32").outputs["out"]
    right = task.judge(outputs, trials, dt=DT, kind="spiking", rule="max")
    found = converted(task, grid="100", rule="max").search[0]
    assert found.accuracy == right.mean()
    assert 0 < right.mean() < 1


def test_fast_gives_the_winner_of_the_full_curve_and_stops_only_who_cannot_win(
    task: FileTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "CHUNK", 2)
    full, fast = (converted(task, fast=fast, n_jobs=1, rule="max") for fast in (False, True))
    assert fast.inverse_lambda == full.inverse_lambda
    assert fast.spiking == full.spiking
    best = max(c.accuracy for c in full.search if c.accuracy is not None)
    stopped = 0
    for mine, theirs in zip(fast.search, full.search, strict=True):
        if mine.stopped:
            assert mine.trials < theirs.trials
            assert theirs.accuracy < best
            stopped += 1
        else:
            assert mine == theirs
    assert stopped > 0


def test_the_distance_is_the_root_mean_square_to_the_noiseless_rate_outputs(task: FileTask) -> None:
    """Recomputed here: both outputs averaged over the 5 ms samples, which are ten steps each."""
    trials = task.trials(20, seed=0)
    wanted = simulate_rate(follower(), trials.inputs, with_noise=False).outputs
    outputs = engine.simulate(transfer(follower(), 60, dt=DT), trials.inputs, seed=0, dtype="float32").outputs["out"]
    assert outputs.shape == (400, 20, 1)
    mean = outputs.astype(np.float64).reshape(40, 10, 20, 1).mean(axis=1)
    found = converted(task, grid="60", objective="distance").search[0]
    assert found.distance == pytest.approx(np.sqrt(((mean - wanted) ** 2).mean()), rel=1e-6)


def test_the_distance_of_an_output_to_itself_is_zero() -> None:
    wanted = np.random.default_rng(0).normal(size=(6, 3, 2))
    assert squared_distance(np.repeat(wanted, 7, axis=0), 0.005 / 7, wanted, 0.005) == pytest.approx(np.zeros(3))


def test_the_distance_objective_picks_the_lambda_of_the_right_height(task: FileTask) -> None:
    """Too small a 1/lambda overshoots, too large a one falls short; no label and no rule is needed."""
    found = converted(task, grid="5:145:10", objective="distance")
    curve = {c.inverse_lambda: c.distance for c in found.search}
    assert curve[found.inverse_lambda] == min(curve.values())
    assert 25 < found.inverse_lambda < 85
    assert found.distance == pytest.approx(curve[found.inverse_lambda], rel=0.25), "fresh trials agree with the search"
    assert (found.rule, found.rate, found.spiking) == (None, {}, {})
    assert all(c.accuracy is None for c in found.search)


def test_a_bracket_is_searched_coarse_to_fine(task: FileTask) -> None:
    found = converted(task, bracket=(10.0, 200.0), objective="distance")
    values = [c.inverse_lambda for c in found.search]
    assert values == sorted(set(values))
    assert (values[0], values[-1]) == pytest.approx((10, 200))
    assert len(values) > 8, "the coarse grid and the finer ones"
    gaps = np.diff(np.log(values))
    at = values.index(found.inverse_lambda)
    assert gaps[at - 1] < gaps.max() / 5, "finest around the winner"


def test_the_preset_reaches_the_network(task: FileTask) -> None:
    found = converted(task, grid="60", preset="kim2019")
    assert found.network.integrator == "kim2019"
    assert any("area" in loss.what for loss in found.losses)


# Which trials are used


@pytest.mark.parametrize(
    ("asked", "searched", "fresh"),
    [
        ({}, range(20), range(20, 40)),
        ({"trials": 5}, range(5), range(5, 40)),
        ({"test_trials": 4}, range(36), range(36, 40)),
        ({"trials": 3, "test_trials": 2}, range(3), range(3, 5)),
    ],
)
def test_a_files_trials_are_halved_by_default_and_never_used_twice(
    task: FileTask, asked: dict[str, int], searched: range, fresh: range
) -> None:
    spy = Spy(task)
    found = converted(spy, grid="60", objective="distance", **asked)
    assert spy.numbers() == set(searched) | set(fresh)
    assert sum(n for _, n in spy.asked) == len(spy.numbers()), "none is asked for twice"
    assert found.search[0].trials == len(searched)
    assert found.network.provenance["test_trials"] == len(fresh)


def test_the_final_accuracy_is_of_trials_that_the_search_did_not_see() -> None:
    spy = Spy(GoNoGo())
    found = converted(spy, grid="60", trials=6, test_trials=8)
    assert found.search[0].trials == 6
    assert found.spiking["published"].trials == found.rate["published"].trials == 8
    assert spy.numbers() == set(range(14))


def test_a_task_of_ones_own_has_100_trials_and_1000_fresh_ones_by_default() -> None:
    assert conversion.conversion_trials(GoNoGo(), None, None) == (100, 1000)


def test_a_calibration_takes_no_more_of_a_long_file_than_it_needs_unless_asked(tmp_path: Path) -> None:
    task = write_trials(tmp_path / "t.npz", n=900)
    assert conversion.conversion_trials(task, None, None) == (450, 450)
    assert conversion.conversion_trials(task, None, None, most=300) == (300, 600)
    assert conversion.conversion_trials(task, None, 100, most=300) == (300, 100)
    assert conversion.conversion_trials(task, 400, None, most=300) == (400, 500)
    found = convert_network(follower(), task, method="calibrated", dt=1e-3, noise=0.0, n_jobs=1)
    assert (found.search_trials, found.spiking["mean"].trials) == (300, 600)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"trials": 0}, "trials: 0, must be at least 1"),
        ({"test_trials": -3}, "test trials: -3, must be at least 1"),
        ({"trials": 41}, r"wanted: 41 for the search and 1 fresh ones; the file has 40"),
        ({"trials": 40}, r"wanted: 40 for the search and 1 fresh ones"),
        ({"trials": 30, "test_trials": 30}, "no trial is used twice"),
    ],
)
def test_too_few_trials_are_refused_before_the_work_starts(
    task: FileTask, asked: dict[str, int], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "Search", None)
    with pytest.raises(SpikeportError, match=reason):
        converted(task, **asked)


def test_a_file_of_one_trial_is_refused(tmp_path: Path) -> None:
    one = write_trials(tmp_path / "one.h5", n=1, labels=[1], inputs=np.ones((40, 1, 1)))
    with pytest.raises(SpikeportError, match="the file has 1, and no trial is used twice"):
        converted(one)


# Ctrl-C


def test_an_interrupted_search_carries_what_was_measured(task: FileTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CHUNK", 5)
    with pytest.raises(SearchInterrupted, match="in the search, after 10 of 20 trials") as interrupt:
        converted(task, n_jobs=1, progress=stop_after(2))
    found = interrupt.value.candidates
    assert [c.inverse_lambda for c in found] == [20, 40, 60, 80, 100, 120, 140]
    assert {c.trials for c in found} == {10}
    monkeypatch.undo()
    assert found == converted(task, trials=10).search


def test_a_bracket_interrupted_in_a_finer_round_keeps_the_coarse_one(task: FileTask) -> None:
    with pytest.raises(SearchInterrupted) as interrupt:
        converted(task, n_jobs=1, bracket=(10.0, 200.0), progress=stop_after(3))
    values = [c.inverse_lambda for c in interrupt.value.candidates]
    assert len(values) > 8
    assert values == sorted(values)


def test_an_interrupt_on_the_fresh_trials_keeps_the_curve(task: FileTask) -> None:
    with pytest.raises(SearchInterrupted, match="after the search, on the fresh trials") as interrupt:
        converted(task, progress=stop_after(1, "fresh trials"))
    assert interrupt.value.candidates == converted(task).search


# The rate network beside it


def test_rate_accuracy_judges_the_noisy_rate_network(task: FileTask) -> None:
    noisy = replace(follower(), noise_sd=1.0)
    trials = task.trials(20, seed=4, first=7)
    outputs = simulate_rate(noisy, trials.inputs, seed=4, first_trial=7).outputs
    found = rate_accuracy(noisy, task, seed=4, first=7, n=20)
    assert set(found) == {"mean", "max", "nearest"}
    for rule, measured in found.items():
        assert measured.right == task.judge(outputs, trials, dt=0.005, kind="rate", rule=rule).sum()
        assert measured.trials == 20
        assert measured.interval[0] < measured.accuracy <= measured.interval[1]
    assert 0 < found["max"].right < 20


def test_rate_accuracy_does_not_depend_on_the_batch(task: FileTask, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rate_accuracy(follower(), task, seed=0, first=0, n=20)
    monkeypatch.setattr(conversion, "RATE_BATCH", 7)
    assert rate_accuracy(follower(), task, seed=0, first=0, n=20) == expected


# What a user should look at


def test_a_winner_at_the_end_of_the_grid_is_said(task: FileTask) -> None:
    warnings = converted(task, grid="80,120", rule="mean").warnings
    assert any("the best 1/lambda, 80, is the end of the grid" in w for w in warnings)


def test_a_winner_inside_the_grid_needs_no_word(task: FileTask) -> None:
    assert not [w for w in converted(task, grid="5:145:10", objective="distance").warnings if "end of the grid" in w]


def test_a_silent_network_is_said(task: FileTask) -> None:
    silent = follower(w_in=np.zeros((20, 1)), b_rec=np.full(20, -30.0), w_rec=np.zeros((20, 20)))
    assert any("silent" in w for w in convert_network(silent, task, grid="60", dt=DT).warnings)


def test_rules_that_disagree_are_said(task: FileTask) -> None:
    found = converted(task, grid="80")
    assert found.spiking["mean"].accuracy > found.spiking["max"].accuracy + 0.05
    assert any("the rules disagree" in w and "by max" in w for w in found.warnings)


# Refusals, before the work starts


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rule": "published"}, r"rule 'published': task 'steps' has mean, max, nearest"),
        ({"objective": "loss"}, r"objective 'loss' is unknown, must be accuracy or distance"),
        ({"objective": "distance", "rule": "published"}, r"rule 'published': task 'steps' has mean, max, nearest"),
        ({"objective": "distance", "rule": "max"}, r"(?s)'distance' does not go with these.*rule 'max': says which"),
        ({"objective": "distance", "fast": True}, r"(?s)'distance' does not go with these.*fast: stops who"),
        ({"n_jobs": 0}, "jobs: 0, must be 1 or more"),
        ({"dtype": "float16"}, "dtype: 'float16', must be one of float32, float64"),
        ({"seed": -1}, "seed: -1, must be from 0"),
        ({"seed": 2**64}, "seed: 18446744073709551616, must be from 0"),
        ({"bracket": (5.0, 2.0)}, "must be 0 < LOW < HIGH"),
        ({"dt": 0.01}, "inputs would be skipped"),
    ],
)
def test_settings_that_cannot_work_are_refused(task: FileTask, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(SpikeportError, match=reason):
        converted(task, **changes)


def test_a_task_that_does_not_fit_is_refused_with_every_reason(task: FileTask) -> None:
    other = follower(w_in=np.ones((20, 3)), w_out=np.ones((2, 20)), b_out=np.zeros(2), dt=0.01)
    with pytest.raises(SpikeportError, match="task 'steps' does not fit the network") as refusal:
        convert_network(other, task)
    assert [p.partition(":")[0] for p in refusal.value.problems] == ["inputs", "outputs", "clock"]


def test_a_grid_may_be_an_array(task: FileTask) -> None:
    found = convert_network(follower(), task, grid=np.array([20.0, 40.0]), trials=4, dt=1e-3)
    assert [c.inverse_lambda for c in found.search] == [20.0, 40.0]
    with pytest.raises(SpikeportError, match="grid: an option of method 'lambda'"):
        convert_network(follower(), task, grid=np.array([20.0, 40.0]), method="calibrated")


def test_the_largest_seeds_run_after_small_ones_too() -> None:
    inputs = np.zeros((4, 1, 1))
    network = replace(follower(), noise_sd=0.1)
    small, large = (simulate_rate(network, inputs, seed=seed).outputs for seed in (0, 2**64 - 1))
    assert not np.array_equal(small, large)
