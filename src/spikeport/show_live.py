"""What `spikeport live` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spikeport.loop.accounting import duration, table

_SHOWN = 8  # gaps and ranges in a line


def checked(found: Mapping[str, Any]) -> None:
    """`live run --check`: what would run."""
    print(f"period          {found['period_s']:g} s")
    for name in ("decoder", "source", "sink", "clock", "policy"):
        print(f"{name:15} {_words(found[name])}")
    print(f"record          {found['record'] or 'none'}")
    guard = found["guard"]
    print(f"guard           {'none' if guard is None else _words(guard)}")
    print("everything fits; nothing was run")


def ran(found: Mapping[str, Any], text: str) -> None:
    """`live run`: the summary, and what stands beside it."""
    print(text)
    decoder = found["decoder"]
    if decoder.get("shadow"):
        shadow = decoder["shadow"]
        values = " ".join("none" if c is None else f"{c:.4f}" for c in shadow["correlation"][:_SHOWN])
        rms = " ".join(f"{x:.4g}" for x in shadow["rms"][:_SHOWN])
        print(f"shadow          {shadow['n']} ticks compared, correlation {values}, rms difference {rms}")
        if decoder.get("shadow_failure"):
            print(f"shadow failed   {decoder['shadow_failure']}")
    if found["guard"] is not None:
        guard = found["guard"]
        cause = f": {guard['cause']}" if guard["cause"] else ""
        known = [name for name in ("asked", "allowed", "refused", "given") if name in guard]
        counts = ", ".join(f"{guard[name]} {name}" for name in known)
        stops = f"; {guard['stops']} times told to stop" if guard.get("stops") else ""
        print(f"guard           {guard['state']}{cause}{'; ' if counts else ''}{counts}{stops}")
    if found["subject"] is not None:
        print(f"subject         {found['subject']['successes']} of {found['subject']['trials']} trials")
        for name in ("success", "time", "efficiency", "throughput", "bit_rate"):
            value, low, high = (float("nan") if x is None else x for x in found["subject"][name])
            print(f"  {name:13} {value:.2f}   95 % [{low:.2f}, {high:.2f}]")
    for line in found["warnings"]:
        print(f"warning         {line}")
    if found["record"] is not None:
        print(f"record          {found['record']}")


def record(found: Mapping[str, Any]) -> None:
    """`live show`."""
    decoder, versions = found["header"].get("decoder", {}), found["versions"]
    print(f"file            {found['file']}, {found['bytes']} bytes")
    print(f"ending          {found['ending']}")
    stopped = found["stopped"]
    if stopped:
        safe = "emitted" if stopped.get("safe_value_emitted") else "NOT emitted"
        took = stopped.get("took")
        safe += "; the guard did NOT take it" if isinstance(took, dict) and took.get("guard") is False else ""
        print(f"run ended       {stopped.get('reason')}; safe value {safe}")
    seconds = (found["ticks"] + found["merged_ticks"]) * found["period_s"]
    merged = f", and {found['merged_ticks']} merged" if found["merged_ticks"] else ""
    print(f"ticks           {found['ticks']} of {duration(found['period_s'] * 1e9)}, {seconds:g} s{merged}")
    print("                " + ", ".join(f"{n} {name}" for name, n in found["causes"].items()))
    print(f"decoder         {decoder.get('kind')}, {decoder.get('n_neurons')} units, {decoder.get('network', '')[:16]}")
    print("versions        " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    if found["gaps"]:
        spans = [_span(gap["first_tick"], gap["last_tick"]) + f" {gap['cause']}" for gap in found["gap_list"][:_SHOWN]]
        print(f"gaps            {found['gaps']}, {found['gap_ticks']} ticks in all, the longest {found['longest_gap']}")
        print("                ticks " + ", ".join(spans) + _more(found["gaps"]))
    if found["lost_packets"]:
        ranges = [_span(each["first"], each["last"]) for each in found["lost_list"][:_SHOWN]]
        print(f"lost            {found['lost_packets']} packets: " + ", ".join(ranges) + _more(found["lost_ranges"]))
    lost = found["record_lost"]
    if lost["ticks"] or lost["events"]:
        print(f"record lost     {lost['ticks']} ticks and {lost['events']} events: the disk could not keep up")
    print("events          " + (", ".join(f"{n} {kind}" for kind, n in found["events"].items()) or "none"))
    timing = found["timing"]
    print(f"deadlines       {timing['misses']} missed by more than {duration(timing['budget'])}, "
          f"longest run {timing['longest_run_of_misses']}")  # fmt: skip
    print()
    print(table(timing["stages"]))


def floor(found: Mapping[str, Any]) -> None:
    """`live floor`."""
    box = found["clock"].get("environment", {})
    print(f"{found['ticks']} empty ticks of {duration(found['period_s'] * 1e9)}: how late they started")
    print(table({"timer floor": found["timer_floor"]}))
    load = " ".join(map(str, box.get("load", []))) or "unknown"
    print(f"box             {box['kernel']}, {box['cpu']}, {box['cpus']} cores, load {load}")
    print(f"scheduler       {box.get('scheduler', 'unknown')}")
    for name, answer in found["clock"].get("got", {}).items():
        print(f"{name:15} {answer}")


def written(found: Mapping[str, Any]) -> None:
    """`live export-nwb`."""
    rows = ", ".join(f"{found[name]} {name}" for name in ("inputs", "outputs", "events"))
    print(f"written         {found['path']}: {rows}")
    for note in found["notes"]:
        print(f"note            {note}")


def _words(values: Mapping[str, Any]) -> str:
    """One line of names and values."""
    shown = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            value = "{" + _words(value) + "}"
        elif isinstance(value, (list, tuple)):
            value = f"[{', '.join(map(str, value[:_SHOWN]))}{', ...' if len(value) > _SHOWN else ''}]"
        shown.append(str(value) if name == "kind" else f"{name} {str(value)[:80]}")
    return ", ".join(shown)


def _span(first: Any, last: Any) -> str:
    return f"{first}" if first == last else f"{first}-{last}"


def _more(n: int) -> str:
    return f" and {n - _SHOWN} more" if n > _SHOWN else ""
