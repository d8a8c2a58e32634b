"""A loop in a process of its own, for the tests of the guard's process: `python guard_loop.py DESCRIPTOR MODE`.

It starts, asks for a train of 2000 pulses at 100 Hz, says so, and beats every 5 ms until something ends it.
"""

from __future__ import annotations

import os
import sys
import time

from spikeport.loop.guard import wire
from spikeport.loop.guard.commands import Pulse, Train
from spikeport.loop.guard.console import Link

N_PULSES, RATE_HZ = 2000, 100


def train() -> Train:
    pulse = Pulse.symmetric("a", polarity="cathodic first", amplitude_uA=10, width_us=200, interphase_us=50)
    return Train(pulse=pulse, n_pulses=N_PULSES, rate_hz=RATE_HZ)


def main(descriptor: int, mode: str) -> None:
    link = Link.of(descriptor)
    link.start()
    link.command(train())
    print("begun", flush=True)
    tick = 0
    until = time.monotonic() + (0.3 if mode != "beat" else 120)
    while time.monotonic() < until:
        now = time.monotonic_ns()
        link.beat(tick=tick, loop_ns=now, deadline_ns=now, values=(0.0, 1.0))
        tick += 1
        time.sleep(0.005)
    if mode == "end":
        link.end()
    elif mode == "nan":
        now = time.monotonic_ns()
        link.beat(tick=tick, loop_ns=now, deadline_ns=now, values=(0.0, float("nan")))
    elif mode == "garbage":
        os.write(descriptor, os.urandom(5000))
    elif mode == "half a frame":
        os.write(descriptor, wire.frame(wire.JSON, 0, b"x" * 1000)[:500])
    elif mode == "changed frame":
        good = bytearray(wire.frame(wire.JSON, tick + 2, b'{"id":2,"do":"stop"}'))
        good[-3] ^= 1
        os.write(descriptor, good)
    elif mode == "old frame":
        os.write(descriptor, wire.frame(wire.JSON, 0, b'{"id":0,"do":"start"}'))
    elif mode == "console's message":
        link._numbered({"do": "arm", "by": "a loop"})
    elif mode == "no JSON":
        link._channel.send(wire.JSON, b"[" * 10_000)
    elif mode == "hang":
        pass
    print("done", flush=True)
    time.sleep(120)  # the test ends it


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
