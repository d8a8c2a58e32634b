"""A NIR graph without graphs inside, and everything that can be wrong with it, each problem with its node.

The names of a graph inside join those around it by "."; its Input and Output pass on what they get.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spikeport.targets.nir.graph import FIELDS, GRAPH, UNSUPPORTED, Node

SPIKING = ("LIF", "CubaLIF", "IF", "Threshold")
FILTERS = ("LI", "CubaLI")
PASS = "Pass"  # the Input or Output of a graph inside
MAX_DELAY = 1_000_000  # steps; a simulator keeps a step's spikes for as long
WHOLE = 1e-6  # relative: how far from a whole number of steps a delay may be; a float32 delay is within 1e-7

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Flat:
    """Nodes by full name, and the edges between them in the file's order."""

    nodes: Mapping[str, Node]
    edges: tuple[tuple[str, str], ...]

    @cached_property
    def before(self) -> dict[str, list[str]]:
        """name -> the nodes that lead to it, in the order of the edges."""
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for a, b in self.edges:
            found[b].append(a)
        return found

    @cached_property
    def after(self) -> dict[str, list[str]]:
        """name -> the nodes that it leads to."""
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for a, b in self.edges:
            found[a].append(b)
        return found

    def of(self, *kinds: str) -> list[str]:
        return [name for name, node in self.nodes.items() if node.kind in kinds]


def flatten(graph: Node, problems: list[str]) -> Flat:
    """`graph` with every graph inside dissolved; what its edges get wrong goes to `problems`."""
    nodes, edges = _flatten(graph, "", problems)
    return Flat(nodes=nodes, edges=tuple(edges))


def _flatten(graph: Node, prefix: str, problems: list[str]) -> tuple[dict[str, Node], list[tuple[str, str]]]:
    nodes: dict[str, Node] = {}
    edges: list[tuple[str, str]] = []
    for name, node in graph.nodes.items():
        full = prefix + name
        if node.kind == GRAPH:
            inner_nodes, inner_edges = _flatten(node, f"{full}.", problems)
            for port in ("Input", "Output"):
                n = len(_ports(node, port))
                if n != 1:
                    problems.append(f"graph {full}: {n} nodes of type {port}, must be 1 in a graph inside another")
            edges += inner_edges
        else:
            inner_nodes = {
                full: Node(kind=PASS, fields=node.fields) if prefix and node.kind in ("Input", "Output") else node
            }
        problems += [f"node {clash}: two nodes have this name, once graphs inside are joined by '.'"
                     for clash in sorted({*nodes} & {*inner_nodes})]  # fmt: skip
        nodes |= inner_nodes
    seen: set[tuple[str, str]] = set()
    for a, b in graph.edges:
        unknown = [
            f"edge {prefix}{a} -> {prefix}{b}: there is no node {prefix}{end}"
            for end in (a, b)
            if end not in graph.nodes
        ]
        problems += unknown
        if (a, b) in seen:
            problems.append(f"edge {prefix}{a} -> {prefix}{b}: is there twice; NIR has no edges that count double")
        elif not unknown:
            seen.add((a, b))
            ends = _port(graph, a, "Output", prefix), _port(graph, b, "Input", prefix)
            if ends[0] is not None and ends[1] is not None:
                edges.append((ends[0], ends[1]))
    return nodes, edges


def _ports(graph: Node, kind: str) -> list[str]:
    return [name for name, node in graph.nodes.items() if node.kind == kind]


def _port(graph: Node, name: str, kind: str, prefix: str) -> str | None:
    """Where an edge at `name` ends: at the node, or at the Input or Output of the graph that it is."""
    if graph.nodes[name].kind != GRAPH:
        return prefix + name
    inner = _ports(graph.nodes[name], kind)
    return f"{prefix}{name}.{inner[0]}" if len(inner) == 1 else None


def check(flat: Flat, dt: float) -> list[str]:
    """What is wrong with the nodes, each by itself and each with its neighbours."""
    found = [f"graph: no node of type {kind}" for kind in ("Input", "Output") if not flat.of(kind)]
    shapes: dict[str, tuple[Shape, Shape]] = {}
    for name, node in flat.nodes.items():
        wrong = [*_node(node, dt)]
        found += [f"node {name}: {problem}" for problem in wrong]
        if not wrong and node.kind in (*FIELDS, PASS):
            shapes[name] = shape_in(node), shape_out(node)
    for a, b in flat.edges:
        if a in shapes and b in shapes and shapes[a][1] != shapes[b][0]:
            found.append(f"edge {a} -> {b}: {a} gives shape {shapes[a][1]}, {b} takes {shapes[b][0]}")
    into, out = {b for _, b in flat.edges}, {a for a, _ in flat.edges}
    for name, node in flat.nodes.items():
        if node.kind == "Input" and name in into:
            found.append(f"node {name}: an Input with an edge into it")
        if node.kind == "Output" and name in out:
            found.append(f"node {name}: an Output with an edge out of it")
        if node.kind != "Input" and name not in into:
            found.append(f"node {name}: no edge leads to it")
        if node.kind not in ("Output", *SPIKING) and name not in out:  # what spikes is recorded anyway
            found.append(f"node {name}: no edge leads from it")
    return [*found, *_loops(flat), *_misplaced(flat)]


def _node(node: Node, dt: float) -> Iterator[str]:
    """Problems of one node."""
    kind = "Input" if node.kind == PASS else node.kind
    if kind not in FIELDS:
        yield f"{kind} is not supported: {UNSUPPORTED.get(kind, 'it is unknown')}"
        return
    required, optional = FIELDS[kind]
    missing = [name for name in required if name not in node.fields]
    unknown = [name for name in node.fields if name not in (*required, *optional)]
    yield from (f"{name} is missing" for name in missing)
    yield from (
        f"'{name}' is no parameter of {kind}, which has {', '.join((*required, *optional))}" for name in unknown
    )
    for name, value in node.fields.items():
        if value.dtype.kind not in "fiub":
            yield f"{name} is of type {value.dtype}, must be numbers"
            return
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            yield f"{name} holds {int((~np.isfinite(value)).sum())} values that are NaN or infinite"
            return
    if missing or unknown:
        return
    if kind in ("Input", "Output"):
        shape = np.asarray(node.fields["shape"])
        if shape.ndim > 1 or shape.dtype.kind not in "iu" or shape.size == 0 or shape.min() < 1:
            yield f"shape {shape.tolist()}, must be whole numbers from 1"
    elif kind in ("Affine", "Linear"):
        yield from _matrix(node)
    else:
        yield from _elementwise(node, kind, dt)


def _matrix(node: Node) -> Iterator[str]:
    weight = node.fields["weight"]
    if weight.ndim != 2 or weight.size == 0:
        yield f"weight of shape {weight.shape}, must be (to, from)"
    elif "bias" in node.fields and node.fields["bias"].shape != weight.shape[:1]:
        yield f"bias of shape {node.fields['bias'].shape}, must be {weight.shape[:1]} as the weight has {weight.shape}"


def _elementwise(node: Node, kind: str, dt: float) -> Iterator[str]:
    """Problems of a node with one set of parameters per channel."""
    shape = node.fields[FIELDS[kind][0][0]].shape
    sizes = {
        name: v.shape for name, v in node.fields.items() if v.shape != shape and not (name == "w_in" and v.ndim == 0)
    }
    if sizes:
        found = ", ".join(f"{name} of shape {s}" for name, s in sizes.items())
        yield f"{found}, must be {shape} as {FIELDS[kind][0][0]}"
        return
    if 0 in shape:
        yield f"shape {shape}, must not be empty"
        return
    for name in ("tau", "tau_mem", "tau_syn"):
        if name in node.fields:
            low = float(node.fields[name].min())
            if low <= 0:
                yield f"{name} of {low:g} s, must be positive"
            elif dt >= 2 * low:  # the factor 1 - dt/tau is -1 or below: the state would grow
                yield f"{name} of {low:g} s: with dt {dt:g} s forward Euler grows without bound (dt below 2 {name})"
    if "v_threshold" in node.fields and "v_reset" in node.fields:
        n = int((node.fields["v_reset"] > node.fields["v_threshold"]).sum())
        if n:
            yield f"v_reset above v_threshold in {n} units, so they would spike at every step"
    elif "v_threshold" in node.fields and node.fields["v_threshold"].min() < 0:
        yield f"v_threshold of {node.fields['v_threshold'].min():g} below v_reset, which is absent and so 0"
    if kind == "Delay":
        yield from _delay(node, dt)


def _delay(node: Node, dt: float) -> Iterator[str]:
    ratio = node.fields["delay"].astype(np.float64).ravel() / dt
    if ratio.min() < 0:
        yield f"delay of {ratio.min() * dt:g} s, must be 0 or more"
    elif ratio.max() > MAX_DELAY:
        yield f"delay of {ratio.max():.4g} steps, limit {MAX_DELAY}"
    else:
        off = np.abs(ratio - np.round(ratio)) > WHOLE * np.maximum(ratio, 1)
        if off.any():
            first = float(ratio[off][0])
            value = f"delay of {first * dt:.9g} s is {first:.6g} steps of {dt:g} s"
            yield f"{value}, must be whole ({int(off.sum())} channels)"


def delay_steps(node: Node, dt: float) -> NDArray[np.int64]:
    """(n,) whole steps of a Delay that `check` passed."""
    return np.round(node.fields["delay"].astype(np.float64).ravel() / dt).astype(np.int64)


def shape_in(node: Node) -> Shape:
    """Of what a node takes."""
    if node.kind in ("Input", "Output", PASS):
        return tuple(int(n) for n in np.atleast_1d(node.fields["shape"]))
    if node.kind in ("Affine", "Linear"):
        return (int(node.fields["weight"].shape[1]),)
    return tuple(node.fields[FIELDS[node.kind][0][0]].shape)


def shape_out(node: Node) -> Shape:
    """Of what a node gives."""
    return (int(node.fields["weight"].shape[0]),) if node.kind in ("Affine", "Linear") else shape_in(node)


def _loops(flat: Flat) -> Iterator[str]:
    """Loops that no spike crosses: each of their values would depend on itself within a step."""
    left = {n for n, node in flat.nodes.items() if node.kind not in ("Input", *SPIKING)}
    edges = [(a, b) for a, b in flat.edges if a in left and b in left]
    for direction in (0, 1):  # what only leads into a loop, or out of one, is not in it
        done = False
        while not done:
            held = {edge[1 - direction] for edge in edges}
            done, left = left <= held, left & held
            edges = [(a, b) for a, b in edges if a in left and b in left]
    if left:
        yield f"nodes {', '.join(sorted(left))}: a loop without a neuron, whose values depend on themselves"


def _misplaced(flat: Flat) -> Iterator[str]:
    """LI and CubaLI whose voltage reaches a neuron: only what leaves the network can be one."""
    for name in flat.of(*FILTERS):
        reached, grey = [name], {name}
        for at in reached:  # grows while it is read
            for after in flat.after[at]:
                kind = flat.nodes[after].kind
                if kind in (*SPIKING, *FILTERS):
                    yield f"node {name}: {flat.nodes[name].kind} in front of {after}, it can only be a read-out"
                elif after not in grey:
                    grey.add(after)
                    reached.append(after)
