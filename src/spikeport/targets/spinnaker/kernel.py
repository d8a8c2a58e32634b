"""step.py compiled: all populations in one row of units, spikes as events, trials outermost; the same integers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from spikeport.snn.compiling import cached
from spikeport.targets.fixed_point.compiled import multiply_s1615_nearest, multiply_u032
from spikeport.targets.spinnaker.chip import Chip
from spikeport.targets.spinnaker.limits import WEIGHT_MAX


class Tables(NamedTuple):
    """(n,) per unit; shifts (2, n); synapses in CSR by source: populations' units, then input channels."""

    keep_v: Any
    keep_i: Any
    first: Any
    resistance: Any
    rest: Any
    threshold: Any
    reset: Any
    refractory: Any
    shifts: Any
    begin: Any  # (sources + 1,): where a source's synapses begin
    target: Any
    receptor: Any
    weight: Any
    delay: Any
    slots: int  # of the ring


class Memory(NamedTuple):
    """The state of a run, moved on in place: i (batch, 2, n); v, ref (batch, n); ring (batch, slots, 2, n)."""

    i: Any
    v: Any
    ref: Any
    ring: Any


def tables(chip: Chip) -> Tables:
    """The chip's network laid out for `run`."""
    at, offset = {}, 0
    for name, n in [*((c.name, c.n) for c in chip.cells), *chip.inputs.items()]:
        at[name], offset = offset, offset + n
    rows: list[tuple[Any, ...]] = []
    for s in chip.synapses:
        post, pre = np.nonzero(s.weight)
        same = np.ones(pre.size, dtype=np.int64)
        rows.append((pre + at[s.source], post + at[s.target], s.weight[post, pre], same * s.delay, same * s.receptor))
    joined = [np.concatenate([r[i] for r in rows]) if rows else np.empty(0, dtype=np.int64) for i in range(5)]
    source, target, weight, delay, receptor = (a.astype(np.int64) for a in joined)
    order = np.lexsort((target, delay, source))
    whole = {
        name: np.concatenate([np.broadcast_to(getattr(c, name), (c.n,)) for c in chip.cells]).astype(np.int64)
        for name in ("keep_v", "keep_i", "first", "resistance", "rest", "threshold", "reset", "refractory")
    }
    shifts = np.concatenate([np.repeat(np.array(c.shifts)[:, None], c.n, axis=1) for c in chip.cells], axis=1)
    return Tables(
        **whole, shifts=shifts.astype(np.int64),
        begin=np.searchsorted(source[order], np.arange(offset + 1)).astype(np.int64),
        target=target[order], receptor=receptor[order], weight=weight[order], delay=delay[order],
        slots=int(delay.max(initial=0)) + 1,
    )  # fmt: skip


def memory(chip: Chip, t: Tables, v0: Any) -> Memory:
    """The state at the start of trials; v0: (batch, n) of all units in a row."""
    v = np.array(v0, dtype=np.int64)
    n_batch, n = v.shape
    ref = np.broadcast_to(np.concatenate([c.ref0 for c in chip.cells]), v.shape).astype(np.int64)
    i, ring = np.zeros((n_batch, 2, n), dtype=np.int64), np.zeros((n_batch, t.slots, 2, n), dtype=np.int64)
    return Memory(i=i, v=v, ref=ref, ring=ring)


@cached
def run(t, m, k0, n_steps, given, current, row, z, seen):  # type: ignore[no-untyped-def] # pragma: no cover (compiled)
    """Steps k0 .. k0 + n_steps - 1 of every trial.

    given: (steps, batch, channels).  current: (rows, n), of step j and trial b the row row[j, b].  z: (steps, batch, n)
    bool, out.  seen: v before the reset, (steps, batch, n) out, or (0, ...).
    """
    n_batch, n = m.v.shape
    for b in range(n_batch):
        i, v, ref, ring = m.i[b], m.v[b], m.ref[b], m.ring[b]
        for j in range(n_steps):
            now = (k0 + j) % t.slots
            for c in range(given.shape[2]):
                if given[j, b, c] != 0:
                    send(t, ring, now, n + c, given[j, b, c])
            arriving, extra = ring[now], current[row[j, b]]
            for u in range(n):
                for r in range(2):
                    if arriving[r, u] != 0:
                        i[r, u] += multiply_u032(min(arriving[r, u], WEIGHT_MAX) << t.shifts[r, u], t.first[u])
                        arriving[r, u] = 0
                if ref[u] <= 0:
                    alpha = multiply_s1615_nearest(i[0, u] - i[1, u] + extra[u], t.resistance[u]) + t.rest[u]
                    v[u] = alpha - multiply_s1615_nearest(t.keep_v[u], alpha - v[u])
                else:
                    ref[u] -= 1
                if seen.shape[0] > 0:
                    seen[j, b, u] = v[u]
                spike = v[u] >= t.threshold[u]
                z[j, b, u] = spike
                if spike:
                    v[u], ref[u] = t.reset[u], t.refractory[u]
                for r in range(2):
                    i[r, u] = multiply_u032(i[r, u], t.keep_i[u])
            for u in range(n):
                if z[j, b, u]:
                    send(t, ring, now, u, 1)


@cached
def send(t, ring, now, source, count):  # type: ignore[no-untyped-def] # pragma: no cover (compiled)
    """Put the weights of one source into the ring."""
    for e in range(t.begin[source], t.begin[source + 1]):
        slot = now + t.delay[e]
        ring[slot - t.slots if slot >= t.slots else slot, t.receptor[e], t.target[e]] += count * t.weight[e]
