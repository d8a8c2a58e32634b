"""The fixed pieces of a Brian2 script, and how numbers and comments are written in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.losses import Loss
from spikeport.snn.spiking import HeldInput, SpikingNetwork
from spikeport.targets.brian2.equations import GroupText
from spikeport.targets.tables import PopulationStep

INTEGRATORS = {
    "euler": "forward Euler, Brian2's own",
    "kim2019": "forward Euler, but synapses decay by exp(-dt / tau) in a step: hence the constants *_step",
    "exact": """exact over a step (matrix exponential): an Euler step with the constants *_step, b_*, g_* and held_*.
The last three are numbers for this dt and these time constants: where one of those changes, export again""",
}

MAIN = """def main():
    trial = dict(np.load(sys.argv[1])) if len(sys.argv) > 1 else builtin_trial()
    spikes, outputs = run(trial)
    for name, (step, unit) in spikes.items():
        print(f"# {name}: {len(step)} spikes; population step unit")
        for k, i in zip(step, unit):
            print(name, k, i)  # step 0 covers (0, dt]
    if len(sys.argv) > 2:
        columns = {f"{name}.{what}": a for name, pair in spikes.items() for what, a in zip(("step", "unit"), pair)}
        np.savez(sys.argv[2], **columns, **outputs)


if __name__ == "__main__":
    main()""".split("\n")

IN_TURN = '''def in_turn(group, name):
    """Step a group in slots of its own, so that what has no delay acts within the step."""
    group.state_updater.when = f"{name}_groups"
    group.thresholder["spike"].when = f"{name}_thresholds"
    group.resetter["spike"].when = f"{name}_resets"


def turns(names):
    own = [f"{name}_{slot}" for name in names for slot in ("arrivals", "groups", "thresholds", "resets")]
    return ["start", *own, "groups", "thresholds", "synapses", "resets", "end"]


'''.split("\n")[:-1]

HELPERS = '''def start(group, values, v0, given):
    """Set a group's parameters and its v at the start; v0: mV, or (low, high) to draw from."""
    for name, value in values.items():
        if name in group.variables:  # ref0 says how a trial starts, and is none
            setattr(group, name, value)
    if isinstance(v0, tuple):
        v0 = v0[0] + (v0[1] - v0[0]) * np.random.random(len(group))
    group.v = (v0 if given is None else given) * mV


def connected(source, target, weight, delay, when="synapses", *, on_pre):
    """Synapses for the weights that are not 0. weight: mV s, (to, from)."""
    synapses = Synapses(source, target, "w : volt * second (constant)", on_pre=on_pre, delay=delay)
    synapses.pre.when = when
    to, come_from = np.nonzero(weight)
    synapses.connect(i=come_from, j=to)
    synapses.w = weight[to, come_from] * mV * second
    return synapses


'''.split("\n")[:-1]


def heading(name: str, filename: str, network: SpikingNetwork, losses: Sequence[Loss], in_turn: bool) -> Iterator[str]:
    """The script's docstring."""
    inputs = [f"{i.name} ({'samples' if isinstance(i, HeldInput) else 'steps'}, {i.n})" for i in network.inputs]
    takes = ", ".join(inputs) or "no inputs"
    stem = filename.removesuffix(".py")
    yield f'"""{name[0].upper() + name[1:]}: {network.n_neurons} spiking neurons, as a Brian2 script.'
    yield ""
    yield f"    python {filename}                         one trial with a built-in input; prints the spikes"
    yield f"    python {filename} trial.npz               one trial with the arrays of trial.npz"
    yield f"    python {filename} trial.npz result.npz    and writes spikes and outputs"
    yield ""
    yield f"Arrays of a trial: {takes}; and v0.POPULATION, mV, where v is to start elsewhere."
    yield ""
    yield f"It needs brian2 and numpy; its arrays are in {stem}.weights.npz beside it. Units: mV and ms. Weights"
    yield "are in mV s: a spike of weight 1 mV s has an area of 1 mV s under the synaptic current."
    yield ""
    yield f"Integration: {INTEGRATORS[network.integrator]}."
    if in_turn:
        yield "A step: population by population, each in slots of its own: what has no delay acts in the same step."
    else:
        yield "A step: state update, threshold, synapses, reset (Brian2's order): a spike acts from the next step on."
    for loss in losses:
        yield f"Lost on the way here: {loss}."
    yield '"""'


def preamble(network: SpikingNetwork, codegen: str, random: bool) -> Iterator[str]:
    """Imports and the clock."""
    names = ["Network", "NeuronGroup", "SpikeMonitor", "StateMonitor", "Synapses", "defaultclock", "ms", "mV", "second"]
    names += ["SpikeGeneratorGroup"] if network.spike_inputs else []
    names += ["TimedArray"] if network.held_inputs else []
    names += ["seed"] if random else []
    names += ["hertz"] if network.integrator == "exact" else []
    names += ["set_device"] if codegen == "cpp_standalone" else ["prefs"]
    yield from ("", "import sys", "from pathlib import Path", "", "import numpy as np")
    yield "from brian2 import ("
    yield from (f"    {name}," for name in sorted(names, key=lambda n: (not n[0].isupper(), n.lower())))
    yield from (")", "")
    if codegen == "cpp_standalone":
        yield 'set_device("cpp_standalone")  # compiles the whole run'
    else:
        why = "cython is faster in long runs, after a minute of compiling" if codegen == "numpy" else "compiles first"
        yield f'prefs.codegen.target = "{codegen}"  # {why}'
    yield f"dt = {number(network.dt * 1e3)} * ms  # counts of steps below are for this dt: export again for another one"
    yield "defaultclock.dt = dt"
    if random:
        yield "seed(0)  # what is drawn: v at the start, noise"
    yield 'data = np.load(Path(__file__).with_suffix(".weights.npz"))'
    yield ""
    if network.integrator != "euler":
        yield ""
        yield "def step_constant(tau):"
        yield '    """The time constant with which an Euler step, 1 - dt / tau, decays by exp(-dt / tau)."""'
        yield "    return dt / (1 - np.exp(-np.asarray(dt / tau)))"
        yield ""
    yield ""


def helpers(in_turn: bool) -> list[str]:
    return ["", *(IN_TURN if in_turn else []), *HELPERS]


def ruler(text: str) -> Iterator[str]:
    yield f"# {text} " + "-" * max(3, 117 - len(text))
    yield ""


def about(p: PopulationStep, text: GroupText, integrator: str) -> Iterator[str]:
    """The comment above a population's equations."""
    yield f"# {p.name}: leaky integrate-and-fire; s_* is the current of a synapse, h_* its rise."
    if text.counted:
        yield "# It may spike while refractory, which Brian2's `refractory` rules out: hence a count of steps."
    elif text.refractory:
        yield "# v stands still for n_ref steps after a spike."
    if text.noise:
        yield "# Noise is added to v once a step and does not scale with dt."


def comment(text: str) -> str:
    return f"  # {text}" if text else ""


def number(value: Any) -> str:
    """The text of a number; its 16th digit is left out where that makes it short: 2.0000000000000004 is 2.0."""
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    near = float(f"{float(value):.15g}")
    text = repr(near if len(repr(near)) + 3 < len(repr(float(value))) else float(value))
    return text


def shape(weight: NDArray[Any]) -> str:
    return f"({weight.shape[0]}, {weight.shape[1]})"


def sample(port: HeldInput, dt: float) -> str:
    """The expression for the sample that each step sees; see HeldInput."""
    ratio = port.dt / dt
    if abs(ratio - round(ratio)) < 1e-9 * ratio:
        r = round(ratio)
        return f"(2 * step + {r}) // {2 * r}" if port.sampling == "nearest" else f"(step - 1) // {r}"
    if port.sampling == "nearest":
        return f"np.floor(step / {ratio!r} + 0.5).astype(int)"
    return f"np.floor((step - 1) / {ratio!r}).astype(int)"


def why_delay(steps: int, delay: int) -> str:
    if steps == delay:
        return "these synapses deliver before the groups are stepped"
    return "one is Brian2's own, from the synapses of a step to the next state update"
