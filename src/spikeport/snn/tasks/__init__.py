"""Tasks: trials in, verdict out. One file per task; a task is also any user's file of trials."""

from __future__ import annotations

import difflib
from pathlib import Path

from spikeport.snn.errors import SpikeportError
from spikeport.snn.tasks.base import Task, Trials, Window
from spikeport.snn.tasks.from_file import FileTask
from spikeport.snn.tasks.go_nogo import GoNoGo
from spikeport.snn.tasks.integration import Integration
from spikeport.snn.tasks.trial_files import load_trials, save_trials
from spikeport.snn.tasks.xor import XOR

TASKS: dict[str, Task] = {task.name: task for task in (GoNoGo(), XOR(), Integration())}

_SUFFIXES = (".h5", ".hdf5", ".npz")


def get_task(name_or_path: str | Path) -> Task:
    """The task of that name, or the one that a file of trials (.h5, .npz) holds."""
    name = str(name_or_path)
    if name in TASKS:
        return TASKS[name]
    path = Path(name_or_path)
    if path.suffix.lower() in _SUFFIXES or path.is_file():
        return load_trials(path)
    known = ", ".join(TASKS)
    close = difflib.get_close_matches(name.lower().replace("_", "-"), TASKS, n=1, cutoff=0.5)
    hint = f"--task {close[0]}" if close else "--task FILE   with a file of trials (.h5 or .npz) of your own"
    raise SpikeportError(
        f"task '{name}' is unknown", [f"known: {known}, or the path of a file of trials (.h5, .npz)"], hint=hint
    )


__all__ = [
    "TASKS",
    "XOR",
    "FileTask",
    "GoNoGo",
    "Integration",
    "Task",
    "Trials",
    "Window",
    "get_task",
    "load_trials",
    "save_trials",
]
