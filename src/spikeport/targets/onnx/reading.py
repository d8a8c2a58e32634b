"""Reading an ONNX file that somebody else wrote: nothing outside of the file is touched.

An ONNX file may say that a weight lies in another file, by any path. spikeport writes none such and reads none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeport.snn.errors import InvalidNetworkError, UnsupportedError
from spikeport.snn.reading import check_readable, parsing
from spikeport.targets.onnx.model import MAX_BYTES

if TYPE_CHECKING:
    import onnx

WHAT = "ONNX file"


def load_onnx(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """The model in `path`, whole and checked; refused where any of its data lies in another file."""
    import onnx

    path = Path(path)
    check_readable(path, WHAT)
    if path.stat().st_size > MAX_BYTES:
        raise InvalidNetworkError(f"{path}: {path.stat().st_size} bytes, an {WHAT} holds at most {MAX_BYTES}")
    model = onnx.ModelProto()
    with parsing(path, WHAT):
        model.ParseFromString(path.read_bytes())  # not onnx.load, which opens what the file names
    outside = [problem for tensor in _tensors(model) for problem in _external(path, tensor)]
    if outside:
        raise UnsupportedError(
            f"{path}: some of its data lies in other files, which are not opened", outside,
            hint="onnx.save(model, 'whole.onnx')   with the data loaded makes one file of it",
        )  # fmt: skip
    with parsing(path, WHAT):
        onnx.checker.check_model(model, full_check=True)
    return model


def _external(path: Path, tensor: onnx.TensorProto) -> Iterator[str]:
    """What a tensor says of another file, as a line; nothing where it has its own data."""
    import onnx

    named = {entry.key: entry.value for entry in tensor.external_data}
    if tensor.data_location != onnx.TensorProto.EXTERNAL and not named:
        return
    location = named.get("location", "")
    folder = path.resolve().parent
    inside = location and (folder / location).resolve().is_relative_to(folder)
    yield f"'{tensor.name}' is in '{location}', {'beside the file' if inside else 'outside of its folder'}"


def _tensors(message: Any) -> Iterator[onnx.TensorProto]:
    """Every tensor anywhere in a message: initializers, attributes, subgraphs, functions."""
    import onnx

    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in value if field.is_repeated else (value,):
            yield from _tensors(part)
