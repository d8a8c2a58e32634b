"""What the guard allows, said by a person: no limit has a default, and one that is missing is an error.

A limit of a site is one number for all sites, or a mapping from site to number. At a limit is allowed, above it is not.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from spikeport.loop.guard import charge
from spikeport.loop.guard.commands import check_site
from spikeport.loop.guard.exact import (
    AC_PER_NC,
    NS_PER_S,
    Number,
    article,
    count,
    exact,
    from_wire,
    shown,
    to_wire,
    whole,
    within,
)
from spikeport.snn.errors import SpikeportError

MAX_SITES = 1024
MAX_KEPT = 1_000_000  # pulses of one site that a window may hold: bounds the guard's memory
TINY = Fraction(1, 10**6)
HUGE = 10**9  # ranges of the format, not of safety


@dataclass(frozen=True, slots=True)
class Spec:
    """One number that a person gives."""

    unit: str
    meaning: str
    read: Callable[[object], Any]
    per_site: bool = True


def _number(low: Number, high: Number, unit: str) -> Callable[[object], Fraction]:
    return lambda value: within(value, low, high, unit)


def _time_us(low: Number) -> Callable[[object], Fraction]:
    return lambda value: Fraction(whole(value, 1000, low, HUGE, "us", "ns"), 1000)


def _window_s(value: object) -> Fraction:
    return Fraction(whole(value, NS_PER_S, TINY, HUGE, "s", "ns"), NS_PER_S)


def _shannon(value: object) -> Fraction:
    k = within(value, -10, 10, "")
    if (k * 10**charge.K_DECIMALS).denominator != 1:
        raise ValueError(f"is {shown(k)}, must have at most {charge.K_DECIMALS} decimals: it is compared exactly")
    return k


def _or_none(read: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda value: None if value is None else read(value)


SPECS: Mapping[str, Spec] = {
    "area_um2": Spec(
        "um^2", "geometric area of each electrode; its sites are all there are", _number(TINY, HUGE, "um^2")
    ),
    "amplitude_uA": Spec("uA", "largest current of either phase", _number(0, HUGE, "uA")),
    "phase_charge_nC": Spec("nC", "largest charge of either phase, Q = I w", _number(0, HUGE, "nC")),
    "charge_density_uC_per_cm2": Spec("uC/cm^2", "largest Q / area", _number(0, HUGE, "uC/cm^2")),
    "shannon_k": Spec("", "largest log10(D) + log10(Q); Shannon 1992", _shannon),
    "imbalance_fraction": Spec("", "largest |Q1 - Q2| / min(Q1, Q2) of a pulse", _number(0, 1, "")),
    "net_charge_nC": Spec("nC", "largest |sum of Q1 - Q2| of a session", _number(0, HUGE, "nC")),
    "rate_hz": Spec("Hz", "largest number of pulses in any rate_window_s, divided by it", _number(0, HUGE, "Hz")),
    "rate_window_s": Spec("s", "the sliding window of rate_hz", _window_s),
    "blanking_us": Spec("us", "least silence at a site from the end of a stimulus to the next", _time_us(0)),
    "blanking_all_us": Spec(
        "us", "the same over all sites; None: stimuli at several sites may overlap", _or_none(_time_us(0)), False
    ),
    "simultaneous_sites": Spec(
        "", "largest number of sites within a pulse at once", lambda v: count(v, 1, MAX_SITES), False
    ),
    "train_pulses": Spec("", "largest number of pulses of one train", lambda v: count(v, 1, 10**6)),
    "window_charge_nC": Spec("nC", "largest sum of Q1 + Q2 in any charge_window_s", _number(0, HUGE, "nC")),
    "charge_window_s": Spec("s", "the sliding window of window_charge_nC", _window_s),
    "session_charge_nC": Spec("nC", "largest sum of Q1 + Q2 of a session", _number(0, 10**18, "nC")),
    "late_us": Spec("us", "how long a pulse may wait past its time; then its stimulus is cut", _time_us(0), False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteLimits:
    """The limits of one site in integers: nA, ns, aC and counts; what is compared."""

    area_um2: Fraction
    shannon_k: Fraction
    amplitude_nA: int
    phase_aC: int
    density_aC: int
    shannon_aC: int
    imbalance: Fraction
    net_aC: int
    rate_count: int
    rate_window_ns: int
    blanking_ns: int
    train_pulses: int
    window_aC: int
    charge_window_ns: int
    session_aC: int


class Limits:
    """All limits of a guard. Every name of SPECS must be given; `area_um2` is a mapping, and names the sites."""

    def __init__(self, **given: object) -> None:
        problems = [
            f"{name} is missing: {spec.meaning}{f', in {spec.unit}' if spec.unit else ''}"
            for name, spec in SPECS.items()
            if name not in given
        ]
        problems += [f"{name} is no limit; there are: {', '.join(SPECS)}" for name in given if name not in SPECS]
        self.given: dict[str, Any] = {}
        sites = _sites(given.get("area_um2"), problems) if "area_um2" in given else ()
        for name, spec in SPECS.items():
            if name in given:
                self.given[name] = _read(name, spec, given[name], sites, problems)
        if not problems:
            self.sites = {site: self._of_site(site) for site in sites}
            problems += self._contradictions()
        if problems:
            raise SpikeportError("limits of the guard", problems, hint="give every limit: none has a default")
        self.blanking_all_ns = _ns(self.given["blanking_all_us"])
        self.simultaneous: int = self.given["simultaneous_sites"]
        self.late_ns = int(self.given["late_us"] * 1000)

    def value(self, name: str, site: str) -> Fraction:
        """What the person gave for this site."""
        found = self.given[name]
        return Fraction(found[site] if isinstance(found, dict) else found)

    def _of_site(self, site: str) -> SiteLimits:
        area = self.value("area_um2", site)
        window = self.value("rate_window_s", site)
        k = self.value("shannon_k", site)
        return SiteLimits(
            area_um2=area,
            shannon_k=k,
            amplitude_nA=math.floor(self.value("amplitude_uA", site) * 1000),
            phase_aC=charge.largest_by_charge(self.value("phase_charge_nC", site)),
            density_aC=charge.largest_by_density(self.value("charge_density_uC_per_cm2", site), area),
            shannon_aC=charge.largest_by_shannon(k, area),
            imbalance=self.value("imbalance_fraction", site),
            net_aC=math.floor(self.value("net_charge_nC", site) * AC_PER_NC),
            rate_count=math.floor(self.value("rate_hz", site) * window),
            rate_window_ns=int(window * NS_PER_S),
            blanking_ns=int(self.value("blanking_us", site) * 1000),
            train_pulses=int(self.value("train_pulses", site)),
            window_aC=math.floor(self.value("window_charge_nC", site) * AC_PER_NC),
            charge_window_ns=int(self.value("charge_window_s", site) * NS_PER_S),
            session_aC=math.floor(self.value("session_charge_nC", site) * AC_PER_NC),
        )

    def _contradictions(self) -> list[str]:
        found = []
        for site in self.sites:
            rate, window = self.value("rate_hz", site), self.value("rate_window_s", site)
            if rate * window < 1:
                found.append(
                    f"rate_hz {shown(rate)} Hz allows no pulse at {site!r}: less than one fits in a window of "
                    f"{shown(window)} s"
                )
            kept = rate * max(window, self.value("charge_window_s", site))
            if kept > MAX_KEPT:
                found.append(f"rate_hz times the longest window is {shown(kept)} pulses at {site!r}, limit {MAX_KEPT}")
        return found

    def to_wire(self) -> dict[str, Any]:
        """As JSON values that `from_wire` reads without loss."""
        return {
            name: {site: _wire(each) for site, each in found.items()} if isinstance(found, dict) else _wire(found)
            for name, found in self.given.items()
        }

    @classmethod
    def from_wire(cls, given: Mapping[str, Any]) -> Limits:
        """What `to_wire` wrote, checked again."""
        try:
            return cls(
                **{
                    name: {site: _unwire(each) for site, each in found.items()}
                    if isinstance(found, dict)
                    else _unwire(found)
                    for name, found in given.items()
                }
            )
        except ValueError as error:
            raise SpikeportError(f"limits of the guard: {error}") from None

    def digest(self) -> str:
        """SHA-256 of the limits: equal digests, equal limits."""
        return hashlib.sha256(json.dumps(self.to_wire(), sort_keys=True).encode()).hexdigest()


def _sites(areas: object, problems: list[str]) -> tuple[str, ...]:
    if not isinstance(areas, Mapping) or not 0 < len(areas) <= MAX_SITES:
        problems.append(f"area_um2 is {article(areas)}, must be a mapping from 1 to {MAX_SITES} sites to their areas")
        return ()
    for site in areas:
        try:
            check_site(site)
        except ValueError as error:
            problems.append(f"area_um2: site {error}")
            return ()
    return tuple(areas)


def _read(name: str, spec: Spec, given: object, sites: tuple[str, ...], problems: list[str]) -> object:
    """The value or the values by site; a problem and None where they are no such numbers."""
    try:
        if not isinstance(given, Mapping):
            if name == "area_um2":  # already a problem of _sites
                return None
            return spec.read(given)
        if not spec.per_site:
            raise ValueError("is one number, not one for each site")
        if set(given) != set(sites):
            wrong = sorted(f"{site!r:.80}" for site in set(given) ^ set(sites))
            raise ValueError(f"must name the sites of area_um2; differs in {', '.join(wrong)}")
    except ValueError as error:
        problems.append(f"{name} {error}")
        return None
    values = {}
    for site in given:
        try:
            values[site] = spec.read(given[site])
        except ValueError as error:
            problems.append(f"{name} at {site!r} {error}")
    return values


def _ns(us: Fraction | None) -> int | None:
    return None if us is None else int(us * 1000)


def _wire(value: Fraction | int | None) -> str | int | None:
    return to_wire(value) if isinstance(value, Fraction) else value


def _unwire(value: object) -> object:
    return from_wire(value) if isinstance(value, str) else value


__all__ = ["SPECS", "Limits", "SiteLimits", "Spec", "exact"]
