"""The lab streaming layer (LSL). A sample carries no number, and an inlet that is not emptied in time drops its oldest
samples without a word. So the numbers come from elsewhere:

    last channel  the sender puts a count into one channel more (SequenceOutlet): what is lost is exact
    inferred      from the time stamps and the nominal rate, for a stream that has no count: what is lost is what they
                  imply. It is right while no stamp is half a period off; `worst residual` of the report says how far
                  they were

Stamps are LSL's local_clock(), in s, of the sender. A sender that says which clock it reads, and reads ours, needs no
correction; else LSL's estimate of the offset is added (time_correction(), empirically within 0.2 ms by its makers).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikeport.loop.packets import CAUSES, NS, Output
from spikeport.loop.ports import Clock
from spikeport.loop.transports.base import TransportSource
from spikeport.loop.transports.frame import clock_identity
from spikeport.loop.transports.inbox import READS, Inbox
from spikeport.loop.transports.numbering import LIMIT, Inferred
from spikeport.snn.errors import MissingDependencyError, SpikeportError

SEQUENCES = ("last channel", "inferred")
STAMPS = ("auto", "same clock", "time correction")
BY = ("source_id", "name", "type")
EXACT = 2**53  # a double counts so far without a hole
LSL_OUTPUT = ("number", "tick", "seq", "cause", "safe")  # the last channels of an LslSink's stream
SAME_CLOCK_NS = 50_000_000  # a correction beyond this says that a sender which said so does not read our clock
_LOOK_NS = NS  # how often the correction is asked for again, and whether a silent stream came back as another
_TOLD = 16  # different ones are noted
SILENT_NS = NS  # without a sample: then it is looked for
_DTYPES = {1: np.float32, 2: np.float64, 4: np.int32, 5: np.int16, 6: np.int8, 7: np.int64}  # LSL's channel formats


class LslSource(TransportSource):
    """The one stream whose `by` (source_id, name or type) is `stream`, as n_channels numbers, and one more where the
    sequence is its last channel. wait: s within which it must be found and answer.

    buffer: s of samples (whole; 100 samples a unit where the stream has no rate) that the inlet may hold between polls.
    """

    kind = "lsl"

    def __init__(
        self,
        n_channels: int,
        *,
        stream: str,
        sequence: str,
        by: str = "source_id",
        wait: float = 5.0,
        buffer: int = 1,
        capacity: int = 256,
        stamps: str = "auto",
    ) -> None:
        problems = [
            f"{what}: {value!r:.40}, must be one of {', '.join(known)}"
            for what, value, known in (("sequence", sequence, SEQUENCES), ("by", by, BY), ("stamps", stamps, STAMPS))
            if value not in known
        ]
        if isinstance(buffer, bool) or not isinstance(buffer, int) or buffer < 1:
            problems.append(f"buffer: {buffer!r}, must be a whole number of s, 1 or more")
        if not stream or {"'", '"'} & {*stream}:
            problems.append(f"stream: {stream!r:.100}, must be a name without quotes")
        if problems:
            raise SpikeportError("lsl source: settings that cannot be", problems)
        super().__init__(Inbox("lsl source", n_channels, capacity))
        self._stream, self._sequence, self._by, self._stamps = stream, sequence, by, stamps
        self._wait, self._buffer = wait, buffer
        self._inlet: Any = None
        self._found: Any = None  # the stream as it was
        self._resolver: Any = None
        self._told: set[str] = set()
        self._heard_ns = 0
        self._inferred: Inferred | None = None
        self._rows: Any = None
        self._same_clock = self._gone = False
        self._to_loop_ns = self._correction_ns = self._next_look = 0
        self._corrections = (0, 0)
        self._rate = 0.0

    # ---- opening

    def _open(self) -> None:
        lsl = _lsl()
        found = lsl.resolve_byprop(self._by, self._stream, minimum=1, timeout=self._wait)
        where = f"lsl source: {self._by} {self._stream!r}"
        if not found:
            raise SpikeportError(f"{where}: no such stream within {self._wait:g} s", hint="start the producer first")
        if len(found) > 1:
            names = [f"{i.name()} of {i.hostname()}, source_id {i.source_id()!r}" for i in found]
            raise SpikeportError(f"{where}: {len(found)} streams, must be one", names, hint="by='source_id'")
        self._check(found[0], where)
        self._found, self._rate = found[0], float(found[0].nominal_srate())
        self._inlet = lsl.StreamInlet(found[0], max_buflen=self._buffer, recover=bool(found[0].source_id()))
        try:
            about = self._inlet.info(self._wait)
            self._inlet.open_stream(self._wait)
            self._begin(about)
        except (lsl.util.TimeoutError, lsl.util.LostError) as error:
            raise SpikeportError(f"{where}: was found, but does not answer within {self._wait:g} s: {error}") from None

    def _check(self, info: Any, where: str) -> None:
        n, wanted = info.channel_count(), self.n_channels + (self._sequence == "last channel")
        problems = []
        if info.channel_format() not in _DTYPES:
            problems.append("its samples are strings, must be numbers")
        if n != wanted:
            what = " (with that of the sequence)" if wanted > self.n_channels else ""
            problems.append(f"{n} channels, must be {wanted}{what}")
        if self._sequence == "inferred" and not info.nominal_srate() > 0:
            problems.append("no nominal rate, from which numbers could be inferred")
        if problems:
            raise SpikeportError(where, problems, hint="a SequenceOutlet, or an outlet with its rate and a count")

    def _begin(self, about: Any) -> None:
        told = about.desc().child("spikeport").child_value("clock")
        ours = clock_identity()
        self._same_clock = self._stamps == "same clock" or (self._stamps == "auto" and ours != 0 and told == str(ours))
        self._to_loop_ns = _offset(_lsl().local_clock, self._inbox.now)
        self._correction_ns = 0
        if not self._same_clock:
            self._correction_ns = round(self._inlet.time_correction(self._wait) * NS)
        self._corrections = (self._correction_ns, self._correction_ns)
        self._inferred = Inferred(self._rate) if self._sequence == "inferred" else None
        self._rows = np.empty((READS * self.capacity, about.channel_count()), _DTYPES[about.channel_format()])
        self._heard_ns, self._gone = self._inbox.now(), False
        self._next_look = self._heard_ns + _LOOK_NS
        self._told.clear()
        self._inbox.notes.add("producer", name=about.name(), host=about.hostname(), stamps=self._mapping())

    def _mapping(self) -> str:
        return "same clock" if self._same_clock else "time correction"

    # ---- reading

    def _read(self, limit: int) -> None:
        if self._inlet is None:
            return
        inbox = self._inbox
        try:
            _, stamps = self._inlet.pull_chunk(0.0, max_samples=limit, dest_obj=self._rows)
        except _lsl().util.LostError:
            if not self._gone:
                self._gone = True
                inbox.notes.add("peer", "lost")
            stamps = []
        received = inbox.now()
        if received >= self._next_look:
            self._look(received)
        if not stamps:
            return
        self._heard_ns = received
        inbox.counts["came"] += len(stamps)
        rows = self._rows[: len(stamps)].astype(np.float64)
        for row, t in zip(rows, stamps, strict=True):
            self._one(row, t, received)

    def _one(self, row: Any, t: float, received: int) -> None:
        if not abs(t) * NS < LIMIT:  # NaN too
            self._inbox.bad("stamp", detail=f"{t:g} s, must be within 2^62 ns (146 years)")
            return
        if self._inferred is not None:
            number = self._inferred.next(t)
        else:
            count, row = float(row[-1]), row[:-1]
            if not (0 <= count < EXACT and count == int(count)):
                self._inbox.bad("sequence", detail=f"{count}, must be a whole number from 0 to 2^53")
                return
            number = int(count)
        self._inbox.put(number, row, round(t * NS) + self._correction_ns + self._to_loop_ns, received)

    def _look(self, now: int) -> None:
        """At LSL's running estimate of the offset, and whether it says that the sender's clock was set."""
        lsl = _lsl()
        self._next_look = now + _LOOK_NS
        if now - self._heard_ns >= SILENT_NS:
            self._look_for_another()
        if self._gone:
            return
        try:
            correction = round(self._inlet.time_correction(0.0) * NS)
        except (lsl.util.TimeoutError, lsl.util.LostError):  # none yet
            return
        if self._same_clock:
            if self._stamps == "same clock" or abs(correction) <= SAME_CLOCK_NS:
                return
            # the stream was recovered from a sender on another machine
            self._same_clock, self._corrections = False, (correction, correction)
            self._inbox.notes.add("producer", "another clock", stamps=self._mapping(), correction_ns=correction)
        self._correction_ns = correction
        low, high = self._corrections
        self._corrections = (min(low, correction), max(high, correction))
        if self._inlet.was_clock_reset():
            self._inbox.notes.add("producer's clock reset")

    def _look_for_another(self) -> None:
        """Note each stream that is there in the place of a silent one, and why the inlet does not go on with it: LSL
        takes up a stream again where name, type, source_id, channels and their format are the same, and it is the only
        one. It is asked for in the background, and waited for at no time."""
        if self._resolver is None:
            with suppress(RuntimeError):  # it only notes what is there; asked for again at the next look
                self._resolver = _lsl().ContinuousResolver(self._by, self._stream)
            return
        was, found = self._found, self._resolver.results()
        for info in found:
            changed = [
                f"{what} {new}, was {old}"
                for what, new, old in (
                    ("channels", info.channel_count(), was.channel_count()),
                    ("format", info.channel_format(), was.channel_format()),
                    ("name", info.name(), was.name()),
                    ("type", info.type(), was.type()),
                    ("source_id", info.source_id(), was.source_id()),
                )
                if new != old
            ]
            if len(found) > 1:
                changed.append(f"one of {len(found)} streams, must be the only one")
            if self._gone and not changed:
                changed.append("it had no source_id, by which it could be taken up again")
            reason = "; ".join(changed)[:500]
            if reason and reason not in self._told and len(self._told) < _TOLD:
                self._told.add(reason)
                self._inbox.notes.add("stream changed", reason, host=info.hostname()[:100])

    def close(self) -> None:
        self._resolver = None
        if self._inlet is not None:
            self._inlet.close_stream()
            self._inlet = None  # its destructor gives the rest back

    def report(self) -> Mapping[str, Any]:
        found: dict[str, Any] = {**super().report(), "stamps": self._mapping(), "numbers": self._numbers()}
        if not self._same_clock:
            found["time_correction_ns"] = list(self._corrections)
        if self._inferred is not None:
            found |= {"worst_residual_periods": self._inferred.worst, "doubtful_numbers": self._inferred.doubtful}
        return found

    def _numbers(self) -> str:
        return "exact" if self._sequence == "last channel" else "inferred"

    def describe(self) -> Mapping[str, Any]:
        return {
            **super().describe(),
            self._by: self._stream,
            "sequence": self._sequence,
            "numbers": self._numbers(),
            "stamps": self._stamps,
            "buffer_s": self._buffer,
        }


class SequenceOutlet:
    """An outlet of n_channels and one more, float64, that holds each sample's number. It never waits; who does not
    take `buffer` s of samples in time loses the oldest, and sees it from the numbers.

    rate: nominal, 1/s; 0: none.
    """

    def __init__(
        self,
        name: str,
        n_channels: int,
        *,
        rate: float,
        source_id: str,
        stream_type: str = "spikeport",
        buffer: int = 60,
    ) -> None:
        labels = [*(f"channel {i}" for i in range(n_channels)), "sequence"]
        self.outlet: Any = _outlet(name, labels, rate, source_id, stream_type, buffer)
        self._n_channels = n_channels
        self._to_lsl_ns = -_offset(_lsl().local_clock, time.monotonic_ns)

    def ready(self, timeout: float) -> bool:
        return bool(self.outlet.wait_for_consumers(timeout))

    def send(self, values: ArrayLike, *, seq: int, source_ns: int) -> bool:
        sample = np.asarray(values, dtype=np.float64)
        if sample.shape != (self._n_channels,) or not 0 <= seq < EXACT:
            raise SpikeportError(
                f"lsl outlet: number {seq} with values of shape {sample.shape}, must be 0 to 2^53 with "
                f"({self._n_channels},)"
            )
        self.outlet.push_sample([*sample.tolist(), float(seq)], (source_ns + self._to_lsl_ns) / NS)
        return True

    def close(self) -> None:
        self.outlet = None  # its destructor gives it back


def _outlet(name: str, labels: list[str], rate: float, source_id: str, stream_type: str, buffer: int) -> Any:
    """An outlet of float64 channels that says which clock it reads."""
    lsl = _lsl()
    info = lsl.StreamInfo(name, stream_type, len(labels), rate, lsl.cf_double64, source_id)
    info.set_channel_labels(labels)
    info.desc().append_child("spikeport").append_child_value("clock", str(clock_identity()))
    return lsl.StreamOutlet(info, max_buffered=buffer)


def _offset(theirs: Callable[[], float], ours: Callable[[], int]) -> int:
    """ns to add to a time of `theirs` (s) for one of `ours` (ns); 0 where they differ by less than a reading takes."""
    best, offset = 2**63, 0
    for _ in range(9):
        before, there, after = ours(), theirs(), ours()
        if after - before < best:
            best, offset = after - before, (before + after) // 2 - round(there * NS)
    return 0 if abs(offset) <= best else offset


def _lsl() -> Any:
    try:
        import pylsl
        import pylsl.util
    except ImportError:
        raise MissingDependencyError.for_extra("pylsl", "lsl", "an LSL source or sink") from None
    except RuntimeError as error:  # the wheel is there, the library is not
        raise SpikeportError(f"lsl: {error}".splitlines()[0], hint="install liblsl, or set PYLSL_LIB to it") from None
    return pylsl


class LslSink:
    """Outputs as samples of float64: the values, then number, tick, seq, cause (index in CAUSES), safe.

    emit never waits. A consumer that does not take `buffer` s of outputs (x 100 outputs, where rate is 0) in time loses
    the oldest; only it can see that, from the numbers, and nothing of it can be counted here. Outputs without any
    consumer are counted as unheard. close waits `linger` s for the last one to get out.
    """

    kind = "lsl"

    def __init__(
        self,
        name: str,
        n_outputs: int,
        *,
        source_id: str,
        rate: float = 0.0,
        buffer: int = 60,
        linger: float = 0.2,
    ) -> None:
        self._name, self._n_outputs, self._source_id, self._rate = name, n_outputs, source_id, rate
        self._buffer, self._linger = buffer, linger
        self._outlet: Any = None
        self._number = 0
        self.counts = {"emitted": 0, "unheard": 0}

    def open(self, clock: Clock) -> None:
        """Announce the stream; numbers begin at 0."""
        self.close()
        self._number, self.counts = 0, dict.fromkeys(self.counts, 0)
        labels = [*(f"output {i}" for i in range(self._n_outputs)), *LSL_OUTPUT]
        self._outlet = _outlet(self._name, labels, self._rate, self._source_id, "spikeport output", self._buffer)

    def emit(self, output: Output) -> None:
        """Pass it on."""
        if self._outlet is None:
            raise SpikeportError("lsl sink: not open", hint="open it first; Loop.run does")
        o = output
        if len(o.values) != self._n_outputs:
            raise SpikeportError(f"lsl sink: {len(o.values)} outputs, the stream has {self._n_outputs}")
        about = (self._number, o.tick, o.seq, CAUSES.index(o.cause), o.safe)
        self._outlet.push_sample([*o.values.tolist(), *map(float, about)])
        self._number += 1
        self.counts["emitted"] += 1
        self.counts["unheard"] += not self._outlet.have_consumers()

    def report(self) -> Mapping[str, Any]:
        """Counts, for the summary."""
        return dict(self.counts)

    def close(self) -> None:
        if self._outlet is not None:
            if self._outlet.have_consumers():
                time.sleep(self._linger)
            self._outlet = None

    def describe(self) -> Mapping[str, Any]:
        about = {"name": self._name, "source_id": self._source_id, "rate": self._rate, "buffer": self._buffer}
        return {"kind": self.kind, **about, "waits_s": 0.0, "close_waits_s": self._linger}
