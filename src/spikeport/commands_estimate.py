"""The verb estimate: what a run costs in events, and by published figures in joules and seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikeport import show, show_estimate
from spikeport.commands import Allow, Json, RuleName, Seed, Set, choices, command, emit, names


@command
def estimate(
    network: Annotated[Path, typer.Argument(help="A spiking network (.h5), as `convert` writes it.")],
    task: Annotated[
        str | None,
        typer.Option("--task", help="Run this on the target: go-nogo, xor, integration, or a file of trials."),
    ] = None,
    recording: Annotated[
        Path | None, typer.Option(help="In place of --task: the spikes of a run, as `run -o` writes them.")
    ] = None,
    target: Annotated[str, typer.Option(help="How the network is stored, and whose figures: see `targets`.")] = "loihi",
    against: Annotated[
        Path | None, typer.Option(help="The rate network it came from: its counts and cost on processors beside.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Trials [20, or all of a file's].")] = None,
    first: Annotated[int, typer.Option(help="The first trial's number.")] = 0,
    seed: Seed = 0,
    rule: RuleName = None,
    device: Annotated[
        str | None, typer.Option("--as", help="Figures of another device: loihi, spinnaker, spinnaker2, xylo.")
    ] = None,
    allow: Allow = None,
    more: Set = None,
    as_json: Json = False,
) -> int:
    """Count what a run makes a target do; price it by published figures.

    Counts are exact; joules and seconds are ranges, each with its sources, and with what they leave out.

    $ spikeport estimate net.h5 --task go-nogo --target loihi --allow precision,noise,synapse
    """
    from spikeport.estimation import estimate_network

    with show.progress() as report:
        found = estimate_network(
            network, task, target=target, trials=trials, first=first, seed=seed, rule=rule, allow=names(allow),
            against=against, device=device, recording=recording, progress=report, **choices(more),
        )  # fmt: skip
    emit(found.as_dict(), show_estimate.estimation, as_json)
    return 0
