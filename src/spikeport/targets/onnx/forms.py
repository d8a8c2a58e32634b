"""The two forms of a graph: one step, and a whole sequence as one Scan over its steps.

Both are made from the same step. In the sequence form every state has a default, the network's initial state, so a
caller who starts a trial gives only its inputs; v that is drawn per trial has none. `NAME.next` of one call, fed as
`NAME` to the next, goes on where it ended. In the step form nothing has a default: a state that is forgotten would
start anew in every step without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from spikeport.targets.onnx.graph import BOOL, REAL, Graph, Size, Value, real
from spikeport.targets.onnx.step import ALONE, BATCH, INSIDE, NOISE, Key, State, Step, Suffixes

TIME, BATCH_OR_1, TIME_OR_1 = "time", "batch_or_1", "time_or_1"
TICKS = ("ticks", "")  # the input of a network that has none: its shape says how long and how many


@dataclass(frozen=True, kw_only=True)
class Form:
    """A finished graph. given: INPUT, NOISE or TICKS -> graph input; shown: SPIKES, OUTPUT, TRACE -> graph output;
    states: their values are the graph's inputs and outputs."""

    graph: Graph
    given: Mapping[Key, str]
    shown: Mapping[Key, str]
    states: tuple[State, ...]


MakeStep = Callable[[Suffixes], Step]


def step_form(make: MakeStep) -> Form:
    """One step: every state in, every next state out."""
    step = make(ALONE)
    before, after = [s.before for s in step.states], [s.after for s in step.states]
    graph = replace(step.graph, inputs=[*step.given.values(), *before], outputs=[*step.shown.values(), *after])
    return Form(graph=graph, given=_names(step.given), shown=_names(step.shown), states=step.states)


def sequence_form(make: MakeStep, *, name: str) -> Form:
    """A whole sequence; inputs and outputs are (time, batch, n), and noise is 0 unless it is given."""
    step = make(INSIDE)
    outer = Graph(name=name, dtype=step.graph.dtype, doc="A whole sequence: a Scan over its steps.")
    outer.free_of(step.graph)
    ports, noise = ([key for key in step.given if (key[0] == NOISE) == noisy] for noisy in (False, True))
    scanned = {key: _sequence(outer, step.given[key]) for key in ports}
    body_inputs = [s.before for s in step.states] + [step.given[key] for key in ports]
    if not ports:
        doc = "its shape says how many steps and trials; its values mean nothing"
        scanned[TICKS] = outer.takes(Value(name=outer.free(TICKS[0]), shape=(TIME, BATCH), kind=BOOL, doc=doc))
        body_inputs.append(Value(name=step.graph.free(f"{TICKS[0]}[k]"), shape=(BATCH,), kind=BOOL))
    lengths = outer.new("Shape", next(iter(scanned.values())), to="lengths", doc="(time, batch, ...)")
    sizes = {size: _pick(outer, lengths, i, size) for i, size in enumerate((TIME, BATCH))}
    given = dict(scanned)
    for key in noise:
        given[key], scanned[key] = _noise(outer, step.given[key], sizes)
        body_inputs.append(step.given[key])
    states = [_initial(outer, s, sizes) for s in step.states]
    body = replace(step.graph, inputs=body_inputs, outputs=[*(s.after for s in step.states), *step.shown.values()])
    ends = [replace(s.after, name=outer.free(f"{s.name}.next")) for s in step.states]
    shown = {key: _over_time(outer, v) for key, v in step.shown.items()}
    starts = [at for _, at in states]
    results = [v.name for v in (*ends, *shown.values())]
    outer.scan([*starts, *scanned.values()], results, body, len(scanned))
    outer.outputs += [*shown.values(), *ends]
    ways = zip(step.states, states, ends, strict=True)
    kept = tuple(replace(s, before=value, after=end) for s, (value, _), end in ways)
    return Form(graph=outer, given=given, shown=_names(shown), states=kept)


def _names(values: Mapping[Key, Value]) -> dict[Key, str]:
    return {key: value.name for key, value in values.items()}


def _sequence(outer: Graph, inside: Value) -> str:
    doc = inside.doc.replace("this step", "each step")
    return outer.takes(replace(inside, name=_outside(outer, inside), shape=(TIME, *inside.shape), doc=doc))


def _outside(outer: Graph, inside: Value) -> str:
    """What "u[k]" is called where it has all its steps."""
    return outer.free(inside.name.removesuffix(INSIDE.given))


def _over_time(outer: Graph, inside: Value) -> Value:
    """An output of each step, as an output of the sequence."""
    return replace(inside, name=_outside(outer, inside), shape=(TIME, *inside.shape))


def _pick(outer: Graph, lengths: str, index: int, size: str) -> str:
    at, end = outer.fixed(f"{size}.from", [index]), outer.fixed(f"{size}.to", [index + 1])
    axis = outer.fixed(f"{size}.axis", [0])
    return outer.new("Slice", lengths, at, end, axis, to=f"{size}.size", doc=f"how long {size} is")


def _expand(outer: Graph, value: str, shape: tuple[Size, ...], sizes: Mapping[str, str]) -> str:
    """`value` repeated up to `shape`, in which time and batch are known only when the graph runs."""
    parts = [sizes[s] if isinstance(s, str) else outer.fixed(f"{value}.size{i}", [s]) for i, s in enumerate(shape)]
    full = outer.new("Concat", *parts, to=f"{value}.shape", doc="its full shape", axis=0)
    return outer.new("Expand", value, full, to=f"{value}.full", doc="the same for every trial, where it was given once")


def _noise(outer: Graph, inside: Value, sizes: Mapping[str, str]) -> tuple[str, str]:
    """(the graph input of noise, its value for every step and trial)."""
    n = inside.shape[-1]
    assert isinstance(n, int)
    doc = inside.doc.replace("this step", "each step") + "; none unless it is given"
    name = outer.takes(Value(name=_outside(outer, inside), shape=(TIME_OR_1, BATCH_OR_1, n), doc=doc))
    outer.defaults[name] = real(np.zeros((1, 1, n)), outer.dtype, name)
    return name, _expand(outer, name, (TIME, BATCH, n), sizes)


def _initial(outer: Graph, state: State, sizes: Mapping[str, str]) -> tuple[Value, str]:
    """(the graph input of a state, its value for every trial)."""
    shape = tuple(BATCH_OR_1 if s == BATCH else s for s in state.before.shape)
    what = "drawn per trial, must be given" if state.initial is None else "the initial state unless it is given"
    value = replace(state.before, name=outer.free(state.name), shape=shape, doc=f"{state.before.doc}; {what}")
    outer.takes(value)
    if state.initial is not None:
        one = np.expand_dims(state.initial, state.axis)
        outer.defaults[value.name] = real(one, outer.dtype, value.name) if value.kind == REAL else one
    return value, _expand(outer, value.name, state.before.shape, sizes)
