"""What a step is given, put into Brian2's variables: drive, input through synapses, noise, counts of given spikes.

By a function called before each step; a compiled standalone program calls no Python, and looks the same numbers up in
tables that it carries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.errors import SpikeportError
from spikeport.snn.integrators import FLUSH_EVERY
from spikeport.snn.neurons import Array
from spikeport.snn.reference import flush
from spikeport.targets.brian2.simulate import START, Built
from spikeport.targets.brian2.step import drive_of, held_of, is_held, is_idle
from spikeport.targets.feed import Feed
from spikeport.targets.tables import PopulationStep

BLOCK = 256  # steps fetched at a time
MOST_STANDALONE = 2**30  # bytes of noise and given spikes that a standalone program may carry: it holds them in memory


def held_variables(p: PopulationStep, held: dict[str, Array]) -> Iterator[tuple[str, Array]]:
    """(variable, (batch, n) values) of what held inputs and constants give one population, while a sample lasts."""
    yield "drive", drive_of(p, held)
    for index, synapse in enumerate(p.synapses):
        if is_held(synapse) and not is_idle(synapse):
            yield f"H{index}", held_of(synapse, held)


class Feeder:
    """Called before each step in turn: writes that step's values into the groups' variables."""

    def __init__(self, built: Built, fed: Feed) -> None:
        self.built, self.fed, self.row, self.block = built, fed, 0, 0
        self.noise: dict[str, Array] = {}
        self.counts: dict[tuple[str, int], Array] = {}
        self.samples: dict[str, NDArray[np.int64]] = {}
        self.seen: tuple[int, ...] | None = None
        self.arrays = {
            name: {v: group.variables[v].get_value() for v in ("v", *built.codes[name].fed, *_states(built, name))}
            for name, group in built.groups.items()
        }

    def __call__(self) -> None:
        if self.row % BLOCK == 0:
            self._fetch()
        j = self.row - self.block
        if self.row % FLUSH_EVERY == 0:  # as the reference does at the end of every 16th step
            self._flush()
        self._hold(j)
        for name, values in self.noise.items():
            self.arrays[name]["noise"][:] = values[j].ravel()
        for key, counts in self.counts.items():
            self.built.given[key].variables["count"].get_value()[:] = counts[j].ravel()
        self.row += 1

    def _fetch(self) -> None:
        k0, k1 = self.row, min(self.row + BLOCK, self.fed.n_steps)
        self.block = k0
        self.noise = {name: self.fed.noise(name, k0, k1) for name in self.built.groups if self.fed.noisy(name)}
        self.counts = {(name, delay): given_counts(self.fed, name, delay, k0, k1) for name, delay in self.built.given}
        self.samples = {name: self.fed.samples(name, k0, k1) for name in self.fed.drive.held}

    def _hold(self, j: int) -> None:
        now = tuple(int(rows[j]) for rows in self.samples.values())
        if now == self.seen:
            return
        self.seen = now
        held = {name: self.fed.drive.held[name][sample] for name, sample in zip(self.samples, now, strict=True)}
        for p in self.built.steps:
            for variable, values in held_variables(p, held):
                self.arrays[p.name][variable][:] = np.broadcast_to(values, (self.fed.n_batch, p.n)).ravel()

    def _flush(self) -> None:
        for name, arrays in self.arrays.items():
            for variable in ("v", *_states(self.built, name)):
                arrays[variable][:] = flush(arrays[variable])


def _states(built: Built, name: str) -> list[str]:
    return [x for states in built.codes[name].states.values() for x in states]


def given_counts(fed: Feed, name: str, delay: int, k0: int, k1: int) -> Array:
    """(k1 - k0, batch, n): the counts of a spike input, `delay` steps ago."""
    rows = fed.spikes(name, max(0, k0 - delay), max(0, k1 - delay))
    return np.concatenate([np.zeros((k1 - k0 - rows.shape[0], *rows.shape[1:])), rows])


def tabulate(brian2: Any, built: Built, fed: Feed, clock: Any) -> None:
    """The same for a standalone program: tables over time, and statements that look them up before each step."""
    _check_size(built, fed)
    n_steps, dt = fed.n_steps, fed.lowering.network.dt * brian2.second
    held, samples = _distinct_samples(fed)
    when_held = brian2.TimedArray(samples, dt=dt)
    for p in built.steps:
        tables, lines = {"when_held": when_held}, list[str]()
        rows = [dict(held_variables(p, values)) for values in held]
        for variable in rows[0]:
            values = np.stack([np.broadcast_to(row[variable], (fed.n_batch, p.n)).ravel() for row in rows])
            tables[f"{variable}_of"] = brian2.TimedArray(values, dt=brian2.second)
            lines.append(f"{variable} = {variable}_of(when_held(t) * second, i)")
        if fed.noisy(p.name):
            tables["noise_of"] = brian2.TimedArray(fed.noise(p.name, 0, n_steps).reshape(n_steps, -1), dt=dt)
            lines.append("noise = noise_of(t, i)")
        _regularly(built, built.groups[p.name], lines, tables, clock)
    for (name, delay), group in built.given.items():
        counts = given_counts(fed, name, delay, 0, n_steps).reshape(n_steps, -1)
        _regularly(built, group, ["count = count_of(t, i)"], {"count_of": brian2.TimedArray(counts, dt=dt)}, clock)


def _regularly(built: Built, group: Any, lines: list[str], tables: dict[str, Any], clock: Any) -> None:
    group.namespace.update(tables)
    built.others.append(group.run_regularly("\n".join(lines), clock=clock, when=START))


def _distinct_samples(fed: Feed) -> tuple[list[dict[str, Array]], Array]:
    """(the values of all held inputs, once for each combination of samples; which of these each step sees)."""
    names = list(fed.drive.held)
    if not names:
        return [{}], np.zeros(fed.n_steps)
    columns = np.stack([fed.samples(name, 0, fed.n_steps) for name in names], axis=1)
    distinct, which = np.unique(columns, axis=0, return_inverse=True)
    held = [{name: fed.drive.held[name][s] for name, s in zip(names, row, strict=True)} for row in distinct]
    return held, which.ravel().astype(np.float64)


def _check_size(built: Built, fed: Feed) -> None:
    noisy = sum(p.n for p in built.steps if fed.noisy(p.name))
    given = sum(port.n for port in fed.lowering.network.spike_inputs for name, _ in built.given if name == port.name)
    size = 8 * fed.n_steps * fed.n_batch * (noisy + given)
    if size > MOST_STANDALONE:
        raise SpikeportError(
            "brian2: codegen cpp_standalone cannot carry this run",
            [f"noise and given spikes: {size / 2**30:.1f} GiB as tables, limit {MOST_STANDALONE / 2**30:g} GiB"],
            hint="fewer trials at a time (--batch 1), or --codegen cython",
        )
