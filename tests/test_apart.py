"""Distances of spike trains between two levels: 0 of a level to itself, and said where they cannot be had."""

from __future__ import annotations

import numpy as np
import pytest
from require import need

from spikeport.convert.validation.apart import DISTANCES, UNITS, distances_of
from spikeport.snn.errors import MissingDependencyError
from spikeport.snn.measures import distances
from spikeport.snn.recording import Recording, SpikeTrains


def recording(seed: int, n: int = 6, probability: float = 0.02) -> Recording:
    z = np.random.default_rng(seed).random((200, 2, n)) < probability
    return Recording(dt=1e-3, n_steps=200, n_batch=2, spikes={"a": SpikeTrains.from_dense(z)})


def test_a_level_has_distance_0_to_itself() -> None:
    found = distances_of(recording(0), recording(0), "a")
    assert [found[name] for name in DISTANCES] == [0.0] * 4
    assert found["equal_units"] == found["units"] > 0


def test_each_distance_is_the_mean_of_the_units() -> None:
    need("elephant", resource="measures")
    a, b = recording(0), recording(1)
    found = distances_of(a, b, "a", trial=1)
    times = [[np.flatnonzero(r.spikes["a"].dense()[:, 1, u]) * 1e-3 + 1e-3 for r in (a, b)] for u in range(6)]
    firing = [pair for pair in times if len(pair[0]) + len(pair[1])]
    assert (found["units"], found["trials"]) == (len(firing), 1)
    for name, distance in DISTANCES.items():
        assert found[name] == pytest.approx(np.mean([distance(*pair, 0.2) for pair in firing]))


def test_silence_has_no_distance_and_many_units_are_sampled() -> None:
    silent = recording(0, probability=0.0)
    assert [distances_of(silent, silent, "a")[name] for name in DISTANCES] == [None] * 4
    many = recording(2, n=3 * UNITS, probability=0.1)
    found = distances_of(many, many, "a")
    assert (found["units"], found["firing_units"]) == (UNITS, 3 * UNITS)


def test_without_the_extra_the_way_to_get_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(module: str) -> None:
        raise MissingDependencyError.for_extra(module, "measures", "this distance")

    monkeypatch.setattr(distances, "_need", absent)
    found = distances_of(recording(0), recording(1), "a")
    assert [found[name] for name in DISTANCES] == [None] * 4
    assert found["missing"] == 'pip install "spikeport[measures]"'
