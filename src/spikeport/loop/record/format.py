"""The bytes of a record (`.spklog`), appended frame by frame; nothing in them is ever executed. See docs/record.md.

    file      = preamble, header frame, (tick | event) frames, end frame
    preamble  = 89 "SPKLOG" 0A, version u16, 0 u16
    frame     = head, crc32(head; salt) u32, payload, crc32(payload; crc of the head) u32
    head      = type u8, 000000, length of the payload u32, number of the frame u64

All little-endian. crc32(x; s) is zlib's CRC-32 of x begun at s. The salt of the header frame is the preamble's CRC,
that of all others the header payload's: a frame of another record does not fit. A CRC-32 notices every error within 32
consecutive bits, so every single damaged byte; the numbers notice a frame that is missing, doubled or out of place.

Only the standard library is imported here: the writing process starts in the time that Python takes.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from spikeport.snn.errors import SpikeportError

MAGIC = b"\x89SPKLOG\n"
VERSION = 1
PREAMBLE = struct.Struct("<8sHH")
HEAD = struct.Struct("<B3xIQ")
CRC = struct.Struct("<I")
OVERHEAD = HEAD.size + 2 * CRC.size  # bytes of a frame beside its payload

HEADER, TICK, EVENT, END = 1, 2, 3, 4
NAMES = {HEADER: "header", TICK: "tick", EVENT: "event", END: "end"}
MAX_VALUES = 1 << 16  # channels in, and values out, of one tick
# of a tick: tick, seq, deadline, source, received, start, end, emitted (ns); cause, safe, 0, values in, values out
STAMPS = struct.Struct("<8qBBHII")
LIMITS = {  # bytes of payload, checked before anything is allocated
    HEADER: 16 << 20,
    TICK: STAMPS.size + 2 * 8 * MAX_VALUES,
    EVENT: 1 << 20,
    END: 1 << 16,
}
_FLOAT = "$float"  # JSON has no NaN and no infinity: {"$float": "nan"}


class BadFrame(Exception):
    """Bytes that are no frame of this record; the reader says where."""


def encode_json(value: Any, where: str) -> bytes:
    """`value` as canonical JSON: sorted keys, no spaces, ASCII, floats by their shortest exact decimal form.

    NumPy's scalars and arrays become numbers and lists. What has no JSON form is refused, naming where it stands.
    """
    plain = _plain(value, where)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def decode_json(data: bytes) -> dict[str, Any]:
    """The object of canonical JSON; BadFrame for anything else, also for JSON that `encode_json` does not write."""
    try:
        value = json.loads(data.decode("ascii"))
        again = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
        value = _restore(value)
    except (ValueError, RecursionError) as error:  # the second: brackets without end
        raise BadFrame("it is no JSON") from error
    if again != data:  # also a key that stands twice, or a number that no float or integer of ours prints as
        raise BadFrame("its JSON is not in canonical form")
    if not isinstance(value, dict):
        raise BadFrame("its JSON is no object")
    return value


def _plain(value: Any, where: str) -> Any:
    """`value` in JSON's own types."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {_FLOAT: repr(float(value))}
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise SpikeportError(f"{where}: key {wrong[0]!r}, must be a text")
        return {_doubled(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if hasattr(value, "tolist"):  # NumPy's, which this module does not import
        return _plain(value.tolist(), where)
    raise SpikeportError(
        f"{where}: {type(value).__name__} has no form in a record, must be text, number, bool, None, list or mapping"
    )


def _doubled(key: str) -> str:
    """A key that looks like ours gets one more $."""
    return "$" + key if key.startswith("$") else str(key)


def _restore(value: Any) -> Any:
    """What `_plain` was given; ValueError where it was not made by it."""
    if isinstance(value, dict):
        if value.keys() == {_FLOAT} and value[_FLOAT] in ("nan", "inf", "-inf"):
            return float(value[_FLOAT])
        if any(key[:1] == "$" != key[1:2] for key in value):
            raise ValueError("a key that begins with one $")
        return {key.removeprefix("$"): _restore(item) for key, item in value.items()}
    return [_restore(item) for item in value] if isinstance(value, list) else value


@dataclass
class Framer:
    """Makes the bytes of one record, in order: `start`, then `frame` for each tick and event, then `end`."""

    salt: int = 0
    frames: int = 0
    ticks: int = 0
    events: int = 0

    def start(self, header: bytes) -> bytes:
        """The preamble and the header frame."""
        preamble = PREAMBLE.pack(MAGIC, VERSION, 0)
        self.salt = crc32(preamble)
        frame = self.frame(HEADER, header)
        self.salt = crc32(header)
        return preamble + frame

    def frame(self, kind: int, payload: bytes) -> bytes:
        """One frame, with the next number."""
        head = HEAD.pack(kind, len(payload), self.frames)
        check = crc32(head, self.salt)
        self.frames += 1
        self.ticks += kind == TICK
        self.events += kind == EVENT
        return b"".join((head, CRC.pack(check), payload, CRC.pack(crc32(payload, check))))

    def end(self, *, closed: bool, reason: str) -> bytes:
        """The end frame. closed: the loop said that it was done; else why this is the end all the same."""
        counts = {"ticks": self.ticks, "events": self.events, "closed": closed, "reason": reason}
        return self.frame(END, encode_json(counts, "end"))


def read_preamble(data: bytes) -> int:
    """The salt of the header frame; BadFrame where this is no record, or one of another version."""
    magic, version, zero = PREAMBLE.unpack(data)
    if magic != MAGIC:
        raise BadFrame("its first bytes are not those of a record")
    if version != VERSION:
        raise BadFrame(f"version {version}, this program reads version {VERSION}")
    if zero:
        raise BadFrame("its preamble is damaged")
    return crc32(data)


def read_head(data: bytes, *, number: int, salt: int, first: bool) -> tuple[int, int, int]:
    """(type, payload bytes, CRC that the payload's begins with) of a frame that must have this number."""
    head, stored = data[: HEAD.size], CRC.unpack_from(data, HEAD.size)[0]
    check = crc32(head, salt)
    if check != stored:
        raise BadFrame("the checksum of its head is wrong")
    kind, length, found = HEAD.unpack(head)
    if HEAD.pack(kind, length, found) != head:
        raise BadFrame("its head is not as it is written")
    if found != number:
        raise BadFrame(f"it says that it is frame {found}")
    if kind not in NAMES or first != (kind == HEADER):
        raise BadFrame(f"a frame of type {kind} cannot stand here")
    if length > LIMITS[kind]:
        raise BadFrame(f"{length} bytes, the limit of a frame of type {NAMES[kind]} is {LIMITS[kind]}")
    return kind, length, check


def check_payload(payload: bytes, stored: bytes, check: int) -> None:
    """BadFrame where the payload's checksum is wrong."""
    if crc32(payload, check) != CRC.unpack(stored)[0]:
        raise BadFrame("the checksum of its payload is wrong")
