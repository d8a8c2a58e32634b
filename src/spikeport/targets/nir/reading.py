"""Reading .nir files with distrust: the HDF5 itself, without the `nir` package and without its assertions.

    /version                       text
    /node/type                     "NIRGraph", and in it
    /node/nodes/NAME/type          the kind of a node; beside it one dataset for each parameter, and `metadata`
    /node/edges                    (n, 2) text: from, to

A "/" in NAME makes HDF5 nest groups, so NAME may be several groups deep: a group is a node where it holds `type`.
Links, data in other files, unknown types and sizes that cannot be are refused unread (snn/hdf5.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.hdf5 import open_hdf5, read_dataset, walk
from spikeport.targets.nir.graph import FIELDS, GRAPH, UNSUPPORTED, Node, Numbers

WHAT = "NIR graph (.nir)"
MAX_DEPTH = 32  # groups: a graph in a graph takes two, and each "/" in a name one
MAX_TEXT = 1 << 24  # bytes that all texts of one dataset may take together
TEXT_BLOCK = 1 << 26  # bytes that one read of texts may take at most, whatever they refer to


@dataclass(frozen=True, kw_only=True)
class NirFile:
    """What a .nir file holds. version: of the `nir` that wrote it, as it says; own: whether /spikeport is there."""

    path: Path
    version: str
    graph: Node
    own: bool


def read_graph(path: str | Path) -> NirFile:
    """The graph of a .nir file, as it stands; what it lacks or cannot mean is refused, every problem at once."""
    path = Path(path)
    with open_hdf5(path, WHAT) as file:
        walk(path, file, text=True, max_depth=MAX_DEPTH)
        found = ", ".join(sorted(map(str, file))[:8]) or "nothing"
        root = file.get("node")
        if not isinstance(root, h5py.Group):
            raise InvalidNetworkError(
                f"{path}: an HDF5 file, but not a NIR graph (no group /node)", [f"it holds: {found}"]
            )
        problems: list[str] = []
        graph = _read_node(root, "", problems, path.stat().st_size)
        version = file.get("version")
        text = _text(version, "version", problems, path.stat().st_size) if isinstance(version, h5py.Dataset) else None
        if graph is not None and graph.kind != GRAPH:
            problems.append(f"/node: is a {graph.kind}, must be a {GRAPH}")
        if problems or graph is None:
            raise InvalidNetworkError(f"{path}: not a valid NIR graph", problems, hint="write the file again")
        return NirFile(path=path, version=text or "unknown", graph=graph, own="spikeport" in file)


def _read_node(group: h5py.Group, name: str, problems: list[str], size: int) -> Node | None:
    """The node in `group`, or None with at least one problem; size: bytes of the file."""
    where = f"node {name}" if name else "graph"
    if not isinstance(group.get("type"), h5py.Dataset):
        problems.append(f"{where}: has no type")
        return None
    kind = _text(group["type"], f"{where}: type", problems, size)
    if kind is None:
        return None
    if kind == GRAPH:
        return _read_graph(group, name, problems, size)
    if kind not in FIELDS and kind not in UNSUPPORTED:
        known = ", ".join([*FIELDS, *UNSUPPORTED])
        problems.append(f"{where}: type '{kind}' is unknown, NIR has {known}")
        return None
    fields = {}
    for key, item in group.items():
        if key in ("type", "metadata") or (isinstance(item, h5py.Group) and _holds_nodes(item)):
            continue  # a group that holds nodes: their names begin with this node's, and a "/"
        if not isinstance(item, h5py.Dataset):
            problems.append(f"{where}: '{key}' is a group, must be a parameter")
        elif kind in FIELDS:  # what will be refused by its kind is not read
            fields[str(key)] = read_dataset(item) if item.dtype.kind in "fiub" else np.empty(0)
            if item.dtype.kind not in "fiub":
                problems.append(f"{where}: {key} is of type {item.dtype}, must be numbers")
    return Node(kind=kind, fields=fields, metadata=_metadata(group, where, problems, size))


def _read_graph(group: h5py.Group, name: str, problems: list[str], size: int) -> Node:
    where, prefix = (f"graph {name}", f"{name}.") if name else ("graph", "")
    for key in group:
        if key not in ("type", "nodes", "edges", "metadata") and not _holds_nodes(group[key]):
            problems.append(f"{where}: '{key}' is unknown, a graph has nodes, edges and metadata")
    nodes: dict[str, Node] = {}
    if isinstance(group.get("nodes"), h5py.Group):
        for key, item in _named(group["nodes"], "", problems, where):
            node = _read_node(item, prefix + key, problems, size)
            if node is not None:
                nodes[key] = node
    else:
        problems.append(f"{where}: has no nodes")
    edges: tuple[tuple[str, str], ...] = ()
    if isinstance(group.get("edges"), h5py.Dataset):
        edges = _edges(group["edges"], where, problems, size)
    else:
        problems.append(f"{where}: has no edges")
    return Node(kind=GRAPH, nodes=nodes, edges=edges, metadata=_metadata(group, where, problems, size))


def _named(group: Mapping[str, Any], prefix: str, problems: list[str], where: str) -> Iterator[tuple[str, h5py.Group]]:
    """(name, group) of every node below `group`, through the groups that a "/" in a name makes."""
    for key, item in group.items():
        name = prefix + key
        if not isinstance(item, h5py.Group):
            problems.append(f"{where}: '{name}' among the nodes is no node")
            continue
        is_node = isinstance(item.get("type"), h5py.Dataset)
        if is_node:
            yield name, item
        own = ("nodes", "metadata") if "edges" in item else ("metadata",)  # groups that belong to the node itself
        below = [sub for sub in item if isinstance(item[sub], h5py.Group) and _holds_nodes(item[sub])
                 and not (is_node and sub in own)]  # fmt: skip
        if not is_node and len(below) < len(item):
            problems.append(f"node {name}: has no type")
        for sub in below:
            yield from _named({sub: item[sub]}, f"{name}/", problems, where)


def _holds_nodes(item: Any) -> bool:
    """Whether `item` is a node, or a group that leads to one."""
    found: list[Any] = [item]
    for part in found:  # grows while it is read; finite, because the depth is (walk)
        if isinstance(part, h5py.Group):
            if isinstance(part.get("type"), h5py.Dataset):
                return True
            found += part.values()
    return False


def _metadata(group: h5py.Group, where: str, problems: list[str], size: int) -> dict[str, Any]:
    item = group.get("metadata")
    if item is None:
        return {}
    if not isinstance(item, h5py.Group):
        problems.append(f"{where}: metadata must be a group")
        return {}
    return _values(item, f"{where}: metadata", problems, size)


def _values(group: h5py.Group, where: str, problems: list[str], size: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in group.items():
        at = f"{where} {key}"
        if isinstance(item, h5py.Group):
            found[str(key)] = _values(item, at, problems, size)
        elif h5py.check_string_dtype(item.dtype) is not None and item.shape == ():
            found[str(key)] = _text(item, at, problems, size) or ""
        elif h5py.check_string_dtype(item.dtype) is not None and item.dtype.kind == "O":
            texts = _texts(item, at, problems, size)
            found[str(key)] = np.array(texts, dtype=object).reshape(item.shape) if texts is not None else ""
        else:
            found[str(key)] = read_dataset(item)
    return found


def _edges(dataset: h5py.Dataset, where: str, problems: list[str], size: int) -> tuple[tuple[str, str], ...]:
    if dataset.size == 0:
        return ()
    if len(dataset.shape) != 2 or dataset.shape[1] != 2 or h5py.check_string_dtype(dataset.dtype) is None:
        problems.append(f"{where}: edges of type {dataset.dtype} and shape {dataset.shape}, must be (n, 2) texts")
        return ()
    texts = _texts(dataset, f"{where}: edges", problems, size)
    return () if texts is None else tuple(zip(texts[::2], texts[1::2], strict=True))


def _text(dataset: h5py.Dataset, where: str, problems: list[str], size: int) -> str | None:
    """One text, or None with a problem."""
    if dataset.shape != () or h5py.check_string_dtype(dataset.dtype) is None:
        problems.append(f"{where}: of type {dataset.dtype} and shape {dataset.shape}, must be one text")
        return None
    texts = _texts(dataset, where, problems, size)
    return None if texts is None else texts[0]


def _texts(dataset: h5py.Dataset, where: str, problems: list[str], size: int) -> list[str] | None:
    """Every text of a dataset in order, or None with a problem.

    Texts of variable length are references into the file, and many may refer to the same long one: they are read in
    blocks that stay small even if each is as long as the file.
    """
    columns = int(np.prod(dataset.shape[1:], dtype=object)) if dataset.shape else 1
    rows = dataset.shape[0] if dataset.shape else 1
    if rows * columns > MAX_TEXT // 2:
        problems.append(f"{where}: {rows * columns} texts, more than {MAX_TEXT // 2}")
        return None
    step = max(1, TEXT_BLOCK // (max(size, 1) * columns))
    found: list[bytes] = []
    total = 0
    for start in range(0, rows, step):
        block: Numbers = np.asarray(dataset[start : start + step] if dataset.shape else dataset[()], dtype=object)
        found += [item if isinstance(item, bytes) else str(item).encode() for item in block.ravel()]
        total += sum(len(item) for item in found[-block.size :])
        if total > MAX_TEXT:
            problems.append(f"{where}: texts of more than {MAX_TEXT} bytes in all")
            return None
    try:
        return [item.decode("utf-8") for item in found]
    except UnicodeDecodeError:
        problems.append(f"{where}: text that is not UTF-8")
        return None
