"""MATLAB v5 files, as far as a network needs them: full real matrices and texts.

Our own reader, because scipy.io.loadmat (1.17) ends the whole process with a segmentation fault on some damaged files;
here every length is checked against the bytes that are there. A file is a header of 128 bytes, then elements: a tag of
8 bytes (type, number of bytes) and the data; a variable is an element of elements, often deflated as a whole.
Source: MathWorks, "MAT-File Format", chapter 1, Level 5.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.reading import parsing

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CHAR = 4
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_OTHERS = {1: "cell", 2: "struct", 3: "object", 5: "sparse", 16: "function", 17: "opaque"}
_COMPLEX, _LOGICAL = 0x08, 0x02
_PREVIEW = 4096  # bytes of a deflated variable that are enough for its flags, dimensions and name


class _DamagedError(ValueError):
    """A length that the file does not have."""


@dataclass(frozen=True)
class _Variable:
    """The head of a variable, and the bytes that follow it."""

    name: str
    kind: int
    flags: int
    shape: tuple[int, ...]
    body: memoryview


def read_v5(path: Path, wanted: Collection[str]) -> tuple[dict[str, NDArray[Any]], list[str], list[str]]:
    """(the variables of `wanted` that are there, the names of all variables, problems)."""
    found: dict[str, NDArray[Any]] = {}
    names: list[str] = []
    problems: list[str] = []
    with parsing(path, "MATLAB v5 file"):
        data = memoryview(path.read_bytes())
        order = "<" if bytes(data[126:128]) == b"IM" else ">"
        for variable in _variables(data, order, wanted):
            if not variable.name:  # what MATLAB keeps for function handles
                continue
            if variable.name in names:
                problems.append(f"{variable.name}: stored twice")
            names.append(variable.name)
            if variable.name in wanted:
                kind = "complex" if variable.flags & _COMPLEX else _OTHERS.get(variable.kind)
                if kind is not None:
                    problems.append(f"{variable.name}: type {kind}, must be a full matrix of real numbers, or text")
                    continue
                found[variable.name] = _value(variable, order)
    return found, names, problems


def _variables(data: memoryview, order: str, wanted: Collection[str]) -> Iterator[_Variable]:
    """Every variable; of a deflated one that is not wanted, the head alone is inflated."""
    at = _HEADER
    while at < len(data):
        kind, payload, at = _element(data, at, order, pad=False)
        if kind == _MATRIX:
            yield _head(payload, order)
        elif kind == _COMPRESSED:
            preview = memoryview(zlib.decompressobj().decompress(payload, _PREVIEW))
            if len(preview) < 8 or _word(preview, 0, order) != _MATRIX:
                raise _DamagedError("a deflated element that is no variable")
            variable = _head(preview[8 : 8 + _word(preview, 4, order)], order)
            yield _head(_inflate(payload, order)[8:], order) if variable.name in wanted else variable
        else:
            raise _DamagedError(f"an element of type {kind} between variables")


def _inflate(payload: memoryview, order: str) -> memoryview:
    """The whole of a deflated variable: no more than its own tag says, its checksum verified."""
    stream = zlib.decompressobj()
    tag = stream.decompress(payload, 8)
    size = _word(memoryview(tag), 4, order)
    rest = stream.decompress(stream.unconsumed_tail, size) if size else b""
    rest_and_checksum = stream.decompress(stream.unconsumed_tail, 1)
    if len(rest) != size or rest_and_checksum or not stream.eof:
        raise _DamagedError(f"a deflated variable of {size} bytes that ends elsewhere")
    return memoryview(tag + rest)


def _head(data: memoryview, order: str) -> _Variable:
    """Flags, dimensions and name: the first three elements of a variable."""
    _, flags, at = _element(data, 0, order)
    _, dims, at = _element(data, at, order)
    _, name, at = _element(data, at, order)
    word = _word(flags, 0, order)
    shape = tuple(int(length) for length in np.frombuffer(dims, dtype=f"{order}i4"))
    if min(shape, default=-1) < 0:
        raise _DamagedError(f"dimensions {shape}")
    return _Variable(bytes(name).decode("latin-1"), word & 0xFF, word >> 8 & 0xFF, shape, data[at:])


def _value(variable: _Variable, order: str) -> NDArray[Any]:
    """A matrix in MATLAB's own orientation and class, or the rows of a text."""
    if variable.kind not in (_CHAR, *_CLASSES):
        raise _DamagedError(f"{variable.name}: class {variable.kind}")
    kind, payload, _ = _element(variable.body, 0, order)
    if variable.kind == _CHAR:
        return _rows(variable, bytes(payload).decode(_encoding(kind, order)))
    if kind not in _NUMBERS:
        raise _DamagedError(f"{variable.name}: data of type {kind}")
    values = np.frombuffer(payload, dtype=f"{order}{_NUMBERS[kind]}")  # MATLAB stores whole doubles in fewer bytes
    if values.size != math.prod(variable.shape):
        raise _DamagedError(f"{variable.name}: {values.size} values for dimensions {variable.shape}")
    dtype = np.dtype(np.bool_ if variable.flags & _LOGICAL else _CLASSES[variable.kind])
    return values.astype(dtype).reshape(variable.shape, order="F")


def _rows(variable: _Variable, text: str) -> NDArray[np.str_]:
    n_rows = variable.shape[0]
    if n_rows > 1 and len(text) != math.prod(variable.shape):
        raise _DamagedError(f"{variable.name}: {len(text)} characters for dimensions {variable.shape}")
    return np.array([text[row::n_rows] for row in range(n_rows)] if text else [], dtype=np.str_)  # column by column


def _encoding(kind: int, order: str) -> str:
    if kind not in _TEXTS:
        raise _DamagedError(f"text of type {kind}")
    wide = _TEXTS[kind] in ("utf-16", "utf-32")
    return f"{_TEXTS[kind]}-{'le' if order == '<' else 'be'}" if wide else _TEXTS[kind]


def _element(data: memoryview, at: int, order: str, *, pad: bool = True) -> tuple[int, memoryview, int]:
    """(type, data, where the next one starts) of the element at `at`; parts of a variable are padded to 8 bytes."""
    first = _word(data, at, order)
    if first >> 16:  # a small element: its size, its type and up to 4 bytes of data within 8
        kind, size, start, end = first & 0xFFFF, first >> 16, at + 4, at + 8
        if size > 4:
            raise _DamagedError(f"a small element of {size} bytes")
    else:
        kind, size, start = first, _word(data, at + 4, order), at + 8
        end = start + size + (-size % 8 if pad else 0)
    if start + size > len(data):
        raise _DamagedError(f"an element that ends {start + size - len(data)} bytes after its file or variable")
    return kind, data[start : start + size], end


def _word(data: memoryview, at: int, order: str) -> int:
    if at + 4 > len(data):
        raise _DamagedError("it ends inside an element")
    return int.from_bytes(data[at : at + 4], "little" if order == "<" else "big")
