"""The command line: parses, calls, prints. No arithmetic; every verb is one call of the Python API.

Results go to standard output, progress and messages to standard error. Exit codes: 0 done, 1 the answer is no, 2 the
call is wrong, 130 Ctrl-C.
"""

from __future__ import annotations

import functools
import io
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import spikeport.commands_estimate
import spikeport.commands_import
import spikeport.commands_live
import spikeport.commands_targets
import spikeport.commands_validate  # noqa: F401 (registers validate)
from spikeport import __version__, show
from spikeport.commands import (
    Force,
    Json,
    Options,
    PresetName,
    RuleName,
    Seed,
    Set,
    TaskName,
    app,
    check_kept,
    command,
    emit,
)
from spikeport.commands_chips import Bits, Chip, convert_for_chip
from spikeport.show_calibration import pareto as print_pareto
from spikeport.snn.errors import SpikeportError


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
    Options.debug = debug


@command
def convert(  # long: most of it are options
    model: Annotated[
        Path, typer.Argument(help="The rate network: .mat (published), .h5 (ours), .npz or .safetensors.")
    ],
    task: TaskName,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to write the spiking network (.h5).")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="lambda, as published; calibrated: every unit's own f-I curve matched to phi; or finetuned: then "
            "trained further (extra `train`) [lambda; with --pareto calibrated]."
        ),
    ] = None,
    max_rate: Annotated[float | None, typer.Option(help="Budget in spikes/s a unit [none; 20 but for lambda].")] = None,
    pareto: Annotated[
        str | None, typer.Option(help="A,B,C: budgets; calibrates for each, and prints accuracy against spikes/s.")
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="START:STOP:STEP over 1/lambda, both ends in; or A,B,C [20:75:5].")
    ] = None,
    bracket: Annotated[
        str | None,
        typer.Option(help="LOW:HIGH over 1/lambda: search between, coarse to fine; calibrated: of each unit."),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            help="Trials a candidate in the search [100, calibrated 30, finetuned 60, with --for 50, 50, 60; half of a "
            "file's, but for lambda at most 300]."
        ),
    ] = None,
    test_trials: Annotated[
        int | None, typer.Option(help="Fresh trials for the final accuracy [1000; the rest of a file's].")
    ] = None,
    seed: Seed = 0,
    preset: PresetName = "standard",
    dt: Annotated[float | None, typer.Option(help="Step of the spiking network in seconds [5e-5].")] = None,
    noise: Annotated[
        str | None, typer.Option(help="Membrane noise in mV a step [the preset's, 0.1]; LOW:HIGH: calibrated chooses.")
    ] = None,
    t_ref: Annotated[
        str | None, typer.Option(help="Refractory period in s [the preset's, 0.002]; LOW:HIGH: calibrated chooses.")
    ] = None,
    rule: RuleName = None,
    objective: Annotated[
        str, typer.Option(help="accuracy, or distance: to the rate network's outputs, without --rule and --fast.")
    ] = "accuracy",
    fast: Annotated[
        bool, typer.Option("--fast", help="Stop candidates that can no longer win; the winner is the same.")
    ] = False,
    dtype: Annotated[str, typer.Option(help="float32 or float64; of a calibration, its fresh trials.")] = "float32",
    jobs: Annotated[int, typer.Option(help="Threads of the search; -1 is one per core.")] = -1,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, tcp://HOST:PORT.")] = None,
    chip: Chip = None,
    bits: Bits = None,
    more: Set = None,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Convert a rate network into a spiking one.

    Searches lambda (or calibrates each unit) on some trials, measures the result on fresh ones, and writes the network.

    $ spikeport convert examples/models/go_nogo.h5 --task go-nogo -o net.h5
    """
    from spikeport.convert.conversion import convert_network
    from spikeport.convert.pareto import ParetoInterrupted, Refused, compared
    from spikeport.convert.pareto import pareto as compare_budgets
    from spikeport.snn.files import save_spiking_network
    from spikeport.snn.storage import check_writable

    if output is not None:
        check_writable(output, force)
        check_kept(output, model, task)
    given: dict[str, Any] = {
        "grid": grid, "bracket": None if bracket is None else pair(bracket, "--bracket 10:200"), "trials": trials,
        "test_trials": test_trials, "seed": seed, "preset": preset, "dt": dt, "rule": rule,
        "noise": one_or_pair(noise, "--noise 0:0.1"), "t_ref": one_or_pair(t_ref, "--t-ref 0:0.002"),
        "objective": objective, "fast": fast, "dtype": dtype, "scheduler": scheduler, "n_jobs": jobs,
    }  # fmt: skip
    if chip is not None or bits is not None or more:
        if pareto is not None:
            raise SpikeportError("--pareto: compares budgets in floating point", hint="--for CHIP --max-rate 10")
        return convert_for_chip(model, task, output, chip=chip, bits=bits, more=more,
                                method=method or "lambda", max_rate=max_rate,
                                given=given, force=force, as_json=as_json)  # fmt: skip
    if pareto is not None:
        if output is not None or max_rate is not None:
            raise SpikeportError("--pareto: it writes no network, has its own budgets", hint="--max-rate 10 -o net.h5")
        if method not in (None, "calibrated"):
            raise SpikeportError(f"--pareto: compares budgets of method 'calibrated', not of '{method}'",
                                 hint=f"--max-rate 5 --method {method}   is one budget of it")  # fmt: skip
        refused: list[Refused] = []
        try:
            with show.progress() as report:
                points = compare_budgets(model, task, pareto, refused=refused, progress=report, **given)
        except ParetoInterrupted as stop:
            if stop.points:
                emit(compared(task, stop.points, refused, interrupted=True), print_pareto, as_json)
            raise
        emit(compared(task, points, refused), print_pareto, as_json)
        return 0
    method = "lambda" if method is None else method
    with show.progress() as report:
        conversion = convert_network(model, task, method=method, max_rate=max_rate, progress=report, **given)
    if output is not None:
        save_spiking_network(conversion.network, output, overwrite=force)
    found = conversion.as_dict() | {"output": None if output is None else str(output)}
    emit(found, functools.partial(show.conversion, task=task), as_json)
    return 0


@command
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
    check_kept(output, task)
    low, high = pair(tau, "--tau 20:125")
    options = TrainingOptions(
        n_neurons=neurons, phi=phi, tau_bounds=(low / 1000, high / 1000), batch=batch, max_steps=max_steps, seed=seed,
        extra_steps=extra_steps, learning_rate=learning_rate, rate_cost=rate_cost, p_inh=p_inh,
    )  # fmt: skip
    state = checkpoint if checkpoint is not None else output.with_name(output.name + ".checkpoint")
    check_kept(output, state)
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
    emit(found, show.training, as_json)
    return 0 if result.converged else 1


@command
def inspect(
    file: Annotated[Path, typer.Argument(help="Any file that spikeport reads: networks, recordings, trials.")],
    as_json: Json = False,
) -> int:
    """Say what a file holds, without running it.

    $ spikeport inspect examples/models/xor.h5
    """
    from spikeport.inspection import inspect_file

    emit(inspect_file(file), show.summary, as_json)
    return 0


@command
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
    emit({task: conversion.as_dict() for task, conversion in found.items()}, show.demonstration, as_json)
    return 0


@command
def doctor(as_json: Json = False) -> int:
    """Say what is installed and what is missing.

    Versions, extras, and the line that brings what is missing. Exit code 1: the core is not complete.

    $ spikeport doctor
    """
    from spikeport.diagnosis import doctor as examine

    found = examine()
    emit(found.as_dict(), show.diagnosis, as_json)
    return 0 if found.ok else 1


def pair(text: str, example: str) -> tuple[float, float]:
    """LOW:HIGH as two numbers."""
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        raise SpikeportError(f"'{text}' is not LOW:HIGH", hint=example) from None
    return low, high


def one_or_pair(text: str | None, example: str) -> float | tuple[float, float] | None:
    """A number, or LOW:HIGH as two."""
    if text is None or ":" in text:
        return None if text is None else pair(text, example)
    try:
        return float(text)
    except ValueError:
        raise SpikeportError(f"'{text}' is not a number, nor LOW:HIGH", hint=example) from None


def main() -> None:
    """The entry point: a wrong call is one message and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without our letters shows their codes
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:  # before a verb began
        raise SystemExit(130) from None
