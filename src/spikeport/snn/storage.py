"""The mechanics of spikeport's own HDF5 files: versioned trees of arrays, written whole, read with distrust.

A tree is a dict: an array becomes a dataset, a number or a text an attribute of its group, a dict a group, `Json` a
dataset of JSON text, None is left out. The root carries `format`, `kind`, `version` and `written_by`. Metadata and
data have checksums. What a file declares is compared with what it holds before anything is allocated, and nothing in
a file can make us open another one. docs/formats.md describes the result.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from spikeport.snn.errors import InvalidNetworkError, SpikeportError
from spikeport.snn.hdf5 import open_hdf5, read_attributes, read_dataset, walk
from spikeport.snn.writing import check_writable, write_whole

__all__ = [
    "KINDS",
    "Json",
    "Stored",
    "check_writable",
    "kind_of",
    "read_branch",
    "read_tree",
    "write_tree",
    "write_whole",
]

FORMAT = "spikeport"
KINDS = {  # kind -> (newest version known here, what takes such a file)
    "rate-network": (1, "spikeport convert"),
    "spiking-network": (1, "spikeport run"),
    "recording": (1, "spikeport inspect"),
    "trials": (1, "spikeport convert --task"),
}
_ROOT = ("format", "kind", "version", "written_by")
_CHUNK_BYTES = 1 << 20

Tree = dict[str, Any]


@dataclass(frozen=True)
class Json:
    """A leaf stored as JSON text: dicts with text keys, lists, text, numbers, booleans, None."""

    value: Any


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What was read: the tree, and who wrote it. `Json` leaves come back as plain values."""

    path: Path
    kind: str
    version: int
    written_by: str
    tree: Tree

    def require(self, names: Iterable[str]) -> None:
        """Refuse the file if any of the top-level `names` is missing: all of them at once."""
        missing = [name for name in names if name not in self.tree]
        if missing:
            raise self.invalid([f"{name}: missing" for name in missing])

    def invalid(self, problems: list[str]) -> InvalidNetworkError:
        """The refusal of this file, with every problem."""
        return InvalidNetworkError(
            f"{self.path}: not a valid {self.kind} file (version {self.version}, by {self.written_by})",
            problems,
            hint="write the file again; docs/formats.md lists what it must hold",
        )


def write_tree(path: str | os.PathLike[str], kind: str, tree: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Write `tree` as a file of `kind`, whole or not at all."""
    clash = sorted(set(_ROOT) & set(tree))
    assert not clash, f"{clash} are the root's own attributes"
    root = {"format": FORMAT, "kind": kind, "version": KINDS[kind][0], "written_by": _written_by()}
    with write_whole(path, overwrite) as temporary:
        try:
            # v110: its metadata blocks carry checksums, so a flipped byte is noticed
            with h5py.File(temporary, "w", libver=("v110", "v110")) as file:
                _write_group(file, {**root, **tree}, "")
        except OSError as error:
            raise SpikeportError(f"{path}: cannot be written: {error}", hint="-o another path") from error


def read_tree(path: str | os.PathLike[str], kind: str) -> Stored:
    """Read a file of `kind`; anything else is refused with the reason."""
    path = Path(path)
    with open_hdf5(path, what=f"spikeport {kind} file") as file:
        return read_branch(path, file, kind)


def read_branch(path: Path, root: h5py.File | h5py.Group, kind: str) -> Stored:
    """The same from an open file, or from a group of another format's file that holds all of ours."""
    found, version, written_by = _identify(path, root)
    if found != kind:
        what = f"{path}: is a {found} file, must be a {kind} file"
        raise InvalidNetworkError(what, hint=f"{KINDS[found][1]} {path}")
    tree = _read_group(path, root)
    for name in _ROOT:
        tree.pop(name, None)
    return Stored(path=path, kind=kind, version=version, written_by=written_by, tree=tree)


def kind_of(path: str | os.PathLike[str]) -> str:
    """The kind of one of our files: a key of KINDS. Refuses everything else."""
    path = Path(path)
    with open_hdf5(path, what="spikeport file") as file:
        return _identify(path, file)[0]


def _identify(path: Path, file: h5py.File | h5py.Group) -> tuple[str, int, str]:
    """(kind, version, written_by) of an open file."""
    attributes = read_attributes(path, file, only=_ROOT)
    if attributes.get("format") != FORMAT:
        found = ", ".join(sorted(map(str, file))[:8]) or "nothing"
        raise InvalidNetworkError(
            f"{path}: an HDF5 file, but not one of spikeport's (no root attribute format = 'spikeport')",
            [f"it holds: {found}"],
            hint="spikeport convert --help   lists the formats it takes",
        )
    kind, version, written_by = attributes.get("kind"), attributes.get("version"), attributes.get("written_by")
    by = written_by if isinstance(written_by, str) and written_by else "an unnamed program"
    if kind not in KINDS:
        raise InvalidNetworkError(
            f"{path}: kind {kind!r} is unknown here",
            [f"known: {', '.join(KINDS)}"],
            hint="pip install --upgrade spikeport",
        )
    newest = KINDS[kind][0]
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InvalidNetworkError(f"{path}: version {version!r}, must be a whole number from 1 to {newest}")
    if version > newest:
        raise InvalidNetworkError(
            f"{path}: a {kind} file of version {version} (by {by}); this spikeport reads up to version {newest}",
            hint="pip install --upgrade spikeport",
        )
    return str(kind), version, by


def _write_group(group: h5py.Group, tree: Mapping[str, Any], where: str) -> None:
    for key, value in tree.items():
        name, at = _escape(key), f"{where}/{key}"
        if value is None:
            continue
        if isinstance(value, Mapping):
            _write_group(group.create_group(name), value, at)
        elif isinstance(value, Json):
            text = np.frombuffer(json.dumps(_plain(value.value, at)).encode("ascii"), dtype=np.uint8)
            _write_array(group, name, text).attrs["encoding"] = _text("json", at)
        elif isinstance(value, np.ndarray):
            _write_array(group, name, value)
        elif isinstance(value, str):
            group.attrs[name] = _text(value, at)
        elif isinstance(value, (bool, np.bool_)):
            group.attrs[name] = np.bool_(value)
        elif isinstance(value, (int, np.integer)):
            group.attrs[name] = _integer(int(value), at)
        elif isinstance(value, (float, np.floating)):
            group.attrs[name] = np.float64(value)
        else:
            raise SpikeportError(f"{at}: a {type(value).__name__} cannot be stored")


def _write_array(group: h5py.Group, name: str, array: NDArray[Any]) -> h5py.Dataset:
    """A compressed, checksummed dataset; float64 kept as float32 where that loses nothing."""
    if array.dtype.kind not in "fiub" or array.ndim == 0:
        raise SpikeportError(f"{group.name}/{name}: an array of {array.dtype} and shape {array.shape} cannot be stored")
    stored = np.ascontiguousarray(array)
    if array.dtype == np.float64:
        with np.errstate(over="ignore", invalid="ignore"):
            single = stored.astype(np.float32)
            exact = np.array_equal(single.astype(np.float64).view(np.uint64), stored.view(np.uint64))  # bits: -0.0, NaN
        stored = single if exact else stored
    packed: dict[str, Any] = {}
    if stored.size:  # an empty dataset has no chunks to compress
        packed = {"chunks": _chunks(stored), "compression": "gzip", "shuffle": True, "fletcher32": True}
    dataset = group.create_dataset(name, data=stored, **packed)
    if stored.dtype != array.dtype:
        dataset.attrs["read_as"] = _text(array.dtype.name, name)
    return dataset


def _chunks(array: NDArray[Any]) -> tuple[int, ...]:
    """Whole rows, about a megabyte a chunk."""
    shape = list(array.shape)
    axis = 0
    while int(np.prod(shape)) * array.itemsize > _CHUNK_BYTES and axis < array.ndim:
        rest = int(np.prod(shape[axis + 1 :])) * array.itemsize
        shape[axis] = max(1, _CHUNK_BYTES // rest)
        axis += 1
    return tuple(shape)


def _read_group(path: Path, root: h5py.File | h5py.Group) -> Tree:
    """The tree below `root`, every link and every size checked before the first array is read."""
    tree: Tree = {}
    for parts, node in walk(path, root):
        branch = tree
        for part in parts[:-1]:
            branch = branch[_unescape(part)]
        name = _unescape(parts[-1]) if parts else ""
        if parts and name in branch:
            raise InvalidNetworkError(f"{path}: {'/'.join(parts)} is there twice, as an attribute and as data")
        attributes = {_unescape(key): value for key, value in read_attributes(path, node).items()}
        if isinstance(node, h5py.Dataset):
            branch[name] = _read_leaf(node, attributes)
        elif parts:
            branch[name] = attributes
        else:
            tree.update(attributes)
    return tree


def _read_leaf(node: h5py.Dataset, attributes: Mapping[str, Any]) -> Any:
    """An array, or the value of JSON text."""
    array = read_dataset(node)
    if attributes.get("encoding") == "json":
        return json.loads(array.astype(np.uint8).tobytes().decode("utf-8"))
    return array.astype(np.float64) if attributes.get("read_as") == "float64" else array


def _plain(value: Any, where: str) -> Any:
    """`value` in JSON's own types: numpy scalars and arrays unpacked, tuples as lists; the rest refused."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    what = f"{where}: a {type(value).__name__} has no JSON form"
    raise SpikeportError(what, hint="text, numbers, lists and dicts with text keys")


def _text(value: str, where: str) -> NDArray[Any]:
    """A text attribute of fixed length: it lies in the checksummed header (a variable-length one would not)."""
    try:
        raw = value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise SpikeportError(f"{where}: text that is not valid Unicode: {value!r}") from error
    if b"\0" in raw:
        raise SpikeportError(f"{where}: text with a NUL character: {value!r}")
    return np.array(raw, dtype=h5py.string_dtype("utf-8", max(1, len(raw))))


def _integer(value: int, where: str) -> np.int64 | np.uint64:
    if -(2**63) <= value < 2**63:
        return np.int64(value)
    if value < 2**64 and value > 0:
        return np.uint64(value)
    raise SpikeportError(f"{where}: {value} does not fit into 64 bits")


# HDF5 reads "/" as a path, "." as the group itself, ends a name at NUL, and has no empty name.
def _escape(key: str) -> str:
    try:
        key.encode("utf-8")
    except UnicodeEncodeError as error:
        raise SpikeportError(f"a name that is not valid Unicode: {key!r}") from error
    name = key.replace("%", "%25").replace("/", "%2F").replace("\0", "%00").replace(".", "%2E")
    return name or "%"


def _unescape(name: str) -> str:
    if name == "%":
        return ""
    return name.replace("%2E", ".").replace("%00", "\0").replace("%2F", "/").replace("%25", "%")


def _written_by() -> str:
    try:
        return f"spikeport {installed_version('spikeport')}"
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "spikeport (not installed)"
