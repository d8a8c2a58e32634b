"""The command line: parses, calls, prints. No arithmetic; every verb is one call of the Python API.

Results go to standard output, progress and messages to standard error. Exit codes: 0 done, 1 the answer is no, 2 the
call is wrong, 130 Ctrl-C.
"""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from spikeport import __version__, show
from spikeport.snn.errors import SpikeportError

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


class _Options:
    """Options of every verb, set before a verb runs."""

    debug = False


def _command(function: Callable[..., int | None]) -> Callable[..., None]:
    """Register a verb: our errors become messages and exit code 2, Ctrl-C 130."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            code = function(*args, **kwargs) or 0
        except SpikeportError as error:
            if _Options.debug:
                raise
            show.error(str(error))
            code = 2
        except KeyboardInterrupt as interrupt:
            show.interrupted(interrupt)
            code = 130
        except BrokenPipeError:  # the reader of our output went away: `spikeport ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
            code = 0
        raise typer.Exit(code)

    app.command()(guarded)
    return guarded


def _version(wanted: bool) -> None:
    if wanted:
        print(f"spikeport {__version__}")
        raise typer.Exit(0)


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every verb."""
    _Options.debug = debug


@_command
def convert(
    model: Annotated[
        Path, typer.Argument(help="The rate network: .mat (published), .h5 (ours), .npz or .safetensors.")
    ],
    task: TaskName,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to write the spiking network (.h5).")
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="START:STOP:STEP over 1/lambda, both ends in; or A,B,C [20:75:5].")
    ] = None,
    bracket: Annotated[str | None, typer.Option(help="LOW:HIGH over 1/lambda: search between, coarse to fine.")] = None,
    trials: Annotated[
        int | None, typer.Option(help="Trials a candidate in the search [100; half of a file's].")
    ] = None,
    test_trials: Annotated[
        int | None, typer.Option(help="Fresh trials for the final accuracy [1000; half of a file's].")
    ] = None,
    seed: Seed = 0,
    preset: PresetName = "standard",
    dt: Annotated[float | None, typer.Option(help="Step of the spiking network in seconds [5e-5].")] = None,
    rule: RuleName = None,
    objective: Annotated[str, typer.Option(help="accuracy, or distance: to the rate network's outputs.")] = "accuracy",
    fast: Annotated[
        bool, typer.Option("--fast", help="Stop candidates that can no longer win; the winner is the same.")
    ] = False,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    jobs: Annotated[int, typer.Option(help="Threads of the search; -1 is one per core.")] = -1,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, tcp://HOST:PORT.")] = None,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Convert a rate network into a spiking one.

    Searches lambda on some trials, measures the winner on fresh ones, and writes the network.

    $ spikeport convert examples/models/go_nogo.h5 --task go-nogo -o net.h5
    """
    from spikeport.convert.conversion import convert_network
    from spikeport.snn.files import save_spiking_network
    from spikeport.snn.storage import check_writable

    if output is not None:
        check_writable(output, force)
        _check_kept(output, model, task)
    with show.progress() as report:
        conversion = convert_network(
            model, task, grid=grid, bracket=None if bracket is None else _pair(bracket, "--bracket 10:200"),
            trials=trials, test_trials=test_trials, seed=seed, preset=preset, dt=dt, rule=rule, objective=objective,
            fast=fast, dtype=dtype, scheduler=scheduler, n_jobs=jobs, progress=report,
        )  # fmt: skip
    if output is not None:
        save_spiking_network(conversion.network, output, overwrite=force)
    found = conversion.as_dict() | {"output": None if output is None else str(output)}
    _emit(found, functools.partial(show.conversion, task=task), as_json)
    return 0


@_command
def run(
    network: Annotated[Path, typer.Argument(help="A spiking network (.h5), as `convert` writes it.")],
    task: TaskName,
    simulator: Annotated[
        str, typer.Option(help="engine, or reference: slow, the judge of everything else.")
    ] = "engine",
    trials: Annotated[int | None, typer.Option(help="Trials [100; all of a file's].")] = None,
    first: Annotated[int, typer.Option(help="The first trial's number: others than the search used, say 1000.")] = 0,
    seed: Seed = 0,
    rule: RuleName = None,
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    quiet: Annotated[bool, typer.Option("--no-noise", help="Without the membrane noise.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the recording: spikes and outputs (.h5).")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Run a spiking network on a task and judge it.

    $ spikeport run net.h5 --task go-nogo --trials 20
    """
    from spikeport.snn.files import save_recording
    from spikeport.snn.storage import check_writable
    from spikeport.targets.simulators import run_network

    if output is not None:
        check_writable(output, force)
        _check_kept(output, network, task)
    with show.progress() as report:
        result = run_network(
            network, task, trials=trials, first=first, seed=seed, rule=rule, simulator=simulator, dtype=dtype,
            with_noise=not quiet, keep=output is not None, progress=report,
        )  # fmt: skip
    if output is not None and result.recording is not None:
        save_recording(result.recording, output, overwrite=force)
    _emit(result.as_dict() | {"output": None if output is None else str(output)}, show.run, as_json)
    return 0


@_command
def train(
    task: Annotated[str, typer.Argument(help="go-nogo, xor, integration, or a file of trials (.h5, .npz).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write the rate network (.h5).")],
    neurons: Annotated[int, typer.Option(help="Units.")] = 200,
    phi: Annotated[str, typer.Option(help="sigmoid, softplus or relu (the last two clipped at 20).")] = "sigmoid",
    tau: Annotated[str, typer.Option(help="LOW:HIGH, the bounds of the trained time constants in ms.")] = "20:125",
    batch: Annotated[int, typer.Option(help="Trials in a gradient step.")] = 16,
    max_steps: Annotated[int, typer.Option(help="Gradient steps before giving up.")] = 2000,
    extra_steps: Annotated[
        int, typer.Option(help="Go on for so many steps after the stopping rule, for a margin.")
    ] = 0,
    learning_rate: Annotated[float, typer.Option(help="Adam's learning rate.")] = 0.01,
    rate_cost: Annotated[float, typer.Option(help="Weight of the mean squared rate beside the loss.")] = 0.0,
    p_inh: Annotated[float, typer.Option(help="Probability of a unit to be inhibitory.")] = 0.2,
    seed: Seed = 0,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Where Ctrl-C leaves the state [the output's name + .checkpoint].")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Train a rate network on a task, as published.

    Needs the extra `train`. Exit code 1: it did not converge. Ctrl-C leaves a checkpoint for --resume.

    $ spikeport train go-nogo -o mine.h5 --seed 0
    """
    from spikeport.snn.files import save_rate_network
    from spikeport.snn.storage import check_writable
    from spikeport.snn.training import TrainingOptions
    from spikeport.snn.training import train as train_network

    check_writable(output, force)
    _check_kept(output, task)
    low, high = _pair(tau, "--tau 20:125")
    options = TrainingOptions(
        n_neurons=neurons, phi=phi, tau_bounds=(low / 1000, high / 1000), batch=batch, max_steps=max_steps, seed=seed,
        extra_steps=extra_steps, learning_rate=learning_rate, rate_cost=rate_cost, p_inh=p_inh,
    )  # fmt: skip
    state = checkpoint if checkpoint is not None else output.with_name(output.name + ".checkpoint")
    _check_kept(output, state)
    with show.progress() as report:
        result = train_network(
            task,
            options,
            checkpoint=state,
            resume=resume,
            progress=lambda p: report(p.step, p.total_steps, show.training_line(p)),
        )
    save_rate_network(result.network, output, overwrite=force)
    state.unlink(missing_ok=True)  # only now: until here Ctrl-C has something to go on from
    found = {"task": task, "converged": result.converged, "steps": result.steps, "rate_accuracy": dict(result.accuracy),
             "trials": result.test_trials, "loss": float(result.losses[-1]), "seconds": result.seconds, "seed": seed,
             "output": str(output)}  # fmt: skip
    _emit(found, show.training, as_json)
    return 0 if result.converged else 1


@_command
def inspect(
    file: Annotated[Path, typer.Argument(help="Any file that spikeport reads: networks, recordings, trials.")],
    as_json: Json = False,
) -> int:
    """Say what a file holds, without running it.

    $ spikeport inspect examples/models/xor.h5
    """
    from spikeport.inspection import inspect_file

    _emit(inspect_file(file), show.summary, as_json)
    return 0


@_command
def demo(
    trials: Annotated[int, typer.Option(help="Trials a candidate in the search.")] = 20,
    test_trials: Annotated[int, typer.Option(help="Fresh trials for the final accuracy.")] = 200,
    seed: Seed = 0,
    preset: PresetName = "standard",
    as_json: Json = False,
) -> int:
    """Convert the three models that come along.

    Shows what became of them: accuracy of the rate and of the spiking network.

    $ spikeport demo
    """
    from spikeport.demonstration import demo as run_demo

    with show.progress() as report:
        found = run_demo(
            trials=trials, test_trials=test_trials, seed=seed, preset=preset,
            progress=lambda name, done, total, what: report(done, total, f"{name}: {what}"),
        )  # fmt: skip
    _emit({task: conversion.as_dict() for task, conversion in found.items()}, show.demonstration, as_json)
    return 0


@_command
def doctor(as_json: Json = False) -> int:
    """Say what is installed and what is missing.

    Versions, extras, and the line that brings what is missing. Exit code 1: the core is not complete.

    $ spikeport doctor
    """
    from spikeport.diagnosis import doctor as examine

    found = examine()
    _emit(found.as_dict(), show.diagnosis, as_json)
    return 0 if found.ok else 1


def _pair(text: str, example: str) -> tuple[float, float]:
    """LOW:HIGH as two numbers."""
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        raise SpikeportError(f"'{text}' is not LOW:HIGH", hint=example) from None
    return low, high


def _check_kept(output: Path, *inputs: Path | str) -> None:
    """Refuse to write over what the work is made from, even with --force."""
    for given in map(Path, inputs):
        if output.resolve() == given.resolve():
            raise SpikeportError(f"{output}: is an input of this command as well as its output", hint="-o another path")


def _emit(found: dict[str, Any], printer: Callable[[dict[str, Any]], None], as_json: bool) -> None:
    if as_json:
        print(show.as_json(found))
    else:
        printer(found)
    sys.stdout.flush()  # here, where a reader that went away is expected


def main() -> None:
    """The entry point: a wrong call is one message and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without our letters shows their codes
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:  # before a verb began
        raise SystemExit(130) from None
