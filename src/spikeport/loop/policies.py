"""What to do when data are lost, when the loop cannot keep up, and when the stream is gone: chosen, never assumed.

    lost      hold   the last good values once more           zero   zeros
              skip   nothing came: time goes on, held inputs stay, no spikes arrive, nothing is emitted
              abort  the run ends, with the safe value
    overload  latest the newest packet; ticks that are overdue become one, packets passed over are counted
              all    every packet in its order, late; what does not fit into `capacity` is given up, oldest first
              stop   the run ends, with the safe value

Overload is a tick that starts a period or more late, or more than `backlog` packets waiting beyond its own.
In every case the network's state goes on by the time that has passed, not by the packets that came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

import numpy as np

from spikeport.snn.errors import SpikeportError

LOST = ("hold", "zero", "skip", "abort")
OVERLOAD = ("latest", "all", "stop")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The choices of a run; the first five have no default.

    lost: one of LOST.  overload: one of OVERLOAD.  lost_after: ticks in a row without a good packet, after which the
    stream counts as lost and the safe value goes out.  good: good packets in a row that bring it back; a run begins
    without a stream, too.  safe: the safe value, (n_outputs,).
    window: ticks by which packets may come out of order; each adds a period of delay.  capacity: packets that may wait.
    backlog: packets that may wait beyond a tick's own before that is an overload.  budget: s after its deadline by
    which a tick must be out, else it is a miss; None: one period.
    """

    lost: str
    overload: str
    lost_after: int
    good: int
    safe: tuple[float, ...]
    window: int = 0
    capacity: int = 256
    backlog: int = 1
    budget: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "safe", _numbers(self.safe))
        problems = []
        for name, known in (("lost", LOST), ("overload", OVERLOAD)):
            if getattr(self, name) not in known:
                problems.append(f"{name}: {getattr(self, name)!r}, must be one of {', '.join(known)}")
        for name, least in (("lost_after", 1), ("good", 1), ("window", 0), ("capacity", 1), ("backlog", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                problems.append(f"{name}: {value!r}, must be a whole number, {least} or more")
        if not self.safe or not np.isfinite(self.safe).all():
            problems.append(f"safe: {self.safe}, must be one finite number per output")
        if self.budget is not None and not (_is_number(self.budget) and self.budget > 0):
            problems.append(f"budget: {self.budget!r} s, must be positive")
        if not problems and self.window + self.backlog >= self.capacity:
            problems.append(
                f"capacity: {self.capacity} packets, must be above window + backlog = {self.window + self.backlog}"
            )
        if problems:
            raise SpikeportError("policy: choices that contradict themselves", problems)

    @classmethod
    def of(cls, choices: Mapping[str, Any]) -> Policy:
        """From names and values, as a file has them; all that is missing or unknown is said at once."""
        known = {f.name: f.default is MISSING for f in fields(cls)}
        problems = [
            f"{name}: missing, and it has no default" for name, must in known.items() if must and name not in choices
        ]
        problems += [f"{name}: unknown, there are {', '.join(known)}" for name in choices if name not in known]
        if problems:
            raise SpikeportError("policy: what must be chosen is not", problems)
        return cls(**choices)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "safe": list(self.safe)}


def _numbers(value: Any) -> tuple[float, ...]:
    """A number, a list or an array of numbers as a tuple of floats; () where it is none of these."""
    values = np.atleast_1d(np.asarray(value, dtype=object)).tolist()
    return tuple(float(v) for v in values) if all(_is_number(v) for v in values) else ()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
