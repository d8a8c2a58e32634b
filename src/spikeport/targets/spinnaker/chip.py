"""A network in SpiNNaker's integers: what the script says, and what step.py and kernel.py compute with.

Potentials (mV) and currents (nA) are raw s16.15 numbers, tau raw s16.15 in ms. R = tau_m / cm = 2^-gain MOhm, so that a
current is held 2^gain times finer than the potential that it makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spikeport.snn.neurons import Array
from spikeport.targets.fixed_point.fractions import S1615_BITS
from spikeport.targets.fixed_point.integers import Ints
from spikeport.targets.loihi.steps import Hosted

EXCITATORY, INHIBITORY = 0, 1
RECEPTORS = ("excitatory", "inhibitory")


@dataclass(frozen=True, kw_only=True)
class Cells:
    """One population of IF_curr_exp; (n,) each.

    tau_m, tau_syn: of both receptors the same.  keep_v: s16.15, keep_i and first: u0.32 (arithmetic.py).  threshold:
    the least v that spikes.  refractory, ref0: steps.  gain: see the module.  shifts: of the two ring buffers.
    drive: mV, what v settles at.  held: input -> (n, channels) mV per unit.  hosted: held values and constants that the
    host filters.  synapse: what the current is called in the network ("" where there is none).
    """

    name: str
    tau_m: Ints
    tau_syn: Ints
    keep_v: Ints
    keep_i: Ints
    first: Ints
    rest: Ints
    threshold: Ints
    reset: Ints
    v0: Ints
    refractory: Ints
    ref0: Ints
    gain: int
    shifts: tuple[int, int]
    drive: Array
    held: Mapping[str, Array]
    hosted: tuple[Hosted, ...]
    synapse: str = ""

    @property
    def n(self) -> int:
        return int(self.tau_m.size)

    @property
    def resistance(self) -> int:
        """R, s16.15."""
        return 1 << (S1615_BITS - self.gain)

    @property
    def driven(self) -> bool:
        """Does anything come in as a current?"""
        return bool(self.held or self.hosted)


@dataclass(frozen=True, kw_only=True)
class Synapses:
    """One projection's weights of one sign: weight (n_target, n_source), 0 .. 65535; receptor 0 or 1; delay in steps.

    What a spike adds to the ring buffer is `weight`; in nA it is weight 2^(shift - 15).  projection: its index.
    """

    source: str
    target: str
    weight: Ints
    receptor: int
    delay: int
    projection: int


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A whole network. inputs: name -> channels, of the spike inputs; dt: s; ts: the same in ms, s16.15."""

    cells: tuple[Cells, ...]
    synapses: tuple[Synapses, ...]
    inputs: Mapping[str, int]
    dt: float
    ts: int
