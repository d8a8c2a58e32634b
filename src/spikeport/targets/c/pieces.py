"""The parts of a C file that are the same for every network."""

HEAD = """\
#ifndef SNN_DECLARED
#define SNN_DECLARED
#include <stdint.h>

{macros}

typedef {ctype} snn_real;

/* The whole state, {ram_bytes} bytes; nothing else is written to. Yours to copy: a copy is a snapshot. */
typedef struct {{
{members}
}} snn_state;

/* The state before the first step. seed, trial: the key of what is drawn (noise, initial v); else without effect. */
void snn_init(snn_state *s, uint64_t seed, uint32_t trial);

/* One step of SNN_DT_S seconds. held: SNN_HELD values (0: may be NULL), held during this step; counts: SNN_CHANNELS
   counts of spikes that arrive in it (0: may be NULL). 0 when done; 1, and the state as it was, where a held value is
   NaN or infinite. */
int snn_step(snn_state *s, const snn_real *held, const uint16_t *counts);

/* Did this unit (0 .. SNN_UNITS - 1) spike in the last step? */
int snn_fired(const snn_state *s, uint32_t unit);
#endif

#ifndef SNN_DECLARATIONS
#include <float.h>
#include <string.h>

/* What would change the numbers is refused, not ignored. */
#if FLT_EVAL_METHOD != 0
#error "reals are not evaluated in their own precision (FLT_EVAL_METHOD is not 0): other numbers would come out"
#endif
#ifdef __FAST_MATH__
#error "compiled with -ffast-math, which reorders sums: other numbers would come out"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif
typedef char snn_state_is_as_large_as_said[sizeof(snn_state) <= SNN_RAM_BYTES ? 1 : -1];
#ifndef SNN_TRACE
#define SNN_TRACE(unit, v) /* define it to see v, mV, of a unit before its reset */
#endif
"""

TAIL = "#endif\n"

NOISE_TEXT = """\
/* Random words by counter: Philox4x32-10 of Salmon, Moraes, Dror & Shaw, SC 2011. */
static void snn_philox(uint32_t c[4], uint32_t k0, uint32_t k1)
{
    int round;
    for (round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c[0];
        const uint64_t p1 = (uint64_t)0xCD9E8D57u * c[2];
        c[0] = (uint32_t)(p1 >> 32) ^ c[1] ^ k0;
        c[1] = (uint32_t)p1;
        c[2] = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
        c[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}
"""
PHILOX_OPERATIONS = 10 * (2 + 6 + 2)  # a call's: products, shifts and exclusive ors, sums of the key

NORMAL_TEXT = """\
/* An almost normal integer of a word: 20 coin flips of weight 64 and two dice of 64 sides; sd {sd}. */
static int16_t snn_normal(uint32_t word)
{{
    uint32_t x = word & 0xFFFFFu;
    x -= (x >> 1) & 0x55555u;
    x = (x & 0x33333u) + ((x >> 2) & 0x33333u);
    x = (x & 0x0F0F0Fu) + ((x >> 4) & 0x0F0F0Fu);
    x = (x + (x >> 8) + (x >> 16)) & 0xFFu;
    return (int16_t)((int32_t)((x << 6) + ((word >> 20) & 63u) + (word >> 26)) - {bound});
}}
"""
NORMAL_OPERATIONS = 23  # shifts, masks and sums of the lines above

DENSE_TEXT = """\
/* J += w of every source that spiked, in ascending order; w: one row of targets a source. */
static void snn_dense(snn_real *J, const snn_real *w, const uint8_t *z, uint32_t sources, uint32_t targets)
{
    uint32_t j, i;
    for (j = 0; j < sources; j++, w += targets) {
        if ((z[j >> 3] >> (j & 7u)) & 1) {
            for (i = 0; i < targets; i++) {
                J[i] += w[i];
            }
        }
    }
}
"""
DENSE_COUNTS_TEXT = """\
/* The same of counts: J += w count. */
static void snn_dense_counts(snn_real *J, const snn_real *w, const uint16_t *z, uint32_t sources, uint32_t targets)
{
    uint32_t j, i;
    for (j = 0; j < sources; j++, w += targets) {
        if (z[j] != 0) {
            const snn_real count = (snn_real)z[j];
            for (i = 0; i < targets; i++) {
                J[i] += w[i] * count;
            }
        }
    }
}
"""
SPARSE_TEXT = """\
/* J += w of every source that spiked, where there is a synapse: those of source j from first[j] on. */
static void snn_sparse(snn_real *J, const snn_real *w, const {first} *first, const {index} *target,
                       const uint8_t *z, uint32_t sources)
{{
    uint32_t j, e;
    for (j = 0; j < sources; j++) {{
        if ((z[j >> 3] >> (j & 7u)) & 1) {{
            for (e = first[j]; e < first[j + 1]; e++) {{
                J[target[e]] += w[e];
            }}
        }}
    }}
}}
"""
SPARSE_COUNTS_TEXT = """\
/* The same of counts. */
static void snn_sparse_counts(snn_real *J, const snn_real *w, const {first} *first, const {index} *target,
                              const uint16_t *z, uint32_t sources)
{{
    uint32_t j, e;
    for (j = 0; j < sources; j++) {{
        if (z[j] != 0) {{
            const snn_real count = (snn_real)z[j];
            for (e = first[j]; e < first[j + 1]; e++) {{
                J[target[e]] += w[e] * count;
            }}
        }}
    }}
}}
"""

HELD_TEXT = """\
/* total += w u, channel by channel; w: one row of targets a channel. */
static void snn_held(snn_real *total, const snn_real *w, const snn_real *u, uint32_t channels, uint32_t targets)
{
    uint32_t c, i;
    for (c = 0; c < channels; c++, w += targets) {
        for (i = 0; i < targets; i++) {
            total[i] += w[i] * u[c];
        }
    }
}
"""

FLUSH_TEXT = """\
/* 0 in place of what is at most {tiny} in size, before it becomes subnormal and slow. */
static void snn_flush(snn_real *x, uint32_t n)
{{
    uint32_t i;
    for (i = 0; i < n; i++) {{
        x[i] = (x[i] > {literal} || x[i] < -{literal}) ? x[i] : 0;
    }}
}}
"""
