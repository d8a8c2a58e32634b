"""A judge of what was given, which shares nothing with the guard: brute force over the whole log, in Fractions.

Takes the log's plain numbers (nA, ns) and the numbers that the person gave, never the guard's integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction as F
from functools import cache
from itertools import pairwise
from typing import Any


@cache
def phases(nA: tuple[int, int], ns: tuple[int, int, int]) -> tuple[F, F]:
    """The charge of each phase in uC: A s 10^6."""
    return (F(nA[0], 10**9) * F(ns[0], 10**9) * 10**6, F(nA[1], 10**9) * F(ns[2], 10**9) * 10**6)


@dataclass(frozen=True)
class Given:
    """One pulse of the log."""

    at_ns: int
    stimulus: int
    site: str
    polarity: str
    nA: tuple[int, int]
    ns: tuple[int, int, int]
    late_ns: int = 0  # it began at_ns at the earliest, and this later at the latest
    cut_ns: int | None = None  # when the device was silenced within it
    by_trip: bool = False  # by that, which lets no pulse end

    @property
    def by_ns(self) -> int:
        return self.at_ns + self.late_ns

    @property
    def end_ns(self) -> int:
        return self.by_ns + sum(self.ns)

    @property
    def phases_uC(self) -> tuple[F, F]:
        return phases(self.nA, self.ns)

    def left_uC(self, ns: int) -> tuple[F, F]:
        """What each phase has given `ns` after the onset."""
        first, pause, second = self.ns
        return tuple(  # type: ignore[return-value]
            F(size, 10**9) * F(min(max(ns - begin, 0), width), 10**9) * 10**6
            for size, begin, width in zip(self.nA, (0, first + pause), (first, second), strict=True)
        )

    def net_uC(self, ns: int) -> F:
        """With its sign: the cathodic phase takes, the anodic one gives."""
        first, second = self.left_uC(ns)
        return second - first if self.polarity == "cathodic first" else first - second


def read(records: list[dict[str, Any]]) -> list[Given]:
    """The pulses of a guard's record, each with the silence that fell into it.

    "begun" is a line of the tests' own devices: when the pulses of the last line had begun.
    """
    found: list[Given] = []
    tripped = False
    for r in records:
        if r["kind"] == "pulse":
            found += [
                Given(r["at_ns"], r["stimulus"], p["site"], p["polarity"], tuple(p["nA"]), tuple(p["ns"]))
                for p in r["pulses"]
            ]
        elif r["kind"] == "not given":
            last = found[-1].at_ns
            assert found[-1].stimulus == r["stimulus"]
            found = [g for g in found if (g.stimulus, g.at_ns) != (r["stimulus"], last)]
        elif r["kind"] == "begun":
            found[-r["n"] :] = [replace(g, late_ns=r["at_ns"] - g.at_ns) for g in found[-r["n"] :]]
        elif r["kind"] == "state":
            tripped = r["after"] == "tripped"
        elif r["kind"] == "silence":
            for index in range(len(found) - 1, -1, -1):
                if found[index].at_ns <= r["at_ns"] < found[index].end_ns and found[index].cut_ns is None:
                    found[index] = replace(found[index], cut_ns=r["at_ns"], by_trip=tripped)
    return found


def above_power_of_ten(x: F, k: F) -> bool:
    """x > 10^k, by logarithms where they decide, by integer powers where they are too close to call."""
    about = math.log10(x) - float(k)
    if abs(about) > 1e-9:
        return about > 0
    return x**k.denominator > F(10) ** k.numerator


def broken(log: list[Given], limits: Mapping[str, Any]) -> set[str]:
    """The names of all limits that the log breaks."""
    return Judge(limits).broken(log)


class Judge:
    """Of one set of limits, as the person gave them: the decimals that are written, not the float."""

    def __init__(self, limits: Mapping[str, Any]) -> None:
        self.sites = tuple(limits["area_um2"])
        self.all = {name: F(str(v)) for name, v in limits.items() if isinstance(v, int | float | F)}
        self.by_site = {
            site: {name: F(str(v[site])) for name, v in limits.items() if isinstance(v, Mapping)} for site in self.sites
        }
        self.of_pulse = cache(self._of_pulse)

    def limit(self, name: str, site: str) -> F:
        return self.by_site[site].get(name, self.all.get(name, F(0)))

    def broken(self, log: list[Given]) -> set[str]:
        """The names of all limits that the log breaks."""
        found: set[str] = set()
        for site in {g.site for g in log}:
            mine = [g for g in log if g.site == site]
            if site not in self.sites:
                found.add("site")
                continue
            for g in mine:
                found |= self.of_pulse(site, g.nA, g.ns)
            found |= self._windows(mine, site) | self._stimuli(mine, site)
        return found | self._over_sites(log)

    def _of_pulse(self, site: str, nA: tuple[int, int], ns: tuple[int, int, int]) -> set[str]:
        first, second = phases(nA, ns)
        q = max(first, second)
        density = q / (self.limit("area_um2", site) / 10**8)
        checks = {
            "amplitude_uA": F(max(nA), 1000) > self.limit("amplitude_uA", site),
            "phase_charge_nC": q * 1000 > self.limit("phase_charge_nC", site),
            "charge_density_uC_per_cm2": density > self.limit("charge_density_uC_per_cm2", site),
            "shannon_k": above_power_of_ten(density * q, self.limit("shannon_k", site)),
            "imbalance_fraction": abs(first - second) > self.limit("imbalance_fraction", site) * min(first, second),
        }
        return {name for name, above in checks.items() if above}

    def _windows(self, log: list[Given], site: str) -> set[str]:
        found = set()
        rate_window = self.limit("rate_window_s", site) * 10**9
        charge_window = self.limit("charge_window_s", site) * 10**9
        total = F(0)
        for g in log:
            total += sum(g.phases_uC)
            in_rate = [h for h in log if h.at_ns <= g.at_ns and (h is g or g.at_ns - h.by_ns < rate_window)]
            if len(in_rate) / (rate_window / 10**9) > self.limit("rate_hz", site):
                found.add("rate_hz")
            in_charge = [h for h in log if h.at_ns <= g.at_ns and (h is g or g.at_ns - h.by_ns < charge_window)]
            if sum(sum(h.phases_uC) for h in in_charge) * 1000 > self.limit("window_charge_nC", site):
                found.add("window_charge_nC")
        if total * 1000 > self.limit("session_charge_nC", site):
            found.add("session_charge_nC")
        return found | self._net(log, site)

    def _net(self, log: list[Given], site: str) -> set[str]:
        """What stays at the site, pulse after pulse. One that was cut may have been cut at any instant.

        A trip may leave more than the limit, and then nothing more may be given that does not bring it back for sure.
        A stop that is no trip cuts no pulse so that what was given of it is out of balance.
        """
        found = set()
        limit = self.limit("net_charge_nC", site) / 1000
        least = most = F(0)
        for g in log:
            whole = g.net_uC(sum(g.ns))
            above = max(abs(least + whole), abs(most + whole)) > limit
            if g.cut_ns is None:
                least, most = least + whole, most + whole
            else:
                instants = [g.net_uC(at) for at in (0, g.ns[0], g.ns[0] + g.ns[1], sum(g.ns))]
                least, most = least + min(instants), most + max(instants)
                first, second = g.left_uC(g.cut_ns - g.at_ns)
                if not g.by_trip:
                    above |= max(abs(least), abs(most)) > limit
                    if abs(first - second) > self.limit("imbalance_fraction", site) * min(first, second):
                        found.add("imbalance_fraction")
            if above:
                found.add("net_charge_nC")
        return found

    def _stimuli(self, log: list[Given], site: str) -> set[str]:
        found = set()
        for number in {g.stimulus for g in log}:
            mine = sorted((g for g in log if g.stimulus == number), key=lambda g: g.at_ns)
            others = [h.end_ns for h in log if h.stimulus < number]
            if others and F(mine[0].at_ns - max(others), 1000) < self.limit("blanking_us", site):
                found.add("blanking_us")
            if any(after.at_ns < before.end_ns for before, after in pairwise(mine)):
                found.add("overlap")
            if len(mine) > self.limit("train_pulses", site):
                found.add("train_pulses")
        return found

    def _over_sites(self, log: list[Given]) -> set[str]:
        found = set()
        for g in log:  # the number of sites within a pulse grows only where one begins
            within = {h.site for h in log if h.at_ns <= g.at_ns < h.end_ns}
            if len(within) > self.all["simultaneous_sites"]:
                found.add("simultaneous_sites")
        if "blanking_all_us" in self.all:  # None is no number
            for number in {g.stimulus for g in log}:
                begins = min(g.at_ns for g in log if g.stimulus == number)
                ends = [h.end_ns for h in log if h.stimulus < number]
                if ends and F(begins - max(ends), 1000) < self.all["blanking_all_us"]:
                    found.add("blanking_all_us")
        return found
