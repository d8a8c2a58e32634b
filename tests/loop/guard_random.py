"""Random sessions for the guard, with values on the limits, one step below and one step above."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from typing import Any

from guard_cases import WATCH, WIDE, next_of
from guard_checker import Judge, read

from spikeport.loop.guard.commands import Command, Pattern, Pulse, Stop, Train
from spikeport.loop.guard.guard import Permit
from spikeport.loop.guard.limits import Limits
from spikeport.loop.guard.station import Station
from spikeport.loop.guard.watchdog import Heartbeat, WatchLimits
from spikeport.snn.errors import RefusedError, SpikeportError

SITES = ("a", "b", "c")
WATCHED = WatchLimits(**(WATCH | {"heartbeat_timeout_us": 10**8}))
AMPLITUDES_NA = (5_000, 9_999, 10_000, 10_001, 20_000)
WIDTHS_NS = (100_000, 199_999, 200_000, 200_001, 220_000)


def random_limits(rng: random.Random) -> dict[str, Any]:
    """Each limit wide, or where the random commands meet it."""

    def one(name: str, *near: Any) -> Any:
        return WIDE[name] if rng.random() < 0.75 else rng.choice(near)

    area = rng.choice((400, 1000, Fraction(4001, 10)))
    return {
        "area_um2": dict.fromkeys(SITES, area),
        "amplitude_uA": one("amplitude_uA", 10, Fraction("9.9995"), {"a": 5, "b": 10, "c": 20}),
        "phase_charge_nC": one("phase_charge_nC", 2, 1, Fraction("2.00001")),
        "charge_density_uC_per_cm2": one("charge_density_uC_per_cm2", 200, 500, 100),
        "shannon_k": one("shannon_k", 0, -0.398, 1.85),
        "imbalance_fraction": one("imbalance_fraction", 0, 0.1, Fraction(1, 3)),
        "net_charge_nC": one("net_charge_nC", 0.4, 0, 1),
        "rate_hz": one("rate_hz", 30, 100, Fraction(301, 3)),
        "rate_window_s": rng.choice((0.1, 1, Fraction(333, 10_000))),
        "blanking_us": one("blanking_us", 500, 10_000),
        "blanking_all_us": rng.choice((None, None, 0, 500)),
        "simultaneous_sites": rng.choice((1, 2, 3)),
        "train_pulses": one("train_pulses", 3, 5),
        "window_charge_nC": one("window_charge_nC", 20, 8),
        "charge_window_s": rng.choice((0.05, 1)),
        "session_charge_nC": one("session_charge_nC", 40, Fraction("8.000001")),
        "late_us": rng.choice((0, 300, 5000)),
    }


def random_pulse(rng: random.Random, site: str) -> Pulse:
    amplitude, width = rng.choice(AMPLITUDES_NA), rng.choice(WIDTHS_NS)
    balanced = rng.random() < 0.85
    return Pulse(
        site=site,
        polarity=rng.choice(("cathodic first", "anodic first")),
        amplitude_uA=Fraction(amplitude, 1000),
        width_us=Fraction(width, 1000),
        interphase_us=rng.choice((0, 50)),
        second_amplitude_uA=Fraction(amplitude if balanced else rng.choice(AMPLITUDES_NA), 1000),
        second_width_us=Fraction(width if balanced else rng.choice(WIDTHS_NS), 1000),
    )


def command_pool(rng: random.Random, n: int) -> list[Command]:
    """Commands to draw from: making one is slower than judging it."""
    made: list[Command] = [Stop()]
    for _ in range(n):
        site = rng.choice(SITES)
        kind = rng.random()
        if kind < 0.45:
            made.append(random_pulse(rng, site))
        elif kind < 0.75:
            made.append(random_train(rng, site))
        else:
            sites = rng.sample(SITES, rng.choice((2, 2, 3)))
            parts = [random_pulse(rng, s) if rng.random() < 0.6 else random_train(rng, s) for s in sites]
            made.append(Pattern(tuple(parts)))
    return made


def random_train(rng: random.Random, site: str) -> Train:
    rate = rng.choice((10, 30, 100, Fraction(301, 3), Fraction(3001, 100), 1000))
    return Train(pulse=random_pulse(rng, site), n_pulses=rng.choice((1, 2, 3, 4, 5, 6, 11)), rate_hz=rate)


class Session:
    """One random session, and its device. What it did is in `records`.

    takes_ns: how long the device may take to begin; writes_ns: and the record, for a line.
    """

    def __init__(self, limits: Limits, takes_ns: int = 0, writes_ns: int = 0, seed: int = 0) -> None:
        self.now_ns = 0
        self.records: list[dict[str, Any]] = []
        self._takes_ns, self._writes_ns, self._rng = takes_ns, writes_ns, random.Random(seed)
        self.station = Station(limits, WATCHED, now_ns=lambda: self.now_ns, record=self._record, device=self)
        self.station.person("arm", by="A. Tester")
        self.station.start()
        self.asked: list[tuple[int, Command, bool]] = []

    def _record(self, kind: str, at_ns: int, **details: Any) -> None:
        self.records.append({"kind": kind, "at_ns": at_ns, **details})
        if self._writes_ns:
            self.now_ns += self._rng.randrange(self._writes_ns)

    def deliver(self, pulses: tuple[Pulse, ...], at_ns: int) -> None:
        if self._takes_ns:
            self.now_ns += self._rng.randrange(self._takes_ns)
        self.records.append({"kind": "begun", "at_ns": self.now_ns, "n": len(pulses)})

    def silence(self) -> None:
        """Nothing flows here."""

    def ask(self, command: Command) -> None:
        self.asked.append((self.now_ns, command, self.station.command(command).allowed))

    def go_on(self, ns: int, jitter_ns: int, rng: random.Random) -> None:
        """Passes at the due times, each late by up to jitter_ns."""
        until = self.now_ns + ns
        while (due := next_of(self.station)) is not None:
            at = (due if due > self.now_ns else self.now_ns + 20_000) + (rng.randrange(jitter_ns) if jitter_ns else 0)
            if at > until:
                break
            self.now_ns = at
            self.station.service()
        self.now_ns = max(until, self.now_ns)

    def disturb(self, rng: random.Random) -> None:
        """What may go wrong, or what a person does; then it goes on."""
        kind, station = rng.randrange(6), self.station
        if kind == 0:
            beat = Heartbeat(tick=0, sent_ns=self.now_ns, loop_ns=0, deadline_ns=0, values=(float("nan"),))
            station.beat(beat)
        elif kind == 1:
            station.guard.due(self.now_ns)
            try:
                station._stimulator.give(Permit(), self.now_ns)
            except RefusedError:
                pass
        elif kind == 2:
            station.person("trip", by="A. Tester", cause="the button")
        elif kind == 3:
            station.person("disarm", by="A. Tester")
        elif kind == 4:
            station.end()
        station.service()
        if rng.random() < 0.3:  # asked for while it is not running
            self.ask(random_pulse(rng, "a"))
        if station.guard.state.value == "tripped":
            station.person("reset", by="A. Tester", cause=station.guard.cause)
        if station.guard.state.value == "disarmed":
            station.person("arm", by="A. Tester")
            station.start()


GAPS_NS = (
    0,
    1,
    100_000,
    250_000,
    450_000,
    499_999,
    500_000,
    950_000,
    10_000_000,
    33_333_334,
    50_000_000,
    100_000_000,
    999_999_999,
    10**9,
)


def play(rng: random.Random, limits: Limits, pool: list[Command], n: int) -> Session:
    """`n` commands, at gaps that are often exactly a window or a blanking."""
    takes_ns, writes_ns = rng.choice((0, 0, 0, 100_000, 60_000_000)), rng.choice((0, 0, 0, 400_000))
    session = Session(limits, takes_ns, writes_ns, rng.randrange(2**32))
    jitter = rng.choice((0, 0, 100_000, 700_000))
    for _ in range(n):
        session.ask(Stop() if rng.random() < 0.08 else rng.choice(pool))
        session.station.service()
        gap = rng.choice(GAPS_NS) if rng.random() < 0.7 else rng.randrange(60_000_000)
        session.go_on(gap, jitter, rng)
        if rng.random() < 0.03:
            session.disturb(rng)
    session.go_on(10**9, jitter, rng)
    return session


def given_while_not_running(records: list[dict[str, Any]]) -> int:
    """Pulses of the record that came in another state."""
    state, wrong = "disarmed", 0
    for record in records:
        if record["kind"] == "state":
            state = record["after"]
        wrong += record["kind"] == "pulse" and state != "running"
    return wrong


def run_many(seed: int, n_sequences: int) -> Counter[str]:
    """Plays them, judges each, and counts what happened; AssertionError with the seed at the first that is wrong."""
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    configurations = []
    while len(configurations) < 60:
        given = random_limits(rng)
        try:
            configurations.append((given, Limits(**given), Judge(given)))
        except SpikeportError:  # e.g. no pulse fits into the window
            continue
    pool = command_pool(rng, 3000)
    for number in range(n_sequences):
        given, limits, judge = rng.choice(configurations)
        session = play(rng, limits, pool, rng.randrange(1, 9))
        log = read(session.records)
        wrong = judge.broken(log)
        assert not wrong, f"seed {seed}, sequence {number}: {wrong} of {given}"
        assert not given_while_not_running(session.records), f"seed {seed}, sequence {number}: given out of RUNNING"
        status = session.station.status()
        assert status["asked"] == status["allowed"] + status["refused"] == len(session.asked) - status["stops"]
        assert status["given"] == len(log)
        counts.update(commands=len(session.asked), pulses=len(log), allowed=status["allowed"], cuts=status["cuts"])
        for record in session.records:
            counts["not given"] += record["kind"] == "not given"
            if record["kind"] == "pulse cut":
                counts.update(["pulse cut", "above the limit"][: 1 + record["above_limit"]])
            if record["kind"] in ("refused", "cut"):
                counts.update({text.partition(":")[0].partition(" at ")[0] for text in record.get("limits", ())})
    return counts
