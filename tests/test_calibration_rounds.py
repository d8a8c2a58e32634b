"""The rounds of a calibration: which is best, what the next one starts from, and why budget is left."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.convert.calibration.rounds import (
    AIM,
    ALONE,
    HOPE,
    LOOK,
    MORE,
    Round,
    Step,
    asks,
    best_of,
    hopeless,
    is_better,
    left_because,
    next_step,
    over,
    promising,
    satisfied,
)

TOO_MANY = "every round with more spikes spent more than 98% of the budget, which other trials may exceed"


def rounds_of(*said: tuple[float, float, float], right: Sequence[int] = ()) -> list[Round]:
    """(score, expected spikes/s, asked); right: of 10 trials each, all of them by default."""
    return [Round(score=s, own_score=s, own_error=0, mean_error=0, mean_rate_hz=hz, expected_rate_hz=hz, asked_hz=asked,
                  tau_out=0.02, right=k, judged=10, goal=10)
            for (s, hz, asked), k in zip(said, right or [10] * len(said), strict=True)]  # fmt: skip


@pytest.mark.parametrize(
    ("history", "best"),
    [
        (rounds_of((0.3, 9, 9), (0.2, 7, 9)), 1),
        (rounds_of((0.2, 7, 9), (0.205, 9, 9)), 1),  # within chance: the one that spends the budget
        (rounds_of((0.1, 10.5, 9), (0.4, 5, 9)), 1),  # too many spikes are worse than any score
        (rounds_of((0.1, 12, 9), (0.4, 11, 9)), 1),  # all over: the fewest
        (rounds_of((0.1, 9, 9), (0.4, 9, 9), right=(5, 10)), 1),  # clearly fewer right: worse than any score
        (rounds_of((0.1, 9, 9), (0.4, 9, 9), right=(6, 10)), 0),  # by chance
        (rounds_of((0.1, 9, 9), (0.4, 11, 9), right=(5, 10)), 0),  # right, but over the budget
        (rounds_of((0.2, 7, 9), (0.2, 9, 9), right=(10, 5)), 0),  # spends the budget, and is wrong
    ],
)
def test_the_best_round_is_within_the_budget(history: list[Round], best: int) -> None:
    assert best_of(history, 10.0) == best


def test_a_round_with_clearly_more_right_is_better_than_those_before_whatever_its_score() -> None:
    before = rounds_of((0.1, 9, 9), (0.2, 9, 9), right=(5, 5))
    (more,) = rounds_of((0.5, 9, 9))
    (fewer,) = rounds_of((0.05, 9, 9), right=(5,))
    assert is_better(more, before, 10.0)
    assert is_better(fewer, before, 10.0)  # as few right, and a smaller error
    assert not is_better(fewer, [*before, more], 10.0)


@pytest.mark.parametrize(("factor", "right", "stops"), [(0.99, 10, False), (1.01, 10, True), (1.01, 15, False)])
def test_a_candidate_ends_early_where_it_is_far_behind_what_the_best_one_was_then(
    factor: float, right: int, stops: bool
) -> None:
    leader = rounds_of((0.3, 9, 9), (0.2, 9, 9), (0.1, 9, 9))  # the third is of no matter until the candidate has one
    history = rounds_of((0.4, 9, 9), (0.2 * HOPE * factor, 9, 9), right=(10, right))
    assert LOOK == 2
    assert hopeless(history, leader) == stops
    assert not hopeless(history[:1], leader)
    third = rounds_of((0.1 * HOPE * factor, 9, 9), right=(right,))
    assert hopeless([*history, *third], leader) == stops


@settings(deadline=None)
@given(few=st.floats(1.0, 8.0), many=st.floats(10.0, 30.0))
def test_between_too_few_spikes_and_too_many_the_next_match_is_asked_for_what_is_between(
    few: float, many: float
) -> None:
    first = [(0.5, 1.0, 9.3)] * ALONE
    history = rounds_of(*first, (0.3, few, 9.3), (0.2, many, 15.0))
    assert asks(history, ALONE, 10.0) == pytest.approx(np.sqrt(9.3 * 15.0))
    spent = rounds_of(*first, (0.3, 9.0, 12.0))
    assert asks(spent, ALONE, 10.0) == 12.0


def follow(answers: Callable[[int, Step], tuple[float, float, int]], rounds: int, budget: float) -> list[Round]:
    """The rounds of a search in which (round, where it comes from) gives score, expected spikes/s, right."""
    steps, history = [Step(-1, AIM * budget, 0.0)], []
    for number in range(MORE * rounds + 1):
        score, hz, right = answers(number, steps[-1])
        history += rounds_of((score, hz, steps[-1].asked_hz), right=(right,))
        if number == MORE * rounds or (number >= rounds and satisfied(history, budget)):
            break
        step = next_step(history, steps, budget, full=False)
        if step is None:
            break
        steps.append(step)
    return history


@settings(deadline=None)
@given(budget=st.floats(0.1, 100.0), power=st.floats(0.4, 3.0), excess=st.floats(1.0, 3.0), when=st.integers(0, 3))
def test_what_is_good_above_the_budget_is_found_within_it(
    budget: float, power: float, excess: float, when: int
) -> None:
    """Silent but for one round that spends too much, and what is made of it: rates grow as a power of what is asked."""
    good: dict[int, tuple[float, float]] = {}  # expected spikes/s, asked

    def answers(number: int, step: Step) -> tuple[float, float, int]:
        if number == when:
            good[number] = excess * budget, step.asked_hz
        elif step.origin in good:
            hz, asked = good[step.origin]
            good[number] = hz * (step.asked_hz / asked) ** power, step.asked_hz
        return (0.2, good[number][0], 10) if number in good else (1.0, 0.0, 0)

    history = follow(answers, 8, budget)
    best = history[best_of(history, budget)]
    assert best.score == 0.2
    assert not over(best, budget)


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), budget=st.floats(0.1, 100.0))
def test_a_search_ends_early_only_where_the_best_round_is_right_or_there_is_nothing_left_to_try(
    seed: int, budget: float
) -> None:
    rng = np.random.default_rng(seed)

    def answers(number: int, step: Step) -> tuple[float, float, int]:
        return float(rng.uniform(0.1, 1.0)), float(rng.choice([0.0, 0.5, 0.9, 1.2, 3.0]) * budget), rng.integers(11)

    history = follow(answers, 8, budget)
    best = history[best_of(history, budget)]
    assert len(history) <= MORE * 8 + 1
    assert best.right >= best.goal or len(history) == MORE * 8 + 1
    if len(history) < 9:
        assert not over(best, budget) or all(over(r, budget) for r in history)


def test_a_round_above_the_budget_is_promising_only_by_more_than_its_spikes_explain() -> None:
    within = (0.4, 9.0, 9.3)
    assert promising(rounds_of(within, (0.3, 20.0, 9.3)), 10.0) == []  # sqrt(20 / 9.3) 0.3 = 0.44
    assert promising(rounds_of(within, (0.2, 20.0, 9.3)), 10.0) == [1]  # 0.29
    assert promising(rounds_of(within, (0.2, 20.0, 9.3), right=(10, 5)), 10.0) == []
    assert promising(rounds_of(within, (0.5, 20.0, 9.3), right=(5, 10)), 10.0) == [1]
    assert promising(rounds_of((0.5, 11.0, 9.3), (0.2, 12.0, 9.3)), 10.0) == [1, 0]  # none within


@pytest.mark.parametrize(
    ("history", "said"),
    [
        (rounds_of((1.0, 0, 9)), "no unit fires in any round: .*"),
        (rounds_of((0.3, 5, 9), (0.4, 4, 9)), "no more was spent in any round: .*"),
        (rounds_of((0.3, 5, 9), (0.4, 9, 9)), r"with more spikes \(9 spikes/s\) .* was no smaller: 0.400, here 0.300"),
        (rounds_of((0.3, 5, 9), (0.2, 9, 9), right=(10, 2)),
         r"with more spikes \(9 spikes/s\) .* smaller \(0.200, here 0.300\), but 2 of 10 .* were right, here 10"),
        (rounds_of((0.3, 5, 9), (0.2, 12, 9)), f"{TOO_MANY}; "
         "there the output error on trials was 0.200, at 12 spikes/s, here 0.300"),
        (rounds_of((0.3, 5, 9), (0.4, 12, 9)), TOO_MANY),
    ],
)  # fmt: skip
def test_why_budget_is_left_is_what_the_rounds_did(history: list[Round], said: str) -> None:
    best = best_of(history, 10.0)
    assert best == 0
    assert re.fullmatch(said, left_because(history, best, 10.0, "trials"))


@settings(deadline=None)
@given(data=st.lists(st.tuples(st.floats(0.1, 1.0), st.floats(0.0, 20.0), st.integers(0, 10)), min_size=1, max_size=9))
def test_no_reason_for_what_is_left_says_no_smaller_of_a_smaller_error(data: list[tuple[float, float, int]]) -> None:
    history = rounds_of(*((s, hz, 9.3) for s, hz, _ in data), right=[k for _, _, k in data])
    best = best_of(history, 10.0)
    said = re.search(r"no smaller: ([\d.]+), here ([\d.]+)", left_because(history, best, 10.0, "trials"))
    if said is not None:
        assert float(said[1]) >= float(said[2]) == round(history[best].score, 3)


def test_the_first_corrections_come_alone() -> None:
    first = [(0.5, 1.0, 9.3)] * (ALONE + 1)
    for n in range(1, ALONE + 1):
        assert asks(rounds_of(*first[:n]), 0, 10.0) == 9.3
    assert asks(rounds_of(*first), 0, 10.0) > 9.3


@settings(deadline=None)
@given(budget=st.floats(0.1, 100.0), wakes=st.floats(1.0, 200.0))
def test_a_silent_network_is_asked_for_more_until_it_fires(budget: float, wakes: float) -> None:
    """It fires at so many times the budget, if they are asked for."""
    fires = 0.5, wakes * budget, 9
    history = follow(lambda _, step: (1.0, 0.0, 0) if step.asked_hz < fires[1] else fires, 8, budget)
    assert max(r.expected_rate_hz for r in history) > 0
