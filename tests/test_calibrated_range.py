"""A run that leaves the range that its network was calibrated for says so; one inside says nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_models import follower, write_trials

from spikeport.convert.attribution.ideal import ideal_of
from spikeport.convert.attribution.steps import same, steps_between
from spikeport.convert.calibration import calibrate
from spikeport.convert.validation.free import stand_in
from spikeport.snn import engine, reference
from spikeport.snn.calibrated_range import RangeWatch, mean_drive
from spikeport.snn.errors import SpikeportError
from spikeport.snn.rate import simulate_rate
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import FileTask
from spikeport.targets.run import run_network
from spikeport.validation import validate_network


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> FileTask:
    return write_trials(tmp_path_factory.mktemp("trials") / "steps.h5", n=40)


@pytest.fixture(scope="module")
def network(task: FileTask) -> SpikingNetwork:
    return calibrate(follower(), task, seed=0, trials=20, dt=1e-3, noise_sd=0.0).network


def test_the_mean_drive_is_that_of_the_synapses_own_current(network: SpikingNetwork, task: FileTask) -> None:
    (p,) = network.populations
    inputs = np.repeat(np.full((1, 2, 1), 0.8), 200, axis=0)  # held for a second: it settles
    run = reference.simulate(network, inputs, record=["rec.rec"])
    settled = run.traces["rec.rec"][500:].mean(axis=0) + np.asarray(p.bias) + np.asarray(p.neuron.v_leak)
    found = mean_drive(network, run, inputs)[5:].mean(axis=0)
    # the area of a filtered spike in steps of 1 ms is not quite 1, and of a held input neither
    np.testing.assert_allclose(found, settled, rtol=0.05, atol=0.3)


def test_trials_like_those_of_the_calibration_give_no_warning(network: SpikingNetwork, task: FileTask) -> None:
    assert run_network(network, task, first=20, trials=20).warnings == ()


def test_inputs_three_times_as_large_are_noticed_with_the_unit_and_the_size(
    network: SpikingNetwork, task: FileTask, tmp_path: Path
) -> None:
    loud = replace(task, inputs=3 * task.inputs)
    (warning,) = run_network(network, loud, first=20, trials=20).warnings
    assert "of 20 units get inputs beyond their calibrated range" in warning
    assert "calibrate on trials like these" in warning


def test_validation_notices_it_too(network: SpikingNetwork, task: FileTask) -> None:
    loud = replace(task, inputs=3 * task.inputs)
    assert "beyond their calibrated range" in " ".join(validate_network(network, follower(), loud).validation.warnings)
    quiet = validate_network(network, follower(), task, first=20, trials=20)
    assert quiet.validation.warnings == ()


def test_noise_that_crosses_the_whole_membrane_in_a_step_is_refused(task: FileTask) -> None:
    with pytest.raises(SpikeportError, match="cannot step this network") as refusal:
        calibrate(follower(), task, seed=0, trials=5, noise_sd=1e9)
    assert "above the 25 mV from reset to threshold" in refusal.value.problems[0]


def test_the_size_of_a_batch_does_not_matter(network: SpikingNetwork, task: FileTask) -> None:
    loud = replace(task, inputs=3 * task.inputs)
    assert run_network(network, loud, trials=20, batch=3).warnings == run_network(network, loud, trials=20).warnings


def test_a_network_that_was_not_calibrated_is_not_watched(network: SpikingNetwork) -> None:
    for provenance in ({}, {"calibration": {"drive_low": [1.0], "drive_high": [2.0]}}, {"calibration": {}}):
        assert RangeWatch.of(replace(network, provenance=provenance)) is None


# what the provenance of a calibration is good for


def test_a_calibrated_network_can_be_built_again_from_its_provenance(network: SpikingNetwork) -> None:
    again, words = ideal_of(follower(), network)
    assert same(again, network)
    assert "as its calibration made it for dt 1 ms" in words


def test_a_change_after_the_calibration_is_a_step(network: SpikingNetwork) -> None:
    j = network.projections[1]
    weight = j.weight.copy()
    weight[3] *= -1
    wrong = replace(network, projections=(network.projections[0], replace(j, weight=weight)))
    (step,) = steps_between(ideal_of(follower(), wrong)[0], wrong)
    assert "weights of unit 3, -1 times" in step.what


def test_a_provenance_that_says_too_little_is_not_guessed(network: SpikingNetwork) -> None:
    silent = replace(network, provenance={"method": "calibrated", "preset": "standard", "calibration": {}})
    assert "its provenance names no transfer" in ideal_of(follower(), silent)[1]


def test_what_stands_for_the_rates_has_each_units_own_scale_and_baseline(
    network: SpikingNetwork, task: FileTask
) -> None:
    part = task.trials(10, seed=0, first=20)
    r = simulate_rate(follower(), part.inputs, with_noise=False, record_state=True).r
    assert r is not None
    found = stand_in(network, engine.simulate(network, part.inputs), 0.005)
    n = min(len(found), len(r))
    assert np.abs(found[:n].mean(axis=(0, 1)) - r[:n].mean(axis=(0, 1))).mean() < 0.03
