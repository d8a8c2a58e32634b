"""Norse: a network as nn.Modules around its LIFBox step, run on the CPU or on CUDA, in float64 or float32."""

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
    """The network as an nn.Module around Norse's LIFBox, with trainable weights; refused where it cannot be said."""
    return NORSE.build(network, dtype, device, allow)


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


NORSE = Library(
    name="norse",
    summary="Norse: an nn.Module to run, embed and train further",
    requires=("torch", "norse"),
    capabilities=Capabilities(  # what the cell lacks is around it: only what is in problems() is refused
        dtypes=running.DTYPES,
        devices=running.DEVICES,  # cuda: written for it, not tried on it
        source="Norse 1.1.0, functional/lif_box.py, read and measured",
    ),
    module=_module,
    decay_problems=_decay_problems,
)
