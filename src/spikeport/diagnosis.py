"""What is installed, which versions, what is missing and the line that brings it."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import spikeport


@dataclass(frozen=True)
class Package:
    """A dependency: the extra that brings it ("" is the core), the version found, or None."""

    name: str
    extra: str
    version: str | None

    @property
    def fix(self) -> str | None:
        """The line that brings it, where it is missing."""
        if self.version is not None:
            return None
        return f'pip install "spikeport[{self.extra}]"' if self.extra else "pip install --upgrade spikeport"


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The machine and the packages; ok: everything that the core needs is there."""

    spikeport: str
    python: str
    machine: str
    cores: int
    packages: tuple[Package, ...]
    models: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return bool(self.models) and all(p.version is not None for p in self.packages if not p.extra)

    def as_dict(self) -> dict[str, Any]:
        """What `spikeport doctor --json` prints."""
        packages = [{"name": p.name, "extra": p.extra, "version": p.version, "fix": p.fix} for p in self.packages]
        return {
            "ok": self.ok,
            "spikeport": self.spikeport,
            "python": self.python,
            "machine": self.machine,
            "cores": self.cores,
            "packages": packages,
            "models": list(self.models),
        }


def doctor() -> Diagnosis:
    """Look at every package that spikeport's own metadata names; nothing of it is imported."""
    from spikeport.resources import shipped_models

    return Diagnosis(
        spikeport=spikeport.__version__,
        python=platform.python_version()
        + (f" ({sys.implementation.name})" if sys.implementation.name != "cpython" else ""),
        machine=f"{platform.system()} {platform.machine()}",
        cores=os.cpu_count() or 1,
        packages=tuple(Package(name, extra, _version(name)) for name, extra in _requirements()),
        models=tuple(shipped_models()),
    )


_REQUIREMENT = re.compile(r"^([A-Za-z0-9_.-]+)[^;]*(?:;.*extra\s*==\s*['\"]([^'\"]+)['\"])?")
_NOT_FOR_USERS = ("dev", "docs")


def _requirements() -> list[tuple[str, str]]:
    """(package, extra) pairs; read from the installed metadata, so that pyproject.toml is the only list."""
    try:
        lines = metadata.requires("spikeport") or []
    except metadata.PackageNotFoundError:  # a source tree on the path, not installed
        return []
    found = [(m[1], m[2] or "") for m in map(_REQUIREMENT.match, lines) if m is not None]
    return sorted(
        (pair for pair in found if pair[1] not in _NOT_FOR_USERS), key=lambda pair: (pair[1] != "", pair[1], pair[0])
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
