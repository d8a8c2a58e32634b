"""NIR: what other frameworks read and write. `NIR` is the target; importing it does not import nir."""

from spikeport.targets.nir.exporting import graph_of, input_rows
from spikeport.targets.nir.target import NIR

__all__ = ["NIR", "graph_of", "input_rows"]
