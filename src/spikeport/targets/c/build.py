"""Compiling a file on this machine and calling it: the proof that what is written does what the engine does."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from spikeport.snn.errors import RefusedError, SpikeportError

FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-ffp-contract=off")
COMPILERS = ("cc", "gcc", "clang")
KEPT = 16  # libraries that stay loaded, so that the next block of trials need not compile again
_LOADED: OrderedDict[str, ctypes.CDLL] = OrderedDict()


def compiler() -> tuple[str, ...]:
    """The command of a C compiler: what the variable CC says, or the first of COMPILERS; () where there is none."""
    told = os.environ.get("CC", "").strip()
    if told:
        return tuple(shlex.split(told))
    return next((found for name in COMPILERS if (found := _whole(name))), ())


def _whole(name: str) -> tuple[str, ...]:
    path = shutil.which(name)
    return (path,) if path else ()


def need_compiler() -> tuple[str, ...]:
    """The same, refused where there is none."""
    found = compiler()
    if not found:
        raise RefusedError(
            "c: cannot run here, there is no C compiler",
            [f"looked for {', '.join(COMPILERS)} on the PATH, and for the variable CC"],
            hint="install one (Debian: apt-get install gcc), or export the file and compile it elsewhere",
        )
    return found


def compiled(files: dict[str, str], main: str, flags: Sequence[str] = ("-O2",)) -> ctypes.CDLL:
    """A library of the file `main`, compiled among `files` (name -> text) in a folder that is gone when this returns.

    Without a warning, or it is an error: FLAGS.
    """
    command = need_compiler()
    key = hashlib.sha256(repr((sorted(files.items()), main, FLAGS, tuple(flags), command)).encode()).hexdigest()
    if key in _LOADED:
        _LOADED.move_to_end(key)
        return _LOADED[key]
    with tempfile.TemporaryDirectory(prefix="spikeport-c-") as folder:
        for name, text in files.items():
            Path(folder, name).write_text(text, encoding="ascii")
        library = Path(folder, "library.so")
        call = [*command, *FLAGS, *flags, "-shared", "-fPIC", "-o", str(library), str(Path(folder, main))]
        try:
            done = subprocess.run(call, capture_output=True, text=True, errors="replace", check=False)
        except OSError as error:
            raise RefusedError(
                f"c: the compiler {command[0]} cannot be started", [str(error)], hint="another compiler: CC=gcc"
            ) from error
        if done.returncode:
            lines = [line for line in done.stderr.replace(folder + os.sep, "").splitlines() if line.strip()]
            raise SpikeportError(f"c: {command[0]} does not compile what was written", lines[:10],
                                 hint="another compiler: CC=gcc")  # fmt: skip
        loaded = ctypes.CDLL(str(library))
    _LOADED[key] = loaded
    while len(_LOADED) > KEPT:
        _LOADED.popitem(last=False)  # it stays in memory, as a loaded library does, but is not found again
    return loaded
