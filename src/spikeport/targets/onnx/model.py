"""From a graph to ONNX: the model, its checks, its metadata, its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeport.snn.errors import SpikeportError
from spikeport.snn.writing import write_whole
from spikeport.targets.onnx.graph import BOOL, INT, REAL, Graph, Value

if TYPE_CHECKING:
    import onnx

OPSET = 13  # the first with axes of Squeeze and Unsqueeze as inputs, as in every later one; nothing newer is needed,
# and the older the opset, the more runtimes take the file
IR_VERSION = 7  # the one that opset 13 came with (onnx 1.8, 2020); since 4, an input may have a default
MAX_BYTES = 2**31 - 1  # of a protobuf message; more would need data outside of the file


def to_model(graph: Graph, metadata: Mapping[str, Any]) -> onnx.ModelProto:
    """The ONNX model of `graph`, checked. metadata: name -> text, or what JSON can say."""
    import onnx
    from onnx import helper

    model = helper.make_model(
        _graph(graph), opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name="spikeport", producer_version=version(),
    )  # fmt: skip
    helper.set_model_props(model, {name: _text(value) for name, value in metadata.items()})
    onnx.checker.check_model(model, full_check=True)
    return model


def write_model(model: onnx.ModelProto, path: Path, overwrite: bool) -> Path:
    """Write the file whole or not at all."""
    size = model.ByteSize()
    if size > MAX_BYTES:
        what = f"{path}: the graph has {size / 2**30:.2f} GiB, an ONNX file holds 2"
        raise SpikeportError(what, hint="dtype float32")
    with write_whole(path, overwrite) as neighbour:
        neighbour.write_bytes(model.SerializeToString(deterministic=True))
    return path


def version() -> str:
    """The version of spikeport that writes."""
    try:
        return installed_version("spikeport")
    except PackageNotFoundError:  # a checkout on the path
        return "unknown"


def _graph(graph: Graph) -> onnx.GraphProto:
    from onnx import helper, numpy_helper

    held = graph.constants | graph.defaults
    return helper.make_graph(
        [_node(node, graph.dtype) for node in graph.nodes],
        graph.name,
        [_value(v, graph.dtype) for v in graph.inputs],
        [_value(v, graph.dtype) for v in graph.outputs],
        initializer=[numpy_helper.from_array(np.array(a, order="C"), name) for name, a in held.items()],
        doc_string=graph.doc,
    )


def _node(node: Any, dtype: str) -> onnx.NodeProto:
    from onnx import helper

    attributes: dict[str, Any] = dict(node.attributes)
    if node.op == "Cast":
        attributes = {"to": _type(attributes["kind"], dtype)}
    if "body" in attributes:
        attributes["body"] = _graph(attributes["body"])
    return helper.make_node(node.op, node.inputs, node.outputs, name=node.name, doc_string=node.doc, **attributes)


def _value(value: Value, dtype: str) -> onnx.ValueInfoProto:
    from onnx import helper

    return helper.make_tensor_value_info(value.name, _type(value.kind, dtype), value.shape, doc_string=value.doc)


def _type(kind: str, dtype: str) -> int:
    from onnx import TensorProto

    real = {"float64": TensorProto.DOUBLE, "float32": TensorProto.FLOAT}[dtype]
    return int({REAL: real, BOOL: TensorProto.BOOL, INT: TensorProto.INT64}[kind])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    """What JSON cannot say, as what it can."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
