"""Reading back what spikeport wrote: the network itself lies beside the graph, and both must say the same.

    /node         the graph, for a reader of NIR; its metadata say which, and with which dt
    /spikeport    the network, as in a file of our own (snn/storage.py)

The network is exported again and compared with the graph, node by node: a graph that somebody trained on, pruned or
quantised since is not taken for the network that it was.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import h5py

from spikeport.snn.codec import decode
from spikeport.snn.errors import InvalidNetworkError, MissingDependencyError, SpikeportError, UnsupportedError
from spikeport.snn.files import CLASSES
from spikeport.snn.hdf5 import open_hdf5
from spikeport.snn.reading import naming
from spikeport.snn.spiking import HeldInput, SpikingNetwork
from spikeport.snn.storage import read_branch
from spikeport.targets.nir.conventions import ANY, READERS, Convention
from spikeport.targets.nir.graph import Node, differences, from_nir
from spikeport.targets.nir.reading import WHAT, NirFile

GROUP = "spikeport"
CONTENT = (
    "dt",
    "integrator",
    "inputs",
    "populations",
    "delays",
    "readouts",
)  # of the metadata: what is no mere comment
NOTES = ("losses",)  # what an export writes into the group beside the network


def read_own(file: NirFile, *, dt: float | None, inputs: str | None, trust: str | None) -> SpikingNetwork | float:
    """The network, or the dt with which the graph is to be imported as anybody's (trust: "graph")."""
    with naming(file.path):
        metadata, reader = _metadata(file.graph)
        if trust == "graph":
            return _dt_of_graph(file, metadata, reader, dt)
        network = _stored(file)
        _check_arguments(network, dt, inputs)
        if trust == "network":
            return network
        changed = _changes(file.graph, metadata, network, reader)
    if changed:
        raise InvalidNetworkError(
            f"{file.path}: the graph is not that of the network beside it; one of them was changed",
            changed,
            hint="--trust graph   imports the graph as anybody's; --trust network   takes the network beside it",
        )
    return network


def _stored(file: NirFile) -> SpikingNetwork:
    with open_hdf5(file.path, WHAT) as root:
        if not isinstance(root[GROUP], h5py.Group):
            raise InvalidNetworkError(f"{file.path}: /{GROUP} is no group")
        stored = read_branch(file.path, root[GROUP], "spiking-network")
    tree = {name: value for name, value in stored.tree.items() if name not in NOTES}
    return decode(replace(stored, tree=tree), SpikingNetwork, CLASSES)


def _metadata(graph: Node) -> tuple[dict[str, Any], Convention | None]:
    """The metadata out of their JSON, and the reader that the graph was written for, None where they do not say."""
    found: dict[str, Any] = {}
    for key, text in graph.metadata.items():
        try:
            found[key] = json.loads(text)
        except (TypeError, ValueError):
            found[key] = text
    name = found.get("reader")
    return found, READERS.get(name) if isinstance(name, str) else None


def _check_arguments(network: SpikingNetwork, dt: float | None, inputs: str | None) -> None:
    problems = []
    if dt is not None and abs(dt - network.dt) > 1e-9 * network.dt:
        problems.append(f"dt: {dt:g} s was asked for, the file's network has {network.dt:g} s")
    kinds = {"values" if isinstance(i, HeldInput) else "spikes" for i in network.inputs}
    if inputs is not None and kinds - {inputs}:
        problems.append(f"inputs: {inputs} were asked for, the file's network takes {' and '.join(sorted(kinds))}")
    if problems:
        raise InvalidNetworkError(
            "spikeport wrote this file, and it says otherwise", problems, hint="leave the option out"
        )


def _changes(graph: Node, metadata: dict[str, Any], network: SpikingNetwork, reader: Convention | None) -> list[str]:
    """Where the graph is not what the network is exported as, a line for each node."""
    if reader is None:
        return ["graph: its metadata name no reader that is known here, so the network cannot be exported again"]
    try:
        import nir  # noqa: F401 (graph_of needs it)
    except ImportError as error:
        raise MissingDependencyError.for_extra(
            "nir", "nir", "comparing the graph with the network beside it"
        ) from error
    from spikeport.targets.nir.exporting import graph_of

    try:
        expected = from_nir(graph_of(network, reader.name))
    except SpikeportError as error:
        return [f"graph: the network beside it cannot be exported for {reader.name}: {error.what}", *error.problems]
    again, _ = _metadata(expected)
    lines = [f"metadata: {key} differs" for key in CONTENT if metadata.get(key) != again.get(key)]
    return lines + differences(replace(graph, metadata={}), replace(expected, metadata={}))


def _dt_of_graph(file: NirFile, metadata: dict[str, Any], reader: Convention | None, dt: float | None) -> float:
    """The step that the graph was written for, where its reader steps as the NIR reference does."""
    if reader is None:
        raise InvalidNetworkError(
            f"{file.path}: its metadata name no reader that is known here", hint="trust='network'"
        )
    reasons = [
        f"{reader.name} {what}"
        for what, mine, theirs in (
            ("takes decays as exponential", reader.decay, ANY.decay),
            ("takes time constants in steps", reader.in_steps, ANY.in_steps),
            ("decays the input of a step", reader.decays_input, ANY.decays_input),
            ("has a use of its own for v_leak", reader.leak, ANY.leak),
            ("spikes several times a step", reader.several_spikes, ANY.several_spikes),
            ("lets a population wait for another", reader.between, ANY.between),
            ("is late with its spikes", reader.late, ANY.late),
        )
        if mine != theirs
    ]
    if reasons:
        raise UnsupportedError(
            f"{file.path}: the graph was written for {reader.name}, which is not the NIR reference",
            reasons,
            hint="--trust network",
        )
    steps = metadata.get("dt")
    own = steps.get("reader") if isinstance(steps, dict) else None
    if not isinstance(own, float) or not own > 0:
        raise InvalidNetworkError(f"{file.path}: its metadata give no dt", hint="--trust network")
    if dt is not None and abs(dt - own) > 1e-9 * own:
        raise InvalidNetworkError(
            "spikeport wrote this file, and it says otherwise",
            [f"dt: {dt:g} s was asked for, the graph was written for {own:g} s"],
            hint="leave the option out",
        )
    return own
