"""From the loop to the process that writes: (type u8, payload bytes u32, payload) through a pipe, in order.

The pipe is the bounded buffer between them, and the system's: what was put in is read also when the loop is killed, and
its end is the end of the loop. The answers come back as one line of JSON each: "ready", then "done", or an error.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

MESSAGE = struct.Struct("<BI")


def pack_message(kind: int, payload: bytes) -> bytes:
    return MESSAGE.pack(kind, len(payload)) + payload


class Unpacker:
    """Whole messages out of bytes that come in any pieces; holds at most one unfinished message and one piece."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(type, payload) of each message that is now whole."""
        self._rest += data
        at = 0
        while len(self._rest) - at >= MESSAGE.size:
            kind, length = MESSAGE.unpack_from(self._rest, at)
            end = at + MESSAGE.size + length
            if end > len(self._rest):
                break
            yield kind, bytes(self._rest[at + MESSAGE.size : end])
            at = end
        del self._rest[:at]

    @property
    def unfinished(self) -> int:
        """Bytes of a message that is not whole."""
        return len(self._rest)
