"""What a run needs besides the network, checked once for every simulator: inputs, length, batch, initial v."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn import noise
from spikeport.snn.errors import SpikeportError
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.recording import SpikeTrains
from spikeport.snn.spiking import HeldInput, Population, SpikingNetwork, Uniform, steps_of

Inputs = Mapping[str, NDArray[np.floating] | SpikeTrains] | NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Drive:
    """Checked inputs: held, name -> (samples, batch, n) float64; spikes, name -> SpikeTrains; steps and trials."""

    held: Mapping[str, Array]
    spikes: Mapping[str, SpikeTrains]
    n_steps: int
    n_batch: int


def resolve(network: SpikingNetwork, inputs: Inputs | None, n_steps: int | None, n_batch: int | None) -> Drive:
    """Check `inputs` against the network. A bare array is its only input; missing lengths follow from inputs."""
    given = _by_name(network, inputs)
    problems = [
        f"input '{name}': the network has no such input"
        for name in given
        if name not in {i.name for i in network.inputs}
    ]
    held: dict[str, Array] = {}
    spikes: dict[str, SpikeTrains] = {}
    for port in network.inputs:
        value = given.get(port.name)
        if value is None:
            problems.append(f"input '{port.name}': missing, {port.n} channels")
        elif isinstance(port, HeldInput):
            array: Array = (
                np.asarray(value, dtype=np.float64) if not isinstance(value, SpikeTrains) else np.empty((0, 0, 0))
            )
            if array.ndim != 3 or array.shape[2] != port.n or array.shape[0] < 1:
                problems.append(
                    f"input '{port.name}': shape {getattr(value, 'shape', None)}, "
                    f"must be (samples, batch, {port.n}), 1 sample or more"
                )
            elif not np.isfinite(array).all():
                problems.append(f"input '{port.name}': {int((~np.isfinite(array)).sum())} values are NaN or infinite")
            else:
                held[port.name] = array
        else:
            wrong = [] if isinstance(value, SpikeTrains) else count_problems(np.asarray(value), port.n)
            problems += [f"input '{port.name}': {problem}" for problem in wrong]
            if not wrong:
                spikes[port.name] = trains = value if isinstance(value, SpikeTrains) else SpikeTrains.from_dense(value)
                if trains.shape[2] != port.n:
                    problems.append(f"input '{port.name}': {trains.shape[2]} channels, must be {port.n}")
                elif trains.count.size and trains.count.min() < 0:
                    problems.append(f"input '{port.name}': a count of {trains.count.min()}, must be 0 or more")
    batches = {name: a.shape[1] for name, a in held.items()} | {name: s.shape[1] for name, s in spikes.items()}
    if len(set(batches.values()) | ({n_batch} - {None})) > 1:
        problems.append(f"batch: inputs differ, {batches}" + (f", asked for {n_batch}" if n_batch is not None else ""))
    if problems:
        raise SpikeportError(
            "inputs do not fit the network", problems, hint="spikeport inspect FILE   shows what it takes"
        )
    if n_batch is None:
        n_batch = next(iter(batches.values()), 1)
    if n_steps is None:
        lengths = [steps_of(held[i.name].shape[0], i, network.dt) for i in network.held_inputs]
        lengths += [s.shape[0] for s in spikes.values()]
        if not lengths:
            raise SpikeportError("n_steps: not given, and the network has no inputs to take it from")
        n_steps = max(lengths)
    if n_steps < 0 or n_batch < 1:
        raise SpikeportError(f"run: {n_steps} steps of {n_batch} trials, must be at least 0 and 1")
    return Drive(held=held, spikes=spikes, n_steps=n_steps, n_batch=n_batch)


def count_problems(counts: NDArray[Any], n: int, ndim: int = 3) -> list[str]:
    """What is wrong with dense spike counts (time, batch, n), or (batch, n) where ndim is 2."""
    want = f"(time, batch, {n})" if ndim == 3 else f"(batch, {n})"
    if counts.ndim != ndim:
        return [f"shape {counts.shape}, must be {want}"]
    if counts.shape[-1] != n:
        return [f"{counts.shape[-1]} channels, must be {n}"]
    if not np.isfinite(counts).all() or (counts < 0).any() or (counts != np.trunc(counts)).any():
        return ["counts of spikes must be whole numbers, 0 or more"]
    return []


def _by_name(network: SpikingNetwork, inputs: Inputs | None) -> Mapping[str, NDArray[np.floating] | SpikeTrains]:
    if inputs is None:
        return {}
    if isinstance(inputs, Mapping):
        return inputs
    if len(network.inputs) != 1:
        names = ", ".join(i.name for i in network.inputs) or "none"
        raise SpikeportError(
            f"inputs: one array, but the network's inputs are: {names}", hint="pass a dict, name -> array"
        )
    return {network.inputs[0].name: inputs}


def initial_v(
    network: SpikingNetwork,
    population: Population,
    n_batch: int,
    seed: int,
    first_trial: int,
    v0: Mapping[str, Array] | None,
) -> Array:
    """(batch, n) mV: the given v0, the population's own, or drawn by key (stream v0) where it is a distribution."""
    shape = (n_batch, population.n)
    unknown = sorted(set(v0 or {}) - {p.name for p in network.populations})
    if unknown:
        raise SpikeportError(
            f"v0: no population {', '.join(unknown)}", [f"there are: {', '.join(p.name for p in network.populations)}"]
        )
    if v0 is not None and population.name in v0:
        given = np.asarray(v0[population.name], dtype=np.float64)
        if given.shape not in ((population.n,), shape):
            raise SpikeportError(f"v0 of {population.name}: shape {given.shape}, must be ({population.n},) or {shape}")
        if not np.isfinite(given).all():
            raise SpikeportError(
                f"v0 of {population.name}: {int((~np.isfinite(given)).sum())} values are NaN or infinite"
            )
        return np.array(np.broadcast_to(given, shape))
    if isinstance(population.v0, Uniform):
        key, units = noise_key(network, population)
        trials = first_trial + np.arange(n_batch)[:, None]
        low, high = population.v0.low, population.v0.high
        return low + (high - low) * noise.uniforms(seed, "v0", key, units, trials, 0)
    return np.array(np.broadcast_to(per_unit(population.v0, population.n), shape))


def noise_key(network: SpikingNetwork, population: Population) -> tuple[int, NDArray[np.uint64]]:
    """What a population's noise is keyed by: its noise_key (default: its index) and its unit ids (default: 0..n-1)."""
    key = population.noise_key if population.noise_key is not None else network.populations.index(population)
    ids = np.arange(population.n) if population.unit_ids is None else np.asarray(population.unit_ids)
    for unit in (np.min(ids), np.max(ids)):
        noise.check_key(population=key, unit=int(unit))
    return key, ids.astype(np.uint64)
