"""What a step costs: its memory, byte by byte, and its operations, counted in the text that is written.

Counted is what the statements of the loops say, each loop as often as it runs when every unit spikes in the same step
and every input channel has a count: multiplies and adds of reals, compares, array elements read and written, and
integer and bit operations (of packed spikes and of the generator). Not counted: loop counters, addresses, local
variables, which a compiler keeps in registers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from spikeport.targets.c.text import bytes_of

_SUBSCRIPT = re.compile(r"\[[^\[\]]*\]")
_ASSIGNMENT = re.compile(r"(.*?) (=|\+=|\|=) ")
_PATTERNS = {
    "multiplies": re.compile(r" \* "),
    "adds": re.compile(r" (?:\+|-|\+=) "),
    "compares": re.compile(r" (?:<|>|<=|>=|==|!=) |if \(\S+\)"),
    "bit_operations": re.compile(r" (?:&|\||\^|<<|>>|\|=|\^=) "),
}


@dataclass(kw_only=True)
class Operations:
    """Of one step in the worst case; see the module."""

    multiplies: int = 0
    adds: int = 0
    compares: int = 0
    reads: int = 0
    writes: int = 0
    bit_operations: int = 0

    def add(self, statements: Sequence[str], times: int) -> None:
        """These statements, run `times`."""
        for statement in statements:
            if statement.startswith("SNN_TRACE"):  # nothing, unless somebody defines it
                continue
            plain = _SUBSCRIPT.sub("[]", statement)  # addresses are not counted
            assignment = _ASSIGNMENT.match(plain)
            written = assignment[1].split(" ")[-1].count("[]") if assignment else 0
            again = written if assignment and assignment[2] != "=" else 0  # a[i] += b reads a[i] too
            self.writes += written * times
            self.reads += (plain.count("[]") - written + again) * times
            for name, pattern in _PATTERNS.items():
                setattr(self, name, getattr(self, name) + len(pattern.findall(plain)) * times)

    def as_dict(self) -> dict[str, int]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, kw_only=True)
class Member:
    """A field of the state: `ctype name[shape]`; real: of type snn_real, whose C type is ctype."""

    ctype: str
    name: str
    shape: tuple[int, ...] = ()
    real: bool = False
    what: str = ""

    @property
    def align(self) -> int:
        return bytes_of(self.ctype)

    @property
    def size(self) -> int:
        count = 1
        for n in self.shape:
            count *= n
        return count * self.align

    def declaration(self) -> str:
        dimensions = "".join(f"[{n}]" for n in self.shape)
        told = f"    {'snn_real' if self.real else self.ctype} {self.name}{dimensions};"
        return told + (f" /* {self.what} */" if self.what else "")


@dataclass(kw_only=True)
class Sizes:
    """What a file takes. flash: bytes of its constant tables, without the code; ram: bytes of the state."""

    flash_bytes: int = 0
    members: list[Member] = field(default_factory=list)
    operations: Operations = field(default_factory=Operations)

    def ordered(self) -> list[Member]:
        """Largest alignment first, so that nothing is padded between."""
        return sorted(self.members, key=lambda m: -m.align)

    @property
    def ram_bytes(self) -> int:
        size = sum(m.size for m in self.members)
        whole = max((m.align for m in self.members), default=1)
        return -(-size // whole) * whole

    def as_dict(self) -> Mapping[str, Any]:
        return {"flash_bytes": self.flash_bytes, "ram_bytes": self.ram_bytes,
                "worst_step": self.operations.as_dict()}  # fmt: skip
