"""Running the file on this machine: compiled, called through ctypes, trial by trial, in blocks of steps."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.neurons import Array
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.targets.base import Lowering, RunOptions
from spikeport.targets.c.build import compiled
from spikeport.targets.c.source import Source, float_source
from spikeport.targets.feed import Feed, feed

BLOCK = 512  # steps at a time, for memory
MAX_COUNT = 2**16 - 1  # of a channel in a step: uint16_t

HARNESS = """\
#define SNN_DECLARATIONS
#include "net.c"
#undef SNN_DECLARATIONS
static snn_real *v_seen;
#define SNN_TRACE(unit, v) do {{ if (v_seen) v_seen[unit] = (v); }} while (0)
#include "net.c"

uint64_t host_bytes(void);
void host_init(snn_state *s, uint64_t seed, uint32_t trial, int noisy, const snn_real *v0);
int64_t host_run(snn_state *s, int64_t steps, const snn_real *held, const uint16_t *counts, uint8_t *z, snn_real *out,
                 snn_real *v);

uint64_t host_bytes(void)
{{
    return sizeof(snn_state);
}}

void host_init(snn_state *s, uint64_t seed, uint32_t trial, int noisy, const snn_real *v0)
{{
    snn_init(s, seed, trial);
{starts}
    (void)noisy;
}}

int64_t host_run(snn_state *s, int64_t steps, const snn_real *held, const uint16_t *counts, uint8_t *z, snn_real *out,
                 snn_real *v)
{{
    int64_t k;
    uint32_t i;
    for (k = 0; k < steps; k++) {{
        v_seen = v ? v + k * SNN_UNITS : v;
        if (snn_step(s, held + k * SNN_HELD, counts + k * SNN_CHANNELS))
            return k;
        for (i = 0; i < SNN_UNITS; i++)
            z[k * SNN_UNITS + i] = (uint8_t)snn_fired(s, i);
{outputs}
    }}
    (void)out;
    return steps;
}}
"""


def harness(source: Source, outputs: int) -> str:
    """The program around the file: it gives v0, runs many steps, and takes spikes, outputs and v."""
    starts, at = [], 0
    for field, n in source.v_fields:
        starts.append(f"    memcpy(s->{field}, v0 + {at}, {n} * sizeof(snn_real));")
        at += n
    if "    uint8_t noisy;" in source.text:
        starts.append("    s->noisy = noisy != 0;")
    taken = f"        memcpy(out + k * {outputs}, s->out, {outputs} * sizeof(snn_real));" if outputs else ""
    return HARNESS.format(starts="\n".join(starts), outputs=taken)


def run_compiled(lowering: Lowering, inputs: Inputs | None, options: RunOptions, weights: str) -> Recording:
    """The run of a lowering, in the source's units."""
    network = lowering.network
    _check(lowering, options)
    given = feed(lowering, inputs, options)
    source = float_source(network, options.dtype, weights)
    outputs = sum(r.weight.shape[0] for r in network.readouts)
    library = compiled({"net.c": source.text, "host.c": harness(source, outputs)}, "host.c")
    library.host_bytes.restype, library.host_run.restype = ctypes.c_uint64, ctypes.c_int64
    real: Any = np.dtype(options.dtype)
    units, n_batch, n_steps = network.n_neurons, given.n_batch, given.n_steps
    states = np.zeros((n_batch, -(-int(library.host_bytes()) // 8)), dtype=np.uint64)
    v0 = np.ascontiguousarray(np.concatenate([given.v0[p.name] for p in network.populations], axis=1), dtype=real)
    for b in range(n_batch):
        library.host_init(address(states[b]), ctypes.c_uint64(options.seed), ctypes.c_uint32(options.first_trial + b),
                          int(options.with_noise), address(v0[b]))  # fmt: skip
    out = np.zeros((n_batch, n_steps, outputs), dtype=real)
    seen = np.zeros((n_batch, n_steps if options.record else 0, units), dtype=real)
    fired: list[NDArray[np.int64]] = []
    for k0 in range(0, n_steps, BLOCK):
        k1 = min(k0 + BLOCK, n_steps)
        held, counts = _blocks(given, k0, k1, real)
        for b in range(n_batch):
            z = np.zeros((k1 - k0, units), dtype=np.uint8)
            trace = address(seen[b, k0:]) if options.record else None
            done = library.host_run(
                address(states[b]), ctypes.c_int64(k1 - k0), address(held[b]), address(counts[b]), address(z),
                address(out[b, k0:]), trace,
            )  # fmt: skip
            if done != k1 - k0:
                raise RefusedError(f"c: a held value of step {k0 + done + 1} is beyond {options.dtype}",
                                   hint="smaller values, or --dtype float64")  # fmt: skip
            step, unit = np.nonzero(z)
            fired.append(np.stack([step + k0, np.full(step.size, b), unit], axis=1))
    return lowering.invert(_recording(lowering, given, options, fired, out, seen))


def _check(lowering: Lowering, options: RunOptions) -> None:
    known = [f"{p.name}.v" for p in lowering.network.populations]
    unknown = [name for name in options.record if name not in known]
    problems = [f"record: no trace {', '.join(unknown)}, there are {', '.join(known)}"] if unknown else []
    if options.noise_values is not None:
        problems.append("noise_values: it draws its noise itself, and takes none")
    if problems:
        raise SpikeportError("c: cannot run so", problems, hint="target reference")


def address(array: NDArray[Any]) -> ctypes.c_void_p:
    """Where C finds a contiguous array."""
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


def _blocks(given: Feed, k0: int, k1: int, real: Any) -> tuple[NDArray[Any], NDArray[np.uint16]]:
    """(batch, steps, .) of held values and of counts, each input behind the other as the file's comment says."""
    network = given.lowering.source
    shape = (k1 - k0, given.n_batch, 0)
    held = [np.zeros(shape), *(given.held(i.name, k0, k1) for i in network.held_inputs)]
    counts = [np.zeros(shape), *(given.spikes(i.name, k0, k1) for i in network.spike_inputs)]
    crowded = [i.name for i, c in zip(network.spike_inputs, counts[1:], strict=True) if c.max(initial=0) > MAX_COUNT]
    if crowded:
        raise RefusedError("c: these inputs do not fit",
                           [f"input {name}: more than {MAX_COUNT} spikes of a channel in a step" for name in crowded],
                           hint="more channels, or a smaller dt")  # fmt: skip
    values, whole = (np.concatenate(parts, axis=2).transpose(1, 0, 2) for parts in (held, counts))
    with np.errstate(over="ignore"):  # what is beyond the dtype becomes infinite, and the step refuses it
        return np.ascontiguousarray(values, dtype=real), np.ascontiguousarray(whole, dtype=np.uint16)


def _recording(
    lowering: Lowering, given: Feed, options: RunOptions, fired: list[NDArray[np.int64]], out: Array, seen: Array
) -> Recording:
    network = lowering.network
    events = np.concatenate([np.zeros((0, 3), dtype=np.int64), *fired])
    spikes, traces, outputs, first, row = {}, {}, {}, 0, 0
    for p in network.populations:
        mine = events[(events[:, 2] >= first) & (events[:, 2] < first + p.n)]
        spikes[p.name] = SpikeTrains.build(
            mine[:, 0], mine[:, 1], mine[:, 2] - first, (given.n_steps, given.n_batch, p.n)
        )
        if f"{p.name}.v" in options.record:
            traces[f"{p.name}.v"] = seen[:, :, first : first + p.n].transpose(1, 0, 2)
        first += p.n
    for r in network.readouts:
        n = r.weight.shape[0]
        outputs[r.name] = out[:, :, row : row + n].transpose(1, 0, 2)
        row += n
    return Recording(dt=network.dt, n_steps=given.n_steps, n_batch=given.n_batch, spikes=spikes, outputs=outputs,
                     traces=traces)  # fmt: skip
