"""The same network and trials on every installed target, side by side: time, memory, time to the first result.

    python benchmarks/targets.py [--model MODEL] [--seconds 0.1] [--batches 1,100,1000] [--targets engine,onnx]

Each target runs each batch in a process of its own, one after the other, noise off, so that the spikes can be compared
with the engine's in float64: `differing` must be 0 where the arithmetic is the same. `first` is from the start of the
process's work to the first spikes of one trial (imports, lowering, compiling); `run` is the batch after that; `MB` is
the process's peak. A case that takes longer than --limit seconds is stopped, and says so.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from spikeport.resources import model_path

CASE = """
import json, resource, sys, time
began = time.perf_counter()
model, inverse_lambda, preset, name, dtype, device, batch, seconds = sys.argv[1:9]
import numpy as np
from spikeport import load_source, transfer
from spikeport.snn import engine
from spikeport.snn.tasks import get_task
from spikeport.targets.approximations import APPROXIMATIONS
from spikeport.targets.base import RunOptions
from spikeport.targets.checking import runner
batch, samples = int(batch), round(float(seconds) / 0.005)
network = transfer(load_source(model), float(inverse_lambda), preset=preset)
inputs = get_task("go-nogo").trials(batch, seed=0).inputs[50 : 50 + samples]
began = time.perf_counter()
target = runner(name)
lacking = {p.feature for p in target.problems(network)} & APPROXIMATIONS.keys()
lowering = target.lower(network, allow=lacking)
options = RunOptions(with_noise=False, dtype=dtype, device=device)
target.run(lowering, inputs[:, :1], options)
first = time.perf_counter() - began
began = time.perf_counter()
found = target.run(lowering, inputs, options)
run = time.perf_counter() - began
try:  # not ru_maxrss alone: on Linux that starts at the size of the process which started this one
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    memory = int(peak.split()[1]) / 1024
except (OSError, StopIteration):
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
expected = engine.simulate(lowering.network, inputs, with_noise=False)
spikes = sum(s.n_spikes for s in expected.spikes.values())
differing = sum(s.differing(found.spikes[p]) for p, s in expected.spikes.items())
print(json.dumps({"first": first, "run": run, "mb": memory, "spikes": spikes, "differing": differing,
                  "losses": len(lowering.losses)}))
"""


def case(arguments: argparse.Namespace, name: str, dtype: str, device: str, batch: int) -> dict[str, Any]:
    """One target, one batch, in a process of its own."""
    call = [sys.executable, "-c", CASE, arguments.model, str(arguments.inverse_lambda), arguments.preset, name, dtype,
            device, str(batch), str(arguments.seconds)]  # fmt: skip
    row: dict[str, Any] = {"target": name, "dtype": dtype, "device": device, "batch": batch}
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=arguments.limit, check=False)
    except subprocess.TimeoutExpired:
        return row | {"failed": f"more than {arguments.limit:g} s"}
    if done.returncode != 0:
        return row | {"failed": done.stderr.strip().splitlines()[-1]}
    return row | json.loads(done.stdout.strip().splitlines()[-1])


def cases() -> list[tuple[str, str, str]]:
    """(target, dtype, device) of everything that is installed; cuda where torch finds one."""
    from spikeport.targets.base import Runner
    from spikeport.targets.checking import missing_modules
    from spikeport.targets.registry import TARGETS, get_target

    found = []
    for name in TARGETS:
        target = get_target(name)
        if isinstance(target, Runner) and not missing_modules(target) and name != "reference":
            found += [
                (name, dtype, device) for dtype in target.capabilities.dtypes for device in target.capabilities.devices
            ]
    return [c for c in found if c[2] == "cpu" or _cuda()]


def _cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(model_path("go-nogo")))
    parser.add_argument("--inverse-lambda", type=float, default=30)
    parser.add_argument("--preset", default="kim2019")
    parser.add_argument("--seconds", type=float, default=0.1, help="of each trial, from the stimulus on")
    parser.add_argument("--batches", default="1,100,1000")
    parser.add_argument("--targets", default="", help="names, A,B; default: all")
    parser.add_argument("--limit", type=float, default=120, help="seconds for each case")
    parser.add_argument("--json", default="")
    arguments = parser.parse_args()
    wanted = arguments.targets.split(",") if arguments.targets else []
    model = Path(arguments.model).name
    print(f"{platform.machine()}, {arguments.seconds:g} s of {model}, preset {arguments.preset}, noise off")
    print(f"{'target':<10} {'dtype':<8} {'device':<6} {'batch':>5} {'first s':>8} {'run s':>8} {'x engine':>8} "
          f"{'MB':>6} {'spikes':>8} {'differing':>9} {'losses':>6}")  # fmt: skip
    rows = []
    for batch in map(int, arguments.batches.split(",")):
        base = None
        for name, dtype, device in cases():
            if wanted and name not in {*wanted, "engine"}:
                continue
            row = case(arguments, name, dtype, device, batch)
            rows.append(row)
            head = f"{name:<10} {dtype:<8} {device:<6} {batch:>5}"
            if "failed" in row:
                print(f"{head} {row['failed']}", flush=True)
                continue
            base = row["run"] if base is None else base  # the engine in float64 comes first
            row["ratio"] = row["run"] / base
            print(f"{head} {row['first']:>8.2f} {row['run']:>8.2f} {row['ratio']:>8.1f} {row['mb']:>6.0f} "
                  f"{row['spikes']:>8} {row['differing']:>9} {row['losses']:>6}", flush=True)  # fmt: skip
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(rows, file)


if __name__ == "__main__":
    main()
