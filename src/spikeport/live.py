"""A loop from a file: read, check all of it, build its parts, run it. What a part may say is in live_parts.py.

    live = load("loop.yaml")          every problem of the file and of the parts, at once
    outcome = live.run(10_000)        the Summary, what the guard says, where the record is

The file names numbers, words and other files, and runs nothing: a source, a sink or a device of one's own, and a
function from outputs to stimuli, are given to the classes in a program.
"""

from __future__ import annotations

import math
import os
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spikeport.live_decoder import load_decoder
from spikeport.live_guard import Crossings, Guarded, GuardedSink, read_stimuli
from spikeport.live_interrupt import interruptible
from spikeport.live_outcome import UNKNOWN, Outcome, record_watch
from spikeport.live_parts import (
    AROUND,
    CLOCKS,
    DECODER,
    GUARD,
    POLICY,
    PYTHON_ONLY,
    RECORD,
    SINKS,
    SOURCES,
    TOP,
    Given,
    Part,
)
from spikeport.live_subject import figures
from spikeport.loop.clocks import RealTime, WallClock, timer_floor
from spikeport.loop.configuration import Fields, Problems, as_it_is, check, kind_of, nearest, read_file
from spikeport.loop.guard.console import GuardProcess
from spikeport.loop.guard.limits import SPECS, Limits
from spikeport.loop.guard.process import DRY_RUN
from spikeport.loop.guard.sink import GuardSink
from spikeport.loop.guard.watchdog import WATCH_SPECS, WatchLimits
from spikeport.loop.loop import Loop
from spikeport.loop.policies import Policy
from spikeport.loop.record.outside import ProcessRecorder
from spikeport.loop.record.writer import versions
from spikeport.loop.summary import Summary
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.writing import check_writable

_NAMED = re.compile(r"(\w+)(?:: | )(.*)", re.DOTALL)  # how a part begins the line of a problem


@dataclass(frozen=True, kw_only=True)
class Live:
    """A loop that was built from a file. kinds: of its parts, for people."""

    loop: Loop
    kinds: Mapping[str, str]
    record: Path | None
    guard: Guarded | None
    _heard: list[str] = field(default_factory=list, repr=False, compare=False)  # where the source was, while it ran
    _ran: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)  # the guard's status, the Outcome

    @property
    def outcome(self) -> Outcome | None:
        """Of the last run, also of one that raised; None before, and where that failed before its first tick."""
        found: Outcome | None = self._ran.get("outcome")
        return found

    def run(
        self,
        n_ticks: int | None = None,
        *,
        stop: threading.Event | None = None,
        arm: str = "",
        device: str = DRY_RUN,
        announce: Callable[[str], None] = lambda line: None,
    ) -> Outcome:
        """Run until n_ticks, the source's end, `stop`, or Ctrl-C. announce: is told once that the loop runs, and where.

        LiveInterrupted: Ctrl-C where the loop could not end in order.
        arm: who arms the guard.  device: DRY_RUN, or "module:Class" of a stimulator, which runs in the guard's process.
        """
        self._forget()
        if self.guard is None and (arm or device != DRY_RUN):
            raise SpikeportError("a guard is to be armed, but the file has no section `guard`")
        if self.guard is not None and not arm.strip():  # before the log is begun, which is never replaced
            raise SpikeportError("guard: nobody arms it", hint='--arm "A. Name"   (the name of who answers for it)')
        with interruptible(self.record, None if self.guard is None else self.guard.log):
            try:
                if self.guard is None:
                    summary = self._go(n_ticks, stop, announce)
                else:
                    summary = self._guarded(self.guard, n_ticks, stop, arm.strip(), device, announce)
            except BaseException as error:
                if self.loop.summary is not None:
                    self._ran["outcome"] = self._outcome(self.loop.summary, str(error) or type(error).__name__)
                raise
            self._ran["outcome"] = found = self._outcome(summary)
            return found

    def _forget(self) -> None:
        """The last run."""
        self.loop.summary = None
        self._ran.clear()

    def _guarded(
        self,
        given: Guarded,
        n_ticks: int | None,
        stop: threading.Event | None,
        arm: str,
        device: str,
        announce: Callable[[str], None],
    ) -> Summary:
        made = GuardProcess.start(given.limits, given.watch, log=given.log, device=device, versions=versions())
        with ExitStack() as parts:
            process = parts.enter_context(made)
            process.console.arm(by=arm)
            self._ran["guard"] = {"state": UNKNOWN, "cause": "the run was broken off before it was asked"}
            guard = GuardSink(process.link, given.stimuli, when_tripped=given.when_tripped)
            sink, self.loop.sink = self.loop.sink, GuardedSink(guard, self.loop.sink)
            parts.callback(setattr, self.loop, "sink", sink)
            try:
                summary = self._go(n_ticks, stop, announce)
            except Exception as error:
                tripped = False
                with suppress(SpikeportError):  # a guard that does not answer must not hide what happened
                    tripped = self._ask(process)["state"] == "tripped"
                if tripped and isinstance(error, SpikeportError):
                    raise RefusedError(error.what, error.problems, hint=error.hint) from error
                raise
            self._ask(process)
            return summary

    def _ask(self, process: GuardProcess) -> Mapping[str, Any]:
        """The guard's status, which the Outcome has; there, why there is none, where it does not answer."""
        try:
            self._ran["guard"] = status = process.status()
        except SpikeportError as error:
            self._ran["guard"] = {"state": UNKNOWN, "cause": error.what}
            raise
        return status

    def _outcome(self, summary: Summary, failed: str = "") -> Outcome:
        return Outcome(
            summary=summary, record=self.record, guard=self._ran.get("guard"), subject=figures(self.loop.source),
            warnings=self._silence(summary), failed=failed,
        )  # fmt: skip

    def _silence(self, summary: Summary) -> tuple[str, ...]:
        """A line where the world should have sent, and nothing of it was ever heard."""
        kind = self.kinds["source"]
        if summary.packets["received"] or not summary.ticks or not SOURCES[kind].live:
            return ()
        where = " ".join(["source", kind, *self._heard[-1:]]).strip()
        if summary.transports.get("source", {}).get("came"):
            return (f"not one packet of {where} could be used: its counts say why",)
        return (f"nothing was heard from {where}: nobody sent there (another address or port?)",)

    def _go(self, n_ticks: int | None, stop: threading.Event | None, announce: Callable[[str], None]) -> Summary:
        said, look = False, record_watch(self.loop.recorder, self.record, announce)

        def asked() -> bool:
            nonlocal said
            if not said:  # the first tick: every part is open, and knows its port
                said = True
                self._heard.append(str(getattr(self.loop.source, "address", "")))
                announce(self._where())
            look()
            return stop is not None and stop.is_set()

        return self.loop.run(n_ticks, stop=asked)

    def _where(self) -> str:
        found = []
        for name in ("source", "sink"):
            address = getattr(getattr(self.loop, name), "address", "")
            found.append(f"{name} {self.kinds[name]}" + (f" {address}" if address else ""))
        return f"running: {', '.join(found)}"

    def as_dict(self) -> dict[str, Any]:
        """What `--check` says."""
        loop = self.loop
        return {
            "period_s": loop.period_ns / 1e9,
            **{name: dict(getattr(loop, name).describe()) for name in ("decoder", "source", "sink", "clock")},
            "policy": loop.policy.as_dict(),
            "record": None if self.record is None else str(self.record),
            "guard": None if self.guard is None else {"sites": list(self.guard.limits.sites),
                                                      "limits": self.guard.limits.digest(),
                                                      "log": str(self.guard.log)},
        }  # fmt: skip


def load(path: str | os.PathLike[str], *, overwrite: bool = False) -> Live:
    """Build the loop that a file says. SpikeportError: everything that is wrong with it, each with its place.

    overwrite: the record may replace a file, whatever the file says.
    """
    values, problems = read_file(path)
    return _Builder(Path(path), values, problems, overwrite).build()


def measure_floor(
    ticks: int,
    period: float,
    *,
    fifo_priority: int | None = None,
    cpus: tuple[int, ...] | None = None,
    lock_memory: bool = False,
    spin_us: float = 0.0,
) -> dict[str, Any]:
    """How late empty ticks start on this box, with what is asked of the system; period: s."""
    if not (math.isfinite(period) and period > 0):
        raise SpikeportError(f"period {period} s, must be positive", hint="--period 0.001")
    spin = round(spin_us * 1000) if math.isfinite(spin_us) else -1
    clock = WallClock(RealTime(fifo_priority=fifo_priority, cpus=cpus, lock_memory=lock_memory, spin_ns=spin))
    try:
        clock.prepare()
        clock.begin()
        found, described = timer_floor(clock, ticks, period), dict(clock.describe())
    finally:
        clock.end()
        clock.release()
    return {"ticks": ticks, "period_s": period, "unit": "ns", "timer_floor": found.as_dict(), "clock": described}


class _Builder:
    """One file on its way to a loop; what is wrong is gathered."""

    def __init__(self, path: Path, values: dict[str, Any], problems: Problems, overwrite: bool) -> None:
        self.path, self.values, self.problems, self.overwrite = path, values, problems, overwrite
        self.folder = path.parent
        self.top = check(values, TOP, "", problems)
        self.period = float(self.top.get("period", 0.0))
        self.parts: dict[str, Any] = {}
        self.kinds: dict[str, str] = {}

    def build(self) -> Live:
        decoder = self.decoder()
        self.given = {"n_inputs": getattr(decoder, "n_inputs", 1), "n_outputs": getattr(decoder, "n_outputs", 1)}
        made = {name: self.kind(name, table) for name, table in
                (("source", SOURCES), ("sink", SINKS), ("clock", CLOCKS))}  # fmt: skip
        policy = self.plain("policy", POLICY, Policy.of)
        recorder, guard = self.recorder(), self.guard(None if decoder is None else decoder.n_outputs)
        self.together()
        self.kept(None if recorder is None else recorder.path, None if guard is None else guard.log)
        loop = None
        if not self.problems.found and decoder is not None:
            header = {"configuration": self.values}
            options = {"period": self.period, "floor_ticks": self.top.get("floor_ticks", 0), "header": header}
            arguments = (made["source"], decoder, made["sink"], made["clock"], policy, recorder)
            loop = self.tried("loop", {}, lambda: Loop(*arguments, **options))
        if loop is None:
            found = self.problems.found
            raise SpikeportError(
                f"{self.path}: {len(found)} problem{'s' if len(found) > 1 else ''}", found, hint="docs/live.md"
            )
        return Live(loop=loop, kinds=self.kinds, record=None if recorder is None else recorder.path, guard=guard)

    def decoder(self) -> Any:
        if "decoder" not in self.top:
            return None
        values = check(self.top["decoder"], {**DECODER, **AROUND}, "decoder", self.problems)
        shadow, smoothing = (values.pop(name, None) for name in AROUND)
        if shadow is not None:
            shadow = {"network": shadow} if isinstance(shadow, str) else shadow
            shadow = check(shadow, DECODER, "decoder.shadow", self.problems)
        if self.problems.within("decoder") or not self.period:
            return None
        more = {"shadow": shadow, "smoothing": smoothing}
        known = {**DECODER, **AROUND}
        return self.tried("decoder", known, lambda: load_decoder(values, self.folder, self.period, **more))

    def kind(self, name: str, table: Mapping[str, Part]) -> Any:
        """A source, a sink or a clock."""
        if name not in self.top:
            return None
        values = self.top[name]
        kind = kind_of(values, table, name, self.problems, PYTHON_ONLY)
        if not kind:
            return None
        part, self.kinds[name] = table[kind], kind
        found = check({k: v for k, v in values.items() if k != "kind"}, part.fields, name, self.problems)
        if part.missing():
            self.problems.add(f"{name}.kind", f"'{kind}' {part.missing()}")
        if self.problems.within(name) or self.unknown(name, part):
            return None
        given = Given(found, self.folder, self.period, **self.given, source=self.parts.get("source"))
        self.parts[name] = self.tried(name, part.fields, lambda: part.make(given))
        return self.parts[name]

    def unknown(self, name: str, part: Part) -> bool:
        """Whether what it is made from, the period or a source, has a problem of its own, which would be said twice."""
        of_subject = name == "sink" and self.kinds[name] == self.kinds.get("source") == "subject"
        return (name == "source" and not part.live and not self.period) or (
            of_subject and self.parts.get("source") is None
        )

    def plain(self, name: str, fields: Fields, make: Callable[[dict[str, Any]], Any]) -> Any:
        """A section without kinds; `record` may be null."""
        if name not in self.top or (self.top[name] is None and not TOP[name].must):
            return None
        values = check(self.top[name], fields, name, self.problems)
        return None if self.problems.within(name) else self.tried(name, fields, lambda: make(values))

    def recorder(self) -> Any:
        def make(values: dict[str, Any]) -> ProcessRecorder:
            if self.overwrite:
                values["overwrite"] = True
            return ProcessRecorder(self.folder / Path(values.pop("path")).expanduser(), **values)

        return self.plain("record", RECORD, make)

    def guard(self, n_outputs: int | None) -> Guarded | None:
        given = self.top.get("guard")
        if given is None:
            return None
        if isinstance(given, dict) and "device" in given:
            self.problems.add("guard.device", "a file runs nothing; --device module:Class of the command line does")
            given = {name: value for name, value in given.items() if name != "device"}
        values = check(given, GUARD, "guard", self.problems)
        limits = watch = None
        if "limits" in values:
            limits = self.numbers("guard.limits", SPECS, values["limits"], Limits)
        if "watch" in values:
            watch = self.numbers("guard.watch", WATCH_SPECS, values["watch"], WatchLimits)
        stimuli = Crossings(())
        if "stimuli" in values:
            stimuli = read_stimuli(values["stimuli"], "guard.stimuli", self.problems, n_outputs)
        log = self.folder / Path(values.get("log", "")).expanduser()
        if "log" in values:
            if os.path.lexists(log):
                self.problems.add("guard.log", f"{log} exists already; name a new log: a guard's log is never replaced")
            else:
                self.tried("guard.log", {}, lambda: check_writable(log))
        if self.problems.within("guard") or limits is None or watch is None:
            return None
        return Guarded(limits=limits, watch=watch, stimuli=stimuli, log=log, when_tripped=values["when_tripped"])

    def numbers(self, where: str, known: Mapping[str, Any], given: Any, make: Callable[..., Any]) -> Any:
        """Limits, which say themselves what is missing and wrong."""
        if not isinstance(given, dict):
            self.problems.add(where, f"must be names and numbers: {', '.join(known)}")
            return None
        for name in given.keys() - known.keys():
            self.problems.add(f"{where}.{name}", f"unknown, {nearest(name, known)}")
        fields = dict.fromkeys(known, as_it_is)
        found = self.tried(where, fields, lambda: make(**{n: v for n, v in given.items() if n in known}))
        return None if self.problems.within(where) else found

    def together(self) -> None:
        """What does not go together."""
        if self.kinds.get("clock") != "virtual":
            return
        for name, table in (("source", SOURCES), ("sink", SINKS)):
            kind = self.kinds.get(name)
            if kind is not None and table[kind].live:
                self.problems.add("clock.kind", f"'virtual' waits for nothing, and a {name} '{kind}' takes real time")
        if self.top.get("guard") is not None:
            self.problems.add("clock.kind", "'virtual', but the guard's process reads the machine's: a clock jump")

    def kept(self, record: Path | None, log: Path | None) -> None:
        """What the loop is made from is never written over, whatever `overwrite` says."""
        if record is None:
            return
        decoder, source = (self.top.get(name) for name in ("decoder", "source"))
        parts = [decoder, decoder.get("shadow") if isinstance(decoder, dict) else None, source]
        named = [
            part.get(name) for part in parts if isinstance(part, dict) for name in ("network", "smoothing", "file")
        ]
        named += [part for part in parts if isinstance(part, str)]
        inputs = [self.path, *(self.folder / Path(name).expanduser() for name in named if isinstance(name, str))]
        if record.resolve() in {path.resolve() for path in inputs}:
            self.problems.add("record.path", f"{record}, which is an input of this loop")
        if log is not None and record.resolve() == log.resolve():
            self.problems.add("record.path", f"{record}, which is the guard's log, too")

    def tried(self, where: str, fields: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """What `make` gives, or None and its problems, each at the name that it begins with."""
        try:
            return make()
        except SpikeportError as error:
            hint = f" ({error.hint})" if error.hint and not error.problems else ""
            for line in error.problems or ((error.what + hint).removeprefix(f"{where}: "),):
                named = _NAMED.match(line)
                if named is not None and named[1] in fields:
                    self.problems.add(f"{where}.{named[1]}", named[2])
                else:
                    self.problems.add(where, line)
            return None
