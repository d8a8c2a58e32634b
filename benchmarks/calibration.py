"""Calibrating a network beside the published search over lambda: how long each takes, and what comes out.

    python benchmarks/calibration.py [MODEL] [--task go-nogo] [--repeats 3]
    python benchmarks/calibration.py [MODEL] --fewest 1,2,3,5     accuracy at budgets of so many spikes/s a unit
    python benchmarks/calibration.py [MODEL] --fewest 1,2 --seeds 5 --out FILE     the same for seeds 0 to 4, resumable
    python benchmarks/calibration.py [MODEL] --noises 0:0.1 --max-rate 5     what noise is worth, at 0.05 ms

Both searched: noise from 0 to 0.1 mV a step and t_ref from 0 to 2 ms, at 0.05 ms: 9 candidates, of which 5 run.

MODEL: a rate network (default: the shipped Go-NoGo model, N = 200). Both convert it with their defaults on all cores,
in turn, so that a busy machine is busy for both; times without the 1,000 fresh trials that measure the winner, which
are the same for both. The first of each compiles and is not counted. Where the time goes: of one repeat more.
--fewest: `calibrated` at 0.05 ms with the published noise and at 1 ms without, on 1,000 fresh trials each. With
--seeds, a line of JSON a conversion, in --out too; what is there is not made again. --dts: of 1 and 0.05 ms these.
--noises: `calibrated` at 0.05 ms with LOW, the middle and HIGH in turn, and what it chooses between them.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import json
import pstats
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikeport import convert_network, load_source
from spikeport.convert.calibration import calibrate
from spikeport.convert.calibration.bounds import parse_range
from spikeport.convert.conversion import Conversion
from spikeport.convert.pareto import parse_budgets
from spikeport.resources import model_path
from spikeport.snn.errors import RefusedError
from spikeport.snn.rate import RateNetwork
from spikeport.snn.tasks import get_task

SETTINGS: dict[str, dict[str, Any]] = {
    "lambda, 0.05 ms": {"method": "lambda"},
    "calibrated, 0.05 ms": {"method": "calibrated"},
    "calibrated, 1 ms, no noise": {"method": "calibrated", "dt": 1e-3, "noise": 0.0},
    "calibrated, both searched": {"method": "calibrated", "noise": (0.0, 0.1), "t_ref": (0.0, 0.002)},
}
FEWEST = ("calibrated, 1 ms, no noise", "calibrated, 0.05 ms")
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
    parser.add_argument("--fewest", default=None, help="A,B,C: budgets in spikes/s a unit")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 0, with --fewest")
    parser.add_argument("--dts", default="1,0.05", help="ms, with --seeds")
    parser.add_argument("--out", type=Path, default=None, help="a file of lines of JSON, with --seeds")
    parser.add_argument("--noises", default=None, help="LOW:HIGH in mV a step of 0.05 ms")
    parser.add_argument("--max-rate", type=float, default=5.0, help="budget of --noises")
    arguments = parser.parse_args()
    source = load_source(arguments.model or model_path("go-nogo"))
    print(f"{arguments.model or 'shipped model'}, N = {source.n_neurons}, {source.phi}, task {arguments.task}, seed 0")
    if arguments.fewest is not None and arguments.seeds > 1:
        names = [name for name, ms in zip(FEWEST, ("1", "0.05"), strict=True) if ms in arguments.dts.split(",")]
        return of_seeds(
            source, arguments.task, parse_budgets(arguments.fewest), range(arguments.seeds), names, arguments.out
        )
    if arguments.fewest is not None:
        return fewest(source, arguments.task, parse_budgets(arguments.fewest))
    if arguments.noises is not None:
        low, high = parse_range(arguments.noises, "noises", "--noises 0:0.1")
        return noises(source, arguments.task, (low, high), arguments.max_rate)
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


def fewest(source: RateNetwork, task: str, budgets: tuple[float, ...]) -> int:
    """Accuracy at each budget, on 1,000 fresh trials."""
    print(f"{'':<28} budget  spikes/s  accuracy  95 % interval    output error on held-out trials")
    for name in FEWEST:
        for budget in budgets:
            try:
                line(name, convert_network(source, task, seed=0, max_rate=budget, **SETTINGS[name]))
            except RefusedError as refusal:
                print(f"{name:<28} {budget:6g}  refused: {'; '.join((refusal.what, *refusal.problems))}")
    return 0


def of_seeds(
    source: RateNetwork, task: str, budgets: Sequence[float], seeds: Sequence[int], names: Sequence[str],
    out: Path | None,
) -> int:  # fmt: skip
    """Accuracy at each budget for each seed, and for how many of them it is 0.99 or more."""
    rows = [json.loads(said) for said in out.read_text().splitlines()] if out is not None and out.exists() else []
    of = {
        "source": hashlib.sha256(source.w_rec.tobytes() + source.w_in.tobytes()).hexdigest()[:12],
        "task": task,
    }  # another network's rows in the same file are none of these
    done = {(row["name"], row["budget"], row["seed"]): row for row in rows if of.items() <= row.items()}
    for key in ((name, budget, seed) for name in names for budget in budgets for seed in seeds):
        if key in done:
            continue
        done[key] = dict(zip(("name", "budget", "seed"), key, strict=True)) | of | measured(source, task, *key)
        print(json.dumps(done[key]), flush=True)
        if out is not None:
            with out.open("a") as file:
                file.write(json.dumps(done[key]) + "\n")
    print(f"{'':<28} budget  spikes/s     accuracy          of {len(seeds)} hold 0.99")
    for name in names:
        for budget in budgets:
            rows = [done[name, budget, seed] for seed in seeds if "refused" not in done[name, budget, seed]]
            refused = f"  {len(seeds) - len(rows)} refused" if len(rows) < len(seeds) else ""
            rates, found = ([row[what] for row in rows] or [float("nan")] for what in ("rate_hz", "accuracy"))
            print(
                f"{name:<28} {budget:6g}  {min(rates):.2f} to {max(rates):.2f}  {min(found):.3f} to {max(found):.3f}  "
                f"{sum(a >= 0.99 for a in found)}{refused}"
            )
    return 0


def measured(source: RateNetwork, task: str, name: str, budget: float, seed: int) -> dict[str, Any]:
    """A conversion in numbers, or why there is none."""
    try:
        found = convert_network(source, task, seed=seed, max_rate=budget, **SETTINGS[name])
    except RefusedError as refusal:
        return {"refused": str(refusal)}
    assert found.rule is not None
    assert found.calibration is not None
    return {
        "rate_hz": found.mean_rate_hz, "accuracy": found.spiking[found.rule].accuracy,
        "score": found.calibration.history[found.calibration.best].score, "rounds": len(found.calibration.history),
    }  # fmt: skip


def noises(source: RateNetwork, task: str, bounds: tuple[float, float], max_rate: float) -> int:
    """Each noise alone, then the choice."""
    low, high = bounds
    for noise in (low, (low + high) / 2, high, bounds):
        found = convert_network(source, task, seed=0, max_rate=max_rate, method="calibrated", noise=noise)
        line(f"noise {noise}", found)
    assert found.calibration is not None
    print(found.calibration.reason)
    return 0


def line(name: str, found: Conversion) -> None:
    assert found.rule is not None
    assert found.calibration is not None
    low, high = found.spiking[found.rule].interval
    print(
        f"{name:<28} {found.max_rate_hz:6g}  {found.mean_rate_hz:8.2f}  {found.spiking[found.rule].accuracy:8.3f}  "
        f"[{low:.3f}, {high:.3f}]   {found.calibration.history[found.calibration.best].score:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
