"""The demonstration: the models that come with spikeport, converted before one's eyes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from spikeport.convert.conversion import Conversion, convert_network
from spikeport.convert.sources import load_source
from spikeport.resources import shipped_models
from spikeport.snn.errors import SpikeportError

Progress = Callable[[str, int, int, str], None]  # model, done, total, what


def demo(
    *, trials: int = 50, test_trials: int = 200, seed: int = 0, preset: str = "standard", progress: Progress | None = None
) -> dict[str, Conversion]:
    """Convert each shipped model for the task that it was trained on; name of the task -> conversion."""
    models = shipped_models()
    if not models:
        raise SpikeportError("demo: the trained models are missing from this installation", hint="pip install --force-reinstall spikeport")
    found = {}
    for path in models.values():
        network = load_source(path)
        task = trained_task(network.provenance, path)
        report = None if progress is None else (lambda done, total, what, name=task: progress(name, done, total, what))
        found[task] = convert_network(network, task, trials=trials, test_trials=test_trials, seed=seed, preset=preset, progress=report)
    return found


def trained_task(provenance: Any, path: Path) -> str:
    """The task that a model was trained on, from its provenance."""
    for level in (provenance, provenance.get("origin", {})):
        if "task" in level:
            return str(level["task"])
    raise SpikeportError(f"{path.name}: its provenance names no task")
