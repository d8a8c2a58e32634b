"""Spike trains: sparse and dense are the same spikes, and `differing` counts as a distance does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.recording import Recording, SpikeTrains

SHAPE = (6, 2, 4)
MOSTLY_ZERO = st.sampled_from([0, 0, 0, 1, 1, 2, 5])
DENSE = arrays(np.int32, SHAPE, elements=MOSTLY_ZERO)
ANY_SHAPE = arrays(np.int32, st.tuples(*[st.integers(0, 5)] * 3), elements=MOSTLY_ZERO)
LAW = settings(max_examples=100, deadline=None, derandomize=True)
Dense = NDArray[np.int32]


@given(ANY_SHAPE)
@LAW
def test_dense_spikes_survive_a_round_trip(z: Dense) -> None:
    trains = SpikeTrains.from_dense(z)
    np.testing.assert_array_equal(trains.dense(), z)
    assert trains.shape == z.shape
    assert trains.n_spikes == z.sum()
    np.testing.assert_array_equal(trains.counts(), z.sum(axis=0))
    assert (trains.count > 0).all()  # sparse: nothing is stored for silence


@given(DENSE, st.randoms(use_true_random=False))
@LAW
def test_columns_in_any_order_are_the_same_sorted_trains(z: Dense, random: Any) -> None:
    trains = SpikeTrains.from_dense(z)
    order = list(range(trains.step.size))
    random.shuffle(order)
    again = SpikeTrains.build(
        trains.step[order], trains.batch[order], trains.neuron[order], SHAPE, count=trains.count[order]
    )
    key = (again.step * 2 + again.batch) * 4 + again.neuron
    assert (np.diff(key) > 0).all()  # by step, then batch, then neuron
    for name in ("step", "batch", "neuron", "count"):
        np.testing.assert_array_equal(getattr(again, name), getattr(trains, name))
        assert getattr(again, name).dtype == np.int32


def test_booleans_are_counts_of_one() -> None:
    z = np.zeros(SHAPE, dtype=bool)
    z[2, 1, 3] = True
    trains = SpikeTrains.from_dense(z)
    assert (trains.step.tolist(), trains.batch.tolist(), trains.neuron.tolist()) == ([2], [1], [3])
    assert trains.count.tolist() == [1]


# differing


@given(DENSE, DENSE)
@LAW
def test_differing_counts_the_places_where_the_dense_arrays_differ(a: Dense, b: Dense) -> None:
    x, y = SpikeTrains.from_dense(a), SpikeTrains.from_dense(b)
    assert x.differing(y) == np.count_nonzero(a != b)
    assert x.differing(y) == y.differing(x)
    assert x.differing(x) == 0
    assert (x.differing(y) == 0) == np.array_equal(a, b)


@given(DENSE, DENSE, DENSE)
@LAW
def test_differing_obeys_the_triangle_inequality(a: Dense, b: Dense, c: Dense) -> None:
    x, y, z = (SpikeTrains.from_dense(d) for d in (a, b, c))
    assert x.differing(z) <= x.differing(y) + y.differing(z)


def test_a_spike_one_step_late_differs_in_two_places() -> None:
    early, late = (SpikeTrains.build([k], [0], [0], SHAPE) for k in (2, 3))
    assert early.differing(late) == 2


def test_spikes_written_twice_add_up() -> None:
    twice = SpikeTrains.build([1, 1], [0, 0], [2, 2], SHAPE)
    once = SpikeTrains.build([1], [0], [2], SHAPE, count=[2])
    assert twice.differing(once) == 0
    np.testing.assert_array_equal(twice.dense(), once.dense())
    np.testing.assert_array_equal(twice.counts(), once.counts())


def test_trains_of_two_shapes_have_no_difference() -> None:
    with pytest.raises(InvalidNetworkError, match=r"shapes \(6, 2, 4\) and \(6, 2, 5\) differ"):
        SpikeTrains.build([], [], [], SHAPE).differing(SpikeTrains.build([], [], [], (6, 2, 5)))


def test_a_key_of_many_neurons_and_steps_does_not_overflow() -> None:
    shape = (20_000, 1000, 1000)  # 2e10 places
    a = SpikeTrains.build([19_999], [999], [999], shape)
    b = SpikeTrains.build([19_999 - 2**32 // 10**6], [999], [999], shape)
    assert a.differing(b) == 2


# Refused


@pytest.mark.parametrize(("column", "size"), [("step", 6), ("batch", 2), ("neuron", 4)])
@pytest.mark.parametrize("off", ["below", "above"])
def test_a_spike_out_of_range_is_refused(column: str, size: int, off: str) -> None:
    place = {"step": [0, 0], "batch": [0, 0], "neuron": [0, 1]} | {column: [0, -1 if off == "below" else size]}
    with pytest.raises(InvalidNetworkError, match=rf"{column} from -?\d to \d, must be in \[0, {size}\)"):
        SpikeTrains.build(place["step"], place["batch"], place["neuron"], SHAPE)


def test_columns_of_different_length_are_refused() -> None:
    one, two = np.zeros(1, dtype=np.int32), np.zeros(2, dtype=np.int32)
    with pytest.raises(InvalidNetworkError, match="step, batch, neuron and count differ in length"):
        SpikeTrains(step=one, batch=one, neuron=one, count=two, shape=SHAPE)


# Recording


def test_the_mean_rate_is_spikes_per_unit_trial_and_second() -> None:
    z = np.zeros((10, 2, 4), dtype=int)
    z[::2, :, 0] = 1
    w = np.zeros((10, 2, 6), dtype=int)
    w[0, 0, 0] = 2
    spikes = {"a": SpikeTrains.from_dense(z), "b": SpikeTrains.from_dense(w)}
    recording = Recording(dt=1e-3, n_steps=10, n_batch=2, spikes=spikes)
    assert recording.duration == pytest.approx(0.01)
    assert recording.mean_rate_hz() == pytest.approx(12 / (0.01 * 2 * 10))


def test_the_mean_rate_of_nothing_is_zero() -> None:
    assert Recording(dt=1e-3, n_steps=0, n_batch=2).mean_rate_hz() == 0.0
    empty = {"a": SpikeTrains.build([], [], [], (0, 2, 4))}
    assert Recording(dt=1e-3, n_steps=0, n_batch=2, spikes=empty).mean_rate_hz() == 0.0
