"""Convert a trained rate network and run the result, in ten lines.

The model is the Go-NoGo network that comes with spikeport; put the path of your own .mat, .h5, .npz or .safetensors
file in its place.
"""

from spikeport import convert_network, load_source, run_network, save_spiking_network
from spikeport.resources import model_path

rate_network = load_source(model_path("go-nogo"))
# 20 trials a candidate find the best 1/lambda; 100 fresh ones measure it. The command line's default is 100 and 1000.
found = convert_network(rate_network, "go-nogo", grid="20:75:5", trials=20, test_trials=100, seed=0)
save_spiking_network(found.network, "net.h5", overwrite=True)

low, high = found.spiking["published"].interval
print(f"rate network:    {found.rate['published'].accuracy:.2f} of {found.rate['published'].trials} trials right")
print(f"spiking network: {found.spiking['published'].accuracy:.2f}, 95 % interval {low:.2f} to {high:.2f}")
print(f"1/lambda {found.inverse_lambda:g}, {found.mean_rate_hz:.1f} spikes/s a unit; written to net.h5")

again = run_network("net.h5", "go-nogo", first=1000, trials=20)  # trials that nothing above has seen
print(f"run again on other trials: {again.right['published']} of {again.trials} right")
