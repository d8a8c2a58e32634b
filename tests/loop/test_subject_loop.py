"""The subject as source and sink of one loop: deterministic, delayed as said, and nothing gets lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from loop_parts import Kept
from subject_cases import Fixed, play, policy

from spikeport.loop.clocks import VirtualClock, WallClock
from spikeport.loop.kalman import KalmanDecoder, fit_kalman
from spikeport.loop.loop import Loop
from spikeport.loop.ports import Sink, Source
from spikeport.loop.readout import LinearDecoder, fit_linear
from spikeport.loop.subject.assisted import assisted
from spikeport.loop.subject.centre_out import CentreOut
from spikeport.loop.subject.encoder import Tuning
from spikeport.loop.subject.metrics import Figures
from spikeport.loop.subject.subject import Subject, SubjectInLoop, World
from spikeport.snn.errors import SpikeportError

SMALL = Subject(tuning=Tuning.drawn(32, seed=0, full=15.0), period=0.02, delay=0.1)
STILL = Fixed(SMALL, lambda k: (0.0, 0.0))


@pytest.fixture(scope="module")
def kalman() -> KalmanDecoder:
    data = assisted(replace(SMALL, delay=0.0), 24, seed=9)
    return KalmanDecoder(fit_kalman(data.counts, data.velocity, data.trial, period=0.02))


def test_it_is_a_source_and_a_sink() -> None:
    body = SubjectInLoop(SMALL, seed=0)
    assert isinstance(body, Source)
    assert isinstance(body, Sink)


def test_the_same_seed_gives_a_byte_identical_record(kalman: KalmanDecoder) -> None:
    digests = []
    for seed in (1, 1, 2):
        recorder = Kept()
        play(SMALL, kalman, 4, seed=seed, recorder=recorder)
        digests.append(recorder.digest())
    assert digests[0] == digests[1] != digests[2]


def test_every_tick_uses_the_counts_of_its_own_period() -> None:
    _, summary = play(SMALL, STILL, 2)
    assert summary.causes["fresh"] == summary.ticks == summary.packets["used"]
    assert summary.ended == "source ended"


def test_the_cursor_goes_where_the_outputs_say() -> None:
    body, _ = play(SMALL, Fixed(SMALL, lambda k: (3.0, -1.0)), 1)
    path = body.paths[0]
    assert path == pytest.approx(np.outer(np.arange(1, len(path) + 1) * 0.02, [3.0, -1.0]))


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3])
def test_the_subject_sees_the_screen_as_it_was_a_delay_ago(delay: float) -> None:
    world = World(replace(SMALL, delay=delay), seed=0)
    late, rng, screens, meant = round(delay / 0.02), np.random.default_rng(0), [], []
    for _ in range(200):
        world.advance(rng.normal(0, 10, 2))
        screens.append(world.game.screen())
        meant.append(world.intention)
    for k in range(late, 200):
        assert (meant[k] == SMALL.intends(screens[k - late])).all()
    assert (np.array(meant[:late]) == 0).all()


def test_an_intention_is_full_speed_far_away_and_falls_linearly_near() -> None:
    game = World(SMALL, seed=0).game
    while game.screen().target is None:
        game.advance(np.zeros(2))
    target = game.screen().target
    assert target is not None
    for far, speed in ((8.0, 15.0), (5.0, 15.0), (2.5, 7.5), (0.0, 0.0)):
        game.cursor = target * (1 - far / 8.0)
        assert SMALL.intends(game.screen()) == pytest.approx(speed * target / 8.0, abs=1e-9)


def test_the_cursor_stands_still_after_the_run_whatever_the_safe_value_is() -> None:
    body, decoder = SubjectInLoop(SMALL, seed=0), Fixed(SMALL, lambda k: (1.0, 1.0))
    Loop(body, decoder, body, VirtualClock(), policy(safe=(3.0, 3.0)), period=SMALL.period).run(5)
    assert (body._velocity == 0).all()


def test_a_loop_that_falls_behind_costs_packets_and_not_time() -> None:
    body, clock = SubjectInLoop(SMALL, seed=0, capacity=3), VirtualClock()
    body.open(clock)
    clock.wait_until(200_000_000)  # ten periods
    packets = body.poll()
    assert [p.seq for p in packets] == [7, 8, 9]
    assert [p.source_ns for p in packets] == [160_000_000, 180_000_000, 200_000_000]
    assert (body.overflowed(), body.overflowed()) == (7, 0)


def test_on_the_walls_clock_no_period_is_without_its_packet(kalman: KalmanDecoder) -> None:
    body = SubjectInLoop(SMALL, seed=0)
    summary = Loop(body, kalman, body, WallClock(), policy(), period=SMALL.period).run(25)
    assert summary.imbalances() == []
    assert (summary.ticks, summary.causes["fresh"]) == (25, 25)
    assert body._world.tick == summary.packets["received"] + summary.source_overflow


def test_more_delay_makes_control_worse(kalman: KalmanDecoder) -> None:
    times = []
    for delay in (0.0, 0.4):
        body, _ = play(replace(SMALL, delay=delay, task=CentreOut(pause=0.5)), kalman, 16, seed=3)
        times.append(Figures.of(body.trials, SMALL.task).time.value)
    assert times[0] < times[1]


def test_a_kalman_filter_and_a_linear_read_out_both_control_the_cursor(kalman: KalmanDecoder) -> None:
    data = assisted(replace(SMALL, delay=0.0), 24, seed=9)
    linear = LinearDecoder(fit_linear(data.counts, data.velocity, data.trial, period=0.02, tau=0.1, ridge=1.0))
    for decoder in (kalman, linear):
        body, _ = play(SMALL, decoder, 16, seed=1)
        figures = Figures.of(body.trials, SMALL.task)
        assert figures.success.low > 0.75
        assert figures.efficiency.value > 0.8
    body, _ = play(SMALL, STILL, 2, seed=1)
    assert Figures.of(body.trials, SMALL.task).successes == 0


def test_assisted_trials_without_delay_or_sway_are_what_the_subject_wants() -> None:
    subject = replace(SMALL, delay=0.0)
    data = assisted(subject, 8, seed=1, sway=0.0)
    world, before = World(subject, seed=1), np.zeros(2)
    for counts, label in zip(data.counts, data.velocity, strict=True):
        found = world.advance(before)
        assert (found == counts).all()
        assert (world.intention == label).all()
        before = label


def test_sway_makes_the_subject_correct() -> None:
    calm, shaken = (assisted(replace(SMALL, delay=0.0), 16, seed=1, sway=sway) for sway in (0.0, 6.0))
    assert len(calm.counts) != len(shaken.counts)
    directions = [
        np.unique(np.round(np.arctan2(*d.velocity[np.hypot(*d.velocity.T) > 1].T), 3)) for d in (calm, shaken)
    ]
    assert len(directions[0]) <= 9 < 100 < len(directions[1])  # straight ways: eight directions, one of them -pi and pi


def test_parts_of_assisted_trials_are_the_trials_asked_for() -> None:
    data = assisted(replace(SMALL, delay=0.0), 6, seed=1)
    first, rest = data.part(0, 4), data.part(4, 6)
    assert (first.n_trials, rest.n_trials) == (4, 2)
    assert len(first.counts) + len(rest.counts) == len(data.counts)
    with pytest.raises(SpikeportError, match="assisted trials: 6 to 7, there are 6"):
        data.part(6, 8)


def test_settings_that_cannot_be_simulated_are_refused_with_every_reason() -> None:
    with pytest.raises(SpikeportError, match=r"(?s)speed: 0.*delay: -1"):
        Subject(speed=0, delay=-1)
    with pytest.raises(SpikeportError, match=r"speed: 16 cm/s, the units are tuned up to 15.0 cm/s"):
        Subject(speed=16)
    with pytest.raises(SpikeportError, match=r"delay: 0.105 s, must be whole periods of 0.01 s"):
        Subject(delay=0.105)
    with pytest.raises(SpikeportError, match=r"delay: 0.6 s, above the pause"):
        Subject(delay=0.6)
