"""The steps between two networks of one structure: what differs, in the order in which it happens, one at a time.

    fine-tuning                                               declared, where the weights are still those that it left
    integrator, dt, synapse, membrane, refractory, reset, noise, initial v, delay, inputs, weights      declared
    undeclared                                                                       whatever is left: see remainder.py

(Where dt changed and the noise per step did not, that is a step of its own, right after dt.)

A setting (a step, a refractory period, a synapse's shape) is declared by being in the file. The transfer promises to
keep time constants, input weights and biases, and to scale the others by lambda: what breaks that promise is not
declared, except for weights rounded to a grid, which are recognised (grid.py).

Each step is a function (above, below) -> `above` with this one group of fields as `below` has it; so the same function
undoes the step, with the networks swapped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from spikeport.convert.attribution.grid import rounded_bits
from spikeport.convert.trained import take_trained, trained_words
from spikeport.snn.neurons import Array, PerUnit, per_unit
from spikeport.snn.spiking import HeldInput, Population, Projection, ReadOut, SpikingNetwork, Uniform
from spikeport.snn.synapses import Delta, DoubleExponential, Exponential, Synapse

Take = Callable[[SpikingNetwork, SpikingNetwork], SpikingNetwork]
FINETUNING = "fine-tuning"
DT, DT_NOISE, NOISE, UNDECLARED = "dt", "dt: noise per step", "noise", "undeclared"
_IGNORED = frozenset({"provenance", "noise_key", "unit_ids"})  # names, not what a step computes


@dataclass(frozen=True, kw_only=True)
class Step:
    """One change on the way down: `network` is what it leaves."""

    name: str
    what: str
    network: SpikingNetwork

    @property
    def declared(self) -> bool:
        return self.name != UNDECLARED


def comparable(a: SpikingNetwork, b: SpikingNetwork) -> bool:
    """Have they the same populations, inputs, projections and read-outs, whatever is in them?"""

    def outline(n: SpikingNetwork) -> tuple[object, ...]:
        populations = tuple((p.name, p.n, tuple(p.synapses)) for p in n.populations)
        inputs = tuple((i.name, i.n, type(i)) for i in n.inputs)
        projections = tuple((j.source, j.target, j.synapse, j.weight.shape) for j in n.projections)
        return populations, inputs, projections, tuple((r.name, r.source, r.weight.shape) for r in n.readouts)

    return outline(a) == outline(b)


def steps_between(above: SpikingNetwork, below: SpikingNetwork) -> list[Step]:
    """The steps from `above` down to `below`, each on top of those before it; the last one leaves `below`."""
    found, current = [], above
    kept = _noise_kept(above, below)
    for name, take in STEPS.items():
        if name == (NOISE if kept else DT_NOISE):
            continue
        after = take(current, below)
        if name in (NOISE, DT_NOISE) and _alike(after, current):  # a rounding of sqrt(dt) is no step
            current = after
        if not same(after, current):
            found.append(Step(name=name, what=_DESCRIBE[name](current, after), network=after))
            current = after
    if not same(current, below):
        found.append(Step(name=UNDECLARED, what="; ".join(differences(current, below)), network=below))
    return found


def _alike(a: SpikingNetwork, b: SpikingNetwork) -> bool:
    pairs = zip(a.populations, b.populations, strict=True)
    return all(np.allclose(p.noise_sd, q.noise_sd, rtol=1e-9, atol=0.0) for p, q in pairs)


def _noise_kept(above: SpikingNetwork, below: SpikingNetwork) -> bool:
    """Has another dt the same noise per step? Then its change per second is a part of the dt."""
    pairs = zip(above.populations, below.populations, strict=True)
    return above.dt != below.dt and all(same(p.noise_sd, q.noise_sd) for p, q in pairs)


def undone(bottom: SpikingNetwork, above: SpikingNetwork, name: str) -> SpikingNetwork:
    """`bottom` with the one step `name` undone, as `above` has it at the bottom's dt."""
    if name != DT:
        return STEPS[name](bottom, at_dt(above, bottom.dt))
    # what the longer step alone had made of delays and noise comes back whole: a delay of one step has lost its seconds
    found, coarse = at_dt(bottom, above.dt), at_dt(above, bottom.dt)
    populations = []
    for p, low, top, at in zip(
        found.populations, bottom.populations, above.populations, coarse.populations, strict=True
    ):
        unscaled = same(low.noise_sd, top.noise_sd) or same(low.noise_sd, at.noise_sd)
        ref0 = top.ref0 if same(low.ref0, at.ref0) else p.ref0
        populations.append(replace(p, noise_sd=top.noise_sd if unscaled else p.noise_sd, ref0=ref0))
    projections = tuple(
        replace(j, delay=top.delay if low.delay == at.delay else j.delay)
        for j, low, top, at in zip(
            found.projections, bottom.projections, above.projections, coarse.projections, strict=True
        )
    )
    return replace(found, populations=tuple(populations), projections=projections)


def same(a: Any, b: Any) -> bool:
    """Are two networks, or parts of them, equal in all that a step computes? A number equals an array full of it."""
    if is_dataclass(a) and is_dataclass(b):
        names = [f.name for f in fields(a) if f.name not in _IGNORED]
        return type(a) is type(b) and all(same(getattr(a, n), getattr(b, n)) for n in names)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, Sequence) and not isinstance(a, str):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        try:
            return bool(np.all(np.equal(*np.broadcast_arrays(np.asarray(a), np.asarray(b)))))
        except (ValueError, TypeError):
            return False
    return bool(a == b)


def differences(a: SpikingNetwork, b: SpikingNetwork) -> list[str]:
    """What differs, part by part, in words: which units, and by what factor where there is one."""
    found = []
    for p, q in zip(a.populations, b.populations, strict=True):
        for name in p.synapses:
            found += _differing(f"population {p.name}: time constant of synapse {name}", *_decays(p, q, name))
        found += _differing(f"population {p.name}: bias, mV", per_unit(p.bias, p.n), per_unit(q.bias, p.n))
        for name in dict.fromkeys((*p.synaptic_bias, *q.synaptic_bias)):
            x, y = (per_unit(i.synaptic_bias.get(name, 0.0), i.n) for i in (p, q))
            found += _differing(f"population {p.name}: bias of synapse {name}", x, y)
    for j, k in zip(a.projections, b.projections, strict=True):
        found += _differing(f"projection {j.source}->{j.target}: weights", j.weight, k.weight)
    for r, s in zip(a.readouts, b.readouts, strict=True):
        found += _differing(f"read-out {r.name}: weights", r.weight, s.weight, "output", "unit")
        found += _differing(f"read-out {r.name}: bias", r.bias, s.bias, "output")
        x, y = (per_unit(_decay(i), n.population(i.source).n) for n, i in ((a, r), (b, s)))
        found += _differing(f"read-out {r.name}: time constant", x, y)
    return found or ["a part that has no name here"]


def _differing(what: str, a: Array, b: Array, rows: str = "unit", columns: str = "source unit") -> list[str]:
    """One line on the places at which two arrays, (n,) or (n_target, n_source), differ: rows, or columns if fewer."""
    differs = a != b
    if not differs.any():
        return []
    in_rows = np.flatnonzero(differs.reshape(a.shape[0], -1).any(axis=1))
    in_columns = np.flatnonzero(differs.any(axis=0)) if a.ndim == 2 else in_rows
    by_column = in_columns.size < in_rows.size
    places, kind = (in_columns, columns) if by_column else (in_rows, rows)
    x, y = ((m[:, places] if by_column else m[places]).ravel() for m in (a, b))
    ratios = y[x != 0] / x[x != 0]
    how = ""
    if ratios.size and (y[x == 0] == 0).all() and np.ptp(ratios) <= 1e-9 * abs(ratios[0]):
        how = ", all 0" if ratios[0] == 0 else f", {ratios[0]:.6g} times what they were"
    elif np.ptp(x) == 0 and np.ptp(y) == 0:
        how = f", {x[0]:.6g} -> {y[0]:.6g}"
    named = f"{kind} {places[0]}" if places.size == 1 else f"{places.size} {kind}s (the first {places[0]})"
    return [f"{what} of {named}{how}"]


def _decays(p: Population, q: Population, name: str) -> tuple[Array, Array]:
    return per_unit(_decay(p.synapses[name]), p.n), per_unit(_decay(q.synapses[name]), q.n)


def _decay(part: Synapse | ReadOut) -> PerUnit:
    """The (slower) time constant of a synapse or read-out, s; 0 of a Delta."""
    synapse = part.synapse if isinstance(part, ReadOut) else part
    match synapse:
        case DoubleExponential():
            return synapse.tau_decay
        case Exponential():
            return synapse.tau
        case Delta():
            return 0.0


def _in_populations(change: Callable[[Population, Population], Population]) -> Take:
    def take(above: SpikingNetwork, below: SpikingNetwork) -> SpikingNetwork:
        pairs = zip(above.populations, below.populations, strict=True)
        return replace(above, populations=tuple(change(p, q) for p, q in pairs))

    return take


def _neuron(*names: str) -> Take:
    """The fields `names` of each population's neuron."""
    return _in_populations(
        lambda p, q: replace(p, neuron=replace(p.neuron, **{name: getattr(q.neuron, name) for name in names}))
    )


def _fields(*names: str) -> Take:
    """The fields `names` of each population."""
    return _in_populations(lambda p, q: replace(p, **{name: getattr(q, name) for name in names}))


def _then(*takes: Take) -> Take:
    def take(above: SpikingNetwork, below: SpikingNetwork) -> SpikingNetwork:
        for one in takes:
            above = one(above, below)
        return above

    return take


def at_dt(network: SpikingNetwork, dt: float) -> SpikingNetwork:
    """The network at another step, with the same times: delays and initial refractory periods in seconds, and the noise
    per second (its sd per step grows with sqrt(dt)). A delay stays at least one step.
    """
    if dt == network.dt:
        return network
    ratio = dt / network.dt
    populations = tuple(
        replace(p, noise_sd=np.asarray(p.noise_sd) * math.sqrt(ratio), ref0=np.floor(np.asarray(p.ref0) / ratio + 0.5))
        for p in network.populations
    )
    projections = tuple(
        replace(j, delay=max(1, math.floor(j.delay / ratio + 0.5)) if j.delay else 0) for j in network.projections
    )
    return replace(network, dt=dt, populations=populations, projections=projections)


def _shape(above: Synapse, below: Synapse) -> Synapse:
    """The kind and the rise of `below` with the decay of `above`."""
    if isinstance(below, Delta) or isinstance(above, Delta):
        return below
    if isinstance(below, Exponential):
        return Exponential(tau=_decay(above))
    return DoubleExponential(tau_rise=below.tau_rise, tau_decay=_decay(above))


def _shapes(above: SpikingNetwork, below: SpikingNetwork) -> SpikingNetwork:
    def one(p: Population, q: Population) -> Population:
        return replace(p, synapses={name: _shape(s, q.synapses[name]) for name, s in p.synapses.items()})

    readouts = tuple(
        replace(r, synapse=_shape(r.synapse, s.synapse)) for r, s in zip(above.readouts, below.readouts, strict=True)
    )
    return replace(_in_populations(one)(above, below), readouts=readouts)


def _common_bias(above: SpikingNetwork, below: SpikingNetwork) -> SpikingNetwork:
    """A bias that moved by the same amount in every unit is a setting; b_rec is a part of it and stays."""

    def one(p: Population, q: Population) -> Population:
        moved = per_unit(q.bias, q.n) - per_unit(p.bias, p.n)
        return replace(p, bias=q.bias) if np.ptp(moved) <= 1e-9 * max(1.0, float(np.abs(moved).max())) else p

    return _in_populations(one)(above, below)


def _projected(change: Callable[[Projection, Projection], Projection]) -> Take:
    def take(above: SpikingNetwork, below: SpikingNetwork) -> SpikingNetwork:
        pairs = zip(above.projections, below.projections, strict=True)
        return replace(above, projections=tuple(change(j, k) for j, k in pairs))

    return take


def _sampled(above: SpikingNetwork, below: SpikingNetwork) -> SpikingNetwork:
    def one(i: Any, j: Any) -> Any:
        return replace(i, sampling=j.sampling, dt=j.dt) if isinstance(i, HeldInput) else i

    return replace(above, inputs=tuple(one(i, j) for i, j in zip(above.inputs, below.inputs, strict=True)))


def _weights(above: SpikingNetwork, below: SpikingNetwork) -> SpikingNetwork:
    """Weights of `below`, where one of the two is the other rounded to a grid."""

    def taken(part: Any, other: Any) -> Any:
        a, b = part.weight, other.weight
        rounded = rounded_bits(a, b) is not None or rounded_bits(b, a) is not None  # the second: the step undone
        return replace(part, weight=b) if rounded else part

    readouts = tuple(taken(r, s) for r, s in zip(above.readouts, below.readouts, strict=True))
    return replace(_projected(taken)(above, below), readouts=readouts)


STEPS: dict[str, Take] = {
    FINETUNING: take_trained,
    "integrator": lambda above, below: replace(above, integrator=below.integrator),
    DT: lambda above, below: at_dt(above, below.dt),
    DT_NOISE: _fields("noise_sd"),
    "synapse": _shapes,
    "membrane": _then(_neuron("tau_mem", "v_threshold", "v_leak"), _common_bias),
    "refractory": _then(_neuron("t_ref"), _fields("ref0", "noise_while_refractory", "spikes_while_refractory")),
    "reset": _neuron("reset", "v_reset"),
    NOISE: _fields("noise_sd"),
    "initial v": _fields("v0"),
    "delay": _projected(lambda j, k: replace(j, delay=k.delay)),
    "inputs": _sampled,
    "weights": _weights,
}


def _range(value: Any, scale: float = 1.0) -> str:
    if isinstance(value, Uniform):
        return f"uniform in [{value.low:g}, {value.high:g})"
    low, high = float(np.min(value)) * scale, float(np.max(value)) * scale
    return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"


def _moved(names: Mapping[str, tuple[str, float]], of: Callable[[Population], Any]) -> Callable[..., str]:
    """Describe fields of populations: name -> (unit, factor into that unit)."""

    def describe(a: SpikingNetwork, b: SpikingNetwork) -> str:
        found = []
        for p, q in zip(a.populations, b.populations, strict=True):
            for name, (unit, scale) in names.items():
                x, y = getattr(of(p), name, None), getattr(of(q), name, None)
                if x is None or same(x, y):
                    continue
                plain = isinstance(x, str | bool)
                moved = f"{x} -> {y}" if plain else f"{_range(x, scale)} -> {_range(y, scale)} {unit}".rstrip()
                found.append(f"{name} {moved}")
        return "; ".join(dict.fromkeys(found))

    return describe


def _joined(*describers: Callable[..., str]) -> Callable[..., str]:
    return lambda a, b: "; ".join(text for d in describers if (text := d(a, b)))


def _kind(synapse: Synapse) -> str:
    rise = f", rise {_range(synapse.tau_rise, 1e3)} ms" if isinstance(synapse, DoubleExponential) else ""
    return f"{type(synapse).__name__}{rise}"


def _shape_moved(a: SpikingNetwork, b: SpikingNetwork) -> str:
    pairs = [
        (s, q.synapses[n]) for p, q in zip(a.populations, b.populations, strict=True) for n, s in p.synapses.items()
    ]
    pairs += [(r.synapse, s.synapse) for r, s in zip(a.readouts, b.readouts, strict=True)]
    return "; ".join(dict.fromkeys(f"{_kind(s)} -> {_kind(t)}" for s, t in pairs if not same(s, t)))


def _weights_moved(a: SpikingNetwork, b: SpikingNetwork) -> str:
    parts = [(f"{j.source}->{j.target}", j.weight, k.weight) for j, k in zip(a.projections, b.projections, strict=True)]
    parts += [(f"read-out {r.name}", r.weight, s.weight) for r, s in zip(a.readouts, b.readouts, strict=True)]
    found = []
    for name, x, y in parts:
        bits = rounded_bits(x, y)
        if bits is not None and not same(x, y):
            size = float(np.sqrt(np.mean((y - x) ** 2)) / np.sqrt(np.mean(x**2))) if np.any(x) else 0.0
            found.append(f"{name} on a grid of {bits} {'bit' if bits == 1 else 'bits'}, off by {size:.2g} of their rms")
    return "; ".join(found)


_MEMBRANE = {"tau_mem": ("ms", 1e3), "v_threshold": ("mV", 1.0), "v_leak": ("mV", 1.0)}
_REFRACTORY = {"ref0": ("steps", 1.0), "noise_while_refractory": ("", 1.0), "spikes_while_refractory": ("", 1.0)}
_DESCRIBE: dict[str, Callable[[SpikingNetwork, SpikingNetwork], str]] = {
    FINETUNING: trained_words,
    "integrator": lambda a, b: f"{a.integrator} -> {b.integrator}",
    DT: lambda a, b: f"{a.dt * 1e3:g} -> {b.dt * 1e3:g} ms",
    "synapse": _shape_moved,
    "membrane": _joined(
        _moved(_MEMBRANE, lambda p: p.neuron), _moved({"bias": ("mV", 1.0)}, lambda p: p)
    ),
    "refractory": _joined(
        _moved({"t_ref": ("ms", 1e3)}, lambda p: p.neuron), _moved(_REFRACTORY, lambda p: p)
    ),
    "reset": _moved({"reset": ("", 1.0), "v_reset": ("mV", 1.0)}, lambda p: p.neuron),
    DT_NOISE: lambda a, b: (
        f"{_moved({'noise_sd': ('mV a step', 1.0)}, lambda p: p)(a, b)}: as at another dt, not scaled with sqrt(dt)"
    ),
    NOISE: _moved({"noise_sd": ("mV a step", 1.0)}, lambda p: p),
    "initial v": _moved({"v0": ("mV", 1.0)}, lambda p: p),
    "delay": lambda a, b: "; ".join(
        f"{j.source}->{j.target} {j.delay} -> {k.delay} steps"
        for j, k in zip(a.projections, b.projections, strict=True) if j.delay != k.delay
    ),
    "inputs": lambda a, b: "; ".join(
        f"{i.name}: {i.sampling} samples every {i.dt * 1e3:g} ms -> {j.sampling}, {j.dt * 1e3:g} ms"
        for i, j in zip(a.held_inputs, b.held_inputs, strict=True) if not same(i, j)
    ),
    "weights": _weights_moved,
}  # fmt: skip
