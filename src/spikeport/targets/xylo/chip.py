"""A network in Xylo's integers: what a board or XyloSim would be told, and what step.py and kernel.py compute with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeport.targets.fixed_point.integers import Ints

Weights = NDArray[np.int8]


@dataclass(frozen=True, kw_only=True)
class Neurons:
    """The hidden neurons of one population, in a row. dash_mem, threshold, bias, v0: (n,).  dash_syn: (n, 2).

    synapses: what the two currents are called in the network ("" where one is not used).
    """

    name: str
    dash_mem: Ints
    dash_syn: Ints
    threshold: Ints
    bias: Ints
    v0: Ints
    synapses: tuple[str, str] = ("", "")

    @property
    def n(self) -> int:
        return int(self.dash_mem.size)


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One input channel of the chip: the spikes of a channel of a spike input, or the counts that the host makes of a
    held one, of the values of one sign.

    delay: steps that the host waits.  sign: of the held values; 0 for a spike input.
    """

    source: str
    index: int
    sign: int = 0
    delay: int = 0


@dataclass(frozen=True, kw_only=True)
class Readouts:
    """Read-out neurons (m): one synapse, one spike a step. weight: (n hidden, m).  The lowering makes none."""

    weight: Weights
    dash_mem: Ints
    dash_syn: Ints
    threshold: Ints
    bias: Ints
    shift: int = 0


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A whole network of n hidden neurons.

    weights_in: (channels, n, 2), weights_rec: (n source, n target, 2), each spike adds weight << shift.
    counts: held input -> spikes a step per unit of its value.  dt: s, of a step.
    """

    neurons: tuple[Neurons, ...]
    channels: tuple[Channel, ...]
    weights_in: Weights
    weights_rec: Weights
    shift_in: int
    shift_rec: int
    counts: Mapping[str, float]
    dt: float
    readouts: Readouts | None = None

    @property
    def n(self) -> int:
        return sum(part.n for part in self.neurons)

    def population(self, name: str) -> Neurons:
        return next(part for part in self.neurons if part.name == name)

    def whole(self, what: str) -> Ints:
        """One parameter of all hidden neurons in a row."""
        return np.concatenate([getattr(part, what) for part in self.neurons])

    def places(self) -> dict[str, slice]:
        """Where each population's neurons are in the row."""
        ends = np.cumsum([0, *(part.n for part in self.neurons)])
        return {part.name: slice(int(i), int(j)) for part, i, j in zip(self.neurons, ends, ends[1:], strict=False)}
