"""The units of the simulated subject: tuning in closed form, counts that are Poisson and the same twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from spikeport.loop.subject.encoder import MOST, PoissonEncoder, Tuning, poisson
from spikeport.snn.errors import SpikeportError


def test_a_unit_fires_as_the_cosine_of_the_angle_to_its_preferred_direction() -> None:
    tuning = Tuning(direction=np.array([0.7]), baseline=np.array([12.0]), depth=np.array([8.0]), full=15.0)
    for angle in np.linspace(0, 2 * np.pi, 9):
        v = 15.0 * np.array([np.cos(angle), np.sin(angle)])
        assert tuning.rates(v)[0] == pytest.approx(12.0 + 8.0 * np.cos(angle - 0.7))
        assert tuning.rates(v / 2)[0] == pytest.approx(12.0 + 4.0 * np.cos(angle - 0.7))


def test_no_rate_is_cut_at_zero_up_to_full_speed_and_none_is_negative_above() -> None:
    tuning = Tuning.drawn(96, seed=3, full=15.0)
    assert (tuning.depth <= tuning.baseline).all()
    away = -np.stack([np.cos(tuning.direction), np.sin(tuning.direction)], axis=1)
    assert all(tuning.rates(60.0 * v).min() >= 0 for v in away)


def test_drawn_directions_go_all_round() -> None:
    tuning = Tuning.drawn(40, seed=1, full=15.0)
    assert (np.floor(tuning.direction / (2 * np.pi / 40)) == np.arange(40)).all()
    assert not np.array_equal(tuning.direction, Tuning.drawn(40, seed=2, full=15.0).direction)


@given(expected=st.floats(0, MOST), uniform=st.floats(1e-9, 1 - 1e-9))
def test_a_count_is_the_inverse_of_the_poisson_distribution(expected: float, uniform: float) -> None:
    k = int(poisson(np.array([expected]), np.array([uniform]))[0])
    assert stats.poisson.cdf(k, expected) >= uniform - 1e-12
    assert k == 0 or stats.poisson.cdf(k - 1, expected) < uniform + 1e-12


def test_counts_have_the_mean_and_the_variance_of_their_rates() -> None:
    tuning, v, n = Tuning.drawn(24, seed=0, full=15.0), np.array([9.0, -4.0]), 4000
    encoder = PoissonEncoder(tuning, period=0.05, seed=5)
    counts = np.array([encoder.counts(k, v) for k in range(n)])
    expected = tuning.rates(v) * 0.05
    error = np.sqrt(expected / n)
    assert (np.abs(counts.mean(axis=0) - expected) < 5 * error).all()
    assert counts.var(axis=0) / expected == pytest.approx(np.ones(24), abs=0.15)


def test_counts_depend_on_seed_tick_and_unit_alone() -> None:
    tuning, v = Tuning.drawn(8, seed=0, full=15.0), np.array([5.0, 5.0])
    forward, backward = (PoissonEncoder(tuning, period=0.05, seed=5) for _ in range(2))
    ticks = range(0, 300, 7)
    there = [forward.counts(k, v).tolist() for k in ticks]
    back = [backward.counts(k, v).tolist() for k in reversed(ticks)]
    assert there == back[::-1]
    assert there != [PoissonEncoder(tuning, period=0.05, seed=6).counts(k, v).tolist() for k in ticks]


def test_a_period_that_holds_too_many_spikes_is_refused() -> None:
    with pytest.raises(SpikeportError, match=r"encoder: up to .* counts expected in 2 s, limit 20"):
        PoissonEncoder(Tuning.drawn(8, seed=0, full=15.0), period=2.0, seed=0)


def test_a_velocity_beyond_what_a_count_can_hold_is_refused_and_not_cut() -> None:
    encoder = PoissonEncoder(Tuning.drawn(8, seed=0, full=15.0), period=0.1, seed=0)
    with pytest.raises(SpikeportError, match=r"counts expected in tick 3, limit 20\n  intended velocity"):
        encoder.counts(3, np.array([1e4, 0.0]))


def test_a_tuning_that_contradicts_itself_is_refused_with_every_reason() -> None:
    with pytest.raises(SpikeportError, match=r"(?s)baseline: shape \(2,\).*full: 0 cm/s"):
        Tuning(direction=np.zeros(3), baseline=np.zeros(2), depth=np.zeros(3), full=0)
