"""step.py compiled: all populations in one row of compartments, spikes as events, trials outermost.

The same integers in the same order of a step; sums of integers have none. Arrivals wait in a ring of steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from spikeport.snn.compiling import cached
from spikeport.targets.fixed_point.compiled import decay, saturate, wrap
from spikeport.targets.loihi.chip import Chip
from spikeport.targets.loihi.limits import (
    ARRIVALS_MAX,
    CURRENT_OFFSET,
    DECAY_BITS,
    STATE_BITS,
    STATE_SHIFT,
    V_MAX,
    V_MIN,
)

WHOLE = 1 << DECAY_BITS
ARRIVALS, CURRENT, FLOOR = 0, 1, 2  # kinds of overflow: rows of `over`


class Tables(NamedTuple):
    """(n,) per compartment; sources: populations' compartments, then input channels; synapses in CSR by source."""

    keep_u: Any  # 4096 - (du + 1)
    keep_v: Any  # 4096 - dv
    threshold: Any  # vth 2^6
    refractory: Any
    first: Any  # (sources + 1,): where a source's synapses begin
    target: Any
    weight: Any
    delay: Any
    slots: int  # of the ring


class Memory(NamedTuple):
    """The state of a run, moved on in place: u, v, ref (batch, n); ring (batch, slots, n).

    over: (3, 5) of the first overflow of each kind (how many, step, trial, compartment, value).
    """

    u: Any
    v: Any
    ref: Any
    ring: Any
    over: Any


def tables(chip: Chip) -> Tables:
    """The chip's network laid out for `run`."""
    whole = {c.name: c for c in chip.compartments}
    at, offset = {}, 0
    for name, n in [*((c.name, c.n) for c in chip.compartments), *chip.inputs.items()]:
        at[name], offset = offset, offset + n
    rows: list[tuple[Any, Any, Any, Any]] = []
    for s in chip.synapses:
        post, pre = np.nonzero(s.mantissa)
        rows.append((pre + at[s.source], post + at[s.target], s.weight[post, pre], np.full(pre.size, s.delay)))
    joined = [np.concatenate([r[i] for r in rows]) if rows else np.empty(0, dtype=np.int64) for i in range(4)]
    source, target, weight, delay = (a.astype(np.int64) for a in joined)
    order = np.lexsort((target, delay, source))
    first = np.searchsorted(source[order], np.arange(offset + 1)).astype(np.int64)
    parts = list(whole.values())
    return Tables(
        keep_u=np.concatenate([WHOLE - (c.du + CURRENT_OFFSET) for c in parts]),
        keep_v=np.concatenate([WHOLE - c.dv for c in parts]),
        threshold=np.concatenate([np.full(c.n, c.vth << STATE_SHIFT, dtype=np.int64) for c in parts]),
        refractory=np.concatenate([c.refractory for c in parts]).astype(np.int64),
        first=first, target=target[order], weight=weight[order], delay=delay[order],
        slots=int(delay.max(initial=0)) + 1,
    )  # fmt: skip


def memory(chip: Chip, t: Tables, v0: Any) -> Memory:
    """The state at the start of trials; v0: (batch, n) of all compartments in a row."""
    v = np.array(v0, dtype=np.int64)
    zero = np.zeros_like(v)
    ring = np.zeros((v.shape[0], t.slots, v.shape[1]), dtype=np.int64)
    return Memory(u=zero, v=v, ref=zero.copy(), ring=ring, over=np.zeros((3, 5), dtype=np.int64))


@cached
def run(t, m, k0, n_steps, given, bias, bias_row, noise, z, seen, us):  # type: ignore[no-untyped-def] # pragma: no cover (compiled) # long: one loop over trials, steps and compartments
    """Steps k0 .. k0 + n_steps - 1 of every trial.

    given: (steps, batch, channels) counts of all spike inputs.  bias: (rows, n), of step j and trial b the row
    bias_row[j, b].
    noise: (steps, batch, n) added to v, or (0, ...).  z: (steps, batch, n) bool, out.  seen: v before the reset, and
    us: u, (steps, batch, n) out, or (0, ...).
    """
    n_batch, n = m.v.shape
    channels = given.shape[2]
    for b in range(n_batch):
        u, v, ref, ring = m.u[b], m.v[b], m.ref[b], m.ring[b]
        for j in range(n_steps):
            now = (k0 + j) % t.slots
            for c in range(channels):
                count = given[j, b, c]
                if count != 0:
                    for e in range(t.first[n + c], t.first[n + c + 1]):
                        slot = now + t.delay[e]
                        ring[slot - t.slots if slot >= t.slots else slot, t.target[e]] += count * t.weight[e]
            arriving, drive = ring[now], bias[bias_row[j, b]]
            for i in range(n):
                a = arriving[i]
                arriving[i] = 0
                free_u = decay(u[i], t.keep_u[i], DECAY_BITS) + a
                new_u = wrap(free_u, STATE_BITS)
                u[i] = new_u
                kind = ARRIVALS if a > ARRIVALS_MAX or a < -ARRIVALS_MAX else (CURRENT if new_u != free_u else -1)
                if kind >= 0:
                    if m.over[kind, 0] == 0:
                        m.over[kind, 1], m.over[kind, 2], m.over[kind, 3] = k0 + j, b, i
                        m.over[kind, 4] = a if kind == ARRIVALS else free_u
                    m.over[kind, 0] += 1
                new_v = v[i]
                spike = False
                if ref[i] == 0:
                    free_v = decay(new_v, t.keep_v[i], DECAY_BITS) + new_u + drive[i]
                    if noise.shape[0] > 0:
                        free_v += noise[j, b, i]
                    new_v = saturate(free_v, V_MIN, V_MAX)
                    if free_v < V_MIN:
                        if m.over[FLOOR, 0] == 0:
                            m.over[FLOOR, 1], m.over[FLOOR, 2], m.over[FLOOR, 3] = k0 + j, b, i
                            m.over[FLOOR, 4] = free_v
                        m.over[FLOOR, 0] += 1
                    spike = new_v > t.threshold[i]
                else:
                    ref[i] -= 1
                if seen.shape[0] > 0:
                    seen[j, b, i] = new_v
                if us.shape[0] > 0:
                    us[j, b, i] = new_u
                z[j, b, i] = spike
                if spike:
                    new_v = 0
                    ref[i] = t.refractory[i]
                v[i] = new_v
            for i in range(n):
                if z[j, b, i]:
                    for e in range(t.first[i], t.first[i + 1]):
                        slot = now + t.delay[e]
                        ring[slot - t.slots if slot >= t.slots else slot, t.target[e]] += t.weight[e]
