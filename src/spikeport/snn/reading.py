"""Before a file is read: is it there, is it a file; and, where its content is refused, which file it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spikeport.snn.errors import InvalidNetworkError, SpikeportError


def check_readable(path: Path, what: str) -> None:
    """Refuse a path that is missing, a folder, empty, or not ours to read; `what` names the file that is wanted."""
    if not path.exists():
        raise SpikeportError(f"{path}: no such file; a {what} is wanted", hint=f"ls {path.parent}")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "a device or a pipe"
        raise SpikeportError(f"{path}: is {kind}; a {what} is wanted", hint=f"ls {path}")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise SpikeportError(f"{path}: cannot be read: {error.strerror or error}", hint=f"ls -l {path}") from error
    if empty:
        raise InvalidNetworkError(f"{path}: is empty (0 bytes); a {what} is wanted", hint="fetch or write it again")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name in front of what a refusal in the body says, where it does not stand there already."""
    try:
        yield
    except SpikeportError as error:
        if error.what.startswith(f"{path}:"):
            raise
        raise type(error)(f"{path}: {error.what}", error.problems, hint=error.hint) from error


@contextmanager
def parsing(path: Path, what: str) -> Iterator[None]:
    """Turn whatever the body raises into a refusal of `path` as a `what`; refusals of our own pass through."""
    try:
        yield
    except SpikeportError:
        raise
    except Exception as error:  # on damaged bytes a parser raises almost anything, down to tokenize.TokenError
        raise InvalidNetworkError(
            f"{path}: damaged or truncated, it cannot be read as a {what}: {error or type(error).__name__}",
            hint="fetch or write the file again",
        ) from error
