"""The files of examples/live.yaml: a spiking network, the rate network it was made from, and a recording.

They and a copy of live.yaml go into the folder where this runs; then: spikeport live run live.yaml
"""

import shutil
from pathlib import Path

import numpy as np

from spikeport import load_source, transfer
from spikeport.resources import model_path
from spikeport.snn.files import save_rate_network, save_spiking_network

rate = load_source(model_path("go-nogo"))
save_rate_network(rate, "rate.h5", overwrite=True)
save_spiking_network(transfer(rate, inverse_lambda=30), "net.h5", overwrite=True)

# 6 trials of 1 s, a sample each 5 ms: a pulse of 125 ms in every other one (Go), nothing in the others (NoGo)
trials = np.zeros((6, 200, 1))
trials[::2, 50:75] = 1.0
np.save("trials.npy", trials.reshape(-1, 1))

shutil.copy(Path(__file__).with_name("live.yaml"), "live.yaml")
print("net.h5, rate.h5, trials.npy, live.yaml; next: spikeport live run live.yaml")
