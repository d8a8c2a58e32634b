"""step.py compiled, without read-out neurons: spikes as events, trials outermost; the same integers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from spikeport.snn.compiling import cached, inlined
from spikeport.targets.fixed_point.compiled import bit_shift_decay, wrap_two
from spikeport.targets.xylo.chip import Chip
from spikeport.targets.xylo.limits import HIDDEN_SPIKES, STATE_BITS, STATE_MAX, STATE_MIN

CURRENT, FLOOR, CEILING = 0, 1, 2  # what saturates: rows of `over`
# a neuron whose threshold is the largest number saturates at every spike, on purpose


class Tables(NamedTuple):
    """(n,) per hidden neuron; synapses in CSR by source: hidden neurons, then input channels; slot: 2 target + s."""

    dash_syn: Any
    dash_mem: Any
    threshold: Any
    bias: Any
    first: Any  # (sources + 1,): where a source's synapses begin
    slot: Any
    weight: Any


class Memory(NamedTuple):
    """The state of a run, moved on in place: i (batch, 2 n), v and z (batch, n).

    over: (3, 5) of the first of each kind that saturates (how many, step, trial, neuron, value).
    """

    i: Any
    v: Any
    z: Any
    over: Any


def tables(chip: Chip) -> Tables:
    """The chip laid out for `run`."""
    rows = []
    for offset, weight, shift in ((0, chip.weights_rec, chip.shift_rec), (chip.n, chip.weights_in, chip.shift_in)):
        pre, post, s = np.nonzero(weight)
        rows.append((pre + offset, 2 * post + s, weight[pre, post, s].astype(np.int64) << shift))
    source, slot, value = (np.concatenate([r[i] for r in rows]).astype(np.int64) for i in range(3))
    order = np.lexsort((slot, source))
    return Tables(
        dash_syn=np.ascontiguousarray(chip.whole("dash_syn").reshape(-1)).astype(np.int64),
        dash_mem=chip.whole("dash_mem").astype(np.int64), threshold=chip.whole("threshold").astype(np.int64),
        bias=chip.whole("bias").astype(np.int64),
        first=np.searchsorted(source[order], np.arange(chip.n + len(chip.channels) + 1)).astype(np.int64),
        slot=slot[order], weight=value[order],
    )  # fmt: skip


def memory(v0: Any) -> Memory:
    """The state at the start of trials; v0: (batch, n)."""
    v = np.array(v0, dtype=np.int64)
    i = np.zeros((v.shape[0], 2 * v.shape[1]), dtype=np.int64)
    return Memory(i=i, v=v, z=np.zeros_like(v), over=np.zeros((3, 5), dtype=np.int64))


@inlined
def cut(x: Any) -> Any:  # pragma: no cover (compiled)
    return STATE_MIN if x < STATE_MIN else (STATE_MAX if x > STATE_MAX else x)


@cached
def note(over, kind, step, trial, neuron, value):  # type: ignore[no-untyped-def] # pragma: no cover (compiled)
    """Count what saturated, and keep the first."""
    if over[kind, 0] == 0:
        over[kind, 1], over[kind, 2], over[kind, 3], over[kind, 4] = step, trial, neuron, value
    over[kind, 0] += 1


@cached
def send(t, i, over, source, count, step, trial):  # type: ignore[no-untyped-def] # pragma: no cover (compiled)
    """Add one source's weights to the currents."""
    for e in range(t.first[source], t.first[source + 1]):
        free = i[t.slot[e]] + count * t.weight[e]
        i[t.slot[e]] = cut(free)
        if i[t.slot[e]] != free:
            note(over, CURRENT, step, trial, t.slot[e] // 2, free)


@cached
def run(t, m, k0, given, z, states):  # type: ignore[no-untyped-def] # pragma: no cover (compiled)
    """Steps k0 .. k0 + len(given) - 1 of every trial.

    given: (steps, batch, channels) spikes.  z: (steps, batch, n) uint8 spikes, out.  states: (steps, batch, n, 3) of
    i_1, i_2 and v after the step, out, or (0, ...).
    """
    n_batch, n = m.v.shape
    for b in range(n_batch):
        i, v, last = m.i[b], m.v[b], m.z[b]
        for k in range(given.shape[0]):
            for c in range(given.shape[2]):
                if given[k, b, c] != 0:
                    send(t, i, m.over, n + c, given[k, b, c], k0 + k, b)
            for u in range(n):
                if last[u] != 0:
                    send(t, i, m.over, u, last[u], k0 + k, b)
            for u in range(n):
                for s in range(2 * u, 2 * u + 2):
                    i[s] -= bit_shift_decay(i[s], t.dash_syn[s])
                leak = wrap_two(-bit_shift_decay(v[u], t.dash_mem[u]), STATE_BITS)
                flow = i[2 * u] + i[2 * u + 1] + leak
                dv = cut(cut(flow) + t.bias[u])
                x, free = cut(v[u] + dv), v[u] + flow + t.bias[u]
                if x != cut(free):
                    note(m.over, CURRENT, k0 + k, b, u, flow + t.bias[u])
                if free < STATE_MIN:
                    note(m.over, FLOOR, k0 + k, b, u, free)
                if free > STATE_MAX and t.threshold[u] < STATE_MAX:
                    note(m.over, CEILING, k0 + k, b, u, free)
                count = 0
                while x >= t.threshold[u] and count < HIDDEN_SPIKES:
                    count += 1
                    x -= t.threshold[u]
                v[u], last[u] = x, count
                z[k, b, u] = count
                if states.shape[0] > 0:
                    states[k, b, u, 0], states[k, b, u, 1], states[k, b, u, 2] = i[2 * u], i[2 * u + 1], x
