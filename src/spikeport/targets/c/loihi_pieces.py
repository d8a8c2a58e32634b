"""The parts of the integer file that are the same for every network."""

HEAD = """\
#ifndef SNN_DECLARED
#define SNN_DECLARED
#include <stdint.h>

{macros}
/* What snn_step returns where a state overflows: models of the chip disagree there, so what follows means nothing. */
#define SNN_ARRIVALS 1 /* the weights that arrive in one step */
#define SNN_CURRENT 2  /* u */
#define SNN_FLOOR 4    /* v, by larger biases than were given room */
#define SNN_CROWDED 8  /* a channel with more than one spike in a step */

/* The whole state, {ram_bytes} bytes; nothing else is written to. Yours to copy: a copy is a snapshot. */
typedef struct {{
{members}
}} snn_state;

/* The state before the first step. */
void snn_init(snn_state *s);

/* One step of SNN_DT_S seconds. bias: SNN_UNITS numbers added to v, as the host writes them, or NULL: the constant
   ones; counts: SNN_CHANNELS spikes, 0 or 1 each, that arrive in this step (0 channels: may be NULL). 0, or what
   overflowed. */
int snn_step(snn_state *s, const int32_t *bias, const uint16_t *counts);

/* Did this unit (0 .. SNN_UNITS - 1) spike in the last step? */
int snn_fired(const snn_state *s, uint32_t unit);
#endif

#ifndef SNN_DECLARATIONS
#include <string.h>

typedef char snn_state_is_as_large_as_said[sizeof(snn_state) <= SNN_RAM_BYTES ? 1 : -1];
#ifndef SNN_TRACE
#define SNN_TRACE(unit, v) /* define it to see v of a unit before its reset */
#endif

/* x keep / 4096, cut toward 0, in 32 bits: |x| <= 2^23, 0 <= keep <= 4096. */
static int32_t snn_decay(int32_t x, int32_t keep)
{{
    const int32_t size = x < 0 ? -x : x;
    const int32_t left = (size >> 12) * keep + (((size & 4095) * keep) >> 12);
    return x < 0 ? -left : left;
}}
"""

DELIVERY = """\
/* J += w of every source that spiked, where there is a synapse: those of source j from first[j] on. */
static void snn_{name}(int32_t *J, const {weight} *w, const {first} *first, const {index} *target, const {bits} *z,
                       uint32_t sources)
{{
    uint32_t j, e;
    for (j = 0; j < sources; j++) {{
        if ({spiked}) {{
            for (e = first[j]; e < first[j + 1]; e++) {{
                J[target[e]] += w[e];
            }}
        }}
    }}
}}
"""
