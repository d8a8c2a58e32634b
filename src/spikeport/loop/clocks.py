"""Clocks: a virtual one, on which the same run is the same twice, and the wall's, with what the system can give.

Both count integer ns. A tick is due at an absolute time, so that a late one does not make the next one late.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spikeport.loop.accounting import Histogram, environment
from spikeport.loop.packets import NS
from spikeport.loop.ports import Clock
from spikeport.snn.errors import SpikeportError

OPERATIONS = ("poll", "decode", "emit", "record")  # what the loop says that it has done, in a tick's order
Cost = int | Sequence[int] | Callable[[int], int]


class VirtualClock:
    """Time that goes on only where something waits or costs.

    costs: ns of each operation (OPERATIONS; the others cost nothing): a number, a list (the n-th time; nothing after
    its end) or a function of n = 0, 1, ... Waiting for a time that has passed takes none.
    """

    def __init__(self, *, start_ns: int = 0, costs: Mapping[str, Cost] | None = None) -> None:
        self._now = start_ns
        self._start = start_ns
        self._costs = dict(costs or {})
        unknown = [name for name in self._costs if name not in OPERATIONS]
        if unknown:
            raise SpikeportError(
                f"virtual clock: costs of {', '.join(unknown)}, which nothing is charged for",
                hint=f"one of {', '.join(OPERATIONS)}",
            )
        self._done = dict.fromkeys(self._costs, 0)

    def now_ns(self) -> int:
        return self._now

    def wait_until(self, deadline_ns: int) -> int:
        if deadline_ns > self._now:
            self._now = deadline_ns
        return self._now

    def spend(self, operation: str) -> None:
        """Charge what `operation` costs, the n-th time that it is done."""
        if operation not in self._costs:
            return
        cost, n = self._costs[operation], self._done[operation]
        self._done[operation] = n + 1
        if callable(cost):
            ns = int(cost(n))
        elif isinstance(cost, int):
            ns = cost
        else:
            ns = int(cost[n]) if n < len(cost) else 0
        if ns < 0:
            raise SpikeportError(f"virtual clock: '{operation}' number {n} costs {ns} ns, must be 0 or more")
        self._now += ns

    def describe(self) -> Mapping[str, Any]:
        costs = {name: cost if isinstance(cost, int) else "scripted" for name, cost in self._costs.items()}
        return {"kind": "virtual", "start_ns": self._start, "costs_ns": costs}


@dataclass(frozen=True, kw_only=True)
class RealTime:
    """What to ask of the system; each refusal is reported by WallClock.describe(), and the run goes on without it.

    fifo_priority: SCHED_FIFO, 1 to 99 (a thread that never waits then stops everything else on its core).
    lock_memory: mlockall, no page is swapped out or first touched in the loop.  cpus: the cores that the loop may use.
    gc_freeze: what exists at the start is left out of later garbage collections.  spin_ns: how long before a deadline
    to stop sleeping and to look at the clock instead.
    """

    fifo_priority: int | None = None
    lock_memory: bool = False
    cpus: tuple[int, ...] | None = None
    gc_freeze: bool = False
    spin_ns: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.fifo_priority is not None and not 1 <= self.fifo_priority <= 99:
            problems.append(f"fifo_priority: {self.fifo_priority}, must be 1 to 99")
        if self.cpus is not None and (not self.cpus or min(self.cpus) < 0):
            problems.append(f"cpus: {self.cpus}, must be one core or more, from 0")
        if self.spin_ns < 0:
            problems.append(f"spin_ns: {self.spin_ns}, must be 0 or more")
        if problems:
            raise SpikeportError("real time: settings that no system has", problems)


class WallClock:
    """CLOCK_MONOTONIC, and a sleep to an absolute time (clock_nanosleep; time.sleep where there is none)."""

    def __init__(self, realtime: RealTime | None = None) -> None:
        self._asked = RealTime() if realtime is None else realtime
        self._spin = self._asked.spin_ns
        self._sleep = _AbsoluteSleep.make()
        self._got: dict[str, str] = {}
        self._undo: list[Callable[[], object]] = []
        self._kept: list[Callable[[], object]] = []

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def wait_until(self, deadline_ns: int) -> int:
        now = time.monotonic_ns()
        wake = deadline_ns - self._spin
        if now < wake:
            if self._sleep is not None:
                self._sleep(wake)
            else:
                time.sleep((wake - now) / NS)
            now = time.monotonic_ns()
        while now < deadline_ns:
            now = time.monotonic_ns()
        return now

    def prepare(self) -> None:
        """What is asked for the process and takes long, before anything has to be in time: garbage, memory."""
        self.release()
        if self._asked.gc_freeze:
            self._try("gc_freeze", _freeze, self._kept)
        if self._asked.lock_memory:
            self._try("lock_memory", _lock_memory, self._kept)

    def begin(self) -> None:
        """What is asked for the calling thread: cores, priority. Threads that it starts meanwhile get its cores."""
        self.end()
        asked = self._asked
        if asked.cpus is not None:
            self._try("cpus", lambda: _pin(asked.cpus), self._undo)
            if self._got["cpus"] == "granted":
                self._got["cpus"] = _left_out({*asked.cpus}) or "granted"
        if asked.fifo_priority is not None:  # last: what comes before it needs no priority
            self._try("fifo_priority", lambda: _fifo(asked.fifo_priority), self._undo)

    def end(self) -> None:
        """Give back what begin() got; twice is once."""
        while self._undo:
            self._undo.pop()()

    def release(self) -> None:
        """Give back what prepare() got; twice is once."""
        while self._kept:
            self._kept.pop()()

    def _try(self, name: str, ask: Callable[[], Callable[[], object]], undo: list[Callable[[], object]]) -> None:
        try:
            undo.append(ask())
        except (OSError, AttributeError, ValueError) as error:
            self._got[name] = f"refused: {error}"
        else:
            self._got[name] = "granted"

    def describe(self) -> Mapping[str, Any]:
        asked = {k: v for k, v in vars(self._asked).items() if v not in (None, False, 0)}
        return {
            "kind": "wall",
            "clock": "CLOCK_MONOTONIC",
            "sleep": "time.sleep" if self._sleep is None else "clock_nanosleep, absolute",
            "asked": {k: list(v) if isinstance(v, tuple) else v for k, v in asked.items()},
            "got": dict(self._got),
            "environment": environment(),
        }


class _Timespec(ctypes.Structure):
    _fields_ = (("sec", ctypes.c_long), ("nsec", ctypes.c_long))


class _AbsoluteSleep:
    """clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME): a thread put aside between its look at the clock and its sleep
    still wakes in time, which a sleep of a length would not."""

    @classmethod
    def make(cls) -> _AbsoluteSleep | None:
        """None where the system has no such call."""
        if not sys.platform.startswith("linux"):
            return None
        try:
            return cls(ctypes.CDLL(None, use_errno=True).clock_nanosleep)
        except (OSError, AttributeError):
            return None

    def __init__(self, call: Any) -> None:
        self._call = call
        self._call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        self._at = _Timespec()
        self._where = ctypes.addressof(self._at)

    def __call__(self, deadline_ns: int) -> None:
        self._at.sec, self._at.nsec = divmod(deadline_ns, NS)
        while self._call(time.CLOCK_MONOTONIC, 1, self._where, None) == errno.EINTR:
            pass  # Python runs a signal's handler between two calls


def _pin(cpus: tuple[int, ...] | None) -> Callable[[], object]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus or ())
    return lambda: os.sched_setaffinity(0, before)


def _left_out(cpus: set[int]) -> str:
    """Which cores the system left out, in words: it takes a mask that names cores it does not have."""
    got = os.sched_getaffinity(0)
    missing, runs_on = (", ".join(map(str, sorted(cores))) for cores in (cpus - got, got))
    return f"refused in part: not core {missing}; it runs on core {runs_on}" if missing else ""


def _fifo(priority: int | None) -> Callable[[], object]:
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    flags = os.SCHED_FIFO | getattr(os, "SCHED_RESET_ON_FORK", 0)  # threads that start later do not inherit it
    os.sched_setscheduler(0, flags, os.sched_param(priority or 1))
    if (got := os.sched_getparam(0).sched_priority) != priority:  # some sandboxes say yes, and do nothing
        os.sched_setscheduler(0, policy, parameters)
        raise OSError(f"the system took the call, and the priority is {got}")
    return lambda: os.sched_setscheduler(0, policy, parameters)


def _freeze() -> Callable[[], object]:
    gc.collect()
    gc.freeze()
    return gc.unfreeze


def _lock_memory() -> Callable[[], object]:
    libc = ctypes.CDLL(None, use_errno=True)
    current_and_future = 1 | 2  # MCL_CURRENT | MCL_FUTURE, <sys/mman.h> of Linux and macOS
    if libc.mlockall(current_and_future) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mlockall: {os.strerror(code)}")
    return lambda: libc.munlockall()


def timer_floor(clock: Clock, n: int = 1000, period: float = 1e-3) -> Histogram:
    """How late n empty ticks start: what this box, its load and its scheduler cost before anything is done."""
    late, period_ns = Histogram(), round(period * NS)
    start = clock.now_ns()
    for k in range(1, n + 1):
        deadline = start + k * period_ns
        late.add(clock.wait_until(deadline) - deadline)
    return late
