"""Running the chip's integers: held values and spikes in, spikes and v out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import RefusedError
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.targets.base import Lowering, RunOptions
from spikeport.targets.feed import Feed, feed
from spikeport.targets.fixed_point.fractions import from_s1615
from spikeport.targets.fixed_point.integers import Ints
from spikeport.targets.fixed_point.running import check_run, given_spikes
from spikeport.targets.outputs import read_out_fast
from spikeport.targets.spinnaker import kernel
from spikeport.targets.spinnaker.chip import Chip
from spikeport.targets.spinnaker.host import Currents
from spikeport.targets.spinnaker.limits import POTENTIAL_MAX
from spikeport.targets.spinnaker.problems import starts_too_high
from spikeport.targets.spinnaker.quantise import settled

BLOCK = 100  # steps at a time, for memory


def emulate(lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
    """The run of a lowering by target.py, in the source's units."""
    chip: Chip = lowering.settings["chip"]
    check_run("spinnaker", lowering, options)
    given = feed(lowering, inputs, options)
    t = kernel.tables(chip)
    m = kernel.memory(chip, t, np.concatenate([_start(lowering, c.name, given) for c in chip.cells], axis=1))
    limits = {p.name: per_unit(p.neuron.v_threshold, p.n) for p in lowering.source.populations}
    currents = Currents(chip, given, lowering.settings["most"], limits)
    n, wanted = m.v.shape[1], bool(options.record)
    spikes: list[tuple[NDArray[Any], ...]] = []
    seen = np.zeros((given.n_steps if wanted else 0, given.n_batch, n), dtype=np.int64)
    for k0 in range(0, given.n_steps, BLOCK):
        k1 = min(k0 + BLOCK, given.n_steps)
        current, rows = currents(k0, k1)
        z = np.zeros((k1 - k0, given.n_batch, n), dtype=np.bool_)
        kernel.run(
            t,
            m,
            k0,
            k1 - k0,
            given_spikes("spinnaker", tuple(chip.inputs), given, k0, k1),
            current,
            rows,
            z,
            seen[k0:k1],
        )
        step, batch, neuron = np.nonzero(z)
        spikes.append((step + k0, batch, neuron))
    trains, places = _trains(chip, spikes, given)
    traces: dict[str, Array] = {}
    for name in options.record:
        traces[name] = from_s1615(seen[:, :, places[name.removesuffix(".v")]])
    return lowering.invert(Recording(
        dt=chip.dt, n_steps=given.n_steps, n_batch=given.n_batch, spikes=trains,
        outputs=read_out_fast(lowering.network, trains), traces=traces,
    ))  # fmt: skip


def _start(lowering: Lowering, name: str, given: Feed) -> Ints:
    """v0 (batch, n), s16.15."""
    v0, p, chip = given.v0[name], lowering.source.population(name), lowering.settings["chip"]
    found = [f"population {name}: v0 {np.abs(v0).max():.6g} mV, limit {POTENTIAL_MAX / 4:g} mV"] * bool(
        np.abs(v0).max() > POTENTIAL_MAX / 4
    )
    found += [f"population {name}: a refractory unit starts above its threshold, and the chip spikes then"] * (
        starts_too_high(p, v0)
    )
    if found:
        raise RefusedError("spinnaker: cannot start there", found, hint="v0 at or below the threshold")
    threshold = next(c.threshold for c in chip.cells if c.name == name)
    return settled(v0, per_unit(p.neuron.v_threshold, p.n), threshold)


def _trains(
    chip: Chip, parts: list[tuple[NDArray[Any], ...]], given: Feed
) -> tuple[dict[str, SpikeTrains], dict[str, slice]]:
    """Every population's spikes, and where its units are in the row of all."""
    empty = tuple(np.zeros(0, dtype=np.int64) for _ in range(3))
    step, batch, neuron = (np.concatenate(columns) for columns in zip(empty, *parts, strict=True))
    found, places, offset = {}, {}, 0
    for c in chip.cells:
        mine = (neuron >= offset) & (neuron < offset + c.n)
        shape = (given.n_steps, given.n_batch, c.n)
        found[c.name] = SpikeTrains.build(step[mine], batch[mine], neuron[mine] - offset, shape)
        places[c.name] = slice(offset, offset + c.n)
        offset += c.n
    return found, places
