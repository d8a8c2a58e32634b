"""SpikingNetwork: populations of LIF neurons joined by projections, in seconds and millivolts.

It holds as data what an exchange format leaves out: dt, the integrator, refractory periods, the reset kind, units, the
order of a step (reference.py is the meaning of every field).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.integrators import INTEGRATORS
from spikeport.snn.neurons import LIF, Array, PerUnit, per_unit_problems
from spikeport.snn.synapses import Delta, Synapse

SAMPLINGS = ("floor", "nearest")


@dataclass(frozen=True)
class Uniform:
    """A uniform distribution in [low, high), drawn per unit and trial."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Population:
    """n neurons of one model.

    synapses: name -> synapse; projections name the one they act through.  bias: mV, added to v_leak.
    synaptic_bias: synapse name -> mV, a constant input through that synapse.
    noise_sd: mV added to v PER STEP, not scaled by dt.  v0: mV at the start, fixed or drawn.  ref0: steps for which
    every unit starts refractory.  noise_key, unit_ids: what the noise is keyed by; they survive lowering, so that the
    same unit gets the same noise wherever it ends up (default: the population's index, 0..n-1).
    """

    name: str
    n: int
    neuron: LIF
    synapses: Mapping[str, Synapse] = field(default_factory=dict)
    bias: PerUnit = 0.0
    synaptic_bias: Mapping[str, PerUnit] = field(default_factory=dict)
    noise_sd: PerUnit = 0.0
    noise_while_refractory: bool = False
    spikes_while_refractory: bool = False
    v0: PerUnit | Uniform = 0.0
    ref0: PerUnit = 0
    noise_key: int | None = None
    unit_ids: Array | None = None


@dataclass(frozen=True, kw_only=True)
class HeldInput:
    """n channels, each held at the value of a sample; dt: s between samples.

    sampling says which sample step k (= 1, 2, ...; it covers ((k-1) dt, k dt]) sees: "floor", the one of the step's
    start, (k - 1) dt / dt_input rounded down; "nearest", k dt / dt_input rounded half up, as the published code does.
    After the last sample, the last one is held.
    """

    name: str
    n: int
    dt: float
    sampling: str = "floor"


@dataclass(frozen=True, kw_only=True)
class SpikeInput:
    """n channels of given spikes, whole counts per step."""

    name: str
    n: int


@dataclass(frozen=True, kw_only=True)
class Projection:
    """weight (n_target, n_source) from `source` (a population or an input) to the population `target`.

    synapse: the target's synapse it acts through; weights are then mV s per spike, or mV per unit of a held input.
    None: straight on the membrane, for held inputs only (mV per unit).
    delay: steps. A spike at the end of step k acts from the start of step k + delay; at least 1 around a loop.
    """

    source: str
    target: str
    weight: Array
    synapse: str | None = None
    delay: int = 0


@dataclass(frozen=True, kw_only=True)
class ReadOut:
    """o = weight s + bias, with s the spikes of `source` through `synapse` (time constants of the source's units).

    weight: (n_outputs, n_source), output units times seconds per spike.  bias: (n_outputs,).  No delay.
    """

    name: str
    source: str
    weight: Array
    bias: Array
    synapse: Synapse


@dataclass(frozen=True, kw_only=True)
class SpikingNetwork:
    """A spiking network and its clock: dt in s, integrator by name (kim2019, euler, exact)."""

    populations: tuple[Population, ...]
    inputs: tuple[HeldInput | SpikeInput, ...] = ()
    projections: tuple[Projection, ...] = ()
    readouts: tuple[ReadOut, ...] = ()
    dt: float
    integrator: str
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = _problems(self)
        if problems:
            raise InvalidNetworkError("spiking network: its parts contradict each other", problems)

    @property
    def n_neurons(self) -> int:
        return sum(p.n for p in self.populations)

    @property
    def held_inputs(self) -> tuple[HeldInput, ...]:
        return tuple(i for i in self.inputs if isinstance(i, HeldInput))

    @property
    def spike_inputs(self) -> tuple[SpikeInput, ...]:
        return tuple(i for i in self.inputs if isinstance(i, SpikeInput))

    def population(self, name: str) -> Population:
        return next(p for p in self.populations if p.name == name)

    def population_order(self) -> tuple[int, ...]:
        """Indices of populations such that a projection without delay comes from an earlier one."""
        order = _zero_delay_order(self)
        assert order is not None  # checked when the network was made
        return order


def sample_index(step: ArrayLike, dt: float, held: HeldInput, n_samples: int) -> Any:
    """The sample that step k (= 1, 2, ...) sees; see HeldInput."""
    k = np.asarray(step, dtype=np.int64)
    ratio = held.dt / dt
    if abs(ratio - round(ratio)) < 1e-9 * ratio:  # whole: in integers, so that half steps are exact
        r = round(ratio)
        index = (2 * k + r) // (2 * r) if held.sampling == "nearest" else (k - 1) // r
    else:
        index = np.floor(k / ratio + 0.5 if held.sampling == "nearest" else (k - 1) / ratio).astype(np.int64)
    return np.minimum(index, n_samples - 1)


def steps_of(n_samples: int, held: HeldInput, dt: float) -> int:
    """How many steps n_samples last: floor(n_samples dt_input / dt + 1/2)."""
    return int(np.floor(n_samples * held.dt / dt + 0.5))


def _problems(network: SpikingNetwork) -> list[str]:
    found: list[str] = []
    if network.integrator not in INTEGRATORS:
        found.append(f"integrator: '{network.integrator}', must be one of {', '.join(INTEGRATORS)}")
    if not (np.isfinite(network.dt) and network.dt > 0):
        found.append(f"dt: {network.dt} s, must be positive")
    if not network.populations:
        found.append("populations: none, must be at least 1")
    names = [p.name for p in network.populations] + [i.name for i in network.inputs]
    found += [
        f"name '{n}': used {names.count(n)} times, must be unique" for n in sorted(set(names)) if names.count(n) > 1
    ]
    outs = [r.name for r in network.readouts]
    # a terminal, a script and a report show names: an escape sequence or a line break in one would write there
    found += [f"name {n!r}: must be printable, in one line" for n in names + outs if not n.isprintable() or not n]
    found += [
        f"read-out '{n}': used {outs.count(n)} times, must be unique" for n in sorted(set(outs)) if outs.count(n) > 1
    ]
    for population in network.populations:
        found += [f"population {population.name}: {p}" for p in _population_problems(population)]
    found += [f"input {i.name}: n {i.n}, must be at least 1" for i in network.inputs if i.n < 1]
    for held in network.held_inputs:
        if not (np.isfinite(held.dt) and held.dt > 0):
            found.append(f"input {held.name}: dt {held.dt} s, must be positive")
        if held.sampling not in SAMPLINGS:
            found.append(f"input {held.name}: sampling '{held.sampling}', must be one of {', '.join(SAMPLINGS)}")
    for projection in network.projections:
        found += [
            f"projection {projection.source}->{projection.target}: {p}"
            for p in _projection_problems(network, projection)
        ]
    for readout in network.readouts:
        found += [f"read-out {readout.name}: {p}" for p in _readout_problems(network, readout)]
    if not found and _zero_delay_order(network) is None:
        found.append("projections: a loop of populations without any delay, must be at least 1 step around each loop")
    return found


def _population_problems(population: Population) -> list[str]:
    if population.n < 1:
        return [f"n: {population.n}, must be at least 1"]
    if int(population.n) != population.n:
        return [f"n: {population.n}, must be a whole number"]
    found = population.neuron.problems(population.n)
    for name, synapse in population.synapses.items():
        found += [f"synapse {name}: {p}" for p in synapse.problems(population.n)]
    for name, value in population.synaptic_bias.items():
        found += per_unit_problems(f"synaptic_bias {name}", value, population.n)
        if name not in population.synapses or isinstance(population.synapses[name], Delta):
            found.append(f"synaptic_bias {name}: names no synapse with a time constant")
    values: dict[str, PerUnit] = {"bias": population.bias, "noise_sd": population.noise_sd, "ref0": population.ref0}
    if not isinstance(population.v0, Uniform):
        values["v0"] = population.v0
    elif not population.v0.low <= population.v0.high:
        found.append(f"v0: uniform in [{population.v0.low}, {population.v0.high}), its ends are swapped")
    elif not np.isfinite([population.v0.low, population.v0.high]).all():
        found.append(f"v0: uniform in [{population.v0.low}, {population.v0.high}), its ends must be finite")
    for name, value in values.items():
        found += per_unit_problems(name, value, population.n)
    for name in ("noise_sd", "ref0"):
        if np.any(np.asarray(values[name]) < 0):
            found.append(f"{name}: {np.min(values[name]):g}, must be 0 or more")
    if np.any(np.asarray(population.ref0) != np.trunc(population.ref0)):
        found.append("ref0: must be whole steps")
    if population.unit_ids is not None:
        ids = np.asarray(population.unit_ids)
        if ids.shape != (population.n,):
            found.append(f"unit_ids: shape {ids.shape}, must be ({population.n},)")
        elif (ids != np.trunc(ids)).any() or np.unique(ids).size != ids.size:
            found.append("unit_ids: must be whole numbers, each used once (two units with one id get the same noise)")
    return found


def _projection_problems(network: SpikingNetwork, projection: Projection) -> list[str]:
    targets = {p.name: p for p in network.populations}
    sources: dict[str, Population | HeldInput | SpikeInput] = {**targets, **{i.name: i for i in network.inputs}}
    missing = [
        f"{what} '{name}' does not exist"
        for what, name, known in (("source", projection.source, sources), ("target", projection.target, targets))
        if name not in known
    ]
    if missing:
        return missing
    target, source = targets[projection.target], sources[projection.source]
    found = []
    if projection.weight.shape != (target.n, source.n):
        found.append(f"weight: shape {projection.weight.shape}, must be ({target.n}, {source.n})")
    if not np.isfinite(projection.weight).all():
        found.append(f"weight: {int((~np.isfinite(projection.weight)).sum())} values are NaN or infinite")
    held = isinstance(source, HeldInput)
    if projection.synapse is None:
        if not held:
            found.append("synapse: none, but spikes need one (Delta acts at once)")
    elif projection.synapse not in target.synapses:
        found.append(
            f"synapse '{projection.synapse}' does not exist, {target.name} has {', '.join(target.synapses) or 'none'}"
        )
    elif held and isinstance(target.synapses[projection.synapse], Delta):
        found.append("synapse: a Delta, but a held input needs a time constant (or synapse=None, the membrane)")
    if projection.delay < 0 or int(projection.delay) != projection.delay:
        found.append(f"delay: {projection.delay} steps, must be a whole number, 0 or more")
    if held and projection.delay:
        found.append(f"delay: {projection.delay} steps of a held input, must be 0 (shift its samples)")
    if projection.source == projection.target and projection.delay < 1:
        found.append(f"delay: {projection.delay} steps, must be at least 1 where it closes a loop")
    return found


def _readout_problems(network: SpikingNetwork, readout: ReadOut) -> list[str]:
    sources = {p.name: p for p in network.populations}
    if readout.source not in sources:
        return [f"source '{readout.source}' does not exist"]
    n = sources[readout.source].n
    found = [f"synapse: {p}" for p in readout.synapse.problems(n)]
    if isinstance(readout.synapse, Delta):
        found.append("synapse: a Delta, but a read-out needs a time constant")
    if readout.weight.ndim != 2 or readout.weight.shape[1] != n:
        found.append(f"weight: shape {readout.weight.shape}, must be (n_outputs, {n})")
    elif readout.bias.shape != readout.weight.shape[:1]:
        found.append(f"bias: shape {readout.bias.shape}, must be {readout.weight.shape[:1]}")
    if not (np.isfinite(readout.weight).all() and np.isfinite(readout.bias).all()):
        found.append("weight, bias: values that are NaN or infinite")
    return found


def _zero_delay_order(network: SpikingNetwork) -> tuple[int, ...] | None:
    """A topological order of populations along projections without delay, or None where they form a loop."""
    index = {p.name: i for i, p in enumerate(network.populations)}
    before: dict[int, set[int]] = {i: set() for i in index.values()}
    for projection in network.projections:
        if projection.delay == 0 and projection.source in index:
            before[index[projection.target]].add(index[projection.source])
    order: list[int] = []
    while before:
        ready = [i for i, waits in before.items() if not waits]
        if not ready:
            return None
        for i in ready[:1]:
            order.append(i)
            del before[i]
            for waits in before.values():
                waits.discard(i)
    return tuple(order)
