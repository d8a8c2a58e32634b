"""What NIR has no field for, as text in the metadata of the root graph, that any HDF5 viewer shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.spiking import HeldInput, Population, ReadOut, SpikingNetwork
from spikeport.targets.nir.columns import Column
from spikeport.targets.nir.conventions import ANY, Convention
from spikeport.targets.nir.limits import left_out, sinks

FORMAT = "1"
LONGEST = 4000  # characters


def metadata(
    network: SpikingNetwork, c: Convention, *, dt: float, layout: tuple[Column, ...], nodes: Mapping[str, str]
) -> dict[str, str]:
    """Name -> text, JSON where it is more than a word. dt: the reader's; nodes: population -> its node."""
    late = f", {c.late} calls late" if c.late else ""
    values: dict[str, Any] = {
        "spikeport": FORMAT,
        "reader": c.name,
        "reader_version": c.version,
        "reader_call": c.call,
        "reader_convention": c.source,
        "left_out": left_out(network) if c is ANY else {},
        "dt": {"network": network.dt, "reader": dt, "time_constants_in": "steps" if c.in_steps else "s"},
        "integrator": network.integrator,
        "order": f"current before membrane; the spikes of a step come out of the call for it{late}",
        "inputs": [
            {"name": k.name, "kind": k.kind, "delay_steps": k.delay, "first_column": k.first, "columns": k.n}
            | _sampling(network, k)
            for k in layout
        ],
        "populations": {p.name: {"node": nodes[p.name], **_population(p)} for p in network.populations},
        "delays": [{"from": j.source, "to": j.target, "steps": j.delay} for j in network.projections],
        "output": "read-out" if c.readout and network.readouts else f"spikes of {sinks(network)[0]}",
        "readouts": [_readout(r) for r in network.readouts],
        "provenance": {key: _short(value) for key, value in network.provenance.items()},
    }
    return {key: value if isinstance(value, str) else json.dumps(value, default=str) for key, value in values.items()}


def _sampling(network: SpikingNetwork, column: Column) -> dict[str, Any]:
    port = next((i for i in network.inputs if i.name == column.name), None)
    if column.kind != "held" or not isinstance(port, HeldInput):
        return {}
    return {"sample_every_s": port.dt, "sampling": port.sampling}


def _population(p: Population) -> dict[str, Any]:
    low, high = per_unit(p.neuron.v_reset, p.n), per_unit(p.neuron.v_threshold, p.n)
    return {"n": p.n, "reset": p.neuron.reset, "refractory_steps": 0, "mV_of_0": _brief(low), "mV_of_1": _brief(high)}


def _readout(r: ReadOut) -> dict[str, Any]:
    taus = {name: _brief(np.asarray(value)) for name, value in vars(r.synapse).items()}
    return {"name": r.name, "source": r.source, "synapse": type(r.synapse).__name__, **taus,
            "weight": r.weight.tolist(), "bias": r.bias.tolist()}  # fmt: skip


def _short(value: Any) -> Any:
    """A value of the provenance, unless it is a document of its own, such as a graph that was imported."""
    size = len(json.dumps(value, default=str))
    return value if size <= LONGEST else f"{size} characters, in the network beside this graph"


def _brief(values: Array) -> Any:
    """One number where all are equal."""
    return values.flat[0].item() if values.size and not np.ptp(values) else values.tolist()
