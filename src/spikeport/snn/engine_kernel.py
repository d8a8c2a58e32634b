"""The canonical step (reference.py) compiled: the same sums in the same order, laid out for vector units.

engine_loops.py has the loops over units; here is what calls them. Parameters are per candidate, state per (trial,
candidate). Trials are outermost, then blocks of K steps, then candidates: a trial's noise is drawn once for all its
candidates, and a candidate's state stays in the first-level cache for K steps. Nothing is reassociated (no fastmath),
so float64 gives the reference's bits.
"""

# long: numba looks at this file alone to tell whether the cache of its entry points is fresh, so they are all here

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from spikeport.snn.compiling import cached, compiled, inlined, streamed, view
from spikeport.snn.engine_loops import (
    BASE,
    OMA,
    POP,
    PRE,
    W2,
    W3,
    E,
    K,
    U,
    V,
    W,
    add_four,
    add_held,
    collect,
    delta,
    double,
    filter,
    held_synapse,
    membrane,
    run_ahead_frozen,
    run_ahead_published,
    single,
    step_frozen,
    step_frozen_held,
    step_published,
    step_published_held,
    sum,
    weigh,
)
from spikeport.snn.integrators import FLUSH_EVERY, TINY
from spikeport.snn.noise import WORDS, fill_normal


class Plan(NamedTuple):
    """A compiled network: integer tables, a row each (fields in engine_plan.py), and parameters per candidate."""

    pops: Any  # (populations, .) int64, in stepping order
    syns: Any  # (synapses, .) int64
    projs: Any  # (projections of spikes, .) int64
    helds: Any  # (projections of held inputs, .) int64
    outs: Any  # (read-outs, .) int64
    sources: Any  # (populations + spike inputs, .) int64
    keep: Any  # (populations, 3) float: keeps v at reset (subtract), noise and spikes while refractory
    units: Any  # (padded units,) uint64: noise unit ids
    params: Any  # (candidates, .) float


class Feed(NamedTuple):
    """The inputs of a run: held samples (batch, .), which sample a step sees, given spikes as events per step."""

    u: Any  # (batch, .) float: per input, sample by sample
    u_start: Any  # (held inputs,) int64: where its samples begin
    sample: Any  # (held inputs, n_steps) int64
    changed: Any  # (n_steps,) bool: does any sample differ from the step before?
    ev_start: Any  # (spike inputs, batch, n_steps + 1) int64
    ev_unit: Any  # int32
    ev_count: Any  # float


class Memory(NamedTuple):
    """The state between calls, per (trial, candidate), and per-thread scratch."""

    v: Any  # (batch, candidates, .) float: tiles of populations
    x: Any  # tiles of synapses. An array each: LLVM's alias checks fail between two parts of one
    holds: Any  # tiles of held inputs of synapses
    r: Any  # tiles of read-outs
    ring_n: Any  # (batch, candidates, slots, sources) int32: spikes of a step
    ring_i: Any  # (batch, candidates, slots, units) int32: who
    ring_c: Any  # (batch, candidates, slots, units) float: how many


class Sink(NamedTuple):
    """What a run writes; arrays of size 0 where it is not asked for."""

    out: Any  # (batch, candidates, outputs, n_steps) float
    trace: Any  # (batch, candidates, n_steps, units) float: v before the reset
    counts: Any  # (batch, candidates, units) int64


@compiled
def _refresh(x, holds, p, u, b, u_start, pops, a, syns, helds, sample, row, lanes):  # type: ignore[no-untyped-def]
    """E = (1 - A) (v_leak + bias + w_in u) of a population, and held H of its synapses, at new samples."""
    tiles, c, q = U(pops[a, 1]), U(pops[a, 2]), U(pops[a, 13])
    for t in range(tiles):
        for i in range(lanes):
            x[c + t * POP + E + i] = p[q + t * W2 + BASE + i]
    for r in range(pops[a, 9], pops[a, 10]):
        for ch in range(helds[r, 1]):
            value = u[b, u_start[helds[r, 0]] + sample[helds[r, 0], row] * helds[r, 1] + ch]
            add_held(x, c + E, POP, p, U(helds[r, 2]) + U(ch) * tiles * W, tiles, value, lanes)
    for t in range(tiles):
        for i in range(lanes):
            x[c + t * POP + E + i] *= p[q + t * W2 + OMA + i]
    for n in range(pops[a, 7], pops[a, 8]):
        if syns[n, 5] >= 0:
            hold, g = U(syns[n, 5]), U(syns[n, 6])
            for t in range(tiles):
                for i in range(lanes):
                    holds[hold + t * W2 + i] = p[g + t * W3 + i]
            for r in range(syns[n, 7], syns[n, 8]):
                for ch in range(helds[r, 1]):
                    value = u[b, u_start[helds[r, 0]] + sample[helds[r, 0], row] * helds[r, 1] + ch]
                    add_held(holds, hold, W2, p, U(helds[r, 2]) + U(ch) * tiles * W, tiles, value, lanes)
            for t in range(tiles):
                for i in range(lanes):
                    total = holds[hold + t * W2 + i]
                    holds[hold + t * W2 + i] = p[g + t * W3 + W + i] * total
                    holds[hold + t * W2 + W + i] = p[g + t * W3 + W2 + i] * total


@inlined
def _deliver(x, p, syns, n, projs, sources, n_pops, k, ring_n, ring_i, ring_c, tiles, lanes):  # type: ignore[no-untyped-def]
    """J = sum of w z[k-d], projection by projection, source by source; True if anything arrived."""
    states = U(syns[n, 0])
    J, stride = U(syns[n, 1]) + states * W, (states + U(1)) * W  # J is the last field of a synapse's tile
    mask = ring_n.shape[0] - 1
    arrived = False
    for r in range(syns[n, 3], syns[n, 4]):
        source = projs[r, 0]
        slot = (k - projs[r, 1]) & mask
        first = sources[source, 0]
        e, spikes = 0, ring_n[slot, source]
        arrived |= spikes > 0
        if source < n_pops:  # each counts 1
            while e + 4 <= spikes:
                add_four(x, J, stride, p, _row(projs, r, ring_i, slot, first + e, tiles),
                         _row(projs, r, ring_i, slot, first + e + 1, tiles),
                         _row(projs, r, ring_i, slot, first + e + 2, tiles),
                         _row(projs, r, ring_i, slot, first + e + 3, tiles), tiles, lanes)  # fmt: skip
                e += 4
        while e < spikes:
            row = _row(projs, r, ring_i, slot, first + e, tiles)
            add_held(x, J, stride, p, row, tiles, ring_c[slot, first + e], lanes)
            e += 1
    return arrived


@inlined
def _row(projs, r, ring_i, slot, at, tiles):  # type: ignore[no-untyped-def]
    """Where the weights of a source's unit begin."""
    return U(projs[r, 2]) + U(ring_i[slot, at]) * tiles * W


@inlined
def _at_once(pops, syns, keep, a):  # type: ignore[no-untyped-def]
    """Can synapse and membrane of this population be done in one pass?"""
    return (pops[a, 8] == pops[a, 7] + 1 and syns[pops[a, 7], 0] == 2 and keep[a, 0] == 0
            and keep[a, 1] == keep[a, 2])  # fmt: skip


@inlined
def _both(pops, syns, keep, a, v, x, holds, p, nz, z, row):  # type: ignore[no-untyped-def]
    """Synapse and membrane of such a population."""
    tiles, c, g, dg, m = U(pops[a, 1]), U(pops[a, 2]), U(pops[a, 3]), U(pops[a, 14]), U(pops[a, 4])
    n = pops[a, 7]
    o, q, dq, e, de, hold = U(syns[n, 1]), U(syns[n, 2]), U(syns[n, 9]), U(syns[n, 10]), U(syns[n, 11]), U(syns[n, 5])
    if syns[n, 5] >= 0:
        if keep[a, 1] > 0:
            step_published_held(x, o, v, c, holds, hold, p, q, dq, e, de, g, dg, nz, z, row, m, tiles)
        else:
            step_frozen_held(x, o, v, c, holds, hold, p, q, dq, e, de, g, dg, nz, z, row, m, tiles)
    elif keep[a, 1] > 0:
        step_published(x, o, v, c, holds, U(0), p, q, dq, e, de, g, dg, nz, z, row, m, tiles)
    else:
        step_frozen(x, o, v, c, holds, U(0), p, q, dq, e, de, g, dg, nz, z, row, m, tiles)


@inlined
def _step(pops, syns, projs, sources, keep, v, x, holds, p, k, ring_n, ring_i, ring_c, nz, z, z64, row, lanes, traced):  # type: ignore[no-untyped-def]
    """One step of every population of one (trial, candidate); spikes go into the ring's slot of step k."""
    slot = k & (ring_n.shape[0] - 1)
    for a in range(pops.shape[0]):
        tiles, c, g, dg, m = U(pops[a, 1]), U(pops[a, 2]), U(pops[a, 3]), U(pops[a, 14]), U(pops[a, 4])
        both = not traced and _at_once(pops, syns, keep, a)
        for n in range(pops[a, 7], pops[a, 8]):
            arrived = _deliver(x, p, syns, n, projs, sources, pops.shape[0], k, ring_n, ring_i, ring_c, tiles, lanes)
            states, o, q, hold = syns[n, 0], U(syns[n, 1]), U(syns[n, 2]), U(syns[n, 5])
            dq, e, de = U(syns[n, 9]), U(syns[n, 10]), U(syns[n, 11])
            if both:
                _both(pops, syns, keep, a, v, x, holds, p, nz, z, row)
            elif syns[n, 5] >= 0:
                held_synapse(x, o, v, c, holds, hold, p, q, dq, e, de, states, tiles)
            elif states == 2:
                double(x, o, v, c, p, q, dq, e, de, tiles, arrived)
            elif states == 1:
                single(x, o, v, c, p, q, dq, tiles)
            elif arrived:
                delta(x, o, v, c, p, q, dq, tiles)
        if not both:
            membrane(v, c, p, g, dg, nz, z, row, m, keep[a, 0], keep[a, 1], keep[a, 2], tiles)
        source = pops[a, 5]
        ring_n[slot, source] = collect(z, z64, m, U(pops[a, 0]), lanes, ring_i, ring_c, slot, sources[source, 0])


@compiled
def _read(outs, sources, x, acc, p, k, ring_n, ring_i, out, b, c, row, rows, lanes):  # type: ignore[no-untyped-def]
    """4: read-outs of `rows` steps: decay, weigh, and after the last one, step k, add its spikes."""
    slot = k & (ring_n.shape[0] - 1)
    for a in range(outs.shape[0]):
        states, o, q, tiles, source = U(outs[a, 0]), U(outs[a, 1]), U(outs[a, 2]), U(outs[a, 3]), outs[a, 4]
        w0, first, n_out, bias = U(outs[a, 5]), outs[a, 6], outs[a, 7], outs[a, 8]
        dq, ee, de = U(outs[a, 9]), U(outs[a, 10]), U(outs[a, 11])
        for t in range(row, row + rows):
            filter(x, o, p, q, dq, ee, de, w0, acc, states, tiles, lanes)
            out[b, c, first, t] = sum(acc, lanes) + p[bias]
            for j in range(1, n_out):
                weigh(x, o, p, w0 + U(j) * tiles * W, acc, tiles, lanes)
                out[b, c, first + j, t] = sum(acc, lanes) + p[bias + j]
        for e in range(ring_n[slot, source]):
            unit = U(ring_i[slot, sources[source, 0] + e])
            tile, i = unit // W, unit % W
            jump = p[q + tile * dq + W + i]
            x[o + (tile * U(2) + states - U(1)) * W + i] += jump
            if states == 1:  # it acts in this step already; of two states it moves h, and s from the next step on
                for j in range(n_out):
                    out[b, c, first + j, row + rows - 1] += p[w0 + U(j) * tiles * W + unit] * jump


@compiled
def _flush(v, x, r, pops, lanes):  # type: ignore[no-untyped-def]
    """0 in place of every v and filter state of at most TINY; see there."""
    zero, tiny = v.dtype.type(0), v.dtype.type(TINY)
    for a in range(pops.shape[0]):
        for t in range(U(pops[a, 1])):
            c = U(pops[a, 2]) + t * POP + V
            for i in range(lanes):
                v[c + i] = v[c + i] if abs(v[c + i]) > tiny else zero
    for i in range(x.shape[0]):
        x[i] = x[i] if abs(x[i]) > tiny else zero
    for i in range(r.shape[0]):
        r[i] = r[i] if abs(r[i]) > tiny else zero


@compiled
def _candidate(plan, feed, memory, sink, b, c, k0, block, rows, nz, z, z64, acc, lanes, events, n_events):  # type: ignore[no-untyped-def]
    """`rows` steps of one candidate in trial b; returns how many events there are now."""
    # long: one loop over steps, whose parts share two dozen arrays; a call that passes them costs as much as a step
    pops, syns, projs, helds, outs, sources, keep, _units, params = plan
    u, u_start, sample, changed, ev_start, ev_unit, ev_count = feed
    out, trace, counts = sink
    traced, read, record = trace.shape[2] > 0, out.shape[3] > 0, events.shape[0] > 0
    v, x, holds = memory.v[b, c], memory.x[b, c], memory.holds[b, c]
    r, p = memory.r[b, c], params[c]
    ring_n, ring_i, ring_c = memory.ring_n[b, c], memory.ring_i[b, c], memory.ring_c[b, c]
    simple = (pops.shape[0] == 1 and syns.shape[0] == 1 and syns[0, 0] == 2 and syns[0, 5] < 0
              and ev_start.shape[0] == 0 and ring_n.shape[0] == 2 and projs.shape[0] > 0)  # fmt: skip
    words = U(z64.shape[0])
    published = keep[0, 1] > 0
    simple = simple and keep[0, 0] == 0 and keep[0, 1] == keep[0, 2]
    row, end = block, block + rows
    while row < end:
        k, ahead = k0 + row, 1
        slot = k & (ring_n.shape[0] - 1)
        if changed[row] or row == 0:
            for a in range(pops.shape[0]):
                _refresh(v, holds, p, u, b, u_start, pops, a, syns, helds, sample, row, lanes)
        for s in range(ev_start.shape[0]):
            source, start = pops.shape[0] + s, ev_start[s, b, row]
            ring_n[slot, source] = ev_start[s, b, row + 1] - start
            for e in range(ev_start[s, b, row + 1] - start):
                ring_i[slot, sources[source, 0] + e] = ev_unit[start + e]
                ring_c[slot, sources[source, 0] + e] = ev_count[start + e]
        if simple and not traced and ring_n[(k - 1) & 1, 0] == 0:
            limit = min(end - row, FLUSH_EVERY - k % FLUSH_EVERY)
            while ahead < limit and not changed[row + ahead]:
                ahead += 1
            q, g, tiles = U(syns[0, 2]), U(pops[0, 3]), U(pops[0, 1])
            dq, ee, de, dg = U(syns[0, 9]), U(syns[0, 10]), U(syns[0, 11]), U(pops[0, 14])
            if published:
                ahead = run_ahead_published(x, v, p, q, dq, ee, de, g, dg, nz, z, z64, row - block, ahead, tiles, words)
            else:
                ahead = run_ahead_frozen(x, v, p, q, dq, ee, de, g, dg, nz, z, z64, row - block, ahead, tiles, words)
            k = k + ahead - 1
            slot = k & 1
            ring_n[1 - slot, 0] = 0
            ring_n[slot, 0] = collect(z, z64, U(0), U(pops[0, 0]), lanes, ring_i, ring_c, slot, 0)
        else:
            _step(
                pops, syns, projs, sources, keep, v, x, holds, p, k, ring_n, ring_i, ring_c, nz, z, z64, row - block,
                lanes, traced,
            )  # fmt: skip
        if read:
            _read(outs, sources, r, acc, p, k, ring_n, ring_i, out, b, c, row, ahead, lanes)
        row += ahead
        if (k + 1) % FLUSH_EVERY == 0:
            _flush(v, x, r, pops, lanes)
        for a in range(pops.shape[0]):
            source = pops[a, 5]
            for e in range(ring_n[slot, source]):
                unit = pops[a, 6] + ring_i[slot, sources[source, 0] + e]
                counts[b, c, unit] += 1
                if record:
                    events[n_events, 0] = row - 1
                    events[n_events, 1] = b
                    events[n_events, 2] = c
                    events[n_events, 3] = unit
                    n_events += 1
            if traced:
                for unit in range(pops[a, 0]):
                    tile = U(pops[a, 2]) + (U(unit) // W) * POP
                    trace[b, c, row - 1, pops[a, 6] + unit] = v[tile + PRE + U(unit) % W]
    return n_events


@cached
def advance(  # type: ignore[no-untyped-def]
    plan, feed, memory, sink, where, b1, k0, n_steps, seed, first_trial, with_noise, nz, z, z64, scratch, acc, lanes,
    events,
):  # fmt: skip
    """Run all candidates of trials up to b1 from step row k0 (0-based) for n_steps; state lives in `memory`.

    where: (trial, step, events so far) int64, moved on; True when all is done, False when `events` (rows of step,
    trial, candidate, global unit; int32; no rows: spikes are not kept) must grow before it can go on.
    Inputs are looked at in the first step whatever `changed` says: a sample may have changed between two calls.
    nz: (K, padded units) float, z: (padded units,) float and z64 the same memory as uint64, scratch: (noise.WORDS,
    padded units) uint32, acc: (W,) float, all this thread's own. Nothing here allocates, and all is compiled without
    reference counting, whose atomic operations would cost as much as a step.
    """
    n_candidates, per_block = plan.params.shape[0], K * sink.counts.shape[2] * plan.params.shape[0]
    pops = plan.pops
    while where[0] < b1:
        b, block = where[0], where[1]
        if events.shape[0] > 0 and where[2] + per_block > events.shape[0]:
            return False
        rows = min(K, n_steps - block)
        if with_noise:
            for a in range(pops.shape[0]):
                if pops[a, 11]:
                    m, size = pops[a, 4], pops[a, 1] * np.int64(W)
                    fill_normal(
                        nz, rows, scratch, plan.units, m, m + size, pops[a, 12], first_trial + b, k0 + block, seed
                    )
        for c in range(n_candidates):
            where[2] = _candidate(
                plan, feed, memory, sink, b, c, k0, block, rows, nz, z, z64, acc, lanes, events, where[2]
            )
        where[1] = block + rows
        if where[1] >= n_steps:
            where[0] = b + 1
            where[1] = 0
    return True


# The streaming form: its arguments lie in one row of integers, because taking three dozen arrays out of Python objects
# would cost more than a step. STREAM names its numbers; then come its arrays, `ENTRY` integers each: address, sizes.
STREAM = ("k", "n_steps", "seed", "trial", "noisy", "fresh", "noise_k", "noise_seed", "noise_trial", "lanes", "lean")
ARRAYS = (*Plan._fields, *Feed._fields, *Memory._fields, *Sink._fields, "nz", "z", "z64", "words", "acc", "values",
          "order", "events")  # fmt: skip
ENTRY = 5
_K, _STEPS, _SEED, _TRIAL, _NOISY, _FRESH, _NOISE_K, _NOISE_SEED, _NOISE_TRIAL, _LANES, _LEAN = range(len(STREAM))
_AT = len(STREAM)


@inlined
def _a1(call, i, like):  # type: ignore[no-untyped-def]
    return view(call[_AT + ENTRY * i], (call[_AT + ENTRY * i + 1],), like)


@inlined
def _a2(call, i, like):  # type: ignore[no-untyped-def]
    return view(call[_AT + ENTRY * i], (call[_AT + ENTRY * i + 1], call[_AT + ENTRY * i + 2]), like)


@inlined
def _a3(call, i, like):  # type: ignore[no-untyped-def]
    at = _AT + ENTRY * i
    return view(call[at], (call[at + 1], call[at + 2], call[at + 3]), like)


@inlined
def _a4(call, i, like):  # type: ignore[no-untyped-def]
    at = _AT + ENTRY * i
    return view(call[at], (call[at + 1], call[at + 2], call[at + 3], call[at + 4]), like)


@compiled
def _take(values, order, u, ev_start, ev_unit, ev_count, sources, n_pops, changed, fresh):  # type: ignore[no-untyped-def]
    """The values of a call: held ones into u, counts into events of the first step. 0, or 1 + the place of a bad one.

    values: (batch, .) as the caller has them; order: where there each held channel is, then each of spikes.
    changed[1] is whether any held value is another than before; nothing is written where a value is refused.
    """
    held, n = u.shape[1], order.shape[0]
    for b in range(values.shape[0]):
        for j in range(n):
            x = values[b, order[j]]
            cast = u.dtype.type(x)
            if not np.isfinite(cast) or (j >= held and (x < 0 or x != np.floor(x) or x > 2147483647.0)):
                return b * n + order[j] + 1
    other, found = fresh, 0
    for b in range(values.shape[0]):
        for j in range(held):
            cast = u.dtype.type(values[b, order[j]])
            other |= cast != u[b, j]
            u[b, j] = cast
    changed[1] = other
    for s in range(ev_start.shape[0]):
        first = sources[n_pops + s, 0] - sources[n_pops, 0]
        size = sources[n_pops + s + 1, 0] if s + 1 < ev_start.shape[0] else sources[n_pops, 0] + n - held
        size -= sources[n_pops + s, 0]
        for b in range(values.shape[0]):
            ev_start[s, b, 1] = found
            for i in range(size):
                count = values[b, order[held + first + i]]
                if count > 0:
                    ev_unit[found] = i
                    ev_count[found] = count
                    found += 1
            for k in range(2, ev_start.shape[2]):
                ev_start[s, b, k] = found
    return 0


@compiled
def _draw(nz, words, pops, units, k, rows, trial, seed, keeps):  # type: ignore[no-untyped-def]
    """The noise of steps k .. k + rows - 1 into the rows of nz where they belong, step mod K.

    A counter gives WORDS steps at once: where `keeps`, those of the counter under way are there already.
    """
    start = k - k % WORDS
    if keeps and k % WORDS != 0:
        start += WORDS
    end = k + rows + (-(k + rows)) % WORDS
    if start < end:
        for a in range(pops.shape[0]):
            if pops[a, 11]:
                m = pops[a, 4]
                fill_normal(
                    nz[start % K :], end - start, words, units, m, m + pops[a, 0], pops[a, 12], trial, start, seed,
                )  # fmt: skip


_whole_candidate = inlined(_candidate.py_func)  # to hand two dozen arrays over takes 0.3 us, a fifth of a call


_whole_read = inlined(_read.py_func)


@inlined
def _row1(call, i, dimensions, like):  # type: ignore[no-untyped-def]
    """An array of which all sizes but the last are 1."""
    at = _AT + ENTRY * i
    return view(call[at], (call[at + dimensions],), like)


@inlined
def _row2(call, i, like):  # type: ignore[no-untyped-def]
    """An array of four dimensions of which the first two are 1."""
    at = _AT + ENTRY * i
    return view(call[at], (call[at + 3], call[at + 4]), like)


@compiled
def _lean(address, given, one):  # type: ignore[no-untyped-def]
    """_stream for one step of one trial of the commonest network (see Stream): what it does not need, it does not load,
    which is a fifth of a call."""
    call = view(address, (_AT + ENTRY * len(ARRAYS),), np.int64(0))
    i64, i32 = np.int64(0), np.int32(0)
    order, u, values = _a1(call, 32, i64), _a2(call, 9, one), _a2(call, 31, np.float64(0))
    n = order.shape[0]
    if given.shape[0] != n:
        return -1
    other = call[_FRESH] != 0
    for j in range(n):
        values[0, j] = given[j]
    for j in range(n):
        if not np.isfinite(u.dtype.type(given[order[j]])):
            return order[j] + 1
    for j in range(n):
        cast = u.dtype.type(given[order[j]])
        other |= cast != u[0, j]
        u[0, j] = cast
    call[_FRESH] = 0
    k, lanes = call[_K], U(call[_LANES])
    pops, syns = _a2(call, 0, i64), _a2(call, 1, i64)
    p, v, holds = _row1(call, 8, 2, one), _row1(call, 16, 3, one), _row1(call, 18, 3, one)
    if call[_NOISY] != 0:
        keeps = (call[_NOISE_K] == k) & (call[_NOISE_SEED] == call[_SEED]) & (call[_NOISE_TRIAL] == call[_TRIAL])
        if not keeps or k % WORDS == 0:
            _draw(_a3(call, 26, one)[0], _a2(call, 29, np.uint32(0)), pops, _a1(call, 7, np.uint64(0)), k, 1,
                  call[_TRIAL], np.uint64(call[_SEED]), keeps)  # fmt: skip
        call[_NOISE_K], call[_NOISE_SEED], call[_NOISE_TRIAL] = k + 1, call[_SEED], call[_TRIAL]
    else:
        call[_NOISE_K] = -1
    if other:
        _refresh(v, holds, p, u, 0, _a1(call, 10, i64), pops, 0, syns, _a2(call, 3, i64), _a2(call, 11, i64), 1, lanes)
    x, projs, sources = _row1(call, 17, 3, one), _a2(call, 2, i64), _a2(call, 5, i64)
    ring_n, ring_i, ring_c = _row2(call, 20, i32), _row2(call, 21, i32), _row2(call, 22, one)
    _deliver(x, p, syns, 0, projs, sources, 1, k, ring_n, ring_i, ring_c, U(pops[0, 1]), lanes)
    z, slot = _a1(call, 27, one), k & 1
    _both(pops, syns, _a2(call, 6, one), 0, v, x, holds, p, _a3(call, 26, one)[0], z, k % K)
    spikes = collect(z, _a1(call, 28, np.uint64(0)), U(0), U(pops[0, 0]), lanes, ring_i, ring_c, slot, 0)
    ring_n[slot, 0] = spikes
    r = _row1(call, 19, 3, one)
    out = _a4(call, 23, one)
    _whole_read(_a2(call, 4, i64), sources, r, _a1(call, 30, one), p, k, ring_n, ring_i, out, 0, 0, out.shape[3] - 1, 1,
                lanes)  # fmt: skip
    if (k + 1) % FLUSH_EVERY == 0:
        _flush(v, x, r, pops, lanes)
    counts = _row1(call, 25, 3, i64)
    for unit in range(counts.shape[0]):
        counts[unit] = 0
    for e in range(spikes):
        counts[ring_i[slot, e]] = 1
    call[_K] = k + 1
    return 0


@compiled
def _stream(address, given, one):  # type: ignore[no-untyped-def]
    # long: it only lists its arrays, then does the steps
    call = view(address, (_AT + ENTRY * len(ARRAYS),), np.int64(0))
    if call[_LEAN] != 0 and call[_STEPS] == 1:
        return _lean(address, given, one)
    i64, i32, u32, u64 = np.int64(0), np.int32(0), np.uint32(0), np.uint64(0)
    plan = Plan(_a2(call, 0, i64), _a2(call, 1, i64), _a2(call, 2, i64), _a2(call, 3, i64), _a2(call, 4, i64),
                _a2(call, 5, i64), _a2(call, 6, one), _a1(call, 7, u64), _a2(call, 8, one))  # fmt: skip
    feed = Feed(_a2(call, 9, one), _a1(call, 10, i64), _a2(call, 11, i64), _a1(call, 12, np.bool_(False)),
                _a3(call, 13, i64), _a1(call, 14, i32), _a1(call, 15, one))  # fmt: skip
    memory = Memory(_a3(call, 16, one), _a3(call, 17, one), _a3(call, 18, one), _a3(call, 19, one),
                    _a4(call, 20, i32), _a4(call, 21, i32), _a4(call, 22, one))  # fmt: skip
    sink = Sink(_a4(call, 23, one), _a4(call, 24, one), _a3(call, 25, i64))
    nz, z, z64, words, acc = (
        _a3(call, 26, one),
        _a1(call, 27, one),
        _a1(call, 28, u64),
        _a2(call, 29, u32),
        _a1(call, 30, one),
    )
    values, order, events = _a2(call, 31, np.float64(0)), _a1(call, 32, i64), _a2(call, 33, i32)
    if given.shape[0] != values.shape[1]:
        return -1
    for j in range(given.shape[0]):  # the first trial's; of more they are in `values` already
        values[0, j] = given[j]
    wrong = _take(values, order, feed.u, feed.ev_start, feed.ev_unit, feed.ev_count, plan.sources, plan.pops.shape[0],
                  feed.changed, call[_FRESH] != 0)  # fmt: skip
    if wrong:
        return wrong
    call[_FRESH] = 0
    k, n_steps, seed, noisy = call[_K], call[_STEPS], np.uint64(call[_SEED]), call[_NOISY] != 0
    keeps = (call[_NOISE_K] == k) & (call[_NOISE_SEED] == call[_SEED]) & (call[_NOISE_TRIAL] == call[_TRIAL])
    for b in range(values.shape[0]):
        for unit in range(sink.counts.shape[2]):
            sink.counts[b, 0, unit] = 0
        done = 0
        while done < n_steps:
            at = (k + done) % K
            rows = min(n_steps - done, K - at)
            if noisy:
                _draw(nz[b], words, plan.pops, plan.units, k + done, rows, call[_TRIAL] + b, seed, keeps or done > 0)
            _whole_candidate(plan, feed, memory, sink, b, 0, k - 1, 1 + done, rows, nz[b][at:], z, z64, acc,
                             U(call[_LANES]), events, 0)  # fmt: skip
            done += rows
        last = sink.out.shape[3] - 1  # where the caller looks
        if n_steps < last:
            for j in range(sink.out.shape[2]):
                sink.out[b, 0, j, last] = sink.out[b, 0, j, n_steps]
    call[_K] = k + n_steps
    call[_NOISE_K], call[_NOISE_SEED], call[_NOISE_TRIAL] = k + n_steps if noisy else -1, call[_SEED], call[_TRIAL]
    return 0


@streamed
def stream64(address, given):  # type: ignore[no-untyped-def]
    """One call of the streaming form in float64; 0, or 1 + the place of a value that it refuses. See streaming.py.

    given: (.,) float64, values of the first trial; those of others are where `address` says.  -1: another length.
    """
    return _stream(address, given, np.float64(0))


@streamed
def stream32(address, given):  # type: ignore[no-untyped-def]
    """The same in float32."""
    return _stream(address, given, np.float32(0))
