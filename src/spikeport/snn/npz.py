"""Reading .npz files with distrust: no pickled objects, no member larger than what is stored, every CRC checked."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.hdf5 import MAX_EXPANSION
from spikeport.snn.reading import check_readable, parsing

_NPY: Any = np.lib.format  # NumPy has no types for it
_VERSIONS = ((1, 0), (2, 0), (3, 0))


def read_npz(path: Path, what: str) -> dict[str, NDArray[Any]]:
    """Every array of a .npz by name; `what` names the file that is wanted. Refused before anything is unpickled."""
    check_readable(path, what)
    with parsing(path, what), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = [member.filename.removesuffix(".npy") for member in members]
        problems = [f"{name}: stored {names.count(name)} times" for name in sorted(set(names)) if names.count(name) > 1]
        problems += [problem for member in members for problem in _check_member(archive, member)]
        if problems:
            raise InvalidNetworkError(
                f"{path}: refused unread", problems, hint="np.savez with plain arrays of numbers and text"
            )
        # archive.read checks the CRC of the whole member, which np.load does not always reach
        return {
            name: _NPY.read_array(io.BytesIO(archive.read(member)), allow_pickle=False)
            for name, member in zip(names, members, strict=True)
        }


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> list[str]:
    """Every reason not to read a member, from its headers alone."""
    name = member.filename
    if not name.endswith(".npy"):
        return [f"{name}: not an array (.npy)"]
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return [f"{name}: compression {member.compress_type}, must be none or deflate"]
    limit = MAX_EXPANSION * member.compress_size
    if member.file_size > limit:
        stored = f"but only {member.compress_size} are stored, which can hold at most {limit}"
        return [f"{name}: declares {member.file_size} bytes, {stored}"]
    with archive.open(member) as file:
        version = _NPY.read_magic(file)
        if version not in _VERSIONS:
            return [f"{name}: .npy version {version}, must be one of {_VERSIONS}"]
        # 2.0 and 3.0 differ in the text encoding of field names only, which plain arrays have none of
        read_header = _NPY.read_array_header_1_0 if version == (1, 0) else _NPY.read_array_header_2_0
        shape, _, dtype = read_header(file)
    if dtype.hasobject:
        return [f"{name}: pickled Python objects, which may run any program when read; must be plain numbers or text"]
    declared = int(dtype.itemsize)
    for length in shape:  # Python integers: the product of a hostile shape must not wrap round
        declared *= int(length)
    if declared > member.file_size:
        return [f"{name}: shape {shape} needs {declared} bytes, the file holds {member.file_size}"]
    return []
