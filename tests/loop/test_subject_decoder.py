"""The shipped recurrent decoder, converted: it controls the cursor through the loop, the rate network in its shadow."""

from __future__ import annotations

from typing import Any

import pytest
from loop_parts import Kept
from subject_cases import play

from spikeport.loop.decoders.rate import RateDecoder
from spikeport.loop.decoders.shadow import Shadow
from spikeport.loop.decoders.spiking import SpikingDecoder
from spikeport.loop.readout import Smoothed, Smoothing
from spikeport.loop.subject.metrics import Figures
from spikeport.loop.subject.subject import Subject
from spikeport.resources import model_path
from spikeport.snn.errors import SpikeportError
from spikeport.snn.files import load_rate_network, load_spiking_network

RATE = load_rate_network(model_path("cursor-rate", "decoders"))
SPIKING = load_spiking_network(model_path("cursor-spiking", "decoders"))


def decoder() -> Smoothed:
    both = Shadow(SpikingDecoder(SPIKING, period=0.01), RateDecoder(RATE, with_noise=False))
    return Smoothed(both, Smoothing.from_dict(RATE.provenance["smoothing"]))


def test_the_converted_network_controls_the_cursor_and_its_shadow_agrees() -> None:
    body, summary = play(Subject(delay=0.1), decoder(), 8, seed=2)
    figures = Figures.of(body.trials, body.subject.task)
    assert figures.successes == 8
    assert figures.efficiency.value > 0.85
    shadow: dict[str, Any] = summary.decoder["shadow"]
    assert min(shadow["correlation"]) > 0.9
    assert shadow["n"] == summary.ticks
    assert summary.decoder["shadow_failure"] is None


def test_it_is_the_same_twice() -> None:
    digests = []
    for _ in range(2):
        recorder = Kept()
        play(Subject(delay=0.1), decoder(), 1, recorder=recorder)
        digests.append(recorder.digest())
    assert digests[0] == digests[1]


def test_both_files_keep_the_smoothing_that_belongs_to_them() -> None:
    kept = RATE.provenance["smoothing"]
    assert SPIKING.provenance["source"]["smoothing"] == kept
    assert Smoothing.from_dict(kept).as_dict() == kept
    with pytest.raises(SpikeportError, match="tau: missing"):
        Smoothing.from_dict({"period": 0.01, "centre": [], "scale": []})
