"""The sPyNNaker script: what it tells the tool, with the tool replaced by one that writes down, and on its own mapping.

The first needs nothing; the second needs sPyNNaker, and maps onto a virtual board.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conformance_matrix import lowered
from conformance_networks import NETWORKS, Conformance, populated, recurrent
from require import need
from spinnaker_chips import lower

from spikeport.snn.spiking import Uniform
from spikeport.targets.base import Lowering, RunOptions
from spikeport.targets.feed import feed
from spikeport.targets.spinnaker import SPINNAKER, kernel
from spikeport.targets.spinnaker.host import Currents
from spikeport.targets.spinnaker.limits import DELAY_MAX
from spikeport.targets.spinnaker.script import arrays

BOARD = "[Machine]\nmachineName = None\nversion = 5\nvirtual_board = True\n"
CASES = ("plain", "recurrent, delay 4", "chain, delay 1", "held input on the membrane", "ref0 per unit",
         "held input through a synapse, exact", "bias of a synapse", "tau_syn per unit", "t_ref per unit")  # fmt: skip


def written(case: Conformance, folder: Path) -> Lowering:
    """The case's script, net.py, and its first trial, trial.npz."""
    lowering = lowered(SPINNAKER, case)[1]
    assert lowering is not None
    SPINNAKER.export(lowering, folder / "net.py")
    np.savez(folder / "trial.npz", **{name: values[:, 0] for name, values in case.inputs.items()})
    return lowering


class Units:
    """What a script does with a population; [a:b] gives the unit's index."""

    def __init__(self, size: int, cell: Any, label: str, additional_parameters: Any = None) -> None:
        self.size, self.cell, self.label, self.extra = size, cell, label, additional_parameters
        self.initial: dict[str, Any] = {}
        self.currents: dict[int, Any] = {}

    def initialize(self, **values: Any) -> None:
        self.initial |= values

    def record(self, what: str) -> None:
        assert what == "spikes"

    def __getitem__(self, part: slice) -> tuple[Units, int]:
        assert part.stop == part.start + 1
        return self, part.start


class Source:
    """A step current source."""

    def __init__(self, times: Any, amplitudes: Any) -> None:
        self.times, self.amplitudes = times, amplitudes

    def inject_into(self, view: tuple[Units, int]) -> None:
        view[0].currents[view[1]] = (self.times, self.amplitudes)


class Done(Exception):
    """The script has said everything."""


def told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The script's globals when it would run."""
    found: dict[str, Any] = {}

    def run(ms: float) -> None:
        found.update(sys._getframe(1).f_globals, ms=ms)
        raise Done

    sim = ModuleType("pyNN.spiNNaker")
    parts = {
        "setup": lambda timestep: found.update(timestep=timestep), "run": run, "Population": Units,
        "IF_curr_exp": dict, "SpikeSourceArray": lambda spike_times: spike_times, "StepCurrentSource": Source,
        "FromListConnector": list, "Projection": lambda *a, **k: (*a, k["receptor_type"]),
    }  # fmt: skip
    for name, part in parts.items():
        setattr(sim, name, part)
    package = ModuleType("pyNN")
    package.spiNNaker = sim  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyNN", package)
    monkeypatch.setitem(sys.modules, "pyNN.spiNNaker", sim)
    monkeypatch.setattr(sys, "argv", ["net.py", "--inputs", str(folder / "trial.npz")])
    with pytest.raises(Done, match=r"^$"):
        runpy.run_path(str(folder / "net.py"), run_name="__main__")
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_script_says_what_the_emulation_computes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emulation's step, fed by the script's spikes, currents and initial values, gives the emulation's spikes."""
    case = NETWORKS[name]
    lowering = written(case, tmp_path)
    chip, heard = lowering.settings["chip"], told(tmp_path, monkeypatch)
    assert (heard["timestep"], heard["ms"]) == (1.0, case.n_steps)
    t = kernel.tables(chip)
    units = [heard["units"][f"p{i}"] for i in range(len(chip.cells))]
    v0 = np.concatenate([np.rint(np.array(u.initial["v"]) * 2**15) for u in units])[None]
    m = kernel.memory(chip, t, v0)
    for c, u in zip(chip.cells, units, strict=True):
        np.testing.assert_array_equal(u.initial["refract_timer"], c.ref0)
        for name_, raw in (("v_rest", c.rest), ("v_thresh", c.threshold), ("cm", c.tau_m << c.gain)):
            np.testing.assert_array_equal(np.array(u.cell[name_]) * 2**15, raw)
    current = np.concatenate([played(u, case.n_steps) for u in units], axis=1)
    given = delivered(heard, chip, case.n_steps)
    early = np.concatenate(
        [[np.array(u.initial.get(name_, np.zeros(u.size))) * 2**15 for name_ in ("isyn_exc", "isyn_inh")]
         for u in units], axis=1)  # fmt: skip
    m.i[0] = early.astype(np.int64)
    z = np.zeros((case.n_steps, 1, current.shape[1]), dtype=np.bool_)
    seen = np.zeros((0, 1, current.shape[1]), dtype=np.int64)
    kernel.run(t, m, 0, case.n_steps, given, current, np.arange(case.n_steps)[:, None], z, seen)
    options = RunOptions(n_steps=case.n_steps, with_noise=False)
    expected = SPINNAKER.run(lowering, {k: v[:, :1] for k, v in case.inputs.items()}, options)
    step, _, neuron = np.nonzero(z)
    offset = 0
    for c in chip.cells:
        mine = (neuron >= offset) & (neuron < offset + c.n)
        trains = expected.spikes[c.name]
        assert trains.n_spikes > 0
        np.testing.assert_array_equal(step[mine], trains.step)
        np.testing.assert_array_equal(neuron[mine] - offset, trains.neuron)
        offset += c.n


def played(units: Units, n_steps: int) -> Any:
    """(steps, units) raw currents, by the chip's own rule: the next entry is taken when its time has come."""
    out = np.zeros((n_steps, units.size), dtype=np.int64)
    for unit, (times, amplitudes) in units.currents.items():
        at, value = 0, 0.0
        for step in range(n_steps):
            if step >= int(times[at]):  # whole steps of 1 ms
                value, at = amplitudes[at], at + 1
            out[step, unit] = round(value * 2**15)
    return out


def delivered(heard: dict[str, Any], chip: Any, n_steps: int) -> Any:
    """(steps, 1, channels) of the spikes that the script sends, as the kernel wants them: a step later where ahead."""
    out = np.zeros((n_steps, 1, sum(chip.inputs.values())), dtype=np.int64)
    for key, units in heard["units"].items():
        if key.startswith("x"):
            for channel, times in enumerate(units.cell):
                out[np.rint(times).astype(int) + key.endswith("ahead"), 0, channel] = 1
    return out


def test_no_weight_of_the_script_is_negative_and_both_signs_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sPyNNaker takes the size of a weight: a negative one would become positive without a word."""
    lowering = written(NETWORKS["recurrent, delay 4"], tmp_path)
    found = {name: value for name, value in arrays(lowering).items() if name.startswith("w")}
    assert all((value >= 0).all() for value in found.values())
    projections = told(tmp_path, monkeypatch)["connected"]
    loops = [p for p in projections if p[0] is p[1]]
    assert {p[3] for p in loops} == {"excitatory", "inhibitory"}
    assert {row[3] for p in loops for row in p[2]} == {4.0}  # ms


def test_currents_of_a_run_do_not_depend_on_the_blocks_it_is_cut_into() -> None:
    case = NETWORKS["held input through a synapse"]
    lowering = lower(case.network)
    fed = feed(lowering, case.inputs, RunOptions())
    limits = {"a": np.full(5, 1.0)}

    def whole(*ends: int) -> Any:
        currents = Currents(lowering.settings["chip"], fed, lowering.settings["most"], limits)
        return np.concatenate([c[r] for c, r in (currents(a, b) for a, b in pairwise(ends))])

    np.testing.assert_array_equal(whole(0, 120), whole(0, 7, 50, 120))


def test_a_drawn_start_is_drawn_by_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = replace(NETWORKS["plain"], network=populated(v0=Uniform(-0.5, 0.5)))
    written(case, tmp_path)
    v0 = np.array(told(tmp_path, monkeypatch)["units"]["p0"].initial["v"])
    assert np.unique(v0).size == 5
    assert ((v0 >= -0.5) & (v0 < 0.5)).all()


def test_a_name_cannot_break_out_of_the_scripts_docstring(tmp_path: Path) -> None:
    lowering = lower(replace(NETWORKS["plain"].network, provenance={"source": {"file": '"""\nimport os\n\\'}}))
    path = SPINNAKER.export(lowering, tmp_path / "net.py")
    text = path.read_text(encoding="utf-8")
    assert text.count('"""\nimport os') == 0
    compile(text, "net.py", "exec")


BOARDS = {
    name: NETWORKS[name] for name in ("recurrent, delay 4", "held input through a synapse, exact", "ref0 per unit")
}
BOARDS["the longest delay"] = replace(NETWORKS["recurrent"], network=recurrent(DELAY_MAX))


@pytest.mark.parametrize("name", BOARDS)
def test_spynnakers_own_mapping_holds_our_weights_bit_for_bit(name: str, tmp_path: Path) -> None:
    need("spynnaker", resource="spynnaker")
    lowering = written(BOARDS[name], tmp_path)
    for config in ("spynnaker.cfg", ".spynnaker.cfg"):  # the second is what it looks for at home
        (tmp_path / config).write_text(BOARD, encoding="utf-8")
    board = Path(__file__).with_name("spinnaker_board.py")
    command = [sys.executable, str(board), "net.py", "trial.npz", "read.npz"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    read, chip = np.load(tmp_path / "read.npz"), lowering.settings["chip"]
    for i, c in enumerate(chip.cells):
        assert tuple(read[f"p{i}.shifts"]) == c.shifts
    for i, s in enumerate(chip.synapses):
        shift = next(c.shifts[s.receptor] for c in chip.cells if c.name == s.target)
        there = np.zeros(s.weight.shape)
        there[read[f"w{i}"][:, 1].astype(int), read[f"w{i}"][:, 0].astype(int)] = read[f"w{i}"][:, 2]
        np.testing.assert_array_equal(np.ldexp(there, 15 - shift), s.weight)
        assert set(read[f"d{i}"][:, 2]) == {max(s.delay, 1) * 1.0}
