"""Weights and thresholds on one grid, as people write them by hand: v that meets its threshold does not pass it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nir_reference import NirReference
from require import need

from spikeport.snn import reference
from spikeport.targets.nir.graph import from_nir
from spikeport.targets.nir.importing import network_of

nir = need("nir", resource="nir")

N = 6


def node(kind: str, dt: float) -> Any:
    top = np.full(N, 0.5)
    return nir.IF(r=np.full(N, 1 / dt), v_threshold=top) if kind == "IF" else nir.Threshold(threshold=top)


@pytest.mark.parametrize("dt", [1e-4, 1e-3, 5e-5])
@pytest.mark.parametrize("kind", ["IF", "Threshold"])
def test_a_unit_without_a_leak_spikes_as_its_equations_say_to_the_last_bit(kind: str, dt: float) -> None:
    compared = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        weight = nir.Linear(weight=rng.integers(-3, 6, (N, 4)) * 0.1)
        nodes = {
            "input": nir.Input(np.array([4])),
            "w": weight,
            "cell": node(kind, dt),
            "output": nir.Output(np.array([N])),
        }
        graph = nir.NIRGraph(nodes=nodes, edges=[("input", "w"), ("w", "cell"), ("cell", "output")])
        z = (rng.random((150, 4)) < 0.3).astype(int)
        expected = NirReference(graph, ["cell"], dt).run({"input": z.astype(float)})["cell"]
        found = reference.simulate(network_of(from_nir(graph), dt=dt), z[:, None, :]).spikes["cell"].dense()[:, 0]
        assert int((found != expected).sum()) == 0
        compared += int(expected.sum())
    assert compared > 300
