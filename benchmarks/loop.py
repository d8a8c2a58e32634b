"""The loop around a decoder: is its memory flat over ten minutes, and what does each stage of a tick cost?

    python benchmarks/loop.py [--model MODEL] [--minutes 10] [--trace] [--seconds 10] [--period 1e-3] [--dt 1e-3]
                              [--fifo 50] [--lock] [--cpu 1] [--freeze] [--spin 100e-6]

1 Virtual time: so many simulated minutes of ticks, the first with faults of every kind, all recorded (into a temporary
file, some 7 MB a minute), the process's memory after each minute. Flat is: no growth from the second minute to the
last beyond a page or two.
2 Wall time: so many seconds of ticks, percentiles per stage beside the box's own timer floor: empty ticks of the same
period, just before. What the loop costs is what stands above the floor.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import platform
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

from spikeport import load_source, transfer
from spikeport.loop.accounting import environment
from spikeport.loop.clocks import RealTime, VirtualClock, WallClock
from spikeport.loop.decoders.rate import RateDecoder
from spikeport.loop.decoders.shadow import Shadow
from spikeport.loop.decoders.spiking import SpikingDecoder
from spikeport.loop.faults import Burst, ClockStep, Dead, Drop, Duplicate, FaultySource, Late, NotANumber, Reorder
from spikeport.loop.loop import Loop
from spikeport.loop.policies import Policy
from spikeport.loop.record.writer import FileRecorder, NoRecorder
from spikeport.loop.sinks.memory import CallSink
from spikeport.loop.sources.recording import ArraySource
from spikeport.resources import model_path

POLICY = {"lost": "hold", "overload": "latest", "lost_after": 50, "good": 3}


def resident() -> int:
    """Bytes of this process in memory."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * 4096


class Forgetful(FaultySource):
    """Faults at random, without the list of what was done: that would grow by design."""

    def _note(self, name: str, seq: int, **details: int) -> None:
        """Forget."""

    def poll(self):  # type: ignore[no-untyped-def]
        found = super().poll()
        self.sent.clear()
        return found


def virtual(arguments: argparse.Namespace, folder: Path) -> None:
    """Simulated minutes, minute by minute."""
    source = load_source(arguments.model)
    network = transfer(source, 40.0, dt=arguments.dt)
    period = max(arguments.period, arguments.dt)
    n = round(60 / period)  # ticks of a minute
    rng = np.random.default_rng(0)
    hits = {name: tuple(int(i) for i in np.flatnonzero(rng.random(n) < 0.002)) for name in "abcde"}
    p = round(period * 1e9)
    faults = [
        Drop(hits["a"]),
        Duplicate(hits["b"], p),
        Reorder(hits["c"]),
        Late(hits["d"], 3 * p),
        NotANumber(hits["e"]),
        Burst(n // 3, 20),
        Dead(n // 2, n // 2 + 200),
        ClockStep(n // 4, 10**9),
    ]
    values = rng.normal(size=(n, network.held_inputs[0].n))
    decoder = Shadow(SpikingDecoder(network, period=period), RateDecoder(source))
    recorder, marks = FileRecorder(folder / "loop.spklog"), []
    began = time.perf_counter()

    def minute(output) -> None:  # type: ignore[no-untyped-def]
        if output.tick % n == 0 and output.cause != "stopped":
            gc.collect()
            marks.append((resident(), tracemalloc.get_traced_memory()[0], time.perf_counter() - began))

    packets = Forgetful(
        ArraySource(values, period=period, phase=0.5 * period, latency=0.1 * period, repeat=None), faults
    )
    clock = VirtualClock(costs={"decode": lambda k: 5 * p if k % 9973 == 0 else p // 4})
    policy = Policy(**POLICY, safe=(0.0,) * decoder.n_outputs)
    loop = Loop(packets, decoder, CallSink(minute), clock, policy, recorder, period=period)
    if arguments.trace:
        tracemalloc.start()
    summary = loop.run(arguments.minutes * n + 1)
    print(f"virtual: {arguments.minutes} min, N = {network.n_neurons}, dt {arguments.dt:g} s, a tick of {period:g} s,")
    with open(recorder.path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    print(f"         a shadow, faults, {recorder.path.stat().st_size / 1e6:.0f} MB of record (digest {digest[:12]})")
    print(f"{'minute':>8}{'resident':>12}{'real time':>12}" + (f"{'traced':>12}" if arguments.trace else ""))
    for k, (rss, traced, seconds) in enumerate(marks):
        shown = f"{traced / 2**10:9.1f} kB" if arguments.trace else ""
        print(f"{k:8}{rss / 2**20:9.2f} MB{seconds:10.1f} s{shown}")
    if len(marks) > 2:
        traced = f", {(marks[-1][1] - marks[1][1]) / 1024:.1f} kB traced" if arguments.trace else ""
        print(f"growth from minute 1 to the last: {(marks[-1][0] - marks[1][0]) / 1024:.0f} kB resident{traced}")
    print(f"causes {summary.causes}\npackets {summary.packets}\nimbalances {summary.imbalances() or 'none'}\n")


def wall(arguments: argparse.Namespace) -> None:
    """Seconds of real ticks."""
    network = transfer(load_source(arguments.model), 40.0, dt=min(arguments.dt, arguments.period))
    values = np.random.default_rng(0).normal(size=(1000, network.held_inputs[0].n))
    asked = RealTime(
        fifo_priority=arguments.fifo,
        lock_memory=arguments.lock,
        cpus=None if arguments.cpu is None else (arguments.cpu,),
        gc_freeze=arguments.freeze,
        spin_ns=round(arguments.spin * 1e9),
    )
    for dt in sorted({network.dt, 5e-5}):
        net = transfer(load_source(arguments.model), 40.0, dt=dt)
        decoder = SpikingDecoder(net, period=arguments.period, dtype="float32")
        loop = Loop(
            ArraySource(values, period=arguments.period, phase=0.5 * arguments.period, repeat=None),
            decoder, CallSink(id), WallClock(asked), Policy(**POLICY, safe=(0.0,) * decoder.n_outputs), NoRecorder(),
            period=arguments.period, floor_ticks=min(1000, round(arguments.seconds / arguments.period)),
        )  # fmt: skip
        summary = loop.run(round(arguments.seconds / arguments.period))
        print(f"wall: N = {net.n_neurons}, {round(arguments.period / dt)} steps of {dt:g} s a tick, float32")
        print(summary.text() + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default=str(model_path("go-nogo")))
    parser.add_argument("--minutes", type=int, default=10, help="simulated; 0: leave it out")
    parser.add_argument("--trace", action="store_true", help="trace Python's allocations, too: several times slower")
    parser.add_argument("--seconds", type=float, default=10.0, help="of wall time; 0: leave it out")
    parser.add_argument("--period", type=float, default=1e-3, help="s, of a tick")
    parser.add_argument("--dt", type=float, default=1e-3, help="s, of a step")
    parser.add_argument("--fifo", type=int, default=None, help="SCHED_FIFO priority")
    parser.add_argument("--lock", action="store_true", help="mlockall")
    parser.add_argument("--cpu", type=int, default=None, help="the core to run on")
    parser.add_argument("--freeze", action="store_true", help="gc.freeze")
    parser.add_argument("--spin", type=float, default=0.0, help="s before a deadline from which to look at the clock")
    arguments = parser.parse_args()
    box = environment()
    print(
        f"Python {platform.python_version()}, {box['kernel']}, {box['cpu']}, {box['cpus']} cores, "
        f"load {box.get('load')}\n"
    )
    if arguments.minutes:
        with tempfile.TemporaryDirectory() as folder:
            virtual(arguments, Path(folder))
    if arguments.seconds:
        wall(arguments)


if __name__ == "__main__":
    main()
