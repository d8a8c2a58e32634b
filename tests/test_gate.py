"""The gate: requirements are parsed, checked on every level, and said when they fail."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeport.convert.validation.gate import NUMBERS, OPERATORS, Requirement, judge, junit, parse_requirements
from spikeport.snn.errors import SpikeportError


def level(accuracy: float = 0.9, correlation: float | None = 0.8) -> dict[str, Any]:
    said = None if correlation is not None else "it never fired"
    return {
        "accuracy": {"accuracy": accuracy, "interval": [accuracy - 0.1, accuracy + 0.05]},
        "free_running": {"unit_correlation": {"median": correlation, "undefined_when": said}, "output_rms": [0.25]},
    }


@given(st.sampled_from(sorted(NUMBERS)), st.sampled_from(sorted(OPERATORS)), st.integers(-1000, 999))
def test_a_requirement_reads_back_from_its_text(name: str, sign: str, thousandths: int) -> None:
    wanted = Requirement(name=name, sign=sign, value=thousandths / 1000)
    assert parse_requirements([str(wanted)]) == (wanted,)


@pytest.mark.parametrize(("sign", "holds"), [(">=", True), (">", False), ("<=", True), ("<", False), ("==", True)])
def test_each_operator_means_what_it_says(sign: str, holds: bool) -> None:
    (verdict,) = judge(parse_requirements([f"accuracy{sign}0.9"]), {"spiking network": level(0.9)})
    assert verdict.holds is holds


def test_every_requirement_is_checked_on_every_level() -> None:
    wanted = parse_requirements(["accuracy>=0.95", "accuracy_low > 0.75", "output_rms<1"])
    verdicts = judge(wanted, {"spiking network": level(0.97), "nest": level(0.8)})
    assert len(verdicts) == 6
    assert [(v.level, v.requirement.name) for v in verdicts if not v.holds] == [
        ("nest", "accuracy"),
        ("nest", "accuracy_low"),
    ]
    assert str(verdicts[1]) == "nest: accuracy 0.8, must be >= 0.95"


def test_a_number_that_is_not_there_fails_and_says_why() -> None:
    (silent,) = judge(parse_requirements(["unit_correlation>=0"]), {"a": level(correlation=None)})
    assert not silent.holds
    assert str(silent) == "a: unit_correlation no value, it never fired, must be >= 0"


def test_a_number_counts_for_the_levels_that_have_it_and_fails_where_none_has() -> None:
    levels = {"spiking network": level(), "nest": level() | {"replay": {"differing": 0}}}
    (replayed,) = judge(parse_requirements(["replay_differing==0"]), levels)
    assert (replayed.level, replayed.holds) == ("nest", True)
    (nowhere,) = judge(parse_requirements(["replay_differing==0"]), {"spiking network": level()})
    assert not nowhere.holds
    assert str(nowhere) == (
        "every level: replay_differing no value, it was not measured; it is a target's, see --targets, must be == 0"
    )


def test_requirements_that_cannot_be_checked_are_refused_together() -> None:
    with pytest.raises(SpikeportError, match="cannot be checked") as refusal:
        parse_requirements(["accuracy", "beauty>=1", "accuracy>=much"])
    assert [p.split(":")[0] for p in refusal.value.problems] == ["'accuracy'", "'beauty>=1'", "'accuracy>=much'"]
    assert "unit_correlation" in refusal.value.problems[1]


def test_a_share_in_per_cent_is_refused_because_it_can_never_hold() -> None:
    with pytest.raises(SpikeportError, match="cannot be checked") as refusal:
        parse_requirements(["accuracy>=95", "unit_correlation>1", "accuracy<=95"])
    assert [p.split(":")[0] for p in refusal.value.problems] == ["'accuracy>=95'", "'unit_correlation>1'"]
    assert "accuracy>=0.95" in refusal.value.problems[0]


def test_junit_has_a_case_for_each_verdict_and_a_failure_for_each_that_fails() -> None:
    verdicts = judge(parse_requirements(["accuracy>=0.95"]), {"spiking network": level(0.97), "<nest>": level(0.8)})
    suite = ElementTree.fromstring(junit(verdicts, "go-nogo"))
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.get("classname") for case in suite] == ["spiking network", "<nest>"]
    (failure,) = suite.iter("failure")
    assert failure.get("message") == "<nest>: accuracy 0.8, must be >= 0.95"
