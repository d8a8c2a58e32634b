"""Validations of small networks in the shapes that a page must be able to show."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from small_models import DT, follower, write_trials

from spikeport import transfer
from spikeport.convert.conversion import convert_network
from spikeport.snn.rate import RateNetwork
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import FileTask, save_trials
from spikeport.validation import validate_network

HOSTILE = "</script><script>alert('x')</script>&$$x$$"
TRIALS = 8


def labelled(**changes: Any) -> RateNetwork:
    """The follower with labels, the last five units inhibitory."""
    inh = np.arange(20) >= 15
    return follower(labels={"exc": ~inh, "inh": inh, "som": inh & (np.arange(20) < 17)}, **changes)


def silent(network: SpikingNetwork) -> SpikingNetwork:
    unit = network.populations[0]
    return replace(network, populations=(replace(unit, neuron=replace(unit.neuron, v_threshold=1e6)),))


def three_outputs(folder: Path) -> tuple[RateNetwork, FileTask]:
    """Three read-outs of the same units, and a task that asks for three levels."""
    n = 20
    source = follower(w_out=np.stack([np.full(n, f / n) for f in (1.0, 0.5, -1.0)]), b_out=np.zeros(3))
    one = write_trials(folder / "one.h5", n=TRIALS)
    levels = one.labels[None, :, None] * np.array([1.0, 0.5, -1.0])
    targets = np.broadcast_to(levels, (40, TRIALS, 3)).copy()
    task = save_trials(
        folder / "three.h5", inputs=one.inputs, targets=targets, dt=0.005, window=(0.1, 0.2), rule="nearest"
    )
    return source, task


@functools.cache
def validated(case: str, folder: Path) -> dict[str, Any]:
    """The JSON of a validation, by name; the numbers of all of them are small, so that a page is made in seconds.

    full: converted with a search, labels, a target, a name that would end a script.  bare: silent, no labels, no
    target, no search.  three outputs: two targets, no labels.
    """
    task = write_trials(folder / f"{case}.h5", n=2 * TRIALS, **({"name": HOSTILE} if case == "full" else {}))
    targets: tuple[str, ...] = ("engine", "reference")
    if case == "full":
        targets = ("engine",)
        source = labelled()
        network = convert_network(source, task, grid=[40, 60], trials=TRIALS, test_trials=2, dt=DT, n_jobs=1).network
    elif case == "bare":
        source, targets = follower(), ()
        network = silent(transfer(source, 60, dt=DT))
    else:
        source, task = three_outputs(folder)
        network = transfer(source, 60, dt=DT)
    return validate_network(network, source, task, targets=targets, trials=TRIALS, require=["accuracy>=0.5"]).as_dict()


CASES = ("full", "bare", "three outputs")


def laddered(found: dict[str, Any]) -> dict[str, Any]:
    """The same with a ladder made by hand, of the form that `--why` writes."""
    top = {"accuracy": 1.0, "interval": [0.7, 1.0], "trials": TRIALS}
    low = {"accuracy": 0.5, "interval": [0.2, 0.8], "trials": TRIALS}
    against = {"difference": -0.5, "interval": [-0.8, -0.1], "only_above": 4, "only_here": 0, "p": 0.125}
    steps = [
        {"step": "rate model", "what": "", "declared": True, **top, "output_rms": 0.0, "mean_rate_hz": None,
         "against_above": None},
        {"step": "spiking at all", "what": HOSTILE, "declared": True, **low, "output_rms": 0.25, "mean_rate_hz": 7.5,
         "against_above": against},
        {"step": HOSTILE, "what": "a long one", "declared": False, **low, "output_rms": 0.5, "mean_rate_hz": 7.5,
         "against_above": against | {"difference": 0.0}},
    ]  # fmt: skip
    restored = [
        {"step": "weights", "what": "", **top, "output_rms": 0.1, "mean_rate_hz": 7.0, "against_bottom": against}
    ]
    ladder = {"steps": steps, "restored": restored, "sentence": f"weights cost most {HOSTILE}."}
    remainders = [{"level": "engine", "text": f"unit 3 of {HOSTILE}"}]
    return found | {"why": {"sentence": "weights cost most.", "ladders": {"engine": ladder}, "remainders": remainders}}
