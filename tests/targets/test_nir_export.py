"""Files of target nir: what they hold, and what is said before they are written. test_nir_readers.py reads them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance_networks import DT, NETWORKS, chain, joined, neuron, plain, populated, recurrent
from require import need

from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.files import load_spiking_network
from spikeport.snn.integrators import INTEGRATORS
from spikeport.snn.neurons import LIF
from spikeport.snn.spiking import Population, Projection, SpikingNetwork
from spikeport.snn.synapses import Exponential
from spikeport.targets.nir import NIR, graph_of, input_rows
from spikeport.targets.nir.conventions import READERS, differ_at_ties
from spikeport.targets.nir.limits import left_out
from spikeport.targets.tables import population_steps

CUBA = [name for name, c in READERS.items() if c.node == "CubaLIF"]


def features(network: SpikingNetwork, reader: str) -> set[str]:
    return {p.feature for p in NIR.problems(network, reader=reader)}


def exported(network: SpikingNetwork, folder: Path, reader: str = "any", **options: Any) -> Path:
    need("nir", resource="nir")
    return NIR.export(NIR.lower(network, reader=reader, **options), folder / "net.nir")


def decays(reader: str, node: Any, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """(a, b) by the reader's own formula, out of conventions.py's words."""
    c = READERS[reader]
    step = c.dt or dt
    if c.decay == "euler":
        return 1 - step / node.tau_syn, 1 - step / node.tau_mem
    return np.exp(-step / node.tau_syn), np.exp(-step / node.tau_mem)


def lif_of(graph: Any) -> Any:
    inner = [n for sub in graph.nodes.values() if hasattr(sub, "nodes") for n in sub.nodes.values()]
    return next(n for n in (*graph.nodes.values(), *inner) if hasattr(n, "v_threshold"))


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("reader", CUBA)
def test_a_readers_decays_are_those_of_our_step(reader: str, integrator: str) -> None:
    need("nir", resource="nir")
    network = plain(integrator=integrator)
    step = population_steps(network)[0]
    a, b = decays(reader, lif_of(graph_of(network, reader)), network.dt)
    np.testing.assert_allclose(a, step.synapses[0].table.D[:, 0, 0], rtol=1e-14)
    np.testing.assert_allclose(b, step.A, rtol=1e-14)


@pytest.mark.parametrize("reader", [r for r in CUBA if r != "rockpool"])
def test_the_discrete_convention_is_kept(reader: str) -> None:
    need("nir", resource="nir")
    node, dt = lif_of(graph_of(plain(), reader)), READERS[reader].dt or DT
    np.testing.assert_allclose(node.r * dt / node.tau_mem, 1, rtol=1e-15)
    np.testing.assert_allclose(node.w_in * dt / node.tau_syn, 1, rtol=1e-15)
    assert not node.v_leak.any()
    assert not node.v_reset.any()


def test_rockpool_finds_our_dt() -> None:
    need("nir", resource="nir")
    node = lif_of(graph_of(neuron(tau_mem=np.linspace(0.005, 0.03, 5)), "rockpool"))
    np.testing.assert_allclose(node.tau_mem / (1 + node.r), DT, rtol=1e-12)


@pytest.mark.parametrize("reader", READERS)
def test_a_graph_is_the_same_to_the_bit_each_time(reader: str) -> None:
    need("nir", resource="nir")
    first, second = (graph_of(recurrent(1, "exact"), reader) for _ in range(2))
    assert first.edges == second.edges
    assert first.metadata == second.metadata
    assert repr(first.to_dict()) == repr(second.to_dict())
    assert list(first.nodes) == sorted(first.nodes), "a file gives them back by name"


def test_nir_reads_the_file_and_sees_the_graph_only(tmp_path: Path) -> None:
    nir = need("nir", resource="nir")
    graph = nir.read(exported(recurrent(1), tmp_path))
    assert set(graph.nodes) == set(graph_of(recurrent(1), "any").nodes)
    assert "spikeport" not in graph.nodes


def test_the_network_lies_beside_the_graph_bit_for_bit(tmp_path: Path) -> None:
    need("nir", resource="nir")
    import h5py

    network = NETWORKS["read-out"].network
    with h5py.File(exported(network, tmp_path), "r") as file, h5py.File(tmp_path / "own.h5", "w") as own:
        for name in file["spikeport"]:
            file.copy(f"spikeport/{name}", own)
        for name, value in file["spikeport"].attrs.items():
            own.attrs[name] = value
    found = load_spiking_network(tmp_path / "own.h5")
    assert repr(graph_of(found).to_dict()) == repr(graph_of(network).to_dict())
    assert found.readouts[0].weight.tobytes() == network.readouts[0].weight.tobytes()
    assert found.populations[0].neuron == network.populations[0].neuron


def test_the_metadata_say_what_nir_cannot(tmp_path: Path) -> None:
    nir = need("nir", resource="nir")
    case = NETWORKS["millivolts"]
    text = nir.read(exported(case.network, tmp_path, "snntorch")).metadata
    found = {key: value.decode() if isinstance(value, bytes) else value for key, value in text.items()}
    assert json.loads(found["dt"]) == {"network": DT, "reader": 1e-4, "time_constants_in": "s"}
    assert found["integrator"] == "euler"
    population = json.loads(found["populations"])["a"]
    assert (population["reset"], population["refractory_steps"]) == ("to_value", 0)
    assert (population["mV_of_0"], population["mV_of_1"]) == (-65.0, -40.0)
    columns = {"name": "x", "kind": "spikes", "delay_steps": 0, "first_column": 0, "columns": 3}
    assert columns in json.loads(found["inputs"])
    assert json.loads(found["losses"]) == []


def test_a_held_input_says_how_it_is_sampled() -> None:
    need("nir", resource="nir")
    text = graph_of(NETWORKS["held input on the membrane"].network, "norse").metadata["inputs"]
    held = [c for c in json.loads(text) if c["kind"] == "held"]
    assert [(c["delay_steps"], c["sampling"], c["sample_every_s"]) for c in held] == [
        (0, "floor", 5 * DT),
        (1, "floor", 5 * DT),
    ]


def test_a_read_out_is_left_out_by_name_and_its_weights_are_in_the_metadata() -> None:
    need("nir", resource="nir")
    network = NETWORKS["read-out"].network
    lowering = NIR.lower(network, reader="norse")
    assert [loss.what for loss in lowering.losses] == ["read-out left out"]
    stored = json.loads(graph_of(network, "norse").metadata["readouts"])[0]
    assert (np.array(stored["weight"]) == network.readouts[0].weight).all()
    assert stored["bias"] == [0.3, -0.2]


@pytest.mark.parametrize(
    ("name", "feature"),
    [
        ("refractory", "refractory"), ("noise", "noise"), ("initial v", "initial_v"), ("double exponential", "synapse"),
        ("initially refractory", "initially_refractory"), ("recurrent, delay 4", "delays"),
        ("chain, delay 1", "delays"),
        ("reset by subtraction", "reset"), ("tau_mem per unit", "heterogeneous"),
    ],
)  # fmt: skip
def test_what_a_file_for_any_reader_cannot_say_is_refused_by_name(name: str, feature: str) -> None:
    assert features(NETWORKS[name].network, "any") == {feature}
    with pytest.raises(RefusedError, match="nir: cannot take this network"):
        NIR.lower(NETWORKS[name].network)


def test_what_is_given_up_is_named_in_the_file(tmp_path: Path) -> None:
    nir = need("nir", resource="nir")
    network = NETWORKS["refractory"].network
    path = exported(network, tmp_path, "norse", allow=("refractory",))
    losses = nir.read(path).metadata["losses"]
    assert "no refractory period" in (losses.decode() if isinstance(losses, bytes) else losses)


def test_two_synapses_are_two_li_where_the_reader_has_them() -> None:
    slow = {"s": Exponential(tau=0.005), "t": Exponential(tau=0.02)}
    network = populated(synapses=slow)
    more = Projection(source="x", target="a", weight=np.full((5, 3), 0.01), synapse="t")
    network = replace(network, projections=(*network.projections, more))
    assert "synapse" in features(network, "norse")
    assert features(network, "sinabs") == {"reset"}


def test_a_loop_through_two_populations_is_refused() -> None:
    network = chain(0)
    back = Projection(source="b", target="a", weight=np.full((5, 3), 0.01), synapse="s", delay=1)
    assert "recurrent" in features(replace(network, projections=(*network.projections, back)), "snntorch")


def test_two_ends_are_refused() -> None:
    network = plain()
    other = replace(network.populations[0], name="b")
    given = replace(network.projections[0], target="b")
    both = replace(network, populations=(*network.populations, other), projections=(*network.projections, given))
    assert "populations" in features(both, "any")


def test_a_threshold_at_the_reset_is_refused() -> None:
    assert "reset" in features(neuron(v_threshold=0.0), "norse")


def test_populations_with_different_resets_are_refused() -> None:
    network = chain(0)
    a, b = network.populations
    b = replace(b, neuron=replace(b.neuron, reset="subtract"))
    assert features(replace(network, populations=(a, b)), "norse") == {"reset"}


def test_a_decay_below_zero_is_refused() -> None:
    """Euler with tau below dt: no time constant gives that decay."""
    assert features(neuron(tau_mem=0.0008), "spikingjelly") == {"integrator"}


def test_a_bias_behind_another_population_needs_a_second_way_in() -> None:
    network = chain(0)
    a, b = network.populations
    network = replace(network, populations=(a, replace(b, bias=0.2)))
    assert features(network, "norse") == {"bias"}
    assert features(network, "snntorch") == set()


def test_whom_any_leaves_out_follows_from_the_conventions() -> None:
    assert set(left_out(plain())) == {"snntorch", "rockpool", "spyx", "sinabs", "spinnaker2"}
    fast = plain(dt=1e-4)
    assert "snntorch" not in left_out(fast), "that is its dt"
    assert differ_at_ties() == ["rockpool", "spikingjelly", "sinabs"]
    losses = NIR.lower(plain()).losses
    assert [loss.what for loss in losses] == ["not for every reader"]
    assert all(name in losses[0].how_much for name in left_out(plain()))


def test_a_decay_near_one_is_a_loss_where_a_reader_keeps_it_in_float32() -> None:
    network = neuron(tau_mem=0.1)
    network = replace(network, dt=5e-5)
    assert [loss.what for loss in NIR.lower(network, reader="norse").losses] == []
    losses = NIR.lower(network, reader="snntorch").losses
    assert [loss.what for loss in losses] == ["decays in float32"]


def test_a_reader_that_was_not_run_says_so() -> None:
    for name, c in READERS.items():
        what = {loss.what for loss in NIR.lower(plain(), reader=name).losses} if not features(plain(), name) else set()
        assert ("the reader was not run" in what) == (not c.measured), name


def test_a_bias_comes_through_the_synapse_and_is_there_at_once() -> None:
    """i = a i + u with u[1] = c and then (1 - a) c is c from the first step."""
    need("nir", resource="nir")
    network = populated(bias=0.7)
    graph = graph_of(network, "norse")
    weights = next(n for n in graph.nodes.values() if hasattr(n, "bias"))
    rows = input_rows(network, {"x": np.zeros((9, 1, 3), dtype=np.int64)}, reader="norse")
    a = decays("norse", lif_of(graph), DT)[0]
    i = np.zeros(5)
    for row in rows[:, 0]:
        i = a * i + weights.weight @ row + weights.bias
        np.testing.assert_allclose(i, 0.1 * 0.7, rtol=1e-14)


def test_rows_hold_the_inputs_with_their_delays() -> None:
    z = (np.random.default_rng(0).random((6, 2, 3)) < 0.5).astype(np.int64)
    late = replace(plain(), projections=(replace(plain().projections[0], delay=1),))
    rows = input_rows(late, {"x": z})
    assert rows.shape == (6, 2, 3)
    assert not rows[0].any()
    assert (rows[1:] == z[:-1]).all()


@pytest.mark.parametrize("name", ["a/b", "input", "values", "1", "a b", "ü", "lambda"])
def test_any_name_of_a_population_makes_a_node(name: str, tmp_path: Path) -> None:
    nir = need("nir", resource="nir")
    network = plain()
    a = Population(
        name=name, n=5, neuron=LIF(tau_mem=0.01, v_threshold=1.0, v_reset=0.0), synapses={"s": Exponential(tau=0.005)}
    )
    network = replace(network, populations=(a,), projections=(replace(network.projections[0], target=name),))
    assert len(nir.read(exported(network, tmp_path)).nodes) == 4


def test_names_that_differ_in_a_mark_only_stay_two() -> None:
    need("nir", resource="nir")
    network = chain(0)
    a, b = (replace(p, name=n) for p, n in zip(network.populations, ("p.1", "p_1"), strict=True))
    given, onward = network.projections
    network = replace(
        network,
        populations=(a, b),
        projections=(replace(given, target="p.1"), replace(onward, source="p.1", target="p_1")),
    )
    assert len(graph_of(network).nodes) == 6


def test_an_unknown_reader_is_refused_with_the_list() -> None:
    with pytest.raises(SpikeportError, match="'nengo', must be one of any, snntorch"):
        NIR.lower(plain(), reader="nengo")


def test_a_file_is_not_written_over_unasked(tmp_path: Path) -> None:
    path = exported(plain(), tmp_path)
    before = path.read_bytes()
    with pytest.raises(SpikeportError, match="exists already"):
        NIR.export(NIR.lower(joined()), path)
    assert path.read_bytes() == before


def test_a_network_is_judged_without_nir() -> None:
    code = (
        "import sys; from conformance_networks import plain; from spikeport.targets.nir import NIR; "
        "NIR.lower(plain(), reader='norse'); sys.exit('nir' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False).returncode == 0
