"""Four decoders in closed loop with the simulated subject, at several feedback delays: docs/closed_loop.md.

    python benchmarks/closed_loop.py [--sessions 4] [--trials 50] [--delays 0,0.1,0.2,0.3] [--radius 2]
                                     [--networks FOLDER] [--only NAME] [--json FILE]

All are trained on the same assisted trials without delay (those that trained the shipped decoder), and each is used as
it is at every delay: nothing is fitted again. Every decoder meets the same sessions (seeds 1, 2, ...): the same order
of targets and the same random numbers of the units. The linear read-out's time constant is the best of three on
held-out assisted trials.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from spikeport.loop.clocks import VirtualClock
from spikeport.loop.decoders.rate import RateDecoder
from spikeport.loop.decoders.shadow import Shadow
from spikeport.loop.decoders.spiking import SpikingDecoder
from spikeport.loop.kalman import KalmanDecoder, fit_kalman
from spikeport.loop.loop import Loop
from spikeport.loop.policies import Policy
from spikeport.loop.ports import Decoder
from spikeport.loop.readout import LinearDecoder, Smoothed, Smoothing, fit_linear, smoothed
from spikeport.loop.subject.assisted import Assisted, assisted
from spikeport.loop.subject.centre_out import CentreOut, Trial
from spikeport.loop.subject.metrics import Figures
from spikeport.loop.subject.subject import Subject, SubjectInLoop
from spikeport.resources import model_path
from spikeport.snn.files import load_rate_network, load_spiking_network

POLICY = Policy(lost="hold", overload="all", lost_after=50, good=3, safe=(0.0, 0.0))
TAUS = (0.05, 0.1, 0.2)  # s, of the linear read-out


def best_linear(first: Assisted, rest: Assisted) -> LinearDecoder:
    """The read-out whose time constant explains most of the held-out velocity."""
    models = {
        tau: fit_linear(first.counts, first.velocity, first.trial, period=first.period, tau=tau, ridge=1.0)
        for tau in TAUS
    }
    errors = {
        tau: float(((smoothed(rest.counts, tau, m.period) @ m.weight.T + m.bias - rest.velocity) ** 2).mean())
        for tau, m in models.items()
    }
    best = min(errors, key=errors.__getitem__)
    print(f"linear read-out: tau {best:g} s; mean squared error by tau: {errors}")
    return LinearDecoder(models[best])


def decoders(folder: Path) -> dict[str, Callable[[int], Decoder]]:
    """Name -> the decoder of a session's seed. folder: of the two networks."""
    data = assisted(Subject(delay=0.0), 320, seed=1000)
    first, rest = data.part(0, 240), data.part(240, 320)
    kalman = KalmanDecoder(fit_kalman(first.counts, first.velocity, first.trial, period=first.period))
    linear = best_linear(first, rest)
    rate, spiking = load_rate_network(folder / "cursor_rate.h5"), load_spiking_network(folder / "cursor_spiking.h5")
    period = first.period

    def smooth(decoder: Decoder) -> Decoder:
        return Smoothed(decoder, Smoothing.from_dict(rate.provenance["smoothing"]))

    in_shadow = RateDecoder(rate, with_noise=False)
    return {
        "Kalman filter": lambda seed: kalman,
        "linear read-out": lambda seed: linear,
        "rate network": lambda seed: smooth(RateDecoder(rate, with_noise=False)),
        "spiking network": lambda seed: smooth(Shadow(SpikingDecoder(spiking, period=period, seed=seed), in_shadow)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--trials", type=int, default=50, help="of a session")
    parser.add_argument("--delays", default="0,0.1,0.2,0.3", help="s")
    parser.add_argument("--radius", type=float, default=2.0, help="cm, of a target")
    shipped = model_path("cursor-rate", "decoders").parent
    parser.add_argument("--networks", type=Path, default=shipped, help="folder that train_decoder.py wrote")
    parser.add_argument("--only", default="", help="decoders whose name has this")
    parser.add_argument("--json", type=Path, help="write every figure there")
    arguments = parser.parse_args()
    task, made, found = CentreOut(radius=arguments.radius), decoders(arguments.networks), []
    print("| delay | decoder | success | time to target | path efficiency | throughput, bits/s | bit rate, bits/s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for delay in (float(text) for text in arguments.delays.split(",")):
        subject = replace(Subject(task=task), delay=delay)
        for name, make in made.items():
            if arguments.only not in name:
                continue
            started, ticks, shadows = time.perf_counter(), 0, []
            trials: list[Trial] = []
            for seed in range(1, arguments.sessions + 1):
                body = SubjectInLoop(subject, seed=seed, n_trials=arguments.trials)
                loop = Loop(body, make(seed), body, VirtualClock(), POLICY, period=subject.period)
                summary = loop.run()
                trials += body.trials
                ticks += summary.ticks
                shadows += [summary.decoder["shadow"]] if summary.decoder else []
            f = Figures.of(trials, task)
            success = f"{f.successes} of {f.trials}, [{f.success.low:.3f}, {f.success.high:.3f}]"
            cells = (f"{1000 * delay:.0f} ms", name, success, f"{f.time} s", f.efficiency, f.throughput, f.bit_rate)
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
            row = {"delay": delay, "decoder": name, "ticks": ticks, "seconds": time.perf_counter() - started}
            if shadows:
                row |= {key: np.mean([s[key] for s in shadows], axis=0).tolist() for key in ("rms", "correlation")}
            found.append(row | f.as_dict())
    for row in found:
        if "rms" in row:
            print(f"shadow at {1000 * row['delay']:.0f} ms: correlation {np.round(row['correlation'], 3).tolist()}, "
                  f"rms difference {np.round(row['rms'], 2).tolist()} cm/s")  # fmt: skip
    spent = {
        name: np.mean([r["seconds"] / r["ticks"] for r in found if r["decoder"] == name])
        for name in made
        if arguments.only in name
    }
    print("ms a tick, subject and loop included: " + ", ".join(f"{n} {1000 * s:.2f}" for n, s in spent.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
