"""What the guard's process imports: nothing of the current folder, but the module of a device that was named."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import pytest
from guard_cases import WATCH, WIDE

from spikeport.loop.guard.console import GuardProcess
from spikeport.loop.guard.limits import Limits
from spikeport.loop.guard.watchdog import WatchLimits
from spikeport.snn.errors import RefusedError

DEVICE = """
import fractions, importlib, json, secrets, spikeport

class Line:
    def __init__(self, path):
        self.path = path

    def deliver(self, pulses, at_ns):
        pass

    def silence(self):
        with open(self.path, "a") as file:
            file.write("silence\\n")
"""
SHADOWS = ("importlib", "secrets", "fractions", "json", "spikeport")  # what the guard imports, by the same names


@pytest.mark.parametrize("on_path", [False, True])
def test_no_code_of_the_current_folder_runs_in_the_guard_but_the_module_of_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_path: bool
) -> None:
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r} + ' ')\n")
    (tmp_path / "device_here.py").write_text(DEVICE)
    monkeypatch.chdir(tmp_path)
    if on_path:
        monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])  # as `python -m` and a script there do
    start = functools.partial(GuardProcess.start, Limits(**WIDE), WatchLimits(**WATCH))
    start(log=tmp_path / "dry.jsonl").close()
    with pytest.raises(RefusedError, match="No module named 'device_there'"):
        start(log=tmp_path / "none.jsonl", device="device_there:Line")
    given = {"path": str(tmp_path / "given.txt")}
    start(log=tmp_path / "real.jsonl", device="device_here:Line", options=given).close()
    assert (tmp_path / "given.txt").read_text().startswith("silence\n")
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()
