"""The figures of control, on trials whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spikeport.loop.subject.centre_out import CentreOut, Trial
from spikeport.loop.subject.metrics import Figures, bootstrap
from spikeport.snn.errors import SpikeportError
from spikeport.snn.measures.intervals import wilson

TASK = CentreOut(distance=8.0, radius=2.0)


def trial(success: bool = True, reached: float = 0.5, **changed: float) -> Trial:
    nan = float("nan")
    values = {"duration": reached + 0.5 if success else 5.0, "straight": 6.0, "path": 7.5} | changed
    if not success:
        values |= {"straight": nan, "path": nan}
    return Trial(number=0, target=0, success=success, reached=reached if success else nan, **values)  # type: ignore[arg-type]


def test_equal_trials_give_their_own_figures_and_no_spread() -> None:
    found = Figures.of([trial()] * 10, TASK)
    bits = np.log2(8.0 / 4.0 + 1)
    for name, value in (("time", 0.5), ("efficiency", 0.8), ("throughput", bits / 0.5), ("bit_rate", np.log2(7) / 1.0)):
        figure = getattr(found, name)
        assert (figure.value, figure.low, figure.high) == pytest.approx((value, value, value))


def test_success_is_a_proportion_with_wilsons_interval() -> None:
    found = Figures.of([trial()] * 7 + [trial(False)] * 3, TASK)
    assert (found.success.value, found.success.low, found.success.high) == (0.7, *wilson(7, 10))


def test_the_bit_rate_takes_wrong_ones_off_and_is_never_negative() -> None:
    found = Figures.of([trial()] * 7 + [trial(False)] * 3, TASK)
    assert found.bit_rate.value == pytest.approx(np.log2(7) * (7 - 3) / (7 * 1.0 + 3 * 5.0))
    assert Figures.of([trial()] * 3 + [trial(False)] * 7, TASK).bit_rate.value == 0.0


def test_without_a_success_what_needs_one_is_not_a_number() -> None:
    found = Figures.of([trial(False)] * 4, TASK)
    assert np.isnan([found.time.value, found.efficiency.low, found.throughput.high]).all()
    assert found.as_dict()["time"] == [None, None, None]


def test_the_bootstraps_interval_of_a_mean_is_that_of_the_normal_distribution_for_many() -> None:
    values = np.random.default_rng(3).exponential(2.0, 2000)
    figure = bootstrap(values[:, None], lambda rows: rows[..., 0].mean(axis=-1), seed=0)
    half = stats.norm.ppf(0.975) * values.std() / np.sqrt(2000)
    assert figure.value == pytest.approx(values.mean())
    assert (figure.low, figure.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_no_trials_are_refused() -> None:
    with pytest.raises(SpikeportError, match="figures: no trial has ended"):
        Figures.of([], TASK)
