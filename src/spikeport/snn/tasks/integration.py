"""Context-dependent integration: of two noisy channels, report the sign of the mean of the one that the context names.

    u_c[k] = 0.5 s_c + n_c[k] for 50 <= k < 250, c = 0, 1, s = +-1, n of sd 1;   u_2+context[k] = 1 throughout
    target[k] = s_context for k >= 250

Source: Kim, Li & Sejnowski, PNAS 2019, "context-dependent integration", and SI (after Mante et al., Nature 2013);
steps of 5 ms, from their code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.tasks import rules
from spikeport.snn.tasks.base import Trials, Verdict, Window

_ON, _OFF = 50, 250  # steps: stimulus, then target; all numbers here from the published code
_RATE_START = 300  # steps: the last 200 of 500
_SPIKING_START = 260  # steps = 1.3 s
_OFFSET = 0.5  # of the channels' means, in units of the noise's sd
_KEY = 3  # of this task's random numbers, so that tasks do not share coins


@dataclass(frozen=True, kw_only=True)
class Integration:
    """The integration task of 2.5 s; labels +1 and -1: the sign of the true mean of the channel that counts.

    Signs and context are drawn with probability 1/2. An observer who sees all 200 samples errs with probability 1e-12.
    Rules: "strict" (default): sign(label) mean(o) > 0.5 over the window. "published": max(o) > 0.7 for +1, min(o) <
    -0.7 for -1. Windows: the last 200 steps for rate outputs, from 1.3 s for spiking ones.
    dt: s per step; another value stretches the whole task.
    """

    name: str = field(default="integration", init=False)
    n_inputs: int = field(default=4, init=False)
    n_outputs: int = field(default=1, init=False)
    n_samples: int = field(default=500, init=False)
    rules: tuple[str, ...] = field(default=("strict", "published"), init=False)
    dt: float = 0.005

    @property
    def windows(self) -> Mapping[str, Window]:
        return {"rate": Window(start=_RATE_START * self.dt), "spiking": Window(start=_SPIKING_START * self.dt)}

    @property
    def events(self) -> Mapping[str, tuple[float, float]]:
        """What happens when, s from the start of a trial."""
        return {"stimulus": (_ON * self.dt, _OFF * self.dt)}

    def trials(self, n: int, *, seed: int, first: int = 0) -> Trials:
        rules.check_request(self.name, n, seed, first)
        inputs = np.zeros((self.n_samples, n, 4))
        targets = np.zeros((self.n_samples, n, 1))
        labels = np.empty(n, dtype=np.int64)
        for i in range(n):
            rng = np.random.default_rng([seed, first + i, _KEY])
            coins = rng.integers(2, size=3)
            signs, context = 2 * coins[:2] - 1, coins[2]
            inputs[_ON:_OFF, i, :2] = _OFFSET * signs + rng.standard_normal((_OFF - _ON, 2))
            inputs[:, i, 2 + context] = 1.0
            labels[i] = signs[context]
        targets[_OFF:, :, 0] = labels
        return Trials(inputs=inputs, targets=targets, labels=labels, dt=self.dt, first=first)

    def judge(self, outputs: NDArray[np.floating], trials: Trials, *, dt: float, kind: str, rule: str) -> Verdict:
        rules.check_judged(self, outputs, trials, dt=dt, kind=kind, rule=rule)
        o = rules.in_window(outputs, self.windows[kind], dt)
        right = rules.mean_on_side(o, trials.labels) if rule == "strict" else rules.reaches(o, trials.labels)
        return right & rules.all_finite(outputs)
