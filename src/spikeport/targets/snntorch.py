"""snnTorch: a network as nn.Modules around `snntorch.Leaky`, run on the CPU or on CUDA, in float64 or float32."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import numpy as np

from spikeport.snn.integrators import get_integrator
from spikeport.snn.neurons import per_unit
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.base import Lowering
from spikeport.targets.capabilities import Capabilities, Problem
from spikeport.targets.pytorch import running
from spikeport.targets.pytorch.library import Library

if TYPE_CHECKING:
    from spikeport.targets.pytorch.module import SpikingModule


def build_module(
    network: SpikingNetwork, *, dtype: str = "float32", device: str = "cpu", allow: Collection[str] = ()
) -> SpikingModule:
    """The network as an nn.Module around snntorch.Leaky, with trainable weights; refused where it cannot be said."""
    return SNNTORCH.build(network, dtype, device, allow)


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


SNNTORCH = Library(
    name="snntorch",
    summary="snnTorch: an nn.Module to run, embed and train further",
    requires=("torch", "snntorch"),
    capabilities=Capabilities(  # what the cell lacks is around it: only what is in problems() is refused
        dtypes=running.DTYPES,
        devices=running.DEVICES,  # cuda: written for it, not tried on it
        source="snnTorch 1.0.0, _neurons/leaky.py, read and measured",
    ),
    module=_module,
    decay_problems=_decay_problems,
)
