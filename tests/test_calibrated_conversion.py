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
from spikeport.convert.pareto import ParetoInterrupted, Refused, compared, pareto, parse_budgets
from spikeport.convert.search import Parts, Search, run_parts
from spikeport.snn.engine import Engine
from spikeport.snn.errors import RefusedError, SpikeportError
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
    ("method", "said"), [("lambda", "--method calibrated"), ("calibrated", "--method finetuned (extra train)")]
)
def test_clearly_fewer_right_than_the_rate_network_is_a_warning_with_a_next_step(
    method: str, said: str, tmp_path: Path
) -> None:
    task = write_trials(tmp_path / "many.npz", n=80)
    few: dict[str, Any] = {"grid": "5000"} if method == "lambda" else {"max_rate": 0.5}
    found = convert_network(follower(12), task, method=method, trials=10, dt=1e-3, noise=0.0, **few)
    rule = found.rule
    assert rule is not None
    assert found.spiking[rule].interval[1] < found.rate[rule].interval[0]
    (warning,) = [w for w in found.warnings if w.startswith("right in")]
    assert f"right in {found.spiking[rule].right} of 70 fresh trials by '{rule}'" in warning
    assert said in warning
    good = convert_network(follower(12), task, method="calibrated", trials=10, dt=1e-3, noise=0.0, max_rate=50.0)
    assert not any(w.startswith("right in") for w in good.warnings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "guessed"}, "method 'guessed' is unknown, must be one of lambda, calibrated"),
        ({"method": "calibrated", "grid": "20:75:5"}, "grid: an option of method 'lambda'"),
        ({"method": "calibrated", "fast": True}, "fast: an option of method 'lambda'"),
        ({"max_rate": -1.0}, r"max rate: -1 spikes/s a unit, must be at least 1e-06"),
        ({"noise": -1.0}, r"noise: -1 mV a step, must be 0 or more"),
        ({"noise": (0.0, 0.1)}, r"(?s)'lambda' chooses 1/lambda alone, as published.*noise: 0:0\.1, must be one value"),
        ({"t_ref": (0.0, 0.1)}, r"(?s)'lambda' chooses.*t_ref: 0:0\.1, must be one value"),
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
    assert "% of 40 spikes/s" in done.stdout
    kept = load_spiking_network(tmp_path / "n.h5")
    assert kept.provenance["method"] == "calibrated"
    done = CliRunner().invoke(app, [*call, "--pareto", "10,40"])
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()[3:5]] == ["10", "40"]
    done = CliRunner().invoke(app, [*call, "--pareto", "10,40", "-o", str(tmp_path / "x.h5")])
    assert done.exit_code == 2
    assert not (tmp_path / "x.h5").exists()


def test_two_candidates_are_printed_with_the_reason_and_a_single_one_is_not(tmp_path: Path) -> None:
    """Where no range is given, the refractory periods are none and the preset's."""
    write_trials(tmp_path / "t.npz", n=16)
    model = write_model(tmp_path / "m.h5", n=8)
    call = ["convert", str(model), "--task", str(tmp_path / "t.npz"), "--dt", "1e-3", "--noise", "0", "--trials", "8"]
    for more, candidates in (([], 2), (["--t-ref", "0"], 1)):
        done = CliRunner().invoke(app, [*call, "--method", "calibrated", "--json", *more])
        assert len(json.loads(done.stdout)["calibration"]["choices"]) == candidates
        shown = CliRunner().invoke(app, [*call, "--method", "calibrated", *more]).stdout.splitlines()
        lines = [line for line in shown if line.startswith("candidate    noise")]
        assert len(lines) == (candidates if candidates > 1 else 0)
        assert sum("<- chosen" in line for line in lines) == (candidates > 1)
        assert any(line.startswith("choice       noise") for line in shown) == (candidates > 1)


def test_a_silent_network_is_one_warning(task: FileTask) -> None:
    found = convert_network(follower(8), task, method="calibrated", trials=10, max_rate=1e-4, dt=1e-3, noise=0.0)
    assert found.mean_rate_hz == 0
    (silent,) = [w for w in found.warnings if "silent" in w]
    assert silent == "the network is silent: no unit fired in any trial; the budget may be too small for any to fire"
    assert not any("a constant would do as well" in w for w in found.warnings)


def test_an_answer_that_is_over_before_spiking_networks_are_judged_is_no_fault_of_the_conversion() -> None:
    """Go-NoGo: rate outputs are judged from 0.25 s, spiking ones from 0.5 s; a follower's answer ends at 0.375 s."""
    found = convert_network(
        follower(8), "go-nogo", method="calibrated", trials=6, test_trials=20, max_rate=30.0, dt=1e-3, noise=0.0
    )
    assert found.rate["published"].accuracy == 1.0
    assert found.spiking["published"].accuracy < 0.9
    (warning,) = [w for w in found.warnings if "judged in the window of spiking networks" in w]
    assert "of 20 trials by 'published'" in warning


def fresh_of(rate: float, error: float) -> Any:
    return lambda *_, **__: Parts(
        right={"mean": 7, "max": 7, "nearest": 7}, rate_hz=rate, rate_error=error, distance=0.0
    )


@pytest.mark.parametrize("method", ["lambda", "calibrated"])
def test_fresh_trials_above_the_budget_refuse_the_network_unless_they_can_be_that_far_off(
    method: str, task: FileTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"method": method, "trials": 10, "max_rate": 30.0, "dt": 1e-3, "noise": 0.0}
    options |= {"grid": "20"} if method == "lambda" else {}
    monkeypatch.setattr("spikeport.convert.conversion.run_parts", fresh_of(33.0, 1.0))
    with pytest.raises(RefusedError, match=r"above the budget of 30 spikes/s a unit") as refusal:
        convert_network(follower(8), task, **options)
    assert refusal.value.problems[0].startswith("33 on 14 fresh trials, +- 2 (95%)")
    assert refusal.value.hint.startswith("--max-rate 26.7")
    monkeypatch.setattr("spikeport.convert.conversion.run_parts", fresh_of(33.0, 2.0))
    found = convert_network(follower(8), task, **options)
    assert any(
        "33 +- 3.9 spikes/s a unit (95%) on 14 fresh trials, above the budget of 30" in w for w in found.warnings
    )


def test_the_error_of_a_mean_rate_is_that_of_its_trials(task: FileTask) -> None:
    network = convert_network(follower(8), task, grid="40", trials=10, dt=1e-3).network
    search = Search(build=lambda v: network, task=task, rule="mean", source=follower(8), trials=10, n_jobs=1)
    found = run_parts(network, search, first=10, n=14)
    engine, fresh = Engine(network, dtype="float32"), task.trials(14, seed=0, first=10)
    rates = engine.run(engine.start(14, first_trial=10), fresh.inputs).counts[:, 0].mean(axis=1) / 0.2
    assert found.rate_hz == pytest.approx(rates.mean())
    assert found.rate_error == pytest.approx(rates.std(ddof=1) / 14**0.5)
    assert run_parts(network, search, first=10, n=1).rate_error == float("inf")


def test_what_the_bracket_or_the_budget_refuses_ends_with_code_1_and_writes_nothing(tmp_path: Path) -> None:
    write_trials(tmp_path / "t.npz", n=16)
    model = write_model(tmp_path / "m.h5", n=8)
    call = ["convert", str(model), "--task", str(tmp_path / "t.npz"), "--dt", "1e-3", "--noise", "0", "--trials", "8"]
    call += ["--method", "calibrated", "-o", str(tmp_path / "n.h5")]
    for more, said in (
        (["--bracket", "200:300", "--max-rate", "2"], "no calibration stays within 2 spikes/s a unit"),
        (["--bracket", "20000:40000"], "1/lambda cannot be 20000 or more for 8 of 8 units"),
    ):
        done = CliRunner().invoke(app, [*call, *more])
        assert done.exit_code == 1, done.output
        assert said in done.stderr
        assert "Try: --" in done.stderr
        assert not (tmp_path / "n.h5").exists()


def test_a_budget_that_cannot_be_kept_is_named_beside_those_that_can(task: FileTask) -> None:
    refused: list[Refused] = []
    options: dict[str, Any] = {"trials": 10, "dt": 1e-3, "noise": 0.0, "bracket": (50.0, 300.0)}
    points = pareto(follower(8), task, "1,60", refused=refused, **options)
    assert [p.max_rate_hz for p in points] == [60.0]
    assert [r.max_rate_hz for r in refused] == [1.0]
    said = compared("steps", points, refused)["warnings"]
    assert said[0].startswith("budget 1: no calibration stays within 1 spikes/s a unit; the fewest: ")
    with pytest.raises(RefusedError, match="no calibration stays within 1 "):
        pareto(follower(8), task, "1", refused=[], **options)


@pytest.mark.parametrize("method", ["lambda", "finetuned"])
def test_a_comparison_of_budgets_is_of_no_other_method(method: str, tmp_path: Path) -> None:
    write_trials(tmp_path / "t.npz", n=16)
    model = write_model(tmp_path / "m.h5", n=8)
    done = CliRunner().invoke(
        app, ["convert", str(model), "--task", str(tmp_path / "t.npz"), "--pareto", "5,10", "--method", method]
    )
    assert done.exit_code == 2
    assert f"--pareto: compares budgets of method 'calibrated', not of '{method}'" in done.stderr


def interrupting(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    made: list[float] = []

    def convert(*args: Any, max_rate: float, **options: Any) -> Any:
        if len(made) == after:
            raise KeyboardInterrupt
        made.append(max_rate)
        return convert_network(*args, max_rate=max_rate, **options)

    monkeypatch.setattr("spikeport.convert.pareto.convert_network", convert)


def test_an_interrupted_comparison_keeps_the_budgets_that_were_finished(
    task: FileTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupting(monkeypatch, after=1)
    with pytest.raises(ParetoInterrupted, match="interrupted at budget 40, after 1 of 2 budgets") as stop:
        pareto(follower(8), task, "40,10", trials=10, dt=1e-3, noise=0.0)
    assert [p.max_rate_hz for p in stop.value.points] == [10.0]


def test_ctrl_c_prints_the_finished_budgets_and_the_exit_code_is_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupting(monkeypatch, after=1)
    write_trials(tmp_path / "t.npz", n=16)
    model = write_model(tmp_path / "m.h5", n=8)
    call = ["convert", str(model), "--task", str(tmp_path / "t.npz"), "--dt", "1e-3", "--noise", "0", "--trials", "8"]
    done = CliRunner().invoke(app, [*call, "--pareto", "10,40"])
    assert done.exit_code == 130
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[3:4]] == ["10"]
    assert "Next" not in done.stdout
    assert "interrupted at budget 40, after 1 of 2 budgets" in done.stderr


def test_each_warning_of_a_comparison_names_its_budgets(task: FileTask) -> None:
    points = pareto(follower(8), task, "0.0001,0.0002,30", trials=10, dt=1e-3, noise=0.0)
    found = compared("steps", points)
    assert any(w.startswith("budgets 0.0001, 0.0002: the network is silent: ") for w in found["warnings"])
    assert all(w.startswith("budget") for w in found["warnings"])
    json.dumps(found)


def test_the_command_line_takes_bounds_and_prints_every_candidate(tmp_path: Path) -> None:
    write_trials(tmp_path / "t.npz", n=16)
    model = write_model(tmp_path / "m.h5", n=8)
    call = ["convert", str(model), "--task", str(tmp_path / "t.npz"), "--dt", "1e-3", "--trials", "8"]
    bounds = ["--noise", "0:0.2", "--t-ref", "0:0.001", "--bracket", "5:500"]
    done = CliRunner().invoke(app, [*call, *bounds, "--method", "calibrated", "--max-rate", "20"])
    assert done.exit_code == 0, done.output
    assert len([line for line in done.stdout.splitlines() if line.startswith("candidate    noise")]) == 6
    assert "choice       noise" in done.stdout
    done = CliRunner().invoke(app, [*call, "--noise", "0:0.2"])
    assert done.exit_code == 2
    assert "chooses 1/lambda alone, as published" in done.output
    done = CliRunner().invoke(app, [*call, "--noise", "little"])
    assert done.exit_code == 2
    assert "'little' is not a number, nor LOW:HIGH" in done.output
