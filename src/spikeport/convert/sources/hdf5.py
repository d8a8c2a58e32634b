"""A spikeport rate-network file as a source: what `spikeport train` and `save_rate_network` write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from spikeport.convert.sources.content import provenance_of
from spikeport.snn.files import load_rate_network
from spikeport.snn.rate import RateNetwork


def load(path: Path) -> RateNetwork:
    """The network as stored; its own provenance moves to `origin`, because the source is now this file."""
    network = load_rate_network(path)
    origin = {"origin": dict(network.provenance)} if network.provenance else {}
    return replace(network, provenance=provenance_of(path, "spikeport rate-network", **origin))
