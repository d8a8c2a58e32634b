"""A graph that was imported and not changed goes back as it came."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nir_graphs import DT, imported, recurrent
from require import need

from spikeport import export_network, import_network
from spikeport.snn.files import save_spiking_network
from spikeport.targets.nir import NIR
from spikeport.targets.nir.importing import fingerprint, original_graph

nir = need("nir", resource="nir")


def assert_equal_graphs(found: Any, expected: Any) -> None:
    """The same nodes, types, parameters to the bit, edges and metadata."""
    assert set(found.nodes) == set(expected.nodes)
    assert set(found.edges) == set(expected.edges)
    assert found.metadata == expected.metadata
    for key, node in expected.nodes.items():
        assert type(found.nodes[key]) is type(node)
        mine, theirs = found.nodes[key].to_dict(), node.to_dict()
        assert mine.keys() == theirs.keys()
        assert mine.pop("metadata") == theirs.pop("metadata")
        for parameter, value in theirs.items():
            assert np.asarray(mine[parameter]).dtype == np.asarray(value).dtype
            assert np.asarray(mine[parameter]).tobytes() == np.asarray(value).tobytes()


@pytest.mark.parametrize("name", ["braille_noDelay_bias_zero", "lif_norse"])
def test_an_unchanged_network_gives_its_graph_back_also_after_it_was_saved(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    path = shared_data / "nir" / f"{name}.nir"
    save_spiking_network(import_network(path, dt=DT), tmp_path / "net.h5")
    done = export_network(tmp_path / "net.h5", "nir", tmp_path / "again.nir")
    assert [loss.what for loss in done.losses] == ["written as it was read"]
    assert_equal_graphs(nir.read(tmp_path / "again.nir"), nir.read(path))


def test_an_unchanged_graph_goes_back_even_where_no_reader_could_be_written_for(tmp_path: Path) -> None:
    """Delays of its channels: `any` refuses them in a network of ours, but a graph that came with them goes back."""
    nir.write(tmp_path / "graph.nir", recurrent("CubaLIF", 0))
    network = import_network(tmp_path / "graph.nir", dt=DT)
    assert NIR.problems(replace(network, provenance={}))
    export_network(network, "nir", tmp_path / "again.nir")
    assert_equal_graphs(nir.read(tmp_path / "again.nir"), nir.read(tmp_path / "graph.nir"))


def test_a_named_reader_gets_a_graph_of_its_own_and_not_the_one_that_came(shared_data: Path) -> None:
    network = import_network(shared_data / "nir" / "lif_norse.nir", dt=DT)
    ours = replace(network, provenance={})
    assert NIR.problems(network, reader="sinabs") == NIR.problems(ours, reader="sinabs") != ()
    assert "written as it was read" not in {loss.what for loss in NIR.lower(network, reader="spikingjelly").losses}


def test_a_changed_network_has_no_original_graph() -> None:
    network = imported(recurrent("LIF", 0))
    assert original_graph(network) is not None
    first = network.projections[0]
    weight = first.weight.copy()
    weight[0, 0] = np.nextafter(weight[0, 0], np.inf)
    changed = replace(network, projections=(replace(first, weight=weight), *network.projections[1:]))
    assert fingerprint(changed) != fingerprint(network)
    assert original_graph(changed) is None
    assert original_graph(replace(network, dt=2 * DT)) is None
