"""What the host sends: spikes as they are, and held values as counts of spikes, up to 15 a channel and step.

    a = a + max(+-u, 0) counts,    c = floor(a + 1/2), 0 .. 15 r,    a = a - c

of each held channel and sign: what a count leaves is carried on, so the spikes sent so far are never off by more than
half of one, and a value too large for a step comes a little later. r channels of the chip share one value, so that its
counts are finer. `counts`, spikes per unit of the value, is a whole number where it can be, so that the values 0 and 1
of a task's pulses are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spikeport.snn.compiling import cached
from spikeport.snn.errors import RefusedError
from spikeport.snn.neurons import Array
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.feed import Feed
from spikeport.targets.fixed_point.integers import Ints
from spikeport.targets.xylo.chip import Channel, Chip
from spikeport.targets.xylo.limits import FULL, INPUT_SPIKES, INPUTS, WEIGHT_MAX
from spikeport.targets.xylo.steps import CONSTANT, Wanted

HELD_ROOM = 6.0  # held values up to this size find room in the counts of one step
FINE = WEIGHT_MAX / 2  # counts are made finer while the largest weight of one stays at least this


def spike_rows(network: SpikingNetwork) -> list[Channel]:
    """A channel for each of the spike inputs', and for each delay."""
    return [
        Channel(source=i.name, index=k, delay=delay)
        for i in network.spike_inputs
        for delay in sorted({j.delay for j in network.projections if j.source == i.name})
        for k in range(i.n)
    ]


def needed(network: SpikingNetwork) -> int:
    """Input channels that a network needs at least: two for each held value, one of each sign."""
    return len(spike_rows(network)) + has_constants(network) + 2 * sum(i.n for i in network.held_inputs)


def has_constants(network: SpikingNetwork) -> bool:
    """Do constants come through a synapse? They take one channel."""
    return any(np.any(np.asarray(b)) for p in network.populations for b in p.synaptic_bias.values())


def share(network: SpikingNetwork) -> int:
    """r: channels for each held value and sign."""
    held = 2 * sum(i.n for i in network.held_inputs)
    return max(1, (INPUTS - len(spike_rows(network)) - has_constants(network)) // held) if held else 0


def counts_of(network: SpikingNetwork, whole: Sequence[Wanted]) -> dict[str, float]:
    """held input -> spikes a step per unit of its value."""
    found = {}
    for port in network.held_inputs:
        sizes = [
            float((np.abs(effect) * w.gain(c)[:, None]).max()) * FULL
            for w in whole for (index, c), effect in w.effects.items() if network.projections[index].source == port.name
        ]  # fmt: skip
        found[port.name] = _finest(sizes, INPUT_SPIKES * share(network) / HELD_ROOM)
    if has_constants(network):
        sizes = [float((np.abs(e) * w.gain(c)).max()) * FULL for w in whole for (_, c), e in w.constants.items()]
        found[CONSTANT] = _finest(sizes, float(INPUT_SPIKES))
    return found


def _finest(sizes: Sequence[float], room: float) -> float:
    """Counts per unit: as many as leave weights of FINE, and find room."""
    finest = min(room, max(max(sizes, default=0.0) / FINE, min(1.0, room)))
    return float(np.floor(finest)) if finest >= 1 else finest


def channels(network: SpikingNetwork, counts: Mapping[str, float]) -> tuple[Channel, ...]:
    """The chip's input channels, in order: spike inputs, then r for each held value and sign."""
    held = [
        Channel(source=i.name, index=k, sign=sign)
        for i in network.held_inputs for k in range(i.n) for sign in (1, -1) for _ in range(share(network))
    ]  # fmt: skip
    constants = (Channel(source=CONSTANT, index=0, sign=1),) * has_constants(network)
    return (*spike_rows(network), *held, *constants)


class Counts:
    """Called with k0, k1, block after block from step 0 on: (steps, batch, channels) spikes for the chip."""

    def __init__(self, chip: Chip, given: Feed) -> None:
        self.chip, self.given = chip, given
        self.left: dict[tuple[str, int, int], Array] = {}

    def __call__(self, k0: int, k1: int) -> Ints:
        out = np.zeros((k1 - k0, self.given.n_batch, len(self.chip.channels)), dtype=np.int64)
        held = {name: np.ones((k1 - k0, self.given.n_batch, 1)) if name == CONSTANT else self.given.held(name, k0, k1)
                for name in self.chip.counts}  # fmt: skip
        values: dict[tuple[str, int], Ints] = {}
        groups: dict[tuple[str, int, int], list[int]] = {}
        for at, row in enumerate(self.chip.channels):
            if row.sign:
                groups.setdefault((row.source, row.index, row.sign), []).append(at)
                continue
            key = row.source, row.delay
            if key not in values:
                values[key] = self._spikes(row.source, k0 - row.delay, k1 - row.delay)
            out[:, :, at] = values[key][:, :, row.index]
        for (name, index, sign), rows in groups.items():
            u = np.ascontiguousarray(np.maximum(sign * held[name][:, :, index], 0.0)) * self.chip.counts[name]
            left = self.left.setdefault((name, index, sign), np.zeros(self.given.n_batch))
            most = INPUT_SPIKES * len(rows)
            worst = encode(u, left, most, rows[0], out)
            if worst > most:
                raise RefusedError("xylo: these inputs do not fit the chip", [
                    f"input {name}, channel {index}: {worst:.4g} spikes wait for the next step, limit {most} (values "
                    f"up to {most / self.chip.counts[name]:.4g} find room in a step)"],
                    hint="smaller values, or a network whose weights of them are larger")  # fmt: skip
        return out

    def _spikes(self, name: str, k0: int, k1: int) -> Ints:
        late = max(0, -k0)  # before the start nothing has been sent
        found = self.given.spikes(name, max(k0, 0), max(k1, 0)).astype(np.int64)
        if found.max(initial=0) > INPUT_SPIKES:
            raise RefusedError("xylo: these inputs do not fit the chip", [
                f"input {name}: {found.max()} spikes of one channel in a step, limit {INPUT_SPIKES}"],
                hint="more channels, or a smaller dt")  # fmt: skip
        return np.concatenate([np.zeros((min(late, k1 - k0), *found.shape[1:]), dtype=np.int64), found])


@cached
def encode(u, left, most, first, out):  # type: ignore[no-untyped-def] # pragma: no cover (compiled)
    """Counts of u (steps, batch), 15 to a channel from `first` on, into out; the most that ever had to wait."""
    worst = 0.0
    for k in range(u.shape[0]):
        for b in range(u.shape[1]):
            left[b] += u[k, b]
            c = min(np.floor(left[b] + 0.5), most)
            left[b] -= c
            worst = max(worst, left[b])
            at = first
            while c > 0:
                now = min(c, float(INPUT_SPIKES))
                out[k, b, at] = np.int64(now)
                c -= now
                at += 1
    return worst
