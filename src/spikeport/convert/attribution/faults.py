"""Usual faults of simulators and files, tried one by one: one that gives exactly what was found explains it.

Each is a change of the opened network or of its inputs; with a number in it, that number is fitted. "Exactly" is: v of
the units that differ comes within the tolerance, up to the end of the window that is looked at.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn import engine
from spikeport.snn.errors import SpikeportError
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import HeldInput, Population, SpikeInput, SpikingNetwork, sample_index
from spikeport.snn.synapses import Delta, DoubleExponential, Exponential, Synapse

Given = Mapping[str, Any]
World = tuple[SpikingNetwork, Given]
Make = Callable[[float], World]
MOST = 3  # explanations to name
RISE = 4  # steps from a spike's arrival until v shows it, at most: a double exponential needs two
SENDERS = 8  # source units to try, of those that could have made the first difference
WINDOW = 0.05  # s after the first difference: enough for a current to show its time constant
FACTORS = (-2.0, -1.0, -0.5, 0.0, 0.5, 0.8, 0.9, 1.1, 1.25, 1.5, 2.0, 3.0)
SHIFTS = (-10.0, -5.0, -2.0, -1.0, -0.5, -0.1, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0)  # mV
_FITTED = 1e-4  # share of the difference that may be left for a fitted number to be the explanation


@dataclass(frozen=True, kw_only=True)
class Where:
    """What replay knows: the population, its units that differ, the inputs over which it comes (its own name: its
    parameters), the first step and its trial of the batch, and the keys of v0.
    """

    population: str
    units: NDArray[np.int64]
    edges: tuple[str, ...]
    step: int
    trial: int
    seed: int
    first_trial: int


@dataclass(frozen=True, kw_only=True)
class _Case:
    """What was found: v of the differing units in the window (steps, units), and how to run a world over it."""

    population: str
    units: NDArray[np.int64]
    v: Array
    n_steps: int
    given: Given
    opened: SpikingNetwork
    seed: int
    trial: int

    def apart(self, world: World) -> Array:
        """|v - found v| (steps, units) over the window, mV; infinite where there can be no such network."""
        name = f"{self.population}.v"
        try:
            run = engine.simulate(
                *world, n_steps=self.n_steps, n_batch=1, seed=self.seed, first_trial=self.trial, with_noise=False,
                record=[name],
            )  # fmt: skip
        except SpikeportError:
            return np.full((1, 1), np.inf)
        return np.abs(run.traces[name][:, 0, self.units] - self.v)

    def off(self, make: Make, value: float) -> float:
        """The mean of it in the world that `value` makes."""
        try:
            return float(self.apart(make(value)).mean())
        except SpikeportError:
            return float("inf")


def explain(
    opened: SpikingNetwork, given: Given, found: Recording, where: Where, tolerance: float
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(the edges they are on, the faults that give what was found there, in that trial)."""
    population, units, edges, step, trial = where.population, where.units, where.edges, where.step, where.trial
    name = f"{population}.v"
    if name not in found.traces:
        return edges, ()
    n_steps = min(found.n_steps, step + round(WINDOW / opened.dt))
    case = _Case(
        population=population, units=units,
        v=np.asarray(found.traces[name][:n_steps, trial][:, units], dtype=np.float64),
        n_steps=n_steps, given={k: _trial(v, trial) for k, v in given.items()},
        opened=opened, seed=where.seed, trial=where.first_trial + trial,
    )  # fmt: skip
    for at in dict.fromkeys((edges, (population,))):  # what only spikes show (a refractory period) comes over any edge
        explained = [text for text, world in _plain(case, at, step) if case.apart(world).max() <= tolerance]
        if explained:
            return at, tuple(explained[:MOST])
    explained = []
    before = float(case.apart((opened, case.given)).mean())
    for text, make, values in _fitted(case, edges):
        value, off = _fit(functools.partial(case.off, make), values)
        if off <= max(tolerance, _FITTED * before):
            explained.append(text.format(value))
    return edges, tuple(explained[:MOST])


def source_of(port: str) -> str:
    """What an input of an opened network stands for (open_loop.py)."""
    return port.removesuffix("_replay")


def _trial(values: Any, trial: int) -> Any:
    if not isinstance(values, SpikeTrains):
        return values[:, trial : trial + 1]
    mine = values.batch == trial
    shape = (values.shape[0], 1, values.shape[2])
    return SpikeTrains.build(
        values.step[mine], np.zeros(int(mine.sum())), values.neuron[mine], shape, values.count[mine]
    )


def _plain(case: _Case, edges: tuple[str, ...], step: int) -> Iterator[tuple[str, World]]:
    """Faults without a number in them."""
    for edge in edges:
        if edge == case.population:
            yield from _own(case)
            continue
        source = source_of(edge)
        if isinstance(case.given[edge], SpikeTrains):
            yield from _spikes(case, edge, source, step)
        else:
            yield from _held(case, edge, source)
        yield from _rows(case, edge, source)


def _held(case: _Case, edge: str, source: str) -> Iterator[tuple[str, World]]:
    """A held input that comes too late or too early, by a step or by a sample."""
    port = next(i for i in case.opened.held_inputs if i.name == edge)
    values = case.given[edge]
    index = sample_index(np.arange(1, case.n_steps + 1), case.opened.dt, port, values.shape[0])
    stepped = replace(
        case.opened, inputs=tuple(_resampled(i, case.opened.dt) if i.name == edge else i
                                  for i in case.opened.inputs),
    )  # fmt: skip
    for shift, words in ((1, "one step late"), (-1, "one step early")):
        rows = index[np.clip(np.arange(case.n_steps) - shift, 0, case.n_steps - 1)]
        yield f"input {source} {words}", (stepped, {**case.given, edge: values[rows]})
    for shift, words in ((1, "one sample late"), (-1, "one sample early")):
        moved = values[np.clip(np.arange(values.shape[0]) - shift, 0, values.shape[0] - 1)]
        yield f"input {source} {words}", (case.opened, {**case.given, edge: moved})
    for sampling in {"floor", "nearest"} - {port.sampling}:
        ports = tuple(replace(i, sampling=sampling) if isinstance(i, HeldInput) and i.name == edge else i
                      for i in case.opened.inputs)  # fmt: skip
        yield f"input {source} sampled as '{sampling}'", (replace(case.opened, inputs=ports), case.given)


def _resampled(port: HeldInput | SpikeInput, dt: float) -> HeldInput | SpikeInput:
    return replace(port, dt=dt, sampling="floor") if isinstance(port, HeldInput) else port


def _spikes(case: _Case, edge: str, source: str, step: int) -> Iterator[tuple[str, World]]:
    """Spikes that come too late or too early; a source unit whose weights have the wrong sign, or none."""
    for shift, words in ((1, "one step late"), (-1, "one step early")):
        projections = tuple(
            replace(j, delay=max(0, j.delay + shift)) if _on(j, case, edge) else j for j in case.opened.projections
        )
        yield f"spikes of {source} {words}", (replace(case.opened, projections=projections), case.given)
    trains = case.given[edge]
    for j in case.opened.projections:
        if not _on(j, case, edge):
            continue
        arrived = trains.step + 1 + j.delay  # a current with a rise shows some steps later
        senders = np.unique(trains.neuron[(arrived > step - RISE) & (arrived <= step)])
        for sender in senders[:SENDERS]:
            for factor, words in ((-1.0, "negated"), (0.0, "missing")):
                weight = j.weight.copy()
                weight[:, sender] *= factor
                text = f"weights from unit {sender} of {source} {words}"
                yield text, (_with(case.opened, j, weight), case.given)


def _rows(case: _Case, edge: str, source: str) -> Iterator[tuple[str, World]]:
    """Weights into the differing units: negated, missing, or of the transposed matrix."""
    for j in case.opened.projections:
        if not _on(j, case, edge):
            continue
        for factor, words in ((-1.0, "negated"), (0.0, "missing")):
            weight = j.weight.copy()
            weight[case.units] *= factor
            yield (
                f"weights {source}->{case.population} of these units {words}",
                (_with(case.opened, j, weight), case.given),
            )
        if j.weight.shape[0] == j.weight.shape[1] and source == case.population:
            yield (
                f"weights {source}->{case.population} transposed",
                (_with(case.opened, j, j.weight.T.copy()), case.given),
            )


def _own(case: _Case) -> Iterator[tuple[str, World]]:
    """Parameters of the population itself."""
    p = case.opened.population(case.population)
    neuron = p.neuron
    one = case.opened.dt
    t_ref = per_unit(neuron.t_ref, p.n)
    changes: dict[str, Population] = {
        "no initial refractory period": replace(p, ref0=0.0),
        "no refractory period": replace(p, neuron=replace(neuron, t_ref=0.0)),
        "a refractory period one step longer": replace(p, neuron=replace(neuron, t_ref=t_ref + one)),
        "a refractory period one step shorter": replace(p, neuron=replace(neuron, t_ref=np.maximum(t_ref - one, 0))),
        "a start at v_reset": replace(p, v0=per_unit(neuron.v_reset, p.n)),
        "no bias": replace(p, bias=0.0),
    }
    if np.all(np.asarray(neuron.v_leak) <= np.asarray(neuron.v_threshold)):
        changes["a reset to v_leak"] = replace(p, neuron=replace(neuron, v_reset=neuron.v_leak))
    for text, changed in changes.items():
        yield text, (_swapped(case.opened, changed), case.given)


def _fitted(case: _Case, edges: tuple[str, ...]) -> Iterator[tuple[str, Make, tuple[float, ...]]]:
    """Faults with a number in them: a text with a place for it, the world it makes, and where to begin to look."""
    above_zero = tuple(f for f in FACTORS if f > 0)
    p = case.opened.population(case.population)
    for edge in edges:
        if edge == case.population:
            yield "tau_mem of these units {:.4g} times what it should be", _tau_mem(case), above_zero
            yield "a bias of {:+.4g} mV in these units", _bias(case), SHIFTS
            continue
        source = source_of(edge)
        for j in (j for j in case.opened.projections if _on(j, case, edge)):
            text = f"weights {source}->{case.population} of these units {{:.4g}} times what they should be"
            yield text, _scaled_weights(case, j), FACTORS
            if j.synapse is not None and not isinstance(p.synapses[j.synapse], Delta):
                text = f"a time constant of synapse {j.synapse} {{:.4g}} times what it should be in these units"
                yield text, _scaled_tau(case, j.synapse), above_zero


def _scaled_weights(case: _Case, j: Any) -> Make:
    def make(c: float) -> World:
        weight = j.weight.copy()
        weight[case.units] *= c
        return _with(case.opened, j, weight), case.given

    return make


def _scaled_tau(case: _Case, synapse: str) -> Make:
    p = case.opened.population(case.population)

    def scaled(value: Any, c: float) -> Array:
        tau = per_unit(value, p.n)
        tau[case.units] *= c
        return tau

    def make(c: float) -> World:
        s: Synapse = p.synapses[synapse]
        if isinstance(s, DoubleExponential):
            s = replace(s, tau_decay=scaled(s.tau_decay, c))
        elif isinstance(s, Exponential):
            s = Exponential(tau=scaled(s.tau, c))
        return _swapped(case.opened, replace(p, synapses={**p.synapses, synapse: s})), case.given

    return make


def _tau_mem(case: _Case) -> Make:
    p = case.opened.population(case.population)

    def make(c: float) -> World:
        tau = per_unit(p.neuron.tau_mem, p.n)
        tau[case.units] *= c
        return _swapped(case.opened, replace(p, neuron=replace(p.neuron, tau_mem=tau))), case.given

    return make


def _bias(case: _Case) -> Make:
    p = case.opened.population(case.population)

    def make(c: float) -> World:
        bias = per_unit(p.bias, p.n)
        bias[case.units] += c
        return _swapped(case.opened, replace(p, bias=bias)), case.given

    return make


def _fit(off: Callable[[float], float], values: tuple[float, ...]) -> tuple[float, float]:
    """The number with the least `off`: the best of `values`, then Brent's bounded search between its neighbours."""
    from scipy.optimize import minimize_scalar  # here, because it takes long to import

    order = sorted(values)
    at = [off(value) for value in order]
    best = int(np.argmin(at))
    low, high = order[max(best - 1, 0)], order[min(best + 1, len(order) - 1)]
    found = minimize_scalar(off, bounds=(low, high), method="bounded", options={"xatol": 1e-7})
    return min(((order[best], at[best]), (float(found.x), float(found.fun))), key=lambda pair: pair[1])


def _on(j: Any, case: _Case, edge: str) -> bool:
    return bool(j.source == edge and j.target == case.population)


def _with(network: SpikingNetwork, j: Any, weight: Array) -> SpikingNetwork:
    return replace(network, projections=tuple(replace(k, weight=weight) if k is j else k for k in network.projections))


def _swapped(network: SpikingNetwork, population: Population) -> SpikingNetwork:
    return replace(
        network, populations=tuple(population if p.name == population.name else p for p in network.populations)
    )
