"""A rate network as a decoder: forward Euler at its own dt, the numbers of simulate_rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from spikeport.snn import noise
from spikeport.snn.blas import single_threaded
from spikeport.snn.errors import SpikeportError
from spikeport.snn.rate import RateNetwork

_BLOCK = 64  # steps of noise drawn at once; a multiple of noise.WORDS


@dataclass
class _Row:
    """One stream: x, r and u (1, n), the steps it has made, its trial, its block of noise and its output."""

    x: Array
    r: Array
    u: Array
    k: int
    trial: int
    noise: Array
    output: Array


class RateDecoder:
    """A RateNetwork; step(), or FALCON's reset, predict, observe, on_done.

    It makes a step of its own dt whenever one ends by t, with the sample that is held then; between two of them its
    output stays. Row i of a batch is trial first_trial + i, as with SpikingDecoder. period: s, of predict() and
    observe(), whole steps.
    """

    def __init__(
        self,
        network: RateNetwork,
        *,
        period: float | None = None,
        batch_size: int = 1,
        seed: int = 0,
        first_trial: int = 0,
        with_noise: bool = True,
    ) -> None:
        self.network, self.seed = network, seed
        self.period = network.dt if period is None else float(period)
        self._chunk = whole_steps(self.period, network.dt, "network")
        self.n_inputs, self.n_outputs = network.n_inputs, network.n_outputs
        self._first_trial = first_trial
        self._with_noise = with_noise and network.noise_sd > 0
        self._scale = network.noise_sd / noise.NORMAL_SD
        self._a = network.dt / network.tau
        self._leak = 1.0 - self._a
        self._units = np.arange(network.n_neurons, dtype=np.uint64)
        self._words = np.empty((noise.WORDS, network.n_neurons), dtype=np.uint32)
        self._drive, self._other = (np.empty((1, network.n_neurons)) for _ in range(2))
        self._readout = np.empty((1, network.n_outputs))
        self._fingerprint = fingerprint(network)
        self._tags: list[str] = []
        noise.check_key(seed=seed, trial=first_trial)
        self.set_batch_size(batch_size)
        self._advance(self._fresh(first_trial), 1)  # compiles the noise

    def set_batch_size(self, batch_size: int) -> None:
        """Another number of rows; all start afresh."""
        self.batch_size = check_batch(batch_size)
        self._result = np.zeros((self.batch_size, self.n_outputs))
        self._rows = [self._fresh(self._first_trial + i) for i in range(self.batch_size)]

    def _fresh(self, trial: int) -> _Row:
        network, n = self.network, self.network.n_neurons
        x: Array = np.zeros((1, n))
        if network.x0_sd > 0 and self._with_noise:
            x[0] = noise.normal_integers(self.seed, "x0", 0, self._units, trial, 0) * (network.x0_sd / noise.NORMAL_SD)
        r = network.activation(x)
        return _Row(
            x=x,
            r=r,
            u=np.zeros((1, self.n_inputs)),
            k=0,
            trial=trial,
            noise=np.empty((_BLOCK if self._with_noise else 0, n)),
            output=(r @ network.w_out.T + network.b_out)[0],
        )

    def reset(self, dataset_tags: Sequence[Path | str] = ()) -> None:
        self._tags = check_tags(dataset_tags, self.batch_size)
        self._rows = [self._fresh(self._first_trial + i) for i in range(self.batch_size)]

    def predict(self, neural_observations: ArrayLike) -> NDArray[np.floating]:
        values = rows(neural_observations, self.batch_size, self.n_inputs)
        for i, row in enumerate(self._rows):
            row.u[0] = values[i]
            self._result[i] = self._advance(row, self._chunk)
        return self._result

    def observe(self, neural_observations: ArrayLike) -> None:
        self.predict(neural_observations)

    def on_done(self, dones: ArrayLike) -> None:
        for i in np.flatnonzero(ended(dones, self.batch_size)):
            self._rows[i] = self._fresh(self._rows[i].trial + self.batch_size)

    def step(self, events: ArrayLike | None, t: float) -> Array:
        """o of the last whole step that ended by t; row 0 of a batch of one."""
        if self.batch_size != 1:
            raise SpikeportError(f"decoder: step() with a batch of {self.batch_size}, must be 1")
        row = self._rows[0]
        n = steps_until(t, self.network.dt, row.k)
        if events is not None:
            values = np.asarray(events, dtype=np.float64)
            if values.shape != (self.n_inputs,):
                raise SpikeportError(f"decoder: a sample of shape {values.shape}, must be ({self.n_inputs},)")
            row.u[0] = values
        return self._advance(row, n)

    def _advance(self, row: _Row, n: int) -> Array:
        if n == 0:
            return row.output
        net, drive, other = self.network, self._drive, self._other
        with single_threaded():
            for k in range(row.k, row.k + n):
                np.matmul(row.r, net.w_rec.T, out=drive)
                np.matmul(row.u, net.w_in.T, out=other)
                drive += other
                drive += net.b_rec
                row.x *= self._leak
                drive *= self._a
                row.x += drive
                if self._with_noise:
                    if k % _BLOCK == 0:
                        self._draw(row, k)
                    np.multiply(row.noise[k % _BLOCK], self._scale, out=other[0])
                    row.x += other
                row.r[:] = net.activation(row.x)
            np.matmul(row.r, net.w_out.T, out=self._readout)
        row.k += n
        np.add(self._readout[0], net.b_out, out=row.output)
        return row.output

    def _draw(self, row: _Row, k: int) -> None:
        n, stream = self._units.size, noise.STREAMS["rate"] << 16
        noise.fill_normal(row.noise, _BLOCK, self._words, self._units, 0, n, stream, row.trial, k, self.seed)

    def snapshot(self) -> Any:
        return [_copy(row) for row in self._rows]

    def restore(self, state: Any) -> None:
        if len(state) != self.batch_size:
            raise SpikeportError(f"decoder: a snapshot of {len(state)} rows, must be {self.batch_size}")
        self._rows = [_copy(row) for row in state]

    def describe(self) -> Mapping[str, Any]:
        return {
            "kind": "rate network",
            "network": self._fingerprint,
            "n_neurons": self.network.n_neurons,
            "dt": self.network.dt,
            "phi": self.network.phi,
            "inputs": {"u": self.n_inputs},
            "period": self.period,
            "steps_per_period": self._chunk,
            "between_steps": "the state of the last whole step; a step takes the sample that is held at its end",
            "dtype": "float64",
            "seed": self.seed,
            "first_trial": self._first_trial,
            "with_noise": self._with_noise,
            "batch_size": self.batch_size,
            "dataset_tags": list(self._tags),
        }


def _copy(row: _Row) -> _Row:
    return replace(
        row, x=row.x.copy(), r=row.r.copy(), u=row.u.copy(), noise=row.noise.copy(), output=row.output.copy()
    )
