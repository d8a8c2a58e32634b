"""What Xylo cannot take of a network: the generic check, and what only its integers and memories know."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spikeport.snn.errors import UnsupportedError
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.spiking import SpikingNetwork, Uniform
from spikeport.targets.approximations import APPROXIMATIONS, approximate, longer_delays
from spikeport.targets.capabilities import Capabilities, Problem, check
from spikeport.targets.modes import equal_units
from spikeport.targets.rewrites import normalised
from spikeport.targets.tables import PopulationStep, population_steps
from spikeport.targets.xylo import limits
from spikeport.targets.xylo.host import needed
from spikeport.targets.xylo.steps import acting, currents, modes, wanted


def xylo_problems(network: SpikingNetwork, can: Capabilities) -> Iterator[Problem]:
    """Everything at once: what can be given up is given up first, so that the rest is seen too."""
    found = [*check(network, can), *_equal(network)]
    yield from found
    yield from _sizes(network)
    reduced, _ = approximate(network, {p.feature for p in found} & APPROXIMATIONS.keys())
    reduced, _ = longer_delays(reduced, lambda _, j: can.min_delay)
    own = [p for step in population_steps(reduced) for p in _decays(reduced, step)]
    try:
        scaled, _ = normalised(reduced)
    except UnsupportedError as refusal:
        own += [_problem("range", "network", text, "they must differ") for text in refusal.problems]
        scaled = reduced
    yield from own
    if own or {p.feature for p in check(reduced, can)} - {"precision", "held_via"}:
        return
    yield from _ranges(scaled)


def _problem(feature: str, where: str, value: str, limit: str) -> Problem:
    return Problem(feature=feature, where=where, value=value, limit=limit)


def _equal(network: SpikingNetwork) -> Iterator[Problem]:
    for p in network.populations:
        for name, n in equal_units(p):
            yield _problem("synapse", f"population {p.name}: synapse {name}", f"tau_rise = tau_decay in {n} units",
                           "its two currents must differ")  # fmt: skip


def _sizes(network: SpikingNetwork) -> Iterator[Problem]:
    """Input channels, fan-out and the memory of recurrent synapses."""
    rows = needed(network)
    if rows > limits.INPUTS:
        held = sum(i.n for i in network.held_inputs)
        value = f"{rows}" + (f", two for each of {held} held values" if held else "")
        yield _problem("inputs", "network: input channels", value, f"limit {limits.INPUTS}")
    total = 0
    for p in network.populations:
        reached = sum((np.abs(_joined(network, p.name, t.name)).astype(bool).sum(axis=0) for t in network.populations),
                      np.zeros(p.n, dtype=np.int64))  # fmt: skip
        total += int(reached.sum())
        if reached.max() > limits.FAN_OUT:
            value = f"{reached.max()} ({int((reached > limits.FAN_OUT).sum())} units)"
            yield _problem("fan_out", f"population {p.name}: fan-out", value, f"limit {limits.FAN_OUT}")
    if total > limits.RECURRENT:
        yield _problem("fan_out", "network: recurrent synapses", str(total), f"limit {limits.RECURRENT}")


def _joined(network: SpikingNetwork, source: str, target: str) -> Array:
    """(n_target, n_source): the sum of sizes of weights from one population to another."""
    shape = network.population(target).n, network.population(source).n
    mine = (np.abs(j.weight) for j in network.projections if (j.source, j.target) == (source, target))
    return sum(mine, np.zeros(shape))


def _decays(network: SpikingNetwork, step: PopulationStep) -> Iterator[Problem]:
    where, dt = f"population {step.name}", network.dt
    found = currents(step)
    if len(found) > limits.SYNAPSES:
        names = ", ".join(c.name for c in found)
        yield _problem("synapse", f"{where}: synapses", f"{names} decay differently", f"a neuron has {limits.SYNAPSES}")
    yield from _decay(f"{where}: tau_mem", step.A, dt, fastest=-1.0)
    for s in step.synapses:
        if acting(s):
            for name, keep in modes(s):
                yield from _decay(f"{where}: tau of synapse {name}", keep, dt, fastest=0.25)


def _decay(where: str, keep: Array, dt: float, fastest: float) -> Iterator[Problem]:
    """A decay to the fraction `keep` of a state in a step; the chip's keep 1 - 2^-dash, dash up to 15."""
    slow = 1 - keep < 2.0 ** -(limits.DASH_MAX + 0.5)
    if slow.any():
        yield _problem("range", where, f"keeps {keep.max():.9g} of its state in a step of {dt:g} s, {int(slow.sum())} "
                       "units", f"the slowest is 1 - 2^-15, tau {2**limits.DASH_MAX * dt:g} s under Euler")  # fmt: skip
    if (keep < 0).any():
        yield _problem("range", where, f"below dt = {dt:g} s, so that its state swings",
                       f"the nearest that is not negative is tau = {dt:g} s")  # fmt: skip
    elif (keep < fastest).any():
        yield _problem("range", where, f"keeps {keep.min():.3g} of its state in a step of {dt:g} s",
                       f"the fastest keeps 0.5, tau {2 * dt:g} s under Euler")  # fmt: skip


def _ranges(scaled: SpikingNetwork) -> Iterator[Problem]:
    """Biases and v0 of a network in units of its thresholds."""
    for w in wanted(scaled):
        where, p = f"population {w.step.name}", w.population
        subtracts = p.neuron.reset == "subtract"
        threshold = limits.HALF if subtracts else limits.FULL
        bias = float(np.abs(w.drive * w.fresh).max()) * threshold
        if bias > limits.BIAS_MAX:
            yield _problem("range", f"{where}: bias", f"{bias:.6g}", f"limit {limits.BIAS_MAX}")
        v0 = np.array([p.v0.low, p.v0.high]) if isinstance(p.v0, Uniform) else per_unit(p.v0, p.n)
        if np.abs(v0).max() > 1:
            yield _problem("initial_v", f"{where}: v0", f"{v0.flat[np.abs(v0).argmax()]:.4g} thresholds from its reset",
                           "16 bits hold 1")  # fmt: skip
