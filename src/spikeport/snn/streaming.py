"""The streaming form of the engine: one call, one tick; the same spikes as a run, in microseconds.

    stepper = Stepper(Engine(network), seed=0, n_steps=20)     compiled and bound to its arrays here
    outputs = stepper.step(values)                             20 steps with the values held

Everything that a call needs lies in arrays made before, whose addresses are in one row of integers; the call passes
that row's address, so nothing is taken out of Python objects and nothing is allocated. Python's lock is kept during a
call: to give it back and wait for it can take longer than the steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeport.snn import noise
from spikeport.snn.engine_kernel import ARRAYS, ENTRY, STREAM, Feed, Memory, Plan, Sink, stream32, stream64
from spikeport.snn.engine_loops import K
from spikeport.snn.engine_plan import Layout, W
from spikeport.snn.errors import SpikeportError
from spikeport.snn.neurons import Array
from spikeport.snn.spiking import HeldInput, SpikingNetwork

if TYPE_CHECKING:
    from spikeport.snn.engine import Engine, EngineState

Floats = NDArray[np.floating]
_AT = {name: i for i, name in enumerate(STREAM)}


def _compiled(entry: Any) -> Any:
    """The entry point for an address and a float64 array, and for nothing else: any other array is a TypeError."""
    if not entry.signatures:
        entry.compile("int64(int64, float64[::1])")
        entry.disable_compile()
    return entry


def _is_common(layout: Layout) -> bool:
    """One population with one synapse of two states, a delay of one step, reset to a value, and one rule for noise and
    spikes in the refractory period: what both conversions make."""
    pops, syns, projs, keep = layout.plan.pops, layout.plan.syns, layout.plan.projs, layout.plan.keep
    return (len(pops) == len(syns) == len(projs) == 1 and syns[0, 0] == 2 and layout.slots == 2
            and keep[0, 0] == 0 and keep[0, 1] == keep[0, 2])  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Step:
    """One streaming step: spikes, population -> (batch, n) counts; outputs, read-out -> (batch, n_outputs)."""

    spikes: Mapping[str, NDArray[np.int64]]
    outputs: Mapping[str, Floats]


class Stream:
    """The arrays of calls of n_steps steps of n_batch trials.

    values: (batch, .) float64, what the next call takes: every input's channels, in the network's order.  counts:
    (batch, units) spikes in the last call.  outputs: (batch, .) of every read-out after its last step.  All are
    overwritten by the next call.
    """

    def __init__(
        self, network: SpikingNetwork, layout: Layout, dtype: type[np.floating], n_batch: int, n_steps: int
    ) -> None:
        self.network, self.n_batch, self.n_steps = network, n_batch, n_steps
        self._call = np.zeros(len(STREAM) + ENTRY * len(ARRAYS), dtype=np.int64)
        self.address = int(self._call.ctypes.data)
        self.entry = _compiled(stream64 if dtype is np.float64 else stream32)
        held, spiking = network.held_inputs, network.spike_inputs
        n_held, n_channels = sum(i.n for i in held), sum(i.n for i in spiking)
        n_outputs = sum(r.weight.shape[0] for r in network.readouts)
        self.values: Array = np.zeros((n_batch, n_held + n_channels))
        self.places: dict[str, slice] = {}
        for port in network.inputs:
            start = max((s.stop for s in self.places.values()), default=0)
            self.places[port.name] = slice(start, start + port.n)
        names = [i.name for i in held] + [i.name for i in spiking]
        order = [np.arange(s.start, s.stop) for s in (self.places[name] for name in names)]
        feed = Feed(
            u=np.zeros((n_batch, n_held), dtype=dtype),
            u_start=np.cumsum([0, *(i.n for i in held)])[:-1].astype(np.int64),
            sample=np.zeros((len(held), n_steps + 1), dtype=np.int64),
            changed=np.zeros(n_steps + 1, dtype=np.bool_),
            ev_start=np.zeros((len(spiking), n_batch, n_steps + 2), dtype=np.int64),
            ev_unit=np.zeros(n_batch * n_channels, dtype=np.int32),
            ev_count=np.zeros(n_batch * n_channels, dtype=dtype),
        )  # fmt: skip
        sink = Sink(
            out=np.zeros((n_batch, 1, n_outputs, n_steps + 1), dtype=dtype),
            trace=np.zeros((n_batch, 1, 0, 0), dtype=dtype),
            counts=np.zeros((n_batch, 1, network.n_neurons), dtype=np.int64),
        )
        z = np.zeros(layout.padded_units, dtype=dtype)
        self.noise = np.zeros((n_batch, K, layout.padded_units), dtype=dtype)
        own = (self.noise, z, z.view(np.uint64), np.zeros((noise.WORDS, layout.padded_units), dtype=np.uint32),
               np.zeros(W, dtype=dtype), self.values, np.concatenate([np.zeros(0, dtype=np.int64), *order]),
               np.zeros((0, 4), dtype=np.int32))  # fmt: skip
        self._kept = (layout.plan, feed, sink, own)  # the addresses' arrays live as long as this
        self._noisy = layout.noisy
        for name, array in zip((*Plan._fields, *Feed._fields), (*layout.plan, *feed), strict=True):
            self._tell(name, array)
        for name, array in zip(ARRAYS[-len(own) - len(sink) :], (*sink, *own), strict=True):
            self._tell(name, array)
        self.counts: NDArray[np.int64] = sink.counts[:, 0]
        self.outputs: Floats = sink.out[:, 0, :, -1]
        self.memory: Memory | None = None
        self._call[_AT["n_steps"]], self._call[_AT["lanes"]] = n_steps, W
        self._call[_AT["lean"]] = n_batch == 1 and not spiking and _is_common(layout)

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("a Stepper holds the addresses of its arrays, and cannot be copied or sent; snapshot() is its "
                        "state, which another Stepper of the same network restores")  # fmt: skip

    def _tell(self, name: str, array: NDArray[Any]) -> None:
        if not array.flags.c_contiguous:
            raise SpikeportError(f"engine: the state's array {name} is not contiguous", hint="state.copy() is")
        at = len(STREAM) + ENTRY * ARRAYS.index(name)
        self._call[at : at + 1 + array.ndim] = (array.ctypes.data, *array.shape)

    def bind(self, memory: Memory) -> None:
        """Go on with this memory."""
        for name, array in zip(Memory._fields, memory, strict=True):
            self._tell(name, array)
        self.memory = memory

    def key(self, seed: int, trial: int, with_noise: bool) -> None:
        """What the noise is drawn by."""
        noisy = with_noise and self._noisy
        if not noisy and self._call[_AT["noisy"]]:
            self.noise[:] = 0  # else what another state heard would stay
            self._call[_AT["noise_k"]] = -1
        self._call[_AT["seed"]] = np.uint64(seed).astype(np.int64)
        self._call[_AT["trial"]], self._call[_AT["noisy"]] = trial, noisy

    def last(self, n_steps: int) -> None:
        """Calls of so many steps from now on, no more than it was made for."""
        if not 1 <= n_steps <= self.n_steps:
            raise SpikeportError(f"engine: calls of {n_steps} steps, must be 1 to {self.n_steps}, as it was made for")
        self._call[_AT["n_steps"]] = n_steps

    def at(self, k: int) -> None:
        """Go on from step k of a memory that may be another: held values are looked at anew."""
        self._call[_AT["k"]], self._call[_AT["fresh"]] = k, 1

    @property
    def k(self) -> int:
        return int(self._call[_AT["k"]])

    def advance(self) -> None:
        """n_steps steps on `values`; refused, with nothing done, where one of them cannot be."""
        wrong = self.entry(self.address, self.values[0])
        if wrong:
            raise self.refusal(wrong - 1)

    def refusal(self, place: int) -> SpikeportError:
        """Why the value at this place, counted through all trials, is refused."""
        b, j = divmod(place, self.values.shape[1])
        port = next(i for i in self.network.inputs if j < self.places[i.name].stop)
        name, value = port.name, self.values[b, j]
        if not isinstance(port, HeldInput) and np.isfinite(value):
            return SpikeportError(f"engine: step() input '{name}': counts of spikes must be whole numbers, 0 or more, "
                                  f"got {value:g}")  # fmt: skip
        shape, why = (self.n_batch, port.n), f", beyond {self.outputs.dtype.name}" if np.isfinite(value) else ""
        return SpikeportError(f"engine: step() input '{name}' of shape {shape}, must be {shape} and finite: "
                              f"got {value:g}{why}")  # fmt: skip

    def step(self) -> Step:
        """The results by name: views of `counts` and `outputs`."""
        network = self.network
        units = np.cumsum([0, *(p.n for p in network.populations)])
        rows = np.cumsum([0, *(r.weight.shape[0] for r in network.readouts)])
        return Step(
            spikes={p.name: self.counts[:, units[i] : units[i + 1]] for i, p in enumerate(network.populations)},
            outputs={r.name: self.outputs[:, rows[i] : rows[i + 1]] for i, r in enumerate(network.readouts)},
        )


class Stepper:
    """One network, one clock, one tick a call: the engine for a loop in real time.

    n_steps: of a call, and the most that `stepper.n_steps = n` can set for later calls.  n_batch: trials side by side,
    or None for one trial without an axis for it.  seed, first_trial, with_noise, v0: as of Engine.start.

    outputs: (n_outputs,), or (batch, n_outputs), of every read-out in the network's order; counts: (units,) or
    (batch, units), spikes of the last call. Both are overwritten by the next call. places: input -> its values.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        n_steps: int = 1,
        n_batch: int | None = None,
        seed: int = 0,
        first_trial: int = 0,
        with_noise: bool = True,
        v0: Mapping[str, Array] | None = None,
    ) -> None:
        if n_steps < 1 or (n_batch is not None and n_batch < 1):
            what = f"{n_steps} steps a call, {n_batch} trials"
            raise SpikeportError(f"engine: a stepper of {what}, must be at least 1 (trials: or None)")
        self.engine, self._n_steps = engine, n_steps
        batch = 1 if n_batch is None else n_batch
        self._state = engine.start(batch, seed=seed, first_trial=first_trial, with_noise=with_noise, v0=v0)
        self._stream = stream = engine.stream(batch, n_steps)
        self._first = self._state.copy()
        stream.bind(self._state.memory)
        stream.key(seed, first_trial, with_noise)
        stream.at(0)
        self._alone = alone = n_batch is None
        self.places: Mapping[str, slice] = stream.places
        self.values: Array = stream.values[0] if alone else stream.values
        self.outputs: Floats = stream.outputs[0] if alone else stream.outputs
        self.counts: NDArray[np.int64] = stream.counts[0] if alone else stream.counts
        self._shape = self.values.shape
        self._call, self._address = stream.entry, stream.address
        stream.advance()  # compiled now, not in the first tick
        self.reset()

    def step(self, values: ArrayLike | None = None) -> Floats:
        """n_steps on with these values held (counts arrive in the first of them); `outputs`.

        values: of every input in the network's order (see `places`); None: what is in `self.values`, which may be
        written to directly. Refused, with the state as it was, where one is not finite, or a count not whole.
        """
        if self._alone:
            try:
                wrong = self._call(self._address, self.values if values is None else values)
            except TypeError:  # no array of float64 in one piece: copied
                wrong = -1
            if wrong:
                self._slowly(values, wrong)
        else:
            self._slowly(values, -1)
        return self.outputs

    def _slowly(self, values: ArrayLike | None, wrong: int) -> None:
        """What is not a float64 array of one trial's values is copied first; and what is wrong is said."""
        if wrong < 0:
            given = self.values if values is None else np.asarray(values)
            if given.shape != self._shape or given.dtype.kind not in "biuf":
                names = ", ".join(f"{i.name} {i.n}" for i in self.engine.network.inputs) or "none"
                raise SpikeportError(f"engine: values of shape {given.shape} and type {given.dtype}, must be numbers "
                                     f"of shape {self._shape} (inputs: {names})")  # fmt: skip
            self.values[...] = given
            wrong = self._call(self._address, self._stream.values[0])
        if wrong:
            raise self._stream.refusal(wrong - 1)

    @property
    def n_steps(self) -> int:
        return self._n_steps

    @n_steps.setter
    def n_steps(self, n_steps: int) -> None:
        self._stream.last(n_steps)
        self._n_steps = n_steps

    @property
    def k(self) -> int:
        """Steps done."""
        return self._stream.k

    def snapshot(self) -> EngineState:
        """The whole state, which later steps do not change; Engine.run goes on from it too."""
        self._state.k = self._stream.k
        return self._state.copy()

    def restore(self, state: EngineState) -> None:
        """Go on from a snapshot of the same network and batch."""
        mine = [part.shape for part in self._state.memory]
        if mine != [part.shape for part in state.memory] or state.memory.v.dtype != self._state.memory.v.dtype:
            raise SpikeportError("engine: the snapshot is of another network, batch or dtype than this stepper's")
        self._go_on_from(state)

    def reset(self) -> None:
        """The state before the first step."""
        self._go_on_from(self._first)

    def _go_on_from(self, state: EngineState) -> None:
        self.outputs[...], self.counts[...] = 0, 0
        for part, given in zip(self._state.memory, state.memory, strict=True):
            part[...] = given
        self._stream.key(state.seed, state.first_trial, state.with_noise)
        self._stream.at(state.k)
        self._state.seed, self._state.first_trial, self._state.with_noise = (
            state.seed,
            state.first_trial,
            state.with_noise,
        )
