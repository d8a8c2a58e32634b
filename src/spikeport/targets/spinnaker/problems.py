"""What SpiNNaker cannot take of a network: the generic check, and what only its integers know."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.spiking import Population, SpikingNetwork, Uniform
from spikeport.targets.approximations import APPROXIMATIONS, approximate, longer_delays
from spikeport.targets.capabilities import Capabilities, Problem, check
from spikeport.targets.fixed_point.fractions import S1615_BITS, to_s1615
from spikeport.targets.loihi.steps import Wanted, one_decay, single, used, wanted
from spikeport.targets.spinnaker.limits import POTENTIAL_MAX, SHIFT_MAX, SLOWEST, TIME_MAX, WEIGHT_MAX
from spikeport.targets.spinnaker.quantise import moved_by_currents, moved_by_spikes, quantise
from spikeport.targets.tables import PopulationStep, population_steps


def spinnaker_problems(network: SpikingNetwork, can: Capabilities) -> Iterator[Problem]:
    """Everything at once: what can be given up is given up first, so that the rest is seen too."""
    found = check(network, can)
    yield from found
    micro = network.dt * 1e6
    if abs(micro - round(micro)) > 1e-6 or micro < 1:
        yield _problem("dt", "network: dt", f"{network.dt * 1e3:g} ms", "a whole number of microseconds")
    reduced, _ = approximate(network, {p.feature for p in found} & APPROXIMATIONS.keys())
    reduced, _ = longer_delays(reduced, lambda _, j: can.min_delay)
    own = [p for step in population_steps(reduced) for p in _cells(reduced, step)]
    yield from own
    left = {p.feature for p in check(reduced, can)} - {"precision"}
    if own or left:
        return  # there are no integers to look at
    wide = [p for w in wanted(reduced) for p in _range(reduced, w)]
    yield from wide or _weights(reduced)


def _problem(feature: str, where: str, value: str, limit: str) -> Problem:
    return Problem(feature=feature, where=where, value=value, limit=limit)


def _cells(network: SpikingNetwork, step: PopulationStep) -> Iterator[Problem]:
    where, dt = f"population {step.name}", network.dt
    acting = used(step)
    if len(acting) > 1 and not one_decay(acting):
        names = ", ".join(s.name for s in acting)
        yield _problem(
            "synapse", f"{where}: synapses", f"{names} decay differently", "both receptors have one tau here"
        )
    yield from _decay(f"{where}: tau_mem", step.A, dt)
    for s in acting:
        if s.n_states < 2:
            yield from _decay(f"{where}: tau of synapse {s.name}", single(s)[0], dt)
    longest = int(step.refractory.max()) * int(to_s1615(dt * 1e3))
    if longest > TIME_MAX:
        yield _problem("range", f"{where}: t_ref", f"{step.refractory.max() * dt:g} s", "limit 65.5 s")
    if starts_too_high(step.population, _start(step.population)):
        yield _problem("spikes_while_refractory", f"{where}: v0", "a refractory unit starts above its threshold",
                       "the chip spikes then, and this network waits")  # fmt: skip


def _start(p: Population) -> Array:
    return np.full(p.n, p.v0.high) if isinstance(p.v0, Uniform) else per_unit(p.v0, p.n)


def starts_too_high(p: Population, v0: Array) -> bool:
    """Would a unit spike on the chip while it is refractory, and not in the network? v0: (..., n)."""
    frozen = per_unit(p.ref0, p.n) > 0
    return not p.spikes_while_refractory and bool(np.any(frozen & (v0 > per_unit(p.neuron.v_threshold, p.n))))


def _decay(where: str, keep: Array, dt: float) -> Iterator[Problem]:
    """A decay to the fraction `keep` of a state in a step."""
    with np.errstate(divide="ignore", invalid="ignore"):
        slow = -np.log(np.maximum(keep, 0)) * SLOWEST < 0.5
    if slow.any():
        yield _problem("range", where, f"keeps {keep.max():.9g} of its state in a step of {dt:g} s",
                       f"the nearest that is not too slow is tau = {SLOWEST * dt:g} s")  # fmt: skip
    if (keep < 0).any():
        yield _problem("range", where, f"below dt = {dt:g} s, so that its state swings",
                       f"the nearest that is not negative is tau = {dt:g} s")  # fmt: skip


def _weights(network: SpikingNetwork) -> Iterator[Problem]:
    """Do the ring buffers, shifted, fit s16.15?"""
    for c in quantise(network).chip.cells:
        if max(c.shifts) > SHIFT_MAX:
            least, most = (WEIGHT_MAX * 2.0 ** (shift - S1615_BITS) for shift in (max(c.shifts) - 1, SHIFT_MAX))
            yield _problem(
                "range",
                f"population {c.name}: weights that can arrive in one step",
                f"more than {least:.6g} nA",
                f"limit {most:.6g} nA",
            )


def _range(network: SpikingNetwork, w: Wanted) -> Iterator[Problem]:
    """Can any potential leave the room that differences of two need?"""
    potentials = {
        "weights, all sources spiking as fast as they can": moved_by_spikes(network, w),
        "bias, leak and held values up to 1": float((np.abs(w.drive) + moved_by_currents(w)).max()),
        "v_threshold": float(np.abs(w.step.threshold).max()),
        "v_reset": float(np.abs(w.step.reset).max()),
        "v0": float(np.abs(_start(w.population)).max()),
    }
    for what, value in potentials.items():
        if value > POTENTIAL_MAX / 4:
            yield _problem("range", f"population {w.step.name}: {what}", f"{value:.6g} mV",
                           f"limit {POTENTIAL_MAX / 4:g} mV, a quarter of what differences in s16.15 hold")  # fmt: skip
