"""Files of target nir, read and run by the peers' own readers: the reference's spikes, every one.

And the faults that conventions.py declares, measured: a reader that mends one makes a test fail, and the convention is
to be written anew.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import nir_peers
import numpy as np
import pytest
from conformance_networks import BATCH, NETWORKS, STEPS, Conformance, chain, populated
from nir_peers import PEERS
from require import need

from spikeport.snn import reference
from spikeport.snn.neurons import LIF, per_unit
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import Population, Projection, SpikeInput, SpikingNetwork
from spikeport.snn.synapses import Delta
from spikeport.targets.nir import NIR, graph_of, input_rows
from spikeport.targets.nir.conventions import READERS
from spikeport.targets.nir.limits import sinks

QUICK = {  # the others of each reader run with -m slow
    "plain", "kim2019", "delta", "recurrent", "recurrent, exact", "chain, delay 0", "chain, delay 1", "bias",
    "held input on the membrane", "double exponential, exact", "bias per unit", "tau_mem per unit", "read-out",
}  # fmt: skip
READ_SLOWLY = {  # a second or so a network; the faults below run some more
    "spyx": {"recurrent, exact", "chain, delay 1"},
    "rockpool": {"recurrent, exact", "bias"},
    "sinabs": {"recurrent, exact", "double exponential, exact", "read-out"},
}


def quick(reader: str, name: str) -> bool:
    return name in READ_SLOWLY.get(reader, QUICK)


@functools.cache
def case_for(name: str, *, subtracts: bool, softly: bool) -> tuple[Conformance, Recording]:
    """The conformance network, with the other reset and with v below two thresholds where a reader needs that."""
    case = NETWORKS[name]
    if subtracts:
        changed = tuple(replace(p, neuron=replace(p.neuron, reset="subtract")) for p in case.network.populations)
        case = replace(case, network=replace(case.network, populations=changed))
    while True:
        network = case.network
        found = reference.simulate(
            network, case.inputs, **case.run(), record=[f"{p.name}.v" for p in network.populations]
        )
        tops = {p.name: highest(p, found) for p in network.populations}
        loud = next((name for name, top in tops.items() if top > 1.9), None)  # one at a time: it quiets those behind it
        if not softly or loud is None:
            return case, found
        gain = max(0.8, 1.7 / tops[loud])  # v is not linear in the weights: what a reset leaves adds up
        scaled = tuple(replace(j, weight=j.weight * gain) if j.target == loud else j for j in network.projections)
        case = replace(case, network=replace(network, projections=scaled))


def highest(p: Population, recording: Recording) -> float:
    """The highest v, in thresholds above the reset."""
    low, high = per_unit(p.neuron.v_reset, p.n), per_unit(p.neuron.v_threshold, p.n)
    return float(((recording.traces[f"{p.name}.v"] - low) / (high - low)).max())


def suited(reader: str, name: str) -> tuple[Conformance, Recording]:
    c = READERS[reader]
    return case_for(name, subtracts="to_value" not in c.capabilities.resets, softly=c.several_spikes)


def run(reader: str, network: SpikingNetwork, inputs: Any, folder: Path, **lengths: int) -> np.ndarray:
    """What the peer makes of the exported file."""
    lowering = NIR.lower(network, reader=reader)
    path = NIR.export(lowering, folder / "net.nir", overwrite=True)
    rows = input_rows(lowering.network, inputs, reader=reader, **lengths)
    return PEERS[reader](path, rows, network.dt, network.populations[0].neuron.reset)


def run_graph(
    reader: str, graph: Any, rows: np.ndarray, folder: Path, dt: float = 1e-3, reset: str = "to_value"
) -> np.ndarray:
    """What the peer makes of a graph, as it is."""
    need("nir", resource="nir").write(folder / "graph.nir", graph)
    return PEERS[reader](folder / "graph.nir", rows, dt, reset)


PAIRS = [
    pytest.param(reader, name, id=f"{reader}-{name}", marks=() if quick(reader, name) else pytest.mark.slow)
    for reader in PEERS
    for name in NETWORKS
]


@pytest.mark.parametrize(("reader", "name"), PAIRS)
def test_a_reader_gives_the_references_spikes_or_was_said_to_differ(reader: str, name: str, tmp_path: Path) -> None:
    need("nir", resource="nir")
    case, expected = suited(reader, name)
    features = {p.feature for p in NIR.problems(case.network, reader=reader)}
    if features:
        # a longer way between populations is a delay to nir, whichever name the network has for it
        assert features <= case.features | ({"delays"} if "min_delay" in case.features else set())
        return
    z = run(reader, case.network, case.inputs, tmp_path, n_steps=case.n_steps, n_batch=case.n_batch)
    if READERS[reader].readout and case.network.readouts:
        wanted = expected.outputs[case.network.readouts[0].name]
        np.testing.assert_allclose(z.reshape(wanted.shape), wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())
        return
    wanted = expected.spikes[sinks(case.network)[0]]
    assert (wanted.n_spikes > 100) == case.spikes, "it compares nothing"
    assert int((z.reshape(wanted.shape) != wanted.dense()).sum()) == 0


@pytest.mark.parametrize("reader", ["any", "snntorch", "spikingjelly"])
def test_two_ways_into_a_population_are_added(reader: str, tmp_path: Path) -> None:
    need("nir", resource="nir")
    network, inputs = two_ways()
    expected = reference.simulate(network, inputs).spikes["b"]
    assert expected.n_spikes > 100
    assert (run(reader, network, inputs, tmp_path) == expected.dense()).all()


@pytest.mark.parametrize(
    ("reader", "ties"),
    [pytest.param(r, c.at_or_above, marks=pytest.mark.slow if r == "spyx" else ()) for r, c in READERS.items()],
)
def test_v_at_the_threshold_is_no_spike_whatever_the_reader_thinks(reader: str, ties: bool, tmp_path: Path) -> None:
    """A weight that lifts v to 1 exactly: the graph says for `>=` what the network says for `>`."""
    need("nir", resource="nir")
    if reader == "rockpool":  # its exp(-dt/tau) never gives exactly 1
        assert ties
        return
    network, u = tie(READERS[reader].capabilities.resets)
    z = run(reader, network, u, tmp_path)
    assert not z.any()
    graph = graph_of(network, reader)
    lif = lif_of(graph)
    assert (lif.v_threshold[0] > 1) == ties
    lif.v_threshold = np.ones(1)
    rows = input_rows(network, u, reader=reader)
    assert run_graph(reader, graph, rows, tmp_path, network.dt, network.populations[0].neuron.reset).any() == ties


def tie(resets: frozenset[str]) -> tuple[SpikingNetwork, dict[str, np.ndarray]]:
    reset = "to_value" if "to_value" in resets else "subtract"
    a = Population(
        name="a", n=1, neuron=LIF(tau_mem=2.0**-8, v_threshold=1.0, v_reset=0.0, reset=reset), synapses={"s": Delta()}
    )
    given = Projection(source="x", target="a", weight=np.full((1, 1), 2.0**-8), synapse="s")
    network = SpikingNetwork(
        populations=(a,), inputs=(SpikeInput(name="x", n=1),), projections=(given,), dt=2.0**-10, integrator="euler"
    )
    u = np.zeros((8, 1, 1), dtype=np.int64)
    u[2] = 1
    return network, {"x": u}


def two_ways() -> tuple[SpikingNetwork, dict[str, np.ndarray]]:
    """a and b in a chain, and the input to b as well."""
    network = chain(0)
    short = Projection(source="x", target="b", weight=np.full((3, 3), 0.004), synapse="s")
    z = np.random.default_rng(3).random((STEPS, BATCH, 3)) < 0.25
    return replace(network, projections=(*network.projections, short)), {"x": z.astype(np.int64)}


# ---- the faults that the conventions declare ----


def written_for(reader: str, name: str = "plain") -> tuple[Any, np.ndarray, Recording]:
    """The graph for `reader` of a conformance network, its rows, and what the reference does."""
    need("nir", resource="nir")
    case, expected = suited(reader, name)
    rows = input_rows(case.network, case.inputs, reader=reader, n_steps=case.n_steps, n_batch=case.n_batch)
    return graph_of(case.network, reader), rows, expected


def lif_of(graph: Any) -> Any:
    inner = [n for sub in graph.nodes.values() if hasattr(sub, "nodes") for n in sub.nodes.values()]
    return next(n for n in (*graph.nodes.values(), *inner) if hasattr(n, "v_threshold"))


def differing(z: np.ndarray, expected: Recording) -> int:
    return int((z.reshape(expected.spikes["a"].shape) != expected.spikes["a"].dense()).sum())


@pytest.mark.parametrize("reader", ["snntorch", "norse", "rockpool", "spyx", "sinabs"])
def test_v_reset_is_ignored(reader: str, tmp_path: Path) -> None:
    graph, rows, expected = written_for(reader)
    lif_of(graph).v_reset = np.full(5, -0.5)
    reset = "to_value" if "to_value" in READERS[reader].capabilities.resets else "subtract"
    assert differing(run_graph(reader, graph, rows, tmp_path, reset=reset), expected) == 0


def test_v_reset_is_honoured_by_spikingjelly(tmp_path: Path) -> None:
    graph, rows, expected = written_for("spikingjelly")
    lif_of(graph).v_reset = np.full(5, -0.5)
    assert differing(run_graph("spikingjelly", graph, rows, tmp_path), expected) > 50


@pytest.mark.parametrize("reader", ["rockpool", "spyx"])
def test_w_in_is_ignored(reader: str, tmp_path: Path) -> None:
    graph, rows, expected = written_for(reader)
    lif_of(graph).w_in = lif_of(graph).w_in * 7
    assert differing(run_graph(reader, graph, rows, tmp_path, reset="subtract"), expected) == 0


@pytest.mark.parametrize(("reader", "name"), [("rockpool", "plain"), ("sinabs", "plain")])
def test_a_unit_above_two_thresholds_spikes_twice(reader: str, name: str, tmp_path: Path) -> None:
    need("nir", resource="nir")
    case, _ = case_for(name, subtracts=True, softly=False)
    z = run(reader, case.network, case.inputs, tmp_path, n_steps=STEPS, n_batch=BATCH)
    assert z.max() == 2
    losses = NIR.lower(case.network, reader=reader).losses
    assert [loss.what for loss in losses] == ["several spikes in a step"]


@pytest.mark.parametrize("reader", [r for r, c in READERS.items() if c.one_path and c.measured and r != "spyx"])
def test_of_two_ways_into_a_population_one_comes_late(reader: str, tmp_path: Path) -> None:
    need("nir", resource="nir")
    network, inputs = two_ways()
    reset = sorted(READERS[reader].capabilities.resets)[0]
    network = replace(
        network, populations=tuple(replace(p, neuron=replace(p.neuron, reset=reset)) for p in network.populations)
    )
    assert "populations" in {p.feature for p in NIR.problems(network, reader=reader)}
    expected = reference.simulate(network, inputs).spikes["b"]
    rows = input_rows(network, inputs, reader=reader)
    z = run_graph(reader, graph_of(network, reader), rows, tmp_path, reset=reset)
    assert int((np.minimum(z, 1) != expected.dense()).sum()) > 10


def test_spyx_sees_one_of_two_ways_only(tmp_path: Path) -> None:
    network, inputs = two_ways()
    rows = input_rows(network, inputs, reader="spyx")
    graph = graph_of(network, "spyx")
    z = run_graph("spyx", graph, rows, tmp_path, reset="subtract")
    weights = [n for n in graph.nodes.values() if hasattr(n, "weight")]
    weights[1].weight[:] = 0  # the other way into b
    assert weights[1].weight.shape == (3, 3)
    assert (run_graph("spyx", graph, rows, tmp_path, reset="subtract") == z).all()


def test_snntorch_has_its_own_dt(tmp_path: Path) -> None:
    _, rows, _ = written_for("snntorch")
    graph, _, _ = written_for("any")
    with pytest.raises(AssertionError, match="r not supported in CubaLIF"):
        run_graph("snntorch", graph, rows, tmp_path)


def test_snntorch_takes_a_loop_in_the_graph_itself_for_another_network(tmp_path: Path) -> None:
    nir = need("nir", resource="nir")
    graph, rows, expected = written_for("snntorch", "recurrent")
    assert differing(run_graph("snntorch", graph, rows, tmp_path), expected) == 0
    flat = nir.NIRGraph(*flattened(graph))
    assert differing(run_graph("snntorch", flat, rows, tmp_path), expected) > 100


@pytest.mark.parametrize("reader", ["norse", "spikingjelly"])
def test_the_others_read_both_forms_of_a_loop(reader: str, tmp_path: Path) -> None:
    nir = need("nir", resource="nir")
    graph, rows, expected = written_for(reader, "recurrent")
    flat = nir.NIRGraph(*flattened(graph))
    assert differing(run_graph(reader, flat, rows, tmp_path), expected) == 0


def flattened(graph: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    nodes, edges = nir_peers._flattened(graph)
    loops = [e for e in edges if any("_rec" in name for name in e)]
    return nodes, loops + [e for e in edges if e not in loops]


def test_norse_counts_v_leak_twice(tmp_path: Path) -> None:
    """v_leak = c / (1 + r), for r the gain of the synapse, gives the network with bias c: in synapse and membrane."""
    case, _ = suited("norse", "plain")
    graph, rows, _ = written_for("norse")
    lif = lif_of(graph)
    lif.v_leak = 0.7 / (1 + lif.r)
    start = float(lif.v_leak[0])
    network = populated(bias=0.7, v0=start)
    expected = reference.simulate(network, case.inputs, **case.run())
    assert differing(run_graph("norse", graph, rows, tmp_path), expected) == 0


def test_norse_and_rockpool_read_no_leaky_integrator(tmp_path: Path) -> None:
    nir = need("nir", resource="nir")
    li = nir.LI(tau=np.full(3, 0.01), r=np.ones(3), v_leak=np.zeros(3))
    graph = nir.NIRGraph.from_list(nir.Linear(np.eye(3)), li)
    rows = np.ones((5, 1, 3))
    assert (run_graph("norse", graph, rows, tmp_path) == rows).all(), "the LI is left out"
    assert not run_graph("rockpool", graph, rows, tmp_path).any(), "its tau is cut to whole seconds"
    with pytest.raises(ValueError, match="Unknown node type"):
        run_graph("snntorch", graph, rows, tmp_path)
    with pytest.raises(ValueError, match="Unknown node type"):
        run_graph("spikingjelly", graph, rows, tmp_path)


@pytest.mark.parametrize("parameter", ["tau_mem", "tau_syn"])
def test_spikingjelly_refuses_a_time_constant_per_unit(parameter: str, tmp_path: Path) -> None:
    graph, rows, _ = written_for("spikingjelly")
    setattr(lif_of(graph), parameter, np.linspace(0.01, 0.02, 5))
    with pytest.raises(ValueError, match=f"{parameter} must be uniform"):
        run_graph("spikingjelly", graph, rows, tmp_path)


def test_rockpool_gives_every_trial_the_state_of_the_first(tmp_path: Path) -> None:
    torch = need("torch", resource="readers")
    graph, rows, expected = written_for("rockpool")
    need("nir", resource="nir").write(tmp_path / "net.nir", graph)
    net = nir_peers.read_rockpool(tmp_path / "net.nir")
    with torch.no_grad():
        z = np.stack([net(torch.as_tensor(row[:, None], dtype=torch.float32))[0][:, 0].numpy() for row in rows])
    wanted = expected.spikes["a"].dense()
    assert (z[:, 0] == wanted[:, 0]).all()
    assert (z[:, 1] != wanted[:, 1]).sum() > 50


def test_spyx_is_one_step_late(tmp_path: Path) -> None:
    graph, rows, expected = written_for("spyx")
    need("nir", resource="nir").write(tmp_path / "net.nir", graph)
    z = nir_peers.spyx_as_it_is(tmp_path / "net.nir", rows, 1e-3)
    wanted = expected.spikes["a"].dense()
    assert (z[1:] == wanted[:-1]).all()
    assert (z != wanted).sum() > 50


def test_sinabs_leaves_a_cuba_lif_out(tmp_path: Path) -> None:
    graph, rows, _ = written_for("any")
    weight = next(n.weight for n in graph.nodes.values() if hasattr(n, "weight"))
    nir = need("nir", resource="nir")
    graph.nodes = {k: nir.Affine(n.weight, np.zeros(5)) if n is not None and hasattr(n, "weight") else n
                   for k, n in graph.nodes.items()}  # fmt: skip
    np.testing.assert_allclose(run_graph("sinabs", graph, rows, tmp_path), rows @ weight.T, rtol=1e-6)


def test_sinabs_reads_no_linear(tmp_path: Path) -> None:
    nir = need("nir", resource="nir")
    graph, rows, _ = written_for("sinabs")
    graph.nodes = {k: nir.Linear(n.weight) if hasattr(n, "weight") else n for k, n in graph.nodes.items()}
    with pytest.raises(RuntimeError, match=r"size of tensor a \(5\) must match the size of tensor b \(3\)"):
        run_graph("sinabs", graph, rows, tmp_path)  # the weights are left out


@pytest.mark.parametrize(("reader", "feature"), [("spyx", "reset"), ("rockpool", "reset"), ("sinabs", "reset")])
def test_a_reset_to_a_value_is_refused_by_those_that_subtract(reader: str, feature: str) -> None:
    assert {p.feature for p in NIR.problems(NETWORKS["plain"].network, reader=reader)} == {feature}
