"""What a spiking network did, counted: spikes, synaptic events, neuron updates, steps, memory. Exact, for each trial.

    synaptic events of a projection = sum over its sources j of (spikes of j) (synapses of j that are stored)

Events are counted with the spike that causes them, also where they would arrive after the last step. What "stored"
means is the target's: by default the weights that are not 0 in the network as it is told it (stored.py has the chips).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import SpikeportError
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import HeldInput, SpikingNetwork, steps_of
from spikeport.snn.synapses import DoubleExponential

Ints = NDArray[np.int64]
Loads = Mapping[str, Ints]
RECORD_ANEW = "spikeport run NET --task TASK -o run.h5   (a recording of this network)"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Counts of one run; an array is (trials,).

    spikes: population -> spikes.  input_spikes: spike input -> spikes.  events: projection -> synaptic events.
    reads: the same with what the target also reads of weights that are 0.  updates: population -> neuron updates of ONE
    trial.  messages, hops: spikes sent from core to core, and tiles passed, where the target has cores.  host: what is
    left to the host, multiply-accumulates of held inputs and read-outs.  writes: values that the host writes in ONE
    trial at most (biases, currents), where held inputs come in so.  memory: what -> bytes, as the target stores it.
    places: cores and the like.  how: how this target counts.  loads: event -> (steps, trials, cores), for time.
    """

    target: str
    dt: float
    n_steps: int
    trials: int
    spikes: Mapping[str, Ints]
    input_spikes: Mapping[str, Ints]
    events: Mapping[str, Ints]
    reads: Mapping[str, Ints]
    updates: Mapping[str, int]
    host: Ints
    memory: Mapping[str, int]
    how: tuple[str, ...]
    messages: Ints | None = None
    hops: Ints | None = None
    writes: int = 0
    places: Mapping[str, int] = field(default_factory=dict)
    loads: Loads = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Of one trial, as the network counts them."""
        return self.n_steps * self.dt

    def total(self, what: str) -> int:
        """spikes, events, reads, messages, hops, host or updates of all trials and populations."""
        value = getattr(self, what)
        if value is None:
            return 0
        if isinstance(value, Mapping):
            scale = self.trials if what == "updates" else 1
            return scale * sum(int(np.sum(v)) for v in value.values())
        return int(np.sum(value))

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers: sums over all trials, and spikes of each."""

        def sums(found: Mapping[str, Ints]) -> dict[str, int]:
            return {name: int(v.sum()) for name, v in found.items()}

        each = np.sum([np.zeros(self.trials, dtype=np.int64), *self.spikes.values()], axis=0)
        return {
            "target": self.target, "trials": self.trials, "steps": self.n_steps, "dt_s": self.dt,
            "seconds": self.seconds, "spikes": sums(self.spikes), "spikes_of_each_trial": each.tolist(),
            "input_spikes": sums(self.input_spikes), "synaptic_events": sums(self.events),
            "synaptic_reads": sums(self.reads),
            "neuron_updates": {name: n * self.trials for name, n in self.updates.items()},
            "messages": None if self.messages is None else int(self.messages.sum()),
            "hops": None if self.hops is None else int(self.hops.sum()),
            "host_multiply_accumulates": int(self.host.sum()), "host_writes": self.writes * self.trials,
            "memory_bytes": dict(self.memory), "places": dict(self.places), "how": list(self.how),
        }  # fmt: skip


def labels(network: SpikingNetwork) -> list[str]:
    """A name for each projection, "source->target"; the second of one name gets " (2)", and so on."""
    found: list[str] = []
    for j in network.projections:
        name = f"{j.source}->{j.target}"
        earlier = sum(other.partition(" (")[0] == name for other in found)
        found.append(f"{name} ({earlier + 1})" if earlier else name)
    return found


def sent(network: SpikingNetwork, recording: Recording, inputs: Inputs | None) -> dict[str, SpikeTrains]:
    """Population or spike input -> its spikes; refused where recording and inputs are not of this network."""
    found, problems = dict(recording.spikes), []
    for p in network.populations:
        if p.name not in found:
            problems.append(f"population {p.name}: its spikes are not in the recording")
        elif found[p.name].shape[2] != p.n:
            problems.append(
                f"population {p.name}: {found[p.name].shape[2]} units in the recording, {p.n} in the network"
            )
    if not np.isclose(recording.dt, network.dt, rtol=1e-9, atol=0):
        problems.append(f"dt: {recording.dt:g} s in the recording, {network.dt:g} s in the network")
    for port in network.spike_inputs:
        given = _given(port.name, len(network.inputs), inputs)
        trains = given if isinstance(given, SpikeTrains) or given is None else SpikeTrains.from_dense(given)
        if trains is None:
            problems.append(f"input {port.name}: its spikes are not in a recording, and were not given")
        elif trains.shape[1:] != (recording.n_batch, port.n):
            problems.append(f"input {port.name}: {trains.shape[1:]} trials and channels, must be "
                            f"{(recording.n_batch, port.n)}")  # fmt: skip
        else:
            found[port.name] = _within(trains, recording.n_steps)
    if problems:
        only_inputs = all(problem.startswith("input ") for problem in problems)
        hint = "estimate(..., inputs=...) with the inputs of the run" if only_inputs else RECORD_ANEW
        raise SpikeportError("estimate: this recording is not one of this network", problems, hint=hint)
    return {
        name: found[name] for name in [p.name for p in network.populations] + [i.name for i in network.spike_inputs]
    }


def _given(name: str, n_inputs: int, inputs: Inputs | None) -> Any:
    if isinstance(inputs, Mapping):
        return inputs.get(name)
    return inputs if n_inputs == 1 else None


def _within(trains: SpikeTrains, n_steps: int) -> SpikeTrains:
    """The spikes of the run's own steps: an input may go on after it."""
    mine = trains.step < n_steps
    shape = (n_steps, *trains.shape[1:])
    return SpikeTrains.build(trains.step[mine], trains.batch[mine], trains.neuron[mine], shape, trains.count[mine])


def host_work(network: SpikingNetwork, recording: Recording, of_unit: Mapping[str, Ints]) -> Ints:
    """(trials,) multiply-accumulates of what is no neuron: held inputs once a sample, filters and weights of read-outs.

    A read-out's filter is linear, so it may run behind the weights, on the outputs, wherever its time constants are the
    same for all units; that is what is counted.
    """
    total = np.zeros(recording.n_batch, dtype=np.int64)
    held = {i.name: i for i in network.held_inputs}
    for j in network.projections:
        if j.source in held:
            total += int(np.count_nonzero(j.weight)) * samples(recording.n_steps, held[j.source], network.dt)
    for r in network.readouts:
        total += of_unit[r.source] @ np.count_nonzero(r.weight, axis=0)
        double = isinstance(r.synapse, DoubleExponential)
        names = ("tau_decay", "tau_rise") if double else ("tau",)
        alike = all(np.ptp(getattr(r.synapse, name)) == 0 for name in names)
        total += (r.weight.shape[0] if alike else r.weight.shape[1]) * (3 if double else 1) * recording.n_steps
        total += 0 if alike else int(np.count_nonzero(r.weight)) * recording.n_steps
    return total


def samples(n_steps: int, held: HeldInput, dt: float) -> int:
    """How many samples of a held input n_steps see: the least number that lasts as long."""
    n = max(1, round(n_steps * dt / held.dt))
    while steps_of(n, held, dt) < n_steps:
        n += 1
    return n


def plain_counts(
    target: str,
    network: SpikingNetwork,
    recording: Recording,
    inputs: Inputs | None = None,
    words: tuple[int, int] = (8, 8),
) -> Counts:
    """Counts of a target that stores every weight that is not 0. words: bytes of a weight and of a state."""
    trains = sent(network, recording, inputs)
    of_unit = {name: t.counts() for name, t in trains.items()}
    events = {
        name: of_unit[j.source] @ np.count_nonzero(j.weight, axis=0)
        for name, j in zip(labels(network), network.projections, strict=True) if j.source in of_unit
    }  # fmt: skip
    stored = sum(int(np.count_nonzero(j.weight)) for j in network.projections if j.source in of_unit)
    states = sum(p.n * (1 + sum(_states(s) for s in p.synapses.values())) for p in network.populations)
    return Counts(
        target=target, dt=network.dt, n_steps=recording.n_steps, trials=recording.n_batch,
        spikes={p.name: of_unit[p.name].sum(axis=1) for p in network.populations},
        input_spikes={i.name: of_unit[i.name].sum(axis=1) for i in network.spike_inputs},
        events=events, reads=events, updates={p.name: p.n * recording.n_steps for p in network.populations},
        host=host_work(network, recording, of_unit),
        memory={"weights": stored * words[0], "states": states * words[1]},
        how=(f"a synaptic event is a spike times a weight that is not 0; {words[0]} bytes a weight, without its index, "
             f"{words[1]} a state",),
    )  # fmt: skip


def _states(synapse: object) -> int:
    return 2 if isinstance(synapse, DoubleExponential) else 1 if hasattr(synapse, "tau") else 0
