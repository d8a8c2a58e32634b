"""Numbers without rounding: a quantity is a Fraction, or a whole number of its smallest unit.

A float stands for the shortest decimal that denotes it: 0.1 is one tenth, not 0.1000000000000000055. So what a user
writes is what is compared, and a value at a limit is at the limit.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction
from numbers import Integral

Number = int | float | Fraction | Decimal

NS_PER_US = 1_000
NS_PER_S = 1_000_000_000
AC_PER_NC = 1_000_000_000  # attocoulomb in a nanocoulomb; 1 nA during 1 ns is 1 aC
_WIRE = re.compile(r"-?\d{1,60}(/\d{1,60})?")
_DIGITS = 40  # a Decimal beyond 10^±40 is refused before it becomes an integer of that many digits


def exact(value: object) -> Fraction:
    """`value` without rounding; ValueError with the reason for what is no finite number (also for a bool)."""
    if type(value) is int:
        return Fraction(value)
    if isinstance(value, bool):
        raise ValueError("is a bool, must be a number")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"is {float.__repr__(value)}, must be finite")
        return Fraction(float.__repr__(value))
    if isinstance(value, Fraction):
        return value
    if isinstance(value, Decimal):
        if (
            not value.is_finite()
            or (value and abs(value.adjusted()) > _DIGITS)
            or len(value.as_tuple().digits) > _DIGITS
        ):
            raise ValueError("is a Decimal that is not finite or has too many digits")
        return Fraction(value)
    if isinstance(value, Integral):  # NumPy's integers; its bools are none
        return Fraction(int(value))
    raise ValueError(f"is {article(value)}, must be an int, a float, a Fraction or a Decimal")


def within(value: object, low: Number, high: Number, unit: str) -> Fraction:
    """`value` exactly, where low <= value <= high; ValueError otherwise."""
    number = exact(value)
    if not low <= number <= high:
        raise ValueError(f"is {shown(number)} {unit}, must be {shown(exact(low))} to {shown(exact(high))}")
    return number


def whole(value: object, factor: int, low: Number, high: Number, unit: str, small: str) -> int:
    """`value` in its smallest unit (`factor` of them in one `unit`), which it must be a whole number of."""
    number = within(value, low, high, unit) * factor
    if number.denominator != 1:
        raise ValueError(f"is {shown(number / factor)} {unit}, must be a whole number of {small}: it is not rounded")
    return number.numerator


def count(value: object, low: int, high: int) -> int:
    """`value` as a whole number of things; a float is refused."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"is {article(value)}, must be an int")
    number = int(value)
    if not low <= number <= high:
        raise ValueError(f"is {shown(Fraction(number))}, must be {low} to {high}")
    return number


def article(value: object) -> str:
    """What `value` is, without showing what may be long."""
    return f"a {type(value).__name__}"


def shown(number: Fraction) -> str:
    """The number in decimals: all of them where at most 12 follow the point, else 12 significant ones."""
    if abs(number.numerator) >= 10**30 or number.denominator >= 10**60:  # also what Python does not print
        return f"about 2^{number.numerator.bit_length() - number.denominator.bit_length()}"
    scaled = number * 10**12
    if scaled.denominator != 1:
        return f"{float(number):.12g}"
    digits = f"{abs(scaled.numerator):013d}"
    text = f"{digits[:-12]}.{digits[-12:]}".rstrip("0").rstrip(".")
    return f"-{text}" if number < 0 else text


def to_wire(number: Fraction) -> str:
    """The number as text between processes: 'p' or 'p/q'."""
    return str(number)


def from_wire(text: object) -> Fraction:
    """What `to_wire` wrote; ValueError otherwise."""
    if not isinstance(text, str) or not _WIRE.fullmatch(text) or text.endswith("/0"):
        raise ValueError("is no number as one process writes it for another ('p/q')")
    denominator = text.partition("/")[2]
    if denominator and int(denominator) == 0:
        raise ValueError("has a denominator of 0")
    return Fraction(text)
