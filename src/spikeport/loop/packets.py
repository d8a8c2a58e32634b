"""What goes round the loop: a packet in, an output out, and the stamps that each stage leaves.

Every time is an integer of nanoseconds on one monotonic clock (the loop's `Clock`), so that sums and differences are
exact and a record is the same twice. A producer's own clock is mapped to it by the source, which says how.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NS = 1_000_000_000  # nanoseconds in a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One sample of every channel. seq: the producer's count of its packets, from 0, without holes.

    values: (n_channels,), held inputs in the network's units or counts of spikes.  source_ns: when the producer took
    it.  received_ns: when this process had it.
    """

    seq: int
    values: Array
    source_ns: int
    received_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a tick gave. tick: from 0, one per period.  seq: of the packet that it used; -1 where it had none.

    values: (n_outputs,).  safe: they are the declared safe value, not the decoder's.  cause: why this tick used what it
    used (one of CAUSES).  deadline_ns: when the tick was due.  The stamps: source_ns and received_ns of its packet (0
    without one), start_ns and end_ns of decoding; the sink's acceptance is stamped by the loop as emitted_ns.
    """

    tick: int
    seq: int
    values: Array
    safe: bool
    cause: str
    deadline_ns: int
    source_ns: int
    received_ns: int
    start_ns: int
    end_ns: int


CAUSES = (  # of what a tick used
    "fresh",  # the packet that was due
    "held",  # lost data, policy hold: the last good values
    "zero",  # lost data, policy zero
    "skipped",  # lost data, policy skip: no decoding, the state still advances by the time, without input change
    "stream lost",  # the safe value, until k good packets came in a row
    "stopped",  # no tick: the run is over, and the sink gets the safe value once more
)
