"""The transfer of Kim, Li & Sejnowski (PNAS 2019): a rate network's weights and time constants, in LIF neurons.

    tau_mem dv/dt = -v + lambda w_rec s + w_in u + b_rec + bias,      o = lambda w_out s' + b_out

s: each unit's spikes through a double exponential of decay tau, the rate unit's own. w_in, tau and b_rec are taken
over unchanged; w_rec and w_out are multiplied by one lambda, which search.py finds. Where the paper and its code
disagree (the paper filters a spike with its source's tau; the code with the target's in the recurrence and the
source's in the read-out) this follows the code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spikeport.convert.presets import PUBLISHED_DT, Preset, get_preset
from spikeport.snn.errors import SpikeportError
from spikeport.snn.integrators import get_integrator, synapse_table
from spikeport.snn.losses import Loss
from spikeport.snn.neurons import LIF, Array
from spikeport.snn.rate import RateNetwork
from spikeport.snn.spiking import HeldInput, Population, Projection, ReadOut, SpikingNetwork
from spikeport.snn.synapses import DoubleExponential

ROUNDING = 1e-6  # of a step: so much off, a refractory period is the one asked for


def transfer(
    source: RateNetwork, inverse_lambda: float, *, preset: str | Preset = "standard", dt: float | None = None
) -> SpikingNetwork:
    """The spiking network of `source` at lambda = 1 / inverse_lambda; dt: s, in place of the preset's."""
    p = get_preset(preset) if isinstance(preset, str) else preset
    p = p if dt is None else replace(p, dt=dt)
    check_settings(source, p)
    if not (np.isfinite(inverse_lambda) and inverse_lambda > 0):
        raise SpikeportError(
            f"transfer: 1/lambda = {inverse_lambda}, must be positive", hint="the published search used 20 to 75"
        )
    scale = 1 / inverse_lambda
    synapse = DoubleExponential(tau_rise=p.tau_rise, tau_decay=source.tau)
    threshold = float(np.nextafter(p.v_threshold, -np.inf)) if p.at_threshold else p.v_threshold
    units = Population(
        name="rec",
        n=source.n_neurons,
        neuron=LIF(tau_mem=p.tau_mem, v_threshold=threshold, v_reset=p.v_reset, t_ref=p.t_ref),
        synapses={"rec": synapse},
        bias=p.bias + source.b_rec if source.b_rec.any() else p.bias,
        noise_sd=p.noise_sd,
        noise_while_refractory=p.noise_while_refractory,
        spikes_while_refractory=p.spikes_while_refractory,
        v0=p.v0,
        ref0=p.ref0,
    )
    return SpikingNetwork(
        populations=(units,),
        inputs=(HeldInput(name="u", n=source.n_inputs, dt=source.dt, sampling=p.sampling),),
        projections=(
            Projection(source="u", target="rec", weight=source.w_in),
            Projection(source="rec", target="rec", weight=source.w_rec * scale, synapse="rec", delay=p.delay),
        ),
        readouts=(
            ReadOut(
                name="out",
                source="rec",
                weight=source.w_out * scale,
                bias=source.b_out if p.keep_b_out else np.zeros(source.n_outputs),
                synapse=synapse,
            ),
        ),
        dt=p.dt,
        integrator=p.integrator,
        provenance={
            "method": "lambda",
            "preset": p.name,
            "inverse_lambda": float(inverse_lambda),
            "source": dict(source.provenance),
            "losses": [str(loss) for loss in losses(source, p)],
        },
    )


def check_settings(source: RateNetwork, preset: Preset) -> None:
    """Refuse settings that cannot step this network, all reasons at once."""
    problems = []
    if preset.dt > source.dt:
        problems.append(f"dt {preset.dt:g} s: above the rate network's own {source.dt:g} s, so inputs would be skipped")
    if get_integrator(preset.integrator).order is not None:  # Euler in some part: stable below its time constant only
        for name, tau in (
            ("tau_mem", preset.tau_mem),
            ("tau_rise", preset.tau_rise),
            ("the smallest tau", float(source.tau.min())),
        ):
            if preset.dt >= tau:
                problems.append(f"dt {preset.dt:g} s: {name} is {tau:g} s, and {preset.integrator} needs dt below it")
    if problems:
        raise SpikeportError(
            f"transfer with preset '{preset.name}' cannot step this network", problems, hint="a smaller --dt"
        )


def losses(source: RateNetwork, preset: Preset) -> list[Loss]:
    """What the transfer gives up by its settings, beyond spiking itself."""
    found = []
    if not preset.keep_b_out and source.b_out.any():
        size = np.abs(source.b_out).max()
        found.append(Loss("b_out dropped, as in the published code", "read-out", f"largest |b_out| {size:.4g}"))
    synapse = DoubleExponential(tau_rise=preset.tau_rise, tau_decay=source.tau)
    table = synapse_table(
        get_integrator(preset.integrator), synapse, np.full(source.n_neurons, preset.tau_mem), preset.dt
    )
    area = discrete_area(table.D, table.jump, preset.dt)
    worst = float(area[np.abs(area - 1).argmax()])
    if abs(worst - 1) > 1e-3:
        found.append(
            Loss(
                "a filtered spike's area is not 1",
                f"synapse, integrator {preset.integrator}",
                f"{worst:.4g} at dt {preset.dt:g} s",
            )
        )
    found += noise_losses(preset) + refractory_losses(preset)
    if source.phi_max is not None:
        found.append(
            Loss(
                "the clip of the activation has no counterpart in the neuron", "population", f"r <= {source.phi_max:g}"
            )
        )
    return found


def noise_losses(preset: Preset) -> list[Loss]:
    """The noise that is added per step, where the step is not the one that it was published for."""
    if preset.noise_sd == 0 or preset.dt == PUBLISHED_DT:
        return []
    here, published = noise_of_v(preset), noise_of_v(replace(preset, dt=PUBLISHED_DT))
    how = f"{preset.noise_sd:g} mV a step: sd of v {here:.3g} mV, {published:.3g} mV at {PUBLISHED_DT:g} s"
    return [Loss("noise per step is not scaled by dt, as published", "population", how)]


def refractory_losses(preset: Preset) -> list[Loss]:
    """The refractory period that runs, where it is not the one asked for: it is a whole number of steps."""
    asked, run = preset.t_ref, preset.t_ref_run
    if abs(run - asked) <= ROUNDING * preset.dt:
        return []
    how = f"t_ref {asked:g} s, dt {preset.dt:g} s"
    if run == 0:
        return [Loss("the refractory period is below half a step", "population", f"{how}: none runs")]
    steps = round(run / preset.dt)
    how = f"{how}: {run:g} s runs, {steps} step{'' if steps == 1 else 's'}"
    return [Loss("the refractory period is rounded to whole steps", "population", how)]


def noise_of_v(preset: Preset) -> float:
    """Standard deviation (mV) that the noise alone gives v: noise_sd / sqrt(1 - A^2)."""
    a = float(get_integrator(preset.integrator).decay(np.array([preset.tau_mem]), preset.dt)[0])
    return preset.noise_sd / float(np.sqrt(1 - a * a))


@dataclass(frozen=True)
class Builder:
    """1/lambda -> candidate; a class, because a Dask worker must be able to unpickle it."""

    source: RateNetwork
    preset: Preset

    def __call__(self, inverse_lambda: float) -> SpikingNetwork:
        return transfer(self.source, inverse_lambda, preset=self.preset)


def discrete_area(D: Array, jump: Array, dt: float) -> Array:
    """(n,): sum over steps of x_0 dt after one spike of weight 1, x = D x: dt [(1 - D)^-1 jump]_0."""
    x = np.linalg.solve(np.eye(D.shape[1]) - D, jump[:, :, None])
    return np.asarray(x[:, 0, 0] * dt, dtype=np.float64)
