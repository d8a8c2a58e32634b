"""The f-I curve of the canonical step: closed form against the engine and the textbook, and what noise does to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spikeport.convert.calibration.curves import Curve, closed_form, fi_curve, lif
from spikeport.convert.presets import PRESETS, Preset
from spikeport.convert.transfer import noise_of_v
from spikeport.snn.engine import Engine
from spikeport.snn.spiking import Population, SpikingNetwork

QUIET = replace(PRESETS["standard"], noise_sd=0.0, t_ref=0.0)
SETTINGS = {
    "exact, 1 ms": replace(QUIET, dt=1e-3),
    "exact, 0.05 ms, refractory": replace(QUIET, t_ref=2e-3),
    "kim2019, 1 ms, refractory": replace(PRESETS["kim2019"], noise_sd=0.0, dt=1e-3, t_ref=3e-3),
    "threshold at the reset": replace(QUIET, dt=1e-3, v_reset=-40.0),
}


def spikes(preset: Preset, drive: np.ndarray, seconds: float) -> np.ndarray:
    unit = Population(name="unit", n=drive.size, neuron=lif(preset), bias=drive, v0=preset.v_reset)
    engine = Engine(SpikingNetwork(populations=(unit,), dt=preset.dt, integrator=preset.integrator))
    return engine.run(engine.start(1), n_steps=round(seconds / preset.dt)).counts[0, 0]


@pytest.mark.parametrize("name", SETTINGS)
def test_the_closed_form_counts_the_spikes_of_the_engine(name: str) -> None:
    preset = SETTINGS[name]
    drive = preset.v_threshold + np.concatenate([[-5.0, -0.1], np.random.default_rng(0).uniform(0.01, 80.0, 60)])
    np.testing.assert_allclose(spikes(preset, drive, 2.0), closed_form(preset, drive) * 2.0, atol=1.0)


@pytest.mark.parametrize("t_ref", [0.0, 2e-3])
def test_at_a_small_step_it_is_the_textbook_curve(t_ref: float) -> None:
    preset = replace(QUIET, dt=1e-6, t_ref=t_ref)
    drive = np.array([-39.0, -30.0, 10.0])
    period = t_ref + preset.tau_mem * np.log((drive - preset.v_reset) / (drive - preset.v_threshold))
    np.testing.assert_allclose(closed_form(preset, drive), 1 / period, rtol=1e-3)


def test_a_step_of_1_ms_is_far_from_the_textbook() -> None:
    drive = np.array([-37.0])
    fine, coarse = (float(closed_form(replace(QUIET, dt=dt), drive)[0]) for dt in (1e-6, 1e-3))
    assert coarse < 0.98 * fine


def test_faint_noise_gives_the_closed_form_back() -> None:
    faint = replace(QUIET, dt=1e-3, noise_sd=1e-6)
    drive = np.linspace(-38.0, 20.0, 30)
    np.testing.assert_allclose(fi_curve(faint)(drive), fi_curve(replace(faint, noise_sd=0.0))(drive), rtol=0.1)


def test_noise_lets_a_unit_fire_below_its_threshold() -> None:
    below = np.array([-41.0])
    assert fi_curve(QUIET)(below)[0] == 0 < fi_curve(PRESETS["standard"])(below)[0]


def test_a_curve_never_falls() -> None:
    assert (np.diff(fi_curve(PRESETS["standard"]).rate) >= 0).all()


def test_a_curve_is_measured_once_for_each_neuron_and_step() -> None:
    published = PRESETS["standard"]
    assert fi_curve(published) is fi_curve(replace(published, name="other", bias=3.0, keep_b_out=False))
    assert fi_curve(published) is not fi_curve(replace(published, tau_mem=0.02))


def test_smoothing_keeps_a_straight_line_and_rounds_a_corner() -> None:
    drive = np.linspace(-50.0, 50.0, 401)
    corner = Curve(drive=drive, rate=np.maximum(drive, 0.0))
    smooth = corner.smoothed(1.0)
    np.testing.assert_allclose(smooth(np.array([20.0, -20.0])), [20.0, 0.0], atol=1e-9)
    assert smooth(np.array([0.0]))[0] == pytest.approx(1 / np.sqrt(2 * np.pi), rel=0.02)  # mean of max(z, 0)
    assert corner.smoothed(0.0) is corner
    np.testing.assert_allclose(corner.slope(np.array([-3.0, 3.0])), [0.0, 1.0], atol=1e-9)


def test_the_noise_of_v_is_what_a_free_membrane_shows() -> None:
    preset = replace(PRESETS["standard"], dt=1e-3, noise_sd=0.5)
    free = Population(name="unit", n=400, neuron=replace(lif(preset), v_threshold=1e6), noise_sd=preset.noise_sd)
    engine = Engine(SpikingNetwork(populations=(free,), dt=preset.dt, integrator=preset.integrator))
    v = engine.run(engine.start(1), n_steps=300, record_v=True).v[0, 0, 100:]
    assert v.std() == pytest.approx(noise_of_v(preset), rel=0.03)
