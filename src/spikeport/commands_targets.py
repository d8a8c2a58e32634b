"""The verbs that have to do with targets: run, check, export, targets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikeport import show
from spikeport.commands import (
    Allow,
    Force,
    Json,
    Reader,
    RuleName,
    Seed,
    Set,
    TaskName,
    check_kept,
    choices,
    command,
    emit,
    names,
)
from spikeport.snn.errors import SpikeportError


@command
def run(
    network: Annotated[Path, typer.Argument(help="A spiking network (.h5), as `convert` writes it.")],
    task: TaskName,
    target: Annotated[str, typer.Option(help="Where to run it: see `spikeport targets`.")] = "engine",
    trials: Annotated[int | None, typer.Option(help="Trials [100; all of a file's].")] = None,
    first: Annotated[int, typer.Option(help="The first trial's number: others than the search used, say 1000.")] = 0,
    seed: Seed = 0,
    rule: RuleName = None,
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    device: Annotated[str, typer.Option(help="cpu, or cuda where the target has it.")] = "cpu",
    allow: Allow = None,
    batch: Annotated[int, typer.Option(help="Trials at a time.")] = 20,
    quiet: Annotated[bool, typer.Option("--no-noise", help="Without the membrane noise.")] = False,
    codegen: Annotated[str | None, typer.Option(help="brian2: numpy, cython or cpp_standalone.")] = None,
    more: Set = None,
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
    from spikeport.targets.run import run_network

    if output is not None:
        check_writable(output, force)
        check_kept(output, network, task)
    with show.progress() as report:
        result = run_network(
            network, task, target=target, trials=trials, first=first, seed=seed, rule=rule, dtype=dtype, device=device,
            allow=names(allow), batch=batch, with_noise=not quiet, keep=output is not None, progress=report,
            **choices(more, codegen=codegen),
        )  # fmt: skip
    if output is not None and result.recording is not None:
        save_recording(result.recording, output, overwrite=force)
    emit(result.as_dict() | {"output": None if output is None else str(output)}, show.run, as_json)
    return 0


@command
def check(
    network: Annotated[Path, typer.Argument(help="A spiking network (.h5), as `convert` writes it.")],
    target: Annotated[list[str] | None, typer.Option(help="A target; may be given several times.")] = None,
    all_targets: Annotated[bool, typer.Option("--all-targets", help="Every target.")] = False,
    allow: Allow = None,
    reader: Reader = None,
    more: Set = None,
    as_json: Json = False,
) -> int:
    """Say which targets take a network, and why the others refuse it.

    Nothing is run, no simulator is imported. Exit code 1: a target that was named refuses.

    $ spikeport check net.h5 --all-targets
    """
    from spikeport.targets.checking import check_network

    if bool(target) == all_targets:
        raise SpikeportError("check: name a target, or all of them", hint="--target nir, or --all-targets")
    verdicts = check_network(network, target, allow=names(allow), **choices(more, reader=reader))
    emit({"network": str(network), "targets": [v.as_dict() for v in verdicts]}, show.check, as_json)
    return 0 if all_targets or all(v.takes for v in verdicts) else 1


@command
def export(
    network: Annotated[
        Path, typer.Argument(help="A spiking network (.h5), as `convert` writes it; onnx: a rate network too.")
    ],
    target: Annotated[str, typer.Option(help="What to write: see `spikeport targets`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    reader: Reader = None,
    form: Annotated[str | None, typer.Option(help="onnx: step or sequence.")] = None,
    dtype: Annotated[str | None, typer.Option(help="onnx: float64 or float32.")] = None,
    more: Set = None,
    allow: Allow = None,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Write a network for another tool.

    What the tool cannot say exactly is refused, with every reason; --allow gives a feature up, as a named loss.

    $ spikeport export net.h5 --target onnx -o net.onnx
    """
    from spikeport.convert.sources import load_source
    from spikeport.targets.export import export_network

    check_kept(output, network)
    foreign = network.is_file() and network.suffix.lower() in (".mat", ".npz", ".safetensors")  # an .h5 says what it is
    given = load_source(network) if foreign else network
    done = export_network(given, target, output, allow=names(allow), overwrite=force,
                          **choices(more, reader=reader, form=form, dtype=dtype))  # fmt: skip
    emit(done.as_dict(), show.export, as_json)
    return 0


@command
def targets(as_json: Json = False) -> int:
    """List the targets: what they do, what they need, whether that is installed.

    $ spikeport targets
    """
    from spikeport.targets.checking import list_targets

    emit({"targets": list_targets()}, show.targets, as_json)
    return 0
