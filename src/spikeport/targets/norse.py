"""Norse: a network as nn.Modules around its LIFBox step, run on the CPU or on CUDA, in float64 or float32."""

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
    source="Norse 1.1.0, functional/lif_box.py, read and measured",
)


@dataclass(frozen=True, kw_only=True)
class Norse:
    """Membrane, spike and reset are LIFBox's; synapses, delays, refractory periods and read-outs are ours."""

    name: str = "norse"
    summary: str = "Norse: an nn.Module to run, embed and train further"
    extra: str = "norse"
    requires: tuple[str, ...] = ("torch", "norse")
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
    """The network as an nn.Module around Norse's LIFBox, with trainable weights; refused where it cannot be said."""
    need_installed(NORSE)
    return running.move(_module(NORSE.lower(network, allow=allow)), NORSE, dtype, device)


def _module(lowering: Lowering) -> SpikingModule:
    from spikeport.targets.pytorch.module import SpikingModule
    from spikeport.targets.pytorch.norse_cell import LIFBoxCell

    return SpikingModule(lowering, LIFBoxCell)


def _decay_problems(network: SpikingNetwork) -> Iterator[Problem]:
    """LIFBox multiplies its input by 1 - A, so that what is to reach v is divided by it."""
    for p in network.populations:
        tau = per_unit(p.neuron.tau_mem, p.n)
        if np.any(get_integrator(network.integrator).decay(tau, network.dt) == 1):
            where, value = (
                f"population {p.name}: tau_mem",
                f"{np.max(tau):g} s, at dt = {network.dt:g} s no leak is left",
            )
            yield Problem(
                feature="integrator", where=where, value=value, limit="LIFBox needs a leak: dt / tau_mem above 1e-16"
            )


NORSE = Norse()
