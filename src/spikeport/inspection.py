"""What a file holds, without running it: networks of every format, recordings, trials."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from spikeport.convert.sources import load_source
from spikeport.snn.files import kind_of, load_recording, load_spiking_network
from spikeport.snn.hdf5 import is_hdf5
from spikeport.snn.neurons import per_unit, refractory_steps
from spikeport.snn.rate import RateNetwork
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import HeldInput, SpikingNetwork
from spikeport.snn.tasks import FileTask, get_task

MAX_LIST = 16  # numbers to print one by one
MAX_TEXT = 1000  # characters of one value


def inspect_file(path: str | Path) -> dict[str, Any]:
    """A summary of the file: its kind, sizes, units, time constants, inputs, provenance."""
    path = Path(path)
    kind = _kind(path)
    if kind == "spiking-network":
        return _spiking(load_spiking_network(path))
    if kind == "recording":
        return _recording(load_recording(path))
    if kind == "trials":
        task = get_task(path)
        assert isinstance(task, FileTask)
        return _trials(task)
    return _rate(load_source(path))


def _kind(path: Path) -> str:
    """What is in the file, as far as its outside tells; the unknown is tried as a rate network, and refused there."""
    suffix = path.suffix.lower()
    if path.is_file() and suffix in (".h5", ".hdf5") and is_hdf5(path):
        return kind_of(path)
    if path.is_file() and suffix == ".npz":
        with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            if {"inputs.npy", "window_start.npy"} <= set(archive.namelist()):
                return "trials"
    return "rate-network"


def _rate(network: RateNetwork) -> dict[str, Any]:
    w = network.w_rec
    return {
        "kind": "rate-network",
        "neurons": network.n_neurons,
        "inputs": network.n_inputs,
        "outputs": network.n_outputs,
        "activation": network.phi + (f", at most {network.phi_max:g}" if network.phi_max is not None else ""),
        "dt_s": network.dt,
        "tau_s": _range(network.tau),
        "noise_sd_per_step": network.noise_sd,
        "recurrent_weights": {"nonzero": float(np.count_nonzero(w) / w.size), "range": _range(w)},
        "read_out_bias": network.b_out.tolist(),
        "units": {label: int(mask.sum()) for label, mask in network.labels.items()},
        "provenance": dict(network.provenance),
    }


def _spiking(network: SpikingNetwork) -> dict[str, Any]:
    def population(p: Any) -> dict[str, Any]:
        neuron = p.neuron
        return {
            "name": p.name,
            "neurons": p.n,
            "tau_mem_s": _range(neuron.tau_mem),
            "v_threshold_mV": _threshold(neuron.v_threshold, p.n),
            "v_reset_mV": _range(neuron.v_reset),
            "reset": neuron.reset,
            "t_ref_s": _range(neuron.t_ref),
            "refractory_steps": _range(refractory_steps(neuron.t_ref, network.dt)),
            "bias_mV": _range(p.bias),
            "noise_sd_mV_per_step": _range(p.noise_sd),
            "synapses": {
                name: {"kind": type(s).__name__} | {f"{k}_s": _range(v) for k, v in vars(s).items()}
                for name, s in p.synapses.items()
            },
        }

    return {
        "kind": "spiking-network",
        "neurons": network.n_neurons,
        "dt_s": network.dt,
        "integrator": network.integrator,
        "populations": [population(p) for p in network.populations],
        "inputs": [
            {"name": i.name, "channels": i.n}
            | (
                {"kind": "held", "dt_s": i.dt, "sampling": i.sampling}
                if isinstance(i, HeldInput)
                else {"kind": "spikes"}
            )
            for i in network.inputs
        ],
        "projections": [
            {
                "from": p.source,
                "to": p.target,
                "through": p.synapse or "membrane",
                "delay_steps": p.delay,
                "nonzero": int(np.count_nonzero(p.weight)),
            }
            for p in network.projections
        ],
        "read_outs": [
            {"name": r.name, "from": r.source, "outputs": r.weight.shape[0], "bias": r.bias.tolist()}
            for r in network.readouts
        ],
        "provenance": dict(network.provenance),
    }


def _recording(recording: Recording) -> dict[str, Any]:
    return {
        "kind": "recording",
        "dt_s": recording.dt,
        "seconds": recording.duration,
        "trials": recording.n_batch,
        "spikes": {name: {"neurons": s.shape[2], "spikes": s.n_spikes} for name, s in recording.spikes.items()},
        "outputs": {name: o.shape[2] for name, o in recording.outputs.items()},
        "traces": list(recording.traces),
        "mean_rate_hz": recording.mean_rate_hz(),
    }


def _trials(task: FileTask) -> dict[str, Any]:
    return {
        "kind": "trials",
        "trials": task.n_trials,
        "inputs": task.n_inputs,
        "outputs": task.n_outputs,
        "samples": task.n_samples,
        "dt_s": task.dt,
        "window_s": [task.window.start, task.window.end],
        "rules": list(task.rules),
    }


def _range(value: Any) -> float | list[float]:
    """One number where all units share it, else [smallest, largest]."""
    array = np.asarray(value, dtype=np.float64)
    low, high = float(array.min()), float(array.max())
    return low if low == high else [low, high]


def _threshold(value: Any, n: int) -> str:
    """The threshold in words: a float just below t is how `v >= t` is written."""
    array = per_unit(value, n)
    low, high = float(array.min()), float(array.max())
    if low != high:
        return f"> {low:g} to {high:g}"
    above = float(np.nextafter(low, np.inf))
    return f">= {above:g}" if len(repr(above)) < len(repr(low)) else f"> {low:g}"


def flatten(summary: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(name, text) rows for people; nested names are joined by dots, empty parts are left out."""
    rows: list[tuple[str, str]] = []
    for name, value in summary.items():
        if isinstance(value, Mapping):
            rows += flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for i, item in enumerate(value):
                rows += flatten(item, f"{prefix}{name}[{item.get('name', i)}].")
        elif value not in (None, [], ""):
            rows.append((prefix + name, _text(value)))
    return rows


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and len(value) > MAX_LIST and all(isinstance(v, int | float) for v in value):
        return f"{_text(min(value))} to {_text(max(value))} ({len(value)} numbers)"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    text = str(value)  # a graph that a network was imported from is one long text
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}... ({len(text)} characters)"
