"""One guard to a device."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from guard_cases import WATCH, WIDE

from spikeport.loop.guard import lock
from spikeport.loop.guard.console import GuardProcess
from spikeport.loop.guard.limits import Limits
from spikeport.loop.guard.watchdog import WatchLimits
from spikeport.snn.errors import RefusedError, SpikeportError

DEVICE = """
class Quiet:
    def __init__(self, line, address=None):
        if address is not None:
            self.address = address

    def deliver(self, pulses, at_ns):
        pass

    def silence(self):
        pass
"""


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of this test's own, because the names are those of the machine."""
    name = f"quiet_{os.getpid()}"
    (tmp_path / f"{name}.py").write_text(DEVICE)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    return f"{name}:Quiet"


def start(folder: Path, device: str, number: int, **options: Any) -> GuardProcess:
    limits, watch = Limits(**WIDE), WatchLimits(**WATCH)
    return GuardProcess.start(limits, watch, log=folder / f"{number}.jsonl", device=device, options=options)


def test_a_device_has_one_guard_until_that_ends(tmp_path: Path, device: str) -> None:
    with start(tmp_path, device, 0, line="x") as first:
        with pytest.raises(RefusedError, match=f"the guard of process {first.pid} has it, and a device has one guard"):
            start(tmp_path, device, 1, line="x")
        assert not (tmp_path / "1.jsonl").exists()
        start(tmp_path, device, 2, line="y").close()  # the same class, another device
    start(tmp_path, device, 3, line="x").close()


def test_the_system_frees_the_device_of_a_guard_that_was_killed(tmp_path: Path, device: str) -> None:
    with start(tmp_path, device, 0, line="x") as first:
        os.kill(first.pid, signal.SIGKILL)
        first._process.wait()
        start(tmp_path, device, 1, line="x").close()


def test_two_names_of_one_address_are_one_device(tmp_path: Path, device: str) -> None:
    (tmp_path / "tty").write_text("")
    (tmp_path / "by-id").symlink_to(tmp_path / "tty")
    with start(tmp_path, device, 0, line="x", address=str(tmp_path / "tty")) as first:
        with pytest.raises(RefusedError, match=f"process {first.pid} has it"):
            start(tmp_path, device, 1, line="y", address=str(tmp_path / "by-id"))


def test_dry_runs_are_as_many_as_one_likes(tmp_path: Path) -> None:
    with GuardProcess.start(Limits(**WIDE), WatchLimits(**WATCH), log=tmp_path / "a"):
        GuardProcess.start(Limits(**WIDE), WatchLimits(**WATCH), log=tmp_path / "b").close()


def test_a_file_of_a_device_anywhere_in_the_options_is_a_name_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        one.bind("one")
        other.bind("other")
        options = {"port": "one", "rate": 3, "file": __file__, "odd": "a\0b"}
        assert list(lock.names("m:C", options))[1:] == [f"address {tmp_path.resolve() / 'one'}"]
        nested = {"lines": [{"ports": ["one"]}], "by": {"other": 9600}}
        assert sorted(lock.names("m:C", nested))[:2] == [f"address {tmp_path.resolve() / n}" for n in ("one", "other")]


def test_what_is_nobodys_device_is_not_locked(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")
    nobodys = [str(tmp_path / "link"), *(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom"))]
    assert len(list(lock.names("m:C", {"files": nobodys, "file": "/dev/null"}))) == 1


def test_the_order_of_options_makes_no_other_device() -> None:
    assert list(lock.names("m:C", {"a": 1, "b": 2})) == list(lock.names("m:C", {"b": 2, "a": 1}))


def test_a_lock_is_taken_once_by_its_holder_and_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "folder", lambda: tmp_path)
    first, second = lock.Locks(), lock.Locks()
    first.take("a")
    first.take("a")
    with pytest.raises(SpikeportError, match=f"process {os.getpid()} has it"):
        second.take("a")
    second.take("b")
    first.free()
    second.take("a")
    second.free()


def test_a_folder_that_takes_no_lock_is_a_reason_to_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "folder", lambda: tmp_path / "none")
    monkeypatch.setattr(lock.os, "open", lambda *a, **k: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
    with pytest.raises(SpikeportError, match="no lock: Read-only file system"):
        lock.Locks().take("a")
