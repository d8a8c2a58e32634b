"""What calibration follows: the outputs without noise, or, where the rule refuses those, their mean over the noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_models import follower, write_trials

from spikeport.convert.calibration import calibrate
from spikeport.convert.calibration.observed import DRAWS, observe
from spikeport.convert.presets import PRESETS
from spikeport.snn.engine import Engine
from spikeport.snn.rate import RateNetwork, simulate_rate
from spikeport.snn.tasks import FileTask, get_task

CHIP = replace(PRESETS["standard"], dt=1e-3, noise_sd=0.0, t_ref=0.0)
ANSWERING, SWINGING = 20, 80
NOISE, TAU, LIFT = 0.3, 0.03, 0.8


@pytest.fixture
def task(tmp_path: Path) -> FileTask:
    return write_trials(tmp_path / "trials.npz", n=60)


def needs_its_noise() -> RateNetwork:
    """ReLU units, of which some answer u, and others only swing by their noise around 0 and take LIFT from the output:
    their mean is sd / sqrt(2 pi). Without noise the output rests at LIFT, where a 0 is wrong."""
    n = ANSWERING + SWINGING
    answers = np.arange(n) < ANSWERING
    sd = NOISE / np.sqrt(1 - (1 - 0.005 / TAU) ** 2)
    taken = LIFT / (SWINGING * sd / np.sqrt(2 * np.pi))
    return follower(
        n, phi="relu", tau=np.full(n, TAU), w_rec=np.zeros((n, n)), w_in=answers[:, None] * 4.0, b_rec=-1.0 * answers,
        w_out=np.where(answers, 1.25 / ANSWERING, -taken)[None], b_out=np.array([LIFT]), noise_sd=NOISE, x0_sd=sd,
    )  # fmt: skip


def test_a_network_that_is_right_with_its_noise_alone_gives_one_that_is_right(task: FileTask) -> None:
    source, fresh = needs_its_noise(), task.trials(30, seed=0, first=30)

    def accuracy(with_noise: bool) -> float:
        outputs = simulate_rate(source, fresh.inputs, first_trial=30, with_noise=with_noise).outputs
        return float(task.judge(outputs, fresh, dt=source.dt, kind="rate", rule="mean").mean())

    assert accuracy(True) > 0.9
    assert accuracy(False) < 0.7
    found = calibrate(source, task, trials=30, rounds=1, preset=CHIP, rule="mean", n_threads=1)
    engine = Engine(found.network)
    outputs = engine.run(engine.start(30, first_trial=30), fresh.inputs).outputs[:, 0].transpose(2, 0, 1)
    assert task.judge(outputs, fresh, dt=1e-3, kind="spiking", rule="mean").mean() > 0.9
    ones = int(task.trials(30, seed=0).labels.sum())
    assert any(f"without its noise the rate network is right in {ones} of 30 cal" in w for w in found.warnings)
    assert found.history[found.best].right > 0.9 * found.history[found.best].judged


def test_the_mean_over_the_noise_is_nearer_to_what_many_draws_give_than_one_draw_is(task: FileTask) -> None:
    source = needs_its_noise()
    seen = observe(source, task, seed=0, trials=30, first=0)
    many = np.mean([simulate_rate(source, seen.trials.inputs, seed=s).outputs for s in range(100, 150)], axis=0)
    one = simulate_rate(source, seen.trials.inputs, seed=99).outputs
    assert np.std(seen.outputs - many) == pytest.approx(np.std(one - many) / np.sqrt(DRAWS), rel=0.15)


def test_a_network_that_is_right_without_its_noise_is_followed_without_it(task: FileTask) -> None:
    source = follower(20, w_in=np.full((20, 1), 16.0), b_rec=np.full(20, -6.0))
    seen = observe(source, task, seed=0, trials=12, first=0)
    quiet = simulate_rate(source, seen.trials.inputs, with_noise=False).outputs
    np.testing.assert_array_equal(seen.outputs, quiet)
    assert seen.warnings == ()


def test_which_outputs_are_right_is_for_the_rule_that_the_user_names() -> None:
    """Over 0.7 and under it on average: right by the published rule of Go trials, wrong by the strict one."""
    task = get_task("go-nogo")
    seen = observe(follower(8), task, seed=0, trials=6, first=0, rule="strict")
    outputs = np.zeros((200, 6, 1))
    outputs[150:160] = 0.9
    go = seen.trials.labels == 1
    assert not seen.right(outputs)[go].any()
    assert replace(seen, rule="published").right(outputs)[go].all()
    assert replace(seen, rule=None).right(outputs)[go].all()
