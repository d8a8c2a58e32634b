"""Brian2: what it runs has the reference's bits, its scripts have the reference's spikes, and it leaves no trace."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance_networks import BATCH, DOUBLE, NETWORKS, STEPS, Conformance, joined, plain, populated, reading
from require import missing

from spikeport.snn import reference
from spikeport.snn.errors import SpikeportError, UnsupportedError
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import HeldInput, Projection, SpikeInput, SpikingNetwork, Uniform
from spikeport.snn.synapses import Exponential
from spikeport.targets.base import RunOptions
from spikeport.targets.brian2 import BRIAN2, session, target
from spikeport.targets.brian2.script import make_script
from spikeport.targets.checking import missing_modules

if missing_modules(BRIAN2):  # not need(): importing Brian2 plainly would warn, and leave its hooks
    missing("brian2", "brian2 is not installed")

GOLDEN = Path(__file__).parent / "golden_brian2.py.txt"
UPDATE = "SPIKEPORT_UPDATE_GOLDEN"


def differing(found: Recording, expected: Recording) -> int:
    assert set(found.spikes) == set(expected.spikes)
    return sum(s.differing(found.spikes[name]) for name, s in expected.spikes.items())


def run(case: Conformance, codegen: str = "numpy", **changes: Any) -> Recording:
    lowering = BRIAN2.lower(case.network, codegen=codegen)
    return BRIAN2.run(lowering, case.inputs, replace(RunOptions(**case.run()), **changes))


def crowded() -> Conformance:
    """Several spikes a step and without delay, an input sampled at half steps, a loop, noise, a refractory period."""
    network = joined(
        Projection(source="u", target="a", weight=np.linspace(0.1, 0.6, 10).reshape(5, 2)),
        Projection(source="y", target="a", weight=np.full((5, 2), 0.004), synapse="s", delay=0),
        Projection(source="a", target="a", weight=np.full((5, 5), -0.001), synapse="s", delay=2),
        inputs=(
            SpikeInput(name="x", n=3),
            HeldInput(name="u", n=2, dt=0.004, sampling="nearest"),
            SpikeInput(name="y", n=2),
        ),
        integrator="kim2019",
    )
    a = network.populations[0]
    a = replace(a, noise_sd=0.05, neuron=replace(a.neuron, t_ref=0.002), v0=Uniform(-0.5, 0.9), synapses={"s": DOUBLE})
    rng = np.random.default_rng(3)
    inputs = {
        "x": (rng.random((STEPS, BATCH, 3)) < 0.3).astype(int),
        "y": rng.integers(0, 4, (STEPS, BATCH, 2)),
        "u": rng.uniform(0, 1, (30, BATCH, 2)),
    }
    return Conformance(name="crowded", network=replace(network, populations=(a,)), inputs=inputs)


# running


@pytest.mark.parametrize("name", ["recurrent, exact", "double exponential, kim2019", "noise while refractory", "delta"])
def test_v_is_the_references_to_the_last_bit(name: str) -> None:
    case = NETWORKS[name]
    found, expected = run(case, record=("a.v", "a.s")), case.expected()
    assert differing(found, expected) == 0
    np.testing.assert_array_equal(found.traces["a.v"], expected.traces["a.v"])


def test_everything_at_once_has_the_references_bits() -> None:
    case = crowded()
    found = run(case, record=("a.v", "a.s"))
    expected = reference.simulate(case.network, case.inputs, record=("a.v", "a.s"), **case.run())
    assert expected.spikes["a"].n_spikes > 100
    assert differing(found, expected) == 0
    for name, values in expected.traces.items():
        np.testing.assert_array_equal(found.traces[name], values)


@pytest.mark.slow
@pytest.mark.parametrize("codegen", ["cython", "cpp_standalone"])  # 20-90 s of compiling each
def test_compiled_code_has_the_references_bits_too(codegen: str) -> None:
    case = crowded()
    found = run(case, codegen, record=("a.v",))
    expected = reference.simulate(case.network, case.inputs, record=("a.v",), **case.run())
    assert differing(found, expected) == 0
    np.testing.assert_array_equal(found.traces["a.v"], expected.traces["a.v"])
    assert differing(run(case), expected) == 0  # and numpy, after it


def test_a_long_run_agrees_across_the_blocks_it_is_fed_in() -> None:
    case = NETWORKS["noise"]
    rng = np.random.default_rng(0)
    case = replace(case, n_steps=600, inputs={"x": (rng.random((600, BATCH, 3)) < 0.3).astype(int)})
    assert differing(run(case), reference.simulate(case.network, case.inputs, **case.run())) == 0


@pytest.mark.slow
def test_trials_in_parts_are_the_trials_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    case = crowded()
    given = {"noise_values": {"a": np.random.default_rng(1).normal(0, 0.05, (STEPS, BATCH, 5))}}
    whole, whole_given = run(case, record=("a.v",)), run(case, **given)
    monkeypatch.setattr(target, "MOST_SYNAPSES", 1)
    parts = run(case, record=("a.v",))
    assert differing(parts, whole) == 0
    np.testing.assert_array_equal(parts.traces["a.v"], whole.traces["a.v"])
    assert differing(run(case, **given), whole_given) == 0


def test_a_projection_whose_weights_are_all_0_is_silent() -> None:
    case = NETWORKS["plain"]
    case = replace(case, network=plain(projections=(replace(case.network.projections[0], weight=np.zeros((5, 3))),)))
    assert run(case, record=("a.s",)).spikes["a"].n_spikes == 0


def test_what_it_cannot_run_on_is_refused() -> None:
    case = NETWORKS["plain"]
    with pytest.raises(SpikeportError, match=r"dtype 'float32': has float64\n.*device 'cuda': has cpu"):
        run(case, dtype="float32", device="cuda")
    with pytest.raises(SpikeportError, match=r"no trace a\.w; there are a\.v, a\.s"):
        run(case, record=("a.w",))


def test_a_standalone_program_with_too_large_tables_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from spikeport.targets.brian2 import feeding

    monkeypatch.setattr(feeding, "MOST_STANDALONE", 100)
    with pytest.raises(SpikeportError, match="cannot carry this run"):
        run(NETWORKS["plain"], "cpp_standalone")
    assert (
        differing(run(NETWORKS["plain"]), NETWORKS["plain"].expected()) == 0
    )  # the device is Brian2's usual one again


def test_preferences_and_device_are_as_before() -> None:
    brian2 = session.load()
    before = {name: brian2.prefs[name] for name in (*session.SETTINGS, "codegen.target")}
    device = brian2.get_device()
    run(NETWORKS["plain"])
    assert {name: brian2.prefs[name] for name in before} == before
    assert brian2.get_device() is device
    assert brian2.defaultclock.dt / brian2.ms == pytest.approx(0.1)


def test_the_import_leaves_no_hooks_and_no_files(tmp_path: Path) -> None:
    code = """
import logging, signal, sys, warnings, tempfile, os
before = (sys.excepthook, signal.getsignal(signal.SIGINT), warnings.showwarning)
from spikeport.targets.brian2 import session
brian2 = session.load()
assert (sys.excepthook, signal.getsignal(signal.SIGINT), warnings.showwarning) == before
assert not [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("brian_")]
logging.captureWarnings(True)
assert warnings.showwarning is not before[2]
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


# scripts


def quiet(network: SpikingNetwork) -> SpikingNetwork:
    return replace(network, populations=tuple(replace(p, noise_sd=0.0) for p in network.populations))


def run_script(case: Conformance, folder: Path) -> tuple[dict[str, tuple[SpikeTrains, SpikeTrains]], dict[str, Any]]:
    """(population -> spikes expected and found of the first trial; the result's arrays) of an exported script."""
    expected = reference.simulate(case.network, case.inputs, **case.run())
    path = BRIAN2.export(BRIAN2.lower(case.network), folder / "net.py")
    v0 = {}
    for p in case.network.populations:
        if isinstance(p.v0, Uniform):
            raise AssertionError("give the case a fixed v0")
        v0[f"v0.{p.name}"] = p.v0
    np.savez(folder / "trial.npz", **{name: values[:, 0] for name, values in case.inputs.items()}, **v0)
    done = subprocess.run(
        [sys.executable, str(path), str(folder / "trial.npz"), str(folder / "result.npz")],
        capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    with np.load(folder / "result.npz") as archive:
        result = dict(archive)
    found, printed = {}, [line.split() for line in done.stdout.splitlines() if not line.startswith("#")]
    for name, trains in expected.spikes.items():
        first = trains.batch == 0
        shape = (trains.shape[0], 1, trains.shape[2])
        want = SpikeTrains.build(trains.step[first], trains.batch[first], trains.neuron[first], shape)
        rows = np.array([(int(k), int(i)) for who, k, i in printed if who == name]).reshape(-1, 2)
        found[name] = (want, SpikeTrains.build(rows[:, 0], np.zeros(len(rows)), rows[:, 1], shape))
        np.testing.assert_array_equal(rows[:, 0], result[f"{name}.step"])
    for name, values in expected.outputs.items():
        np.testing.assert_allclose(result[name], values[:, 0], rtol=1e-9, atol=1e-9)
    return found, result


def scripted() -> Iterator[Conformance]:
    """The most in the fewest scripts."""
    case = crowded()
    a = quiet(case.network).populations[0]
    once = {**case.inputs, "y": np.minimum(case.inputs["y"], 1)}
    yield replace(case, network=replace(case.network, populations=(replace(a, v0=0.1),)), inputs=once)
    held = NETWORKS["held input through a synapse, exact"]
    read = replace(reading(DOUBLE).readouts[0], synapse=Exponential(tau=0.01))
    double = replace(held.network.populations[0], synapses={"s": DOUBLE}, synaptic_bias={"s": 0.2}, ref0=3)
    yield replace(held, network=replace(held.network, populations=(double,), readouts=(read,)))


SCRIPTED = list(scripted())


@pytest.mark.parametrize("case", SCRIPTED, ids=lambda case: case.name)
def test_a_script_has_the_references_spikes(case: Conformance, tmp_path: Path) -> None:
    found, _ = run_script(case, tmp_path)
    assert {name: want.differing(got) for name, (want, got) in found.items()} == dict.fromkeys(found, 0)
    assert all(want.n_spikes > 50 for want, _ in found.values())


@pytest.mark.slow
@pytest.mark.parametrize("case", NETWORKS.values(), ids=lambda case: case.name)
def test_a_script_of_each_network_has_the_references_spikes(case: Conformance, tmp_path: Path) -> None:
    found, _ = run_script(replace(case, network=quiet(case.network)), tmp_path)
    assert {name: want.differing(got) for name, (want, got) in found.items()} == dict.fromkeys(found, 0)


@pytest.mark.slow
def test_a_noisy_script_runs_on_its_built_in_trial(tmp_path: Path) -> None:
    path = BRIAN2.export(BRIAN2.lower(crowded().network), tmp_path / "net.py")
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("# a: ")


def test_the_text_of_a_script_is_the_reviewed_one() -> None:
    case = crowded()
    text = make_script(BRIAN2.lower(case.network), "net.py").text
    if os.environ.get(UPDATE):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8"), f"{UPDATE}=1 pytest ...   writes the new text; then review it"


def test_script_and_arrays_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "net.weights.npz").write_text("mine")
    lowering = BRIAN2.lower(plain())
    with pytest.raises(SpikeportError, match=r"net\.weights\.npz: exists already"):
        BRIAN2.export(lowering, tmp_path / "net.py")
    assert [p.name for p in tmp_path.iterdir()] == ["net.weights.npz"]
    assert (tmp_path / "net.weights.npz").read_text() == "mine"


def test_a_script_must_end_in_py(tmp_path: Path) -> None:
    with pytest.raises(SpikeportError, match=r"its name must end with \.py"):
        BRIAN2.export(BRIAN2.lower(plain()), tmp_path / "net.npz")


def test_a_name_that_could_say_something_in_a_script_is_refused() -> None:
    network = plain()
    evil = 'x"]; import os; os.abort(); ["'
    given = replace(network.projections[0], source=evil)
    network = replace(network, inputs=(SpikeInput(name=evil, n=3),), projections=(given,))
    with pytest.raises(UnsupportedError, match="letters, digits, spaces"):
        make_script(BRIAN2.lower(network), "net.py")


def test_two_synapses_that_would_share_a_name_are_refused() -> None:
    network = populated(synapses={"s": Exponential(tau=0.005), "mem": Exponential(tau=0.005)})
    with pytest.raises(UnsupportedError, match="two parameters are tau_mem"):
        make_script(BRIAN2.lower(network), "net.py")


def test_the_source_in_a_docstring_is_harmless() -> None:
    network = replace(plain(), provenance={"source": {"file": 'a"""\nimport os\n"""'}})
    compiled = compile(make_script(BRIAN2.lower(network), "net.py").text, "net.py", "exec")
    assert not [c for c in compiled.co_names if c == "os"]
    assert logging.getLogger("brian2") is not None
