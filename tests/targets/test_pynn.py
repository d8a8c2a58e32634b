"""The PyNN scripts: run as a user would, they give the reference's spikes and outputs."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance_networks import DOUBLE, NETWORKS, N, held, neuron, plain, populated, reading, recurrent
from require import need

from spikeport.snn import reference
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork, Uniform
from spikeport.targets.nest.pynn_script import PYNN

need("nest", resource="nest")
need("pyNN", resource="nest")

QUICK = ("double exponential, exact", "chain, delay 3")
TAKEN = [name for name, case in NETWORKS.items() if not PYNN.problems(case.network)]


def call(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), *(str(a) for a in arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=script.parent, check=False)


def run(network: SpikingNetwork, trial: dict[str, Any], folder: Path, allow: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the script writes for one trial."""
    script = PYNN.export(PYNN.lower(network, allow=allow), folder / "net.py", overwrite=True)
    np.savez(folder / "trial.npz", **trial)
    done = call(script, "--inputs", "trial.npz", "--out", "result.npz")
    assert done.returncode == 0, done.stderr
    with np.load(folder / "result.npz", allow_pickle=False) as result:
        return dict(result)


def assert_same(result: dict[str, Any], expected: Recording) -> None:
    """Spike for spike, of the expected recording's first trial, and its outputs."""
    for name, trains in expected.spikes.items():
        mine = trains.batch == 0
        np.testing.assert_array_equal(result[f"{name} step"], trains.step[mine])
        np.testing.assert_array_equal(result[f"{name} unit"], trains.neuron[mine])
    for name, values in expected.outputs.items():
        np.testing.assert_allclose(result[f"output {name}"], values[:, 0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in TAKEN], ids=TAKEN
)
def test_a_script_gives_the_reference_s_spikes(name: str, tmp_path: Path) -> None:
    case = NETWORKS[name]
    result = run(case.network, {port: values[:, 0] for port, values in case.inputs.items()}, tmp_path)
    assert_same(result, case.expected())


def everything() -> SpikingNetwork:
    """Recurrent double exponentials, held values and spikes, a refractory period, a drawn v0, a read-out."""
    network, read = held(None, "kim2019"), reading(DOUBLE)
    a = replace(network.populations[0], synapses={"s": DOUBLE}, v0=Uniform(-0.5, 0.9))
    a = replace(a, neuron=replace(a.neuron, t_ref=0.002))
    inputs = tuple(replace(i, sampling="nearest") if i.name == "u" else i for i in network.inputs)
    back = recurrent(1).projections[-1]
    return replace(
        network, populations=(a,), inputs=inputs, readouts=read.readouts, projections=(*network.projections, back)
    )


def test_all_at_once_from_a_given_v0(tmp_path: Path) -> None:
    network, rng = everything(), np.random.default_rng(0)
    trial = {"x": rng.poisson(0.4, (150, 3)), "u": rng.uniform(0, 2, (30, 2))}
    v0 = rng.uniform(-0.5, 0.9, N)
    expected = reference.simulate(network, {name: value[:, None] for name, value in trial.items()}, v0={"a": v0})
    assert expected.spikes["a"].n_spikes > 100
    assert_same(run(network, {**trial, "v0 of a": v0}, tmp_path), expected)


def test_a_loss_is_in_the_script_and_its_spikes_are_those_that_it_leaves(tmp_path: Path) -> None:
    network = recurrent(1)
    counts = np.random.default_rng(1).poisson(0.3, (60, 3))
    lowering = PYNN.lower(network, allow=["min_delay"])
    assert_same(
        run(network, {"x": counts}, tmp_path, ("min_delay",)),
        reference.simulate(lowering.network, {"x": counts[:, None]}),
    )
    assert "    spikes act later: projection a->a, 1 ms, 1 step\n" in (tmp_path / "net.py").read_text()


@pytest.mark.parametrize(
    ("trial", "text"),
    [
        pytest.param({}, "'x' is missing", marks=pytest.mark.slow),
        ({"x": np.zeros((9, 4), dtype=int)}, "'x' has shape (9, 4), must be (None, 3)"),
        pytest.param(
            {"x": np.zeros((9, 3), dtype=int), "y": np.zeros(3)}, "there is no y here", marks=pytest.mark.slow
        ),
    ],
)
def test_a_script_refuses_inputs_that_do_not_fit(trial: dict[str, Any], text: str, tmp_path: Path) -> None:
    script = PYNN.export(PYNN.lower(plain()), tmp_path / "net.py")
    np.savez(tmp_path / "trial.npz", **trial)
    done = call(script, "--inputs", "trial.npz")
    assert (done.returncode, text in done.stderr) == (2, True)


def test_no_name_can_get_into_the_code(tmp_path: Path) -> None:
    evil = '"""\nraise SystemExit(7)\n"""\\'
    line = evil.replace("\n", ";")  # a population's name has no line break; a synapse's and the provenance may
    a = replace(plain().populations[0], name=line, synapses={evil: DOUBLE})
    given = replace(plain().projections[0], target=line, synapse=evil)
    network = plain(populations=(a,), projections=(given,), provenance={"source": {"file": evil}})
    path = PYNN.export(PYNN.lower(network), tmp_path / "net.py")
    tree, usual = ast.parse(path.read_text()), PYNN.export(PYNN.lower(plain()), tmp_path / "plain.py")
    kinds = [type(node) for node in tree.body]
    assert kinds.count(ast.Raise) == 0
    assert len(kinds) == len(ast.parse(usual.read_text()).body) + 1  # a second projection: the other mode


@pytest.mark.parametrize(
    ("network", "feature"),
    [
        (neuron(reset="subtract"), "reset"),
        (populated(noise_sd=0.1), "noise"),
        (populated(ref0=3), "initially_refractory"),
        (held("s"), "held_via"),
        (populated(synaptic_bias={"s": 0.6}), "synaptic_bias"),
        (recurrent(1), "min_delay"),
        (replace(plain(), dt=1e-3 / 3), "dt"),
    ],
)
def test_what_a_script_cannot_say_is_refused(network: SpikingNetwork, feature: str) -> None:
    assert [p.feature for p in PYNN.problems(network)] == [feature]
    with pytest.raises(RefusedError, match="pynn: cannot take this network"):
        PYNN.lower(network)


def test_both_files_are_written_or_none(tmp_path: Path) -> None:
    lowering = PYNN.lower(plain())
    with pytest.raises(SpikeportError, match=r"must end in \.py"):
        PYNN.export(lowering, tmp_path / "net.npz")
    (tmp_path / "net.npz").write_bytes(b"mine")
    with pytest.raises(SpikeportError, match="exists already"):
        PYNN.export(lowering, tmp_path / "net.py")
    assert [f.name for f in tmp_path.iterdir()] == ["net.npz"]
    PYNN.export(lowering, tmp_path / "net.py", overwrite=True)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["net.npz", "net.py"]
