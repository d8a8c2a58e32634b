"""A graph while it is built: nodes, constants, what goes in and out. Plain data; model.py makes ONNX of it.

Every value is named after the quantity of the equations that it is, and a node after the value that it gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeport.snn.errors import SpikeportError

Size = int | str  # a number, or the name of what is known only when the graph runs
REAL, BOOL, INT = "real", "bool", "int64"  # real: the graph's own precision


@dataclass(frozen=True, kw_only=True)
class Value:
    """Something that goes in or comes out: its name, its kind of number, its shape, and what it is in words."""

    name: str
    shape: tuple[Size, ...]
    kind: str = REAL
    doc: str = ""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operation; an attribute that is a Graph is a subgraph."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    name: str
    doc: str
    attributes: Mapping[str, Any]


@dataclass
class Graph:
    """Nodes in the order in which they are computed. dtype: float64 or float32, of every real number in it.

    defaults: input -> the value that it has where the caller gives none.
    """

    name: str
    dtype: str
    doc: str = ""
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    defaults: dict[str, NDArray[Any]] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    def free(self, name: str) -> str:
        """`name`, or where another part of the network led to the same one, `name_2`, `name_3`, ..."""
        found, again = name, 1
        while found in self._taken:
            again += 1
            found = f"{name}_{again}"
        self._taken.add(found)
        return found

    def free_of(self, inner: Graph) -> None:
        """Use no name that `inner`, a subgraph, uses: a name means one thing in all of a model."""
        self._taken |= inner._taken

    def scan(self, inputs: Sequence[str], outputs: Sequence[str], body: Graph, scanned: int) -> None:
        """The loop over time; the last `scanned` inputs are cut into steps, the others are states."""
        doc = "for k = 1, 2, ...: states of k-1 and inputs of k in, states and outputs of k out"
        attributes = {"body": body, "num_scan_inputs": scanned}
        self.nodes.append(
            Node(op="Scan", inputs=tuple(inputs), outputs=tuple(outputs), name="steps", doc=doc, attributes=attributes)
        )

    def takes(self, value: Value) -> str:
        """A graph input; `value.name` comes from `free`."""
        self.inputs.append(value)
        return value.name

    def gives(self, value: Value) -> str:
        """A graph output, of a value that some node computes."""
        self.outputs.append(value)
        return value.name

    def op(self, kind: str, /, *inputs: str, to: str, doc: str = "", **attributes: Any) -> str:
        """A node with one output, called `to` as it stands (see `free`)."""
        self.nodes.append(Node(op=kind, inputs=inputs, outputs=(to,), name=to, doc=doc, attributes=attributes))
        return to

    def new(self, kind: str, /, *inputs: str, to: str, doc: str = "", **attributes: Any) -> str:
        """A node with one output, called `to` if that is free."""
        return self.op(kind, *inputs, to=self.free(to), doc=doc, **attributes)

    def constant(self, name: str, value: ArrayLike, *, below: bool = False) -> str:
        """A constant, reals in the graph's precision; one number where all are the same and `value` is a vector.

        below: rounded down, so that v > value is the same question in float32 as in float64.
        """
        array = np.asarray(value)
        if array.ndim == 1 and array.dtype.kind == "f" and array.size and np.ptp(array) == 0:
            array = array[0]
        name = self.free(name)
        self.constants[name] = real(array, self.dtype, name, below=below) if array.dtype.kind == "f" else array
        return name

    def cast(self, value: str, *, to: str) -> str:
        """`value` as a real number."""
        return self.new("Cast", value, to=to, doc="as numbers", kind=REAL)

    def fixed(self, name: str, whole: Sequence[int]) -> str:
        """A vector of whole numbers: axes, shapes."""
        return self.constant(name, np.array(whole, dtype=np.int64))


def real(array: ArrayLike, dtype: str, name: str, *, below: bool = False) -> NDArray[Any]:
    """`array` in `dtype`; a number that float32 cannot hold is refused, not made infinite."""
    wide: NDArray[np.float64] = np.asarray(array, dtype=np.float64)
    with np.errstate(over="ignore"):
        found = wide.astype(dtype)
    if not np.isfinite(found).all():
        raise SpikeportError(
            f"onnx: {name}: {np.abs(wide).max():g} is beyond {dtype} (limit {np.finfo(dtype).max:g})",
            hint="dtype float64",
        )
    if below:
        found = np.where(found.astype(np.float64) > wide, np.nextafter(found, np.array(-np.inf, dtype=dtype)), found)
    return np.asarray(found)
