"""What a page is made from: every number of it is in the JSON, strict, and none of it grows with the trials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_cases import CASES, TRIALS, labelled, validated
from small_models import DT, follower, write_trials

from spikeport import transfer
from spikeport.convert.conversion import convert_network
from spikeport.convert.validation.levels import engine_level
from spikeport.convert.validation.lists import rounded
from spikeport.convert.validation.origin import file_record, search_curve, versions
from spikeport.convert.validation.shown import Shown
from spikeport.convert.validation.units import kinds_of
from spikeport.convert.validation.validate import validate
from spikeport.convert.validation.words import verdict
from spikeport.snn import engine
from spikeport.snn.files import load_spiking_network, save_spiking_network
from spikeport.snn.measures import wilson
from spikeport.snn.rate import simulate_rate
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.tasks import TASKS, Trials


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.mark.parametrize("case", CASES)
def test_the_json_is_strict_and_names_every_level_everywhere(case: str, folder: Path) -> None:
    found = validated(case, folder)
    json.dumps(found, allow_nan=False)
    spiking = found["levels"][1:]
    assert list(found["units"]["levels"]) == spiking
    assert list(found["trajectories"]["levels"]) == spiking
    assert all(list(t["levels"]) == spiking for t in found["shown"]["trials"])
    assert all(list(label["levels"]) == found["levels"] for label in found["traces"]["labels"])


def test_traces_are_the_mean_and_the_spread_of_the_trials(folder: Path) -> None:
    source = labelled()
    task = write_trials(folder / "means.h5", n=TRIALS)
    network = transfer(source, 60, dt=DT)
    traces = validate(source, [engine_level(network)], task, trials=TRIALS, batch=3).as_dict()["traces"]
    trials = task.trials(TRIALS, seed=0)
    rate = simulate_rate(source, trials.inputs, seed=0).outputs
    spiking = engine.simulate(network, trials.inputs, seed=0).outputs["out"][9::10]
    for label in traces["labels"]:
        mine = trials.labels == label["label"]
        for name, outputs in (("rate model", rate), ("engine", spiking)):
            band = label["levels"][name]
            np.testing.assert_allclose(band["mean"], outputs[:, mine].mean(axis=1).T, atol=2e-3)
            np.testing.assert_allclose(band["sd"], outputs[:, mine].std(axis=1).T, atol=2e-3)
        assert label["target"][0][-1] == label["label"]
        assert label["target"][0][0] is None, "the file asks for nothing there"
    assert sorted(s["label"] for s in traces["single"]) == [0, 0, 1, 1]


def test_the_spikes_of_a_shown_trial_are_those_of_the_recording(folder: Path) -> None:
    found = validated("full", folder)
    network = transfer(labelled(), found["search"]["chosen"], dt=DT)
    task = write_trials(folder / "again.h5", n=2 * TRIALS)
    for shown in found["shown"]["trials"]:
        part = task.trials(1, seed=0, first=shown["trial"])
        assert part.labels[0] == shown["label"]
        trains = engine.simulate(network, part.inputs, seed=0, first_trial=part.first).spikes["rec"]
        for level in shown["levels"].values():
            assert level["unit"] == trains.neuron.tolist()
            np.testing.assert_allclose(level["time_s"], (trains.step + 1) * DT, atol=1e-5)


def test_units_say_where_their_spikes_and_their_rates_are(folder: Path) -> None:
    found = validated("full", folder)
    units = found["units"]
    assert units["kinds"] == {"exc": list(range(15)), "inh": list(range(15, 20)), "som": [15, 16]}
    assert "labels" in units["kinds_from"]
    spiking, free = units["levels"]["spiking network"], found["free_running"]["spiking network"]
    assert np.mean(spiking["rate_hz"]) == pytest.approx(free["mean_rate_hz"], rel=1e-3)
    assert np.median(spiking["correlation"]) == pytest.approx(free["unit_correlation"]["median"], abs=1e-3)
    counts = units["distributions"]["rate_hz"]["counts"]["spiking network"]
    assert (sum(counts["exc"]), sum(counts["inh"])) == (15, 5)


def test_kinds_without_labels_are_the_sign_of_the_outgoing_weights() -> None:
    w = np.full((20, 20), 0.1)
    w[:, 7] = -0.1
    kinds = kinds_of(follower(w_rec=w))
    assert kinds.inh == (7,)
    assert "no labels" in kinds.known_from
    assert "both signs" not in kinds.known_from
    assert "20 of 20 units have weights of both signs" in kinds_of(follower()).known_from


def test_silence_has_null_where_it_has_no_number(folder: Path) -> None:
    found = validated("bare", folder)
    spiking = found["units"]["levels"]["spiking network"]
    assert spiking["correlation"] == [None] * 20
    assert spiking["rate_hz"] == [0.0] * 20
    assert found["shown"]["trials"][0]["levels"]["spiking network"]["spikes"] == 0
    assert found["status"] == "bad"
    assert found["verdict"][0] == "It does not work: no unit fired in any trial of spiking network."


def test_what_is_too_much_to_show_is_thinned_and_says_so() -> None:
    n, steps = 700, 400
    busy = SpikeTrains.from_dense(np.ones((steps, 1, n), dtype=np.int32))
    run = Recording(dt=1e-3, n_steps=steps, n_batch=1, spikes={"rec": busy})
    part = Trials(
        inputs=np.zeros((80, 1, 1)), targets=np.zeros((80, 1, 1)), labels=np.zeros(1, dtype=np.int64), dt=5e-3
    )
    found = Shown.of(tuple(range(n))).add(part, np.ones((80, 1, n)), 5e-3, {"a": (run, "rec")}).as_dict()
    assert len(found["order"]) + found["units_left_out"] == n
    (trial,) = found["trials"]
    level = trial["levels"]["a"]
    assert level["spikes"] == n * steps, "the number is of all of them"
    assert len(level["unit"]) == level["units"] * steps <= 30_000
    assert np.shape(trial["r"]["values"]) == (len(found["order"]), 80)


def test_the_search_travels_with_the_network_and_has_its_intervals(folder: Path) -> None:
    task = write_trials(folder / "search.h5", n=12)
    done = convert_network(follower(), task, grid=[40, 60], trials=10, test_trials=2, dt=DT, n_jobs=1)
    save_spiking_network(done.network, folder / "net.h5")
    found = search_curve(load_spiking_network(folder / "net.h5"))
    assert found is not None
    assert found["chosen"] == done.inverse_lambda
    for point, candidate in zip(found["points"], done.search, strict=True):
        assert point["inverse_lambda"] == candidate.inverse_lambda
        assert point["accuracy"] == pytest.approx(candidate.accuracy)
        assert point["interval"] == list(wilson(point["right"], candidate.trials))
        assert point["mean_rate_hz"] == pytest.approx(candidate.mean_rate_hz)


def test_a_search_by_distance_keeps_the_distances(folder: Path) -> None:
    task = write_trials(folder / "distance.h5", n=6)
    done = convert_network(
        follower(), task, grid=[40, 60], trials=4, test_trials=2, dt=DT, n_jobs=1, objective="distance"
    )
    found = search_curve(done.network)
    assert found is not None
    assert [p["distance"] for p in found["points"]] == [c.distance for c in done.search]
    assert all(p["accuracy"] is None for p in found["points"])


@pytest.mark.parametrize("record", [None, 3, {}, {"inverse_lambda": [30]}, {"inverse_lambda": [30], "trials": ["x"]}])
def test_a_record_of_another_form_counts_as_none(record: Any) -> None:
    made = transfer(follower(), 60, dt=DT)
    made.provenance["search"] = record  # type: ignore[index]
    assert search_curve(made) is None


def test_provenance_names_files_settings_versions_and_machine(folder: Path) -> None:
    found = validated("full", folder)["provenance"]
    assert [f["role"] for f in found["files"]] == ["network", "rate model", "task"]
    assert found["settings"]["trials"] == TRIALS
    assert found["network"]["inverse_lambda"] == pytest.approx(1 / found["network"]["lambda"])
    assert {"python", "spikeport", "numpy", "numba"} <= found["versions"].keys()
    assert found["machine"]["cores"] >= 1
    (folder / "some.bin").write_bytes(b"abc")
    record = file_record("task", folder / "some.bin")
    assert record["bytes"] == 3
    assert record["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert "h5py" in versions(["h5py.h5a", "no_such_module"])


def test_events_are_those_of_the_published_tasks() -> None:
    assert TASKS["go-nogo"].events == {"stimulus": (0.25, 0.375)}  # type: ignore[attr-defined]
    assert TASKS["xor"].events == {"first pulse": (0.25, 0.5), "second pulse": (0.55, 0.8)}  # type: ignore[attr-defined]
    for task in TASKS.values():
        inputs = task.trials(20, seed=0).inputs
        on = np.zeros(task.n_samples, dtype=bool)
        for start, end in task.events.values():  # type: ignore[attr-defined]
            on[round(start / task.dt) : round(end / task.dt)] = True
        changing = inputs[:, :, :2]  # the integration task's last two channels name the context, throughout
        assert not changing[~on].any()
        assert changing[on].any(axis=(1, 2)).all()


@pytest.mark.parametrize(
    ("only_rate", "only_spiking", "trials", "status", "begins"),
    [
        (0, 0, 200, "good", "It works: the accuracy of the rate model is kept"),
        (30, 2, 200, "bad", "Accuracy is lost from the rate model to spiking network"),
        (1, 0, 10, "unsure", "Undecided: in 10 trials"),
    ],
)
def test_the_verdict_follows_the_paired_test(
    only_rate: int, only_spiking: int, trials: int, status: str, begins: str, folder: Path
) -> None:
    from spikeport.convert.validation.verdicts import Verdicts

    rate, spiking = np.ones(trials, dtype=bool), np.ones(trials, dtype=bool)
    spiking[:only_rate] = False
    rate[trials - only_spiking :] = False
    verdicts = Verdicts(right={"rate model": {"mean": rate}, "spiking network": {"mean": spiking}}, rule="mean")
    full = validated("full", folder)
    free = {"spiking network": full["free_running"]["spiking network"]}
    found = {
        **full, "trials": trials, "levels": ["rate model", "spiking network"], "accuracy": verdicts.as_dict(),
        "replay": {}, "free_running": free, "requirements": [],
    }  # fmt: skip
    said = verdict(found)
    assert said[0] == status
    assert said[1][0].startswith(begins)
    failing = [{"level": "spiking network", "requirement": "accuracy>=2", "found": 1.0, "holds": False}]
    assert verdict({**found, "requirements": failing})[0] == "bad"


def test_rounding_keeps_four_digits_of_the_largest_and_no_number_is_null() -> None:
    assert rounded([0.123456, 12.34567, float("nan"), -0.00001, float("inf")]) == [0.12, 12.35, None, 0.0, None]
    assert rounded([[1e-30, 2e-30]]) == [[0.0, 0.0]]
    assert rounded([]) == []
    assert rounded([123456.0, 1.0]) == [123500.0, 0.0]
