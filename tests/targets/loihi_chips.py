"""Random networks in Loihi's integers, and the compiled form called like the plain one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spikeport.targets.loihi import kernel
from spikeport.targets.loihi.chip import EXCITATORY, INHIBITORY, MIXED, Chip, Compartments, Synapses


def compiled_run(
    chip: Chip, given: Mapping[str, Any], biases: Mapping[str, Any], n_steps: int, n_batch: int
) -> dict[str, dict[str, Any]]:
    """step.simulate, by kernel.py; in two calls, so that its memory is tested too."""
    t = kernel.tables(chip)
    n = sum(c.n for c in chip.compartments)
    m = kernel.memory(
        chip, t, np.concatenate([np.broadcast_to(c.v0, (n_batch, c.n)) for c in chip.compartments], axis=1)
    )
    given_ = np.concatenate(
        [given[name] for name in chip.inputs] or [np.zeros((n_steps, n_batch, 0), dtype=np.int64)], axis=2
    )
    bias = np.concatenate([biases[c.name][None] for c in chip.compartments], axis=1)
    z = np.zeros((n_steps, n_batch, n), dtype=np.bool_)
    seen, us, none = (np.zeros((size, n_batch, n), dtype=np.int64) for size in (n_steps, n_steps, 0))
    half = n_steps // 2
    for k0, k1 in ((0, half), (half, n_steps)):
        rows = np.zeros((k1 - k0, n_batch), dtype=np.int64)
        kernel.run(
            t, m, k0, k1 - k0, np.ascontiguousarray(given_[k0:k1]), bias, rows, none, z[k0:k1], seen[k0:k1], us[k0:k1]
        )
    ends = np.cumsum([0, *(c.n for c in chip.compartments)])
    parts = zip(chip.compartments, ends, ends[1:], strict=False)
    return {c.name: {"z": z[..., i:j].astype(np.int64), "u": us[..., i:j], "v": seen[..., i:j]} for c, i, j in parts}


def random_chip(seed: int, *, common: bool = False) -> tuple[Chip, dict[str, Any], dict[str, Any]]:
    """(chip, input spikes, biases); common: what brian2-loihi has too."""
    rng = np.random.default_rng(seed)
    names = ["a"] if common else ["a", "b"][: rng.integers(1, 3)]
    n_steps, n_batch, channels = (200, 1, 6) if common else (60, 2, 4)
    sizes = {name: int(rng.integers(3, 9)) for name in names}
    compartments = tuple(_compartments(rng, name, n, common) for name, n in sizes.items())
    synapses = [_synapses(rng, "x", channels, t, n, int(rng.integers(0, 4)), common) for t, n in sizes.items()]
    for source, m in sizes.items():
        for target, n in sizes.items():
            synapses += [_synapses(rng, source, m, target, n, int(rng.integers(1, 5)), common) for _ in range(2)]
    chip = Chip(compartments=compartments, synapses=tuple(synapses), inputs={"x": channels}, dt=1e-3)
    counts = (rng.random((n_steps, n_batch, channels)) < 0.3).astype(np.int64)
    low, high = (0, 1) if common else (-20000, 60000)
    return chip, {"x": counts}, {name: rng.integers(low, high, n) for name, n in sizes.items()}


def _compartments(rng: Any, name: str, n: int, common: bool) -> Compartments:
    size = None if common else n
    whole = np.zeros(n, dtype=np.int64)
    return Compartments(
        name=name, du=whole + rng.integers(30, 4096, size), dv=whole + rng.integers(1, 2000, size),
        vth=int(rng.integers(20, 200) if common else rng.integers(100, 3000)),
        refractory=whole + rng.integers(0, 5, size), bias=np.zeros(n),
        v0=whole if common else rng.integers(-9000, 9000, n),
    )  # fmt: skip


def _synapses(rng: Any, source: str, m: int, target: str, n: int, delay: int, common: bool) -> Synapses:
    mode = EXCITATORY if common and source == "x" else str(rng.choice([EXCITATORY, INHIBITORY, MIXED]))
    low, high = {EXCITATORY: (0, 256), INHIBITORY: (-255, 1), MIXED: (-128, 128)}[mode]
    mantissa = rng.integers(low, high, (n, m)) * (2 if mode == MIXED else 1)
    mantissa = np.where(rng.random((n, m)) < 0.3, 0, mantissa)
    exponent = int(rng.integers(-2, 3) if common else rng.integers(-8, 8))
    if mode == MIXED and exponent < 0:
        exponent = 0  # the peers cut an odd multiple to opposite sides
    return Synapses(source=source, target=target, mantissa=mantissa, exponent=exponent, mode=mode, delay=delay)
