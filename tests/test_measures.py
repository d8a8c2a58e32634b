"""Measures: closed forms, laws (identity, symmetry, shifts), and what they say of silence."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from require import missing
from scipy import stats

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.integrators import get_integrator, synapse_table
from spikeport.snn.measures import (
    PairedSums,
    aligned,
    coincidence_factor,
    coincident,
    cv_of_intervals,
    distance,
    fano_factor,
    mcnemar,
    paired_difference,
    principal_components,
    rates_hz,
)
from spikeport.snn.measures import distances as train_distances
from spikeport.snn.measures.filtering import filtered, sample_ends
from spikeport.snn.recording import SpikeTrains
from spikeport.snn.synapses import DoubleExponential, Exponential

LAW = settings(deadline=None, derandomize=True, max_examples=60)
SIGNALS = arrays(np.float64, (12, 3), elements=st.floats(-100, 100).map(lambda x: round(x, 3)))
DENSE = arrays(np.int8, (30, 2, 3), elements=st.integers(0, 1))
Array = NDArray[np.float64]


def trains(*columns: list[int], n_steps: int = 100) -> SpikeTrains:
    """One trial; a list of steps for each unit."""
    step = np.concatenate([np.asarray(c, dtype=int) for c in columns])
    unit = np.concatenate([np.full(len(c), i) for i, c in enumerate(columns)])
    return SpikeTrains.build(step, np.zeros(step.size), unit, (n_steps, 1, len(columns)))


# one signal and another


@given(SIGNALS, SIGNALS)
@LAW
def test_streamed_correlation_is_pearsons(x: Array, y: Array) -> None:
    found = PairedSums.empty(3).add(x[:5], y[:5]).add(x[5:], y[5:]).correlation()
    for unit in np.flatnonzero(found.defined):
        if np.ptp(x[:, unit]) > 1e-3 and np.ptp(y[:, unit]) > 1e-3:
            assert found.values[unit] == pytest.approx(np.corrcoef(x[:, unit], y[:, unit])[0, 1], abs=1e-6)


@given(SIGNALS)
@LAW
def test_a_signal_follows_itself_perfectly(x: Array) -> None:
    sums = PairedSums.empty(3).add(x, x)
    flat = np.ptp(x, axis=0) == 0
    np.testing.assert_array_equal(sums.correlation().defined, ~flat)
    np.testing.assert_allclose(sums.correlation().values, np.where(flat, 0, 1), atol=1e-9)
    np.testing.assert_array_equal(sums.error().values, 0)
    np.testing.assert_array_equal(sums.rms(), 0)


def test_the_error_is_in_standard_deviations_of_the_reference() -> None:
    x = np.array([[0.0], [2.0], [0.0], [2.0]])  # sd 1
    assert PairedSums.empty(1).add(x, x + 3).error().values[0] == pytest.approx(3)
    assert PairedSums.empty(1).add(x, np.ones_like(x)).error().values[0] == pytest.approx(1), "as good as the mean"


def test_a_large_offset_costs_no_digits() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 2)) + 1e7
    y = x + rng.normal(size=(500, 2))
    expected = [np.corrcoef(x[:, i], y[:, i])[0, 1] for i in range(2)]
    np.testing.assert_allclose(PairedSums.empty(2).add(x, y).correlation().values, expected, atol=1e-8)


def test_a_constant_unit_has_no_correlation_and_says_why() -> None:
    x = np.stack([np.arange(5.0), np.full(5, 0.3)], axis=1)
    found = PairedSums.empty(2).add(x, x).correlation()
    assert (found.n_undefined, found.mean(), found.median()) == (1, pytest.approx(1), pytest.approx(1))
    assert "1 of 2 units without: its signal, or that of its partner, never changes" in str(found)
    nothing = PairedSums.empty(2).correlation()
    assert nothing.mean() is None
    assert str(nothing).startswith("no unit has a value")


def test_signals_of_different_shapes_are_refused() -> None:
    with pytest.raises(InvalidNetworkError, match=r"shapes \(3, 2\) and \(4, 2\)"):
        PairedSums.empty(2).add(np.zeros((3, 2)), np.zeros((4, 2)))


# regularity


def test_a_clock_has_cv_0_and_a_poisson_process_1() -> None:
    rng = np.random.default_rng(1)
    poisson = np.flatnonzero(rng.random(400_000) < 0.02).tolist()
    found = cv_of_intervals(trains(list(range(0, 400_000, 7)), poisson, [3], n_steps=400_000))
    assert found.values[0] == 0
    assert found.values[1] == pytest.approx(np.sqrt(1 - 0.02), abs=0.02)  # geometric intervals
    assert found.defined.tolist() == [True, True, False]


def test_intervals_do_not_run_from_one_trial_into_the_next() -> None:
    s = SpikeTrains.build([10, 20, 5, 15, 25], [0, 0, 1, 1, 1], [0] * 5, (100, 2, 1))
    assert cv_of_intervals(s).values[0] == 0  # 10, 10 and 10


def test_poisson_counts_have_fano_1_and_a_silent_unit_none() -> None:
    rng = np.random.default_rng(2)
    counts = np.stack([rng.poisson(5, 20_000), np.full(20_000, 4), np.zeros(20_000)], axis=1)
    found = fano_factor(counts)
    assert found.values[0] == pytest.approx(1, abs=0.05)
    assert found.values[1] == 0
    assert found.defined.tolist() == [True, True, False]
    assert fano_factor(counts[:1]).undefined_when == "fewer than two trials"


def test_rates_are_spikes_per_second() -> None:
    np.testing.assert_allclose(rates_hz(trains([1, 2, 3], [], n_steps=200), 1e-3), [15, 0])
    np.testing.assert_array_equal(rates_hz(trains([], n_steps=0), 1e-3), [0])


# coincidence


@given(DENSE)
@LAW
def test_every_spike_coincides_with_itself(z: NDArray[np.int8]) -> None:
    s = SpikeTrains.from_dense(z)
    np.testing.assert_array_equal(coincident(s, s, 0), z.sum(axis=(0, 1)))
    gamma = coincidence_factor(s, s, 0)
    np.testing.assert_allclose(gamma.values[gamma.defined], 1)


@given(DENSE, DENSE, st.integers(0, 4))
@LAW
def test_coincidences_are_symmetric_and_grow_with_the_window(a: Any, b: Any, d: int) -> None:
    x, y = SpikeTrains.from_dense(a), SpikeTrains.from_dense(b)
    np.testing.assert_array_equal(coincident(x, y, d), coincident(y, x, d))
    assert (coincident(x, y, d) <= coincident(x, y, d + 1)).all()


@given(DENSE, st.integers(1, 5))
@LAW
def test_a_shift_by_d_is_forgiven_by_a_window_of_d(z: Any, d: int) -> None:
    late = np.concatenate([np.zeros((d, 2, 3), dtype=z.dtype), z[:-d]])
    a, b = SpikeTrains.from_dense(z), SpikeTrains.from_dense(late)
    np.testing.assert_array_equal(coincident(a, b, d), late.sum(axis=(0, 1)))


def test_independent_poisson_trains_have_gamma_0() -> None:
    rng = np.random.default_rng(3)
    a, b = (SpikeTrains.from_dense(rng.random((50_000, 1, 8)) < 0.02) for _ in range(2))
    assert np.abs(coincidence_factor(a, b, 2).values).max() < 0.06
    assert coincidence_factor(a, b, 2).mean() == pytest.approx(0, abs=0.02)


def test_two_silent_trains_have_no_coincidence_factor() -> None:
    s = trains([], [4])
    assert coincidence_factor(s, s, 1).defined.tolist() == [False, True]
    with pytest.raises(InvalidNetworkError, match="window of -1 steps"):
        coincident(s, s, -1)


# trajectories


def test_components_are_those_of_the_covariance() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(2000, 5)) * [5, 3, 1, 0.1, 0.1] + 7
    found = principal_components(x, 2)
    np.testing.assert_allclose(np.abs(found.axes), np.eye(5)[:, :2], atol=0.05)
    np.testing.assert_allclose(found.variance, [25, 9], rtol=0.1)
    np.testing.assert_allclose(found.project(x).mean(axis=0), 0, atol=1e-9)
    assert found.explained == pytest.approx(34 / 35.02, abs=0.01)


@given(arrays(np.float64, (15, 3), elements=st.floats(-10, 10).map(lambda x: round(x, 2))), st.integers(0, 2**31))
@LAW
def test_a_turned_scaled_and_moved_trajectory_aligns_with_itself(p: Array, seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    back = aligned(2.5 * p @ turn + rng.normal(size=3), p)
    np.testing.assert_allclose(back, p, atol=1e-6)


def test_the_distance_of_a_trajectory_to_its_mean_is_1_and_to_itself_0() -> None:
    p = np.random.default_rng(5).normal(size=(40, 2, 3))
    assert distance(p, p) == 0
    assert distance(p, np.broadcast_to(p.reshape(-1, 3).mean(axis=0), p.shape)) == pytest.approx(1)
    assert distance(np.ones((4, 2)), np.zeros((4, 2))) is None, "what never moves has no scale"
    np.testing.assert_allclose(
        aligned(np.ones_like(p), p).reshape(-1, 3), p.reshape(-1, 3).mean(axis=0)[None].repeat(80, 0)
    )


# paired trials


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (3, 0), (10, 2), (40, 55), (600, 500)])
def test_mcnemar_is_the_exact_binomial_test(only_a: int, only_b: int) -> None:
    a = np.array([True] * only_a + [False] * only_b + [True] * 5 + [False] * 5)
    b = np.array([False] * only_a + [True] * only_b + [True] * 5 + [False] * 5)
    n = only_a + only_b
    expected = stats.binomtest(only_a, n).pvalue if n else 1.0
    assert mcnemar(a, b) == (only_a, only_b, pytest.approx(expected))


@given(arrays(np.bool_, (2, 30)))
@LAW
def test_a_paired_difference_is_in_its_interval_and_turns_its_sign_with_the_order(right: NDArray[np.bool_]) -> None:
    d, (low, high) = paired_difference(*right)
    assert d == pytest.approx(right[1].mean() - right[0].mean())
    assert -1 - 1e-12 <= low <= d + 1e-12
    assert d - 1e-12 <= high <= 1 + 1e-12
    back, (other_low, other_high) = paired_difference(right[1], right[0])
    assert (back, other_low, other_high) == pytest.approx((-d, -high, -low), abs=1e-12)


@pytest.mark.parametrize(("p_a", "lost", "won"), [(0.95, 0.1, 0.02), (0.6, 0.3, 0.1), (0.98, 0.02, 0.5)])
def test_the_interval_of_a_paired_difference_covers_the_true_one_in_95_of_100(
    p_a: float, lost: float, won: float
) -> None:
    rng = np.random.default_rng(0)
    truth, covered, runs = (1 - p_a) * won - p_a * lost, 0, 2000
    for _ in range(runs):
        a = rng.random(100) < p_a
        b = np.where(a, rng.random(100) >= lost, rng.random(100) < won)
        _, (low, high) = paired_difference(a, b)
        covered += low <= truth <= high
    assert covered / runs > 0.935


# distances of trains, by libraries

TIMES = st.lists(st.integers(1, 99), unique=True, max_size=8).map(
    lambda t: np.sort(np.array(t, dtype=np.float64)) / 100
)
NAMES: dict[str, dict[str, float]] = {
    "victor_purpura": {"q": 50.0}, "van_rossum": {"tau": 0.02}, "isi_distance": {}, "spike_distance": {},
}  # fmt: skip


def measured(name: str, a: Array, b: Array) -> float:
    for module in ("elephant", "pyspike"):
        if importlib.util.find_spec(module) is None:
            missing("measures", f"{module} is not installed")
    found = getattr(train_distances, name)(a, b, duration=1.0, **NAMES[name])
    assert isinstance(found, float)
    return found


@pytest.mark.parametrize("name", NAMES)
@given(TIMES, TIMES)
@settings(LAW, max_examples=25)
def test_a_distance_is_0_of_a_train_to_itself_symmetric_and_never_nan(name: str, a: Array, b: Array) -> None:
    assert measured(name, a, a) == pytest.approx(0, abs=1e-6)
    assert measured(name, a, b) == pytest.approx(measured(name, b, a), abs=1e-9)
    assert measured(name, a, b) >= 0


@pytest.mark.parametrize("shift", [0.001, 0.01, 0.1])
def test_distances_of_one_shifted_spike_have_their_closed_form(shift: float) -> None:
    a, b = np.array([0.3]), np.array([0.3 + shift])
    assert measured("victor_purpura", a, b) == pytest.approx(min(50 * shift, 2))
    assert measured("van_rossum", a, b) == pytest.approx(np.sqrt(1 - np.exp(-shift / 0.02)))


def test_distances_of_one_spike_more_have_their_closed_form() -> None:
    a, none = np.array([0.3]), np.array([])
    assert measured("victor_purpura", a, none) == pytest.approx(1)
    assert measured("van_rossum", a, none) == pytest.approx(np.sqrt(0.5))


def test_the_isi_distance_of_two_clocks_is_their_relative_difference() -> None:
    slow, fast = np.arange(0, 1.0001, 0.2), np.arange(0, 1.0001, 0.1)
    assert measured("isi_distance", slow, fast) == pytest.approx(0.5)


# filtered spikes


@pytest.mark.parametrize("synapse", [DoubleExponential(tau_rise=0.002, tau_decay=0.03), Exponential(tau=0.02)])
@pytest.mark.parametrize("every", [1, 7, 2.5, 20])
def test_filtered_spikes_are_the_read_outs_own_filter(synapse: Any, every: float) -> None:
    rng = np.random.default_rng(6)
    s = SpikeTrains.from_dense(rng.integers(0, 2, (60, 2, 3)))
    table = synapse_table(get_integrator("kim2019"), synapse, np.full(3, 0.01), 1e-3)
    x, expected = np.zeros((2, 3, synapse.n_states)), []
    for z in s.dense():
        x = np.einsum("nij,bnj->bni", table.D, x) + table.jump * z[:, :, None]
        expected.append(x[:, :, 0])
    ends = sample_ends(60, 1e-3, every * 1e-3)
    assert ends.size == 60 // every
    np.testing.assert_allclose(filtered(s, table, ends), np.array(expected)[ends - 1], rtol=1e-10)


@given(st.integers(1, 300), st.floats(1, 40))
@LAW
def test_samples_end_at_the_step_nearest_to_their_time(n_steps: int, ratio: float) -> None:
    ends = sample_ends(n_steps, 1.0, ratio)
    times = np.arange(1, ends.size + 1) * ratio
    assert np.abs(ends - times).max(initial=0.0) <= 0.5 + 1e-6
    assert (np.diff(ends) >= 1).all()
    assert (ends.size + 1) * ratio > n_steps - 0.5 - 1e-6


def test_samples_that_do_not_fit_the_steps_are_refused() -> None:
    table = synapse_table(get_integrator("euler"), Exponential(tau=0.02), np.full(1, 0.01), 1e-3)
    with pytest.raises(InvalidNetworkError, match="must ascend from 1"):
        filtered(trains([1]), table, np.array([5, 5]))
    with pytest.raises(InvalidNetworkError, match="must be at least a step"):
        sample_ends(10, 1e-3, 5e-4)
