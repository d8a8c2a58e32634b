"""Files of trials, a user's own task: read with distrust, every problem at once; written whole or not at all.

HDF5 (.h5, .hdf5), as `save_trials` writes it: root attributes `format` = "spikeport", `kind` = "trials", `version` = 1,
and the entries below, scalars as root attributes. NumPy (.npz): arrays of the same names; `kind` and `version` may be
missing there, so that one call of np.savez makes such a file. Never a pickle.

    inputs        (time, trials, n_inputs)    one sample per dt seconds, held for that long
    targets       (time, trials, n_outputs)   NaN where nothing is asked, which is never inside the window
    labels        (trials,) whole numbers     the class of a trial. Without targets the label is the target: the level
                                              that the one output must have in the window, NaN outside it. Without
                                              labels the class is the rank of the trial's mean target in the window
    dt, window_start, window_end              seconds; the window includes its start and excludes its end
    rule                                      "max", "mean" or "nearest", see from_file.py
    name                                      optional; else the name of the file
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.npz import read_npz
from spikeport.snn.storage import KINDS, read_tree, write_tree
from spikeport.snn.tasks.base import Array, Window
from spikeport.snn.tasks.from_file import RULES, FileTask, usable_rules
from spikeport.snn.writing import write_whole

KIND = "trials"
_WHAT = "file of trials (.npz)"
_SCALARS = ("dt", "window_start", "window_end")
_EDGE = 1e-6  # samples: a window may end this much after the trial, by rounding


def load_trials(path: str | os.PathLike[str]) -> FileTask:
    """The task that a file of trials holds; a file that contradicts itself is refused with every reason."""
    path = Path(path)
    entries = _read_npz(path) if path.suffix.lower() == ".npz" else read_tree(path, KIND).tree
    return _task(entries, str(path), path.stem)


def save_trials(
    path: str | os.PathLike[str],
    *,
    inputs: ArrayLike,
    targets: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    dt: float,
    window: tuple[float, float],
    rule: str = "mean",
    name: str | None = None,
    overwrite: bool = False,
) -> FileTask:
    """Write a file of trials (.h5 or .npz by its name) and return the task it holds; see the module for the arrays.

    Checked as it will be when read, before anything is written.
    """
    path = Path(path)
    given = {"inputs": inputs, "targets": targets, "labels": labels}
    entries: dict[str, Any] = {key: np.asarray(value) for key, value in given.items() if value is not None}
    entries |= {"dt": float(dt), "window_start": float(window[0]), "window_end": float(window[1]), "rule": rule}
    entries |= {} if name is None else {"name": name}
    task = _task(entries, str(path), path.stem)
    if path.suffix.lower() == ".npz":
        with write_whole(path, overwrite) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, kind=np.array(KIND), version=np.array(KINDS[KIND][0]), **entries)
    else:
        write_tree(path, KIND, entries, overwrite=overwrite)
    return task


def _read_npz(path: Path) -> dict[str, Any]:
    entries = {key: value.item() if value.ndim == 0 else value for key, value in read_npz(path, _WHAT).items()}
    kind, version, newest = entries.pop("kind", KIND), entries.pop("version", 1), KINDS[KIND][0]
    if kind != KIND:
        raise InvalidNetworkError(f"{path}: kind {kind!r}, must be '{KIND}'")
    if type(version) is not int or not 1 <= version <= newest:
        raise InvalidNetworkError(
            f"{path}: a file of trials of version {version!r}; this spikeport reads up to version {newest}",
            hint="pip install --upgrade spikeport",
        )
    return entries


def _task(entries: Mapping[str, Any], where: str, stem: str) -> FileTask:
    """The task of a file's entries, or every reason why it is none."""
    problems = _check_presence(entries)
    if not problems:
        problems = _check_arrays(entries) + _check_scalars(entries)
    if problems:
        raise _invalid(where, problems)
    inputs = np.asarray(entries["inputs"], dtype=np.float64)
    window = Window(start=float(entries["window_start"]), end=float(entries["window_end"]))
    part = window.slice(float(entries["dt"]))
    if "targets" in entries:
        targets = np.asarray(entries["targets"], dtype=np.float64)
    else:
        targets = np.full((*inputs.shape[:2], 1), np.nan)
        targets[part, :, 0] = entries["labels"]
    unasked = np.argwhere(~np.isfinite(targets[part]).all(axis=(0, 2)))
    if unasked.size:
        raise _invalid(
            where, [f"targets: not a number in the window of {len(unasked)} trials, the first is {unasked[0, 0]}"]
        )
    reasons = usable_rules(targets[part])
    if reasons[entries["rule"]]:
        raise _invalid(where, [f"rule '{entries['rule']}' can tell nothing: {reasons[entries['rule']]}"])
    usable = [rule for rule in RULES if not reasons[rule] and rule != entries["rule"]]
    return FileTask(
        name=str(entries.get("name", stem)),
        inputs=inputs,
        targets=targets,
        labels=_labels(entries, targets[part]),
        dt=float(entries["dt"]),
        window=window,
        rules=(entries["rule"], *usable),
    )


def _labels(entries: Mapping[str, Any], wanted: Array) -> NDArray[np.int64]:
    if "labels" in entries:
        return np.asarray(entries["labels"], dtype=np.int64)
    levels = np.round(wanted.mean(axis=0), 9) + 0.0  # rounding of the mean is not a class of its own
    return np.asarray(np.unique(levels, axis=0, return_inverse=True)[1].reshape(-1), dtype=np.int64)


def _check_presence(entries: Mapping[str, Any]) -> list[str]:
    problems = [f"{key}: missing" for key in ("inputs", *_SCALARS, "rule") if key not in entries]
    if "targets" not in entries and "labels" not in entries:
        problems.append("targets, labels: both missing, one is needed to know what is right")
    for key, kinds in (("inputs", "fiub"), ("targets", "fiub"), ("labels", "iub")):
        if key in entries and (not isinstance(entries[key], np.ndarray) or entries[key].dtype.kind not in kinds):
            found = getattr(entries[key], "dtype", type(entries[key]).__name__)
            problems.append(f"{key}: {found}, must be an array of {'whole ' if key == 'labels' else ''}numbers")
    for key in _SCALARS:
        if key in entries and (isinstance(entries[key], bool) or not isinstance(entries[key], (int, float))):
            problems.append(f"{key}: must be one number, in seconds")
    if "rule" in entries and entries["rule"] not in RULES:
        problems.append(f"rule: {entries['rule']!r}, must be one of {', '.join(RULES)}")
    return problems


def _check_arrays(entries: Mapping[str, Any]) -> list[str]:
    inputs, targets, labels = (entries.get(key) for key in ("inputs", "targets", "labels"))
    assert inputs is not None  # by _check_presence
    if inputs.ndim != 3 or 0 in inputs.shape:
        return [f"inputs: shape {inputs.shape}, must be (time, trials, n_inputs), each 1 or more"]
    problems = []
    bad = np.argwhere(~np.isfinite(inputs))
    if bad.size:
        problems.append(f"inputs: {len(bad)} values are NaN or infinite, the first at {tuple(bad[0].tolist())}")
    if targets is not None and (targets.ndim != 3 or targets.shape[:2] != inputs.shape[:2] or targets.shape[2] < 1):
        problems.append(f"targets: shape {targets.shape}, must be ({inputs.shape[0]}, {inputs.shape[1]}, n_outputs)")
    elif targets is not None and np.isinf(targets).any():
        problems.append("targets: infinite values, must be numbers, or NaN where nothing is asked")
    if labels is not None and labels.shape != inputs.shape[1:2]:
        problems.append(f"labels: shape {labels.shape}, must be ({inputs.shape[1]},), one per trial")
    return problems


def _check_scalars(entries: Mapping[str, Any]) -> list[str]:
    dt, start, end = (float(entries[key]) for key in _SCALARS)
    if not (np.isfinite(dt) and dt > 0):
        return [f"dt: {dt} s, must be positive"]
    n_samples = entries["inputs"].shape[0]
    duration = n_samples * dt
    if not 0 <= start < end <= duration + _EDGE * dt:
        return [f"window: {start:g} to {end:g} s, must lie in 0 to {duration:g} s ({n_samples} samples of {dt:g} s)"]
    part = Window(start=start, end=end).slice(dt)
    if part.start >= min(part.stop, n_samples):
        return [f"window: {start:g} to {end:g} s, must hold a sample of {dt:g} s"]
    return []


def _invalid(where: str, problems: list[str]) -> InvalidNetworkError:
    return InvalidNetworkError(
        f"{where}: not a valid file of trials",
        problems,
        hint="spikeport.snn.tasks.save_trials writes one; its help lists the arrays",
    )
