"""Counts times published figures: joules and seconds, always from low to high, with what is in them and what is not.

    E_low = sum over events of (count, at least) (least figure),    E_high = sum of (count, at most) (largest figure)
    t     = sum over steps of [largest core's sum of (count) (seconds)] + steps (seconds of a step)

Energy is what the events cost beyond a device that is switched on; `on` is the other view, the power of the whole
device over the trial. The two are never added.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import SpikeportError
from spikeport.snn.rate import RateNetwork
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.base import Lowering
from spikeport.targets.estimates.counts import Counts
from spikeport.targets.estimates.figures import (
    BYTE,
    DEVICES,
    FIGURES,
    HOP,
    MAC,
    MESSAGE,
    POWER,
    SLOWDOWN,
    SPIKE,
    STEP,
    SYNAPSE,
    UPDATE,
    Figure,
    Range,
    figures,
    spread,
)
from spikeport.targets.estimates.rate import RateCounts, count_rate
from spikeport.targets.estimates.stored import count
from spikeport.targets.registry import get_target

REAL_TIME_STEP = 1e-3 * (1 - 1e-9)  # s; SpiNNaker keeps up with steps of 1 ms: van Albada et al. 2018, abstract
HOSTED = ("loihi", "spinnaker", "spinnaker2", "xylo")  # chips that leave held inputs and read-outs to a host
LEFT_OUT = {
    "loihi": (
        "static power (the line `switched on` has it)",
        "the x86 cores; the host, whose arithmetic has a line of its own: held inputs, read-outs; sending spikes",
        "learning, resets between trials, links to other chips",
    ),
    "spinnaker": (
        "the idle power of chips and boards (the line `switched on` has that of a chip)",
        "the host, whose arithmetic has a line of its own: input currents, read-outs; loading; routing of packets",
        "a synaptic event and a neuron update are as measured on other networks, with 1 ms steps",
    ),
    "spinnaker2": ("everything but synaptic events and neuron updates", "prototypes, other networks"),
    "xylo": (
        "events: none is published; the power of the core at work is, on other networks",
        "the spikes that a host makes of held values, and their synaptic events",
    ),
    "cpu": ("phi and noise", "memory beyond a 1 MB cache", "operating system and idle power (`switched on` has it)"),
    "gpu": ("phi and noise", "starting kernels, which small networks wait for", "idle power (`switched on` has it)"),
    "arm": ("phi and noise", "idle power"),
}


@dataclass(frozen=True, kw_only=True)
class Term:
    """One part of the energy: count (at least, at most) of an event, joules, and the figures that made them."""

    event: str
    count: tuple[int, int]
    joules: Range
    figures: tuple[Figure, ...]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """All trials of a run, or of the rate network on `device`. terms: () where nothing is published.

    seconds: to compute them all, one after another, as fast as it goes; None where no figure says.  on: joules of the
    device switched on for as long as the trials last.  left_out: what is not in `joules`.  host: joules of what a chip
    leaves to the host's arithmetic, by the figures of a cpu; not in `joules` either.
    """

    device: str | None
    trials: int
    duration: float
    counts: Counts | RateCounts
    terms: tuple[Term, ...]
    seconds: Range | None
    seconds_how: str
    on: Range | None
    left_out: tuple[str, ...]
    host: Range | None = None

    @property
    def joules(self) -> Range | None:
        """The sum of the terms."""
        if not self.terms:
            return None
        return Range(sum(t.joules.low for t in self.terms), sum(t.joules.high for t in self.terms))

    @property
    def sources(self) -> tuple[Figure, ...]:
        """Every figure of the device that is used here."""
        used = {t.event for t in self.terms}
        return tuple(
            f for f in FIGURES
            if (f.device == self.device and ((f.unit == "J" and f.event in used) or (f.unit == "s" and self.seconds)
                                             or (f.unit == "W" and self.on) or (f.unit == "1" and self._slowed)))
            or (self.host is not None and (f.device, f.event) == ("cpu", MAC))
        )  # fmt: skip

    @property
    def _slowed(self) -> bool:
        return self.seconds is not None and self.seconds.low < self.seconds.high

    def as_dict(self) -> dict[str, Any]:
        """What `spikeport estimate --json` prints: sums over all trials."""
        total = self.joules
        return {
            "device": self.device, "trials": self.trials, "duration_s": self.duration, "counts": self.counts.as_dict(),
            "joules": _pair(total), "seconds": _pair(self.seconds), "seconds_how": self.seconds_how,
            "joules_switched_on": _pair(self.on), "joules_host": _pair(self.host),
            "terms": [{"event": t.event, "count": list(t.count), "joules": _pair(t.joules)} for t in self.terms],
            "left_out": list(self.left_out), "figures": [f.as_dict() for f in self.sources],
        }  # fmt: skip


def _pair(value: Range | None) -> list[float] | None:
    return None if value is None else list(value)


def estimate(
    what: Lowering | SpikingNetwork,
    recording: Recording,
    target: str | None = None,
    *,
    inputs: Inputs | None = None,
    device: str | None = None,
    allow: Collection[str] = (),
) -> Estimate:
    """What this run costs on `target` (a network is lowered to it first; a lowering knows its own).

    inputs: those of the run, where the network has spike inputs: a recording does not hold them.  device: whose figures
    to use, by default the target's; where there are none, the counts are all.
    """
    if isinstance(what, Lowering):
        if target not in (None, what.target):
            raise SpikeportError(f"estimate: this network was lowered to {what.target}, not to {target}")
        lowering = what
    elif target is None:
        raise SpikeportError("estimate: no target", hint="estimate(network, recording, 'loihi')")
    else:
        lowering = get_target(target).lower(what, allow=allow)
    if device is not None:
        check_device(device)
    counts = count(lowering, recording, inputs)
    used = device or (lowering.target if lowering.target in DEVICES else None)
    terms = tuple(_terms(counts, used)) if used else ()
    seconds, how = _seconds(counts, used)
    lasts = counts.seconds * counts.trials
    return Estimate(
        device=used, trials=counts.trials, duration=counts.seconds, counts=counts, terms=terms, seconds=seconds,
        seconds_how=how, on=_switched_on(used, lasts, counts.places.get("chips", 1)),
        left_out=LEFT_OUT.get(used or "", ()),
        host=spread(figures("cpu", MAC, "J")) * counts.total("host") if used in HOSTED else None,
    )  # fmt: skip


def check_device(device: str) -> None:
    """Refuse one that has no figures."""
    if device not in DEVICES:
        raise SpikeportError(f"device '{device}': has no published figures here", [f"there are: {', '.join(DEVICES)}"])


def estimate_rate(network: RateNetwork, seconds: float, device: str = "cpu", trials: int = 1) -> Estimate:
    """What `trials` trials of `seconds` of the rate network cost on cpu, gpu or arm, one trial at a time."""
    check_device(device)
    counts = count_rate(network, seconds)
    if not figures(device, MAC, "J"):
        able = [d for d in DEVICES if figures(d, MAC, "J")]
        raise SpikeportError(f"device '{device}': no figure for a {MAC}", [f"there is one for: {', '.join(able)}"])
    pairs = {MAC: counts.macs, BYTE: counts.bytes_moved}
    steps = counts.steps * trials
    terms = [
        _term(device, event, (steps * low, steps * high)) for event, (low, high) in pairs.items()
        if figures(device, event, "J")
    ]  # fmt: skip
    left_out = LEFT_OUT[device] if figures(device, BYTE, "J") else ("bytes moved, unless an event's figure has them",
                                                                    *LEFT_OUT[device])  # fmt: skip
    return Estimate(
        device=device, trials=trials, duration=counts.seconds, counts=counts, terms=tuple(terms), seconds=None,
        seconds_how="no published figure: measure it", on=_switched_on(device, counts.seconds * trials, 1),
        left_out=left_out,
    )  # fmt: skip


def _term(device: str, event: str, n: tuple[int, int]) -> Term:
    rows = figures(device, event, "J")
    each = spread(rows)
    return Term(event=event, count=n, joules=Range(n[0] * each.low, n[1] * each.high), figures=rows)


def _terms(counts: Counts, device: str) -> list[Term]:
    """Events that happened and that the device has figures for; zeros that are read count at most, not at least."""
    whole = {UPDATE: "updates", SPIKE: "spikes", MESSAGE: "messages", HOP: "hops"}
    pairs = {SYNAPSE: (counts.total("events"), counts.total("reads"))}
    pairs |= {event: (counts.total(name), counts.total(name)) for event, name in whole.items()}
    return [_term(device, event, n) for event, n in pairs.items() if n[1] and figures(device, event, "J")]


def _seconds(counts: Counts, device: str | None) -> tuple[Range | None, str]:
    """How long the chip computes, all trials one after another."""
    lasts = counts.seconds * counts.trials
    if device in ("spinnaker", "xylo"):
        rows = figures(device, SLOWDOWN, "1") if counts.dt < REAL_TIME_STEP else ()
        if rows:
            return spread(rows) * lasts, "by its own clock, which is slowed down for steps below 1 ms"
        return Range(lasts, lasts), "in real time, by its own clock"
    if device is None or not figures(device, STEP, "s") or not counts.loads:
        return None, "no published figure for what was counted"
    steps = counts.n_steps * counts.trials
    found = spread(figures(device, STEP, "s")) * steps
    work = []
    for end in (0, 1):
        each = {event: spread(figures(device, event, "s"))[end] for event in counts.loads}
        of_core = sum(seconds * counts.loads[event] for event, seconds in each.items())
        work.append(float(np.max(of_core, axis=2).sum()))
    how = "as fast as it goes: in each step the busiest core, one event after another, then the barrier"
    return found.plus(Range(*work)), how


def _switched_on(device: str | None, lasts: float, parts: int) -> Range | None:
    rows = figures(device, POWER, "W") if device else ()
    return spread(rows) * (lasts * parts) if rows else None
