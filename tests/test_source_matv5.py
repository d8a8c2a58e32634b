"""Our reader of MATLAB v5 files gives what SciPy's gives, and refuses where SciPy's may end the process."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_files import published
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import loadmat, savemat

from spikeport.convert.sources.matv5 import read_v5
from spikeport.snn.errors import InvalidNetworkError

in_one_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DTYPES = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")


def assert_as_scipy(path: Path) -> None:
    expected = {name: value for name, value in loadmat(path).items() if not name.startswith("__")}
    found, names, problems = read_v5(path, list(expected))
    assert (names, problems) == (list(expected), [])
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_every_variable_of_the_reference_is_what_scipy_reads(shared_data: Path) -> None:
    assert_as_scipy(shared_data / "kim" / "go_nogo_n200.mat")


@in_one_folder
@given(
    variables=st.dictionaries(
        st.from_regex(r"[a-z][a-zA-Z0-9_]{0,30}", fullmatch=True),
        st.sampled_from(DTYPES).flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=2, max_dims=3, max_side=5))),
        min_size=1,
        max_size=4,
    ),
    compressed=st.booleans(),
)
def test_any_matrices_are_what_scipy_reads(variables: dict[str, Any], compressed: bool, tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", variables, do_compression=compressed)
    assert_as_scipy(tmp_path / "a.mat")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("text", ["sigmoid", "a", "é und ü", "softplus with more than eight letters"])
def test_a_text_is_what_was_written(tmp_path: Path, text: str, compressed: bool) -> None:
    savemat(tmp_path / "a.mat", {"t": text}, do_compression=compressed)
    assert read_v5(tmp_path / "a.mat", ["t"])[0]["t"].tolist() == [text]


def test_a_text_of_several_rows_gives_the_rows(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"t": np.array(["one", "two", "six"])})
    assert read_v5(tmp_path / "a.mat", ["t"])[0]["t"].tolist() == ["one", "two", "six"]


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_and_whole_doubles_in_fewer_bytes(tmp_path: Path, order: str) -> None:
    """By hand, as MATLAB writes them: a 2 x 3 double whose values fit into a byte, in columns."""
    parts = struct.pack(f"{order}IIII", 6, 8, 6, 0) + struct.pack(f"{order}IIii", 5, 8, 2, 3)
    parts += struct.pack(f"{order}I", 1 << 16 | 1) + b"w\0\0\0"  # the name, in a small element
    parts += struct.pack(f"{order}II", 2, 6) + bytes([1, 2, 3, 4, 5, 6, 0, 0])
    mark = b"\x00\x01IM" if order == "<" else b"\x01\x00MI"
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + mark + struct.pack(f"{order}II", 14, len(parts)) + parts)
    value = read_v5(path, ["w"])[0]["w"]
    assert value.dtype == np.float64
    assert value.tolist() == [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]


def test_a_variable_that_is_not_wanted_is_named_but_not_read(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"w": np.eye(2), "s": {"a": 1}, "big": np.zeros((300, 300))}, do_compression=True)
    found, names, problems = read_v5(tmp_path / "a.mat", ["w"])
    assert (list(found), names, problems) == (["w"], ["w", "s", "big"], [])


def test_a_name_that_is_there_twice_is_a_problem(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"w": np.eye(2)})
    whole = (tmp_path / "a.mat").read_bytes()
    (tmp_path / "a.mat").write_bytes(whole + whole[128:])
    assert read_v5(tmp_path / "a.mat", ["w"])[2] == ["w: stored twice"]


def test_a_deflated_variable_cannot_grow_past_its_own_tag(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"w": np.eye(2)})
    whole = (tmp_path / "a.mat").read_bytes()
    bomb = zlib.compress(whole[128:] + bytes(10_000_000))
    (tmp_path / "a.mat").write_bytes(whole[:128] + struct.pack("<II", 15, len(bomb)) + bomb)
    with pytest.raises(InvalidNetworkError, match=r"a deflated variable of .* bytes that ends elsewhere"):
        read_v5(tmp_path / "a.mat", ["w"])


@pytest.mark.parametrize("compressed", [False, True])
def test_damage_is_refused_or_read_and_never_ends_the_process(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.mat"
    savemat(path, published(), do_compression=compressed)
    whole, rng = path.read_bytes(), random.Random(3)
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 2, 16])):
            damaged[rng.randrange(128, len(whole))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_v5(path, list(published()))
        except InvalidNetworkError:
            refused += 1
    assert refused > 50
