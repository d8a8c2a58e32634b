"""A stimulus that was allowed, on its way: which of its pulses are still to come, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from spikeport.loop.guard.commands import Pulse


@dataclass(slots=True)
class Stimulus:
    """What is under way: (planned onset, the pulses that begin then), from `next` on still to come."""

    number: int
    groups: list[tuple[int, tuple[Pulse, ...]]]
    n_pulses: Mapping[str, int]
    next: int = 0
    last: dict[str, tuple[int, int]] = field(init=False)  # of each site: its last group, and when that ends

    def __post_init__(self) -> None:
        self.last = {
            pulse.site: (index, onset + pulse.duration_ns)
            for index, (onset, pulses) in enumerate(self.groups)
            for pulse in pulses
        }

    def ends(self) -> dict[str, int]:
        """When each site that is still to be given to is through with it, as planned."""
        return {site: end for site, (index, end) in self.last.items() if index >= self.next}
