"""What reaches each neuron and each output of a NIR graph: spikes and inputs, through everything linear in between.

Affine, Linear, Scale, Delay and sums of edges are linear, so the value of a node is

    sum over terms of  weight @ source[k - delay]  +  constant

with a term for each (source, delay), its source an Input or a neuron. LI and CubaLI filter a term; they only ever stand
in front of an Output, and their voltage is a sum of filtered spikes (synapses.py) of unit area:

    LI      v[k] = (1 - dt/tau) v[k-1] + dt/tau (v_leak + r u[k]),  u = w z + b
            from rest: v = v_leak + r b + dt r w x,  x[k] = (1 - dt/tau) x[k-1] + z[k] / tau, Exponential(tau)
    CubaLI  i[k] = (1 - dt/ts) i[k-1] + dt/ts w_in u[k],  v[k] = (1 - dt/tm) v[k-1] + dt/tm (v_leak + r i[k])
            v[k] = v_leak + r w_in b + dt r w_in w x[k+1], x of DoubleExponential(ts, tm) under euler, a step late
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.neurons import Array
from spikeport.targets.nir.flat import FILTERS, SPIKING, Flat, delay_steps, shape_in, shape_out
from spikeport.targets.nir.graph import Node

MAX_WEIGHTS = 1 << 28  # numbers in one matrix, 2 GiB: a small file can ask for any size by multiplying long vectors
MAX_CHANNELS = 1 << 24

Filter = tuple[float, ...]  # () none, (tau,) of an LI, (tau_syn, tau_mem) of a CubaLI
Key = tuple[str, int, Filter]  # source, delay in steps, filter


@dataclass(frozen=True, kw_only=True)
class Signal:
    """n values: terms, key -> weight (n, n_source), None where it is 1; constant (n,)."""

    n: int
    terms: dict[Key, Array | None] = field(default_factory=dict)
    constant: Array


class CannotSayError(Exception):
    """Why a node's values have no place in a spiking network."""


def values_of(node: Node, name: str) -> Array:
    """A parameter, flat and in float64."""
    return np.asarray(node.fields[name], dtype=np.float64).ravel()


def gain_of(node: Node) -> Array:
    """What a neuron multiplies its input by: r, times w_in where it has one."""
    gain = values_of(node, "r")
    return gain * np.asarray(node.fields["w_in"], dtype=np.float64).ravel() if "w_in" in node.fields else gain


def size(shape: tuple[int, ...]) -> int:
    """Channels of a shape; Python integers, because a hostile product must not wrap round."""
    n = 1
    for length in shape:
        n *= int(length)
    return n


def entering(flat: Flat, dt: float, problems: list[str]) -> dict[str, Signal]:
    """name -> what enters each neuron and each Output; what cannot be said goes to `problems`, with its node."""
    sources = flat.of("Input", *SPIKING)
    given: dict[str, Signal] = {}
    for name in sources:
        n = size(shape_out(flat.nodes[name]))
        if n > MAX_CHANNELS:
            problems.append(f"node {name}: {n} channels, limit {MAX_CHANNELS}")
        else:
            given[name] = Signal(n=n, terms={(name, 0, ()): None}, constant=np.zeros(n))
    found: dict[str, Signal] = {}
    for name in [*_linear_order(flat), *flat.of("Output", *SPIKING)]:
        node, before = flat.nodes[name], flat.before[name]
        if any(a not in given for a in before):
            continue  # its problem is there already
        try:
            taken = _sum([given[a] for a in before], size(shape_in(node)), given)
            if node.kind in ("Output", *SPIKING):
                found[name] = taken
            else:
                given[name] = _through(node, taken, dt, given)
        except CannotSayError as error:
            problems.append(f"node {name}: {error}")
    return found


def _linear_order(flat: Flat) -> list[str]:
    """What lies between neurons, each after what leads to it; there is no loop among them (flat.check)."""
    between = [name for name, node in flat.nodes.items() if node.kind not in ("Input", "Output", *SPIKING)]
    inside = set(between)
    waits = {name: sum(a in inside for a in flat.before[name]) for name in between}
    order = [name for name in between if waits[name] == 0]
    for name in order:  # grows while it is read
        for after in flat.after[name]:
            if after in waits:
                waits[after] -= 1
                if waits[after] == 0:
                    order.append(after)
    return order


def _sum(parts: list[Signal], n: int, given: dict[str, Signal]) -> Signal:
    if len(parts) == 1:
        return parts[0]
    terms: dict[Key, Array | None] = {}
    constant: Array = np.zeros(n)
    for part in parts:
        constant = constant + part.constant
        for key, weight in part.terms.items():
            terms[key] = dense(terms[key], n) + dense(weight, n) if key in terms else weight
    return Signal(n=n, terms=terms, constant=constant)


def dense(weight: Array | None, n: int) -> Array:
    """(n, n_source): the weight itself, or the one that None stands for."""
    if weight is not None:
        return weight
    _check_size(n, n)
    return np.eye(n)


def _check_size(rows: int, columns: int) -> None:
    if rows * columns > MAX_WEIGHTS:
        raise CannotSayError(f"its weights would be {rows} x {columns} numbers, limit {MAX_WEIGHTS} in all")


def _through(node: Node, taken: Signal, dt: float, given: dict[str, Signal]) -> Signal:
    """What leaves a node that is linear."""
    if node.kind in ("Affine", "Linear"):
        matrix = np.asarray(node.fields["weight"], dtype=np.float64)
        for source, _, _ in taken.terms:
            _check_size(matrix.shape[0], given[source].n)
        constant = matrix @ taken.constant
        if "bias" in node.fields:
            constant = constant + values_of(node, "bias")
        terms = {key: matrix if weight is None else matrix @ weight for key, weight in taken.terms.items()}
        return Signal(n=matrix.shape[0], terms=dict(terms), constant=constant)
    if node.kind == "Scale":
        return _scaled(taken, values_of(node, "scale"))
    if node.kind == "Delay":
        return _delayed(taken, delay_steps(node, dt))
    if node.kind in FILTERS:
        return _filtered(node, taken, dt)
    return taken  # the Input or Output of a graph inside


def _scaled(taken: Signal, by: Array) -> Signal:
    terms = {key: by[:, None] * dense(weight, taken.n) for key, weight in taken.terms.items()}
    return Signal(n=taken.n, terms=dict(terms), constant=by * taken.constant)


def _delayed(taken: Signal, steps: NDArray[np.int64]) -> Signal:
    """Channels of one delay become a term of their own."""
    if (taken.constant[steps > 0] != 0).any():
        raise CannotSayError("a bias in front of a Delay: it would begin a delay late (the bias can stand behind it)")
    terms: dict[Key, Array | None] = {}
    different = np.unique(steps)
    for (source, delay, kind), weight in taken.terms.items():
        for step in different:
            rows = weight if different.size == 1 else np.where((steps == step)[:, None], dense(weight, taken.n), 0.0)
            key = (source, delay + int(step), kind)
            terms[key] = rows if key not in terms else dense(terms[key], taken.n) + dense(rows, taken.n)
    return Signal(n=taken.n, terms=terms, constant=taken.constant)


def _filtered(node: Node, taken: Signal, dt: float) -> Signal:
    """The voltage of an LI or CubaLI that starts at rest."""
    taus = [values_of(node, name) for name in (("tau",) if node.kind == "LI" else ("tau_syn", "tau_mem"))]
    for name, tau in zip(("tau",) if node.kind == "LI" else ("tau_syn", "tau_mem"), taus, strict=True):
        if np.ptp(tau) > 0:
            raise CannotSayError(
                f"{name} from {tau.min():g} to {tau.max():g} s; the time constants of a read-out belong to the units "
                "that it reads, so its own channels must share one"
            )
    kind = tuple(float(tau[0]) for tau in taus)
    gain = gain_of(node)
    scaled = _scaled(taken, dt * gain)
    terms = {(source, delay, kind): weight for (source, delay, _), weight in scaled.terms.items()}
    return Signal(n=taken.n, terms=terms, constant=values_of(node, "v_leak") + gain * taken.constant)
