"""Whatever comes over a transport ends no run: it is a packet that a record can hold, or counted by its reason."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from loop_parts import MS, Adder, Kept, policy

from spikeport.loop.clocks import VirtualClock
from spikeport.loop.loop import Loop
from spikeport.loop.sinks.memory import MemorySink
from spikeport.loop.transports.base import TransportSource
from spikeport.loop.transports.frame import pack_sample
from spikeport.loop.transports.inbox import Inbox
from spikeport.loop.transports.lsl import LslSource
from spikeport.loop.transports.numbering import Counter, Inferred
from spikeport.loop.transports.redis import TIMES, RedisSource

I64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), -(2**62), 2**62 - 1, 2**62, 2**63 - 1])
U64 = st.integers(0, 2**64 - 1) | st.sampled_from([2**62 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
NUMBERS = st.integers(0, 30) | U64
STAMPS = st.integers(0, 30_000_000) | I64
FRAMES = st.builds(
    lambda seq, stamp, session, clock, n: pack_sample(
        np.ones(n), session=session, seq=seq, source_ns=stamp, clock=clock
    ),
    NUMBERS, STAMPS, st.integers(1, 3), st.integers(0, 1) | U64, st.sampled_from([1, 1, 1, 2]),
)  # fmt: skip


class Fed(TransportSource):
    """A source that is fed `polls[i]` at its i-th poll."""

    kind = "fed"

    def __init__(self, polls: list[list[Any]], inner: Any = None, stamps: str = "auto") -> None:
        super().__init__(Inbox("fed source", 1, 64, stamps) if inner is None else inner._inbox)
        self.feed = self._inbox.frame if inner is None else lambda item: one_of(inner, item)
        self.polls = polls

    def _open(self) -> None:
        self.left = list(self.polls)

    def _read(self, limit: int) -> None:
        for item in self.left.pop(0) if self.left else ():
            self.feed(item)

    def close(self) -> None:
        pass


def one_of(inner: Any, item: Any) -> None:
    """An LSL sample, or a Redis entry, as the source's own loop takes it."""
    inner._inbox.counts["came"] += 1
    if isinstance(inner, LslSource):
        inner._one(np.array(item[0]), item[1], inner._inbox.now())
    else:
        inner._entry(b"1-1", item, inner._inbox.now())


def holds(source: Fed, **changes: Any) -> None:
    """It runs to its end, the record can be read, every sum is right, and everything that came is in one count."""
    recorder = Kept()
    n = len(source.polls) + 2
    choices: dict[str, Any] = {"overload": "latest", "lost_after": 3, **changes}
    summary = Loop(source, Adder(), MemorySink(), VirtualClock(), policy(**choices), recorder, period=MS).run(n)
    assert summary.ended == "all ticks run"
    assert summary.imbalances() == []
    assert len(recorder.ticks) == summary.ticks
    json.dumps(summary.as_dict(), allow_nan=False)
    assert summary.text()
    found = source.report()
    other = sum(found[what] for what in ("packets", "stale", "unconfirmed", "overflow"))
    assert found["came"] == other + sum(found["malformed"].values())
    assert summary.packets["received"] == found["packets"]


@settings(deadline=None)
@given(
    st.lists(st.lists(FRAMES | st.binary(max_size=60), max_size=4), max_size=8), st.sampled_from(["auto", "same clock"])
)
def test_no_frame_ends_a_run_and_each_is_counted_once(polls: list[list[bytes]], stamps: str) -> None:
    holds(Fed(polls, stamps=stamps))


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.lists(st.floats(), min_size=2, max_size=2), st.floats()), max_size=4), max_size=8),
    st.booleans(),
)
def test_no_lsl_sample_ends_a_run(polls: list[list[Any]], counted: bool) -> None:
    inner = LslSource(1, stream="s", sequence="last channel" if counted else "inferred")
    inner._inferred = None if counted else Inferred(1000.0)
    holds(Fed([[(v if counted else v[:1], t) for v, t in poll] for poll in polls], inner))


HOSTILE = {
    "samples": st.binary(max_size=9),
    "ts": st.binary(max_size=17)
    | U64.map(lambda n: struct.pack("<Q", n))
    | st.floats().map(lambda x: struct.pack("<d", x)),
    "i": st.binary(max_size=9) | NUMBERS.map(lambda n: struct.pack("<Q", n)),
    "sync": st.binary(max_size=9)
    | st.integers().map(lambda n: b'{"l": %d}' % n)
    | st.just(b'{"l": 1' + b"0" * 400 + b"}")
    | st.just(b'{"l": 1' + b"0" * 5000 + b"}"),
    "clock": st.binary(max_size=20),
}
GOOD = {"samples": np.ones(1).tobytes(), "ts": bytes(16), "i": bytes(8), "sync": b'{"l": 0}', "clock": bytes(8)}
FIELDS = st.fixed_dictionaries({}, optional=HOSTILE).map(lambda changes: {**GOOD, **changes})


@settings(deadline=None)
@given(
    st.lists(st.lists(FIELDS, max_size=4), max_size=8),
    st.sampled_from(TIMES),
    st.sampled_from([None, Counter("i"), Counter("i", step=30), Counter("i", "int64"), Counter("sync.l")]),
)
@example([[{**GOOD, "i": b"\xff" * 8}]], "uint64 ns", Counter("i"))
@example([[{**GOOD, "ts": b"\xff" * 8}]], "uint64 ns", Counter("i"))
@example([[{**GOOD, "ts": struct.pack("<d", float("inf"))}]], "float64 s", Counter("i"))
@example([[{**GOOD, "sync": b'{"l": 1' + b"0" * 400 + b"}"}]], "uint64 ns", Counter("sync.l"))
def test_no_redis_entry_ends_a_run(
    polls: list[list[dict[str, bytes]]], time_type: str, counter: Counter | None
) -> None:
    if counter is not None:
        counter.reset()
    inner = RedisSource(1, stream="s", counter=counter, time_type=time_type)
    holds(Fed([[{k.encode(): v for k, v in fields.items()} for fields in poll] for poll in polls], inner))


def test_a_number_that_cannot_be_leaves_the_count_where_it_was() -> None:
    counter = Counter("i")
    for count in (2**64 - 1, 2**62):
        with pytest.raises(ValueError, match="must be from 0 to 2"):
            counter.number(count)
    assert [counter.number(count)[0] for count in (30, 31)] == [30, 31]
