"""Calibrating a network beside the published search over lambda: how long each takes, and what comes out.

    python benchmarks/calibration.py [MODEL] [--task go-nogo] [--repeats 3]

MODEL: a rate network (default: the shipped Go-NoGo model, N = 200). Both convert it with their defaults on all cores,
in turn, so that a busy machine is busy for both; times without the 1,000 fresh trials that measure the winner, which
are the same for both. The first of each compiles and is not counted. Where the time goes: of one repeat more.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
from pathlib import Path
from typing import Any

from spikeport import convert_network, load_source
from spikeport.convert.calibration import calibrate
from spikeport.resources import model_path
from spikeport.snn.tasks import get_task

SETTINGS: dict[str, dict[str, Any]] = {
    "lambda, 0.05 ms": {"method": "lambda"},
    "calibrated, 0.05 ms": {"method": "calibrated"},
    "calibrated, 1 ms, no noise": {"method": "calibrated", "dt": 1e-3, "noise": 0.0},
}
PARTS = (
    "calibrate",
    "observe",
    "fi_curve",
    "match",
    "improve",
    "run",
    "heard",
    "simulate_rate",
)  # functions whose time is shown, with all below


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=None)
    parser.add_argument("--task", default="go-nogo")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    source = load_source(arguments.model or model_path("go-nogo"))
    print(f"{arguments.model or 'shipped model'}, N = {source.n_neurons}, {source.phi}, task {arguments.task}, seed 0")
    times: dict[str, list[float]] = {name: [] for name in SETTINGS}
    found: dict[str, Any] = {}
    profile = cProfile.Profile()
    for repeat in range(arguments.repeats + 1):
        for name, settings in SETTINGS.items():
            found[name] = convert_network(source, arguments.task, seed=0, **settings)
            times[name] += [found[name].search_seconds] if repeat else []
    task = get_task(arguments.task)
    profile.enable()
    calibrate(source, task, seed=0, trials=30)
    profile.disable()
    base = min(times["lambda, 0.05 ms"])
    print(f"{'':<28} {'best, s':>8} {'to lambda':>10}   all, s")
    for name, taken in times.items():
        every = " ".join(f"{t:.1f}" for t in taken)
        conversion = found[name]
        rule = conversion.rule
        low, high = conversion.spiking[rule].interval
        print(
            f"{name:<28} {min(taken):8.2f} {min(taken) / base:10.2f}   {every}   "
            f"{conversion.spiking[rule].accuracy:.3f} [{low:.3f}, {high:.3f}] at {conversion.mean_rate_hz:.1f} spikes/s"
        )
    print("\nwhere the time of a calibration goes (0.05 ms; with what is called from there)")
    stats = pstats.Stats(profile)
    for (file, _, name), (_, calls, _, cumulative, _) in sorted(stats.stats.items(), key=lambda item: -item[1][3]):  # type: ignore[attr-defined]
        if name in PARTS and "spikeport" in file:
            print(f"{name:<28} {cumulative:8.2f} s in {calls} calls")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
