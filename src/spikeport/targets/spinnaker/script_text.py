"""The parts of a sPyNNaker script that are the same for every network."""

HEAD = '''"""{title}, as a sPyNNaker script for SpiNNaker 1; its numbers are in the .npz beside it.

    python {name} --inputs trial.npz --out result.npz

trial.npz holds one trial: an array for each input by its name, spikes (steps, channels) of 0 and 1 or values to hold
(samples, channels); and, if you like, "v0 of NAME" (units,) mV for a population. result.npz gets "NAME step" and
"NAME unit" of every spike of each population, counted from 0, and "output NAME" of each read-out (steps, outputs).
The machine is the one of your spynnaker.cfg.

What was given up on the way:
{losses}
"""

import argparse
from pathlib import Path

import numpy as np
import pyNN.spiNNaker as sim

DT = {dt}  # ms
DTCM = {dtcm}  # bytes of a core for its current sources: half of what it has
NEVER = 2**31  # steps
S1615 = 2.0**15

parser = argparse.ArgumentParser()
parser.add_argument("--inputs", type=Path, help="trial.npz")
parser.add_argument("--out", type=Path, default=Path("result.npz"))
parser.add_argument("--steps", type=int, help="how long to run; default: as long as the inputs")
parser.add_argument("--seed", type=int, default=0, help="of initial potentials that are drawn")
arguments = parser.parse_args()



def read(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


numbers = read(Path(__file__).with_suffix(".npz"))
trial = read(arguments.inputs) if arguments.inputs else {{}}
rng = np.random.default_rng(arguments.seed)
steps = arguments.steps or 0
units = {{}}  # key -> population
labels = {{}}  # key -> its name
counts = {{}}  # key of an input -> (steps, channels) of its spikes
values = {{}}  # key of an input -> (samples, channels, dt, sampling) to hold
early = {{}}  # (population, receptor) -> the sum of the weights that act at the very start
connected = []  # projections, in the order of the numbers w0, w1, ...

sim.setup(timestep=DT)


def given(name, *shape):
    """An array of the trial's file, of this shape; None: any length."""
    if name not in trial:
        parser.error(f"--inputs: '{{name}}' is missing")
    array = trial.pop(name)
    if array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape)):
        parser.error(f"--inputs: '{{name}}' has shape {{array.shape}}, must be {{shape}}")
    return array


def given_spikes(key, name, channels):
    counts[key], labels[key] = given(name, None, channels).astype(int), name
    if counts[key].max(initial=0) > 1:
        parser.error(f"--inputs: '{{name}}' has several spikes of a channel in a step")


def held(key, name, channels, dt, sampling):
    values[key] = (given(name, None, channels).astype(float), dt, sampling)


def measure():
    """How long to run, where --steps does not say it."""
    global steps
    lengths = [len(c) for c in counts.values()]
    lengths += [int(np.floor(len(v) * dt / DT + 0.5)) for v, dt, _ in values.values()]
    steps = steps or max(lengths, default=0)
    if not steps:
        parser.error("--steps: not given, and there are no inputs to take it from")


def samples(key):
    """(steps, channels): the values that each step sees."""
    held_values, dt, sampling = values[key]
    k = np.arange(1, steps + 1)
    ratio = dt / DT
    if abs(ratio - round(ratio)) < 1e-9 * ratio:  # whole: in integers, so that half steps are exact
        r = round(ratio)
        index = (2 * k + r) // (2 * r) if sampling == "nearest" else (k - 1) // r
    else:
        index = np.floor(k / ratio + 0.5 if sampling == "nearest" else (k - 1) / ratio).astype(int)
    return held_values[np.minimum(index, len(held_values) - 1)]


def potentials(key, size):
    """(steps, units) mV that v is to settle at: constants and held values, filtered where they go through a synapse."""
    total = np.zeros((steps, size)) + numbers[f"{{key}}.drive"]
    for x in values:
        if f"{{key}}.held.{{x}}" in numbers:
            total += samples(x) @ numbers[f"{{key}}.held.{{x}}"].T
    k = 0
    while f"{{key}}.host{{k}}.D" in numbers:
        D = numbers[f"{{key}}.host{{k}}.D"]
        into = np.zeros((steps, size)) + numbers[f"{{key}}.host{{k}}.constant"]
        for x in values:
            if f"{{key}}.host{{k}}.{{x}}" in numbers:
                into += samples(x) @ numbers[f"{{key}}.host{{k}}.{{x}}"].T
        state = np.zeros(size)
        for step in range(steps):
            state = D * state + (1 - D) * into[step]
            total[step] += state
        k += 1
    return total


def currents(key, size, gain):
    """(steps, units) nA, whole s16.15 numbers; rounding moves no potential across the threshold."""
    total = potentials(key, size)
    threshold, rest = (np.rint(numbers[f"{{key}}.{{name}}"] * S1615) for name in ("v_thresh", "v_rest"))
    raw = np.rint(total * S1615)
    silent = total <= numbers[f"{{key}}.limit"]
    raw = np.where(silent, np.minimum(raw, threshold - 1), np.maximum(raw, threshold))
    return (raw - rest) * 2.0**gain / S1615


def population(key, size, label, expect, drawn, gain):
    """Units; constants and held values come as a step current source for each unit, told where it changes."""
    own = ("tau_m", "cm", "tau_syn_E", "tau_syn_I", "v_rest", "v_reset", "v_thresh", "tau_refrac")
    cell = sim.IF_curr_exp(**{{name: numbers[f"{{key}}.{{name}}"].tolist() for name in own}})
    extra = {{"max_expected_summed_weight": expect}}
    amplitudes = currents(key, size, gain) if gain is not None else np.zeros((steps, 0))
    changes = np.diff(amplitudes, axis=0, prepend=np.nan) != 0
    if amplitudes.size:
        each = 8 * (changes.sum(axis=0).max() + 1)
        extra["neurons_per_core"] = int(min(128, DTCM // each))
        if extra["neurons_per_core"] < 1:
            parser.error(f"{{label}}: {{each}} bytes of a unit's changing current, a core has {{DTCM}}")
    units[key] = sim.Population(size, cell, label=label, additional_parameters=extra)
    labels[key] = label
    name = f"v0 of {{label}}"
    if name in trial:
        v0 = given(name, size).astype(float)
    else:
        v0 = rng.uniform(*drawn, size) if drawn else numbers[f"{{key}}.v0"]
    units[key].initialize(v=v0.tolist(), refract_timer=numbers[f"{{key}}.ref0"].tolist())
    units[key].record("spikes")
    for unit in range(amplitudes.shape[1]):
        at = np.flatnonzero(changes[:, unit])
        # a quarter of a step more, since sPyNNaker cuts times to whole steps; NEVER: the chip looks one entry ahead
        times = [*((at + 0.25) * DT).tolist(), NEVER * DT]
        source = sim.StepCurrentSource(times=times, amplitudes=[*amplitudes[at, unit].tolist(), 0.0])
        source.inject_into(units[key][unit : unit + 1])


def connect(source, target, key, receptor, delay):
    """weights (pre, post) of one sign; what is 0 is not connected.

    A spike of an input with delay 0 is sent a step early, and has the chip's shortest delay; what acts at the very
    start is there as a current that the unit starts with.
    """
    weights = numbers[key]
    pre = units[source] if source in units else spikes(source, delay == 0)
    if source in counts and delay == 0 and len(counts[source]):
        row = counts[source][0] @ weights
        early[target, receptor] = early.get((target, receptor), 0.0) + row
    i, j = np.nonzero(weights)
    rows = np.column_stack([i, j, weights[i, j], np.full(len(i), max(delay, 1) * DT)])
    connected.append(
        sim.Projection(pre, units[target], sim.FromListConnector(rows.tolist()), receptor_type=receptor)
    )


def spikes(key, ahead):
    """The source of an input's spikes; ahead: each sent one step early, without those of the first step."""
    name = f"{{key}} ahead" if ahead else key
    if name not in units:
        step, channel = np.nonzero(counts[key])
        sent = [step[(channel == c) & (step >= ahead)] - ahead for c in range(counts[key].shape[1])]
        source = sim.SpikeSourceArray(spike_times=[(s * DT).tolist() for s in sent])
        units[name] = sim.Population(len(sent), source, label=f"{{labels[key]}} {{name}}")
    return units[name]


def start_early():
    """The currents that units start with."""
    names = {{"excitatory": "isyn_exc", "inhibitory": "isyn_inh"}}
    for (target, receptor), nA in early.items():
        raw = np.rint(nA * S1615).astype(np.int64)
        raw = (raw * numbers[f"{{target}}.first"]) >> 32  # as the chip adds them
        units[target].initialize(**{{names[receptor]: (raw / S1615).tolist()}})

'''

TAIL = """
start_early()
if trial:
    parser.error(f"--inputs: there is no {', '.join(trial)} here")
sim.run(steps * DT)

result = {}
for key in (key for key in units if key.startswith("p")):
    trains = units[key].get_data("spikes").segments[0].spiketrains
    step = np.concatenate([[], *(np.rint(np.asarray(t.rescale("ms").magnitude) / DT) for t in trains)]).astype(int)
    unit = np.concatenate([[], *(np.full(len(t), i) for i, t in enumerate(trains))]).astype(int)
    order = np.lexsort((unit, step))
    result[f"{labels[key]} step"], result[f"{labels[key]} unit"] = step[order], unit[order]
for key, source, name in READOUTS:
    D, jump = numbers[f"{key}.D"], numbers[f"{key}.jump"]
    weight, bias = numbers[f"{key}.weight"], numbers[f"{key}.bias"]
    z = np.zeros((steps, len(jump)))
    z[result[f"{labels[source]} step"], result[f"{labels[source]} unit"]] = 1
    x, out = np.zeros(jump.shape), np.empty((steps, len(bias)))
    for k in range(steps):
        x = np.einsum("nij,nj->ni", D, x) + jump * z[k][:, None]
        out[k] = weight @ x[:, 0] + bias
    result[f"output {name}"] = out
np.savez(arguments.out, **result)
total = sum(len(value) for name, value in result.items() if name.endswith(" step"))
print(f"{steps} steps, {total} spikes -> {arguments.out}")
sim.end()
"""
