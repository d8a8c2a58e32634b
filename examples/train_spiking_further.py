# needs: snntorch
"""Train a converted network further, as spikes: an nn.Module around snnTorch's own neuron, with a surrogate gradient.

Needs `pip install "spikeport[snntorch]"`. A few gradient steps only, to show the loop; the network is small, so that it
takes seconds.
"""

import numpy as np
import torch

from spikeport import transfer
from spikeport.snn.rate import RateNetwork
from spikeport.targets.snntorch import build_module

torch.manual_seed(0)
torch.set_num_threads(1)  # a small network: threads cost more than they bring
rng = np.random.default_rng(0)
n = 20
rate_network = RateNetwork(
    tau=rng.uniform(0.02, 0.04, n),
    w_rec=rng.normal(0, 0.5, (n, n)),
    w_in=rng.uniform(7, 9, (n, 1)),
    w_out=np.full((1, n), 1 / n),
    b_rec=np.full(n, -4.0),
    b_out=np.zeros(1),
    dt=0.005,
    phi="sigmoid",
    noise_sd=0.0,
    x0_sd=0.0,
)
network = transfer(rate_network, 40, dt=5e-4)
module = build_module(network)  # float32, on the CPU
optimiser = torch.optim.Adam(module.parameters(), lr=1e-5)  # weights are in s per spike, so they are small

steps, trials = 150, 8  # 75 ms
inputs = torch.zeros(steps, trials, 1)
inputs[50:, : trials // 2] = 1.0  # half of the trials have a stimulus
wanted = inputs.clone()

for k in range(8):
    outputs, spikes, _ = module({"u": inputs})
    loss = ((outputs["out"] - wanted) ** 2)[75:].mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    print(f"step {k}: loss {loss.item():.4f}, {int(spikes['rec'].sum())} spikes")

trained = module.network()  # a SpikingNetwork again, to save, to run anywhere, to export
change = np.abs(trained.projections[1].weight - network.projections[1].weight).max()
print(f"largest change of a recurrent weight: {change:.4f} mV s")
