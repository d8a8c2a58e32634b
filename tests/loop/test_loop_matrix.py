"""Every fault x lost policy x overload policy, through a loop of a spiking decoder: each gap is explained exactly.

What the record names is held against what the injector did, number by number, against a table made by hand, and, with
every value and every tick, against an audit of its own (loop_audit.py); and the record is replayed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from lively_network import lively
from loop_audit import FATES, Account, agrees, audit
from loop_parts import Given, Kept

from spikeport.loop.clocks import VirtualClock
from spikeport.loop.decoders.spiking import SpikingDecoder
from spikeport.loop.faults import (
    Burst,
    ClockStep,
    Dead,
    Drop,
    Duplicate,
    Fault,
    Jump,
    Late,
    NotANumber,
    Reorder,
    Restart,
    SlowDecoder,
    SlowSink,
)
from spikeport.loop.loop import Loop
from spikeport.loop.packets import Array
from spikeport.loop.policies import LOST, OVERLOAD, Policy
from spikeport.loop.record.read import read_record
from spikeport.loop.record.reader import Event, Tick
from spikeport.loop.record.replay import replay
from spikeport.loop.sinks.memory import MemorySink
from spikeport.loop.sources.recording import ArraySource

N, MS, P = 120, 1e-3, 2_000_000  # packets; s; ns of a tick
NETWORK = lively(n=12)
SAFE = (0.25,) * NETWORK.n_neurons
_RNG = np.random.default_rng(0)
SAMPLES = np.hstack([np.arange(1.0, N + 1)[:, None] / 64, _RNG.normal(size=(N, 1)), _RNG.poisson(0.5, (N, 3))])
EVERY, STOP = "every other", "stop"


def original(values: Array) -> int:
    """Which sample it is: the first channel says so, exactly."""
    return round(float(values[0]) * 64) - 1


def numbers(*what: int | range) -> list[int]:
    return [s for w in what for s in (w if isinstance(w, range) else [w])]


@dataclass(frozen=True, kw_only=True)
class Ends:
    """What is to come of N packets. without: ticks that have none.  ended: why the run was over."""

    without: list[int] = field(default_factory=list)
    merged: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    fates: Mapping[str, list[int]] = field(default_factory=dict)
    says: Mapping[str, list[dict[str, int]]] = field(default_factory=dict)  # events, with all their details
    ticks: int = N  # before the end
    ended: str = "source ended"


@dataclass(frozen=True, kw_only=True)
class Case:
    """Faults, or a consumer whose 11th call takes `slow` ns longer; a packet so often; buffers; what comes of it."""

    faults: Sequence[Fault] = ()
    slow: int = 0
    at: str = "decoder"
    every: int = P  # ns
    source: int = 256
    queue: int = 256
    ends: Mapping[str, Ends]


def stopped(late: int) -> Ends:
    return Ends(ticks=11, ended=f"overload: tick 11 began {late} periods late")


def usual(faults: Sequence[Fault], **ends: Any) -> Case:
    """A fault of the transport or of the producer: no overload, so the overload policy changes nothing."""
    return Case(faults=faults, ends={EVERY: Ends(**ends)})


SLOW = {  # the 12th tick begins 6 periods late
    "latest": Ends(merged=numbers(range(11, 17)), fates={"superseded": numbers(range(11, 17))}),
    "all": Ends(),
    STOP: stopped(6),
}
CASES = {
    "drop": usual([Drop((7, 8, 50))], without=[7, 8, 50], lost=[7, 8, 50]),
    "duplicate at once": usual([Duplicate((7, 30))], fates={"duplicate": [7, 30]}),
    "duplicate much later": usual([Duplicate((7,), 40 * P)], fates={"duplicate": [7]}),
    "reorder": usual([Reorder((7, 30))], without=[7, 30], fates={"late": [7, 30]}),
    "late": usual([Late((7, 30), 3 * P)], without=[7, 30], fates={"late": [7, 30]}),
    "burst": usual([Burst(20, 6)], without=numbers(range(20, 25)), fates={"late": numbers(range(20, 25))}),
    "NaN": usual([NotANumber((7, 9))], without=[7, 9], fates={"invalid": [7, 9]}),
    "infinite": usual([NotANumber((7,), value=-np.inf)], without=[7], fates={"invalid": [7]}),
    "no count": usual([NotANumber((7,), channel=3, value=-1.0)], without=[7], fates={"invalid": [7]}),
    "clock step ahead": usual([ClockStep(40, 10**9)], says={"clock step": [{"seq": 40, "by_ns": 10**9}]}),
    "clock step back": usual([ClockStep(40, -(10**9))], says={"clock step": [{"seq": 40, "by_ns": -(10**9)}]}),
    "dead for a while": usual([Dead(40, 60)], without=numbers(range(40, 60)), lost=numbers(range(40, 60))),
    "dead for ever": usual([Dead(100)], without=numbers(range(100, N))),  # nobody can know that these were sent
    "restart": usual(
        [Restart(50)], without=[50], fates={"late": [0]}, says={"restart": [{"after": 49, "seq": 0}]}
    ),  # the packet that announces it is not believed yet
    "dead, then restart": usual(
        [Dead(40, 70), Restart(70)], without=numbers(range(40, 71)), fates={"late": [0]},
        says={"restart": [{"after": 39, "seq": 0}]},
    ),
    "jump beyond all buffers": usual(
        [Jump(50, 6000)], without=[50], lost=numbers(range(50, 6050)), fates={"late": [6050]},
        says={"jump": [{"after": 49, "seq": 6050}]},
    ),
    "jump within them": usual(
        [Jump(50, 40)], without=[50], lost=numbers(range(50, 90)), fates={"late": [90]},
        says={"jump": [{"after": 49, "seq": 90}]},
    ),
    "one wrong number": usual(
        [Jump(50, 10**9), Jump(51, -(10**9))], without=[50], lost=[50], fates={"stray": [10**9 + 50]},
    ),
    "slow decoder": Case(slow=15 * P // 2, ends=SLOW),
    "slow sink": Case(slow=15 * P // 2, at="sink", ends=SLOW),
    "too slow for the source's buffer": Case(
        slow=40 * P, source=8,
        ends={
            "latest": Ends(
                merged=numbers(range(11, 50)), lost=numbers(range(11, 43)),
                fates={"superseded": numbers(range(43, 50))},
                says={"source overflow": [{"n": 32, "tick": 50}]},
            ),
            "all": Ends(
                without=numbers(range(11, 43)), lost=numbers(range(11, 43)),
                says={"source overflow": [{"n": 32, "tick": 11}]},
            ),
            STOP: stopped(39),
        },
    ),
    "too slow for the loop's buffer": Case(
        slow=40 * P, queue=8,
        ends={
            "latest": Ends(
                merged=numbers(range(11, 50)),
                fates={"overflow": numbers(range(11, 43)), "superseded": numbers(range(43, 50))},
            ),
            "all": Ends(without=numbers(range(11, 43)), fates={"overflow": numbers(range(11, 43))}),
            STOP: stopped(39),
        },
    ),
    "two packets a tick": Case(
        every=P // 2,
        ends={  # the first tick uses the newest, 1; in every other one two wait beyond the one that is due
            "latest": Ends(ticks=61, fates={"late": [0], "superseded": [s for s in range(3, 117) if s % 4 in (3, 0)]}),
            "all": Ends(ticks=119, fates={"late": [0]}),
            STOP: Ends(ticks=2, fates={"late": [0]}, ended="overload: 2 packets wait beyond the one that is due"),
        },
    ),
    "all at once": usual(
        [Drop((5,)), Duplicate((6, 5)), NotANumber((10,)), Late((20,), P), Reorder((30,)), Burst(40, 3), Dead(60, 64),
         ClockStep(70, 10**9), Jump(80, 30), Restart(100)],
        without=[5, 10, 20, 30, 40, 41, *range(60, 64), 80, 100],
        lost=[5, *range(60, 64), *range(80, 110)],
        fates={"duplicate": [6], "invalid": [10], "late": [0, 20, 30, 40, 41, 110]},
        says={"clock step": [{"seq": 70, "by_ns": 10**9}], "jump": [{"after": 79, "seq": 110}],
              "restart": [{"after": 129, "seq": 0}]},
    ),
}  # fmt: skip
CAUSE = {"hold": "held", "zero": "zero", "skip": "skipped", "abort": ""}


class Run:
    """A case under a policy: what went in, the record, the summary."""

    def __init__(self, case: Case, policy: Policy) -> None:
        clock, delays = VirtualClock(), {10: case.slow}
        decoder, self.sink = self.decoder(), MemorySink()
        source = ArraySource(SAMPLES, period=case.every / 1e9, phase=MS / 2, latency=MS / 5, capacity=case.source)
        self.source, self.recorder, self.policy = Given(source, case.faults), Kept(), policy
        loop = Loop(
            self.source,
            SlowDecoder(decoder, clock, delays) if case.slow and case.at == "decoder" else decoder,
            SlowSink(self.sink, clock, delays) if case.slow and case.at == "sink" else self.sink,
            clock, policy, self.recorder, period=P / 1e9,
        )  # fmt: skip
        self.summary = loop.run(N)
        self.items: list[Tick | Event] = self.recorder.items()

    @staticmethod
    def decoder() -> SpikingDecoder:
        return SpikingDecoder(NETWORK, period=P / 1e9, seed=7, outputs="spikes")

    def audited(self) -> Account:
        """The account of its record, which adds up, and which the summary and the sink agree with."""
        found = audit(self.items, self.source.given, self.policy, original)
        agrees(found, self.summary, len(self.source.given))
        emitted = [(o.tick, o.seq, o.cause, o.values.tolist()) for o in self.sink.outputs]
        assert emitted[:-1] == [(t.tick, t.seq, t.cause, t.outputs.tolist()) for t in found.ticks if t.emitted_ns]
        assert emitted[-1][2:] == ("stopped", list(SAFE))
        return found


def policy(lost: str, overload: str, **changes: Any) -> Policy:
    return Policy(**{"lost": lost, "overload": overload, "lost_after": 1000, "good": 1, "safe": SAFE, **changes})


@pytest.mark.parametrize(("lost", "overload"), list(itertools.product(LOST, OVERLOAD)))
@pytest.mark.parametrize("name", list(CASES))
def test_each_gap_is_explained_exactly_under_each_policy(name: str, lost: str, overload: str) -> None:
    case = CASES[name]
    run = Run(case, policy(lost, overload, capacity=case.queue))
    found = run.audited()
    ends = case.ends.get(overload) or case.ends[EVERY]
    whole = not (lost == "abort" and ends.without)
    announced = [e["seq"] for kind in ("restart", "jump") for e in ends.says.get(kind, [])]  # a stray until believed
    if not whole:
        first = ends.without[0]
        ends = replace(ends, ticks=first, ended=f"lost data: tick {first}, packet {first} is not there")
    assert run.summary.ended == ends.ended
    assert len(found.ticks) + len(found.merged) == ends.ticks
    for what, got, full in (
        ("without", found.without, ends.without),
        ("merged", found.merged, ends.merged),
        ("lost", found.numbers("lost"), ends.lost),
        *((kind, found.numbers(kind), ends.fates.get(kind, [])) for kind in FATES if kind != "waiting"),
    ):
        assert got == full if whole else set(got) <= {*full, *announced}, what
    for kind in ("clock step", "restart", "jump", "source overflow"):
        assert found.of(kind) == ends.says.get(kind, []) or not whole, kind
    assert {tick.cause for tick in found.ticks} <= {"fresh", CAUSE[lost]}
    jumped = {fault.first: fault.by for fault in case.faults if isinstance(fault, Jump)}
    for first, _, due, _ in found.gaps:  # the place of number n is tick n, until numbers jump
        assert due == first + sum(by for at, by in jumped.items() if at < first)
    if whole and case.faults:
        assert touched(run.source, found) == named(found)
    again = replay(read_record(run.recorder.data), run.decoder())
    assert (again.differing, again.compared) == (0, len([t for t in found.ticks if t.cause != "skipped"]))


def touched(source: Given, found: Account) -> dict[str, Any]:
    """What the injector did to which number: in the words of a record, which cannot know what was sent last."""
    done: dict[str, list[int]] = {}
    gone: list[tuple[int, int]] = []
    epoch = 0
    for kind, seq, _ in source.done:
        epoch += kind == "Restart"
        done.setdefault(kind, []).append(seq)
        if kind in ("Drop", "Dead"):
            gone.append((epoch, seq))
    highest = dict(sorted(found.used))  # number by epoch
    return {
        "lost": sorted(s for e, s in gone if s <= highest[e]),
        "duplicate": sorted(done.get("Duplicate", ())),
        "late": sorted(s for kind in ("Late", "Reorder", "Burst") for s in done.get(kind, ())),
        "invalid": sorted(done.get("NotANumber", ())),
        "clock step": done.get("ClockStep", []),
        "new numbers": sorted(s for kind in ("Restart", "Jump") for s in done.get(kind, ())),
    }


def named(found: Account) -> dict[str, Any]:
    """What the record names, less what follows from new numbers: those that were jumped, and the announcement."""
    new = [(e.kind, e.details["after"], e.details["seq"]) for e in found.events if e.kind in ("jump", "restart")]
    wrong = found.numbers("stray")
    jumped = {s for kind, after, seq in new if kind == "jump" for s in range(after + 1, seq)} | {
        s - 10**9 for s in wrong
    }
    announced = [seq for _, _, seq in new]
    return {
        "lost": [s for s in found.numbers("lost") if s not in jumped],
        "duplicate": found.numbers("duplicate"),
        "late": [s for s in found.numbers("late") if s not in announced],
        "invalid": found.numbers("invalid"),
        "clock step": [e["seq"] for e in found.of("clock step")],
        "new numbers": sorted(announced + wrong + [s - 10**9 + 1 for s in wrong]),  # the one back to order
    }


@pytest.mark.parametrize(("lost", "overload"), list(itertools.product(LOST, OVERLOAD)))
@pytest.mark.parametrize("window", [0, 2])
def test_a_stream_that_is_lost_and_back_under_each_policy(lost: str, overload: str, window: int) -> None:
    """Dead in 40 .. 69, lost after 5 ticks, back with the third good packet; the run itself begins without a stream."""
    run = Run(usual([Dead(40, 70)]), policy(lost, overload, lost_after=5, good=3, window=window))
    found = run.audited()
    causes = [tick.cause for tick in found.ticks]
    begin = ["stream lost"] * (2 + window)
    if lost == "abort":
        assert causes == begin + ["fresh"] * 38
        assert run.summary.ended == f"lost data: tick {40 + window}, packet 40 is not there"
        return
    there = 2 + window + 38
    gap = [CAUSE[lost]] * 4 + ["stream lost"] * 28
    assert causes == (begin + ["fresh"] * 38 + gap + ["fresh"] * (N - there - 32))[:N]
    assert found.numbers("lost") == list(range(40, 70))
    assert [e["tick"] for e in found.of("stream lost")] == [40 + window + 4]
    assert [e["tick"] for e in found.of("stream there")] == [2 + window, 72 + window]


RICH = Run(CASES["all at once"], policy("skip", "latest"))


@pytest.mark.parametrize("change", ["left out", "twice", "one more", "one less"])
def test_the_audit_notices_each_thing_that_a_record_leaves_out_or_has_wrong(change: str) -> None:
    """Every event that names a packet, a number, a merged tick or a gap, and every tick."""
    RICH.audited()
    noticed, n = 0, 0
    for i, item in enumerate(RICH.items):
        for wrong in changed(item, change):
            n += 1
            items = [*RICH.items[:i], *wrong, *RICH.items[i + 1 :]]
            try:
                audit(items, RICH.source.given, RICH.policy, original)
            except AssertionError:
                noticed += 1
    assert n > 100
    assert noticed == n


def changed(item: Tick | Event, change: str) -> list[list[Any]]:
    """The ways to have it wrong."""
    names = ["seq"] if isinstance(item, Tick) or item.kind in FATES else []
    if isinstance(item, Event):
        names += {"lost": ["first", "last"], "gap": ["first_tick", "last_tick"]}.get(item.kind, [])
        if not names:
            return []
    elif item.seq < 0:
        names = ["tick"]
    if change in ("left out", "twice"):
        return [[] if change == "left out" else [item, item]]
    by = 1 if change == "one more" else -1
    if isinstance(item, Tick):
        return [[replace(item, **{name: getattr(item, name) + by})] for name in names]
    return [[replace(item, details={**item.details, name: item.details[name] + by})] for name in names]
