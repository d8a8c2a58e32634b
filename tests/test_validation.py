"""Validation: identical levels agree in every measure, planted faults show, silence has no NaN."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from small_models import DT, follower, write_trials

from spikeport import transfer
from spikeport.convert.validation.levels import Level, engine_level
from spikeport.convert.validation.validate import RATE, Validation, validate
from spikeport.snn.errors import SpikeportError
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import FileTask


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> FileTask:
    return write_trials(tmp_path_factory.mktemp("trials") / "steps.h5", n=24)


def network(**changes: Any) -> SpikingNetwork:
    made = transfer(follower(), 60, dt=DT)
    assert made.n_neurons == 20
    unit = made.populations[0]
    return replace(made, populations=(replace(unit, neuron=replace(unit.neuron, **changes)),))


def compared(task: FileTask, *levels: Level, **changes: Any) -> Validation:
    return validate(follower(), levels, task, **{"trials": 12, **changes})


def numbers(value: Any) -> list[float]:
    """Every number in a result."""
    if isinstance(value, dict):
        return [n for item in value.values() for n in numbers(item)]
    if isinstance(value, list | tuple):
        return [n for item in value for n in numbers(item)]
    return [float(value)] if isinstance(value, int | float) else []


def test_identical_levels_agree_in_every_measure(task: FileTask) -> None:
    found = compared(task, engine_level(network(), name="ideal"), engine_level(network(), name="same"))
    ideal, same = found.free
    assert same.coincidence is not None
    np.testing.assert_allclose(same.coincidence.values[same.coincidence.defined], 1, rtol=1e-14)
    assert same.parted == (None,) * 12
    np.testing.assert_array_equal(ideal.correlation.values, same.correlation.values)
    assert found.verdicts.paired("ideal", "same") == (0, 0, 1.0)


def test_a_spiking_network_follows_its_rate_model(task: FileTask) -> None:
    (ideal,) = compared(task, engine_level(network(), name="ideal")).free
    assert ideal.correlation.median() is not None
    assert ideal.correlation.median() > 0.8  # type: ignore[operator]
    assert ideal.trajectories.distance is not None
    assert ideal.trajectories.distance_aligned is not None
    assert ideal.trajectories.distance_aligned <= ideal.trajectories.distance
    assert ideal.trajectories.distance_aligned < 0.5


@pytest.mark.parametrize("changes", [{"t_ref": 0.05}, {"tau_mem": 0.03}, {"v_threshold": -35.0}])
def test_a_planted_fault_parts_the_levels_and_costs_correlation(task: FileTask, changes: dict[str, float]) -> None:
    found = compared(task, engine_level(network(), name="ideal"), engine_level(network(**changes), name="faulty"))
    ideal, faulty = found.free
    assert faulty.coincidence is not None
    assert faulty.coincidence.mean() < 0.9  # type: ignore[operator]
    assert any(t is not None for t in faulty.parted)
    assert not np.allclose(ideal.output_rms, faulty.output_rms)


def test_silence_is_said_and_nothing_is_nan(task: FileTask) -> None:
    found = compared(task, engine_level(network(), name="ideal"), engine_level(network(v_threshold=1e6), name="silent"))
    said = found.as_dict()
    silent = said["free_running"]["silent"]
    assert (silent["silent_units"], silent["silent_trials"], silent["mean_rate_hz"]) == (20, 12, 0)
    assert silent["fano"] == {"mean": None, "median": None, "undefined": 20, "undefined_when": "it never fired"}
    assert silent["unit_correlation"]["undefined"] == 20
    assert all(math.isfinite(n) for n in numbers(said))
    json.dumps(said, allow_nan=False)


def test_the_size_of_a_batch_changes_no_number(task: FileTask) -> None:
    def all_of(batch: int) -> list[float]:
        levels = [engine_level(network(), name="a"), engine_level(network(t_ref=0.01), name="b")]
        found = compared(task, *levels, batch=batch).as_dict()
        return numbers({k: v for k, v in found.items() if not k.startswith("seconds")})

    np.testing.assert_allclose(all_of(5), all_of(12), rtol=1e-9, atol=1e-12)


def test_every_accuracy_has_its_interval_and_a_paired_test(task: FileTask) -> None:
    levels = [engine_level(network(), name="ideal"), engine_level(network(v_threshold=1e6), name="silent")]
    said = compared(task, *levels).as_dict()["accuracy"]
    assert list(said) == [RATE, "ideal", "silent"]
    for level in said.values():
        assert level["interval"][0] <= level["accuracy"] <= level["interval"][1]
    assert said["silent"]["mcnemar"]["against"] == "ideal"
    lost = said["ideal"]["accuracy"] - said["silent"]["accuracy"]
    assert said["silent"]["mcnemar"]["only_there"] - said["silent"]["mcnemar"]["only_here"] == round(12 * lost)


def test_levels_that_cannot_be_compared_are_refused_with_every_reason(task: FileTask) -> None:
    other = transfer(follower(n=21), 60, dt=DT)
    with pytest.raises(SpikeportError, match="cannot be compared") as refusal:
        compared(task, engine_level(network(), name="a"), engine_level(other, name="a"), trials=0, rule="mode")
    heads = [p.partition(":")[0] for p in refusal.value.problems]
    assert heads == ["trials", "levels", "level a", "rule 'mode'"]
    with pytest.raises(SpikeportError, match="the file has 24"):
        compared(task, engine_level(network()), trials=25)
