"""What a record holds, in one pass and in memory that does not grow: how it ended, counts, gaps, times per stage."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spikeport.live_decoder import decoder_of
from spikeport.loop.accounting import RELATIVE_ERROR, Accounting
from spikeport.loop.configuration import read_file
from spikeport.loop.record.nwb import Session, Subject
from spikeport.loop.record.reader import Event, RecordReader, Tick, lost_by
from spikeport.loop.record.replay import Comparison, replay
from spikeport.snn.errors import SpikeportError

KEPT = 1000  # gaps and lost ranges that are listed; the others are counted
_LATENESS = "deadline to start"  # a record has no stamp of when the loop came to a tick, only of when decoding began


class _Counts:
    """Counts that grow with the reading."""

    def __init__(self, budget_ns: int) -> None:
        self.accounting = Accounting(budget_ns)
        self.causes: dict[str, int] = {}
        self.events: dict[str, int] = {}
        self.gaps: list[Mapping[str, Any]] = []
        self.lost: list[Mapping[str, Any]] = []
        self.numbers = {"gaps": 0, "gap_ticks": 0, "longest_gap": 0, "lost_packets": 0, "lost_ranges": 0}
        self.recorder = {"ticks": 0, "events": 0}
        self.safe = self.merged = 0
        self.last = -1
        self.stopped: Mapping[str, Any] = {}

    def tick(self, t: Tick) -> None:
        self.causes[t.cause] = self.causes.get(t.cause, 0) + 1
        self.safe += t.safe
        self.last = t.tick
        if t.seq >= 0:
            self.accounting.packet(t.source_ns, t.received_ns, t.start_ns, t.emitted_ns)
        self.accounting.tick(t.deadline_ns, t.start_ns, t.start_ns, t.end_ns, t.emitted_ns)

    def event(self, event: Event) -> None:
        details = event.details
        self.events[event.kind] = self.events.get(event.kind, 0) + 1
        for name, n in lost_by(event).items():
            self.recorder[name] += n
        if event.kind == "gap":
            ticks = int(details["last_tick"]) - int(details["first_tick"]) + 1
            self.numbers["gaps"] += 1
            self.numbers["gap_ticks"] += ticks
            self.numbers["longest_gap"] = max(self.numbers["longest_gap"], ticks)
            _keep(self.gaps, details)
        elif event.kind == "lost":
            self.numbers["lost_ranges"] += 1
            self.numbers["lost_packets"] += int(details["n"])
            _keep(self.lost, details)
        elif event.kind == "ticks merged":
            n = int(details["last"]) - int(details["first"]) + 1
            self.merged += n
            self.accounting.merged(n)
        elif event.kind == "stopped":
            self.stopped = details


def _keep(kept: list[Mapping[str, Any]], details: Mapping[str, Any]) -> None:
    if len(kept) < KEPT:
        kept.append(details)


def describe_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """How it ended, counts by cause and kind, gaps, lost packets, histograms per stage, and its header."""
    with RecordReader(path) as reader:
        period_ns = _whole(reader.header.get("period_ns"))
        policy = reader.header.get("policy")
        budget = policy.get("budget") if isinstance(policy, Mapping) else None
        counts = _Counts(round(budget * 1e9) if isinstance(budget, float) else period_ns)
        for item in reader:
            try:
                counts.event(item) if isinstance(item, Event) else counts.tick(item)
            except (KeyError, TypeError, ValueError):  # an event of another program's, with our name
                raise SpikeportError(f"{path}: an event {item!r:.200}, which this program does not write") from None
        ticks = sum(counts.causes.values())
        stages = {_LATENESS if n == "lateness" else n: h.as_dict() for n, h in counts.accounting.stages.items()}
        return {
            "file": reader.name, "bytes": reader.size, "ending": str(reader.ending),
            "whole": reader.ending.whole,
            "stopped": dict(counts.stopped), "ticks": ticks, "merged_ticks": counts.merged,
            "period_s": period_ns / 1e9, "causes": counts.causes, "safe": counts.safe, "events": counts.events,
            **counts.numbers, "gap_list": counts.gaps, "lost_list": counts.lost, "record_lost": counts.recorder,
            "timing": {"unit": "ns", "relative_error": RELATIVE_ERROR, "stages": stages,
                       "budget": counts.accounting.budget_ns, "misses": counts.accounting.misses,
                       "longest_run_of_misses": counts.accounting.longest_run},
            "header": reader.header, "versions": reader.versions, "machine": reader.machine,
        }  # fmt: skip


def replay_record(
    path: str | os.PathLike[str], network: str | os.PathLike[str], smoothing: str | os.PathLike[str] | None = None
) -> Comparison:
    """The recorded inputs into the network of a file, decoded as the record says (seed, dtype, period), compared bit
    for bit. A shadow is left out: it was never heard."""
    with RecordReader(path) as reader:
        recorded = reader.header.get("decoder")
        if not isinstance(recorded, Mapping):
            raise SpikeportError(f"{path}: its header has no decoder", hint="record.replay.replay, in a program")
        heard = {name: value for name, value in recorded.items() if name != "shadow"}
        reader.header = {**reader.header, "decoder": heard}
        return replay(reader, decoder_of(heard, Path(network), None if smoothing is None else Path(smoothing)))


def read_session(path: str | os.PathLike[str]) -> tuple[Session, Subject]:
    """What NWB asks of a session, from a file of names and texts."""
    values, problems = read_file(path, texts=True)
    if problems.found:
        raise SpikeportError(f"{path}: {len(problems.found)} problems", problems.found)
    for name in ("experimenter", "keywords"):
        if isinstance(values.get(name), str):
            values[name] = [values[name]]
    return Session.of(values)


def _whole(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
