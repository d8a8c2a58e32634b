"""What a C file says of itself: where it comes from, what it costs, what its inputs and outputs are called."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spikeport.snn.fingerprint import fingerprint
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.c.sizes import Sizes
from spikeport.targets.c.text import name_in_comment


def written_by() -> str:
    """spikeport and its version."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"spikeport {version('spikeport')}"
    except PackageNotFoundError:
        return "spikeport, from a checkout"


USAGE = "snn_init(&s, 0, 0);  then every SNN_DT_S seconds  snn_step(&s, held, counts);  s.out, snn_fired(&s, unit)"
FUSED = "Compile with -ffp-contract=off (gcc -std=c99 has it), else a compiler may fuse products and sums."


def comment(network: SpikingNetwork, what: str, sizes: Sizes, usage: str = USAGE, note: str = FUSED) -> str:
    """The comment at the top."""
    costs = sizes.operations.as_dict()
    lines = [
        f"One step of a spiking network, {what}, written by {name_in_comment(written_by())}.",
        "",
        f"network        sha256 {fingerprint(network)}",
        f"made from      {name_in_comment(source_of(network))}",
        f"dt             {network.dt!r} s, integrator {network.integrator}",
        f"constants      {sizes.flash_bytes} bytes (flash), the code apart",
        f"state          {sizes.ram_bytes} bytes (RAM), no heap",
        "one step       at most, all units spiking in the same step and a count on every input channel:",
        *(f"               {n} {name.replace('_', ' ')}" for name, n in costs.items()),
        "               loop counters, addresses and local variables are not counted",
        "",
        f"    static snn_state s;  {usage}",
        "",
        "In another file: #define SNN_DECLARATIONS and #include this one; it then declares and defines nothing.",
        note,
        "",
        *_names(network),
    ]
    return "/*\n" + "\n".join(f" * {line}".rstrip() for line in lines) + "\n */"


def source_of(network: SpikingNetwork) -> str:
    """The name of the file a network was made from, where its provenance says."""
    source = network.provenance.get("source")
    found = source.get("file") if isinstance(source, Mapping) else None
    return str(found) if found else "not said"


def _names(network: SpikingNetwork) -> list[str]:
    lines, at = [], 0
    for p in network.populations:
        lines.append(f"units          {at} .. {at + p.n - 1}: population {name_in_comment(p.name)}")
        at += p.n
    for word, ports in (("held", network.held_inputs), ("counts", network.spike_inputs)):
        at = 0
        for i in ports:
            lines.append(f"{word:<14} {at} .. {at + i.n - 1}: input {name_in_comment(i.name)}")
            at += i.n
    at = 0
    for r in network.readouts:
        n = r.weight.shape[0]
        lines.append(f"out            {at} .. {at + n - 1}: read-out {name_in_comment(r.name)}")
        at += n
    return lines


def macros(network: SpikingNetwork, sizes: Sizes) -> list[str]:
    """Sizes by name, and where each input begins."""
    held = sum(i.n for i in network.held_inputs)
    channels = sum(i.n for i in network.spike_inputs)
    outputs = sum(r.weight.shape[0] for r in network.readouts)
    return [
        f"#define SNN_DT_S {float(np.float64(network.dt))!r}",
        f"#define SNN_UNITS {network.n_neurons}u",
        f"#define SNN_HELD {held}u",
        f"#define SNN_CHANNELS {channels}u",
        f"#define SNN_OUTPUTS {outputs}u",
        f"#define SNN_RAM_BYTES {sizes.ram_bytes}u",
    ]
