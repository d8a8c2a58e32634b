"""What `spikeport estimate` prints: counts first, then ranges with their sources, then what they leave out."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 100
PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M"}


def estimation(found: Mapping[str, Any]) -> None:
    """The result of `estimate`, per trial."""
    spiking = found["spiking"]
    trials, run = spiking["trials"], found["run"]
    print(f"target {found['target']}, {trials} trials of {spiking['duration_s']:g} s; all numbers are of one trial")
    if run is not None:
        low, high = run["interval"]
        print(f"task {run['task']}, seed {run['seed']}, {run['rule']} rule {run['spiking_accuracy']:.3f}  "
              f"95 % [{low:.3f}, {high:.3f}], {run['mean_rate_hz']:.2f} spikes/s a unit")  # fmt: skip
        if run["silent_trials"]:
            print(f"warning: no unit fired in {run['silent_trials']} of {trials} trials, which makes them cheap")
    print("\nspiking network: counts")
    _counts(spiking["counts"], trials)
    _cost("spiking network", spiking, trials)
    for device, rate in found["rate"].items():
        if device == next(iter(found["rate"])):
            print("\nrate network: counts of a trial, sparse (weights that are not 0) and dense")
            _rate_counts(rate["counts"])
        _cost("rate network", rate, trials)
    _sources([spiking, *found["rate"].values()])
    for loss in found["losses"]:
        print(f"loss: {loss}")
    for warning in () if run is None else run["warnings"]:
        print(f"warning: {warning}")


def _counts(c: Mapping[str, Any], trials: int) -> None:
    def each(values: Mapping[str, int]) -> float:
        return sum(values.values()) / trials

    def parts(values: Mapping[str, int]) -> str:
        return ", ".join(f"{name} {number(n / trials)}" for name, n in values.items()) if len(values) > 1 else ""

    rows = [("steps", c["steps"], f"of {si(c['dt_s'], 's')}"), ("spikes", each(c["spikes"]), parts(c["spikes"]))]
    if c["input_spikes"]:
        rows.append(("input spikes", each(c["input_spikes"]), parts(c["input_spikes"])))
    rows.append(("synaptic events", each(c["synaptic_events"]), parts(c["synaptic_events"])))
    if c["synaptic_reads"] != c["synaptic_events"]:
        rows.append(("synapses read", each(c["synaptic_reads"]), "with the zeros that are stored"))
    rows.append(("neuron updates", each(c["neuron_updates"]), parts(c["neuron_updates"])))
    rows += [(what, c[what] / trials, "") for what in ("messages", "hops") if c[what] is not None]
    rows.append(("host", c["host_multiply_accumulates"] / trials, "multiply-accumulates of held inputs and read-outs"))
    if c["host_writes"]:
        rows.append(("host writes", c["host_writes"] / trials, "biases or currents, at most"))
    rows += [(f"{what}, bytes", n, "") for what, n in c["memory_bytes"].items()]
    rows += [(what, n, "") for what, n in c["places"].items()]
    for what, value, more in rows:
        print(f"  {what:<20} {number(value):>14}  {more}".rstrip())
    for how in c["how"]:
        _paragraph("  counted so: " + how)


def _rate_counts(c: Mapping[str, Any]) -> None:
    print(f"  {'steps':<20} {number(c['steps']):>14}  of {si(c['dt_s'], 's')}")
    for name, what in (("multiply_accumulates", "multiply-accumul."), ("bytes_moved", "bytes moved"),
                       ("memory_bytes", "memory, bytes")):  # fmt: skip
        print(f"  {what:<20} {number(c[name]['nonzero']):>14} {number(c[name]['dense']):>14}")
    print(f"  {'phi':<20} {number(c['activations']):>14}")
    if c["noise_draws"]:
        print(f"  {'numbers of noise':<20} {number(c['noise_draws']):>14}")


def _cost(whose: str, e: Mapping[str, Any], trials: int) -> None:
    if e["device"] is None:
        target = e["counts"]["target"]
        print(f"\nno published figures for {target}: counts only; --as DEVICE prices them as another's")
        return
    print(f"\n{whose} on {e['device']}{'low':>{37 - len(whose) - len(e['device'])}} {'high':>12}")
    for term in e["terms"]:
        _row(term["event"] + "s" if not term["event"].endswith("moved") else "bytes moved", term["joules"], "J", trials)
    if e["joules"] is not None:
        _row("energy of the events", e["joules"], "J", trials)
    else:
        print("  no figure of an event that was counted")
    if e["joules_host"] is not None:
        _row("the host's arithmetic", e["joules_host"], "J", trials)
    if e["joules_switched_on"] is not None:
        _row("switched on so long", e["joules_switched_on"], "J", trials)
    if e["seconds"] is not None:
        _row("time", e["seconds"], "s", trials)
    _paragraph(f"  time: {e['seconds_how']}")
    if e["left_out"]:
        _paragraph("  not in the energy: " + "; ".join(e["left_out"]))


def _row(what: str, value: Sequence[float], unit: str, trials: int) -> None:
    low, high = (si(v / trials, unit) for v in value)
    print(f"  {what:<26} {low:>12} {high:>12}")


def _sources(estimates: Sequence[Mapping[str, Any]]) -> None:
    """Each figure once, by source."""
    rows = {tuple(f.items()): f for e in estimates for f in e["figures"]}.values()
    by_source: dict[tuple[str, str, str, str], list[Mapping[str, Any]]] = {}
    for f in rows:
        by_source.setdefault((f["source"], f["where"], f["basis"], f["verified"]), []).append(f)
    if by_source:
        print("\nfigures")
    for (source, where, basis, verified), mine in by_source.items():
        values = ", ".join(f"{f['device']} {f['event']} {_figure(f)}" for f in mine)
        _paragraph(f"  {source}, {where} ({basis}; verified: {verified}): {values}")


def _figure(f: Mapping[str, Any]) -> str:
    unit = "" if f["unit"] == "1" else f["unit"]
    low, high = si(f["low"], unit), si(f["high"], unit)
    return low if f["low"] == f["high"] else f"{low} .. {high}"


def _paragraph(text: str) -> None:
    print(textwrap.fill(text, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False))


def number(value: float) -> str:
    """1,234, and one decimal where it is not whole."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def si(value: float, unit: str) -> str:
    """Three digits and a prefix: 2.35 µJ."""
    if value == 0:
        return f"0 {unit}".strip()
    power = 3 * math.floor(math.log10(abs(value)) / 3)
    power = min(max(power, min(PREFIXES)), max(PREFIXES)) if unit else 0
    scaled = value / 10.0**power
    if unit and f"{scaled:.3g}" == "1e+03" and power + 3 in PREFIXES:
        scaled, power = scaled / 1000, power + 3
    return f"{scaled:.3g} {PREFIXES[power]}{unit}".strip()
