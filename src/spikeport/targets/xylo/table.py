"""The table of integers: one .npz of plain arrays (docs/formats.md), for any loader; and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.npz import read_npz
from spikeport.snn.writing import write_whole
from spikeport.targets.base import Lowering
from spikeport.targets.xylo.chip import Channel, Chip, Neurons

FORMAT = "spikeport-xylo-1"
PER_NEURON = ("dash_mem", "dash_syn", "threshold", "bias", "v0")


def write_table(lowering: Lowering, path: Path, overwrite: bool = False) -> Path:
    """Write the chip of a lowering, whole or not at all."""
    chip: Chip = lowering.settings["chip"]
    arrays: dict[str, Any] = {name: chip.whole(name) for name in PER_NEURON}
    arrays |= {"weights_in": chip.weights_in, "weights_rec": chip.weights_rec}
    description = {
        "format": FORMAT, "dt_s": chip.dt, "weight_shift_in": chip.shift_in, "weight_shift_rec": chip.shift_rec,
        "populations": [{"name": c.name, "n": c.n, "synapses": list(c.synapses)} for c in chip.neurons],
        "channels": [asdict(row) for row in chip.channels], "counts": dict(chip.counts),
        "held_inputs": {i.name: {"n": i.n, "dt_s": i.dt, "sampling": i.sampling} for i in lowering.network.held_inputs},
        "losses": [str(loss) for loss in lowering.losses],
    }  # fmt: skip
    arrays["description"] = np.array(json.dumps(description, ensure_ascii=False, indent=1))
    with write_whole(path, overwrite) as part, part.open("wb") as file:
        np.savez(file, **arrays)
    return path


def read_table(path: Path) -> Chip:
    """The chip that a table holds."""
    arrays = read_npz(path, "a table of Xylo's integers")
    try:
        told = json.loads(str(arrays["description"]))
        if told.get("format") != FORMAT:
            raise InvalidNetworkError(f"{path}: format {told.get('format')!r}, must be {FORMAT}")
        ends = np.cumsum([0, *(p["n"] for p in told["populations"])])
        neurons = tuple(
            Neurons(name=p["name"], synapses=tuple(p["synapses"]), **{name: arrays[name][i:j] for name in PER_NEURON})
            for p, i, j in zip(told["populations"], ends, ends[1:], strict=False)
        )
        return Chip(
            neurons=neurons, channels=tuple(Channel(**row) for row in told["channels"]),
            weights_in=arrays["weights_in"], weights_rec=arrays["weights_rec"], shift_in=told["weight_shift_in"],
            shift_rec=told["weight_shift_rec"], counts=told["counts"], dt=told["dt_s"],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidNetworkError):
            raise
        raise InvalidNetworkError(f"{path}: no table of Xylo's integers ({error!r})") from error
