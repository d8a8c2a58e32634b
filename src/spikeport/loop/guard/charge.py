"""The largest charge of one phase that each limit allows, as an integer of attocoulomb.

All of them grow with the charge Q of a phase, so each limit is one integer per site, found once and exactly:

    charge per phase   Q <= Q_limit
    charge density     D = Q / A <= D_limit
    Shannon            log10 D + log10 Q <= k,  D in uC/cm^2 per phase and Q in uC per phase
                       (R.V. Shannon, "A model of safe levels for electrical stimulation", IEEE Trans. Biomed. Eng.
                       39(4):424-426, 1992, whose data are of cat cortex at 50 pulses a second; microelectrodes do
                       not follow it: S.F. Cogan et al., J. Neural Eng. 13(2):021001, 2016)

Q counts one phase, the larger of the two.  A: the electrode's geometric area.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

from spikeport.loop.guard.exact import AC_PER_NC

UC_PER_AC = Fraction(1, 10**12)
CM2_PER_UM2 = Fraction(1, 10**8)
K_DECIMALS = 3  # of Shannon's k: the power that is compared has 10^3 as its exponent at most


def density_uC_per_cm2(charge_aC: int, area_um2: Fraction) -> Fraction:
    """D = Q / A."""
    return charge_aC * UC_PER_AC / (area_um2 * CM2_PER_UM2)


def shannon_k(charge_aC: int, area_um2: Fraction) -> float:
    """k = log10(D Q), to show; what is compared is exact."""
    product = density_uC_per_cm2(charge_aC, area_um2) * charge_aC * UC_PER_AC
    return math.log10(product.numerator) - math.log10(product.denominator)


def within_shannon(charge_aC: int, area_um2: Fraction, k: Fraction) -> bool:
    """Whether D Q <= 10^k, without a logarithm: with k = p / q, (D Q)^q <= 10^p, in integers."""
    product = density_uC_per_cm2(charge_aC, area_um2) * charge_aC * UC_PER_AC
    p, q = k.numerator, k.denominator
    left = product.numerator**q * 10 ** max(-p, 0)
    return bool(left <= product.denominator**q * 10 ** max(p, 0))


def largest_by_charge(limit_nC: Fraction) -> int:
    """floor of the limit in aC."""
    return math.floor(limit_nC * AC_PER_NC)


def largest_by_density(limit_uC_per_cm2: Fraction, area_um2: Fraction) -> int:
    """floor(D_limit A) in aC."""
    return math.floor(limit_uC_per_cm2 * area_um2 * CM2_PER_UM2 / UC_PER_AC)


@lru_cache(maxsize=4096)
def largest_by_shannon(k: Fraction, area_um2: Fraction) -> int:
    """The largest whole charge with D Q <= 10^k: found by halving, because D Q grows with Q.

    It begins around Q = sqrt(10^k A) in floats, and widens until the ends are on both sides: only the exact
    comparison decides.
    """
    about = math.sqrt(float(10**16 * area_um2)) * 10.0 ** (float(k) / 2)
    width = 1
    low = high = max(int(about), 1)
    while within_shannon(high, area_um2, k):
        low, high, width = high, high + width, 4 * width
    while low and not within_shannon(low, area_um2, k):
        low, high, width = max(low - width, 0), low, 4 * width
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if within_shannon(middle, area_um2, k) else (low, middle)
    return low


def imbalance(first_aC: int, second_aC: int) -> Fraction:
    """|Q1 - Q2| / min(Q1, Q2): over the smaller phase, the strictest reading."""
    return Fraction(abs(first_aC - second_aC), min(first_aC, second_aC))
