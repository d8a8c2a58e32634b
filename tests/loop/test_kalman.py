"""The Kalman filter against closed forms: Riccati's equation, the batch posterior, and models that it must find."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import block_diag, solve_discrete_are

from spikeport.loop.kalman import KalmanDecoder, KalmanModel, fit_kalman
from spikeport.loop.ports import Decoder
from spikeport.snn.errors import SpikeportError

T = 0.02


def model(n: int = 5, d: int = 2, seed: int = 0) -> KalmanModel:
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(n, n))
    w = rng.normal(size=(d, d))
    a = np.linalg.qr(rng.normal(size=(d, d)))[0] * 0.9
    return KalmanModel(
        a=a,
        w=w @ w.T + 0.1 * np.eye(d),
        c=rng.normal(size=(n, d)),
        b=rng.normal(size=n),
        q=q @ q.T + np.eye(n),
        period=T,
    )


def drawn(m: KalmanModel, n_bins: int, seed: int = 0) -> tuple[Any, Any]:
    """States and counts that the model itself makes, from x = 0."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(n_bins, len(m.a))) @ np.linalg.cholesky(m.w).T
    q = rng.normal(size=(n_bins, len(m.b))) @ np.linalg.cholesky(m.q).T
    x, states = np.zeros(len(m.a)), []
    for k in range(n_bins):
        x = m.a @ x + w[k]
        states.append(x)
    return np.array(states), np.array(states) @ m.c.T + m.b + q


@pytest.mark.parametrize("seed", range(4))
def test_the_steady_state_solves_riccatis_equation(seed: int) -> None:
    m = model(seed=seed)
    decoder = KalmanDecoder(m)
    for _ in range(300):
        decoder.predict(np.zeros((1, 5)))
    p = solve_discrete_are(m.a.T, m.c.T, m.w, m.q)  # of the prediction, P-
    gain = p @ m.c.T @ np.linalg.inv(m.c @ p @ m.c.T + m.q)
    assert decoder.gain() == pytest.approx(gain, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("lost", [(), (2,), (0, 3, 4)])
def test_the_estimate_is_the_posterior_mean_of_all_counts_at_once(lost: tuple[int, ...]) -> None:
    """x[1..t] jointly normal: prior precision from A and W, each bin that came adds C' Q^-1 C; solved in one go."""
    m, n_bins, d = model(), 6, 2
    p0 = np.array([[2.0, 0.3], [0.3, 1.0]])
    x0 = np.array([0.5, -1.0])
    _, y = drawn(m, n_bins)
    decoder = KalmanDecoder(m, x0=x0, p0=p0)
    for k in range(n_bins):
        found = decoder.step(None if k in lost else y[k], (k + 1) * T).copy()
    jump = np.eye(n_bins * d + d)  # (x0, x1, ...) -> (x0, w1, w2, ...)
    for k in range(n_bins):
        jump[(k + 1) * d : (k + 2) * d, k * d : (k + 1) * d] = -m.a
    precision = jump.T @ np.linalg.inv(block_diag(p0, *[m.w] * n_bins)) @ jump
    prior = precision[:, :d] @ x0 * 0.0
    prior[:d] = np.linalg.inv(p0) @ x0
    for k in set(range(n_bins)) - set(lost):
        at = slice((k + 1) * d, (k + 2) * d)
        precision[at, at] += m.c.T @ np.linalg.inv(m.q) @ m.c
        prior[at] += m.c.T @ np.linalg.inv(m.q) @ (y[k] - m.b)
    assert found == pytest.approx(np.linalg.solve(precision, prior)[-d:], rel=1e-9)


def test_fitting_finds_the_model_that_made_the_data() -> None:
    m = model(n=4)
    x, y = drawn(m, 40_000)
    found = fit_kalman(y, x, np.zeros(len(x)), period=T)
    for name in ("a", "w", "c", "b", "q"):
        assert getattr(found, name) == pytest.approx(getattr(m, name), rel=0.05, abs=0.05), name


def test_no_step_leads_from_one_trial_to_the_next() -> None:
    m = model(n=3)
    parts = [drawn(m, 500, seed) for seed in range(4)]
    x, y = (np.concatenate([p[i] for p in parts]) for i in range(2))
    trial = np.repeat(np.arange(4), 500)
    apart = fit_kalman(y, x, trial, period=T)
    pairs = [(p[0][:-1], p[0][1:]) for p in parts]
    before, after = (np.concatenate([p[i] for p in pairs]) for i in range(2))
    assert apart.a == pytest.approx(np.linalg.lstsq(before, after, rcond=None)[0].T)
    assert not np.allclose(apart.a, fit_kalman(y, x, np.zeros(len(x)), period=T).a, rtol=1e-6)


def test_it_tracks_better_than_counts_alone() -> None:
    m = model(n=4)
    x, y = drawn(m, 2000, seed=1)
    decoder = KalmanDecoder(m)
    found = np.array([decoder.predict(row[None])[0].copy() for row in y])
    alone = np.linalg.lstsq(m.c, (y - m.b).T, rcond=None)[0].T
    assert ((found - x) ** 2).mean() < 0.8 * ((alone - x) ** 2).mean()


def test_it_is_a_decoder() -> None:
    assert isinstance(KalmanDecoder(model()), Decoder)


def test_a_tick_at_a_time_is_predict() -> None:
    m = model()
    _, y = drawn(m, 20)
    a, b = KalmanDecoder(m), KalmanDecoder(m)
    for k, row in enumerate(y):
        assert (a.step(row, (k + 1) * T) == b.predict(row[None])[0]).all()


def test_rows_of_a_batch_are_decoders_of_their_own_and_start_afresh_when_done() -> None:
    m = model()
    _, y = drawn(m, 12)
    batch, alone = KalmanDecoder(m, batch_size=2), KalmanDecoder(m)
    for k in range(6):
        batch.predict(np.stack([y[k], y[k + 6]]))
    batch.on_done([False, True])
    for k in range(3):
        found = batch.predict(np.stack([y[k + 6], y[k]]))
        assert (found[1] == alone.predict(y[k][None])[0]).all()


def test_counts_that_come_in_parts_are_the_counts_of_the_bin() -> None:
    m = model()
    _, y = drawn(m, 10)
    whole, parts = KalmanDecoder(m), KalmanDecoder(m)
    for k, row in enumerate(y):
        for i in range(4):
            found = parts.step(row / 4, k * T + (i + 1) * T / 4)
        assert found == pytest.approx(whole.step(row, (k + 1) * T), rel=1e-12)


def test_a_bin_of_which_a_part_is_lost_has_no_count() -> None:
    m = model()
    a, b = KalmanDecoder(m), KalmanDecoder(m)
    a.step(np.ones(5), T / 2)
    assert (a.step(None, T) == b.step(None, T)).all()
    assert (a.step(np.ones(5), 2 * T) == b.step(np.ones(5), 2 * T)).all()


def test_time_that_passes_in_one_go_is_predicted() -> None:
    m = model()
    a, b = KalmanDecoder(m), KalmanDecoder(m)
    a.step(np.ones(5), T)
    b.step(np.ones(5), T)
    for k in (2, 3):
        b.step(None, k * T)
    assert (a.step(np.ones(5), 4 * T) == b.step(np.ones(5), 4 * T)).all()


@given(seed=st.integers(0, 1000), split=st.integers(0, 9))
@settings(max_examples=20)
def test_a_snapshot_goes_on_as_if_nothing_had_happened(seed: int, split: int) -> None:
    m = model(seed=seed)
    _, y = drawn(m, 10, seed)
    decoder = KalmanDecoder(m)

    def run(first: int, last: int) -> list[list[float]]:
        return [decoder.step(y[k], (k + 1) * T).tolist() for k in range(first, last)]

    run(0, split)
    kept = decoder.snapshot()
    once = run(split, 10)
    decoder.restore(kept)
    assert run(split, 10) == once
    decoder.reset()
    assert run(0, 10)[split:] == once


def test_a_model_that_contradicts_itself_is_refused_with_every_reason() -> None:
    good = {name: getattr(model(), name) for name in ("a", "w", "c", "b", "q", "period")}
    with pytest.raises(SpikeportError, match=r"(?s)b: shape \(4,\), must be \(5,\).*period: 0"):
        KalmanModel(**(good | {"b": np.zeros(4), "period": 0}))
    with pytest.raises(SpikeportError, match="q: no covariance, or a singular one"):
        KalmanModel(**(good | {"q": np.zeros((5, 5))}))


def test_training_data_that_cannot_be_fitted_are_refused() -> None:
    with pytest.raises(SpikeportError, match=r"counts \(3, 2\), velocity \(4, 2\)"):
        fit_kalman(np.zeros((3, 2)), np.zeros((4, 2)), np.zeros(3), period=T)
    with pytest.raises(SpikeportError, match="6 bins do not determine 5 channels"):
        fit_kalman(np.ones((6, 5)), np.ones((6, 2)), np.zeros(6), period=T)
    with pytest.raises(SpikeportError, match="a value that is not finite"):
        fit_kalman(np.full((6, 2), np.nan), np.ones((6, 2)), np.zeros(6), period=T)


def test_a_channel_that_never_fires_is_no_problem() -> None:
    m = model(n=4)
    x, y = drawn(m, 500)
    decoders = [
        KalmanDecoder(fit_kalman(counts, x, np.zeros(500), period=T))
        for counts in (y, np.column_stack([y, np.zeros(500)]))
    ]
    for row in y[:20]:
        one, other = decoders[0].predict(row[None]), decoders[1].predict(np.append(row, 0.0)[None])
        assert other == pytest.approx(one, rel=1e-6)
