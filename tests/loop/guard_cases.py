"""Limits and commands that the guard's tests share. The numbers are made up: they protect nothing."""

from __future__ import annotations

from typing import Any

from guard_checker import Given, read

from spikeport.loop.guard.commands import Pulse, Train
from spikeport.loop.guard.guard import Answer
from spikeport.loop.guard.limits import Limits
from spikeport.loop.guard.station import Station
from spikeport.loop.guard.watchdog import Heartbeat, WatchLimits

WIDE: dict[str, Any] = {  # so wide that nothing of the tests' pulses meets them
    "area_um2": {"a": 1e8, "b": 1e8, "c": 1e8},
    "amplitude_uA": 1e6,
    "phase_charge_nC": 1e6,
    "charge_density_uC_per_cm2": 1e6,
    "shannon_k": 9,
    "imbalance_fraction": 1,
    "net_charge_nC": 1e6,
    "rate_hz": 10_000,
    "rate_window_s": 1,
    "blanking_us": 0,
    "blanking_all_us": None,
    "simultaneous_sites": 3,
    "train_pulses": 1000,
    "window_charge_nC": 1e6,
    "charge_window_s": 1,
    "session_charge_nC": 1e9,
    "late_us": 1000,
}
WATCH: dict[str, Any] = {
    "heartbeat_timeout_us": 50_000,
    "clock_jump_us": 5_000,
    "lateness_us": 1_000,
    "missed_deadlines": 3,
}


def pulse(site: str = "a", **changed: Any) -> Pulse:
    """10 uA, 200 us, 2 nC a phase, balanced."""
    values = {"polarity": "cathodic first", "amplitude_uA": 10, "width_us": 200, "interphase_us": 50}
    values |= {"second_amplitude_uA": 10, "second_width_us": 200}
    return Pulse(site=site, **(values | changed))


def train(n: int, rate_hz: Any, site: str = "a", **changed: Any) -> Train:
    return Train(pulse=pulse(site, **changed), n_pulses=n, rate_hz=rate_hz)


def next_of(station: Station) -> int | None:
    """When the next pulse, or the end of those that have begun, is due."""
    return min((at for at in (station.guard.next_ns(), station.silent_at_ns) if at is not None), default=None)


class Bench:
    """A station on a clock of our own, in dry run, that keeps the whole record."""

    def __init__(self, limits: dict[str, Any], watch: dict[str, Any] | None = None, device: Any = None) -> None:
        self.now_ns = 0
        self.asleep_ns = 0
        self.records: list[dict[str, Any]] = []
        self.tick = 0
        self.given = limits
        self.station = Station(
            Limits(**limits),
            WatchLimits(**(watch or WATCH | {"heartbeat_timeout_us": 10**8})),
            now_ns=lambda: self.now_ns,
            record=self._record,
            device=device,
            asleep_ns=lambda: self.asleep_ns,
        )

    def _record(self, kind: str, at_ns: int, **details: Any) -> None:
        self.records.append({"kind": kind, "at_ns": at_ns, **details})

    @classmethod
    def running(cls, limits: dict[str, Any], watch: dict[str, Any] | None = None, device: Any = None) -> Bench:
        bench = cls(limits, watch, device)
        bench.station.person("arm", by="A. Tester")
        bench.station.start()
        return bench

    @property
    def guard(self) -> Any:
        return self.station.guard

    @property
    def state(self) -> str:
        return self.guard.state.value

    def ask(self, command: Any, after_us: float = 0) -> Answer:
        self.wait(after_us)
        answer = self.station.command(command)
        self.station.service()
        return answer

    def refused(self, command: Any, after_us: float = 0) -> set[str]:
        """The names of the limits that refused it."""
        answer = self.ask(command, after_us)
        return {violation.limit for violation in answer.violations}

    def wait(self, us: float) -> None:
        """Go on to then, giving on its way what is due, each at its time."""
        until = self.now_ns + round(us * 1000)
        while self.now_ns <= until and (due := next_of(self.station)) is not None and due <= until:
            self.now_ns = max(self.now_ns, due)
            before = (self.guard.given, self.guard.cuts, self.station.silent_at_ns)
            self.station.service()
            if (self.guard.given, self.guard.cuts, self.station.silent_at_ns) == before:  # it must wait
                self.now_ns = min(self.now_ns + 100_000, until + 1)
                if self.now_ns > until:
                    break
        self.now_ns = until
        self.station.service()

    def beat(self, after_us: float = 1000, **changed: Any) -> None:
        self.now_ns += round(after_us * 1000)
        values = {"tick": self.tick, "sent_ns": self.now_ns, "loop_ns": self.now_ns, "deadline_ns": self.now_ns}
        self.station.beat(Heartbeat(**(values | {"values": (0.0,)} | changed)))
        self.tick = changed.get("tick", self.tick) + 1

    @property
    def log(self) -> list[Given]:
        return read(self.records)
