"""The gate: requirements on the numbers of a validation, so that a pipeline can stop on them.

    accuracy>=0.95      NAME OPERATOR VALUE, with >=, >, <=, < or ==

A name is a number of every level that is validated, where the level has it: only a target has a replay. One that has no
value (a silent network has no correlation) fails, and says why; so does one that no level has.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from spikeport.snn.errors import SpikeportError

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_FORM = re.compile(r"\s*(\w+)\s*(>=|<=|==|>|<)\s*(\S+)\s*")

NUMBERS: dict[str, tuple[str, ...]] = {  # name -> where it is in a level's results
    "accuracy": ("accuracy", "accuracy"),
    "accuracy_low": ("accuracy", "interval", "0"),
    "unit_correlation": ("free_running", "unit_correlation", "median"),
    "unit_error": ("free_running", "unit_error", "median"),
    "output_rms": ("free_running", "output_rms", "0"),
    "mean_rate_hz": ("free_running", "mean_rate_hz"),
    "silent_units": ("free_running", "silent_units"),
    "trajectory_distance": ("free_running", "trajectory_distance_aligned"),
    "coincidence": ("free_running", "coincidence", "mean"),
    "replay_differing": ("replay", "differing"),
}

SHARES = frozenset({"accuracy", "accuracy_low", "unit_correlation", "coincidence"})  # at most 1
OF_TARGETS = frozenset({"coincidence", "replay_differing"})  # needs a target to compare


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """`name` must be `sign` `value`."""

    name: str
    sign: str
    value: float

    def __str__(self) -> str:
        return f"{self.name}{self.sign}{self.value:g}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One requirement of one level. found: the number, None where there is none, because of `why`."""

    requirement: Requirement
    level: str
    found: float | None
    why: str = ""

    @property
    def holds(self) -> bool:
        if self.found is None:
            return False
        return OPERATORS[self.requirement.sign](self.found, self.requirement.value)

    def __str__(self) -> str:
        value = f"{self.found:.6g}" if self.found is not None else f"no value, {self.why}"
        return (
            f"{self.level}: {self.requirement.name} {value}, must be {self.requirement.sign} {self.requirement.value:g}"
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "requirement": str(self.requirement),
            "found": self.found,
            "holds": self.holds,
            "why": self.why or None,
        }


def parse_requirements(texts: Sequence[str]) -> tuple[Requirement, ...]:
    """Requirements from their text; all that are wrong are refused at once."""
    found, problems = [], []
    for text in texts:
        parts = _FORM.fullmatch(text)
        if parts is None:
            problems.append(f"'{text}': is not NAME OPERATOR VALUE, with one of {', '.join(OPERATORS)}")
            continue
        name, sign, value = parts.groups()
        if name not in NUMBERS:
            problems.append(f"'{text}': no number is called {name}; there are {', '.join(NUMBERS)}")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isnan(number):
            problems.append(f"'{text}': {value} is no number")
        never = (sign in (">=", ">", "==") and number > 1) or (sign == ">" and number == 1)
        if name in SHARES and never:
            problems.append(
                f"'{text}': {name} is at most 1, so this can never hold (per cent? {name}{sign}{number / 100:g})"
            )
        found.append(Requirement(name=name, sign=sign, value=number))
    if problems:
        raise SpikeportError("requirements that cannot be checked", problems, hint="--require 'accuracy>=0.95'")
    return tuple(found)


def judge(requirements: Sequence[Requirement], levels: Mapping[str, Mapping[str, Any]]) -> tuple[Verdict, ...]:
    """Every requirement of every level. levels: name -> {"accuracy": ..., "free_running": ..., "replay": ...}."""
    found = []
    for r in requirements:
        path = NUMBERS[r.name]
        having = [name for name, numbers in levels.items() if path[1] in numbers.get(path[0], {})]
        for name in having:
            value, why = _look(levels[name], path)
            found.append(Verdict(requirement=r, level=name, found=value, why=why))
        if not having:
            why = "it was not measured" + ("; it is a target's, see --targets" if r.name in OF_TARGETS else "")
            found.append(Verdict(requirement=r, level="every level", found=None, why=why))
    return tuple(found)


def _look(numbers: Any, path: Sequence[str]) -> tuple[float | None, str]:
    """The number at `path`, or None and why there is none."""
    above: Any = {}
    for part in path:
        if isinstance(numbers, list):
            numbers = numbers[int(part)] if int(part) < len(numbers) else None
        else:
            above, numbers = numbers, numbers[part]
    if numbers is None:
        return None, (above.get("undefined_when") if isinstance(above, Mapping) else None) or "nothing to measure"
    return float(numbers), ""


def junit(verdicts: Sequence[Verdict], name: str) -> bytes:
    """The verdicts as JUnit XML, a test case each, for CI systems."""
    failed = [v for v in verdicts if not v.holds]
    suite = ElementTree.Element("testsuite", name=name, tests=str(len(verdicts)), failures=str(len(failed)))
    for verdict in verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname=verdict.level, name=str(verdict.requirement))
        if not verdict.holds:
            ElementTree.SubElement(case, "failure", message=str(verdict))
    found: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return found
