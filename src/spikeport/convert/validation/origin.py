"""Where a validation comes from: files and their hashes, method, seeds, versions, machine, date; and the search."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from spikeport.snn.measures import wilson
from spikeport.snn.spiking import SpikingNetwork

CORE = ("spikeport", "numpy", "scipy", "numba")
_CPUINFO = Path("/proc/cpuinfo")


def file_record(role: str, path: str | Path) -> dict[str, Any]:
    """Name, sha256 and size of a file; what is none (a task by its name) has its name only."""
    path = Path(path)
    if not path.is_file():
        return {"role": role, "name": str(path), "sha256": None, "bytes": None}
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"role": role, "name": path.name, "sha256": digest, "bytes": path.stat().st_size}


def machine() -> dict[str, Any]:
    """CPU, cores and system of this machine."""
    model = platform.processor() or platform.machine()
    if _CPUINFO.is_file():
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return {"cpu": model, "cores": os.cpu_count() or 1, "system": platform.platform(terse=True)}


def versions(modules: Iterable[str] = ()) -> dict[str, str]:
    """Python, the core's packages and those that bring `modules` (names as imported), where installed."""
    roots = {module.partition(".")[0] for module in modules}
    named = {root for root in roots if _version(root) is not None}  # most packages are called as their module is
    brought = metadata.packages_distributions() if roots - named else {}  # takes a second: it reads every package
    packages = [*CORE, *sorted(named), *(p for root in sorted(roots - named) for p in brought.get(root, [])[:1])]
    every = {name: _version(name) for name in packages}
    return {"python": platform.python_version()} | {name: v for name, v in every.items() if v is not None}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def origin(network: SpikingNetwork, files: list[dict[str, Any]], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The key `provenance` of the JSON, but for versions. settings: of the validation."""
    known = network.provenance
    inverse = known.get("inverse_lambda")
    return {
        "files": files,
        "network": {
            "neurons": sum(p.n for p in network.populations), "dt_s": network.dt, "integrator": network.integrator,
            "method": known.get("method"), "preset": known.get("preset"), "inverse_lambda": inverse,
            "lambda": 1 / inverse if inverse else None, "converted_for": known.get("task"),
            "conversion_seed": known.get("seed"),
        },
        "settings": dict(settings),
        "machine": machine(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def search_curve(network: SpikingNetwork) -> dict[str, Any] | None:
    """The key `search`: a point per 1/lambda, accuracies with a Wilson interval (95 %); None where none was recorded.

    The record is a file's: what has not the form that conversion.py writes counts as none.
    """
    columns = network.provenance.get("search")
    if not isinstance(columns, Mapping) or not isinstance(columns.get("inverse_lambda"), list):
        return None
    try:
        points = [_point(columns, i) for i in range(len(columns["inverse_lambda"]))]
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    rule = network.provenance.get("rule")
    return {"points": points, "chosen": network.provenance.get("inverse_lambda"), "rule": rule} if points else None


def _point(columns: Mapping[str, Any], i: int) -> dict[str, Any]:
    trials, inverse = int(columns["trials"][i]), float(columns["inverse_lambda"][i])
    point: dict[str, Any] = {
        "inverse_lambda": inverse, "trials": trials, "mean_rate_hz": float(columns["mean_rate_hz"][i]),
        "stopped": bool(columns["stopped"][i]), "right": None, "accuracy": None, "interval": None, "distance": None,
    }  # fmt: skip
    if "right" in columns:
        right = int(columns["right"][i])
        low, high = wilson(right, trials)
        return point | {"right": right, "accuracy": right / trials, "interval": [low, high]}
    distance = columns["distance"][i]
    return point | {"distance": None if distance is None else float(distance)}
