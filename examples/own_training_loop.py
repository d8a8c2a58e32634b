"""One's own training loop: a rate network trained in plain PyTorch, then converted.

spikeport needs nothing of the loop but the numbers at its end: weights, time constants, the activation, dt. The task:
of two noisy channels, say which one is higher on average.
"""
# needs: train

import numpy as np
import torch

from spikeport import convert_network
from spikeport.snn.rate import RateNetwork
from spikeport.snn.tasks import save_trials

N, DT, SAMPLES = 50, 0.005, 80  # units, s, samples of a trial: 0.4 s
torch.manual_seed(0)
torch.set_num_threads(1)
rng = np.random.default_rng(0)


def make_trials(n):
    """Inputs (time, trials, 2) and labels: 1 where channel 0 is the higher one, else -1."""
    labels = rng.choice([-1, 1], n)
    means = 0.5 + 0.5 * labels[:, None] * np.array([1, -1])  # (1, 0) or (0, 1)
    return means + rng.normal(0, 0.3, (SAMPLES, n, 2)), labels


w_rec = torch.nn.Parameter(torch.randn(N, N) / N**0.5)
w_in = torch.nn.Parameter(torch.randn(N, 2))
w_out = torch.nn.Parameter(torch.randn(1, N) / N)
b_rec = torch.full((N,), -1.0)  # below 0: a sigmoid unit is at rest at half its rate otherwise
tau = torch.linspace(0.02, 0.06, N)


def outputs_of(inputs):
    """tau dx/dt = -x + w_rec r + w_in u + b_rec, r = sigmoid(x), o = w_out r: the equations of a RateNetwork."""
    a = DT / tau
    x = torch.zeros(inputs.shape[1], N)
    outputs, rates = [], []
    for u in inputs:
        x = (1 - a) * x + a * (torch.sigmoid(x) @ w_rec.T + u @ w_in.T + b_rec) + 0.05 * torch.randn_like(x)
        rates.append(torch.sigmoid(x))
        outputs.append(rates[-1] @ w_out.T)
    return torch.stack(outputs), torch.stack(rates)


adam = torch.optim.Adam([w_rec, w_in, w_out], lr=0.02)
for step in range(120):
    inputs, labels = make_trials(24)
    outputs, rates = outputs_of(torch.tensor(inputs, dtype=torch.float32))
    late = outputs[40:, :, 0]
    # the second term keeps rates low: a LIF unit cannot follow a sigmoid near its top
    loss = ((late - torch.tensor(labels, dtype=torch.float32)) ** 2).mean() + 0.5 * (rates**2).mean()
    adam.zero_grad()
    loss.backward()
    adam.step()
    if step % 30 == 29:
        print(f"step {step + 1}: loss {loss.item():.3f}")


def numbers(tensor):
    return tensor.detach().numpy().astype(np.float64)


network = RateNetwork(
    tau=numbers(tau), w_rec=numbers(w_rec), w_in=numbers(w_in), w_out=numbers(w_out), b_rec=numbers(b_rec),
    b_out=np.zeros(1), dt=DT, phi="sigmoid", noise_sd=0.05, provenance={"source": "examples/own_training_loop.py"},
)  # fmt: skip

inputs, labels = make_trials(60)
save_trials("higher.h5", inputs=inputs, labels=labels, dt=DT, window=(0.2, 0.4), rule="mean", overwrite=True)
found = convert_network(network, "higher.h5", bracket=(5, 200))
rate, spiking = found.rate["mean"], found.spiking["mean"]
print(f"rate network:    {rate.right} of {rate.trials} fresh trials right")
print(f"spiking network: {spiking.right} of {spiking.trials} right, at 1/lambda {found.inverse_lambda:.1f}, "
      f"{found.mean_rate_hz:.1f} spikes/s a unit")  # fmt: skip
for warning in found.warnings:
    print(f"note: {warning}")
