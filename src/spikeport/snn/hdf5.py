"""Reading HDF5 with distrust: one file only, plain types only, nothing larger than the file can hold.

HDF5 can point out of its file (external links, external storage, virtual datasets), load filters from shared
libraries, and declare a dataset of any size in a few bytes. All of that is refused before data is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.hdf5_heaps import heap_problems
from spikeport.snn.reading import check_readable, parsing

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_EXPANSION = 1032  # bytes that one stored byte can become: the bound of deflate (zlib's technical details)
MAX_OBJECTS = 100_000
MAX_DEPTH = 8
MAX_ATTRIBUTE = 1 << 20  # bytes
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32"}  # built into HDF5; any other may load a shared library


def is_hdf5(path: Path) -> bool:
    """Whether HDF5's signature stands where it may: at 0, or behind a user block of 512, 1024, 2048... bytes."""
    with path.open("rb") as file:
        size = path.stat().st_size
        offset = 0
        while offset + len(SIGNATURE) <= size:
            file.seek(offset)
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return True
            offset = max(512, 2 * offset)
    return False


@contextmanager
def open_hdf5(path: Path, what: str) -> Iterator[h5py.File]:
    """Open `path` to read, or say why not; `what` names the file that is wanted."""
    check_readable(path, what)
    if not is_hdf5(path):
        raise InvalidNetworkError(f"{path}: not HDF5; a {what} is wanted", hint=f"file {path}   says what it is")
    with parsing(path, what):
        # no lock: a read-only folder or a network disk may not grant one
        with h5py.File(path, "r", locking=False) as file:
            problems = heap_problems(path, length=file.id.get_create_plist().get_sizes()[1])
            if problems:
                hint = f"write it again; where its texts are known to be sound: h5repack {path} COPY"
                raise InvalidNetworkError(f"{path}: damaged, not a valid {what}", problems, hint=hint)
            yield file


def walk(
    path: Path, root: h5py.File | h5py.Group, *, text: bool = False, max_depth: int = MAX_DEPTH
) -> list[tuple[tuple[str, ...], h5py.Group | h5py.Dataset]]:
    """Every object below `root`, parents first, the root as (); refuses links, and datasets that cannot be.

    text: text of variable length may be among them (its reader limits how much it takes, see check_dataset).
    """
    found: list[tuple[tuple[str, ...], h5py.Group | h5py.Dataset]] = [((), root)]
    problems: list[str] = []
    stored, declared = path.stat().st_size, 0
    for parts, node in found:  # grows while it is read
        if not isinstance(node, h5py.Group):
            continue
        for name in node:
            at = "/".join((*parts, name))
            link = node.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                problems.append(f"{at}: a link ({type(link).__name__}) to {link.path!r}, must be data of this file")
                continue
            child = node[name]
            if isinstance(child, h5py.Dataset):
                problems += check_dataset(child, at, stored, text=text)
                declared += declared_bytes(child)
            elif not isinstance(child, h5py.Group):
                problems.append(f"{at}: neither a group nor a dataset")
                continue
            elif len(parts) + 1 > max_depth:  # also where a group holds itself
                problems.append(f"{at}: groups nested deeper than {max_depth}")
                continue
            found.append(((*parts, name), child))
            if len(found) > MAX_OBJECTS:
                raise _refused(path, [f"more than {MAX_OBJECTS} objects"])
    if declared > MAX_EXPANSION * stored and not problems:  # one large dataset under many names
        problems = [
            f"its datasets declare {declared} bytes in all, {stored} bytes of file can hold {MAX_EXPANSION} times that"
        ]
    if problems:
        raise _refused(path, problems)
    return found


def check_dataset(dataset: h5py.Dataset, at: str, file_size: int, *, text: bool = False) -> list[str]:
    """Every reason not to read `dataset`, a line each; `file_size` in bytes.

    text: text of variable length passes. Each element is then a reference to text elsewhere in the file, so what it
    takes in memory is not checked here.
    """
    if dataset.is_virtual or dataset.external:
        return [f"{at}: its data lie in another file (virtual or external storage), must be in this one"]
    problems = []
    dtype = dataset.dtype
    references = text and (info := h5py.check_string_dtype(dtype)) is not None and info.length is None
    if not references and (dtype.hasobject or dtype.kind not in "fiubS" or (dtype.kind == "f" and dtype.itemsize > 8)):
        problems.append(f"{at}: type {dtype}, must be plain numbers, booleans or text of fixed length")
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    unknown = [str(code) for code in filters if code not in _FILTERS]
    if unknown:
        problems.append(f"{at}: HDF5 filter {', '.join(unknown)}, must be {', '.join(_FILTERS.values())} or none")
    if dataset.shape is None:
        return [*problems, f"{at}: has no shape (a null dataspace)"]
    declared = declared_bytes(dataset)
    held = min(int(dataset.id.get_storage_size()), file_size)
    limit = held * (MAX_EXPANSION if 1 in filters else 1)
    if declared > limit:
        problems.append(
            f"{at}: shape {tuple(dataset.shape)} declares {declared} bytes, but only {held} are stored, "
            f"which can hold at most {limit}"
        )
    if plist.get_layout() == h5py.h5d.CHUNKED:
        chunk = dtype.itemsize * int(np.prod([int(c) for c in plist.get_chunk()], dtype=object))
        if chunk > max(declared, 1) * 2 + (1 << 24):
            problems.append(f"{at}: chunks of {chunk} bytes in a dataset of {declared}")
    return problems


def declared_bytes(dataset: h5py.Dataset) -> int:
    """What the whole of `dataset` takes in memory, as it says."""
    declared = int(dataset.dtype.itemsize)
    for length in dataset.shape or ():  # Python integers: the product of a hostile shape must not wrap round
        declared *= int(length)
    return declared


def read_dataset(dataset: h5py.Dataset) -> NDArray[Any]:
    """The whole of a dataset that `check_dataset` passed, in the machine's own byte order."""
    array = np.asarray(dataset[()])
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def read_attributes(path: Path, node: h5py.Group | h5py.Dataset, only: Iterable[str] | None = None) -> dict[str, Any]:
    """The scalar attributes of `node` as Python values (text, int, float, bool); anything else is refused."""
    values: dict[str, Any] = {}
    problems = []
    for name in node.attrs if only is None else [name for name in only if name in node.attrs]:
        handle = node.attrs.get_id(name)
        is_text = handle.dtype.kind == "S" or h5py.check_string_dtype(handle.dtype) is not None
        if handle.shape != () or not (is_text or handle.dtype.kind in "fiub") or handle.dtype.itemsize > MAX_ATTRIBUTE:
            found = f"type {handle.dtype} and shape {handle.shape}"
            problems.append(f"{node.name}: attribute {name} of {found}, must be one number or text")
            continue
        value = node.attrs[name]
        value = value.item() if isinstance(value, np.generic) else value
        values[name] = value.decode("utf-8") if isinstance(value, bytes) else value
    if problems:
        raise _refused(path, problems)
    return values


def _refused(path: Path, problems: list[str]) -> InvalidNetworkError:
    return InvalidNetworkError(
        f"{path}: refused, it holds what a data file has no use for",
        problems,
        hint="ask whoever sent the file for a plain copy",
    )
