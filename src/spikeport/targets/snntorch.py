"""snnTorch: a network as nn.Modules around `snntorch.Leaky`, run on the CPU or on CUDA, in float64 or float32."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from spikeport.snn.drive import Inputs
from spikeport.snn.integrators import get_integrator
from spikeport.snn.neurons import per_unit
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.base import Lowering, RunOptions
from spikeport.targets.capabilities import Capabilities, Problem, check
from spikeport.targets.checking import need_installed
from spikeport.targets.pytorch import running

if TYPE_CHECKING:
    from spikeport.targets.pytorch.module import SpikingModule


_CAN = Capabilities(  # whatever the cell lacks is masks and filters around it, so only what is in problems() is refused
    dtypes=running.DTYPES,
    devices=running.DEVICES,  # cuda: written for it, not tried on it
    source="snnTorch 1.0.0, _neurons/leaky.py, read and measured",
)


@dataclass(frozen=True, kw_only=True)
class SnnTorch:
    """Membrane, spike and reset are Leaky's; synapses, delays, refractory periods and read-outs are ours."""

    name: str = "snntorch"
    summary: str = "snnTorch: an nn.Module to run, embed and train further"
    extra: str = "snntorch"
    requires: tuple[str, ...] = ("torch", "snntorch")
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(running.CHOICES))
    capabilities: Capabilities = _CAN

    def problems(self, network: SpikingNetwork, **choices: str) -> tuple[Problem, ...]:
        return (*check(network, self.capabilities), *running.scaling_problems(network), *_decay_problems(network))

    def lower(self, network: SpikingNetwork, *, allow: Collection[str] = (), **choices: str) -> Lowering:
        return running.lower(self, network, allow, choices)

    def run(self, lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
        need_installed(self)
        return running.run(self, lowering, inputs, options, _module)


def build_module(
    network: SpikingNetwork, *, dtype: str = "float32", device: str = "cpu", allow: Collection[str] = ()
) -> SpikingModule:
    """The network as an nn.Module around snntorch.Leaky, with trainable weights; refused where it cannot be said."""
    need_installed(SNNTORCH)
    return running.move(_module(SNNTORCH.lower(network, allow=allow)), SNNTORCH, dtype, device)


def _module(lowering: Lowering) -> SpikingModule:
    from spikeport.targets.pytorch.module import SpikingModule
    from spikeport.targets.pytorch.snntorch_cell import LeakyCell

    return SpikingModule(lowering, LeakyCell)


def _decay_problems(network: SpikingNetwork) -> Iterator[Problem]:
    """Leaky clamps beta to [0, 1] in every step (leaky.py, _base_state_function)."""
    for p in network.populations:
        tau = per_unit(p.neuron.tau_mem, p.n)
        low = float(np.min(get_integrator(network.integrator).decay(tau, network.dt)))
        if low < 0:
            where, value = (
                f"population {p.name}: tau_mem",
                f"{np.min(tau):g} s, below dt = {network.dt:g} s, so v decays by {low:g}",
            )
            yield Problem(feature="integrator", where=where, value=value, limit="Leaky clamps its decay to 0 .. 1")


SNNTORCH = SnnTorch()
