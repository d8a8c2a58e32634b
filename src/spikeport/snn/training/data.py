"""The trials and the noise of a training run: functions of (seed, step), so that a resumed run draws what is next.

A task without end gives fresh trials for ever: training, looks and the final test draw from three sequences that share
none, and none is the sequence of the user's own seed. A finite task (a file of trials) is cut in two: the first four
fifths, reshuffled each time round, to train on; the last fifth to look at and to test.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.errors import SpikeportError
from spikeport.snn.tasks.base import Task, Trials
from spikeport.snn.training.options import TrainingOptions

PURPOSES = {"train": 11, "look": 12, "test": 13}
_HELD_OUT = 5  # one trial in so many is kept from training


def purpose_seed(seed: int, purpose: str) -> int:
    """The seed of a sequence of trials that is used for one purpose only."""
    return int(np.random.SeedSequence([seed, PURPOSES[purpose]]).generate_state(1)[0])


def draw_trials(task: Task, options: TrainingOptions, purpose: str, round_: int, n: int) -> Trials:
    """n trials (or as many as there are) of one step ("train"), one look ("look") or the final test ("test")."""
    seed = purpose_seed(options.seed, purpose)
    total = finite_trials(task)
    if total is None:
        return task.trials(n, seed=seed, first=round_ * n)
    n_train = total - max(1, total // _HELD_OUT)
    everything = task.trials(total, seed=0)
    if purpose != "train":
        return pick(everything, np.arange(n_train, total)[:n])
    wanted = np.arange(round_ * n, (round_ + 1) * n)
    orders = {e: np.random.default_rng([seed, e]).permutation(n_train) for e in set((wanted // n_train).tolist())}
    return pick(everything, np.array([orders[i // n_train][i % n_train] for i in wanted.tolist()]))


def finite_trials(task: Task) -> int | None:
    """How many trials a task has, or None where it makes as many as one asks for."""
    total = getattr(task, "n_trials", None)
    if total is not None and total < 2:
        raise SpikeportError(
            f"task '{task.name}': {total} trials, training needs 2 or more (some to train on, some to test)"
        )
    return total


def pick(trials: Trials, which: NDArray[np.intp]) -> Trials:
    """Some trials of a batch, by index."""
    return replace(
        trials, inputs=trials.inputs[:, which], targets=trials.targets[:, which], labels=trials.labels[which]
    )


def draw_noise(
    options: TrainingOptions, purpose: str, round_: int, n_steps: int, n_batch: int
) -> tuple[NDArray[np.float32], ...]:
    """Noise (time, batch, N) of every step, and x (batch, N) before the first, with their standard deviations."""
    rng = np.random.default_rng([options.seed, PURPOSES[purpose], round_])
    noise = rng.standard_normal((n_steps, n_batch, options.n_neurons), dtype=np.float32)
    x0 = rng.standard_normal((n_batch, options.n_neurons), dtype=np.float32)
    return noise * np.float32(options.noise_sd), x0 * np.float32(options.x0_sd)
