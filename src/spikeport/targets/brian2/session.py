"""Brian2, imported and used without a trace: what it changes in the process is put back.

`import brian2` replaces sys.excepthook and the handler of Ctrl-C, captures Python's warnings into its own log and
writes a log file and a copy of the main script into the temporary folder; a run reads global preferences and a global
device. A user who has imported Brian2 keeps it as it is.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spikeport.snn.errors import SpikeportError

SETTINGS: dict[str, Any] = {
    # terms of equal kind would be collected, and a sum in another order differs in its last bit
    "codegen.loop_invariant_optimisations": False,
    # else Ctrl-C ends a run as if it were over, and what is missing looks like silence
    "core.stop_on_keyboard_interrupt": False,
    # Brian2's own flags have -ffast-math and -march=native: other sums, and fused multiply-adds
    "codegen.cpp.extra_compile_args": ["-w", "-O3", "-std=c++11", "-ffp-contract=off"],
}
STANDALONE = "cpp_standalone"


def load() -> Any:
    """The module brian2. If this is its first import, its hooks are taken away again."""
    if "brian2" in sys.modules:
        return sys.modules["brian2"]
    if threading.current_thread() is not threading.main_thread():
        raise SpikeportError("brian2: its first import sets a signal handler, which only the main thread may do",
                             hint="import brian2   before the thread starts")  # fmt: skip
    hook, interrupt = sys.excepthook, signal.getsignal(signal.SIGINT)
    warn_handlers = list(logging.getLogger("py.warnings").handlers)
    captured = warnings.showwarning.__module__ == "logging"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Brian2 and its dependencies deprecate is not the user's to mend
        import brian2

        if not captured:
            logging.captureWarnings(False)
    sys.excepthook = hook
    if interrupt is not None:
        signal.signal(signal.SIGINT, interrupt)
    for handler in set(logging.getLogger("py.warnings").handlers) - set(warn_handlers):
        logging.getLogger("py.warnings").removeHandler(handler)
    _forget_files(brian2.BrianLogger)
    return brian2


def _forget_files(log: Any) -> None:
    """Close and delete the log file and the script's copy that the import made."""
    if log.file_handler is not None:
        log.file_handler.close()
        logging.getLogger("brian2").removeHandler(log.file_handler)
        log.file_handler = None
    for name in ("tmp_log", "tmp_script"):
        if getattr(log, name, None) is not None:
            with suppress(OSError):
                os.remove(getattr(log, name))
            setattr(log, name, None)


@contextmanager
def session(codegen: str) -> Iterator[Any]:
    """brian2, with the preferences and the device that exact steps on `codegen` need; both as before afterwards."""
    brian2 = load()
    settings = SETTINGS | ({} if codegen == STANDALONE else {"codegen.target": codegen})
    before = {name: brian2.prefs[name] for name in settings}
    level = brian2.BrianLogger.console_handler.level
    try:
        for name, value in settings.items():
            brian2.prefs[name] = value
        brian2.BrianLogger.console_handler.setLevel(logging.ERROR)
        with _device(brian2, codegen), warnings.catch_warnings():
            # Brian2 2.9 calls pyparsing by names that this has deprecated
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"brian2\.|pyparsing")
            yield brian2
    finally:
        brian2.Network._globally_running = False  # Ctrl-C leaves it set, and Brian2's own handler goes by it
        brian2.BrianLogger.console_handler.setLevel(level)
        for name, value in before.items():
            brian2.prefs[name] = value


@contextmanager
def _device(brian2: Any, codegen: str) -> Iterator[None]:
    """The device for `codegen`; a standalone project is built and run in a folder of its own, deleted afterwards."""
    current = brian2.get_device()
    if codegen != STANDALONE and current is brian2.all_devices["runtime"]:
        yield
        return
    if current is brian2.all_devices[STANDALONE]:
        raise SpikeportError(
            "brian2: this process has set Brian2's device to cpp_standalone, which holds one project at a time",
            hint="brian2.set_device('runtime')",
        )
    brian2.set_device(STANDALONE if codegen == STANDALONE else "runtime", build_on_run=False)
    try:
        yield
    finally:
        if codegen == STANDALONE:
            brian2.all_devices[STANDALONE].reinit()
        brian2.devices.reset_device()


def build(brian2: Any, folder: Path) -> None:
    """Compile and run the standalone project in `folder`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler's driver
        brian2.get_device().build(directory=str(folder), compile=True, run=True, with_output=False)
