"""A file of names and values, read strictly: what is unknown, twice, missing or out of range is said, all at once.

The file is YAML by PyYAML's composer, which makes nodes and runs nothing; the nodes become plain values here, by the
core schema of YAML 1.2: true and false are the only truth values (`no` and `on` are texts), 1e-3 is a number, 010 and
12:30 are texts, keys are always texts. Tags, anchors and aliases are refused; so is a key that stands twice.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spikeport.snn.errors import MissingDependencyError, SpikeportError

MAX_BYTES = 1 << 20  # of a file
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_MAX_DIGITS = 40
_WORDS = {"null": None, "Null": None, "NULL": None, "~": None, "true": True, "True": True, "TRUE": True,
          "false": False, "False": False, "FALSE": False}  # fmt: skip
_STR, _SEQ, _MAP = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))
Reader = Callable[[Any], Any]


@dataclass
class Problems:
    """What is wrong with a file, by its place; `lines` says where that is."""

    lines: dict[str, int] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)

    def add(self, where: str, what: str) -> None:
        line = self.lines.get(where)
        self.found.append(f"{where}: {what}" + ("" if line is None else f" (line {line})"))

    def within(self, where: str) -> bool:
        """Whether anything is wrong with a section, or in it."""
        return any(line.startswith((f"{where}: ", f"{where}.", f"{where}[")) for line in self.found)


def read_file(path: str | os.PathLike[str], *, texts: bool = False) -> tuple[dict[str, Any], Problems]:
    """The values of a YAML file, and what is wrong with how it is written. texts: leave every value a text."""
    yaml, path = _yaml(), Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SpikeportError(f"{path}: {path.stat().st_size} bytes, a configuration has at most {MAX_BYTES}")
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except OSError as error:
        raise SpikeportError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise SpikeportError(f"{path}: is no text in UTF-8: byte {error.start}") from None
    except yaml.YAMLError as error:
        raise SpikeportError(f"{path}: is no YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise SpikeportError(f"{path}: is no configuration: brackets without end") from None
    problems = Problems()
    values = {} if root is None else _Plain(problems, texts).value(root, "")
    if not isinstance(values, dict):
        raise SpikeportError(f"{path}: is no mapping of names to values", hint="source: {kind: udp, ...}")
    return values, problems


class _Plain:
    """Nodes to values."""

    def __init__(self, problems: Problems, texts: bool) -> None:
        self._problems, self._texts = problems, texts
        self._seen: set[int] = set()

    def value(self, node: Any, where: str) -> Any:
        self._problems.lines.setdefault(where, node.start_mark.line + 1)
        if id(node) in self._seen:
            self._problems.add(where, "an alias, write the value out")
            return None
        self._seen.add(id(node))
        if node.tag not in (_STR, _SEQ, _MAP):
            self._problems.add(where, f"the tag {node.tag!r:.80}, but a file names no types and runs nothing")
            return None
        if node.id == "scalar" and not _printable(node.value):
            self._problems.add(where, f"{node.value!r:.80}, which has characters that cannot be printed")
            return None
        if node.id == "mapping":
            return self._mapping(node, where)
        if node.id == "sequence":
            return [self.value(item, f"{where}[{i}]") for i, item in enumerate(node.value)]
        return node.value if self._texts or node.style is not None else self._scalar(node.value, where)

    def _mapping(self, node: Any, where: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in node.value:
            if key.id != "scalar" or not _printable(key.value):
                self._problems.add(where, f"a key that is {f'a {key.id}' if key.id != 'scalar' else repr(key.value)}")
                continue
            place = f"{where}.{key.value}" if where else str(key.value)
            if key.value in found:
                first, again = self._problems.lines[place], key.start_mark.line + 1
                self._problems.found.append(f"{place}: stands twice, in lines {first} and {again}")
                continue
            self._problems.lines[place] = key.start_mark.line + 1
            found[key.value] = self.value(item, place)
        return found

    def _scalar(self, text: str, where: str) -> Any:
        if text == "":  # what was forgotten must not read as null, which means "no limit" in some places
            self._problems.add(where, "has no value; write null where none is meant")
            return None
        if text in _WORDS:
            return _WORDS[text]
        if len(text) <= _MAX_DIGITS:
            if _INT.fullmatch(text):
                return int(text)
            if _FLOAT.fullmatch(text):
                return float(text)
        return text


def _printable(value: str) -> bool:
    """No zero byte, no half of a character: a path must not have them, and no message should."""
    return value.replace("\n", "").isprintable()


# ---- what a name may be


@dataclass(frozen=True)
class Field:
    """A name's reader (it raises ValueError with what the value must be), its meaning, and whether it must be given."""

    read: Reader
    meaning: str
    must: bool = False


Fields = Mapping[str, Field]


def need(read: Reader, meaning: str) -> Field:
    """A field without a default."""
    return Field(read, meaning, must=True)


def shown(value: Any) -> str:
    """A value in a message."""
    return f"'{value:.100}'" if isinstance(value, str) else f"{value!r:.100}" if value is not None else "null"


def check(values: Any, fields: Fields, where: str, problems: Problems) -> dict[str, Any]:
    """The values that are right; every other one, every missing and every unknown name becomes a problem."""
    if not isinstance(values, Mapping):
        problems.add(where or "file", f"{shown(values)}, must be names and values: {', '.join(fields)}")
        return {}
    found = {}
    for name in values:
        if name not in fields:
            problems.add(_at(where, name), f"unknown, {nearest(str(name), fields)}")
    for name, about in fields.items():
        place = _at(where, name)
        if name not in values:
            if about.must:
                problems.add(place, f"missing: {about.meaning}")
            continue
        try:
            found[name] = about.read(values[name])
        except ValueError as error:
            if not problems.within(place):  # said by the reader of the file
                problems.add(place, f"{shown(values[name])}, {error}")
    return found


def kind_of(values: Any, kinds: Collection[str], where: str, problems: Problems, python: Mapping[str, str]) -> str:
    """The `kind` of a section, or "" and a problem. python: kinds that only a program can make, and how."""
    known = ", ".join(kinds)
    if not isinstance(values, Mapping) or "kind" not in values:
        problems.add(_at(where, "kind"), f"missing, one of {known}")
        return ""
    kind = values["kind"]
    if isinstance(kind, str) and kind in kinds:
        return kind
    if isinstance(kind, str) and kind in python:
        problems.add(_at(where, "kind"), f"'{kind}' is Python's only, because a file runs nothing: {python[kind]}")
    else:
        near = nearest(str(kind), kinds)
        problems.add(_at(where, "kind"), f"{shown(kind)}, {near}")
    return ""


def nearest(name: str, known: Collection[str]) -> str:
    """What was probably meant."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"


def _at(where: str, name: str) -> str:
    return f"{where}.{name}" if where else str(name)


# ---- readers


def number(least: float = -math.inf, *, above: float = -math.inf, most: float = math.inf) -> Reader:
    """A finite float."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError("must be a number")
        if not (math.isfinite(value) and value >= least and value > above and value <= most):
            bounds = [f"at least {least:g}"] if least > -math.inf else []
            bounds += [f"above {above:g}"] if above > -math.inf else []
            bounds += [f"at most {most:g}"] if most < math.inf else []
            raise ValueError(f"must be {' and '.join(bounds) or 'finite'}")
        return float(value)

    return read


def whole(least: int, most: int | None = None) -> Reader:
    """An int."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("must be a whole number")
        if value < least or (most is not None and value > most):
            raise ValueError(f"must be at least {least}" + ("" if most is None else f" and at most {most}"))
        return value

    return read


def text(value: Any) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text (in quotes, where it looks like a number)")
    return value


def flag(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def one_of(*known: str) -> Reader:
    """One of some words."""

    def read(value: Any) -> str:
        if value not in known or not isinstance(value, str):
            raise ValueError(f"must be one of {', '.join(known)}")
        return value

    return read


def or_null(read: Reader) -> Reader:
    """null, or what `read` takes."""
    return lambda value: None if value is None else read(value)


def several(read: Reader, *, least: int = 1) -> Reader:
    """A list of what `read` takes, or one of it."""

    def read_all(value: Any) -> tuple[Any, ...]:
        items = value if isinstance(value, list) else [value]
        if len(items) < least:
            raise ValueError(f"must be {least} or more")
        return tuple(read(item) for item in items)

    return read_all


def as_it_is(value: Any) -> Any:
    """What its part checks itself."""
    return value


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise MissingDependencyError.for_extra("PyYAML", "live", "a loop in a file") from None
    return yaml
