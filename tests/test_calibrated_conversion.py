"""The conversion around a calibration: which trials measure it, its budget, its options, its command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_models import follower, write_model, write_trials
from typer.testing import CliRunner

from spikeport.cli import app
from spikeport.convert.conversion import convert_network
from spikeport.convert.pareto import pareto, parse_budgets
from spikeport.snn.engine import Engine
from spikeport.snn.errors import SpikeportError
from spikeport.snn.files import load_spiking_network
from spikeport.snn.tasks import FileTask


@pytest.fixture
def task(tmp_path: Path) -> FileTask:
    return write_trials(tmp_path / "trials.npz", n=24)


def test_a_calibrated_conversion_is_measured_on_trials_that_calibration_did_not_see(task: FileTask) -> None:
    found = convert_network(follower(12), task, method="calibrated", trials=10, max_rate=50.0, dt=1e-3, noise=0.0)
    assert (found.method, found.search_trials, found.search) == ("calibrated", 10, ())
    assert found.spiking["mean"].trials == task.n_trials - 10
    engine, fresh = Engine(found.network, dtype="float32"), task.trials(14, seed=0, first=10)
    outputs = engine.run(engine.start(14, first_trial=10), fresh.inputs).outputs[:, 0].transpose(2, 0, 1)
    right = int(task.judge(outputs, fresh, dt=1e-3, kind="spiking", rule="mean").sum())
    assert found.spiking["mean"].right == right
    assert json.loads(json.dumps(found.as_dict()))["calibration"]["method"] == "calibrated"


def test_the_lambda_search_keeps_a_budget_too(task: FileTask) -> None:
    free = convert_network(follower(12), task, grid="20,40,80", trials=10, dt=1e-3)
    budget = sorted(c.mean_rate_hz for c in free.search)[1]
    held = convert_network(follower(12), task, grid="20,40,80", trials=10, dt=1e-3, max_rate=budget)
    assert held.search == free.search
    chosen = next(c for c in held.search if c.inverse_lambda == held.inverse_lambda)
    assert chosen.mean_rate_hz <= budget
    with pytest.raises(SpikeportError, match=r"no 1/lambda of the search stays within 0\.001 spikes/s"):
        convert_network(follower(12), task, grid="20,40", trials=10, dt=1e-3, max_rate=0.001)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "guessed"}, "method 'guessed' is unknown, must be one of lambda, calibrated"),
        ({"method": "calibrated", "grid": "20:75:5"}, "grid: an option of method 'lambda'"),
        ({"method": "calibrated", "fast": True}, "fast: an option of method 'lambda'"),
        ({"max_rate": -1.0}, r"max rate: -1\.0 spikes/s a unit, must be positive"),
        ({"noise": -1.0}, r"noise: -1\.0 mV a step, must be 0 or more"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], message: str, task: FileTask) -> None:
    with pytest.raises(SpikeportError, match=message):
        convert_network(follower(4), task, **options)


def test_pareto_converts_for_each_budget_and_more_spikes_are_spent_where_allowed(task: FileTask) -> None:
    points = pareto(follower(12), task, "40,10", trials=10, dt=1e-3, noise=0.0)
    assert [p.max_rate_hz for p in points] == [10.0, 40.0]
    assert points[0].mean_rate_hz < points[1].mean_rate_hz


@pytest.mark.parametrize("budgets", ["", "a,b", "0,5", "5,inf", [-1.0]])
def test_budgets_that_are_none_are_refused(budgets: Any) -> None:
    with pytest.raises(SpikeportError, match="positive numbers, in spikes/s a unit"):
        parse_budgets(budgets)


def test_the_command_line_calibrates_and_prints_the_rounds(tmp_path: Path) -> None:
    write_trials(tmp_path / "t.npz", n=16)
    model = write_model(tmp_path / "m.h5", n=10)
    call = ["convert", str(model), "--task", str(tmp_path / "t.npz"), "--dt", "1e-3", "--noise", "0", "--trials", "8"]
    done = CliRunner().invoke(app, [*call, "--method", "calibrated", "--max-rate", "40", "-o", str(tmp_path / "n.h5")])
    assert done.exit_code == 0, done.output
    assert "f-I match    output error" in done.stdout
    assert "budget 40 spikes/s" in done.stdout
    kept = load_spiking_network(tmp_path / "n.h5")
    assert kept.provenance["method"] == "calibrated"
    done = CliRunner().invoke(app, [*call, "--pareto", "10,40"])
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()[3:5]] == ["10", "40"]
    done = CliRunner().invoke(app, [*call, "--pareto", "10,40", "-o", str(tmp_path / "x.h5")])
    assert done.exit_code == 2
    assert not (tmp_path / "x.h5").exists()
