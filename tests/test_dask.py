"""The search on a Dask cluster: a scheduler and a worker, in processes of their own, give the local answer's bits."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from require import need
from small_models import DT, follower, write_model, write_trials

from spikeport.convert import search
from spikeport.convert.conversion import convert_network
from spikeport.convert.grid import parse_grid
from spikeport.snn.errors import MissingDependencyError, SpikeportError

need("distributed", resource="dask")

PROGRAM = Path(sys.executable).parent / "spikeport"
PATIENCE = 60.0  # s; a slow machine needs some for two Pythons to import dask


def dask(folder: Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """`dask NAME ...` in a process of its own, its messages in a file."""
    call = [sys.executable, "-m", "dask", name, *arguments, "--no-dashboard"]
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(call, cwd=folder, stdout=log, stderr=subprocess.STDOUT)


def wait_for(address_file: Path, process: subprocess.Popen[bytes], log: Path) -> str:
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        assert process.poll() is None, log.read_text()
        try:
            return str(json.loads(address_file.read_text())["address"])
        except (OSError, ValueError):  # not there yet, or half written
            time.sleep(0.1)
    raise AssertionError(f"no scheduler after {PATIENCE} s: {log.read_text()}")


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[str]:
    """The address of a running scheduler with its workers; all of them end with the block, whatever happens."""
    address_file = folder / "scheduler.json"
    started = [dask(folder, "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(address_file))]
    try:
        address = wait_for(address_file, started[0], folder / "scheduler.log")
        started += [dask(folder, "worker", address, "--nthreads", "1", "--no-nanny") for _ in range(workers)]
        yield address
        assert all(process.poll() is None for process in started), "a process died during the tests"
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait(timeout=PATIENCE)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cluster(tmp_path_factory.mktemp("dask"), workers=1) as address:
        yield address


def answer(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if "seconds" not in name and name != "output"}


@pytest.mark.parametrize(
    "changes", [{}, {"objective": "distance"}, {"fast": True}, {"bracket": (20.0, 100.0)}], ids=str
)
def test_a_cluster_gives_the_local_answer(scheduler: str, tmp_path: Path, changes: dict[str, Any]) -> None:
    task = write_trials(tmp_path / "steps.h5", n=24)
    options: dict[str, Any] = {"dt": DT, **({} if "bracket" in changes else {"grid": "40:100:30"}), **changes}
    remote = convert_network(follower(), task, scheduler=scheduler, **options)
    assert answer(remote.as_dict()) == answer(convert_network(follower(), task, n_jobs=1, **options).as_dict())


def test_the_command_line_takes_a_scheduler(scheduler: str, tmp_path: Path) -> None:
    model, trials = write_model(tmp_path / "model.h5"), tmp_path / "steps.h5"
    write_trials(trials)
    call = ["convert", str(model), "--task", str(trials), "--grid", "40,70", "--dt", str(DT), "--json"]
    found = [
        subprocess.run([PROGRAM, *call, *more], capture_output=True, text=True, check=False)
        for more in ([], ["--scheduler", scheduler])
    ]
    assert [done.returncode for done in found] == [0, 0], found[1].stderr
    local, remote = (answer(json.loads(done.stdout)) for done in found)
    assert remote == local


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("address", [pytest.param("tcp://127.0.0.1:PORT", marks=pytest.mark.slow), "nonsense"])
def test_an_address_where_nobody_answers_is_one_message_and_exit_code_2(address: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.h5")
    where = address.replace("PORT", str(free_port()))
    call = [PROGRAM, "convert", str(model), "--task", "go-nogo", "--scheduler", where, "--json"]
    quick = os.environ | {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s"}
    done = subprocess.run(call, capture_output=True, text=True, env=quick, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"scheduler {where}: no answer")
    assert lines[1] == "Try: dask scheduler   starts one and prints its address"
    assert len(lines) == 2


def test_without_dask_the_scheduler_option_names_the_line_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(
        MissingDependencyError, match=r'--scheduler tcp://x:1 needs .*\nTry: pip install "spikeport\[dask\]"'
    ):
        convert_network(follower(), "go-nogo", scheduler="tcp://x:1", trials=1)


def test_a_cluster_without_workers_is_refused_instead_of_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "ANSWER_SECONDS", 1.0)
    with cluster(tmp_path, workers=0) as address:
        with pytest.raises(SpikeportError, match=rf"{address}: has no workers after 1 s\nTry: dask worker {address}"):
            convert_network(follower(), "go-nogo", scheduler=address, trials=1)


def test_a_refusal_on_a_worker_arrives_as_the_message_that_it_was(scheduler: str) -> None:
    from distributed import Client

    with Client(scheduler, timeout=PATIENCE) as client:
        future = client.submit(parse_grid, "")
        with pytest.raises(SpikeportError, match=r"grid '': empty\nTry: --grid 20:75:5"):
            future.result()
