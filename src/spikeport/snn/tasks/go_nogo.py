"""Go-NoGo: answer 1 after a pulse, stay at 0 without one.

    u[k] = 1 for 50 <= k < 75 on Go trials, else 0;    target[k] = 1 for k >= 75 on Go trials, else 0

Source: Kim, Li & Sejnowski, PNAS 2019, "Go-NoGo task" and SI; steps of 5 ms, from their code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.tasks import rules
from spikeport.snn.tasks.base import Trials, Verdict, Window

_ON, _OFF = 50, 75  # steps: stimulus and target, from the published code
_SPIKING_START = 100  # steps = 0.5 s: where the published spiking evaluation begins to look
_KEY = 1  # of this task's random numbers, so that tasks do not share coins


@dataclass(frozen=True, kw_only=True)
class GoNoGo:
    """The Go-NoGo task of 1 s; labels 1 (Go) and 0 (NoGo), each with probability 1/2.

    Rules: "published": Go: max(o) > 0.7; NoGo: max|o| < 0.3 on rate outputs, max(o) < 0.3 on spiking ones.
    "strict": Go: mean(o) > 0.5; NoGo: |mean(o)| < 0.5. Published is the default: swinging cannot meet it.
    dt: s per step; another value stretches the whole task.
    """

    name: str = field(default="go-nogo", init=False)
    n_inputs: int = field(default=1, init=False)
    n_outputs: int = field(default=1, init=False)
    n_samples: int = field(default=200, init=False)
    rules: tuple[str, ...] = field(default=("published", "strict"), init=False)
    dt: float = 0.005

    @property
    def windows(self) -> Mapping[str, Window]:
        return {"rate": Window(start=_OFF * self.dt), "spiking": Window(start=_SPIKING_START * self.dt)}

    @property
    def events(self) -> Mapping[str, tuple[float, float]]:
        """What happens when, s from the start of a trial."""
        return {"stimulus": (_ON * self.dt, _OFF * self.dt)}

    def trials(self, n: int, *, seed: int, first: int = 0) -> Trials:
        rules.check_request(self.name, n, seed, first)
        labels = np.array(
            [np.random.default_rng([seed, first + i, _KEY]).integers(2) for i in range(n)], dtype=np.int64
        )
        inputs = np.zeros((self.n_samples, n, 1))
        targets = np.zeros((self.n_samples, n, 1))
        inputs[_ON:_OFF, :, 0] = labels
        targets[_OFF:, :, 0] = labels
        return Trials(inputs=inputs, targets=targets, labels=labels, dt=self.dt, first=first)

    def judge(self, outputs: NDArray[np.floating], trials: Trials, *, dt: float, kind: str, rule: str) -> Verdict:
        rules.check_judged(self, outputs, trials, dt=dt, kind=kind, rule=rule)
        o = rules.in_window(outputs, self.windows[kind], dt)
        if rule == "strict":
            right = rules.mean_on_side(o, trials.labels)
        else:
            height = np.abs(o) if kind == "rate" else o
            quiet = height.max(axis=0)[:, 0] < rules.LOW
            right = np.where(trials.labels == 1, o.max(axis=0)[:, 0] > rules.HIGH, quiet)
        return right & rules.all_finite(outputs)
