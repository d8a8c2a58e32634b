"""A sPyNNaker script of a lowered network: NAME.py, and NAME.npz with its numbers.

Weights are split by sign: sPyNNaker takes the size of a weight, so that a negative one on an excitatory projection
becomes positive without a word (measured with 1!7.4.1). The numbers are multiples of what the chip holds, so that
sPyNNaker rounds nothing, and `max_expected_summed_weight` makes it take our shifts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spikeport.snn.errors import SpikeportError
from spikeport.snn.neurons import Array
from spikeport.snn.spiking import HeldInput, SpikingNetwork, Uniform
from spikeport.snn.writing import check_writable, write_whole
from spikeport.targets.base import Lowering, title
from spikeport.targets.fixed_point.fractions import S1615_BITS, from_s1615
from spikeport.targets.fixed_point.integers import Ints
from spikeport.targets.spinnaker.arithmetic import expected
from spikeport.targets.spinnaker.chip import RECEPTORS, Cells, Chip
from spikeport.targets.spinnaker.limits import DTCM
from spikeport.targets.spinnaker.script_text import HEAD, TAIL
from spikeport.targets.tables import readout_steps


def write_script(lowering: Lowering, path: Path, overwrite: bool) -> Path:
    """Write NAME.npz and NAME.py; the script goes last, so that there is none without its numbers."""
    if path.suffix != ".py":
        raise SpikeportError(f"{path}: must end in .py", hint=f"-o {path.with_suffix('.py')}")
    numbers = path.with_suffix(".npz")
    for file in (numbers, path):
        check_writable(file, overwrite)
    with write_whole(numbers, overwrite) as part, part.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays(lowering))
    with write_whole(path, overwrite) as part:
        part.write_text(script(lowering, path.name), encoding="utf-8")
    return path


def arrays(lowering: Lowering) -> dict[str, Any]:
    """Every number of the script by its key: "p0.tau_m" of the first population, "w0" of the first synapses, ..."""
    chip: Chip = lowering.settings["chip"]
    found: dict[str, Any] = {}
    for i, (p, c) in enumerate(zip(lowering.network.populations, chip.cells, strict=True)):
        found |= {f"p{i}.{name}": value for name, value in _cell(c, chip.ts).items()}
        if not isinstance(p.v0, Uniform):
            found[f"p{i}.v0"] = from_s1615(c.v0)
        found[f"p{i}.drive"], found[f"p{i}.limit"] = c.drive, lowering.source.population(c.name).neuron.v_threshold
        found |= {f"p{i}.first": c.first, f"p{i}.shifts": np.array(c.shifts)}
        for name, weight in c.held.items():
            found[f"p{i}.held.{_index(lowering.network, name)}"] = weight
        for k, h in enumerate(c.hosted):
            found |= {f"p{i}.host{k}.D": h.D, f"p{i}.host{k}.constant": h.constant}
            for name, effect in h.effects.items():
                found[f"p{i}.host{k}.{_index(lowering.network, name)}"] = effect
    for i, s in enumerate(chip.synapses):
        shift = chip.cells[[c.name for c in chip.cells].index(s.target)].shifts[s.receptor]
        found[f"w{i}"] = np.ldexp(s.weight.T.astype(np.float64), shift - S1615_BITS)  # nA
    for i, step in enumerate(readout_steps(lowering.network)):
        readout = {"D": step.table.D, "jump": step.table.jump, "weight": step.readout.weight, "bias": step.readout.bias}
        found |= {f"o{i}.{name}": value for name, value in readout.items()}
    return found


def _cell(c: Cells, ts: int) -> dict[str, Array | Ints]:
    """Parameters of IF_curr_exp, in its units: ms, mV, nF."""
    tau_syn = from_s1615(c.tau_syn)
    return {
        "tau_m": from_s1615(c.tau_m), "cm": from_s1615(c.tau_m << c.gain), "tau_syn_E": tau_syn, "tau_syn_I": tau_syn,
        "v_rest": from_s1615(c.rest), "v_reset": from_s1615(c.reset), "v_thresh": from_s1615(c.threshold),
        "tau_refrac": from_s1615(c.refractory * ts), "ref0": c.ref0,
    }  # fmt: skip


def _index(network: SpikingNetwork, name: str) -> str:
    return f"x{[i.name for i in network.inputs].index(name)}"


def script(lowering: Lowering, name: str) -> str:
    """The script's text."""
    network, chip = lowering.network, lowering.settings["chip"]
    losses = [f"{loss.what}: {loss.where}, {loss.how_much}" for loss in lowering.losses] or ["nothing"]
    head = HEAD.format(
        name=_quoted(name), title=_quoted(title(network)), losses="\n".join(f"    {_quoted(x)}" for x in losses),
        dt=round(network.dt * 1e6) / 1e3, dtcm=DTCM // 2,
    )  # fmt: skip
    return "\n".join([head, *_lines(lowering, network, chip), TAIL])


def _lines(lowering: Lowering, network: SpikingNetwork, chip: Chip) -> Iterator[str]:
    index = {p.name: f"p{i}" for i, p in enumerate(network.populations)}
    index |= {x.name: f"x{i}" for i, x in enumerate(network.inputs)}
    yield "# Given spikes, and values that are held between samples"
    for x in network.inputs:
        if isinstance(x, HeldInput):
            yield f"held({index[x.name]!r}, {x.name!r}, {x.n}, dt={x.dt * 1e3!r}, sampling={x.sampling!r})"
        else:
            yield f"given_spikes({index[x.name]!r}, {x.name!r}, {x.n})"
    yield "measure()"
    yield "\n# Populations; largest sums of weights that make sPyNNaker take the shifts of these weights"
    for p, c in zip(network.populations, chip.cells, strict=True):
        key, v0 = index[p.name], p.v0
        drawn = f"({float(v0.low)!r}, {float(v0.high)!r})" if isinstance(v0, Uniform) else "None"
        driven = f"gain={c.gain}" if c.driven else "gain=None"
        expect = [expected(shift) for shift in c.shifts]
        yield f"population({key!r}, {p.n}, {p.name!r}, {expect!r}, drawn={drawn}, {driven})"
    yield "\n# Projections of one sign each: from, to, weights (nA), receptor, delay (steps)"
    for i, s in enumerate(chip.synapses):
        args = f"{index[s.source]!r}, {index[s.target]!r}, {f'w{i}'!r}, {RECEPTORS[s.receptor]!r}, {s.delay}"
        yield f"connect({args})"
    readouts = [(f"o{i}", index[r.source], r.name) for i, r in enumerate(network.readouts)]
    yield f"\nREADOUTS = {readouts!r}  # numbers, source, name"


def _quoted(text: str) -> str:
    """Text for the script's docstring, from which no name or path can escape."""
    return "".join(c if c.isprintable() and c not in '\\"' else "?" for c in text)
