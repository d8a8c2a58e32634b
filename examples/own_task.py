"""A task of one's own: a file of trials, and a conversion for it.

spikeport's own tasks are three; yours is a file with what goes in, what should come out, and when to look. Here: a
pulse that comes at any time in the first half second, or not at all, and must be answered in the last 0.3 s.
"""

import numpy as np

from spikeport import convert_network
from spikeport.resources import model_path
from spikeport.snn.tasks import save_trials

rng = np.random.default_rng(0)
n_trials, n_samples, dt = 60, 200, 0.005  # one sample of input every 5 ms: the step of the rate network

has_pulse = rng.integers(0, 2, n_trials)  # the label is also the target: 1 with a pulse, 0 without
inputs = np.zeros((n_samples, n_trials, 1))  # order everywhere: (time, trial, channel)
for trial in np.flatnonzero(has_pulse):
    start = rng.integers(20, 75)
    inputs[start : start + 25, trial, 0] = 1.0

# rule "mean": the mean of the output in the window is nearer to this trial's target than to the other. Targets that
# are trajectories take targets=(time, trials, outputs) and the rule "nearest".
task = save_trials("pulses.h5", inputs=inputs, labels=has_pulse, dt=dt, window=(0.7, 1.0), rule="mean", overwrite=True)
print(f"wrote pulses.h5: {task.n_trials} trials, rules {', '.join(task.rules)}")

# Half of the trials search, the other half measure: none is used twice. On the command line:
#     spikeport convert MODEL --task pulses.h5 -o net.h5
model = model_path("go-nogo")
found = convert_network(model, "pulses.h5", grid="20:80:10")
rate, spiking = found.rate["mean"], found.spiking["mean"]
print(f"by accuracy: 1/lambda {found.inverse_lambda:g}, right in {spiking.right} of {spiking.trials} fresh trials "
      f"(the rate network in {rate.right})")  # fmt: skip

# Without labels that one trusts, the rate network itself is the teacher: the spiking outputs nearest to its outputs.
near = convert_network(model, "pulses.h5", grid="20:80:10", objective="distance")
print(f"by distance: 1/lambda {near.inverse_lambda:g}, outputs {near.distance:.2f} apart (root mean square)")
