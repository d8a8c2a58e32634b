"""A rate network of a few units, that converts in a second: for tests of the search and of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spikeport.snn.files import save_rate_network
from spikeport.snn.rate import RateNetwork
from spikeport.snn.tasks import FileTask, save_trials

DT = 5e-4  # s, a coarse step of the spiking network: the search is tested, not the accuracy


def follower(n: int = 20, seed: int = 0, **changes: Any) -> RateNetwork:
    """Units driven by their input and little else, and a read-out of their mean: o follows u, 0 to 0 and 1 to 1.

    Its spiking form has the right height at one lambda only, so accuracy depends on lambda.
    """
    rng = np.random.default_rng(seed)
    fields: dict[str, Any] = {
        "tau": rng.uniform(0.02, 0.04, n),
        "w_rec": rng.normal(0.0, 0.5, (n, n)),
        "w_in": rng.uniform(7.0, 9.0, (n, 1)),
        "w_out": np.full((1, n), 1.0 / n),
        "b_rec": np.full(n, -4.0),
        "b_out": np.zeros(1),
        "dt": 0.005,
        "phi": "sigmoid",
        "noise_sd": 0.1,
        "x0_sd": 0.01,
        "provenance": {"source": "made for a test"},
    }
    return RateNetwork(**{**fields, **changes})


def write_model(path: Path, **changes: Any) -> Path:
    save_rate_network(follower(**changes), path)
    return path


def write_trials(path: Path, n: int = 12, seed: int = 0, **changes: Any) -> FileTask:
    """Trials of 0.2 s: a step of the input or none, to be answered by 1 or 0 in the last 0.1 s.

    The steps are of all heights, so each trial wants its own lambda at least: accuracy falls smoothly with 1/lambda.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 2)
    inputs = np.zeros((40, n, 1))
    inputs[10:, :, 0] = labels * rng.uniform(0.45, 1.5, n)
    fields: dict[str, Any] = {"inputs": inputs, "labels": labels, "dt": 0.005, "window": (0.1, 0.2), "rule": "mean"}
    return save_trials(path, **{**fields, **changes})
