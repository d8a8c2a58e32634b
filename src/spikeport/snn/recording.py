"""What a spiking network did: sparse spikes, outputs, and traces on request. Order everywhere: (time, batch, neuron).

Row j of an array over time, and step j of a spike, is step k = j + 1 of the canonical update, which ends at (j + 1) dt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeport.snn.errors import InvalidNetworkError

Ints = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class SpikeTrains:
    """Spikes of one population, sorted by step, then batch, then neuron.

    step, batch, neuron, count: (n_spikes,) int32; count is 1 but for targets that fire several times a step.
    shape: (n_steps, n_batch, n_neurons).
    """

    step: Ints
    batch: Ints
    neuron: Ints
    count: Ints
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        columns = (self.step, self.batch, self.neuron)
        if len({c.shape for c in (*columns, self.count)}) != 1:
            raise InvalidNetworkError("spike trains: step, batch, neuron and count differ in length")
        for name, column, size in zip(("step", "batch", "neuron"), columns, self.shape, strict=True):
            if column.size and not (0 <= column.min() and column.max() < size):
                raise InvalidNetworkError(
                    f"spike trains: {name} from {column.min()} to {column.max()}, must be in [0, {size})"
                )

    @classmethod
    def build(
        cls, step: ArrayLike, batch: ArrayLike, neuron: ArrayLike, shape: tuple[int, int, int], count: ArrayLike = 1
    ) -> SpikeTrains:
        """Spike trains from columns in any order."""
        s, b, n = (np.asarray(c, dtype=np.int32) for c in (step, batch, neuron))
        c = np.array(np.broadcast_to(np.asarray(count, dtype=np.int32), s.shape))
        order = np.lexsort((n, b, s))
        return cls(step=s[order], batch=b[order], neuron=n[order], count=c[order], shape=shape)

    @classmethod
    def from_dense(cls, z: ArrayLike) -> SpikeTrains:
        """From an array (time, batch, neuron) of counts or booleans."""
        dense = np.asarray(z)
        step, batch, neuron = np.nonzero(dense)
        n_steps, n_batch, n = dense.shape
        return cls.build(step, batch, neuron, (n_steps, n_batch, n), count=dense[step, batch, neuron].astype(np.int32))

    def dense(self) -> Ints:
        """(time, batch, neuron) int32 counts."""
        z = np.zeros(self.shape, dtype=np.int32)
        np.add.at(z, (self.step, self.batch, self.neuron), self.count)
        return z

    def counts(self) -> NDArray[np.int64]:
        """(batch, neuron) spikes over all time."""
        _, n_batch, n = self.shape
        flat = np.bincount(self.batch.astype(np.int64) * n + self.neuron, weights=self.count, minlength=n_batch * n)
        return flat.reshape(n_batch, n).astype(np.int64)

    @property
    def n_spikes(self) -> int:
        return int(self.count.sum())

    def differing(self, other: SpikeTrains) -> int:
        """How many (step, batch, neuron) have another count in `other`: 0 is spike for spike."""
        if self.shape != other.shape:
            raise InvalidNetworkError(f"spike trains: shapes {self.shape} and {other.shape} differ")
        mine, theirs = self._key(), other._key()
        keys, where = np.unique(np.concatenate([mine, theirs]), return_inverse=True)
        net = np.zeros(keys.size, dtype=np.int64)
        np.add.at(net, where, np.concatenate([self.count, -other.count.astype(np.int64)]))
        return int(np.count_nonzero(net))

    def _key(self) -> NDArray[np.int64]:
        _, n_batch, n = self.shape
        return (self.step.astype(np.int64) * n_batch + self.batch) * n + self.neuron


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A run of n_steps steps of dt s over n_batch trials.

    spikes: population -> SpikeTrains.  outputs: read-out -> (time, batch, n_outputs).
    traces: "population.v" -> (time, batch, neuron) mV, as recorded: v is the one before the reset.
    network: fingerprint (sha256) of the network that ran; None where that is not known.
    """

    dt: float
    n_steps: int
    n_batch: int
    spikes: Mapping[str, SpikeTrains] = field(default_factory=dict)
    outputs: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    traces: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    network: str | None = None

    @property
    def duration(self) -> float:
        """Seconds of one trial."""
        return self.n_steps * self.dt

    def mean_rate_hz(self) -> float:
        """Spikes per second, averaged over all units, trials and time; 0 of an empty recording."""
        units = sum(s.shape[2] for s in self.spikes.values())
        seconds = self.duration * self.n_batch * units
        return sum(s.n_spikes for s in self.spikes.values()) / seconds if seconds else 0.0


def join(parts: Sequence[Recording]) -> Recording:
    """One recording of all trials, in order; the parts are runs of the same length of the same network."""
    first = parts[0]
    if any((p.n_steps, p.dt, set(p.spikes)) != (first.n_steps, first.dt, set(first.spikes)) for p in parts):
        raise InvalidNetworkError("recordings: of different lengths or networks, they cannot be joined")
    starts = np.cumsum([0, *(p.n_batch for p in parts)])
    spikes = {}
    for name, s in first.spikes.items():
        mine = [p.spikes[name] for p in parts]
        spikes[name] = SpikeTrains.build(
            np.concatenate([m.step for m in mine]),
            np.concatenate([m.batch + start for m, start in zip(mine, starts, strict=False)]),
            np.concatenate([m.neuron for m in mine]),
            (first.n_steps, int(starts[-1]), s.shape[2]),
            count=np.concatenate([m.count for m in mine]),
        )
    return Recording(
        dt=first.dt,
        n_steps=first.n_steps,
        n_batch=int(starts[-1]),
        spikes=spikes,
        outputs={name: np.concatenate([p.outputs[name] for p in parts], axis=1) for name in first.outputs},
        traces={name: np.concatenate([p.traces[name] for p in parts], axis=1) for name in first.traces},
        network=first.network if all(p.network == first.network for p in parts) else None,
    )
