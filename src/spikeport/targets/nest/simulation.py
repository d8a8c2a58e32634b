"""A run on NEST: every trial is a copy of the network in one kernel, and NEST's step START + k is our step k.

step 1       every unit is made to spike, unconnected, and is refractory until its own start: its first START - 1
             steps, and those of ref0, leave V_m alone
then         connections, recorders, given spikes (sent a step early: they are known)
from START   V_m = v0, and the parameters of the network; NEST spikes at a V_m above V_th even while refractory, so
             a unit that must wait for the end of ref0 gets its V_th only then
START - 2    currents of step k0 onwards: a device's amplitude of NEST's step a moves V_m in step a + 2 (measured)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import SpikeportError
from spikeport.snn.neurons import Array
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import Population
from spikeport.targets.base import Lowering, RunOptions
from spikeport.targets.feed import Feed, feed, read_out
from spikeport.targets.nest.kernel import kernel
from spikeport.targets.nest.parameters import Bools, Cell, Link, Plan, frozen_above, plan

START = 3  # the first amplitude, of NEST's step START - 1, must lie after step 1
NEVER = 1e300  # a V_th
BLOCK = 2**20  # currents at a time: 8 MB, and 70 MB as Python's numbers
Actions = list[tuple[int, Callable[[], None]]]  # (NEST's step after which it is done, what)


@dataclass
class _Side:
    """One population in NEST: its units, trial by trial, and what drives and records them."""

    cell: Cell
    units: Any
    spikes: Any = None
    trace: Any = None
    currents: Any = None
    x: dict[str, Array] = field(default_factory=dict)  # held values in each synapse
    last: Array | None = None  # the current that the generators stand at
    kept: list[Array] = field(default_factory=list)  # every current, where v is recorded


def simulate(lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
    """Run `lowering` on NEST."""
    _check(lowering, options)
    given, told = feed(lowering, inputs, options), plan(lowering.network)
    with kernel(told.longest) as nest:
        sides = {name: _create(nest, cell, given, f"{name}.v" in options.record) for name, cell in told.cells.items()}
        nest.Simulate(1.0)
        _connect(nest, told, sides, given)
        _walk(nest, _actions(sides, given), START + given.n_steps + 1)  # recorders learn of a step one step later
        spikes = {p.name: _trains(sides[p.name], given) for p in lowering.network.populations}
        traces = {name: _v(sides[name.removesuffix(".v")], given, spikes) for name in options.record}
    found = Recording(
        dt=lowering.network.dt, n_steps=given.n_steps, n_batch=given.n_batch, spikes=spikes,
        outputs=read_out(lowering.network, spikes), traces=traces,
    )  # fmt: skip
    return lowering.invert(found)


def _check(lowering: Lowering, options: RunOptions) -> None:
    known = [f"{p.name}.v" for p in lowering.network.populations]
    wrong = [f"record '{name}': there are {', '.join(known)}" for name in options.record if name not in known]
    wrong += [f"dtype '{options.dtype}': NEST computes in float64"] if options.dtype != "float64" else []
    wrong += [f"device '{options.device}': NEST runs on cpu"] if options.device != "cpu" else []
    clamped = [
        p.name for p in lowering.network.populations if p.name in (options.noise_values or {}) and _noisy_frozen(p)
    ]
    wrong += [f"noise_values of {name}: it has noise while refractory, when NEST's V_m is clamped" for name in clamped]
    if wrong:
        raise SpikeportError("nest: cannot run this", wrong)


def _noisy_frozen(p: Population) -> bool:
    return p.noise_while_refractory and bool(np.any(np.asarray(p.neuron.t_ref) > 0) or np.any(np.asarray(p.ref0) > 0))


def _create(nest: Any, cell: Cell, given: Feed, recorded: bool) -> _Side:
    """The units of all trials, unconnected, above threshold: step 1 makes them refractory until they start."""
    whole = {"C_m": cell.tau_m, "tau_m": cell.tau_m, "t_ref": START - 1.0 + cell.step.ref0}
    alike = {"E_L": 0.0, "I_e": 0.0, "V_m": 1.0, "V_th": 0.0, "V_reset": -1.0}
    rows = [{**alike, **{name: float(value[j]) for name, value in whole.items()}, "tau_syn": cell.tau_syn[j].tolist()}
            for j in range(cell.n)]  # fmt: skip
    units = nest.Create("iaf_psc_exp_multisynapse", given.n_batch * cell.n, rows * given.n_batch)
    side = _Side(cell=cell, units=units)
    if recorded:
        of = ["V_m", *(f"I_syn_{i + 1}" for i in range(cell.tau_syn.shape[1]))]
        side.trace = nest.Create("multimeter", params={"record_from": of, "interval": 1.0})
        nest.Connect(side.trace, units, syn_spec={"delay": 1.0})
    return side


def _connect(nest: Any, told: Plan, sides: Mapping[str, _Side], given: Feed) -> None:
    for side in sides.values():
        side.spikes = nest.Create("spike_recorder")
        nest.Connect(side.units, side.spikes, syn_spec={"delay": 1.0})
        if side.cell.step.held or side.cell.driven or given.noisy(side.cell.name):
            side.currents = nest.Create("step_current_generator", len(side.units))
            nest.Connect(side.currents, side.units, "one_to_one", {"weight": 1.0, "delay": 1.0})
    # in the order of the network: node ids decide in which order arrivals are added
    ports = dict.fromkeys(link.source for link in told.given)
    sources = {name: _generators(nest, name, given) for name in ports} | {n: s.units for n, s in sides.items()}
    for link in (*told.links, *told.given):
        _join(nest, sources[link.source], sides[link.target].units, link, given.n_batch)


def _join(nest: Any, pre: Any, post: Any, link: Link, n_batch: int) -> None:
    """The connections of one projection in every trial; where a weight is 0 there is none."""
    n_post, n_pre = link.weight.shape
    to, from_ = np.nonzero(link.weight)
    trial = np.repeat(np.arange(n_batch), to.size)
    if trial.size:
        nest.Connect(
            pre[0].global_id + trial * n_pre + np.tile(from_, n_batch),
            post[0].global_id + trial * n_post + np.tile(to, n_batch),
            "one_to_one",
            {
                "weight": np.tile(link.weight[to, from_], n_batch),
                "delay": np.full(trial.size, float(link.delay)),
                "receptor_type": np.full(trial.size, link.receptor),
            },
        )


def _generators(nest: Any, name: str, given: Feed) -> Any:
    """A generator for each trial and channel of a spike input: row j is sent at NEST's step START + j - 1."""
    trains = given.drive.spikes[name]
    _, n_batch, n = trains.shape
    order = np.lexsort((trains.step, trains.neuron, trains.batch))
    owner = trains.batch[order].astype(np.int64) * n + trains.neuron[order]
    ends = np.searchsorted(owner, np.arange(n_batch * n + 1))
    times, counts = trains.step[order] + (START - 1.0), trains.count[order].astype(np.int64)
    rows = []
    for i in range(n_batch * n):
        mine = slice(ends[i], ends[i + 1])
        rows.append({"spike_times": times[mine], "spike_multiplicities": counts[mine]})
    return nest.Create("spike_generator", n_batch * n, rows)


def _actions(sides: Mapping[str, _Side], given: Feed) -> Actions:
    """Everything that is changed while NEST runs, in order."""
    found: Actions = []
    for side in sides.values():
        v0 = given.v0[side.cell.name]
        waiting = frozen_above(side.cell, v0)
        found.append((START, partial(_begin, side, v0, waiting)))
        for steps in np.unique(np.broadcast_to(side.cell.step.ref0, waiting.shape)[waiting]).tolist():
            freed = waiting & (side.cell.step.ref0 == steps)
            found.append((START + steps, partial(_set_threshold, side, freed)))
        if side.currents is not None:
            size = max(1, BLOCK // len(side.units))
            for k0 in range(0, given.n_steps, size):
                k1 = min(k0 + size, given.n_steps)
                found.append((START - 2 + k0, partial(_drive, side, given, k0, k1)))
    return sorted(found, key=lambda action: action[0])


def _walk(nest: Any, actions: Actions, end: int) -> None:
    """From step 1 to `end`, stopping where something is to be done."""
    now = 1
    for when, do in actions:
        if when > end:
            break
        if when > now:
            nest.Simulate(float(when - now))
            now = when
        do()
    if end > now:
        nest.Simulate(float(end - now))


def _begin(side: _Side, v0: Array, waiting: Bools) -> None:
    step = side.cell.step
    values = {
        "V_m": v0,
        "V_th": np.where(waiting, NEVER, step.threshold),
        "V_reset": step.reset,
        "I_e": step.constant,
        "t_ref": step.refractory.astype(np.float64),
    }
    columns = {name: np.broadcast_to(value, v0.shape).ravel().tolist() for name, value in values.items()}
    side.units.set([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])


def _set_threshold(side: _Side, freed: Bools) -> None:
    thresholds = np.broadcast_to(side.cell.step.threshold, freed.shape).ravel()
    for i in np.flatnonzero(freed).tolist():
        side.units[i].set(V_th=float(thresholds[i]))


def _drive(side: _Side, given: Feed, k0: int, k1: int) -> None:
    """Currents of rows k0 .. k1 - 1; a generator is told only of changes."""
    current = _current(side, given, k0, k1).reshape(k1 - k0, -1)
    before = np.full(current.shape[1], np.nan) if side.last is None else side.last
    changes = np.diff(np.vstack([before, current]), axis=0) != 0
    rows = []
    for i in range(current.shape[1]):
        at = np.flatnonzero(changes[:, i])
        # lists, because NEST takes seven times longer to read arrays (measured)
        times = (at + (k0 + START - 1.0)).tolist()
        rows.append({"amplitude_times": times, "amplitude_values": current[at, i].tolist()})
    side.currents.set(rows)
    side.last = current[-1]
    if side.trace is not None:
        side.kept.append(current)


def _current(side: _Side, given: Feed, k0: int, k1: int) -> Array:
    """(k1 - k0, batch, n): held inputs, what the synapses make of theirs, and noise, as current into the membrane."""
    cell, n_batch = side.cell, given.n_batch
    total = np.zeros((k1 - k0, n_batch, cell.n))
    for j in cell.step.held:
        total += (1 - cell.step.A) * (given.held(j.source, k0, k1) @ j.weight.T)
    for synapse in cell.driven:
        table = synapse.table
        arriving = np.zeros_like(total) + synapse.bias
        for j in synapse.held:
            arriving += given.held(j.source, k0, k1) @ j.weight.T
        x = side.x.get(synapse.name, np.zeros((n_batch, cell.n)))
        for k in range(k1 - k0):
            x = table.D[:, 0, 0] * x + table.held[:, 0] * arriving[k]
            total[k] += table.B[:, 0] * x
        side.x[synapse.name] = x
    if given.noisy(cell.name):
        total += given.noise(cell.name, k0, k1)
    return np.asarray(total / cell.P20)


def _trains(side: _Side, given: Feed) -> SpikeTrains:
    events = side.spikes.events
    step = np.asarray(events["times"]).astype(np.int64) - START - 1
    unit = np.asarray(events["senders"], dtype=np.int64) - side.units[0].global_id
    step, unit = step[step < given.n_steps], unit[step < given.n_steps]
    return SpikeTrains.build(step, unit // side.cell.n, unit % side.cell.n, (given.n_steps, given.n_batch, side.cell.n))


def _v(side: _Side, given: Feed, spikes: Mapping[str, SpikeTrains]) -> Array:
    """V_m of every step. NEST shows it after the reset; at a spike it is NEST's step from what it recorded before."""
    cell, n_batch, shape = side.cell, given.n_batch, (given.n_steps, given.n_batch, side.cell.n)
    seen = _seen(side, n_batch)
    v = seen["V_m"][START : START + given.n_steps].copy()
    fired = spikes[cell.name]
    k, b, j = fired.step, fired.batch, fired.neuron
    seen["V_m"][START - 1] = given.v0[cell.name]
    current = np.concatenate(side.kept).reshape(shape) if side.kept else np.zeros(shape)
    held = np.asarray(seen["V_m"][START - 1 + k, b, j])
    free = cell.P22[j] * held + cell.P20[j] * (cell.step.constant[j] + current[k, b, j])
    for i in range(cell.tau_syn.shape[1]):
        free = free + cell.P21[j, i] * seen[f"I_syn_{i + 1}"][START - 1 + k, b, j]
    # a unit that spikes while refractory started above threshold, in step 1
    v[k, b, j] = np.where((k == 0) & (cell.step.ref0[j] > 0), held, free)
    return np.asarray(v)


def _seen(side: _Side, n_batch: int) -> dict[str, Array]:
    """What the multimeter recorded: name -> (NEST's steps from 1, batch, n)."""
    events = side.trace.events
    senders = np.asarray(events["senders"], dtype=np.int64) - side.units[0].global_id
    rows = np.asarray(events["times"]).astype(np.int64) - 1
    found: dict[str, Array] = {}
    for name in (name for name in events if name not in ("senders", "times")):
        dense = np.zeros((int(rows.max(initial=-1)) + 1, n_batch * side.cell.n))
        dense[rows, senders] = events[name]
        found[name] = dense.reshape(-1, n_batch, side.cell.n)
    return found
