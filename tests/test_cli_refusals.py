"""A wrong call is one message and exit code 2, and nothing that was there is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_files import nan, plain, published, write_npz, write_safetensors, write_v5, write_v73
from require import need
from small_models import DT, write_model, write_trials
from typer.testing import CliRunner, Result

from spikeport.cli import app
from spikeport.convert import conversion

PROGRAM = Path(sys.executable).parent / "spikeport"
OLD = b"what stood here before\n"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def assert_one_message(exit_code: int, stdout: str, stderr: str, *parts: str) -> None:
    assert exit_code == 2, stderr
    assert stdout == ""
    for part in parts:
        assert part in stderr
    assert "Traceback" not in stderr
    lines = stderr.splitlines()
    assert sum(line.startswith("Try: ") for line in lines) <= 1, "one next step"
    inner = [line for line in lines[1:] if not line.startswith("Try: ")]
    assert all(line.startswith("  ") for line in inner), "one headline, and its problems below it"


def assert_refused(folder: Path, arguments: list[Any], *parts: str) -> None:
    """Over an output that exists, with leave to replace it: it stays to the last byte, nothing is left beside it."""
    output = folder / "old.h5"
    output.write_bytes(OLD)
    before = sorted(folder.iterdir())
    done = call(*arguments, "-o", output, "--force")
    assert_one_message(done.exit_code, done.stdout, done.stderr, *parts)
    assert output.read_bytes() == OLD
    assert sorted(folder.iterdir()) == before


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def text(path: Path) -> Path:
    path.write_text("a,b\n1,2\n")
    return path


def one_unit(**changes: Any) -> dict[str, Any]:
    return plain(n=1, **changes)


Write = Callable[[Path], Path]
BAD_MODELS: dict[str, tuple[Write, str]] = {
    "truncated .mat": (lambda f: cut(write_v5(f / "m.mat", published())), "truncated"),
    "truncated .mat v7.3": (lambda f: cut(write_v73(f / "m.mat", published())), "m.mat"),
    "text with the name of a .mat": (lambda f: text(f / "m.mat"), "its content is plain text"),
    ".mat without w": (lambda f: write_v5(f / "m.mat", published(w=None)), "missing: w"),
    "NaN in the weights": (lambda f: write_v5(f / "m.mat", published(w=nan((6, 6)))), "NaN"),
    "NaN in the weights of an .npz": (lambda f: write_npz(f / "m.npz", plain(w_rec=nan((6, 6)))), "w_rec: 1 values"),
    "wrong shapes": (lambda f: write_npz(f / "m.npz", plain(w_in=np.ones((5, 2)))), "w_in: shape (5, 2)"),
    "tau of a step": (lambda f: write_npz(f / "m.npz", plain(tau=np.full(6, 0.005))), "tau: 0.005 s at unit 0"),
    "tau below a step": (lambda f: write_npz(f / "m.npz", plain(tau=np.full(6, 0.004))), "must be above dt = 0.005 s"),
    "signed activation": (lambda f: write_npz(f / "m.npz", plain(phi="softsign")), "'softsign' is signed"),
    "signed, safetensors": (lambda f: write_safetensors(f / "m.safetensors", plain(phi="linear")), "no firing rate"),
    "one unit": (lambda f: write_npz(f / "m.npz", one_unit()), "N = 1"),
    "nothing": (lambda f: f / "m.h5", "no such file"),
    "a folder": (lambda f: f, "is a folder"),
    "an empty file": (lambda f: (f / "m.h5").touch() or f / "m.h5", "is empty"),  # type: ignore[func-returns-value]
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_MODELS)
def test_a_model_that_is_none_is_refused(case: str, tmp_path: Path) -> None:
    write, part = BAD_MODELS[case]
    assert_refused(tmp_path, ["convert", write(tmp_path), "--task", "go-nogo"], part)


class Payload:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


def test_a_pickle_in_an_npz_is_refused_and_never_runs(tmp_path: Path) -> None:
    trace = tmp_path / "it ran"
    path = write_npz(tmp_path / "m.npz", plain(w_rec=np.array([Payload(trace)], dtype=object)))
    with np.load(path, allow_pickle=True) as file:
        file["w_rec"]
    assert trace.exists(), "the payload works, where a reader lets it"
    trace.unlink()
    for arguments in (
        ["convert", path, "--task", "go-nogo"],
        ["convert", write_model(tmp_path / "g.h5"), "--task", path],
    ):
        assert_refused(tmp_path, arguments, "pickle")
        assert not trace.exists()


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--task", "go-no"], ["task 'go-no' is unknown", "go-nogo, xor, integration", "Try: --task go-nogo"]),
        (["--task", "xor"], ["does not fit", "inputs: the task has 2 channels, the network takes 1"]),
        (["--task", "nothing.h5"], ["nothing.h5: no such file"]),
        (["--task", "go-nogo", "--grid", ""], ["grid '': empty", "START:STOP:STEP"]),
        (["--task", "go-nogo", "--grid", "75:20:5"], ["grid '75:20:5': empty"]),
        (["--task", "go-nogo", "--grid", "0:10:5"], ["1/lambda 0, every value must be positive"]),
        (["--task", "go-nogo", "--trials", "0"], ["trials: 0, must be at least 1"]),
        (["--task", "go-nogo", "--test-trials", "0"], ["test trials: 0, must be at least 1"]),
        (["--task", "go-nogo", "--preset", "kim"], ["preset 'kim' is unknown", "kim2019"]),
        (
            ["--task", "go-nogo", "--grid", "20", "--bracket", "10:90"],
            ["takes one of them", "--bracket 10:200"],
        ),
        (["--task", "go-nogo", "--bracket", "10"], ["'10' is not LOW:HIGH", "Try: --bracket 10:200"]),
        (["--task", "go-nogo", "--rule", "mean"], ["rule 'mean'", "published, strict"]),
        (["--task", "go-nogo", "--objective", "x"], ["objective 'x' is unknown"]),
        (["--task", "go-nogo", "--objective", "distance", "--rule", "x"], ["rule 'x'", "published, strict"]),
        (
            ["--task", "go-nogo", "--objective", "distance", "--rule", "strict", "--fast"],
            ["'distance' does not go with these options", "rule 'strict'", "fast: ", "Try: --objective accuracy"],
        ),
        (["--task", "go-nogo", "--dt", "0.02"], ["inputs would be skipped"]),
        (["--task", "go-nogo", "--dt", "1e-9"], ["dt 1e-09 s, must be at least 1e-06 s", "5e+04 times as many steps"]),
        (["--task", "go-nogo", "--method", "calibrated", "--dt", "0", "--t-ref", "0:0.002"], ["dt 0.0 s, must be pos"]),
        (["--task", "go-nogo", "--method", "calibrated", "--dt", "nan", "--t-ref", "0:0.002"], ["dt nan s, must be p"]),
        (["--task", "go-nogo", "--method", "calibrated", "--t-ref", "0:1e300"], ["t_ref: 1e+300 s, must be at most 1"]),
        (["--task", "go-nogo", "--method", "calibrated", "--t-ref", "1e300"], ["t_ref: 1e+300 s, must be at most 1 s"]),
        (["--task", "go-nogo", "--t-ref", "-1"], ["preset 'standard' cannot have", "t_ref: -1 s, must be 0 or more"]),
        (["--task", "go-nogo", "--t-ref", "nan"], ["preset 'standard' cannot have", "t_ref: nan s, must be 0 or more"]),
        (["--task", "go-nogo", "--t-ref", "0.002:0"], ["'lambda' chooses 1/lambda alone", "t_ref: 0.002:0, must be"]),
        (
            ["--task", "go-nogo", "--method", "calibrated", "--max-rate", "1e-300"],
            ["max rate: 1e-300 spikes/s a unit, must be at least 1e-06", "1,000 units fire not one spike"],
        ),
        (["--task", "go-nogo", "--max-rate", "1e-300"], ["max rate: 1e-300 spikes/s a unit, must be at least 1e-06"]),
        (["--task", "go-nogo", "--seed", "-1", "--jobs", "0", "--dtype", "f"], ["seed: -1", "jobs: 0", "dtype: 'f'"]),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(options: list[str], parts: list[str], tmp_path: Path) -> None:
    assert_refused(tmp_path, ["convert", write_model(tmp_path / "m.h5"), *options], *parts)


@pytest.mark.parametrize(
    "options", [["--nonsense"], ["--trials", "many"], []], ids=["unknown option", "no number", "no task"]
)
def test_options_that_do_not_parse_are_refused_with_the_way_to_the_help(options: list[str], tmp_path: Path) -> None:
    task = [] if not options else ["--task", "go-nogo"]
    done = call("convert", write_model(tmp_path / "m.h5"), *task, *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "-h' for help" in done.stderr


def test_the_program_itself_prints_no_traceback(tmp_path: Path) -> None:
    path = write_v5(tmp_path / "m.mat", published(w=None))
    done = subprocess.run(
        [PROGRAM, "convert", path, "--task", "go-nogo", "--json"], capture_output=True, text=True, check=False
    )
    assert_one_message(done.returncode, done.stdout, done.stderr, "missing: w")


# Outputs, checked before the work starts


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to begin the search fails the test."""

    def fail(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr(conversion, "convert_network", fail)


@pytest.mark.usefixtures("no_work")
def test_an_output_that_exists_needs_force(tmp_path: Path) -> None:
    output = tmp_path / "net.h5"
    output.write_bytes(OLD)
    done = call("convert", write_model(tmp_path / "m.h5"), "--task", "go-nogo", "-o", output)
    assert_one_message(done.exit_code, done.stdout, done.stderr, f"{output}: exists already", "Try: --force")
    assert output.read_bytes() == OLD


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("where", "part"),
    [("missing/net.h5", "missing does not exist"), (".", "is a folder"), ("m.h5/net.h5", "m.h5 is not a folder")],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(where: str, part: str, tmp_path: Path) -> None:
    done = call("convert", write_model(tmp_path / "m.h5"), "--task", "go-nogo", "-o", tmp_path / where)
    assert_one_message(done.exit_code, done.stdout, done.stderr, part)


@pytest.mark.usefixtures("no_work")
def test_a_folder_without_permission_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions do not bind root, so the system's answer is given here."""
    model = write_model(tmp_path / "m.h5")
    monkeypatch.setattr(os, "access", lambda path, mode, **options: not mode & os.W_OK)
    done = call("convert", model, "--task", "go-nogo", "-o", tmp_path / "net.h5")
    assert_one_message(done.exit_code, done.stdout, done.stderr, f"no permission in {tmp_path}")


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("input_name", ["m.h5", "steps.h5"])
def test_an_input_is_never_the_output_even_by_force(input_name: str, tmp_path: Path) -> None:
    write_model(tmp_path / "m.h5")
    write_trials(tmp_path / "steps.h5")
    before = (tmp_path / input_name).read_bytes()
    done = call("convert", tmp_path / "m.h5", "--task", tmp_path / "steps.h5", "-o", tmp_path / input_name, "--force")
    assert_one_message(done.exit_code, done.stdout, done.stderr, "is an input of this command as well as its output")
    assert (tmp_path / input_name).read_bytes() == before


def test_a_network_is_replaced_only_by_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up while the file is written: the old one stays, and no half of the new one is left."""
    model, output = write_model(tmp_path / "m.h5"), tmp_path / "net.h5"
    write_trials(tmp_path / "steps.h5")
    output.write_bytes(OLD)
    before = sorted(tmp_path.iterdir())

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    options = ["--task", tmp_path / "steps.h5", "--grid", "60", "--dt", DT]
    done = call("convert", model, *options, "-o", output, "--force")
    assert_one_message(done.exit_code, done.stdout, done.stderr, "cannot be written: No space left on device")
    assert output.read_bytes() == OLD
    assert sorted(tmp_path.iterdir()) == before


# The other verbs


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["run", "m.h5", "--task", "go-nogo"], "is a rate-network file, must be a spiking-network file"),
        (["run", "nothing.h5", "--task", "go-nogo"], "no such file"),
        (["convert", "steps.h5", "--task", "go-nogo"], "is a trials file"),
        (["convert", "m.h5", "--task", "m.h5"], "is a rate-network file, must be a trials file"),
        (["inspect", "text.csv"], "names no source format"),
        (["inspect", "broken.npz"], "broken.npz"),
        (["demo", "--trials", "0"], "trials: 0, must be at least 1"),
        (["train", "go-nog", "-o", "new.h5"], "task 'go-nog' is unknown"),
        (["train", "go-nogo", "-o", "new.h5", "--tau", "1:2"], "must be above the task's step of 0.005 s"),
        (["train", "go-nogo", "-o", "new.h5", "--tau", "twenty"], "'twenty' is not LOW:HIGH"),
        (["train", "go-nogo", "-o", "m.h5"], "exists already"),
        (["train", "go-nogo", "-o", "new.h5", "--checkpoint", "new.h5"], "is an input of this command"),
    ],
    ids=str,
)
def test_the_other_verbs_refuse_in_the_same_way(
    arguments: list[str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(Path("m.h5"))
    write_trials(Path("steps.h5"))
    text(Path("text.csv"))
    text(Path("broken.npz"))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    done = call(*arguments)
    assert_one_message(done.exit_code, done.stdout, done.stderr, part)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_train_without_torch_names_the_line_that_brings_it(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from spikeport.cli import main; main()"
    call_of = [sys.executable, "-c", code, "train", "go-nogo", "-o", str(tmp_path / "m.h5")]
    done = subprocess.run(call_of, capture_output=True, text=True, check=False)
    assert_one_message(done.returncode, done.stdout, done.stderr, "training needs torch, which is not installed")
    assert done.stderr.splitlines()[-1] == 'Try: pip install "spikeport[train]"'


def test_training_over_a_checkpoint_is_refused(tmp_path: Path) -> None:
    need("torch", resource="train")
    (tmp_path / "m.h5.checkpoint").write_bytes(OLD)
    done = call("train", "go-nogo", "-o", tmp_path / "m.h5")
    assert_one_message(done.exit_code, done.stdout, done.stderr, "m.h5.checkpoint: exists already", "--resume")
    assert (tmp_path / "m.h5.checkpoint").read_bytes() == OLD
