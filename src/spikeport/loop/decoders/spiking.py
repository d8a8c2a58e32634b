"""A spiking network as a decoder: the engine's streaming form, compiled before the first sample comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeport.loop.decoders.common import (
    check_batch,
    check_tags,
    ended,
    fingerprint,
    rows,
    steps_until,
    whole_steps,
)
from spikeport.loop.packets import Array
from spikeport.snn.engine import Engine, EngineState
from spikeport.snn.errors import SpikeportError
from spikeport.snn.spiking import HeldInput, SpikingNetwork

OUTPUTS = ("readouts", "spikes")


@dataclass
class _Row:
    """One stream: the engine's state, its trial (the key of its noise), inputs held and counts not yet delivered."""

    state: EngineState
    trial: int
    inputs: dict[str, Array]
    output: Array


class SpikingDecoder:
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
        self.network, self.period, self.seed = network, float(period), seed
        self._chunk = whole_steps(period, network.dt, "network")
        self._first_trial, self._with_noise, self._spikes = first_trial, with_noise, outputs == "spikes"
        self._dtype = dtype
        self._engine = Engine(network, dtype=dtype)
        self._largest = float(np.finfo(dtype).max)
        self.n_inputs = sum(i.n for i in network.inputs)
        self.n_outputs = network.n_neurons if self._spikes else sum(r.weight.shape[0] for r in network.readouts)
        starts = np.cumsum([0, *(i.n for i in network.inputs)])
        self._slices = [
            (i.name, slice(int(a), int(a) + i.n), isinstance(i, HeldInput))
            for i, a in zip(network.inputs, starts, strict=False)
        ]
        self._counted = [name for name, _, held in self._slices if not held]
        self._is_count = np.concatenate([np.full(i.n, not isinstance(i, HeldInput)) for i in network.inputs])
        self._fingerprint = fingerprint(network)
        self._tags: list[str] = []
        self.set_batch_size(batch_size)
        self._warm_up()

    def set_batch_size(self, batch_size: int) -> None:
        """Another number of rows; all start afresh."""
        self.batch_size = check_batch(batch_size)
        self._result = np.zeros((self.batch_size, self.n_outputs))
        self._rows = [self._fresh(self._first_trial + i) for i in range(self.batch_size)]

    def _warm_up(self) -> None:
        """One period, so that everything is compiled and allocated; then as it was."""
        row = self._fresh(self._first_trial)
        self._advance(row, self._chunk)

    def _fresh(self, trial: int) -> _Row:
        state = self._engine.start(1, seed=self.seed, first_trial=trial, with_noise=self._with_noise)
        output = np.zeros(self.n_outputs)
        if not self._spikes:
            output[:] = np.concatenate([r.bias for r in self.network.readouts])
        inputs: dict[str, Array] = {i.name: np.zeros((1, i.n)) for i in self.network.inputs}
        return _Row(state=state, trial=trial, inputs=inputs, output=output)

    # ---- FALCON

    def reset(self, dataset_tags: Sequence[Path | str] = ()) -> None:
        self._tags = check_tags(dataset_tags, self.batch_size)
        self._rows = [self._fresh(self._first_trial + i) for i in range(self.batch_size)]

    def predict(self, neural_observations: ArrayLike) -> NDArray[np.floating]:
        values = rows(neural_observations, self.batch_size, self.n_inputs)
        for i, row in enumerate(self._rows):
            self._load(row, values[i])
            self._result[i] = self._advance(row, self._chunk)
        return self._result

    def observe(self, neural_observations: ArrayLike) -> None:
        self.predict(neural_observations)

    def on_done(self, dones: ArrayLike) -> None:
        for i in np.flatnonzero(ended(dones, self.batch_size)):
            self._rows[i] = self._fresh(self._rows[i].trial + self.batch_size)

    # ---- one tick of real time

    def step(self, events: ArrayLike | None, t: float) -> Array:
        """The read-outs at the last whole step that ended by t; row 0 of a batch of one."""
        if self.batch_size != 1:
            raise SpikeportError(f"decoder: step() with a batch of {self.batch_size}, must be 1")
        row = self._rows[0]
        n = steps_until(t, self.network.dt, row.state.k)
        if events is not None:
            self._load(row, np.asarray(events, dtype=np.float64))
        return self._advance(row, n)

    def refuses(self, values: Array) -> str:
        """Why a sample cannot be decoded, "" where it can: in the dtype's range, counts whole and not negative."""
        beyond = np.abs(values) > self._largest
        if beyond.any():
            return f"{int(beyond.sum())} values are beyond {self._dtype}, {self._largest:.3g} at most"
        if not self._counted:
            return ""
        counts = values[self._is_count]
        wrong = (counts < 0) | (counts != np.trunc(counts))
        return f"{int(wrong.sum())} counts of spikes are not whole numbers, 0 or more" if wrong.any() else ""

    def _load(self, row: _Row, values: Array) -> None:
        if values.shape != (self.n_inputs,):
            raise SpikeportError(f"decoder: a sample of shape {values.shape}, must be ({self.n_inputs},)")
        for name, where, held in self._slices:
            if held:
                row.inputs[name][0] = values[where]
            else:
                row.inputs[name][0] += values[where]  # what an interval shorter than a step could not deliver waits

    def _advance(self, row: _Row, n: int) -> Array:
        """n steps on, a period's at a time: the engine's buffers are made for that."""
        if self._spikes:
            row.output[:] = 0.0
        while n > 0:
            now = min(n, self._chunk)
            found = self._engine.step(row.state, row.inputs, n_steps=now)
            for name in self._counted:
                row.inputs[name][0] = 0.0
            n -= now
            at = 0
            for part in (found.spikes if self._spikes else found.outputs).values():
                width = part.shape[1]
                if self._spikes:
                    row.output[at : at + width] += part[0]
                else:
                    row.output[at : at + width] = part[0]
                at += width
        return row.output

    # ---- state

    def snapshot(self) -> Any:
        return [_copy(row) for row in self._rows]

    def restore(self, state: Any) -> None:
        if len(state) != self.batch_size:
            raise SpikeportError(f"decoder: a snapshot of {len(state)} rows, must be {self.batch_size}")
        self._rows = [_copy(row) for row in state]

    def describe(self) -> Mapping[str, Any]:
        network = self.network
        return {
            "kind": "spiking network",
            "network": self._fingerprint,
            "n_neurons": network.n_neurons,
            "dt": network.dt,
            "integrator": network.integrator,
            "method": network.provenance.get("method"),
            "inputs": {name: where.stop - where.start for name, where, _ in self._slices},
            "outputs": "spikes" if self._spikes else "readouts",
            "period": self.period,
            "steps_per_period": self._chunk,
            "between_steps": "the state of the last whole step",
            "dtype": self._dtype,
            "seed": self.seed,
            "first_trial": self._first_trial,
            "with_noise": self._with_noise,
            "batch_size": self.batch_size,
            "dataset_tags": list(self._tags),
        }


def _copy(row: _Row) -> _Row:
    inputs = {name: value.copy() for name, value in row.inputs.items()}
    return _Row(state=row.state.copy(), trial=row.trial, inputs=inputs, output=row.output.copy())
