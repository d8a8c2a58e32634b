"""Files of target nir for the readers of chips, in their integers: the reference's spikes, or a named loss."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance_networks import NETWORKS, chain, plain, recurrent, spikes, subtracting
from nir_integers import lava_dl, lava_dl_refuses, spinnaker2, spinnaker2_refuses
from require import need
from typer.testing import CliRunner

from spikeport.cli import app
from spikeport.snn import reference
from spikeport.snn.files import save_spiking_network
from spikeport.snn.neurons import LIF
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import Population, Projection, SpikeInput, SpikingNetwork
from spikeport.snn.synapses import Exponential
from spikeport.targets.nir import NIR, graph_of, input_rows
from spikeport.targets.nir.conventions import READERS
from spikeport.targets.nir.limits import sinks

STEPS, BATCH, N = 60, 2, 5


def on_grid(seed: int, step: float, largest: int, tau: float = 2e-3) -> tuple[SpikingNetwork, dict[str, Any]]:
    """A recurrent network whose weights are whole numbers up to `largest` times `step` in the file, and its input.

    Both decays are 1/2 a step; a spike of weight w adds w dt / tau_mem to i = B x of exporting.py.
    """
    rng = np.random.default_rng(seed)
    unit = step * tau * tau / 1e-3  # B jump = dt / (tau_mem tau_syn)
    w_in, w_rec = rng.integers(1, largest + 1, (N, 3)), rng.integers(-largest, largest + 1, (N, N))
    w_in.flat[0] = largest
    a = Population(
        name="a", n=N, neuron=LIF(tau_mem=tau, v_threshold=1.0, v_reset=0.0), synapses={"s": Exponential(tau=tau)}
    )
    network = SpikingNetwork(
        populations=(a,), inputs=(SpikeInput(name="x", n=3),), dt=1e-3, integrator="euler",
        projections=(
            Projection(source="x", target="a", weight=w_in * unit, synapse="s", delay=1),
            Projection(source="a", target="a", weight=w_rec * unit, synapse="s", delay=1),
        ),
    )  # fmt: skip
    return network, {"x": (rng.random((STEPS, BATCH, 3)) < 0.3).astype(np.int64)}


def nearest_miss(network: SpikingNetwork, inputs: Any) -> tuple[float, Recording]:
    """How near v comes to a threshold, in thresholds; and the run."""
    found = reference.simulate(network, inputs, n_steps=STEPS, n_batch=BATCH, record=["a.v"])
    return float(np.abs(found.traces["a.v"] - 1).min()), found


def far_from_rounding(step: float, largest: int, margin: float) -> tuple[SpikingNetwork, Any, Recording]:
    """The first seed whose run stays `margin` off its thresholds: chosen by the reference alone."""
    for seed in range(60):
        network, inputs = on_grid(seed, step, largest)
        miss, found = nearest_miss(network, inputs)
        if miss > margin and found.spikes["a"].n_spikes > 100:
            return network, inputs, found
    raise AssertionError("no such network")


def exported(
    reader: str, network: SpikingNetwork, inputs: Any, folder: Path, **lengths: int
) -> tuple[Path, np.ndarray]:
    need("nir", resource="nir")
    path = NIR.export(NIR.lower(network, reader=reader), folder / "net.nir", overwrite=True)
    return path, input_rows(network, inputs, reader=reader, **lengths)


def differing(z: np.ndarray, expected: Recording, population: str = "a") -> int:
    wanted = expected.spikes[population].dense()
    return int((z.reshape(wanted.shape) != wanted).sum())


@pytest.mark.parametrize("rounding", [np.rint, np.trunc], ids=["nearest", "toward 0"])
def test_spinnaker2_gives_the_references_spikes_where_eight_bits_hold_the_weights(
    rounding: Any, tmp_path: Path
) -> None:
    network, inputs, expected = far_from_rounding(1 / 160, 127, 1e-9)
    path, rows = exported("spinnaker2", network, inputs, tmp_path)
    # a weight that 127/max puts a last bit below its whole number would lose a unit when cut
    near = (lambda w: rounding(np.round(w, 9))) if rounding is np.trunc else rounding
    assert differing(spinnaker2(path, rows, network.dt, "to_value", near), expected) == 0


def test_what_spinnaker2_does_otherwise_is_the_rounding_of_its_weights_and_nothing_else(tmp_path: Path) -> None:
    """The integer model of a network's file is the reference of that network with its weights rounded to 8 bits."""
    network, inputs = recurrent(1), spikes()
    path, rows = exported("spinnaker2", network, inputs, tmp_path)
    found = spinnaker2(path, rows, network.dt, "to_value")
    most = max(np.abs(j.weight).max() for j in network.projections)
    rounded = tuple(replace(j, weight=np.rint(j.weight / most * 127) / 127 * most) for j in network.projections)
    told = reference.simulate(replace(network, projections=rounded), inputs)
    assert told.spikes["a"].n_spikes > 100
    assert differing(found, told) == 0
    exact = reference.simulate(network, inputs)
    assert 0 < differing(found, exact) < 0.2 * exact.spikes["a"].n_spikes  # what the loss costs here
    losses = {loss.what: loss.how_much for loss in NIR.lower(network, reader="spinnaker2").losses}
    assert losses["rounded numbers"] == "weights to 8 bits: the largest of a population's becomes 127"
    assert "the reader was not run" in losses


def test_lava_dl_gives_the_references_spikes_where_its_grid_decides_none(tmp_path: Path) -> None:
    """Decays of 1/2, weights of whole 64ths; its cuts move v by less than 6/4096 of the threshold."""
    network, inputs, expected = far_from_rounding(1 / 64, 20, 6 / 4096)
    path, rows = exported("lava-dl", network, inputs, tmp_path)
    assert differing(lava_dl(path, rows, network.dt, "to_value"), expected) == 0


def test_what_lava_dl_rounds_is_a_named_loss(tmp_path: Path) -> None:
    network, inputs = recurrent(1), spikes()
    path, rows = exported("lava-dl", network, inputs, tmp_path)
    expected = reference.simulate(network, inputs)
    assert differing(lava_dl(path, rows, network.dt, "to_value"), expected) < 0.1 * expected.spikes["a"].n_spikes
    losses = {loss.what: loss.how_much for loss in NIR.lower(network, reader="lava-dl").losses}
    assert losses["rounded numbers"].startswith("decays and what arrives in a step to 1/4096 of the threshold")


def taken(reader: str) -> list[str]:
    return [name for name, case in NETWORKS.items() if not NIR.problems(case.network, reader=reader)]


@pytest.mark.parametrize("name", taken("lava-dl"))
def test_nothing_that_lava_dl_would_stop_at_is_written(name: str) -> None:
    need("nir", resource="nir")
    case = NETWORKS[name]
    assert lava_dl_refuses(graph_of(case.network, "lava-dl"), case.network.dt) == []


@pytest.mark.parametrize("name", taken("spinnaker2"))
def test_nothing_that_spinnaker2_would_stop_at_is_written(name: str) -> None:
    need("nir", resource="nir")
    assert spinnaker2_refuses(graph_of(NETWORKS[name].network, "spinnaker2")) == []


def test_a_chain_goes_through_lava_dls_blocks(tmp_path: Path) -> None:
    """Populations without a loop are written with one of zeros; the second hears the first in the same call."""
    network, inputs = chain(0), spikes()
    path, rows = exported("lava-dl", network, inputs, tmp_path)
    z = lava_dl(path, rows, network.dt, "to_value")
    expected = reference.simulate(network, inputs)
    assert sinks(network) == ("b",)
    assert differing(z, expected, "b") < 0.1 * expected.spikes["b"].n_spikes
    assert expected.spikes["b"].n_spikes > 20


def test_two_ways_into_a_population_are_refused_for_lava_dl() -> None:
    network = chain(0)
    short = Projection(source="x", target="b", weight=np.full((3, 3), 0.004), synapse="s")
    both = replace(network, projections=(*network.projections, short))
    assert {p.feature for p in NIR.problems(both, reader="lava-dl")} == {"populations"}


@pytest.mark.parametrize("reader", ["lava-dl", "spinnaker2"])
def test_the_file_names_its_reader_version_convention_and_call(reader: str, tmp_path: Path) -> None:
    nir = need("nir", resource="nir")
    path, _ = exported(reader, plain(), spikes(), tmp_path)
    text = nir.read(path).metadata
    said = {key: value.decode() if isinstance(value, bytes) else value for key, value in text.items()}
    c = READERS[reader]
    assert (said["reader"], said["reader_version"]) == (c.name, c.version)
    assert (said["reader_call"], said["reader_convention"]) == (c.call, c.source)
    assert "nir_integers.py" in c.source
    assert any("was not run" in loss for loss in json.loads(said["losses"]))


@pytest.mark.parametrize("reader", READERS)
def test_an_export_prints_the_reader_its_version_its_convention_and_its_call(reader: str, tmp_path: Path) -> None:
    need("nir", resource="nir")
    resets = READERS[reader].capabilities.resets
    network = plain() if "to_value" in resets else subtracting(plain())
    save_spiking_network(network, tmp_path / "net.h5")
    call = ["export", str(tmp_path / "net.h5"), "--target", "nir", "--for", reader]
    said = CliRunner().invoke(app, [*call, "-o", str(tmp_path / "a.nir")])
    assert said.exit_code == 0, said.stderr
    c = READERS[reader]
    for part in (f"{c.name}, {c.version}", c.source, c.call):
        assert part in said.stdout
    told = json.loads(CliRunner().invoke(app, [*call, "--json", "-o", str(tmp_path / "b.nir")]).stdout)
    assert told["notes"]["convention"] == c.source
