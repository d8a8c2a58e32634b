"""What a run costs on a target: exact counts, and joules and seconds from published figures, as ranges."""

from spikeport.targets.estimates.estimate import Estimate, estimate, estimate_rate

__all__ = ["Estimate", "estimate", "estimate_rate"]
