"""A decoder in the shadow of another: compared tick by tick, never heard, and not able to stop it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lively_network import lively
from loop_parts import MS, Adder, Kept, policy
from small_models import follower

from spikeport.convert.transfer import transfer
from spikeport.loop.clocks import VirtualClock
from spikeport.loop.decoders.rate import RateDecoder
from spikeport.loop.decoders.shadow import Comparison, Shadow
from spikeport.loop.decoders.spiking import SpikingDecoder
from spikeport.loop.loop import Loop
from spikeport.loop.sinks.memory import CallSink, MemorySink
from spikeport.loop.sources.recording import ArraySource
from spikeport.resources import model_path
from spikeport.snn.errors import SpikeportError
from spikeport.snn.files import load_rate_network
from spikeport.snn.rate import RateNetwork, simulate_rate
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import get_task


@given(st.integers(0, 2**32 - 1), st.integers(2, 200))
@settings(max_examples=30, deadline=None)
def test_the_running_comparison_is_that_of_the_whole_series(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.normal(3.0, 2.0, (n, 2))
    b = 0.3 * a + rng.normal(size=(n, 2))
    comparison = Comparison(2)
    for k in range(n):
        comparison.add(a[k], b[k], 0.1 * k)
    np.testing.assert_allclose(comparison.rms, np.sqrt(((a - b) ** 2).mean(axis=0)), rtol=1e-12)
    np.testing.assert_array_equal(comparison.largest, np.abs(a - b).max(axis=0))
    np.testing.assert_allclose(comparison.largest_at, 0.1 * np.abs(a - b).argmax(axis=0), rtol=1e-12)
    expected = [np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(2)]
    np.testing.assert_allclose(comparison.correlation, expected, rtol=1e-6, atol=1e-9)


def test_a_series_that_does_not_vary_has_no_correlation() -> None:
    comparison = Comparison(1)
    for k in range(5):
        comparison.add(np.array([1.0]), np.array([float(k)]), 0.0)
    assert comparison.as_dict()["correlation"] == [None]


def shadowed(network: SpikingNetwork, source: RateNetwork) -> Shadow:
    return Shadow(SpikingDecoder(network, period=5 * MS, seed=2), RateDecoder(source, seed=2, with_noise=False))


def test_a_shadow_sees_the_same_samples_and_changes_nothing() -> None:
    source = load_rate_network(model_path("go-nogo"))
    network = transfer(source, 40.0)
    trial = get_task("go-nogo").trials(1, seed=4).inputs[:, 0]
    outputs = []
    for decoder in (shadowed(network, source), SpikingDecoder(network, period=5 * MS, seed=2)):
        sink = MemorySink()
        summary = Loop(
            ArraySource(trial, period=5 * MS), decoder, sink, VirtualClock(), policy(safe=(0.0,)), period=5 * MS
        ).run()
        outputs.append(np.stack([o.values for o in sink.outputs if o.cause == "fresh"]))
        if isinstance(decoder, Shadow):
            found = summary.decoder["shadow"]
    np.testing.assert_array_equal(*outputs)
    expected = simulate_rate(source, trial[:, None], with_noise=False).outputs[:, 0]
    np.testing.assert_allclose(found["rms"], np.sqrt(((outputs[0] - expected) ** 2).mean(axis=0)), rtol=1e-9)
    np.testing.assert_allclose(found["correlation"], np.corrcoef(outputs[0][:, 0], expected[:, 0])[0, 1], rtol=1e-9)
    assert found["n"] == 200


def test_a_shadow_runs_after_the_output_is_out() -> None:
    order: list[str] = []

    class Noted(Adder):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def step(self, events: Any, t: float) -> Any:
            order.append(self.name)
            return super().step(events, t)

    decoder = Shadow(Noted("decoder"), Noted("shadow"))
    Loop(
        ArraySource(np.ones((3, 1)), period=MS), decoder, CallSink(lambda o: order.append("out")), VirtualClock(),
        policy(), period=MS,
    ).run()  # fmt: skip
    assert order == ["decoder", "out", "shadow"] * 3 + ["out"]


def test_a_shadow_that_fails_is_switched_off_and_said_and_the_decoder_goes_on() -> None:
    class Breaks(Adder):
        def step(self, events: Any, t: float) -> Any:
            if len(self.given) == 4:
                raise ValueError("out of range")
            return super().step(events, t)

    decoder, recorder = Shadow(Adder(), Breaks()), Kept()
    summary = Loop(
        ArraySource(np.ones((10, 1)), period=MS), decoder, MemorySink(), VirtualClock(), policy(), recorder, period=MS
    ).run()
    assert recorder.of("shadow failed") == [{"reason": "after 4 comparisons: ValueError: out of range"}]
    assert summary.causes["fresh"] == 10
    assert summary.decoder["shadow"]["n"] == 4
    assert summary.decoder["shadow_failure"] == "after 4 comparisons: ValueError: out of range"


def test_a_shadow_of_another_size_is_refused() -> None:
    with pytest.raises(SpikeportError, match="n_inputs: 5 of the decoder, 1 of its shadow"):
        Shadow(SpikingDecoder(lively(), period=MS), RateDecoder(follower(n=6)))
