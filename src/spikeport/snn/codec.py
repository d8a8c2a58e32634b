"""Between dataclasses and trees (storage.py): one rule for all of them, so that a new class needs one registry line.

A field becomes the tree's entry of the same name: arrays, numbers and texts as they are, a mapping a group, a tuple of
dataclasses a group of "0", "1", ..., a tuple of numbers an array, `Mapping[str, Any]` JSON, None nothing. A dataclass
inside another is a group whose attribute `@type` is its class name. What comes back is checked against the class's
annotations, every problem at once.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from spikeport.snn.storage import Json, Stored

T = TypeVar("T")
TYPE = "@type"
Classes = Mapping[str, type]


def encode(instance: Any) -> dict[str, Any]:
    """The tree of a dataclass instance, without a `@type` of its own: the kind of the file says it."""
    hints = get_type_hints(type(instance))
    return {f.name: _encode(getattr(instance, f.name), hints[f.name]) for f in fields(instance)}


def decode(stored: Stored, cls: type[T], classes: Classes) -> T:
    """An instance of `cls` from a stored tree; `classes`: the dataclasses that may lie in it, by name."""
    problems: list[str] = []
    instance = _build(stored.tree, cls, classes, "", problems)
    if problems or not isinstance(instance, cls):
        raise stored.invalid(problems)
    return instance


def _encode(value: Any, hint: Any) -> Any:
    if value is None:
        return None
    if hint == Mapping[str, Any]:
        return Json(dict(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {TYPE: type(value).__name__, **encode(value)}
    if isinstance(value, Mapping):  # a key that looks like a tag gets one more @
        return {("@" + key if key.startswith("@") else key): _encode(item, None) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value if value.ndim else value.item()
    if isinstance(value, tuple) and all(isinstance(item, (int, np.integer)) for item in value) and value:
        return np.array(value, dtype=np.int64)
    if isinstance(value, (tuple, list)):
        return {str(i): _encode(item, None) for i, item in enumerate(value)}
    return value


def _build(tree: Mapping[str, Any], cls: type, classes: Classes, where: str, problems: list[str]) -> Any:
    """An instance of `cls`, or None with at least one problem added."""
    hints = get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}
    found = [
        f"{where}{name}: unknown, {cls.__name__} has {', '.join(known)}" for name in tree if name not in {*known, TYPE}
    ]
    values: dict[str, Any] = {}
    for name, f in known.items():
        if name in tree:
            values[name] = _decode(tree[name], hints[name], classes, f"{where}{name}", found)
        elif not _optional(f):
            found.append(f"{where}{name}: missing")
    problems += found
    if found:
        return None
    # A part that refuses its own values (InvalidNetworkError) says so itself; load_* adds the file's name.
    return cls(**values)


def _optional(f: Field[Any]) -> bool:
    return f.default is not MISSING or f.default_factory is not MISSING


def _decode(value: Any, hint: Any, classes: Classes, where: str, problems: list[str]) -> Any:
    """`value` as what `hint` asks for; a problem is added where it cannot be that."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for option in options:
        if _suits(value, option):
            return _take(value, option, classes, where, problems)
    shown = f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__
    shown = f"{value[TYPE]!r}" if isinstance(value, dict) and TYPE in value else shown
    problems.append(f"{where}: {shown}, must be {_name(hint)}")
    return None


def _suits(value: Any, hint: Any) -> bool:
    """Whether `value` has the outer form of `hint`, which is no union."""
    origin = get_origin(hint)
    if hint is Any:
        return True
    if origin is np.ndarray:
        return isinstance(value, np.ndarray) and value.dtype.kind in _kinds(hint)
    if origin is tuple and get_args(hint)[0] is int:
        return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iu"
    if origin is tuple:
        return isinstance(value, dict) and TYPE not in value and set(value) == {str(i) for i in range(len(value))}
    if hint == Mapping[str, Any]:
        return isinstance(value, dict)  # JSON, whose keys are its own
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, dict) and TYPE not in value
    if is_dataclass(hint):
        return isinstance(value, dict) and value.get(TYPE) == getattr(hint, "__name__", None)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(hint, type) and isinstance(value, hint)


def _take(value: Any, hint: Any, classes: Classes, where: str, problems: list[str]) -> Any:
    """The parts of a `value` that suits `hint`, each in its turn."""
    origin = get_origin(hint)
    if origin is np.ndarray:
        return value.astype(np.float64) if _scalar(hint) is np.float64 and value.dtype.kind == "f" else value
    if origin is tuple and get_args(hint)[0] is int:
        return tuple(value.tolist())
    if origin is tuple:
        item = get_args(hint)[0]
        return tuple(_decode(value[str(i)], item, classes, f"{where}/{i}", problems) for i in range(len(value)))
    if origin is not None and issubclass(origin, Mapping) and hint != Mapping[str, Any]:
        item = get_args(hint)[1]
        keys = {key: key[1:] if key.startswith("@") else key for key in value}
        return {
            keys[key]: _decode(part, item, classes, f"{where}/{keys[key]}", problems) for key, part in value.items()
        }
    if is_dataclass(hint):
        cls = classes.get(value[TYPE])
        if cls is None:
            problems.append(f"{where}: {value[TYPE]!r} is in no file of this kind")
            return None
        return _build(value, cls, classes, f"{where}/", problems)
    return value


def _scalar(hint: Any) -> Any:
    """np.float64 of NDArray[np.float64]."""
    return get_args(get_args(hint)[1])[0]


def _kinds(hint: Any) -> str:
    """The dtype kinds that an NDArray annotation takes; whole numbers do for floats."""
    scalar = _scalar(hint)
    if scalar is np.bool_:
        return "b"
    return "iu" if issubclass(scalar, np.integer) else "fiu"


def _name(hint: Any) -> str:
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return " or ".join("an array" if get_origin(o) is np.ndarray else getattr(o, "__name__", str(o)) for o in options)
