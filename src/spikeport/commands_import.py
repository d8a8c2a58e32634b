"""The verb import: a spiking network out of another tool's file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikeport import show
from spikeport.commands import Force, Json, check_kept, command, emit, names


def _import(
    graph: Annotated[Path, typer.Argument(help="A NIR graph (.nir).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write the spiking network (.h5).")],
    dt: Annotated[float | None, typer.Option(help="Its time step in seconds; a NIR graph has none.")] = None,
    inputs: Annotated[
        str | None, typer.Option(help="What its inputs are: spikes, or values (per step) [spikes].")
    ] = None,
    allow: Annotated[str | None, typer.Option(help="late_output: a CubaLI's voltage comes one step late.")] = None,
    trust: Annotated[
        str | None, typer.Option(help="graph or network: what counts where a file of spikeport's was changed.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Read a NIR graph as a spiking network.

    What the graph says and a network cannot say is refused, every reason with its node.

    $ spikeport import graph.nir --dt 1e-4 -o net.h5
    """
    from spikeport.snn.files import save_spiking_network
    from spikeport.snn.storage import check_writable
    from spikeport.targets.nir.importing import describe, import_network

    check_writable(output, force)
    check_kept(output, graph)
    network = import_network(graph, dt=dt, inputs=inputs, allow=names(allow), trust=trust)
    save_spiking_network(network, output, overwrite=force)
    emit({"graph": str(graph)} | describe(network) | {"output": str(output)}, show.imported, as_json)
    return 0


_import.__name__ = "import"  # the verb's name, which Python keeps for itself
command(_import)
