"""A record in memory, as arrays, or summed up.

record = read_record("session.spklog")       arrays per column, events, header, ending
with RecordReader("session.spklog") as r:     one at a time, for what does not fit in memory (reader.py)
    for item in r: ...
r.ending
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.loop.packets import Array
from spikeport.loop.record.reader import INTEGERS, Ending, Event, RecordReader, Source, Tick, lost_by
from spikeport.snn.errors import SpikeportError

LIMIT = 2 << 30  # bytes of a file that read_record takes into memory, and of an array that it makes
EVENT_LIMIT = 64 << 20  # bytes of events that it takes: as objects they are some ten times as large
_STAMPS = np.dtype(  # format.STAMPS, for many at once
    [(name, "<i8") for name in INTEGERS]
    + [("cause", "u1"), ("safe", "u1"), ("zero", "<u2"), ("values in", "<u4"), ("values out", "<u4")]
)


@dataclass(frozen=True, kw_only=True)
class Record:
    """A record in memory, T ticks; stamps in ns on the loop's clock.

    tick, seq, deadline_ns, source_ns, received_ns, start_ns, end_ns, emitted_ns: (T,) int64.  cause: (T,) numbers into
    `causes`.  safe: (T,).  inputs: (T, n_inputs), rows of NaN where the decoder was given None.
    outputs: (T, n_outputs).  header: what the loop said at the start.  versions, machine: of who wrote it; machine is
    empty in a deterministic record.
    """

    tick: NDArray[np.int64]
    seq: NDArray[np.int64]
    deadline_ns: NDArray[np.int64]
    source_ns: NDArray[np.int64]
    received_ns: NDArray[np.int64]
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    emitted_ns: NDArray[np.int64]
    cause: NDArray[np.uint8]
    safe: NDArray[np.bool_]
    inputs: Array
    outputs: Array
    events: tuple[Event, ...]
    header: Mapping[str, Any]
    versions: Mapping[str, Any]
    machine: Mapping[str, Any]
    causes: tuple[str, ...]
    ending: Ending

    def __len__(self) -> int:
        return int(self.tick.size)

    def __iter__(self) -> Iterator[Tick | Event]:
        """Ticks and events in their order, as RecordReader gives them."""
        columns = [getattr(self, name).tolist() for name in INTEGERS]
        events = iter([*self.events, None])
        event = next(events)
        for i, stamps in enumerate(zip(*columns, strict=True)):
            while event is not None and event.index == i:
                yield event
                event = next(events)
            yield Tick(
                **dict(zip(INTEGERS, stamps, strict=True)),
                cause=self.causes[self.cause[i]],
                safe=bool(self.safe[i]),
                inputs=self.inputs[i],
                outputs=self.outputs[i],
            )
        while event is not None:
            yield event
            event = next(events)

    @property
    def emitted(self) -> NDArray[np.bool_]:
        """(T,) which ticks gave the sink something: all but those skipped, and one that it did not take."""
        skipped = [i for i, name in enumerate(self.causes) if name == "skipped"]
        failed = [n for e in self.events if e.kind == "not taken" and isinstance(n := e.details.get("tick"), int)]
        kept: NDArray[np.bool_] = ~(np.isin(self.tick, failed) & (self.emitted_ns == 0))
        return kept & (self.safe | ~np.isin(self.cause, skipped))

    @property
    def lost(self) -> Mapping[str, int]:
        """What the recorder itself could not take: ticks and events."""
        return {name: sum(lost_by(event)[name] for event in self.events) for name in ("ticks", "events")}

    def causes_of(self) -> list[str]:
        """(T,) the causes in words."""
        return [self.causes[i] for i in self.cause]


def read_record(source: Source, *, limit: int = LIMIT) -> Record:
    """All that is whole of a record (a file, or its bytes), in memory. A file above `limit` bytes is refused."""
    with RecordReader(source) as reader:
        if reader.size > limit:
            raise _too_much(reader.name, f"{reader.size} bytes, limit {limit} (limit=)")
        return _gather(reader, limit)


def summary(source: Source) -> dict[str, Any]:
    """What a record holds, in memory that does not grow: header, ticks and causes, events by kind, what is lost, the
    end."""
    causes, kinds = dict[str, int](), dict[str, int]()
    lost = {"ticks": 0, "events": 0}
    safe, first, last = 0, None, None
    with RecordReader(source) as reader:
        for item in reader:
            if isinstance(item, Event):
                kinds[item.kind] = kinds.get(item.kind, 0) + 1
                lost = {name: n + lost_by(item)[name] for name, n in lost.items()}
                continue
            causes[item.cause] = causes.get(item.cause, 0) + 1
            safe += item.safe
            first = item.deadline_ns if first is None else first
            last = item.deadline_ns
    return {
        "file": reader.name, "bytes": reader.size, "ending": str(reader.ending), "ticks": sum(causes.values()),
        "causes": causes, "safe": safe, "events": kinds, "lost": lost, "first_deadline_ns": first,
        "last_deadline_ns": last, "header": reader.header, "versions": reader.versions, "machine": reader.machine,
    }  # fmt: skip


def _gather(reader: RecordReader, limit: int) -> Record:
    payloads, events = list[bytes](), list[Event]()
    for item in reader.frames():
        if isinstance(item, bytes):
            payloads.append(item)
            continue
        events.append(item)
        if reader.event_bytes > EVENT_LIMIT:
            raise _too_much(reader.name, f"more than {EVENT_LIMIT} bytes of events")
    stamps = np.frombuffer(b"".join(payload[: _STAMPS.itemsize] for payload in payloads), dtype=_STAMPS)
    inputs, outputs = (_empty(stamps[n].astype(np.int64), reader.name, n, limit) for n in ("values in", "values out"))
    for n_in, n_out in sorted(set(zip(stamps["values in"].tolist(), stamps["values out"].tolist(), strict=True))):
        rows = np.flatnonzero((stamps["values in"] == n_in) & (stamps["values out"] == n_out))
        flat = np.frombuffer(b"".join(payloads[i][_STAMPS.itemsize :] for i in rows), dtype="<f8")
        values = flat.reshape(rows.size, n_in + n_out)
        if n_in:
            inputs[rows] = values[:, :n_in]
        if n_out:
            outputs[rows] = values[:, n_in:]
    return Record(
        **{name: stamps[name].astype(np.int64) for name in INTEGERS},
        cause=stamps["cause"].astype(np.uint8),
        safe=stamps["safe"] == 1,
        inputs=inputs,
        outputs=outputs,
        events=tuple(events),
        header=reader.header,
        versions=reader.versions,
        machine=reader.machine,
        causes=reader.causes,
        ending=reader.ending,
    )


def _too_much(name: str, what: str) -> SpikeportError:
    return SpikeportError(f"{name}: {what}", hint="RecordReader reads it one by one")


def _empty(widths: NDArray[np.int64], name: str, what: str, limit: int) -> Array:
    """(T, n) NaN, for rows of n values or none."""
    there = np.unique(widths[widths > 0])
    if there.size > 1:
        raise _too_much(name, f"ticks with {', '.join(map(str, there))} {what} have no common columns")
    width = int(there[0]) if there.size else 0
    if 8 * width * widths.size > limit:  # a few wide rows among many empty ones: a small file, a large array
        raise _too_much(name, f"{widths.size} x {width} {what}, limit {limit} bytes")
    return np.full((widths.size, width), np.nan)
