"""A spiking network sample by sample, as a program that is fed by a sensor would run it.

`engine.step(state, input)` moves the network on by a step, or by the steps of one input sample. The state is an object
of its own: copy it to go back, keep one for each stream.
"""

import numpy as np

from spikeport import load_source, transfer
from spikeport.resources import model_path
from spikeport.snn.engine import Engine

network = transfer(load_source(model_path("go-nogo")), inverse_lambda=35)
engine = Engine(network, dtype="float32")
state = engine.start(1, seed=0)  # one stream; the seed decides the noise

sample = network.held_inputs[0].dt  # s: a new input every 5 ms ...
n_steps = round(sample / network.dt)  # ... which is 100 steps of the network

spikes = 0
print("time     input  output   (the network answers the pulse, and goes on when it is over)")
for k in range(200):
    stimulus = 1.0 if 50 <= k < 75 else 0.0  # what a sensor would say now
    result = engine.step(state, np.array([[stimulus]]), n_steps=n_steps)  # (streams, channels)
    spikes += int(result.spikes["rec"].sum())
    output = float(result.outputs["out"][0, 0])
    if k % 10 == 9:
        print(
            f"{(k + 1) * sample * 1000:4.0f} ms  {stimulus:5.0f}  {output:6.2f}  {'#' * round(max(0.0, output) * 30)}"
        )
print(f"{spikes} spikes of {network.n_neurons} units in {state.k * network.dt:g} s")
assert output > 0.7, "a Go trial is answered"
