"""Fine-tuning: what it may change, what it must say, and when the calibrated network is kept."""

from __future__ import annotations

import functools
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from require import need
from small_models import follower, write_model, write_trials
from typer.testing import CliRunner

from spikeport.cli import app
from spikeport.convert.attribution.ideal import ideal_of
from spikeport.convert.attribution.steps import same, steps_between, undone
from spikeport.convert.calibration import Calibration, calibrate
from spikeport.convert.calibration.observed import observe
from spikeport.convert.conversion import convert_network
from spikeport.convert.finetuned import is_better
from spikeport.convert.search import SearchInterrupted
from spikeport.convert.trained import is_finetuned
from spikeport.snn.calibrated_range import RangeWatch
from spikeport.snn.engine import simulate
from spikeport.snn.errors import MissingDependencyError, SpikeportError
from spikeport.snn.files import load_spiking_network, save_spiking_network
from spikeport.snn.rate import RateNetwork
from spikeport.snn.tasks import FileTask
from spikeport.snn.training.tuning import (
    Teacher,
    TuningInterrupted,
    TuningLook,
    TuningOptions,
    check_tuning,
)
from spikeport.validation import validate_network

torch = need("torch", resource="train")

from spikeport.snn.training import bptt, surrogate, tune  # noqa: E402 (needs torch)

SOURCE = follower(
    10, w_rec=np.random.default_rng(1).normal(0, 0.5, (10, 10)) * (np.arange(100) % 3 > 0).reshape(10, 10)
)
TRIALS = 12
FEW = TuningOptions(steps=8, batch=6, look_every=4)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> FileTask:
    return write_trials(tmp_path_factory.mktemp("trials") / "t.npz", n=24)


@pytest.fixture(scope="module")
def calibration(task: FileTask) -> Calibration:
    return calibrate(SOURCE, task, trials=TRIALS, max_rate_hz=10.0, dt=1e-3, noise_sd=0.0, n_threads=1)


@pytest.fixture(scope="module")
def teacher(task: FileTask, calibration: Calibration) -> Teacher:
    seen = observe(SOURCE, task, seed=0, trials=TRIALS, first=0)
    return Teacher(
        inputs=seen.trials.inputs, outputs=seen.outputs, rates=seen.quiet_r, baseline=calibration.units.baseline,
        per_spike=1 / calibration.units.inverse_lambda, first=0, held_out=4,
    )  # fmt: skip


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikeport.convert.methods.TuningOptions", functools.partial(TuningOptions, steps=8, batch=6))


def convert(task: FileTask, source: RateNetwork = SOURCE, **changes: Any) -> Any:
    options: dict[str, Any] = {
        "method": "finetuned", "trials": TRIALS, "max_rate": 10.0, "dt": 1e-3, "noise": 0.0, "n_jobs": 1
    }  # fmt: skip
    return convert_network(source, task, **{**options, **changes})


def test_training_brings_a_disturbed_network_back_within_the_budget(calibration: Calibration, teacher: Teacher) -> None:
    (p,) = calibration.network.populations
    disturbed = replace(calibration.network, populations=(replace(p, bias=np.asarray(p.bias) - 2.0),))
    found = tune.tune(disturbed, teacher, replace(FEW, steps=24), max_rate_hz=10.0, n_threads=1)
    assert found.after.score < 0.7 * found.before.score
    assert found.after.mean_rate_hz <= 10.0
    assert [look.step for look in found.looks] == [0, 4, 8, 12, 16, 20, 24]


def test_zeros_stay_zeros_and_every_recurrent_weight_keeps_its_sign(calibration: Calibration, teacher: Teacher) -> None:
    model = surrogate.Model.of(calibration.network)
    start = surrogate.weights_of(model)
    setting = tune._task_of(calibration.network, teacher, FEW, 10.0)
    rng = np.random.default_rng(0)
    moved = tune._effective(setting, {n: bptt.tensor(rng.normal(0, 3, w.shape)) for n, w in start.items()})
    for name in ("projection 0", "projection 1"):
        assert bool((start[name] == 0).any()) or name == "projection 0"
        torch.testing.assert_close(torch.sign(moved[name]), torch.sign(start[name]))
    assert bool(((moved["out"] == 0) == (start["out"] == 0)).all())
    still = tune._effective(setting, {n: torch.zeros_like(w) for n, w in start.items()})
    for name, w in start.items():
        torch.testing.assert_close(still[name], w, rtol=0, atol=0)


def test_the_same_seed_gives_the_same_network_and_another_another(calibration: Calibration, teacher: Teacher) -> None:
    def trained(seed: int) -> np.ndarray:
        found = tune.tune(calibration.network, teacher, replace(FEW, seed=seed), n_threads=1)
        return np.array([look.loss for look in found.looks[1:]])

    one = trained(1)
    np.testing.assert_array_equal(one, trained(1))
    assert not np.array_equal(one, trained(2))


def test_a_look_is_the_engines_error_on_trials_that_do_not_train(calibration: Calibration, teacher: Teacher) -> None:
    look = tune.tune(calibration.network, teacher, replace(FEW, steps=1), n_threads=1).before
    wanted = teacher.outputs[:, 8:]
    run = simulate(calibration.network, teacher.inputs, dtype="float32")
    o = run.outputs["out"][:, 8:].astype(np.float64).reshape(40, 5, 4, 1).mean(axis=1)
    assert look.score == pytest.approx(np.sqrt(((o - wanted) ** 2).mean()) / wanted.std(), rel=1e-6)
    assert look.mean_rate_hz == pytest.approx(run.mean_rate_hz())
    other = teacher.outputs.copy()
    other[:, :8] += 1.0  # the trials that train are others: the look is the same
    again = tune.tune(calibration.network, replace(teacher, outputs=other), replace(FEW, steps=1), n_threads=1).before
    assert again.score == look.score


def test_a_looks_rate_is_that_of_many_trials(calibration: Calibration, teacher: Teacher) -> None:
    weights = np.arange(TRIALS) / np.arange(TRIALS).sum()
    options = replace(FEW, steps=1)
    look = tune.tune(calibration.network, replace(teacher, weights=weights), options, n_threads=1).before
    run = simulate(calibration.network, teacher.inputs, dtype="float32")
    rates = run.spikes["rec"].counts().sum(axis=1)
    assert look.mean_rate_hz == pytest.approx(np.dot(rates, weights) / (SOURCE.n_neurons * 0.2))


def test_spikes_of_rare_trials_cost_little_in_the_loss(calibration: Calibration, teacher: Teacher) -> None:
    def loss(weights: np.ndarray | None, max_rate_hz: float) -> float:
        taught = replace(teacher, weights=weights)
        setting = tune._task_of(calibration.network, taught, replace(FEW, batch=8), max_rate_hz)
        zero = {n: torch.zeros_like(w) for n, w in setting.start.items()}
        return tune._gradients(setting, zero, 0)[0]

    run = simulate(calibration.network, teacher.inputs, dtype="float32")
    spikes = run.spikes["rec"].counts().sum(axis=1)
    busy = spikes > spikes[: teacher.training].mean()
    rare, often = (np.where(busy == many, 0.99, 0.01) for many in (False, True))
    free = loss(None, np.inf)
    costs = [loss(w / w.sum(), 0.01) - free for w in (rare, np.ones(TRIALS), often)]
    assert 0 < costs[0] < costs[1] < costs[2]


def test_the_best_look_is_within_the_budget_and_the_first_of_equals() -> None:
    def look(score: float, hz: float) -> TuningLook:
        return TuningLook(step=0, score=score, mean_rate_hz=hz, loss=0.0)

    assert tune._best([look(0.9, 1), look(0.1, 3), look(0.5, 2)], 2.0) == 2
    assert tune._best([look(0.9, 3), look(0.1, 4)], 2.0) == 1
    assert tune._best([look(0.5, 1), look(0.5, 1)], 2.0) == 0


def test_torch_is_left_as_it_was(calibration: Calibration, teacher: Teacher) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    tune.tune(calibration.network, teacher, replace(FEW, steps=1), n_threads=1)
    assert torch.get_num_threads() == 2
    assert float(torch.tensor(1e-40) * 1) > 0  # subnormal numbers are numbers again
    torch.set_num_threads(before)


@pytest.mark.usefixtures("few")
def test_a_conversion_says_what_it_started_from_how_long_it_trained_and_what_that_gave(task: FileTask) -> None:
    found = convert(task)
    told = found.finetuning
    assert told.better
    assert told.after.score < told.before.score
    said = found.network.provenance
    assert (said["method"], found.method) == ("finetuned", "finetuned")
    kept = said["finetuning"]
    assert (kept["started_from"], kept["steps"], kept["better"]) == ("calibrated", 8, True)
    assert (kept["loss_before"], kept["loss_after"]) == (told.before.score, told.after.score)
    assert kept["options"]["steps"] == 8
    assert json.loads(json.dumps(found.as_dict()))["finetuning"]["loss_after"] == told.after.score
    assert found.spiking["mean"].trials == 24 - TRIALS
    assert not any("no better" in w for w in found.warnings)


@pytest.mark.usefixtures("few")
def test_the_range_that_a_run_watches_is_the_trained_networks_own(task: FileTask) -> None:
    network = convert(task).network
    watch = RangeWatch.of(network)
    assert watch is not None
    given = task.trials(TRIALS, seed=0)
    run = simulate(network, given.inputs, dtype="float32")
    watch = watch.add(run, given.inputs)
    assert watch.drive.outside.sum() == 0
    assert watch.add(run, 4 * given.inputs).warnings() != ()


def test_where_training_does_not_help_the_calibrated_network_is_kept_and_that_is_said(
    task: FileTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "spikeport.convert.methods.TuningOptions", functools.partial(TuningOptions, steps=2, learning_rate=1e-9)
    )
    found = convert(task)
    calibrated = convert(task, method="calibrated")
    assert not found.finetuning.better
    (warning,) = [w for w in found.warnings if "fine-tuning" in w]
    assert "made it no better" in warning
    assert "the calibrated network is kept" in warning
    assert found.network.provenance["method"] == "calibrated"
    assert found.network.provenance["finetuning"]["better"] is False
    for mine, theirs in zip(found.network.projections, calibrated.network.projections, strict=True):
        np.testing.assert_array_equal(mine.weight, theirs.weight)
    assert found.spiking == calibrated.spiking


@pytest.mark.parametrize(
    ("before", "after", "better"),
    [
        ((0.9, 1.0), (0.88, 1.0), False),  # a gain of less than 3 % is chance
        ((0.9, 1.0), (0.8, 1.0), True),
        (
            (0.9, 2.0),
            (1.0, 1.0),
            False,
        ),  # calibration kept the budget, and fresh trials will tell
        ((0.9, 2.0), (0.8, 1.0), True),
        ((0.9, 2.0), (0.5, 2.0), False),  # an error that a budget pays for
    ],
)
def test_better_is_less_error_within_the_budget(
    before: tuple[float, float], after: tuple[float, float], better: bool
) -> None:
    one, two = (TuningLook(step=i, score=s, mean_rate_hz=hz, loss=0.0) for i, (s, hz) in enumerate((before, after)))
    assert is_better(one, two, 1.5) is better


def test_an_interrupted_training_ends_with_what_it_had(
    task: FileTask, calibration: Calibration, teacher: Teacher
) -> None:
    def stop(done: int, total: int, what: str) -> None:
        if what.startswith("fine-tuning") and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(
        SearchInterrupted, match=r"in the fine-tuning, after 3 of 60 steps: output error \d\.\d+ before"
    ):
        convert(task, progress=stop)
    with pytest.raises(TuningInterrupted, match="after 3 of 8 steps") as caught:
        tune.tune(calibration.network, teacher, replace(FEW, look_every=1), progress=stop, n_threads=1)
    assert len(caught.value.result.looks) == 4
    assert caught.value.result.steps == 3


def test_without_torch_the_pip_line_comes_before_any_work(task: FileTask, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tune", "surrogate", "surrogate_model", "surrogate_scan", "bptt"):
        monkeypatch.delitem(sys.modules, f"spikeport.snn.training.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("spikeport.convert.methods.calibrate", None)  # what would be called next
    with pytest.raises(MissingDependencyError, match=r'(?s)finetuned.*pip install "spikeport\[train\]"'):
        convert(task)


def test_options_that_cannot_train_are_refused_all_at_once() -> None:
    with pytest.raises(
        SpikeportError, match=r"(?s)steps: 0, must be at least 1.*learning_rate: -1.*rate_weight: -0\.5"
    ):
        check_tuning(TuningOptions(steps=0, learning_rate=-1.0, rate_weight=-0.5))


@pytest.mark.usefixtures("few")
def test_the_command_line_fine_tunes_and_prints_before_and_after(tmp_path: Path) -> None:
    write_trials(tmp_path / "t.npz", n=24)
    model = write_model(tmp_path / "m.h5", n=10)
    call = ["convert", str(model), "--task", str(tmp_path / "t.npz"), "--dt", "1e-3", "--noise", "0", "--trials", "12"]
    call += ["--method", "finetuned", "--jobs", "1"]
    done = CliRunner().invoke(app, [*call, "--max-rate", "10", "-o", str(tmp_path / "n.h5")])
    assert done.exit_code == 0, done.output
    assert "fine-tuning  output error" in done.stdout
    assert "finetuning" in load_spiking_network(tmp_path / "n.h5").provenance
    done = CliRunner().invoke(app, [*call, "--pareto", "5,10"])
    assert done.exit_code == 2
    assert "not of 'finetuned'" in done.output
    done = CliRunner().invoke(app, [*call, "--grid", "20,40"])
    assert done.exit_code == 2
    assert "grid: an option of method 'lambda'" in done.output


# what the ladder makes of it


@pytest.mark.usefixtures("few")
def test_the_ladder_has_a_rung_from_the_calibrated_network_to_the_fine_tuned_one(
    task: FileTask, calibration: Calibration, tmp_path: Path
) -> None:
    save_spiking_network(convert(task).network, tmp_path / "n.h5")
    network = load_spiking_network(tmp_path / "n.h5")
    top, words = ideal_of(SOURCE, network)
    assert "the calibrated network, as its calibration made it" in words
    assert same(top, calibration.network)
    (step,) = steps_between(top, network)
    assert (step.name, step.declared) == ("fine-tuning", True)
    assert "8 steps: output error" in step.what
    assert same(undone(network, top, "fine-tuning"), top)


@pytest.mark.usefixtures("few")
def test_weights_that_changed_after_the_fine_tuning_are_undeclared(task: FileTask) -> None:
    network = convert(task).network
    j = network.projections[1]
    weight = j.weight.copy()
    weight[3] *= -1
    wrong = replace(network, projections=(network.projections[0], replace(j, weight=weight)))
    assert is_finetuned(network)
    assert not is_finetuned(wrong)
    assert [s.declared for s in steps_between(ideal_of(SOURCE, wrong)[0], wrong)] == [False]


@pytest.mark.usefixtures("few")
def test_validation_says_what_the_fine_tuning_changed_and_what_it_bought(task: FileTask) -> None:
    network = convert(task).network
    found = validate_network(network, SOURCE, task, first=12, trials=8, why=True)
    assert found.why is not None
    (ladder,) = found.why.ladders.values()
    assert [r.name for r in ladder.rungs] == ["rate model", "spiking at all", "fine-tuning"]
    assert [r.name for r in ladder.restored] == ["fine-tuning"]
    assert found.why.remainders == ()
