"""One tick: 1 ms of a network of 200 units, per call of Python, beside a naive numba loop and the exported C file.

    python benchmarks/step.py [MODEL] [--inverse-lambda 30] [--calls 3000] [--repeats 5]

MODEL: a rate network (default: the shipped Go-NoGo model). Rows: converted as published (0.05 ms, 20 steps a call,
noise off and on) and calibrated at 1 ms (1 step a call). Columns, microseconds a call, medians of all calls of the best
repeat, and the 99th percentile: Stepper.step (snn/streaming.py), the step of a loop's SpikingDecoder, Engine.step, a
numba loop as one writes it first, the C file (cc -O2 and -O3 -march=native) called once a tick through ctypes. Each is
fed the same input, alternating between two samples every 5 calls, and `differing` compares spikes a call with the
stepper's, noise off. Repeats take turns, so that a busy machine is busy for all. Below, where the time of a call goes.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import math
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from spikeport import load_source, transfer
from spikeport.convert.calibration import calibrate
from spikeport.loop.decoders.spiking import SpikingDecoder
from spikeport.resources import model_path
from spikeport.snn.drive import initial_v
from spikeport.snn.engine import Engine
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.streaming import Stepper
from spikeport.snn.tasks import get_task
from spikeport.targets.c.build import compiled, compiler
from spikeport.targets.c.running import harness
from spikeport.targets.c.source import float_source
from spikeport.targets.tables import population_steps, readout_steps

GOALS = {20: 20.0, 1: 2.0}  # steps a call -> microseconds in the median
NS = time.perf_counter_ns
Tick = Callable[[np.ndarray], Any]


@njit(cache=True)
def naive(v, s, h, ref, fired, rs, rh, D, E, F, jump, B, A, drive, w_in, u, w, threshold, reset, n_ref, rD, rjump,
          w_out, sd, noisy, late, spiking, steps, counts):  # fmt: skip
    """The same network as one writes it first: loops over units, weights by row, NumPy's normal numbers."""
    n, out = v.shape[0], 0.0
    for i in range(n):
        counts[i] = 0
    for _ in range(steps):
        for i in range(n):
            J = 0.0
            for j in range(n):
                if fired[j]:
                    J += w[i, j]
            s[i] = D[i] * s[i] + E * h[i]
            h[i] = F * h[i] + jump[i] * J
        for i in range(n):
            free = ref[i] == 0
            if free:
                v[i] = A * v[i] + B * s[i] + (1 - A) * (drive + w_in[i] * u)
            else:
                ref[i] -= 1
            if noisy and (free or late):
                v[i] += sd * np.random.standard_normal()
            fired[i] = v[i] > threshold and (free or spiking)
            if fired[i]:
                v[i] = reset
                ref[i] = n_ref
                counts[i] += 1
        out = 0.0
        for i in range(n):
            rs[i] = rD[i] * rs[i] + E * rh[i]
            rh[i] = F * rh[i] + (rjump[i] if fired[i] else 0.0)
            out += w_out[i] * rs[i]
    return out


def naive_tick(network: SpikingNetwork, steps: int, noisy: bool) -> tuple[Tick, np.ndarray]:
    """A tick of `naive` on a network of one population with a double exponential, and its counts."""
    p, r = population_steps(network)[0], readout_steps(network)[0]
    t, n = p.synapses[0].table, p.n
    v = initial_v(network, p.population, 1, 0, 0, None)[0].copy()
    zero = [np.zeros(n) for _ in range(4)]
    counts, fired, ref = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.bool_), p.ref0.copy()
    pop = p.population

    def tick(values: np.ndarray) -> float:
        return naive(
            v, zero[0], zero[1], ref, fired, zero[2], zero[3], D, t.D[0, 0, 1], t.D[0, 1, 1], jump, t.B[0, 0], p.A[0],
            p.constant[0], w_in, values[0], w, p.threshold[0], p.reset[0], p.refractory[0], rD, rjump, w_out,
            float(np.max(pop.noise_sd)), noisy, pop.noise_while_refractory, pop.spikes_while_refractory, steps, counts,
        )  # fmt: skip

    D, jump = t.D[:, 0, 0].copy(), t.jump[:, 1].copy()
    rD, rjump = r.table.D[:, 0, 0].copy(), r.table.jump[:, 1].copy()
    w_in, w_out = p.held[0].weight[:, 0].copy(), r.readout.weight[0].copy()
    w = np.ascontiguousarray(p.synapses[0].spikes[0].weight)
    return tick, counts


def uniform(network: SpikingNetwork) -> bool:
    """Are the parameters that `naive` takes once the same for every unit?"""
    p = population_steps(network)[0]
    return all(np.ptp(a) == 0 for a in (p.A, p.constant, p.threshold, p.reset, p.refractory))


def c_tick(
    network: SpikingNetwork, steps: int, noisy: bool, dtype: str, flags: tuple[str, ...]
) -> tuple[Tick, np.ndarray]:
    """A tick of the exported file: one call of `steps` steps, through ctypes."""
    source = float_source(network, dtype, "auto")
    more = (
        "\nvoid tick(snn_state *s, const snn_real *u, uint64_t *counts);\n"
        "void tick(snn_state *s, const snn_real *u, uint64_t *counts)\n{\n    int k;\n    uint32_t i, b;\n"
        f"    memset(counts, 0, SNN_UNITS * sizeof *counts);\n    for (k = 0; k < {steps}; k++) {{\n"
        "        snn_step(s, u, 0);\n        for (b = 0; b < sizeof s->z0[0]; b++)\n"
        f"            if (s->z0[{'s->z0_now' if 'z0_now' in source.text else 0}][b])\n"
        "                for (i = 8 * b; i < 8 * b + 8 && i < SNN_UNITS; i++)\n"
        "                    counts[i] += (uint64_t)snn_fired(s, i);\n    }\n}\n"
    )
    library = compiled({"net.c": source.text, "host.c": harness(source, 1) + more}, "host.c", flags)
    library.host_bytes.restype = ctypes.c_uint64
    state = np.zeros(int(library.host_bytes()) // 8 + 1, dtype=np.uint64)
    counts, u = np.zeros(network.n_neurons, dtype=np.uint64), np.zeros(1, dtype=dtype)
    v0 = initial_v(network, network.populations[0], 1, 0, 0, None)[0].astype(dtype)
    library.host_init(ctypes.c_void_p(state.ctypes.data), ctypes.c_uint64(0), ctypes.c_uint32(0), int(noisy),
                      ctypes.c_void_p(v0.ctypes.data))  # fmt: skip
    arguments = [ctypes.c_void_p(a.ctypes.data) for a in (state, u, counts)]
    call = library.tick

    def tick(values: np.ndarray) -> None:
        u[0] = values[0]
        call(*arguments)

    tick.kept = (state, u, counts)  # type: ignore[attr-defined]
    return tick, counts


def timed(tick: Tick, calls: int, samples: np.ndarray) -> np.ndarray:
    """Microseconds of each call, as a loop sees them."""
    found = np.empty(calls)
    for i in range(calls):
        values = samples[i // 5 % 2]
        began = NS()
        tick(values)
        found[i] = NS() - began
    return found / 1e3


def ticks(network: SpikingNetwork, steps: int, noisy: bool, dtype: str) -> dict[str, tuple[Tick, np.ndarray]]:
    """Every way to do a tick, and the counts that it leaves."""
    machine = Engine(network, dtype=dtype)
    stepper = Stepper(machine, n_steps=steps, with_noise=noisy)
    state = machine.start(1, with_noise=noisy)
    first = machine.step(state, np.zeros((1, 1)), n_steps=steps)
    state = machine.start(1, with_noise=noisy)
    period, done = steps * network.dt, itertools.count(1)
    decoder = SpikingDecoder(network, period=period, with_noise=noisy, dtype=dtype, outputs="spikes")
    told = decoder.step(None, 0.0)
    found: dict[str, tuple[Tick, np.ndarray]] = {
        "Stepper.step": (stepper.step, stepper.counts),
        "SpikingDecoder": (lambda v: decoder.step(v, next(done) * period), told),
        "Engine.step": (lambda v: machine.step(state, v[None], n_steps=steps), first.spikes["rec"][0]),
    }
    if dtype == "float64" and uniform(network):
        found["naive numba"] = naive_tick(network, steps, noisy)
    if compiler():
        found["C, -O2"] = c_tick(network, steps, noisy, dtype, ("-O2",))
        found["C, -O3 native"] = c_tick(network, steps, noisy, dtype, ("-O3", "-march=native"))
    return found


def differing(network: SpikingNetwork, steps: int, dtype: str, samples: np.ndarray) -> dict[str, int]:
    """How many (call, unit) have another count than the stepper's, in 300 calls without noise."""
    ways = ticks(network, steps, False, dtype)
    wrong = dict.fromkeys(ways, 0)
    for i in range(300):
        for tick, _ in ways.values():
            tick(samples[i // 5 % 2])
        for name, (_, counts) in ways.items():
            wrong[name] += int((counts.astype(np.int64) != ways["Stepper.step"][1]).sum())
    return wrong


def row(network: SpikingNetwork, steps: int, noisy: bool, dtype: str, arguments: argparse.Namespace) -> float:
    """Print one; the stepper's median."""
    samples = np.array([[0.0], [1.0]])
    ways = ticks(network, steps, noisy, dtype)
    best = dict.fromkeys(ways, np.full(1, np.inf))
    for _ in range(arguments.repeats):
        for name, (tick, _) in ways.items():
            found = timed(tick, arguments.calls, samples)
            best[name] = min(best[name], found, key=lambda f: float(np.median(f)))
    wrong = {} if noisy else differing(network, steps, dtype, samples)
    base = float(np.median(best["Stepper.step"]))
    for name, found in best.items():
        told = f"  {name:<14} {np.median(found):8.2f} {np.percentile(found, 99):8.2f} {np.median(found) / base:7.2f}"
        print(told + (f"   differing {wrong[name]}" if wrong else ""))
    return base


def where(network: SpikingNetwork, steps: int, dtype: str, calls: int) -> None:
    """Where the time of a call goes: medians of calls that do less."""
    machine = Engine(network, dtype=dtype)
    noisy, quiet = (Stepper(machine, n_steps=steps, with_noise=n) for n in (True, False))
    refused, right = np.array([np.nan]), np.array([0.5])
    entry, address = quiet._call, quiet._address
    nothing = float(np.median(timed(lambda _: None, calls, np.zeros((2, 1)))))

    def median(tick: Tick, value: np.ndarray) -> float:
        return float(np.median(timed(tick, calls, np.stack([value, value])))) - nothing

    taken = median(lambda v: entry(address, v), refused)
    bare = median(lambda v: entry(address, v), right)
    whole, drawn = median(quiet.step, right), median(noisy.step, right)
    one = Stepper(machine, n_steps=1, with_noise=False)
    single = median(lambda v: one._call(one._address, v), right)
    print(f"  into the kernel and back, values looked at  {taken:7.2f}")
    print(f"  the steps                                   {bare - taken:7.2f}")
    if steps > 1:
        print(f"      of that a first step                    {single - taken:7.2f}")
    print(f"  the method around it                        {max(whole - bare, 0):7.2f}")
    print(f"  noise                                       {drawn - whole:7.2f}   in the median; drawn every 4th step")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=None)
    parser.add_argument("--inverse-lambda", type=float, default=30.0)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    source = load_source(arguments.model or model_path("go-nogo"))
    load = math.nan if not hasattr(os, "getloadavg") else os.getloadavg()[0]
    print(f"{arguments.model or 'shipped model'}, N = {source.n_neurons}; {platform.machine()}, {os.cpu_count()} cores"
          f", load {load:.1f}; {arguments.calls} calls, best of {arguments.repeats} in the median")  # fmt: skip
    published = transfer(source, arguments.inverse_lambda, preset="kim2019")
    calibrated = calibrate(source, get_task("go-nogo"), seed=0, dt=1e-3).network
    goals = []
    for title, network, steps in (("published, 0.05 ms", published, 20), ("calibrated, 1 ms", calibrated, 1)):
        for dtype in ("float64", "float32"):
            for noisy in (False, True):
                noise = "on" if noisy else "off"
                print(f"\n{title}, {steps} steps a call, {dtype}, noise {noise}: us median, p99, ratio")
                median = row(network, steps, noisy, dtype, arguments)
                goals.append((title, dtype, noisy, median, GOALS[steps]))
            print("  where the time goes, us")
            where(network, steps, dtype, arguments.calls)
    print("\ngoals, medians of Stepper.step")
    for title, dtype, noisy, median, goal in goals:
        verdict = "reached" if median < goal else "MISSED"
        print(f"  {title:<20} {dtype} noise {'on ' if noisy else 'off'} {median:6.2f} us, under {goal:g}: {verdict}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
