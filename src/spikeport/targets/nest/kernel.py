"""NEST's kernel: there is one in a process, it is global, and it prints."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

_LOCK = threading.Lock()


def quiet_nest() -> Any:
    """The module `nest`, imported without its banner, and without handing it our command line."""
    # NEST reads sys.argv at import, where "--debug" and others are its own
    with mock.patch.dict(os.environ, {"PYNEST_QUIET": "1"}), mock.patch.object(sys, "argv", sys.argv[:1]):
        import nest

        nest.ll_api  # noqa: B018  -- a lazy module is loaded by its first attribute
    return nest


@contextmanager
def kernel(longest: int) -> Iterator[Any]:
    """`nest` with an empty kernel, 1 ms a step, delays from 1 to `longest` steps. What was in it is lost."""
    with _LOCK:
        nest = quiet_nest()
        before = nest.verbosity
        nest.verbosity = nest.VerbosityLevel.ERROR
        try:
            nest.ResetKernel()
            nest.verbosity = nest.VerbosityLevel.ERROR
            # one thread: the order in which arrivals are added, and so their last bit, depends on the number
            nest.SetKernelStatus({"resolution": 1.0, "local_num_threads": 1})
            # said now, because connections are made after the first step
            nest.SetKernelStatus({"min_delay": 1.0, "max_delay": float(longest)})
            yield nest
        finally:
            nest.ResetKernel()
            nest.verbosity = before
