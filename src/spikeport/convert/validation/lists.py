"""Arrays as lists of JSON: rounded to what a figure can show, and null where there is no number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikeport.snn.measures import Scores

DIGITS = 4  # of the largest value: a figure of 1000 pixels cannot show more
_MOST_DECIMALS = 12


def rounded(values: ArrayLike, digits: int = DIGITS) -> Any:
    """`values` as (nested) lists, rounded to `digits` significant digits of the largest; what is not finite is None."""
    a = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(a)
    largest = float(np.abs(a[finite]).max()) if finite.any() else 0.0
    if largest > 0:
        decimals = digits - 1 - int(np.floor(np.log10(largest)))
        a = np.round(a, min(decimals, _MOST_DECIMALS)) + 0.0  # + 0.0: no -0.0
    return a.tolist() if finite.all() else np.where(finite, a.astype(object), np.array(None)).tolist()


def scores(found: Scores, digits: int = DIGITS) -> list[float | None]:
    """A number per unit, None where it has none."""
    return list(rounded(np.where(found.defined, found.values, np.nan), digits))
