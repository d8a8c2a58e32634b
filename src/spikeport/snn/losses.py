"""What a step down costs: every approximation has a name, a place and a size, or it is an error."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Loss:
    """One approximation: what was given up, where, and how much (in words, with the number)."""

    what: str
    where: str
    how_much: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what} ({self.how_much})"
