"""What every verb of the command line shares: options, exit codes, how a result is printed."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from spikeport import show
from spikeport.snn.errors import RefusedError, SpikeportError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A trained rate network becomes a spiking one that does the same task, with every step measured.",
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an output file that exists.")]
Seed = Annotated[int, typer.Option(help="Seed of trials and noise; the same seed gives the same answer.")]
TaskName = Annotated[str, typer.Option("--task", help="go-nogo, xor, integration, or a file of trials (.h5, .npz).")]
PresetName = Annotated[str, typer.Option(help="standard, or kim2019: the published code, quirk by quirk.")]
RuleName = Annotated[
    str | None, typer.Option(help="The rule that judges: published or strict; of a file: max, mean or nearest.")
]
Allow = Annotated[
    str | None, typer.Option(help="Features that the target may give up, A,B,C; each becomes a named loss.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE, another choice of the target; of several, TARGET.NAME=VALUE."),
]
Reader = Annotated[str | None, typer.Option("--for", help="nir: the reader that the file is for.")]


class Options:
    """Options of every verb, set before a verb runs."""

    debug = False


def command(function: Callable[..., int | None], to: typer.Typer = app) -> Callable[..., None]:
    """Register a verb: our errors become messages and exit code 2 (1 where a target refuses), Ctrl-C 130.

    to: the group of verbs that it belongs to.
    """

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        code = 0
        try:
            with _closed_output():
                code = function(*args, **kwargs) or 0
        except SpikeportError as error:
            if Options.debug:
                raise
            show.error(str(error))
            code = 1 if isinstance(error, RefusedError) else 2
        except KeyboardInterrupt as interrupt:
            show.interrupted(interrupt)
            code = 130
        raise typer.Exit(code)

    to.command()(guarded)
    return guarded


@contextmanager
def _closed_output() -> Iterator[None]:
    """The reader of our output went away: `spikeport ... | head`."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends


def names(text: str | None) -> tuple[str, ...]:
    """A,B,C as names."""
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()


def choices(more: list[str] | None = None, **given: str | None) -> dict[str, str]:
    """The choices that were made on the command line, by options of their own or by --set NAME=VALUE."""
    found = {name: value for name, value in given.items() if value is not None}
    for text in more or ():
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise SpikeportError(f"--set {text}: is not NAME=VALUE", hint="spikeport targets   lists them")
        if found.setdefault(name, value) != value:
            raise SpikeportError(f"--set {text}: {name} is {found[name]} already")
    return found


def check_kept(output: Path, *inputs: Path | str) -> None:
    """Refuse to write over what the work is made from, even with --force."""
    for given in map(Path, inputs):
        if output.resolve() == given.resolve():
            raise SpikeportError(f"{output}: is an input of this command as well as its output", hint="-o another path")


def emit(found: dict[str, Any], printer: Callable[[dict[str, Any]], None], as_json: bool) -> None:
    """Print a result. That nobody reads it does not change the exit code."""
    with _closed_output():
        if as_json:
            print(show.as_json(found))
        else:
            printer(found)
        sys.stdout.flush()  # here, where a reader that went away is expected
