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
