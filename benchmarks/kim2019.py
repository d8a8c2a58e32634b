"""The experiment of Kim, Li & Sejnowski (PNAS 2019), repeated: networks trained, converted and counted, by condition.

    python benchmarks/kim2019.py --out results.jsonl --nets nets [--conditions all] [--networks 10] [--methods lambda]
    python benchmarks/kim2019.py --out results.jsonl --networks 0 --table docs/kim2019.md
    python benchmarks/kim2019.py [--speed] [--device cpu]

The first trains seeds 0, 1, ... of every condition (batches of networks), converts each network that met the stopping
rule, and adds a line to the file after each; the same command goes on where it stopped, after Ctrl-C too, and says how
many of the lines that it keeps were made by other code than the present. The second
writes the table of what the file holds. The third, also without arguments, times training alone and in batches.
A success is an accuracy of 0.95 or more: as published, of the best 1/lambda on the trials that chose it; and ours, over
1,000 fresh trials.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from kim2019_conditions import (
    METHODS,
    PUBLISHED,
    SETS,
    TEST_TRIALS,
    TRIALS,
    Condition,
    Results,
    conditions_of,
)
from kim2019_table import HEAD, markdown, rows

import spikeport
from spikeport.convert.conversion import convert_network
from spikeport.convert.validation.validate import sampled_outputs
from spikeport.snn import engine
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.files import load_rate_network, save_rate_network
from spikeport.snn.measures import PairedSums
from spikeport.snn.neurons import refractory_steps
from spikeport.snn.rate import RateNetwork, simulate_rate
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import get_task
from spikeport.snn.training import TrainingResult, train, train_many
from spikeport.snn.writing import write_whole

FRESH, CORRELATED = 10_000, 100  # the first of the trials for the output's correlation, and how many

# ---------------------------------------------------------------- the work


@dataclass
class Bench:
    """One run: where results and networks go, and the time that each part took."""

    results: Results
    nets: Path
    methods: Sequence[str]
    device: str = "cpu"
    width: int = 8
    threads: int = 1
    clock: Counter[str] = field(default_factory=Counter)

    def run(self, conditions: Sequence[Condition], seeds: Sequence[int]) -> None:
        """Condition by condition: train in batches the networks that are not there yet, then convert each."""
        kinds: dict[str, list[Condition]] = {}
        for c in conditions:
            kinds.setdefault(c.network, []).append(c)
            for method in self.methods if c.transferred else ():
                if method != "lambda":
                    print(f"{c.name}: {method} left out, what follows {c.network} is of the published transfer alone")
        for network, alike in kinds.items():
            waiting = [seed for seed in seeds if self.trained_before(network, seed) is None]
            for seed, result in self.train(alike[0], waiting) if waiting else ():
                self.keep(network, seed, result)  # all of them before the first conversion: an interrupt costs none
            for seed in seeds:
                done = self.trained_before(network, seed)
                if done is not None and done["converged"]:
                    self.convert(alike, seed)

    def path(self, network: str, seed: int, *, converged: bool = True) -> Path:
        return self.nets / f"{network}_seed{seed}{'' if converged else '_unconverged'}.h5"

    def trained_before(self, network: str, seed: int) -> dict[str, Any] | None:
        """The record of a network whose file is there; made from the file's provenance where the results lack it."""
        for converged in (True, False):
            path = self.path(network, seed, converged=converged)
            if path.is_file():
                known = self.results.find("training", network=network, seed=seed)
                if not known:
                    found = load_rate_network(path).provenance
                    self.results.add(training_record(network, seed, found, seconds=None))
                return self.results.find("training", network=network, seed=seed)[0]
        return None

    def train(self, kind: Condition, seeds: Sequence[int]) -> Iterable[tuple[int, TrainingResult]]:
        options = [replace(kind.options, seed=seed, threads=self.threads) for seed in seeds]
        before: Counter[str] = Counter()

        def progress(p: Any) -> None:
            nonlocal before
            now = Counter({f"training: {part}": s for part, s in p.seconds.items()})
            self.clock.update(now - before)
            before = now
            if p.steps % 100 == 0 and sys.stderr.isatty():
                print(f"\r{kind.network}: step {p.steps}, {p.finished} of {p.total} done ", end="", file=sys.stderr)

        unfinished = self.nets / "unfinished" / kind.network
        unfinished.mkdir(parents=True, exist_ok=True)
        how = {"width": self.width, "device": self.device, "checkpoints": unfinished}
        for i, result in train_many(kind.task, options, **how, progress=progress):
            yield seeds[i], result

    def keep(self, network: str, seed: int, result: TrainingResult) -> None:
        save_rate_network(result.network, self.path(network, seed, converged=result.converged), overwrite=True)
        record = training_record(network, seed, result.network.provenance, seconds=result.seconds)
        self.results.add(record)
        end = f"after {result.steps} steps" if result.converged else f"NOT trained after {result.steps} steps"
        print(f"{network} seed {seed}: {end}, rate accuracy {result.accuracy['published']:.3f}, {result.seconds:.0f} s")

    def convert(self, alike: Sequence[Condition], seed: int) -> None:
        for c in alike:
            for method in self.methods:
                if method != "lambda" and c.transferred:
                    continue
                if self.results.find("conversion", condition=c.name, seed=seed, method=method):
                    continue
                record = converted(c, seed, method, self.path(c.network, seed), self.threads)
                self.clock["conversion: search"] += record["search_seconds"]
                self.clock["conversion: fresh trials"] += record["seconds"] - record["search_seconds"]
                self.results.add(record)
                if "refused" in record:
                    print(f"{c.name} seed {seed}, {method}: {record['refused'].splitlines()[0]}", flush=True)
                    continue
                print(
                    f"{c.name} seed {seed}, {method}: 1/lambda {record['inverse_lambda']:g}, "
                    f"fresh {record['right']['published'] / TEST_TRIALS:.3f} published "
                    f"{record['right']['strict'] / TEST_TRIALS:.3f} strict, {record['mean_rate_hz']:.1f} spikes/s, "
                    f"{record['seconds']:.0f} s",
                    flush=True,
                )


def training_record(network: str, seed: int, provenance: Any, *, seconds: float | None) -> dict[str, Any]:
    found = json.loads(json.dumps(dict(provenance), default=float))
    return {
        "kind": "training", "network": network, "seed": seed, "converged": found["converged_at"] is not None,
        "steps": found["steps"], "rate_accuracy": found["test_accuracy"], "test_trials": found["test_trials"],
        "final_loss": found["final_loss"], "options": found["options"], "versions": found["versions"],
        "seconds": seconds,
    }  # fmt: skip


def converted(c: Condition, seed: int, method: str, path: Path, threads: int) -> dict[str, Any]:
    """The search and the fresh trials of one network, as a line of the results."""
    arguments: dict[str, Any] = {"preset": c.preset, "grid": c.grid if method == "lambda" else None} | METHODS[method]
    begun = {"kind": "conversion", "condition": c.name, "network": c.network, "seed": seed, "method": method}
    started = time.perf_counter()
    try:
        conversion = convert_network(
            path, c.task, trials=TRIALS, test_trials=TEST_TRIALS, seed=seed, rule="published", n_jobs=threads,
            **arguments,
        )  # fmt: skip
    except RefusedError as error:
        return begun | refused(error, time.perf_counter() - started)
    return begun | {
        "inverse_lambda": conversion.inverse_lambda,
        "best": max((x.accuracy or 0.0 for x in conversion.search), default=None),
        "curve": [[x.inverse_lambda, x.accuracy, x.by_rule["strict"], x.mean_rate_hz] for x in conversion.search],
        "trials": TRIALS, "test_trials": TEST_TRIALS,
        "right": {rule: m.right for rule, m in conversion.spiking.items()},
        "rate_right": {rule: m.right for rule, m in conversion.rate.items()},
        "output_correlation": output_correlation(load_rate_network(path), conversion.network, c.task, seed),
        "mean_rate_hz": conversion.mean_rate_hz, **ran(conversion.network), "dtype": conversion.dtype,
        "warnings": list(conversion.warnings), "versions": versions(), "code": code_hash(),
        "seconds": conversion.seconds, "search_seconds": conversion.search_seconds,
    }  # fmt: skip


def ran(network: SpikingNetwork) -> dict[str, float]:
    """The step, s, the refractory period as it runs, s, and the noise, mV a step, of the network itself."""
    units = network.populations[0]
    t_ref = float(refractory_steps(np.asarray(units.neuron.t_ref), network.dt).max() * network.dt)
    return {"dt": network.dt, "t_ref": round(t_ref, 9), "noise_sd": float(np.max(units.noise_sd))}


def refused(error: RefusedError, seconds: float) -> dict[str, Any]:
    """The line of a network that is not converted within its budget: it counts, and not as a success."""
    none = dict.fromkeys(("published", "strict"), 0)  # rates and means leave these rows out, counts do not
    return {
        "refused": str(error), "inverse_lambda": None, "best": None, "curve": [], "trials": TRIALS,
        "test_trials": TEST_TRIALS, "right": none, "rate_right": None, "output_correlation": None, "mean_rate_hz": None,
        "warnings": [], "versions": versions(), "code": code_hash(), "seconds": seconds, "search_seconds": seconds,
    }  # fmt: skip


def output_correlation(source: RateNetwork, network: SpikingNetwork, task: str, seed: int) -> float | None:
    """Pearson's, of all samples of trials that no conversion has seen; None where one of the two never moves."""
    kind, sums = get_task(task), PairedSums.empty(1)
    for first in range(FRESH, FRESH + CORRELATED, 20):
        part = kind.trials(20, seed=seed, first=first)
        wanted = simulate_rate(source, part.inputs, with_noise=False).outputs
        run = engine.simulate(network, part.inputs, seed=seed, first_trial=first, dtype="float32")
        found = sampled_outputs(network, run, source.dt)
        n = min(len(found), len(wanted))
        sums = sums.add(wanted[:n].reshape(-1, 1), found[:n].reshape(-1, 1))
    return sums.correlation().mean()


@cache
def code_hash() -> str:
    """Of what converts: twelve digits of the SHA-256 of its source files, by name and content."""
    found, root = hashlib.sha256(), Path(spikeport.__file__).parent
    for part in ("convert", "snn"):
        for path in sorted((root / part).rglob("*.py")):
            found.update(f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return found.hexdigest()[:12]


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{p: version(p) for p in ("spikeport", "torch", "numpy", "numba")}}


# ---------------------------------------------------------------- the speed of training


def speed(device: str, threads: int, n: int, widths: Sequence[int]) -> None:
    """Networks trained per minute, alone and in batches, for the 1,500 gradient steps that a Go-NoGo network takes."""
    steps = 100  # with one look, as published
    options = replace(PUBLISHED, n_neurons=n, max_steps=steps, look_every=steps, test_trials=1, threads=threads)
    marks: list[float] = []
    train("go-nogo", options, progress=lambda p: marks.append(time.perf_counter()))
    alone = (marks[-1] - marks[4]) / (steps - 5)
    print(f"training of Go-NoGo networks, N = {n}, a trial a step, {threads} threads of a CPU or {device}")
    print(f"one by one      {1e3 * alone:.1f} ms a step, {60 / (1500 * alone):.2f} networks a minute")
    for width in widths:
        many = [replace(options, seed=seed) for seed in range(width)]
        marks, parts = [], {}

        def note(p: Any, marks: list[float] = marks, parts: dict[str, float] = parts) -> None:
            marks.append(time.perf_counter())
            parts.update(p.seconds)

        list(train_many("go-nogo", many, width=width, device=device, progress=note))
        # the last call is of the final test, not of a step
        each = (marks[-2] - marks[4]) / (steps - 5) / width
        share = ", ".join(f"{k} {v / sum(parts.values()):.0%}" for k, v in parts.items() if k != "final test")
        print(
            f"{width:>3} at once     {1e3 * each:.1f} ms a step and network, {60 / (1500 * each):.2f} a minute; {share}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="file of results, JSON lines; gone on with where it exists")
    parser.add_argument("--nets", type=Path, default=Path("nets"), help="folder of the trained networks")
    parser.add_argument("--conditions", default="all", help=f"all, sets ({', '.join(SETS)}) or names, with commas")
    parser.add_argument("--networks", type=int, default=10, help="seeds 0 to this - 1 of each condition")
    parser.add_argument("--methods", default="lambda", help=f"with commas, of {', '.join(METHODS)}")
    parser.add_argument("--device", default="cpu", help="of training: cpu or cuda")
    parser.add_argument("--width", type=int, default=8, help="networks trained at once; 100 on a GPU")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", type=Path, help="write the table of all results there")
    parser.add_argument("--speed", action="store_true", help="time the training only")
    arguments = parser.parse_args()
    if arguments.speed or arguments.out is None:
        speed(arguments.device, arguments.threads, 250 if arguments.speed else 50, (1, 4, 8, 16))
        return 0
    code_hash()  # of the files as they are loaded: training takes hours, and they may be edited meanwhile
    try:
        unknown = sorted(set(arguments.methods.split(",")) - METHODS.keys())
        if unknown:
            raise SpikeportError(f"methods: {', '.join(unknown)}", [f"there are: {', '.join(METHODS)}"])
        results = Results(arguments.out)
        arguments.nets.mkdir(parents=True, exist_ok=True)
        if results.broken:
            print(f"{arguments.out}: {results.broken} lines cannot be read, and are left as they are", file=sys.stderr)
        older = sum(x.get("code") != code_hash() for x in results.find("conversion"))
        if older:
            print(f"{arguments.out}: {older} conversions are of other code, and are kept; delete their lines to make "
                  f"them again (`code` is not {code_hash()})", file=sys.stderr)  # fmt: skip
        bench = Bench(
            results=results, nets=arguments.nets, methods=arguments.methods.split(","), device=arguments.device,
            width=arguments.width, threads=arguments.threads,
        )  # fmt: skip
        code = 0
        try:
            bench.run(conditions_of(arguments.conditions), range(arguments.networks))
        except KeyboardInterrupt:
            print(f"\nstopped; {arguments.out} has {len(results.lines)} results, the same command goes on from there")
            code = 130
        total = sum(bench.clock.values())
        for part, seconds in bench.clock.most_common():
            print(f"{part:<28} {seconds:8.1f} s  {seconds / total:4.0%}")
        for cells in [HEAD, *rows(results)]:
            print(" | ".join(cells))
        if arguments.table is not None:
            with write_whole(arguments.table, overwrite=True) as temporary:
                temporary.write_text(markdown(results), encoding="utf-8")
        return code
    except SpikeportError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
