"""The engine's inner loops: each over the tiles of one field or another, each vectorised.

Arrays are cut into tiles of W units. A tile keeps its fields side by side, at distances known when it is compiled, so
LLVM vectorises a loop over a tile without alias checks; populations, synapses and read-outs are in arrays of their own,
because between two parts of one array those checks fail. Functions are compiled without reference counting, whose
atomic operations would cost as much as a step.

numba looks at engine_kernel.py alone to tell whether its cache is fresh: after a change here, touch that file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spikeport.snn.compiling import compiled, inlined, trailing_zeros

U = (
    np.uint64
)  # offsets are unsigned: a signed index may be negative, Python's would then wrap, and LLVM does not vectorise
W = U(32)  # units in a tile: 4 AVX2 vectors of float32; a multiple of 8 keeps the 64-bit view of a tile whole
W2, W3 = U(2) * W, U(3) * W
K = 64  # steps in a block, a multiple of noise.WORDS: fewer blocks cost less than their noise costs in the L2 cache
V, REF, CUR, E, PRE = (U(i) * W for i in range(5))  # state fields of a population's tile
A, NOISE, THR, RESET, NREF = (U(i) * W for i in range(5))  # parameter fields of a population's tile
OMA, BASE = U(0), W  # and of another, which only new samples need
POP = U(5) * W  # the stride of its state; a synapse's tile has its states and then J
# Where a tile of parameters is the same for all units, there is one, and the step from tile to tile (dq, de, dg) is 0:
# what a step reads must fit the first-level cache.


@compiled
def double(x, o, v, c, p, q, dq, e, de, tiles, arrived):  # type: ignore[no-untyped-def]
    """x = D x + jump J; current += B x. Fields of p: D00, jump at q; D01, D11, B0, B1 at e."""
    zero = x.dtype.type(0)
    for _ in range(tiles):
        if arrived:
            for i in range(W):
                s, h = x[o + i], x[o + W + i]
                s = p[q + i] * s + p[e + i] * h
                h = p[e + W + i] * h + p[q + W + i] * x[o + W2 + i]
                x[o + i] = s
                x[o + W + i] = h
                x[o + W2 + i] = zero
                v[c + CUR + i] = (v[c + CUR + i] + p[e + W2 + i] * s) + p[e + W3 + i] * h
        else:
            for i in range(W):
                s, h = x[o + i], x[o + W + i]
                s = p[q + i] * s + p[e + i] * h
                h = p[e + W + i] * h
                x[o + i] = s
                x[o + W + i] = h
                v[c + CUR + i] = (v[c + CUR + i] + p[e + W2 + i] * s) + p[e + W3 + i] * h
        o += W3
        q += dq
        e += de
        c += POP


@compiled
def single(x, o, v, c, p, q, dq, tiles):  # type: ignore[no-untyped-def]
    """The same for one exponential. Fields of p: D, jump, B."""
    zero = x.dtype.type(0)
    for _ in range(tiles):
        for i in range(W):
            s = p[q + i] * x[o + i] + p[q + W + i] * x[o + W + i]
            x[o + i] = s
            x[o + W + i] = zero
            v[c + CUR + i] = v[c + CUR + i] + p[q + W2 + i] * s
        o += W2
        q += dq
        c += POP


@compiled
def delta(x, o, v, c, p, q, dq, tiles):  # type: ignore[no-untyped-def]
    """The same for a Delta: current += J / tau_mem. Field of p: jump."""
    zero = x.dtype.type(0)
    for _ in range(tiles):
        for i in range(W):
            v[c + CUR + i] = v[c + CUR + i] + p[q + i] * x[o + i]
            x[o + i] = zero
        o += W
        q += dq
        c += POP


@compiled
def held_synapse(x, o, v, c, held, g, p, q, dq, e, de, states, tiles):  # type: ignore[no-untyped-def]
    """A synapse with a held input, one or two states: x = D x + jump J + held H; held, g: the tiles of held H."""
    zero = x.dtype.type(0)
    for _ in range(tiles):
        if states == 2:
            for i in range(W):
                s, h = x[o + i], x[o + W + i]
                s = (p[q + i] * s + p[e + i] * h) + held[g + i]
                h = (p[e + W + i] * h + p[q + W + i] * x[o + W2 + i]) + held[g + W + i]
                x[o + i] = s
                x[o + W + i] = h
                x[o + W2 + i] = zero
                v[c + CUR + i] = (v[c + CUR + i] + p[e + W2 + i] * s) + p[e + W3 + i] * h
            o += W3
            e += de
        else:
            for i in range(W):
                s = (p[q + i] * x[o + i] + p[q + W + i] * x[o + W + i]) + held[g + i]
                x[o + i] = s
                x[o + W + i] = zero
                v[c + CUR + i] = v[c + CUR + i] + p[q + W2 + i] * s
            o += W2
        q += dq
        c += POP
        g += W2


@compiled
def membrane(x, c, p, q, dq, nz, z, row, m, keep, noisy, quiet, tiles):  # type: ignore[no-untyped-def]
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
        q += dq
        m += W


def _run_ahead_of(published: bool) -> Any:
    """run_ahead compiled for one kind of population with reset to a value, which leaves out what it does not need.

    published: noise and spikes in the refractory period too, as in the published code. Else neither.
    """

    @compiled
    def _run_ahead(x, v, p, q, dq, e, de, g, dg, nz, z, z64, row, rows, tiles, words):  # type: ignore[no-untyped-def]
        """Up to `rows` steps without arrivals, until something fires; how many were done, the last one included.

        double and membrane in one pass, for the commonest network: one population with one synapse and delays of
        one step. The current stays in registers, and no function is called between steps; most steps have no spikes,
        so this halves the time. q, e: parameters of the synapse, g: of the membrane; z64: words of z.
        """
        zero, one = x.dtype.type(0), x.dtype.type(1)
        for done in range(rows):
            oo, cc, qq, ee, gg, mm = U(0), U(0), q, e, g, U(0)
            for _ in range(tiles):
                for i in range(W):
                    s, h = x[oo + i], x[oo + W + i]
                    s = p[qq + i] * s + p[ee + i] * h
                    h = p[ee + W + i] * h
                    x[oo + i] = s
                    x[oo + W + i] = h
                    current = p[ee + W2 + i] * s + p[ee + W3 + i] * h
                    u, ref = v[cc + V + i], v[cc + REF + i]
                    free = ref <= zero
                    evolved = (p[gg + A + i] * u + current) + v[cc + E + i]
                    added = nz[row + done, mm + i] * p[gg + NOISE + i]
                    if published:
                        u = (evolved if free else u) + added
                        fired = u > p[gg + THR + i]
                    else:
                        u = (evolved + added) if free else u
                        fired = (u > p[gg + THR + i]) & free
                    after = p[gg + RESET + i]
                    left = ref - one
                    full = p[gg + NREF + i]
                    v[cc + V + i] = after if fired else u
                    v[cc + REF + i] = full if fired else left
                    z[mm + i] = one if fired else zero
                oo += W3
                qq += dq
                ee += de
                cc += POP
                gg += dg
                mm += W
            some = U(0)
            for i in range(words):
                some |= z64[i]
            if some != U(0):
                return done + 1
        return rows

    return _run_ahead


run_ahead_published, run_ahead_frozen = _run_ahead_of(True), _run_ahead_of(False)


def _step_of(published: bool, held: bool) -> Any:
    """double (or held_synapse of two states) and membrane in one pass, for a population with one synapse and reset to
    a value: what goes from one to the other stays in registers. v before the reset is not kept."""

    @compiled
    def _both(x, o, v, c, holds, hold, p, q, dq, e, de, g, dg, nz, z, row, m, tiles):  # type: ignore[no-untyped-def]
        zero, one = x.dtype.type(0), x.dtype.type(1)
        for _ in range(tiles):
            for i in range(W):
                s, h = x[o + i], x[o + W + i]
                s = p[q + i] * s + p[e + i] * h
                h = p[e + W + i] * h + p[q + W + i] * x[o + W2 + i]
                if held:
                    s += holds[hold + i]
                    h += holds[hold + W + i]
                x[o + i] = s
                x[o + W + i] = h
                x[o + W2 + i] = zero
                current = (zero + p[e + W2 + i] * s) + p[e + W3 + i] * h
                u, ref = v[c + V + i], v[c + REF + i]
                free = ref <= zero
                evolved = (p[g + A + i] * u + current) + v[c + E + i]
                added = nz[row, m + i] * p[g + NOISE + i]
                if published:
                    u = (evolved if free else u) + added
                    fired = u > p[g + THR + i]
                else:
                    u = (evolved + added) if free else u
                    fired = (u > p[g + THR + i]) & free
                after = p[g + RESET + i]
                left = ref - one
                full = p[g + NREF + i]
                v[c + V + i] = after if fired else u
                v[c + REF + i] = full if fired else left
                z[m + i] = one if fired else zero
            o += W3
            q += dq
            e += de
            c += POP
            g += dg
            m += W
            hold += W2

    return _both


step_published, step_frozen = _step_of(True, False), _step_of(False, False)
step_published_held, step_frozen_held = _step_of(True, True), _step_of(False, True)


@inlined
def collect(z, z64, m, n, lanes, ring_i, ring_c, slot, first):  # type: ignore[no-untyped-def]
    """Who of n units fired, in ascending index, into the ring's slot: a word of a bit a unit for each tile."""
    found = 0
    for t in range(U(0), n, W):
        fired = U(0)
        if z.shape[0] == z64.shape[0]:  # 1.0 is 0x3FF << 52
            for i in range(lanes):
                fired |= ((z64[m + t + i] >> U(52)) & U(1)) << i
        else:  # two of 0x7F << 23
            for i in range(lanes >> U(1)):
                pair = z64[((m + t) >> U(1)) + i]
                fired |= (((pair >> U(23)) & U(1)) | ((pair >> U(54)) & U(2))) << (i << U(1))
        if t + W > n:
            fired &= (U(1) << (n - t)) - U(1)
        while fired != U(0):
            ring_i[slot, first + found] = t + trailing_zeros(fired)
            ring_c[slot, first + found] = 1
            found += 1
            fired &= fired - U(1)
    return found


@inlined
def filter(x, o, p, q, dq, e, de, w, acc, states, tiles, lanes):  # type: ignore[no-untyped-def]
    """A read-out's x = D x (fields of p: D00, jump at q; D01, D11 at e), and a lane's share of w s for one output.

    Spikes of this step are the caller's.
    """
    for i in range(lanes):
        acc[i] = 0
    for _ in range(tiles):
        if states == 2:
            for i in range(W):
                s, h = x[o + i], x[o + W + i]
                s = p[q + i] * s + p[e + i] * h
                x[o + i] = s
                x[o + W + i] = p[e + W + i] * h
                acc[i] += p[w + i] * s
            e += de
        else:
            for i in range(W):
                s = p[q + i] * x[o + i]
                x[o + i] = s
                acc[i] += p[w + i] * s
        q += dq
        o += W2
        w += W


@inlined
def weigh(x, o, p, w, acc, tiles, lanes):  # type: ignore[no-untyped-def]
    """A lane's share of w s, for outputs after the first."""
    for i in range(lanes):
        acc[i] = 0
    for _ in range(tiles):
        for i in range(lanes):
            acc[i] += p[w + i] * x[o + i]
        o += W2
        w += W


@inlined
def sum(acc, lanes):  # type: ignore[no-untyped-def]
    """The lanes' sum by halves: the same order on every machine."""
    for i in range(lanes >> U(1)):
        acc[i] += acc[U(16) + i]
    for i in range(lanes >> U(2)):
        acc[i] += acc[U(8) + i]
    a, b, c, d = acc[0] + acc[4], acc[1] + acc[5], acc[2] + acc[6], acc[3] + acc[7]
    return (a + c) + (b + d)


@compiled
def add_held(x, o, stride, p, w, tiles, value, lanes):  # type: ignore[no-untyped-def]
    """A field of tiles += w value. `lanes` is W, told at run time: a loop of known length would be unrolled instead."""
    for _ in range(tiles):
        for i in range(lanes):
            x[o + i] += p[w + i] * value
        o += stride
        w += W


@compiled
def add_four(x, o, stride, p, a, b, c, d, tiles, lanes):  # type: ignore[no-untyped-def]
    """A field of tiles += four rows, one after the other."""
    for _ in range(tiles):
        for i in range(lanes):
            x[o + i] = (((x[o + i] + p[a + i]) + p[b + i]) + p[c + i]) + p[d + i]
        o += stride
        a += W
        b += W
        c += W
        d += W
