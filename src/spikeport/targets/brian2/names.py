"""Names of a network's parts in a script: what Python and Brian2 take, and nothing that could end a string there."""

from __future__ import annotations

import re
from collections.abc import Iterable

PLAIN = re.compile(r"[\w .,:;+=/<>()-]+")  # no quotes, backslashes, braces, line ends


def identifier(name: str) -> str:
    """`name` with whatever an identifier may not hold replaced by "_"; used with a prefix or a suffix only."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def population(name: str) -> str:
    """The variable of a population; its suffix keeps it apart from keywords and from the script's own names."""
    return f"{stem(name)}_units"


def given(name: str) -> str:
    """The variable of an input."""
    return f"{stem(name)}_input"


def stem(name: str) -> str:
    """The first part of the variables that belong to `name`."""
    found = identifier(name)
    return found if re.match(r"[A-Za-z]", found) else f"n{found}"  # Brian2 takes no leading underscore


def harmless(text: str) -> str:
    """`text` for a docstring."""
    return "".join(c if PLAIN.fullmatch(c) or c == "'" else "_" for c in text)


def unwritable(names: Iterable[str]) -> list[str]:
    """A line for each name that cannot stand in a script."""
    allowed = "letters, digits, spaces and .,:;+=/<>()- only"
    return [f"name {name!r}: {allowed}" for name in names if not PLAIN.fullmatch(name)]


def clashes(names: Iterable[str]) -> list[str]:
    """A line for each name that becomes the same identifier as an earlier one."""
    seen: dict[str, str] = {}
    found = []
    for name in names:
        if identifier(name) in seen:
            found.append(f"names '{seen[identifier(name)]}' and '{name}': both would be {identifier(name)}")
        seen.setdefault(identifier(name), name)
    return found
