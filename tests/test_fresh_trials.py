"""What a conversion says of the trials that it did not see: the budget kept, refused or unknown; a silent network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import follower, write_model, write_trials
from typer.testing import CliRunner

from spikeport.cli import app
from spikeport.convert.calibration.bounds import Bounds
from spikeport.convert.conversion import convert_network
from spikeport.convert.fresh import FreshRate, rate_warnings, silence
from spikeport.convert.methods import Made, calibrated
from spikeport.convert.presets import PRESETS
from spikeport.convert.search import Candidate, Search, beyond
from spikeport.convert.transfer import Builder, transfer
from spikeport.snn.errors import RefusedError
from spikeport.snn.tasks import FileTask, save_trials

CHIP = replace(PRESETS["standard"], dt=1e-3, noise_sd=0.0)
QUICK: dict[str, Any] = {"method": "calibrated", "trials": 10, "dt": 1e-3, "noise": 0.0}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> FileTask:
    return write_trials(tmp_path_factory.mktemp("trials") / "t.npz", n=24)


@pytest.fixture(scope="module")
def by_label(task: FileTask) -> FileTask:
    """The same trials, those without an input first."""
    order = np.argsort(task.labels, kind="stable")
    return replace(task, labels=task.labels[order], inputs=task.inputs[:, order])


# ---- the budget


def test_one_fresh_trial_cannot_tell_whether_the_budget_is_kept_and_a_warning_says_so(by_label: FileTask) -> None:
    found = convert_network(follower(8), by_label, **QUICK, test_trials=1, max_rate=5.0)
    (said,) = [w for w in found.warnings if "budget" in w]
    assert said.startswith(f"{found.mean_rate_hz:.4g} spikes/s a unit on the one fresh trial, which cannot tell")
    assert said.endswith("the budget of 5 is kept: --test-trials 2 or more can")


@pytest.mark.parametrize("hz", [0.5, 19.0, 313.0])
def test_one_trial_is_no_evidence_whatever_its_rate(hz: float) -> None:
    one = FreshRate(hz=hz, error=np.inf, trials=1)
    (said,) = rate_warnings(one, 20.0)
    assert "cannot tell whether the budget of 20 is kept" in said
    assert "inf" not in said
    assert rate_warnings(one, None) == []


def test_a_budget_that_is_exceeded_within_the_error_is_a_warning_with_the_interval() -> None:
    assert rate_warnings(FreshRate(hz=31.6, error=7.65, trials=12), 20.0) == [
        "31.6 +- 15 spikes/s a unit (95%) on 12 fresh trials, above the budget of 20"
    ]
    assert rate_warnings(FreshRate(hz=19.9, error=7.65, trials=12), 20.0) == []


def test_a_calibration_on_one_kind_of_trial_is_refused_with_what_it_warned_of(by_label: FileTask) -> None:
    with pytest.raises(RefusedError, match="above the budget of 20 spikes/s a unit") as refusal:
        convert_network(follower(8), by_label, **QUICK)
    measured, *why = refusal.value.problems
    assert "on 14 fresh trials" in measured
    assert any(w.startswith("input channel 0 never changes on the calibration trials") for w in why)
    assert any("with one kind of answer only" in w for w in why)


def test_no_smaller_budget_is_the_next_step_where_the_trials_were_others(by_label: FileTask) -> None:
    """Each would be refused again: 20, 1.47, 0.0446, ..."""
    with pytest.raises(RefusedError) as refusal:
        convert_network(follower(8), by_label, **QUICK)
    assert "--max-rate" not in refusal.value.hint
    assert refusal.value.hint.startswith(
        "trials in mixed order, so that those that choose the network are of every kind"
    )


def test_the_command_line_says_the_same_with_code_1(by_label: FileTask, tmp_path: Path) -> None:
    save_trials(tmp_path / "s.h5", inputs=by_label.inputs, labels=by_label.labels, dt=0.005, window=(0.1, 0.2),
                rule="mean")  # fmt: skip
    call = ["convert", str(write_model(tmp_path / "m.h5", n=8)), "--task", str(tmp_path / "s.h5"), "--dt", "1e-3"]
    done = CliRunner().invoke(app, [*call, "--noise", "0", "--method", "calibrated", "--trials", "10"])
    assert done.exit_code == 1, done.output
    assert "  input channel 0 never changes on the calibration trials" in done.stderr
    assert "Try: trials in mixed order" in done.stderr


@given(limit=st.floats(1e-3, 1e3), above=st.floats(1e-9, 1.0))
def test_what_is_above_a_limit_is_above_it_as_printed(limit: float, above: float) -> None:
    limit = float(f"{limit:g}")
    value = limit * (1 + above)
    assert float(beyond(value, limit)) > limit


def test_no_more_digits_are_printed_than_it_takes() -> None:
    assert [beyond(v, 19.9) for v in (313.2468, 19.94, 19.904, 19.90001)] == ["313.2", "19.94", "19.904", "19.90001"]


# ---- a silent network


def test_a_bracket_that_lets_no_unit_fire_is_named_and_not_the_budget(task: FileTask) -> None:
    found = convert_network(follower(8), task, **QUICK, bracket=(1e-9, 1e-8))
    assert found.mean_rate_hz == 0
    (silent,) = [w for w in found.warnings if "silent" in w]
    assert silent == (
        "the network is silent: no unit fired in any trial; 1/lambda may not be above 1e-08, and all units whose rate "
        "moves are there"
    )


def test_a_bracket_that_is_not_what_limits_is_not_blamed(task: FileTask) -> None:
    found = convert_network(follower(8), task, **QUICK, bracket=(1e-9, 50.0), max_rate=1e-4)
    assert found.mean_rate_hz == 0
    (silent,) = [w for w in found.warnings if "silent" in w]
    assert silent.endswith("in any trial; the budget may be too small for any to fire")


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (20.0, "with t_ref 1 s no unit may be asked for more than 0.4 spikes/s"),
        (0.1, "the budget may be too small for any to fire"),
    ],
)
def test_a_refractory_period_that_was_asked_for_is_named_where_it_allows_less_than_the_budget(
    budget: float, said: str, task: FileTask
) -> None:
    source, bounds = follower(8), Bounds(t_ref=(1.0, 1.0))
    slow = replace(CHIP, t_ref=1.0)
    search = Search(build=Builder(source, slow), task=task, rule="mean", source=source, trials=6, n_jobs=1)
    made = calibrated(search, slow, budget, bounds)
    assert silence(made, slow, bounds, 0.2).partition("; ")[2] == said


@pytest.mark.parametrize(("loudest", "blamed"), [(5.0, False), (50.0, True)])
def test_a_search_blames_the_budget_only_where_a_candidate_was_above_it(loudest: float, blamed: bool) -> None:
    rates = (0.0, loudest)
    tried = tuple(
        Candidate(inverse_lambda=v, accuracy=0.5, by_rule={}, mean_rate_hz=hz, distance=None, trials=10)
        for v, hz in zip((20.0, 40.0), rates, strict=True)
    )
    made = Made(
        network=transfer(follower(2), 20.0), inverse_lambda=20.0, losses=(), warnings=(), max_rate_hz=20.0,
        candidates=tried,
    )  # fmt: skip
    assert ("budget" in silence(made, CHIP, Bounds(), 0.2)) is blamed
