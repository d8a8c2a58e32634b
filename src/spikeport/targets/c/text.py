"""C text: numbers that come back to the last bit, arrays, and names that cannot become code."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.errors import RefusedError

REALS = {"float32": "float", "float64": "double"}
WIDTH = 118


def name_in_comment(name: str) -> str:
    """A user's name as a comment may hold it: letters, digits and _ . - ~ and spaces; all else as %XX.

    So no name can end the comment, continue a line with a backslash or a trigraph, or be anything else than text.
    """
    return quote(name, safe=" ")


def real(value: Any, dtype: str) -> str:
    """A literal of exactly this value: hexadecimal, C99 6.4.4.2."""
    number = float(value)
    if not np.isfinite(number):
        raise RefusedError(
            f"c: a number of the network is beyond {dtype}",
            [f"{number} after rounding to {dtype}, largest {np.finfo(dtype).max:g}"],
            hint="--dtype float64" if dtype == "float32" else "spikeport inspect FILE",
        )
    suffix = "f" if dtype == "float32" else ""
    if number == 0:
        return f"0.0{suffix}"
    mantissa, _, exponent = number.hex().partition("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{exponent}{suffix}"


def integer_type(largest: int) -> str:
    """The smallest unsigned type that holds 0 .. largest."""
    return next(f"uint{bits}_t" for bits in (8, 16, 32, 64) if largest < 1 << bits)


def signed_type(low: int, high: int) -> str:
    """The smallest signed type that holds low .. high."""
    return next(f"int{bits}_t" for bits in (8, 16, 32, 64) if -(1 << bits - 1) <= low and high < 1 << bits - 1)


def bytes_of(ctype: str) -> int:
    """Its size; snn_real is told by its C type."""
    sizes = {"float": 4, "double": 8}
    return sizes[ctype] if ctype in sizes else int("".join(c for c in ctype if c.isdigit())) // 8


def array(ctype: str, name: str, literals: list[str]) -> str:
    """static const CTYPE NAME[n] = {...}, in lines of WIDTH."""
    lines, line = [f"static const {ctype} {name}[{len(literals)}] = {{"], "   "
    for literal in literals:
        if len(line) + len(literal) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {literal},"
    return "\n".join([*lines, line, "};"])


def integers(values: NDArray[Any]) -> list[str]:
    """Literals of whole numbers; those beyond 16 bits say their type."""
    return [f"{v}u" if v > 32767 else str(v) for v in values.ravel().tolist()]
