"""The fast simulator: the canonical step (reference.py) in numba, over many trials and many candidates at once.

In float64 it gives the reference's spikes, every one, because it adds the same numbers in the same order; float32 is
faster and differs in some. A trial's result depends on (seed, trial) only: not on the batch, the threads or the other
candidates.

    recording = simulate(network, inputs, seed=0)              one network
    engine = Engine([network_a, network_b]); engine.run(...)   candidates side by side
    state = engine.start(1); engine.step(state, u)             streaming, one step per call
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeport.snn import noise
from spikeport.snn.drive import Drive, Inputs, initial_v, resolve
from spikeport.snn.engine_kernel import Feed, Memory, Sink, advance
from spikeport.snn.engine_loops import REF, K, V
from spikeport.snn.engine_loops import W as LANES
from spikeport.snn.engine_plan import POP, W, compile_networks
from spikeport.snn.errors import SpikeportError
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import SpikingNetwork, sample_index
from spikeport.snn.streaming import Step, Stream

Floats = NDArray[np.floating]
DTYPES: dict[str, type[np.floating]] = {"float32": np.float32, "float64": np.float64}


class Scratch(NamedTuple):
    """A thread's own arrays, as `advance` takes them."""

    nz: Floats
    z: Floats
    z64: NDArray[np.uint64]
    words: NDArray[np.uint32]
    acc: Floats

    @classmethod
    def make(cls, padded: int, dtype: type[np.floating]) -> Scratch:
        z = np.zeros(padded, dtype=dtype)
        return cls(
            np.zeros((K, padded), dtype=dtype),
            z,
            z.view(np.uint64),
            np.zeros((noise.WORDS, padded), dtype=np.uint32),
            np.zeros(W, dtype=dtype),
        )


@dataclass(kw_only=True)
class EngineState:
    """Where a run stands after k steps; changed in place by `advance`, `run` and `step`. `copy()` is a snapshot."""

    memory: Memory
    k: int
    seed: int
    first_trial: int
    with_noise: bool
    n_batch: int

    def copy(self) -> EngineState:
        memory = Memory(*(part.copy() for part in self.memory))
        return EngineState(
            memory=memory,
            k=self.k,
            seed=self.seed,
            first_trial=self.first_trial,
            with_noise=self.with_noise,
            n_batch=self.n_batch,
        )


@dataclass(frozen=True, kw_only=True)
class Run:
    """What candidates did: outputs (batch, candidates, outputs, time), counts (batch, candidates, units) of spikes,
    events (n, 4) int32 of (step, trial, candidate, unit) and v (batch, candidates, time, units) where recorded."""

    outputs: Floats
    counts: NDArray[np.int64]
    events: NDArray[np.int32]
    v: Floats


class Engine:
    """Networks compiled for the kernel: candidates that differ in numbers only. dtype: "float64" or "float32"."""

    def __init__(self, networks: SpikingNetwork | Sequence[SpikingNetwork], *, dtype: str = "float64") -> None:
        if dtype not in DTYPES:
            raise SpikeportError(f"engine: dtype '{dtype}', must be one of {', '.join(DTYPES)}")
        self.networks = (networks,) if isinstance(networks, SpikingNetwork) else tuple(networks)
        if not self.networks:
            raise SpikeportError("engine: no networks, must be at least 1")
        self.network = self.networks[0]
        self.dtype = DTYPES[dtype]
        self._layout = compile_networks(self.networks, self.dtype)
        self._streams: dict[tuple[int, int], tuple[Stream, Step]] = {}

    def __getstate__(self) -> dict[str, object]:
        """Without the streams, which hold addresses: a copy makes its own."""
        return {**vars(self), "_streams": {}}

    def start(
        self,
        n_batch: int,
        *,
        seed: int = 0,
        first_trial: int = 0,
        with_noise: bool = True,
        v0: Mapping[str, Array] | None = None,
    ) -> EngineState:
        """State before the first step of trials first_trial .. first_trial + n_batch - 1."""
        noise.check_key(seed=seed, trial=first_trial)
        noise.check_key(trial=first_trial + n_batch - 1)
        layout, c = self._layout, len(self.networks)
        v, x, holds, r = (np.zeros((n_batch, c, size), dtype=self.dtype) for size in layout.sizes)
        for i, network in enumerate(self.networks):
            for population in network.populations:
                at, n = layout.tile_of[population.name]
                v[:, i, _unit_offsets(at, -(-n // W) * W) + int(V)] = -np.inf  # of padding it stays
                where = _unit_offsets(at, n)
                v[:, i, where + int(V)] = initial_v(network, population, n_batch, seed, first_trial, v0)
                v[:, i, where + int(REF)] = np.trunc(per_unit(population.ref0, n))
        slots = layout.slots
        memory = Memory(
            v=v,
            x=x,
            holds=holds,
            r=r,
            ring_n=np.zeros((n_batch, c, slots, len(layout.plan.sources)), dtype=np.int32),
            ring_i=np.zeros((n_batch, c, slots, layout.ring_units), dtype=np.int32),
            ring_c=np.zeros((n_batch, c, slots, layout.ring_units), dtype=self.dtype),
        )
        return EngineState(
            memory=memory, k=0, seed=seed, first_trial=first_trial, with_noise=with_noise, n_batch=n_batch
        )

    def run(
        self,
        state: EngineState,
        inputs: Inputs | None = None,
        *,
        n_steps: int | None = None,
        n_threads: int | None = 1,
        record_spikes: bool = False,
        record_outputs: bool = True,
        record_v: bool = False,
    ) -> Run:
        """Move `state` on by n_steps (default: as the inputs last), all candidates on the same inputs and noise.

        Inputs start at the state's first step after this call's beginning: a run can be cut, with its inputs, between
        samples. n_threads: trials are shared out; None is one per core.
        """
        drive = resolve(self.network, inputs, n_steps, state.n_batch)
        layout, c, t = self._layout, len(self.networks), drive.n_steps
        units = self.network.n_neurons
        sink = Sink(
            out=np.zeros((state.n_batch, c, layout.n_outputs, t if record_outputs else 0), dtype=self.dtype),
            trace=np.zeros((state.n_batch, c, t if record_v else 0, units), dtype=self.dtype),
            counts=np.zeros((state.n_batch, c, units), dtype=np.int64),
        )
        feed = _feed(self.network, drive, self.dtype)
        n_threads = (os.cpu_count() or 1) if n_threads is None else n_threads
        if n_threads < 1:
            raise SpikeportError(f"engine: n_threads {n_threads}, must be at least 1, or None for one per core")
        bounds = np.linspace(0, state.n_batch, min(n_threads, state.n_batch) + 1).astype(int)
        jobs = [(int(a), int(b)) for a, b in itertools.pairwise(bounds)]

        def work(job: tuple[int, int]) -> NDArray[np.int32]:
            return np.asarray(self._advance(state, feed, sink, *job, t, record_spikes))

        if len(jobs) == 1:
            parts = [work(jobs[0])]
        else:
            with ThreadPoolExecutor(len(jobs)) as pool:
                parts = list(pool.map(work, jobs))
        state.k += t
        return Run(outputs=sink.out, counts=sink.counts, events=np.concatenate(parts), v=sink.trace)

    def step(
        self, state: EngineState, inputs: ArrayLike | Mapping[str, ArrayLike] | None = None, *, n_steps: int = 1
    ) -> Step:
        """One step (or n_steps with the inputs held): (batch, n) values of held inputs, counts of spike inputs.

        Spike inputs arrive in the first of the n_steps. The result's arrays are the engine's own and are overwritten
        by the next call; candidates must be one. Stepper (streaming.py) is the same with less between calls.
        """
        key = (state.n_batch, n_steps)
        found = self._streams.get(key)
        if found is None:
            stream = self.stream(*key)
            found = self._streams[key] = (stream, stream.step())
        stream, step = found
        _load(stream, inputs)
        if stream.memory is not state.memory:
            stream.bind(state.memory)
        stream.key(state.seed, state.first_trial, state.with_noise)
        stream.at(state.k)
        stream.advance()
        state.k += n_steps
        return step

    def stream(self, n_batch: int, n_steps: int) -> Stream:
        """The arrays of streaming calls; not yet bound to a state."""
        if len(self.networks) != 1:
            raise SpikeportError(f"engine: step() with {len(self.networks)} candidates, must be 1")
        if n_steps < 1:
            raise SpikeportError(f"engine: step() of {n_steps} steps, must be at least 1")
        return Stream(self.network, self._layout, self.dtype, n_batch, n_steps)

    def _advance(
        self, state: EngineState, feed: Feed, sink: Sink, b0: int, b1: int, n_steps: int, record: bool,
    ) -> NDArray[np.int32]:  # fmt: skip
        own = Scratch.make(self._layout.padded_units, self.dtype)
        noisy = state.with_noise and self._layout.noisy
        where = np.array([b0, 0, 0], dtype=np.int64)
        block = K * self.network.n_neurons * len(self.networks)  # the most spikes that K steps can have
        events: NDArray[np.int32] = np.empty((4 * block if record else 0, 4), dtype=np.int32)
        while n_steps > 0 and not advance(
            self._layout.plan, feed, state.memory, sink, where, b1, state.k, n_steps, np.uint64(state.seed),
            state.first_trial, noisy, *own, LANES, events,
        ):  # fmt: skip
            events = np.concatenate([events, np.empty_like(events)])
        return events[: where[2]]


def _load(stream: Stream, inputs: ArrayLike | Mapping[str, ArrayLike] | None) -> None:
    """Inputs by name into a stream's values; refused where they are others, or of another shape."""
    ports = stream.network.inputs
    given = inputs if isinstance(inputs, Mapping) else ({} if inputs is None else {
        ports[0].name if ports else "an array": inputs
    })  # fmt: skip
    if len(given) != len(ports):
        names = ", ".join(i.name for i in ports) or "none"
        raise SpikeportError(f"engine: step() got inputs {', '.join(given) or 'none'}, the network's are: {names}")
    for port in ports:
        value = np.asarray(given[port.name]) if port.name in given else np.empty(0)
        if value.shape != (stream.n_batch, port.n):
            shapes = f"of shape {value.shape}, must be {(stream.n_batch, port.n)} and finite"
            raise SpikeportError(f"engine: step() input '{port.name}' {shapes}")
        stream.values[:, stream.places[port.name]] = value


def simulate(
    network: SpikingNetwork,
    inputs: Inputs | None = None,
    *,
    n_steps: int | None = None,
    n_batch: int | None = None,
    seed: int = 0,
    first_trial: int = 0,
    with_noise: bool = True,
    v0: Mapping[str, Array] | None = None,
    record: Collection[str] = (),
    dtype: str = "float64",
    n_threads: int | None = None,
) -> Recording:
    """Run one network; the same call as reference.simulate, the same spikes in float64.

    record: traces by name; the engine has "population.v" (the reference has synaptic states too).
    """
    unknown = [name for name in record if name not in {f"{p.name}.v" for p in network.populations}]
    if unknown:
        known = ", ".join(f"{p.name}.v" for p in network.populations)
        raise SpikeportError(
            f"record: the engine has no trace {', '.join(unknown)}",
            [f"it has: {known}"],
            hint="the reference simulator records synaptic states too",
        )
    drive = resolve(network, inputs, n_steps, n_batch)
    engine = Engine(network, dtype=dtype)
    state = engine.start(drive.n_batch, seed=seed, first_trial=first_trial, with_noise=with_noise, v0=v0)
    run = engine.run(
        state,
        {**drive.held, **drive.spikes},
        n_steps=drive.n_steps,
        n_threads=n_threads,
        record_spikes=True,
        record_v=bool(record),
    )
    return _recording(network, run, drive, record, engine._layout.first_unit)


def _recording(
    network: SpikingNetwork, run: Run, drive: Drive, record: Collection[str], first_unit: Mapping[str, int]
) -> Recording:
    spikes, traces, outputs, row = {}, {}, {}, 0
    for p in network.populations:
        first = first_unit[p.name]
        mine = run.events[(run.events[:, 3] >= first) & (run.events[:, 3] < first + p.n)]
        spikes[p.name] = SpikeTrains.build(
            mine[:, 0], mine[:, 1], mine[:, 3] - first, (drive.n_steps, drive.n_batch, p.n)
        )
        if f"{p.name}.v" in record:
            traces[f"{p.name}.v"] = run.v[:, 0, :, first : first + p.n].transpose(1, 0, 2)
    for r in network.readouts:
        n = r.weight.shape[0]
        outputs[r.name] = run.outputs[:, 0, row : row + n].transpose(2, 0, 1)
        row += n
    return Recording(
        dt=network.dt, n_steps=drive.n_steps, n_batch=drive.n_batch, spikes=spikes, outputs=outputs, traces=traces
    )


def _unit_offsets(at: int, n: int) -> NDArray[np.int64]:
    unit = np.arange(n)
    return at + unit // W * POP + unit % W


def _feed(network: SpikingNetwork, drive: Drive, dtype: type[np.floating]) -> Feed:
    steps = np.arange(1, drive.n_steps + 1)
    samples = [sample_index(steps, network.dt, i, drive.held[i.name].shape[0]) for i in network.held_inputs]
    sample = np.array(samples, dtype=np.int64).reshape(len(samples), drive.n_steps)
    changed = np.zeros(drive.n_steps, dtype=np.bool_)
    changed[1:] = (np.diff(sample, axis=1) != 0).any(axis=0)
    flat = [drive.held[i.name].transpose(1, 0, 2).reshape(drive.n_batch, -1) for i in network.held_inputs]
    u = np.concatenate(flat, axis=1) if flat else np.zeros((drive.n_batch, 0))
    starts, unit, count = _events(network, drive.spikes, drive.n_batch, drive.n_steps, dtype)
    return Feed(
        u=np.ascontiguousarray(u, dtype=dtype),
        u_start=np.cumsum([0, *(f.shape[1] for f in flat)])[:-1].astype(np.int64),
        sample=sample, changed=changed, ev_start=starts, ev_unit=unit, ev_count=count,
    )  # fmt: skip


def _events(
    network: SpikingNetwork, spikes: Mapping[str, SpikeTrains], n_batch: int, n_steps: int, dtype: type[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.floating]]:
    """Given spikes by (input, trial, step): where each step's begin, which channel, how many."""
    starts = np.zeros((len(network.spike_inputs), n_batch, n_steps + 1), dtype=np.int64)
    units: list[NDArray[np.int32]] = [np.zeros(0, dtype=np.int32)]
    counts: list[NDArray[np.floating]] = [np.zeros(0, dtype=dtype)]
    total = 0
    for j, port in enumerate(network.spike_inputs):
        s = spikes[port.name]
        inside = s.step < n_steps
        key = s.batch[inside].astype(np.int64) * n_steps + s.step[inside]
        order = np.argsort(key, kind="stable")  # within a step the neurons stay ascending
        edges = np.searchsorted(key[order], np.arange(n_batch * n_steps + 1)) + total
        starts[j, :, :n_steps] = edges[:-1].reshape(n_batch, n_steps)
        starts[j, :, n_steps] = edges[n_steps * np.arange(1, n_batch + 1)]
        units.append(s.neuron[inside][order])
        counts.append(s.count[inside][order].astype(dtype))
        total += int(inside.sum())
    return starts, np.concatenate(units), np.concatenate(counts)
