"""netx files: a reader written from lava-dl's and Lava's sources gives the spikes of our emulation, every one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import netx_reader
import numpy as np
import pytest
from conformance_networks import NETWORKS, chain, plain, recurrent
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from spikeport.cli import app
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.files import save_spiking_network
from spikeport.snn.neurons import LIF
from spikeport.snn.spiking import Population, Projection, SpikeInput, SpikingNetwork
from spikeport.snn.synapses import Exponential
from spikeport.targets.base import Lowering, RunOptions
from spikeport.targets.loihi import LOIHI
from spikeport.targets.loihi.netx import whole_bias

STEPS, BATCH = 300, 2


def lowered(network: SpikingNetwork, *more: str) -> Lowering:
    return LOIHI.lower(network, allow=("precision", *more), format="netx")


def late(network: SpikingNetwork) -> SpikingNetwork:
    """Every way takes a step, as in Lava."""
    held = {i.name for i in network.held_inputs}
    return replace(
        network, projections=tuple(j if j.source in held else replace(j, delay=1) for j in network.projections)
    )  # fmt: skip


def layers(sizes: list[int], seed: int, *, excitatory: bool = False, bias: float = 0.0) -> SpikingNetwork:
    """A chain of populations of these sizes behind an input of the first; random weights, decays and biases."""
    rng = np.random.default_rng(seed)
    names = ["x", *(f"layer {i}" for i in range(1, len(sizes)))]
    populations, projections = [], []
    for i, name in enumerate(names[1:], start=1):
        tau_mem, tau_syn = rng.uniform(2e-3, 4e-2, 2)
        neuron = LIF(tau_mem=tau_mem, v_threshold=-40.0, v_reset=-65.0, v_leak=-65.0)
        populations.append(
            Population(name=name, n=sizes[i], neuron=neuron, synapses={"s": Exponential(tau=tau_syn)}, v0=-65.0,
                       bias=rng.normal(0, bias, sizes[i]) if bias else 0.0)
        )  # fmt: skip
        w = rng.normal(0.3, 0.6, (sizes[i], sizes[i - 1])) / np.sqrt(sizes[i - 1])
        w = np.abs(w) if excitatory else w
        projections.append(Projection(source=names[i - 1], target=name, weight=w, synapse="s", delay=1))
    return SpikingNetwork(
        populations=tuple(populations), inputs=(SpikeInput(name="x", n=sizes[0]),), projections=tuple(projections),
        dt=1e-3, integrator="exact",
    )  # fmt: skip


def both(network: SpikingNetwork, path: Path, seed: int = 0, *more: str) -> tuple[int, int]:
    """(spikes that differ between our emulation and the reader, spikes)."""
    lowering = lowered(network, *more)
    LOIHI.export(lowering, path, overwrite=True)
    u = (np.random.default_rng(seed).random((STEPS, BATCH, network.spike_inputs[0].n)) < 0.2).astype(np.int64)
    ours = LOIHI.run(lowering, {network.spike_inputs[0].name: u}, RunOptions())
    theirs = netx_reader.run(path, u)
    wanted = [ours.spikes[p.name].dense() for p in network.populations]
    return sum(int((a != b).sum()) for a, b in zip(wanted, theirs, strict=True)), sum(int(a.sum()) for a in wanted)


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=2, max_size=4), seed=st.integers(0, 2**16), excitatory=st.booleans(),
    bias=st.sampled_from([0.0, 10.0]),
)  # fmt: skip
def test_the_reader_gives_the_emulations_spikes(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], seed: int, excitatory: bool, bias: float
) -> None:
    network = layers(sizes, seed, excitatory=excitatory, bias=bias)
    differing, _ = both(network, tmp_path_factory.getbasetemp() / "chain.net", seed)
    assert differing == 0


@pytest.mark.parametrize(("seed", "excitatory"), [(1, False), (2, True)])
def test_a_deep_chain_is_read_spike_for_spike(seed: int, excitatory: bool, tmp_path: Path) -> None:
    differing, spikes = both(
        layers([20, 30, 30, 10], seed, excitatory=excitatory, bias=8.0), tmp_path / "net.net", seed
    )
    assert differing == 0
    assert spikes > 1000, "it compares nothing"


def test_the_layout_is_the_documented_one(tmp_path: Path) -> None:
    path = LOIHI.export(lowered(late(chain(1))), tmp_path / "net.net")
    with h5py.File(path) as file:
        assert sorted(file["layer"]) == ["0", "1", "2"]
        neuron = file["layer/1/neuron"]
        assert {name: neuron[name][()].item() for name in ("iDecay", "vDecay", "refDelay", "gradedSpike")} == {
            "iDecay": 819, "vDecay": 410, "refDelay": 1, "gradedSpike": False,  # 4096/5 and 4096/10, euler at 1 ms
        }  # fmt: skip
        assert file["layer/2/weight"].shape == (3, 5)
        assert (file["layer/2/inFeatures"][()], file["layer/2/outFeatures"][()]) == (5, 3)
        assert file.attrs["reader"].startswith("lava-dl 0.6.0")
        assert file.attrs["dt_s"] == 1e-3


def test_mixed_signs_are_even_and_one_sign_has_every_number(tmp_path: Path) -> None:
    mixed, single = (lowered(layers([40, 40], 5, excitatory=e)).settings["chip"].synapses for e in (False, True))
    assert len(mixed) == len(single) == 1
    assert not (mixed[0].mantissa % 2).any()
    assert (single[0].mantissa % 2).any()
    assert {s.exponent for s in (*mixed, *single)} == {0}


def test_biases_are_whole_64ths_and_what_that_costs_is_a_loss() -> None:
    lowering = lowered(layers([4, 6], 7, bias=8.0))
    c = lowering.settings["chip"].compartments[0]
    assert not (c.bias % 64).any()
    assert any(loss.what == "biases in steps of 64" for loss in lowering.losses)
    exact = LOIHI.lower(layers([4, 6], 7, bias=8.0), allow=("precision",)).settings["chip"].compartments[0]
    assert (exact.bias % 64).any()


@given(seed=st.integers(0, 2**16))
@settings(max_examples=15, deadline=None)
def test_a_rounded_bias_stays_on_its_side_of_the_threshold(seed: int) -> None:
    """A unit that is silent by itself stays silent, and one that spikes for ever goes on."""
    rng = np.random.default_rng(seed)
    network = layers([2, 8], seed)
    c = lowered(network).settings["chip"].compartments[0]
    settled = c.scale * c.dv[0] / 4096
    wished = replace(c, bias=settled * rng.uniform(0.99, 1.01, 8))
    bias, v, spiked = whole_bias(wished), np.zeros(8, dtype=np.int64), np.zeros(8, dtype=bool)
    for _ in range(3000):
        v = netx_reader.toward_0(v * (4096 - c.dv)) + bias
        spiked |= v > c.scale
        v = np.minimum(v, c.scale)
    silent = wished.bias * 4096 <= float(c.scale) * c.dv
    assert not (spiked & silent).any()
    assert np.abs(bias - wished.bias).max() <= 64 + 32


@pytest.mark.parametrize(
    ("network", "feature", "text"),
    [
        (recurrent(1), "recurrent", "a loop, netx builds chains of layers; --set format=table holds loops"),
        (late(NETWORKS["refractory"].network), "refractory", "netx reads none"),
        (late(NETWORKS["held input on the membrane"].network), "held_via", "netx has spikes as input only"),
        (late(NETWORKS["tau_mem per unit"].network), "tau_mem", "netx has one vDecay a layer"),
        (late(NETWORKS["tau_syn per unit"].network), "tau_syn", "netx has one iDecay a layer"),
        (late(NETWORKS["initial v"].network), "initial_v", "a Lava neuron starts there"),
        (chain(3), "delays", "in Lava every dense layer takes 1"),
        (plain(), "min_delay", "in Lava every dense layer takes 1"),
        (late(NETWORKS["bias of a synapse"].network), "synaptic_bias", "netx has none"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)  # fmt: skip
def test_what_netx_cannot_say_is_refused_by_name(network: SpikingNetwork, feature: str, text: str) -> None:
    found = {p.feature: str(p) for p in LOIHI.problems(network, format="netx")}
    assert text in found.get(feature, ""), found
    assert feature not in {p.feature for p in LOIHI.problems(network, format="table")}


def test_two_populations_behind_one_are_no_chain() -> None:
    network = late(chain(1))
    extra = replace(network.projections[1], source="x", weight=np.full((3, 3), 0.01))
    found = LOIHI.problems(replace(network, projections=(*network.projections, extra)), format="netx")
    assert any("each population behind the one before" in str(p) for p in found)


def test_a_refractory_period_can_be_given_up(tmp_path: Path) -> None:
    network = late(NETWORKS["refractory"].network)
    differing, _ = both(network, tmp_path / "net.net", 0, "refractory", "initial_v")
    assert differing == 0


def test_the_command_line_writes_netx_and_refuses_the_suffix_for_a_table(tmp_path: Path) -> None:
    save_spiking_network(layers([4, 6], 3), tmp_path / "net.h5")
    save_spiking_network(recurrent(1), tmp_path / "loop.h5")

    def export(name: str, *more: str) -> Any:
        call = ["export", str(tmp_path / name), "--target", "loihi", "--allow", "precision"]
        return CliRunner().invoke(app, [*call, "-o", str(tmp_path / "out.net"), *more])

    assert export("net.h5").exit_code == 2
    assert "--set format=netx" in export("net.h5").stderr
    done = export("loop.h5", "--set", "format=netx")
    assert done.exit_code == 1
    assert "netx builds chains of layers" in done.stderr
    assert not (tmp_path / "out.net").exists()
    assert export("net.h5", "--set", "format=netx").exit_code == 0
    assert netx_reader.run(tmp_path / "out.net", np.zeros((3, 1, 4), dtype=np.int64))[0].shape == (3, 1, 6)


def test_weights_that_are_all_zero_are_refused() -> None:
    network = late(plain())
    silent = replace(network, projections=(replace(network.projections[0], weight=np.zeros((5, 3))),))
    with pytest.raises(RefusedError, match="netx divides by the largest"):
        lowered(silent)


def test_a_table_does_not_get_the_suffix_of_netx(tmp_path: Path) -> None:
    lowering = LOIHI.lower(late(plain()), allow=("precision",))
    with pytest.raises(SpikeportError, match=r"a \.net file is netx, and this is a table"):
        LOIHI.export(lowering, tmp_path / "x.net")
