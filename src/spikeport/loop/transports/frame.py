"""What goes over UDP and ZeroMQ: one frame a packet, of fixed layout, checked, little-endian.

    offset  0  "SPKF"              4
            4  version             1   1
            5  kind                1   1 a sample, 2 an output
            6  type of the values  1   1 float64, 2 float32, 3 int16
            7  zero                1
            8  n, how many         4
           12  session             8   a random number that a sender draws when it starts
           20  number              8   of this frame, from 0, without holes
           28  stamp               8   ns of the sender's monotonic clock, signed
           36  clock               8   which clock that is; 0: unknown
           44  CRC-32              4   of bytes 0-43 and all after 47
           48  of an output only: tick, seq (8 each, signed), cause (1, index in CAUSES), safe (1), zero (6),
               deadline, source, received, start, end (8 each, signed, ns)
               the values

Two senders with the same `clock` read the same clock: the same start of the same machine, with the same time namespace.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikeport.loop.packets import CAUSES, Array, Output
from spikeport.snn.errors import SpikeportError

MAGIC, VERSION = b"SPKF", 1
SAMPLE, OUTPUT = 1, 2
_HEAD = struct.Struct("<4sBBBxIQQqQ")
_CRC = struct.Struct("<I")
_OUTPUT = struct.Struct("<qqBB6xqqqqq")
OVERHEAD = _HEAD.size + _CRC.size  # 48 bytes before a sample's values
OUTPUT_OVERHEAD = OVERHEAD + _OUTPUT.size
DTYPES: dict[str, tuple[int, np.dtype[Any]]] = {
    "float64": (1, np.dtype("<f8")),
    "float32": (2, np.dtype("<f4")),
    "int16": (3, np.dtype("<i2")),
}
_BY_CODE = dict(DTYPES.values())


class FrameError(ValueError):
    """What came is no frame of the kind that was asked for; `reason` is one of a few words, to be counted by."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}" if detail else reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A sample's frame. values: (n,)."""

    session: int
    seq: int
    source_ns: int
    clock: int
    values: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Emitted:
    """An output's frame. number: counts what the sink emitted, without holes: a tick that emits nothing has none."""

    session: int
    number: int
    sent_ns: int
    clock: int
    output: Output


def new_session() -> int:
    """A random number that tells one start of a sender from the next."""
    return secrets.randbits(63) + 1


def clock_identity() -> int:
    """Which clock time.monotonic_ns() reads, as a number; 0 where the system does not tell (only Linux does)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        namespace = Path("/proc/self/timens_offsets")  # a time namespace moves CLOCK_MONOTONIC
        text = boot + (namespace.read_bytes() if namespace.exists() else b"")
    except OSError:
        return 0
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little")


def as_wire(values: ArrayLike, dtype: str) -> bytes:
    """(n,) numbers as bytes. float32 rounds, as IEEE 754 does; int16 refuses all but whole numbers of its range."""
    code_type = DTYPES.get(dtype)
    if code_type is None:
        raise SpikeportError(f"frame: values as {dtype!r:.40}", hint=f"one of {', '.join(DTYPES)}")
    given: Array = np.asarray(values, dtype=np.float64)
    if given.ndim != 1:
        raise SpikeportError(f"frame: values of shape {given.shape}, must be (n,)")
    with np.errstate(over="ignore", invalid="ignore"):  # float32: beyond its range is infinite, which a receiver sees
        sent = given.astype(code_type[1])
    if dtype == "int16" and not np.array_equal(sent, given):
        i = int(np.argmax(sent != given))
        raise SpikeportError(
            f"frame: value {i} is {given[i]:g}, int16 takes whole numbers from -32768 to 32767", hint="dtype='float64'"
        )
    return bytes(sent.tobytes())


def pack_sample(
    values: ArrayLike, *, session: int, seq: int, source_ns: int, clock: int, dtype: str = "float64"
) -> bytes:
    """A sample as a frame."""
    body = as_wire(values, dtype)
    code, kind = DTYPES[dtype]
    return _frame(SAMPLE, code, len(body) // kind.itemsize, session, seq, source_ns, clock, body)


def pack_output(output: Output, *, session: int, number: int, sent_ns: int, clock: int) -> bytes:
    """An output as a frame."""
    o = output
    body = _OUTPUT.pack(
        o.tick, o.seq, CAUSES.index(o.cause), o.safe, o.deadline_ns, o.source_ns, o.received_ns, o.start_ns, o.end_ns
    ) + as_wire(o.values, "float64")
    return _frame(OUTPUT, 1, len(o.values), session, number, sent_ns, clock, body)


def read_sample(data: bytes) -> Sample:
    """What `pack_sample` wrote; FrameError otherwise."""
    session, number, stamp, clock, values = _open_frame(data, SAMPLE, OVERHEAD)
    return Sample(session=session, seq=number, source_ns=stamp, clock=clock, values=values)


def read_output(data: bytes) -> Emitted:
    """What `pack_output` wrote; FrameError otherwise."""
    session, number, stamp, clock, values = _open_frame(data, OUTPUT, OUTPUT_OVERHEAD)
    tick, seq, cause, safe, deadline, source, received, start, end = _OUTPUT.unpack_from(data, OVERHEAD)
    if cause >= len(CAUSES) or safe > 1:
        raise FrameError("kind", f"cause {cause}, safe {safe}")
    output = Output(
        tick=tick, seq=seq, values=values, safe=bool(safe), cause=CAUSES[cause], deadline_ns=deadline,
        source_ns=source, received_ns=received, start_ns=start, end_ns=end,
    )  # fmt: skip
    return Emitted(session=session, number=number, sent_ns=stamp, clock=clock, output=output)


def _frame(kind: int, code: int, n: int, session: int, number: int, stamp: int, clock: int, body: bytes) -> bytes:
    head = _HEAD.pack(MAGIC, VERSION, kind, code, n, session, number, stamp, clock)
    return b"".join((head, _CRC.pack(zlib.crc32(body, zlib.crc32(head))), body))


def _open_frame(data: bytes, wanted: int, start: int) -> tuple[int, int, int, int, Array]:
    """(session, number, stamp, clock, values), whatever came."""
    if len(data) < OVERHEAD:
        raise FrameError("length", f"{len(data)} bytes, a frame has {OVERHEAD} or more")
    magic, version, kind, code, n, session, number, stamp, clock = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise FrameError("no frame", "it does not begin with SPKF")
    if version != VERSION:
        raise FrameError("version", f"{version}, this reads {VERSION}")
    view = memoryview(data)
    if zlib.crc32(view[OVERHEAD:], zlib.crc32(view[: _HEAD.size])) != _CRC.unpack_from(data, _HEAD.size)[0]:
        raise FrameError("checksum", "changed on its way")
    if kind != wanted or code not in _BY_CODE:
        raise FrameError("kind", f"kind {kind} of type {code}, this reads kind {wanted}")
    kind_of = _BY_CODE[code]
    if len(data) != start + n * kind_of.itemsize:
        raise FrameError("length", f"{len(data)} bytes, {n} values come to {start + n * kind_of.itemsize}")
    values = np.frombuffer(data, kind_of, n, start).astype(np.float64)
    return session, number, stamp, clock, values
