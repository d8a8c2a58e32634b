"""`live run` and its record: one that is in use, a writer that is killed, a full disk; and the summary in any case."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from live_cases import PATIENCE, PROGRAM, answer, call, listening, running, write_loop
from require import need
from test_cli_live_guard import GUARD
from typer.testing import CliRunner

from spikeport.cli import app
from spikeport.loop.guard.console import Console
from spikeport.loop.record.outside import ProcessRecorder
from spikeport.loop.sinks.memory import CallSink
from spikeport.snn.errors import SpikeportError
from spikeport.snn.writing import check_writable

need("yaml", resource="live")

ENDLESS: dict[str, Any] = {
    "clock": {"kind": "wall"},
    "source": {"kind": "recording", "file": "samples.npy", "repeat": None},
    "record": {"path": "session.spklog", "on_loss": "count"},
}


def test_force_does_not_take_the_record_from_a_loop_that_runs(tmp_path: Path) -> None:
    loop = write_loop(tmp_path, **ENDLESS)
    with running(loop) as run:
        for options in (["--check"], ["--ticks", 3]):
            refused = call("live", "run", loop, "--force", *options, code=2)
            assert "session.spklog: is being written by another program" in refused.stderr
        other = write_loop(tmp_path, name="other.yaml", record={**ENDLESS["record"], "overwrite": True})
        call("live", "run", other, code=2)
        found = run.end(signal.SIGTERM, 143)
    shown = answer("live", "show", tmp_path / "session.spklog")
    assert shown["ending"] == "clean"
    assert shown["ticks"] == found["ticks"] > 0


def test_a_record_is_not_replaced_by_another_ones_nwb(tmp_path: Path) -> None:
    answer("live", "run", write_loop(tmp_path, record={"path": "old.spklog", "on_loss": "stop"}))
    (tmp_path / "session.yaml").touch()
    with ProcessRecorder(tmp_path / "a.spklog", on_loss="count") as recorder:
        recorder.open({})
        where = ["-o", tmp_path / "a.spklog", "--session", tmp_path / "session.yaml", "--force"]
        done = call("live", "export-nwb", tmp_path / "old.spklog", *where, code=2)
    assert "is being written by another program" in done.stderr


def writer_of(loop: int) -> int:
    """The process that writes the record of the loop in process `loop`."""
    children = Path(f"/proc/{loop}/task/{loop}/children").read_text().split()
    (found,) = [int(p) for p in children if b"record.process" in Path(f"/proc/{p}/cmdline").read_bytes()]
    return found


def test_a_recorder_that_was_killed_is_said_at_once_and_the_summary_in_any_case(tmp_path: Path) -> None:
    with listening() as listener:
        sink = {"kind": "udp", "to": listener.address, "when_blocked": "drop"}
        with running(write_loop(tmp_path, **{**ENDLESS, "sink": sink})) as run:
            os.kill(writer_of(run.process.pid), signal.SIGKILL)
            assert run.process.stderr is not None
            said = run.process.stderr.readline()  # while the loop runs on
            assert said.endswith("session.spklog: nothing more is recorded: the process that writes it is gone\n")
            n = len(listener.outputs)
            listener.wait_for(lambda: len(listener.outputs) > n + 20, "the loop going on")
            run.process.send_signal(signal.SIGTERM)
            out, errors = run.process.communicate(timeout=PATIENCE)
    assert run.process.returncode == 2
    assert "the record is not whole: the process that writes it is gone" in errors
    found = json.loads(out)
    assert found["ended"] == "asked to stop"
    assert found["recorder"]["lost_ticks"] >= 20
    assert found["failed"].splitlines()[0] == errors.splitlines()[0]


def run_with_a_full_disk(loop: Path, *options: str) -> Any:
    """The process that writes the record may write 40,000 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    try:
        return CliRunner().invoke(app, ["live", "run", str(loop), *options])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("on_loss", ["count", "stop"])
def test_a_full_disk_is_said_with_its_reason_and_hides_no_summary(tmp_path: Path, on_loss: str) -> None:
    record = {"path": "session.spklog", "on_loss": on_loss}
    loop = write_loop(tmp_path, **{**ENDLESS, "record": record}, period=0.0005)
    done = run_with_a_full_disk(loop, "--ticks", "2500", "--json")
    assert done.exit_code == 2, done.output
    found = json.loads(done.stdout)
    assert found["recorder"]["broken"] == "File too large"
    assert "the record is not whole: File too large" in done.stderr
    if on_loss == "stop":
        assert "File too large" in found["ended"]
    else:
        assert found["ended"] == "all ticks run"
        assert "session.spklog: nothing more is recorded: File too large" in done.stderr
        assert found["recorder"]["lost_ticks"] > 0
    text = run_with_a_full_disk(loop, "--ticks", "2500", "--force").stdout
    assert ": File too large" in text


@pytest.mark.slow
def test_ticks_that_the_record_lost_are_said_where_it_is_whole_again(tmp_path: Path) -> None:
    with running(write_loop(tmp_path, **ENDLESS, period=0.0005)) as run:
        writer = writer_of(run.process.pid)
        os.kill(writer, signal.SIGSTOP)
        assert run.process.stderr is not None
        assert "ticks are being lost from the record" in run.process.stderr.readline()
        os.kill(writer, signal.SIGCONT)
        found = run.end(signal.SIGTERM, 143)
    shown = answer("live", "show", tmp_path / "session.spklog")
    assert shown["ending"] == "clean"
    assert shown["record_lost"]["ticks"] == found["recorder"]["lost_ticks"] > 0


def test_a_guard_that_does_not_answer_hides_no_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(console: Console, *_: Any, **__: Any) -> Any:
        raise SpikeportError("guard: no answer within 30 s")

    monkeypatch.setattr(Console, "status", silent)
    record = {"path": "session.spklog", "on_loss": "stop"}
    loop = write_loop(tmp_path, n=20, guard=GUARD, clock={"kind": "wall"}, record=record)
    done = call("live", "run", loop, "--arm", "A. Tester", code=2)
    assert "ended           source ended" in done.stdout
    assert "guard           unknown: guard: no answer within 30 s\n" in done.stdout
    assert "guard: no answer within 30 s" in done.stderr


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(5, "Input/output error")])
def test_a_part_that_the_system_fails_is_exit_code_2_and_hides_no_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def fail(sink: CallSink, output: Any) -> None:
        raise error

    monkeypatch.setattr(CallSink, "emit", fail)
    found = json.loads(call("live", "run", write_loop(tmp_path), "--json", code=2).stdout)
    assert found["ended"].startswith(f"failed: {type(error).__name__}")


def test_a_reader_that_went_away_does_not_change_the_exit_code(tmp_path: Path) -> None:
    policy = {"lost": "hold", "overload": "stop", "lost_after": 20, "good": 3, "safe": [-1]}
    loop = write_loop(tmp_path, policy=policy, clock={"kind": "virtual", "costs": {"decode": 30_000_000}})
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([str(PROGRAM), "live", "run", str(loop)], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"running: source recording, sink none\n")


def test_a_loop_goes_on_where_nobody_reads_what_it_says(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [str(PROGRAM), "live", "run", str(write_loop(tmp_path)), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=write, check=False)
    os.close(write)
    assert done.returncode == 0
    assert json.loads(done.stdout)["ticks"] == 200


def test_nothing_is_written_over_a_guards_log_in_use(tmp_path: Path) -> None:
    loop = write_loop(tmp_path, **{**ENDLESS, "guard": GUARD})
    with running(loop, "--arm", "A. Tester") as run:
        with pytest.raises(SpikeportError, match=r"guard\.jsonl: is being written by another program"):
            check_writable(tmp_path / "guard.jsonl", overwrite=True)
        run.end(signal.SIGTERM, 143)
    check_writable(tmp_path / "guard.jsonl", overwrite=True)
