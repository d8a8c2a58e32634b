"""What `convert` prints of a calibration: its rounds, what it chose among, and accuracy against budgets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def calibration(found: Mapping[str, Any], budget: float) -> None:
    """The rounds of the closed loop, and what was chosen."""
    for number, made in enumerate(found["history"]):
        what = f"round {number}" if number else "f-I match"
        mark = "  <- chosen" if number == found["best"] else ""
        print(f"{what:<12} output error {made['score']:.3f}   unit error {made['own_error']:.4f}   "
              f"{made['expected_rate_hz']:6.2f} spikes/s{mark}")  # fmt: skip
    read = found["read_out"]
    if read["learned"]:
        print(f"read-out     learned again: output error {read['own_score']:.3f} -> {read['score']:.3f}")
    if len(found["choices"]) > 1:
        _choices(found)
    low, middle, high = (found["units"]["inverse_lambda"][i] for i in (0, 2, -1))
    silent = found["units"]["silent"]
    still = f", {silent} whose rate never moves not counted" if silent else ""
    print(f"units        1/lambda {low:.3g} to {high:.3g} (median {middle:.3g}){still}")
    print(f"             t_ref {found['t_ref'] * 1e3:g} ms, read-out {found['tau_out'] * 1e3:g} ms, "
          f"{found['budget_spent']:.0%} of {budget:g} spikes/s")  # fmt: skip
    if found["budget_left"]:
        print(f"budget       {found['budget_left']}")


def _choices(found: Mapping[str, Any]) -> None:
    """Every noise and refractory period that was a candidate, and why it is this one."""
    for made in found["choices"]:
        ran = "its f-I match fits worse" if made["score"] is None else (
            f"output error {made['score']:.3f}   {made['rate_hz']:6.2f} spikes/s"
            + ("  stopped early" if made.get("stopped") else "")
        )  # fmt: skip
        mark = "  <- chosen" if made["chosen"] else ""
        print(f"candidate    noise {made['noise_sd']:<6g} t_ref {made['t_ref'] * 1e3:g} ms   "
              f"match error {made['curve_error']:.4f}   {ran}{mark}")  # fmt: skip
    print(f"choice       {found['reason']}")


def finetuning(found: Mapping[str, Any]) -> None:
    """What training added, on calibration trials that trained neither."""
    kept = f"step {found['kept_step']} kept" if found["better"] else "none kept"
    print(f"fine-tuning  output error {found['loss_before']:.3f} -> {found['loss_after']:.3f}   "
          f"{found['mean_rate_hz_before']:.2f} -> {found['mean_rate_hz_after']:.2f} spikes/s   "
          f"{found['steps']} steps, {kept}")  # fmt: skip


def pareto(found: Mapping[str, Any]) -> None:
    """The result of `convert --pareto`: a line for each budget; what was finished, where it was interrupted."""
    print(f"task {found['task']}, method calibrated\n")
    print("budget  spikes/s  accuracy  95 % interval    trials")
    for point in found["points"]:
        low, high = point["interval"]
        print(f"{point['max_rate_hz']:6g}  {point['mean_rate_hz']:8.2f}  {point['spiking_accuracy']:8.3f}  "
              f"[{low:.3f}, {high:.3f}]   {point['trials']:6}")  # fmt: skip
    for warning in found["warnings"]:
        print(f"warning  {warning}")
    if not found["interrupted"]:
        print("\nNext: --method calibrated --max-rate BUDGET -o net.h5   in place of --pareto keeps one")
