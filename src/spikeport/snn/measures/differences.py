"""Where two recordings of one network part: the first spike that one has and the other has not, and how near it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.neurons import per_unit
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import SpikingNetwork

MARGIN = (
    1e-9  # mV: a thousand times what 20,000 steps of float64 add up to near 50 mV; far below what moves a real unit
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Unit `neuron` of `population` at the end of step `step` (1, 2, ...) of trial `trial` (of the batch).

    expected, found: how many spikes each recording has there.  v_expected, v_found: mV before the reset, None where it
    was not recorded.  threshold: mV.
    """

    population: str
    step: int
    trial: int
    neuron: int
    expected: int
    found: int
    v_expected: float | None
    v_found: float | None
    threshold: float

    @property
    def distance(self) -> float | None:
        """mV from the expected v to the threshold: rounding where it is tiny, another step where it is not."""
        return None if self.v_expected is None else abs(self.v_expected - self.threshold)

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"distance": self.distance}

    def __str__(self) -> str:
        where = f"population {self.population}, unit {self.neuron}, step {self.step} of trial {self.trial}"
        near = (
            "" if self.distance is None else f", v {self.v_expected:.6g} mV, {self.distance:.3g} mV from the threshold"
        )
        return f"{where}: {self.found} spikes instead of {self.expected}{near}"


def differing(expected: Recording, found: Recording) -> int:
    """How many (population, step, trial, unit) have another count of spikes: 0 is spike for spike."""
    _check(expected, found)
    return sum(s.differing(found.spikes[name]) for name, s in expected.spikes.items())


def first_difference(expected: Recording, found: Recording, network: SpikingNetwork) -> Difference | None:
    """The earliest difference, in the order of step, trial, population and unit; None where every spike agrees."""
    _check(expected, found)
    candidates = [d for p in network.populations if (d := _first(expected, found, network, p.name)) is not None]
    order = [p.name for p in network.populations]
    return min(candidates, key=lambda d: (d.step, d.trial, order.index(d.population), d.neuron), default=None)


def by_rounding(expected: Recording, found: Recording, network: SpikingNetwork, margin: float = MARGIN) -> int:
    """How many differences, of a replay, belong to units whose first one was decided by rounding.

    There the expected v is within `margin` mV of its threshold: another order of the same additions, and the spike
    comes or stays away. In a replay units do not touch each other, so what the same unit does later in that trial
    follows from it. expected: with v of every population recorded.
    """
    count = 0
    for p in network.populations:
        keys, _, _ = _net(expected.spikes[p.name], found.spikes[p.name])
        _, n_batch, n = expected.spikes[p.name].shape
        owner = keys % (n_batch * n)  # (trial, unit)
        v = expected.traces[f"{p.name}.v"].reshape(-1, n_batch * n)
        top = np.tile(per_unit(p.neuron.v_threshold, n), n_batch)
        _, first, which = np.unique(owner, return_index=True, return_inverse=True)  # keys are in order of time
        near = np.abs(v[keys[first] // (n_batch * n), owner[first]] - top[owner[first]]) <= margin
        count += int(near[which].sum())
    return count


def parted_at(expected: SpikeTrains, found: SpikeTrains) -> Sequence[int | None]:
    """For each trial, the first step (1, 2, ...) at which the two differ; None where they never do."""
    step, trial, _ = disagreements(expected, found)
    first = np.full(expected.shape[1], np.iinfo(np.int64).max)
    np.minimum.at(first, trial, step)
    return [int(s) if (trial == b).any() else None for b, s in enumerate(first)]


def disagreements(expected: SpikeTrains, found: SpikeTrains) -> tuple[Any, Any, Any]:
    """(step, trial, unit), arrays: wherever the two have another count of spikes; steps from 1, in order of time."""
    keys, _, _ = _net(expected, found)
    _, n_batch, n = expected.shape
    return keys // (n_batch * n) + 1, keys // n % n_batch, keys % n


def _first(expected: Recording, found: Recording, network: SpikingNetwork, name: str) -> Difference | None:
    keys, mine, theirs = _net(expected.spikes[name], found.spikes[name])
    if not keys.size:
        return None
    _, n_batch, n = expected.spikes[name].shape
    step, trial, neuron = int(keys[0] // (n_batch * n)), int(keys[0] // n % n_batch), int(keys[0] % n)
    v = [r.traces[f"{name}.v"][step, trial, neuron] if f"{name}.v" in r.traces else None for r in (expected, found)]
    return Difference(
        population=name, step=step + 1, trial=trial, neuron=neuron, expected=int(mine[0]), found=int(theirs[0]),
        v_expected=None if v[0] is None else float(v[0]), v_found=None if v[1] is None else float(v[1]),
        threshold=float(per_unit(network.population(name).neuron.v_threshold, n)[neuron]),
    )  # fmt: skip


def _net(a: SpikeTrains, b: SpikeTrains) -> tuple[Any, Any, Any]:
    """(keys of step, trial, unit where the counts differ, in order; a's counts there; b's)."""
    if a.shape != b.shape:
        raise InvalidNetworkError(f"spike trains: shapes {a.shape} and {b.shape} differ")
    _, n_batch, n = a.shape
    key = [(s.step.astype(np.int64) * n_batch + s.batch) * n + s.neuron for s in (a, b)]
    keys, where = np.unique(np.concatenate(key), return_inverse=True)
    counts = np.zeros((2, keys.size), dtype=np.int64)
    np.add.at(counts[0], where[: a.step.size], a.count)
    np.add.at(counts[1], where[a.step.size :], b.count)
    differs = counts[0] != counts[1]
    return keys[differs], counts[0][differs], counts[1][differs]


def _check(expected: Recording, found: Recording) -> None:
    shapes = [{name: s.shape for name, s in r.spikes.items()} for r in (expected, found)]
    if shapes[0] != shapes[1]:
        raise InvalidNetworkError("recordings: of different networks or lengths", [f"{shapes[0]} and {shapes[1]}"])
