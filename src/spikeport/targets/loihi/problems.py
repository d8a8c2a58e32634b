"""What Loihi cannot take of a network: the generic check, and what only its integers and cores know."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spikeport.snn.errors import UnsupportedError
from spikeport.snn.neurons import Array
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.approximations import APPROXIMATIONS, approximate, longer_delays
from spikeport.targets.capabilities import Capabilities, Problem, check
from spikeport.targets.loihi import limits
from spikeport.targets.loihi.bounds import bounds
from spikeport.targets.loihi.formats import caps, formats
from spikeport.targets.loihi.netx import bias_problems, chain_problems
from spikeport.targets.loihi.partition import over, partition
from spikeport.targets.loihi.quantise import quantise, spike_intervals
from spikeport.targets.loihi.steps import Wanted, one_decay, single, used, wanted
from spikeport.targets.rewrites import normalised
from spikeport.targets.tables import PopulationStep, population_steps

SLOWEST_U, SLOWEST_V = 4096, 4096  # steps: decay 0 and its offset; decay 1 (0 would leak nothing)


def loihi_problems(network: SpikingNetwork, can: Capabilities, bits: int, chain: bool = False) -> Iterator[Problem]:
    """Everything at once: what can be given up is given up first, so that the rest is seen too. chain: for netx.py."""
    found = check(network, can)
    yield from found
    links = tuple(chain_problems(network)) if chain else ()
    yield from links
    if {p.feature for p in links} - {"refractory", "initial_v", "min_delay"}:
        return  # there are no layers to measure
    found = (*found, *links)
    reduced, _ = approximate(network, {p.feature for p in found} & APPROXIMATIONS.keys())
    reduced, _ = longer_delays(reduced, lambda _, j: can.min_delay)
    own = [p for step in population_steps(reduced) for p in _compartments(reduced, step)]
    try:
        scaled, _ = normalised(reduced)
    except UnsupportedError as refusal:
        own += [_problem("range", "network", text, "they must differ") for text in refusal.problems]
        scaled = reduced
    yield from own
    left = {p.feature for p in check(reduced, can)} - {"precision"}
    if own or left:
        return  # there is no chip to measure
    weak = [p for w in wanted(scaled) for p in _scale(scaled, w, bits, chain)]
    if not weak and chain:
        weak = list(bias_problems(quantise(reduced, bits, chain).chip))
    yield from weak or _cores(reduced, bits, chain)


def _problem(feature: str, where: str, value: str, limit: str) -> Problem:
    return Problem(feature=feature, where=where, value=value, limit=limit)


def _compartments(network: SpikingNetwork, step: PopulationStep) -> Iterator[Problem]:
    """Currents, decays and refractory periods of one population."""
    where, dt = f"population {step.name}", network.dt
    acting = used(step)
    if len(acting) > 1 and not one_decay(acting):
        names = ", ".join(s.name for s in acting)
        yield _problem("synapse", f"{where}: synapses", f"{names} decay differently", "a compartment has one current")
    yield from _decay(f"{where}: tau_mem", step.A, dt, SLOWEST_V)
    for s in acting:
        if s.n_states < 2:
            yield from _decay(f"{where}: tau of synapse {s.name}", single(s)[0], dt, SLOWEST_U)
    if step.refractory.max() > limits.REFRACTORY_MAX:
        value = f"{step.refractory.max()} steps"
        yield _problem("range", f"{where}: t_ref", value, f"limit {limits.REFRACTORY_MAX} steps")


def _decay(where: str, keep: Array, dt: float, slowest: int) -> Iterator[Problem]:
    """A decay to the fraction `keep` of a state in a step; the chip's are (4096 - d) / 4096, d from 1 to 4096."""
    slow, negative = (1 - keep) * slowest < 0.5, keep < 0
    if slow.any():
        value = f"keeps {keep.max():.9g} of its state in a step of {dt:g} s, {int(slow.sum())} units"
        near = f"the slowest is 4095/4096, tau {slowest * dt:g} s under Euler"
        yield _problem("range", where, value, near)
    if negative.any():
        value = f"below dt = {dt:g} s, so that its state swings"
        yield _problem("range", where, value, f"the nearest that is not negative is tau = {dt:g} s")


def _scale(network: SpikingNetwork, w: Wanted, bits: int, chain: bool) -> Iterator[Problem]:
    """Is there any threshold mantissa with which everything fits?"""
    parts = formats(w, bits, chain)
    signed = [network.projections[f.projection] for f in parts if f.most < 1]
    if signed:
        for j in signed:
            where = f"projection {j.source}->{j.target}: sources of both signs"
            yield _problem("range", where, f"weights of {bits} bit", "one bit is the sign's, so at least 2")
        return
    intervals = spike_intervals(network)
    real = bounds([(f.jump, intervals[network.projections[f.projection].source]) for f in parts],
                  w.fresh_u, w.fresh_v, w.drive * w.fresh_v)  # fmt: skip
    found, where = caps(w, real, parts), f"population {w.step.name}"
    texts = {
        "weight": ("largest weight", max((f.largest for f in parts), default=0.0), "thresholds a spike"),
        "bias": ("bias and held inputs", float(np.abs(w.drive).max()), "thresholds"),
        "arrivals": ("weights that can arrive in one step", real.arrivals, "thresholds"),
        "room": ("v0", found["room"] and limits.V_MAX / 64 / found["room"], "thresholds"),
    }
    for name, (what, value, unit) in texts.items():
        if found[name] < 1:
            limit = f"{value * found[name]:.4g} at the smallest threshold, 1"
            yield _problem("range", f"{where}: {what}", f"{value:.4g} {unit}", f"limit {limit}")


def _cores(network: SpikingNetwork, bits: int, chain: bool) -> Iterator[Problem]:
    """Limits of a core and of the chip."""
    if network.n_neurons > limits.CHIP_CORES * limits.CORE_COMPARTMENTS:
        return  # said by the generic check
    cores = partition(quantise(network, bits, chain).chip)
    if len(cores) > limits.CHIP_CORES:
        yield _problem("neurons", "network: cores", str(len(cores)), f"a chip has {limits.CHIP_CORES}")
    seen = set()
    for core in cores:
        for feature, what, value, limit in over(core):
            if feature not in seen:
                seen.add(feature)
                name = next(iter(core.neurons))
                yield _problem(feature, f"population {name}: {what}", str(value), f"limit {limit}")
