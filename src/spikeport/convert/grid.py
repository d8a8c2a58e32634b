"""Grids of 1/lambda, and which candidate wins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spikeport.snn.errors import SpikeportError

PUBLISHED_GRID = "20:75:5"  # Kim, Li & Sejnowski, PNAS 2019, code: 1/lambda from 20 to 75 in steps of 5
MAX_CANDIDATES = 1000  # more is a typing error in a step, and would take hours


def parse_grid(text: str | Sequence[float]) -> tuple[float, ...]:
    """Values of 1/lambda: "START:STOP:STEP" with both ends in, "A,B,C", or the numbers themselves; sorted, unique."""
    if not isinstance(text, str):
        values = [float(v) for v in text]
    else:
        try:
            numbers = [float(part) for part in text.replace(":", ",").split(",")] if text.strip() else []
        except ValueError:
            raise _bad(text, "not numbers") from None
        if ":" in text:
            if text.count(":") != 2 or "," in text:
                raise _bad(text, "a range has three numbers")
            start, stop, step = numbers
            if not (np.isfinite(numbers).all() and step > 0 and stop >= start):
                raise _bad(text, "empty: STEP must be positive and STOP not below START")
            count = int(np.floor((stop - start) / step * (1 + 1e-12) + 1e-9)) + 1
            if count > MAX_CANDIDATES:
                raise _bad(text, f"{count} values, at most {MAX_CANDIDATES}")
            values = [start + i * step for i in range(count)]
        else:
            values = numbers
    if not values:
        raise _bad(text, "empty")
    wrong = [v for v in values if not (np.isfinite(v) and v > 0)]
    if wrong:
        raise _bad(text, f"1/lambda {wrong[0]:g}, every value must be positive")
    return tuple(sorted(set(values)))


def _bad(text: object, why: str) -> SpikeportError:
    return SpikeportError(
        f"grid '{text}': {why}", hint=f"--grid {PUBLISHED_GRID}   is START:STOP:STEP over 1/lambda, both ends in"
    )


def bracket(low: float, high: float, n: int = 8) -> tuple[float, ...]:
    """n values of 1/lambda from low to high, evenly in ratio, both ends in."""
    if not (np.isfinite([low, high]).all() and 0 < low < high):
        raise SpikeportError(f"bracket {low:g}:{high:g}: must be 0 < LOW < HIGH", hint="--bracket 10:200")
    return tuple(float(v) for v in np.geomspace(low, high, n))


def middle_of_plateau(scores: Sequence[float]) -> int:
    """The index of the best score; of several, the middle of the longest run of neighbours (of two, the lower)."""
    best = max(scores)
    runs: list[list[int]] = []
    for i, score in enumerate(scores):
        if score == best:
            if runs and runs[-1][-1] == i - 1:
                runs[-1].append(i)
            else:
                runs.append([i])
    longest = max(runs, key=len)
    return longest[(len(longest) - 1) // 2]
