"""What calibration chooses within bounds, how it spends its budget, and the read-out that it learns again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import follower, write_trials

from spikeport.bounds import LONGEST, bounds_of
from spikeport.convert.calibration import calibrate
from spikeport.convert.calibration.bounds import Bounds, parse_range
from spikeport.convert.calibration.budget import FULL, HIGHEST, highest_rate, inverse_lambdas, trial_weights
from spikeport.convert.calibration.choose import TIE, Tried, _least, quiet_offset, race
from spikeport.convert.calibration.observed import Observed
from spikeport.convert.calibration.readout import fit_readout, smoothed
from spikeport.convert.calibration.rounds import (
    SPENT,
    Round,
)
from spikeport.convert.calibration.units import Units, build
from spikeport.convert.conversion import convert_network
from spikeport.convert.presets import PRESETS
from spikeport.snn.engine import simulate
from spikeport.snn.errors import SpikeportError
from spikeport.snn.rate import RateNetwork, simulate_rate
from spikeport.snn.tasks import FileTask, get_task

CHIP = replace(PRESETS["standard"], dt=1e-3, noise_sd=0.0, t_ref=0.0)
SOURCE = follower(12)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> FileTask:
    return write_trials(tmp_path_factory.mktemp("trials") / "t.npz", n=24)


# ---- bounds


@settings(deadline=None)
@given(low=st.floats(0, 1), width=st.floats(0, 1))
def test_every_candidate_is_within_the_bounds_and_both_ends_are_tried(low: float, width: float) -> None:
    found = Bounds(noise_sd=(low, low + width)).noises(CHIP)
    assert found[0] == low
    assert found[-1] == low + width
    assert all(low <= v <= low + width for v in found)


@settings(deadline=None)
@given(low=st.floats(0, 0.02), width=st.floats(0, 0.02), dt=st.sampled_from([5e-5, 1e-3, 3.33e-5]))
def test_every_refractory_period_is_a_number_of_steps_of_its_own_as_the_network_runs_it(
    low: float, width: float, dt: float
) -> None:
    preset = replace(CHIP, dt=dt)
    found = Bounds(t_ref=(low, low + width)).t_refs(preset)
    steps = [int(np.floor(t / dt + 0.5)) for t in found]
    np.testing.assert_allclose(found, np.array(steps) * dt, rtol=1e-9)
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == tuple(int(np.floor(t / dt + 0.5)) for t in (low, low + width))
    assert Bounds().t_refs(replace(preset, t_ref=low)) == tuple(dict.fromkeys((0.0, found[0])))


@pytest.mark.parametrize(("t_ref", "run"), [(0.0006, 0.001), (0.0004, 0.0), (0.0026, 0.003)])
def test_what_a_unit_may_be_asked_for_is_by_the_refractory_period_that_runs(t_ref: float, run: float) -> None:
    assert (
        highest_rate(replace(CHIP, t_ref=t_ref))
        == highest_rate(replace(CHIP, t_ref=run))
        == min(HIGHEST, FULL / (CHIP.dt + run))
    )


@pytest.mark.parametrize("method", ["lambda", "calibrated"])
def test_a_refractory_period_that_is_rounded_is_a_loss_and_calibration_reports_the_one_that_runs(
    method: str, task: FileTask
) -> None:
    grid = "60" if method == "lambda" else None
    options: dict[str, Any] = {"method": method, "grid": grid, "preset": CHIP, "trials": 6, "n_jobs": 1}
    found = convert_network(SOURCE, task, t_ref=0.0006, **options)
    (said,) = [text for text in map(str, found.losses) if "refractory" in text]
    assert "rounded to whole steps (t_ref 0.0006 s, dt 0.001 s: 0.001 s runs, 1 step)" in said
    assert said in found.network.provenance["losses"]
    if found.calibration is not None:
        neuron = found.network.populations[0].neuron
        assert found.calibration.t_ref == neuron.t_ref == 0.001
        assert [c.t_ref for c in found.calibration.choices] == [0.001]
        assert "t_ref 1 ms" in found.calibration.reason
    exact = convert_network(SOURCE, task, t_ref=0.002, **options)
    assert not any("refractory" in str(loss) for loss in exact.losses)


def test_a_choice_within_a_range_is_a_loss_only_where_rounding_leaves_the_range(task: FileTask) -> None:
    options: dict[str, Any] = {"method": "calibrated", "preset": CHIP, "trials": 6, "n_jobs": 1}
    inside = convert_network(SOURCE, task, t_ref=(0.0, 0.0014), **options)
    assert inside.calibration is not None
    assert {c.t_ref for c in inside.calibration.choices} == {0.0, 0.001}
    assert not any("refractory" in str(loss) for loss in inside.losses)
    beyond = convert_network(SOURCE, task, t_ref=(0.0026, 0.0028), **options)
    assert beyond.calibration is not None
    assert [c.t_ref for c in beyond.calibration.choices] == [0.003]
    assert any("t_ref 0.0028 s, dt 0.001 s: 0.003 s runs, 3 steps" in str(loss) for loss in beyond.losses)


@pytest.mark.parametrize(("text", "pair"), [("0.1", (0.1, 0.1)), ("0:0.1", (0.0, 0.1)), (0.2, (0.2, 0.2))])
def test_a_range_is_one_number_or_two(text: Any, pair: tuple[float, float]) -> None:
    assert parse_range(text, "noise", "--noise 0:0.1") == pair


def test_what_is_no_range_is_refused() -> None:
    with pytest.raises(SpikeportError, match=r"noise '1:2:3': must be a number, or LOW:HIGH"):
        parse_range("1:2:3", "noise", "--noise 0:0.1")


def test_every_candidate_is_reported_and_the_choice_has_its_reason(task: FileTask) -> None:
    found = calibrate(
        SOURCE, task, trials=12, rounds=1, preset=CHIP, noise_sd=(0.0, 0.4), t_ref=(0.0, 0.002), n_threads=1
    )
    assert {(c.noise_sd, c.t_ref) for c in found.choices} == {
        (s, t) for s in (0.0, 0.2, 0.4) for t in (0, 0.001, 0.002)
    }
    ran = [c for c in found.choices if c.score is not None]
    assert {c.noise_sd for c in ran} == {0.0, 0.2, 0.4}
    (chosen,) = [c for c in found.choices if c.chosen]
    assert {c.t_ref for c in ran if c.noise_sd == chosen.noise_sd} == {0.0, 0.001, 0.002}
    assert chosen.score is not None
    assert chosen.score <= TIE * min(c.score for c in ran if c.score is not None)
    assert (found.t_ref, float(np.max(found.network.populations[0].noise_sd))) == (chosen.t_ref, chosen.noise_sd)
    assert found.reason.startswith(f"noise {chosen.noise_sd:g} mV a step, t_ref {chosen.t_ref * 1e3:g} ms: ")
    kept = json.loads(json.dumps(dict(found.network.provenance)))["calibration"]
    assert len(kept["choices"]) == 9
    assert kept["reason"] == found.reason


def made(noise: float, score: float, hz: float = 10.0, right: int = 10) -> Tried:
    one = Round(score=score, own_score=score, own_error=0, mean_error=0, mean_rate_hz=hz, expected_rate_hz=hz,
                asked_hz=hz, tau_out=0.02, right=right, judged=10, goal=10)  # fmt: skip
    return Tried(preset=replace(CHIP, noise_sd=noise), curve_error=0.0, units=None, history=(one,), best=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tried", "noise"),
    [
        ([made(0.0, 0.104), made(0.1, 0.1)], 0.0),  # within chance: the smaller noise
        ([made(0.0, 0.2), made(0.1, 0.1)], 0.1),
        ([made(0.0, 0.2), made(0.1, 0.1, hz=30.0)], 0.0),  # over the budget is worse than any error
        ([made(0.0, np.inf), made(0.1, np.inf)], 0.0),
        ([made(0.0, 0.1, right=5), made(0.1, 0.3)], 0.1),  # clearly fewer right: worse than any error
        ([made(0.0, 0.1, right=6), made(0.1, 0.3)], 0.0),  # by chance
        ([made(0.0, 0.4, right=5), made(0.1, 0.3, hz=30.0)], 0.0),
    ],
)
def test_the_least_error_within_the_budget_wins_and_ties_go_to_the_smaller_noise(
    tried: list[Tried], noise: float
) -> None:
    assert _least(tried, 20.0).preset.noise_sd == noise


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), low=st.floats(1.0, 50.0), width=st.floats(1.0, 20.0))
def test_no_unit_leaves_the_bounds_of_its_inverse_lambda(seed: int, low: float, width: float) -> None:
    rng = np.random.default_rng(seed)
    r = rng.random((20, 3, 8)) * 0.3
    seen = Observed(trials=None, x=r, r=r, quiet_x=r, quiet_r=r, outputs=r[:, :, :1], task=None, rule=None,  # type: ignore[arg-type]
                    alive=np.ones(8, dtype=bool), warnings=())  # fmt: skip
    found = inverse_lambdas(seen, CHIP, np.zeros(8), rng.uniform(0.2, 5.0, 8), 10.0, (low, low * width))
    assert (found >= low * (1 - 1e-12)).all()
    assert (found <= low * width * (1 + 1e-12)).all()


@pytest.mark.parametrize(("target", "dt", "noise", "longest"), [
    ("engine", 1e-3, 0.1, LONGEST), ("loihi", 1e-3, 0.0, LONGEST),
    ("loihi", 5e-5, 0.0, 62 * 5e-5),  # refractDelay counts at most 62 steps
])  # fmt: skip
def test_a_target_sets_the_bounds_by_its_own_check(target: str, dt: float, noise: float, longest: float) -> None:
    found = bounds_of(target, dt=dt)
    assert found.noise_sd == (0.0, noise)
    assert found.t_ref == (0.0, pytest.approx(longest))


# ---- the budget


def test_candidates_race_and_one_that_is_far_behind_is_not_run_on() -> None:
    """Scores by round; the second is slow, and has caught up by its third round."""
    scores = {0.0: (0.50, 0.40, 0.39, 0.38), 0.1: (0.60, 0.45, 0.10, 0.09), 0.2: (0.50, 0.47, 0.46, 0.45)}
    ran = dict.fromkeys(scores, 0)

    def rounds(noise: float) -> Iterator[Tried]:
        for k in range(4):
            ran[noise] += 1
            history = tuple(made(noise, s, hz=9.0).history[0] for s in scores[noise][: k + 1])
            yield replace(made(noise, 0.0), history=history, best=k)

    tried: dict[tuple[float, float], Tried] = {}
    race({(noise, 0.0): rounds(noise) for noise in scores}, tried, 10.0)
    assert ran == {0.0: 4, 0.1: 4, 0.2: 3}
    assert {k[0] for k, t in tried.items() if t.stopped} == {0.2}
    assert _least(list(tried.values()), 10.0).preset.noise_sd == 0.1


def test_a_candidate_that_ended_early_says_so_and_is_not_chosen(task: FileTask) -> None:
    found = calibrate(
        SOURCE, task, trials=12, rounds=4, preset=CHIP, noise_sd=(0.0, 8.0), t_ref=0.0, max_rate_hz=40.0, n_threads=1
    )
    stopped = [c for c in found.choices if c.stopped]
    assert {c.noise_sd for c in stopped} == {4.0, 8.0}
    assert not any(c.chosen for c in stopped)
    assert "2 stopped, too far behind" in found.reason


@pytest.mark.parametrize("preset", ["standard", "kim2019"])
@pytest.mark.parametrize("noise", [0.1, 3.0, 8.0])
def test_units_that_are_said_to_be_silent_are_silent_whatever_the_noise(
    noise: float, preset: str, task: FileTask
) -> None:
    """But for the start, where v may be anywhere up to the threshold, or with the published start beyond it."""
    deaf = np.arange(12) >= 7
    own = follower(12)
    source = replace(own, w_in=np.where(deaf[:, None], 0.0, own.w_in), w_rec=np.where(deaf[:, None], 0.0, own.w_rec),
                     noise_sd=0.0, x0_sd=0.0, b_rec=np.where(deaf, 0.0, own.b_rec))  # fmt: skip
    found = calibrate(source, task, trials=6, rounds=0, preset=preset, dt=1e-3, noise_sd=noise, max_rate_hz=100.0,
                      t_ref=0.0, n_threads=1)  # fmt: skip
    np.testing.assert_array_equal(found.alive, ~deaf)
    assert any("5 of 12 units have a rate that never moves" in w and "silent here" in w for w in found.warnings)
    spikes = simulate(found.network, np.zeros((200, 100, 1)), n_threads=1).spikes["rec"].dense()
    assert spikes[50:, :, deaf].sum() == 0
    assert spikes[50:, :, ~deaf].sum() > 0 or noise < 1


def test_a_unit_that_never_moves_is_at_the_reset_where_noise_is_small() -> None:
    assert quiet_offset(CHIP) == quiet_offset(PRESETS["standard"]) == CHIP.v_reset
    loud = replace(CHIP, noise_sd=3.0)
    assert quiet_offset(loud) == pytest.approx(loud.v_threshold - 8 * 3.0 / np.sqrt(1 - np.exp(-0.2)))


def test_the_budget_is_spent(task: FileTask) -> None:
    found = calibrate(follower(20), task, trials=16, max_rate_hz=30.0, preset=CHIP, n_threads=1)
    assert SPENT[0] * 30 <= found.mean_rate_hz <= 30
    assert found.budget_spent == pytest.approx(found.mean_rate_hz / 30)
    assert found.budget_left is None


def test_a_budget_that_no_unit_can_spend_is_left_with_the_reason(task: FileTask) -> None:
    found = calibrate(SOURCE, task, trials=8, rounds=3, preset=CHIP, max_rate_hz=1e4, n_threads=1)
    assert found.budget_spent is not None
    assert found.budget_spent < SPENT[0]
    assert found.budget_left is not None


def test_trials_weigh_as_often_as_the_task_has_their_kind() -> None:
    task = get_task("go-nogo")
    trials = task.trials(30, seed=0)
    weights = trial_weights(task, trials, 0)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[trials.labels == 1].sum() == pytest.approx(0.5, abs=0.05)
    assert trials.labels.mean() != pytest.approx(0.5, abs=0.02)


def test_trials_that_do_not_repeat_weigh_the_same(task: FileTask) -> None:
    np.testing.assert_allclose(trial_weights(task, task.trials(8, seed=0), 0), 1 / 8)
    integration = get_task("integration")
    weights = trial_weights(integration, integration.trials(5, seed=0), 0)
    assert weights.min() > 0
    assert weights.sum() == pytest.approx(1.0)


# ---- the read-out


def reader(w_out: np.ndarray) -> RateNetwork:
    return follower(4, w_out=w_out, b_out=np.array([0.3]))


def test_a_read_out_that_was_scaled_and_shifted_is_found_again() -> None:
    rng = np.random.default_rng(0)
    true = np.array([[1.0, -2.0, 0.0, 3.0]])
    r = rng.random((200, 9, 4))
    said = 0.5 * r + 0.1  # what units say is half their rate and a constant
    wanted = smoothed(r, 0.02, 0.005) @ true.T + 0.3
    found = fit_readout(reader(true), said, wanted, 0.02, 6)
    assert found.score < 0.1 * found.own_score
    np.testing.assert_allclose(found.weight, 2 * true, atol=0.1)
    assert found.weight[0, 2] == 0.0  # what is not read stays unread


def test_a_read_out_that_is_right_is_left_alone() -> None:
    rng = np.random.default_rng(1)
    true = np.array([[1.0, -2.0, 0.5, 3.0]])
    said = rng.random((100, 6, 4))
    wanted = smoothed(said, 0.02, 0.005) @ true.T + 0.3
    found = fit_readout(reader(true), said, wanted, 0.02, 4)
    assert found.ridge == np.inf
    np.testing.assert_array_equal(found.weight, true)


def test_the_ridge_solution_is_that_of_an_independent_least_squares() -> None:
    """Ridge regression is least squares with rows sqrt(penalty) I below."""
    rng = np.random.default_rng(2)
    source = reader(np.array([[1.0, 1.0, 1.0, 1.0]]))
    said = rng.random((60, 5, 4))
    wanted = said @ np.array([[0.5, 2.0, -1.0, 1.0]]).T + 0.2 * rng.normal(size=(60, 5, 1))
    found = fit_readout(source, said, wanted, 0.005, 3)
    s = smoothed(said, 0.005, 0.005)
    taught = s[:, :3].reshape(-1, 4)
    missing = (wanted - s @ source.w_out.T - source.b_out)[:, :3].reshape(-1, 1)
    a, y = taught - taught.mean(axis=0), missing - missing.mean(axis=0)
    penalty = found.ridge * (a**2).sum(axis=0).mean()
    stacked = np.vstack([a, np.sqrt(penalty) * np.eye(4)])
    change = np.linalg.lstsq(stacked, np.vstack([y, np.zeros((4, 1))]), rcond=None)[0]
    np.testing.assert_allclose(found.weight, source.w_out + change.T, rtol=1e-8)
    np.testing.assert_allclose((wanted - s @ found.weight.T - found.bias)[:, :3].mean(), 0.0, atol=1e-12)


def test_a_single_trial_teaches_no_read_out() -> None:
    said = np.random.default_rng(3).random((50, 1, 4))
    found = fit_readout(reader(np.ones((1, 4))), said, said[:, :, :1], 0.02, 1)
    assert found.ridge == np.inf


def test_units_come_back_from_their_provenance_with_the_read_out(task: FileTask) -> None:
    found = calibrate(SOURCE, task, trials=12, rounds=1, preset=CHIP)
    assert found.units.w_out is not None
    said = json.loads(json.dumps(found.units.as_dict()))
    again = build(SOURCE, CHIP, Units.from_dict(said), {})
    np.testing.assert_array_equal(again.readouts[0].weight, found.network.readouts[0].weight)
    np.testing.assert_array_equal(again.readouts[0].bias, found.network.readouts[0].bias)
    plain = calibrate(SOURCE, task, trials=12, rounds=1, preset=CHIP, refit=False)
    assert plain.units.w_out is None
    assert "w_out" not in plain.units.as_dict()


def test_learning_the_read_out_again_makes_the_outputs_better_on_trials_that_it_never_saw(
    task: FileTask, tmp_path: Path
) -> None:
    part = write_trials(tmp_path / "fresh.npz", n=20, seed=7).trials(20, seed=0)
    wanted = simulate_rate(SOURCE, part.inputs, with_noise=False).outputs

    def error(refit: bool) -> float:
        network = calibrate(SOURCE, task, trials=16, max_rate_hz=10.0, preset=CHIP, refit=refit, n_threads=1).network
        o = simulate(network, part.inputs).outputs["out"].reshape(40, 5, 20, 1).mean(axis=1)
        return float(np.sqrt(((o - wanted) ** 2).mean()))

    assert error(True) < 0.95 * error(False)
