"""A rate network as a decoder: forward Euler at its own dt, the numbers of simulate_rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spikeport.loop.decoders.common import fingerprint, whole_steps
from spikeport.loop.decoders.rows import Rows
from spikeport.loop.packets import Array
from spikeport.snn import noise
from spikeport.snn.blas import single_threaded
from spikeport.snn.rate import RateNetwork

_BLOCK = 64  # steps of noise drawn at once; a multiple of noise.WORDS


@dataclass
class Row:
    """One stream: x, r and u (1, n), the steps it has made, its trial, its block of noise and its output."""

    x: Array
    r: Array
    u: Array
    k: int
    trial: int
    noise: Array
    output: Array

    def copy(self) -> Row:
        arrays = {name: getattr(self, name).copy() for name in ("x", "r", "u", "noise", "output")}
        return replace(self, **arrays)


class RateDecoder(Rows[Row]):
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
        period = network.dt if period is None else float(period)
        chunk = whole_steps(period, network.dt, "network")
        sizes = network.n_inputs, network.n_outputs
        super().__init__(*sizes, dt=network.dt, period=period, chunk=chunk, first_trial=first_trial)
        self._with_noise = with_noise and network.noise_sd > 0
        self._scale = network.noise_sd / noise.NORMAL_SD
        self._a = network.dt / network.tau
        self._leak = 1.0 - self._a
        self._units = np.arange(network.n_neurons, dtype=np.uint64)
        self._words = np.empty((noise.WORDS, network.n_neurons), dtype=np.uint32)
        self._drive, self._other = (np.empty((1, network.n_neurons)) for _ in range(2))
        self._readout = np.empty((1, network.n_outputs))
        self._fingerprint = fingerprint(network)
        noise.check_key(seed=seed, trial=first_trial)
        self.set_batch_size(batch_size)
        self.advance(self.fresh(first_trial), 1)  # compiles the noise

    def fresh(self, trial: int) -> Row:
        network, n = self.network, self.network.n_neurons
        x: Array = np.zeros((1, n))
        if network.x0_sd > 0 and self._with_noise:
            x[0] = noise.normal_integers(self.seed, "x0", 0, self._units, trial, 0) * (network.x0_sd / noise.NORMAL_SD)
        r = network.activation(x)
        return Row(
            x=x,
            r=r,
            u=np.zeros((1, self.n_inputs)),
            k=0,
            trial=trial,
            noise=np.empty((_BLOCK if self._with_noise else 0, n)),
            output=(r @ network.w_out.T + network.b_out)[0],
        )

    def take(self, row: Row, values: Array) -> None:
        row.u[0] = values

    def advance(self, row: Row, n: int) -> Array:
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

    def _draw(self, row: Row, k: int) -> None:
        n, stream = self._units.size, noise.STREAMS["rate"] << 16
        noise.fill_normal(row.noise, _BLOCK, self._words, self._units, 0, n, stream, row.trial, k, np.uint64(self.seed))

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
            **super().describe(),
        }
