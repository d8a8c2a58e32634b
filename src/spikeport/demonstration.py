"""The demonstration: the models that come with spikeport, converted before one's eyes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from spikeport.convert.conversion import Conversion, convert_network
from spikeport.convert.search import SearchInterrupted
from spikeport.convert.sources import load_source
from spikeport.resources import shipped_models
from spikeport.snn.errors import SpikeportError
from spikeport.snn.tasks import TASKS

Progress = Callable[[str, int, int, str], None]  # model, done, total, what


def demo(
    *,
    trials: int = 50,
    test_trials: int = 200,
    seed: int = 0,
    preset: str = "standard",
    progress: Progress | None = None,
) -> dict[str, Conversion]:
    """Convert each shipped model for the task that it was trained on; name of the task -> conversion."""
    models = shipped_models()
    if not models:
        raise SpikeportError(
            "demo: the trained models are missing from this installation",
            hint="pip install --force-reinstall spikeport",
        )
    networks = {trained_task(n.provenance, p): n for p in models.values() for n in [load_source(p)]}
    found: dict[str, Conversion] = {}
    for task in sorted(networks, key=lambda t: (list(TASKS).index(t) if t in TASKS else len(TASKS), t)):  # as published
        report = None if progress is None else (lambda done, total, what, name=task: progress(name, done, total, what))
        try:
            found[task] = convert_network(
                networks[task], task, trials=trials, test_trials=test_trials, seed=seed, preset=preset, progress=report
            )
        except KeyboardInterrupt as interrupt:
            where = getattr(interrupt, "where", "before the search")
            done = "".join(f"; {t} was done: {c.as_dict()['spiking_accuracy']:.3f}" for t, c in found.items())
            raise SearchInterrupted(f"at {task}, {where}{done}", getattr(interrupt, "candidates", ())) from None
    return found


def trained_task(provenance: Any, path: Path) -> str:
    """The task that a model was trained on, from its provenance."""
    for level in (provenance, provenance.get("origin", {})):
        if "task" in level:
            return str(level["task"])
    raise SpikeportError(f"{path.name}: its provenance names no task")
