"""SpiNNaker as a target: what it can say, how it is told, its emulation, and the script for a board."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import SpikeportError
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.synapses import Exponential
from spikeport.targets.base import Lowering, RunOptions, approximated, run_problems
from spikeport.targets.capabilities import Capabilities, Problem
from spikeport.targets.spinnaker.limits import DELAY_MAX
from spikeport.targets.spinnaker.problems import spinnaker_problems
from spikeport.targets.spinnaker.quantise import quantise
from spikeport.targets.spinnaker.script import write_script

CAPABILITIES = Capabilities(
    precision=False,  # s16.15 states, 16-bit weights, u0.32 decays
    synapses=frozenset({Exponential}),  # IF_curr_exp: one exponential a receptor, of one sign each
    readouts=None,  # the host computes them, from spikes
    resets=frozenset({"to_value"}),  # neuron_model_has_spiked: V = V_reset
    # held values and constants, straight or through a synapse: the host filters them into step current sources
    noise=False,  # the chip's NoisyCurrentSource draws its own numbers
    noise_while_refractory=False,  # v is frozen
    delays=DELAY_MAX,
    min_delay=1,  # a spike reaches the ring buffers after its step
    dtypes=("int",),
    source="sPyNNaker 1!7.4.1 and its C sources; targets/spinnaker/limits.py has each",
)


@dataclass(frozen=True, kw_only=True)
class SpiNNaker:
    """SpiNNaker 1, by sPyNNaker's IF_curr_exp: emulated in its own integers, and NAME.py with NAME.npz for a board."""

    name: str = "spinnaker"
    summary: str = "SpiNNaker 1 by sPyNNaker, emulated in its own integers; writes a script"
    extra: str = ""
    requires: tuple[str, ...] = ()
    suffix: str = ".py"
    beside: tuple[str, ...] = (".npz",)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    capabilities: Capabilities = CAPABILITIES

    def problems(self, network: SpikingNetwork, **choices: str) -> tuple[Problem, ...]:
        return tuple(spinnaker_problems(network, self.capabilities))

    def lower(self, network: SpikingNetwork, *, allow: Collection[str] = (), **choices: str) -> Lowering:
        reduced, losses = approximated(self, network, allow, **choices)
        told = quantise(reduced)
        return Lowering(target=self.name, source=network, network=told.network, losses=losses + told.losses,
                        settings={"chip": told.chip, "most": told.most})  # fmt: skip

    def run(self, lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
        from spikeport.targets.spinnaker.emulate import emulate

        problems = run_problems(self, options.dtype, options.device)
        if problems:
            raise SpikeportError("spinnaker: cannot run so", problems, hint="spikeport targets")
        return emulate(lowering, inputs, options)

    def export(self, lowering: Lowering, path: Path, *, overwrite: bool = False) -> Path:
        return write_script(lowering, path, overwrite)


SPINNAKER = SpiNNaker()
