"""PyNN: a commented script that runs the network on NEST, and its numbers beside it in a .npz.

The units are NEST's `iaf_psc_exp_multisynapse`, as a native cell type: PyNN's standard IF_curr_exp has one exponential
for each sign of a weight, so a double exponential, whose two modes have opposite signs, cannot be said in it.
The parameters are those of parameters.py with a step of dt instead of 1 ms. Weights and currents in nA, PyNN's unit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spikeport.snn.errors import SpikeportError
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.spiking import HeldInput, SpikingNetwork, Uniform
from spikeport.snn.writing import check_writable, write_whole
from spikeport.targets.base import Lowering, approximated, title
from spikeport.targets.capabilities import Capabilities, Problem
from spikeport.targets.nest.parameters import Cell, Link, Plan, plan, shortest
from spikeport.targets.nest.script_text import BUILD, HEAD, TAIL
from spikeport.targets.nest.target import nest_problems
from spikeport.targets.tables import readout_steps

TIC = 0.001  # ms, NEST's default ms_per_tic, which PyNN's setup does not change
NA = 1e-3  # nA per pA

CAPABILITIES = Capabilities(
    resets=frozenset({"to_value"}),  # V_m = V_reset is the model's only reset
    readouts=None,  # NumPy computes them from the spikes, in the script
    held_via=frozenset({"membrane"}),  # a PyNN current source injects into the membrane
    synaptic_bias=False,  # the same
    noise=False,  # NoisyCurrentSource draws its own numbers, scaled by its own dt
    noise_while_refractory=False,  # V_m is clamped
    initially_refractory=False,  # not a parameter of PyNN
    min_delay=1,  # NEST's shortest; 2 where an arrival acts in its own step
    source="PyNN 0.13 on NEST 3.10; tests/targets/test_pynn.py runs the scripts",
)


@dataclass(frozen=True, kw_only=True)
class PyNN:
    """A PyNN script for NEST: NAME.py, and NAME.npz with its numbers."""

    name: str = "pynn"
    summary: str = "a PyNN script that runs the network on NEST"
    extra: str = "nest"
    requires: tuple[str, ...] = ("pyNN", "nest")
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    capabilities: Capabilities = CAPABILITIES
    suffix: str = ".py"
    beside: tuple[str, ...] = (".npz",)

    def problems(self, network: SpikingNetwork, **choices: str) -> tuple[Problem, ...]:
        return (*nest_problems(network, self.capabilities), *_own_problems(network))

    def lower(self, network: SpikingNetwork, *, allow: Collection[str] = (), **choices: str) -> Lowering:
        lowered, losses = approximated(self, network, allow, shortest)
        return Lowering(target=self.name, source=network, network=lowered, losses=losses)

    def export(self, lowering: Lowering, path: Path, *, overwrite: bool = False) -> Path:
        """Write NAME.py and NAME.npz; the script goes last, so that there is none without its numbers."""
        if path.suffix != self.suffix:
            raise SpikeportError(f"{path}: must end in {self.suffix}", hint=f"-o {path.with_suffix(self.suffix)}")
        numbers = path.with_suffix(".npz")
        for file in (numbers, path):
            check_writable(file, overwrite)
        told = plan(lowering.network)
        with write_whole(numbers, overwrite) as part, part.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays(lowering.network, told))
        with write_whole(path, overwrite) as part:
            part.write_text(script(lowering, told, path.name), encoding="utf-8")
        return path


def _own_problems(network: SpikingNetwork) -> Iterator[Problem]:
    ms = network.dt * 1e3
    if abs(ms / TIC - round(ms / TIC)) > 1e-9 * ms / TIC or ms < TIC:
        yield Problem(feature="dt", where="network: dt", value=f"{ms:g} ms", limit=f"a whole number of {TIC:g} ms")


def arrays(network: SpikingNetwork, told: Plan) -> dict[str, Array]:
    """Every number of the script by its key: "p0.tau_m" of the first population, "w0" of the first projection, ..."""
    ms = network.dt * 1e3
    found: dict[str, Array] = {}
    for i, p in enumerate(network.populations):
        cell = told.cells[p.name]
        found |= {f"p{i}.{name}": value for name, value in _cell_arrays(cell, ms).items()}
        if not isinstance(p.v0, Uniform):
            found[f"p{i}.v0"] = per_unit(p.v0, p.n)
    found |= {f"w{i}": link.weight.T * NA for i, link in enumerate((*told.links, *told.given))}
    for name, i, gain in _held(network, told):
        found[f"u{i}.{name}"] = gain
    for i, step in enumerate(readout_steps(network)):
        readout = {"D": step.table.D, "jump": step.table.jump, "weight": step.readout.weight, "bias": step.readout.bias}
        found |= {f"o{i}.{name}": value for name, value in readout.items()}
    return found


def _cell_arrays(cell: Cell, ms: float) -> dict[str, Array]:
    step = cell.step
    return {
        "tau_m": cell.tau_m * ms,
        "C_m": cell.tau_m * ms,  # pF: then 1 pA is 1 mV
        "tau_syn": cell.tau_syn * ms,
        "V_th": step.threshold,
        "V_reset": step.reset,
        "I_e": step.constant,
        "t_ref": step.refractory.astype(np.float64) * ms,
    }


def _held(network: SpikingNetwork, told: Plan) -> Iterator[tuple[str, int, Array]]:
    """(input's index, population's index, nA per unit of the input's values (n, channels)): the projections' sum."""
    names = [i.name for i in network.inputs]
    for i, p in enumerate(network.populations):
        for source in dict.fromkeys(j.source for j in told.cells[p.name].step.held):
            weights = [j.weight for j in told.cells[p.name].step.held if j.source == source]
            yield str(names.index(source)), i, np.sum(weights, axis=0) * NA


def script(lowering: Lowering, told: Plan, name: str) -> str:
    """The script's text."""
    network = lowering.network
    index = {p.name: f"p{i}" for i, p in enumerate(network.populations)} | {
        p.name: f"x{i}" for i, p in enumerate(network.inputs)
    }
    lines = list[str]()
    for p in network.populations:
        receptors = list(told.cells[p.name].receptors) or ["none"]
        lines += [f"{index[p.name]} = population({index[p.name]!r}, {p.n}, {receptors!r}, label={p.name!r})"]
    lines += ["", "# Given spikes, and values that are held between samples"]
    for x in network.inputs:
        if isinstance(x, HeldInput):
            lines += [f"{index[x.name]} = held({x.name!r}, {x.n}, dt={x.dt * 1e3!r}, sampling={x.sampling!r})"]
        else:
            lines += [f"{index[x.name]} = given_spikes({x.name!r}, {x.n})"]
    for source, i, _ in _held(network, told):
        lines += [f"inject(x{source}, p{i}, numbers['u{i}.{source}'])"]
    lines += ["", "# Projections: from, to, weights (nA), receptor, delay (steps)"]
    for i, link in enumerate((*told.links, *told.given)):
        receptor = _receptor(told.cells[link.target], link)
        lines += [f"connect({index[link.source]}, {index[link.target]}, numbers['w{i}'], {receptor!r}, {link.delay})"]
    lines += ["", "# Where every trial starts, mV"]
    lines += [f"start[{index[p.name]!r}] = {_v0(p.v0, index[p.name])}" for p in network.populations]
    readouts = [f"read_out('o{i}', {index[r.source]!r}, {r.name!r})" for i, r in enumerate(network.readouts)]
    losses = [f"{loss.what}: {loss.where}, {loss.how_much}" for loss in lowering.losses] or ["nothing"]
    head = HEAD.format(
        name=_quoted(name),
        title=_quoted(title(network)),
        losses="\n".join(f"    {_quoted(loss)}" for loss in losses),
        dt=round(network.dt * 1e6) / 1e3,
        longest=told.longest,
    )
    return "\n".join([head, BUILD, *lines, TAIL.format(readouts="".join(f"{line}\n" for line in readouts))])


def _quoted(text: str) -> str:
    """Text for the script's docstring, from which no name or path can escape."""
    return "".join(c if c.isprintable() and c not in '\\"' else "?" for c in text)


def _receptor(cell: Cell, link: Link) -> str:
    return next(name for name, number in cell.receptors.items() if number == link.receptor)


def _v0(v0: Any, key: str) -> str:
    if isinstance(v0, Uniform):
        return f"rng.uniform({float(v0.low)!r}, {float(v0.high)!r}, {key}.size)"
    return f"numbers['{key}.v0']"


PYNN = PyNN()
