"""A subject in a loop on a virtual clock, and decoders for it, that the tests of the subject share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikeport.loop.clocks import VirtualClock
from spikeport.loop.loop import Loop
from spikeport.loop.packets import Array
from spikeport.loop.policies import Policy
from spikeport.loop.ports import Recorder
from spikeport.loop.subject.subject import Subject, SubjectInLoop
from spikeport.loop.summary import Summary


def policy(**changed: Any) -> Policy:
    choices = {"lost": "hold", "overload": "all", "lost_after": 100, "good": 1, "safe": (0.0, 0.0)}
    return Policy(**(choices | changed))


def play(
    subject: Subject, decoder: Any, n_trials: int, *, seed: int = 0, recorder: Recorder | None = None, **options: Any
) -> tuple[SubjectInLoop, Summary]:
    """n_trials of the subject with the decoder, in closed loop."""
    body = SubjectInLoop(subject, seed=seed, n_trials=n_trials, keep=True)
    loop = Loop(body, decoder, body, VirtualClock(**options), policy(), recorder, period=subject.period)
    return body, loop.run()


class Fixed:
    """A decoder that says what a function of the tick's number (from 1) says, whatever the counts are."""

    n_outputs = 2

    def __init__(self, subject: Subject, says: Callable[[int], ArrayLike]) -> None:
        self.n_inputs, self.period, self._says = subject.tuning.n, subject.period, says

    def step(self, events: ArrayLike | None, t: float) -> Array:
        return np.array(self._says(round(t / self.period)), dtype=np.float64)

    def reset(self, dataset_tags: Sequence[Any] = ()) -> None: ...
    def predict(self, neural_observations: ArrayLike) -> Any: ...
    def observe(self, neural_observations: ArrayLike) -> None: ...
    def on_done(self, dones: ArrayLike) -> None: ...
    def snapshot(self) -> Any: ...
    def restore(self, state: Any) -> None: ...

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "fixed"}
