"""Which trials chose or calibrated a spiking network: an accuracy on them says too much.

A task that makes its trials has them by (name, seed, number); of a file they are what they are, whatever the seed, and
its content is hashed, because two files may have one name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import Task


def digest_of(task: Task) -> str | None:
    """sha256 of a file's trials, in hexadecimal; None of a task that makes its trials."""
    if getattr(task, "n_trials", None) is None or not isinstance(getattr(task, "inputs", None), np.ndarray):
        return None
    found = hashlib.sha256()
    for name in ("inputs", "targets", "labels"):
        array = np.ascontiguousarray(getattr(task, name))
        found.update(f"{name} {array.shape} {array.dtype.str}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def mark(task: Task) -> dict[str, str]:
    """What a provenance keeps, beside the task's name, of a file."""
    digest = digest_of(task)
    return {} if digest is None else {"task_sha256": digest}


def seen_trials(network: SpikingNetwork, task: Task, *, seed: int, first: int, trials: int) -> tuple[str, ...]:
    """A warning where trials first .. first + trials - 1 of `task` include those that `network` was made with."""
    made = [_made_with(network.provenance, "first_trial", "search_trials")]
    calibration = network.provenance.get("calibration")
    if isinstance(calibration, Mapping):
        made.append(_made_with(calibration, "first", "trials"))
    found = [said for said in made if said is not None]
    digest = digest_of(task) if found else None  # once: a file of trials may be long
    for said in found:
        if not _is_same(said, task, digest, seed):
            continue
        low, high = max(first, said["first"]), min(first + trials, said["first"] + said["trials"])
        if low >= high:
            continue
        of = f"trial {low}" if high == low + 1 else f"trials {low} to {high - 1}"
        after = said["first"] + said["trials"]
        left: int | None = getattr(task, "n_trials", None)
        fresh = f"--first {after}" if left is None or after < left else "other trials: this file has no more"
        return (
            f"{high - low} of these {trials} trials ({of}) chose or calibrated this network, so the accuracy on them "
            f"is not that on fresh ones: {fresh}",
        )
    return ()


def _made_with(said: Mapping[str, Any], first: str, trials: str) -> dict[str, Any] | None:
    try:
        return {
            "task": str(said["task"]), "seed": int(said["seed"]), "first": int(said.get(first, 0)),
            "trials": int(said[trials]), "task_sha256": said.get("task_sha256"),
        }  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return None


def _is_same(said: Mapping[str, Any], task: Task, digest: str | None, seed: int) -> bool:
    """The same trial under the same number?"""
    file = getattr(task, "n_trials", None) is not None
    kept = said["task_sha256"]
    if file and kept is not None and digest is not None:
        return bool(kept == digest)
    return said["task"] == task.name and (file or said["seed"] == seed)
