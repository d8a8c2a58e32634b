"""Running the chip's integers: held values and spikes in, spikes out, and a refusal where a state saturates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.neurons import Array
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.targets.base import Lowering, RunOptions
from spikeport.targets.feed import feed
from spikeport.targets.fixed_point.integers import Ints
from spikeport.targets.outputs import read_out_fast
from spikeport.targets.xylo import kernel
from spikeport.targets.xylo.chip import Chip, Neurons
from spikeport.targets.xylo.host import Counts
from spikeport.targets.xylo.limits import STATE_MAX, STATE_MIN

BLOCK = 250  # steps at a time, for memory
KINDS = {
    kernel.CURRENT: ("a current, or what it adds to v,", STATE_MAX),
    kernel.FLOOR: ("v", STATE_MIN),
    kernel.CEILING: ("v", STATE_MAX),
}


def emulate(lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
    """The run of a lowering by target.py, in the source's units."""
    chip: Chip = lowering.settings["chip"]
    _check(options)
    given = feed(lowering, inputs, options)
    t = kernel.tables(chip)
    m = kernel.memory(np.concatenate([_start(c, given.v0[c.name]) for c in chip.neurons], axis=1))
    deep = {name for name, b in lowering.settings["bounds"].items() if b.below > STATE_MAX}
    counts, none = Counts(chip, given), np.zeros((0, given.n_batch, chip.n, 3), dtype=np.int64)
    spikes: list[tuple[NDArray[Any], ...]] = [tuple(np.zeros(0, dtype=np.int64) for _ in range(3))]
    for k0 in range(0, given.n_steps, BLOCK):
        k1 = min(k0 + BLOCK, given.n_steps)
        z = np.zeros((k1 - k0, given.n_batch, chip.n), dtype=np.uint8)
        kernel.run(t, m, k0, counts(k0, k1), z, none)
        if not lowering.settings["keep"]:
            _refuse_saturation(chip, m.over, deep)
        step, batch, neuron = np.nonzero(z)
        spikes.append((step + k0, batch, neuron))
    step, batch, neuron = (np.concatenate(columns) for columns in zip(*spikes, strict=True))
    trains = {}
    for name, at in chip.places().items():
        mine = (neuron >= at.start) & (neuron < at.stop)
        shape = (given.n_steps, given.n_batch, at.stop - at.start)
        trains[name] = SpikeTrains.build(step[mine], batch[mine], neuron[mine] - at.start, shape)
    return lowering.invert(Recording(
        dt=chip.dt, n_steps=given.n_steps, n_batch=given.n_batch, spikes=trains,
        outputs=read_out_fast(lowering.network, trains),
    ))  # fmt: skip


def _check(options: RunOptions) -> None:
    problems = [f"record: no trace {name}; v saturates at its threshold" for name in options.record]
    if options.noise_values:
        problems.append(f"noise_values: of {', '.join(options.noise_values)}; the chip adds no numbers to v")
    if problems:
        raise SpikeportError("xylo: cannot run so", problems, hint="spikeport targets")


def _start(c: Neurons, v0: Array) -> Ints:
    """v0 (batch, n) in units of the chip."""
    v = np.rint(v0 * c.threshold)
    if v.max(initial=0) > STATE_MAX or v.min(initial=0) < STATE_MIN:
        worst = (
            f"population {c.name}: v0 {v.flat[np.abs(v).argmax()]:.6g} in units of the chip, 16 bits hold {STATE_MAX}"
        )
        raise RefusedError("xylo: cannot start there", [worst], hint="v0 nearer the reset")
    return v.astype(np.int64)


def _refuse_saturation(chip: Chip, over: Any, deep: set[str]) -> None:
    """What saturates is no longer the network that was lowered. Only v at its floor, told by a loss, goes on."""
    problems = []
    for kind, (what, limit) in KINDS.items():
        many, step, trial, index, value = over[kind].tolist()
        if many == 0:
            continue
        name, at = next((name, at) for name, at in chip.places().items() if index < at.stop)
        if not (kind == kernel.FLOOR and name in deep):
            problems.append(f"population {name}, unit {index - at.start}: {what} is {value} at step {step + 1} of "
                            f"trial {trial}, limit {limit}; {many} times so far")  # fmt: skip
    if problems:
        raise RefusedError(
            "xylo: a state saturates",
            problems,
            hint="smaller weights, or saturation=keep: the run goes on as on the chip",
        )
