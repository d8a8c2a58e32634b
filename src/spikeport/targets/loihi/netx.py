"""The HDF5 file that lava-dl's netx reads: a chain of dense layers of CUBA neurons, in its integers.

    layer/0      type "input", shape
    layer/1 ..   type "dense", shape, inFeatures, outFeatures, weight (n, n_source), bias (n,),
                 neuron: type "CUBA", iDecay = du + 1, vDecay = dv, vThMant = vth, refDelay 1, gradedSpike 0

Every weight has exponent 0 and the sign mode of its whole matrix, a bias is mantissa 2^6: netx/hdf5.py at 4919a66 has
no field for another. There is none for a loop either: `blocks` has a RecurrentDense, but `Network._create` builds none,
and stops at every layer that would join two. Held inputs, refractory periods and delays it does not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.neurons import per_unit, refractory_steps
from spikeport.snn.spiking import SpikingNetwork, Uniform
from spikeport.targets.base import Lowering
from spikeport.targets.capabilities import Problem, loops
from spikeport.targets.fixed_point.integers import Ints
from spikeport.targets.loihi.chip import Chip, Compartments
from spikeport.targets.loihi.drive import edge
from spikeport.targets.loihi.limits import BIAS_MAX, DECAY_BITS, STATE_SHIFT
from spikeport.targets.tables import PopulationStep, population_steps

READER = "lava-dl 0.6.0, netx/hdf5.py at 4919a66"
SUFFIX = ".net"


def chain_problems(network: SpikingNetwork) -> Iterator[Problem]:
    """Why the network is no chain that netx can say, all at once."""
    looping, held = loops(network), {i.name for i in network.held_inputs}
    for j in network.projections:
        where = f"projection {j.source}->{j.target}"
        if (j.source, j.target) in looping:
            yield _problem("recurrent", where, "a loop", "netx builds chains of layers; --set format=table holds loops")
        elif j.delay != 1 and j.source not in held:
            feature = "min_delay" if j.delay < 1 else "delays"
            yield _problem(feature, where, f"delay {j.delay} steps", "in Lava every dense layer takes 1")
    yield from _held(network)
    yield from _order(network, {(j.source, j.target) for j in network.projections if (j.source, j.target) in looping})
    for step in population_steps(network):
        yield from _layer(network, step)


def _problem(feature: str, where: str, value: str, limit: str) -> Problem:
    return Problem(feature=feature, where=where, value=value, limit=limit)


def _held(network: SpikingNetwork) -> Iterator[Problem]:
    for i in network.held_inputs:
        yield _problem("held_via", f"input {i.name}", "held values", "netx has spikes as input only")
    for p in network.populations:
        if any(np.any(np.asarray(b)) for b in p.synaptic_bias.values()):
            yield _problem("synaptic_bias", f"population {p.name}", "a constant through a synapse", "netx has none")


def _order(network: SpikingNetwork, looping: set[tuple[str, str]]) -> Iterator[Problem]:
    """Is it one spike input and one population behind the other, in their order?"""
    ways = [(j.source, j.target) for j in network.projections if (j.source, j.target) not in looping]
    names = [i.name for i in network.spike_inputs] + [p.name for p in network.populations]
    wanted = list(pairwise(names))
    if len(network.spike_inputs) != 1 or ways != wanted:
        value = ", ".join(f"{a}->{b}" for a, b in ways) or "none"
        limit = "one spike input, then each population behind the one before, by one projection"
        yield _problem("populations", "network: projections", value, limit)


def _layer(network: SpikingNetwork, step: PopulationStep) -> Iterator[Problem]:
    p, where = step.population, f"population {step.name}"
    n_ref = int(np.max(refractory_steps(p.neuron.t_ref, network.dt)))
    if n_ref:
        yield _problem("refractory", f"{where}: t_ref", f"{n_ref} steps", "netx reads none")
    if isinstance(p.v0, Uniform) or np.any(per_unit(p.v0, p.n) != per_unit(p.neuron.v_reset, p.n)):
        yield _problem("initial_v", f"{where}: v0", "not v_reset", "a Lava neuron starts there")
    if np.ptp(step.A) > 0:
        yield _problem("tau_mem", f"{where}: tau_mem", "differs between units", "netx has one vDecay a layer")
    if any(s.n_states and np.ptp(s.table.D[:, 0, 0]) > 0 for s in step.synapses if s.spikes):
        yield _problem(
            "tau_syn", f"{where}: tau of its synapse", "differs between units", "netx has one iDecay a layer"
        )


def whole_bias(c: Compartments) -> Ints:
    """(n,): the nearest multiple of 2^6 that is on its own side of the bias at which v settles at the threshold."""
    limit, unit = edge(c), 1 << STATE_SHIFT
    m = np.rint(c.bias / unit).astype(np.int64)
    silent = c.bias * (1 << DECAY_BITS) <= float(c.scale) * c.dv
    m = np.where(silent & (m * unit > limit), limit // unit, m)
    return np.where(~silent & (m * unit <= limit), limit // unit + 1, m) * unit


def with_whole_biases(c: Compartments) -> Compartments:
    return replace(c, bias=whole_bias(c).astype(np.float64))


def bias_problems(chip: Chip) -> Iterator[Problem]:
    """Biases whose mantissa would be too large, and matrices of zeros, which the reader cannot scale."""
    for c in chip.compartments:
        most = int(np.abs(c.bias).max(initial=0)) >> STATE_SHIFT
        if most > BIAS_MAX:
            yield _problem("range", f"population {c.name}: bias", f"{most} 2^6", f"limit {BIAS_MAX} 2^6")
        if not any(s.target == c.name and s.mantissa.any() for s in chip.synapses):
            yield _problem("range", f"population {c.name}: weights", "all are 0", "netx divides by the largest")


def write_netx(lowering: Lowering, path: Path, overwrite: bool = False) -> Path:
    """Write the chip of a lowering, whole or not at all."""
    import h5py

    from spikeport.snn.writing import write_whole

    chip: Chip = lowering.settings["chip"]
    with write_whole(path, overwrite) as part, h5py.File(part, "w") as file:
        file.attrs["written_by"] = "spikeport"
        file.attrs["reader"] = READER
        file.attrs["dt_s"] = chip.dt
        file.attrs["losses"] = json.dumps([str(loss) for loss in lowering.losses])
        (n_in,) = chip.inputs.values()
        layer = file.create_group("layer/0")
        layer["type"], layer["shape"] = _text("input"), np.array([n_in])
        for index, c in enumerate(chip.compartments, start=1):
            (synapses,) = (s for s in chip.synapses if s.target == c.name)
            layer = file.create_group(f"layer/{index}")
            layer["type"], layer["shape"] = _text("dense"), np.array([c.n])
            layer["inFeatures"], layer["outFeatures"] = synapses.mantissa.shape[1], c.n
            layer["weight"] = synapses.mantissa.astype(np.int32)
            layer["bias"] = (c.bias / (1 << STATE_SHIFT)).astype(np.int32)
            neuron = layer.create_group("neuron")
            neuron["type"] = _text("CUBA")
            neuron["iDecay"], neuron["vDecay"] = int(c.du[0]) + 1, int(c.dv[0])
            neuron["vThMant"], neuron["refDelay"], neuron["gradedSpike"] = c.vth, 1, False
    return path


def _text(word: str) -> NDArray[np.bytes_]:
    """As lava-dl's own writers have it: an array of one string."""
    return np.array([word.encode("ascii")])
