"""Where a page is written: DIR/index.html, refused before the work starts where it cannot be."""

from __future__ import annotations

import importlib.util
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spikeport.snn.errors import MissingDependencyError, SpikeportError
from spikeport.snn.writing import check_writable, write_whole

INDEX = "index.html"


def check_report(folder: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Refuse a page that could not be made or written; nothing is left behind."""
    for module in ("bokeh", "jinja2"):
        if importlib.util.find_spec(module) is None:
            raise MissingDependencyError.for_extra(module, "report", "--report")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise SpikeportError(f"{folder}: is a file, must be a folder, or nothing yet", hint="--report report/")
    made = [p for p in (folder, *folder.parents) if not p.exists()]
    probe = folder / f".{secrets.token_hex(6)}.part"
    try:  # by doing it: permissions alone do not tell (a full disk, a read-only mount)
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
        check_writable(folder / INDEX, overwrite)
    except OSError as error:
        raise SpikeportError(
            f"{folder}: no page can be written there: {error.strerror or error}", hint="--report   a folder of yours"
        ) from error
    finally:
        probe.unlink(missing_ok=True) if folder.is_dir() else None
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def write_report(found: Mapping[str, Any], folder: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """The page of `found`, a validation as `--json` has it, as folder/index.html; the folder is made."""
    from spikeport.convert.report.page import page

    text = page(found)
    path = Path(folder) / INDEX
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path, overwrite) as neighbour:
        neighbour.write_text(text, encoding="utf-8")
    return path
