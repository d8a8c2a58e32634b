"""The ladder and its sentence: which step is blamed, and that no step is blamed for chance."""

from __future__ import annotations

import numpy as np

from spikeport.convert.attribution.ladder import Measured, climb
from spikeport.convert.attribution.words import SPIKING, sentence


def measured(right: list[bool], rms: float = 0.1) -> Measured:
    return Measured(right=np.array(right), output_rms=rms, mean_rate_hz=5.0)


def test_the_costliest_step_is_the_one_that_loses_most_trials_for_sure() -> None:
    rungs = [
        ("rate model", "", measured([True] * 40, 0.0)),
        (SPIKING, "", measured([True] * 39 + [False])),
        ("dt", "0.05 -> 2 ms", measured([True] * 20 + [False] * 20, 0.3)),
        ("refractory", "t_ref 2 -> 3 ms", measured([True] * 19 + [False] * 21, 0.3)),
    ]
    restored = [
        ("dt", "", measured([True] * 38 + [False] * 2)),
        ("refractory", "", measured([True] * 20 + [False] * 20)),
    ]
    said = sentence(climb(rungs, restored))
    assert said.startswith("dt (0.05 -> 2 ms) costs most: accuracy 0.975 -> 0.500 (-0.475 [")
    assert "Undone alone, the last level has 0.950" in said


def test_losses_that_interact_are_said() -> None:
    rungs = [
        ("rate model", "", measured([True] * 40, 0.0)), (SPIKING, "", measured([True] * 40)),
        ("dt", "", measured([False] * 40)), ("noise", "", measured([False] * 40)),
    ]  # fmt: skip
    restored = [("dt", "", measured([False] * 40)), ("noise", "", measured([True] * 40))]
    assert "Losses interact: undoing noise instead gives 1.000" in sentence(climb(rungs, restored))


def test_no_step_is_blamed_for_chance() -> None:
    rungs = [
        ("rate model", "", measured([True] * 40, 0.0)), (SPIKING, "", measured([True] * 39 + [False])),
        ("dt", "", measured([True] * 38 + [False] * 2, 0.105)),
    ]  # fmt: skip
    assert sentence(climb(rungs, [])) == "No step costs anything that 40 trials can show."


def test_where_no_accuracy_is_lost_the_output_decides() -> None:
    rungs = [
        ("rate model", "", measured([True] * 9, 0.0)), (SPIKING, "", measured([True] * 9)),
        ("dt", "", measured([True] * 9, 0.11)), ("noise", "x -> y", measured([True] * 9, 0.2)),
    ]  # fmt: skip
    assert "noise (x -> y) costs most of the output" in sentence(climb(rungs, []))


def test_what_a_later_step_gives_back_is_not_blamed_on_the_one_that_took_it() -> None:
    rungs = [
        ("rate model", "", measured([True] * 40, 0.0)), (SPIKING, "", measured([True] * 40)),
        ("dt", "0.05 -> 2 ms", measured([False] * 40)), ("chip: noise", "", measured([True] * 40)),
    ]  # fmt: skip
    said = sentence(climb(rungs, []))
    assert said.startswith(
        "From the top to the last level no accuracy is lost that 40 trials can show. On the way dt ("
    )
    assert "and chip: noise gives it back (0.000 -> 1.000" in said
