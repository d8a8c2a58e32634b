"""Calibrated conversion: each step against its equation, then whole networks; what it lacks is said."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import follower, write_trials

from spikeport.convert.calibration import Calibration, calibrate
from spikeport.convert.calibration.budget import highest_rate, inverse_lambdas, output_worth
from spikeport.convert.calibration.choose import Bench, smooth
from spikeport.convert.calibration.curves import Curve
from spikeport.convert.calibration.loop import Loop
from spikeport.convert.calibration.match import gauss_newton, match
from spikeport.convert.calibration.observed import Observed, observe
from spikeport.convert.calibration.units import Units, build, euler_tau
from spikeport.convert.presets import PRESETS
from spikeport.convert.sources import load_source
from spikeport.snn.engine import Engine, simulate
from spikeport.snn.errors import SpikeportError, UnsupportedError
from spikeport.snn.measures import wilson
from spikeport.snn.rate import RateNetwork, simulate_rate
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import FileTask, Task, get_task

CHIP = replace(PRESETS["standard"], dt=1e-3, noise_sd=0.0, t_ref=0.0)


@pytest.fixture
def task(tmp_path: Path) -> FileTask:
    return write_trials(tmp_path / "trials.npz", n=24)


def fake(r: np.ndarray, x: np.ndarray | None = None) -> Observed:
    """What was observed, made by hand."""
    x = r if x is None else x
    outputs = r[:, :, :1]
    return Observed(
        trials=None, x=x, r=r, quiet_x=x, quiet_r=r, outputs=outputs, task=None, rule=None,  # type: ignore[arg-type]
        alive=np.ptp(r, axis=(0, 1)) > 0, warnings=(),
    )  # fmt: skip


def bench_of(source: RateNetwork, observed: Observed, **changes: Any) -> Bench:
    fields: dict[str, Any] = {
        "limit": 20.0, "single": None, "within": None, "rounds": 2, "seed": 0, "first": 0, "n_threads": 1,
        "worth": np.ones(source.n_neurons), "weights": None,
    }  # fmt: skip
    return Bench(source=source, observed=observed, **{**fields, **changes})


# ---- the network that the units make


@pytest.mark.parametrize("preset", ["exact", "kim2019", "euler"])
@pytest.mark.parametrize("dt", [5e-5, 1e-3])
def test_v_settles_at_gain_times_the_fixed_point_of_x_plus_offset(preset: str, dt: float) -> None:
    """Without spikes: x = w_in u + b_rec + w_rec b, and v = gain x + offset, whatever the step's own DC gain is."""
    source = follower(6, b_rec=np.linspace(-2, 2, 6))
    units = Units(
        gain=np.linspace(0.5, 3, 6), offset=np.linspace(-90, -60, 6), inverse_lambda=np.full(6, 50.0),
        baseline=np.linspace(0, 0.3, 6), tau_out=0.02,
    )  # fmt: skip
    network = build(source, replace(CHIP, integrator=preset, dt=dt, v_threshold=1e4), units, {})
    u = np.full((200, 1, 1), 0.7)
    v = simulate(network, u, record=("rec.v",), with_noise=False).traces["rec.v"][-1, 0]
    x = source.w_in[:, 0] * 0.7 + source.b_rec + source.w_rec @ units.baseline
    np.testing.assert_allclose(v, units.gain * x + units.offset, rtol=2e-4)


@pytest.mark.parametrize("integrator", ["exact", "kim2019"])
def test_a_unit_at_a_steady_rate_says_its_rate_at_the_read_out_and_to_others(integrator: str) -> None:
    """Two units: 0 fires steadily, 1 listens and cannot fire: mean o = w_out r, mean v = gain w r + offset."""
    source = follower(2, w_rec=np.array([[0.0, 0.0], [0.8, 0.0]]), w_in=np.zeros((2, 1)), b_rec=np.zeros(2),
                      w_out=np.array([[2.0, 0.0]]), tau=np.array([0.03, 0.05]))  # fmt: skip
    preset = replace(CHIP, integrator=integrator)
    units = Units(gain=np.array([1.0, 2.0]), offset=np.array([-30.0, -90.0]), inverse_lambda=np.array([100.0, 100.0]),
                  baseline=np.array([0.25, 0.0]), tau_out=0.02)  # fmt: skip
    done = simulate(build(source, preset, units, {}), np.zeros((600, 1, 1)), record=("rec.v",))
    late = slice(1000, 3000)
    spikes = done.spikes["rec"]
    rate = ((spikes.step >= 1000) & (spikes.step < 3000) & (spikes.neuron == 0)).sum() / 2.0
    r = 0.25 + rate / 100.0
    assert rate > 50
    assert done.outputs["out"][late, 0, 0].mean() == pytest.approx(2 * r, rel=0.01)
    assert done.traces["rec.v"][late, 0, 1].mean() == pytest.approx(2.0 * 0.8 * r - 90.0, rel=1e-3)


@settings(deadline=None)
@given(tau=st.floats(0.0051, 1.0))
def test_the_synapse_decays_by_the_rate_networks_own_step(tau: float) -> None:
    source = follower(2, tau=np.full(2, tau))
    np.testing.assert_allclose(np.exp(-source.dt / euler_tau(source)), 1 - source.dt / tau, rtol=1e-9)


# ---- the budget


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**31), budget=st.floats(0.5, 20.0))
def test_the_budget_is_spent_and_no_other_way_to_spend_it_is_quieter(seed: int, budget: float) -> None:
    rng = np.random.default_rng(seed)
    r = rng.random((20, 3, 8)) * 0.3
    worth = rng.uniform(0.2, 5.0, 8)
    found = inverse_lambdas(fake(r), CHIP, np.zeros(8), worth, budget)
    mean = r.mean(axis=(0, 1))
    assert (mean * found).sum() == pytest.approx(8 * budget)
    other = found * rng.uniform(0.7, 1.4, 8)
    other *= 8 * budget / (mean * other).sum()
    assert (worth * mean / found).sum() <= (worth * mean / other).sum() * (1 + 1e-9)


def test_no_unit_is_asked_for_more_than_its_step_allows() -> None:
    r = np.random.default_rng(0).random((50, 4, 6))
    found = inverse_lambdas(fake(r), CHIP, np.zeros(6), np.geomspace(1, 50, 6), 150.0)
    peak = np.quantile(r, 0.999, axis=(0, 1)) * found
    assert peak.max() == pytest.approx(highest_rate(CHIP))
    assert (r.mean(axis=(0, 1)) * found).sum() == pytest.approx(6 * 150.0)  # the others take what full units cannot


def test_the_worth_of_a_unit_is_the_energy_of_its_impulse_response() -> None:
    """A linear network (relu far above 0): perturb r_i once, sum the squared change of the output."""
    source = follower(5, phi="relu", b_rec=np.full(5, 50.0), w_rec=np.random.default_rng(1).normal(0, 0.3, (5, 5)),
                      w_out=np.random.default_rng(2).normal(size=(1, 5)))  # fmt: skip
    u = np.zeros((300, 10, 1))
    quiet = simulate_rate(source, u, with_noise=False, record_state=True)
    assert quiet.x is not None
    assert quiet.r is not None
    assert quiet.x.min() > 5
    found = np.mean([output_worth(source, fake(quiet.r, quiet.x), seed) for seed in range(12)], axis=0)
    a = source.dt / source.tau
    for i in range(5):
        direct = source.w_out[0, i] ** 2 / (2 * source.tau[i])
        x, energy = a * source.w_rec[:, i], 0.0  # one step of white noise of unit density has variance 1 / dt
        for _ in range(250):
            energy += float(source.w_out[0] @ x) ** 2 / source.dt
            x = (1 - a) * x + a * (source.w_rec @ x)
        assert found[i] == pytest.approx(direct + energy, rel=0.25)


# ---- the match


def test_a_match_finds_the_gain_and_offset_that_made_the_rates() -> None:
    drive = np.linspace(-80.0, 200.0, 2801)
    curve = Curve(drive=drive, rate=2 * np.logaddexp(0.0, drive + 40.0))
    gain, offset = np.array([0.5, 3.0, 8.0]), np.array([-42.0, -36.0, -30.0])
    x = np.random.default_rng(0).normal(0, 1.5, (3, 32))
    scale = np.array([20.0, 50.0, 100.0])
    wanted = curve(gain[:, None] * x + offset[:, None]) / scale[:, None]
    found_gain, found_offset, error = match(x, wanted, scale, curve, -40.0)
    np.testing.assert_allclose(found_gain, gain, rtol=0.05)
    np.testing.assert_allclose(found_offset, offset, atol=0.3)
    assert (error < 0.02 * wanted.std(axis=1)).all()


def test_the_slope_of_a_curve_is_its_difference_over_a_millivolt() -> None:
    curve = smooth(CHIP, 3.0)
    drive = np.random.default_rng(0).uniform(-80.0, 300.0, 5000)
    expected = curve(drive + 0.5) - curve(drive - 0.5)
    np.testing.assert_allclose(curve.slope(drive), expected, rtol=1e-9, atol=1e-9)


def test_a_correction_is_the_least_squares_step() -> None:
    rng = np.random.default_rng(0)
    a, b, missing_ = rng.normal(size=(3, 40))
    expected = np.linalg.lstsq(np.stack([a, b], axis=1), missing_, rcond=None)[0]
    found = gauss_newton(a[None], b[None], missing_[None], ridge=(0.0, 0.0), axis=1)
    np.testing.assert_allclose([float(f[0]) for f in found], expected)


# ---- the loop


def test_the_loop_mends_units_that_were_set_wrong(task: FileTask) -> None:
    source = follower(20)
    observed = observe(source, task, seed=0, trials=12, first=0)
    preset = replace(CHIP, noise_sd=0.3)
    units, _ = bench_of(source, observed, limit=60.0).matched(preset, 60.0)
    wrong = replace(units, offset=units.offset + np.where(np.arange(20) % 2, 1.5, -1.5), gain=units.gain * 0.8)
    loop = Loop(source=source, preset=preset, observed=observed, curve=smooth(preset, 3.0), seed=0, first=0,
                n_threads=1, refit=False)  # fmt: skip
    *_, (_, history, _) = loop.improve(lambda hz: wrong, rounds=8, max_rate_hz=np.inf)
    best = min(history, key=lambda h: h.score)
    assert best.own_error < 0.5 * history[0].own_error
    assert best.score < history[0].score


def test_what_others_hear_is_the_rate_equation_driven_by_what_units_say(task: FileTask) -> None:
    """Fed with the rate network's own r, it is x, half a step earlier."""
    source = follower(20)
    observed = observe(source, task, seed=0, trials=3, first=0)
    loop = Loop(source=source, preset=CHIP, observed=observed, curve=smooth(CHIP, 3.0), seed=0, first=0)
    before = np.concatenate([np.full_like(observed.quiet_r[:1], source.activation(np.zeros(1))[0]), observed.quiet_r])
    x = np.concatenate([np.zeros_like(observed.quiet_x[:1]), observed.quiet_x])
    np.testing.assert_allclose(loop.heard(before[:-1]), (x[1:] + x[:-1]) / 2, atol=1e-12)


# ---- whole networks


def test_a_calibrated_network_follows_the_rate_network_within_its_budget(task: FileTask) -> None:
    found = calibrate(follower(20), task, trials=16, max_rate_hz=40.0, preset=CHIP, n_threads=1)
    assert found.mean_rate_hz <= 40.0
    assert found.history[found.best].score < 0.5
    fresh = task.trials(8, seed=0, first=16)
    engine = Engine(found.network)
    outputs = engine.run(engine.start(8, first_trial=16), fresh.inputs).outputs[:, 0].transpose(2, 0, 1)
    assert task.judge(outputs, fresh, dt=1e-3, kind="spiking", rule="mean").mean() >= 0.75


def test_the_same_seed_gives_the_same_network_on_any_number_of_threads(task: FileTask) -> None:
    a, b = (calibrate(follower(8), task, trials=6, rounds=2, preset=CHIP, n_threads=n) for n in (1, 2))
    np.testing.assert_array_equal(a.units.gain, b.units.gain)
    np.testing.assert_array_equal(a.units.offset, b.units.offset)


def test_one_inverse_lambda_can_be_asked_for(task: FileTask) -> None:
    found = calibrate(follower(8), task, trials=6, rounds=0, preset=CHIP, inverse_lambda=80.0)
    np.testing.assert_array_equal(found.units.inverse_lambda, np.full(8, 80.0))
    assert found.inverse_lambda == pytest.approx(80.0)


def test_the_provenance_says_how_it_was_made_and_over_which_x(task: FileTask) -> None:
    found = calibrate(follower(8), task, trials=6, rounds=1, preset=CHIP, seed=3)
    kept = json.loads(json.dumps(dict(found.network.provenance)))
    assert (kept["method"], kept["calibration"]["trials"], kept["calibration"]["seed"]) == ("calibrated", 6, 3)
    np.testing.assert_allclose(kept["calibration"]["x_low"], found.x_low, atol=1e-6)
    assert (found.x_low < found.x_high).all()
    json.dumps(found.as_dict())


def test_without_bounds_the_refractory_period_is_the_presets_or_none_whichever_fits_better(task: FileTask) -> None:
    make = functools.partial(calibrate, follower(8), task, trials=6, rounds=0, inverse_lambda=80.0)
    preset = replace(CHIP, t_ref=0.02)
    errors = {t: make(t_ref=t, preset=preset).curve_error for t in (0.0, 0.02)}
    chosen = make(preset=preset)
    assert chosen.curve_error == min(errors.values())
    assert chosen.t_ref == min(errors, key=lambda t: errors[t])


# ---- what it needs and does not have


def half_dead(n: int = 8) -> RateNetwork:
    """ReLU units of which every other one stays far below 0 and listens to nothing."""
    sign = np.where(np.arange(n) % 2, -1.0, 1.0)
    return follower(n, phi="relu", w_rec=np.zeros((n, n)), w_in=np.ones((n, 1)) * (sign > 0)[:, None],
                    b_rec=np.where(sign > 0, 0.2, -50.0), noise_sd=0.0)  # fmt: skip


def test_units_that_never_move_are_silent_and_named(task: FileTask) -> None:
    found = calibrate(half_dead(), task, trials=6, rounds=1, preset=CHIP)
    assert any("4 of 8 units have a rate that never moves" in w for w in found.warnings)
    units = found.as_dict()["units"]
    assert units["silent"] == 4
    assert units["inverse_lambda"][-1] < 1e4, "only units that fire have a 1/lambda to show"
    fresh = task.trials(4, seed=0, first=6)
    engine = Engine(found.network)
    counts = engine.run(engine.start(4, first_trial=6), fresh.inputs).counts[:, 0].sum(axis=0)
    assert (counts[1::2] == 0).all()
    assert (counts[::2] > 0).all()


def test_a_network_that_never_moves_is_refused(task: FileTask) -> None:
    still = follower(6, w_rec=np.zeros((6, 6)), w_in=np.zeros((6, 1)), b_rec=np.full(6, -1.0), phi="relu", noise_sd=0.0)
    with pytest.raises(UnsupportedError, match="no unit's rate ever moves"):
        calibrate(still, task, trials=4, preset=CHIP)


def test_an_input_that_never_changes_is_named(tmp_path: Path) -> None:
    base = write_trials(tmp_path / "a.npz", n=8)
    flat = write_trials(
        tmp_path / "b.npz", n=8, inputs=np.concatenate([base.inputs, np.ones_like(base.inputs)], axis=2)
    )
    source = follower(8, w_in=np.tile([8.0, 0.1], (8, 1)))
    found = calibrate(source, flat, trials=4, rounds=0, preset=CHIP)
    assert any("input channel 1 never changes" in w for w in found.warnings)


def test_more_spikes_than_a_step_can_hold_are_a_warning(task: FileTask) -> None:
    found = calibrate(follower(8), task, trials=4, rounds=0, preset=CHIP, inverse_lambda=5000.0)
    assert any("asked for more than 400 spikes/s at this step" in w for w in found.warnings)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no trials": ({"trials": 0}, "trials: 0, must be at least 1"),
    "no budget": ({"max_rate_hz": 0.0}, "max rate: 0 spikes/s a unit, must be at least 1e-06"),
    "not one spike": ({"max_rate_hz": 1e-300}, "max rate: 1e-300 spikes/s a unit, must be at least 1e-06"),
    "budget and 1/lambda": ({"max_rate_hz": 5.0, "inverse_lambda": 50.0}, "give one of them"),
    "a coarse step": ({"dt": 0.01}, "above the rate network's own"),
    "no step": ({"dt": 0.0}, "dt 0.0 s, must be positive"),
    "negative noise": ({"noise_sd": -1.0}, "noise: -1 mV a step, must be 0 or more"),
    "no refractory period": ({"t_ref": ()}, r"must be a number, or LOW:HIGH"),
    "bounds the wrong way round": ({"noise_sd": (0.2, 0.1)}, r"noise: 0\.2:0\.1 mV a step, LOW must not be above HIGH"),
    "no 1/lambda": ({"inverse_lambda": (0.0, 10.0)}, r"1/lambda: 0:10 spikes/s, must be positive"),
    "negative refractory period": ({"t_ref": -1.0}, "t_ref: -1 s, must be 0 or more"),
    "Euler above its time constant": ({"preset": "kim2019", "dt": 0.0025}, "tau_rise is 0.002 s"),
}


@pytest.mark.parametrize("case", BAD)
def test_settings_that_make_no_sense_are_refused(case: str, task: FileTask) -> None:
    changes, message = BAD[case]
    with pytest.raises(SpikeportError, match=message):
        calibrate(follower(4), task, **{"trials": 4, **changes})


# ---- the third party's network


@pytest.fixture
def third_party(shared_data: Path) -> RateNetwork:
    return load_source(shared_data / "kim" / "go_nogo_n200.mat")


def fresh_accuracy(network: SpikingNetwork, task: Task, *, first: int, n: int) -> tuple[int, float]:
    """Right trials under the task's own rule, and spikes/s a unit, on trials that calibration did not see."""
    right = spikes = 0
    engine = Engine(network, dtype="float32")
    for start in range(first, first + n, 50):
        trials = task.trials(50, seed=0, first=start)
        run = engine.run(engine.start(50, first_trial=start), trials.inputs, n_threads=None)
        outputs = run.outputs[:, 0].transpose(2, 0, 1)
        right += int(task.judge(outputs, trials, dt=network.dt, kind="spiking", rule=task.rules[0]).sum())
        spikes += int(run.counts.sum())
    return right, spikes / (n * task.n_samples * task.dt * network.n_neurons)


CONDITIONS: dict[str, Callable[..., Calibration]] = {
    "1 ms, no noise": functools.partial(calibrate, dt=1e-3, noise_sd=0.0),
    "0.05 ms, published noise": functools.partial(calibrate, preset="standard"),
}


def test_the_third_partys_network_converts_at_1_ms_without_noise(third_party: RateNetwork) -> None:
    task = get_task("go-nogo")
    found = CONDITIONS["1 ms, no noise"](third_party, task, max_rate_hz=15.0, trials=15, rounds=1)
    right, rate = fresh_accuracy(found.network, task, first=1000, n=100)
    assert right >= 98
    assert rate <= 15.0


def test_no_round_above_the_budget_would_be_clearly_better_with_fewer_spikes(third_party: RateNetwork) -> None:
    """Seed 2 has its first good round above the budget. An error of spikes alone grows as their number to -1/2."""
    found = calibrate(
        third_party, get_task("go-nogo"), seed=2, max_rate_hz=3.0, dt=1e-3, noise_sd=0.0, n_threads=1
    )  # fmt: skip
    best = found.history[found.best]
    above = [r for r in found.history if r.expected_rate_hz > 3.0]
    assert above
    assert best.expected_rate_hz <= 3.0
    assert all(best.score <= 1.2 * r.score * np.sqrt(r.expected_rate_hz / 3.0) for r in above)
    assert best.right == best.judged


@pytest.mark.slow
@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_third_partys_network_keeps_99_of_100_trials_at_15_spikes_a_second(
    condition: str, third_party: RateNetwork
) -> None:
    task = get_task("go-nogo")
    found = CONDITIONS[condition](third_party, task, max_rate_hz=15.0)
    right, rate = fresh_accuracy(found.network, task, first=1000, n=1000)
    assert right / 1000 >= 0.99
    assert wilson(right, 1000)[0] > 0.98
    assert rate <= 15.0
