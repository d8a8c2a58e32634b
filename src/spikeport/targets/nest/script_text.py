"""The parts of a PyNN script that are the same for every network."""

HEAD = '''"""{title}, as a PyNN script for NEST; its numbers are in the .npz beside it.

    python {name} --inputs trial.npz --out result.npz

trial.npz holds one trial: an array for each input by its name, counts of spikes (steps, channels) or values to hold
(samples, channels); and, if you like, "v0 of NAME" (units,) mV for a population. result.npz gets "NAME step" and
"NAME unit" of every spike of each population, counted from 0, and "output NAME" of each read-out (steps, outputs).

One step here is the step of the network it was made from: delays, weights and time constants are chosen so that NEST's
exact integration, which lets a current act one step after it has arrived, gives the same membrane potentials.
What was given up on the way:
{losses}
"""

import argparse
from pathlib import Path

import numpy as np
import pyNN.nest as sim
from pyNN.parameters import Sequence

DT = {dt}  # ms
LEAD = 4  # steps before the trial: given spikes and currents are under way by then, and no unit can spike
LONGEST = {longest}  # steps, of all delays'''

BUILD = '''
parser = argparse.ArgumentParser()
parser.add_argument("--inputs", type=Path, help="trial.npz")
parser.add_argument("--out", type=Path, default=Path("result.npz"))
parser.add_argument("--steps", type=int, help="how long to run; default: as long as the inputs")
parser.add_argument("--seed", type=int, default=0, help="of initial potentials that are drawn")
arguments = parser.parse_args()

numbers = np.load(Path(__file__).with_suffix(".npz"), allow_pickle=False)
trial = dict(np.load(arguments.inputs, allow_pickle=False)) if arguments.inputs else {}
rng = np.random.default_rng(arguments.seed)
units = {}  # population -> its units
start = {}  # population -> where a trial starts, mV
lengths = []  # of the inputs, steps

# on_grid: spikes at multiples of DT, as in the network (PyNN's default puts them between)
sim.setup(timestep=DT, min_delay=DT, max_delay=LONGEST * DT, spike_precision="on_grid")
MultiSynapse = sim.native_cell_type("iaf_psc_exp_multisynapse")


def population(key, size, receptors, label):
    """Units with one exponential current for each receptor; V_th comes later, so that none spikes before the trial."""

    class Cell(MultiSynapse):
        receptor_types = receptors
        standard_receptor_type = False

        def get_receptor_type(self, name):
            return receptors.index(name) + 1

    own = ("tau_m", "C_m", "tau_syn", "V_reset", "I_e", "t_ref")
    units[key] = sim.Population(size, Cell(E_L=0.0, V_th=1e300), label=label)
    tell(units[key], {name: numbers[f"{key}.{name}"] for name in own})
    units[key].record("spikes")
    return units[key]


def tell(these, parameters):
    """One value for each unit, by NEST's own call: PyNN 0.13 cannot set those of a native cell on NEST 3.10."""
    rows = zip(*(value.tolist() for value in parameters.values()))
    these.node_collection.set([dict(zip(parameters, row)) for row in rows])


def given(name, *shape):
    """An array of the trial's file, of this shape; None: any length."""
    if name not in trial:
        parser.error(f"--inputs: '{name}' is missing")
    array = trial.pop(name)
    if array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape)):
        parser.error(f"--inputs: '{name}' has shape {array.shape}, must be {shape}")
    return array


def given_spikes(name, channels):
    """A source of the spikes in the trial's file: a count in row j is a spike, or more, at the end of step j + 1."""
    counts = given(name, None, channels).astype(int)
    lengths.append(len(counts))
    # LEAD + j - 1: one step early, which the delay makes up for; NEST's delays are 1 step at least
    times = [np.repeat(LEAD - 1 + np.arange(len(counts)), counts[:, c]) * DT for c in range(channels)]
    return sim.Population(channels, sim.SpikeSourceArray(spike_times=[Sequence(t) for t in times]), label=name)


def held(name, channels, dt, sampling):
    """The values of the trial's file that each step sees: (steps, channels)."""
    values = given(name, None, channels).astype(float)
    steps = arguments.steps or int(np.floor(len(values) * dt / DT + 0.5))
    lengths.append(steps)
    k = np.arange(1, steps + 1)
    ratio = dt / DT
    if abs(ratio - round(ratio)) < 1e-9 * ratio:  # whole: in integers, so that half steps are exact
        r = round(ratio)
        index = (2 * k + r) // (2 * r) if sampling == "nearest" else (k - 1) // r
    else:
        index = np.floor(k / ratio + 0.5 if sampling == "nearest" else (k - 1) / ratio).astype(int)
    return values[np.minimum(index, len(values) - 1)]


def inject(values, these, gain):
    """Held values as a current into each unit, told where it changes."""
    currents = values @ gain.T
    changes = np.diff(currents, axis=0, prepend=np.nan) != 0
    for unit, row, changed in zip(these, currents.T, changes.T):
        at = np.flatnonzero(changed)
        source = sim.StepCurrentSource(times=Sequence((LEAD + at) * DT), amplitudes=Sequence(row[at]))
        source.inject_into([unit])


def connect(pre, post, weights, receptor, delay):
    """weights (pre, post); what is 0 is not connected."""
    i, j = np.nonzero(weights)
    if len(i):
        pairs = np.column_stack([i, j, weights[i, j], np.full(len(i), delay * DT)])
        sim.Projection(pre, post, sim.FromListConnector(pairs.tolist()), receptor_type=receptor)


def read_out(key, source, name):
    """o = weight s + bias, with s the filtered spikes of `source`."""
    D, jump = numbers[f"{key}.D"], numbers[f"{key}.jump"]
    weight, bias = numbers[f"{key}.weight"], numbers[f"{key}.bias"]
    z = np.zeros((steps, len(jump)))
    z[result[f"{units[source].label} step"], result[f"{units[source].label} unit"]] = 1
    x, out = np.zeros(jump.shape), np.empty((steps, len(bias)))
    for k in range(steps):
        x = np.einsum("nij,nj->ni", D, x) + jump * z[k][:, None]
        out[k] = weight @ x[:, 0] + bias
    result[f"output {name}"] = out


# Populations'''

TAIL = """
for key, these in units.items():
    name = f"v0 of {{these.label}}"
    start[key] = given(name, these.size).astype(float) if name in trial else start[key]
if trial:
    parser.error(f"--inputs: there is no {{', '.join(trial)}} here")
if not (arguments.steps or lengths):
    parser.error("--steps: not given, and there are no inputs to take it from")
steps = arguments.steps or max(lengths)

# The trial starts: potentials and thresholds
sim.run((LEAD - 1) * DT)  # the first time PyNN runs one step longer than it is told
for key, these in units.items():
    tell(these, {{"V_th": numbers[f"{{key}}.V_th"], "V_m": start[key]}})
sim.run((steps + 1) * DT)  # the spikes of a step are recorded in the next

result = {{}}
for key, these in units.items():
    trains = these.get_data("spikes").segments[0].spiketrains
    step, unit = trains.multiplexed[1].magnitude, trains.multiplexed[0]
    step = np.rint(np.asarray(step) / DT).astype(int) - LEAD - 1
    unit = np.searchsorted(these.all_cells.astype(int), np.asarray(unit, dtype=int))
    inside = (step >= 0) & (step < steps)
    order = np.lexsort((unit[inside], step[inside]))
    result[f"{{these.label}} step"], result[f"{{these.label}} unit"] = step[inside][order], unit[inside][order]
{readouts}np.savez(arguments.out, **result)
spikes = sum(len(value) for name, value in result.items() if name.endswith(" step"))
print(f"{{steps}} steps, {{spikes}} spikes -> {{arguments.out}}")
"""
