"""benchmarks/kim2019.py: its conditions, that a run goes on where it stopped, and the table of what it found."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from require import need
from scipy.stats import fisher_exact

from spikeport.snn.errors import SpikeportError
from spikeport.snn.measures import wilson

need("torch", resource="train")
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def kim(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark, with networks so small and a rule so easy that they train in a blink."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import kim2019
    import kim2019_conditions

    easy = replace(
        kim2019_conditions.PUBLISHED, max_steps=4, look_every=1, look_trials=2, test_trials=10, accuracy_above=0.0,
        loss_below=1e9, min_trials=0,
    )  # fmt: skip
    monkeypatch.setattr(kim2019_conditions, "PUBLISHED", easy)
    monkeypatch.setattr(kim2019_conditions, "GRID", "30:35:5")
    for name, value in (("TRIALS", 2), ("TEST_TRIALS", 3)):
        monkeypatch.setattr(kim2019, name, value)
    return kim2019


def run(kim: Any, monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> int:
    monkeypatch.setattr(
        sys, "argv", ["kim2019.py", "--out", str(folder / "r.jsonl"), "--nets", str(folder / "nets"), *arguments]
    )
    code = kim.main()
    assert isinstance(code, int)
    return code


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (folder / "r.jsonl").read_text().splitlines()]


def test_a_run_trains_converts_and_keeps_every_network(kim, monkeypatch, tmp_path, capsys):
    assert run(kim, monkeypatch, tmp_path, "--conditions", "gonogo_sigmoid_10", "--networks", "3") == 0
    found = lines(tmp_path)
    trained = {x["seed"]: x for x in found if x["kind"] == "training"}
    assert sorted(trained) == [0, 1, 2]
    converted = {x["seed"] for x in found if x["kind"] == "conversion"}
    assert converted == {seed for seed, x in trained.items() if x["converged"]}
    assert converted
    for seed, x in trained.items():
        assert (
            tmp_path / "nets" / f"gonogo_sigmoid_10_seed{seed}{'' if x['converged'] else '_unconverged'}.h5"
        ).exists()
    for x in found:
        if x["kind"] == "conversion":
            assert x["best"] == max(accuracy for _, accuracy, _, _ in x["curve"])
            assert [value for value, *_ in x["curve"]] == [30, 35]
            assert all(0 <= right <= x["test_trials"] == 3 for right in x["right"].values())
    shown = capsys.readouterr().out
    assert "training: gradient steps" in shown
    assert "conversion: search" in shown


def test_a_second_run_adds_what_is_missing_and_nothing_else(kim, monkeypatch, tmp_path):
    name = ("--conditions", "gonogo_sigmoid_10")
    run(kim, monkeypatch, tmp_path, *name, "--networks", "2")
    first = (tmp_path / "r.jsonl").read_text()
    run(kim, monkeypatch, tmp_path, *name, "--networks", "2")
    assert (tmp_path / "r.jsonl").read_text() == first
    run(kim, monkeypatch, tmp_path, *name, "--networks", "3")
    assert (tmp_path / "r.jsonl").read_text().startswith(first)
    assert {x["seed"] for x in lines(tmp_path)} == {0, 1, 2}


def test_an_interrupt_keeps_what_was_done_and_the_next_run_completes_it(kim, monkeypatch, tmp_path, capsys):
    arguments = ("--conditions", "gonogo_sigmoid_10,gonogo_sigmoid_10_ref0", "--networks", "2")
    whole, calls = kim.converted, []

    def interrupted(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*args)

    monkeypatch.setattr(kim, "converted", interrupted)
    assert run(kim, monkeypatch, tmp_path, *arguments) == 130
    assert "goes on from there" in capsys.readouterr().out
    before = lines(tmp_path)
    monkeypatch.setattr(kim, "converted", whole)
    assert run(kim, monkeypatch, tmp_path, *arguments) == 0
    after = lines(tmp_path)
    assert after[: len(before)] == before
    keys = [(x["kind"], x.get("condition", x["network"]), x["seed"]) for x in after]
    assert len(keys) == len(set(keys))


def test_networks_of_an_earlier_run_are_not_trained_again(kim, monkeypatch, tmp_path):
    name = ("--conditions", "gonogo_sigmoid_10", "--networks", "2")
    run(kim, monkeypatch, tmp_path, *name)
    before = lines(tmp_path)
    (tmp_path / "r.jsonl").unlink()
    monkeypatch.setattr(
        kim, "train_many", lambda task, options, **_: iter([]) if not options else pytest.fail("trained")
    )
    run(kim, monkeypatch, tmp_path, *name)

    def facts(found: list[dict[str, Any]]) -> list[Any]:
        picked = ("kind", "seed", "converged", "steps", "rate_accuracy", "best", "right", "mean_rate_hz")
        return sorted(json.dumps({k: x.get(k) for k in picked}) for x in found)

    assert facts(lines(tmp_path)) == facts(before)


def test_conversions_by_other_code_are_kept_and_said(kim, monkeypatch, tmp_path, capsys):
    name = ("--conditions", "gonogo_sigmoid_10", "--networks", "2")
    run(kim, monkeypatch, tmp_path, *name)
    assert {x["code"] for x in lines(tmp_path) if x["kind"] == "conversion"} == {kim.code_hash()}
    assert len(kim.code_hash()) == 12
    run(kim, monkeypatch, tmp_path, *name)
    assert "other code" not in capsys.readouterr().err
    before = lines(tmp_path)
    monkeypatch.setattr(kim, "code_hash", lambda: "0123456789ab")
    run(kim, monkeypatch, tmp_path, *name)
    assert lines(tmp_path) == before
    assert "2 conversions are of other code, and are kept" in capsys.readouterr().err


def test_a_line_that_was_cut_off_is_told_and_left(kim, monkeypatch, tmp_path, capsys):
    (tmp_path / "r.jsonl").write_text('{"kind": "training", "network": "x"')
    assert run(kim, monkeypatch, tmp_path, "--conditions", "gonogo_sigmoid_10", "--networks", "1") == 0
    assert "1 lines cannot be read" in capsys.readouterr().err
    texts = (tmp_path / "r.jsonl").read_text().splitlines()
    assert texts[0] == '{"kind": "training", "network": "x"'
    assert json.loads(texts[1])["kind"] == "training"


def test_conditions_are_what_their_names_say(kim):
    fixed = kim.conditions_of("gonogo_relu_50_tau20_ref4")[0]
    assert (fixed.options.phi, fixed.options.n_neurons, fixed.options.tau_bounds) == ("relu", 50, (0.02, 0.02))
    assert (fixed.preset.t_ref, fixed.preset.ref0) == (0.004, 80)
    assert fixed.network == "gonogo_relu_50_tau20"
    plain = kim.conditions_of("xor_sigmoid_250")[0]
    assert (plain.task, plain.preset.t_ref, plain.preset.ref0, plain.options.batch) == ("xor", 0.002, 40, 1)
    low = kim.conditions_of("gonogo_softplus_250_low_bout")[0]
    assert (low.network, low.grid, low.preset.keep_b_out, plain.preset.keep_b_out) == (
        "gonogo_softplus_250", "4:20:2", True, False,
    )  # fmt: skip
    names = [c.name for c in kim.conditions_of("all")]
    assert len(names) == len(set(names))
    for name in [f"gonogo_{phi}_{n}" for phi in ("sigmoid", "softplus", "relu") for n in (10, 50, 100, 250)]:
        assert name in names


def test_a_condition_of_the_transfer_alone_has_no_rows_of_another_method(kim, monkeypatch, tmp_path, capsys):
    """A calibration chooses t_ref and noise itself: a row of it under such a name would be mislabelled."""
    name = ("--conditions", "gonogo_sigmoid_10_ref10", "--networks", "1", "--methods", "calibrated_1ms")
    assert run(kim, monkeypatch, tmp_path, *name) == 0
    assert not [x for x in lines(tmp_path) if x["kind"] == "conversion"]
    assert "gonogo_sigmoid_10_ref10: calibrated_1ms left out" in capsys.readouterr().out


def test_a_row_says_with_which_step_refractory_period_and_noise_the_network_ran(kim, monkeypatch, tmp_path):
    names = "gonogo_sigmoid_10,gonogo_sigmoid_10_ref4,gonogo_sigmoid_10_noise05"
    run(kim, monkeypatch, tmp_path, "--conditions", names, "--networks", "2", "--methods", "lambda,calibrated_1ms")
    for x in lines(tmp_path):
        if x["kind"] != "conversion" or "refused" in x:
            continue
        ran = (x["dt"], x["t_ref"], x["noise_sd"])
        if x["method"] == "calibrated_1ms":
            assert ran[0] == 1e-3
            assert ran[2] == 0.0
        else:
            assert ran == (
                5e-5,
                0.004 if "ref4" in x["condition"] else 0.002,
                0.05 if "noise" in x["condition"] else 0.1,
            )


def test_an_unknown_condition_is_refused(kim, monkeypatch, tmp_path, capsys):
    assert run(kim, monkeypatch, tmp_path, "--conditions", "gonogo_sigmoid_10_fast") == 2
    assert "'fast' is unknown" in capsys.readouterr().err
    with pytest.raises(SpikeportError, match="must begin with gonogo"):
        kim.conditions_of("headlines")


def test_an_unknown_method_is_refused(kim, monkeypatch, tmp_path, capsys):
    arguments = ("--conditions", "gonogo_sigmoid_10", "--networks", "3", "--methods", "magic")
    assert run(kim, monkeypatch, tmp_path, *arguments) == 2
    assert "methods: magic" in capsys.readouterr().err


def test_the_table_counts_successes_beside_the_papers(kim, monkeypatch, tmp_path):
    versions = {"python": "3", "spikeport": "0"}
    with (tmp_path / "r.jsonl").open("w") as file:
        for seed in range(5):
            converged, network = seed < 4, "gonogo_relu_250"
            made = {
                "kind": "training", "network": network, "seed": seed, "converged": converged, "versions": versions,
                "steps": 1500, "final_loss": 1.0 + seed,
            }  # fmt: skip
            file.write(json.dumps(made) + "\n")
            if converged:
                best = [1.0, 0.97, 0.95, 0.6][seed]
                right = {"published": [990, 960, 940, 510][seed], "strict": 400}
                found = {
                    "kind": "conversion", "condition": network, "network": network, "seed": seed, "method": "lambda",
                    "best": best, "curve": [[40, best, 0.4, 5.0]], "right": right, "test_trials": 1000,
                    "inverse_lambda": 40, "mean_rate_hz": 5.0, "versions": versions,
                }  # fmt: skip
                file.write(json.dumps(found) + "\n")
    table = tmp_path / "table.md"
    assert run(kim, monkeypatch, tmp_path, "--networks", "0", "--table", str(table)) == 0
    row = next(line for line in table.read_text().splitlines() if line.startswith("| `gonogo_relu_250`"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    three, two, none = (tuple(round(100 * x) for x in wilson(k, 4, 0.95)) for k in (3, 2, 0))
    assert cells[1:] == [
        "4 of 5", "0", f"3 of 4 [{three[0]}, {three[1]}]", f"2 of 4 [{two[0]}, {two[1]}]",
        f"0 of 4 [{none[0]}, {none[1]}]", "59.7", "88.0", "85.0", "40.0", "40", "5.0", "",
    ]  # fmt: skip
    text = table.read_text()
    assert "Seeds 0 to 4" in text
    assert "python benchmarks/kim2019.py" in text
    assert str(tmp_path) not in text


def test_the_table_says_whether_the_papers_figure_is_inside_and_where_training_stopped(kim, monkeypatch, tmp_path):
    from kim2019_sections import rate

    def line(kind: str, network: str, seed: int, **facts: Any) -> str:
        versions = {"python": "3"}
        return json.dumps({"kind": kind, "network": network, "seed": seed, "versions": versions, **facts}) + "\n"

    def conversion(condition: str, seed: int, best: float, **facts: Any) -> str:
        right = {"published": round(1000 * best), "strict": 1000}
        facts = {"method": "lambda", "best": best, "curve": [[20, best, 1.0, 5.0]]} | facts
        return line(
            "conversion", condition.replace("_low", ""), seed, condition=condition, right=right, test_trials=1000,
            inverse_lambda=20, mean_rate_hz=5.0, **facts,
        )  # fmt: skip

    soft, low = "gonogo_softplus_250", "gonogo_softplus_250_low"
    with (tmp_path / "r.jsonl").open("w") as file:
        for seed in range(8):
            file.write(line("training", soft, seed, converged=True, steps=1500 + 100 * (seed > 5),
                            final_loss=0.5 + seed / 4))  # fmt: skip
            file.write(conversion(soft, seed, 0.96 if seed == 0 else 0.6))
            file.write(conversion(low, seed, 0.96 if seed % 2 else 0.6))
        for seed in (6, 7):
            file.write(line("training", soft + "_loss1", seed, converged=True, steps=1500 + 100 * (seed - 6),
                            final_loss=0.9))  # fmt: skip
            file.write(conversion(soft + "_loss1", seed, 0.97))
            file.write(conversion(soft + "_noise05", seed, 0.97))
        for seed, over in ((0, True), (1, False)):
            file.write(
                conversion(soft, seed, 0.9, method="calibrated_1ms", warnings=["its answer is not there"] * over)
            )
    table = tmp_path / "table.md"
    assert run(kim, monkeypatch, tmp_path, "--networks", "0", "--table", str(table)) == 0
    text = table.read_text()
    one, five = rate(1, 8), rate(5, 8)
    assert f"Over the published grid {one} softplus networks convert: the paper's 55 % is OUTSIDE that interval" in text
    assert f"with the lower values {five} softplus networks convert: the paper's 55 % is inside that interval" in text
    p_high, p_both, p_all = (fisher_exact([[k, 8 - k], [55, 45]]).pvalue for k in (1, 5, 8))
    strict = f"{rate(8, 8)} | {p_all:.2g} |"
    assert f"| `{soft}` | 20:75:5 | {rate(55, 100)} | {one} | {p_high:.2g} | {strict}" in text
    assert f"| `{soft}` | 20:75:5 and 4:20:2 | {rate(55, 100)} | {five} | {p_both:.2g} | {strict}" in text
    assert "6 of these 8 networks end at 1,500, with losses from 0.5 to 1.8" in text
    assert "(`loss1`: 1 of 2 went on beyond 1,500 trials)" in text
    p_half = fisher_exact([[2, 0], [55, 45]]).pvalue
    loud, quiet = f"{rate(0, 2)}, mean 60.0", f"{rate(2, 2)}, mean 97.0"
    assert f"| `{soft}` | 20:75:5 | {rate(55, 100)} | {loud} | {quiet} | {p_half:.2g} |" in text
    assert f"| `{soft}` | 0 | 0.900, 1.000; 5.0; - | its own answer is over |" in text
    assert f"| `{soft}` | 1 | 0.900, 1.000; 5.0; - |  |" in text
    assert "Of these 2 networks\n1 cannot be right" in text
    below, above = f"{rate(1, 2)}, mean 78.0", f"{rate(0, 6)}, mean 60.0"  # losses .5 and .75, and from 1 on
    after, before = f"{rate(2, 2)}, mean 97.0", f"{rate(0, 2)}, mean 60.0"
    assert f"| `{soft}` | {below} | {above} | {after}; before {before} | - | - |" in text
