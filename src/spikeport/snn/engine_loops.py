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

from spikeport.snn.compiling import compiled, inlined

U = (
    np.uint64
)  # offsets are unsigned: a signed index may be negative, Python's would then wrap, and LLVM does not vectorise
W = U(32)  # units in a tile: 4 AVX2 vectors of float32; a multiple of 8 keeps the 64-bit view of a tile whole
W2, W3, W4, W5, W6 = (U(i) * W for i in range(2, 7))
K = 64  # steps in a block, a multiple of noise.WORDS: fewer blocks cost less than their noise costs in the L2 cache
V, REF, CUR, E, PRE = (U(i) * W for i in range(5))  # state fields of a population's tile
A, NOISE, THR, RESET, NREF, OMA, BASE = (U(i) * W for i in range(7))  # parameter fields of a population's tile
POP, PAR = U(5) * W, U(7) * W  # their strides; a synapse's tile has its states and then J


@compiled
def double(x, o, v, c, p, q, tiles, arrived):  # type: ignore[no-untyped-def]
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


@compiled
def single(x, o, v, c, p, q, tiles):  # type: ignore[no-untyped-def]
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


@compiled
def delta(x, o, v, c, p, q, tiles):  # type: ignore[no-untyped-def]
    """The same for a Delta: current += J / tau_mem. Field of p: jump."""
    zero = x.dtype.type(0)
    for _ in range(tiles):
        for i in range(W):
            v[c + CUR + i] = v[c + CUR + i] + p[q + i] * x[o + i]
            x[o + i] = zero
        o += W
        q += W
        c += POP


@compiled
def held_synapse(x, o, v, c, held, g, p, q, states, tiles):  # type: ignore[no-untyped-def]
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


@compiled
def membrane(x, c, p, q, nz, z, row, m, keep, noisy, quiet, tiles):  # type: ignore[no-untyped-def]
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


def _run_ahead_of(published: bool) -> Any:
    """run_ahead compiled for one kind of population with reset to a value, which leaves out what it does not need.

    published: noise and spikes in the refractory period too, as in the published code. Else neither.
    """

    @compiled
    def _run_ahead(x, v, p, q, g, nz, z, z64, row, rows, tiles, words):  # type: ignore[no-untyped-def]
        """Up to `rows` steps without arrivals, until something fires; how many were done, the last one included.

        double and membrane in one pass, for the commonest network: one population with one synapse and delays of
        one step. The current stays in registers, and no function is called between steps; most steps have no spikes,
        so this halves the time. q: parameters of the synapse, g: of the membrane; z64: words of z.
        """
        zero, one = x.dtype.type(0), x.dtype.type(1)
        for done in range(rows):
            oo, cc, qq, gg, mm = U(0), U(0), q, g, U(0)
            for _ in range(tiles):
                for i in range(W):
                    s, h = x[oo + i], x[oo + W + i]
                    s = p[qq + i] * s + p[qq + W + i] * h
                    h = p[qq + W2 + i] * h
                    x[oo + i] = s
                    x[oo + W + i] = h
                    current = p[qq + W4 + i] * s + p[qq + W5 + i] * h
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
                qq += W6
                cc += POP
                gg += PAR
                mm += W
            some = U(0)
            for i in range(words):
                some |= z64[i]
            if some != U(0):
                return done + 1
        return rows

    return _run_ahead


run_ahead_published, run_ahead_frozen = _run_ahead_of(True), _run_ahead_of(False)


@inlined
def collect(z, z64, m, tiles, lanes, ring_i, ring_c, slot, first):  # type: ignore[no-untyped-def]
    """Who fired, in ascending index, into the ring's slot; where nobody did, one pass over 64-bit words."""
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


@inlined
def filter(x, o, p, q, w, acc, states, tiles, lanes):  # type: ignore[no-untyped-def]
    """A read-out's x = D x (fields of p: D00, D01, D11, jump, or D, jump), and a lane's share of w s for one output.

    Spikes of this step are the caller's.
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
