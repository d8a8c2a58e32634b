"""A checkpoint of a training run: an .npz of arrays and one JSON text, written whole or not at all, never a pickle.

Entries: `parameters/NAME`, `first/NAME`, `second/NAME` (float32, the parameters and Adam's moments), `losses` (steps,),
`about`: JSON of kind, version, step, converged_at, looks, task and options.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.errors import SpikeportError
from spikeport.snn.npz import read_npz
from spikeport.snn.reading import parsing
from spikeport.snn.training.options import FREE_ON_RESUME, Look, TrainingOptions
from spikeport.snn.writing import check_writable, write_whole

KIND, VERSION = "training-checkpoint", 1
GROUPS = ("parameters", "first", "second")
_WHAT = "training checkpoint (.npz)"

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A run as it stood after `step` steps. arrays: group -> name -> float32 array."""

    step: int
    arrays: Mapping[str, Mapping[str, NDArray[np.float32]]]
    losses: NDArray[np.float64]
    looks: tuple[Look, ...]
    converged_at: int | None


def save_checkpoint(path: Path, checkpoint: Checkpoint, options: TrainingOptions, task: str) -> None:
    """Write a checkpoint in place of an older one: to a file beside it first, then renamed."""
    about = {
        "kind": KIND, "version": VERSION, "task": task, "options": asdict(options), "step": checkpoint.step,
        "converged_at": checkpoint.converged_at, "looks": [asdict(look) for look in checkpoint.looks],
    }  # fmt: skip
    arrays = {f"{group}/{name}": a for group, named in checkpoint.arrays.items() for name, a in named.items()}
    with write_whole(path, overwrite=True) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, about=np.array(json.dumps(about)), losses=checkpoint.losses, **arrays)


def load_checkpoint(path: Path, options: TrainingOptions, task: str, shapes: Shapes) -> Checkpoint:
    """Read the checkpoint of a run with these options on this task; anything else is refused with every difference.

    shapes: of the parameters, by name, as these options make them.
    """
    if not path.is_file():
        raise SpikeportError(f"{path}: no checkpoint there to resume from", hint="leave out --resume")
    arrays = read_npz(path, _WHAT)
    with parsing(path, _WHAT):
        about = json.loads(str(arrays["about"]))
        if about["kind"] != KIND or about["version"] != VERSION:
            found = f"kind '{about['kind']}', version {about['version']}"
            raise SpikeportError(f"{path}: {found}, this spikeport resumes kind '{KIND}', version {VERSION}")
        problems = _differences(about, options, task)
        if problems:
            hint = "the same options as before, or another --checkpoint"
            raise SpikeportError(f"{path}: the checkpoint of another run", problems, hint=hint)
        named = {group: {name: arrays[f"{group}/{name}"].reshape(shapes[name]) for name in shapes} for group in GROUPS}
        return Checkpoint(
            step=int(about["step"]),
            arrays=named,
            losses=arrays["losses"].reshape(int(about["step"])),
            looks=tuple(Look(**look) for look in about["looks"]),
            converged_at=about["converged_at"],
        )


def check_free(path: Path) -> None:
    """Refuse to start afresh over a checkpoint, or where none can be written: before the work, not after it."""
    if path.exists():
        raise SpikeportError(f"{path}: exists already", hint="--resume, to go on from it, or delete it to start afresh")
    check_writable(path)


def _differences(about: Mapping[str, Any], options: TrainingOptions, task: str) -> list[str]:
    found = {"task": about["task"], **about["options"]}
    wanted = {"task": task, **json.loads(json.dumps(asdict(options)))}
    keys = [key for key in wanted if key not in FREE_ON_RESUME and found.get(key) != wanted[key]]
    return [f"{key}: {found.get(key)} in the checkpoint, {wanted[key]} asked for" for key in keys]
