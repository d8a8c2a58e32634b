"""Our own files: networks and recordings, each field bit for bit. docs/formats.md describes every dataset.

A new neuron, synapse or input class needs one line in CLASSES.
"""

from __future__ import annotations

import os
from typing import TypeVar

from spikeport.snn.codec import decode, encode
from spikeport.snn.neurons import LIF
from spikeport.snn.rate import RateNetwork
from spikeport.snn.reading import naming, parsing
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import HeldInput, Population, Projection, ReadOut, SpikeInput, SpikingNetwork, Uniform
from spikeport.snn.storage import kind_of, read_tree, write_tree
from spikeport.snn.synapses import Delta, DoubleExponential, Exponential

__all__ = [
    "kind_of",
    "load_rate_network",
    "load_recording",
    "load_spiking_network",
    "save_rate_network",
    "save_recording",
    "save_spiking_network",
]

Path = str | os.PathLike[str]
T = TypeVar("T")

CLASSES = {
    cls.__name__: cls
    for cls in (
        LIF,
        DoubleExponential,
        Exponential,
        Delta,
        Uniform,
        Population,
        HeldInput,
        SpikeInput,
        Projection,
        ReadOut,
        SpikeTrains,
    )
}


def save_rate_network(network: RateNetwork, path: Path, *, overwrite: bool = False) -> None:
    """Write `network` to a file that `load_rate_network` gives back bit for bit."""
    write_tree(path, "rate-network", encode(network), overwrite=overwrite)


def load_rate_network(path: Path) -> RateNetwork:
    """Read what `save_rate_network` wrote."""
    return _load(path, "rate-network", RateNetwork)


def save_spiking_network(network: SpikingNetwork, path: Path, *, overwrite: bool = False) -> None:
    """Write `network` to a file that `load_spiking_network` gives back bit for bit."""
    write_tree(path, "spiking-network", encode(network), overwrite=overwrite)


def load_spiking_network(path: Path) -> SpikingNetwork:
    """Read what `save_spiking_network` wrote."""
    return _load(path, "spiking-network", SpikingNetwork)


def save_recording(recording: Recording, path: Path, *, overwrite: bool = False) -> None:
    """Write `recording` to a file that `load_recording` gives back bit for bit."""
    write_tree(path, "recording", encode(recording), overwrite=overwrite)


def load_recording(path: Path) -> Recording:
    """Read what `save_recording` wrote."""
    return _load(path, "recording", Recording)


def _load(path: Path, kind: str, cls: type[T]) -> T:
    stored = read_tree(path, kind)
    with parsing(stored.path, f"{kind} file"), naming(stored.path):
        return decode(stored, cls, CLASSES)
