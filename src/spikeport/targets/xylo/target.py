"""Xylo as a target: what it can say, how it is told, and its emulation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import SpikeportError
from spikeport.snn.losses import Loss
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.synapses import DoubleExponential, Exponential
from spikeport.targets.base import Lowering, RunOptions, approximated, run_problems
from spikeport.targets.capabilities import Capabilities, Problem
from spikeport.targets.xylo.limits import HIDDEN
from spikeport.targets.xylo.problems import xylo_problems
from spikeport.targets.xylo.quantise import quantise
from spikeport.targets.xylo.table import write_table

CAPABILITIES = Capabilities(
    precision=False,  # 8-bit weights, decays 1 - 2^-dash, 16-bit states
    synapses=frozenset({Exponential, DoubleExponential}),  # two exponentials a neuron, of either sign
    readouts=None,  # the host computes them, from spikes
    # it subtracts the threshold; at 32767, where v saturates, that is a reset to a value (quantise.py)
    held_via=frozenset(),  # spikes only, up to 15 a channel and step
    # constants through a synapse are spikes of a channel of their own
    refractory=False,
    initially_refractory=False,
    noise=False,
    noise_while_refractory=False,
    spikes_while_refractory=False,
    delays=1,  # a hidden neuron's spikes act in the next step
    min_delay=1,
    neurons=HIDDEN,
    records_v=False,  # v saturates at the threshold, so what it was before the reset is not there
    dtypes=("int",),
    source="xylosim 0.1.3 and SynSense's documentation; targets/xylo/limits.py has each",
)


REFUSE, KEEP = "refuse", "keep"


def _choices() -> dict[str, tuple[str, ...]]:
    return {"saturation": (REFUSE, KEEP)}


@dataclass(frozen=True, kw_only=True)
class Xylo:
    """SynSense's Xylo-Audio 2 (SYNS61201): its hidden neurons, in its own integers.

    saturation: of a current in a run: refuse it, or keep on as the chip does. gives_up: see `approximated`.
    """

    name: str = "xylo"
    summary: str = "SynSense Xylo-Audio 2, emulated in its own integers; writes them as a table"
    extra: str = ""
    requires: tuple[str, ...] = ()
    suffix: str = ".npz"
    beside: tuple[str, ...] = ()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=_choices)
    capabilities: Capabilities = CAPABILITIES
    gives_up: frozenset[str] = frozenset({"precision", "held_via"})

    def problems(self, network: SpikingNetwork, **choices: str) -> tuple[Problem, ...]:
        return tuple(xylo_problems(network, self.capabilities))

    def lower(self, network: SpikingNetwork, *, allow: Collection[str] = (), **choices: str) -> Lowering:
        reduced, losses = approximated(self, network, allow, **choices)
        told = quantise(reduced)
        keep = choices.get("saturation", REFUSE) == KEEP
        rounding = {name: b.rounding for name, b in told.bounds.items()}
        settings = {"chip": told.chip, "bounds": told.bounds, "rounding": rounding, "keep": keep}
        kept = Loss("saturation is kept", "network", "a run goes on as the chip does, where it would be refused")
        losses = (*losses, *told.losses, *((kept,) if keep else ()))
        return Lowering(target=self.name, source=network, network=told.network, losses=losses,
                        scale=told.scale, settings=settings)  # fmt: skip

    def run(self, lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
        from spikeport.targets.xylo.emulate import emulate

        problems = run_problems(self, options.dtype, options.device)
        if problems:
            raise SpikeportError("xylo: cannot run so", problems, hint="spikeport targets")
        return emulate(lowering, inputs, options)

    def export(self, lowering: Lowering, path: Path, *, overwrite: bool = False) -> Path:
        return write_table(lowering, path, overwrite)


XYLO = Xylo()
