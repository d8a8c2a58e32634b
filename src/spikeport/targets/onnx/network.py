"""A spiking network as a graph in either form, and what the file says of it beside the graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from spikeport.snn.spiking import HeldInput, SpikingNetwork
from spikeport.targets.onnx.forms import Form, sequence_form, step_form
from spikeport.targets.onnx.model import version
from spikeport.targets.onnx.step import INPUT, NOISE, State, step_graph

FORMS = ("sequence", "step")


def noisy_populations(network: SpikingNetwork) -> tuple[str, ...]:
    """The populations that have noise."""
    return tuple(p.name for p in network.populations if np.any(np.asarray(p.noise_sd) > 0))


def network_form(
    network: SpikingNetwork, form: str, dtype: str, *, noise: Collection[str], traces: Collection[str] = ()
) -> Form:
    """The graph of `network`. noise: populations with a noise input; traces: "a.v" (before the reset) or "a.s"."""
    noise = tuple(p.name for p in network.populations if p.name in noise)
    if form == "step":
        return step_form(lambda names: step_graph(network, dtype, noise=noise, traces=traces, suffixes=names))
    return sequence_form(
        lambda names: step_graph(network, dtype, noise=noise, traces=traces, suffixes=names), name="spiking_network"
    )


def describe(network: SpikingNetwork, form: Form, kind: str, dtype: str) -> dict[str, Any]:
    """metadata_props of the model: name -> text, or what becomes JSON."""
    units = {"time": "s", "v": "mV", "noise": "mV added to v in a step", "ref": "steps"}
    noise = {
        form.given[NOISE, p.name]: {"sd_mV_per_step": np.unique(np.asarray(p.noise_sd)), "default": "none"}
        for p in network.populations if (NOISE, p.name) in form.given
    }  # fmt: skip
    return {
        "spikeport": version(), "kind": "spiking-network", "form": kind, "dtype": dtype,
        "dt": repr(network.dt), "integrator": network.integrator, "units": units,
        "inputs": {form.given[INPUT, i.name]: _input(i, network.dt) for i in network.inputs},
        "noise": noise, "states": {s.before.name: s.after.name for s in form.states},
        "initial_state": {s.before.name: initial(s) for s in form.states},
        "provenance": dict(network.provenance),
    }  # fmt: skip


def _input(port: Any, dt: float) -> Mapping[str, Any]:
    """What to give an input at each step."""
    if not isinstance(port, HeldInput):
        return {"kind": "spikes", "values": "counts of spikes at each step, whole numbers"}
    seen = {
        "floor": "floor((k - 1) dt / sample_dt)",
        "nearest": "floor(k dt / sample_dt + 1/2)",
    }[port.sampling]  # sample_index in spiking.py
    rule = f"step k = 1, 2, ... sees sample {seen}, counted from 0; after the last sample, the last"
    return {"kind": "held", "sample_dt_s": port.dt, "sampling": port.sampling, "dt_s": dt,
            "values": f"the value of each step; {rule}"}  # fmt: skip


def initial(state: State) -> Any:
    """A state at the start of a trial: one number where all units agree, else a list; or what it is drawn from."""
    if state.initial is None:
        assert state.drawn is not None
        return {"uniform": [state.drawn.low, state.drawn.high]}
    flat = np.unique(state.initial)
    return flat[0] if flat.size == 1 else state.initial
