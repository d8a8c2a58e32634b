"""Times in fixed memory: histograms of known relative error, deadline misses, and the box they were measured on."""

from __future__ import annotations

import functools
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BITS = 7
RELATIVE_ERROR = 2.0**-_BITS  # a percentile is at most this much too large, relatively; below 256 ns it is exact
_EXACT = 2 << _BITS
_BINS = (64 << _BITS) + _EXACT
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


class Histogram:
    """Counts of whole nanoseconds in bins whose width grows with the value: 128 to an octave, some 60 kB whatever n.

    Bin i < 256 holds the value i; above, e = floor(log2 v) - 7 and i = 128 e + floor(v / 2^e), so that a bin is at most
    1/128 of its values wide. n, sum, min and max are exact. A negative value (stamps of a clock that was set back) has
    no bin: it is counted in `negative`, and in nothing else.
    """

    __slots__ = ("bins", "largest", "n", "negative", "smallest", "total")

    def __init__(self) -> None:
        self.bins = [0] * _BINS
        self.n = self.total = self.negative = 0
        self.smallest = self.largest = 0

    def add(self, ns: int) -> None:
        """Count one value."""
        if ns < 0:
            self.negative += 1
            return
        if ns < _EXACT:
            self.bins[ns] += 1
        else:
            e = ns.bit_length() - _BITS - 1
            self.bins[min((e << _BITS) + (ns >> e), _BINS - 1)] += 1
        if ns > self.largest:
            self.largest = ns
        if self.n == 0 or ns < self.smallest:
            self.smallest = ns
        self.n += 1
        self.total += ns

    def quantile(self, q: float) -> int:
        """The value that at least q n values do not exceed: its bin's upper end, and never above the maximum."""
        if not self.n:
            return 0
        rank, seen = max(1, -int(-q * self.n // 1)), 0  # ceil
        for i, count in enumerate(self.bins):
            seen += count
            if seen >= rank:
                return min(_upper(i), self.largest)
        return self.largest

    def as_dict(self) -> dict[str, Any]:
        """n, min, mean, percentiles and max in ns; empty ones say n = 0 and no times."""
        if not self.n:
            return {"n": 0, "negative": self.negative}
        return {
            "n": self.n,
            "min": self.smallest,
            "mean": self.total / self.n,
            **{name: self.quantile(q) for name, q in QUANTILES.items()},
            "max": self.largest,
            "negative": self.negative,
        }


def _upper(i: int) -> int:
    if i < _EXACT:
        return i
    e = (i >> _BITS) - 1
    return ((i - (e << _BITS) + 1) << e) - 1


STAGES = {  # what each histogram measures
    "source to received": "producer's stamp to ours; across two clocks it holds their offset too",
    "received to start": "waiting for the tick",
    "decode": "start to end of decoding",
    "end to emitted": "the sink's acceptance",
    "end to end": "producer's stamp to emitted",
    "lateness": "deadline to start of the tick",
}


class Accounting:
    """Histograms per stage, and the ticks that were not out in time.

    A tick misses where it is emitted more than budget_ns after its deadline; a tick that was merged into a later one
    never came out, and is a miss too.
    """

    def __init__(self, budget_ns: int) -> None:
        self.budget_ns = budget_ns
        self.stages = {name: Histogram() for name in STAGES}
        s = self.stages
        self._source, self._waited, self._decode = s["source to received"], s["received to start"], s["decode"]
        self._emit, self._whole, self._late = s["end to emitted"], s["end to end"], s["lateness"]
        self.misses = self.longest_run = self.run = self.worst_ns = 0

    def packet(self, source_ns: int, received_ns: int, start_ns: int, emitted_ns: int) -> None:
        """A packet that was used; emitted_ns 0 where nothing was emitted."""
        self._source.add(received_ns - source_ns)
        self._waited.add(start_ns - received_ns)
        if emitted_ns:
            self._whole.add(emitted_ns - source_ns)

    def tick(self, deadline_ns: int, begun_ns: int, start_ns: int, end_ns: int, emitted_ns: int) -> bool:
        """A tick that was run; True if it missed. begun_ns: when the loop came to it."""
        self._late.add(begun_ns - deadline_ns)
        self._decode.add(end_ns - start_ns)
        if emitted_ns:
            self._emit.add(emitted_ns - end_ns)
        late = (emitted_ns or end_ns) - deadline_ns
        if late <= self.budget_ns:
            self.run = self.worst_ns = 0
            return False
        self.worst_ns = max(self.worst_ns, late)
        self._miss(1)
        return True

    def merged(self, n: int) -> None:
        """n ticks that never came out."""
        self._miss(n)

    def _miss(self, n: int) -> None:
        self.misses += n
        self.run += n
        self.longest_run = max(self.longest_run, self.run)

    def as_dict(self) -> dict[str, Any]:
        return {
            "unit": "ns",
            "relative_error": RELATIVE_ERROR,
            "stages": {name: histogram.as_dict() for name, histogram in self.stages.items()},
            "budget": self.budget_ns,
            "misses": self.misses,
            "longest_run_of_misses": self.longest_run,
        }


def duration(ns: float) -> str:
    """A time to read: 950 ns, 12.3 us, 4.56 ms, 1.2 s."""
    for unit, scale in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if abs(ns) >= scale:
            return f"{ns / scale:.3g} {unit}"
    return f"{ns:.0f} ns"


def table(histograms: Mapping[str, Histogram | Mapping[str, Any]]) -> str:
    """Histograms as lines to read."""
    lines = [f"{'':20}{'n':>9}" + "".join(f"{name:>10}" for name in (*QUANTILES, "max"))]
    for name, histogram in histograms.items():
        d = histogram.as_dict() if isinstance(histogram, Histogram) else histogram
        cells = "".join(f"{duration(d[key]):>10}" for key in (*QUANTILES, "max")) if d["n"] else ""
        negative = f"   and {d['negative']} negative" if d["negative"] else ""
        lines.append(f"{name:20}{d['n']:>9}{cells}{negative}")
    return "\n".join(lines)


def environment() -> dict[str, Any]:
    """The box: kernel, processor, cores, load, scheduler of this process, Python."""
    found: dict[str, Any] = {
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cpus": os.cpu_count() or 1,
        "python": sys.version.split()[0],
    }
    if hasattr(os, "getloadavg"):
        found["load"] = [round(x, 2) for x in os.getloadavg()]
    if hasattr(os, "sched_getscheduler"):
        found["scheduler"] = scheduler()
        found["affinity"] = sorted(os.sched_getaffinity(0))
    return found


def scheduler() -> str:
    """The policy and priority that this thread has now, e.g. "SCHED_FIFO 50"."""
    names = ("SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_IDLE")
    policy = os.sched_getscheduler(0) & ~getattr(os, "SCHED_RESET_ON_FORK", 0)
    name = next((n for n in names if getattr(os, n, None) == policy), str(policy))
    priority = os.sched_getparam(0).sched_priority
    return f"{name} {priority}" if priority else name


@functools.cache
def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    found = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return found or platform.processor() or "unknown"
