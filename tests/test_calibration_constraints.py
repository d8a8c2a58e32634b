"""The constraints of a calibration, kept or refused: bracket and budget; and which trials judge it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import follower, write_trials

from spikeport.convert.calibration import calibrate
from spikeport.convert.calibration.bounds import Bounds
from spikeport.convert.calibration.budget import HARDLY, inverse_lambdas, keep_bracket
from spikeport.convert.calibration.observed import Observed
from spikeport.convert.presets import PRESETS
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.tasks import FileTask, GoNoGo

CHIP = replace(PRESETS["standard"], dt=1e-3, noise_sd=0.0, t_ref=0.0)
SOURCE = follower(12)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> FileTask:
    return write_trials(tmp_path_factory.mktemp("trials") / "t.npz", n=24)


def test_a_unit_that_hardly_moves_has_no_boundless_inverse_lambda() -> None:
    """Were its 1/lambda what makes its tiny rise a full one, it would say nothing when it wakes."""
    r = np.random.default_rng(0).random((200, 5, 8))
    r[:, :, 3], r[:, :, 5] = 0.2, 0.2
    r[0, 0, 3] += 1e-3
    seen = Observed(trials=None, x=r, r=r, quiet_x=r, quiet_r=r, outputs=r[:, :, :1], task=None, rule=None,  # type: ignore[arg-type]
                    alive=np.arange(8) != 5, warnings=())  # fmt: skip
    found = inverse_lambdas(seen, CHIP, seen.baseline, np.ones(8), 1e6)
    others = np.delete(found, [3, 5])
    np.testing.assert_allclose(found[[3, 5]], np.median(others) / HARDLY, rtol=0.1)


def test_bounds_that_cost_too_many_spikes_are_refused_with_the_reason(task: FileTask) -> None:
    with pytest.raises(RefusedError, match="no calibration stays within 2 spikes/s a unit") as refusal:
        calibrate(SOURCE, task, trials=8, rounds=1, preset=CHIP, max_rate_hz=2.0, inverse_lambda=(200.0, 300.0))
    fewest, why = refusal.value.problems
    assert float(fewest.split()[2]) > 2.0
    assert why == "1/lambda may not be below 200, and units are there"
    assert refusal.value.hint.startswith("--max-rate ")


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**31), low=st.floats(1.0, 5000.0), width=st.floats(1.0, 20.0),
       t_ref=st.sampled_from([None, (0.0, 0.0), (0.0, 0.01), (0.002, 0.004), (0.0, 0.0026), (6e-4, 6e-4)]))  # fmt: skip
def test_a_bracket_is_kept_at_every_refractory_period_or_refused(
    seed: int, low: float, width: float, t_ref: tuple[float, float] | None
) -> None:
    rng = np.random.default_rng(seed)
    r = rng.random((20, 3, 8))
    r[:, :, 0] = 0.3  # never moves
    seen = Observed(trials=None, x=r, r=r, quiet_x=r, quiet_r=r, outputs=r[:, :, :1], task=None, rule=None,  # type: ignore[arg-type]
                    alive=np.arange(8) > 0, warnings=())  # fmt: skip
    asked = replace(CHIP, t_ref=0.002), Bounds(t_ref=t_ref, inverse_lambda=(low, low * width))
    try:
        preset, bounds = keep_bracket(seen, *asked)
    except RefusedError as refusal:
        fits = float(refusal.problems[1].split()[-1])
        assert fits < low * (1 + 1e-3)
        least = float(refusal.hint.split()[1].partition(":")[0])
        assert least <= fits
        keep_bracket(seen, asked[0], replace(asked[1], inverse_lambda=(least, low * width)))  # the next step is one
        return
    for period in bounds.t_refs(preset):
        found = inverse_lambdas(seen, replace(preset, t_ref=period), seen.baseline, rng.uniform(0.2, 5.0, 8), 10.0,
                                (low, low * width))  # fmt: skip
        assert (found >= low * (1 - 1e-9)).all()
        assert (found <= low * width * (1 + 1e-9)).all()


def test_one_calibration_trial_holds_none_out_and_no_text_says_it_does(task: FileTask) -> None:
    found = calibrate(SOURCE, task, trials=1, rounds=1, preset=CHIP, max_rate_hz=500.0, n_threads=1)
    assert any(w.startswith("1 calibration trial: the one that corrects also judges") for w in found.warnings)
    said = json.dumps(found.as_dict())
    assert "held-out" not in said
    assert "a constant would do" not in said


def test_held_out_trials_of_one_kind_are_named(task: FileTask) -> None:
    one = replace(task, labels=np.sort(task.labels), inputs=task.inputs[:, np.argsort(task.labels, kind="stable")])
    found = calibrate(SOURCE, one, trials=6, rounds=0, preset=CHIP, n_threads=1)
    assert any(
        "held out to judge: 2 of 6 calibration trials, with one kind of answer only (label 0)" in w
        for w in found.warnings
    )
    assert not any("a constant would do" in w for w in found.warnings)
    mixed = calibrate(SOURCE, task, trials=12, rounds=0, preset=CHIP, n_threads=1)
    assert not any("one kind" in w for w in mixed.warnings)


@pytest.mark.parametrize("lambdas", [(10.0, 20.0), [10.0, 20.0], np.array([10.0, 20.0]), "10:20"])
def test_a_bracket_of_any_form_is_kept(task: FileTask, lambdas: object) -> None:
    found = calibrate(follower(), task, trials=6, dt=1e-3, noise_sd=0.0, inverse_lambda=lambdas, rounds=1, n_threads=1)  # type: ignore[arg-type]
    assert 10 <= found.units.inverse_lambda.min() <= found.units.inverse_lambda.max() <= 20


@pytest.mark.parametrize("single", [30, 30.0, np.int64(30), np.float32(30), np.array(30.0)])
def test_one_inverse_lambda_of_any_number_type_is_that_of_every_unit(task: FileTask, single: float) -> None:
    found = calibrate(follower(), task, trials=6, dt=1e-3, noise_sd=0.0, inverse_lambda=single, rounds=1, n_threads=1)
    assert set(found.units.inverse_lambda) == {30.0}


@pytest.mark.parametrize("wrong", [(1.0, 2.0, 3.0), "1:x", "", {"low": 1}])
def test_what_is_no_range_is_refused(task: FileTask, wrong: object) -> None:
    with pytest.raises(SpikeportError, match=r"1/lambda .*must be a number, or LOW:HIGH"):
        calibrate(follower(), task, trials=6, inverse_lambda=wrong)  # type: ignore[arg-type]


def test_a_noise_range_may_be_an_array(task: FileTask) -> None:
    found = calibrate(follower(), task, trials=6, dt=1e-3, noise_sd=np.array([0, 0.1]), rounds=1, n_threads=1)  # type: ignore[arg-type]
    assert {c.noise_sd for c in found.choices} == {0.0, 0.05, 0.1}


def test_a_task_on_another_clock_or_with_other_channels_is_refused() -> None:
    with pytest.raises(SpikeportError, match=r"clock: the task has a sample every 0\.01 s"):
        calibrate(follower(), GoNoGo(dt=0.010), trials=6)
    with pytest.raises(SpikeportError, match="inputs: the task has 1 channels, the network takes 2"):
        calibrate(follower(w_in=np.ones((follower().n_neurons, 2))), GoNoGo(), trials=6)
