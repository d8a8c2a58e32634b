"""spikeport: a trained rate network becomes a spiking one that does the same task, with every step measured.

    from spikeport import convert_network, load_source
    conversion = convert_network(load_source("model.mat"), "go-nogo")
    print(conversion.inverse_lambda, conversion.spiking)

Each verb of the command line is one function here. Names are imported when they are first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # known to type checkers; typing itself is slow to import, and Ctrl-C is not silent before main
if TYPE_CHECKING:
    from typing import Any

    from spikeport.convert.conversion import convert_network
    from spikeport.convert.sources import load_source
    from spikeport.convert.transfer import transfer
    from spikeport.demonstration import demo
    from spikeport.diagnosis import doctor
    from spikeport.estimation import estimate_network
    from spikeport.inspection import inspect_file
    from spikeport.snn.files import load_spiking_network, save_spiking_network
    from spikeport.snn.training import train
    from spikeport.targets.checking import check_network
    from spikeport.targets.export import export_network
    from spikeport.targets.nir.importing import import_network
    from spikeport.targets.run import run_network
    from spikeport.validation import validate_network

__version__ = "0.1.0"

_HOMES = {
    "check_network": "spikeport.targets.checking",
    "convert_network": "spikeport.convert.conversion",
    "demo": "spikeport.demonstration",
    "doctor": "spikeport.diagnosis",
    "estimate_network": "spikeport.estimation",
    "export_network": "spikeport.targets.export",
    "import_network": "spikeport.targets.nir.importing",
    "inspect_file": "spikeport.inspection",
    "load_source": "spikeport.convert.sources",
    "load_spiking_network": "spikeport.snn.files",
    "run_network": "spikeport.targets.run",
    "save_spiking_network": "spikeport.snn.files",
    "train": "spikeport.snn.training",
    "transfer": "spikeport.convert.transfer",
    "validate_network": "spikeport.validation",
}

__all__ = [
    "__version__",
    "check_network",
    "convert_network",
    "demo",
    "doctor",
    "estimate_network",
    "export_network",
    "import_network",
    "inspect_file",
    "load_source",
    "load_spiking_network",
    "run_network",
    "save_spiking_network",
    "train",
    "transfer",
    "validate_network",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'spikeport' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
