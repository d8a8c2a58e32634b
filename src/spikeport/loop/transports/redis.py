"""Redis streams, as BRAND reads and writes them.

An entry of a stream is a set of fields; BRAND's nodes write arrays as raw bytes (little-endian, no header):

    samples            the values; in older nodes under other names (`crossings`)
    ts                 uint64, ns of CLOCK_MONOTONIC; older: BRANDS_time, also as timespec (two int64: s, ns) or, in s
                       of the wall clock, as float64
    sync               JSON, {"<label>": <clock of the device>, ...}: from which input it derives
    i                  uint64, a count; older: timestamps, uint32 of the device's clock at 30 kHz

Source: Ali et al., "BRAND: a platform for closed-loop experiments with deep network models", J. Neural Eng. 21, 026046
(2024); github.com/brandbci/brand, doc/DataSyncGuidelines.md; github.com/brandbci/brand-nsp, bin_multiple.py,
thresholdExtraction.py, cerebusAdapter.c.

The ids of a stream are times and leave holes, so that an entry that was trimmed (XADD MAXLEN) before it was read shows
in a count alone: `counter` names it, and None says that losses cannot be seen. A server's answer is waited for, at
most `timeout` s, and a server that is gone is asked again every `retry` s: at most 4 timeouts each time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikeport.loop.packets import NS, Output
from spikeport.loop.transports.base import TransportSink, TransportSource, host_and_port
from spikeport.loop.transports.frame import as_wire, clock_identity
from spikeport.loop.transports.inbox import Inbox
from spikeport.loop.transports.numbering import Counter
from spikeport.snn.errors import MissingDependencyError, SpikeportError

NUMBERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
TIMES = ("uint64 ns", "timespec", "float64 s")
STARTS = ("new", "all")
MAX_ENTRIES = 100_000  # of a stream that we write: Redis trims the oldest, by whole blocks of some 100


class _Server:
    """A connection that waits no longer than it says, and comes back."""

    def __init__(self, address: str, what: str, timeout: float, retry: float) -> None:
        host, port = host_and_port(address, what)
        if not (math.isfinite(timeout) and timeout > 0 and math.isfinite(retry) and retry >= 0):
            raise SpikeportError(f"{what}: timeout {timeout} s, retry {retry} s, must be above 0, and 0 or more")
        self.address, self.what, self.timeout, self.retry = address, what, timeout, retry
        self._where, self._retry_ns = {"host": host, "port": port}, round(retry * NS)
        self.client: Any = None
        self.down_until = -1
        self.was_down = False

    def open(self) -> None:
        """Refuse a server that does not answer."""
        redis = _redis()
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self.close()
        self.client = redis.Redis(
            **self._where, socket_timeout=self.timeout, socket_connect_timeout=self.timeout,
            retry=Retry(NoBackoff(), 0), protocol=2, single_connection_client=False,
        )  # fmt: skip
        self.down_until, self.was_down = -1, False
        try:
            self.client.ping()
        except redis.RedisError as error:
            raise SpikeportError(
                f"{self.what}: no Redis server answers at {self.address}: {error!s:.200}",
                hint="redis-server --port 6379",
            ) from None

    def ask(self, question: Callable[[Any], Any], now_ns: int) -> tuple[Any, str]:
        """(answer, "") or (None, why not); "" also for why not while it is not yet time to ask again."""
        if self.client is None or now_ns < self.down_until:
            return None, ""
        try:
            answer = question(self.client)
        except _redis().RedisError as error:
            self.down_until, self.was_down = now_ns + self._retry_ns, True
            return None, f"{type(error).__name__}: {error!s:.200}"
        self.down_until = -1
        return answer, ""

    def close(self) -> None:
        if self.client is not None:
            self.client.close()
            self.client = None

    def describe(self) -> dict[str, Any]:
        return {"server": self.address, "timeout_s": self.timeout, "retry_s": self.retry}


class RedisSource(TransportSource):
    """Entries of `stream` as packets: `field` holds n_channels numbers of `dtype`.

    counter: from what the numbers come, or None: of the order of arrival, so that losses cannot be seen.
    time: the field of the stamp, of type time_type, or None: packets have no stamp. stamps: "same clock" where the
    producer reads CLOCK_MONOTONIC on this machine, "least delay", or "auto": the first where the entry says so (the
    field `clock` of our senders), else the second.  start: "new" entries, or "all" that the stream still has.
    """

    kind = "redis"

    def __init__(
        self,
        n_channels: int,
        *,
        stream: str,
        counter: Counter | None,
        server: str = "127.0.0.1:6379",
        field: str = "samples",
        dtype: str = "float64",
        time: str | None = "ts",
        time_type: str = "uint64 ns",
        start: str = "new",
        capacity: int = 256,
        stamps: str = "auto",
        timeout: float = 0.05,
        retry: float = 1.0,
    ) -> None:
        problems = [
            f"{what}: {value!r:.40}, must be one of {', '.join(known)}"
            for what, value, known in (
                ("dtype", dtype, NUMBERS),
                ("time_type", time_type, TIMES),
                ("start", start, STARTS),
            )
            if value not in known
        ]
        if problems:
            raise SpikeportError("redis source: settings that cannot be", problems)
        super().__init__(Inbox("redis source", n_channels, capacity, stamps))
        self._server = _Server(server, "redis source", timeout, retry)
        self._stream, self._counter, self._start = stream, counter, start
        self._field, self._dtype = field.encode(), np.dtype(dtype).newbyteorder("<")
        self._time, self._time_type = None if time is None else time.encode(), time_type
        self._last: bytes | str = b"0-0"
        self._arrived = 0
        self._identity: int | None = None

    def _open(self) -> None:
        redis = _redis()
        self._server.open()
        self._last, self._arrived, self._identity = b"0-0", 0, None
        if self._counter is not None:
            self._counter.reset()
        try:
            kind = self._server.client.type(self._stream)
            if kind not in (b"stream", b"none"):
                raise SpikeportError(f"redis source: {self._stream!r} is a {kind.decode()}, must be a stream")
            if kind == b"none":
                self._inbox.notes.add("stream missing", stream=self._stream)
            elif self._start == "new":
                self._last = self._server.client.xinfo_stream(self._stream)["last-generated-id"]
        except redis.RedisError as error:
            raise SpikeportError(f"redis source: {self._server.address}: {error!s:.200}") from None

    def _read(self, limit: int) -> None:
        server, inbox = self._server, self._inbox
        if server.client is None:
            return
        if server.was_down and not self._back():
            return
        answer, problem = server.ask(lambda client: client.xread({self._stream: self._last}, count=limit), inbox.now())
        if problem:
            inbox.notes.add("peer", f"no answer: {problem}")
        if not answer:
            return
        received = inbox.now()
        for entry, fields in answer[0][1]:
            self._last = entry
            inbox.counts["came"] += 1
            self._entry(entry, fields, received)

    def _entry(self, entry: bytes, fields: Mapping[bytes, bytes], received: int) -> None:
        try:
            self._one(fields, received)
        except (KeyError, ValueError, IndexError, TypeError, OverflowError, RecursionError) as error:
            self._inbox.bad("entry", entry=entry.decode(), detail=f"{type(error).__name__}: {error!s:.200}")

    def _back(self) -> bool:
        """After a server was gone: whether it is back; and whether its stream is a new one, with lower ids."""
        server, inbox = self._server, self._inbox
        answer, problem = server.ask(self._last_id, inbox.now())
        if problem:
            inbox.notes.add("peer", f"no answer: {problem}")
        if answer is None:
            return False
        server.was_down = False
        began_again = _id(answer) < _id(self._last)
        if began_again:
            self._last = b"0-0"
        inbox.notes.add("peer", "answers again", stream_began_again=began_again)
        return True

    def _last_id(self, client: Any) -> Any:
        if not client.exists(self._stream):
            return b"0-0"
        return client.xinfo_stream(self._stream)["last-generated-id"]

    def _one(self, fields: Mapping[bytes, bytes], received: int) -> None:
        values = np.frombuffer(fields[self._field], self._dtype)
        if len(values) != self.n_channels:
            self._inbox.bad("width", detail=f"{len(values)} values, must be {self.n_channels}")
            return
        if self._counter is None:
            number, odd = self._arrived, ""
        else:
            number, odd = self._counter.number(self._counter.read(fields))
        stamp = self._stamp(fields, received)
        if odd:
            self._inbox.notes.add("counter", odd, seq=number)
        if stamp is None:
            return
        self._arrived += 1
        self._inbox.put(number, values.astype(np.float64), stamp, received)

    def _stamp(self, fields: Mapping[bytes, bytes], received: int) -> int | None:
        """On the loop's clock; None where it cannot be."""
        if self._time is None:
            return 0
        data = fields[self._time]
        if self._time_type == "uint64 ns":
            ns = int(np.frombuffer(data, "<u8")[0])
        elif self._time_type == "timespec":
            s, rest = np.frombuffer(data, "<i8")[:2]
            ns = int(s) * NS + int(rest)
        else:
            ns = round(float(np.frombuffer(data, "<f8")[0]) * NS)
        if not self._inbox.possible(0, ns):
            return None
        told = fields.get(b"clock", b"")
        identity = int.from_bytes(told, "little") if len(told) <= 8 else 0
        if identity != self._identity:
            self._identity = identity
            self._inbox.notes.add("producer", f"clock {identity}", stamps=self._inbox.stamps.begin(identity))
        return self._inbox.stamps.map(ns, received)

    def close(self) -> None:
        self._server.close()

    def report(self) -> Mapping[str, Any]:
        return {**super().report(), "numbers": self._numbers()}

    def _numbers(self) -> str:
        return "order of arrival: losses cannot be seen" if self._counter is None else "exact"

    def describe(self) -> Mapping[str, Any]:
        counter = self._counter
        by = None if counter is None else {"field": counter.name, "dtype": counter.dtype.name, "step": counter.step}
        about = {"stream": self._stream, "field": self._field.decode(), "dtype": self._dtype.name, "counter": by}
        time = {"time": None if self._time is None else self._time.decode(), "time_type": self._time_type}
        return {**super().describe(), **self._server.describe(), **about, **time, "numbers": self._numbers()}


class _Writer:
    """Adds entries to a stream of limited length."""

    def __init__(self, server: _Server, stream: str, max_entries: int) -> None:
        if not stream or isinstance(max_entries, bool) or not isinstance(max_entries, int) or max_entries < 1:
            raise SpikeportError(
                f"{server.what}: stream {stream!r:.40}, max_entries {max_entries!r:.40}, must be a name, and a whole "
                "number, 1 or more",
                hint="127.0.0.1:6379/stream",
            )
        self.server, self.stream, self.max_entries = server, stream, max_entries

    def add(self, fields: dict[str, Any], now_ns: int) -> str:
        """Why it is not certain to be there; empty where it is."""
        options = {"maxlen": self.max_entries, "approximate": True}
        answer, problem = self.server.ask(lambda client: client.xadd(self.stream, fields, **options), now_ns)
        if answer is not None:
            return ""
        return problem or f"the server was gone; it is asked again every {self.server.retry:g} s"


class RedisSender:
    """The producer's end: entries as BRAND writes them, with samples, ts, i, sync {"<label>": seq}, and `clock`."""

    def __init__(
        self,
        server: str,
        stream: str,
        *,
        label: str = "spikeport",
        dtype: str = "float64",
        max_entries: int = MAX_ENTRIES,
        timeout: float = 1.0,
        retry: float = 1.0,
    ) -> None:
        self._server = _Server(server, "redis sender", timeout, retry)
        self._writer = _Writer(self._server, stream, max_entries)
        self._label, self._dtype, self._clock = label, dtype, clock_identity().to_bytes(8, "little")
        self._server.open()

    def ready(self, timeout: float) -> bool:
        return True

    def send(self, values: ArrayLike, *, seq: int, source_ns: int) -> bool:
        fields = {
            "samples": as_wire(values, self._dtype),
            "ts": source_ns.to_bytes(8, "little"),
            "i": seq.to_bytes(8, "little"),
            "sync": json.dumps({self._label: seq}),
            "clock": self._clock,
        }
        return not self._writer.add(fields, source_ns)

    def close(self) -> None:
        self._server.close()


class RedisSink(TransportSink):
    """Outputs as entries: samples (float64), ts, i (the number), sync {label: seq of the packet used, "tick": tick},
    safe (one byte, 1 where it is the safe value), cause, clock; and `frame`, the whole as frame.read_output reads it.

    emit waits for the server's answer, at most `timeout` s (4 of them after an outage); an output that was not
    confirmed counts as dropped, though a server that answers too late may have it.
    """

    kind = "redis"

    def __init__(
        self,
        server: str,
        stream: str,
        *,
        when_blocked: str,
        label: str = "spikeport",
        max_entries: int = MAX_ENTRIES,
        timeout: float = 0.05,
        retry: float = 1.0,
    ) -> None:
        super().__init__(when_blocked)
        self._server = _Server(server, "redis sink", timeout, retry)
        self._writer = _Writer(self._server, stream, max_entries)
        self._label = label

    def _open(self) -> None:
        self._server.open()

    def _emit(self, output: Output, number: int) -> str:
        o, now = output, self.now()
        fields = {
            "samples": as_wire(o.values, "float64"),
            "ts": now.to_bytes(8, "little"),
            "i": number.to_bytes(8, "little"),
            "sync": json.dumps({self._label: o.seq, "tick": o.tick}),
            "safe": bytes([o.safe]),
            "cause": o.cause,
            "clock": self._identity.to_bytes(8, "little"),
            "frame": self._frame(o, number),
        }
        return self._writer.add(fields, now)

    def close(self) -> None:
        self._server.close()

    def describe(self) -> Mapping[str, Any]:
        limits = {"stream": self._writer.stream, "max_entries": self._writer.max_entries}
        return {**super().describe(), **self._server.describe(), **limits, "waits_s": 4 * self._server.timeout}


def _id(text: bytes | str) -> tuple[int, int]:
    """A stream's id, to be compared."""
    ms, _, n = (text.decode() if isinstance(text, bytes) else text).partition("-")
    return int(ms), int(n or 0)


def _redis() -> Any:
    try:
        import redis
    except ImportError:
        raise MissingDependencyError.for_extra("redis", "redis", "a Redis source or sink") from None
    return redis
