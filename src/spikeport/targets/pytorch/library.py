"""A PyTorch library as a target: its cell is membrane, spike and reset, everything around it is ours."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spikeport.snn.drive import Inputs
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.base import Lowering, RunOptions
from spikeport.targets.capabilities import Capabilities, Problem, check
from spikeport.targets.checking import need_installed
from spikeport.targets.pytorch import running

if TYPE_CHECKING:
    from spikeport.targets.pytorch.module import SpikingModule


@dataclass(frozen=True, kw_only=True)
class Library:
    """module: a lowered network as an nn.Module around the library's cell.  decay_problems: what that cell lacks."""

    name: str
    summary: str
    requires: tuple[str, ...]
    capabilities: Capabilities
    module: Callable[[Lowering], SpikingModule]
    decay_problems: Callable[[SpikingNetwork], Iterator[Problem]]
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(running.CHOICES))

    @property
    def extra(self) -> str:
        return self.name

    def problems(self, network: SpikingNetwork, **choices: str) -> tuple[Problem, ...]:
        generic = (*check(network, self.capabilities), *running.scaling_problems(network))
        return (*generic, *self.decay_problems(network))

    def lower(self, network: SpikingNetwork, *, allow: Collection[str] = (), **choices: str) -> Lowering:
        return running.lower(self, network, allow, choices)

    def run(self, lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
        need_installed(self)
        return running.run(self, lowering, inputs, options, self.module)

    def build(self, network: SpikingNetwork, dtype: str, device: str, allow: Collection[str]) -> SpikingModule:
        """The network as an nn.Module with trainable weights; refused where it cannot be said."""
        need_installed(self)
        return running.move(self.module(self.lower(network, allow=allow)), self, dtype, device)
