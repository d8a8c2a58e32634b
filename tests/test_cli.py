"""The command line: what each verb prints, for people and for machines."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from example_files import plain, published, write_npz, write_safetensors, write_v5
from example_networks import recording, spiking_network
from small_models import DT, write_model, write_trials
from typer.testing import CliRunner, Result

from spikeport import demonstration, diagnosis
from spikeport.cli import app
from spikeport.snn.files import load_recording, load_spiking_network, save_recording, save_spiking_network
from spikeport.targets.run import RunInterrupted, run_network

PROGRAM = Path(sys.executable).parent / "spikeport"
COARSE = ("--grid", "40:80:20", "--dt", str(DT))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def spikeport(*arguments: object, **changes: Any) -> subprocess.CompletedProcess[str]:
    """The program itself, in a process of its own."""
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False, **changes)


def parsed(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.h5")


@pytest.fixture
def trials(tmp_path: Path) -> Path:
    write_trials(tmp_path / "steps.h5", n=12)
    return tmp_path / "steps.h5"


@pytest.fixture
def network(model: Path, trials: Path, tmp_path: Path) -> Path:
    done = call("convert", model, "--task", trials, "-o", tmp_path / "net.h5", *COARSE)
    assert done.exit_code == 0, done.stderr
    return tmp_path / "net.h5"


# convert


def test_convert_prints_one_json_object_with_the_promised_keys(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "net.h5"
    done = spikeport(
        "convert", model, "--task", "go-nogo", "--trials", 6, "--test-trials", 8, "-o", output, "--json", *COARSE
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["trials"] == 8
    assert found["interval"][0] <= found["spiking_accuracy"] <= found["interval"][1]
    assert 0 <= found["rate_accuracy"] <= 1
    assert found["mean_rate_hz"] > 0
    assert found["seconds"] > 0
    assert [point["inverse_lambda"] for point in found["search"]] == [40, 60, 80]
    assert all({"inverse_lambda", "accuracy", "mean_rate_hz"} <= set(point) for point in found["search"])
    assert found["inverse_lambda"] in (40, 60, 80)
    assert found["output"] == str(output)
    assert load_spiking_network(output).provenance["inverse_lambda"] == found["inverse_lambda"]


@pytest.mark.slow
def test_the_published_model_converts_by_the_published_preset(shared_data: Path, tmp_path: Path) -> None:
    model = shared_data / "kim" / "go_nogo_n200.mat"
    options = "--task go-nogo --grid 20:75:5 --trials 100 --seed 0 --preset kim2019 --json".split()
    found = parsed(call("convert", model, *options, "-o", tmp_path / "net.h5"))
    assert found["rate_accuracy"] == 1
    assert found["spiking_accuracy"] == pytest.approx(0.954, abs=0.02)  # the plateau, ../shared/data/README.md
    assert found["trials"] == 1000
    assert 25 <= found["inverse_lambda"] <= 45
    assert [point["inverse_lambda"] for point in found["search"]] == list(range(20, 76, 5))


def test_convert_prints_the_curve_the_result_and_the_next_command(model: Path, trials: Path, tmp_path: Path) -> None:
    done = call("convert", model, "--task", trials, "-o", tmp_path / "net.h5", "--preset", "kim2019", *COARSE)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum("1/lambda      " in line and "accuracy" in line for line in lines) == 3
    assert sum("<- chosen" in line for line in lines) == 1
    assert any(line.startswith("mean rule") and "(used)" in line for line in lines)
    assert any(line.startswith("loss ") and "area" in line for line in lines)
    assert lines[-1].startswith(f"wrote {tmp_path / 'net.h5'}; next: spikeport run")


@pytest.mark.parametrize("task", ["go-nogo", "a file"])
def test_the_command_that_is_printed_next_runs(task: str, model: Path, tmp_path: Path) -> None:
    """Also where a path has a space; it runs no trial that chose the network."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    write_trials(folder / "my trials.h5")
    named = folder / "my trials.h5" if task == "a file" else task
    limits = [] if task == "a file" else ["--trials", 3, "--test-trials", 4]
    done = call("convert", model, "--task", named, "-o", folder / "my net.h5", *limits, *COARSE)
    assert done.exit_code == 0, done.stderr
    follow_up = shlex.split(done.stdout.splitlines()[-1].partition("next: spikeport ")[2])
    first = follow_up[follow_up.index("--first") + 1]
    if task == "go-nogo":
        assert first == "7", "trials that neither search nor test has seen"
        follow_up += ["--trials", "2"]
    else:
        assert first == "6", "a file of 12 has no others than those that chose, and those that measured"
    done = call(*follow_up)
    assert done.exit_code == 0
    assert "chose or calibrated" not in done.stdout
    follow_up[follow_up.index("--first") + 1] = "0"
    assert "chose or calibrated this network" in call(*follow_up).stdout


def test_convert_without_an_output_says_that_nothing_was_written(model: Path, trials: Path) -> None:
    done = call("convert", model, "--task", trials, *COARSE)
    assert done.stdout.splitlines()[-1] == "nothing was written; -o net.h5   keeps the network"


def test_the_distance_objective_has_no_accuracy_to_print(model: Path, trials: Path) -> None:
    call_of = ["convert", model, "--task", trials, "--objective", "distance", *COARSE]
    found = parsed(call(*call_of, "--json"))
    assert found["distance"] > 0
    assert "spiking_accuracy" not in found
    assert any(line.startswith("distance ") for line in call(*call_of).stdout.splitlines())


# run


def test_run_judges_by_every_rule_and_writes_the_recording(network: Path, trials: Path, tmp_path: Path) -> None:
    found = parsed(call("run", network, "--task", trials, "-o", tmp_path / "run.h5", "--json"))
    assert found["trials"] == 12
    assert found["rule"] == "mean"
    assert found["spiking_accuracy"] == found["spiking_accuracy_mean"]
    assert found["silent_trials"] == 6, "half of the trials have no input, and no unit fires without it"
    kept = load_recording(tmp_path / "run.h5")
    assert kept.n_batch == 12
    assert kept.mean_rate_hz() == pytest.approx(found["mean_rate_hz"])


def test_engine_and_reference_agree(network: Path, trials: Path, tmp_path: Path) -> None:
    results, runs = [], []
    for target in ("engine", "reference"):
        output = tmp_path / f"{target}.h5"
        done = call("run", network, "--task", trials, "--target", target, "-o", output, "--json")
        results.append({k: v for k, v in parsed(done).items() if k not in ("seconds", "target", "output")})
        runs.append(load_recording(output))
    assert results[0] == results[1]
    assert runs[0].spikes["rec"].n_spikes > 0
    assert runs[0].spikes["rec"].differing(runs[1].spikes["rec"]) == 0


def test_run_takes_a_part_of_a_files_trials(network: Path, trials: Path) -> None:
    assert parsed(call("run", network, "--task", trials, "--first", 8, "--json"))["trials"] == 4


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--first", 12], "trials from 12 on: the file has 12 (0 to 11), at least 1 wanted"),
        (["--first", 8, "--trials", 9], "trials from 8 on: the file has 12 (0 to 11), 9 wanted"),
        (["--trials", 0], "trials: 0, must be at least 1"),
        (["--first", -1], "first: -1, must be 0 or more"),
        (["--target", "brain2"], "target 'brain2' is unknown"),
        (["--target", "reference", "--dtype", "float32"], "dtype 'float32': target reference has float64"),
        (["--rule", "published"], "rule 'published': the task has mean, max, nearest"),
    ],
)
def test_a_run_that_cannot_be_is_refused(network: Path, trials: Path, options: list[Any], reason: str) -> None:
    done = call("run", network, "--task", trials, *options)
    assert done.exit_code == 2
    assert reason in done.stderr


def test_an_interrupted_run_says_how_far_it_was(network: Path, tmp_path: Path) -> None:
    many = write_trials(tmp_path / "many.h5", n=50)

    def stop(done: int, total: int, what: str) -> None:
        if done >= 40:
            raise KeyboardInterrupt

    with pytest.raises(RunInterrupted, match=r"interrupted after 40 of 50 trials: \d+ right by rule 'mean'"):
        run_network(network, many, progress=stop)


# inspect


def every_kind_of_file(folder: Path) -> dict[str, Path]:
    write_trials(folder / "t.h5")
    write_trials(folder / "t.npz")
    save_spiking_network(spiking_network(), folder / "s.h5")
    save_recording(recording(), folder / "r.h5")
    return {
        "rate-network h5": write_model(folder / "m.h5"),
        "rate-network mat": write_v5(folder / "m.mat", published()),
        "rate-network npz": write_npz(folder / "m.npz", plain()),
        "rate-network safetensors": write_safetensors(folder / "m.safetensors", plain()),
        "spiking-network h5": folder / "s.h5",
        "recording h5": folder / "r.h5",
        "trials h5": folder / "t.h5",
        "trials npz": folder / "t.npz",
    }


def test_inspect_says_what_any_of_our_files_holds(tmp_path: Path) -> None:
    for name, path in every_kind_of_file(tmp_path).items():
        kind = name.split()[0]
        assert parsed(call("inspect", path, "--json"))["kind"] == kind, name
        text = call("inspect", path).stdout
        assert text.splitlines()[0].split() == ["kind", kind], name
        assert "{" not in text, f"{name}: a row per fact, not Python"


def test_inspect_writes_strict_json_where_a_number_is_none(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.h5", provenance={"loss": float("nan"), "best": [1.0, float("inf")]})
    assert parsed(call("inspect", path, "--json"))["provenance"]["origin"] == {"loss": None, "best": [1.0, None]}


def test_inspect_shows_the_threshold_as_it_acts(tmp_path: Path) -> None:
    save_spiking_network(spiking_network(), tmp_path / "s.h5")
    first, second = parsed(call("inspect", tmp_path / "s.h5", "--json"))["populations"]
    assert (first["v_threshold_mV"], second["v_threshold_mV"]) == (">= -40", "> 1")


# demo


def test_the_demo_takes_the_tasks_in_the_order_of_the_publication(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    monkeypatch.setattr(demonstration, "convert_network", lambda network, task, **options: taken.append(task))
    demonstration.demo()
    assert taken == ["go-nogo", "xor", "integration"]


def test_an_interrupted_demo_names_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    class Done:
        def as_dict(self) -> dict[str, float]:
            return {"spiking_accuracy": 0.987}

    def convert(network: Any, task: str, **options: Any) -> Done:
        if task == "xor":
            raise KeyboardInterrupt
        return Done()

    monkeypatch.setattr(demonstration, "convert_network", convert)
    done = call("demo")
    assert done.exit_code == 130
    assert "interrupted at xor, before the search; go-nogo was done: 0.987" in done.stderr


def test_the_demo_shows_a_table_and_a_curve() -> None:
    done = call("demo", "--trials", 2, "--test-trials", 3)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[3:6]] == ["go-nogo", "xor", "integration"]
    assert sum("<- chosen" in line for line in lines) == 1


# doctor


def test_doctor_lists_every_package_of_every_extra() -> None:
    found = parsed(call("doctor", "--json"))
    assert found["ok"]
    named = {(p["extra"], p["name"]) for p in found["packages"]}
    assert {("", "numpy"), ("", "numba"), ("train", "torch"), ("dask", "dask")} <= named
    assert not {extra for extra, _ in named} & {"dev", "docs"}, "what only we need is no business of a user's"
    assert found["models"] == ["go_nogo", "integration", "xor"]


@pytest.mark.parametrize(
    ("gone", "line", "code"),
    [
        ("train torch", 'missing: pip install "spikeport[train]"', 0),
        ("snntorch torch", 'missing: pip install "spikeport[snntorch]"', 0),
        ("dask dask", 'missing: pip install "spikeport[dask]"', 0),
        ("core numba", "missing: pip install --upgrade spikeport", 1),
    ],
)
def test_doctor_names_the_line_that_brings_what_is_missing(
    gone: str, line: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = metadata.version

    def version(name: str) -> str:
        if name == gone.split()[1]:
            raise metadata.PackageNotFoundError(name)
        return present(name)

    monkeypatch.setattr(diagnosis.metadata, "version", version)
    done = call("doctor")
    assert done.exit_code == code
    (shown,) = [row for row in done.stdout.splitlines() if row.split()[:2] == gone.split()]
    assert shown.endswith(line)


# the program as a whole


def test_help_does_not_import_what_only_work_needs() -> None:
    code = "import sys; from spikeport.cli import main; sys.argv = ['spikeport', '--help']\n"
    code += "try: main()\nexcept SystemExit: print('LOADED', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, _, loaded = done.stdout.partition("LOADED")
    assert "convert" in text
    assert not {"numba", "torch", "scipy", "h5py", "joblib", "dask"} & set(loaded.split())


@pytest.mark.parametrize(
    "module", ["typing", "spikeport.cli", "typer", "spikeport.commands_live", "spikeport.snn.errors"]
)
def test_ctrl_c_while_the_program_is_loaded_is_130_without_a_word(module: str) -> None:
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from spikeport.__main__ import main\n"
        "sys.argv = ['spikeport', '--version']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_program_begins_where_ctrl_c_is_silent() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"spikeport": "spikeport.__main__:main"}


def test_a_reader_that_goes_away_is_no_error(model: Path) -> None:
    """As in `spikeport inspect model.h5 | head -1`."""
    process = subprocess.Popen([PROGRAM, "inspect", model], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, messages = process.communicate(timeout=60)
    assert (process.returncode, messages) == (0, b"")


def test_a_terminal_without_our_letters_still_gets_the_result(tmp_path: Path) -> None:
    path = write_model(tmp_path / "größe.h5")
    done = spikeport("inspect", path, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "provenance.file" in done.stdout


def test_the_version_is_printed() -> None:
    assert call("--version").stdout == f"spikeport {metadata.version('spikeport')}\n"


def test_debug_shows_where_an_error_came_from(tmp_path: Path) -> None:
    done = spikeport("--debug", "inspect", tmp_path / "nothing.h5")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "no such file" in done.stderr
