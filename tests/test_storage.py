"""Files that we write and read: whole or not at all; and never made to do what a data file has no business doing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from example_networks import assert_same, rate_network

from spikeport.snn import files
from spikeport.snn.errors import InvalidNetworkError, SpikeportError
from spikeport.snn.writing import check_writable, write_whole


def edit(path: Path, change: Callable[[h5py.File], Any]) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    files.save_rate_network(rate_network(), tmp_path / "net.h5")
    return tmp_path / "net.h5"


# ---- hostile files


def replace_dataset(file: h5py.File, **options: Any) -> None:
    del file["w_rec"]
    file.create_dataset("w_rec", **options)


def secret(path: Path) -> Path:
    """A file beside the network, which the network must not make us read."""
    with h5py.File(path.with_name("secret.h5"), "w") as file:
        file["w_rec"] = np.eye(6)
    path.with_name("secret.bin").write_bytes(np.eye(6).tobytes())
    return path


def link_out(file: h5py.File) -> None:
    del file["w_rec"]
    file["w_rec"] = h5py.ExternalLink("secret.h5", "/w_rec")


def link_within(file: h5py.File) -> None:
    del file["w_rec"]
    file["w_rec"] = h5py.SoftLink("/tau")


def store_outside(file: h5py.File) -> None:
    replace_dataset(file, shape=(6, 6), dtype="f8", external=[("secret.bin", 0, h5py.h5f.UNLIMITED)])


def map_outside(file: h5py.File) -> None:
    del file["w_rec"]
    layout = h5py.VirtualLayout(shape=(6, 6), dtype="f8")
    layout[:] = h5py.VirtualSource("secret.h5", "w_rec", shape=(6, 6))
    file.create_virtual_dataset("w_rec", layout)


def declare_ten_terabytes(file: h5py.File) -> None:
    replace_dataset(file, shape=(1_100_000, 1_100_000), dtype="f8", chunks=(1000, 1000), compression="gzip")


def declare_more_than_64_bits(file: h5py.File) -> None:
    replace_dataset(file, shape=(2**40, 2**40), dtype="f8", chunks=(64, 64))


def hold_objects(file: h5py.File) -> None:
    replace_dataset(file, data=np.array(["a", "b"], dtype=object), dtype=h5py.string_dtype())


def hold_itself(file: h5py.File) -> None:
    file["labels/again"] = file["labels"]


def hold_one_dataset_under_many_names(file: h5py.File) -> None:
    file.create_dataset("zeros", data=np.zeros(1_000_000), compression="gzip")
    for i in range(300):
        file[f"labels/{i}"] = file["zeros"]


def use_a_plugin_filter(file: h5py.File) -> None:
    del file["w_rec"]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((6, 6))
    plist.set_filter(32004, h5py.h5z.FLAG_OPTIONAL)  # LZ4, of a shared library
    h5py.h5d.create(file.id, b"w_rec", h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple((6, 6)), plist)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (link_out, r"w_rec: a link \(ExternalLink\)"),
        (link_within, r"w_rec: a link \(SoftLink\)"),
        (store_outside, "w_rec: its data lie in another file"),
        (map_outside, "w_rec: its data lie in another file"),
        (declare_ten_terabytes, "w_rec: shape .* declares 9680000000000 bytes, but only 0 are stored"),
        (declare_more_than_64_bits, "w_rec: shape .* declares .* bytes, but only 0 are stored"),
        (hold_objects, "w_rec: type object, must be plain numbers"),
        (hold_itself, "groups nested deeper than 8"),
        (hold_one_dataset_under_many_names, "its datasets declare 24080004[0-9]{2} bytes in all"),
        (use_a_plugin_filter, "w_rec: HDF5 filter 32004"),
    ],
)
def test_a_file_cannot_make_us_read_another_or_allocate_what_it_does_not_hold(
    stored: Path, attack: Callable[[h5py.File], None], message: str
) -> None:
    edit(secret(stored), attack)
    with pytest.raises(InvalidNetworkError, match=message):
        files.load_rate_network(stored)


def test_a_root_attribute_of_an_array_is_refused(stored: Path) -> None:
    edit(stored, lambda f: f.attrs.create("dt", np.zeros(3)))
    with pytest.raises(InvalidNetworkError, match="attribute dt of type float64 and shape"):
        files.load_rate_network(stored)


def test_json_too_deep_to_parse_is_refused(stored: Path) -> None:
    def nest(file: h5py.File) -> None:
        del file["provenance"]
        text = np.frombuffer(b"[" * 100_000, dtype=np.uint8)
        file.create_dataset("provenance", data=text).attrs["encoding"] = "json"

    with pytest.raises(InvalidNetworkError, match="damaged or truncated"):
        files.load_rate_network(edit(stored, nest))


# ---- written whole or not at all


def test_an_existing_file_is_kept_unless_forced(stored: Path) -> None:
    before = stored.read_bytes()
    with pytest.raises(SpikeportError, match=r"exists already(.|\n)*--force"):
        files.save_rate_network(rate_network(seed=1), stored)
    assert stored.read_bytes() == before
    files.save_rate_network(rate_network(seed=1), stored, overwrite=True)
    assert_same(files.load_rate_network(stored), rate_network(seed=1))


@pytest.mark.parametrize(
    "failure", [RuntimeError("stop"), KeyboardInterrupt("stop"), SystemExit("stop")], ids=lambda f: type(f).__name__
)
def test_a_failure_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "net.h5"
    path.write_bytes(b"old")

    def write() -> None:
        with write_whole(path, overwrite=True) as temporary:
            temporary.write_bytes(b"half")
            raise failure

    with pytest.raises(type(failure), match="stop"):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_appeared_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "net.h5"

    def write() -> None:
        with write_whole(path):
            path.write_bytes(b"somebody else's")

    with pytest.raises(SpikeportError, match="exists already"):
        write()
    assert path.read_bytes() == b"somebody else's"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.h5").write_bytes(b"old")
    (tmp_path / "link.h5").symlink_to("real.h5")
    files.save_rate_network(rate_network(), tmp_path / "link.h5", overwrite=True)
    assert (tmp_path / "link.h5").is_symlink()
    assert files.kind_of(tmp_path / "real.h5") == "rate-network"


def test_a_replaced_file_keeps_its_permissions(stored: Path) -> None:
    stored.chmod(0o640)
    files.save_rate_network(rate_network(), stored, overwrite=True)
    assert stored.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("name", "message"),
    [("folder", "is a folder"), ("none/net.h5", "does not exist(.|\n)*mkdir -p"), ("file/net.h5", "is not a folder")],
)
def test_a_path_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(SpikeportError, match=message):
        check_writable(tmp_path / name)


def test_a_folder_without_permission_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # chmod does not stop root
    with pytest.raises(SpikeportError, match="no permission"):
        check_writable(tmp_path / "net.h5")


def test_a_device_is_never_replaced() -> None:
    with pytest.raises(SpikeportError, match="is a device or a pipe"):
        check_writable("/dev/null", overwrite=True)
