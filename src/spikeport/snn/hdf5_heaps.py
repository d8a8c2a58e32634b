"""The heaps in which HDF5 keeps texts of variable length, checked before the library reads them.

    collection   "GCOL"  version (1)  reserved (3)  size of all of it (L), then its objects one after another
    object       index (2)  references (2)  reserved (4)  size of its data (L), then these
    object 0     the free space at the end; its size counts its own header

Headers and data are padded to multiples of 8 bytes. L: the file's "size of lengths". One damaged byte in such a size,
and the library (2.0.0, of h5py 3.16) reads on and on in a loop that no signal of Python's ends.
Source: HDF5 File Format Specification Version 3.0, III.E, "Global Heap".
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

_HEAD = b"GCOL\x01"
_RESERVED = 3  # bytes behind it, which the library skips
_SIZE = len(_HEAD) + _RESERVED  # where a collection's size stands
_OBJECT = 8  # bytes of an object's header before its size


def heap_problems(path: Path, length: int) -> list[str]:
    """Every collection of `path` whose sizes cannot be, a line each; length: bytes of a length in this file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        return [
            f"heap of texts at byte {at}: {said}" for at in _collections(held) if (said := _wrong(held, at, length))
        ]


def _collections(held: mmap.mmap) -> Iterator[int]:
    at = held.find(_HEAD)
    while at >= 0:
        yield at
        at = held.find(_HEAD, at + 1)


def _wrong(held: mmap.mmap, start: int, length: int) -> str | None:
    head, own = _padded(_SIZE + length), _padded(_OBJECT + length)
    size = _number(held, start + _SIZE, length)
    if not head <= size <= len(held) - start:
        return f"of {size} bytes, the file has {len(held) - start} from there on"
    at, end = start + head, start + size
    while end - at >= own:
        index, inside = _number(held, at, 2), _number(held, at + _OBJECT, length)
        taken = inside if index == 0 else own + _padded(inside)
        if not own <= taken <= end - at:
            return f"object {index} at byte {at} of {inside} bytes, {end - at} are left"
        at += taken
    return None


def _padded(size: int) -> int:
    return size + -size % 8


def _number(held: mmap.mmap, at: int, length: int) -> int:
    return int.from_bytes(held[at : at + length], "little")
