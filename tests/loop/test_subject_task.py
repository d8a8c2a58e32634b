"""The centre-out task, judged by cursors whose way is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.loop.subject.centre_out import CentreOut, Game
from spikeport.snn.errors import SpikeportError

T = 0.01
TASK = CentreOut(distance=8.0, radius=2.0, hold=0.3, timeout=2.0, pause=0.1)


def straight(game: Game, speed: float, *, stop_at: float = 8.0) -> np.ndarray:
    """The velocity of a cursor that goes straight at the target and stops there."""
    target = game.screen().target
    if target is None:
        return np.zeros(2)
    way = float(np.hypot(*game.cursor))
    return speed * target / np.hypot(*target) if way < stop_at else np.zeros(2)


def played(n: int, speed: float, task: CentreOut = TASK, **options: float) -> Game:
    game = Game(task, period=T, seed=0, keep=True)
    while len(game.trials) < n:
        game.advance(straight(game, speed, **options))
    return game


def test_a_straight_way_at_a_speed_takes_the_time_and_the_way_that_it_must() -> None:
    for trial in played(16, 10.0).trials:
        assert trial.success
        assert trial.reached == pytest.approx(0.6, abs=1.5 * T)  # 6 cm to the target's edge, at 10 cm/s
        assert trial.duration == pytest.approx(trial.reached + 0.3)
        assert trial.path == pytest.approx(trial.straight) == pytest.approx(6.0, abs=10 * T)


def test_a_cursor_that_never_comes_runs_out_of_time() -> None:
    trials = played(3, 10.0, stop_at=5.9).trials
    assert [t.success for t in trials] == [False] * 3
    assert [t.duration for t in trials] == pytest.approx([2.0] * 3)
    assert np.isnan([t.reached for t in trials]).all()


def test_a_cursor_that_only_passes_through_does_not_succeed() -> None:
    """4 cm of target at 20 cm/s are 0.2 s, and the hold is 0.3 s."""
    assert not any(t.success for t in played(3, 20.0, stop_at=12.0).trials)
    assert all(t.success for t in played(3, 20.0, stop_at=8.0).trials)


def test_the_entry_that_counts_is_the_one_that_led_to_the_hold() -> None:
    game = Game(TASK, period=T, seed=0)
    while game.screen().target is None:
        game.advance(np.zeros(2))
    target = game.screen().target
    assert target is not None
    toward = target / 8.0
    for steps, speed in ((65, 10.0), (20, -10.0), (20, 10.0), (40, 0.0)):  # in to 6.5 cm, out to 4.5, in again, stay
        for _ in range(steps):
            game.advance(speed * toward)
            if game.trials:
                break
    (trial,) = game.trials
    assert trial.reached == pytest.approx(0.65 + 0.20 + 0.15, abs=2 * T)
    assert trial.path == pytest.approx(6.5 + 2.0 + 1.5, abs=0.25)
    assert trial.straight == pytest.approx(6.0, abs=0.15)


@given(seed=st.integers(0, 2**40), n=st.integers(2, 12))
@settings(max_examples=30)
def test_every_block_of_trials_has_each_target_once(seed: int, n: int) -> None:
    task = CentreOut(n_targets=n)
    order = [task.target_of(k, seed) for k in range(3 * n)]
    assert all(sorted(order[i * n : (i + 1) * n]) == list(range(n)) for i in range(3))


def test_between_trials_there_is_a_pause_with_the_cursor_at_the_centre() -> None:
    game = Game(TASK, period=T, seed=0)
    seen = []
    for _ in range(400):
        seen.append(game.screen())
        game.advance(np.array([7.0, 3.0]))
    shown = [s.target is not None for s in seen]
    starts = [k for k in range(1, 400) if shown[k] and not shown[k - 1]]
    assert starts[0] == 10
    assert all(shown[k - 10 : k] == [False] * 10 for k in starts)
    assert all((s.cursor == 0).all() for s in seen if s.target is None)


def test_the_screen_has_an_edge() -> None:
    game = Game(CentreOut(timeout=3.0), period=T, seed=0, keep=True)
    while not game.trials:
        game.advance(np.array([100.0, -90.0]))
    assert np.abs(game.paths[0]).max() == game.task.edge


def test_a_task_that_cannot_be_done_is_refused_with_every_reason() -> None:
    with pytest.raises(SpikeportError, match=r"(?s)n_targets: 1.*hold: nan"):
        CentreOut(n_targets=1, hold=float("nan"))
    with pytest.raises(SpikeportError, match="begin inside a target"):
        CentreOut(radius=20.0, distance=18.0)
    with pytest.raises(SpikeportError, match=r"(?s)off the screen.*nobody can hold"):
        CentreOut(distance=18.0, hold=6.0)
