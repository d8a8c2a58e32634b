"""Every target, one line each: name -> where it is. A target's module imports its framework only when it runs."""

from __future__ import annotations

import importlib
from typing import cast

from spikeport.snn.errors import SpikeportError
from spikeport.targets.base import Target

TARGETS = {  # name: module and attribute
    "engine": "spikeport.targets.own:ENGINE",
    "reference": "spikeport.targets.own:REFERENCE",
    "onnx": "spikeport.targets.onnx:ONNX",
    "snntorch": "spikeport.targets.snntorch:SNNTORCH",
    "norse": "spikeport.targets.norse:NORSE",
    "nest": "spikeport.targets.nest:NEST",
    "pynn": "spikeport.targets.nest.pynn_script:PYNN",
    "brian2": "spikeport.targets.brian2:BRIAN2",
    "nir": "spikeport.targets.nir:NIR",
    "c": "spikeport.targets.c:C",
    "loihi": "spikeport.targets.loihi:LOIHI",
    "c_loihi": "spikeport.targets.c:C_LOIHI",
    "spinnaker": "spikeport.targets.spinnaker:SPINNAKER",
    "xylo": "spikeport.targets.xylo:XYLO",
}


def get_target(name: str) -> Target:
    """The target of that name; an unknown one is refused with the list."""
    if name not in TARGETS:
        raise SpikeportError(
            f"target '{name}' is unknown", [f"there are: {', '.join(TARGETS)}"], hint="spikeport targets"
        )
    module, attribute = TARGETS[name].split(":")
    return cast(Target, getattr(importlib.import_module(module), attribute))
