"""A spike asks for a stimulus a delay later; the stimulus asks for nothing where it is blanked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from guard_cases import WIDE
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.loop.clocks import VirtualClock
from spikeport.loop.guard.commands import Pulse
from spikeport.loop.guard.limits import Limits
from spikeport.loop.guard.station import Station
from spikeport.loop.guard.watchdog import WatchLimits
from spikeport.loop.loop import Loop
from spikeport.loop.neurochip import StationSink, Tissue, Trigger, triggered
from spikeport.loop.policies import Policy
from spikeport.loop.ports import Decoder, Sink, Source
from spikeport.snn.errors import SpikeportError

T, DELAY, RATE = 1e-3, 0.02, 50
PULSE = Pulse.symmetric("a", polarity="cathodic first", amplitude_uA=10, width_us=200, interphase_us=50)
WATCH = {"heartbeat_timeout_us": 5000, "clock_jump_us": 1000, "lateness_us": 1000, "missed_deadlines": 3}


class Chip:
    """Two units and the whole loop, on a virtual clock. The second unit triggers."""

    def __init__(self, blanking: float, *, n: int = 4000, artefact: float = 0.0, seed: int = 1, **limits: Any) -> None:
        self.clock = VirtualClock()
        self.tissue = Tissue([30, 8], seed=seed, artefact=artefact, n_periods=n, keep=100_000)
        self.record: list[str] = []
        self.station = Station(
            Limits(**(WIDE | {"rate_hz": RATE} | limits)), WatchLimits(**WATCH), now_ns=self.clock.now_ns,
            record=lambda kind, at_ns, **details: self.record.append(kind), device=self.tissue,
        )  # fmt: skip
        self.station.person("arm", by="A. Tester")
        self.sink = StationSink(self.station, lambda output: [PULSE] if output.values[0] else [])
        self.trigger = Trigger(2, unit=1, delay=DELAY, blanking=blanking)
        policy = Policy(lost="skip", overload="all", lost_after=100, good=1, safe=(0.0,))
        self.summary = Loop(self.tissue, self.trigger, self.sink, self.clock, policy, period=T).run()
        self.spikes = np.flatnonzero(self.tissue.spikes[:, 1]) + 1  # a spike of period k is there at its end, tick k
        self.stimuli = np.array([at // 1_000_000 for at, _ in self.tissue.pulses])


def expected(spikes: np.ndarray, blanking: int, last: int) -> list[int]:
    """Brute force: when stimuli must come (ticks, from 1), artefacts being seen in the tick after a stimulus."""
    due: set[int] = set()
    given: list[int] = []
    for k in range(1, last + 1):
        seen = k in spikes or k - 1 in given
        if seen and not any(g < k <= g + blanking for g in given):
            due.add(k + 20)
        if k in due:
            given.append(k)
    return given


@pytest.mark.parametrize("blanking", [1, 5, 40])
def test_stimuli_come_a_delay_after_each_spike_that_is_not_blanked(blanking: int) -> None:
    chip = Chip(blanking * T, rate_hz=10_000)
    assert chip.stimuli.tolist() == expected(chip.spikes, blanking, 4000)
    assert len(chip.stimuli) > 20


def test_with_blanking_a_stimulus_never_triggers_itself() -> None:
    chip = Chip(2e-3)
    assert set(chip.stimuli.tolist()) <= set((chip.spikes + 20).tolist())
    assert chip.sink.refusals == {}


def test_an_artefact_later_than_the_blanking_does() -> None:
    assert set(Chip(2e-3, artefact=5e-3, rate_hz=10_000, n=1000).stimuli) > set(
        Chip(6e-3, artefact=5e-3, n=1000).stimuli
    )


def test_without_blanking_chains_grow_until_the_guards_rate_refuses() -> None:
    chip = Chip(0.0)
    assert chip.sink.refusals.keys() == {"rate_hz"}
    assert chip.sink.refusals["rate_hz"] > 10
    for t in chip.stimuli:
        assert ((chip.stimuli >= t) & (chip.stimuli < t + 1000)).sum() <= RATE
    assert len(chip.stimuli) + chip.sink.refusals["rate_hz"] == len(chip.sink.answers)
    assert chip.station.guard.state.value == "disarmed"
    free = Chip(0.0, rate_hz=10_000)
    assert len(free.stimuli) > 5 * len(chip.stimuli)


def test_the_other_unit_triggers_nothing() -> None:
    chip = Chip(2e-3)
    other = set((np.flatnonzero(chip.tissue.spikes[:, 0]) + 21).tolist())
    assert len(other & set(chip.stimuli.tolist())) < len(chip.stimuli) / 4


def test_the_histogram_peaks_at_the_delay_and_nowhere_else() -> None:
    chip = Chip(2e-3)
    edges, rate = triggered(chip.spikes * T, chip.stimuli * T, before=0.05, after=0.1, width=T)
    assert edges[np.argmax(rate)] == pytest.approx(DELAY)
    assert rate.max() > 8 * np.sort(rate)[-2]
    assert rate.max() * T == pytest.approx(1.0, abs=0.15)  # nearly every spike


def test_the_same_seed_gives_the_same_stimuli() -> None:
    assert Chip(2e-3, n=1000).stimuli.tolist() == Chip(2e-3, n=1000).stimuli.tolist()
    assert Chip(2e-3, n=1000, seed=2).stimuli.tolist() != Chip(2e-3, n=1000).stimuli.tolist()


def test_the_parts_have_the_methods_that_a_loop_asks_for() -> None:
    chip = Chip(2e-3, n=10)
    assert isinstance(chip.trigger, Decoder)
    assert isinstance(chip.tissue, Source)
    assert isinstance(chip.sink, Sink)


@given(spikes=st.lists(st.booleans(), min_size=1, max_size=80), delay=st.integers(0, 6), blank=st.integers(0, 6))
@settings(max_examples=60)
def test_a_trigger_alone_is_a_delay_and_a_dead_time(spikes: list[bool], delay: int, blank: int) -> None:
    trigger = Trigger(1, unit=0, delay=delay * T, blanking=blank * T)
    found = [trigger.step(np.array([float(s)]), (k + 1) * T)[0] for k, s in enumerate(spikes)]
    fired: list[int] = []
    for k in range(len(spikes)):
        asked = k - delay
        if asked >= 0 and spikes[asked] and not any(f < asked <= f + blank for f in fired):
            fired.append(k)
    assert np.flatnonzero(found).tolist() == fired


def test_lost_counts_ask_for_nothing_and_what_is_due_still_comes() -> None:
    trigger = Trigger(1, unit=0, delay=2 * T, blanking=0.0)
    found = [trigger.step(e, (k + 1) * T)[0] for k, e in enumerate([np.ones(1), None, None, None])]
    assert found == [0, 0, 1, 0]


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SpikeportError, match="trigger: unit 3 of 2"):
        Trigger(2, unit=3, delay=0.0, blanking=0.0)
    with pytest.raises(SpikeportError, match="not a whole number of the trigger's steps"):
        Trigger(2, unit=0, delay=0.0005, blanking=0.0)
    with pytest.raises(SpikeportError, match="tissue: rates"):
        Tissue([2000], seed=0, artefact=0.0, n_periods=1, keep=1)
