"""The verdict of a validation in words, from its numbers: does it work, and what should be looked at.

The first sentence is about accuracy, judged on the same trials: lost where the paired test says so (p < 0.05), kept
where the interval of the difference leaves out a loss of TOLERATED or more, undecided else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SIGNIFICANT = 0.05  # of McNemar's test
TOLERATED = 0.05  # a loss of accuracy below this is none
WORTH = 0.75  # accuracy of a rate model below which keeping it is no success

GOOD, UNSURE, BAD = "good", "unsure", "bad"


def verdict(found: Mapping[str, Any]) -> tuple[str, list[str]]:
    """(good, unsure or bad; sentences). found: what `spikeport validate --json` prints."""
    status, first = _headline(found)
    failing = [r for r in found["requirements"] if not r["holds"]]
    sentences = [first, *(f"{w[0].upper()}{w[1:]}." for w in found["warnings"])]
    if failing:
        status = BAD
        names = "; ".join(f"{r['level']}: {r['requirement']} ({_value(r['found'])})" for r in failing)
        sentences.append(f"{len(failing)} of {len(found['requirements'])} requirements fail: {names}.")
    elif found["requirements"]:
        n = len(found["requirements"])
        sentences.append(f"All {n} requirements hold." if n > 1 else "The requirement holds.")
    said = [(level, _accuracy(found, level)) for level in found["levels"][1:]]
    for level, free in found["free_running"].items():
        said += [(level, text) for text in _following(free, found["units"]["n"], found["trials"])]
    said += [(target, _replayed(replay)) for target, replay in found["replay"].items()]
    for text in dict.fromkeys(text for _, text in said):  # levels of which the same is true share a sentence
        sentences.append(f"{', '.join(level for level, mine in said if mine == text)}: {text}")
    return status, sentences


def _headline(found: Mapping[str, Any]) -> tuple[str, str]:
    """Of all levels the worst one speaks."""
    rate = found["levels"][0]
    silent = [
        level for level, free in found["free_running"].items() if free["silent_trials"] == found["trials"]
    ]  # fmt: skip
    if silent:
        return BAD, f"It does not work: no unit fired in any trial of {_and(silent)}."
    judged = [(_judge(found["accuracy"][level]["difference"]), level) for level in found["levels"][1:]]
    status = next(s for s in (BAD, UNSURE, GOOD) if s in {s for s, _ in judged})
    names = [level for s, level in judged if s == status]
    worst = min(names, key=lambda level: float(found["accuracy"][level]["difference"]["difference"]))
    size = found["accuracy"][worst]["difference"]
    points = f"{worst}: {100 * size['difference']:+.1f} points, 95 % interval {_span(size['interval'])}"
    if status == BAD:
        return BAD, f"Accuracy is lost from the {rate} to {_and(names)} ({points})."
    if status == UNSURE:
        return UNSURE, (
            f"Undecided: in {found['trials']} trials no loss of accuracy beyond chance, but one of "
            f"{100 * TOLERATED:g} points or more is not excluded ({points}). More trials decide."
        )
    right = found["accuracy"][rate]["accuracy"]
    if right < WORTH:
        return (
            UNSURE,
            f"No accuracy is lost, but the {rate} itself is right in only {right:.3f} of the trials ({points}).",
        )
    return GOOD, f"It works: the accuracy of the {rate} is kept ({points})."


def _judge(difference: Mapping[str, Any]) -> str:
    if difference["difference"] < 0 and difference["p"] < SIGNIFICANT:
        return BAD
    return GOOD if difference["interval"][0] > -TOLERATED else UNSURE


def _accuracy(found: Mapping[str, Any], level: str) -> str:
    here, rate = found["accuracy"][level], found["accuracy"][found["levels"][0]]
    d = here["difference"]
    chance = "more than chance gives" if d["p"] < SIGNIFICANT else "no more than chance gives"
    return (
        f"{here['accuracy']:.3f} of {here['trials']} trials right {_interval(here['interval'])}, the "
        f"{d['against']} {rate['accuracy']:.3f} {_interval(rate['interval'])}; right only there {d['only_there']}, "
        f"only here {d['only_here']}, {chance} (p = {d['p']:.2g})."
    )


def _following(free: Mapping[str, Any], n: int, trials: int) -> list[str]:
    correlation, rms = free["unit_correlation"], max(free["output_rms"])
    if correlation["median"] is None:
        follows = f"no unit has a correlation with the rate model ({correlation['undefined_when']})"
    else:
        follows = f"units follow the rate model with a median correlation of {correlation['median']:.2f}"
    sentences = [f"{follows}; the outputs are {rms:.3g} apart (root mean square)."]
    if free["silent_units"]:
        sentences.append(f"{free['silent_units']} of {n} units never fired.")
    if 0 < free["silent_trials"] < trials:
        sentences.append(f"no unit fired in {free['silent_trials']} of {trials} trials.")
    return sentences


def _replayed(replay: Mapping[str, Any]) -> str:
    if replay["compared"] == 0 and not replay["differing"]:
        return "replay compared no spike, because none was fired."
    if not replay["differing"]:
        return f"driven by the reference's own spikes it fires the same {replay['compared']} spikes."
    mine = replay["differing"] - replay["by_rounding"]
    cause = "all of them by rounding" if not mine else f"{mine} of them not by rounding"
    return (
        f"driven by the reference's own spikes, {replay['differing']} of {replay['compared']} spikes differ, {cause}."
    )


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _interval(interval: list[float]) -> str:
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]"


def _span(interval: list[float]) -> str:
    return f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"


def _value(value: float | None) -> str:
    return "no value" if value is None else f"{value:.4g}"
