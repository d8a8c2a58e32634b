"""check, export, targets and run --target: what they print, and what they say when they cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conformance_networks import plain
from require import missing
from small_models import DT, follower, write_trials
from typer.testing import CliRunner, Result

from spikeport import transfer
from spikeport.cli import app
from spikeport.snn.files import save_spiking_network
from spikeport.targets import checking
from spikeport.targets.registry import TARGETS, get_target

FRAMEWORKS = ("torch", "snntorch", "norse", "brian2", "nest", "onnx", "onnxruntime", "nir", "nirtorch", "pyNN", "jax")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def parsed(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def kim(tmp_path: Path) -> Path:
    """A network as the published code makes it: refractory from the start, noisy, two exponentials."""
    save_spiking_network(transfer(follower(), 40, preset="kim2019"), tmp_path / "kim.h5")
    return tmp_path / "kim.h5"


@pytest.fixture
def simple(tmp_path: Path) -> Path:
    save_spiking_network(plain(), tmp_path / "plain.h5")
    return tmp_path / "plain.h5"


def no_longer_installed(monkeypatch: pytest.MonkeyPatch, gone: str) -> None:
    present = checking.importlib.util.find_spec
    monkeypatch.setattr(checking.importlib.util, "find_spec", lambda name: None if name == gone else present(name))
    assert checking.importlib.util.find_spec(gone) is None


# check


def test_check_has_a_row_for_every_target_with_its_reasons(kim: Path) -> None:
    rows = {row["target"]: row for row in parsed(call("check", kim, "--all-targets", "--json"))["targets"]}
    assert list(rows) == list(TARGETS)
    assert rows["engine"]["takes"]
    assert not rows["nir"]["takes"]
    assert any("t_ref: 2 ms" in problem for problem in rows["nir"]["problems"])
    for row in rows.values():
        assert row["takes"] != bool(row["problems"])


def test_check_of_a_named_target_that_refuses_exits_with_1(kim: Path) -> None:
    done = call("check", kim, "--target", "nir", "--target", "engine")
    assert done.exit_code == 1
    assert "nir" in done.stdout
    assert "population rec: t_ref: 2 ms" in done.stdout
    assert "Try: --allow" in done.stdout
    assert "engine  takes it exactly" in done.stdout


def test_check_of_a_target_that_takes_it_exits_with_0(simple: Path) -> None:
    assert call("check", simple, "--target", "engine").exit_code == 0


def test_what_is_allowed_is_a_named_loss(kim: Path) -> None:
    allow = "refractory,initially_refractory,noise,initial_v,synapse,noise_while_refractory,spikes_while_refractory"
    (row,) = parsed(call("check", kim, "--target", "nest", "--allow", allow, "--json"))["targets"]
    assert row["takes"]
    assert "no noise while refractory" in {loss["what"] for loss in row["losses"]}


def test_check_imports_no_framework(kim: Path) -> None:
    code = (
        "import sys; from spikeport.cli import app\n"
        "try: app()\nexcept SystemExit as end: print('CODE', end.code)\n"
        f"print('LOADED', *(m for m in {FRAMEWORKS!r} if m in sys.modules))"
    )
    call = [sys.executable, "-c", code, "check", str(kim), "--all-targets"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["CODE 0", "LOADED"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["name a target, or all of them", "--target nir, or --all-targets"]),
        (["--target", "engine", "--all-targets"], ["name a target, or all of them"]),
        (["--target", "brain2"], ["target 'brain2' is unknown", "brian2"]),
        (["--target", "nir", "--for", "nobody"], ["reader: 'nobody'", "snntorch"]),
        (["--target", "engine", "--allow", "everything"], ["everything is no approximation", "refractory"]),
    ],
)
def test_a_wrong_call_of_check_exits_with_2(simple: Path, arguments: list[str], parts: list[str]) -> None:
    done = call("check", simple, *arguments)
    assert done.exit_code == 2
    assert all(part in done.stderr for part in parts), done.stderr


def test_a_choice_goes_to_the_targets_that_have_it(simple: Path) -> None:
    found = parsed(call("check", simple, "--all-targets", "--for", "norse", "--json"))
    (row,) = [row for row in found["targets"] if row["target"] == "nir"]
    assert (row["takes"], row["losses"]) == (True, [])
    done = call("check", simple, "--target", "engine", "--for", "norse")
    assert (done.exit_code, "none of these targets has such a choice" in done.stderr) == (2, True)


def test_choices_without_an_option_of_their_own_are_set_by_name(simple: Path, tmp_path: Path) -> None:
    done = call("export", simple, "--target", "onnx", "-o", tmp_path / "v.onnx", "--set", "traces=v", "--json")
    assert parsed(done)["choices"]["traces"] == "v"
    for text, part in {"traces": "is not NAME=VALUE", "traces=all": "must be one of none, v"}.items():
        done = call("export", simple, "--target", "onnx", "-o", tmp_path / "w.onnx", "--set", text)
        assert (done.exit_code, part in done.stderr) == (2, True), done.stderr


# targets


def test_targets_lists_each_with_what_it_does_and_needs() -> None:
    rows = {row["target"]: row for row in parsed(call("targets", "--json"))["targets"]}
    assert list(rows) == list(TARGETS)
    assert (rows["engine"]["runs"], rows["engine"]["exports"]) == (True, False)
    assert (rows["onnx"]["runs"], rows["onnx"]["exports"]) == (True, True)
    assert "snntorch" in rows["nir"]["choices"]["reader"]
    for name, row in rows.items():
        assert row["source"], f"{name}: a limit without a source"


@pytest.mark.parametrize("name", [n for n in TARGETS if get_target(n).requires])
def test_a_target_that_is_not_installed_names_the_pip_line(
    name: str, kim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = get_target(name)
    no_longer_installed(monkeypatch, target.requires[-1])
    done = call("targets", "--json")
    (row,) = [row for row in json.loads(done.stdout)["targets"] if row["target"] == name]
    assert row["fix"] == f'pip install "spikeport[{target.extra}]"'
    if row["exports"]:
        done = call("export", kim, "--target", name, "-o", tmp_path / "out.file")
    else:
        done = call("run", kim, "--task", "go-nogo", "--target", name)
    assert done.exit_code == 2
    assert f'{target.requires[-1]}, which is not installed\nTry: pip install "spikeport[{target.extra}]"' in done.stderr


# run and export


def test_run_on_a_target_that_refuses_exits_with_1_and_every_reason(kim: Path) -> None:
    done = call("run", kim, "--task", "go-nogo", "--target", "nest", "--trials", "1")
    assert done.exit_code == 1
    assert "nest: cannot take this network" in done.stderr
    assert "population rec: noise while refractory: yes, not supported" in done.stderr
    assert "Try: --allow noise_while_refractory" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "nir"], "target nir does not run networks, it writes files"),
        (["--target", "engine", "--device", "cuda"], "device 'cuda': target engine has cpu"),
        (["--target", "engine", "--batch", "0"], "batch: 0, must be at least 1"),
    ],
)
def test_a_wrong_call_of_run_exits_with_2(kim: Path, options: list[str], message: str) -> None:
    done = call("run", kim, "--task", "go-nogo", *options)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_batch_of_another_size_is_the_same_run(tmp_path: Path) -> None:
    write_trials(tmp_path / "steps.h5", n=7)
    save_spiking_network(transfer(follower(), 40, dt=DT), tmp_path / "net.h5")
    found = [
        parsed(call("run", tmp_path / "net.h5", "--task", tmp_path / "steps.h5", "--batch", n, "--json"))
        for n in (1, 3, 20)
    ]
    assert len({(f["spiking_accuracy"], f["mean_rate_hz"], f["trials"]) for f in found}) == 1


def test_an_export_that_is_refused_writes_nothing_and_exits_with_1(kim: Path, tmp_path: Path) -> None:
    done = call("export", kim, "--target", "nir", "-o", tmp_path / "net.nir")
    assert done.exit_code == 1
    assert "nir: cannot take this network" in done.stderr
    assert not (tmp_path / "net.nir").exists()


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("nowhere/net.onnx", [], "cannot be written"),
        ("kim.h5", ["--force"], "is an input of this command as well as its output"),
        ("there.onnx", [], "exists already"),
        ("net.onnx", ["--form", "spiral"], "form: 'spiral', must be one of"),
        ("net.onnx", ["--for", "norse"], "reader: onnx has no such choice"),
    ],
)
def test_a_wrong_call_of_export_exits_with_2_and_costs_no_file(
    kim: Path, tmp_path: Path, output: str, options: list[str], message: str
) -> None:
    (tmp_path / "there.onnx").write_text("mine")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    done = call("export", kim, "--target", "onnx", "-o", tmp_path / output, *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("target", ["brian2", "pynn"])
def test_export_names_every_file_that_it_wrote(target: str, simple: Path, tmp_path: Path) -> None:
    if checking.missing_modules(get_target(target)):
        missing(get_target(target).extra, f"{target} is not installed")
    before = set(tmp_path.iterdir())
    found = parsed(call("export", simple, "--target", target, "-o", tmp_path / "out.py", "--json"))
    assert {Path(p) for p in [found["output"], *found["beside"]]} == set(tmp_path.iterdir()) - before
    assert len(found["beside"]) == 1


def test_export_says_what_it_wrote(kim: Path, tmp_path: Path) -> None:
    checking.exporter("onnx")
    found = parsed(call("export", kim, "--target", "onnx", "-o", tmp_path / "net.onnx", "--form", "step", "--json"))
    assert found["output"] == str(tmp_path / "net.onnx")
    assert found["losses"] == []
    assert found["choices"]["form"] == "step"
    assert (tmp_path / "net.onnx").stat().st_size > 1000
