"""The undeclared remainder, found by replay: which population, which units, over which edge, from which step on.

Each population of the level under test is driven by the inputs and spikes that it should get (the open loop), so what
differs there is its own doing. Then the edges are told apart: with every input silent, only the population's own
parameters are left; with one input at a time, only one edge. At last a list of usual faults (faults.py) is tried: one
that gives exactly what was found is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.convert.attribution.faults import Where, explain, source_of
from spikeport.snn.measures.differences import MARGIN, Difference, differing, disagreements, first_difference
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import SpikingNetwork

Given = Mapping[str, Any]  # input -> held values (samples, batch, n) or SpikeTrains, of the opened network
Simulate = Callable[[Given], Recording]
TOLERANCE = 1e-6  # mV: rounding is a thousand times less in float64, and what moves a spike is more
OWN = "its own parameters"
PROBED, FIRING = 0.1, 20.0  # s that a probe goes on after its last spike; spikes/s of its random units
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, kw_only=True)
class Remainder:
    """What no declared step explains.

    units: of `population`, those that differ.  kind: what the rate model calls them, where it has one name for all.
    edges: the projections, "source->target", over which it comes, or OWN.  step: the first at which anything differs,
    of trial `trial`.  first: the first spike that differs, if one does.  differing of compared: spikes.
    faults: usual faults that give what was found.  probed: the trials do not show it, a probe does.
    """

    level: str
    population: str
    n: int
    units: tuple[int, ...]
    kind: str
    edges: tuple[str, ...]
    step: int
    seconds: float
    trial: int
    first: Difference | None
    differing: int
    compared: int
    faults: tuple[str, ...]
    probed: bool = False

    @property
    def text(self) -> str:
        if not self.units:
            where, what = " and ".join(self.edges), ", ".join(self.faults)
            return f"{self.level}: no replayed spike differs, so it is in {where}: {what}."
        who = f"unit {self.units[0]}" if len(self.units) == 1 else f"{len(self.units)} of {self.n} units"
        who += f" ({self.kind})" if self.kind else ""
        if len(self.units) == self.n:
            who = "every unit"
        over = " and ".join(self.edges) if self.edges else "no single edge"
        where = f"probe trial {self.trial}, and the trials do not show it" if self.probed else (f"trial {self.trial}")
        said = (
            f"{self.level}: population {self.population}, {who}, through {over}, from step {self.step} "
            f"({self.seconds:.6g} s) of {where}; {self.differing} spikes differ, {self.compared} replayed"
        )
        if self.first is not None:
            said += f"; the first is {self.first}"
        return said + (f". The same comes of: {', or '.join(self.faults)}." if self.faults else ".")

    def as_dict(self) -> dict[str, Any]:
        return {
            "level": self.level, "text": self.text, "population": self.population, "units": list(self.units),
            "n": self.n, "kind": self.kind, "edges": list(self.edges), "step": self.step, "seconds": self.seconds,
            "trial": self.trial, "first": None if self.first is None else self.first.as_dict(),
            "differing": self.differing, "compared": self.compared, "faults": list(self.faults),
            "probed": self.probed,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Two runs of one opened network (open_loop.py), the one that should be and the one that is.

    Both record v where they can, and draw v0 by the keys of seed and first_trial, without noise.  tolerance: mV by
    which v may be off.  margin: mV from the threshold within which rounding decides a spike, which is no difference.
    """

    opened: SpikingNetwork
    expected: Simulate
    found: Simulate
    seed: int = 0
    first_trial: int = 0
    tolerance: float = TOLERANCE
    margin: float = MARGIN

    def apart(self, population: str, given: Given) -> bool:
        """Does any unit of the population differ on these inputs?"""
        return bool((self.starts(population, self.expected(given), self.found(given)) < NEVER).any())

    def starts(self, population: str, should: Recording, did: Recording) -> NDArray[np.int64]:
        """(batch, n): the first step (1, 2, ...) at which each unit differs, in spikes, or in v where both have it."""
        a, b = should.spikes[population], did.spikes[population]
        name, found = f"{population}.v", np.full(a.shape[1:], NEVER)
        step, trial, unit = disagreements(a, b)
        np.minimum.at(found, (trial, unit), step)
        if name not in should.traces:
            return found
        v = should.traces[name]
        if name in did.traces:
            off = np.abs(v - did.traces[name]) > self.tolerance
            found = np.minimum(found, np.where(off.any(axis=0), off.argmax(axis=0) + 1, NEVER))
        b_, u_ = np.nonzero(found < NEVER)
        p = self.opened.population(population)
        near = np.abs(v[found[b_, u_] - 1, b_, u_] - per_unit(p.neuron.v_threshold, p.n)[u_]) <= self.margin
        spiked = found[b_, u_] == _first_steps(step, trial, unit, found.shape)[b_, u_]
        found[b_[near & spiked], u_[near & spiked]] = NEVER
        return found

    def edges(self, population: str, given: Given) -> tuple[str, ...]:
        """The inputs over which the difference comes, or the population itself; () where only several together."""
        silence = {name: silent(values) for name, values in given.items()}
        if self.apart(population, silence):
            return (population,)
        ports = dict.fromkeys(j.source for j in self.opened.projections if j.target == population)
        alone = tuple(port for port in ports if self.apart(population, {**silence, port: given[port]}))
        return alone or tuple(port for port in ports if not self.apart(population, {**given, port: silence[port]}))


def localise(
    level: str,
    bench: Bench,
    given: Given,
    *,
    labels: Mapping[str, NDArray[np.bool_]] | None = None,
    known: tuple[str, ...] = (),
) -> Remainder | None:
    """Where what was found is not what should be; None where it is.

    labels: kinds of units, of populations of that size.  known: what explains it, where that is known already.
    """
    opened = bench.opened
    should, did = bench.expected(given), bench.found(given)
    starts = {p.name: bench.starts(p.name, should, did) for p in opened.populations}
    firsts = {name: int(s.min()) for name, s in starts.items() if s.size and s.min() < NEVER}
    if not firsts:
        return None
    population = min(firsts, key=lambda name: firsts[name])
    step = firsts[population]
    units = np.flatnonzero((starts[population] < NEVER).any(axis=0))
    trial = int(np.argmin(starts[population].min(axis=1)))
    edges = bench.edges(population, given)
    first = first_difference(should, did, opened)
    where = Where(
        population=population, units=units, edges=edges, step=step, trial=trial, seed=bench.seed,
        first_trial=bench.first_trial,
    )  # fmt: skip
    edges, faults = (edges, known) if known else explain(opened, given, did, where, bench.tolerance)
    return Remainder(
        level=level, population=population, n=opened.population(population).n, units=tuple(int(u) for u in units),
        kind=_kind(units, opened.population(population).n, labels or {}),
        edges=tuple(OWN if e == population else f"{source_of(e)}->{population}" for e in edges), step=step,
        seconds=step * opened.dt, trial=bench.first_trial + trial,
        first=None if first is None else replace(first, trial=bench.first_trial + first.trial),
        differing=differing(should, did), compared=sum(s.n_spikes for s in should.spikes.values()), faults=faults,
    )  # fmt: skip


def _first_steps(
    step: NDArray[np.int64], trial: NDArray[np.int64], unit: NDArray[np.int64], shape: tuple[int, ...]
) -> NDArray[np.int64]:
    first = np.full(shape, NEVER)
    np.minimum.at(first, (trial, unit), step)
    return first


def probe(opened: SpikingNetwork, given: Given) -> Given:
    """Inputs that use everything once: in the first trial each unit fires once, one a step, and nothing is held; in the
    second every input is random, so that units fire and recover.
    """
    rng = np.random.default_rng(0)
    widest = max((v.shape[2] for v in given.values() if isinstance(v, SpikeTrains)), default=1)
    n_steps = widest + round(PROBED / opened.dt)
    found: dict[str, Any] = {}
    for name, values in given.items():
        n = values.shape[2]
        if isinstance(values, SpikeTrains):
            dense = np.zeros((n_steps, 2, n), dtype=np.int32)
            dense[np.arange(n), 0, np.arange(n)] = 1
            dense[:, 1] = rng.random((n_steps, n)) < FIRING * opened.dt
            found[name] = SpikeTrains.from_dense(dense)
        else:
            port = next(i for i in opened.held_inputs if i.name == name)
            samples = rng.normal(size=(max(2, math.ceil(n_steps * opened.dt / port.dt)), 2, n))
            samples[:, 0] = 0.0
            found[name] = samples
    return found


def silent(values: Any) -> Any:
    """An input of the same shape on which nothing happens."""
    if isinstance(values, SpikeTrains):
        return SpikeTrains.build([], [], [], values.shape)
    nothing: Array = np.zeros_like(values)
    return nothing


def _kind(units: NDArray[np.int64], n: int, labels: Mapping[str, NDArray[np.bool_]]) -> str:
    """The label that all of these units have and no other unit has; or one that all have."""
    mine = np.zeros(n, dtype=np.bool_)
    mine[units] = True
    fitting = {name: mask for name, mask in labels.items() if mask.shape == (n,)}
    for name, mask in fitting.items():
        if np.array_equal(mask, mine):
            return f"all of kind {name}"
    having = [name for name, mask in fitting.items() if mask[units].all()]
    return f"of kind {', '.join(having)}" if having else ""
