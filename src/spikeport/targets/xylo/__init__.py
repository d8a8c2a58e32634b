"""Xylo-Audio 2: networks in its integers, and their emulation, equal to SynSense's xylosim."""

from spikeport.targets.xylo.target import XYLO

__all__ = ["XYLO"]
