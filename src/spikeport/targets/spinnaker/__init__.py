"""SpiNNaker 1 through sPyNNaker: IF_curr_exp in s16.15 and u0.32, as a script and as an emulation."""

from spikeport.targets.spinnaker.target import SPINNAKER

__all__ = ["SPINNAKER"]
