"""What a file is, by its first bytes: a name proves nothing."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from spikeport.snn.hdf5 import is_hdf5

HDF5 = "HDF5"
MATLAB_V5 = "MATLAB v5"
NPZ = "NumPy .npz"
SAFETENSORS = "safetensors"
PICKLES = ("a pickle", "a PyTorch archive (pickled)")


def content_of(path: Path) -> str:
    """The format of a file's content: one of the names above, or words for something else."""
    with path.open("rb") as file:
        head = file.read(1024)
    if is_hdf5(path):
        return HDF5
    if head[124:128] in (b"\x00\x01IM", b"\x01\x00MI"):  # version 0x0100 and the byte order mark, in either byte order
        return MATLAB_V5
    if head[:4] == b"PK\x03\x04":
        return _kind_of_zip(path)
    if head[:6] == b"\x93NUMPY":
        return "a single NumPy array (.npy)"
    if len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5:  # PROTO opcode, protocols 2 to 5
        return PICKLES[0]
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") < 1 << 32:  # length of the JSON header, then JSON
        return SAFETENSORS
    if head and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return "plain text"
    return "of an unknown format"


def provenance_of(path: Path, form: str, **more: Any) -> dict[str, Any]:
    """Where a network's numbers come from: file name, sha256 of its bytes, format, and what the format adds."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": path.name, "sha256": digest, "format": form, **more}


def missing(required: Iterable[str], found: Collection[str]) -> list[str]:
    """Which of `required` a file lacks, and what it has instead; no lines if it lacks none."""
    lacks = [name for name in required if name not in found]
    return [f"missing: {', '.join(lacks)}", f"it has: {', '.join(sorted(found)) or 'nothing'}"] if lacks else []


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return NPZ  # its loader says what is damaged
    if any(name.endswith("data.pkl") for name in names):
        return PICKLES[1]
    return NPZ if any(name.endswith(".npy") for name in names) else "a zip archive without arrays"
