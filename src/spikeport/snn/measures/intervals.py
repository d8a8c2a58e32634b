"""Confidence intervals of proportions."""

from __future__ import annotations

import math
from statistics import NormalDist


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
