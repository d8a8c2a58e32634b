"""What a file grows from: constant tables, fields of the state, and loops whose operations are counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.targets.c import text
from spikeport.targets.c.sizes import Member, Sizes
from spikeport.targets.c.text import REALS, bytes_of

INDENT = "    "


class Writer:
    """dtype: of the reals, "float32" or "float64"."""

    def __init__(self, dtype: str) -> None:
        self.dtype, self.ctype = dtype, REALS[dtype]
        self.sizes = Sizes()
        self.tables: list[str] = []

    def cast(self, values: Any) -> Any:
        """Rounded to the file's precision, once; what it cannot hold becomes infinite, and text.real refuses that."""
        with np.errstate(over="ignore"):
            return np.asarray(values, dtype=np.float64).astype(self.dtype)

    def reals(self, name: str, values: NDArray[Any]) -> None:
        """A constant table of reals, flat, cast once."""
        cast = self.cast(values).ravel()
        self.table("snn_real", name, [text.real(v, self.dtype) for v in cast], bytes_of(self.ctype))

    def integers(self, ctype: str, name: str, values: NDArray[Any]) -> None:
        self.table(ctype, name, text.integers(values), bytes_of(ctype))

    def signed(self, name: str, values: NDArray[Any], ctype: str = "") -> None:
        """A table of whole numbers of both signs."""
        kind = ctype or text.signed_type(int(values.min()), int(values.max()))
        self.table(kind, name, [str(int(v)) for v in values.ravel()], bytes_of(kind))

    def table(self, ctype: str, name: str, literals: list[str], each: int) -> None:
        self.tables.append(text.array(ctype, name, literals))
        self.sizes.flash_bytes += each * len(literals)

    def vector(self, name: str, values: NDArray[Any]) -> str:
        """What a loop over units calls `values` (n,): one literal where all are equal, else a table's element."""
        cast = self.cast(values)
        if (cast == cast[0]).all():
            return text.real(cast[0], self.dtype)
        self.reals(name, cast)
        return f"{name}[i]"

    def whole_vector(self, name: str, values: NDArray[Any]) -> str:
        """The same of whole numbers, 0 or more."""
        if (values == values[0]).all():
            return f"{int(values[0])}u"
        self.integers(text.integer_type(int(values.max())), name, values)
        return f"{name}[i]"

    def state(self, name: str, *shape: int, ctype: str = "", what: str = "") -> str:
        """A field of the state, real where no type is said; what C calls it."""
        self.sizes.members.append(Member(
            ctype=ctype or self.ctype, name=name, shape=shape, real=not ctype, what=what
        ))  # fmt: skip
        return f"s->{name}"

    def loop(self, n: int, statements: Sequence[str], *, times: int | None = None) -> list[str]:
        """for (i < n) {...}; its operations are counted n times, or `times`."""
        self.sizes.operations.add(statements, n if times is None else times)
        inner = [INDENT + s for s in statements]
        return [f"for (i = 0; i < {n}u; i++) {{", *inner, "}"]


def literal_zero(values: NDArray[Any]) -> bool:
    """Is every one of these 0?"""
    return not np.asarray(values).any()


def floored(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Thresholds in dtype: v > t for a float32 v and a float64 t is v > (t rounded down to float32)."""
    exact = np.asarray(values, dtype=np.float64)
    with np.errstate(over="ignore"):
        cast = exact.astype(dtype)
    up = cast.astype(np.float64) > exact
    cast[up] = np.nextafter(cast[up], cast.dtype.type(-np.inf))
    return cast


def block(lines: Sequence[str], depth: int = 1) -> str:
    """Lines of a function's body."""
    return "\n".join(INDENT * depth + line if line else "" for line in lines)
