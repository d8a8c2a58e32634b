"""Counts, joules and seconds of Loihi against SANA-FE: the same network, cores and spike trains.

SANA-FE runs the network (its own neurons, which need not be ours), and its spikes are the recording that we count.
Its costs are fitted to a board; ours go from the least to the largest of its figures and Davies et al.'s, so its energy
has to lie in our range, and its time. Its own figures times our counts are its energy, to the last digits.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from require import need

from spikeport.snn.neurons import LIF
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import Population, Projection, SpikingNetwork
from spikeport.snn.synapses import Exponential
from spikeport.targets.base import Lowering
from spikeport.targets.estimates import Estimate, estimate
from spikeport.targets.loihi import LOIHI

STEPS = 80
ACCESS, UPDATE, OUT = 51.2e-12, 21.6e-12, 69.3e-12  # SANA-FE 2.2.9, loihi.yaml
SYNAPSE, MESSAGE, ACROSS, ALONG = 35.5e-12, 111e-12, 3.0e-12, 4.2e-12


def network(sizes: dict[str, int], pairs: list[tuple[str, str]], seed: int, taus: int = 1) -> SpikingNetwork:
    """Sparse positive weights of similar size, so that none is rounded to 0; taus: different ones in a population."""
    rng = np.random.default_rng(seed)
    populations = tuple(
        Population(name=k, n=n, neuron=LIF(tau_mem=0.01 + 1e-4 * (np.arange(n) % taus), v_leak=0.0, v_threshold=1.0,
                                           v_reset=0.0, t_ref=0.0), synapses={"s": Exponential(tau=0.005)})
        for k, n in sizes.items()
    )  # fmt: skip
    projections = tuple(
        Projection(source=i, target=j, synapse="s", delay=1,
                   weight=rng.uniform(1e-3, 2e-3, (sizes[j], sizes[i])) * (rng.random((sizes[j], sizes[i])) < 0.3))
        for i, j in pairs
    )  # fmt: skip
    return SpikingNetwork(populations=populations, projections=projections, dt=1e-3, integrator="euler")


NETWORKS = {
    "one core": network({"a": 24}, [("a", "a")], 0),
    "two cores of one population": network({"a": 70}, [("a", "a")], 1, taus=40),
    "seven cores in two tiles": network(
        dict.fromkeys("abcdefg", 12), [*zip("abcdefg", "bcdefga", strict=True), ("a", "f"), ("g", "c"), ("d", "d")], 2
    ),
    "twenty cores": network({f"p{k}": 6 for k in range(20)}, [(f"p{k}", f"p{(7 * k + 5) % 20}") for k in range(20)], 3),
}


def architecture(sanafe: Any, folder: Path) -> Any:
    """Its Loihi with one place for inputs a core instead of 1,024, which cost nothing and take seconds to build."""
    text = (files("sanafe.examples") / "loihi.yaml").read_text(encoding="utf-8")
    assert "loihi_inputs[0..1023]" in text
    (folder / "loihi.yaml").write_text(text.replace("loihi_inputs[0..1023]", "loihi_inputs"), encoding="utf-8")
    return sanafe.load_arch(folder / "loihi.yaml")


def simulated(sanafe: Any, lowering: Lowering, folder: Path) -> tuple[dict[str, Any], Recording]:
    """SANA-FE's result for the same synapses on the same cores, and its spikes."""
    chip = lowering.settings["chip"]
    rng = np.random.default_rng(9)
    model, whole = architecture(sanafe, folder), sanafe.Network()
    groups = {
        c.name: whole.create_neuron_group(c.name, c.n, default_synapse_hw_name="loihi_dense_synapse",
                                          soma_hw_name="loihi_lif", log_spikes=True)
        for c in chip.compartments
    }  # fmt: skip
    for place, core in zip(model.cores(), lowering.settings["cores"], strict=False):
        for name, units in core.neurons.items():
            for unit in units:
                own = {
                    "threshold": 1.0,
                    "leak_decay": 0.875,
                    "reset_mode": "hard",
                    "bias": float(rng.uniform(0.1, 0.3)),
                }
                neuron = groups[name].neurons[int(unit)]
                neuron.set_attributes(model_attributes=own, soma_hw_name="loihi_lif", log_spikes=True)
                neuron.map_to_core(place)
    for s in chip.synapses:
        for post, pre in np.argwhere(s.mantissa):
            groups[s.source].neurons[int(pre)].connect_to_neuron(groups[s.target].neurons[int(post)], {"weight": 0.02})
    board = sanafe.SpikingChip(model)
    board.load(whole)
    result = board.sim(STEPS, processing_threads=1, spike_trace=True, perf_trace=True)
    z = {c.name: np.zeros((STEPS, 1, c.n), dtype=np.int64) for c in chip.compartments}
    for step, fired in enumerate(result["spike_trace"]):
        for neuron in fired:
            z[neuron.group_name][step, 0, neuron.neuron_offset] = 1
    spikes = {k: SpikeTrains.from_dense(v) for k, v in z.items()}
    return result, Recording(dt=1e-3, n_steps=STEPS, n_batch=1, spikes=spikes)


@pytest.fixture(scope="module", params=list(NETWORKS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Estimate]:
    sanafe = need("sanafe", resource="sanafe")
    lowering = LOIHI.lower(NETWORKS[request.param], allow=("precision",))
    result, recording = simulated(sanafe, lowering, tmp_path_factory.mktemp("sanafe"))
    return result, estimate(lowering, recording)


def test_both_count_the_same_events(pair: tuple[dict[str, Any], Estimate]) -> None:
    result, found = pair
    c = found.counts
    assert c.total("spikes") == result["neurons_fired"] > 100
    assert c.total("events") == result["spikes"]
    assert c.total("messages") == result["packets_sent"]
    assert c.total("hops") == sum(result["perf_trace"]["hops"])
    assert c.total("updates") == result["neurons_updated"]


def test_our_counts_times_its_figures_are_its_energy(pair: tuple[dict[str, Any], Estimate]) -> None:
    result, found = pair
    c, energy = found.counts, result["energy"]
    assert energy["synapse"] == pytest.approx(c.total("events") * SYNAPSE, rel=1e-9)
    assert energy["soma"] == pytest.approx(c.total("updates") * (ACCESS + UPDATE) + c.total("spikes") * OUT, rel=1e-9)
    network, hops = c.total("messages") * MESSAGE, c.total("hops")
    assert network + hops * ACROSS <= energy["network"] * (1 + 1e-9)
    assert energy["network"] <= (network + hops * ALONG) * (1 + 1e-9)


def test_its_energy_is_in_our_range_which_is_narrower_than_a_factor_of_three(
    pair: tuple[dict[str, Any], Estimate],
) -> None:
    result, found = pair
    low, high = found.joules or (0.0, 0.0)
    assert low <= result["energy"]["total"] <= high < 3 * low


def test_its_time_is_in_our_range_though_cores_and_messages_work_at_once_there(
    pair: tuple[dict[str, Any], Estimate],
) -> None:
    result, found = pair
    low, high = found.seconds or (0.0, 0.0)
    assert low <= result["sim_time"] <= high
