"""What a chip's integers cost: accuracy down the ladder from the float network, on the same trials; and the time.

    python benchmarks/chips.py [--chip loihi,spinnaker] [--method lambda,calibrated] [--model MODEL --task TASK]
                               [--grid 20:75:5] [--trials 200] [--every-rung] [--json FILE]

Without --model: the three shipped ones. 1/lambda is what the search on the chip (chips.py) chooses on trials 0 .. 49;
all else is measured on fresh ones, from trial 2,000 on, of seed 1, preset `standard`, every rung with the same v0. Each
rung is the network of the rung above with one thing less:

    0.05 ms     float, the published step and noise          1 ms        float, dt 1 ms, the published noise a step
    quiet       the same without noise                       given up    what the chip lacks (one exponential, ...)
    rounded     the chip's parameters, float states          chip        its integers, as emulated

A calibrated network is calibrated once for 0.05 ms with the published noise, and once for 1 ms without noise, so that
`1 ms` and `quiet` are one. `given up` and `rounded` are measured where the chip has fewer right than `quiet`, or with
--every-rung. Then: chip less quiet, and chip less `0.05 ms`, with a 95 % interval of the paired difference (Newcombe);
`not shown` where that goes beyond 2 points. At the end the time of 100 trials of 1 s of the shipped Go-NoGo network,
compiled before, the best of three.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spikeport import load_source, transfer
from spikeport.chip_trials import MARGIN
from spikeport.chips import search_on_chip
from spikeport.convert.calibration import calibrate
from spikeport.convert.presets import get_preset
from spikeport.resources import model_path
from spikeport.snn import engine
from spikeport.snn.measures.intervals import paired_difference
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import get_task
from spikeport.targets.approximations import APPROXIMATIONS, approximate, longer_delays
from spikeport.targets.base import RunOptions
from spikeport.targets.checking import runner

SHIPPED = ("go-nogo", "xor", "integration")
SEED, CHUNK, DT, FIRST = 1, 100, 1e-3, 2000
# Xylo's decays are powers of two, and it has no refractory period: converted for its own time constants
PRESETS = {"xylo": replace(get_preset("standard"), tau_mem=-DT / np.log(7 / 8), tau_rise=DT / np.log(2), t_ref=0.0)}
RUNGS = ("0.05 ms", "1 ms", "quiet", "given up", "rounded", "chip")


def verdicts(
    network: SpikingNetwork, task: Any, trials: int, noise: bool, target: Any = None, lowering: Any = None
) -> Any:
    """(trials,) right or wrong, by the task's first rule; on the engine, or on a chip."""
    found = []
    for first in range(0, trials, CHUNK):
        part = task.trials(min(CHUNK, trials - first), seed=SEED, first=FIRST + first)
        if target is None:
            dtype = "float32" if network.dt < DT else "float64"
            run = engine.simulate(
                network, part.inputs, seed=SEED, first_trial=part.first, with_noise=noise, dtype=dtype
            )  # fmt: skip
        else:
            run = target.run(lowering, part.inputs, RunOptions(seed=SEED, first_trial=part.first))
        outputs = run.outputs[network.readouts[0].name]
        found.append(task.judge(outputs, part, dt=network.dt, kind="spiking", rule=task.rules[0]))
    return np.concatenate(found)


Networks = dict[str, Any]


def made(source: Any, task: Any, chip: str, method: str, grid: str | None) -> Networks:
    """The networks to compare: at the published step, and at the chip's without noise, as chosen for the chip."""
    grid = grid if method == "lambda" else None
    preset = PRESETS.get(chip, "standard")
    found = search_on_chip(source, task, chip, method=method, grid=grid, preset=preset, test_trials=1, seed=SEED)
    row = found.rows[0]
    value = row.point.inverse_lambda
    if method == "calibrated":
        return {"0.05 ms": calibrate(source, task, seed=SEED).network, "1 ms": row.network, "quiet": row.network,
                "1/lambda": value}  # fmt: skip
    return {"0.05 ms": transfer(source, value), "1 ms": transfer(source, value, dt=DT), "quiet": row.network,
            "1/lambda": value}  # fmt: skip


def ladder(task: Any, networks: Networks, chip: str, trials: int, every: bool, known: dict[Any, Any]) -> dict[str, Any]:
    """Every rung: name -> verdicts, and what the chip's lowering says. known: rungs of another chip's ladder."""
    network, target = networks["quiet"], runner(chip)
    lacking = {p.feature for p in target.problems(network)} & APPROXIMATIONS.keys()
    lowering = target.lower(network, allow=lacking)
    same = networks["1 ms"] is network

    def once(rung: str, noise: bool) -> Any:
        key = (rung, "" if rung == "0.05 ms" and same else networks["1/lambda"])  # one calibration at 0.05 ms for all
        if key not in known:
            known[key] = verdicts(networks[rung], task, trials, noise)
        return known[key]

    right = {
        "0.05 ms": once("0.05 ms", True),
        "quiet": once("quiet", False),
        "1 ms": once("quiet", False) if same else once("1 ms", True),
        "chip": verdicts(network, task, trials, False, target, lowering),
    }
    if every or right["chip"].sum() < right["quiet"].sum():
        reduced, _ = approximate(network, lacking)
        reduced, _ = longer_delays(reduced, lambda _, j: target.capabilities.min_delay)
        right["given up"] = verdicts(reduced, task, trials, False)
        right["rounded"] = verdicts(lowering.network, task, trials, False)
    return {"right": right, "losses": [str(loss) for loss in lowering.losses], "allowed": sorted(lacking),
            "cores": len(lowering.settings.get("cores", ()))}  # fmt: skip


def row(chip: str, method: str, name: str, inverse_lambda: float, found: dict[str, Any]) -> dict[str, Any]:
    """A line of the table, printed."""
    right = found["right"]
    accuracy = {rung: float(right[rung].mean()) for rung in RUNGS if rung in right}
    against = {rung: paired_difference(right[rung], right["chip"]) for rung in ("quiet", "0.05 ms")}
    cells = " ".join(f"{accuracy[rung]:>8.4f}" if rung in right else f"{'':>8}" for rung in RUNGS)
    ends = "   ".join(
        f"{d:+.4f} [{low:+.4f}, {high:+.4f}]{' not shown' if low <= -MARGIN else ''}"
        for d, (low, high) in against.values()
    )
    print(f"{chip:<10} {method:<10} {name:<12} {inverse_lambda:>5.3g} {cells}   {ends}", flush=True)
    return {"chip": chip, "method": method, "model": name, "inverse_lambda": inverse_lambda, "accuracy": accuracy,
            "allowed": found["allowed"], "chip_less": {rung: [d, *ends] for rung, (d, ends) in against.items()},
            "losses": found["losses"], "cores": found["cores"]}  # fmt: skip


def seconds(chip: str) -> float:
    """100 trials of 1 s at 1 ms of the shipped Go-NoGo network."""
    network, target = transfer(load_source(model_path("go-nogo")), 40, dt=DT), runner(chip)
    lowering = target.lower(network, allow={p.feature for p in target.problems(network)} & APPROXIMATIONS.keys())
    inputs = get_task("go-nogo").trials(100, seed=SEED).inputs
    target.run(lowering, inputs[:, :1], RunOptions())
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        target.run(lowering, inputs, RunOptions())
        times.append(time.perf_counter() - begun)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="")
    parser.add_argument("--task", default="go-nogo", help="of --model")
    parser.add_argument("--method", default="lambda,calibrated")
    parser.add_argument("--grid", default=None, help="of 1/lambda, as `spikeport convert` takes it")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--chip", default="loihi,spinnaker")
    parser.add_argument("--every-rung", action="store_true")
    parser.add_argument("--json", default="")
    arguments = parser.parse_args()
    chips, methods = arguments.chip.split(","), arguments.method.split(",")
    rows, times = [], {}
    print(f"dt {DT * 1e3:g} ms, {arguments.trials} fresh trials, seed {SEED}")
    head = " ".join(f"{rung:>8}" for rung in RUNGS)
    print(f"{'chip':<10} {'method':<10} {'model':<12} {'1/lam':>5} {head}   chip less quiet   chip less 0.05 ms")
    for name in [arguments.task] if arguments.model else SHIPPED:
        path = Path(arguments.model) if arguments.model else model_path(name)
        source, task = load_source(path), get_task(name)
        for method in methods:
            known: dict[Any, Any] = {}
            for chip in chips:
                networks = made(source, task, chip, method, arguments.grid)
                found = ladder(task, networks, chip, arguments.trials, arguments.every_rung, known)
                rows.append(row(chip, method, path.stem, networks["1/lambda"], found))
    for chip in chips:
        last = next(r for r in reversed(rows) if r["chip"] == chip)
        print(
            "\n  ".join([f"\n{chip}, {last['method']}, {last['model']}, cores {last['cores'] or '-'}", *last["losses"]])
        )
        times[chip] = seconds(chip)
        print(f"100 trials of 1 s, N = 200: {times[chip]:.2f} s")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"rows": rows, "seconds": times, "trials": arguments.trials, "seed": SEED}, file)


if __name__ == "__main__":
    main()
