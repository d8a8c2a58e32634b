"""A NIR graph becomes the network that the NIR reference equations describe, spike for spike."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nir_graphs import DT, affine, imported, neuron, recurrent
from nir_reference import Array, NirReference
from require import need
from typer.testing import CliRunner

from spikeport.cli import app
from spikeport.snn import engine, reference
from spikeport.snn.errors import SpikeportError, UnsupportedError
from spikeport.snn.files import load_spiking_network
from spikeport.snn.neurons import per_unit
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.nir.graph import differences, from_json, from_nir, to_json
from spikeport.targets.nir.importing import fingerprint, network_of, read_nir

nir = need("nir", resource="nir")

SPIKING = ("LIF", "CubaLIF", "IF", "Threshold")


def assert_same_spikes(graph: Any, network: SpikingNetwork, order: list[str], steps: int = 200, seed: int = 0) -> int:
    """Run both on random input; returns how many spikes were compared."""
    rng = np.random.default_rng([seed, 1])
    held = {i.name for i in network.held_inputs}
    rows = {i.name: rng.normal(size=(steps, i.n)) if i.name in held else (rng.random((steps, i.n)) < 0.2).astype(float)
            for i in network.inputs}  # fmt: skip
    expected = NirReference(graph, order, network.dt).run(rows)
    given_inputs = {n: r[:, None, :] if n in held else r[:, None, :].astype(int) for n, r in rows.items()}
    found = reference.simulate(network, given_inputs, n_steps=steps)
    compared = 0
    for p in network.populations:
        differing = int((found.spikes[p.name].dense()[:, 0] != expected[p.name]).sum())
        assert differing == 0, f"{p.name}: {differing} spikes differ"
        compared += int(expected[p.name].sum())
    for readout in network.readouts:
        np.testing.assert_allclose(found.outputs[readout.name][:, 0], expected[readout.name], rtol=1e-9, atol=1e-12)
    return compared


@pytest.mark.parametrize("inputs", ["spikes", "values"])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", SPIKING)
def test_a_node_of_each_kind_gives_the_spikes_of_its_equations(kind: str, seed: int, inputs: str) -> None:
    graph = recurrent(kind, seed)
    network = imported(graph, inputs=inputs)
    assert assert_same_spikes(graph, network, ["a", "b"], seed=seed) > 50


@st.composite
def chains(draw: st.DrawFn) -> tuple[Any, list[str]]:
    """Layers of random kinds, each fed by one or more of those before it and sometimes by itself."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = {"input": draw(st.integers(1, 4))}
    nodes: dict[str, Any] = {"input": nir.Input(np.array([sizes["input"]]))}
    edges: list[tuple[str, str]] = []
    order: list[str] = []
    for i in range(draw(st.integers(1, 4))):
        name, n = f"n{i}", draw(st.integers(1, 5))
        nodes[name] = neuron(draw(st.sampled_from(SPIKING)), n, rng)
        sources = draw(st.lists(st.sampled_from([*sizes, name]), min_size=1, max_size=3, unique=True))
        if sources == [name]:
            sources = ["input", name]
        sizes[name] = n
        for source in sources:
            nodes[f"{source}_{name}"] = affine(n, sizes[source], rng)
            ends = [source, f"{source}_{name}", name]
            if draw(st.booleans()):
                nodes[f"{source}_{name}_late"] = nir.Delay(
                    np.array(draw(st.lists(st.integers(0, 3), min_size=sizes[source], max_size=sizes[source]))) * DT
                )
                ends.insert(1, f"{source}_{name}_late")
            edges += list(pairwise(ends))
        order.append(name)
    nodes["output"] = nir.Output(np.array([sizes[order[-1]]]))
    edges.append((order[-1], "output"))
    return nir.NIRGraph(nodes=nodes, edges=[edges[i] for i in rng.permutation(len(edges))], type_check=False), order


@settings(max_examples=25, deadline=None)
@given(chains())
def test_random_graphs_give_the_spikes_of_their_equations(case: tuple[Any, list[str]]) -> None:
    graph, order = case
    if any("input" not in _ancestors(graph, name) for name in order) or "input" not in {a for a, _ in graph.edges}:
        return  # an Input that leads nowhere is refused; see below
    assert_same_spikes(graph, imported(graph), order, steps=60)


def _ancestors(graph: Any, name: str) -> set[str]:
    found, todo = set(), [name]
    while todo:
        at = todo.pop()
        new = {a for a, b in graph.edges if b == at} - found
        found |= new
        todo += new
    return found


def test_the_trained_braille_network_gives_the_spikes_of_its_equations(shared_data: Path) -> None:
    path = shared_data / "nir" / "braille_noDelay_bias_zero.nir"
    graph = nir.read(path)
    for seed in range(2):
        assert assert_same_spikes(graph, read_nir(path, dt=DT), ["lif1.lif", "lif2"], steps=500, seed=seed) > 1000


def test_a_graph_survives_json_bit_for_bit() -> None:
    graph = recurrent("CubaLIF", 3)
    graph.metadata = {
        "note": "ä",
        "k": np.float32(0.1),
        "deep": {"x": np.arange(3), "t": np.array([b"a"], dtype=object)},
    }
    node = from_nir(graph)
    assert differences(from_json(to_json(node)), node) == []


def li_graph(leak: float = 0.0, bias: float = 0.0, kind: str = "LI", after: bool = False) -> Any:
    rng = np.random.default_rng(5)
    one = np.ones(3)
    filter_node = (
        nir.LI(tau=4e-3 * one, r=rng.uniform(1, 2, 3), v_leak=leak * one)
        if kind == "LI"
        else nir.CubaLI(tau_syn=2e-3 * one, tau_mem=5e-3 * one, r=rng.uniform(1, 2, 3), v_leak=leak * one, w_in=0.7)
    )
    nodes = {
        "input": nir.Input(np.array([5])), "fc": affine(6, 5, rng), "lif": neuron("LIF", 6, rng),
        "w": nir.Affine(weight=rng.normal(size=(3, 6)), bias=bias * np.ones(3)), "li": filter_node,
        "output": nir.Output(np.array([2 if after else 3])),
    }  # fmt: skip
    path = ["input", "fc", "lif", "w", "li"]
    if after:
        nodes["mix"] = nir.Affine(weight=rng.normal(size=(2, 3)), bias=np.ones(2))
        path.append("mix")
    path.append("output")
    return nir.NIRGraph(nodes=nodes, edges=list(pairwise(path)))


@pytest.mark.parametrize("after", [False, True])
def test_a_leaky_integrator_before_the_output_is_a_read_out(after: bool) -> None:
    graph = li_graph(after=after)
    network = imported(graph)
    assert [r.name for r in network.readouts] == ["output"]
    assert assert_same_spikes(graph, network, ["lif", "li"]) > 20


def test_a_leaky_integrator_with_a_bias_starts_at_rest() -> None:
    graph = li_graph(leak=0.4, bias=0.3)
    network = imported(graph)
    simulator = NirReference(graph, ["lif", "li"], DT)
    simulator.state["li"]["v"] = graph.nodes["li"].v_leak + graph.nodes["li"].r * 0.3
    z = (np.random.default_rng(0).random((300, 5)) < 0.2).astype(int)
    expected = simulator.run({"input": z.astype(float)})["output"]
    found = reference.simulate(network, z[:, None, :]).outputs["output"][:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_current_based_integrator_comes_one_step_late_with_permission_only() -> None:
    graph = li_graph(kind="CubaLI")
    with pytest.raises(UnsupportedError, match=r"node output: the voltage of a CubaLI comes one step late"):
        imported(graph)
    network = imported(graph, allow=("late_output",))
    assert network.provenance["losses"] == ["read-out output: the voltage of a CubaLI comes one step late (0.0001 s)"]
    z = (np.random.default_rng(0).random((300, 5)) < 0.2).astype(int)
    expected = NirReference(graph, ["lif", "li"], DT).run({"input": z.astype(float)})["output"]
    found = reference.simulate(network, z[:, None, :]).outputs["output"][:, 0]
    np.testing.assert_allclose(found[1:], expected[:-1], rtol=1e-9, atol=1e-12)


def test_weights_before_the_output_are_a_read_out_without_memory() -> None:
    rng = np.random.default_rng(2)
    nodes = {"input": nir.Input(np.array([4])), "fc": affine(5, 4, rng), "lif": neuron("LIF", 5, rng),
             "w": affine(2, 5, rng), "output": nir.Output(np.array([2]))}  # fmt: skip
    graph = nir.NIRGraph(nodes=nodes, edges=[("input", "fc"), ("fc", "lif"), ("lif", "w"), ("w", "output")])
    assert assert_same_spikes(graph, imported(graph), ["lif"]) > 20


def simple(node: Any, weight: Any, **options: Any) -> Array:
    """The spikes of one unit of `node` behind `weight`, for the counts 0, 1, 2, 3, 0, 0, ... on one channel."""
    graph = nir.NIRGraph(
        nodes={"input": nir.Input(np.array([1])), "w": weight, "cell": node, "output": nir.Output(np.array([1]))},
        edges=[("input", "w"), ("w", "cell"), ("cell", "output")],
    )
    network = network_of(from_nir(graph), **{"dt": DT, **options})
    given_counts = np.array([0, 1, 2, 3, 0, 0])[:, None, None]
    return reference.simulate(network, given_counts).spikes["cell"].dense()[:, 0, 0]


@pytest.mark.parametrize("dt", [1e-4, 1e-3, 5e-5, 3e-4, 0.7e-3, 1.0])
def test_a_threshold_that_is_met_exactly_is_not_passed(dt: float) -> None:
    weight = nir.Linear(weight=np.array([[0.1]]))
    for counts in (1, 2, 3):
        spikes = simple(nir.Threshold(threshold=np.array([counts * 0.1])), weight, dt=dt)
        np.testing.assert_array_equal(spikes, np.array([0, 1, 2, 3, 0, 0]) > counts)


def test_an_integrate_and_fire_neuron_forgets_nothing() -> None:
    node = nir.IF(r=np.array([1 / DT]), v_threshold=np.array([1e6]), v_reset=np.array([0.0]))
    graph = nir.NIRGraph(
        nodes={"input": nir.Input(np.array([1])), "w": nir.Linear(weight=np.array([[1.0]])), "cell": node,
               "output": nir.Output(np.array([1]))},
        edges=[("input", "w"), ("w", "cell"), ("cell", "output")],
    )  # fmt: skip
    network = imported(graph)
    z = np.zeros((100_000, 1, 1), dtype=int)
    z[:3] = 1
    v = engine.simulate(network, z, record=["cell.v"]).traces["cell.v"][:, 0, 0]
    assert v[2] == v[-1] == 3.0  # to the last bit after 100,000 steps
    values = imported(graph, inputs="values")
    v = engine.simulate(values, np.full((1000, 1, 1), 0.25), record=["cell.v"]).traces["cell.v"][:, 0, 0]
    np.testing.assert_array_equal(v, 0.25 * np.arange(1, 1001))


def test_parameters_keep_their_meaning_in_our_units() -> None:
    node = nir.CubaLIF(tau_syn=np.array([2e-3]), tau_mem=np.array([1e-2]), r=np.array([3.0]), v_leak=np.array([-0.5]),
                       v_threshold=np.array([1.0]), v_reset=np.array([-1.0]), w_in=np.array([5.0]))  # fmt: skip
    graph = nir.NIRGraph(
        nodes={"input": nir.Input(np.array([1])), "w": nir.Affine(np.array([[2.0]]), np.array([0.1])), "cell": node,
               "output": nir.Output(np.array([1]))},
        edges=[("input", "w"), ("w", "cell"), ("cell", "output")],
    )  # fmt: skip
    network = imported(graph)
    p = network.population("cell")
    assert (p.neuron.tau_mem, p.neuron.v_leak, p.neuron.v_threshold, p.neuron.v_reset) == (1e-2, -0.5, 1.0, -1.0)
    assert network.projections[0].weight[0, 0] == pytest.approx(DT * 3 * 5 * 2, rel=1e-15)
    assert per_unit(p.synaptic_bias["current"], 1)[0] == pytest.approx(3 * 5 * 0.1, rel=1e-15)


def two_loop(delay: float | None, second_input: bool) -> Any:
    """a -> b -> a, entered at a, or at both."""
    rng = np.random.default_rng(1)
    nodes = {
        "input": nir.Input(np.array([3])), "fc": affine(4, 3, rng), "a": neuron("LIF", 4, rng),
        "ab": affine(4, 4, rng, 0), "b": neuron("LIF", 4, rng), "ba": affine(4, 4, rng, 0),
        "output": nir.Output(np.array([4])),
    }  # fmt: skip
    edges = [("input", "fc"), ("fc", "a"), ("a", "ab"), ("ab", "b"), ("b", "ba"), ("b", "output")]
    if delay is None:
        edges.append(("ba", "a"))
    else:
        nodes["late"] = nir.Delay(np.full(4, delay))
        edges += [("ba", "late"), ("late", "a")]
    if second_input:
        nodes["fc2"] = affine(4, 3, rng)
        edges += [("input", "fc2"), ("fc2", "b")]
    return nir.NIRGraph(nodes=nodes, edges=edges)


def test_a_loop_through_two_neurons_goes_back_where_it_was_entered() -> None:
    network = imported(two_loop(None, False))
    assert {(p.source, p.target): p.delay for p in network.projections if p.source != "input"} == {
        ("a", "b"): 0,
        ("b", "a"): 1,
    }
    assert network.provenance["next_step"] == ["b -> a"]
    assert assert_same_spikes(two_loop(None, False), network, ["a", "b"]) > 50


def test_a_loop_that_is_entered_twice_is_refused_unless_it_has_a_delay() -> None:
    with pytest.raises(UnsupportedError, match=r"nodes a, b: a loop without a Delay that is entered at several places"):
        imported(two_loop(None, True))
    graph = two_loop(3 * DT, True)
    network = imported(graph)
    assert {p.delay for p in network.projections if (p.source, p.target) == ("b", "a")} == {3}
    assert assert_same_spikes(graph, network, ["a", "b"]) > 50


def test_a_graph_inside_a_graph_is_the_same_network() -> None:
    rng = np.random.default_rng(8)
    cell, w_rec, fc = neuron("CubaLIF", 4, rng), affine(4, 4, rng), affine(4, 3, rng)
    loop = [("lif", "w_rec"), ("w_rec", "lif")]
    inner = nir.NIRGraph(
        nodes={"input": nir.Input(np.array([4])), "lif": cell, "w_rec": w_rec, "output": nir.Output(np.array([4]))},
        edges=[("input", "lif"), *loop, ("lif", "output")],
    )
    ends = {"input": nir.Input(np.array([3])), "fc": fc, "output": nir.Output(np.array([4]))}
    nested = nir.NIRGraph(nodes={**ends, "layer": inner}, edges=[("input", "fc"), ("fc", "layer"), ("layer", "output")])
    flat = nir.NIRGraph(nodes={**ends, "layer.lif": cell, "layer.w_rec": w_rec}, edges=[
        ("input", "fc"), ("fc", "layer.lif"), ("layer.lif", "output"), *[(f"layer.{a}", f"layer.{b}") for a, b in loop]
    ])  # fmt: skip
    assert fingerprint(imported(nested)) == fingerprint(imported(flat))
    assert assert_same_spikes(flat, imported(nested), ["layer.lif"]) > 20


def test_dt_is_asked_for_and_must_suit_the_graph() -> None:
    graph = recurrent("LIF", 0)
    with pytest.raises(SpikeportError, match=r"dt is not given, and a NIR graph has none\n.*--dt 1e-4"):
        imported(graph, dt=None)
    with pytest.raises(UnsupportedError, match=r"node a: tau of .* forward Euler grows without bound"):
        imported(graph, dt=0.1)
    with pytest.raises(UnsupportedError, match=r"node delay: delay of .* steps of 0.00015 s, must be whole"):
        imported(graph, dt=1.5e-4)


def test_the_verb_import_writes_the_network(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "nir" / "lif_norse.nir"
    arguments = ["import", str(path), "--dt", "1e-4", "-o", str(tmp_path / "net.h5"), "--inputs", "values"]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["populations"] == {"1": 1}
    assert found["inputs"] == {"input": {"channels": 1, "kind": "values"}}
    assert load_spiking_network(tmp_path / "net.h5").provenance["source"]["file"] == "lif_norse.nir"
    again = CliRunner().invoke(app, [*arguments, "--force"])
    assert "wrote" in again.stdout
    refused = CliRunner().invoke(app, ["import", str(path), "-o", str(tmp_path / "other.h5")])
    assert refused.exit_code == 2
    assert not (tmp_path / "other.h5").exists()
