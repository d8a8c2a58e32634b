"""Temporal XOR: two pulses of either sign, one after the other; the answer is the sign of their product.

    u_0[k] = s_0 for 50 <= k < 100,   u_1[k] = s_1 for 110 <= k < 160,   s = +-1,
    target[k] = s_0 s_1 for 170 <= k < 270

Source: Kim, Li & Sejnowski, PNAS 2019, "temporal XOR task" and SI; steps of 5 ms, from their code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.tasks import rules
from spikeport.snn.tasks.base import Trials, Verdict, Window

_PULSES = ((50, 100), (110, 160))  # steps: channel 0, channel 1; all numbers here from the published code
_NAMES = ("first pulse", "second pulse")  # of _PULSES
_ANSWER = (170, 270)  # steps: where the target is +-1
_START = 200  # steps = 1.0 s: both rules begin to look
_KEY = 2  # of this task's random numbers, so that tasks do not share coins


@dataclass(frozen=True, kw_only=True)
class XOR:
    """The temporal XOR task of 1.5 s; labels +1 (same sign) and -1 (different), the signs drawn with probability 1/2.

    Rules: "strict" (default): sign(label) mean(o) > 0.5, over the part of the window in which the target is not 0
    (steps 200 to 270). "published": max(o) > 0.7 for +1, min(o) < -0.7 for -1, from step 200 to the end.
    dt: s per step; another value stretches the whole task.
    """

    name: str = field(default="xor", init=False)
    n_inputs: int = field(default=2, init=False)
    n_outputs: int = field(default=1, init=False)
    n_samples: int = field(default=300, init=False)
    rules: tuple[str, ...] = field(default=("strict", "published"), init=False)
    dt: float = 0.005

    @property
    def windows(self) -> Mapping[str, Window]:
        return {kind: Window(start=_START * self.dt) for kind in ("rate", "spiking")}

    @property
    def events(self) -> Mapping[str, tuple[float, float]]:
        """What happens when, s from the start of a trial."""
        return {name: (on * self.dt, off * self.dt) for name, (on, off) in zip(_NAMES, _PULSES, strict=True)}

    def trials(self, n: int, *, seed: int, first: int = 0) -> Trials:
        rules.check_request(self.name, n, seed, first)
        coins = [np.random.default_rng([seed, first + i, _KEY]).integers(2, size=2) for i in range(n)]
        signs = 2 * np.array(coins, dtype=np.int64) - 1
        labels = signs[:, 0] * signs[:, 1]
        inputs = np.zeros((self.n_samples, n, 2))
        targets = np.zeros((self.n_samples, n, 1))
        for channel, (on, off) in enumerate(_PULSES):
            inputs[on:off, :, channel] = signs[:, channel]
        targets[slice(*_ANSWER), :, 0] = labels
        return Trials(inputs=inputs, targets=targets, labels=labels, dt=self.dt, first=first)

    def judge(self, outputs: NDArray[np.floating], trials: Trials, *, dt: float, kind: str, rule: str) -> Verdict:
        rules.check_judged(self, outputs, trials, dt=dt, kind=kind, rule=rule)
        window = self.windows[kind]
        if rule == "strict":
            answered = Window(start=window.start, end=_ANSWER[1] * self.dt)
            right = rules.mean_on_side(rules.in_window(outputs, answered, dt), trials.labels)
        else:
            right = rules.reaches(rules.in_window(outputs, window, dt), trials.labels)
        return right & rules.all_finite(outputs)
