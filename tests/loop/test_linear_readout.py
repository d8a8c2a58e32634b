"""The linear read-out and the smoothing, against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikeport.loop.decoders.rate import RateDecoder
from spikeport.loop.decoders.shadow import Shadow
from spikeport.loop.ports import Decoder
from spikeport.loop.readout import LinearDecoder, LinearModel, Smoothed, Smoothing, fit_linear, smoothed
from spikeport.snn.errors import SpikeportError
from spikeport.snn.rate import RateNetwork

T, TAU = 0.02, 0.1


def data(n: int = 400, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.poisson(2.0, (n, 6)).astype(float), rng.normal(size=(n, 2))


def network(n_inputs: int = 6) -> RateNetwork:
    rng, n = np.random.default_rng(1), 8
    return RateNetwork(
        tau=np.full(n, 0.05), w_rec=rng.normal(0, 0.3, (n, n)), w_in=rng.normal(size=(n, n_inputs)),
        w_out=rng.normal(size=(2, n)), b_rec=np.zeros(n), b_out=np.zeros(2), dt=T, phi="sigmoid",
    )  # fmt: skip


def test_smoothed_counts_of_a_step_rise_as_the_exponential() -> None:
    found = smoothed(np.ones((50, 1)), TAU, T)[:, 0]
    assert found == pytest.approx(1 - np.exp(-np.arange(1, 51) * T / TAU))


def test_without_a_time_constant_counts_stay_as_they_are() -> None:
    counts, _ = data()
    assert (smoothed(counts, 0.0, T) == counts).all()


@pytest.mark.parametrize("ridge", [0.0, 3.0, 1000.0])
def test_the_weights_solve_the_normal_equations(ridge: float) -> None:
    counts, velocity = data()
    found = fit_linear(counts, velocity, np.zeros(400), period=T, tau=TAU, ridge=ridge)
    s = smoothed(counts, TAU, T)
    c = s - s.mean(axis=0)
    weight = np.linalg.solve(c.T @ c + ridge * np.eye(6), c.T @ (velocity - velocity.mean(axis=0))).T
    assert found.weight == pytest.approx(weight)
    assert found.bias == pytest.approx(velocity.mean(axis=0) - weight @ s.mean(axis=0))


def test_a_linear_map_is_found_exactly() -> None:
    counts, _ = data()
    weight, bias = np.arange(12.0).reshape(2, 6), np.array([3.0, -1.0])
    velocity = smoothed(counts, TAU, T) @ weight.T + bias
    found = fit_linear(counts, velocity, np.zeros(400), period=T, tau=TAU, ridge=0.0)
    assert (found.weight, found.bias) == (pytest.approx(weight), pytest.approx(bias))


def test_the_decoder_says_what_the_model_says_of_smoothed_counts() -> None:
    counts, velocity = data()
    model = fit_linear(counts, velocity, np.zeros(400), period=T, tau=TAU, ridge=1.0)
    decoder = LinearDecoder(model)
    found = [decoder.step(row, (k + 1) * T).copy() for k, row in enumerate(counts)]
    assert np.array(found) == pytest.approx(smoothed(counts, TAU, T) @ model.weight.T + model.bias)


def test_a_bin_without_counts_leaves_the_velocity_as_it_was() -> None:
    counts, velocity = data()
    decoder = LinearDecoder(fit_linear(counts, velocity, np.zeros(400), period=T, tau=TAU, ridge=1.0))
    before = decoder.step(counts[0], T).copy()
    assert (decoder.step(None, 2 * T) == before).all()


def test_a_smoothed_decoder_hears_the_smoothed_counts() -> None:
    counts, _ = data(60)
    smoothing = Smoothing(tau=TAU, period=T, centre=counts.mean(axis=0), scale=counts.std(axis=0))
    decoder, inner = Smoothed(RateDecoder(network()), smoothing), RateDecoder(network())
    assert isinstance(decoder, Decoder)
    heard = smoothing.of(counts)
    for k, row in enumerate(counts):
        assert decoder.step(row, (k + 1) * T) == pytest.approx(inner.step(heard[k], (k + 1) * T), rel=1e-12)


def test_a_smoothed_decoder_is_put_back_as_a_whole() -> None:
    counts, _ = data(40)
    decoder = Smoothed(
        Shadow(RateDecoder(network()), RateDecoder(network())),
        Smoothing(tau=TAU, period=T, centre=np.zeros(6), scale=np.ones(6)),
    )
    for k in range(10):
        decoder.step(counts[k], (k + 1) * T)
    kept = decoder.snapshot()
    once = [decoder.step(counts[k], (k + 1) * T).tolist() for k in range(10, 40)]
    decoder.restore(kept)
    assert [decoder.step(counts[k], (k + 1) * T).tolist() for k in range(10, 40)] == once
    decoder.settle()
    assert decoder.report()["shadow"]["rms"] == [0.0, 0.0]


def test_parts_that_do_not_fit_are_refused_with_every_reason() -> None:
    smoothing = Smoothing(tau=TAU, period=2 * T, centre=np.zeros(3), scale=np.ones(3))
    with pytest.raises(SpikeportError, match=r"(?s)3 channels smoothed, the decoder takes 6.*period 0.04 s"):
        Smoothed(RateDecoder(network()), smoothing)
    with pytest.raises(SpikeportError, match=r"(?s)tau: -1 s.*scale positive"):
        Smoothing(tau=-1, period=T, centre=np.zeros(3), scale=np.zeros(3))
    with pytest.raises(SpikeportError, match=r"weight \(2,\), bias \(2,\)"):
        LinearModel(weight=np.zeros(2), bias=np.zeros(2), tau=0.1, period=T)
    counts, velocity = data()
    with pytest.raises(SpikeportError, match=r"(?s)tau: nan.*ridge: -1"):
        fit_linear(counts, velocity, np.zeros(400), period=T, tau=float("nan"), ridge=-1)
