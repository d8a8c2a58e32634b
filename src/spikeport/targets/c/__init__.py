"""One step of a network as a C99 file without a heap: for a microcontroller, and run on this machine as the proof."""

from spikeport.targets.c.loihi_target import C_LOIHI
from spikeport.targets.c.target import C

__all__ = ["C_LOIHI", "C"]
