"""`spikeport validate --why`: the ladder as a person reads it, and the same as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_models import DT, follower, write_model, write_trials
from typer.testing import CliRunner, Result

from spikeport import transfer
from spikeport.cli import app
from spikeport.snn.files import save_spiking_network


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    write_trials(tmp_path / "steps.h5", n=12)
    network = transfer(follower(), 60, dt=DT)
    j = network.projections[1]
    weight = j.weight.copy()
    weight[3] *= -1
    wrong = replace(network, projections=(network.projections[0], replace(j, weight=weight)))
    for name, made in (("net", network), ("wrong", wrong)):
        save_spiking_network(made, tmp_path / f"{name}.h5")
    write_model(tmp_path / "model.h5")
    return {name: tmp_path / f"{name}.h5" for name in ("net", "wrong", "model", "steps")}


def call(files: dict[str, Path], network: str, *options: object) -> Result:
    arguments = ["validate", files[network], "--against", files["model"], "--task", files["steps"], "--why", *options]
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_ladder_has_a_line_for_each_step_with_its_cost(files: dict[str, Path]) -> None:
    done = call(files, "net", "--targets", "engine")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    start = lines.index("from the rate model down to engine, one step at a time")
    steps = ["rate model", "spiking at all", "dt", "dt: noise per step", "the target's own arithmetic"]
    rungs = [line for line in lines[start + 2 :] if "[" in line and line.startswith("  ") and line[2] != " "]
    for line, step in zip(rungs, steps, strict=False):
        assert line.strip().startswith(step)
    assert "engine with one step undone" in lines
    assert any("costs" in line for line in lines)


def test_the_ladder_of_the_printout_is_that_of_the_json(files: dict[str, Path]) -> None:
    found = json.loads(call(files, "wrong", "--json").stdout)
    printed = call(files, "wrong").stdout
    ladder = found["why"]["ladders"]["spiking network"]
    for step in (*ladder["steps"], *ladder["restored"]):
        low, high = step["interval"]
        assert f"{step['accuracy']:.3f} [{low:.3f}, {high:.3f}]" in printed
    assert found["why"]["sentence"] in " ".join(printed.split())


def test_a_file_that_differs_from_its_model_is_said_where(files: dict[str, Path]) -> None:
    printed = " ".join(call(files, "wrong").stdout.split())
    assert "Undeclared: spiking network: population rec, unit 3, through rec->rec" in printed
    assert "projection rec->rec: weights of unit 3, -1 times what they were" in printed


def test_without_why_nothing_is_climbed(files: dict[str, Path]) -> None:
    arguments = ["validate", files["net"], "--against", files["model"], "--task", files["steps"], "--json"]
    found = json.loads(CliRunner().invoke(app, [str(a) for a in arguments]).stdout)
    assert found["why"] is None
