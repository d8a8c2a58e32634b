"""What was given at each site, and whether one more pulse stays within the limits that depend on time and history.

    rate        pulses with onset in (t - W, t]  <= floor(rate W)  for every t; it peaks at an onset
    window      sum of Q1 + Q2 in (t - W, t]     <= limit
    session     sum of Q1 + Q2 since the start   <= limit
    net charge  |sum of (Q1 - Q2) with its sign| <= limit               after each pulse; it is not taken to leak away
                a pulse that was cut counts as what any instant of the cut could leave: the sum is between two bounds
    blanking    onset - end of the last stimulus >= blanking            at the site, and over all sites

All of it in integers of ns and aC.  A window is half open: two pulses exactly W apart are not in one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from spikeport.loop.guard import charge
from spikeport.loop.guard.commands import Pulse
from spikeport.loop.guard.exact import AC_PER_NC, NS_PER_S, shown
from spikeport.loop.guard.limits import SiteLimits

_COMPACT = 4096  # old onsets are forgotten in blocks of this many


@dataclass(frozen=True, slots=True)
class Violation:
    """One reason of a refusal. limit: its name in Limits (or "state", "site", "late"...).  value, allowed: numbers in
    `unit`, exactly where they are Fractions, or text."""

    limit: str
    site: str
    value: Fraction | float | str
    allowed: Fraction | float | str
    unit: str = ""

    @property
    def text(self) -> str:
        """As one line: limit, where, value, allowed."""
        unit = f" {self.unit}" if self.unit else ""
        where = f" at {self.site!r}" if self.site else ""
        return f"{self.limit}{where}: {_text(self.value)}{unit}, limit {_text(self.allowed)}{unit}"


def _text(value: Fraction | float | str) -> str:
    if isinstance(value, Fraction):
        return shown(value)
    return f"{value:.12g}" if isinstance(value, float) else str(value)


class SiteLedger:
    """The pulses of one site, in order of time: onsets, and the charge before each."""

    def __init__(self) -> None:
        self.onsets: list[int] = []
        self.before_aC: list[int] = []
        self.given_aC = 0
        self.net_low_aC = self.net_high_aC = 0  # what the site has at worst to either side; the same without cuts
        self.last_end_ns: int | None = None  # of the last pulse
        self.last_stimulus = -1
        self.cuts = 0
        self._whole: Pulse | None = None  # the last one, until it is cut

    def add(self, pulse: Pulse, onset_ns: int, stimulus: int) -> None:
        """One more pulse."""
        self.onsets.append(onset_ns)
        self.before_aC.append(self.given_aC)
        self.given_aC += pulse.charge_aC + pulse.second_charge_aC
        self.net_low_aC += pulse.net_aC
        self.net_high_aC += pulse.net_aC
        self.last_end_ns = onset_ns + pulse.duration_ns
        self.last_stimulus, self._whole = stimulus, pulse

    def begun(self, by_ns: int) -> None:
        """The last pulse began at `by_ns` at the latest: what comes after it is judged as if it began then."""
        if self._whole is not None:
            self.onsets[-1] = max(by_ns, self.onsets[-1])
            self.last_end_ns = self.onsets[-1] + self._whole.duration_ns

    def cut(self, at_ns: int) -> tuple[int, int] | None:
        """The current ends now. (least, most) that a pulse on its way may have left, by any instant; None: no pulse.

        From its beginning the charge goes from 0 to the first phase's, stays, and goes to what the whole pulse leaves.
        """
        pulse, end = self._whole, self.last_end_ns
        if pulse is None or end is None or end <= at_ns:
            return None
        corners = (0, pulse.first_aC, pulse.net_aC)
        low, high = min(corners), max(corners)
        self.net_low_aC += low - pulse.net_aC
        self.net_high_aC += high - pulse.net_aC
        self.cuts += 1
        self._whole = None  # blanking goes on from when it would have ended
        return low, high

    def ends_after(self, at_ns: int) -> int:
        """When the pulse that is given at `at_ns` ends; `at_ns` where there is none."""
        return at_ns if self._whole is None or self.last_end_ns is None else max(at_ns, self.last_end_ns)

    @property
    def net_aC(self) -> int:
        """The worse of the two bounds, with its sign."""
        return max(self.net_low_aC, self.net_high_aC, key=abs)

    def state(self) -> tuple[Any, ...]:
        """What `rollback` goes back to; the first is the number of pulses."""
        net = (self.net_low_aC, self.net_high_aC)
        return len(self.onsets), self.given_aC, net, self.last_end_ns, self.last_stimulus, self._whole

    def rollback(self, state: tuple[Any, ...]) -> None:
        """Forget the pulses added since."""
        n, self.given_aC, net, self.last_end_ns, self.last_stimulus, self._whole = state
        self.net_low_aC, self.net_high_aC = net
        del self.onsets[n:], self.before_aC[n:]

    def forget(self, before_ns: int) -> None:
        """Give back the memory of onsets that no window reaches any more."""
        n = bisect_right(self.onsets, before_ns)
        if n >= _COMPACT:
            del self.onsets[:n], self.before_aC[:n]

    def count_since(self, after_ns: int) -> int:
        """Pulses with a later onset."""
        return len(self.onsets) - bisect_right(self.onsets, after_ns)

    def charge_since(self, after_ns: int) -> int:
        """Charge of the pulses with a later onset."""
        first = bisect_right(self.onsets, after_ns)
        return self.given_aC - (self.before_aC[first] if first < len(self.onsets) else self.given_aC)


@dataclass(slots=True)  # not frozen: one is made for every pulse of a train, and that is four times slower
class Asked:
    """One pulse that is to be judged, at its onset."""

    pulse: Pulse
    onset_ns: int
    stimulus: int
    n_pulses: int  # of its train
    limits: SiteLimits
    ledger: SiteLedger


Check = Callable[[Asked], "Violation | None"]


def _nC(aC: int) -> Fraction:
    return Fraction(aC, AC_PER_NC)


def amplitude(asked: Asked) -> Violation | None:
    """max(I1, I2) <= limit."""
    value, limit = max(asked.pulse.amplitude_nA, asked.pulse.second_amplitude_nA), asked.limits.amplitude_nA
    if value <= limit:
        return None
    return Violation("amplitude_uA", asked.pulse.site, Fraction(value, 1000), Fraction(limit, 1000), "uA")


def _phase_aC(pulse: Pulse) -> int:
    return max(pulse.charge_aC, pulse.second_charge_aC)


def phase_charge(asked: Asked) -> Violation | None:
    """max(Q1, Q2) <= limit."""
    value, limit = _phase_aC(asked.pulse), asked.limits.phase_aC
    return None if value <= limit else Violation("phase_charge_nC", asked.pulse.site, _nC(value), _nC(limit), "nC")


def charge_density(asked: Asked) -> Violation | None:
    """max(Q1, Q2) / area <= limit."""
    value, limit, area = _phase_aC(asked.pulse), asked.limits.density_aC, asked.limits.area_um2
    if value <= limit:
        return None
    found = charge.density_uC_per_cm2(value, area)
    allowed = charge.density_uC_per_cm2(limit, area)
    return Violation("charge_density_uC_per_cm2", asked.pulse.site, found, allowed, "uC/cm^2")


def shannon(asked: Asked) -> Violation | None:
    """log10 D + log10 Q <= k, as max(Q1, Q2) <= the largest charge with it."""
    value, limit = _phase_aC(asked.pulse), asked.limits.shannon_aC
    if value <= limit:
        return None
    found = charge.shannon_k(value, asked.limits.area_um2)
    return Violation("shannon_k", asked.pulse.site, found, asked.limits.shannon_k)


def imbalance(asked: Asked) -> Violation | None:
    """|Q1 - Q2| <= fraction min(Q1, Q2)."""
    first, second, limit = asked.pulse.charge_aC, asked.pulse.second_charge_aC, asked.limits.imbalance
    if abs(first - second) * limit.denominator <= limit.numerator * min(first, second):
        return None
    return Violation("imbalance_fraction", asked.pulse.site, charge.imbalance(first, second), limit)


def train_pulses(asked: Asked) -> Violation | None:
    """n_pulses <= limit."""
    value, limit = asked.n_pulses, asked.limits.train_pulses
    return None if value <= limit else Violation("train_pulses", asked.pulse.site, Fraction(value), Fraction(limit))


def net_charge(asked: Asked) -> Violation | None:
    """|net| <= limit, this pulse included; of pulses that were cut, the worst that they may have left."""
    added, limit = asked.pulse.net_aC, asked.limits.net_aC
    value = max(abs(asked.ledger.net_low_aC + added), abs(asked.ledger.net_high_aC + added))
    return None if value <= limit else Violation("net_charge_nC", asked.pulse.site, _nC(value), _nC(limit), "nC")


def rate(asked: Asked) -> Violation | None:
    """Onsets in (t - W, t], this one included, <= floor(rate W)."""
    window, limit = asked.limits.rate_window_ns, asked.limits.rate_count
    value = asked.ledger.count_since(asked.onset_ns - window) + 1
    if value <= limit:
        return None
    per_s = Fraction(NS_PER_S, window)
    return Violation("rate_hz", asked.pulse.site, value * per_s, limit * per_s, "Hz")


def window_charge(asked: Asked) -> Violation | None:
    """Sum of Q1 + Q2 in (t - W, t], this pulse included, <= limit."""
    added = asked.pulse.charge_aC + asked.pulse.second_charge_aC
    value = asked.ledger.charge_since(asked.onset_ns - asked.limits.charge_window_ns) + added
    limit = asked.limits.window_aC
    return None if value <= limit else Violation("window_charge_nC", asked.pulse.site, _nC(value), _nC(limit), "nC")


def session_charge(asked: Asked) -> Violation | None:
    """Sum of Q1 + Q2 of the session, this pulse included, <= limit."""
    value = asked.ledger.given_aC + asked.pulse.charge_aC + asked.pulse.second_charge_aC
    limit = asked.limits.session_aC
    return None if value <= limit else Violation("session_charge_nC", asked.pulse.site, _nC(value), _nC(limit), "nC")


def blanking(asked: Asked) -> Violation | None:
    """Onset - end of the site's last stimulus >= limit; within a stimulus pulses do not overlap."""
    end = asked.ledger.last_end_ns
    if end is None:
        return None
    least = 0 if asked.ledger.last_stimulus == asked.stimulus else asked.limits.blanking_ns
    silent = asked.onset_ns - end
    if silent >= least:
        return None
    return Violation("blanking_us", asked.pulse.site, Fraction(silent, 1000), Fraction(least, 1000), "us")


CHECKS: Mapping[str, Check] = {  # of one pulse; those over all sites are the guard's
    "amplitude_uA": amplitude,
    "phase_charge_nC": phase_charge,
    "charge_density_uC_per_cm2": charge_density,
    "shannon_k": shannon,
    "imbalance_fraction": imbalance,
    "train_pulses": train_pulses,
    "net_charge_nC": net_charge,
    "rate_hz": rate,
    "window_charge_nC": window_charge,
    "session_charge_nC": session_charge,
    "blanking_us": blanking,
}


def judge(asked: Asked, names: Iterable[str] = CHECKS) -> list[Violation]:
    """Every limit that this pulse would break."""
    return [found for name in names if (found := CHECKS[name](asked)) is not None]
