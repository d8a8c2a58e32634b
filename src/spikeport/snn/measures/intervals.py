"""Confidence intervals of proportions."""

from __future__ import annotations

import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a proportion p = successes / trials.

        (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    z: the normal quantile of (1 + confidence) / 2; n: trials, at least 1.  Source: Wilson, JASA 1927.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"wilson: {successes} of {trials}, must be 0 <= successes <= trials and trials >= 1")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, n = successes / trials, trials
    middle = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = (middle - half) / scale, (middle + half) / scale
    return (0.0 if successes == 0 else low), (1.0 if successes == trials else high)


def mcnemar(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> tuple[int, int, float]:
    """Do two classifiers differ on the same trials? (only a right, only b right, two-sided p).

    The exact test: of the trials on which they disagree, half would go either way.  Source: McNemar, Psychometrika 12
    (1947); exact binomial form.  No disagreement: p = 1.
    """
    if a.shape != b.shape:
        raise ValueError(f"mcnemar: {a.shape} and {b.shape} trials, must be the same trials")
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    n, k = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(n, i) for i in range(k + 1))  # of 2^n, in whole numbers: no rounding for any n
    return only_a, only_b, min(1.0, float(Fraction(2 * tail, 2**n)))


def paired_difference(
    a: NDArray[np.bool_], b: NDArray[np.bool_], confidence: float = 0.95
) -> tuple[float, tuple[float, float]]:
    """(p_b - p_a, its interval) of two proportions of right trials on the same trials.

        low, high = d -+ sqrt(x^2 - 2 phi x y + y^2)

    d: the difference; x, y: the distances from each proportion to the end of its Wilson interval on that side; phi: the
    correlation of the two, its numerator brought n/2 nearer to 0 where it is positive.
    Source: Newcombe, Statistics in Medicine 17 (1998) 2635, method 10.
    """
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"paired_difference: {a.shape} and {b.shape} trials, must be the same trials, 1 or more")
    n = a.size
    both, only_a, only_b = int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum())
    neither = n - both - only_a - only_b
    p_a, p_b = (both + only_a) / n, (both + only_b) / n
    (low_a, high_a), (low_b, high_b) = wilson(both + only_a, n, confidence), wilson(both + only_b, n, confidence)
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    product = both * neither - only_a * only_b
    numerator = max(product - n / 2, 0.0) if product > 0 else float(product)
    phi = numerator / math.sqrt(margins) if margins else 0.0

    def reach(x: float, y: float) -> float:
        return math.sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0))

    d = p_b - p_a
    return d, (d - reach(p_b - low_b, high_a - p_a), d + reach(high_b - p_b, p_a - low_a))
