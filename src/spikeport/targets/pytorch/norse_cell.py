"""Norse's `lif_box_feed_forward_step` as the cell of a population of threshold 1 and reset 0.

    v = v + dt tau_mem_inv (input + v_leak - v);  z = v > v_th;  v = (1 - z) v + z v_reset  or  (1 - z) v + z (v - v_th)

(Norse 1.1.0, functional/lif_box.py). In units of a step dt tau_mem_inv is 1 - A, so the input is the drive / (1 - A).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    # Norse 1.1.0 uses torch.jit.script as it is imported, which torch calls deprecated
    warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
    from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters, lif_box_feed_forward_step
    from norse.torch.functional.reset import reset_subtract, reset_value

from spikeport.targets.tables import PopulationStep

METHOD = "super"  # SuperSpike, Norse's own default: 1 / (|v - v_th| + 1)^2; its alpha is not used in 1.1.0


class LIFBoxCell(nn.Module):
    """`lif_box_feed_forward_step` with tau_mem_inv = 1 - A per step."""

    gain: Tensor

    def __init__(self, step: PopulationStep) -> None:
        super().__init__()
        self.reset = reset_subtract if step.subtracts else reset_value
        self.register_buffer("tau_mem_inv", torch.tensor(1 - step.A), persistent=False)
        self.register_buffer("gain", torch.tensor(1 / (1 - step.A)), persistent=False)
        for name, value in (("zero", 0.0), ("one", 1.0), ("alpha", 100.0)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64), persistent=False)
        self.known: dict[str, LIFBoxParameters] = {}

    def parameters_of(self, method: str) -> LIFBoxParameters:
        """Norse's own tuple; "heaviside" makes the same spikes without the cost of a surrogate."""
        if method not in self.known:
            self.known[method] = LIFBoxParameters(
                tau_mem_inv=self.tau_mem_inv, v_leak=self.zero, v_th=self.one, v_reset=self.zero, method=method,
                alpha=self.alpha, reset_method=self.reset,
            )  # fmt: skip
        return self.known[method]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LIFBoxCell:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.known = {}  # the tuples hold the tensors as they were
        return self

    def step(self, drive: Tensor, v: Tensor, free: Tensor | None, given: bool) -> tuple[Tensor, Tensor]:
        # a frozen unit's drive is its v, and v + (1 - A) (v - v) is v
        p = self.parameters_of(METHOD if torch.is_grad_enabled() else "heaviside")
        z, after = lif_box_feed_forward_step(drive, LIFBoxFeedForwardState(v), p, dt=1.0)
        return z, after.v

    def finish(self) -> None:
        """Nothing is kept."""

    def before_reset(self, drive: Tensor, v: Tensor, free: Tensor | None) -> Tensor:
        tau_mem_inv = self.get_buffer("tau_mem_inv")
        return v + tau_mem_inv * (drive - v)
