"""The target `c_loihi`: the chip's integers as C99, in int32 only, and their run on this machine."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.writing import write_whole
from spikeport.targets.base import Lowering, RunOptions, run_problems
from spikeport.targets.c.build import compiled
from spikeport.targets.c.loihi_source import loihi_source
from spikeport.targets.c.running import address
from spikeport.targets.c.source import Source
from spikeport.targets.feed import feed
from spikeport.targets.fixed_point.running import check_run, given_spikes
from spikeport.targets.loihi.chip import Chip
from spikeport.targets.loihi.host import Biases
from spikeport.targets.loihi.limits import V_MAX, WEIGHT_BITS, WEIGHT_BITS_FEWER
from spikeport.targets.loihi.target import Loihi
from spikeport.targets.outputs import read_out_fast

BLOCK = 250  # steps at a time, for memory
OVERFLOWS = {
    1: "the weights that arrive in one step: more than 21 bits",
    2: "u: more than 24 bits",
    4: "v: below its floor",
}

HARNESS = """\
#define SNN_DECLARATIONS
#include "net.c"
#undef SNN_DECLARATIONS
static int32_t *v_seen;
#define SNN_TRACE(unit, v) do {{ if (v_seen) v_seen[unit] = (v); }} while (0)
#include "net.c"

uint64_t host_bytes(void);
void host_init(snn_state *s, const int32_t *v0);
int64_t host_run(snn_state *s, int64_t steps, const int32_t *bias, const int64_t *row, int64_t stride,
                 const uint16_t *counts, uint8_t *z, int32_t *v, int64_t *failed);

uint64_t host_bytes(void)
{{
    return sizeof(snn_state);
}}

void host_init(snn_state *s, const int32_t *v0)
{{
    snn_init(s);
{starts}
}}

int64_t host_run(snn_state *s, int64_t steps, const int32_t *bias, const int64_t *row, int64_t stride,
                 const uint16_t *counts, uint8_t *z, int32_t *v, int64_t *failed)
{{
    int64_t k;
    uint32_t i;
    for (k = 0; k < steps; k++) {{
        int over;
        v_seen = v ? v + k * SNN_UNITS : v;
        over = snn_step(s, bias + row[k * stride] * SNN_UNITS, counts + k * SNN_CHANNELS);
        if (over) {{
            *failed = k;
            return over;
        }}
        for (i = 0; i < SNN_UNITS; i++)
            z[k * SNN_UNITS + i] = (uint8_t)snn_fired(s, i);
    }}
    return 0;
}}
"""


def _choices() -> dict[str, tuple[str, ...]]:
    return {"bits": tuple(map(str, (WEIGHT_BITS, *WEIGHT_BITS_FEWER)))}


@dataclass(frozen=True, kw_only=True)
class CLoihi(Loihi):
    """The step of Loihi's integers as C: what `loihi` lowers, for a microcontroller without floating point.

    Biases (with held values in them) and outputs are the host's, as on the chip.  bits: of a weight.
    """

    name: str = "c_loihi"
    summary: str = "Loihi's integers as a C99 file of one step, int32 only, without a heap; run here by a C compiler"
    suffix: str = ".c"
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=_choices)

    def source(self, lowering: Lowering) -> Source:
        """The file's text, and what it costs."""
        deep = frozenset(name for name, b in lowering.settings["bounds"].items() if b.below > V_MAX)
        return loihi_source(lowering.network, lowering.settings["chip"], deep)

    def export(self, lowering: Lowering, path: Path, *, overwrite: bool = False) -> Path:
        written = self.source(lowering)
        with write_whole(path, overwrite) as part:
            part.write_text(written.text, encoding="ascii")
        return path

    def costs(self, lowering: Lowering) -> Mapping[str, Any]:
        """Bytes and operations, as `spikeport export` prints them."""
        return self.source(lowering).sizes.as_dict()

    def run(self, lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
        problems = run_problems(self, options.dtype, options.device)
        if problems:
            raise SpikeportError("c_loihi: cannot run so", problems, hint="spikeport targets")
        check_run(self.name, lowering, options)
        return _run(self.source(lowering), lowering, inputs, options)


def _run(source: Source, lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
    """Trial by trial, in blocks of steps; refused where a state overflows."""
    chip: Chip = lowering.settings["chip"]
    given, scale = feed(lowering, inputs, options), {c.name: c.scale for c in chip.compartments}
    starts, at = [], 0
    for name, n in source.v_fields:
        starts.append(f"    memcpy(s->{name}, v0 + {at}, {n} * sizeof(int32_t));")
        at += n
    library = compiled({"net.c": source.text, "host.c": HARNESS.format(starts="\n".join(starts))}, "host.c")
    library.host_bytes.restype, library.host_run.restype = ctypes.c_uint64, ctypes.c_int64
    whole = np.concatenate([np.rint(given.v0[c.name] * scale[c.name]) for c in chip.compartments], axis=1)
    if np.abs(whole).max(initial=0) > V_MAX:
        raise RefusedError("c_loihi: cannot start there", [f"v0 {np.abs(whole).max():.6g}, 24 bits hold {V_MAX}"],
                           hint="v0 nearer the reset")  # fmt: skip
    v0 = np.ascontiguousarray(whole, dtype=np.int32)
    states = np.zeros((given.n_batch, -(-int(library.host_bytes()) // 8)), dtype=np.uint64)
    for b in range(given.n_batch):
        library.host_init(address(states[b]), address(v0[b]))
    biases, units = Biases(chip, given), v0.shape[1]
    seen = np.zeros((given.n_batch, given.n_steps if options.record else 0, units), dtype=np.int32)
    fired: list[NDArray[np.int64]] = [np.zeros((0, 3), dtype=np.int64)]
    for k0 in range(0, given.n_steps, BLOCK):
        k1 = min(k0 + BLOCK, given.n_steps)
        bias, rows = biases(k0, k1)
        values, which = np.ascontiguousarray(bias, dtype=np.int32), np.ascontiguousarray(rows.T)
        spikes = given_spikes("c_loihi", tuple(chip.inputs), given, k0, k1).transpose(1, 0, 2).astype(np.uint16)
        for b in range(given.n_batch):
            z, failed = np.zeros((k1 - k0, units), dtype=np.uint8), np.zeros(1, dtype=np.int64)
            over = library.host_run(
                address(states[b]), ctypes.c_int64(k1 - k0), address(values), address(which[b]), ctypes.c_int64(1),
                address(np.ascontiguousarray(spikes[b])), address(z),
                address(seen[b, k0:]) if options.record else None, address(failed),
            )  # fmt: skip
            if over:
                when = f"step {k0 + int(failed[0]) + 1} of trial {b}"
                what = [f"{text} at {when}" for bit, text in OVERFLOWS.items() if over & bit]
                raise RefusedError(
                    "c_loihi: a state overflows", what, hint="smaller weights, or fewer sources to a unit"
                )
            step, unit = np.nonzero(z)
            fired.append(np.stack([step + k0, np.full(step.size, b), unit], axis=1).astype(np.int64))
    return _recording(lowering, chip, (given.n_steps, given.n_batch), np.concatenate(fired), seen, options)


def _recording(
    lowering: Lowering, chip: Chip, size: tuple[int, int], events: NDArray[Any], seen: NDArray[Any], options: RunOptions
) -> Recording:
    trains, traces, first = {}, {}, 0
    for c in chip.compartments:
        mine = events[(events[:, 2] >= first) & (events[:, 2] < first + c.n)]
        trains[c.name] = SpikeTrains.build(mine[:, 0], mine[:, 1], mine[:, 2] - first, (*size, c.n))
        if f"{c.name}.v" in options.record:
            traces[f"{c.name}.v"] = seen[:, :, first : first + c.n].transpose(1, 0, 2) / c.scale
        first += c.n
    return lowering.invert(Recording(dt=chip.dt, n_steps=size[0], n_batch=size[1], spikes=trains, traces=traces,
                                     outputs=read_out_fast(lowering.network, trains)))  # fmt: skip


C_LOIHI = CLoihi()
