"""What a run comes to: counts that add up, percentiles per stage, and the box they were measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spikeport.loop.accounting import Accounting, Histogram, duration, table
from spikeport.loop.packets import NS
from spikeport.loop.sequence import EXPECTED, RECEIVED

_SHOWN = 8  # lost ranges in the text; as_dict() has all that were kept


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One run. ended: why.  ticks: that were run.  merged: that were overdue and became part of a later one.

    causes: of the ticks that were run.  packets: how each packet and each number ended (sequence.py).  used_late: of
    the used ones, those whose place had passed.  source_overflow: of the lost ones, those that the source's own buffer
    gave up (as it says).  lost_ranges: (epoch, first, last) of sequence numbers.  lost_streams: how often the stream
    was declared lost.  transports: what source and sink report, where they do.  nonfinite: ticks with an output that
    was NaN or infinite, for which the safe value went out.  recorder: what it lost, why it stopped, and
    what the system refused it.
    """

    ended: str
    ticks: int
    merged: int
    period_ns: int
    causes: Mapping[str, int]
    packets: Mapping[str, int]
    used_late: int
    source_overflow: int
    lost_ranges: tuple[tuple[int, int, int], ...]
    lost_ranges_left_out: int
    restarts: int
    lost_streams: int
    nonfinite: int
    accounting: Accounting
    timer_floor: Histogram | None = None
    decoder: Mapping[str, Any] = field(default_factory=dict)
    transports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    clock: Mapping[str, Any] = field(default_factory=dict)
    recorder: Mapping[str, Any] = field(default_factory=dict)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it."""
        return self.ended == "interrupted"

    def imbalances(self) -> list[str]:
        """Sums that do not hold, each a fault of the accounting; empty is right."""
        p = self.packets
        sums = {
            "packets received": (p["received"], sum(p[name] for name in RECEIVED)),
            "numbers expected": (p["expected"], sum(p[name] for name in EXPECTED)),
            "ticks": (self.ticks, sum(self.causes.values())),
        }
        return [
            f"{name}: {whole}, but the parts come to {parts}" for name, (whole, parts) in sums.items() if whole != parts
        ]

    def as_dict(self) -> dict[str, Any]:
        return {
            "ended": self.ended,
            "ticks": self.ticks,
            "merged_ticks": self.merged,
            "period_s": self.period_ns / NS,
            "causes": dict(self.causes),
            "packets": dict(self.packets),
            "used_late": self.used_late,
            "source_overflow": self.source_overflow,
            "lost_ranges": [list(r) for r in self.lost_ranges],
            "lost_ranges_left_out": self.lost_ranges_left_out,
            "restarts": self.restarts,
            "lost_streams": self.lost_streams,
            "nonfinite": self.nonfinite,
            "imbalances": self.imbalances(),
            "timing": self.accounting.as_dict(),
            "timer_floor": None if self.timer_floor is None else self.timer_floor.as_dict(),
            "decoder": dict(self.decoder),
            "transports": {name: dict(report) for name, report in self.transports.items()},
            "clock": dict(self.clock),
            "recorder": dict(self.recorder),
        }

    def text(self) -> str:
        """To read."""
        p, a = self.packets, self.accounting
        seconds = (self.ticks + self.merged) * self.period_ns / NS
        lines = [
            f"ended           {self.ended}",
            f"ticks           {self.ticks} of {duration(self.period_ns)}, {seconds:g} s"
            + (f", and {self.merged} merged" if self.merged else ""),
            "                " + ", ".join(f"{n} {name}" for name, n in self.causes.items() if n or name == "fresh"),
            f"packets         {p['received']} received: "
            + ", ".join(f"{p[name]} {name}" for name in RECEIVED if p[name] or name == "used"),
        ]
        if p["lost"]:
            ranges = [f"{a}" if a == b else f"{a}-{b}" for _, a, b in self.lost_ranges[:_SHOWN]]
            more = len(self.lost_ranges) + self.lost_ranges_left_out - len(ranges)
            lines.append(f"lost            {p['lost']}: " + ", ".join(ranges) + (f" and {more} more" if more else ""))
        for name, n in (
            ("used late", self.used_late),
            ("source overflow", self.source_overflow),
            ("restarts", self.restarts),
            ("streams lost", self.lost_streams),
            ("output not finite", self.nonfinite),
        ):
            if n:
                lines.append(f"{name:15} {n}")
        for name, report in self.transports.items():
            lines.append(f"{name:15} " + ", ".join(f"{what} {n}" for what, n in report.items() if n))
        lines += [f"wrong sum       {line}" for line in self.imbalances()] + self._record()
        lines.append(
            f"deadlines       {a.misses} missed by more than {duration(a.budget_ns)}, longest run {a.longest_run}"
        )
        floor = {} if self.timer_floor is None else {"timer floor": self.timer_floor}
        lines += ["", table({**a.stages, **floor})]
        lines += self._box()
        return "\n".join(lines)

    def _record(self) -> list[str]:
        """What the record does not have, and what the system refused it."""
        r = self.recorder
        lines = [f"recorder        {refused}" for refused in r.get("refused", ())]
        if r.get("lost_ticks") or r.get("lost_events"):
            why = r.get("broken") or "the disk could not keep up"
            lines.append(f"record lost     {r['lost_ticks']} ticks and {r['lost_events']} events: {why}")
        return lines

    def _box(self) -> list[str]:
        box = self.clock.get("environment", {})
        lines = [f"clock           {self.clock.get('kind')}"]
        if box:
            load = " ".join(map(str, box.get("load", []))) or "unknown"
            lines.append(f"box             {box['kernel']}, {box['cpu']}, {box['cpus']} cores, load {load}")
            lines.append(f"scheduler       {box.get('scheduler', 'unknown')}")
        lines += [f"{name:15} {answer}" for name, answer in self.clock.get("got", {}).items()]
        return lines


def reports(**parts: Any) -> dict[str, Mapping[str, Any]]:
    """What those parts report that do."""
    return {name: dict(part.report()) for name, part in parts.items() if hasattr(part, "report")}
