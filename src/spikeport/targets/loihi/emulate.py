"""Running the chip's integers: held values and spikes in, spikes and v out, and a refusal where a state overflows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import RefusedError
from spikeport.snn.neurons import Array
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.targets.base import Lowering, RunOptions
from spikeport.targets.feed import Feed, feed
from spikeport.targets.fixed_point.integers import Ints
from spikeport.targets.fixed_point.running import check_run, given_spikes
from spikeport.targets.loihi import kernel
from spikeport.targets.loihi.chip import Chip, Compartments
from spikeport.targets.loihi.host import Biases
from spikeport.targets.loihi.limits import ARRIVALS_MAX, V_MAX, V_MIN
from spikeport.targets.outputs import read_out_fast

BLOCK = 250  # steps at a time, for memory
KINDS = {
    kernel.ARRIVALS: ("the weights that arrive in one step", ARRIVALS_MAX),
    kernel.CURRENT: ("u", V_MAX),
    kernel.FLOOR: ("v, by larger held values than were given room,", V_MIN),
}


def emulate(lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
    """The run of a lowering by target.py, in the source's units."""
    chip: Chip = lowering.settings["chip"]
    check_run("loihi", lowering, options)
    given = feed(lowering, inputs, options)
    t = kernel.tables(chip)
    scale = {c.name: c.scale for c in chip.compartments}
    m = kernel.memory(chip, t, np.concatenate([_start(c, given.v0[c.name]) for c in chip.compartments], axis=1))
    deep = {name for name, b in lowering.settings["bounds"].items() if b.below > V_MAX}
    n, wanted = m.v.shape[1], bool(options.record)
    biases = Biases(chip, given)
    spikes: list[tuple[NDArray[Any], ...]] = []
    seen = np.zeros((given.n_steps if wanted else 0, given.n_batch, n), dtype=np.int64)
    none = np.zeros((0, given.n_batch, n), dtype=np.int64)
    for k0 in range(0, given.n_steps, BLOCK):
        k1 = min(k0 + BLOCK, given.n_steps)
        bias, rows = biases(k0, k1)
        z = np.zeros((k1 - k0, given.n_batch, n), dtype=np.bool_)
        kernel.run(
            t,
            m,
            k0,
            k1 - k0,
            given_spikes("loihi", tuple(chip.inputs), given, k0, k1),
            bias,
            rows,
            none,
            z,
            seen[k0:k1],
            none,
        )
        _refuse_overflow(chip, m.over, deep)
        step, batch, neuron = np.nonzero(z)
        spikes.append((step + k0, batch, neuron))
    trains = _trains(chip, spikes, given)
    ends = np.cumsum([0, *(c.n for c in chip.compartments)])
    places = {c.name: slice(i, j) for c, i, j in zip(chip.compartments, ends, ends[1:], strict=False)}
    traces: dict[str, Array] = {}
    for name in options.record:
        population = name.removesuffix(".v")
        traces[name] = seen[:, :, places[population]] / scale[population]
    return lowering.invert(Recording(
        dt=chip.dt, n_steps=given.n_steps, n_batch=given.n_batch, spikes=trains,
        outputs=read_out_fast(lowering.network, trains), traces=traces,
    ))  # fmt: skip


def _start(c: Compartments, v0: Array) -> Ints:
    """v0 (batch, n) in units of the chip."""
    v = np.rint(v0 * c.scale)
    if np.abs(v).max(initial=0) > V_MAX:
        worst = f"population {c.name}: v0 {np.abs(v).max():.6g} in units of the chip, 24 bits hold {V_MAX}"
        raise RefusedError("loihi: cannot start there", [worst], hint="v0 nearer the reset")
    return v.astype(np.int64)


def _refuse_overflow(chip: Chip, over: Any, deep: set[str]) -> None:
    """Open models disagree on what a chip does there; so no result is better than a wrong one.

    All agree that v stops at its floor; that is refused only where no loss has told it. deep: where one has.
    """
    problems = []
    for kind, (what, limit) in KINDS.items():
        many, step, trial, index, value = over[kind].tolist()
        name, unit = _place(chip, index)
        if many and not (kind == kernel.FLOOR and name in deep):
            problems.append(f"population {name}, unit {unit}: {what} is {value} at step {step + 1} of trial {trial}, "
                            f"limit {limit}; {many} times so far")  # fmt: skip
    if problems:
        raise RefusedError("loihi: a state overflows", problems, hint="smaller weights, or fewer sources to a unit")


def _place(chip: Chip, index: int) -> tuple[str, int]:
    for c in chip.compartments:
        if index < c.n:
            return c.name, index
        index -= c.n
    raise IndexError(index)  # the kernel counts these compartments


def _trains(chip: Chip, parts: list[tuple[NDArray[Any], ...]], given: Feed) -> Mapping[str, SpikeTrains]:
    empty = tuple(np.zeros(0, dtype=np.int64) for _ in range(3))
    step, batch, neuron = (np.concatenate(columns) for columns in zip(empty, *parts, strict=True))
    found, offset = {}, 0
    for c in chip.compartments:
        mine = (neuron >= offset) & (neuron < offset + c.n)
        shape = (given.n_steps, given.n_batch, c.n)
        found[c.name] = SpikeTrains.build(step[mine], batch[mine], neuron[mine] - offset, shape)
        offset += c.n
    return found
