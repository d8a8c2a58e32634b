"""Which file is being written: whoever writes it for long holds a lock on it, which the system frees when he dies.

An advisory lock (flock(2)) on the open file. A system or a file system that has none says so, and nothing is known.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path

from spikeport.snn.errors import SpikeportError

_PATIENCE = 1.0  # s; whoever only looks has it for microseconds
_HELD = (errno.EWOULDBLOCK, errno.EACCES)


def hold(file: int) -> str:
    """Lock the open file until it is closed; "", or why the system gives no lock.

    BlockingIOError: another program holds it.
    """
    try:
        import fcntl
    except ImportError:
        return "no locks on this system"
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return ""
        except OSError as error:
            if error.errno not in _HELD:
                return f"no locks here: {error.strerror}"
            if time.monotonic() > until:
                raise BlockingIOError(error.errno, "another program is writing it") from error
        time.sleep(0.01)


def take(path: Path) -> tuple[int, str]:
    """Make `path`, which must not exist, and lock it: the open file to append to, and `hold`'s answer.

    BlockingIOError: another program that wants this place got it between the two; the file made here is not there.
    """
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        unlocked = hold(file)
        if not unlocked and elsewhere(file, path):
            raise BlockingIOError(errno.EWOULDBLOCK, "another program took its place")
    except BaseException:
        os.close(file)
        raise
    return file, unlocked


def release(file: int) -> None:
    """Give the lock back, also where a program that was forked meanwhile still has the file open."""
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_UN)


def check_not_in_use(path: Path) -> None:
    """Refuse a file that another program is writing; one that others only read may be replaced."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:  # who may not read it may still put another in its place
        return
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise in_use(path) from error
    finally:
        os.close(file)


def in_use(path: Path) -> SpikeportError:
    return SpikeportError(f"{path}: is being written by another program", hint="name a new file, or end that program")


def elsewhere(file: int, path: Path) -> str:
    """What became of an open file that was made as `path`; "" where that still leads to it."""
    now = os.fstat(file)
    try:
        if os.path.samestat(now, os.stat(path)):
            return ""
        gone = "it was replaced by another file"
    except OSError:
        gone = "it was removed"
    return "it was moved to another name" if now.st_nlink else gone
