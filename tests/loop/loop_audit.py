"""An audit of a loop's record against the packets that the loop was given, which knows nothing of how the loop counts.

From the record alone: which packet each tick used, what became of every other one, which numbers never came, which
ticks had none. Then everything must add up: each packet ends once, each number between the first and the highest of an
epoch is used, named or lost, each tick without a good packet lies in one gap, and each used row is that packet's.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from spikeport.loop.packets import Array, Packet
from spikeport.loop.policies import Policy
from spikeport.loop.record.reader import Event, Tick
from spikeport.loop.summary import Summary

FATES = ("late", "duplicate", "invalid", "superseded", "overflow", "old", "stray", "waiting")  # beside: used
CAUSE = {"hold": "held", "zero": "zero", "skip": "skipped", "abort": "held"}  # abort: before the first packet only
Numbers = list[tuple[int, int]]  # (epoch, number)


@dataclass
class Account:
    """What a record says, put in order."""

    used: Numbers = field(default_factory=list)
    fates: dict[str, Numbers] = field(default_factory=lambda: {kind: [] for kind in FATES})
    lost: Numbers = field(default_factory=list)
    without: list[int] = field(default_factory=list)  # ticks that used no packet
    merged: list[int] = field(default_factory=list)
    gaps: list[tuple[int, int, int, str]] = field(default_factory=list)  # first tick, last tick, first due, cause
    events: list[Event] = field(default_factory=list)
    ticks: list[Tick] = field(default_factory=list)

    def numbers(self, kind: str) -> list[int]:
        """Of a fate, or of the lost, whatever the epoch."""
        return sorted(s for _, s in (self.lost if kind == "lost" else self.fates[kind]))

    def of(self, kind: str) -> list[dict[str, object]]:
        return [dict(event.details) for event in self.events if event.kind == kind]


def read(items: Sequence[Tick | Event]) -> Account:
    """The record, each number with its epoch: those after an event `restart` are of the next one."""
    found, epoch = Account(), 0
    for item in items:
        if isinstance(item, Tick):
            found.ticks.append(item)
            if item.seq >= 0:
                found.used.append((epoch, item.seq))
            else:
                found.without.append(item.tick)
            continue
        found.events.append(item)
        details = item.details
        if item.kind == "restart":
            epoch += 1
        elif item.kind in FATES:
            found.fates[item.kind].append((epoch, details["seq"]))
        elif item.kind == "lost":
            assert details["n"] == details["last"] - details["first"] + 1, details
            found.lost += [(details["epoch"], s) for s in range(details["first"], details["last"] + 1)]
        elif item.kind == "ticks merged":
            assert details["into"] == details["last"] + 1, details
            found.merged += range(details["first"], details["last"] + 1)
        elif item.kind == "gap":
            found.gaps.append(tuple(details[n] for n in ("first_tick", "last_tick", "first_due", "cause")))  # type: ignore[arg-type]
    return found


def audit(
    items: Sequence[Tick | Event], given: Sequence[Packet], policy: Policy, original: Callable[[Array], int]
) -> Account:
    """The record's account; AssertionError where it does not add up. given: every packet that the source gave out, in
    order. original: the number of a sample, from its values, whatever number its packet had."""
    found = read(items)
    each_packet_ends_once(found, given)
    each_number_is_accounted_for(found)
    each_tick_is_there_once(found)
    each_gap_is_said_once(found)
    each_row_is_its_packets(found, given, policy, original)
    return found


def each_packet_ends_once(found: Account, given: Sequence[Packet]) -> None:
    ends = Counter(s for _, s in found.used)
    for numbers in found.fates.values():
        ends.update(s for _, s in numbers)
    came = Counter(packet.seq for packet in given)
    assert ends == came, f"ended but did not come: {ends - came}; came but did not end: {came - ends}"
    assert len(set(found.used)) == len(found.used), "a packet was decoded twice"


def each_number_is_accounted_for(found: Account) -> None:
    """What came in an epoch, in order, and what is lost: together first .. highest, with nothing in common."""
    came = set(found.used).union(*(found.fates[k] for k in FATES if k not in ("old", "stray")))
    assert len(set(found.lost)) == len(found.lost), "a number is lost twice"
    assert not came & set(found.lost), f"lost, and yet there: {came & set(found.lost)}"
    for epoch in {e for e, _ in came}:
        of_it = [s for e, s in came if e == epoch]
        lost = {s for e, s in found.lost if e == epoch}
        missing = set(range(min(of_it), max(of_it) + 1)) - set(of_it)
        assert missing == lost, f"epoch {epoch}: never came {sorted(missing)}, lost {sorted(lost)}"
    assert {e for e, _ in found.lost} <= {e for e, _ in came}
    for event in found.events:
        if event.kind == "restart":
            assert event.details["after"] in [s for _, s in came | set(found.lost)], "a restart after no number"
    for kind in ("jump", "restart"):
        for details in found.of(kind):
            assert details["seq"] in found.numbers("late"), f"{kind}: its first packet is only its announcement"


def each_tick_is_there_once(found: Account) -> None:
    ticks = sorted([tick.tick for tick in found.ticks] + found.merged)
    assert ticks == list(range(len(ticks))), "a tick is missing, or is there twice"
    assert [tick.tick for tick in found.ticks] == sorted(tick.tick for tick in found.ticks)


def each_gap_is_said_once(found: Account) -> None:
    covered = [(tick, cause) for first, last, _, cause in found.gaps for tick in range(first, last + 1)]
    assert len(covered) == len({tick for tick, _ in covered}), "two gaps have a tick in common"
    bad = [(tick.tick, tick.cause) for tick in found.ticks if tick.cause != "fresh"]
    assert [c for c in covered if c[0] not in set(found.merged)] == bad, "gaps are not the ticks without a good packet"
    if any(found.of(kind) for kind in ("restart", "jump", "places moved", "used late")):
        return  # then a number's place is not for ever
    ended = {s: kind for kind in (*FATES, "lost") for s in found.numbers(kind)}
    highest = max((s for _, s in found.used), default=-1)
    without = set(found.without)
    for first, last, due, cause in found.gaps:
        if cause == "stream lost":  # has ticks with packets, too, which are not good enough yet
            continue
        for tick in without & set(range(first, last + 1)):
            s = due + tick - first
            assert s in ended or s > highest, f"tick {tick}: number {s} was due, and nothing says what became of it"


def each_row_is_its_packets(
    found: Account, given: Sequence[Packet], policy: Policy, original: Callable[[Array], int]
) -> None:
    rows: dict[int, list[Array]] = {}
    for packet in given:
        rows.setdefault(packet.seq, []).append(packet.values)
    held: Array = np.zeros(found.ticks[0].inputs.shape) if found.ticks else np.zeros(0)
    last, newest = np.array(policy.safe), -1
    pairs = sorted({(p.seq, original(p.values)) for p in given if np.isfinite(p.values).all()})
    # Where a producer began again, or seems to, a late packet's number can be one of either count.
    rising = not found.of("restart") and all(a < b and s < t for (s, a), (t, b) in itertools.pairwise(pairs))
    for tick in found.ticks:
        if tick.seq >= 0:
            assert any((tick.inputs == row).all() for row in rows[tick.seq]), (
                f"tick {tick.tick}: another packet's values"
            )
            assert original(tick.inputs) > newest or not rising, f"tick {tick.tick}: an older sample than the last"
            newest, held = original(tick.inputs), tick.inputs
        elif policy.lost == "skip":
            assert np.isnan(tick.inputs).all(), f"tick {tick.tick}: skip decoded something"
        else:
            expected = np.zeros_like(held) if policy.lost == "zero" else held
            assert (tick.inputs == expected).all(), f"tick {tick.tick}: not what the policy says"
        assert tick.cause in ("stream lost", "fresh" if tick.seq >= 0 else CAUSE[policy.lost]), tick.cause
        assert tick.safe == (tick.cause == "stream lost")
        assert (tick.emitted_ns == 0) == (tick.cause == "skipped")
        if tick.safe:
            assert (tick.outputs == np.array(policy.safe)).all()
        elif tick.cause == "skipped":
            assert (tick.outputs == last).all()
        last = tick.outputs


def agrees(found: Account, summary: Summary, n_given: int) -> None:
    """What the run says in the end is what its record says."""
    assert summary.imbalances() == []
    assert summary.packets["received"] == n_given
    assert {kind: len(numbers) for kind, numbers in found.fates.items()} == {k: summary.packets[k] for k in FATES}
    assert (len(found.used), len(found.lost)) == (summary.packets["used"], summary.packets["lost"])
    assert (len(found.ticks), len(found.merged)) == (summary.ticks, summary.merged)
    assert Counter(tick.cause for tick in found.ticks) == Counter({c: n for c, n in summary.causes.items() if n})
    (stopped,) = found.of("stopped")
    assert (stopped["reason"], stopped["ticks"], stopped["safe_value_emitted"]) == (summary.ended, summary.ticks, True)
