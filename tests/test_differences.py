"""Where two recordings part: the first difference, and how near the threshold it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conformance_networks import NETWORKS

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.measures.differences import by_rounding, differing, first_difference, parted_at
from spikeport.snn.recording import Recording, SpikeTrains

CASE = NETWORKS["chain, delay 1"]


def changed(recording: Recording, population: str, *flips: tuple[int, int, int]) -> Recording:
    """With a spike more, or one less, at each (step, trial, unit)."""
    z = recording.spikes[population].dense()
    for at in flips:
        z[at] ^= 1
    assert flips
    return replace(recording, spikes={**recording.spikes, population: SpikeTrains.from_dense(z)})


def test_a_recording_does_not_part_from_itself() -> None:
    expected = CASE.expected()
    assert differing(expected, expected) == 0
    assert first_difference(expected, expected, CASE.network) is None
    assert parted_at(expected.spikes["a"], expected.spikes["a"]) == [None, None]


def test_the_first_difference_is_the_earliest_of_all_populations() -> None:
    expected = CASE.expected()
    found = changed(changed(expected, "a", (60, 0, 2), (40, 1, 3)), "b", (40, 0, 1), (41, 0, 0))
    first = first_difference(expected, found, CASE.network)
    assert first is not None
    assert (first.population, first.step, first.trial, first.neuron) == ("b", 41, 0, 1)
    assert first.expected + first.found == 1
    assert first.v_expected == expected.traces["b.v"][40, 0, 1]
    assert first.distance == pytest.approx(abs(first.v_expected - 1.0))
    assert f"population b, unit 1, step 41 of trial 0: {first.found} spikes instead of {first.expected}" in str(first)
    assert differing(expected, found) == 4
    assert parted_at(expected.spikes["a"], found.spikes["a"]) == [61, 41]


def test_without_a_trace_there_is_no_distance() -> None:
    expected = replace(CASE.expected(), traces={})
    first = first_difference(expected, changed(expected, "a", (5, 0, 0)), CASE.network)
    assert first is not None
    assert first.distance is None
    assert first.as_dict()["v_found"] is None
    assert "mV" not in str(first)


def test_differences_at_the_threshold_itself_are_told_from_others() -> None:
    """Unit 0 of trial 0 is on the edge when it first differs, unit 1 is not; what follows belongs to the first."""
    expected = CASE.expected()
    v = expected.traces["a.v"].copy()
    v[30, 0, 0] = 1.0 - 1e-12
    expected = replace(expected, traces={**expected.traces, "a.v": v})
    found = changed(expected, "a", (30, 0, 0), (50, 0, 0), (30, 0, 1))
    assert differing(expected, found) == 3
    assert by_rounding(expected, found, CASE.network) == 2
    assert by_rounding(expected, found, CASE.network, margin=0) == 0
    assert by_rounding(expected, expected, CASE.network) == 0


def test_recordings_of_different_networks_are_refused() -> None:
    expected = CASE.expected()
    shorter = NETWORKS["plain"].expected()
    with pytest.raises(InvalidNetworkError, match="different networks or lengths"):
        differing(expected, shorter)
    with pytest.raises(InvalidNetworkError, match="differ"):
        parted_at(expected.spikes["a"], SpikeTrains.from_dense(np.zeros((3, 2, 5))))
