"""A spiking network as a decoder: the engine's streaming form, compiled before the first sample comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikeport.loop.decoders.common import fingerprint, whole_steps
from spikeport.loop.decoders.rows import Rows
from spikeport.loop.packets import Array
from spikeport.snn.engine import Engine, EngineState
from spikeport.snn.errors import SpikeportError
from spikeport.snn.spiking import HeldInput, SpikingNetwork
from spikeport.snn.streaming import Stepper

OUTPUTS = ("readouts", "spikes")


@dataclass(frozen=True)
class Kept:
    """A row's snapshot: the engine's state, inputs held and counts not yet delivered, and the output."""

    state: EngineState
    values: Array
    output: Array


@dataclass
class Row:
    """One stream: the engine bound to its state, its trial (the key of its noise), steps done, and the output.

    Inputs held, and counts not yet delivered, are in the stepper's `values`.
    """

    stepper: Stepper
    trial: int
    k: int
    output: Array

    def copy(self) -> Kept:
        return Kept(self.stepper.snapshot(), self.stepper.values.copy(), self.output.copy())


class SpikingDecoder(Rows[Row]):
    """A SpikingNetwork; step(), or FALCON's reset, predict, observe, on_done.

    Channels are those of the network's inputs, one after the other: held inputs as values, spike inputs as counts,
    which arrive in the first step of the interval. Outputs: "readouts", all read-outs after the last step, or
    "spikes", each unit's count since the last call, population after population.
    Row i of a batch is trial first_trial + i, and after on_done trial first_trial + i + batch_size, ..., so that each
    is spike for spike the trial of that number in Engine.run. period: s, of predict() and observe(), whole steps.
    """

    def __init__(
        self,
        network: SpikingNetwork,
        *,
        period: float,
        batch_size: int = 1,
        seed: int = 0,
        first_trial: int = 0,
        with_noise: bool = True,
        dtype: str = "float64",
        outputs: str = "readouts",
    ) -> None:
        if outputs not in OUTPUTS:
            raise SpikeportError(f"decoder: outputs {outputs!r}, must be one of {', '.join(OUTPUTS)}")
        if outputs == "readouts" and not network.readouts:
            raise SpikeportError("decoder: the network has no read-out", hint='outputs="spikes"')
        if not network.inputs:
            raise SpikeportError("decoder: the network has no input", hint="spikeport inspect FILE")
        self.network, self.seed = network, seed
        self._with_noise, self._spikes, self._dtype = with_noise, outputs == "spikes", dtype
        n_outputs = network.n_neurons if self._spikes else sum(r.weight.shape[0] for r in network.readouts)
        n_inputs, chunk = sum(i.n for i in network.inputs), whole_steps(period, network.dt, "network")
        super().__init__(n_inputs, n_outputs, dt=network.dt, period=period, chunk=chunk, first_trial=first_trial)
        self._engine = Engine(network, dtype=dtype)
        self._largest = float(np.finfo(dtype).max)
        self._is_held = np.concatenate([np.full(i.n, isinstance(i, HeldInput)) for i in network.inputs])
        self._is_count, self._counts = ~self._is_held, not self._is_held.all()
        self._fingerprint = fingerprint(network)
        self.set_batch_size(batch_size)

    def fresh(self, trial: int) -> Row:
        """Compiled, with all that a call needs."""
        stepper = Stepper(
            self._engine, n_steps=self._chunk, seed=self.seed, first_trial=trial, with_noise=self._with_noise
        )
        return Row(stepper, trial, 0, self._first_output())

    def _first_output(self) -> Array:
        biases = [] if self._spikes else [r.bias for r in self.network.readouts]
        return np.concatenate([*biases, np.zeros(self.n_outputs if self._spikes else 0)])

    def begin_again(self, row: Row, trial: int) -> Row:
        state = self._engine.start(1, seed=self.seed, first_trial=trial, with_noise=self._with_noise)
        return self.back_to(row, Kept(state, np.zeros(self.n_inputs), self._first_output()))

    def back_to(self, row: Row, kept: Kept) -> Row:
        row.stepper.restore(kept.state)
        row.stepper.values[:], row.output[:] = kept.values, kept.output
        row.trial, row.k = kept.state.first_trial, kept.state.k
        return row

    def take(self, row: Row, values: Array) -> None:
        mine = row.stepper.values
        np.copyto(mine, values, where=self._is_held)
        if self._counts:
            np.add(mine, values, out=mine, where=self._is_count)  # what a too short interval could not deliver waits

    def advance(self, row: Row, n: int) -> Array:
        """n steps on, a period's at a time: the engine's buffers are made for that."""
        stepper = row.stepper
        if self._spikes:
            row.output[:] = 0.0
        while n > 0:
            now = min(n, self._chunk)
            if now != stepper.n_steps:
                stepper.n_steps = now
            stepper.step()
            row.k += now
            n -= now
            if self._counts:
                np.copyto(stepper.values, 0.0, where=self._is_count)
            if self._spikes:
                row.output += stepper.counts
            else:
                row.output[:] = stepper.outputs
        return row.output

    def refuses(self, values: Array) -> str:
        """Why a sample cannot be decoded, "" where it can: in the dtype's range, counts whole and not negative."""
        beyond = np.abs(values) > self._largest
        if beyond.any():
            return f"{int(beyond.sum())} values are beyond {self._dtype}, {self._largest:.3g} at most"
        if not self._counts:
            return ""
        counts = values[self._is_count]
        wrong = (counts < 0) | (counts != np.trunc(counts))
        return f"{int(wrong.sum())} counts of spikes are not whole numbers, 0 or more" if wrong.any() else ""

    def describe(self) -> Mapping[str, Any]:
        network = self.network
        return {
            "kind": "spiking network",
            "network": self._fingerprint,
            "n_neurons": network.n_neurons,
            "dt": network.dt,
            "integrator": network.integrator,
            "method": network.provenance.get("method"),
            "inputs": {i.name: i.n for i in network.inputs},
            "outputs": "spikes" if self._spikes else "readouts",
            "period": self.period,
            "steps_per_period": self._chunk,
            "between_steps": "the state of the last whole step",
            "dtype": self._dtype,
            "seed": self.seed,
            "first_trial": self._first_trial,
            "with_noise": self._with_noise,
            **super().describe(),
        }
