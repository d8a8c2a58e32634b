"""A NIR graph as plain data: what a .nir file says, before anything is made of it. Needs no `nir`.

One class for every node; a graph is a node of kind NIRGraph. It goes to JSON and back bit for bit, so that a network
can remember the graph it came from, and to and from the classes of the `nir` package.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.errors import InvalidNetworkError, MissingDependencyError

Numbers = NDArray[Any]
GRAPH = "NIRGraph"

# kind -> (parameters that must be there, parameters that may be); as `nir` 1.0 writes them
FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Input": (("shape",), ()),
    "Output": (("shape",), ()),
    "Affine": (("weight", "bias"), ()),
    "Linear": (("weight",), ()),
    "Scale": (("scale",), ()),
    "Delay": (("delay",), ()),
    "Threshold": (("threshold",), ()),
    "LIF": (("tau", "r", "v_leak", "v_threshold"), ("v_reset",)),
    "CubaLIF": (("tau_syn", "tau_mem", "r", "v_leak", "v_threshold"), ("v_reset", "w_in")),
    "IF": (("r", "v_threshold"), ("v_reset",)),
    "LI": (("tau", "r", "v_leak"), ()),
    "CubaLI": (("tau_syn", "tau_mem", "r", "v_leak"), ("w_in",)),
}
UNSUPPORTED = {  # the rest of NIR, and why it has no place here
    "Conv1d": "weights are shared between positions, which a dense projection does not say",
    "Conv2d": "weights are shared between positions, which a dense projection does not say",
    "SumPool2d": "pooling of a picture has no counterpart",
    "AvgPool2d": "pooling of a picture has no counterpart",
    "Flatten": "only vectors are imported",
    "I": "an integrator that never spikes has no counterpart",
}


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node. fields: parameters, in the file's own dtype and shape.  metadata: text, arrays and dicts of them.

    nodes, edges: of a graph only.
    """

    kind: str
    fields: Mapping[str, Numbers] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    edges: tuple[tuple[str, str], ...] = ()


def to_json(node: Node) -> str:
    """The node as text, from which `from_json` makes the same node, every bit."""
    return json.dumps(_pack(node), sort_keys=True, separators=(",", ":"))


def from_json(text: str) -> Node:
    """What `to_json` wrote; anything else is refused."""
    try:
        return _unpack(json.loads(text))
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, RecursionError) as error:
        raise InvalidNetworkError(f"NIR graph in the provenance: damaged ({error})") from error


def _pack(node: Node) -> dict[str, Any]:
    packed: dict[str, Any] = {"type": node.kind, "fields": {k: _pack_value(v) for k, v in node.fields.items()}}
    if node.metadata:
        packed["metadata"] = _pack_value(node.metadata)
    if node.kind == GRAPH:
        packed["nodes"] = {name: _pack(n) for name, n in node.nodes.items()}
        packed["edges"] = [list(edge) for edge in node.edges]
    return packed


def _unpack(packed: Mapping[str, Any]) -> Node:
    return Node(
        kind=str(packed["type"]),
        fields={name: _unpack_value(value) for name, value in packed["fields"].items()},
        metadata=_unpack_value(packed.get("metadata", {"dict": {}})),
        nodes={name: _unpack(n) for name, n in packed.get("nodes", {}).items()},
        edges=tuple((str(a), str(b)) for a, b in packed.get("edges", [])),
    )


def _pack_value(value: Any) -> Any:
    """Text as itself; a dict, a list of texts or an array as a dict with one key that says which."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {"dict": {name: _pack_value(item) for name, item in value.items()}}
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind == "U":
        return {"texts": [str(item) for item in array.ravel()], "shape": list(array.shape)}
    stored = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    data = base64.b64encode(stored.tobytes()).decode("ascii")
    return {"array": data, "dtype": stored.dtype.str, "shape": list(array.shape)}


def _unpack_value(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if "dict" in value:
        return {name: _unpack_value(item) for name, item in value["dict"].items()}
    shape = tuple(int(n) for n in value["shape"])
    if "texts" in value:
        return np.array([str(item) for item in value["texts"]], dtype=object).reshape(shape)
    dtype = np.dtype(value["dtype"])
    if dtype.kind not in "fiubS":
        raise ValueError(f"an array of {dtype}")
    array = np.frombuffer(base64.b64decode(value["array"], validate=True), dtype=dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def to_nir(node: Node) -> Any:
    """The node as an object of the `nir` package, its types unchecked (and so with no node added by the check)."""
    try:
        import nir
    except ImportError as error:
        raise MissingDependencyError.for_extra("nir", "nir", "a NIR graph") from error
    metadata = _as_nir(node.metadata)
    if node.kind == GRAPH:
        nodes = {name: to_nir(n) for name, n in node.nodes.items()}
        return nir.NIRGraph(nodes=nodes, edges=list(node.edges), metadata=metadata, type_check=False)
    fields = {name: _as_nir(value) for name, value in node.fields.items()}
    return nir.dict2NIRNode({"type": node.kind, **fields, "metadata": metadata})


def _as_nir(value: Any) -> Any:
    """As `nir.read` gives it: numbers without a shape as NumPy scalars, arrays that may be written to."""
    if isinstance(value, Mapping):
        return {name: _as_nir(item) for name, item in value.items()}
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.dtype == object:
        array = np.array([str(item).encode() for item in array.ravel()], dtype=object).reshape(array.shape)
    return array.copy() if array.ndim else array[()]


def from_nir(graph: Any) -> Node:
    """A graph of the `nir` package as plain data."""
    return _from_dict(graph.to_dict())


def _from_dict(found: Mapping[str, Any]) -> Node:
    inside = ("type", "metadata", "nodes", "edges", "input_type", "output_type")
    return Node(
        kind=str(found["type"]),
        fields={name: np.asarray(value) for name, value in found.items() if name not in inside and value is not None},
        metadata=_plain(found.get("metadata") or {}),
        nodes={str(name): _from_dict(n) for name, n in found.get("nodes", {}).items()},
        edges=tuple((str(a), str(b)) for a, b in found.get("edges", ())),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind == "U":
        texts = [item.decode("utf-8") if isinstance(item, bytes) else str(item) for item in array.ravel()]
        return np.array(texts, dtype=object).reshape(array.shape)
    return array


def differences(found: Node, expected: Node, name: str = "") -> list[str]:
    """Where two graphs differ, a line for each node: kinds, parameters (every bit), metadata, edges as sets."""
    where = f"node {name}" if name else "graph"
    if found.kind != expected.kind:
        return [f"{where}: is a {found.kind}, was a {expected.kind}"]
    lines = []
    mine, theirs = _completed(found), _completed(expected)
    changed = [key for key in sorted({*mine, *theirs}) if not _same(mine.get(key), theirs.get(key))]
    if changed:
        lines.append(f"{where}: {', '.join(changed)} differ{'s' if len(changed) == 1 else ''}")
    if not _same(found.metadata, expected.metadata):
        lines.append(f"{where}: metadata differ")
    prefix = f"{name}." if name else ""
    for key in sorted({*found.nodes, *expected.nodes}):
        if key not in expected.nodes:
            lines.append(f"node {prefix}{key}: was not there")
        elif key not in found.nodes:
            lines.append(f"node {prefix}{key}: is missing")
        else:
            lines += differences(found.nodes[key], expected.nodes[key], prefix + key)
    lines += [f"edge {prefix}{a} -> {prefix}{b}: was not there" for a, b in sorted({*found.edges} - {*expected.edges})]
    lines += [f"edge {prefix}{a} -> {prefix}{b}: is missing" for a, b in sorted({*expected.edges} - {*found.edges})]
    return lines


def _completed(node: Node) -> dict[str, Any]:
    """The parameters, with the ones that `nir` fills in itself when it reads: v_reset 0, w_in 1 for every unit."""
    values: dict[str, Any] = dict(node.fields)
    if node.kind in FIELDS and "v_reset" in FIELDS[node.kind][1] and "v_threshold" in values:
        values.setdefault("v_reset", np.zeros_like(values["v_threshold"]))
    if node.kind in FIELDS and "w_in" in FIELDS[node.kind][1]:
        like = values.get("v_threshold", values.get("v_leak"))
        if like is not None:
            values["w_in"] = np.ones_like(like) * np.asarray(values.get("w_in", 1.0))
    return values


def _same(a: Any, b: Any) -> bool:
    """Equal in every bit; dtypes count, but not the byte order in which they are stored."""
    if isinstance(a, Mapping) or isinstance(b, Mapping):
        if not (isinstance(a, Mapping) and isinstance(b, Mapping)):
            return False
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if a is None or b is None or isinstance(a, str) or isinstance(b, str):
        return bool(type(a) is type(b) and a == b)
    return bool(_pack_value(a) == _pack_value(b))
