"""`convert --for CHIP`: what it says is what a run of the written network finds, and nothing is left out in silence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import follower, write_model, write_trials
from typer.testing import CliRunner, Result

from spikeport import chip_trials
from spikeport.chip_results import ChipPoint
from spikeport.chip_trials import Versus
from spikeport.chips import SCALES, best_of, scaled, scales_within, search_on_chip
from spikeport.cli import app
from spikeport.convert.attribution.ideal import ideal_of
from spikeport.convert.attribution.steps import steps_between
from spikeport.convert.calibration import calibrate
from spikeport.convert.calibration.ranges import drive_range
from spikeport.convert.calibration.units import Units, rebuild
from spikeport.convert.presets import get_preset
from spikeport.convert.search import SearchInterrupted
from spikeport.convert.transfer import transfer
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.files import load_spiking_network
from spikeport.snn.rate import RateNetwork
from spikeport.snn.seen import seen_trials
from spikeport.snn.spiking import Uniform
from spikeport.snn.tasks import FileTask, get_task
from spikeport.targets.run import run_network


@pytest.fixture
def task(tmp_path: Path) -> FileTask:
    write_trials(tmp_path / "steps.npz", n=24)
    found = get_task(tmp_path / "steps.npz")
    assert isinstance(found, FileTask)
    return found


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("chip", ["loihi", "spinnaker"])
@pytest.mark.parametrize("method", ["lambda", "calibrated"])
def test_the_written_network_does_on_the_chip_and_in_float_what_the_conversion_says(
    chip: str, method: str, task: FileTask, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "m.h5", n=12)
    grid = ["--grid", "40,60,80"] if method == "lambda" else []
    out = tmp_path / "net.h5"
    options = ["--method", method, *grid, "--for", chip, "--trials", 10, "--json", "-o", out]
    done = call("convert", model, "--task", tmp_path / "steps.npz", *options)
    assert done.exit_code == 0, done.stderr
    row = json.loads(done.stdout)["rows"][0]
    network = load_spiking_network(out)
    again = run_network(network, task, target=chip, first=10, trials=14, allow=row["allowed"])
    in_float = run_network(network, task, first=10, trials=14, with_noise=False)
    said = network.provenance["chip"]
    assert said["name"] == chip
    assert said["right"] == again.right
    assert network.provenance["spiking_right"] == in_float.right
    assert row["accuracy"] == again.right[again.rule] / 14
    assert row["float_accuracy"] == in_float.right[again.rule] / 14
    assert row["mean_rate_hz"] == pytest.approx(again.mean_rate_hz)
    assert row["losses"] == [str(loss) for loss in again.losses] == said["losses"]
    assert network.dt == 1e-3


def test_each_number_of_bits_has_a_row_the_most_first_and_that_network_is_kept(task: FileTask, tmp_path: Path) -> None:
    model, out = write_model(tmp_path / "m.h5", n=12), tmp_path / "net.h5"
    options = ["--for", "loihi", "--bits", "2,8,4", "--grid", "50,70", "--trials", 8, "-o", out]
    done = call("convert", model, "--task", tmp_path / "steps.npz", *options)
    assert done.exit_code == 0, done.stderr
    table = done.stdout.partition("fresh trials")[2].splitlines()[2:5]
    assert [line.split()[0] for line in table] == ["8", "4", "2"]
    assert load_spiking_network(out).provenance["chip"]["choices"] == {"bits": "8"}
    assert "weights of 2 bits" in done.stdout
    next_call = done.stdout.rpartition("next: spikeport ")[2].split()
    again = call(*next_call)
    assert again.exit_code == 0, again.stderr


def test_one_bit_of_both_signs_is_refused_with_the_reason_and_eight_are_converted(task: FileTask) -> None:
    bits = [{"bits": "8"}, {"bits": "1"}]
    found = search_on_chip(follower(8), task, "loihi", grid=[60], variants=bits, trials=4)
    assert [row.choices["bits"] for row in found.rows] == ["8"]
    assert "sources of both signs: weights of 1 bit, one bit is the sign's, so at least 2" in found.unmet[0].why


def test_asking_for_a_chip_gives_up_what_it_lacks_and_names_each(task: FileTask) -> None:
    found = search_on_chip(follower(8), task, "loihi", grid=[60.0], preset="kim2019", trials=4)
    assert {"precision", "synapse", "initially_refractory"} <= set(found.rows[0].allowed)
    named = " ".join(map(str, (*found.losses, *found.rows[0].losses)))
    assert "converted without membrane noise" in named
    assert "one exponential for two" in named
    assert "no unit starts refractory" in named


@pytest.mark.parametrize("scale", SCALES)
def test_a_scaled_calibration_has_lighter_spikes_and_is_otherwise_the_same(scale: float, task: FileTask) -> None:
    source = follower(6)
    network = calibrate(source, task, trials=6, dt=1e-3, noise_sd=0.0, rounds=0).network
    other = scaled(source, network, scale)
    assert other.provenance["inverse_lambda"] == pytest.approx(scale * network.provenance["inverse_lambda"])
    np.testing.assert_allclose(other.projections[1].weight * scale, network.projections[1].weight, rtol=1e-12)
    np.testing.assert_allclose(other.readouts[0].weight * scale, network.readouts[0].weight, rtol=1e-12)
    np.testing.assert_array_equal(other.projections[0].weight, network.projections[0].weight)
    np.testing.assert_array_equal(other.readouts[0].bias, network.readouts[0].bias)
    np.testing.assert_array_equal(other.populations[0].bias, network.populations[0].bias)
    assert steps_between(ideal_of(source, other)[0], other) == []  # so `validate --why` knows what it is


@pytest.mark.parametrize("name", ["standard", "mine"])
def test_a_scaled_calibration_keeps_the_neuron_of_a_preset_that_is_no_published_one(name: str, task: FileTask) -> None:
    """Whatever name it has: the provenance holds what builds it again."""
    mine = replace(get_preset("standard"), name=name, dt=1e-3, noise_sd=0.0, tau_mem=0.02, v0=Uniform(-65.0, -50.0))
    network = calibrate(follower(6), task, trials=6, rounds=0, preset=mine).network
    network = replace(network, provenance=json.loads(json.dumps(dict(network.provenance))))
    other = scaled(follower(6), network, 0.8)
    assert other.populations[0].neuron.tau_mem == 0.02
    assert other.populations[0].v0 == Uniform(-65.0, -50.0)
    assert steps_between(ideal_of(follower(6), network)[0], network) == []


def test_a_provenance_of_an_earlier_version_names_its_preset_alone(task: FileTask) -> None:
    network = calibrate(follower(6), task, trials=6, rounds=0, dt=1e-3, noise_sd=0.0).network
    said = network.provenance["calibration"]
    kept = {name: said["settings"][name] for name in ("dt", "t_ref", "noise_sd")}
    earlier = replace(network, provenance={**network.provenance, "calibration": {**said, "settings": kept}})
    assert steps_between(ideal_of(follower(6), earlier)[0], earlier) == []


@pytest.mark.parametrize(("ref0", "known"), [(2, True), (40, False)])
def test_a_provenance_that_counts_the_refractory_start_in_steps_is_read_where_they_are_those_of_t_ref(
    ref0: int, known: bool, task: FileTask
) -> None:
    made = calibrate(
        follower(6), task, trials=6, rounds=0, max_rate_hz=50.0, preset="kim2019", dt=1e-3, t_ref=2e-3, noise_sd=0.0
    )
    network, said = made.network, made.network.provenance["calibration"]
    kept = {name: value for name, value in said["settings"].items() if name != "starts_refractory"} | {"ref0": ref0}
    earlier = replace(network, provenance={**network.provenance, "calibration": {**said, "settings": kept}})
    if known:
        assert steps_between(ideal_of(follower(6), earlier)[0], earlier) == []
    else:
        with pytest.raises(SpikeportError, match="does not say how it was calibrated"):
            rebuild(follower(6), earlier)


@pytest.mark.parametrize("method", ["lambda", "calibrated"])
def test_a_network_for_a_chip_knows_the_file_that_chose_it_by_its_content(
    method: str, task: FileTask, tmp_path: Path
) -> None:
    choices = {"grid": "40:40:5"} if method == "lambda" else {}
    (row,) = search_on_chip(
        follower(6), task, "loihi", variants=[{}], method=method, trials=6, test_trials=6, noise=0.0, **choices
    ).rows
    renamed = replace(task, name="another name")
    other = replace(task, inputs=task.inputs * 0.9)
    assert "6 of these 12 trials" in seen_trials(row.network, renamed, seed=0, first=0, trials=12)[0]
    assert seen_trials(row.network, other, seed=0, first=0, trials=12) == ()


def test_a_long_file_calibrates_for_a_chip_with_as_many_trials_as_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("spikeport.chips.Search", lambda **said: asked.append(said["trials"]) or (1 / 0))
    task = write_trials(tmp_path / "long.npz", n=2000)
    for method in ("calibrated", "lambda"):
        with pytest.raises(ZeroDivisionError):
            search_on_chip(follower(6), task, "loihi", variants=[{}], method=method)
    assert asked == [300, 1000]


@given(each=st.lists(st.floats(1.0, 500.0), min_size=1, max_size=5), low=st.floats(0.3, 1.0), high=st.floats(1.0, 3.0))
def test_the_scales_that_are_tried_are_those_that_keep_every_unit_within_its_bracket(
    each: list[float], low: float, high: float
) -> None:
    values = np.array(each)
    units = Units(gain=values, offset=values, inverse_lambda=values, baseline=values, tau_out=0.01)
    network = replace(transfer(follower(2), 50.0), provenance={"calibration": {"units": units.as_dict()}})
    bracket = low * min(each), high * max(each)
    found = scales_within(network, bracket)
    assert scales_within(network, None) == SCALES
    assert found == tuple(s for s in SCALES if s == 1 or all(bracket[0] <= s * value <= bracket[1] for value in each))


def test_a_bracket_of_a_search_over_lambda_on_a_chip_is_refused_not_ignored(task: FileTask) -> None:
    with pytest.raises(SpikeportError, match="method 'lambda' takes no bracket there"):
        search_on_chip(follower(6), task, "loihi", bracket=(10.0, 20.0))


def test_a_search_on_a_chip_keeps_the_bracket_and_names_it_where_it_is_the_end(task: FileTask) -> None:
    options: dict[str, Any] = {"method": "calibrated", "trials": 12, "noise": 0.0, "max_rate": 40.0, "n_jobs": 1}
    found = search_on_chip(follower(6), task, "loihi", bracket=(90.0, 100.0), **options)
    assert [p.scale for p in found.points] == [0.9, 1.0]
    units = found.rows[0].network.provenance["calibration"]["units"]["inverse_lambda"]
    assert 90 <= min(units) <= max(units) <= 100
    (said,) = [text for text in found.warnings if "is the end of what was tried" in text]
    assert "the bracket 90:100 is that end, units would leave it at these times the calibrated 1/lambda: 0.8" in said
    free = search_on_chip(follower(6), task, "loihi", **options)
    assert [p.scale for p in free.points] == list(SCALES)
    assert not any("bracket" in text for text in free.warnings)


def half_asleep() -> RateNetwork:
    """ReLU units; the last two never move: they listen to unit 0, which is too weak for them."""
    w_in, w_rec, b_rec = np.full((10, 1), 1.0), np.full((10, 10), 0.05), np.full(10, 0.1)
    w_in[-2:], w_rec[-2:], w_rec[:, -2:], w_rec[-2:, 0], b_rec[-2:] = 0.0, 0.0, 0.0, 0.5, -3.0
    return follower(10, phi="relu", w_in=w_in, w_rec=w_rec, b_rec=b_rec, noise_sd=0.0)


@pytest.mark.parametrize("scale", [0.8, 1.25])
def test_a_scaled_winner_watches_its_own_ranges(scale: float, task: FileTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its spikes weigh so much less, so its units' drives and what silent units hear are not the calibrated one's."""
    monkeypatch.setattr("spikeport.chips.best_of", lambda points, limit: [p.scale for p in points].index(scale))
    source = half_asleep()
    (row,) = search_on_chip(source, task, "loihi", method="calibrated", trials=12, noise=0.0, n_jobs=1).rows
    assert row.point.scale == scale
    said = row.network.provenance["calibration"]
    low, high = drive_range(row.network, task.trials(12, seed=0, first=0).inputs, seed=0, first=0)
    gain, offset = (np.array(said["units"][name]) for name in ("gain", "offset"))
    matched_low, matched_high = (gain * np.array(said[name]) + offset for name in ("x_low", "x_high"))
    np.testing.assert_allclose(said["drive_low"], np.minimum(matched_low, low), atol=1e-4)
    np.testing.assert_allclose(said["drive_high"], np.maximum(matched_high, high), atol=1e-4)
    silent = said["silent"]
    assert silent["unit"] == [8, 9]
    assert silent["from"] == [[0], [0]]
    np.testing.assert_allclose(silent["w_spike"], [[0.5 / said["units"]["inverse_lambda"][0]]] * 2, rtol=1e-5)


def point(inverse_lambda: float, accuracy: float | None, rate: float = 5.0) -> ChipPoint:
    return ChipPoint(inverse_lambda=inverse_lambda, scale=1.0, choices={}, accuracy=accuracy, float_accuracy=1.0,
                     mean_rate_hz=rate, refused="" if accuracy is not None else "u overflows")  # fmt: skip


def test_the_best_is_the_middle_of_the_plateau_of_what_the_chip_takes_within_the_budget() -> None:
    points = [point(20, None), point(30, 0.9, 4), point(40, 0.9, 6), point(50, 0.9, 8), point(60, 0.2, 1)]
    assert best_of(points, None) == 2
    assert best_of(points, 5.0) == 1
    assert best_of(points, 2.0) == 4
    assert best_of(points, 0.5) == "no candidate stays within 0.5 spikes/s a unit, the fewest are 1, at 1/lambda 60"
    assert best_of(points[:1], None) == "1/lambda 20: u overflows"


def test_a_candidate_that_the_chip_refuses_is_told_and_the_others_go_on(
    task: FileTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = chip_trials.lowered

    def refusing(on: Any, network: Any, choices: Any, seed: int) -> Any:
        if network.provenance["inverse_lambda"] == 40:
            raise RefusedError("loihi: cannot take it", ["projection rec->rec: too wide"])
        return real(on, network, choices, seed)

    monkeypatch.setattr(chip_trials, "lowered", refusing)
    found = search_on_chip(follower(8), task, "loihi", grid=[40, 60], trials=4)
    assert [p.accuracy is None for p in found.points] == [True, False]
    assert found.rows[0].point.inverse_lambda == 60
    assert "the chip: 1/lambda 40 is refused: projection rec->rec: too wide" in found.warnings
    assert found.rows[0].network.provenance["chip"]["refused"] == {"40": "projection rec->rec: too wide"}
    with pytest.raises(RefusedError, match="takes no candidate"):
        search_on_chip(follower(8), task, "loihi", grid=[40], trials=4)


def test_a_number_of_bits_that_breaks_the_budget_is_told_and_the_others_are_converted(task: FileTask) -> None:
    bits = [{"bits": "8"}, {"bits": "2"}]
    free = search_on_chip(follower(12), task, "loihi", grid=[60], variants=bits, trials=6)
    wide, narrow = (p.mean_rate_hz for p in free.points)
    assert wide != narrow
    left = search_on_chip(follower(12), task, "loihi", grid=[60], variants=bits, trials=6, max_rate=(wide + narrow) / 2)
    assert len(left.rows) == len(left.unmet) == 1
    assert "no candidate stays within" in left.as_dict()["unmet"][0]["why"]
    assert str(left.unmet[0]) in left.warnings


def test_the_margin_is_judged_by_the_interval_and_not_by_the_estimate() -> None:
    right = np.ones(100, dtype=np.bool_)
    few = Versus.of(right, right)
    assert few.difference == 0
    assert not few.holds  # 100 equal trials say no more than that it is within 3.7 points
    many = np.ones(2000, dtype=np.bool_)
    assert Versus.of(many, many).holds
    assert not Versus.of(many, np.arange(2000) % 50 != 0).holds  # 2 points less, and its interval beyond


REFUSED: list[tuple[list[object], int, str]] = [
    (["--for", "nest"], 2, "nest is no chip: it computes in floating point"),
    (["--for", "nir"], 2, "there are: loihi, "),
    (["--for", "loihj"], 2, "target 'loihj' is unknown"),
    (["--bits", "8"], 2, "--bits: a setting of a chip, and none is named"),
    (["--set", "bits=8"], 2, "--set: a setting of a chip, and none is named"),
    (["--for", "loihi", "--bits", "4,x"], 2, "'x' is no number"),
    (["--for", "loihi", "--bits", ","], 2, "none is given"),
    (["--for", "loihi", "--bits", "8,7"], 2, "bits: '7', must be one of 8, 6, 5, 4, 3, 2, 1"),
    (["--for", "loihi", "--bits", "8", "--set", "bits=4"], 2, "--set bits names them too"),
    (["--for", "spinnaker", "--bits", "8"], 2, "spinnaker has no such choice, its weights have one width"),
    (["--for", "loihi", "--noise", "0.1"], 2, "noise: 0.1 mV a step, loihi has none of a known sequence"),
    (["--for", "loihi", "--method", "calibrated", "--noise", "0:0.1"], 2, "loihi has none of a known sequence"),
    (["--for", "loihi", "--t-ref", "0.1"], 2, "t_ref: 0.1 s, loihi has 0.01 s at most"),
    (["--for", "loihi", "--fast", "--dtype", "float64"], 2, "--dtype: loihi computes in its own integers"),
    (["--for", "loihi", "--bracket", "10:90"], 2, "--bracket: loihi takes a --grid"),
    (["--for", "loihi", "--pareto", "10,20"], 2, "--pareto: compares budgets in floating point"),
    (["--for", "loihi", "--method", "calibrated", "--grid", "40"], 2, "grid: an option of method 'lambda'"),
    (["--for", "loihi", "--rule", "nobody"], 2, "rule 'nobody'"),
    (["--for", "loihi", "--dt", "0.01"], 2, "so inputs would be skipped"),
    (["--for", "spinnaker", "--dt", "3.33e-5", "--grid", "60"], 1, "0.0333 ms, a whole number of microseconds"),
    (["--for", "loihi", "--max-rate", "0.001", "--grid", "60"], 1, "no candidate stays within 0.001 spikes/s a unit"),
    (["--for", "loihi", "--max-rate", "1e-300"], 2, "max rate: 1e-300 spikes/s a unit, must be at least 1e-06"),
    (["--for", "loihi", "--max-rate", "nan"], 2, "max rate: nan spikes/s a unit, must be"),
    (["--for", "loihi", "--dt", "0"], 2, "dt 0.0 s, must be positive"),
    (["--for", "loihi", "--dt", "nan"], 2, "dt nan s, must be positive"),
    (["--for", "loihi", "--dt", "1e-9"], 2, "dt 1e-09 s, must be at least 1e-06 s"),
]


@pytest.mark.parametrize(("options", "code", "message"), REFUSED, ids=[" ".join(map(str, r[0])) for r in REFUSED])
def test_what_cannot_be_asked_for_is_refused_and_nothing_is_written(
    options: list[object], code: int, message: str, task: FileTask, tmp_path: Path
) -> None:
    model, out = write_model(tmp_path / "m.h5", n=6), tmp_path / "net.h5"
    done = call("convert", model, "--task", tmp_path / "steps.npz", "--trials", 4, *options, "-o", out)
    assert done.exit_code == code, done.stderr
    assert message in done.stderr
    assert done.stdout == ""
    assert not out.exists()


def test_a_step_shorter_than_the_boards_keep_up_with_is_said(task: FileTask) -> None:
    found = search_on_chip(follower(6), task, "loihi", grid=[60], dt=5e-4, trials=4)
    assert any("dt 0.5 ms: boards of loihi keep up with real time at 1 ms" in text for text in found.warnings)


def test_ctrl_c_tells_what_was_measured_on_the_chip(task: FileTask, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = chip_trials.judge, [0]

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == 4:  # float and chip of the first candidate, float of the second
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(chip_trials, "judge", interrupted)
    with pytest.raises(SearchInterrupted, match="interrupted in the search, for loihi") as caught:
        search_on_chip(follower(6), task, "loihi", grid=[50, 60, 70], trials=4)
    assert [c.inverse_lambda for c in caught.value.candidates] == [50]


def test_no_setting_at_all_is_refused(task: FileTask) -> None:
    with pytest.raises(SpikeportError, match="no setting of the chip is given"):
        search_on_chip(follower(6), task, "loihi", variants=[])


def test_the_default_budget_of_a_calibration_is_a_warning_on_the_chip(task: FileTask) -> None:
    """Two bits make some networks louder; without a --max-rate that is said, and the row is there."""
    found = search_on_chip(follower(12), task, "loihi", method="calibrated", variants=[{"bits": "2"}], trials=6)
    assert found.max_rate_hz == 20
    row = found.rows[0]
    above = [text for text in found.warnings if "above the budget of 20" in text]
    assert bool(above) == (row.mean_rate_hz > 20)
    assert not found.unmet
