"""`validate --set`: a target's own choices, given to all that have them or to one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_models import follower, write_model, write_trials
from typer.testing import CliRunner, Result

from spikeport import transfer
from spikeport.cli import app
from spikeport.snn.errors import SpikeportError
from spikeport.snn.files import load_spiking_network, save_spiking_network
from spikeport.snn.tasks import get_task
from spikeport.targets.checking import shared_choices
from spikeport.targets.registry import get_target
from spikeport.targets.run import run_network

ALLOW = "precision,noise,synapse"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    write_trials(tmp_path / "steps.h5", n=12)
    save_spiking_network(transfer(follower(), 60, dt=1e-3), tmp_path / "net.h5")
    return {"net": tmp_path / "net.h5", "model": write_model(tmp_path / "model.h5"), "task": tmp_path / "steps.h5"}


def call(files: dict[str, Path], *options: object) -> Result:
    arguments = ["validate", files["net"], "--against", files["model"], "--task", files["task"], *options]
    return CliRunner().invoke(app, [str(a) for a in arguments])


def parsed(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def bits(found: dict[str, Any]) -> list[str]:
    return [loss for loss in found["losses"]["loihi"] if "weights of" in loss]


@pytest.mark.parametrize("setting", ["bits=4", "loihi.bits=4"])
def test_the_level_and_the_replay_are_those_of_the_choice(setting: str, files: dict[str, Path]) -> None:
    options = ["--targets", "loihi,spinnaker", "--allow", ALLOW, "--trials", 4, "--no-noise", "--json"]
    plain, four = parsed(call(files, *options)), parsed(call(files, *options, "--set", setting))
    assert "weights of 8 bits" in bits(plain)[0]
    assert "weights of 4 bits" in bits(four)[0]
    assert any("weights of 4 bits" in loss for loss in four["replay"]["loihi"]["losses"])
    assert four["provenance"]["settings"]["choices"] == setting
    alone = run_network(
        load_spiking_network(files["net"]), get_task(files["task"]), target="loihi", trials=4, allow=ALLOW.split(","),
        with_noise=False, bits="4",
    )  # fmt: skip
    assert four["accuracy"]["loihi"]["accuracy"] == alone.right[four["rule"]] / 4
    assert four["free_running"]["loihi"]["mean_rate_hz"] == pytest.approx(alone.mean_rate_hz)
    assert four["free_running"]["spinnaker"] == plain["free_running"]["spinnaker"]


def test_the_ladder_down_to_a_target_is_that_of_the_choice(files: dict[str, Path]) -> None:
    options = ["--targets", "loihi", "--allow", ALLOW, "--trials", 4, "--set", "bits=4", "--why", "--json"]
    steps = parsed(call(files, *options))["why"]["ladders"]["loihi"]["steps"]
    assert any("weights of 4 bits" in step["what"] for step in steps)
    assert not any("weights of 8 bits" in step["what"] for step in steps)


def test_the_choice_for_one_target_wins_over_that_for_all() -> None:
    loihi, onnx = get_target("loihi"), get_target("onnx")
    found = shared_choices([loihi, onnx], {"bits": "4", "loihi.bits": "6", "form": "step"})
    assert found == {"loihi": {"bits": "6"}, "onnx": {"form": "step"}}


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"bitz": "4"}, "bitz: none of these targets has such a choice"),
        ({"onnx.form": "step"}, r"onnx\.form: none of these targets has such a choice"),
        ({"loihi.form": "step"}, r"there are: bits, .*loihi\.bits"),
        ({"bits": "9"}, "bits: '9', must be one of 8, 6, 5, 4, 3, 2, 1"),
    ],
)
def test_what_no_target_has_is_refused(choices: dict[str, str], message: str) -> None:
    with pytest.raises(SpikeportError, match=message):
        shared_choices([get_target("loihi")], choices)
