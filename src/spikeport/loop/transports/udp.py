"""UDP: a frame is a datagram. It may come twice, out of order, or not at all, and nobody says so: the numbers tell.

A source binds an address and takes what comes to it; a sink sends to one. Nothing waits for anything. On Linux the
kernel counts what its buffer had to give up, and the source reports it.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from spikeport.loop.packets import Output
from spikeport.loop.transports.base import TransportSink, TransportSource, host_and_port
from spikeport.loop.transports.frame import OVERHEAD, clock_identity, new_session, pack_sample
from spikeport.loop.transports.inbox import Inbox
from spikeport.snn.errors import SpikeportError

MAX_DATAGRAM = 65_507  # bytes of payload: 65535 - 8 (UDP header, RFC 768) - 20 (IPv4 header, RFC 791)
_RXQ_OVFL = 40 if sys.platform.startswith("linux") else None  # SO_RXQ_OVFL, <asm-generic/socket.h>: drops are counted


class UdpSource(TransportSource):
    """Datagrams to `bind` ("host:port"; port 0: the system chooses, see `address`).

    peer: the only host whose datagrams count (None: any). buffer: bytes that the kernel may hold between two polls; it
    may give less, and describe() says what it gave.
    """

    kind = "udp"

    def __init__(
        self,
        n_channels: int,
        *,
        bind: str,
        peer: str | None = None,
        capacity: int = 256,
        stamps: str = "auto",
        buffer: int = 1 << 20,
    ) -> None:
        super().__init__(Inbox("udp source", n_channels, capacity, stamps))
        self._bind, self._asked = bind, buffer
        self._where = host_and_port(bind, "udp source")
        self._peer = None if peer is None else _resolve(peer, 0, "udp source")[1][0]
        self._socket: socket.socket | None = None
        self._buffer = bytearray(65_536)
        self._got = self._kernel_drops = 0

    def _open(self) -> None:
        family, where = _resolve(*self._where, "udp source")
        s = self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._kernel_drops = 0
        try:
            s.setblocking(False)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._asked)
            if _RXQ_OVFL is not None:
                s.setsockopt(socket.SOL_SOCKET, _RXQ_OVFL, 1)
            s.bind(where)
        except OSError as error:
            raise SpikeportError(
                f"udp source: cannot bind {self._bind}: {error.strerror}", hint="another port"
            ) from None
        self._got = s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    @property
    def address(self) -> str:
        """host:port that producers send to, once it is open."""
        if self._socket is None:
            return self._bind
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _read(self, limit: int) -> None:
        s, buffer, inbox = self._socket, self._buffer, self._inbox
        if s is None:
            return
        for _ in range(limit):
            try:
                n, about, _, sender = s.recvmsg_into([buffer], 64)
            except BlockingIOError:
                return
            except OSError as error:  # what the system reports of an earlier datagram; the socket goes on
                inbox.bad("system", detail=str(error))
                continue
            for level, what, data in about:
                if level == socket.SOL_SOCKET and what == _RXQ_OVFL:
                    self._count_kernel_drops(struct.unpack("@I", data[:4])[0])
            if self._peer is not None and sender[0] != self._peer:
                inbox.counts["came"] += 1
                inbox.bad("sender", host=str(sender[0]))
                continue
            inbox.frame(bytes(memoryview(buffer)[:n]))

    def _count_kernel_drops(self, total: int) -> None:
        new = (total - self._kernel_drops) % 2**32
        if new:
            self._kernel_drops = total
            self._inbox.lost_before(new)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def describe(self) -> Mapping[str, Any]:
        return {
            **super().describe(),
            "bind": self._bind,
            "peer": self._peer,
            "buffer": {"asked": self._asked, "got": self._got},
            "sequence": "in the frame",
            "kernel_drops": "counted" if _RXQ_OVFL is not None else "not told by this system",
        }


class _Datagrams:
    """A socket that sends to one address and waits for nothing."""

    def __init__(self, to: str, what: str) -> None:
        family, where = _resolve(*host_and_port(to, what), what)
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self.refused = 0
        try:
            self._socket.setblocking(False)
            self._socket.connect(where)
        except OSError as error:
            self._socket.close()
            raise SpikeportError(f"{what}: cannot send to {to}: {error.strerror}") from None

    def send(self, data: bytes) -> str:
        """Why it could not be sent; empty where it was."""
        for _ in range(2):
            try:
                self._socket.send(data)
            except ConnectionRefusedError:  # about an earlier datagram: nobody was there; this one was not sent yet
                self.refused += 1
            except BlockingIOError:
                return "the system's buffer is full"
            except OSError as error:
                return str(error.strerror or error)
            else:
                return ""
        return "nobody listens there"

    def close(self) -> None:
        self._socket.close()


class UdpSender:
    """The producer's end: samples as datagrams to `to` ("host:port")."""

    def __init__(self, to: str, *, dtype: str = "float64") -> None:
        self._datagrams = _Datagrams(to, "udp sender")
        self._dtype, self._session, self._clock = dtype, new_session(), clock_identity()

    def ready(self, timeout: float) -> bool:
        return True

    def send(self, values: ArrayLike, *, seq: int, source_ns: int) -> bool:
        data = pack_sample(
            values, session=self._session, seq=seq, source_ns=source_ns, clock=self._clock, dtype=self._dtype
        )
        if len(data) > MAX_DATAGRAM:
            raise SpikeportError(
                f"udp sender: a sample of {len(data) - OVERHEAD} bytes, a datagram takes {MAX_DATAGRAM - OVERHEAD}",
                hint="dtype='float32' or 'int16', or ZeroMQ",
            )
        return not self._datagrams.send(data)

    def close(self) -> None:
        self._datagrams.close()


class UdpSink(TransportSink):
    """Outputs as datagrams to `to` ("host:port"). It never waits. Datagrams to which the other machine answered that
    nobody listens are counted as unheard; others may be lost unseen, and the consumer sees it from the numbers."""

    kind = "udp"

    def __init__(self, to: str, *, when_blocked: str) -> None:
        super().__init__(when_blocked)
        self._to = to
        host_and_port(to, "udp sink")
        self._datagrams: _Datagrams | None = None

    def _open(self) -> None:
        self._datagrams = _Datagrams(self._to, "udp sink")

    def _emit(self, output: Output, number: int) -> str:
        if self._datagrams is None:
            return "the sink is closed"
        data = self._frame(output, number)
        if len(data) > MAX_DATAGRAM:
            return f"{len(data)} bytes, a datagram takes {MAX_DATAGRAM}"
        problem = self._datagrams.send(data)
        self.counts["unheard"] = self._datagrams.refused
        return problem

    def close(self) -> None:
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None

    def describe(self) -> Mapping[str, Any]:
        return {**super().describe(), "to": self._to, "waits_s": 0.0}


def _resolve(host: str, port: int, what: str) -> tuple[int, tuple[Any, ...]]:
    """(address family, socket address)."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise SpikeportError(f"{what}: host {host!r:.100}: {error.strerror}", hint="a host's name or address") from None
    return found[0][0], found[0][4]
