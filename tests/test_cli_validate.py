"""The verb validate: three depths, a gate for pipelines, and what it says when it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from small_models import DT, follower, write_model, write_trials
from typer.testing import CliRunner, Result

from spikeport import transfer
from spikeport.cli import app
from spikeport.snn.files import save_spiking_network


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    write_trials(tmp_path / "steps.h5", n=12)
    save_spiking_network(transfer(follower(), 60, dt=DT), tmp_path / "net.h5")
    return {"net": tmp_path / "net.h5", "model": write_model(tmp_path / "model.h5"), "task": tmp_path / "steps.h5"}


def call(files: dict[str, Path], *options: object) -> Result:
    arguments = ["validate", files["net"], "--against", files["model"], "--task", files["task"], *options]
    return CliRunner().invoke(app, [str(a) for a in arguments])


def parsed(done: Result, code: int = 0) -> dict[str, Any]:
    assert done.exit_code == code, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_the_reference_beside_the_ideal_is_the_ideal_at_every_depth(files: dict[str, Path]) -> None:
    found = parsed(call(files, "--targets", "reference", "--trials", 4, "--json"))
    assert found["levels"] == ["rate model", "spiking network", "reference"]
    assert found["replay"]["reference"]["differing"] == 0
    assert found["replay"]["reference"]["compared"] > 10
    assert found["free_running"]["reference"]["trials_that_part"] == 0
    assert found["free_running"]["reference"]["coincidence"]["mean"] == pytest.approx(1)
    mcnemar = found["accuracy"]["reference"]["mcnemar"]
    assert (mcnemar["only_there"], mcnemar["only_here"], mcnemar["p"]) == (0, 0, 1)


def test_the_table_has_a_line_for_each_level(files: dict[str, Path]) -> None:
    lines = call(files, "--targets", "reference", "--trials", 4).stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[3:6]] == ["rate model", "spiking network", "reference"]
    assert any("reference: replay of 2 trials, 0 of" in line for line in lines)


def test_a_requirement_that_fails_exits_with_1_and_says_which(files: dict[str, Path], tmp_path: Path) -> None:
    options = ["--require", "unit_correlation>=0.5", "--require", "mean_rate_hz>=1000", "--junit", tmp_path / "j.xml"]
    done = call(files, *options, "--json")
    found = parsed(done, code=1)
    assert [(v["requirement"], v["holds"]) for v in found["requirements"]] == [
        ("unit_correlation>=0.5", True), ("mean_rate_hz>=1000", False),
    ]  # fmt: skip
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert "FAILS  spiking network: mean_rate_hz>=1000" in call(files, *options[:4]).stdout


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--require", "beauty>=1"], "no number is called beauty"),
        (["--targets", "brain2"], "target 'brain2' is unknown"),
        (["--junit", "nowhere/j.xml"], "cannot be written"),
        (["--trials", "0"], "trials: 0, must be at least 1"),
        (["--rule", "mode"], "rule 'mode'"),
        (["--first", "10", "--trials", "3"], "trials: 3 from 10 on, the file has 12"),
        (["--targets", "reference", "--dtype", "float32"], "dtype 'float32': target reference has float64"),
    ],
)
def test_a_wrong_call_exits_with_2(files: dict[str, Path], options: list[str], part: str) -> None:
    done = call(files, *options)
    assert done.exit_code == 2
    assert part in done.stderr


def test_a_rate_network_of_another_size_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    files["model"] = write_model(tmp_path / "other.h5", n=21)
    done = call(files)
    assert done.exit_code == 2
    assert "level spiking network: 20 units, the rate network has 21" in done.stderr
