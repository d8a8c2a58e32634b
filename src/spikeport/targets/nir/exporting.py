"""From a spiking network to the NIR graph that a reader computes it from.

The network is normalised first (threshold 1, reset 0), then each population becomes a node whose decays, in the
reader's own formula, are D and A of our step (tables.py), and whose incoming weights carry every gain:

    x = D x + jump J + held H,  v = A v + B x      is      i = a i + u,  v = b v + i
    with i = B x, a = D, b = A, u = B (jump J + held H)

What goes straight onto the membrane (bias, held inputs) goes through the same synapse and is taken away again one step
later (columns.py), unless the reader has a way of its own. `graph_of` is deterministic to the bit. Nodes are named
in the order in which they are run, because a file gives them back by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeport.snn.drive import Inputs
from spikeport.snn.neurons import Array
from spikeport.snn.spiking import Projection, SpikingNetwork
from spikeport.snn.synapses import DoubleExponential
from spikeport.targets.modes import split_double
from spikeport.targets.nir.columns import START, Column, columns, fill
from spikeport.targets.nir.conventions import READERS, Convention
from spikeport.targets.nir.describing import metadata
from spikeport.targets.nir.limits import needs_start, sinks, synapse_decay, used_synapses
from spikeport.targets.rewrites import normalised
from spikeport.targets.tables import PopulationStep, ReadOutStep, SynapseStep, population_steps, readout_steps

if TYPE_CHECKING:
    import nir

MEMORYLESS = 1e-3  # steps: exp(-1/tau) is 0 in both precisions, and 1/tau is not infinite
Edges = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """What enters a node of n rows: from the columns (n, n_columns), a constant (n,), from populations (n, m) each."""

    columns: Array
    constant: Array
    populations: dict[str, Array] = field(default_factory=dict)


@dataclass
class _Drawing:
    """A graph while it is drawn. loops are listed before all other edges: nirtorch walks the edges in their order, and
    returns the output of the node that it reached last."""

    network: SpikingNetwork
    convention: Convention
    dt: float  # the reader's, s
    layout: tuple[Column, ...]
    nodes: dict[str, Any] = field(default_factory=dict)
    loops: Edges = field(default_factory=list)
    edges: Edges = field(default_factory=list)
    populations: dict[str, str] = field(default_factory=dict)  # -> the node of its spikes

    @property
    def width(self) -> int:
        return sum(c.n for c in self.layout)

    def add(self, name: str, node: Any) -> str:
        """A node; readers make attributes and code of its name, and a "/" would be a folder of the file."""
        safe = f"n{len(self.nodes):03d}_{re.sub(r'[^A-Za-z0-9_]', '_', name)}"
        self.nodes[safe] = node
        return safe

    def tau(self, decay: Array) -> Array:
        """The time constant from which the reader computes `decay`."""
        unit = 1.0 if self.convention.in_steps else self.dt
        if self.convention.decay == "euler":
            return np.asarray(unit / (1 - decay))
        return np.where(decay > 0, -unit / np.log(np.where(decay > 0, decay, 0.5)), MEMORYLESS * unit)

    def threshold(self, n: int) -> Array:
        """1; or, for v >= threshold, the next number that the reader's float32 has."""
        top = np.nextafter(np.float32(1), np.float32(2)) if self.convention.at_or_above else 1.0
        return np.full(n, float(top))


def graph_of(network: SpikingNetwork, reader: str = "any") -> nir.NIRGraph:
    """The NIR graph of `network` for `reader`; the network must be one that target nir takes for it."""
    import nir

    flat, steps, layout = _plan(network, READERS[reader])
    c = READERS[reader]
    drawing = _Drawing(network=flat, convention=c, dt=network.dt if c.dt is None else c.dt, layout=layout)
    drawing.nodes["input"] = nir.Input(np.array([drawing.width]))
    for step in steps:
        (_cuba_lif if c.node == "CubaLIF" else _lif)(drawing, step)
    last, size = _output(drawing)
    drawing.nodes["output"] = nir.Output(np.array([size]))
    drawing.edges.append((last, "output"))
    text = metadata(network, c, dt=drawing.dt, layout=layout, nodes=drawing.populations)
    return nir.NIRGraph(nodes=drawing.nodes, edges=drawing.loops + drawing.edges, metadata=text)


def input_rows(
    network: SpikingNetwork,
    inputs: Inputs | None,
    *,
    reader: str = "any",
    n_steps: int | None = None,
    n_batch: int | None = None,
) -> Array:
    """(time, batch, columns): what the reader's network is to be fed, one row per step, for `inputs` of `network`."""
    return fill(network, _plan(network, READERS[reader])[2], inputs, n_steps, n_batch)


def _plan(network: SpikingNetwork, c: Convention) -> tuple[SpikingNetwork, list[PopulationStep], tuple[Column, ...]]:
    """The normalised network, its populations in the order of their nodes, and the columns of the input."""
    split = split_double(network) if DoubleExponential in c.capabilities.synapses else network
    flat, _ = normalised(split)
    steps = _in_order(flat)
    remembers = {s.name for s in steps if c.node == "CubaLIF" and synapse_decay(c, s).any()}
    return flat, steps, columns(flat, remembers, start=any(needs_start(c, s) for s in steps))


def _in_order(network: SpikingNetwork) -> list[PopulationStep]:
    """Each population behind those that lead to it."""
    left = {s.name: s for s in population_steps(network)}
    before = {name: {j.source for j in network.projections if j.target == name} & left.keys() - {name} for name in left}
    found: list[PopulationStep] = []
    while left:
        ready = next(name for name in left if not before[name] & left.keys())  # loops of several were refused
        found.append(left.pop(ready))
    return found


def _synaptic(d: _Drawing, step: PopulationStep, synapse: SynapseStep, gain: Array) -> _Weights:
    """What comes through `synapse`, as u of i = a i + u."""
    B = synapse.table.B[:, 0] if synapse.n_states else np.ones(step.n)  # a Delta's jump is of v itself
    from_spikes = B * synapse.table.jump[:, 0] * gain
    from_held = B * synapse.table.held[:, 0] * gain if synapse.n_states else np.zeros(step.n)
    into, populations = np.zeros((step.n, d.width)), dict[str, Array]()
    names = {p.name for p in d.network.populations}
    for p in synapse.spikes:
        scaled = from_spikes[:, None] * p.weight
        if p.source in names:
            populations[p.source] = populations[p.source] + scaled if p.source in populations else scaled
        else:
            _add(d, into, p, scaled, p.delay)
    for p in synapse.held:
        _add(d, into, p, from_held[:, None] * p.weight, 0)
    return _Weights(columns=into, constant=from_held * synapse.bias, populations=populations)


def _membrane(d: _Drawing, step: PopulationStep, decay: Array, gain: Array) -> _Weights:
    """(1 - A) (constant + w u), said through a synapse of `decay`; the constant only where nothing else says it."""
    into, rest = np.zeros((step.n, d.width)), (1 - step.A) * gain
    for p in step.held:
        scaled = rest[:, None] * p.weight
        _add(d, into, p, scaled, 0)
        if decay.any():
            _add(d, into, p, -decay[:, None] * scaled, 1)
    constant = np.zeros(step.n) if d.convention.leak else rest * step.constant
    if needs_start(d.convention, step):
        column = next(c for c in d.layout if c.name == START and c.kind == START)
        into[:, column.rows] += (decay * constant)[:, None]
        constant = (1 - decay) * constant
    return _Weights(columns=into, constant=constant)


def _add(d: _Drawing, into: Array, p: Projection, weight: Array, delay: int) -> None:
    column = next(c for c in d.layout if c.name == p.source and c.delay == delay and c.kind != START)
    into[:, column.rows] += weight


def _cuba_lif(d: _Drawing, step: PopulationStep) -> None:
    """A population as one CubaLIF; with a loop, as a graph of its own where the reader wants that."""
    import nir

    c, n, decay = d.convention, step.n, synapse_decay(d.convention, step)
    gain = 1 / decay if c.decays_input else np.ones(n)
    parts = [_membrane(d, step, decay, gain), *(_synaptic(d, step, s, gain) for s in used_synapses(step))]
    weights = _Weights(
        columns=np.sum([p.columns for p in parts], axis=0), constant=np.sum([p.constant for p in parts], axis=0),
        populations=parts[-1].populations,
    )  # fmt: skip
    tau_syn, tau_mem = d.tau(decay), d.tau(step.A)
    leak = {"": np.zeros(n), "as it is": (1 - step.A) * step.constant, "times dt/tau_mem": step.constant}[c.leak]
    node = nir.CubaLIF(
        tau_syn=tau_syn, tau_mem=tau_mem,
        r=tau_mem / d.dt - (1 if c.decays_input else 0),  # rockpool takes its dt from tau_mem / (1 + r)
        w_in=np.ones(n) if c.decays_input else tau_syn / d.dt,
        v_leak=leak, v_threshold=d.threshold(n), v_reset=np.zeros(n),
    )  # fmt: skip
    loop = weights.populations.pop(step.name, None)
    incoming = _incoming(d, step.name, weights)
    if c.loops_only and loop is None:
        loop = np.zeros((n, n))
    if loop is not None and c.nested:
        inner = {
            "input": nir.Input(np.array([n])),
            "lif": node,
            "output": nir.Output(np.array([n])),
            "w_rec": _linear(c, loop),
        }
        wires = [("lif", "w_rec"), ("w_rec", "lif"), ("input", "lif"), ("lif", "output")]
        name = d.add(step.name, nir.NIRGraph(nodes=inner, edges=wires, metadata={}))
    else:
        name = d.add(step.name, node)
        _close_loop(d, step.name, name, name, loop)
    d.edges += [(weight, name) for weight in incoming]
    d.populations[step.name] = name


def _lif(d: _Drawing, step: PopulationStep) -> None:
    """A population as a LIF behind one LI of all its synapses, one block of rows each, and their sum with the bias.

    One path, because nirtorch.load would run the LIF before a second one. A Delta, or what goes onto the membrane, is a
    block that remembers nothing.
    """
    import nir

    n, one, zero = step.n, np.ones(step.n), np.zeros(step.n)
    blocks = [(s.table.D[:, 0, 0] if s.n_states else zero, _synaptic(d, step, s, one)) for s in used_synapses(step)]
    membrane = _membrane(d, step, zero, one)
    if membrane.columns.any() or not blocks:
        blocks.append((zero, _Weights(columns=membrane.columns, constant=zero)))
    nothing = {
        p.name: np.zeros((n, p.n)) for p in d.network.populations if any(p.name in w.populations for _, w in blocks)
    }
    stacked = _Weights(
        columns=np.concatenate([w.columns for _, w in blocks]),
        constant=np.concatenate([w.constant for _, w in blocks]),
        populations={s: np.concatenate([w.populations.get(s, none) for _, w in blocks]) for s, none in nothing.items()},
    )
    loop = stacked.populations.pop(step.name, None)
    incoming, rows = _incoming(d, step.name, stacked), n * len(blocks)
    into = last = d.add(f"{step.name}_synapses", _li(d, np.concatenate([decay for decay, _ in blocks])))
    if len(blocks) > 1 or membrane.constant.any():
        last = d.add(f"{step.name}_sum", nir.Affine(np.tile(np.eye(n), rows // n), membrane.constant))
        d.edges.append((into, last))
    lif = nir.LIF(tau=d.tau(step.A), r=one, v_leak=zero, v_threshold=d.threshold(n), v_reset=zero)
    d.populations[step.name] = name = d.add(step.name, lif)
    d.edges += [*((weight, into) for weight in incoming), (last, name)]
    _close_loop(d, step.name, name, into, loop)


def _li(d: _Drawing, decay: Array) -> nir.LI:
    import nir

    return nir.LI(tau=d.tau(decay), r=np.ones(decay.size), v_leak=np.zeros(decay.size))


def _incoming(d: _Drawing, name: str, weights: _Weights) -> list[str]:
    """The weight nodes in front of a population; the constant is the bias of the first."""
    import nir

    c, constant = d.convention, weights.constant
    found = []
    if weights.columns.any() or not weights.populations:
        plain = c.linear and not constant.any()
        node = nir.Linear(weights.columns) if plain else nir.Affine(weights.columns, constant)
        found.append(d.add(f"input_to_{name}", node))
        d.edges.append(("input", found[-1]))
        constant = np.zeros_like(constant)
    for source, weight in weights.populations.items():
        node = _linear(c, weight) if not constant.any() else nir.Affine(weight, constant)
        found.append(d.add(f"{source}_to_{name}", node))
        d.edges.append((d.populations[source], found[-1]))
        constant = np.zeros_like(constant)
    return found


def _linear(c: Convention, weight: Array) -> nir.Linear | nir.Affine:
    import nir

    return nir.Linear(weight) if c.linear else nir.Affine(weight, np.zeros(weight.shape[0]))


def _close_loop(d: _Drawing, population: str, source: str, target: str, weight: Array | None) -> None:
    if weight is not None:
        between = d.add(f"{population}_to_itself", _linear(d.convention, weight))
        d.loops += [(source, between), (between, target)]


def _output(d: _Drawing) -> tuple[str, int]:
    """The node that is returned, and its size: the read-out where the reader has it, else the last population."""
    if d.convention.readout and d.network.readouts:
        return _read_out(d, readout_steps(d.network)[0])
    last = sinks(d.network)[0]
    return d.populations[last], d.network.population(last).n


def _read_out(d: _Drawing, step: ReadOutStep) -> tuple[str, int]:
    """spikes -> LI of each unit (of each mode, for a double exponential: modes.py) -> Affine: o = w x + b."""
    import nir

    readout, D, jump, n = step.readout, step.table.D, step.table.jump, step.table.D.shape[0]
    decays, gains = [D[:, 0, 0]], [jump[:, 0]]
    source = d.populations[readout.source]
    if D.shape[1] == 2:
        rise = jump[:, 1] * D[:, 0, 1] / (D[:, 1, 1] - D[:, 0, 0])
        decays, gains = [D[:, 0, 0], D[:, 1, 1]], [jump[:, 0] - rise, rise]
        twice = d.add(f"{readout.name}_twice", nir.Affine(np.tile(np.eye(n), (2, 1)), np.zeros(2 * n)))
        d.edges.append((source, twice))
        source = twice
    li = d.add(f"{readout.name}_filter", _li(d, np.concatenate(decays)))
    last = d.add(readout.name, nir.Affine(np.concatenate([readout.weight * g for g in gains], axis=1), readout.bias))
    d.edges += [(source, li), (li, last)]
    return last, readout.weight.shape[0]
