"""A rate network as LIF units with their own gain, offset, 1/lambda and baseline: the calibrated transfer.

    r_i ~ b_i + z_i / L_i                              b: baseline, L: 1/lambda of unit i, z: spikes per second
    x'  = F_tau(w_rec r + w_in u + b_rec)              F: the synapse, so x' is low-pass filtered as x is
    tau_mem dv/dt = -v + gain_i x'_i + offset_i        and f(gain x + offset) ~ L (phi(x) - b)
    o = w_out F_out(b + z / L) + b_out

Each spike carries 1 / L_i, so columns of w_rec and w_out are divided by L, rows of w_rec and w_in multiplied by gain.
The constants w_rec b + b_rec pass through the synapse too, because x starts at 0 in the rate network and rises with
tau; w_out b joins b_out. Two discrete corrections are exact: the decay of F is that of the rate network's own Euler
step, exp(-dt/tau') = 1 - dt/tau; and where a filtered spike's area is not 1 (DC gain of the step), weights make up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spikeport.convert.calibration.curves import lif
from spikeport.convert.presets import Preset, get_preset
from spikeport.convert.transfer import discrete_area, noise_losses, refractory_losses
from spikeport.snn.errors import SpikeportError
from spikeport.snn.integrators import get_integrator, synapse_table
from spikeport.snn.losses import Loss
from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork
from spikeport.snn.spiking import HeldInput, Population, Projection, ReadOut, SpikingNetwork, Uniform
from spikeport.snn.synapses import DoubleExponential

TOLD = ("dt", "t_ref", "noise_sd")  # of a preset, that calibration may be told otherwise
SETTINGS = (  # of a preset, that a provenance keeps: a name says too little where another preset has it
    *TOLD, "integrator", "tau_mem", "tau_rise", "v_threshold", "v_reset", "bias", "v0_range", "at_threshold",
    "noise_while_refractory", "spikes_while_refractory", "starts_refractory", "sampling", "delay",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Units:
    """What calibration chooses, per unit (N,): gain mV per unit of x, offset mV (the drive at x = 0), inverse_lambda
    spikes/s per unit of r, baseline (the r that stands for silence); tau_out s, the read-out's decay; and w_out
    (n_outputs, N), b_out (n_outputs,) in place of the rate network's, where the read-out was learned again."""

    gain: Array
    offset: Array
    inverse_lambda: Array
    baseline: Array
    tau_out: float
    w_out: Array | None = None
    b_out: Array | None = None

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain numbers, for a network's provenance."""
        arrays = {name: getattr(self, name).tolist() for name in ("gain", "offset", "inverse_lambda", "baseline")}
        read = {n: a.tolist() for n, a in (("w_out", self.w_out), ("b_out", self.b_out)) if a is not None}
        return {**arrays, "tau_out": self.tau_out, **read}

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Units:
        arrays = {
            name: np.array(said[name], dtype=np.float64) for name in ("gain", "offset", "inverse_lambda", "baseline")
        }
        read = {name: np.array(said[name], dtype=np.float64) for name in ("w_out", "b_out") if name in said}
        return cls(**arrays, tau_out=float(said["tau_out"]), **read)

    def read_out(self, source: RateNetwork) -> tuple[Array, Array]:
        """(w_out, b_out) that read r' = baseline + z / inverse_lambda."""
        return source.w_out if self.w_out is None else self.w_out, source.b_out if self.b_out is None else self.b_out


def build(source: RateNetwork, preset: Preset, units: Units, provenance: Mapping[str, Any]) -> SpikingNetwork:
    """The spiking network of `source` with these units; equations of the module."""
    n = source.n_neurons
    synapse = DoubleExponential(tau_rise=preset.tau_rise, tau_decay=euler_tau(source))
    out = DoubleExponential(tau_rise=preset.tau_rise, tau_decay=units.tau_out)
    spike, held = _dc_gains(preset, synapse, n)
    table = synapse_table(get_integrator(preset.integrator), out, np.array([preset.tau_mem]), preset.dt)  # all alike
    read, read_bias = units.read_out(source)
    w_out = read / units.inverse_lambda
    constant = units.gain * (source.b_rec + source.w_rec @ units.baseline) / held
    population = Population(
        name="rec",
        n=n,
        neuron=lif(preset),
        synapses={"rec": synapse},
        bias=units.offset,
        synaptic_bias={"rec": constant} if constant.any() else {},
        noise_sd=preset.noise_sd,
        noise_while_refractory=preset.noise_while_refractory,
        spikes_while_refractory=preset.spikes_while_refractory,
        v0=preset.v0,
        ref0=preset.ref0,
    )
    w_rec = source.w_rec * (units.gain / spike)[:, None] / units.inverse_lambda
    w_in = source.w_in * (units.gain / held)[:, None]
    return SpikingNetwork(
        populations=(population,),
        inputs=(HeldInput(name="u", n=source.n_inputs, dt=source.dt, sampling=preset.sampling),),
        projections=(
            Projection(source="u", target="rec", weight=w_in, synapse="rec"),
            Projection(source="rec", target="rec", weight=w_rec, synapse="rec", delay=preset.delay),
        ),
        readouts=(
            ReadOut(
                name="out",
                source="rec",
                weight=w_out / discrete_area(table.D, table.jump, preset.dt),
                bias=read_bias + read @ units.baseline,
                synapse=out,
            ),
        ),
        dt=preset.dt,
        integrator=preset.integrator,
        provenance=provenance,
    )


def rebuild(source: RateNetwork, network: SpikingNetwork) -> SpikingNetwork:
    """The network that calibration made of `source`, from what the provenance of `network` says of it.

    SpikeportError where that says too little, or something that cannot be.
    """
    said = network.provenance.get("calibration")
    try:
        preset = _preset_of(str(network.provenance["preset"]), said["settings"])  # type: ignore[index]
        units = Units.from_dict(said["units"])  # type: ignore[index]
        check_preset(source, preset)
        return build(source, preset, units, network.provenance)
    except (KeyError, OverflowError, TypeError, ValueError) as wrong:
        raise SpikeportError("this network's provenance does not say how it was calibrated") from wrong


def _preset_of(name: str, said: Mapping[str, Any]) -> Preset:
    """The preset with which a provenance was written; one of an earlier version has TOLD alone, the rest by name."""
    if "ref0" in said:  # as an earlier version wrote it: steps
        said = {**said, "starts_refractory": said["ref0"] > 0}
    if not set(SETTINGS) <= set(said):
        told: dict[str, Any] = {one: float(said[one]) for one in TOLD}
        return replace(get_preset(name), **told, keep_b_out=True)
    found = Preset(name=name, integrator=str(said["integrator"]))
    settings: dict[str, Any] = {one: type(getattr(found, one))(said[one]) for one in SETTINGS if one != "v0_range"}
    low, high = said["v0_range"]
    found = replace(found, **settings, v0=Uniform(float(low), float(high)), keep_b_out=True)
    if found.ref0 != said.get("ref0", found.ref0):
        raise ValueError("refractory at the start for another time than t_ref")
    return found


def euler_tau(source: RateNetwork) -> Array:
    """(N,) s: the time constant of the rate network's own Euler step, -dt / log(1 - dt/tau)."""
    return np.asarray(-source.dt / np.log1p(-source.dt / source.tau), dtype=np.float64)


def _dc_gains(preset: Preset, synapse: DoubleExponential, n: int) -> tuple[Array, Array]:
    """(N,) each: mean v (mV) per spike/s of weight 1, and per held input of weight 1; 1 in continuous time."""
    integrator = get_integrator(preset.integrator)
    tau_mem = np.full(n, preset.tau_mem)
    table = synapse_table(integrator, synapse, tau_mem, preset.dt)

    def settled(added: Array) -> Array:
        x = np.linalg.solve(np.eye(added.shape[1]) - table.D, added[:, :, None])[:, :, 0]
        return np.asarray((table.B * x).sum(axis=1) / (1 - integrator.decay(tau_mem, preset.dt)), dtype=np.float64)

    return settled(table.jump) * preset.dt, settled(table.held)


def check_preset(source: RateNetwork, preset: Preset) -> None:
    """Refuse settings that cannot step this network, all reasons at once."""
    problems = []
    if preset.dt > source.dt:
        problems.append(f"dt {preset.dt:g} s: above the rate network's own {source.dt:g} s, so inputs would be skipped")
    if get_integrator(preset.integrator).order is not None:  # Euler in some part: stable below its time constant only
        smallest = float(euler_tau(source).min())
        times = {"tau_mem": preset.tau_mem, "tau_rise": preset.tau_rise, "the smallest tau of an Euler step": smallest}
        problems += [
            f"dt {preset.dt:g} s: {name} is {tau:g} s, and {preset.integrator} needs dt below it"
            for name, tau in times.items()
            if preset.dt >= tau
        ]
    if preset.noise_sd > preset.v_threshold - preset.v_reset:
        span = preset.v_threshold - preset.v_reset
        problems.append(f"noise: {preset.noise_sd:g} mV a step, above the {span:g} mV from reset to threshold")
    if problems:
        exact = get_integrator(preset.integrator).order is None
        hint = (
            "a smaller --dt or --noise" if exact else "a smaller --dt, or --preset standard, which is exact at any dt"
        )
        raise SpikeportError(f"calibration with preset '{preset.name}' cannot step this network", problems, hint=hint)


def losses(preset: Preset) -> list[Loss]:
    """What these settings give up, beyond spiking itself."""
    return noise_losses(preset) + refractory_losses(preset)
