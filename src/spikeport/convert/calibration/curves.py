"""f-I curves: the firing rate of a preset's LIF neuron as a function of a constant drive, at its own step.

    drive I (mV): v settles at I where there is no threshold.    f(I) in spikes/s

Without noise in closed form, of the canonical step and not of the continuous neuron: after a spike v is frozen for
n_ref steps, then v_n = I + (v_reset - I) A^n, and the next spike is at the first n with v_n > v_threshold:

    f = 1 / ((n + n_ref) dt),   n = floor(log((I - v_threshold) / (I - v_reset)) / log A) + 1,   I > v_threshold

At 1 ms this differs much from the textbook curve. With noise the curve is measured by the engine, one unit per drive.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from spikeport.convert.presets import Preset
from spikeport.convert.transfer import noise_of_v
from spikeport.snn.engine import Engine
from spikeport.snn.integrators import get_integrator
from spikeport.snn.neurons import LIF, Array, refractory_steps
from spikeport.snn.spiking import Population, SpikingNetwork

SETTLE = 0.1  # s before spikes are counted: ten of the published membrane's time constants
SECONDS = 1.0  # of counting, in each trial
TRIALS = 8
SEED = 0  # of the measured curve's noise: a curve is a property of the neuron, so it has one
NEAR = 12.0  # mV around the threshold with a fine grid
FAR = 2000.0  # mV above the threshold: the published neuron fires at 8 kHz there, more than any step here allows
HALF = 0.5  # mV to each side, of a slope
_SPREAD = 41  # points of the normal distribution with which a curve is smoothed


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """rate (m,) spikes/s at drive (m,) mV, ascending; linear in between, constant beyond."""

    drive: Array
    rate: Array

    def __call__(self, drive: Array) -> Array:
        return np.asarray(np.interp(drive, self.drive, self.rate), dtype=np.float64)

    def slope(self, drive: Array) -> Array:
        """df/dI in spikes/s per mV, over 2 HALF mV."""
        return np.asarray(np.interp(drive, *self._slope), dtype=np.float64)

    @functools.cached_property
    def _slope(self) -> tuple[Array, Array]:
        """(drive, slope): a difference of two lines is one between their knots, so one look-up does for two."""
        knots: Array = np.union1d(self.drive - HALF, self.drive + HALF)
        return knots, (self(knots + HALF) - self(knots - HALF)) / (2 * HALF)

    def smoothed(self, sd: float) -> Curve:
        """The curve of a drive that swings slowly around its mean, with a normal distribution of `sd` mV."""
        if sd <= 0:
            return self
        from scipy.special import ndtri  # here, because importing it takes long

        swing = sd * ndtri((np.arange(_SPREAD) + 0.5) / _SPREAD)
        return Curve(drive=self.drive, rate=self(self.drive[:, None] + swing).mean(axis=1))


def fi_curve(preset: Preset) -> Curve:
    """The curve of this preset's neuron; cached by what it depends on."""
    return _curve(
        replace(preset, name="", bias=0.0, tau_rise=1.0, sampling="", keep_b_out=True, delay=1, starts_refractory=False)
    )


@functools.lru_cache(maxsize=32)
def _curve(preset: Preset) -> Curve:
    below = NEAR + 6 * noise_of_v(preset)
    above = np.concatenate([np.arange(-below, NEAR, 0.25), np.geomspace(NEAR, FAR, 80)])
    drive: Array = np.asarray(preset.v_threshold + above, dtype=np.float64)
    rate = closed_form(preset, drive) if preset.noise_sd == 0 else _measured(preset, drive)
    return Curve(drive=drive, rate=rate)


def closed_form(preset: Preset, drive: Array) -> Array:
    """f(I) without noise; the equation of the module."""
    decay = float(get_integrator(preset.integrator).decay(np.array([preset.tau_mem]), preset.dt)[0])
    rate = np.zeros(drive.shape)
    on = drive > preset.v_threshold
    ratio = (drive[on] - preset.v_threshold) / (drive[on] - preset.v_reset)
    with np.errstate(divide="ignore"):  # a threshold at the reset: ratio 1, log 0, one step
        steps = np.floor(np.log(ratio) / np.log(decay)) + 1
    rate[on] = 1 / ((np.maximum(steps, 1) + refractory_steps(preset.t_ref, preset.dt)) * preset.dt)
    return rate


def _measured(preset: Preset, drive: Array) -> Array:
    """f(I) with the preset's noise: spikes of one unit per drive, counted; a rate that falls with I is chance."""
    unit = Population(
        name="unit",
        n=drive.size,
        neuron=lif(preset),
        bias=drive,
        noise_sd=preset.noise_sd,
        noise_while_refractory=preset.noise_while_refractory,
        spikes_while_refractory=preset.spikes_while_refractory,
        v0=preset.v0,
    )
    engine = Engine(SpikingNetwork(populations=(unit,), dt=preset.dt, integrator=preset.integrator), dtype="float32")
    state = engine.start(TRIALS, seed=SEED)
    engine.run(state, n_steps=round(SETTLE / preset.dt), record_outputs=False)
    counts = engine.run(state, n_steps=round(SECONDS / preset.dt), record_outputs=False).counts
    rate = counts[:, 0].sum(axis=0) / (TRIALS * round(SECONDS / preset.dt) * preset.dt)
    return np.asarray(np.maximum.accumulate(rate), dtype=np.float64)


def lif(preset: Preset) -> LIF:
    """The preset's neuron; v >= threshold is v > the number below it."""
    threshold = float(np.nextafter(preset.v_threshold, -np.inf)) if preset.at_threshold else preset.v_threshold
    return LIF(tau_mem=preset.tau_mem, v_threshold=threshold, v_reset=preset.v_reset, t_ref=preset.t_ref)
