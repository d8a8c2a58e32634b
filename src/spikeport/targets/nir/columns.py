"""What a reader is fed: one row per step, its columns the network's inputs, some of them more than once.

NIR knows neither spikes from held values nor delays of inputs, so the columns say it (they are in the file's metadata):

    an input of the network, `delay` steps late     a projection from a spike input waits that long
    a held input, now and one step late             for the membrane, through a synapse of decay a, which is to forget:
                                                    i[k] = a i[k-1] + w u[k] - a w u[k-1]
    `start`, 1 in the first step and 0 later        the same for a constant: i[1] = c, and then (1 - a) c in every step
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikeport.snn.drive import Inputs, resolve
from spikeport.snn.neurons import Array
from spikeport.snn.spiking import HeldInput, SpikingNetwork, sample_index

START = "start"  # the column that is 1 in the first step only


@dataclass(frozen=True, kw_only=True)
class Column:
    """Columns first .. first + n - 1 of a row: input `name` (or START), `delay` steps late."""

    name: str
    kind: str  # "spikes", "held" or START
    delay: int
    first: int
    n: int

    @property
    def rows(self) -> slice:
        return slice(self.first, self.first + self.n)


def columns(network: SpikingNetwork, remembers: set[str], *, start: bool) -> tuple[Column, ...]:
    """The columns of `network`. remembers: populations whose membrane inputs pass a synapse; start: is START wanted?"""
    found: list[Column] = []
    first = 0
    for port in network.inputs:
        mine = [p for p in network.projections if p.source == port.name]
        delays = {p.delay for p in mine}
        delays |= {1 for p in mine if p.synapse is None and p.target in remembers}
        for delay in sorted(delays) or [0]:
            kind = "held" if isinstance(port, HeldInput) else "spikes"
            found.append(Column(name=port.name, kind=kind, delay=delay, first=first, n=port.n))
            first += port.n
    if start or not found:  # no reader takes an input without channels
        found.append(Column(name=START, kind=START, delay=0, first=first, n=1))
    return tuple(found)


def fill(
    network: SpikingNetwork, layout: tuple[Column, ...], inputs: Inputs | None, n_steps: int | None, n_batch: int | None
) -> Array:
    """(time, batch, columns): what to feed, step by step."""
    drive = resolve(network, inputs, n_steps, n_batch)
    rows = np.zeros((drive.n_steps, drive.n_batch, sum(c.n for c in layout)))
    ports = {port.name: port for port in network.inputs}
    for column in layout:
        if column.kind == START:
            rows[:1, :, column.rows] = 1
            continue
        port = ports[column.name]
        if isinstance(port, HeldInput):
            samples = drive.held[port.name]
            steps = sample_index(np.arange(1, drive.n_steps + 1), network.dt, port, samples.shape[0])
            values = samples[steps]
        else:
            values = np.zeros((drive.n_steps, drive.n_batch, port.n))
            dense = drive.spikes[port.name].dense()[: drive.n_steps]
            values[: dense.shape[0]] = dense
        rows[column.delay :, :, column.rows] = values[: max(0, drive.n_steps - column.delay)]
    return rows
