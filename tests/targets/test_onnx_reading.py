"""An ONNX file that somebody else wrote: only the file itself is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conformance_networks import plain
from require import need

from spikeport.snn.errors import InvalidNetworkError, SpikeportError, UnsupportedError
from spikeport.targets.onnx import ONNX, load_onnx

onnx = need("onnx", resource="onnx")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return ONNX.export(ONNX.lower(plain()), tmp_path / "net.onnx")


def elsewhere(tensor: Any, location: str) -> None:
    """Let a tensor say that its data is in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    assert tensor.external_data


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "sub/../../secret", ""])
def test_data_outside_of_the_files_folder_is_refused(location: str, file: Path) -> None:
    model = onnx.load(file)
    elsewhere(model.graph.initializer[0], location)
    file.write_bytes(model.SerializeToString())
    with pytest.raises(
        UnsupportedError, match=r"net\.onnx: some of its data lies in other files(?s:.*)outside of its folder"
    ):
        load_onnx(file)


def test_data_beside_the_file_is_refused_too(file: Path) -> None:
    model = onnx.load(file)
    elsewhere(model.graph.initializer[0], "weights.bin")
    (file.parent / "weights.bin").write_bytes(bytes(8000))
    file.write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedError, match=r"in 'weights\.bin', beside the file"):
        load_onnx(file)


def test_data_of_a_loop_is_looked_at_as_well(file: Path) -> None:
    model = onnx.load(file)
    body = next(node for node in model.graph.node if node.op_type == "Scan").attribute[0].g
    elsewhere(body.initializer[0], "../secret")
    file.write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedError, match=r"in '\.\./secret', outside of its folder"):
        load_onnx(file)


def test_every_truncation_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    for size in (*range(1, len(whole), 97), len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(SpikeportError, match=r"net\.onnx: damaged or truncated"):
            load_onnx(file)


@pytest.mark.parametrize(("content", "says"), [(b"", "is empty"), (b"\x89HDF no model at all", "damaged or truncated")])
def test_what_is_no_model_is_refused(content: bytes, says: str, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(InvalidNetworkError, match=says):
        load_onnx(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpikeportError, match=r"none\.onnx: no such file"):
        load_onnx(tmp_path / "none.onnx")


def test_an_unchanged_file_is_read(file: Path) -> None:
    assert load_onnx(file).producer_name == "spikeport"
