"""The canonical step of a spiking network as a graph: one step in, one step out.

Per population, in an order in which a projection without delay comes from an earlier one (reference.py in snn has the
equations, and `*` stands for the number of a synaptic state):

    a.s.J    = w z[k-d]
    a.s.x*   = D x + jump J + held H
    a.I      = sum of B x, of jump J for a Delta
    a.v_free = (A v + I) + (1-A) (v_leak + bias + w u)
    a.v_before_reset = v_free, or v where ref > 0; then noise
    a.spikes = v_before_reset > v_threshold
    a.v      = v_reset, or v - (v_threshold - v_reset), where it spikes

Names of what goes in and out (a: a population, s: one of its synapses, u, x: inputs, o: a read-out):

    u, x        (batch, n)     an input's values, or its counts of spikes, of this step
    a.noise     (batch, n)     mV, added to v in this step
    a.v         (batch, n)     mV                           state
    a.ref       (batch, n)     steps still to be frozen     state
    a.s.x0 ...  (batch, n)     the synapse's                state
    a.past      (d, batch, n)  the last d steps' spikes     state, d: the longest delay, (batch, n) if that is 1; also
                               x.past, counts
    o.x0 ...    (batch, n)     the read-out's filter        state
    a.spikes    (batch, n)     this step's spikes           output;  o (batch, n_outputs);  a.v_before_reset on request

The order of every sum is the reference's, but for w z, which is one matrix product (its order is the runtime's own).
Small states become 0 in every step, in the reference in every 16th (see `keep`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.integrators import TINY
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.spiking import HeldInput, Projection, SpikingNetwork, Uniform
from spikeport.targets.onnx.graph import BOOL, INT, REAL, Graph, Size, Value
from spikeport.targets.tables import PopulationStep, ReadOutStep, SynapseStep, population_steps, readout_steps

BATCH = "batch"
Key = tuple[
    str, str
]  # what a graph input or output is of which part: INPUT of "u", NOISE, SPIKES of "a", OUTPUT of "o",
INPUT, NOISE, SPIKES, OUTPUT, TRACE = "input", "noise", "spikes", "output", "trace"  # TRACE of "a.v"


@dataclass(frozen=True, kw_only=True)
class State:
    """What a step hands to the next. before, after: the values' names in the graph; axis: of the batch.

    initial: (n,), or (d, n) of past spikes; None where it is drawn, as `drawn` says.  v_of: the population whose v it
    is.
    """

    name: str
    before: Value
    after: Value
    axis: int
    initial: NDArray[Any] | None
    drawn: Uniform | None = None
    v_of: str = ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A graph of one step, and which of its inputs and outputs are what.

    given: INPUT or NOISE -> graph input.  shown: SPIKES, OUTPUT or TRACE -> graph output.
    """

    graph: Graph
    given: Mapping[Key, Value]
    shown: Mapping[Key, Value]
    states: tuple[State, ...]


@dataclass(frozen=True, kw_only=True)
class Suffixes:
    """How values that have a time are called: in a graph of one step, and inside of one over many."""

    given: str = ""
    before: str = ""
    after: str = ".next"
    shown: str = ""


ALONE = Suffixes()
INSIDE = Suffixes(given="[k]", before="[k-1]", after="[k]", shown="[k]")


@dataclass
class Builder:
    """A graph of one step while it is built. z: (source, delay) -> its spikes of so many steps ago, as reals."""

    graph: Graph
    suffixes: Suffixes
    given: dict[Key, Value] = field(default_factory=dict)
    shown: dict[Key, Value] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)
    z: dict[tuple[str, int], str] = field(default_factory=dict)
    past: dict[str, State] = field(default_factory=dict)
    tiny: tuple[str, ...] = ()

    def take(self, key: Key, name: str, n: int, doc: str) -> str:
        """An input of this step."""
        value = Value(name=self.graph.free(name + self.suffixes.given), shape=(BATCH, n), doc=doc)
        self.given[key] = value
        return self.graph.takes(value)

    def state(
        self, name: str, initial: Any, doc: str, kind: str = REAL, drawn: Uniform | None = None, v_of: str = ""
    ) -> State:
        """A state: an input here, an output as soon as `keep` says what it becomes."""
        *past, n = np.shape(initial)
        shape: tuple[Size, ...] = (*past, BATCH, n)
        before = Value(name=self.graph.free(name + self.suffixes.before), shape=shape, kind=kind, doc=doc)
        after = replace(before, name=self.graph.free(name + self.suffixes.after), doc=f"{doc}; for the next step")
        found = State(name=name, before=before, after=after, axis=np.ndim(initial) - 1,
                      initial=None if drawn else np.asarray(initial), drawn=drawn, v_of=v_of)  # fmt: skip
        self.graph.takes(before)
        self.graph.gives(after)
        self.states.append(found)
        return found

    def shown_as(self, name: str) -> str:
        """What an output called `name` is called in this graph."""
        return self.graph.free(name + self.suffixes.shown)

    def show(self, key: Key, value: str, shape: tuple[Size, ...], doc: str, kind: str = REAL) -> None:
        """An output: a value that is called as `shown_as` said."""
        self.shown[key] = Value(name=value, shape=shape, kind=kind, doc=doc)
        self.graph.gives(self.shown[key])

    def show_again(self, key: Key, name: str, value: str, shape: tuple[Size, ...], doc: str) -> None:
        """An output: `value` under a name of its own."""
        self.show(key, self.graph.op("Identity", value, to=self.shown_as(name), doc=doc), shape, doc)

    def total(self, to: str, terms: Sequence[tuple[Array | None, str]], doc: str) -> str | None:
        """The sum of coefficient * value from left to right, without the terms that are 0; None where none is left."""
        g, found = self.graph, None
        for i, (factor, value) in enumerate(terms):
            if factor is not None and not factor.any():
                continue
            if factor is not None and not (factor == 1).all():
                value = g.new("Mul", value, g.constant(f"{to}.factor{i}", factor), to=f"{to}.term{i}", doc=doc)
            found = value if found is None else g.new("Add", found, value, to=f"{to}.sum{i}", doc=doc)
        return found

    def keep(self, state: State, value: str | None) -> None:
        """What a state becomes: x - clip(x, -TINY, TINY), so almost nothing becomes nothing (subnormals are slow).

        It takes at most TINY off. The operator Shrink would say it at once, but ONNX Runtime computes that in float32
        whatever its input is; comparing and choosing takes three operations, Where the slowest of all.
        """
        g, name, to = self.graph, state.name, state.after.name
        if value is None:
            g.op("Sub", state.before.name, state.before.name, to=to, doc="0")
            return
        if not self.tiny:
            self.tiny = (g.constant("minus_tiny", -TINY), g.constant("tiny", TINY))
        rest = g.new("Clip", value, *self.tiny, to=f"{name}.rest", doc=f"what counts as nothing: up to {TINY:g}")
        g.op("Sub", value, rest, to=to, doc=f"{name}, 0 where it is at most {TINY:g}")


def step_graph(
    network: SpikingNetwork,
    dtype: str,
    *,
    noise: Collection[str],
    traces: Collection[str] = (),
    suffixes: Suffixes = ALONE,
) -> Step:
    """One step of `network`. noise: the populations that have a noise input; traces: "a.v" or "a.s", to put out."""
    doc = "One step: states and this step's inputs in, spikes, outputs and the next states out."
    b = Builder(graph=Graph(name="step", dtype=dtype, doc=doc), suffixes=suffixes)
    for port in network.inputs:
        what = "values" if isinstance(port, HeldInput) else "counts of spikes"
        b.take((INPUT, port.name), port.name, port.n, f"input {port.name}: {what} in this step")
    b.z = {(i.name, 0): b.given[INPUT, i.name].name for i in network.spike_inputs}
    steps = population_steps(network)
    for p in steps:
        if p.name in noise:
            doc = f"noise of population {p.name}: mV added to v in this step"
            b.take((NOISE, p.name), f"{p.name}.noise", p.n, doc)
    _pasts(b, network)
    for p in steps:
        _population(b, p, traces)
    for r in readout_steps(network):
        _read_out(b, r)
    for name, state in b.past.items():
        _remember(b, name, state)
    return Step(graph=b.graph, given=b.given, shown=b.shown, states=tuple(b.states))


def _pasts(b: Builder, network: SpikingNetwork) -> None:
    """A state of past spikes for each source with a delay."""
    sources = {i.name: (i.n, REAL) for i in network.spike_inputs} | {p.name: (p.n, BOOL) for p in network.populations}
    for name, (n, kind) in sources.items():
        longest = max((p.delay for p in network.projections if p.source == name), default=0)
        if longest:
            doc = f"spikes of {name} in the last {longest} steps, the oldest first"
            zeros = np.zeros((longest, n) if longest > 1 else (n,), dtype=np.float64 if kind == REAL else np.bool_)
            b.past[name] = b.state(f"{name}.past", zeros, doc, kind)


def _delayed(b: Builder, p: Projection) -> str:
    """z[k-d] of a projection's source, as reals."""
    key = f"{p.source}[k-{p.delay}]"
    if (p.source, p.delay) not in b.z:
        g, state = b.graph, b.past[p.source]
        row: str = state.before.name
        longest = state.before.shape[0]
        if isinstance(longest, int):  # else it is the batch, and the past is one step
            at, end = g.fixed(f"{key}.from", [longest - p.delay]), g.fixed(f"{key}.to", [longest - p.delay + 1])
            row = g.new("Slice", row, at, end, g.fixed(f"{key}.axis", [0]), to=f"{key}.row", doc="one step of the past")
            row = g.new("Squeeze", row, g.fixed(f"{key}.squeeze", [0]), to=f"{key}.z", doc="(batch, n)")
        b.z[p.source, p.delay] = g.cast(row, to=f"{key}.real") if state.before.kind == BOOL else row
    return b.z[p.source, p.delay]


def _arriving(b: Builder, where: str, projections: Sequence[Projection]) -> str | None:
    """J = sum of w z[k-d], all projections in one product; None without any."""
    if not projections:
        return None
    g = b.graph
    sources = [_delayed(b, p) for p in projections]
    z = sources[0]
    if len(sources) > 1:
        z = g.new("Concat", *sources, to=f"{where}.z", doc="all sources, side by side", axis=1)
    w = g.constant(f"{where}.w", np.concatenate([p.weight for p in projections], axis=1))
    return g.new("Gemm", z, w, to=f"{where}.J", doc="J = w z[k-d]", transB=1)


def _held(b: Builder, where: str, constant: Array, projections: Sequence[Projection]) -> str | None:
    """constant + w u; None where there is no input."""
    g, found = b.graph, None
    for p in projections:
        w = g.constant(f"{where}.w_{p.source}", p.weight)
        part = g.new("Gemm", b.given[INPUT, p.source].name, w, to=f"{where}.{p.source}", doc=f"w {p.source}", transB=1)
        if found is None and constant.any():
            found = g.constant(f"{where}.constant", constant)
        if found is None:
            found = part
        else:
            found = g.new("Add", found, part, to=f"{where}.with_{p.source}", doc="constant + w u")
    return found


def _states(b: Builder, where: str, n: int, n_states: int, doc: str) -> list[State]:
    return [b.state(f"{where}.x{i}", np.zeros(n), f"{doc}, state {i}") for i in range(n_states)]


def _synapse(b: Builder, p: PopulationStep, s: SynapseStep, traces: Collection[str]) -> list[tuple[Array, str]]:
    """1: arrivals of one synapse; its part of the current, as (coefficient, value)."""
    where = f"{p.name}.{s.name}"
    J = _arriving(b, where, s.spikes)
    H, bias = _held(b, f"{where}.H", s.bias, s.held), None
    states = _states(b, where, p.n, s.n_states, f"synapse {s.name} of population {p.name}")
    if H is None and s.bias.any():
        bias = [s.table.held[:, i] * s.bias for i in range(s.n_states)]
    terms: list[tuple[Array, str]] = []
    for i, state in enumerate(states):
        parts: list[tuple[Array | None, str]] = [(s.table.D[:, i, j], x.before.name) for j, x in enumerate(states)]
        parts += [] if J is None else [(s.table.jump[:, i], J)]
        parts += [] if H is None else [(s.table.held[:, i], H)]
        if bias is not None and bias[i].any():
            parts.append((None, b.graph.constant(f"{where}.held_bias{i}", bias[i])))
        x = b.total(f"{where}.x{i}", parts, f"x{i} = D x{i} + jump J + held H")
        b.keep(state, x)
        terms.append((s.table.B[:, i], state.before.name if x is None else x))
    if s.n_states == 0 and J is not None:
        terms = [(s.table.jump[:, 0], J)]
    if where in traces:
        _show_synapse(b, p, s, terms)
    return terms


def _show_synapse(b: Builder, p: PopulationStep, s: SynapseStep, terms: Sequence[tuple[Array, str]]) -> None:
    where, g = f"{p.name}.{s.name}", b.graph
    value = b.total(f"{where}.trace", terms[:1], "the jump of v") if s.n_states == 0 else terms[0][1]
    if value is None:  # a Delta to which nothing leads
        v = next(t.before.name for t in b.states if t.v_of == p.name)
        value = g.new("Sub", v, v, to=f"{where}.nothing", doc="0")
    b.show_again(
        (TRACE, where), f"{where}.x0_now", value, (BATCH, p.n), f"synapse {s.name} of {p.name}: its current, mV"
    )


def _population(b: Builder, p: PopulationStep, traces: Collection[str]) -> None:
    """1 to 3: arrivals, evolution, spikes, reset."""
    g, name, own = b.graph, p.name, p.population
    drawn = own.v0 if isinstance(own.v0, Uniform) else None
    start = np.zeros(p.n) if isinstance(own.v0, Uniform) else per_unit(own.v0, p.n)
    v = b.state(f"{name}.v", start, f"v of population {name}, mV", drawn=drawn, v_of=name)
    ref = b.state(f"{name}.ref", p.ref0, f"steps that units of {name} stay frozen", INT) if p.may_freeze else None
    current = b.total(f"{name}.I", [t for s in p.synapses for t in _synapse(b, p, s, traces)], "I = sum of B x")
    new = _evolved(b, p, v.before.name, current)
    free = None
    if ref is not None:
        none = g.constant(f"{name}.no_steps", np.int64(0))
        free = g.new("Equal", ref.before.name, none, to=f"{name}.free", doc="ref = 0")
        new = g.new("Where", free, new, v.before.name, to=f"{name}.v_evolved", doc="frozen while refractory")
    if (NOISE, name) in b.given:
        noisy = g.new("Add", new, b.given[NOISE, name].name, to=f"{name}.v_noisy", doc="v + noise")
        if free is not None and not own.noise_while_refractory:
            noisy = g.new("Where", free, noisy, new, to=f"{name}.v_seen", doc="no noise while refractory")
        new = noisy
    z = b.shown_as(f"{name}.spikes")
    barred = free is not None and not own.spikes_while_refractory
    above = g.free(f"{name}.above") if barred else z
    g.op("Greater", new, g.constant(f"{name}.v_threshold", p.threshold, below=True), to=above, doc="v > v_threshold")
    if barred and free is not None:
        g.op("And", above, free, to=z, doc="not while refractory")
    after = g.constant(f"{name}.v_reset", p.reset)
    if p.subtracts:
        span = g.constant(f"{name}.v_threshold - v_reset", p.threshold - p.reset)
        after = g.new("Sub", new, span, to=f"{name}.v_less", doc="v - (v_threshold - v_reset)")
    if not p.held and ((1 - p.A) * p.constant).all():  # v never decays to 0, so it needs no look for small numbers
        g.op("Where", z, after, new, to=v.after.name, doc="the reset")
    else:
        b.keep(v, g.new("Where", z, after, new, to=f"{name}.v_reset_or_v", doc="the reset"))
    if ref is not None:
        _count_down(b, p, ref, z)
    b.show((SPIKES, name), z, (BATCH, p.n), f"spikes of population {name}", BOOL)
    if f"{name}.v" in traces:
        b.show_again(
            (TRACE, f"{name}.v"), f"{name}.v_before_reset", new, (BATCH, p.n), f"v of {name} before its reset, mV"
        )
    b.z[name, 0] = g.cast(z, to=f"{name}.z_real")


def _evolved(b: Builder, p: PopulationStep, v: str, current: str | None) -> str:
    """2: (A v + I) + (1-A) (constant + w u)."""
    g, name = b.graph, p.name
    decayed = b.total(f"{name}.Av", [(p.A, v)], "A v") or g.new("Sub", v, v, to=f"{name}.Av", doc="0")
    new = decayed if current is None else g.new("Add", decayed, current, to=f"{name}.Av_I", doc="A v + I")
    drive = _held(b, f"{name}.drive", p.constant, p.held)
    if drive is not None:
        term = b.total(f"{name}.settle", [(1 - p.A, drive)], "(1-A) (v_leak + bias + w u)")
    else:
        settled = (1 - p.A) * p.constant
        term = g.constant(f"{name}.settle", settled) if settled.any() else None
    if term is None:
        return new
    return g.new("Add", new, term, to=f"{name}.v_free", doc="(A v + I) + (1-A) (v_leak + bias + w u)")


def _count_down(b: Builder, p: PopulationStep, ref: State, z: str) -> None:
    """ref = n where z, else one less, at least 0."""
    g, name = b.graph, p.name
    less = g.new("Sub", ref.before.name, g.constant(f"{name}.one", np.int64(1)), to=f"{name}.ref_less", doc="ref - 1")
    none = g.constant(f"{name}.zero", np.int64(0))
    least = g.new("Max", less, none, to=f"{name}.ref_least", doc="at least 0")
    steps = g.constant(f"{name}.refractory_steps", p.refractory[0] if np.ptp(p.refractory) == 0 else p.refractory)
    g.op("Where", z, steps, least, to=ref.after.name, doc="a spike starts a refractory period")


def _read_out(b: Builder, r: ReadOutStep) -> None:
    """4: x = D x + jump z, o = w x0 + b."""
    g, name, n = b.graph, r.readout.name, r.readout.weight.shape[1]
    states = _states(b, name, n, r.table.D.shape[1], f"filter of read-out {name}")
    current: list[str] = []
    for i, state in enumerate(states):
        parts: list[tuple[Array | None, str]] = [(r.table.D[:, i, j], x.before.name) for j, x in enumerate(states)]
        x = b.total(f"{name}.x{i}", [*parts, (r.table.jump[:, i], b.z[r.readout.source, 0])], f"x{i} = D x{i} + jump z")
        b.keep(state, x)
        current.append(state.after.name if x is None else x)
    w, bias = g.constant(f"{name}.w", r.readout.weight), g.constant(f"{name}.b", r.readout.bias)
    o = g.op("Gemm", current[0], w, bias, to=b.shown_as(name), doc="o = w x0 + b", transB=1)
    b.show((OUTPUT, name), o, (BATCH, r.readout.weight.shape[0]), f"read-out {name}")


def _remember(b: Builder, name: str, state: State) -> None:
    """past = its last d - 1 steps, then this step's spikes."""
    g, longest = b.graph, state.before.shape[0]
    now = b.shown[SPIKES, name].name if state.before.kind == BOOL else b.given[INPUT, name].name
    if not isinstance(longest, int):
        g.op("Identity", now, to=state.after.name, doc="this step is the past of the next")
        return
    axis = g.fixed(f"{name}.past.axis", [0])
    row = g.new("Unsqueeze", now, axis, to=f"{name}.past.now", doc="(1, batch, n)")
    at, end = g.fixed(f"{name}.past.from", [1]), g.fixed(f"{name}.past.to", [longest])
    kept = g.new("Slice", state.before.name, at, end, axis, to=f"{name}.past.kept", doc="without the oldest")
    g.op("Concat", kept, row, to=state.after.name, doc="the oldest first", axis=0)
