"""Target nir: a .nir file for one reader, and beforehand every reason why that reader would get it wrong."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spikeport.snn.errors import SpikeportError
from spikeport.snn.files import save_spiking_network
from spikeport.snn.losses import Loss
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.writing import write_whole
from spikeport.targets.base import Lowering, approximated, check_choices
from spikeport.targets.capabilities import Capabilities, Problem
from spikeport.targets.nir.conventions import ANY, READERS
from spikeport.targets.nir.exporting import graph_of
from spikeport.targets.nir.limits import losses_of, problems_for

GROUP = "spikeport"  # beside "node", which nir.read reads


@dataclass(frozen=True, kw_only=True)
class NIRTarget:
    """Files in the Neuromorphic Intermediate Representation, for a reader of one's choice."""

    name: str = "nir"
    summary: str = "the exchange format NIR, written for the reader that you name"
    extra: str = "nir"
    requires: tuple[str, ...] = ("nir",)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"reader": tuple(READERS)})
    capabilities: Capabilities = ANY.capabilities
    suffix: str = ".nir"
    beside: tuple[str, ...] = ()

    def problems(self, network: SpikingNetwork, **choices: str) -> tuple[Problem, ...]:
        reader = READERS[check_choices(self, choices)["reader"]]
        return () if _as_it_came(network, reader.name) else problems_for(network, reader)

    def lower(self, network: SpikingNetwork, *, allow: Collection[str] = (), **choices: str) -> Lowering:
        chosen = check_choices(self, choices)
        lowered, losses = approximated(self, network, allow, **chosen)
        if _as_it_came(lowered, chosen["reader"]):
            each = Loss("written as it was read", "graph", "each reader steps it in its own way; name one to fit it")
            return Lowering(target=self.name, source=network, network=lowered, losses=(each,), settings=chosen)
        reader = READERS[chosen["reader"]]
        notes = {
            "reader": f"{reader.name}, {reader.version}",
            "convention": reader.source,
            "how to read it": reader.call,
        }
        losses += tuple(losses_of(lowered, reader))
        return Lowering(target=self.name, source=network, network=lowered, losses=losses,
                        settings={**chosen, "notes": notes})  # fmt: skip

    def export(self, lowering: Lowering, path: Path, *, overwrite: bool = False) -> Path:
        """Write the graph, and the network itself beside it, bit for bit, for spikeport's own reader."""
        import h5py
        import nir

        from spikeport.targets.nir.importing import original_graph

        network, reader = lowering.network, lowering.settings["reader"]
        ours = not _as_it_came(network, reader)
        graph = original_graph(network)
        if ours or graph is None:
            graph = graph_of(network, reader)
            graph.metadata["losses"] = json.dumps([str(loss) for loss in lowering.losses])
        try:
            with write_whole(path, overwrite) as part:
                nir.write(part, graph)
                if ours:
                    with tempfile.TemporaryDirectory() as folder:
                        save_spiking_network(network, Path(folder) / "network.h5")
                        with h5py.File(Path(folder) / "network.h5", "r") as own, h5py.File(part, "a") as file:
                            own.copy(own["/"], file, name=GROUP)
        except OSError as error:
            raise SpikeportError(f"{path}: cannot be written: {error}", hint="-o another path") from error
        return path


def _as_it_came(network: SpikingNetwork, reader: str) -> bool:
    """Is it an imported graph, unchanged, and written for nobody in particular? Then it goes back as it came."""
    from spikeport.targets.nir.importing import original_node

    return reader == ANY.name and original_node(network) is not None


NIR = NIRTarget()
