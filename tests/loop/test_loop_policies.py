"""Policies: what the network gets where data are lost, and that its state goes on by time and not by packets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lively_network import lively
from loop_parts import MS, PERIOD, Kept, Played, policy
from small_models import follower

from spikeport.loop.clocks import VirtualClock
from spikeport.loop.decoders.rate import RateDecoder
from spikeport.loop.decoders.spiking import SpikingDecoder
from spikeport.loop.faults import Dead, Drop, Duplicate, Fault, FaultySource, Late
from spikeport.loop.loop import Loop
from spikeport.loop.policies import Policy
from spikeport.loop.sinks.memory import MemorySink
from spikeport.loop.sources.recording import ArraySource
from spikeport.snn.errors import SpikeportError

N = 60
GAPS = [Drop((5, 6, 7, 30)), Late((40,), 2 * PERIOD), Duplicate((50,))]
MISSING = [5, 6, 7, 30, 40]


def given_by(lost: str) -> list[float | None]:
    """What the decoder gets of the samples 1 .. N, by hand."""
    found: list[float | None] = []
    last = 0.0
    for n in range(N):
        if n not in MISSING:
            last = float(n + 1)
            found.append(last)
        else:
            found.append({"hold": last, "zero": 0.0, "skip": None}[lost])
    return found


@pytest.mark.parametrize("lost", ["hold", "zero", "skip"])
def test_a_lost_packet_is_what_was_chosen(lost: str) -> None:
    played = Played(N, GAPS, lost=lost)
    assert played.decoder.given == given_by(lost)
    np.testing.assert_allclose(played.decoder.times, (np.arange(N) + 1) * MS, rtol=1e-15)


def test_skip_emits_nothing_and_the_record_says_that_nothing_was_given() -> None:
    played = Played(N, GAPS, lost="skip")
    assert [o.tick for o in played.sink.outputs if o.cause != "stopped"] == [n for n in range(N) if n not in MISSING]
    ticks = played.recorder.ticks
    for tick in ticks:
        assert (tick.emitted_ns == 0) == np.isnan(tick.inputs[0]) == (tick.tick in MISSING)
    np.testing.assert_array_equal(ticks[6].outputs, ticks[4].outputs)


def test_abort_ends_at_the_first_lost_packet() -> None:
    played = Played(N, GAPS, lost="abort")
    assert played.summary.ended == "lost data: tick 5, packet 5 is not there"
    assert played.seqs == [0, 1, 2, 3, 4]


def test_abort_waits_for_a_stream_that_has_not_begun() -> None:
    played = Played(N, [Dead(0, 10)], lost="abort")
    assert played.causes[:11] == ["stream lost"] * 10 + ["fresh"]
    assert played.summary.ended == "source ended"


@pytest.mark.parametrize("good", [1, 3])
def test_a_lost_stream_gives_the_safe_value_until_enough_good_packets_came_in_a_row(good: int) -> None:
    """Dead in ticks 10 .. 29; lost after 4. The packets of 30, 31, 33, 34 come, 32 is lost: with good = 3, the row
    begins anew at 33."""
    played = Played(N, [Dead(10, 30), Drop((32,))], lost_after=4, good=good)
    lost = list(range(13, 30)) if good == 1 else list(range(13, 35))
    first = [] if good == 1 else [0, 1]  # at the start there is no stream either
    assert [o.tick for o in played.recorder.ticks if o.cause == "stream lost"] == first + lost
    assert all(o.safe == (o.cause == "stream lost") for o in played.recorder.ticks)
    safe = [o.tick for o in played.sink.outputs if o.safe and o.cause != "stopped"]
    assert safe == first + lost
    assert all((o.values == -1).all() for o in played.sink.outputs if o.safe)
    assert [e["tick"] for e in played.events("stream lost")] == [13]
    assert [e["tick"] for e in played.events("stream there")] == ([0, 30] if good == 1 else [2, 35])
    assert played.summary.lost_streams == 1
    assert played.decoder.given[30:32] == [31.0, 32.0]  # it is decoded while its output is not yet trusted


class Runs:
    """The same network on a stream with gaps and, without a loop, on what it should have been given."""

    def __init__(self, faults: list[Fault], lost: str, *, costs: Any = None, overload: str = "latest") -> None:
        self.network, rng = lively(), np.random.default_rng(0)
        self.samples = np.hstack([rng.normal(size=(N, 2)), rng.poisson(0.5, (N, 3))])
        self.decoder, self.recorder, self.sink = self.make(), Kept(), MemorySink()
        source = FaultySource(ArraySource(self.samples, period=2 * MS, phase=5e-4, latency=2e-4), faults)
        choice = Policy(lost=lost, overload=overload, lost_after=6, good=2, safe=(0.0,) * 45)
        clock = VirtualClock(costs=costs)
        self.summary = Loop(source, self.decoder, self.sink, clock, choice, self.recorder, period=2 * MS).run(N)

    def make(self) -> SpikingDecoder:
        return SpikingDecoder(self.network, period=2 * MS, seed=7, outputs="spikes")

    @property
    def steps(self) -> int:
        return int(self.decoder.snapshot()[0].state.k)


@pytest.mark.parametrize("lost", ["hold", "zero", "skip"])
def test_a_run_with_gaps_makes_as_many_steps_as_one_without(lost: str) -> None:
    clean = Runs([], lost)
    assert clean.steps == 2 * N
    assert Runs([Drop((5, 6, 7, 8)), Dead(20, 45)], lost).steps == clean.steps


@pytest.mark.parametrize("lost", ["hold", "zero", "skip"])
def test_a_run_with_gaps_equals_one_on_the_input_that_the_policy_makes(lost: str) -> None:
    faults: list[Fault] = [Drop((5, 6, 7, 8)), Dead(20, 45)]
    runs = Runs(faults, lost)
    by_hand = runs.make()
    gone = {5, 6, 7, 8, *range(20, 45)}
    held: Any = np.zeros(5)
    differing = spikes = 0
    for recorded in runs.recorder.ticks:
        n = recorded.tick
        if n not in gone:
            held = runs.samples[n]
        events = held if n not in gone or lost == "hold" else {"zero": np.zeros(5), "skip": None}[lost]
        found = by_hand.step(events, (n + 1) * 2 * MS)
        assert np.isnan(recorded.inputs).all() if events is None else (recorded.inputs == events).all()
        if recorded.cause in ("fresh", "held", "zero"):
            differing += int((found != recorded.outputs).sum())
            spikes += int(found.sum())
    assert (differing, spikes > 50) == (0, True)


def test_merged_ticks_take_the_state_over_all_their_time() -> None:
    """The 11th tick takes 5.5 periods: the next one covers four periods more, with the newest sample."""
    clean, slow = Runs([], "hold"), Runs([], "hold", costs={"decode": [0] * 10 + [11 * PERIOD]})
    assert slow.summary.merged == 4
    assert slow.steps == clean.steps
    by_hand = slow.make()
    ticks = [n for n in range(N) if not 11 <= n <= 14]
    for n, recorded in zip(ticks, slow.recorder.ticks, strict=True):
        assert recorded.tick == n
        found = by_hand.step(slow.samples[n], (n + 1) * 2 * MS)
        if recorded.cause == "fresh":
            np.testing.assert_array_equal(found, recorded.outputs)


def test_a_rate_network_goes_on_by_time_too() -> None:
    network = follower(n=8)
    decoder, recorder = RateDecoder(network, seed=1), Kept()
    samples = np.random.default_rng(0).normal(size=(N, 1))
    source = FaultySource(ArraySource(samples, period=5e-3), [Drop((5, 6))])
    Loop(source, decoder, MemorySink(), VirtualClock(), policy(safe=(0.0,)), recorder, period=5e-3).run()
    by_hand = RateDecoder(network, seed=1)
    held = samples.copy()
    held[5:7] = samples[4]
    for n, recorded in enumerate(recorder.ticks):
        np.testing.assert_array_equal(by_hand.step(held[n], (n + 1) * 5e-3), recorded.outputs)


def test_a_policy_must_be_chosen_and_all_that_is_missing_is_said() -> None:
    with pytest.raises(SpikeportError, match=r"(?s)lost: missing.*overload: missing.*good: missing.*patience: unknown"):
        Policy.of({"lost_after": 3, "safe": 0.0, "patience": 1})
    assert Policy.of({"lost": "hold", "overload": "all", "lost_after": 3, "good": 1, "safe": 0.5}).safe == (0.5,)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"lost": "keep"}, "lost: 'keep', must be one of hold, zero, skip, abort"),
        ({"overload": "drop"}, "overload: 'drop', must be one of latest, all, stop"),
        ({"lost_after": 0}, "lost_after: 0, must be a whole number, 1 or more"),
        ({"good": 1.5}, "good: 1.5, must be a whole number"),
        ({"good": True}, "good: True, must be a whole number"),
        ({"safe": (float("nan"),)}, "safe: .*finite number per output"),
        ({"safe": ()}, "safe: .*finite number per output"),
        ({"safe": ("0", None)}, "safe: .*finite number per output"),
        ({"budget": 0.0}, "budget: 0.0 s, must be positive"),
        ({"budget": float("inf"), "window": -1}, "window: -1"),
        ({"window": 3, "backlog": 2, "capacity": 5}, r"capacity: 5 packets, must be above window \+ backlog = 5"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(SpikeportError, match=message):
        policy(**choice)
