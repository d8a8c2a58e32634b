"""What the command line prints: results for people on standard output, progress and messages on standard error."""

from __future__ import annotations

import json
import math
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from spikeport.show_calibration import calibration, finetuning

Report = Callable[[int, int, str], None]
WIDTH = 100  # columns of a paragraph


def error(message: str) -> None:
    """A message on standard error."""
    print(message, file=sys.stderr)


def interrupted(interrupt: KeyboardInterrupt) -> None:
    """Ctrl-C: say so, and what was done until then."""
    error(str(interrupt) or "interrupted")
    for candidate in getattr(interrupt, "candidates", ()):
        error(f"  {_candidate_line(candidate.as_dict())}   {candidate.trials} trials")
    files = getattr(interrupt, "files", ())
    if files:  # a loop's record and its guard's log
        error(f"written until then: {', '.join(map(str, files))}")
    elif not hasattr(interrupt, "result"):  # training leaves a checkpoint, and its message says where
        error("no file was written")


def as_json(found: Mapping[str, Any]) -> str:
    """One line of strict JSON: what is no finite number is null."""
    return json.dumps(_finite(found), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def progress() -> Iterator[Report]:
    """A progress bar on standard error, only where a person is looking; lines would fill a log."""
    if not sys.stderr.isatty():
        yield lambda done, total, what: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        line = bar.add_task("starting (the first run compiles the engine, once)", total=None)
        yield lambda done, total, what: bar.update(line, completed=done, total=total, description=what)


def training_line(p: Any) -> str:
    """The description of a training's progress bar."""
    accuracy = "" if p.accuracy is None else f", accuracy {p.accuracy:.2f}"
    return f"loss {p.loss:.2f}{accuracy}" + (", converged" if p.converged else "")


def conversion(found: Mapping[str, Any], *, task: str) -> None:
    """The result of `convert`; task: as it was named in the call."""
    dtype = found["dtype"] if found["calibration"] is None else f"{found['dtype']} (calibrated in float32)"
    print(f"task {found['task']}, preset {found['preset']}, seed {found['seed']}, {dtype}")
    print()
    if found["calibration"] is not None:
        calibration(found["calibration"], found["max_rate_hz"])
    if found["finetuning"] is not None:
        finetuning(found["finetuning"])
    for candidate in found["search"]:
        mark = "  <- chosen" if candidate["inverse_lambda"] == found["inverse_lambda"] else ""
        print(_candidate_line(candidate) + mark)
    print()
    if found["rule"] is not None:
        print(f"fresh trials        {found['trials']}")
        for rule in (key.removeprefix("spiking_accuracy_") for key in found if key.startswith("spiking_accuracy_")):
            low, high = found[f"interval_{rule}"]
            used = "  (used)" if rule == found["rule"] else ""
            spiking, rate = found[f"spiking_accuracy_{rule}"], found[f"rate_accuracy_{rule}"]
            print(f"{rule + ' rule':<19} rate {rate:.3f}   spiking {spiking:.3f}  95 % [{low:.3f}, {high:.3f}]{used}")
    else:
        print(f"distance            {found['distance']:.4f}  root mean square to the rate outputs")
    print(f"1/lambda            {found['inverse_lambda']:g}{'' if found['search'] else ' in the mean, by unit'}")
    print(f"mean rate           {found['mean_rate_hz']:.2f} spikes/s a unit")
    print(f"time                {found['seconds']:.1f} s, of it {found['search_seconds']:.1f} s search")
    for loss in found["losses"]:
        print(f"loss                {loss['where']}: {loss['what']} ({loss['how_much']})")
    for warning in found["warnings"]:
        print(f"warning             {warning}")
    fresh = f" --first {found['next_first']}"
    _written(found["output"], f"spikeport run {{}} --task {shlex.quote(task)}{fresh}", "-o net.h5   keeps the network")


def run(found: Mapping[str, Any]) -> None:
    """The result of `run`."""
    print(f"task {found['task']}, {found['target']} {found['dtype']}, seed {found['seed']}, {found['trials']} trials")
    for rule in (key.removeprefix("spiking_accuracy_") for key in found if key.startswith("spiking_accuracy_")):
        low, high = found[f"interval_{rule}"]
        used = "  (used)" if rule == found["rule"] else ""
        print(f"{rule + ' rule':<19} {found[f'spiking_accuracy_{rule}']:.3f}  95 % [{low:.3f}, {high:.3f}]{used}")
    print(f"mean rate           {found['mean_rate_hz']:.2f} spikes/s a unit")
    if found["silent_trials"]:
        print(f"warning             no unit fired in {found['silent_trials']} of {found['trials']} trials")
    print(f"time                {found['seconds']:.1f} s")
    for loss in found["losses"]:
        print(f"loss                {loss['where']}: {loss['what']} ({loss['how_much']})")
    for warning in found["warnings"]:
        print(f"warning             {warning}")
    _written(found["output"], "spikeport inspect {}", "-o run.h5   keeps spikes and outputs")


def check(found: Mapping[str, Any]) -> None:
    """The result of `check`: a block for each target, with its reasons."""
    width = max(len(row["target"]) for row in found["targets"])
    for row in found["targets"]:
        installed = "" if row["installed"] else "   (not installed)"
        if row["takes"] and not row["losses"]:
            print(f"{row['target']:<{width}}  takes it exactly{installed}")
        elif row["takes"]:
            print(f"{row['target']:<{width}}  takes it, and gives up:{installed}")
        else:
            print(f"{row['target']:<{width}}  refuses:{installed}")
        for loss in row["losses"]:
            print(f"{'':<{width}}    {loss['where']}: {loss['what']} ({loss['how_much']})")
        for problem in row["problems"]:
            print(f"{'':<{width}}    {problem}")
        if row["hint"]:
            print(f"{'':<{width}}    Try: {row['hint']}")


def export(found: Mapping[str, Any]) -> None:
    """The result of `export`."""
    made = ", ".join(f"{name} {value}" for name, value in found["choices"].items())
    print(f"target {found['target']}" + (f", {made}" if made else ""))
    for loss in found["losses"]:
        print(f"loss                {loss['where']}: {loss['what']} ({loss['how_much']})")
    for name, value in found["costs"].items():
        told = ", ".join(f"{n} {what}" for what, n in value.items()) if isinstance(value, Mapping) else value
        print(f"{name.replace('_', ' '):<20}{str(told).replace('_', ' ')}")
    for name, value in found["notes"].items():
        print(f"{name:<20}{value}")
    beside = "".join(f", and {path} beside it" for path in found["beside"])
    print(f"\nwrote {found['output']}{beside}")


def imported(found: Mapping[str, Any]) -> None:
    """The result of `import`."""
    print(f"dt {found['dt_s']:g} s, integrator {found['integrator']}, {found['neurons']} neurons")
    for name, port in found["inputs"].items():
        print(f"input               {name}: {port['channels']} channels of {port['kind']}")
    for name, n in found["populations"].items():
        print(f"population          {name}: {n} neurons")
    for name, what in found["outputs"].items():
        print(f"output              {name}: {what}")
    for connection in found["next_step"]:
        print(f"loop                {connection}: acts in the next step, as the NIR reference has it")
    for loss in found["losses"]:
        print(f"loss                {loss}")
    _written(found["output"], "spikeport inspect {}", "")


SHORT = {"reader": "--for", "form": "--form", "dtype": "--dtype", "codegen": "--codegen"}  # choices with an option


def targets(found: Mapping[str, Any]) -> None:
    """The result of `targets`."""
    width = max(len(row["target"]) for row in found["targets"])
    for row in found["targets"]:
        does = "run, export" if row["runs"] and row["exports"] else "run" if row["runs"] else "export"
        state = "installed" if row["installed"] else f"missing: {row['fix']}"
        print(f"{row['target']:<{width}}  {does:<11}  {row['summary']}; {state}")
        for name, values in row["choices"].items():
            option = SHORT.get(name, f"--set {name}=")
            print(f"{'':<{width}}  {'':<11}  {option}: {', '.join(values)}")


def validation(found: Mapping[str, Any]) -> None:
    """The result of `validate`: a table of the levels, replay, and what was required."""
    print(f"task {found['task']}, {found['rule']} rule, {found['trials']} trials, seed {found['seed']}")
    print()
    width = max(map(len, found["levels"]))
    head = f"{'level':<{width}} {'accuracy':>8}  {'95 % interval':<16} {'unit corr.':>10} {'output rms':>10}"
    print(f"{head} {'spikes/s':>8} {'coincidence':>11}")
    for level in found["levels"]:
        accuracy = found["accuracy"][level]
        interval = f"[{accuracy['interval'][0]:.3f}, {accuracy['interval'][1]:.3f}]"
        line = f"{level:<{width}} {accuracy['accuracy']:>8.3f}  {interval:<16}"
        free = found["free_running"].get(level)
        if free is not None:
            rms = max(free["output_rms"])
            line += f" {_number(free['unit_correlation']['median']):>10} {rms:>10.3f} {free['mean_rate_hz']:>8.2f}"
            line += f" {_number(free['coincidence']['mean']) if 'coincidence' in free else '':>11}"
        print(line)
    for level, free in found["free_running"].items():
        for what in ("unit_correlation", "cv", "fano", "coincidence"):
            if what in free and free[what]["undefined"]:
                print(f"{level}: {free[what]['undefined']} units have no {what}: {free[what]['undefined_when']}")
        if free.get("trials_that_part"):
            first = free["first_parted_s"]
            print(
                f"{level}: parts from the spiking network in {free['trials_that_part']} trials, first after {first:g} s"
            )
        if free.get("distances"):
            _distances(level, free["distances"])
    for level in found["levels"][1:]:
        paired = found["accuracy"][level]["mcnemar"]
        print(f"{level}: against {paired['against']}, right only there {paired['only_there']}, only here "
              f"{paired['only_here']}, p {paired['p']:.3g} (McNemar)")  # fmt: skip
    for target, replay in found["replay"].items():
        differ = f"{replay['differing']} of {replay['compared']} spikes differ"
        if replay["differing"]:
            differ += f", {replay['by_rounding']} of them by rounding (v within 1e-9 mV of the threshold)"
            differ += "; its losses, below, are among the causes" if replay["losses"] else ""
        print(f"{target}: replay of {replay['trials']} trials, {differ}")
        if replay["first"] is not None:
            d = replay["first"]
            near = (
                ""
                if d["distance"] is None
                else f", v {d['v_expected']:.6g} mV, {d['distance']:.3g} mV from the threshold"
            )
            where = f"population {d['population']}, unit {d['neuron']}, step {d['step']} of trial {d['trial']}"
            print(f"  first: {where}: {d['found']} spikes instead of {d['expected']}{near}")
    for level, losses in found["losses"].items():
        for loss in losses:
            print(f"{level}: loss, {loss}")
    for warning in found["warnings"]:
        print(f"warning: {warning}")
    if found["why"] is not None:
        _why(found["why"])
    for verdict in found["requirements"]:
        value = f"no value: {verdict['why']}" if verdict["found"] is None else f"{verdict['found']:.4g}"
        print(f"{'holds' if verdict['holds'] else 'FAILS'}  {verdict['level']}: {verdict['requirement']} ({value})")
    if found.get("report"):
        print(f"\nwrote {found['report']}")


def _distances(level: str, found: Mapping[str, Any]) -> None:
    if found["missing"]:
        print(f"{level}: no distances of spike trains, which need {found['missing']}")
    elif found["units"]:
        named = {"van_rossum": "van Rossum", "victor_purpura": "Victor-Purpura", "isi_distance": "ISI",
                 "spike_distance": "SPIKE"}  # fmt: skip
        values = ", ".join(f"{words} {found[name]:.3g}" for name, words in named.items())
        print(f"{level}: spike trains from the spiking network's, mean of {found['units']} units: {values}")


def _why(found: Mapping[str, Any]) -> None:
    """The ladder to each level, each step undone alone, the remainders, and the sentence."""
    for level, ladder in found["ladders"].items():
        rows = [*ladder["steps"], *ladder["restored"]]
        width = max(len(row["step"]) for row in rows)
        print(f"\nfrom the rate model down to {level}, one step at a time")
        print(f"  {'':<{width}}  {'accuracy, 95 %':<20}  {'change, 95 %':<23}  output rms  spikes/s")
        for step in ladder["steps"]:
            print(_rung(step, step["against_above"], width))
            if step["what"]:
                print(f"      {step['what']}")
        if ladder["restored"]:
            print(f"{level} with one step undone")
        for step in ladder["restored"]:
            print(_rung(step, step["against_bottom"], width))
    print(f"\n{textwrap.fill(found['sentence'], WIDTH)}")


def _rung(step: Mapping[str, Any], cost: Mapping[str, Any] | None, width: int) -> str:
    low, high = step["interval"]
    line = f"  {step['step']:<{width}}  {step['accuracy']:.3f} [{low:.3f}, {high:.3f}]"
    if cost is None:
        return line
    low, high = cost["interval"]
    change = f"{cost['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"{line}  {change:<23}  {step['output_rms']:>10.3f}  {step['mean_rate_hz']:>8.2f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def training(found: Mapping[str, Any]) -> None:
    """The result of `train`."""
    state = "converged" if found["converged"] else "did NOT converge"
    print(f"{found['task']}: {state} after {found['steps']} steps, loss {found['loss']:.3f}, {found['seconds']:.0f} s")
    for rule, accuracy in found["rate_accuracy"].items():
        print(f"{rule + ' rule':<19} {accuracy:.3f} of {found['trials']} fresh trials")
    _written(found["output"], f"spikeport convert {{}} --task {shlex.quote(found['task'])} -o net.h5", "")


def summary(found: Mapping[str, Any]) -> None:
    """The result of `inspect`."""
    from spikeport.inspection import flatten

    rows = flatten(found)
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"{name:<{width}}  {text}")


def demonstration(found: Mapping[str, Any]) -> None:
    """The result of `demo`."""
    print("A trained rate network becomes a spiking LIF network that does the same task.\n")
    head = f"{'task':<12} {'rate':>6} {'spiking':>8}  {'95 % interval':<16}"
    print(f"{head} {'1/lambda':>8} {'spikes/s':>9} {'trials':>7}  rule")
    for task, c in found.items():
        interval = f"[{c['interval'][0]:.3f}, {c['interval'][1]:.3f}]"
        accuracies = f"{task:<12} {c['rate_accuracy']:>6.3f} {c['spiking_accuracy']:>8.3f}  {interval:<16}"
        print(f"{accuracies} {c['inverse_lambda']:>8g} {c['mean_rate_hz']:>9.2f} {c['trials']:>7}  {c['rule']}")
    task, c = next(iter(found.items()))
    print(f"\n{task}: accuracy of the spiking network over 1/lambda, {c['search'][0]['trials']} trials each")
    for candidate in c["search"]:
        mark = "  <- chosen" if candidate["inverse_lambda"] == c["inverse_lambda"] else ""
        bar = "█" * round(40 * candidate["accuracy"])
        print(f"{candidate['inverse_lambda']:>6g}  {bar:<40}  {candidate['accuracy']:.2f}{mark}")
    print("\nNext: spikeport convert YOUR_MODEL.mat --task go-nogo -o net.h5")


def diagnosis(found: Mapping[str, Any]) -> None:
    """The result of `doctor`."""
    print(f"spikeport {found['spikeport']}, Python {found['python']}, {found['machine']}, {found['cores']} cores")
    for package in found["packages"]:
        where = package["extra"] or "core"
        print(f"{where:<8} {package['name']:<14} {package['version'] or 'missing: ' + package['fix']}")
    print(f"{'models':<8} {', '.join(found['models']) or 'missing: pip install --force-reinstall spikeport'}")
    print("everything that the core needs is there" if found["ok"] else "the core is not complete")


def _candidate_line(candidate: Mapping[str, Any]) -> str:
    score = (
        f"distance {candidate['distance']:.4f}"
        if candidate["accuracy"] is None
        else f"accuracy {candidate['accuracy']:.3f}"
    )
    stopped = f"  (stopped after {candidate['trials']} trials: it could not win)" if candidate["stopped"] else ""
    return (
        f"1/lambda {candidate['inverse_lambda']:>7.4g}   {score}   {candidate['mean_rate_hz']:6.2f} spikes/s{stopped}"
    )


def _written(output: str | None, then: str, without: str) -> None:
    """The last line: what was written and what to try next; {} in `then` is its path."""
    if output is None:
        print(f"\nnothing was written; {without}")
    else:
        print(f"\nwrote {output}; next: {then.replace('{}', shlex.quote(output))}")
