"""A run that leaves the range that its network was calibrated for says so; one inside says nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import follower, write_trials

from spikeport.convert.attribution.ideal import ideal_of
from spikeport.convert.attribution.steps import same, steps_between
from spikeport.convert.calibration import calibrate
from spikeport.convert.sources import load_source
from spikeport.convert.transfer import transfer
from spikeport.convert.validation.free import stand_in
from spikeport.snn import engine, reference
from spikeport.snn.calibrated_range import TOLERATED, RangeWatch, Watched, mean_drive, window_means
from spikeport.snn.errors import SpikeportError
from spikeport.snn.files import save_spiking_network
from spikeport.snn.rate import RateNetwork, simulate_rate
from spikeport.snn.seen import seen_trials
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import FileTask, Task, get_task
from spikeport.targets.run import run_network
from spikeport.validation import validate_network

FALSE_ALARMS = 0.0001  # share of (unit, window, trial) outside on trials of the calibrated kind, at most


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
    found = mean_drive(network, *window_means(network, run, inputs))[5:].mean(axis=0)
    # the area of a filtered spike in steps of 1 ms is not quite 1, and of a held input neither
    np.testing.assert_allclose(found, settled, rtol=0.05, atol=0.3)


def test_trials_like_those_of_the_calibration_give_no_warning(network: SpikingNetwork, task: FileTask) -> None:
    assert run_network(network, task, first=20, trials=20).warnings == ()


def test_inputs_three_times_as_large_are_noticed_with_the_unit_and_the_size(
    network: SpikingNetwork, task: FileTask, tmp_path: Path
) -> None:
    loud = replace(task, inputs=3 * task.inputs)
    held, drive = run_network(network, loud, first=20, trials=20).warnings
    assert "input channel 0 leaves its calibrated range in 11 of 20 trials" in held
    assert "of 20 units get inputs beyond their calibrated range" in drive
    assert "calibrate on trials like these" in drive


def test_one_unit_that_is_always_outside_is_noticed_among_any_number_of_others() -> None:
    values = np.zeros((10, 100, 600))
    watched = Watched.between(np.full(600, -1.0), np.full(600, 1.0))
    values[..., 7] = 5.0
    assert watched.add(values).share < TOLERATED
    assert watched.add(values).left
    assert watched.add(values).most == 7


@given(out=st.integers(0, 60), windows=st.integers(1, 400))
def test_a_single_units_rare_windows_are_tolerated(out: int, windows: int) -> None:
    values = np.zeros((windows, 1, 1000))
    values[:out, 0, 3] = 2.0
    n = min(out, windows)
    left = Watched.between(np.full(1000, -1.0), np.full(1000, 1.0)).add(values).left
    assert left == (n >= 10 and n > 0.05 * windows)


@pytest.mark.parametrize("size", [1.0, 1e-7, 1e6])
def test_inputs_are_watched_in_whatever_unit_they_are(size: float, task: FileTask) -> None:
    """As a recording's volts: the ranges keep their digits, and nothing absolute is tolerated beside them."""
    source = replace(follower(), w_in=follower().w_in / size)
    small = replace(task, inputs=task.inputs * size)
    made = calibrate(source, small, seed=0, trials=20, rounds=0, dt=1e-3, noise_sd=0.0).network
    loud = replace(small, inputs=3 * small.inputs)
    assert not any("input channel" in w for w in run_network(made, small, first=20, trials=20).warnings)
    assert "leaves its calibrated range in 11 of 20 trials" in run_network(made, loud, first=20, trials=20).warnings[0]


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


# sources without noise: the spiking network's own spikes are all the noise there is


def quiet(phi: str) -> RateNetwork:
    more = {"b_rec": np.full(20, -0.5), "w_in": np.full((20, 1), 2.0)} if phi == "relu" else {}
    return follower(phi=phi, noise_sd=0.0, x0_sd=0.0, **more)


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("phi", ["sigmoid", "relu"])
def test_trials_of_the_calibrated_kind_give_no_false_alarm_and_loud_ones_are_heard(
    phi: str, noise: float, task: FileTask
) -> None:
    found = calibrate(quiet(phi), task, seed=0, trials=20, dt=1e-3, noise_sd=noise, max_rate_hz=30.0, n_threads=1)
    watch = watched(found.network, task, 1.0)
    assert watch.drive.share <= FALSE_ALARMS
    assert watch.warnings() == ()
    assert watched(found.network, task, 3.0).drive.share > TOLERATED


def test_the_third_partys_network_without_its_noise_gives_no_false_alarm(shared_data: Path) -> None:
    """The one of 25 calibrations with a window outside; its x alone, without its spikes' noise, has 2 % outside."""
    source = replace(load_source(shared_data / "kim" / "go_nogo_n200.mat"), noise_sd=0.0, x0_sd=0.0)
    go = get_task("go-nogo")
    network = calibrate(source, go, seed=0, max_rate_hz=5.0, dt=1e-3, noise_sd=0.0).network
    watch = watched(network, go, 1.0, first=1000, n=100)
    assert watch.drive.share <= FALSE_ALARMS
    assert watch.warnings() == ()
    assert len(watched(network, go, 3.0, first=1000, n=20).warnings()) == 2


def watched(network: SpikingNetwork, task: Task, scale: float, first: int = 20, n: int = 20) -> RangeWatch:
    watch = RangeWatch.of(network)
    assert watch is not None
    given = scale * task.trials(n, seed=0, first=first).inputs
    return watch.add(engine.simulate(network, given, first_trial=first), given)


# the end of a trial, where the answer is


def one_at_a_time(folder: Path, n_samples: int, *, together: bool = False) -> FileTask:
    """Two channels of which a trial has one on in its last 95 ms, or both, or none; always as high."""
    n, on = 40, n_samples - 19
    kind = np.arange(n) % 3
    inputs = np.zeros((n_samples, n, 2))
    for channel in (0, 1):
        inputs[on:, (kind > 0) if together else (kind == channel + 1), channel] = 1.0
    end = n_samples * 0.005
    name = "together.h5" if together else "apart.h5"
    return write_trials(folder / name, n=n, inputs=inputs, labels=(kind > 0).astype(int), window=(end / 2, end))


@pytest.mark.parametrize("n_samples", [39, 40, 41, 26], ids=lambda k: f"{5 * k} ms")
def test_what_happens_in_the_last_window_is_seen_whatever_the_duration(n_samples: int, tmp_path: Path) -> None:
    source = follower(w_in=np.random.default_rng(0).uniform(7.0, 9.0, (20, 2)), noise_sd=0.0, x0_sd=0.0)
    apart = one_at_a_time(tmp_path, n_samples)
    network = calibrate(source, apart, trials=20, dt=1e-3, noise_sd=0.0, n_threads=1).network
    assert run_network(network, apart, first=20, trials=20).warnings == ()
    together = one_at_a_time(tmp_path, n_samples, together=True)
    (drive,) = run_network(network, together, first=20, trials=20).warnings
    assert "units get inputs beyond their calibrated range" in drive


@settings(deadline=None, max_examples=40)
@given(n_samples=st.integers(1, 70), seed=st.integers(0, 100))
def test_windows_are_the_means_of_what_they_cover_and_cover_every_step(n_samples: int, seed: int) -> None:
    """Of a step of 2 ms; an independent sum over the dense spikes."""
    rng = np.random.default_rng(seed)
    network = replace(transfer(follower(3), 50.0), dt=2e-3)
    inputs = rng.random((n_samples, 2, 1))
    run = engine.simulate(network, inputs)
    rates, held = window_means(network, run, inputs)
    spikes = run.spikes["rec"].dense()
    seen = inputs[np.minimum(np.floor(np.arange(run.n_steps) * 2e-3 / 5e-3 + 1e-9).astype(int), n_samples - 1)]
    size = min(50, run.n_steps)
    ends = sorted({*range(size, run.n_steps + 1, size), run.n_steps})
    assert len(rates) == len(held) == len(ends)
    np.testing.assert_allclose(rates, [spikes[e - size : e].sum(axis=0) / (size * 2e-3) for e in ends])
    np.testing.assert_allclose(held, [seen[e - size : e].mean(axis=0) for e in ends])


# units that never moved: no weight of the spiking network can wake them, so the rate network's must say so

ASLEEP = 4


def sleeping() -> RateNetwork:
    """ReLU units on channel 0; the last ASLEEP listen to channel 1 and to unit 0, which is too weak for them."""
    n, a = 12, ASLEEP
    w_in, w_rec, b_rec = np.zeros((n, 2)), np.zeros((n, n)), np.full(n, 0.1)
    w_in[:-a, 0], w_in[-a:, 1] = 1.0, 6.0
    w_rec[-a:, 0], b_rec[-a:] = 0.5, -3.0
    return follower(n, phi="relu", w_in=w_in, w_rec=w_rec, b_rec=b_rec, noise_sd=0.0)


def beside(task: FileTask, other: float) -> FileTask:
    """The same trials with a second channel of that value."""
    return replace(task, inputs=np.concatenate([task.inputs, np.full_like(task.inputs, other)], axis=2))


@pytest.fixture(scope="module")
def asleep(task: FileTask) -> SpikingNetwork:
    return calibrate(sleeping(), beside(task, 0.0), trials=20, dt=1e-3, noise_sd=0.0, n_threads=1).network


def test_units_that_should_wake_are_named_by_run_and_by_validate(asleep: SpikingNetwork, task: FileTask) -> None:
    awake = beside(task, 1.0)
    ran = run_network(asleep, awake, first=20, trials=20).warnings
    checked = validate_network(asleep, sleeping(), awake, first=20, trials=20).validation.warnings
    for found in (ran, checked):
        held, woken = found
        assert "input channel 1 leaves its calibrated range in 20 of 20 trials, by up to 1; it was always 0" in held
        assert "4 of 4 units whose rate never moved on the calibration trials would move here" in woken
    assert run_network(asleep, beside(task, 0.0), first=20, trials=20).warnings == ()


def test_units_that_others_wake_are_named_too(asleep: SpikingNetwork, task: FileTask) -> None:
    loud = replace(task, inputs=8 * task.inputs)
    assert any("would move here" in w for w in run_network(asleep, beside(loud, 0.0), first=20, trials=20).warnings)


def test_what_a_silent_unit_hears_is_the_rate_networks_own_sum(asleep: SpikingNetwork, task: FileTask) -> None:
    given = beside(task, 0.3).inputs[:, :2]
    run = engine.simulate(asleep, given)
    watch = RangeWatch.of(asleep)
    assert watch is not None
    assert watch.silent is not None
    np.testing.assert_array_equal(watch.silent.unit, np.arange(12 - ASLEEP, 12))
    rates, held = window_means(asleep, run, given)
    said = asleep.provenance["calibration"]["units"]
    r = np.array(said["baseline"]) + rates / np.array(said["inverse_lambda"])
    source = sleeping()
    expected = r @ source.w_rec.T + held @ source.w_in.T + source.b_rec
    found = rates @ watch.silent.w_spike.T + held @ watch.silent.w_in.T + watch.silent.constant
    np.testing.assert_allclose(found, expected[:, :, -ASLEEP:], atol=1e-4)
    low, high = watch.silent.x.low, watch.silent.x.high
    assert (low < -100).all(), "a ReLU unit stays at 0 however far below"
    assert ((high > 0) & (high < 0.1)).all()


def test_a_network_of_an_earlier_version_makes_no_claim_of_what_it_does_not_hold(
    asleep: SpikingNetwork, task: FileTask
) -> None:
    said = {k: v for k, v in asleep.provenance["calibration"].items() if k not in ("silent", "input_low", "input_high")}
    earlier = replace(asleep, provenance={**asleep.provenance, "calibration": said})
    assert run_network(earlier, beside(task, 1.0), first=20, trials=20).warnings == ()


def test_the_ranges_survive_a_file(asleep: SpikingNetwork, task: FileTask, tmp_path: Path) -> None:
    save_spiking_network(asleep, tmp_path / "net.h5")
    awake = beside(task, 1.0)
    again = run_network(tmp_path / "net.h5", awake, first=20, trials=20)
    assert again.warnings == run_network(asleep, awake, first=20, trials=20).warnings
    assert len(again.warnings) == 2


# which trials it was made with


def test_trials_that_calibrated_a_network_are_named_and_fresh_ones_are_not(
    network: SpikingNetwork, task: FileTask
) -> None:
    (warning,) = run_network(network, task, first=15, trials=10).warnings
    assert warning.startswith("5 of these 10 trials (trials 15 to 19) chose or calibrated this network")
    assert warning.endswith("--first 20")
    found = validate_network(network, follower(), task, first=0, trials=30).validation.warnings
    assert "20 of these 30 trials (trials 0 to 19) chose or calibrated this network" in " ".join(found)


@settings(deadline=None)
@given(made=st.tuples(st.integers(0, 30), st.integers(1, 30)), asked=st.tuples(st.integers(0, 60), st.integers(1, 30)),
       seed=st.sampled_from([0, 1]))  # fmt: skip
def test_it_says_so_exactly_where_the_numbers_meet(made: tuple[int, int], asked: tuple[int, int], seed: int) -> None:
    said = {"task": "go-nogo", "seed": 0, "first": made[0], "trials": made[1]}
    network = replace(transfer(follower(2), 50.0), provenance={"calibration": said})
    found = seen_trials(network, get_task("go-nogo"), seed=seed, first=asked[0], trials=asked[1])
    both = set(range(made[0], sum(made))) & set(range(asked[0], sum(asked)))
    assert bool(found) == (bool(both) and seed == 0)
    if found:
        assert found[0].startswith(f"{len(both)} of these {asked[1]} trials")


def test_a_file_of_other_trials_under_the_same_name_is_another(network: SpikingNetwork, task: FileTask) -> None:
    other = replace(task, inputs=0.99 * task.inputs)
    assert run_network(network, other, first=0, trials=20).warnings == ()
    assert run_network(network, replace(task, name="renamed"), first=0, trials=5, seed=7).warnings != ()


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
