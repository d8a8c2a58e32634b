"""The canonical step, in NumPy that reads like the equations: slow, obvious, the judge of everything else.

Step k (= 1, 2, ...) covers ((k-1) dt, k dt]. x[k] is a synapse's state at its start, after arrivals; v[k] and the
spikes z[k] are at its end.

    1 arrivals   x[k] = D x[k-1] + jump J[k] + held H[k],    J[k] = sum over projections of w z[k-d],
                 added projection by projection in ascending source index;  H[k] = synaptic bias + w u[k]
    2 evolve     ref = 0:  v[k] = (A v[k-1] + B x[k]) + (1 - A) (v_leak + bias + w_in u[k])
                 ref > 0:  v[k] = v[k-1], ref = ref - 1
                 then noise of the step, while refractory only if noise_while_refractory
    3 spike      z[k] = v[k] > v_threshold    (while refractory only if spikes_while_refractory)
                 to_value: v = v_reset;  subtract: v = v - (v_threshold - v_reset);  ref = floor(t_ref/dt + 1/2)
    4 read-out   x[k] = D x[k-1] + jump z[k],    o[k] = w_out x_0[k] + b_out

Sums run left to right, never by BLAS (whose order is not specified), so that another simulator can agree to the last
bit. After every 16th step a state of at most 1e-30 is set to 0 (TINY in integrators.py). Populations are
stepped in an order in which a projection without delay comes from an earlier one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spikeport.snn import noise
from spikeport.snn.drive import Drive, Inputs, initial_v, noise_key, resolve
from spikeport.snn.errors import SpikeportError
from spikeport.snn.integrators import FLUSH_EVERY, TINY, SynapseTable, get_integrator, synapse_table
from spikeport.snn.neurons import Array, per_unit, refractory_steps
from spikeport.snn.recording import Ints, Recording, SpikeTrains
from spikeport.snn.spiking import HeldInput, Population, Projection, SpikingNetwork, sample_index

Bools = NDArray[np.bool_]
Refractory = Callable[[int, NDArray[np.int64]], NDArray[np.int64]]


@dataclass
class _State:
    """One population while it runs; arrays are (batch, n), synaptic states (batch, n, d)."""

    population: Population
    v: Array
    ref: NDArray[np.int64]
    A: Array
    steps: NDArray[np.int64]  # of the refractory period
    tables: dict[str, SynapseTable]
    x: dict[str, Array]
    noise_scale: Array
    key: int
    units: NDArray[np.uint64]
    past: list[Bools] = field(default_factory=list)  # z of each step so far


def simulate(
    network: SpikingNetwork,
    inputs: Inputs | None = None,
    *,
    n_steps: int | None = None,
    n_batch: int | None = None,
    seed: int = 0,
    first_trial: int = 0,
    with_noise: bool = True,
    v0: Mapping[str, Array] | None = None,
    record: Collection[str] = (),
    noise_values: Mapping[str, Array] | None = None,
    refractory: Refractory | None = None,
) -> Recording:
    """Run the network by the equations above, in float64.

    inputs: name -> (samples, batch, n) or SpikeTrains; a bare array where the network has one input.
    record: traces by name, "population.v" (before the reset) or "population.synapse" (x_0).
    noise_values: population -> (time, batch, n) mV to add instead of drawn noise.
    refractory: (k, n) -> n, the refractory steps of units that spike at step k, in place of the plain count; for
    comparisons with codes that count otherwise.
    """
    drive = resolve(network, inputs, n_steps, n_batch)
    states = {p.name: _initial(network, p, drive.n_batch, seed, first_trial, v0) for p in network.populations}
    order = [network.populations[i].name for i in network.population_order()]
    given = {i.name: drive.spikes[i.name].dense() for i in network.spike_inputs}
    filters = [_ReadOutState(network, i, drive.n_batch) for i in range(len(network.readouts))]
    outputs: dict[str, list[Array]] = {r.name: [] for r in network.readouts}
    traces: dict[str, list[Array]] = {name: [] for name in _known_traces(network, record)}
    trials = first_trial + np.arange(drive.n_batch)
    for k in range(1, drive.n_steps + 1):
        for name in order:
            state = states[name]
            _arrivals(network, state, states, given, drive, k)
            added = _noise(state, seed, trials, k, with_noise, noise_values)
            z, seen = _evolve_and_spike(network, state, drive, added, k, refractory)
            state.past.append(z)
            if f"{name}.v" in traces:
                traces[f"{name}.v"].append(seen)
            for synapse, x in state.x.items():
                if f"{name}.{synapse}" in traces:
                    traces[f"{name}.{synapse}"].append(x[:, :, 0].copy())
        for readout, filt in zip(network.readouts, filters, strict=True):
            outputs[readout.name].append(filt.step(states[readout.source].past[-1]))
        if k % FLUSH_EVERY == 0:
            _flush_all(states, filters)
    return Recording(
        dt=network.dt,
        n_steps=drive.n_steps,
        n_batch=drive.n_batch,
        spikes={p.name: _trains(states[p.name].past, drive, p.n) for p in network.populations},
        outputs={r.name: _stack(outputs[r.name], drive, r.weight.shape[0]) for r in network.readouts},
        traces={
            name: _stack(rows, drive, states[name.rpartition(".")[0]].population.n) for name, rows in traces.items()
        },
    )


def _arrivals(
    network: SpikingNetwork,
    state: _State,
    states: Mapping[str, _State],
    given: Mapping[str, Ints],
    drive: Drive,
    k: int,
) -> None:
    """1: x = D x + jump J + held H, for each synapse of the population."""
    population = state.population
    for name, table in state.tables.items():
        x = state.x[name]
        J = np.zeros_like(state.v)
        H: Array = np.zeros_like(state.v) + per_unit(population.synaptic_bias.get(name, 0.0), population.n)
        held = name in population.synaptic_bias
        for p in _into(network, population, name):
            if p.source in drive.held:
                H = _add_held(network, p, drive, H, k)
                held = True
            else:
                J = _add_spikes(p, states, given, J, k)
        if table.D.shape[1] == 0:  # Delta: J goes to v itself, in step 2
            state.x[name] = (table.jump[:, 0] * J)[:, :, None]
            continue
        new = np.zeros_like(x)
        for i in range(x.shape[2]):
            new[:, :, i] = table.D[:, i, 0] * x[:, :, 0]
            for j in range(1, x.shape[2]):
                new[:, :, i] = new[:, :, i] + table.D[:, i, j] * x[:, :, j]
            new[:, :, i] = new[:, :, i] + table.jump[:, i] * J
            if held:
                new[:, :, i] = new[:, :, i] + table.held[:, i] * H
        state.x[name] = new


def _evolve_and_spike(
    network: SpikingNetwork, state: _State, drive: Drive, added: Array | None, k: int, refractory: Refractory | None
) -> tuple[Bools, Array]:
    """2 and 3: (z[k], v[k] before the reset); v and ref are moved on."""
    population, neuron = state.population, state.population.neuron
    current = np.zeros_like(state.v)
    for name, table in state.tables.items():
        if table.D.shape[1] == 0:
            current = current + state.x[name][:, :, 0]
        for i in range(table.D.shape[1]):
            current = current + table.B[:, i] * state.x[name][:, :, i]
    constant = np.zeros_like(state.v) + (
        per_unit(neuron.v_leak, population.n) + per_unit(population.bias, population.n)
    )
    for p in _into(network, population, None):
        constant = _add_held(network, p, drive, constant, k)
    free = state.ref == 0
    v = np.where(free, (state.A * state.v + current) + (1 - state.A) * constant, state.v)
    if added is not None:
        v = np.where(free | population.noise_while_refractory, v + added, v)
    z = (v > per_unit(neuron.v_threshold, population.n)) & (free | population.spikes_while_refractory)
    if neuron.reset == "to_value":
        after = np.zeros_like(v) + per_unit(neuron.v_reset, population.n)
    else:
        after = v - (per_unit(neuron.v_threshold, population.n) - per_unit(neuron.v_reset, population.n))
    steps = state.steps if refractory is None else refractory(k, state.steps)
    state.v = np.where(z, after, v)
    state.ref = np.where(z, steps, np.maximum(state.ref - 1, 0))
    return z, v


def _flush_all(states: Mapping[str, _State], filters: Sequence[_ReadOutState]) -> None:
    for state in states.values():
        state.v = flush(state.v)
        state.x = {name: flush(x) for name, x in state.x.items()}
    for filt in filters:
        filt.x = flush(filt.x)


def flush(x: Array) -> Array:
    """x, with 0 where |x| <= TINY."""
    return np.asarray(np.where(np.abs(x) > TINY, x, 0.0))


def _into(network: SpikingNetwork, population: Population, synapse: str | None) -> list[Projection]:
    return [p for p in network.projections if p.target == population.name and p.synapse == synapse]


def _add_held(network: SpikingNetwork, p: Projection, drive: Drive, total: Array, k: int) -> Array:
    """total + w u[k], channel by channel in ascending index."""
    port = next(i for i in network.inputs if i.name == p.source)
    assert isinstance(port, HeldInput)
    samples = drive.held[p.source]
    u = samples[sample_index(k, network.dt, port, samples.shape[0])]
    for channel in range(u.shape[1]):
        total = total + p.weight[:, channel] * u[:, channel, None]
    return total


def _add_spikes(p: Projection, states: Mapping[str, _State], given: Mapping[str, Ints], J: Array, k: int) -> Array:
    """J + sum of w z[k-d], in ascending source index."""
    then = k - p.delay - 1  # row of step k - d
    if then < 0:
        return J
    if p.source in given:
        rows = given[p.source]
        if then >= rows.shape[0]:
            return J
        z = rows[then]
    else:
        z = states[p.source].past[then].astype(np.int32)
    for b, j in np.argwhere(z):  # argwhere is in ascending order
        J[b] = J[b] + p.weight[:, j] * z[b, j]
    return J


def _noise(
    state: _State, seed: int, trials: NDArray[np.int64], k: int, with_noise: bool, values: Mapping[str, Array] | None
) -> Array | None:
    if values is not None and state.population.name in values:
        return np.asarray(values[state.population.name][k - 1], dtype=np.float64)
    if not with_noise or not state.noise_scale.any():
        return None
    return noise.normal_integers(seed, "membrane", state.key, state.units, trials[:, None], k - 1) * state.noise_scale


class _ReadOutState:
    """4: a read-out's filter."""

    def __init__(self, network: SpikingNetwork, index: int, n_batch: int) -> None:
        self.readout = network.readouts[index]
        source = network.population(self.readout.source)
        tau_mem = per_unit(source.neuron.tau_mem, source.n)
        self.table = synapse_table(get_integrator(network.integrator), self.readout.synapse, tau_mem, network.dt)
        self.x: Array = np.zeros((n_batch, source.n, self.readout.synapse.n_states))

    def step(self, z: Bools) -> Array:
        self.x = np.einsum("nij,bnj->bni", self.table.D, self.x) + self.table.jump * z[:, :, None]
        return np.asarray(self.x[:, :, 0] @ self.readout.weight.T + self.readout.bias)


def _initial(
    network: SpikingNetwork, p: Population, n_batch: int, seed: int, first_trial: int, v0: Mapping[str, Array] | None
) -> _State:
    integrator = get_integrator(network.integrator)
    tau_mem = per_unit(p.neuron.tau_mem, p.n)
    key, units = noise_key(network, p)
    return _State(
        population=p,
        v=initial_v(network, p, n_batch, seed, first_trial, v0),
        ref=np.array(np.broadcast_to(per_unit(p.ref0, p.n).astype(np.int64), (n_batch, p.n))),
        A=integrator.decay(tau_mem, network.dt),
        steps=np.array(np.broadcast_to(refractory_steps(p.neuron.t_ref, network.dt), (n_batch, p.n))),
        tables={name: synapse_table(integrator, s, tau_mem, network.dt) for name, s in p.synapses.items()},
        x={name: np.zeros((n_batch, p.n, s.n_states)) for name, s in p.synapses.items()},
        noise_scale=per_unit(p.noise_sd, p.n) / noise.NORMAL_SD,
        key=key,
        units=units,
    )


def _known_traces(network: SpikingNetwork, record: Collection[str]) -> list[str]:
    known = [f"{p.name}.{what}" for p in network.populations for what in ("v", *p.synapses)]
    unknown = [name for name in record if name not in known]
    if unknown:
        raise SpikeportError(f"record: no trace {', '.join(unknown)}", [f"this network has: {', '.join(known)}"])
    return list(record)


def _stack(rows: list[Array], drive: Drive, n: int) -> Array:
    return np.stack(rows) if rows else np.zeros((0, drive.n_batch, n))


def _trains(past: list[Bools], drive: Drive, n: int) -> SpikeTrains:
    z = np.stack(past) if past else np.zeros((0, drive.n_batch, n), dtype=np.bool_)
    return SpikeTrains.from_dense(z)
