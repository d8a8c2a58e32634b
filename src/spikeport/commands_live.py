"""The verbs of `spikeport live`: run a loop from a file, replay, show and export its record, measure the box."""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikeport import show, show_live
from spikeport.commands import Force, Json, app, check_kept, command, emit, names
from spikeport.snn.errors import SpikeportError

if TYPE_CHECKING:
    from spikeport.live_outcome import Outcome

live = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The closed loop: a network as a real-time decoder, its record, and what this machine's timer allows.",
)
app.add_typer(live, name="live")
verb = functools.partial(command, to=live)
_ENDINGS = ("SIGTERM", "SIGHUP")  # signals that end a run as Ctrl-C does; the exit code is 128 + the number

Record = Annotated[Path, typer.Argument(help="A record (.spklog), as `live run` writes it.")]


@verb
def run(
    loop: Annotated[Path, typer.Argument(help="The loop (.yaml): decoder, source, sink, clock, policy; docs/live.md.")],
    ticks: Annotated[int | None, typer.Option(help="How many ticks [until the source ends, or Ctrl-C].", min=1)] = None,
    check: Annotated[bool, typer.Option("--check", help="Build and check all of it, and run nothing.")] = False,
    arm: Annotated[str, typer.Option(help="Arm the guard: the name of the person who answers for it.")] = "",
    device: Annotated[
        str, typer.Option(help="module:Class of a stimulator; runs that code, so never named in the file.")
    ] = "dry run",
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Run a loop, until --ticks, the source's end, or Ctrl-C.

    However it ends, the sink gets the safe value and the record is closed. Exit code 1: a policy ended it, or the guard
    tripped; 130: Ctrl-C.

    $ spikeport live run examples/live.yaml --ticks 1000
    """
    from spikeport.live import load

    made = load(loop, overwrite=force)
    if check:
        emit(made.as_dict(), show_live.checked, as_json)
        return 0
    with _ended_by_signals() as (stop, got):
        try:
            outcome = made.run(ticks, stop=stop, arm=arm, device=device, announce=_tell)
        except BaseException as error:  # how far it came is said all the same
            if made.outcome is not None:
                _say(made.outcome, as_json)
            if isinstance(error, OSError):  # a part's, and not that of our own output
                raise SpikeportError(f"a part failed: {type(error).__name__}: {error}") from error
            raise
    _say(outcome, as_json)
    if outcome.summary.interrupted:
        return 130
    return 128 + got[0] if got else int(not outcome.holds)


@verb
def replay(
    record: Record,
    decoder: Annotated[Path, typer.Option(help="The network that it was recorded with, or another one.")],
    smoothing: Annotated[Path | None, typer.Option(help="The smoothing before it, where it had one (.npz).")] = None,
    as_json: Json = False,
) -> int:
    """Feed a record's inputs to a network again, and compare its outputs bit for bit.

    Seed, precision and period are the record's. Exit code 1: they differ, or the record is cut or damaged.

    $ spikeport live replay session.spklog --decoder net.h5
    """
    from spikeport.live_record import replay_record

    found = replay_record(record, decoder, smoothing)
    emit(found.as_dict(), lambda _: print(found), as_json)
    return 0 if found.holds else 1


def _show(record: Record, as_json: Json = False) -> int:
    """Say what a record holds: how it ended, counts, gaps, times. Exit code 1: it is cut or damaged.

    $ spikeport live show session.spklog
    """
    from spikeport.live_record import describe_record

    found = describe_record(record)
    emit(found, show_live.record, as_json)
    return 0 if found["whole"] else 1


_show.__name__ = "show"  # which is a module here
verb(_show)


def _export_nwb(
    record: Record,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write it (.nwb).")],
    session: Annotated[Path, typer.Option(help="What NWB asks and a record cannot know (.yaml); docs/live.md.")],
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Write a record as NWB. Needs the extra `nwb`.

    $ spikeport live export-nwb session.spklog -o session.nwb --session session.yaml
    """
    from spikeport.live_record import read_session
    from spikeport.loop.record.nwb import to_nwb
    from spikeport.loop.record.read import read_record
    from spikeport.snn.writing import check_writable

    check_writable(output, force)
    check_kept(output, record, session)
    about, subject = read_session(session)
    found = to_nwb(read_record(record), output, about, subject, overwrite=force)
    emit(found.as_dict(), show_live.written, as_json)
    return 0


_export_nwb.__name__ = "export-nwb"
verb(_export_nwb)


@verb
def floor(
    ticks: Annotated[int, typer.Option(help="Empty ticks.", min=1)] = 5000,
    period: Annotated[float, typer.Option(help="Of a tick, in seconds.")] = 0.001,
    fifo: Annotated[int | None, typer.Option(help="Ask for SCHED_FIFO with this priority, 1 to 99.")] = None,
    cpus: Annotated[str | None, typer.Option(help="A,B,C: the cores that it may use.")] = None,
    lock_memory: Annotated[bool, typer.Option("--lock-memory", help="Ask for mlockall.")] = False,
    spin: Annotated[float, typer.Option(help="Microseconds before a deadline to look at the clock instead.")] = 0.0,
    as_json: Json = False,
) -> int:
    """Measure how late this machine wakes a program that does nothing: no loop is better than that.

    $ spikeport live floor --ticks 2000
    """
    from spikeport.live import measure_floor

    try:
        cores = None if cpus is None else tuple(map(int, names(cpus)))
    except ValueError:
        raise SpikeportError(f"--cpus {cpus}: must be whole numbers", hint="--cpus 0,1") from None
    found = measure_floor(ticks, period, fifo_priority=fifo, cpus=cores, lock_memory=lock_memory, spin_us=spin)
    emit(found, show_live.floor, as_json)
    return 0


def _tell(line: str) -> None:
    """On standard error; that nobody reads it is no reason for a loop to end."""
    with suppress(OSError):
        show.error(line)


def _say(outcome: Outcome, as_json: bool) -> None:
    emit(outcome.as_dict(), functools.partial(show_live.ran, text=outcome.summary.text()), as_json)


@contextmanager
def _ended_by_signals() -> Iterator[tuple[threading.Event, list[int]]]:
    """An event that SIGTERM and SIGHUP set, and which of them came: a service manager must not leave the sink alone."""
    stop, got = threading.Event(), list[int]()

    def note(number: int, frame: Any) -> None:
        got.append(number)
        stop.set()

    known = [getattr(signal, name) for name in _ENDINGS if hasattr(signal, name)]
    known = [number for number in known if signal.getsignal(number) != signal.SIG_IGN]  # nohup
    before = {number: signal.signal(number, note) for number in known}
    try:
        yield stop, got
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
