"""What the targets that run on PyTorch share: the canonical step as an nn.Module around a library's own neuron cell.

    module.py      SpikingModule: forward, step, state, and back to a SpikingNetwork
    population.py  one population: its synapses as linear filters, and its cell
    cells.py       what a library's cell must do
    running.py     lower and run, for a Runner
    graphs.py      CUDA graphs

Nothing here but running.py may be imported where torch is not installed.
"""
