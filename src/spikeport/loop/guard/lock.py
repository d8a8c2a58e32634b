"""One guard to a device: locks by what it is called, which the system frees when the guard's process ends or dies.

A device has several names: its class with its options, each file of a device anywhere in these (but not /dev/null and
its like, which are nobody's), and the `address` that it may say itself. All must be free. This is of names, not of
wires: two names of one device that nobody can tell are the same are two here, so a device must refuse a second opener
itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from spikeport.snn.errors import SpikeportError
from spikeport.snn.locking import hold

_SHARED = stat.S_ISVTX | stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO  # a folder where every user may make files

_NOBODYS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


def folder() -> Path:
    """The same for every user of the machine, whatever the environment says."""
    run = Path("/run/lock")
    return run if run.is_dir() and stat.S_IMODE(run.stat().st_mode) == _SHARED else Path("/tmp")


def names(device: str, options: Mapping[str, Any]) -> Iterator[str]:
    """What the device can be called before it is made."""
    yield f"{device} {json.dumps(options, sort_keys=True, default=str)}"
    left: list[object] = [options]
    while left:
        value = left.pop(0)
        if isinstance(value, str) and _is_device(value):
            yield address(value)
        elif isinstance(value, Mapping):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            left += value


def address(text: str) -> str:
    """A device's own name of what it drives: a file by where it leads to."""
    return f"address {os.path.realpath(text) if os.path.exists(text) else text}"


def _is_device(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
        if os.path.realpath(path) in _NOBODYS:
            return False
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode)


class Locks:
    """The locks of one process, until it ends."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}

    def take(self, name: str) -> None:
        """SpikeportError where another guard has it, with its process."""
        if name in self._held:
            return
        path = folder() / f"spikeport-guard-{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock"
        try:
            file = _locked(path)
        except BlockingIOError:
            raise SpikeportError(
                f"device: the guard of {_holder(path)} has it, and a device has one guard ({name:.200})",
                hint="end that session first",
            ) from None
        except OSError as error:
            raise SpikeportError(
                f"device: {path}: no lock: {error.strerror}, so another guard may have it", hint="see docs/guard.md"
            ) from None
        self._held[name] = file
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n{name}\n".encode(), 0)

    def free(self) -> None:
        """All of them: where the device was not made after all."""
        for file in self._held.values():
            os.close(file)
        self._held.clear()


def _locked(path: Path) -> int:
    """The open file with its lock; BlockingIOError where another has it."""
    while True:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            file = os.open(path, flags)
        except FileNotFoundError:
            try:
                file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                continue
            os.fchmod(file, 0o666)  # the next one may be of another user
        try:
            if why := hold(file):
                raise OSError(0, why)
            if os.path.exists(path) and os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # it was removed meanwhile: begin anew


def _holder(path: Path) -> str:
    try:
        return f"process {int(path.read_text().split()[0])}"
    except (OSError, ValueError, IndexError):
        return "another process"
