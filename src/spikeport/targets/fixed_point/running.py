"""What every chip's emulation asks of a run before it starts, and of the spikes that it is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.targets.base import Lowering, RunOptions
from spikeport.targets.feed import Feed


def check_run(target: str, lowering: Lowering, options: RunOptions) -> None:
    """Refuse traces that there are not, and noise by number: a chip adds none to v."""
    known = [f"{p.name}.v" for p in lowering.network.populations]
    problems = [
        f"record: no trace {name}, there are {', '.join(known)}" for name in options.record if name not in known
    ]
    if options.noise_values:
        problems.append(f"noise_values: of {', '.join(options.noise_values)}; the chip adds no numbers to v")
    if problems:
        raise SpikeportError(f"{target}: cannot run so", problems, hint="spikeport targets")


def given_spikes(target: str, inputs: Sequence[str], given: Feed, k0: int, k1: int) -> NDArray[np.int64]:
    """(steps, batch, channels) of all spike inputs; a channel is one axon or key, so it spikes once a step."""
    rows = [given.spikes(name, k0, k1).astype(np.int64) for name in inputs]
    crowded = [name for name, r in zip(inputs, rows, strict=True) if r.max(initial=0) > 1]
    if crowded:
        raise RefusedError(
            f"{target}: these inputs do not fit the chip",
            [f"input {name}: several spikes of one channel in a step, limit 1" for name in crowded],
            hint="more channels, or a smaller dt",
        )
    none = np.zeros((k1 - k0, given.n_batch, 0), dtype=np.int64)
    return np.ascontiguousarray(np.concatenate([none, *rows], axis=2))
