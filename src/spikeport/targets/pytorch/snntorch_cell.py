"""snnTorch's `Leaky` as the cell of a population of threshold 1 and reset 0.

    reset = mem > 1;  mem = beta mem + input - reset (subtract), beta (1 - reset) mem + input (zero)
    spk = mem > 1;  mem = mem - (spk - reset) (subtract), mem - (spk - reset) mem (zero)

with reset_delay=False (snnTorch 1.0.0, _neurons/leaky.py). Where mem <= 1 at the start, that is the canonical step.
Where it is above, as after a subtraction from more than 2, the reset it would have made one step late comes in:
`subtract` compares beta mem + input - 1 with the threshold and misses a spike, `zero` compares input alone and, where
that is no spike, goes on from twice the input. So the part above 1 is handed in as input instead, beta (mem - 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import snntorch
import torch
from snntorch import surrogate
from torch import Tensor, nn

from spikeport.targets.tables import PopulationStep

ALPHA = 2.0  # of the arc tangent: snnTorch's own default


class LeakyCell(nn.Module):
    """`Leaky` with beta = A, threshold 1, and the traps around it."""

    gain = None
    zero: Tensor

    def __init__(self, step: PopulationStep) -> None:
        super().__init__()
        self.leaky = snntorch.Leaky(
            beta=torch.tensor(step.A), threshold=1.0, spike_grad=_Spike(), reset_delay=False,
            reset_mechanism="subtract" if step.subtracts else "zero",
        )  # fmt: skip
        self.register_buffer("zero", torch.zeros((), dtype=torch.float64), persistent=False)
        # snnTorch keeps every neuron that was ever made in a list of the class, for its own resets of hidden states
        snntorch.SpikingNeuron.instances[:] = [x for x in snntorch.SpikingNeuron.instances if x is not self.leaky]
        # can v be above the threshold at the start of a step? After a subtraction, or where a frozen unit may not spike
        self.exceeds = step.subtracts or (step.may_freeze and not step.population.spikes_while_refractory)

    def step(self, drive: Tensor, v: Tensor, free: Tensor | None, given: bool) -> tuple[Tensor, Tensor]:
        mem = v if free is None else torch.where(free, v, self.zero)
        if given or self.exceeds:
            low = mem.clamp(max=1.0)
            drive, mem = torch.addcmul(drive, self.leaky.beta, mem - low), low
        self.leaky.mem = mem  # not as its argument, which it compares with None: that takes 35 microseconds
        z, after = self.leaky(drive)
        return z, after

    def finish(self) -> None:
        """Leaky keeps mem, which would hold the graph of a training step in memory, and forbid copies of the module."""
        self.leaky.mem = self.leaky.reset = torch.zeros(0)

    def before_reset(self, drive: Tensor, v: Tensor, free: Tensor | None) -> Tensor:
        mem = v if free is None else torch.where(free, v, self.zero)
        beta: Tensor = self.leaky.beta
        return beta * mem + drive

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LeakyCell:
        """Leaky branches on the buffer reset_mechanism_val in every step: on a GPU that would wait for the GPU."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.leaky.reset_mechanism_val = self.leaky.reset_mechanism_val.cpu()
        return self


class _Spike:
    """v > 0 in the dtype of v (snnTorch's own is float32 always), with snnTorch's gradient where one is wanted."""

    def __init__(self) -> None:
        self.surrogate: Any = surrogate.atan(alpha=ALPHA)

    def __call__(self, v: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            spikes: Tensor = self.surrogate(v)
            return spikes.to(v.dtype)
        return (v > 0).to(v.dtype)
