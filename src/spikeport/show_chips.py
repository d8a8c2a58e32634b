"""What `convert --for CHIP` prints: the search in float and on the chip, and both on the same fresh trials."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any


def chip_search(found: Mapping[str, Any], *, task: str) -> None:
    """The result; task: as it was named in the call."""
    budget = "" if found["max_rate_hz"] is None else f", budget {found['max_rate_hz']:g} spikes/s"
    print(f"task {found['task']}, for {found['chip']}, method {found['method']}, preset {found['preset']}, "
          f"dt {found['dt'] * 1e3:g} ms, seed {found['seed']}{budget}\n")  # fmt: skip
    names = list(_choices(found["rows"]))
    _search(found["search"], found["rows"], names)
    rate = found["rate_accuracy"]
    low, high = found["rate_interval"]
    print(f"\n{found['trials']} fresh trials, {found['rule']} rule: rate network {rate:.3f} [{low:.3f}, {high:.3f}]")
    _rows(found["rows"], names)
    for loss in found["losses"]:
        print(f"loss                {loss}")
    told = found["rows"][0]
    for loss in told["losses"]:
        print(f"loss                {found['chip']}{_named(told, names)}: {loss}")
    for row in found["rows"][1:]:
        for loss in (text for text in row["losses"] if text not in told["losses"]):
            print(f"loss                {found['chip']}{_named(row, names)}: {loss}")
    for warning in found["warnings"]:
        print(f"warning             {warning}")
    print(f"time                {found['seconds']:.1f} s")
    _written(found, task, names)


def _choices(rows: Sequence[Mapping[str, Any]]) -> dict[str, None]:
    """The names of the chip's settings: what stands before 1/lambda in a row."""
    found: dict[str, None] = {}
    for row in rows:
        for name in row:
            if name == "inverse_lambda":
                break
            found[name] = None
    return found


def _named(row: Mapping[str, Any], names: Sequence[str]) -> str:
    return "".join(f", {name} {row[name]}" for name in names)


def _search(points: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    head = "".join(f"{name:>6}" for name in names)
    print(f"{head}  1/lambda   float    chip  spikes/s".removeprefix("" if names else "  "))
    for p in points:
        chosen = any(all(r[n] == p[n] for n in (*names, "inverse_lambda")) for r in rows)
        chip = "refuses" if p["accuracy"] is None else f"{p['accuracy']:7.3f}"
        cells = "".join(f"{p[name]:>6}" for name in names) + ("  " if names else "")
        mark = "  <- chosen" if chosen else ""
        print(f"{cells}{p['inverse_lambda']:>8.4g} {p['float_accuracy']:7.3f} {chip} {p['mean_rate_hz']:9.2f}{mark}")


def _rows(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Accuracy against bits: float and chip on the same trials."""
    head = "".join(f"{name:>6}" for name in names) + ("  " if names else "")
    print(f"{head}1/lambda  float  95 %            chip   95 %            chip less float, 95 %    spikes/s")
    for row in rows:
        cells = "".join(f"{row[name]:>6}" for name in names) + ("  " if names else "")
        low, high = row["difference_interval"]
        less = f"{row['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
        print(f"{cells}{row['inverse_lambda']:>8.4g}  {_accuracy(row, 'float_')}  {_accuracy(row, '')}  {less}"
              f" {row['mean_rate_hz']:8.2f}")  # fmt: skip


def _accuracy(row: Mapping[str, Any], which: str) -> str:
    low, high = row[f"{which}interval"]
    return f"{row[f'{which}accuracy']:.3f}  [{low:.3f}, {high:.3f}]"


def _written(found: Mapping[str, Any], task: str, names: Sequence[str]) -> None:
    if found["output"] is None:
        print("\nnothing was written; -o net.h5   keeps the network")
        return
    row = found["rows"][0]
    settings = "".join(f" --set {name}={row[name]}" for name in names)
    allow = f" --allow {','.join(row['allowed'])}" if row["allowed"] else ""
    fresh = f" --first {found['search_trials'] + found['trials']}" if task == found["task"] else ""
    fresh = fresh or f" --first {found['search_trials']}"  # a file ends: at least no trial that chose
    print(f"\nwrote {found['output']}{_named(row, names)}; next: spikeport run {shlex.quote(found['output'])} "
          f"--task {shlex.quote(task)} --target {found['chip']}{settings}{allow}{fresh}")  # fmt: skip
