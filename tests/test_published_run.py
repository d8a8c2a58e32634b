"""A recorded run of the published MATLAB code, spike for spike, and its accuracy curve over 1/lambda.

Data: ../shared/data/README.md. The numbers of wrong rewrites are from there: a test that cannot fail proves nothing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2

from spikeport.convert.sources import load_source
from spikeport.convert.transfer import transfer
from spikeport.snn import engine, reference
from spikeport.snn.drive import initial_v
from spikeport.snn.engine import Engine
from spikeport.snn.neurons import LIF
from spikeport.snn.rate import RateNetwork
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import HeldInput, Population, Projection, ReadOut, SpikingNetwork, Uniform
from spikeport.snn.synapses import DoubleExponential
from spikeport.snn.tasks import get_task

DT, T_REF, STEPS = 5e-5, 0.002, 10_000


@pytest.fixture(scope="module")
def source(shared_data: Path) -> RateNetwork:
    return load_source(shared_data / "kim" / "go_nogo_n200.mat")


@pytest.fixture(scope="module")
def published(shared_data: Path) -> dict[str, NDArray[Any]]:
    """v0, noise_times_32, spike_step (1-based), spike_neuron (0-based), out."""
    with np.load(shared_data / "kim" / "published_run.npz") as file:
        return {name: file[name] for name in file.files}


def go_trial() -> NDArray[np.float64]:
    u = np.zeros((101, 1, 1))
    u[50:75] = 1
    assert u.sum() == 25
    return u


def noise_of(published: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """(time, batch, neuron) mV."""
    values = (published["noise_times_32"] / 32 / 10).T[:, None, :]
    assert values.shape == (STEPS, 1, 200)
    return {"rec": values}


def spikes_of(published: dict[str, NDArray[Any]]) -> SpikeTrains:
    step, neuron = published["spike_step"] - 1, published["spike_neuron"]
    trains = SpikeTrains.build(step, np.zeros_like(step), neuron, (STEPS, 1, 200))
    assert trains.n_spikes == 787
    return trains


def matlab_refractory(k: int, n: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many steps after a spike at step k MATLAB's `dt*k > tlast + t_ref` stays false, in its floating point."""
    frozen = next(m for m in range(60) if DT * (k + m + 1) > DT * k + T_REF)
    assert frozen in (39, 40)
    return np.full_like(n, frozen)


def run_published(network: SpikingNetwork, published: dict[str, NDArray[Any]], **changes: Any) -> Recording:
    return reference.simulate(
        network,
        go_trial(),
        n_steps=STEPS,
        v0={"rec": published["v0"]},
        noise_values=noise_of(published),
        **changes,
    )


def test_the_transfer_writes_the_published_network(source: RateNetwork) -> None:
    """The preset, field by field: built here by hand from the facts in the data's README."""
    network = transfer(source, 30, preset="kim2019")
    filtered = DoubleExponential(tau_rise=0.002, tau_decay=source.tau)
    threshold = np.nextafter(-40.0, -np.inf)  # v >= -40
    by_hand = SpikingNetwork(
        populations=(
            Population(
                name="rec",
                n=200,
                neuron=LIF(tau_mem=0.01, v_threshold=threshold, v_reset=-65.0, t_ref=T_REF),
                synapses={"rec": filtered},
                bias=-40.0,
                noise_sd=0.1,
                noise_while_refractory=True,
                spikes_while_refractory=True,
                v0=Uniform(-65, 30),
                ref0=40,
            ),
        ),
        inputs=(HeldInput(name="u", n=1, dt=0.005, sampling="nearest"),),
        projections=(
            Projection(source="u", target="rec", weight=source.w_in),
            Projection(source="rec", target="rec", weight=source.w_rec / 30, synapse="rec", delay=1),
        ),
        readouts=(ReadOut(name="out", source="rec", weight=source.w_out / 30, bias=np.zeros(1), synapse=filtered),),
        dt=DT,
        integrator="kim2019",
    )
    (found,), (wanted,) = network.populations, by_hand.populations
    for name in (
        "name",
        "n",
        "bias",
        "synaptic_bias",
        "noise_sd",
        "noise_while_refractory",
        "spikes_while_refractory",
        "v0",
        "ref0",
    ):
        assert getattr(found, name) == getattr(wanted, name), name
    assert found.neuron == wanted.neuron
    np.testing.assert_array_equal(found.synapses["rec"].tau_decay, source.tau)  # type: ignore[union-attr]
    assert (network.inputs, network.dt, network.integrator) == (by_hand.inputs, by_hand.dt, by_hand.integrator)
    for p, q in zip(network.projections, by_hand.projections, strict=True):
        assert (p.source, p.target, p.synapse, p.delay) == (q.source, q.target, q.synapse, q.delay)
        np.testing.assert_allclose(p.weight, q.weight, rtol=1e-15)
    np.testing.assert_allclose(network.readouts[0].weight, by_hand.readouts[0].weight, rtol=1e-15)
    assert network.readouts[0].bias.tolist() == [0.0]


def test_no_spike_differs_with_matlabs_floating_point_refractory_comparison(
    source: RateNetwork, published: dict[str, NDArray[Any]]
) -> None:
    run = run_published(transfer(source, 30, preset="kim2019"), published, refractory=matlab_refractory)
    assert run.spikes["rec"].differing(spikes_of(published)) == 0
    np.testing.assert_allclose(run.outputs["out"][:, 0, 0], published["out"], rtol=0, atol=1e-12)


def test_four_spikes_differ_with_the_plain_count_and_the_read_out_follows(
    source: RateNetwork, published: dict[str, NDArray[Any]]
) -> None:
    run = run_published(transfer(source, 30, preset="kim2019"), published)
    assert run.spikes["rec"].differing(spikes_of(published)) == 4
    assert np.abs(run.outputs["out"][:, 0, 0] - published["out"]).max() < 0.05


def without_ref0(network: SpikingNetwork) -> SpikingNetwork:
    (rec,) = network.populations
    assert rec.ref0 == 40
    return replace(network, populations=(replace(rec, ref0=0),))


def written_out(
    source: RateNetwork, published: dict[str, NDArray[Any]], *, filtered_by: str, frozen_v: str = "kept"
) -> SpikeTrains:
    """The published loop in twenty lines of NumPy, with a filter of the target's tau (the code) or the source's (the
    paper), and v kept while refractory (the code) or held at reset, the noise of a step added to either."""
    w, decay, rise = source.w_rec / 30, np.exp(-DT / source.tau), np.exp(-DT / 0.002)
    u, noise = go_trial()[:, 0, 0], noise_of(published)["rec"][:, 0]
    v, ref, s, h, z = published["v0"].astype(float), np.full(200, 40), np.zeros(200), np.zeros(200), np.zeros(200)
    dense = np.zeros((STEPS, 1, 200), dtype=int)
    for k in range(1, STEPS + 1):
        arrived = z if filtered_by == "source" else w @ z
        s, h = decay * s + DT * h, rise * h + arrived / (0.002 * source.tau)
        current = w @ s if filtered_by == "source" else s
        drive = current - 40 + source.w_in[:, 0] * u[(2 * k + 100) // 200]
        evolved = v + DT / 0.01 * (drive - v)
        v = np.where(ref == 0, evolved, v if frozen_v == "kept" else -65.0) + noise[k - 1]
        z = (v >= -40).astype(float)
        v, ref = np.where(z > 0, -65.0, v), np.where(z > 0, 40, np.maximum(ref - 1, 0))
        dense[k - 1, 0] = z
    assert dense.any()
    return SpikeTrains.from_dense(dense)


@pytest.mark.parametrize(
    ("variant", "differing"),
    [
        ({"filtered_by": "target"}, 4),  # the code; as the reference with its plain count
        ({"filtered_by": "source"}, 960),  # the paper
        ({"filtered_by": "target", "frozen_v": "at reset"}, 1197),
    ],
    ids=str,
)
def test_a_second_writing_of_the_loop_and_its_known_mistakes_differ_as_often_as_stated(
    source: RateNetwork, published: dict[str, NDArray[Any]], variant: dict[str, str], differing: int
) -> None:
    found = written_out(source, published, **variant)  # type: ignore[arg-type]
    assert found.differing(spikes_of(published)) == differing


def test_without_the_initial_refractory_period_sixty_spikes_differ(
    source: RateNetwork, published: dict[str, NDArray[Any]]
) -> None:
    network = without_ref0(transfer(source, 30, preset="kim2019"))
    run = run_published(network, published)
    assert run.spikes["rec"].differing(spikes_of(published)) == 60


def test_the_engine_gives_the_references_spikes_on_the_published_network(source: RateNetwork) -> None:
    network = transfer(source, 30, preset="kim2019")
    expected = reference.simulate(network, go_trial(), n_steps=4000, seed=1, record=["rec.v"])
    found = engine.simulate(network, go_trial(), n_steps=4000, seed=1, record=["rec.v"])
    assert expected.spikes["rec"].n_spikes > 200
    assert found.spikes["rec"].differing(expected.spikes["rec"]) == 0
    np.testing.assert_array_equal(found.traces["rec.v"], expected.traces["rec.v"])
    np.testing.assert_allclose(found.outputs["out"], expected.outputs["out"], atol=1e-12)


def test_the_start_is_uniform_in_the_published_interval(source: RateNetwork) -> None:
    network = transfer(source, 30, preset="kim2019")
    v = initial_v(network, network.populations[0], 500, 3, 0, None)
    assert -65 <= v.min() < -64.9
    assert 29.9 < v.max() < 30
    assert v.mean() == pytest.approx(-17.5, abs=4.5 * 95 / np.sqrt(12 * v.size))


# The curve over 1/lambda

CURVE = {  # 1/lambda: accuracy over 500 trials, ../shared/data/README.md
    20: 0.67, 25: 0.90, 30: 0.95, 35: 0.95, 40: 0.94, 45: 0.92,
    50: 0.90, 55: 0.83, 60: 0.54, 65: 0.43, 70: 0.45, 75: 0.47,
}  # fmt: skip
CURVE_TRIALS = 500


def two_sample_chi2(right: NDArray[np.int64], n: int, other: NDArray[np.int64], m: int) -> float:
    """Sum over points of the squared difference of two proportions over its variance, pooled."""
    assert right.shape == other.shape
    pooled = (right + other) / (n + m)
    return float(((right / n - other / m) ** 2 / (pooled * (1 - pooled) * (1 / n + 1 / m))).sum())


@pytest.mark.slow
def test_the_accuracy_curve_is_the_published_one(source: RateNetwork) -> None:
    """1,000 fresh trials a point, float32; one joint test over the twelve points."""
    task, n_trials, batch = get_task("go-nogo"), 1000, 50
    machine = Engine([transfer(source, inverse, preset="kim2019") for inverse in CURVE], dtype="float32")
    right = np.zeros(len(CURVE), dtype=np.int64)
    spikes = 0
    for first in range(0, n_trials, batch):
        trials = task.trials(batch, seed=2024, first=first)
        run = machine.run(machine.start(batch, seed=2024, first_trial=first), trials.inputs, n_threads=None)
        for c in range(len(CURVE)):
            outputs = run.outputs[:, c].transpose(2, 0, 1)
            right[c] += task.judge(outputs, trials, dt=DT, kind="spiking", rule="published").sum()
        spikes += run.counts.sum(axis=(0, 2))
    expected = np.round(np.array(list(CURVE.values())) * CURVE_TRIALS).astype(np.int64)
    statistic = two_sample_chi2(right, n_trials, expected, CURVE_TRIALS)
    found = dict(zip(CURVE, (right / n_trials).tolist(), strict=True))
    assert chi2.sf(statistic, len(CURVE)) > 0.001, f"chi-square {statistic:.1f} of {len(CURVE)}: {found}"
    rates = spikes / n_trials / 200  # of 1 s
    assert 6.0 < rates.min() < rates.max() < 11.5  # 6.6 to 10.9 spikes/s in the README


def test_the_chi_square_tells_the_curve_from_one_that_is_shifted_by_one_point() -> None:
    """The joint test has the power to see a wrong lambda."""
    curve = np.round(np.array(list(CURVE.values())) * CURVE_TRIALS).astype(np.int64)
    assert two_sample_chi2(2 * curve, 1000, curve, 500) == 0
    assert chi2.sf(two_sample_chi2(2 * curve[1:], 1000, curve[:-1], 500), 11) < 1e-6
