"""The loop: every period one tick, each packet accounted for, the state on by the time that has passed.

    tick n = 0, 1, ... is due at start + (n + 1) period, and brings the decoder to t = (n + 1) period
    1 wait for the deadline    2 what has arrived    3 the packet of this tick, or the policy    4 decode
    5 emit    6 record    7 what may come after (a shadow's step)

Packets that arrive until a tick's deadline are its input. Before the first good packet the input is 0.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from spikeport.loop.accounting import Accounting, Histogram
from spikeport.loop.clocks import timer_floor
from spikeport.loop.packets import NS, Array, Output, Packet
from spikeport.loop.policies import Policy
from spikeport.loop.ports import Clock, Decoder, Recorder, Sink, Source
from spikeport.loop.record.writer import NoRecorder, versions
from spikeport.loop.sequence import Sequence
from spikeport.loop.summary import Summary, reports
from spikeport.snn.errors import SpikeportError

Stop = threading.Event | Callable[[], bool]
CAUSE = {"hold": "held", "zero": "zero", "skip": "skipped"}


class Loop:
    """source -> decoder -> sink, once per `period` (s) of `clock`, as `policy` says; `recorder` keeps every tick.

    floor_ticks: empty ticks before the start, that measure the box's own timer (0: not measured). header: what else the
    record should say. A loop can be run again: each run starts from the decoder's reset state.
    summary: of the last run, also of one that raised; None before, and where that failed before its first tick.
    """

    def __init__(
        self,
        source: Source,
        decoder: Decoder,
        sink: Sink,
        clock: Clock,
        policy: Policy,
        recorder: Recorder | None = None,
        *,
        period: float,
        floor_ticks: int = 0,
        header: Mapping[str, Any] | None = None,
    ) -> None:
        self.source, self.decoder, self.sink, self.clock, self.policy = source, decoder, sink, clock, policy
        self.recorder: Recorder = NoRecorder() if recorder is None else recorder
        self.period_ns = round(period * NS) if np.isfinite(period) else 0
        self.floor_ticks, self.header = floor_ticks, dict(header or {})
        self.summary: Summary | None = None
        problems = []
        if self.period_ns < 1 or abs(self.period_ns / NS - period) > 1e-9 * period:
            problems.append(f"period: {period!r} s, must be a whole number of ns, 1 or more")
        if source.n_channels != decoder.n_inputs:
            problems.append(f"source: {source.n_channels} channels, the decoder takes {decoder.n_inputs}")
        if len(policy.safe) != decoder.n_outputs:
            problems.append(f"policy: safe value of {len(policy.safe)}, the decoder has {decoder.n_outputs} outputs")
        if floor_ticks < 0:
            problems.append(f"floor_ticks: {floor_ticks}, must be 0 or more")
        if problems:
            raise SpikeportError("loop: its parts do not fit", problems)

    def run(self, n_ticks: int | None = None, *, stop: Stop | None = None) -> Summary:
        """Run until n_ticks, the source's end, `stop` (an event, or a function that says True), or Ctrl-C.

        However it ends, the sink gets the safe value and everything is closed. An error of a part is raised then.
        """
        run, self.summary = _Run(self, n_ticks, stop), None
        try:
            run.go()
        except BaseException:
            self.summary = run.summary() if run.began else None
            raise
        self.summary = run.summary()
        return self.summary


class _Run:
    """One run of a loop: what changes from tick to tick."""

    def __init__(self, loop: Loop, n_ticks: int | None, stop: Stop | None) -> None:
        self.loop, self.n_ticks = loop, n_ticks
        asked = stop.is_set if isinstance(stop, threading.Event) else stop
        self.stop_asked: Callable[[], bool] = (lambda: False) if asked is None else asked
        self.clock, self.policy, self.period_ns = loop.clock, loop.policy, loop.period_ns
        self.sequence = Sequence(
            period_ns=loop.period_ns, policy=loop.policy, report=self.event, check=self.problem_with
        )
        self.accounting = Accounting(loop.period_ns if loop.policy.budget is None else round(loop.policy.budget * NS))
        self.causes = {"fresh": 0, "held": 0, "zero": 0, "skipped": 0, "stream lost": 0}
        self.merged = self.nonfinite = self.source_overflow = self.lost_streams = 0
        self.held: Array = np.zeros(loop.decoder.n_inputs)
        self.zeros: Array = np.zeros(loop.decoder.n_inputs)
        self.nothing: Array = np.full(loop.decoder.n_inputs, np.nan)
        self.no_output: Array = np.zeros(loop.decoder.n_outputs)
        self.safe: Array = np.array(loop.policy.safe)
        self.last: Array = self.safe.copy()
        self.streak, self.starved, self.came = 0, 0, False
        self.gap: tuple[int, int, str] | None = None
        self.miss_from, self.interrupted = -1, False
        self.refuses: Callable[[Array], str] | None = getattr(loop.decoder, "refuses", None)
        self.spend: Callable[[str], None] = getattr(loop.clock, "spend", _nothing)
        self.settle: Callable[[], None] | None = getattr(loop.decoder, "settle", None)
        parts: dict[int, Any] = {id(part): part for part in (loop.source, loop.sink, loop.decoder)}  # one may be two
        self.noting = [part.notes for part in parts.values() if callable(getattr(part, "notes", None))]
        self.floor: Histogram | None = None
        self.start_ns = self.ticks = 0
        self.began, self.ended = False, "failed"
        self.described: dict[str, Any] = {}

    # ---- the run

    def go(self) -> None:
        loop = self.loop
        with ExitStack() as parts, self._interrupts():
            loop.decoder.reset()
            parts.callback(loop.recorder.close)
            loop.recorder.open(self.record_header())
            parts.callback(loop.sink.close)
            loop.sink.open(loop.clock)
            try:
                self._prepare(parts)
                self.began = True
                self.ended = self._ticks()
            except KeyboardInterrupt:
                self.ended = "interrupted"
            except BaseException as error:
                self.ended = f"failed: {type(error).__name__}: {error}".splitlines()[0]
                raise
            finally:
                try:
                    self._finish(self.ended)
                finally:
                    self.described = dict(self.clock.describe())  # while what was asked for is still granted

    def _prepare(self, parts: ExitStack) -> None:
        """What the clock asks of the system, the timer's floor, the source. The thread's part is asked last, so that no
        thread of the source gets its core, and in no time, because packets come from then on."""
        clock = self.clock
        prepare, begin, end, release = (
            getattr(clock, name, _nothing) for name in ("prepare", "begin", "end", "release")
        )
        parts.callback(release)
        prepare()
        parts.callback(end)
        if self.loop.floor_ticks:
            begin()
            self.floor = timer_floor(clock, self.loop.floor_ticks, self.period_ns / NS)
            end()
        parts.callback(self.loop.source.close)
        self.loop.source.open(clock)
        begin()
        self.start_ns = clock.now_ns()
        got = clock.describe().get("got")
        if got is not None:
            self.event("clock", got=dict(got))

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Ctrl-C ends the run between two ticks; a second one at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)
        if before is not signal.default_int_handler:  # a program that has its own handler keeps it
            yield
            return

        def note(number: int, frame: Any) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _ticks(self) -> str:
        """Tick after tick; why it ended."""
        tick, clock, period_ns = 0, self.clock, self.period_ns
        source, sequence, overload = self.loop.source, self.sequence, self.policy.overload
        while self.n_ticks is None or tick < self.n_ticks:
            if self.interrupted:
                return "interrupted"
            if self.stop_asked():
                return "asked to stop"
            deadline = self.start_ns + (tick + 1) * period_ns
            now = clock.wait_until(deadline)
            behind = (now - deadline) // period_ns
            if behind > 0:
                if overload == "stop":
                    return f"overload: tick {tick} began {behind} periods late"
                if overload == "latest":
                    if self.n_ticks is not None:
                        behind = min(behind, self.n_ticks - 1 - tick)
                    tick, deadline = tick + behind, deadline + behind * period_ns
                    self._merge(tick, behind)
            else:
                behind = 0
            sequence.behind = behind if overload == "all" else 0
            for arrived in source.poll():
                sequence.arrive(arrived, tick)
            dropped = source.overflowed()
            if dropped:
                self.source_overflow += dropped
                self.event("source overflow", n=dropped, tick=tick)
            self._take_notes()
            self.spend("poll")
            packet = sequence.take(tick, behind if overload == "latest" else 0)
            if overload == "stop" and sequence.overloaded:
                return f"overload: {sequence.overloaded}"
            if packet is None and self.policy.lost == "abort" and self.came:
                return f"lost data: tick {tick}, packet {sequence.due(tick)} is not there"
            self._tick(tick, deadline, now, packet)
            tick += 1
            if source.ended and not sequence.waiting:
                return "source ended"
        return "all ticks run"

    def _merge(self, tick: int, n: int) -> None:
        if n:
            self.merged += n
            self.accounting.merged(n)
            if self.miss_from < 0:
                self.miss_from = tick - n
            self.event("ticks merged", first=tick - n, last=tick - 1, into=tick)

    def _tick(self, tick: int, deadline: int, begun: int, packet: Packet | None) -> None:  # long: a tick, in its order
        clock, cause = self.clock, self._cause(tick, packet)
        events: Array | None
        if packet is not None:
            self.held[:] = packet.values
            events, values = self.held, self.held
        elif self.policy.lost == "skip":
            events, values = None, self.nothing
        else:  # abort gets here before the first packet only, when held is 0
            events = values = self.zeros if self.policy.lost == "zero" else self.held
        start = clock.now_ns()
        found = self.loop.decoder.step(events, (tick + 1) * self.period_ns / NS)
        self.spend("decode")
        end = clock.now_ns()
        safe = cause == "stream lost"
        if not _finite(found, self.no_output):
            self.nonfinite += 1
            self.event("output not finite", tick=tick)
            safe = True
        if safe:
            found = self.safe
        elif cause == "skipped":
            found = self.last
        seq, sent, got = (-1, 0, 0) if packet is None else (packet.seq, packet.source_ns, packet.received_ns)
        output = Output(
            tick=tick, seq=seq, values=found, safe=safe, cause=cause, deadline_ns=deadline, source_ns=sent,
            received_ns=got, start_ns=start, end_ns=end,
        )  # fmt: skip
        emitted = 0
        try:
            if cause != "skipped" or safe:
                self.loop.sink.emit(output)
                self.spend("emit")
                emitted = clock.now_ns()
                self.last[:] = found
        except BaseException:
            emitted = self._not_taken(tick)
            raise
        finally:  # also where the sink raised: what it was given is in the record
            self.ticks += 1
            self.causes[cause] += 1
            if packet is not None:
                self.accounting.packet(sent, got, start, emitted)
            self._note_miss(tick, self.accounting.tick(deadline, begun, start, end, emitted))
            self.loop.recorder.tick(output, emitted, values)
        self.spend("record")
        if self.settle is not None:
            self.settle()

    def _not_taken(self, tick: int) -> int:
        """The sink raised: which of its parts took the output, for the record; the time where the last did, else 0."""
        took = dict(getattr(self.loop.sink, "took", {"sink": False}))
        self.event("not taken", tick=tick, took=took)
        return self.clock.now_ns() if took["sink"] else 0

    def _cause(self, tick: int, packet: Packet | None) -> str:
        """Of this tick; the stream is lost after so many ticks without a packet, and back after so many with one."""
        policy, sequence = self.policy, self.sequence
        if packet is not None:
            self.streak, self.starved, self.came = self.streak + 1, 0, True
            if sequence.astray and self.streak >= policy.good:
                sequence.astray = False
                self._end_gap(tick)
                self.event("stream there", tick=tick, good=self.streak)
        else:
            self.streak, self.starved = 0, self.starved + 1
            if not sequence.astray and self.starved >= policy.lost_after:
                sequence.astray = True
                self.lost_streams += 1
                self._end_gap(tick)
                self.event("stream lost", tick=tick, without=self.starved)
        cause = "stream lost" if sequence.astray else ("fresh" if packet is not None else CAUSE[policy.lost])
        if self.gap is not None and self.gap[2] != cause:
            self._end_gap(tick)
        if cause != "fresh" and self.gap is None:
            self.gap = (tick, sequence.due(tick), cause)
        return cause

    def _end_gap(self, tick: int) -> None:
        """The ticks since gap[0] had no good packet: said once, with the number that was due first."""
        if self.gap is not None:
            first, due, cause = self.gap
            self.gap = None
            self.event("gap", first_tick=first, last_tick=tick - 1, first_due=due, cause=cause)

    def _note_miss(self, tick: int, missed: bool) -> None:
        if missed and self.miss_from < 0:
            self.miss_from = tick
        elif not missed and self.miss_from >= 0:
            self.event("deadlines missed", first_tick=self.miss_from, last_tick=tick - 1)
            self.miss_from = -1

    def _finish(self, reason: str) -> None:
        """The end, however it came: the sink gets the safe value, before anything else; then what is open is said."""
        last, now = self.ticks + self.merged, self.clock.now_ns()
        output = Output(
            tick=last, seq=-1, values=self.safe, safe=True, cause="stopped", deadline_ns=now, source_ns=0,
            received_ns=0, start_ns=now, end_ns=now,
        )  # fmt: skip
        emitted = False
        try:
            self.loop.sink.emit(output)
            emitted = True
        finally:
            self._take_notes()
            self._end_gap(last)
            self._note_miss(last, False)
            self.sequence.close()
            took = getattr(self.loop.sink, "took", {"sink": emitted})
            more = {"took": dict(took)} if len(took) > 1 else {}
            self.event("stopped", reason=reason, ticks=self.ticks, safe_value_emitted=took["sink"], **more)

    # ---- what parts ask

    def _take_notes(self) -> None:
        """What a part has to say: a producer that began anew, packets that were none, a shadow that failed."""
        for notes in self.noting:
            for kind, details in notes():
                self.event(kind, **details)

    def event(self, kind: str, **details: Any) -> None:
        self.loop.recorder.event(kind, self.clock.now_ns(), **details)

    def problem_with(self, values: Any) -> str:
        """Why a packet's values cannot be used; "" where they can."""
        if np.shape(values) != self.held.shape:
            return f"shape {np.shape(values)}, must be {self.held.shape}"
        if not _finite(values, self.zeros):
            return f"{int((~np.isfinite(values)).sum())} values are NaN or infinite"
        return "" if self.refuses is None else self.refuses(values)

    def record_header(self) -> dict[str, Any]:
        loop = self.loop
        return {
            **loop.header,
            "period_ns": loop.period_ns,
            "policy": loop.policy.as_dict(),
            **{name: dict(getattr(loop, name).describe()) for name in ("decoder", "source", "sink", "clock")},
            "versions": versions(),
        }

    def summary(self) -> Summary:
        loop, sequence = self.loop, self.sequence
        found = reports(decoder=loop.decoder, recorder=loop.recorder)
        return Summary(
            ended=self.ended, ticks=self.ticks, merged=self.merged, period_ns=self.period_ns, causes=dict(self.causes),
            packets=dict(sequence.counts), used_late=sequence.used_late, source_overflow=self.source_overflow,
            lost_ranges=tuple(sequence.lost_ranges), lost_ranges_left_out=sequence.lost_ranges_left_out,
            restarts=sequence.epoch, lost_streams=self.lost_streams, nonfinite=self.nonfinite,
            accounting=self.accounting, timer_floor=self.floor, clock=self.described,
            transports=reports(source=loop.source, sink=loop.sink),
            decoder=found.get("decoder", {}), recorder=found.get("recorder", {}),
        )  # fmt: skip


def _nothing(*_: str) -> None:
    """What an operation costs on a clock that is not charged, and what a clock without a beginning begins."""


def _finite(values: Array, zeros: Array) -> bool:
    """Whether all are: 0 times NaN or infinity is NaN. Several times faster than isfinite(values).all() on few."""
    return bool(values.dot(zeros) == 0.0)
