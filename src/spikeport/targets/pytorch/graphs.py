"""CUDA graphs: the operations of a whole block of steps, recorded once and started together.

A step is some thirty operations of a few microseconds each, and on a GPU starting one takes longer than computing it.
A graph holds one shape of block; a run's last, shorter block runs without. Only on request (`cuda_graphs=on`), because
it has not been tried: where this was written there was no GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from spikeport.snn.errors import SpikeportError
from spikeport.targets.pytorch.module import Named, SpikingModule
from spikeport.targets.pytorch.state import State

WARM_UPS = 3  # runs before recording, as PyTorch's notes on CUDA graphs ask for: libraries allocate on first use

Block = tuple[Named, Named, Named, State]


class Graphed:
    """`module.advance`, recorded on its second block and replayed from then on."""

    def __init__(self, module: SpikingModule, target: str) -> None:
        if module.like.device.type != "cuda":
            found = [f"cuda_graphs: on, but the device is {module.like.device}"]
            raise SpikeportError(f"{target}: cannot run like that", found, hint="--device cuda, or cuda_graphs off")
        self.module = module
        self.graph: torch.cuda.CUDAGraph | None = None
        self.n_steps = 0
        self.fixed: list[Tensor] = []
        self.found: Block | None = None

    def __call__(
        self,
        inputs: Mapping[str, Tensor],
        state: State,
        noise: Mapping[str, Tensor],
        n_steps: int,
        record: Sequence[str],
    ) -> Block:
        if state.given:  # the first block: the cell takes another way
            return self.module.advance(inputs, state, noise, n_steps, record)
        if self.graph is None:
            self._capture(inputs, state, noise, n_steps, record)
        if n_steps != self.n_steps:
            return self.module.advance(inputs, state, noise, n_steps, record)
        assert self.graph is not None
        assert self.found is not None
        for into, value in zip(self.fixed, _flat(inputs, state, noise), strict=True):
            into.copy_(value)
        self.graph.replay()
        outputs, spikes, traces, after = self.found
        copies: list[Named] = [{name: t.clone() for name, t in named.items()} for named in (outputs, spikes, traces)]
        return copies[0], copies[1], copies[2], after.replaced(tuple(t.clone() for t in after.tensors()))

    def _capture(
        self,
        inputs: Mapping[str, Tensor],
        state: State,
        noise: Mapping[str, Tensor],
        n_steps: int,
        record: Sequence[str],
    ) -> None:
        """Record a block of n_steps on copies of these tensors."""
        self.n_steps = n_steps
        held = {name: t.clone() for name, t in inputs.items()}
        added = {name: t.clone() for name, t in noise.items()}
        start = state.replaced(tuple(t.clone() for t in state.tensors()))
        self.fixed = _flat(held, start, added)
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                self.module.advance(held, start, added, n_steps, record)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.found = self.module.advance(held, start, added, n_steps, record)


def _flat(inputs: Mapping[str, Tensor], state: State, noise: Mapping[str, Tensor]) -> list[Tensor]:
    return [*inputs.values(), *state.tensors(), *noise.values()]
