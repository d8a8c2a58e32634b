"""The table of integers: one .npz of plain arrays (docs/formats.md), for any loader; and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.npz import read_npz
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.writing import write_whole
from spikeport.targets.base import Lowering
from spikeport.targets.loihi.chip import Chip, Compartments, Filter, Synapses
from spikeport.targets.loihi.drive import round_bias
from spikeport.targets.loihi.partition import Core

FORMAT = "spikeport-loihi-1"


def write_table(lowering: Lowering, path: Path, overwrite: bool = False) -> Path:
    """Write the chip of a lowering, whole or not at all."""
    chip: Chip = lowering.settings["chip"]
    cores: tuple[Core, ...] = lowering.settings["cores"]
    arrays: dict[str, Any] = {}
    for c in chip.compartments:
        bias = round_bias(c, c.bias)
        arrays |= {
            f"population/{c.name}/{name}": value
            for name, value in (
                ("du", c.du), ("dv", c.dv), ("vth", np.int64(c.vth)), ("refractory", c.refractory), ("v0", c.v0),
                ("bias_mantissa", bias.mantissa), ("bias_exponent", bias.exponent), ("bias", c.bias),
                ("core", _core_of(c, cores)),
            )
        }  # fmt: skip
        arrays |= {f"population/{c.name}/held/{name}": weight for name, weight in c.held.items()}
        for f in c.filters:
            at = f"population/{c.name}/filter/{f.synapse}"
            arrays |= {f"{at}/keep": f.keep, f"{at}/constant": f.constant}
            arrays |= {f"{at}/weight/{name}": weight for name, weight in f.weights.items()}
    for index, s in enumerate(chip.synapses):
        arrays[f"synapses/{index}/mantissa"] = s.mantissa
    description = json.dumps(_description(chip, lowering.network, lowering), ensure_ascii=False, indent=1)
    arrays["description"] = np.array(description)
    with write_whole(path, overwrite) as part, part.open("wb") as file:
        np.savez(file, **arrays)
    return path


def _core_of(c: Compartments, cores: tuple[Core, ...]) -> Any:
    found = np.zeros(c.n, dtype=np.int64)
    for index, core in enumerate(cores):
        found[core.neurons.get(c.name, np.zeros(0, dtype=np.int64))] = index
    return found


def _description(chip: Chip, network: SpikingNetwork, lowering: Lowering) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "dt_s": chip.dt,
        "inputs": dict(chip.inputs),
        "populations": [
            {
                "name": c.name,
                "n": c.n,
                "synapse": c.synapse,
                "held": list(c.held),
                "filters": {f.synapse: list(f.weights) for f in c.filters},
            }
            for c in chip.compartments
        ],
        "synapses": [
            {
                "source": s.source,
                "target": s.target,
                "exponent": s.exponent,
                "mode": s.mode,
                "delay": s.delay,
                "bits": s.bits,
            }
            for s in chip.synapses
        ],
        "held_inputs": {i.name: {"n": i.n, "dt_s": i.dt, "sampling": i.sampling} for i in network.held_inputs},
        "losses": [str(loss) for loss in lowering.losses],
    }


def read_table(path: Path) -> Chip:
    """The chip that a table holds."""
    arrays = read_npz(path, "a table of Loihi's integers")
    try:
        told = json.loads(str(arrays["description"]))
        if told.get("format") != FORMAT:
            raise InvalidNetworkError(f"{path}: format {told.get('format')!r}, must be {FORMAT}")
        return Chip(
            compartments=tuple(_compartments(arrays, p) for p in told["populations"]),
            synapses=tuple(
                Synapses(mantissa=arrays[f"synapses/{i}/mantissa"], **s) for i, s in enumerate(told["synapses"])
            ),
            inputs=told["inputs"],
            dt=told["dt_s"],
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidNetworkError):
            raise
        raise InvalidNetworkError(f"{path}: no table of Loihi's integers ({error!r})") from error


def _compartments(arrays: dict[str, Any], told: dict[str, Any]) -> Compartments:
    at = f"population/{told['name']}"
    names = ("du", "dv", "refractory", "bias", "v0")
    filters = tuple(
        Filter(
            synapse=synapse, keep=arrays[f"{at}/filter/{synapse}/keep"],
            constant=arrays[f"{at}/filter/{synapse}/constant"],
            weights={name: arrays[f"{at}/filter/{synapse}/weight/{name}"] for name in inputs},
        )
        for synapse, inputs in told["filters"].items()
    )  # fmt: skip
    return Compartments(
        name=told["name"], synapse=told["synapse"], filters=filters, vth=int(arrays[f"{at}/vth"]),
        held={name: arrays[f"{at}/held/{name}"] for name in told["held"]}, **{n: arrays[f"{at}/{n}"] for n in names},
    )  # fmt: skip
