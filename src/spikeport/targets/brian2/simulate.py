"""Running a lowered network in Brian2: explicit objects, one Network, one clock, trials side by side.

A batch is n_batch copies of each population in one group, unit j of trial b at index b n + j; synapses join units of
one trial. Populations are stepped one after the other, each in four slots of its own,

    start inputs   p0_arrivals p0_step p0_threshold p0_reset   p1_arrivals p1_step ...

which is the reference's order. Synapses deliver before the target's step, what its sources spiked last: in this step
where they are stepped earlier, else in the one before. So a delay of d steps is d dt or (d - 1) dt, a projection
without delay acts within the step, and all arrivals are added projection by projection, as in the reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.recording import SpikeTrains
from spikeport.snn.spiking import Projection, SpikeInput
from spikeport.targets.brian2.step import GroupCode, group_code
from spikeport.targets.feed import Feed
from spikeport.targets.tables import PopulationStep, population_steps

START, INPUTS = "start", "inputs"


@dataclass(kw_only=True)
class Built:
    """The Brian2 objects of a run. given: (input, delay) -> the group that spikes as it was given."""

    steps: tuple[PopulationStep, ...]
    codes: Mapping[str, GroupCode]
    groups: dict[str, Any] = field(default_factory=dict)
    given: dict[tuple[str, int], Any] = field(default_factory=dict)
    spikes: dict[str, Any] = field(default_factory=dict)
    traces: dict[str, tuple[Any, str]] = field(default_factory=dict)
    others: list[Any] = field(default_factory=list)

    def objects(self) -> list[Any]:
        monitors = [*self.spikes.values(), *(m for m, _ in self.traces.values())]
        return [*self.groups.values(), *self.given.values(), *self.others, *monitors]


def build(brian2: Any, fed: Feed, record: frozenset[str]) -> tuple[Built, Any]:
    """(the objects, their clock) of one run."""
    network = fed.lowering.network
    clock = brian2.Clock(dt=network.dt * brian2.second)
    steps = population_steps(network)
    built = Built(steps=steps, codes={p.name: group_code(p, fed.noisy(p.name)) for p in steps})
    for index, p in enumerate(steps):
        _population(brian2, built, p, index, fed, clock)
    for j in network.projections:
        _projection(brian2, built, j, fed, clock)
    for name in sorted(record):
        _trace(brian2, built, name, clock)
    return built, clock


def schedule(built: Built) -> list[str]:
    """The slots of a step, in their order; Brian2 wants its own names to be there too."""
    own = [f"p{i}_{slot}" for i in range(len(built.steps)) for slot in ("arrivals", "step", "threshold", "reset")]
    return [START, INPUTS, *own, "groups", "thresholds", "synapses", "resets", "end"]


def _population(brian2: Any, built: Built, p: PopulationStep, index: int, fed: Feed, clock: Any) -> None:
    code = built.codes[p.name]
    group = brian2.NeuronGroup(
        p.n * fed.n_batch, code.equations, threshold=code.threshold, reset=code.reset, clock=clock, namespace={},
        name="spikeport_population*",
    )  # fmt: skip
    group.thresholder["spike"].when = f"p{index}_threshold"
    group.resetter["spike"].when = f"p{index}_reset"
    built.others.append(group.run_regularly(code.step, clock=clock, when=f"p{index}_step"))
    for name, values in {**code.constants, **code.start}.items():
        setattr(group, name, np.tile(values, fed.n_batch))
    group.v = fed.v0[p.name].ravel()
    built.groups[p.name] = group
    built.spikes[p.name] = brian2.SpikeMonitor(group, when=f"after_p{index}_threshold", name="spikeport_spikes*")


def _projection(brian2: Any, built: Built, j: Projection, fed: Feed, clock: Any) -> None:
    """Spikes onto J of one synapse of the target. Weights of 0 have no synapse; a held input is no synapse at all."""
    post, pre = np.nonzero(j.weight)
    order = {p.name: i for i, p in enumerate(built.steps)}
    port = next((i for i in fed.lowering.network.inputs if i.name == j.source), None)
    if not post.size or not (port is None or isinstance(port, SpikeInput)):
        return
    target = built.steps[order[j.target]]
    index = next(i for i, s in enumerate(target.synapses) if s.name == j.synapse)
    if port is None:
        source, on_pre = built.groups[j.source], f"J{index}_post += w"
        delay = j.delay if order[j.source] < order[j.target] else j.delay - 1
        n_pre = built.steps[order[j.source]].n
    else:
        source, on_pre = _given(brian2, built, port, j.delay, fed, clock), f"J{index}_post += w * count_pre"
        delay, n_pre = 0, port.n  # what is given is given later: its counts must not change on the way
    synapses = brian2.Synapses(
        source, built.groups[j.target], "w : 1 (constant)", on_pre=on_pre, clock=clock, namespace={},
        delay=delay * fed.lowering.network.dt * brian2.second, name="spikeport_projection*",
    )  # fmt: skip
    # by source, then target: J is summed in ascending source index
    by_source = np.lexsort((post, pre))
    post, pre = post[by_source], pre[by_source]
    trials = np.repeat(np.arange(fed.n_batch), post.size)
    tiled = (np.tile(pre, fed.n_batch) + trials * n_pre, np.tile(post, fed.n_batch) + trials * target.n)
    synapses.connect(i=tiled[0], j=tiled[1])
    synapses.w = np.tile(j.weight[post, pre], fed.n_batch)
    synapses.pre.when = f"p{order[j.target]}_arrivals"
    synapses.pre.order = len(built.others)  # in the order of the projections
    built.others.append(synapses)


def _given(brian2: Any, built: Built, port: SpikeInput, delay: int, fed: Feed, clock: Any) -> Any:
    """The group that spikes as the input `port` did `delay` steps ago, with its counts."""
    if (port.name, delay) not in built.given:
        group = brian2.NeuronGroup(
            port.n * fed.n_batch, "count : 1", threshold="count > 0", reset="", clock=clock, namespace={},
            name="spikeport_given*",
        )  # fmt: skip
        group.thresholder["spike"].when = INPUTS
        built.given[port.name, delay] = group
    return built.given[port.name, delay]


def _trace(brian2: Any, built: Built, name: str, clock: Any) -> None:
    population, what = name.rsplit(".", 1)
    index = next(i for i, p in enumerate(built.steps) if p.name == population)
    states = built.codes[population].states
    if what != "v" and what not in states:
        return  # nothing ever comes through it: all 0
    variable = "v" if what == "v" else states[what][0]
    monitor = brian2.StateMonitor(
        built.groups[population], variable, record=True, clock=clock, when=f"after_p{index}_threshold",
        name="spikeport_trace*",
    )  # fmt: skip
    built.traces[name] = (monitor, variable)


def spike_trains(monitor: Any, shape: tuple[int, int, int], dt: float) -> SpikeTrains:
    """What a SpikeMonitor saw; Brian2's time of a spike is the start of its step."""
    step = np.rint(np.asarray(monitor.t_[:]) / dt).astype(np.int64)
    index = np.asarray(monitor.i[:], dtype=np.int64)
    return SpikeTrains.build(step, index // shape[2], index % shape[2], shape)


def trace(built: Built, name: str, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """(time, batch, n) of one trace."""
    if name not in built.traces:
        return np.zeros(shape)
    monitor, variable = built.traces[name]
    return np.ascontiguousarray(np.asarray(getattr(monitor, variable)).T.reshape(shape))
