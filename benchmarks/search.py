"""The published search, timed: 12 values of 1/lambda x 100 trials of 1 s at dt 0.05 ms, N = 200, noise on.

    python benchmarks/search.py [MODEL] [--json FILE]

MODEL: a Go-NoGo network, by default the shipped one. Everything is measured in this run, on this machine: times are the
best of three, shares are by leaving one part out, ratios are to reference.py. Compiling is done before the clock starts
and reported on its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from spikeport import load_source, transfer
from spikeport.convert.grid import parse_grid
from spikeport.convert.presets import get_preset
from spikeport.convert.search import Search
from spikeport.convert.transfer import Builder
from spikeport.resources import model_path
from spikeport.snn import noise, reference
from spikeport.snn.engine import Engine
from spikeport.snn.neurons import LIF
from spikeport.snn.spiking import HeldInput, Population, Projection, SpikingNetwork
from spikeport.snn.synapses import DoubleExponential
from spikeport.snn.tasks import get_task

GRID = parse_grid("20:75:5")
TRIALS = 100


def best(f: Callable[[], Any], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        f()
        times.append(time.perf_counter() - begun)
    return min(times)


def whole_search(source: Any) -> dict[str, Any]:
    """The search as `convert` runs it: engine, judging, threads and all."""
    search = Search(
        build=Builder(source, get_preset("kim2019")),
        task=get_task("go-nogo"),
        rule="published",
        source=source,
        trials=TRIALS,
    )
    begun = time.perf_counter()
    Engine(transfer(source, 30, preset="kim2019"), dtype="float32").run(_state(source, 1), np.zeros((1, 1, 1)))
    compiling = time.perf_counter() - begun
    seconds = best(lambda: search.over(GRID))
    updates = len(GRID) * TRIALS * 20_000 * source.n_neurons
    return {"seconds": seconds, "compile_seconds": compiling, "neuron_updates_per_s": updates / seconds,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}  # fmt: skip


def _state(source: Any, n: int) -> Any:
    return Engine(transfer(source, 30, preset="kim2019"), dtype="float32").start(n)


def shares(source: Any) -> dict[str, float]:
    """Share of one core's time, by leaving parts out: a fifth of a second of 8 trials x 12 candidates."""
    networks = [transfer(source, v, preset="kim2019") for v in GRID]
    u = np.zeros((40, 8, 1))

    def timed(candidates: list[SpikingNetwork], *, outputs: bool) -> float:
        engine = Engine(candidates, dtype="float32")
        return best(lambda: engine.run(engine.start(8), u, record_outputs=outputs), 5)

    full, mute = timed(networks, outputs=True), timed(networks, outputs=False)
    bare = [
        replace(n, populations=(replace(n.populations[0], synapses={}),), projections=n.projections[:1], readouts=())
        for n in networks
    ]
    membrane = timed(bare, outputs=False)
    units = np.arange(n_padded := -(-source.n_neurons // 32) * 32, dtype=np.uint64)
    out, scratch = np.empty((8, n_padded), dtype=np.float32), np.empty((4, n_padded), dtype=np.uint32)
    draws = best(
        lambda: [noise.fill_normal(out, 8, scratch, units, 0, n_padded, 0, 0, 8 * k, 0) for k in range(1000)], 3
    )
    drawing = draws * u.shape[0] * 100 * u.shape[1] / 8000
    return {"noise": drawing / full, "synapses": (mute - membrane) / full, "read-out": (full - mute) / full,
            "membrane and spikes": (membrane - drawing) / full}  # fmt: skip


def against_reference(source: Any) -> dict[str, float]:
    """The same trial of 0.1 s: time of reference.py by time of the engine, one core, float64 and float32."""
    network = transfer(source, 30, preset="kim2019")
    u = np.zeros((20, 1, 1))
    slow = best(lambda: reference.simulate(network, u), 2)
    found = {}
    for dtype in ("float64", "float32"):
        engine = Engine(network, dtype=dtype)
        engine.run(engine.start(1), u)
        found[dtype] = slow / best(lambda engine=engine: engine.run(engine.start(1), u), 5)
    return found


def scaling() -> list[dict[str, float]]:
    """Time of a unit's step as N grows, and with rarer spikes: cost grows with spikes, not with N squared."""
    found = []
    for n, bias in ((200, -40.5), (800, -40.5), (3200, -40.5), (3200, -42.5)):
        w = np.random.default_rng(0).normal(0, 1e-4, (n, n))
        neuron = LIF(tau_mem=0.01, v_threshold=-40.0, v_reset=-65.0, t_ref=0.002)
        p = Population(
            name="rec",
            n=n,
            neuron=neuron,
            synapses={"s": DoubleExponential(tau_rise=0.002, tau_decay=0.05)},
            bias=bias,
            noise_sd=0.1,
            v0=-50.0,
        )
        network = SpikingNetwork(
            populations=(p,),
            projections=(Projection(source="rec", target="rec", weight=w, synapse="s", delay=1),),
            inputs=(HeldInput(name="u", n=1, dt=0.005),),
            dt=5e-5,
            integrator="kim2019",
        )
        engine, u = Engine(network, dtype="float32"), np.zeros((40, 1, 1))
        run = engine.run(engine.start(1), u)
        seconds = best(lambda engine=engine, u=u: engine.run(engine.start(1), u), 5)
        found.append(
            {
                "n": n,
                "ns_per_neuron_step": seconds / (4000 * n) * 1e9,
                "spikes_per_s_and_unit": float(run.counts.sum() / (n * 0.2)),
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model", nargs="?", default=str(model_path("go-nogo")))
    parser.add_argument("--json", help="also write the figures to this file")
    arguments = parser.parse_args()
    source = load_source(arguments.model)
    found: dict[str, Any] = {
        "search": whole_search(source),
        "shares": shares(source),
        "reference_ratio": against_reference(source),
        "scaling": scaling(),
    }
    s = found["search"]
    print(f"search          {s['seconds']:.2f} s for {len(GRID)} x {TRIALS} trials of 1 s, judging included")
    print(
        f"first call      {s['compile_seconds']:.1f} s before that: compiling, or loading what an earlier run compiled"
    )
    print(f"speed           {s['neuron_updates_per_s'] / 1e6:.0f} million neuron-updates a second, noise on, float32")
    print(f"peak memory     {s['peak_memory_mb']:.0f} MB")
    print("share of time   " + ", ".join(f"{name} {share:.0%}" for name, share in found["shares"].items()))
    print(
        "ratio           "
        + ", ".join(f"{r:.0f} x reference.py in {d}" for d, r in found["reference_ratio"].items())
        + ", one trial, one core"
    )
    for row in found["scaling"]:
        cost, rate = row["ns_per_neuron_step"], row["spikes_per_s_and_unit"]
        print(f"N = {row['n']:<5}       {cost:.2f} ns a neuron-step at {rate:.1f} spikes/s a unit, one trial")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
