"""The canonical step as Brian2 abstract code: the reference's operations in its order, so that the last bit agrees.

Brian2's integrators would compute v + dt ((c - v + s) / tau), which equals A v + B s + (1 - A) c but for rounding; here
a population has no differential equations, and one block of statements does its step (an exported script has the
equations, see script.py). Everything is in the network's own units, mV and s, as plain numbers: 1e-3 V per mV would
round, and a threshold of nextafter(-40, -inf) would no longer be one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.neurons import Array
from spikeport.targets.tables import PopulationStep, SynapseStep


@dataclass(frozen=True, kw_only=True)
class GroupCode:
    """One population as Brian2 code. constants, start: variable -> (n,), for the parameters and the state.

    equations, step, threshold, reset: Brian2 code.  states: synapse -> its variables x_0, x_1, ...
    fed: the variables that are set before each step: `drive`, `noise`, `H0`, `H1`, ... where they are there.
    """

    equations: str
    step: str
    threshold: str
    reset: str
    constants: Mapping[str, NDArray[Any]]
    start: Mapping[str, NDArray[Any]]
    states: Mapping[str, tuple[str, ...]]
    fed: tuple[str, ...]


def group_code(p: PopulationStep, noisy: bool) -> GroupCode:
    """The code of one population; `noisy`: noise is added to v in each step."""
    constants: dict[str, NDArray[Any]] = {
        "A": p.A,
        "E": 1 - p.A,
        "top": p.threshold,
        "bottom": p.reset,
        "span": p.threshold - p.reset,
    }
    variables, lines, current = ["v : 1", "drive : 1"], list[str](), list[str]()
    fed, states = ["drive"], dict[str, tuple[str, ...]]()
    for index, synapse in enumerate(p.synapses):
        if is_idle(synapse):
            continue
        states[synapse.name] = names = tuple(f"x{index}_{i}" for i in range(max(1, synapse.n_states)))
        variables += [f"{name} : 1" for name in (*names, f"J{index}")]
        if is_held(synapse):
            variables.append(f"H{index} : 1")
            fed.append(f"H{index}")
        code, terms, used = _arrivals(synapse, index)
        lines += code
        current += terms
        constants |= used
    integers = ["ref : integer", "free : integer"] if p.may_freeze else []
    if p.may_freeze:
        constants["n_ref"] = p.refractory
    lines += _evolve(p, " + ".join(current))
    if noisy:
        variables.append("noise : 1")
        fed.append("noise")
        held_back = p.may_freeze and not p.population.noise_while_refractory
        lines.append("v = v + free * noise" if held_back else "v = v + noise")
    if p.may_freeze:
        lines.append("ref = ref - int(ref > 0)")
    waits = p.may_freeze and not p.population.spikes_while_refractory
    reset = "v = v - span" if p.subtracts else "v = bottom"
    kinds = {name: "integer" if name == "n_ref" else "1" for name in constants}
    return GroupCode(
        equations="\n".join([*variables, *integers, *(f"{name} : {kind} (constant)" for name, kind in kinds.items())]),
        step="\n".join(lines),
        threshold="v > top and free == 1" if waits else "v > top",
        reset=f"{reset}\nref = n_ref" if p.may_freeze else reset,
        constants=constants, start={"ref": p.ref0} if p.may_freeze else {}, states=states, fed=tuple(fed),
    )  # fmt: skip


def is_held(synapse: SynapseStep) -> bool:
    """Does anything but spikes come in through this synapse?"""
    return bool(synapse.held or synapse.bias.any())


def is_idle(synapse: SynapseStep) -> bool:
    """A synapse that nothing comes through stays 0."""
    return not (synapse.spikes or is_held(synapse))


def _arrivals(synapse: SynapseStep, index: int) -> tuple[list[str], list[str], dict[str, Array]]:
    """x = D x + jump J + held H: (lines, terms of the current, constants); what is 0 for all units is left out."""
    table, J, constants = synapse.table, f"J{index}", dict[str, Array]()

    def named(name: str, values: Array) -> str | None:
        if not values.any():
            return None
        constants[f"{name}{index}"] = values
        return f"{name}{index}"

    if synapse.n_states == 0:  # a Delta: J goes to v itself
        jump = named("jump", table.jump[:, 0])
        return [f"x{index}_0 = {jump} * {J}", f"{J} = 0"], [f"x{index}_0"], constants
    lines, terms = list[str](), list[str]()
    for i in range(synapse.n_states):
        parts = [(named(f"D{i}{j}_", table.D[:, i, j]), f"x{index}_{j}") for j in range(synapse.n_states)]
        parts.append((named(f"jump{i}_", table.jump[:, i]), J))
        if is_held(synapse):
            parts.append((named(f"held{i}_", table.held[:, i]), f"H{index}"))
        total = " + ".join(f"{factor} * {state}" for factor, state in parts if factor is not None)
        lines.append(f"new{i} = {total or '0.0'}")
        factor = named(f"B{i}_", table.B[:, i])
        terms += [f"{factor} * x{index}_{i}"] if factor is not None else []
    lines += [f"x{index}_{i} = new{i}" for i in range(synapse.n_states)]
    return [*lines, f"{J} = 0"], terms, constants


def _evolve(p: PopulationStep, current: str) -> list[str]:
    """v = (A v + B x) + (1 - A) c, of units that are not refractory; E is 1 - A."""
    lines = [f"current = {current}"] if current else []
    new = "(A * v + current) + E * drive" if current else "A * v + E * drive"
    if not p.may_freeze:
        return [*lines, f"v = {new}"]
    return [*lines, "free = int(ref == 0)", f"v = free * ({new}) + (1 - free) * v"]


def drive_of(p: PopulationStep, held: Mapping[str, Array]) -> Array:
    """v_leak + bias + w u of one step, (batch, n), added as the reference does; held: input -> (batch, channels)."""
    n_batch = next((u.shape[0] for u in held.values()), 1)
    total = np.zeros((n_batch, p.n)) + p.constant
    for j in p.held:
        total = _weighted(total, j.weight, held[j.source])
    return total


def held_of(synapse: SynapseStep, held: Mapping[str, Array]) -> Array:
    """H of one step, (batch, n): the synapse's bias and its held inputs."""
    n_batch = next((u.shape[0] for u in held.values()), 1)
    total = np.zeros((n_batch, synapse.bias.size)) + synapse.bias
    for j in synapse.held:
        total = _weighted(total, j.weight, held[j.source])
    return total


def _weighted(total: Array, weight: Array, u: Array) -> Array:
    for channel in range(u.shape[1]):
        total = total + weight[:, channel] * u[:, channel, None]
    return total
