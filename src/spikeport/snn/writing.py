"""Writing a file whole or not at all: a temporary neighbour, fsync, then one atomic rename."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spikeport.snn.errors import SpikeportError
from spikeport.snn.locking import check_not_in_use


def check_writable(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Refuse an output path that could not be written, before any long work starts.

    Nor is a file ever replaced that another program is writing (locking.py).
    """
    target = Path(path)
    if target.is_dir():
        raise SpikeportError(f"{target}: is a folder, must be the name of a file", hint=f"-o {target / 'net.h5'}")
    if target.exists() and not target.is_file():
        # os.replace would put a plain file in the place of a device or a pipe
        raise SpikeportError(f"{target}: is a device or a pipe, must be a plain file", hint="-o net.h5")
    if target.exists() and not overwrite:
        raise SpikeportError(f"{target}: exists already", hint="--force   to replace it (overwrite=True in Python)")
    if target.exists():
        check_not_in_use(target)
    parent = target.resolve().parent
    if not parent.is_dir():
        above = next(p for p in (parent, *parent.parents) if p.exists())
        if not above.is_dir():
            raise SpikeportError(f"{target}: cannot be written, {above} is not a folder", hint="-o a path in a folder")
        raise SpikeportError(f"{target}: cannot be written, {parent} does not exist", hint=f"mkdir -p {parent}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise SpikeportError(
            f"{target}: cannot be written, no permission in {parent}", hint="-o a path in a folder of yours"
        )


@contextmanager
def write_whole(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty file beside `path` to write into; it takes the name `path` only when the body ends well.

    On any error, and on Ctrl-C, the neighbour is removed and what stood at `path` stays as it was.
    """
    check_writable(path, overwrite)
    target = Path(path).resolve()  # a link stays a link, the file it names is replaced
    neighbour = target.with_name(f".{target.name[:200]}.{secrets.token_hex(6)}.part")
    try:
        try:
            neighbour.touch(exist_ok=False)  # not mkstemp: that would leave the result readable by its owner only
        except OSError as error:
            raise _cannot_write(target, error) from error
        yield neighbour
        check_writable(path, overwrite)  # somebody may have put a file there meanwhile
        try:
            _flush(neighbour)
            if target.exists():
                shutil.copymode(target, neighbour)
            os.replace(neighbour, target)
            _flush(target.parent)
        except OSError as error:
            raise _cannot_write(target, error) from error
    finally:
        neighbour.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait until the disk has `path`; folders can be flushed on POSIX only."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cannot_write(path: Path, error: OSError) -> SpikeportError:
    return SpikeportError(f"{path}: cannot be written: {error.strerror or error}", hint="-o another path")
