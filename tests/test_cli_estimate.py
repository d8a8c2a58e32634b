"""The verb estimate: what it prints, in lines and in JSON, and what it says when it cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from example_networks import rate_network
from small_models import follower, write_trials
from typer.testing import CliRunner, Result

from spikeport import estimate_network, transfer
from spikeport.cli import app
from spikeport.convert.sources import load_source
from spikeport.show_estimate import number, si
from spikeport.snn.files import load_recording, save_rate_network, save_recording, save_spiking_network

ALLOW = ("--allow", "precision,noise,synapse")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["estimate", *(str(a) for a in arguments)])


def parsed(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    paths = {name: tmp_path / name for name in ("net.h5", "model.h5", "run.h5", "trials.h5")}
    save_spiking_network(transfer(follower(), 20, dt=1e-3), paths["net.h5"])
    save_rate_network(follower(), paths["model.h5"])
    write_trials(paths["trials.h5"])
    return paths


def test_counts_come_before_joules_and_every_figure_has_its_source(files: dict[str, Path]) -> None:
    done = call(files["net.h5"], "--task", files["trials.h5"], *ALLOW, "--against", files["model.h5"], "--trials", 3)
    assert done.exit_code == 0, done.stderr
    text = done.stdout
    places = [text.index(part) for part in (
        "target loihi, 3 trials of", "spiking network: counts", "  synaptic events", "  neuron updates",
        "spiking network on loihi", "energy of the events", "switched on so long", "not in the energy: static power",
        "rate network: counts of a trial", "rate network on cpu", "rate network on gpu", "rate network on arm",
        "figures",
        "Davies et al., IEEE Micro 38(1), 2018", "loss: ",
    )]  # fmt: skip
    assert places == sorted(places)
    assert max(map(len, text[: text.index("loss: ")].splitlines())) <= 100


def test_json_has_the_same_of_all_trials(files: dict[str, Path]) -> None:
    found = parsed(call(files["net.h5"], "--task", files["trials.h5"], *ALLOW, "--trials", 3, "--json"))
    counts = found["spiking"]["counts"]
    assert counts["trials"] == 3
    assert len(counts["spikes_of_each_trial"]) == 3
    assert sum(counts["spikes_of_each_trial"]) == sum(counts["spikes"].values())
    low, high = found["spiking"]["joules"]
    assert 0 < low < high
    assert found["rate"] == {}
    assert {"task", "spiking_accuracy", "interval"} <= set(found["run"])
    assert any("weights of 8 bits" in loss for loss in found["losses"])


def test_a_recording_gives_what_its_run_gave(files: dict[str, Path]) -> None:
    arguments = (files["net.h5"], "--task", files["trials.h5"], *ALLOW, "--target", "loihi", "--trials", 3)
    ran = CliRunner().invoke(app, ["run", *map(str, arguments), "-o", str(files["run.h5"])])
    assert ran.exit_code == 0, ran.stderr
    live = parsed(call(*arguments, "--json"))
    kept = parsed(call(files["net.h5"], "--recording", files["run.h5"], *ALLOW, "--json"))
    assert kept["spiking"] == live["spiking"]
    assert kept["run"] is None


def kept_run(files: dict[str, Path]) -> None:
    ran = CliRunner().invoke(app, [
        "run", str(files["net.h5"]), "--task", str(files["trials.h5"]), "--trials", "1", "-o", str(files["run.h5"]),
    ])  # fmt: skip
    assert ran.exit_code == 0, ran.stderr


def test_a_recording_of_another_network_of_the_same_form_is_refused(files: dict[str, Path]) -> None:
    kept_run(files)
    save_spiking_network(transfer(follower(), 21, dt=1e-3), files["net.h5"], overwrite=True)
    done = call(files["net.h5"], "--recording", files["run.h5"], "--target", "engine")
    assert done.exit_code == 2
    assert "is a recording of another network" in done.stderr
    assert "spikeport run NET --task TASK -o run.h5" in done.stderr


def test_a_recording_that_does_not_say_of_which_network_it_is_is_taken_with_a_word(files: dict[str, Path]) -> None:
    kept_run(files)
    save_recording(replace(load_recording(files["run.h5"]), network=None), files["run.h5"], overwrite=True)
    found = parsed(call(files["net.h5"], "--recording", files["run.h5"], "--target", "engine", "--json"))
    assert [loss for loss in found["losses"] if "does not say of which network" in loss]
    save_spiking_network(transfer(follower(), 20, dt=5e-4), files["net.h5"], overwrite=True)
    done = call(files["net.h5"], "--recording", files["run.h5"], "--target", "engine")
    assert done.exit_code == 2
    assert "spikeport run NET --task TASK -o run.h5" in done.stderr
    assert "inputs=" not in done.stderr


def test_a_rate_network_of_other_sizes_is_not_what_this_network_came_from(files: dict[str, Path]) -> None:
    save_rate_network(rate_network(6), files["model.h5"], overwrite=True)
    done = call(files["net.h5"], "--task", files["trials.h5"], "--target", "engine", "--against", files["model.h5"])
    assert done.exit_code == 2
    assert "not the one that this network came from" in done.stderr
    assert f"units: 6 in the rate network, {follower().n_neurons} in the spiking one" in done.stderr


def test_what_a_network_says_of_its_origin_is_held_against_the_rate_network(files: dict[str, Path]) -> None:
    def said() -> list[str]:
        found = parsed(call(files["net.h5"], "--task", files["trials.h5"], "--target", "engine", "--trials", 1,
                            "--against", files["model.h5"], "--json"))  # fmt: skip
        return [loss for loss in found["losses"] if loss.startswith("against: ")]

    assert "not known" in said()[0]  # of a network in memory
    save_spiking_network(transfer(load_source(files["model.h5"]), 20, dt=1e-3), files["net.h5"], overwrite=True)
    assert said() == []
    save_rate_network(follower(seed=1), files["model.h5"], overwrite=True)
    assert "was made from another file" in said()[0]


def test_a_simulator_has_counts_only(files: dict[str, Path]) -> None:
    done = call(files["net.h5"], "--task", files["trials.h5"], "--target", "engine", "--trials", 2)
    assert "no published figures for engine: counts only; --as DEVICE" in done.stdout
    assert "energy of the events" not in done.stdout
    priced = call(files["net.h5"], "--task", files["trials.h5"], "--target", "engine", "--as", "xylo", "--trials", 2)
    assert "no figure of an event that was counted" in priced.stdout
    assert "switched on so long" in priced.stdout


def test_a_silent_trial_is_said(files: dict[str, Path]) -> None:
    save_spiking_network(transfer(rate_network(6, w_in=0 * rate_network(6).w_in[:, :1], noise_sd=0.0), 1e6, dt=1e-3),
                         files["net.h5"], overwrite=True)  # fmt: skip
    done = call(files["net.h5"], "--task", files["trials.h5"], *ALLOW, "--trials", 2)
    assert "no unit fired in 2 of 2 trials, which makes them cheap" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        ((), 2, "it needs a task to run, or a recording, and not both"),
        (("--task", "go-nogo", "--recording", "run.h5"), 2, "and not both"),
        (("--task", "go-nogo", "--as", "abacus"), 2, "device 'abacus': has no published figures"),
        (("--task", "go-nogo", "--target", "nir"), 2, "does not run networks"),
        (("--task", "go-nogo", "--target", "tin"), 2, "target 'tin' is unknown"),
    ],
)
def test_what_cannot_be_estimated_is_refused_with_its_reason(
    files: dict[str, Path], more: tuple[str, ...], code: int, said: str
) -> None:
    done = call(files["net.h5"], *more)
    assert done.exit_code == code
    assert said in done.stderr


def test_a_chip_that_refuses_the_network_exits_with_1(files: dict[str, Path]) -> None:
    done = call(files["net.h5"], "--task", files["trials.h5"], "--target", "loihi")
    assert done.exit_code == 1
    assert "--allow" in done.stderr


def test_the_verb_is_one_call_of_the_api(files: dict[str, Path]) -> None:
    found = estimate_network(files["net.h5"], files["trials.h5"], target="spinnaker", trials=2,
                             allow=("precision", "noise", "synapse"), against=files["model.h5"])  # fmt: skip
    told = parsed(call(files["net.h5"], "--task", files["trials.h5"], *ALLOW, "--target", "spinnaker", "--trials", 2,
                       "--against", files["model.h5"], "--json"))  # fmt: skip
    assert told == json.loads(json.dumps(found.as_dict()))
    assert [e.device for e in found.rate] == ["cpu", "gpu", "arm"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 J"), (2.346e-6, "2.35 µJ"), (9.9996e-4, "1 mJ"), (1.0, "1 J"), (1e-20, "1e-05 fJ"), (17.01, "17 J")],
)
def test_numbers_have_three_digits_and_a_prefix(value: float, text: str) -> None:
    assert si(value, "J") == text


def test_counts_are_whole_or_have_one_decimal() -> None:
    assert [number(v) for v in (1000, 3.0, 12345.67)] == ["1,000", "3", "12,345.7"]
