"""Brian2 as a target: `step` is the code of a step, `simulate`, `feeding` and `session` run it, `script` writes it."""

from spikeport.targets.brian2.target import BRIAN2

__all__ = ["BRIAN2"]
