"""A population as a Brian2 user would write it: named equations, SI units, parameters with names.

Brian2's Euler step, taken with s already holding the arrivals of the step, is the canonical step: v moves by
dt/tau_mem (v_leak + ... + s - v), then s decays. Where a decay is exp(-dt/tau) (kim2019: of synapses; exact: of all),
an Euler step has it with the effective constant tau_step = dt / (1 - exp(-dt/tau)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.integrators import SynapseTable
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.spiking import ReadOut
from spikeport.snn.synapses import DoubleExponential, Exponential, Synapse
from spikeport.targets.brian2.names import identifier
from spikeport.targets.tables import PopulationStep, ReadOutStep


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """values: (n,) in `unit`, a Brian2 name, or "" for a plain number.

    kind: its dimension in the equations ("": not in them).  formula: where the script computes it, from others.
    """

    name: str
    values: NDArray[Any]
    unit: str
    kind: str
    meaning: str
    formula: str = ""


@dataclass(kw_only=True)
class GroupText:
    """One population as Brian2 code. arrivals: what is added before each step; on_pre: by synapse."""

    equations: list[str] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)
    threshold: str = ""
    reset: list[str] = field(default_factory=list)
    arrivals: list[str] = field(default_factory=list)
    noise: str = ""
    on_pre: dict[str, str] = field(default_factory=dict)
    refractory: bool = False  # by Brian2's own mechanism
    counted: bool = False  # by a counter of steps, for what that mechanism cannot say


def group_text(
    p: PopulationStep, integrator: str, drives: dict[str | None, list[str]], readouts: Sequence[ReadOutStep]
) -> GroupText:
    """drives: synapse (None: the membrane) -> the functions of (t, i) that held inputs come in by."""
    neuron, text = p.population.neuron, GroupText()
    text.counted = p.may_freeze and p.population.spikes_while_refractory
    text.refractory = p.may_freeze and not text.counted
    _add(text, "tau_mem", per_unit(neuron.tau_mem, p.n) * 1e3, "ms", "second", "membrane time constant")
    _add(text, "v_leak", per_unit(neuron.v_leak, p.n), "mV", "volt", "resting potential")
    _add(text, "bias", per_unit(p.population.bias, p.n), "mV", "volt", "constant drive, added to v_leak")
    threshold, rule = _threshold(p.threshold)
    _add(text, "v_threshold", threshold, "mV", "volt", f"spike where v {rule} v_threshold")
    _add(text, "v_reset", p.reset, "mV", "volt", "")
    if integrator == "exact":
        _step_constant(text, "tau_mem", per_unit(neuron.tau_mem, p.n))
    states = list[str]()
    terms, jumps = _synapses(text, states, p, integrator, drives)
    total = " + ".join(["v_leak", "bias", *(f"{drive}(t, i)" for drive in drives.get(None, [])), *terms])
    rate = f"({total} - v) / {'tau_mem_step' if integrator == 'exact' else 'tau_mem'}"
    if jumps:
        rate += f" + ({' + '.join(jumps)}) / dt"
    flag = " (unless refractory)" if text.refractory else ""
    text.equations = [f"dv/dt = {f'free * ({rate})' if text.counted else rate} : volt{flag}", *states]
    _spikes(text, p, rule)
    _noise(text, p)
    for step in readouts:
        _readout(text, step, integrator)
    return text


def _add(
    text: GroupText, name: str, values: NDArray[Any], unit: str, kind: str, meaning: str, formula: str = ""
) -> None:
    text.parameters.append(Parameter(name=name, values=values, unit=unit, kind=kind, meaning=meaning, formula=formula))


def _step_constant(text: GroupText, name: str, tau: Array) -> str:
    """The effective constant of `name` (s), computed in the script from it."""
    _add(
        text,
        f"{name}_step",
        tau,
        "second",
        "second",
        "",
        f"step_constant({{{name}}})",
    )
    return f"{name}_step"


def _threshold(values: Array) -> tuple[Array, str]:
    """v > nextafter(t, -inf) is written v >= t, where t is the number that was meant: the one with fewer digits."""
    above = np.nextafter(values, np.inf)
    if all(len(repr(float(a))) + 4 < len(repr(float(t))) for a, t in zip(above, values, strict=True)):
        return above, ">="
    return values, ">"


def _synapses(
    text: GroupText, states: list[str], p: PopulationStep, integrator: str, drives: dict[str | None, list[str]]
) -> tuple[list[str], list[str]]:
    """(currents in volt, for the sum that v decays to; volts that v moves by in this step): terms of v's equation."""
    terms, jumps = list[str](), list[str]()
    for synapse in p.synapses:
        name, kind = identifier(synapse.name), p.population.synapses[synapse.name]
        if synapse.n_states == 0:
            states.append(f"dj_{name}/dt = -j_{name} / dt : volt  # a Delta: lives for one step")
            jumps.append(f"j_{name}")
            text.on_pre[synapse.name] = f"j_{name}_post += w / tau_mem_post"
            continue
        lines, last, jump = _filter(text, f"s_{name}", f"h_{name}", name, kind, synapse.table, integrator, "volt")
        states += lines
        text.on_pre[synapse.name] = f"{last}_post += w / {_product([f'{t}_post' for t in jump])}"
        if integrator == "exact":
            for i, state in enumerate((f"s_{name}", f"h_{name}")[: synapse.n_states]):
                dimension = ("", "1") if i == 0 else ("second", "second")
                _add(text, f"b_{state}", synapse.table.B[:, i], *dimension, f"what {state} adds to v in a step (exact)")
                jumps.append(f"b_{state} * {state}")
        else:
            terms.append(f"s_{name}")
        _held(text, synapse.name, synapse.bias, synapse.table, last, jump, integrator, drives)
    return terms, jumps


def _filter(
    text: GroupText, s: str, h: str, name: str, kind: Synapse, table: SynapseTable, integrator: str, unit: str
) -> tuple[list[str], str, list[str]]:
    """One synaptic filter: (its equations, the state that a spike moves, the time constants that divide its weight)."""
    n = table.D.shape[0]

    def tau(which: str, values: Array) -> str:
        _add(text, f"{which}_{name}", values * 1e3, "ms", "second", f"synapse {name}")
        return f"{which}_{name}" if integrator == "euler" else _step_constant(text, f"{which}_{name}", values)

    if isinstance(kind, Exponential):
        used = tau("tau", per_unit(kind.tau, n))
        return [f"d{s}/dt = -{s} / {used} : {unit}"], s, [f"tau_{name}"]
    assert isinstance(kind, DoubleExponential)
    decay, rise = tau("tau_decay", per_unit(kind.tau_decay, n)), tau("tau_rise", per_unit(kind.tau_rise, n))
    gain = ""
    if integrator == "exact":
        dt_of_h = table.D[:, 0, 1]
        _add(text, f"g_{name}", dt_of_h, "second", "second", f"what {h} adds to {s} in a step (exact)")
        gain = f"g_{name} / dt * "
    lines = [f"d{s}/dt = -{s} / {decay} + {gain}{h} : {unit}", f"d{h}/dt = -{h} / {rise} : {unit} / second"]
    return lines, h, [f"tau_rise_{name}", f"tau_decay_{name}"]


def _held(
    text: GroupText, synapse: str, bias: Array, table: SynapseTable, last: str, jump: list[str], integrator: str,
    drives: dict[str | None, list[str]],
) -> None:  # fmt: skip
    """What comes through a synapse without spikes: added at the start of a step, like dt seconds of a spike train."""
    name = identifier(synapse)
    parts = [f"{drive}(t, i)" for drive in drives.get(synapse, [])]
    if bias.any():
        _add(text, f"bias_{name}", bias, "mV", "volt", f"constant input through {name}")
        parts.append(f"bias_{name}")
    if not parts:
        return
    total = f"({' + '.join(parts)})"
    if integrator != "exact":
        text.arrivals.append(f"{last} += dt / {_product(jump)} * {total}")
        return
    for i, state in enumerate((f"s_{name}", f"h_{name}")[: table.held.shape[1]]):
        unit, kind = ("", "1") if i == 0 else ("hertz", "hertz")
        _add(
            text, f"held_{state}", table.held[:, i], unit, kind, f"what an input of 1 adds to {state} in a step (exact)"
        )
        text.arrivals.append(f"{state} += held_{state} * {total}")


def _spikes(text: GroupText, p: PopulationStep, rule: str) -> None:
    text.threshold = f"v {rule} v_threshold"
    text.reset = ["v -= v_threshold - v_reset" if p.subtracts else "v = v_reset"]
    if not p.may_freeze:
        return
    _add(text, "n_ref", p.refractory, "", "integer", "steps that a unit is frozen after its spike")
    _add(text, "ref0", p.ref0, "", "", "steps that it is frozen at the start")
    if text.counted:
        text.equations += [
            "free = int(t_in_timesteps >= free_from) : integer  # 0 while refractory: v stands still, but may spike",
            "free_from : integer  # the first step in which it moves again",
        ]
        text.reset.append("free_from = t_in_timesteps + n_ref + 1")


def _noise(text: GroupText, p: PopulationStep) -> None:
    if not p.noisy:
        return
    _add(
        text,
        "noise_sd",
        per_unit(p.population.noise_sd, p.n),
        "mV",
        "volt",
        "of what is added to v in each step, whatever dt is",
    )
    held_back = p.may_freeze and not p.population.noise_while_refractory
    free = ("free * " if text.counted else "int(not_refractory) * ") if held_back else ""
    text.noise = f"v += {free}noise_sd * randn()"


def _readout(text: GroupText, step: ReadOutStep, integrator: str) -> None:
    """A read-out's filter is part of its source: its time constants are those of the source's units."""
    readout: ReadOut = step.readout
    name = f"out_{identifier(readout.name)}"
    lines, last, jump = _filter(text, f"r_{name}", f"q_{name}", name, readout.synapse, step.table, integrator, "hertz")
    text.equations += [
        f"{line}{'  # filtered spikes, of read-out ' + readout.name if i == 0 else ''}" for i, line in enumerate(lines)
    ]
    text.reset.append(f"{last} += 1 / {_product(jump)}")


def _product(factors: Sequence[str]) -> str:
    """What something is divided by."""
    return factors[0] if len(factors) == 1 else f"({' * '.join(factors)})"
