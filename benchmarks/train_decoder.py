"""The recurrent decoder that comes with spikeport: trained on assisted trials of a simulated subject, then converted.

    python benchmarks/train_decoder.py [-o FOLDER] [--steps 200] [--trials 320] [--seed 0]       (extra train: torch)

    1 trials    the subject of spikeport.loop.subject, no feedback delay, the cursor moved for it
    2 train     N = 100 sigmoid units, 10 ms steps: smoothed counts of 96 units to the velocity, by backpropagation
                through time, Adam; the loss is the squared error over that of a constant, and a cost of rates
    3 convert   method "calibrated", 1 ms steps, no noise
Writes cursor_rate.h5 and cursor_spiking.h5; the smoothing that belongs to them is in their provenance.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from spikeport.convert.calibration.calibrate import calibrate
from spikeport.loop.decoders.rate import RateDecoder
from spikeport.loop.readout import Smoothing, fit_linear, smoothed
from spikeport.loop.subject.assisted import Assisted, assisted
from spikeport.loop.subject.subject import SPEED, Subject
from spikeport.snn.files import save_rate_network, save_spiking_network
from spikeport.snn.rate import RateNetwork, simulate_rate
from spikeport.snn.tasks import save_trials

N, DT, TAU_INPUT = 100, 0.01, 0.03  # units; s; s, of the smoothing
WARM, LENGTH, BATCH = 30, 90, 32  # ticks that are not judged, ticks of a piece, pieces of a step
NOISE, RATE_COST = 0.05, 0.02
RANK = 4  # of w_in


def pieces(inputs: np.ndarray, wanted: np.ndarray, n: int, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """n pieces from anywhere: (WARM + LENGTH, n, channels) each."""
    at = rng.integers(0, len(inputs) - WARM - LENGTH, n)
    cut = at[None, :] + np.arange(WARM + LENGTH)[:, None]
    return tuple(torch.tensor(a[cut], dtype=torch.float32) for a in (inputs, wanted))


def train(inputs: np.ndarray, wanted: np.ndarray, start: np.ndarray, steps: int, seed: int) -> RateNetwork:
    """A rate network from inputs (ticks, n) to wanted (ticks, 2), in units of SPEED. start: (2, n), to begin with."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    n_in = inputs.shape[1]
    w_rec = torch.nn.Parameter(0.5 * torch.randn(N, N) / N**0.5)
    begin = torch.tensor(start, dtype=torch.float32)
    mixed = torch.nn.Parameter(
        torch.cat([begin / begin.norm(dim=1, keepdim=True), torch.randn(RANK - 2, n_in) / n_in**0.5])
    )
    spread = torch.nn.Parameter(torch.randn(N, RANK))  # w_in = spread mixed: fewer numbers than trials can teach
    w_out = torch.nn.Parameter(torch.randn(2, N) / N**0.5)
    b_rec = torch.nn.Parameter(torch.full((N,), -1.0))
    b_out = torch.nn.Parameter(torch.zeros(2))
    tau = torch.linspace(0.02, 0.06, N)
    a = DT / tau
    weights = [w_rec, spread, mixed, w_out, b_rec, b_out]
    adam = torch.optim.Adam(weights, lr=0.01)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for step in range(steps):
        u, target = pieces(inputs, wanted, BATCH, rng)
        driven = u @ mixed.T @ spread.T + b_rec
        x = torch.zeros(BATCH, N)
        error = cost = torch.zeros(())
        for k in range(WARM + LENGTH):
            r = torch.sigmoid(x)
            x = (1 - a) * x + a * (r @ w_rec.T + driven[k]) + NOISE * torch.randn(BATCH, N)
            if k >= WARM:
                r = torch.sigmoid(x)
                error = error + ((r @ w_out.T + b_out - target[k]) ** 2).mean()
                cost = cost + (r**2).mean()
        loss = (error / target[WARM:].var() + RATE_COST * cost) / LENGTH
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        adam.step()
        slower.step()
        if step % 50 == 49:
            print(f"step {step + 1}: loss {loss.item():.4f}", flush=True)

    def numbers(tensor: torch.Tensor) -> np.ndarray:
        return tensor.detach().numpy().astype(np.float64)

    return RateNetwork(
        tau=numbers(tau), w_rec=numbers(w_rec), w_in=numbers(spread @ mixed), w_out=SPEED * numbers(w_out),
        b_rec=numbers(b_rec), b_out=SPEED * numbers(b_out), dt=DT, phi="sigmoid", noise_sd=NOISE,
    )  # fmt: skip


def explained(outputs: np.ndarray, wanted: np.ndarray) -> float:
    """1 - squared error / that of the mean."""
    return float(1 - ((outputs - wanted) ** 2).sum() / ((wanted - wanted.mean(axis=0)) ** 2).sum())


def as_task(path: Path, inputs: np.ndarray, data: Assisted, n: int) -> object:
    """n trials of 1.5 s from the start of as many assisted ones, as a file of trials; each target is its own class."""
    starts = [int(np.flatnonzero(data.trial == k)[0]) for k in range(n)]
    cut = np.array(starts)[None, :] + np.arange(150)[:, None]
    return save_trials(
        path, inputs=inputs[cut], targets=data.velocity[cut], dt=DT, window=(0.5, 1.5), rule="nearest",
        name="cursor", overwrite=True,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path(), help="folder to write to")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--trials", type=int, default=320, help="assisted trials; the last quarter is held out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-rate", type=float, default=20.0, help="spikes/s a unit")
    arguments = parser.parse_args()
    data = assisted(Subject(delay=0.0), arguments.trials, seed=1000 + arguments.seed)
    n_train = arguments.trials * 3 // 4
    first, rest = data.part(0, n_train), data.part(n_train, arguments.trials)
    smoothing = Smoothing(
        tau=TAU_INPUT, period=DT, centre=first.counts.mean(axis=0),
        scale=np.sqrt(np.maximum(first.counts.var(axis=0), 1e-6) * DT / (2 * TAU_INPUT)),
    )  # fmt: skip
    started = time.perf_counter()
    linear = fit_linear(first.counts, first.velocity, first.trial, period=DT, tau=0.1, ridge=1.0)
    said = smoothed(rest.counts, 0.1, DT) @ linear.weight.T + linear.bias
    print(
        f"linear read-out, held-out trials: {explained(said, rest.velocity):.3f} of the velocity's variance explained"
    )
    inputs = smoothing.of(first.counts)
    found = train(inputs, first.velocity / SPEED, linear.weight * smoothing.scale, arguments.steps, arguments.seed)
    seconds = time.perf_counter() - started
    held = explained(simulate_rate(found, smoothing.of(rest.counts)[:, None]).outputs[:, 0], rest.velocity)
    print(f"trained in {seconds:.0f} s; held-out trials: {held:.3f} of the velocity's variance explained")
    about = {
        "source": "benchmarks/train_decoder.py", "torch": torch.__version__, "numpy": np.__version__,
        "steps": arguments.steps, "trials": arguments.trials, "seed": arguments.seed, "explained": round(held, 4),
        "smoothing": smoothing.as_dict(),
    }  # fmt: skip
    network = RateNetwork(**{**vars(found), "provenance": about})
    assert RateDecoder(network).n_outputs == 2
    arguments.output.mkdir(parents=True, exist_ok=True)
    save_rate_network(network, arguments.output / "cursor_rate.h5", overwrite=True)
    task = as_task(arguments.output / "cursor_trials.h5", smoothing.of(rest.counts), rest, 40)
    made = calibrate(
        network, task, seed=arguments.seed, dt=1e-3, noise_sd=0.0, max_rate_hz=arguments.max_rate, n_threads=1
    )
    (arguments.output / "cursor_trials.h5").unlink()
    print(f"converted in {made.seconds:.0f} s: {made.mean_rate_hz:.1f} spikes/s a unit, "
          f"1/lambda {made.inverse_lambda:.0f}, held-out score {made.history[made.best].score:.3f}")  # fmt: skip
    for warning in made.warnings:
        print(f"note: {warning}")
    save_spiking_network(made.network, arguments.output / "cursor_spiking.h5", overwrite=True)


if __name__ == "__main__":
    main()
