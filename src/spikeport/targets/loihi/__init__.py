"""Intel's Loihi (the first chip), emulated in its own integers, and written as a table of them."""

from spikeport.targets.loihi.target import LOIHI

__all__ = ["LOIHI"]
