"""What a chip's integers cost: accuracy down the ladder from the float network, on the same trials; and the time.

    python benchmarks/chips.py [--model MODEL --task TASK] [--inverse-lambda 30,35,40] [--trials 200] [--json FILE]

Without --model: the three shipped ones. Each rung is the network of the rung above with one thing less, run on the same
trials with the same v0 (preset `standard`, seed 1):

    0.05 ms     float, the published step and noise          1 ms        float, dt 1 ms, the published noise a step
    quiet       the same without noise                       given up    what the chip lacks (one exponential, ...)
    rounded     the chip's parameters, float states          chip        its integers, as emulated

The last two columns: chip less quiet, and chip less `1 ms`, with a 95 % interval of the paired difference. Then the
time of 100 trials of 1 s of the shipped Go-NoGo network, compiled before, the best of three.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from spikeport import load_source, transfer
from spikeport.resources import model_path
from spikeport.snn import engine
from spikeport.snn.measures.intervals import paired_difference
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import get_task
from spikeport.targets.approximations import APPROXIMATIONS, approximate, longer_delays
from spikeport.targets.base import RunOptions
from spikeport.targets.checking import runner

SHIPPED = {"go-nogo": "40", "xor": "30", "integration": "35"}  # 1/lambda of each
SEED, CHUNK, DT = 1, 100, 1e-3
RUNGS = ("0.05 ms", "1 ms", "quiet", "given up", "rounded", "chip")


def verdicts(
    network: SpikingNetwork, task: Any, trials: int, noise: bool, target: Any = None, lowering: Any = None
) -> Any:
    """(trials,) right or wrong, by the task's first rule; on the engine, or on a chip."""
    found = []
    for first in range(0, trials, CHUNK):
        part = task.trials(min(CHUNK, trials - first), seed=SEED, first=first)
        if target is None:
            dtype = "float32" if network.dt < DT else "float64"
            run = engine.simulate(
                network, part.inputs, seed=SEED, first_trial=first, with_noise=noise, dtype=dtype
            )  # fmt: skip
        else:
            run = target.run(lowering, part.inputs, RunOptions(seed=SEED, first_trial=first))
        outputs = run.outputs[network.readouts[0].name]
        found.append(task.judge(outputs, part, dt=network.dt, kind="spiking", rule=task.rules[0]))
    return np.concatenate(found)


def ladder(source: Any, task: Any, inverse_lambda: float, chip: str, trials: int) -> dict[str, Any]:
    """Every rung of one network: name -> verdicts, and what the chip's lowering says."""
    published = transfer(source, inverse_lambda)
    network = transfer(source, inverse_lambda, dt=DT)
    target = runner(chip)
    lacking = {p.feature for p in target.problems(network)} & APPROXIMATIONS.keys()
    lowering = target.lower(network, allow=lacking)
    reduced, _ = approximate(network, lacking)
    reduced, _ = longer_delays(reduced, lambda _, j: target.capabilities.min_delay)
    right = {
        "0.05 ms": verdicts(published, task, trials, True),
        "1 ms": verdicts(network, task, trials, True),
        "quiet": verdicts(network, task, trials, False),
        "given up": verdicts(reduced, task, trials, False),
        "rounded": verdicts(lowering.network, task, trials, False),
        "chip": verdicts(network, task, trials, False, target, lowering),
    }
    return {"right": right, "losses": [str(loss) for loss in lowering.losses], "allowed": sorted(lacking),
            "cores": len(lowering.settings.get("cores", ()))}  # fmt: skip


def row(name: str, inverse_lambda: float, found: dict[str, Any]) -> dict[str, Any]:
    """A line of the table, printed."""
    right = found["right"]
    accuracy = {rung: float(right[rung].mean()) for rung in RUNGS}
    against = {rung: paired_difference(right[rung], right["chip"]) for rung in ("quiet", "1 ms")}
    cells = " ".join(f"{accuracy[rung]:>8.4f}" for rung in RUNGS)
    ends = "   ".join(f"{d:+.4f} [{low:+.4f}, {high:+.4f}]" for d, (low, high) in against.values())
    print(f"{name:<16} {inverse_lambda:>5g} {cells}   {ends}", flush=True)
    return {"model": name, "inverse_lambda": inverse_lambda, "accuracy": accuracy, "allowed": found["allowed"],
            "chip_less": {rung: [d, *ends] for rung, (d, ends) in against.items()}, "losses": found["losses"],
            "cores": found["cores"]}  # fmt: skip


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
    parser.add_argument("--inverse-lambda", default="")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--chip", default="loihi")
    parser.add_argument("--json", default="")
    arguments = parser.parse_args()
    tasks = [arguments.task] if arguments.model else list(SHIPPED)
    rows, told = [], []
    print(f"{arguments.chip}, dt {DT * 1e3:g} ms, {arguments.trials} trials")
    head = " ".join(f"{rung:>8}" for rung in RUNGS)
    print(f"{'model':<16} {'1/lam':>5} {head}   chip less quiet              chip less 1 ms")
    for name in tasks:
        path = Path(arguments.model) if arguments.model else model_path(name)
        source, task = load_source(path), get_task(name)
        for value in (arguments.inverse_lambda or SHIPPED[name]).split(","):
            found = ladder(source, task, float(value), arguments.chip, arguments.trials)
            rows.append(row(path.stem, float(value), found))
            told = [path.stem, f"cores {found['cores']}", *found["losses"]]
    print("\n" + "\n  ".join(told))
    best = seconds(arguments.chip)
    print(f"\n100 trials of 1 s, N = 200: {best:.2f} s")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"rows": rows, "seconds": best}, file)


if __name__ == "__main__":
    main()
