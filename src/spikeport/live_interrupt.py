"""Ctrl-C where a loop cannot end in order, and which of its files were written until then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LiveInterrupted(KeyboardInterrupt):
    """Ctrl-C before the loop, after it, or a second one. files: of the run's own, those that it wrote."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        super().__init__("interrupted")
        self.files = files


@contextmanager
def interruptible(*files: Path | None) -> Iterator[None]:
    """Ctrl-C within becomes a LiveInterrupted. files: what may be written meanwhile."""
    before = {path: _stamp(path) for path in files if path is not None}
    try:
        yield
    except KeyboardInterrupt:
        raise LiveInterrupted(tuple(p for p, was in before.items() if _stamp(p) not in (None, was))) from None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes where a file is written; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
