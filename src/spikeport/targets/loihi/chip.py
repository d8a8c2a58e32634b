"""A network in Loihi's integers: what a board would be told, and what step.py and kernel.py compute with.

Everything is in the chip's own units. A state of 1 in v or u is 1; the threshold is vth * 2^6, a synapse adds
mantissa * 2^(6 + exponent) to u.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.neurons import Array
from spikeport.targets.fixed_point.integers import Ints, saturate, shift
from spikeport.targets.loihi.limits import (
    ARRIVALS_MAX,
    STATE_SHIFT,
    WEIGHT_BITS,
)

EXCITATORY, INHIBITORY, MIXED = "excitatory", "inhibitory", "mixed"


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What the host filters for a population, because it knows it without the chip: held values and constants that act
    through a synapse.

        x = keep x + weights u + constant,    bias = ... + x        in v's units a step; x starts at 0

    keep, constant: (n,).  weights: input -> (n, channels).
    """

    synapse: str
    keep: Array
    weights: Mapping[str, Array]
    constant: Array


@dataclass(frozen=True, kw_only=True)
class Compartments:
    """n compartments, one a neuron, of one population.

    du, dv: (n,) 12-bit decays.  vth: threshold mantissa.  refractory: (n,) steps frozen after a spike (the chip's
    refractory delay less one).  bias: (n,) real number of v's units added in each step; the host rounds it, together
    with the held inputs, to mantissa and exponent (drive.py).  held: input -> (n, channels), the same per unit of it.
    filters: what else the host adds to the bias.
    v0: (n,) at the start of a trial.  synapse: what the current is called in the network ("" where there is none).
    """

    name: str
    du: Ints
    dv: Ints
    vth: int
    refractory: Ints
    bias: Array
    v0: Ints
    held: Mapping[str, Array] = field(default_factory=dict)
    filters: tuple[Filter, ...] = ()
    synapse: str = ""

    @property
    def n(self) -> int:
        return int(self.du.size)

    @property
    def scale(self) -> int:
        """v of the threshold, in units of the chip."""
        return self.vth << STATE_SHIFT


@dataclass(frozen=True, kw_only=True)
class Synapses:
    """The synapses of one projection that share a sign mode: mantissa (n_target, n_source), one exponent, one delay.

    bits: of a mantissa, its upper ones.  delay: steps; a spike at the end of step k acts from the start of step
    k + delay. From an input it may be 0: the host sends that spike a step earlier.  projection: index in the network.
    """

    source: str
    target: str
    mantissa: NDArray[np.int16]
    exponent: int
    mode: str
    delay: int
    bits: int = WEIGHT_BITS
    projection: int = 0

    @property
    def weight(self) -> Ints:
        """(n_target, n_source): what a spike adds to u."""
        return actual_weight(self.mantissa, self.exponent, self.mode, self.bits)


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A whole network. inputs: name -> channels, of the spike inputs; dt: s, of a step."""

    compartments: tuple[Compartments, ...]
    synapses: tuple[Synapses, ...]
    inputs: Mapping[str, int]
    dt: float

    def population(self, name: str) -> Compartments:
        return next(c for c in self.compartments if c.name == name)


def grain(mode: str, bits: int) -> int:
    """From one mantissa to the next: 2^(8 - bits), twice that where signs are mixed."""
    return 1 << (WEIGHT_BITS - bits + (mode == MIXED))


def actual_weight(mantissa: Ints | NDArray[np.int16], exponent: int, mode: str, bits: int = WEIGHT_BITS) -> Ints:
    """What a synapse adds to u: the mantissa cut to its mode and bits, times 2^(6 + exponent), its lowest 6 bits cut,
    21 bits.

    Source: [L] and [M] of limits.py. They cut a negative mantissa that is no multiple of the grain to opposite sides;
    quantise.py makes none.
    """
    whole = 1 << WEIGHT_BITS
    low, high = {EXCITATORY: (0, whole - 1), INHIBITORY: (1 - whole, 0), MIXED: (-whole, whole - 1)}[mode]
    step = grain(mode, bits)
    m = saturate(np.asarray(mantissa, dtype=np.int64), low, high) // step * step
    scaled = shift(m, exponent)  # below exponent 0 the bits that would fall under 2^6 are gone
    limit = ARRIVALS_MAX >> STATE_SHIFT
    return saturate(scaled, -limit, limit) << STATE_SHIFT
