"""Files that claim to be NIR graphs: what is wrong is refused with its node, and nothing is read past the file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from require import need

from spikeport.snn import reference
from spikeport.snn.errors import InvalidNetworkError, SpikeportError, UnsupportedError
from spikeport.snn.spiking import Projection, SpikingNetwork
from spikeport.targets.nir.graph import Node
from spikeport.targets.nir.importing import GRAPH_KEY, fingerprint, network_of, original_graph, read_nir
from spikeport.targets.nir.reading import read_graph

DT = 1e-4
TEXT = h5py.string_dtype()


def write(path: Path, nodes: dict[str, dict[str, Any]], edges: list[tuple[str, str]], text: Any = TEXT) -> Path:
    """A .nir file as `nir.write` lays it out; text: the type of its strings."""
    with h5py.File(path, "w") as file:
        file.create_dataset("version", data="1.0.8", dtype=TEXT)
        _graph(file.create_group("node"), nodes, edges, text)
    return path


def _graph(group: h5py.Group, nodes: dict[str, dict[str, Any]], edges: list[tuple[str, str]], text: Any) -> None:
    group.create_dataset("type", data="NIRGraph", dtype=TEXT)
    inside = group.create_group("nodes")
    for name, node in nodes.items():
        at = inside.create_group(name)
        if "nodes" in node:
            _graph(at, node["nodes"], node["edges"], text)
            continue
        for key, value in node.items():
            at.create_dataset(key, data=value, dtype=text if isinstance(value, str) else None)
    if edges:
        group.create_dataset("edges", data=np.array(edges, dtype=object if text is TEXT else text), dtype=text)
    else:
        group.create_dataset("edges", data=[])


def port(kind: str, *shape: int) -> dict[str, Any]:
    return {"type": kind, "shape": np.array(shape)}


def lif(n: int, **changes: Any) -> dict[str, Any]:
    one = np.ones(n)
    return {"type": "LIF", "tau": 0.01 * one, "r": one, "v_leak": 0 * one, "v_threshold": one} | changes


def chain(*nodes: tuple[str, dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], list[tuple[str, str]]]:
    names = [name for name, _ in nodes]
    return dict(nodes), list(pairwise(names))


def good(n: int = 2) -> tuple[dict[str, dict[str, Any]], list[tuple[str, str]]]:
    weight = {"type": "Affine", "weight": np.ones((n, 3)), "bias": np.zeros(n)}
    return chain(("in", port("Input", 3)), ("w", weight), ("cell", lif(n)), ("out", port("Output", n)))


def refused(path: Path, *patterns: str, kind: type[SpikeportError] = SpikeportError, **options: Any) -> None:
    """Reading `path` is refused, with every one of `patterns` in the message."""
    with pytest.raises(kind, match=re.escape(patterns[0])) as caught:
        read_nir(path, **{"dt": DT, **options})
    missing = [p for p in patterns if p not in str(caught.value)]
    assert not missing, str(caught.value)


def test_a_plain_file_is_read(tmp_path: Path) -> None:
    network = read_nir(write(tmp_path / "g.nir", *good()), dt=DT)
    assert [p.name for p in network.populations] == ["cell"]
    assert network.provenance["source"]["nir_version"] == "1.0.8"


def test_text_of_fixed_length_is_text_too(tmp_path: Path) -> None:
    network = read_nir(write(tmp_path / "g.nir", *good(), text="S8"), dt=DT)
    assert fingerprint(network) == fingerprint(read_nir(write(tmp_path / "h.nir", *good()), dt=DT))


def test_names_may_have_slashes_and_dots(tmp_path: Path) -> None:
    cells = [(name, lif(2)) for name in ("a", "a/b", "x/y/z", "x/y.q")]
    nodes, edges = chain(("in", port("Input", 2)), *cells, ("out", port("Output", 2)))
    network = read_nir(write(tmp_path / "g.nir", nodes, edges), dt=DT)
    assert sorted(p.name for p in network.populations) == ["a", "a/b", "x/y.q", "x/y/z"]
    assert ("a", "a/b") in {(p.source, p.target) for p in network.projections}


def test_graphs_inside_graphs_are_flattened(tmp_path: Path) -> None:
    def inside(name: str, node: dict[str, Any]) -> dict[str, Any]:
        nodes, edges = chain(("in", port("Input", 2)), (name, node), ("out", port("Output", 2)))
        return {"nodes": nodes, "edges": edges}

    nodes, edges = chain(
        ("in", port("Input", 2)), ("one", inside("two", inside("three/four", lif(2)))), ("out", port("Output", 2))
    )
    network = read_nir(write(tmp_path / "g.nir", nodes, edges), dt=DT)
    assert [p.name for p in network.populations] == ["one.two.three/four"]


def test_every_unsupported_node_is_named_at_once(tmp_path: Path) -> None:
    nodes, edges = good()
    nodes |= {
        "conv": {"type": "Conv2d", "weight": np.ones((1, 1, 2, 2))}, "flat": {"type": "Flatten"},
        "sum": {"type": "I", "r": np.ones(2)}, "wild": lif(2, v_threshold=np.array([1.0, np.nan])),
    }  # fmt: skip
    for name in ("conv", "flat", "sum"):
        edges += [("in", name), (name, "cell")]
    path = write(tmp_path / "g.nir", nodes, [*edges, ("in", "gone")])
    refused(
        path, "cannot be imported", "node conv: Conv2d is not supported", "node flat: Flatten is not",
        "node sum: I is not", "node wild: v_threshold holds 1 values that are NaN or infinite",
        "edge in -> gone: there is no node gone", kind=UnsupportedError,
    )  # fmt: skip


TWO = np.ones(2)
DEAD, LI = {"type": "Scale", "scale": TWO}, {"type": "LI", "tau": TWO, "r": TWO, "v_leak": TWO}


def delay(*seconds: float) -> dict[str, Any]:
    return {"type": "Delay", "delay": np.array(seconds)}


@dataclass(frozen=True)
class Change:
    """What is done to the good graph. node, by: parameters that change, None takes one away; add: nodes; edges: more of
    them; drop: a node that goes, with its edges.
    """

    what: str
    message: str
    node: str = "cell"
    by: dict[str, Any] = field(default_factory=dict)
    add: dict[str, Any] = field(default_factory=dict)
    edges: tuple[tuple[str, str], ...] = ()
    drop: str = ""

    def apply(self) -> tuple[dict[str, dict[str, Any]], list[tuple[str, str]]]:
        nodes, edges = good()
        nodes[self.node] = {k: v for k, v in (nodes[self.node] | self.by).items() if v is not None}
        nodes = {k: v for k, v in (nodes | self.add).items() if k != self.drop}
        return nodes, [e for e in [*edges, *self.edges] if self.drop not in e]


EMPTY = dict.fromkeys(("tau", "r", "v_leak", "v_threshold"), np.ones(0))
CHANGES = [
    Change("an unknown type", "node cell: type 'Lif2' is unknown", by={"type": "Lif2"}),
    Change("a missing parameter", "node cell: tau is missing", by={"tau": None}),
    Change("a strange parameter", "node cell: 't_ref' is no parameter of LIF", by={"t_ref": 1.0}),
    Change("shapes that differ", "node cell: r of shape (3,), must be (2,) as tau", by={"r": np.ones(3)}),
    Change("a bias too long", "node w: bias of shape (5,), must be (2,)", "w", {"bias": np.ones(5)}),
    Change("a weight of 3 axes", "node w: weight of shape (2, 3, 1)", "w", {"weight": np.ones((2, 3, 1))}),
    Change("an empty node", "node cell: shape (0,), must not be empty", by=EMPTY),
    Change("text for numbers", "node cell: r is of type", by={"r": "one"}),
    Change("no type", "node cell: has no type", by={"type": None}),
    Change("a tau of 0", "node cell: tau of 0 s, must be positive", by={"tau": np.zeros(2)}),
    Change("a reset above", "node cell: v_reset above v_threshold in 1 units", by={"v_reset": np.array([0, 2.0])}),
    Change("a threshold below the default reset", "node cell: v_threshold of -1 below", by={"v_threshold": -TWO}),
    Change("an unknown end", "edge cell -> nowhere: there is no node nowhere", edges=(("cell", "nowhere"),)),
    Change("an edge twice", "edge in -> w: is there twice", edges=(("in", "w"),)),
    Change("sizes that differ", "edge in -> w: in gives shape (4,), w takes (3,)", "in", {"shape": np.array([4])}),
    Change("no Output", "graph: no node of type Output", drop="out"),
    Change("no Input", "graph: no node of type Input", drop="in"),
    Change("no way in", "node cell: no edge leads to it", drop="w"),
    Change("a dead end", "node end: no edge leads from it", add={"end": DEAD}, edges=(("cell", "end"),)),
    Change("an edge out of an Output", "node out: an Output with an edge out of it", add={"end": lif(2)},
           edges=(("out", "end"),)),
    Change("an edge into an Input", "node in: an Input with an edge into it", add={"i": port("Input", 3)},
           edges=(("i", "in"),)),
    Change("an algebraic loop", "nodes p, q: a loop without a neuron", add={"p": DEAD, "q": DEAD},
           edges=(("p", "q"), ("q", "p"), ("q", "cell"), ("w", "p"))),
    Change("a delay below 0", "node d: delay of -1 s, must be 0 or more", add={"d": delay(-1, 0)},
           edges=(("w", "d"), ("d", "cell"))),
    Change("an endless delay", "node d: delay of 1e+304 steps, limit 1000000", add={"d": delay(1e300, 0)},
           edges=(("w", "d"), ("d", "cell"))),
    Change("a delayed bias", "node d: a bias in front of a Delay", "w", {"bias": TWO}, {"d": delay(DT, DT)},
           (("w", "d"), ("d", "cell"))),
    Change("an integrator in the middle", "node li: LI in front of cell, it can only be a read-out", add={"li": LI},
           edges=(("w", "li"), ("li", "cell"))),
    Change("an input past the neurons", "node o: an Output of in, past every neuron", add={"o": port("Output", 3)},
           edges=(("in", "o"),)),
    Change("sums before the output", "node out: an Output of c2 and cell", add={"c2": lif(2)},
           edges=(("w", "c2"), ("c2", "out"))),
    Change("a late output", "node o: shows cell 1 steps late", add={"o": port("Output", 2), "d": delay(DT, DT)},
           edges=(("cell", "d"), ("d", "o"))),
    Change("a shape that is not", "node out: shape [-2]", "out", {"shape": np.array([-2])}),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.what)
def test_a_graph_that_cannot_be_is_refused_by_name(tmp_path: Path, change: Change) -> None:
    refused(write(tmp_path / "g.nir", *change.apply()), change.message)


def test_a_product_of_long_vectors_is_refused_before_it_is_made(tmp_path: Path) -> None:
    n = 100_000
    nodes, edges = chain(
        ("in", port("Input", n)), ("thin", {"type": "Linear", "weight": np.ones((1, n), dtype=np.int8)}),
        ("fat", {"type": "Linear", "weight": np.ones((n, 1), dtype=np.int8)}),
        ("cell", {"type": "Threshold", "threshold": np.ones(n, dtype=np.int8)}), ("out", port("Output", n)),
    )  # fmt: skip
    refused(write(tmp_path / "g.nir", nodes, edges), "node fat: its weights would be 100000 x 100000 numbers")


def damaged(tmp_path: Path, change: Callable[[h5py.File], None]) -> Path:
    path = write(tmp_path / "g.nir", *good())
    with h5py.File(path, "a") as file:
        change(file)
    return path


def test_a_declared_size_without_data_is_refused_unread(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["node/nodes/w/weight"]
        file["node/nodes/w"].create_dataset(
            "weight", shape=(1 << 20, 1 << 20), dtype="f4", chunks=(64, 64), compression="gzip"
        )

    refused(damaged(tmp_path, change), "declares 4398046511104 bytes, but only 0 are stored", kind=InvalidNetworkError)


@pytest.mark.parametrize("link", [h5py.ExternalLink("other.h5", "/x"), h5py.SoftLink("/node/nodes/cell/r")])
def test_links_are_refused(tmp_path: Path, link: Any) -> None:
    def change(file: h5py.File) -> None:
        del file["node/nodes/cell/tau"]
        file["node/nodes/cell/tau"] = link

    refused(damaged(tmp_path, change), f"a link ({type(link).__name__})")


def test_data_in_another_file_and_objects_are_refused(tmp_path: Path) -> None:
    def outside(file: h5py.File) -> None:
        del file["node/nodes/cell/tau"]
        file["node/nodes/cell"].create_dataset("tau", shape=(2,), dtype="f8", external=[("raw.bin", 0, 16)])

    refused(damaged(tmp_path, outside), "its data lie in another file")

    def compound(file: h5py.File) -> None:
        del file["node/nodes/cell/tau"]
        file["node/nodes/cell/tau"] = np.zeros(2, dtype=[("a", "f8")])

    refused(damaged(tmp_path, compound), "must be plain numbers")


def test_many_references_to_one_long_text_are_refused(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["node/edges"]
        file["node"].create_dataset("edges", data=np.array([["x" * 60_000] * 2] * 200, dtype=object), dtype=TEXT)

    refused(damaged(tmp_path, change), "texts of more than 16777216 bytes in all")


def test_a_group_that_holds_itself_is_refused(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file["node/nodes/cell/again"] = file["node/nodes"]

    refused(damaged(tmp_path, change), "nested deeper than")


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    text, other, cut = tmp_path / "t.nir", tmp_path / "o.nir", tmp_path / "c.nir"
    text.write_text("not HDF5 at all")
    refused(text, "not HDF5")
    with h5py.File(other, "w") as file:
        file["x"] = 1
    refused(other, "but not a NIR graph", "it holds: x")
    whole = write(tmp_path / "g.nir", *good()).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    refused(cut, "damaged or truncated")
    refused(tmp_path / "none.nir", "no such file")
    with h5py.File(other, "w") as file:
        _graph(file.create_group("node"), *good(), TEXT)
        file["node/type"][()] = "LIF"
    refused(other, "/node: is a LIF, must be a NIRGraph")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 20))
def test_a_flipped_byte_is_read_or_refused_but_never_crashes(tmp_path_factory: Any, seed: int, flips: int) -> None:
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("flip")
    raw = bytearray(write(folder / "g.nir", *good()).read_bytes())
    for at in rng.integers(0, len(raw), flips):
        raw[at] ^= int(rng.integers(1, 256))
    (folder / "h.nir").write_bytes(raw)
    try:
        found = read_nir(folder / "h.nir", dt=DT)
    except SpikeportError:
        return
    assert isinstance(found, SpikingNetwork)


def test_a_damaged_original_graph_in_a_provenance_is_refused(tmp_path: Path) -> None:
    network = read_nir(write(tmp_path / "g.nir", *good()), dt=DT)
    provenance = dict(network.provenance) | {GRAPH_KEY: '{"type": "NIRGraph", "fields": 3}'}
    with pytest.raises(InvalidNetworkError, match="NIR graph in the provenance: damaged"):
        original_graph(replace(network, provenance=provenance))


def test_metadata_are_kept(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        meta = file["node/nodes/cell"].create_group("metadata")
        meta.create_dataset("note", data="hello", dtype=TEXT)
        meta.create_dataset("k", data=np.float32(2))
        meta.create_group("deep").create_dataset("list", data=["a", "b"], dtype=TEXT)

    node = read_graph(damaged(tmp_path, change)).graph.nodes["cell"]
    assert node.metadata["note"] == "hello"
    assert node.metadata["k"].dtype == np.float32
    assert node.metadata["deep"]["list"].tolist() == ["a", "b"]


# Files that spikeport wrote: the graph, and the network beside it


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, SpikingNetwork]:
    """A file as target nir writes it, and its network: an imported one with a weight changed."""
    need("nir", resource="nir")
    from spikeport.targets.nir import NIR

    network = read_nir(write(tmp_path / "g.nir", *good()), dt=DT)
    first: Projection = network.projections[0]
    network = replace(network, projections=(replace(first, weight=first.weight * 150), *network.projections[1:]))
    NIR.export(NIR.lower(network), tmp_path / "own.nir")
    return tmp_path / "own.nir", network


def test_our_own_file_gives_the_network_back(own: tuple[Path, SpikingNetwork]) -> None:
    path, network = own
    found = read_nir(path)
    assert fingerprint(found) == fingerprint(network)
    assert found.provenance == network.provenance
    refused(path, "dt: 0.001 s was asked for, the file's network has 0.0001 s", dt=1e-3)
    refused(path, "inputs: values were asked for, the file's network takes spikes", inputs="values")


def test_the_graph_of_our_own_file_alone_gives_the_same_spikes(own: tuple[Path, SpikingNetwork]) -> None:
    path, network = own
    alone = read_nir(path, trust="graph")
    z = (np.random.default_rng(0).random((400, 2, 3)) < 0.7).astype(int)
    expected = reference.simulate(network, z).spikes["cell"]
    (name,) = (p.name for p in alone.populations)
    assert expected.n_spikes > 50
    assert expected.differing(reference.simulate(alone, z).spikes[name]) == 0


def test_a_changed_graph_of_ours_is_refused_until_one_says_what_counts(own: tuple[Path, SpikingNetwork]) -> None:
    path, network = own
    with h5py.File(path, "a") as file:
        nodes = file["node/nodes"]
        name = next(name for name in nodes if "weight" in nodes[name])
        nodes[name]["weight"][0, 0] = 7.0
        file.copy(nodes["input"], nodes, "extra")
    refused(path, f"node {name}: weight differs", "node extra: was not there", dt=None)
    assert fingerprint(read_nir(path, trust="network")) == fingerprint(network)
    with h5py.File(path, "a") as file:
        del file["node/nodes/extra"]
    graph = read_nir(path, trust="graph")
    assert graph.dt == DT
    assert graph.provenance["method"] == "nir"
    refused(path, "dt: 0.001 s was asked for, the graph was written for 0.0001 s", trust="graph", dt=1e-3)


def test_changed_metadata_of_ours_are_refused(own: tuple[Path, SpikingNetwork]) -> None:
    path, _ = own
    with h5py.File(path, "a") as file:
        text = file["node/metadata/dt"].asstr()[()]
        file["node/metadata/dt"][()] = text.replace("0.0001", "0.0002")
    refused(path, "metadata: dt differs", dt=None)
    with h5py.File(path, "a") as file:
        file["node/metadata/reader"][()] = "nobody"
    refused(path, "its metadata name no reader that is known here", dt=None)


def test_only_our_own_files_can_be_trusted_in_parts(tmp_path: Path) -> None:
    refused(write(tmp_path / "g.nir", *good()), "but only a graph is in it", trust="graph")
    refused(tmp_path / "g.nir", "must be graph or network", trust="both")
    refused(tmp_path / "g.nir", "inputs: 'both', must be one of spikes, values", inputs="both")


def test_nothing_is_imported_without_a_neuron() -> None:
    nodes = {
        "in": Node(kind="Input", fields={"shape": np.array([2])}),
        "out": Node(kind="Output", fields={"shape": np.array([2])}),
    }
    with pytest.raises(UnsupportedError, match=r"graph: no neuron \(LIF, CubaLIF, IF, Threshold\)"):
        network_of(Node(kind="NIRGraph", nodes=nodes, edges=(("in", "out"),)), dt=DT)
