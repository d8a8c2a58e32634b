"""What the tests of `spikeport live` share: files of a small loop, and the program in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from small_models import follower
from typer.testing import CliRunner, Result

from spikeport.cli import app
from spikeport.loop.transports.frame import Emitted, read_output
from spikeport.snn.files import save_rate_network

PROGRAM = Path(sys.executable).parent / "spikeport"
PATIENCE = 120.0  # s
PERIOD = 0.005
LOOP: dict[str, Any] = {
    "period": PERIOD,
    "decoder": {"network": "rate.h5", "seed": 3},
    "source": {"kind": "recording", "file": "samples.npy", "phase": "2.5e-3"},
    "sink": {"kind": "none"},
    "clock": {"kind": "virtual"},
    "policy": {"lost": "hold", "overload": "all", "lost_after": 20, "good": 3, "safe": [-1]},
    "record": {"path": "session.spklog", "on_loss": "stop", "deterministic": True},
}


def write_loop(folder: Path, n: int = 200, name: str = "loop.yaml", **sections: Any) -> Path:
    """A loop's file with its network and a recording of n samples; a section that is None is left out."""
    if not (folder / "rate.h5").exists():
        save_rate_network(follower(), folder / "rate.h5")
    steps = (np.arange(n) // 40 % 2).astype(float)[:, None]
    np.save(folder / "samples.npy", steps)
    values = {key: value for key, value in {**LOOP, **sections}.items() if value is not None}
    path = folder / name
    path.write_text(json.dumps(values).replace('"2.5e-3"', "2.5e-3"), encoding="utf-8")  # JSON is YAML, too
    return path


def call(*arguments: object, code: int = 0) -> Result:
    """The command line, in this process."""
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == code, f"{done.exit_code}\n{done.output}\n{done.exception!r}"
    return done


def answer(*arguments: object, code: int = 0) -> dict[str, Any]:
    """Its JSON."""
    found: dict[str, Any] = json.loads(call(*arguments, "--json", code=code).stdout)
    return found


def heed_signals() -> None:
    """A shell starts what it runs in the background with SIGINT ignored, and children inherit that; not this one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Running:
    """`spikeport live run --json` in the background; `address` of its source."""

    def __init__(self, *arguments: object) -> None:
        command = [str(PROGRAM), "live", "run", *map(str, arguments), "--json"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_signals
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert line.startswith("running: "), line + self.process.stderr.read()
        self.address = line.partition(" udp ")[2].partition(",")[0]

    def end(self, number: int, code: int) -> dict[str, Any]:
        """Its answer after the signal."""
        self.process.send_signal(number)
        out, errors = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == code, out + errors
        found: dict[str, Any] = json.loads(out)
        return found


@contextmanager
def running(*arguments: object) -> Iterator[Running]:
    made = Running(*arguments)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
        made.process.communicate()


class Listener:
    """Outputs that come as datagrams, in order."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.1)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.outputs: list[Emitted] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                self.outputs.append(read_output(self._socket.recv(65_536)))
            except TimeoutError:
                continue

    def causes(self, since: int = 0) -> list[str]:
        return [each.output.cause for each in self.outputs[since:]]

    def wait_for(self, happened: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + PATIENCE
        while not happened():
            assert time.monotonic() < until, f"{what}: not within {PATIENCE:g} s; {self.causes()[-5:]}"
            time.sleep(0.01)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()


@contextmanager
def listening() -> Iterator[Listener]:
    made = Listener()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def producing(address: str, n: int, first: int = 0) -> Iterator[subprocess.Popen[str]]:
    """Counting samples to a UDP source, one a period."""
    command = [sys.executable, "-m", "spikeport.loop.transports.produce", "udp", address, "--count", "1", "--rate",
               str(1 / PERIOD), "--n", str(n), "--first", str(first)]  # fmt: skip
    made = subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True, env=os.environ)
    try:
        yield made
    finally:
        made.kill()
        made.wait()
