"""How many cores a chip's network takes: compartments in order of their decays, as many to a core as fit.

Each core is filled until one of its limits is reached (limits.py has them, with sources). A neuron of population p and
its synapses are on one core. In-axons of a core: the sources with a synapse into it, once a format. Synaptic memory:
lists of up to 64 synapses, 10 bits of header, the weight's bits, 6 of delay where there is one, and 10 of index where a
list is sparse and that takes less; rounded up to words of 64 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spikeport.targets.fixed_point.integers import Ints
from spikeport.targets.loihi import limits
from spikeport.targets.loihi.chip import Chip, Synapses


@dataclass(frozen=True, kw_only=True)
class Core:
    """What one core holds. neurons: population -> indices; the rest are counts, out_axons with their copies."""

    neurons: dict[str, Ints]
    profiles: int
    thresholds: int
    formats: int
    in_axons: int
    synapse_bits: int
    out_axons: int = 0

    @property
    def compartments(self) -> int:
        return sum(n.size for n in self.neurons.values())


def list_bits(counts: Ints, size: int, weight_bits: int, delayed: bool) -> Ints:
    """Bits of the lists of axons with `counts` synapses onto `size` compartments: the shorter of dense and sparse."""
    width = weight_bits + (limits.DELAY_BITS if delayed else 0)
    return np.asarray(np.minimum(_bits(np.where(counts > 0, size, 0), width), _bits(counts, width + limits.INDEX_BITS)))


def _bits(counts: Ints, width: int) -> Ints:
    word, full = limits.LIST_WORD_BITS, limits.LIST_LENGTH

    def words(n: Ints) -> Ints:
        return np.asarray(np.where(n > 0, -(-(n * width + limits.LIST_HEADER_BITS) // word) * word, 0))

    return np.asarray(counts // full * words(np.full_like(counts, full)) + words(counts % full))


def partition(chip: Chip) -> tuple[Core, ...]:
    """The cores. Where neurons send out too many copies, smaller cores are tried; what is still over is over."""
    most = limits.CORE_COMPARTMENTS
    first = cores = _partition(chip, most)
    while most > 1 and any(core.out_axons > limits.CORE_OUT_AXONS for core in cores):
        most //= 2
        cores = _partition(chip, most)
        if len(cores) > limits.CHIP_CORES:
            return first
    return cores


def _partition(chip: Chip, most: int) -> tuple[Core, ...]:
    """Cores of at most `most` compartments, filled one after another; over a limit only where one neuron alone is."""
    cores, at = [], 0
    for c in chip.compartments:
        into = [s for s in chip.synapses if s.target == c.name]
        profile = np.stack([c.du, c.dv, c.refractory], axis=1)
        order = np.lexsort(profile.T)
        while at < c.n:
            taken = _fill(order[at:], profile, into, most)
            cores.append(_core(c.name, np.sort(order[at : at + taken]), profile, into))
            at += taken
        at = 0
    return _with_out_axons(chip, cores)


def _fill(order: Ints, profile: Ints, into: list[Synapses], most: int) -> int:
    """How many of the next neurons fit on a core: bisection, since every use grows with the number of neurons."""
    low, high = 1, min(order.size, most)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if not over(_core("", order[:middle], profile, into)) else (low, middle - 1)
    return low


def _core(name: str, neurons: Ints, profile: Ints, into: list[Synapses]) -> Core:
    bits = axons = 0
    for s in into:
        counts = np.count_nonzero(s.mantissa[neurons], axis=0).astype(np.int64)
        bits += int(list_bits(counts, neurons.size, s.bits, s.delay > 1).sum())
        axons += int(np.count_nonzero(counts))
    formats = {(s.exponent, s.mode, s.delay, s.bits) for s in into if s.mantissa[neurons].any()}
    return Core(neurons={name: neurons}, profiles=len(np.unique(profile[neurons], axis=0)), thresholds=1,
                formats=len(formats), in_axons=axons, synapse_bits=bits)  # fmt: skip


def _with_out_axons(chip: Chip, cores: list[Core]) -> tuple[Core, ...]:
    """A neuron has one out-axon for each format of each core that it reaches."""
    copies = {c.name: np.zeros(c.n, dtype=np.int64) for c in chip.compartments}
    for s in chip.synapses:
        if s.source in copies:
            for core in cores:
                mine = core.neurons.get(s.target)
                if mine is not None:
                    copies[s.source] += s.mantissa[mine].any(axis=0)
    return tuple(
        Core(**{**core.__dict__, "out_axons": int(sum(copies[p][n].sum() for p, n in core.neurons.items()))})
        for core in cores
    )


def over(core: Core) -> list[tuple[str, str, int, int]]:
    """(feature, what, value, limit) of every limit of a core that is passed."""
    return [found for found in _uses(core) if found[2] > found[3]]


def _uses(core: Core) -> Iterator[tuple[str, str, int, int]]:
    yield "neurons", "compartments of a core", core.compartments, limits.CORE_COMPARTMENTS
    yield "profiles", "decays and refractory periods of a core", core.profiles, limits.CORE_PROFILES
    yield "formats", "synapse formats of a core", core.formats, limits.CORE_FORMATS
    yield "fan_in", "in-axons of a core", core.in_axons, limits.CORE_IN_AXONS
    yield "synaptic_memory", "bits of synapses of a core", core.synapse_bits, limits.CORE_SYNAPSE_BITS
    yield "fan_out", "out-axons of a core", core.out_axons, limits.CORE_OUT_AXONS
