"""Loihi as a target: what it can say, how it is told, and its emulation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import SpikeportError
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.synapses import Delta, Exponential
from spikeport.targets.base import Lowering, RunOptions, approximated, run_problems
from spikeport.targets.capabilities import Capabilities, Problem
from spikeport.targets.loihi.limits import CHIP_CORES, CORE_COMPARTMENTS, DELAY_MAX, WEIGHT_BITS, WEIGHT_BITS_FEWER
from spikeport.targets.loihi.netx import SUFFIX, write_netx
from spikeport.targets.loihi.partition import partition
from spikeport.targets.loihi.problems import loihi_problems
from spikeport.targets.loihi.quantise import quantise
from spikeport.targets.loihi.table import write_table

TABLE, NETX = "table", "netx"
_SOURCE = "Davies et al., IEEE Micro 38(1), 2018; lava-nc 0.10's bit-accurate model; targets/loihi/limits.py has each"

CAPABILITIES = Capabilities(
    precision=False,  # 8-bit weights, 12-bit decays, 24-bit states
    synapses=frozenset({Exponential, Delta}),  # one decaying current a compartment: u (Davies et al., eq. of u)
    readouts=None,  # the host computes them, from spikes
    resets=frozenset({"to_value"}),  # v = 0
    # held values and constants, straight or through a synapse: the host filters them and writes biases
    initially_refractory=False,
    noise=False,  # the chip's own is uniform, and of no known sequence
    noise_while_refractory=False,
    spikes_while_refractory=False,
    delays=DELAY_MAX,
    min_delay=1,
    neurons=CHIP_CORES * CORE_COMPARTMENTS,
    dtypes=("int",),
    source=_SOURCE,
)


def _choices() -> dict[str, tuple[str, ...]]:
    return {"bits": tuple(map(str, (WEIGHT_BITS, *WEIGHT_BITS_FEWER))), "format": (TABLE, NETX)}


@dataclass(frozen=True, kw_only=True)
class Loihi:
    """Intel's Loihi, the first chip: CUBA LIF compartments, in its own integers, of one chip.

    bits: of a weight; fewer take less synaptic memory.  format: of the file; netx, for lava-dl, holds chains only, in
    coarser biases, so the integers differ and a run of it is a run of those.
    """

    name: str = "loihi"
    summary: str = "Intel Loihi, emulated in its own integers; writes them as a table"
    extra: str = ""
    requires: tuple[str, ...] = ()
    suffix: str = ".npz"
    beside: tuple[str, ...] = ()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=_choices)
    capabilities: Capabilities = CAPABILITIES

    def problems(self, network: SpikingNetwork, **choices: str) -> tuple[Problem, ...]:
        return tuple(loihi_problems(network, self.capabilities, self._bits(choices), self._chain(choices)))

    def lower(self, network: SpikingNetwork, *, allow: Collection[str] = (), **choices: str) -> Lowering:
        reduced, losses = approximated(self, network, allow, **choices)
        told = quantise(reduced, self._bits(choices), self._chain(choices))
        settings = {
            "format": choices.get("format", TABLE),
            "chip": told.chip,
            "cores": partition(told.chip),
            "bounds": told.bounds,
        }
        return Lowering(target=self.name, source=network, network=told.network, losses=losses + told.losses,
                        scale=told.scale, settings=settings)  # fmt: skip

    def _bits(self, choices: Mapping[str, str]) -> int:
        return int(choices.get("bits", self.choices["bits"][0]))

    def _chain(self, choices: Mapping[str, str]) -> bool:
        return choices.get("format", TABLE) == NETX

    def run(self, lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
        from spikeport.targets.loihi.emulate import emulate

        problems = run_problems(self, options.dtype, options.device)
        if problems:
            raise SpikeportError("loihi: cannot run so", problems, hint="spikeport targets")
        return emulate(lowering, inputs, options)

    def export(self, lowering: Lowering, path: Path, *, overwrite: bool = False) -> Path:
        if lowering.settings["format"] == NETX:
            return write_netx(lowering, path, overwrite)
        if path.suffix == SUFFIX:
            raise SpikeportError(f"{path}: a {SUFFIX} file is netx, and this is a table", hint="--set format=netx")
        return write_table(lowering, path, overwrite)


LOIHI = Loihi()
