"""Random networks in SpiNNaker's integers, and how networks are lowered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.base import Lowering
from spikeport.targets.spinnaker import SPINNAKER, arithmetic, kernel
from spikeport.targets.spinnaker.chip import Cells, Chip, Synapses


def lower(network: SpikingNetwork, *more: str) -> Lowering:
    return SPINNAKER.lower(network, allow=("precision", *more))


def texts(network: SpikingNetwork) -> dict[str, str]:
    """feature -> the problem."""
    return {p.feature: str(p) for p in SPINNAKER.problems(network)}


def cells(name: str, n: int, seed: int, **changes: Any) -> Cells:
    rng = np.random.default_rng(seed)
    ts = arithmetic.ONE
    tau_m, tau_syn = (rng.integers(2 * ts, 60 * ts, n) for _ in range(2))
    found = {
        "name": name, "tau_m": tau_m, "tau_syn": tau_syn,
        "keep_v": arithmetic.each(arithmetic.keep_v, ts, tau_m),
        "keep_i": arithmetic.each(arithmetic.keep_i, ts, tau_syn),
        "first": arithmetic.each(arithmetic.first, ts, tau_syn),
        "rest": rng.integers(-66 * ts, -64 * ts, n), "threshold": rng.integers(-50 * ts, -45 * ts, n),
        "reset": rng.integers(-70 * ts, -60 * ts, n), "v0": rng.integers(-70 * ts, -46 * ts, n),
        "refractory": rng.integers(0, 5, n), "ref0": rng.integers(0, 5, n), "gain": int(rng.integers(0, 2)),
        "shifts": (int(rng.integers(0, 8)), int(rng.integers(0, 8))), "drive": np.zeros(n), "held": {}, "hosted": (),
    }  # fmt: skip
    return Cells(**{**found, **changes})


def random_chip(seed: int) -> tuple[Chip, dict[str, Any], dict[str, Any]]:
    """(chip, input spikes, currents): two populations, 60 steps, 2 trials; some ring buffers saturate."""
    rng = np.random.default_rng(seed)
    sizes, n_steps, n_batch = {"a": 6, "b": 4}, 60, 2
    parts = tuple(cells(name, n, seed + i) for i, (name, n) in enumerate(sizes.items()))
    synapses = []
    for source, m in {"x": 3, **sizes}.items():
        for target, n in sizes.items():
            weight = rng.integers(0, 2**16, (n, m)) * (rng.random((n, m)) < 0.7)
            delay = int(rng.integers(0 if source == "x" else 1, 5))
            synapses.append(Synapses(source=source, target=target, weight=weight, receptor=int(rng.integers(0, 2)),
                                     delay=delay, projection=0))  # fmt: skip
    chip = Chip(cells=parts, synapses=tuple(synapses), inputs={"x": 3}, dt=1e-3, ts=arithmetic.ONE)
    given = {"x": (rng.random((n_steps, n_batch, 3)) < 0.3).astype(np.int64)}
    currents = {name: rng.integers(-(2**19), 2**21, (n_steps, n_batch, n)) for name, n in sizes.items()}
    return chip, given, currents


def compiled_run(chip: Chip, given: Mapping[str, Any], currents: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """step.simulate, by kernel.py; in two calls, so that its memory is tested too."""
    t = kernel.tables(chip)
    n_steps, n_batch = given["x"].shape[:2]
    m = kernel.memory(
        chip, t, np.concatenate([np.broadcast_to(c.v0, (n_batch, c.n)) for c in chip.cells], axis=1)
    )  # fmt: skip
    whole = np.concatenate([currents[c.name] for c in chip.cells], axis=2)
    n = whole.shape[2]
    z, seen = np.zeros((n_steps, n_batch, n), dtype=np.bool_), np.zeros((n_steps, n_batch, n), dtype=np.int64)
    half = n_steps // 2
    for k0, k1 in ((0, half), (half, n_steps)):
        row = np.arange((k1 - k0) * n_batch).reshape(k1 - k0, n_batch)
        current = np.ascontiguousarray(whole[k0:k1].reshape(-1, n))
        kernel.run(t, m, k0, k1 - k0, np.ascontiguousarray(given["x"][k0:k1]), current, row, z[k0:k1], seen[k0:k1])
    ends = np.cumsum([0, *(c.n for c in chip.cells)])
    parts = zip(chip.cells, ends, ends[1:], strict=False)
    return {c.name: {"z": z[..., i:j].astype(np.int64), "v": seen[..., i:j]} for c, i, j in parts}
