"""The verb `validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikeport import show
from spikeport.commands import (
    Allow,
    Force,
    Json,
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


@command
def validate(
    network: Annotated[Path, typer.Argument(help="A spiking network (.h5), as `convert` writes it.")],
    task: TaskName,
    against: Annotated[Path, typer.Option(help="The rate network it was made from.")],
    targets: Annotated[
        str | None, typer.Option(help="Targets to validate too, A,B,C; see `spikeport targets`.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Trials, the first two replayed too [100; of a file's].")] = None,
    first: Annotated[int | None, typer.Option(help="The first trial's number [2000; of a file 0].")] = None,
    seed: Seed = 0,
    rule: RuleName = None,
    require: Annotated[
        list[str] | None, typer.Option(help="'accuracy>=0.95' and the like; exit code 1 where one fails.")
    ] = None,
    allow: Allow = None,
    more: Set = None,
    dtype: Annotated[str, typer.Option(help="float64 or float32, of the targets.")] = "float64",
    device: Annotated[str, typer.Option(help="cpu, or cuda where the target has it.")] = "cpu",
    quiet: Annotated[bool, typer.Option("--no-noise", help="Without the membrane noise.")] = False,
    why: Annotated[
        bool, typer.Option("--why", help="What each step costs, and where an undeclared fault sits.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Write the requirements' verdicts as JUnit XML.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page of it, DIR/index.html; with --why.")] = None,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Compare a spiking network with its rate model, here and on targets.

    Three depths: replay, free-running, task. Exit code 1: a requirement fails, or a target refuses.

    $ spikeport validate net.h5 --against model.h5 --task go-nogo --require 'accuracy>=0.9'
    """
    from spikeport.convert.report.folder import INDEX, check_report, write_report
    from spikeport.convert.validation.gate import junit as junit_xml
    from spikeport.snn.writing import check_writable, write_whole
    from spikeport.validation import validate_network

    if junit is not None:
        check_writable(junit, force)
        check_kept(junit, network, against, task)
    if report is not None:
        check_report(report, force)
        check_kept(report / INDEX, network, against, task)
    with show.progress() as bar:
        found = validate_network(
            network, against, task, targets=names(targets), trials=trials, first=first, seed=seed, rule=rule,
            require=require or (), allow=names(allow), choices=choices(more), dtype=dtype, device=device,
            with_noise=not quiet, why=why or report is not None, progress=bar,
        )  # fmt: skip
    if junit is not None:
        with write_whole(junit, overwrite=force) as path:
            path.write_bytes(junit_xml(found.verdicts, f"spikeport validate {network.name}"))
    said = found.as_dict()
    if report is not None:
        said["report"] = str(write_report(said, report, force))
    emit(said, show.validation, as_json)
    return 0 if found.holds else 1
