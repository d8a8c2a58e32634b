"""The packets of a source that wait for a poll: never more than so many, and what was given up is counted."""

from __future__ import annotations

from collections import deque

from spikeport.loop.packets import Packet


class Buffer:
    """At most `capacity` packets, in order. Of more, the oldest is given up, counted until `overflowed` is asked."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._packets: deque[Packet] = deque()
        self._given_up = 0

    def __len__(self) -> int:
        return len(self._packets)

    def put(self, packet: Packet) -> Packet | None:
        """Let it wait; the packet that was given up for it."""
        self._packets.append(packet)
        if len(self._packets) <= self.capacity:
            return None
        self._given_up += 1
        return self._packets.popleft()

    def give_up(self, n: int) -> None:
        """n packets are given up that never waited here."""
        self._given_up += n

    def take(self) -> list[Packet]:
        """All that wait."""
        found = list(self._packets)
        self._packets.clear()
        return found

    def overflowed(self) -> int:
        """Packets given up since the last call."""
        given_up, self._given_up = self._given_up, 0
        return given_up

    def clear(self) -> None:
        """As new."""
        self._packets.clear()
        self._given_up = 0
