# needs: onnx
"""The same spiking network on other simulators: ask first, replay it spike for spike, then write it to a file.

Needs what the targets need, here `pip install "spikeport[onnx]"`; any other name of `spikeport targets` will do.
"""

from spikeport import check_network, export_network, load_source, transfer
from spikeport.resources import model_path
from spikeport.snn.tasks import get_task
from spikeport.targets.base import RunOptions
from spikeport.targets.checking import runner
from spikeport.targets.replay import replay

network = transfer(load_source(model_path("go-nogo")), 30)  # 1/lambda = 30: what `convert` finds for this model

# Nothing runs here, and nothing is imported: what would each target make of the network?
for verdict in check_network(network, ["onnx", "nest", "nir"]):
    print(f"{verdict.target}: {'takes it' if verdict.takes else 'refuses'}")
    for problem in verdict.problems:
        print(f"    {problem}")

# Each unit gets exactly the spikes of our own run, so a difference would be the target's step, not chaos.
trial = get_task("go-nogo").trials(1, seed=0).inputs[:100]  # half a second
found = replay(runner("onnx"), network, trial, RunOptions(seed=0))
print(f"replayed on {found.target}: {found.differing} of {found.compared} spikes differ")

done = export_network(network, "onnx", "net.onnx", overwrite=True, form="step")
print(f"written to {done.path}, one step per call: states in, states out")
