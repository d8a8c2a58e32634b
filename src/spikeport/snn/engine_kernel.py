"""The canonical step (reference.py) compiled: the same sums in the same order, laid out for vector units.

Arrays are cut into tiles of W units. A tile keeps its fields side by side, at distances known when it is compiled,
so LLVM vectorises each loop over a tile without alias checks; the spike test, which branches, has its own loop and
runs only over tiles in which something fired. Parameters are per candidate, state per (trial, candidate). Trials are
outermost, then blocks of K steps, then candidates: a trial's noise is drawn once for all its candidates, and a
candidate's state stays in the first-level cache for K steps. Nothing is reassociated (no fastmath), so float64 gives
the reference's bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from spikeport.snn.integrators import FLUSH_EVERY, TINY
from spikeport.snn.noise import fill_normal

U = np.uint64  # offsets are unsigned: a signed index may be negative, Python's would then wrap, and LLVM does not vectorise
W = U(32)  # units in a tile: 4 AVX2 vectors of float32; a multiple of 8 keeps the 64-bit view of a tile whole
W2, W3, W4, W5, W6 = (U(i) * W for i in range(2, 7))
K = 8  # steps in a block; a multiple of noise.WORDS, and K x 200 units of noise fit the first-level cache
V, REF, CUR, E, PRE = (U(i) * W for i in range(5))  # state fields of a population's tile
A, NOISE, THR, RESET, NREF, OMA, BASE = (U(i) * W for i in range(7))  # parameter fields of a population's tile
POP, PAR = U(5) * W, U(7) * W  # their strides; a synapse's tile has its states and then J


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


@njit(nogil=True, error_model="numpy", _nrt=False)
def _double(x, o, v, c, p, q, tiles, arrived):  # type: ignore[no-untyped-def]
    """x = D x + jump J; current += B x. Fields of p: D00, D01, D11, jump, B0, B1."""
    zero = x.dtype.type(0)
    for _ in range(tiles):
        if arrived:
            for i in range(W):
                s, h = x[o + i], x[o + W + i]
                s = p[q + i] * s + p[q + W + i] * h
                h = p[q + W2 + i] * h + p[q + W3 + i] * x[o + W2 + i]
                x[o + i] = s
                x[o + W + i] = h
                x[o + W2 + i] = zero
                v[c + CUR + i] = (v[c + CUR + i] + p[q + W4 + i] * s) + p[q + W5 + i] * h
        else:
            for i in range(W):
                s, h = x[o + i], x[o + W + i]
                s = p[q + i] * s + p[q + W + i] * h
                h = p[q + W2 + i] * h
                x[o + i] = s
                x[o + W + i] = h
                v[c + CUR + i] = (v[c + CUR + i] + p[q + W4 + i] * s) + p[q + W5 + i] * h
        o += W3
        q += W6
        c += POP


@njit(nogil=True, error_model="numpy", _nrt=False)
def _single(x, o, v, c, p, q, tiles):  # type: ignore[no-untyped-def]
    """The same for one exponential. Fields of p: D, jump, B."""
    zero = x.dtype.type(0)
    for _ in range(tiles):
        for i in range(W):
            s = p[q + i] * x[o + i] + p[q + W + i] * x[o + W + i]
            x[o + i] = s
            x[o + W + i] = zero
            v[c + CUR + i] = v[c + CUR + i] + p[q + W2 + i] * s
        o += W2
        q += W3
        c += POP


@njit(nogil=True, error_model="numpy", _nrt=False)
def _delta(x, o, v, c, p, q, tiles):  # type: ignore[no-untyped-def]
    """The same for a Delta: current += J / tau_mem. Field of p: jump."""
    zero = x.dtype.type(0)
    for _ in range(tiles):
        for i in range(W):
            v[c + CUR + i] = v[c + CUR + i] + p[q + i] * x[o + i]
            x[o + i] = zero
        o += W
        q += W
        c += POP


@njit(nogil=True, error_model="numpy", _nrt=False)
def _held_synapse(x, o, v, c, held, g, p, q, states, tiles):  # type: ignore[no-untyped-def]
    """A synapse with a held input, one or two states: x = D x + jump J + held H; held, g: the tiles of held H."""
    zero = x.dtype.type(0)
    for _ in range(tiles):
        if states == 2:
            for i in range(W):
                s, h = x[o + i], x[o + W + i]
                s = (p[q + i] * s + p[q + W + i] * h) + held[g + i]
                h = (p[q + W2 + i] * h + p[q + W3 + i] * x[o + W2 + i]) + held[g + W + i]
                x[o + i] = s
                x[o + W + i] = h
                x[o + W2 + i] = zero
                v[c + CUR + i] = (v[c + CUR + i] + p[q + W4 + i] * s) + p[q + W5 + i] * h
            o += W3
            q += W6
        else:
            for i in range(W):
                s = (p[q + i] * x[o + i] + p[q + W + i] * x[o + W + i]) + held[g + i]
                x[o + i] = s
                x[o + W + i] = zero
                v[c + CUR + i] = v[c + CUR + i] + p[q + W2 + i] * s
            o += W2
            q += W3
        c += POP
        g += W2


@njit(nogil=True, error_model="numpy", _nrt=False)
def _membrane(x, c, p, q, nz, z, row, m, keep, noisy, quiet, tiles):  # type: ignore[no-untyped-def]
    """Evolve, add noise, spike, reset. keep: 1 to subtract at reset, else 0; noisy, quiet: 1 where noise acts, spikes
    are possible, in the refractory period. Selects, not branches, so that it vectorises."""
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for _ in range(tiles):
        for i in range(W):
            v, ref = x[c + V + i], x[c + REF + i]
            free = ref <= zero
            evolved = (p[q + A + i] * v + x[c + CUR + i]) + x[c + E + i]
            added = nz[row, m + i] * p[q + NOISE + i]
            gated = added * noisy
            v = (evolved if free else v) + (added if free else gated)
            fired = (v > p[q + THR + i]) & (free | (quiet > zero))
            after = v * keep + p[q + RESET + i]
            left = ref - one  # below 0 it means nothing more than 0 does
            full = p[q + NREF + i]
            x[c + V + i] = after if fired else v
            x[c + REF + i] = full if fired else left
            z[m + i] = one if fired else zero
            x[c + PRE + i] = v
            x[c + CUR + i] = zero
        c += POP
        q += PAR
        m += W


@njit(nogil=True, error_model="numpy", _nrt=False)
def _double_membrane(x, o, v, c, p, q, g, nz, z, row, m, keep, noisy, quiet, tiles):  # type: ignore[no-untyped-def]
    """_double without arrivals and _membrane in one pass, for a population with one synapse: the commonest case, and
    a third faster, because the current stays in registers. q: parameters of the synapse, g: of the membrane."""
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for _ in range(tiles):
        for i in range(W):
            s, h = x[o + i], x[o + W + i]
            s = p[q + i] * s + p[q + W + i] * h
            h = p[q + W2 + i] * h
            x[o + i] = s
            x[o + W + i] = h
            current = p[q + W4 + i] * s + p[q + W5 + i] * h
            u, ref = v[c + V + i], v[c + REF + i]
            free = ref <= zero
            evolved = (p[g + A + i] * u + current) + v[c + E + i]
            added = nz[row, m + i] * p[g + NOISE + i]
            gated = added * noisy
            u = (evolved if free else u) + (added if free else gated)
            fired = (u > p[g + THR + i]) & (free | (quiet > zero))
            after = u * keep + p[g + RESET + i]
            left = ref - one  # below 0 it means nothing more than 0 does
            full = p[g + NREF + i]
            v[c + V + i] = after if fired else u
            v[c + REF + i] = full if fired else left
            z[m + i] = one if fired else zero
        o += W3
        q += W6
        c += POP
        g += PAR
        m += W


@njit(nogil=True, error_model="numpy", _nrt=False, inline="always")
def _collect(z, z64, m, tiles, lanes, ring_i, ring_c, slot, first):  # type: ignore[no-untyped-def]
    """Who fired, in ascending index, into the ring's slot; a step in which nobody did costs one pass over 64-bit words."""
    shift = U(0) if z.shape[0] == z64.shape[0] else U(1)
    some, words = U(0), (tiles * lanes) >> shift
    for i in range(words):
        some |= z64[(m >> shift) + i]
    found = 0
    if some != U(0):
        for i in range(tiles * lanes):
            if z[m + i] != 0:
                ring_i[slot, first + found] = i
                ring_c[slot, first + found] = z[m + i]
                found += 1
    return found


@njit(nogil=True, error_model="numpy", _nrt=False)
def _filter(x, o, p, q, w, acc, states, tiles, lanes):  # type: ignore[no-untyped-def]
    """A read-out's x = D x (fields of p: D00, D01, D11, jump, or D, jump), and a lane's share of w s for one output.

    Spikes of this step move h, not s (two states), so that s is final; of one state they move s, and the caller adds
    what they weigh.
    """
    for i in range(lanes):
        acc[i] = 0
    for _ in range(tiles):
        if states == 2:
            for i in range(W):
                s, h = x[o + i], x[o + W + i]
                s = p[q + i] * s + p[q + W + i] * h
                x[o + i] = s
                x[o + W + i] = p[q + W2 + i] * h
                acc[i] += p[w + i] * s
            q += W4
        else:
            for i in range(W):
                s = p[q + i] * x[o + i]
                x[o + i] = s
                acc[i] += p[w + i] * s
            q += W2
        o += W2
        w += W


@njit(nogil=True, error_model="numpy", _nrt=False)
def _weigh(x, o, p, w, acc, tiles, lanes):  # type: ignore[no-untyped-def]
    """A lane's share of w s, for outputs after the first."""
    for i in range(lanes):
        acc[i] = 0
    for _ in range(tiles):
        for i in range(lanes):
            acc[i] += p[w + i] * x[o + i]
        o += W2
        w += W


@njit(nogil=True, error_model="numpy", _nrt=False, inline="always")
def _sum(acc, lanes):  # type: ignore[no-untyped-def]
    """The lanes' sum by halves: the same order on every machine."""
    half = lanes >> U(1)
    while half > U(1):
        for i in range(half):
            acc[i] += acc[half + i]
        half = half >> U(1)
    return acc[0] + acc[1]


@njit(nogil=True, error_model="numpy", _nrt=False)
def _add_held(x, o, stride, p, w, tiles, value, lanes):  # type: ignore[no-untyped-def]
    """A field of tiles += w value. `lanes` is W, told at run time: a loop of known length would be unrolled instead."""
    for _ in range(tiles):
        for i in range(lanes):
            x[o + i] += p[w + i] * value
        o += stride
        w += W


@njit(nogil=True, error_model="numpy", _nrt=False)
def _refresh(x, holds, p, u, b, u_start, pops, a, syns, helds, sample, row, lanes):  # type: ignore[no-untyped-def]
    """E = (1 - A) (v_leak + bias + w_in u) of a population, and held H of its synapses, at new samples."""
    tiles, c, q = U(pops[a, 1]), U(pops[a, 2]), U(pops[a, 3])
    for t in range(tiles):
        for i in range(lanes):
            x[c + t * POP + E + i] = p[q + t * PAR + BASE + i]
    for r in range(pops[a, 9], pops[a, 10]):
        for ch in range(helds[r, 1]):
            value = u[b, u_start[helds[r, 0]] + sample[helds[r, 0], row] * helds[r, 1] + ch]
            _add_held(x, c + E, POP, p, U(helds[r, 2]) + U(ch) * tiles * W, tiles, value, lanes)
    for t in range(tiles):
        for i in range(lanes):
            x[c + t * POP + E + i] *= p[q + t * PAR + OMA + i]
    for n in range(pops[a, 7], pops[a, 8]):
        if syns[n, 5] >= 0:
            hold, g = U(syns[n, 5]), U(syns[n, 6])
            for t in range(tiles):
                for i in range(lanes):
                    holds[hold + t * W2 + i] = p[g + t * W3 + i]
            for r in range(syns[n, 7], syns[n, 8]):
                for ch in range(helds[r, 1]):
                    value = u[b, u_start[helds[r, 0]] + sample[helds[r, 0], row] * helds[r, 1] + ch]
                    _add_held(holds, hold, W2, p, U(helds[r, 2]) + U(ch) * tiles * W, tiles, value, lanes)
            for t in range(tiles):
                for i in range(lanes):
                    total = holds[hold + t * W2 + i]
                    holds[hold + t * W2 + i] = p[g + t * W3 + W + i] * total
                    holds[hold + t * W2 + W + i] = p[g + t * W3 + W2 + i] * total


@njit(nogil=True, error_model="numpy", _nrt=False, inline="always")
def _deliver(x, p, syns, n, projs, sources, k, ring_n, ring_i, ring_c, tiles, lanes):  # type: ignore[no-untyped-def]
    """J = sum of w z[k-d], projection by projection, source by source; True if anything arrived."""
    states = U(syns[n, 0])
    J, stride = U(syns[n, 1]) + states * W, (states + U(1)) * W  # J is the last field of a synapse's tile
    mask = ring_n.shape[0] - 1
    arrived = False
    for r in range(syns[n, 3], syns[n, 4]):
        source = projs[r, 0]
        slot = (k - projs[r, 1]) & mask
        first = sources[source, 0]
        for e in range(ring_n[slot, source]):
            arrived = True
            _add_held(x, J, stride, p, U(projs[r, 2]) + U(ring_i[slot, first + e]) * tiles * W, tiles, ring_c[slot, first + e], lanes)
    return arrived


@njit(nogil=True, error_model="numpy", _nrt=False, inline="always")
def _step(pops, syns, projs, sources, keep, v, x, holds, p, k, ring_n, ring_i, ring_c, nz, z, z64, row, lanes, traced):  # type: ignore[no-untyped-def]
    """One step of every population of one (trial, candidate); spikes go into the ring's slot of step k."""
    slot = k & (ring_n.shape[0] - 1)
    for a in range(pops.shape[0]):
        tiles, c, g, m = U(pops[a, 1]), U(pops[a, 2]), U(pops[a, 3]), U(pops[a, 4])
        fused = False
        for n in range(pops[a, 7], pops[a, 8]):
            arrived = _deliver(x, p, syns, n, projs, sources, k, ring_n, ring_i, ring_c, tiles, lanes)
            states, o, q = syns[n, 0], U(syns[n, 1]), U(syns[n, 2])
            if syns[n, 5] >= 0:
                _held_synapse(x, o, v, c, holds, U(syns[n, 5]), p, q, states, tiles)
            elif states == 2:
                fused = pops[a, 8] - pops[a, 7] == 1 and not arrived and not traced
                if fused:
                    _double_membrane(x, o, v, c, p, q, g, nz, z, row, m, keep[a, 0], keep[a, 1], keep[a, 2], tiles)
                else:
                    _double(x, o, v, c, p, q, tiles, arrived)
            elif states == 1:
                _single(x, o, v, c, p, q, tiles)
            elif arrived:
                _delta(x, o, v, c, p, q, tiles)
        if not fused:
            _membrane(v, c, p, g, nz, z, row, m, keep[a, 0], keep[a, 1], keep[a, 2], tiles)
        source = pops[a, 5]
        ring_n[slot, source] = _collect(z, z64, m, tiles, lanes, ring_i, ring_c, slot, sources[source, 0])


@njit(nogil=True, error_model="numpy", _nrt=False, inline="always")
def _read(outs, sources, x, acc, p, k, ring_n, ring_i, out, b, c, row, lanes):  # type: ignore[no-untyped-def]
    """4: read-outs: decay, add this step's spikes, weigh."""
    slot = k & (ring_n.shape[0] - 1)
    for a in range(outs.shape[0]):
        states, o, q, tiles, source = U(outs[a, 0]), U(outs[a, 1]), U(outs[a, 2]), U(outs[a, 3]), outs[a, 4]
        w0 = U(outs[a, 5])
        _filter(x, o, p, q, w0, acc, states, tiles, lanes)
        total = _sum(acc, lanes)
        for e in range(ring_n[slot, source]):
            unit = U(ring_i[slot, sources[source, 0] + e])
            t, i = unit // W, unit % W
            jump = p[q + (t * U(2) * states + U(2) * states - U(1)) * W + i]
            x[o + (t * U(2) + states - U(1)) * W + i] += jump
            if states == 1:
                total += p[w0 + unit] * jump
        out[b, c, outs[a, 6], row] = total + p[outs[a, 8]]
        for j in range(1, outs[a, 7]):
            _weigh(x, o, p, w0 + U(j) * tiles * W, acc, tiles, lanes)
            out[b, c, outs[a, 6] + j, row] = _sum(acc, lanes) + p[outs[a, 8] + j]


@njit(nogil=True, error_model="numpy", _nrt=False)
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


@njit(nogil=True, error_model="numpy", _nrt=False)
def _candidate(plan, feed, memory, sink, b, c, k0, block, rows, fresh, nz, z, z64, acc, lanes, events, n_events):  # type: ignore[no-untyped-def]
    """`rows` steps of one candidate in trial b; returns how many events there are now."""
    pops, syns, projs, helds, outs, sources, keep, _units, params = plan
    u, u_start, sample, changed, ev_start, ev_unit, ev_count = feed
    out, trace, counts = sink
    traced, read, record = trace.shape[2] > 0, out.shape[3] > 0, events.shape[0] > 0
    v, x, holds = memory.v[b, c], memory.x[b, c], memory.holds[b, c]
    r, p = memory.r[b, c], params[c]
    ring_n, ring_i, ring_c = memory.ring_n[b, c], memory.ring_i[b, c], memory.ring_c[b, c]
    for row in range(block, block + rows):
        k = k0 + row
        slot = k & (ring_n.shape[0] - 1)
        if changed[row] or (fresh and row == 0):
            for a in range(pops.shape[0]):
                _refresh(v, holds, p, u, b, u_start, pops, a, syns, helds, sample, row, lanes)
        for s in range(ev_start.shape[0]):
            source, start = pops.shape[0] + s, ev_start[s, b, row]
            ring_n[slot, source] = ev_start[s, b, row + 1] - start
            for e in range(ev_start[s, b, row + 1] - start):
                ring_i[slot, sources[source, 0] + e] = ev_unit[start + e]
                ring_c[slot, sources[source, 0] + e] = ev_count[start + e]
        _step(pops, syns, projs, sources, keep, v, x, holds, p, k, ring_n, ring_i, ring_c, nz, z, z64, row - block, lanes, traced)
        if read:
            _read(outs, sources, r, acc, p, k, ring_n, ring_i, out, b, c, row, lanes)
        if (k + 1) % FLUSH_EVERY == 0:
            _flush(v, x, r, pops, lanes)
        for a in range(pops.shape[0]):
            source = pops[a, 5]
            for e in range(ring_n[slot, source]):
                unit = pops[a, 6] + ring_i[slot, sources[source, 0] + e]
                counts[b, c, unit] += 1
                if record:
                    events[n_events, 0] = row
                    events[n_events, 1] = b
                    events[n_events, 2] = c
                    events[n_events, 3] = unit
                    n_events += 1
            if traced:
                for unit in range(pops[a, 0]):
                    tile = U(pops[a, 2]) + (U(unit) // W) * POP
                    trace[b, c, row, pops[a, 6] + unit] = v[tile + PRE + U(unit) % W]
    return n_events


@njit(nogil=True, error_model="numpy", _nrt=False, cache=True)
def advance(plan, feed, memory, sink, where, b1, k0, n_steps, seed, first_trial, with_noise, fresh, nz, z, z64, scratch, acc, lanes, events):  # type: ignore[no-untyped-def]
    """Run all candidates of trials up to b1 from step row k0 (0-based) for n_steps; state lives in `memory`.

    where: (trial, step, events so far) int64, moved on; True when all is done, False when `events` (rows of step,
    trial, candidate, global unit; int32; no rows: spikes are not kept) must grow before it can go on.
    fresh: inputs must be looked at at the first step (a sample may have changed since). nz: (K, padded units) float, z:
    (padded units,) float and z64 the same memory as uint64, scratch: (noise.WORDS, padded units) uint32, acc: (W,) float, all this thread's own. Nothing here allocates, and
    all is compiled without reference counting, whose atomic operations would cost as much as a step.
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
                if pops[a, 12]:
                    m, size = pops[a, 4], pops[a, 1] * np.int64(W)
                    fill_normal(nz, rows, scratch, plan.units, m, m + size, pops[a, 13], first_trial + b, k0 + block, seed)
        for c in range(n_candidates):
            where[2] = _candidate(plan, feed, memory, sink, b, c, k0, block, rows, fresh, nz, z, z64, acc, lanes, events, where[2])
        where[1] = block + rows
        if where[1] >= n_steps:
            where[0] = b + 1
            where[1] = 0
    return True
