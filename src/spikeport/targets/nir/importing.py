"""A NIR graph becomes a SpikingNetwork that steps as the NIR reference does (cells.py), or is refused by node name.

NIR leaves open what a network needs, so it is said here, and stands in the provenance:

    dt              the caller's
    inputs          spikes, or a value per step (held inputs): the caller's, "spikes" unless said
    start           v and i of every neuron are 0; an LI or CubaLI that is a read-out starts at rest
    a loop          a spike that goes back acts in the next step (loops.py); a Delay in the loop is all of its delay
    several edges   into one node are added
    Affine bias     a constant input through whatever the weights act through, from the first step on

What is between neurons is multiplied out, so populations are the spiking nodes and the projections their weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeport.snn.errors import SpikeportError, UnsupportedError
from spikeport.snn.fingerprint import fingerprint
from spikeport.snn.losses import Loss
from spikeport.snn.spiking import HeldInput, Population, Projection, ReadOut, SpikeInput, SpikingNetwork
from spikeport.snn.synapses import DoubleExponential, Exponential, Synapse
from spikeport.targets.nir.cells import Cell, cell_of
from spikeport.targets.nir.flat import SPIKING, Flat, check, flatten, shape_out
from spikeport.targets.nir.graph import Node, from_json, to_json, to_nir
from spikeport.targets.nir.loops import feedback
from spikeport.targets.nir.reading import read_graph
from spikeport.targets.nir.signals import CannotSayError, Signal, dense, entering, size

if TYPE_CHECKING:
    import nir

INPUTS = ("spikes", "values")
LATE_OUTPUT = "late_output"  # what `allow` may give up: a CubaLI's voltage comes one step late
GRAPH_KEY, NETWORK_KEY = "nir_graph", "nir_network"  # of the provenance: the graph as it came, and what was made of it
CONVENTIONS = (
    "forward Euler, current before membrane, spike at v > v_threshold; units of the file taken as s and mV",
    "v and i start at 0, a read-out at rest",
    "a spike that goes back in a loop without a Delay acts in the next step",
)


def read_nir(
    path: str | Path,
    *,
    dt: float | None = None,
    inputs: str | None = None,
    allow: Collection[str] = (),
    trust: str | None = None,
) -> SpikingNetwork:
    """The network in a .nir file; refused, with every reason by node, where it cannot be said exactly.

    dt: s; needed for a graph that others wrote, because NIR has none.  inputs: "spikes" (the default) or "values".
    allow: "late_output", see UnsupportedError.  trust: of a file that spikeport wrote and somebody changed, whether the
    "graph" counts or the "network" beside it.
    """
    if trust not in (None, "graph", "network"):
        raise SpikeportError(f"trust: '{trust}', must be graph or network")
    if inputs not in (None, *INPUTS):
        raise SpikeportError(f"inputs: '{inputs}', must be one of {', '.join(INPUTS)}")
    unknown = sorted(set(allow) - {LATE_OUTPUT})
    if unknown:
        raise SpikeportError(f"allow: {', '.join(unknown)} is no approximation", [f"there are: {LATE_OUTPUT}"])
    file = read_graph(path)
    if file.own:
        from spikeport.targets.nir.roundtrip import read_own

        found = read_own(file, dt=dt, inputs=inputs, trust=trust)
        if isinstance(found, SpikingNetwork):
            return found
        dt = found  # the graph counts, and the file says its dt
    elif trust is not None:
        raise SpikeportError(f"{file.path}: trust '{trust}', but only a graph is in it; spikeport did not write it")
    source = {"file": file.path.name, "sha256": _sha256(file.path), "format": "NIR", "nir_version": file.version}
    return network_of(file.graph, dt=dt, inputs=inputs or "spikes", allow=allow, source=source, name=str(file.path))


def network_of(
    graph: Node,
    *,
    dt: float | None,
    inputs: str = "spikes",
    allow: Collection[str] = (),
    source: Mapping[str, Any] | None = None,
    name: str = "NIR graph",
) -> SpikingNetwork:
    """The network that a graph says, as `read_nir` gives it."""
    if dt is None:
        raise SpikeportError(
            f"{name}: dt is not given, and a NIR graph has none", hint="--dt 1e-4   its time step in seconds"
        )
    if not (np.isfinite(dt) and dt > 0):
        raise SpikeportError(f"{name}: dt {dt} s, must be positive")
    problems: list[str] = []
    flat = flatten(graph, problems)
    problems += check(flat, dt)
    signals = {} if problems else entering(flat, dt, problems)
    build = _Build(flat, signals, dt, inputs, allow, problems)
    parts = build.parts() if not problems else {}
    if problems:
        hint = (
            f"--allow {LATE_OUTPUT}   gives that up, as a named loss"
            if build.late and len(problems) == build.late
            else ""
        )
        raise UnsupportedError(f"{name}: cannot be imported", problems, hint=hint)
    network = SpikingNetwork(**parts, dt=dt, integrator="euler")
    provenance = {
        "method": "nir", "source": dict(source or {"format": "NIR"}), "inputs": inputs,
        "conventions": list(CONVENTIONS), "next_step": build.next_step, "outputs": build.outputs,
        "losses": [str(loss) for loss in build.losses],
        GRAPH_KEY: to_json(graph), NETWORK_KEY: fingerprint(network),
    }  # fmt: skip
    return replace(network, provenance=provenance)


class _Build:
    """The parts of a network, made from what enters each neuron; what cannot be said goes to `problems`.

    next_step: connections that got the step of a loop.  outputs: what each Output became.  late: how many problems
    `allow` would solve.
    """

    def __init__(
        self,
        flat: Flat,
        signals: Mapping[str, Signal],
        dt: float,
        inputs: str,
        allow: Collection[str],
        problems: list[str],
    ) -> None:
        self.flat, self.signals, self.dt, self.inputs, self.allow, self.problems = (
            flat,
            signals,
            dt,
            inputs,
            allow,
            problems,
        )
        self.neurons = flat.of(*SPIKING)
        self.next_step: list[str] = []
        self.outputs: dict[str, str] = {}
        self.losses: list[Loss] = []
        self.late = 0

    def parts(self) -> dict[str, Any]:
        if not self.neurons:
            self.problems.append(f"graph: no neuron ({', '.join(SPIKING)})")
            return {}
        cells = {name: cell_of(self.flat.nodes[name], self.dt) for name in self.neurons}
        ports = self.flat.of("Input")
        back = self._feedback(ports)
        projections = [p for name in self.neurons for p in self._projections(name, cells[name], set(ports), back)]
        readouts = [r for name in self.flat.of("Output") if (r := self._readout(name)) is not None]
        if self.problems:
            return {}
        return {
            "populations": tuple(self._population(name, cells[name], projections) for name in self.neurons),
            "inputs": tuple(self._input(name) for name in ports),
            "projections": tuple(projections),
            "readouts": tuple(readouts),
        }

    def _input(self, name: str) -> HeldInput | SpikeInput:
        n = size(shape_out(self.flat.nodes[name]))
        return SpikeInput(name=name, n=n) if self.inputs == "spikes" else HeldInput(name=name, n=n, dt=self.dt)

    def _population(self, name: str, cell: Cell, projections: list[Projection]) -> Population:
        signal = self.signals[name]
        constant = cell.constant(signal.constant)
        used = {p.synapse for p in projections if p.target == name}
        used |= {cell.values} if constant.any() else set()
        return Population(
            name=name,
            n=signal.n,
            neuron=cell.neuron,
            synapses={key: synapse for key, synapse in cell.synapses.items() if key in used},
            bias=constant if cell.values is None and constant.any() else 0.0,
            synaptic_bias={cell.values: constant} if cell.values is not None and constant.any() else {},
        )

    def _feedback(self, ports: list[str]) -> set[tuple[str, str]]:
        """Connections between neurons that act a step later."""
        keys = [(source, name, delay) for name in self.neurons for source, delay, _ in self.signals[name].terms]
        between = [(source, name, delay) for source, name, delay in keys if source not in ports]
        back, ambiguous = feedback(
            self.neurons,
            {name for source, name, _ in keys if source in ports},
            [(source, name) for source, name, delay in between if delay == 0],
            [(source, name) for source, name, _ in between],
        )
        self.problems += [
            f"nodes {', '.join(loop)}: a loop without a Delay that is entered at several places or at none: NIR "
            "does not say which of its connections acts a step later (a Delay of a step in it does)"
            for loop in ambiguous
        ]
        self.next_step = [f"{a} -> {b}" for a, b in sorted(back)]
        return back

    def _projections(self, name: str, cell: Cell, ports: set[str], back: set[tuple[str, str]]) -> list[Projection]:
        signal, found = self.signals[name], []
        for (source, delay, _), weight in signal.terms.items():
            held = source in ports and self.inputs == "values"
            if held and delay:
                self.problems.append(
                    f"node {name}: values of {source} come {delay} steps late; a held input cannot (shift its samples)"
                )
                continue
            try:
                matrix = dense(weight, signal.n)
            except CannotSayError as error:
                self.problems.append(f"node {name}: {error}")
                continue
            found.append(
                Projection(
                    source=source,
                    target=name,
                    weight=cell.held_weight(matrix) if held else cell.spike_weight(matrix),
                    synapse=cell.values if held else cell.spikes,
                    delay=1 if (source, name) in back and delay == 0 else delay,
                )
            )
        return found

    def _readout(self, name: str) -> ReadOut | None:
        """What an Output shows: a read-out, or None where it shows the spikes of a population as they are."""
        signal = self.signals[name]
        if len(signal.terms) != 1:
            what = " and ".join(sorted({source for source, _, _ in signal.terms})) or "nothing but a bias"
            self.problems.append(f"node {name}: an Output of {what}; a read-out has one population and one filter")
            return None
        (((source, delay, kind), weight),) = signal.terms.items()
        if self.flat.nodes[source].kind == "Input":
            self.problems.append(f"node {name}: an Output of {source}, past every neuron")
            return None
        if delay:
            self.problems.append(
                f"node {name}: shows {source} {delay} steps late; a read-out has no delay (shift the recording)"
            )
            return None
        if not kind and weight is None and not signal.constant.any():
            self.outputs[name] = f"spikes of {source}"
            return None
        synapse: Synapse = Exponential(tau=kind[0] if kind else self.dt)  # without a filter: x = z/dt for one step
        if len(kind) == 2:
            synapse = DoubleExponential(tau_rise=kind[0], tau_decay=kind[1])
            loss = Loss("the voltage of a CubaLI comes one step late", f"read-out {name}", f"{self.dt:g} s")
            if LATE_OUTPUT not in self.allow:
                self.late += 1
                self.problems.append(
                    f"node {name}: {loss.what}, because a double exponential lets its rise act a step later"
                )
                return None
            self.losses.append(loss)
        self.outputs[name] = f"read-out {name} of {source}"
        matrix = dense(weight, signal.n)
        return ReadOut(
            name=name, source=source, weight=matrix if kind else matrix * self.dt, bias=signal.constant, synapse=synapse
        )


def original_graph(network: SpikingNetwork) -> nir.NIRGraph | None:
    """The graph that a network was imported from, as it came; None where it was not, or was changed since."""
    graph = original_node(network)
    return None if graph is None else to_nir(graph)


def original_node(network: SpikingNetwork) -> Node | None:
    """The same as plain data, without `nir`."""
    text, seen = network.provenance.get(GRAPH_KEY), network.provenance.get(NETWORK_KEY)
    if not isinstance(text, str) or not isinstance(seen, str) or seen != fingerprint(network):
        return None
    return from_json(text)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def import_network(
    path: str | Path,
    *,
    dt: float | None = None,
    inputs: str | None = None,
    allow: Collection[str] = (),
    trust: str | None = None,
) -> SpikingNetwork:
    """A network from another tool's file. Today that is a NIR graph (.nir); see read_nir for the arguments."""
    return read_nir(path, dt=dt, inputs=inputs, allow=allow, trust=trust)


def describe(network: SpikingNetwork) -> dict[str, Any]:
    """What `spikeport import --json` prints of the network that it read."""
    known = network.provenance
    return {
        "neurons": network.n_neurons,
        "populations": {p.name: p.n for p in network.populations},
        "inputs": {
            i.name: {"channels": i.n, "kind": "values" if isinstance(i, HeldInput) else "spikes"}
            for i in network.inputs
        },
        "outputs": dict(known.get("outputs", {})) or {r.name: f"read-out of {r.source}" for r in network.readouts},
        "dt_s": network.dt,
        "integrator": network.integrator,
        "next_step": list(known.get("next_step", [])),
        "losses": list(known.get("losses", [])),
    }
