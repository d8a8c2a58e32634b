"""The rules that say which trials are right, as pure functions of the outputs in the response window.

Two families, for a trial whose target in the window is a level g (+1, 0 or -1 in the published tasks):

    published   g > 0: max(o) > 0.7      g < 0: min(o) < -0.7      g = 0: max|o| < 0.3
    strict      g != 0: sign(g) mean(o) > |g| / 2                  g = 0: |mean(o)| < 1/2

The published rule for two signs asks only for one excursion, so an output that swings to both sides is right on every
trial. The strict rule asks for the sign and the size of the window's mean: right when it is nearer to this trial's
target than to the other class's, which no single output meets for both classes.
Source of the published rules: Kim, Li & Sejnowski, PNAS 2019, SI, and the evaluation in their code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.errors import SpikeportError
from spikeport.snn.tasks.base import Array, Task, Trials, Verdict, Window

HIGH = 0.7  # an answer reaches it; `eval_amp_threh` of the published code
LOW = 0.3  # a withheld answer stays below it; the same code


def check_judged(task: Task, outputs: NDArray[Any], trials: Trials, *, dt: float, kind: str, rule: str) -> None:
    """Refuse outputs that this task cannot judge, with every reason."""
    problems = []
    if rule not in task.rules:
        problems.append(f"rule '{rule}': unknown, must be one of {', '.join(task.rules)}")
    if kind not in task.windows:
        problems.append(f"kind '{kind}': unknown, must be one of {', '.join(task.windows)}")
    if not (np.isfinite(dt) and dt > 0):
        problems.append(f"dt: {dt} s, must be positive")
    want = (trials.n_trials, task.n_outputs)
    if outputs.ndim != 3 or outputs.shape[1:] != want:
        problems.append(
            f"outputs: shape {outputs.shape}, must be (time, {want[0]}, {want[1]}), a column per trial and per output"
        )
    elif not problems:
        first = task.windows[kind].slice(dt).start
        if outputs.shape[0] <= first:
            problems.append(
                f"outputs: {outputs.shape[0]} steps of {dt:g} s, the window begins at {task.windows[kind].start:g} s"
            )
    if problems:
        raise SpikeportError(f"task '{task.name}': these outputs cannot be judged", problems)


def in_window(outputs: NDArray[Any], window: Window, dt: float) -> NDArray[Any]:
    """The outputs of the window: (time, batch, n_outputs), one per dt seconds, of which a part is kept."""
    return np.asarray(outputs[window.slice(dt)])


def all_finite(outputs: NDArray[Any]) -> Verdict:
    """(batch,) bool: trials without a NaN or infinity anywhere; a trial that blew up is never right."""
    return np.asarray(np.isfinite(outputs).all(axis=(0, 2)))


def window_mean(window: NDArray[Any]) -> Array:
    """(batch, n_outputs): the mean over the window, summed in double precision."""
    with np.errstate(invalid="ignore"):  # inf - inf in a trial that blew up, which all_finite refuses
        return np.asarray(window.mean(axis=0, dtype=np.float64))


def reaches(window: NDArray[Any], signs: NDArray[Any]) -> Verdict:
    """Published rule of two signs: max(o) > 0.7 where signs > 0, min(o) < -0.7 elsewhere. window: (time, batch, 1)."""
    return np.asarray(np.where(signs > 0, window.max(axis=0)[:, 0] > HIGH, window.min(axis=0)[:, 0] < -HIGH))


def mean_on_side(window: NDArray[Any], levels: NDArray[Any]) -> Verdict:
    """Strict rule: the mean nearer to the trial's level (+1, 0 or -1) than to another's. window: (time, batch, 1)."""
    m = window_mean(window)[:, 0]
    return np.asarray(np.where(levels != 0, levels * m > 0.5, np.abs(m) < 0.5))


def check_request(name: str, n: int, seed: int, first: int) -> None:
    """Refuse a request for trials that names none, with every reason."""
    problems: Sequence[str] = [
        f"{what}: {found}, must be {least} or more"
        for what, found, least in (("number of trials", n, 1), ("seed", seed, 0), ("first trial", first, 0))
        if found < least
    ]
    if problems:
        raise SpikeportError(f"task '{name}': cannot make these trials", problems)
