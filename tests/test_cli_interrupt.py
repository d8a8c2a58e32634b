"""Ctrl-C in a real terminal: exit code 130, what was done is told, no half file stays, training goes on from there."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from require import need
from small_models import DT, write_model, write_trials

PROGRAM = Path(sys.executable).parent / "spikeport"
PATIENCE = 120.0  # s; a slow machine compiles the engine first
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def heed_interrupts() -> None:
    """A shell starts what it runs in the background with SIGINT ignored, and children inherit that; not this one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """The program with a terminal as its standard error, where it shows its progress."""

    def __init__(self, *arguments: object) -> None:
        self.master, slave = pty.openpty()
        try:
            call = [str(PROGRAM), *map(str, arguments)]
            self.process = subprocess.Popen(
                call, stdout=subprocess.PIPE, stderr=slave, stdin=subprocess.DEVNULL, preexec_fn=heed_interrupts
            )
        finally:
            os.close(slave)
        self.seen = ""

    def read(self, seconds: float) -> bool:
        """Take what was printed within so many seconds; False at the end."""
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            found = os.read(self.master, 65536)
        except OSError:  # the other end is closed
            return False
        self.seen += ESCAPES.sub("", found.decode(errors="replace"))
        return bool(found)

    def wait_for(self, pattern: str) -> None:
        limit = time.monotonic() + PATIENCE
        while not re.search(pattern, self.seen):
            assert time.monotonic() < limit, self.seen
            assert self.read(0.1) or re.search(pattern, self.seen), self.seen

    def interrupt(self) -> tuple[int, str, str]:
        """Ctrl-C, once: exit code, standard output, and what the terminal shows after it."""
        self.seen = ""
        self.process.send_signal(signal.SIGINT)
        limit = time.monotonic() + PATIENCE
        while self.read(0.1):
            assert time.monotonic() < limit, f"it goes on: {self.seen}"
        assert self.process.stdout is not None
        output = self.process.stdout.read().decode()
        return self.process.wait(timeout=PATIENCE), output, self.seen


@contextmanager
def running(*arguments: object) -> Iterator[Terminal]:
    terminal = Terminal(*arguments)
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait(timeout=PATIENCE)
        assert terminal.process.stdout is not None
        terminal.process.stdout.close()
        os.close(terminal.master)


def test_an_interrupted_convert_tells_the_curve_so_far_and_writes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "net.h5"
    output.write_bytes(b"old")
    write_model(tmp_path / "m.h5")
    before = sorted(tmp_path.iterdir())
    options = ["--task", "go-nogo", "--grid", "40:80:20", "--dt", DT, "--trials", 1_000_000, "--jobs", 1, "--json"]
    with running("convert", tmp_path / "m.h5", *options, "-o", output, "--force") as terminal:
        terminal.wait_for(r"search .*[1-9]\d*/100000")
        code, printed, told = terminal.interrupt()
    assert (code, printed) == (130, "")
    assert re.search(r"interrupted in the search, after \d+ of 1000000 trials", told), told
    assert re.findall(r"1/lambda +(\d+) +accuracy [01]\.\d+ +[\d.]+ spikes/s +[1-9]\d* trials", told) == [
        "40",
        "60",
        "80",
    ]
    assert "no file was written" in told
    assert "Traceback" not in told
    assert "Warning" not in told
    assert output.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == before


def test_an_interrupted_conversion_for_a_chip_tells_the_curve_and_writes_nothing(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.h5", n=6)
    before = sorted(tmp_path.iterdir())
    options = ["--for", "loihi", "--bits", "8", "--grid", "40:60:20", "--trials", 2, "--test-trials", 1_000_000]
    with running("convert", model, "--task", "go-nogo", *options, "-o", tmp_path / "net.h5") as terminal:
        terminal.wait_for(r"fresh trials on loihi bits 8 .*[1-9]\d*/1000000")
        code, printed, told = terminal.interrupt()
    assert (code, printed) == (130, "")
    assert "interrupted on the fresh trials of bits 8, for loihi" in told
    assert re.findall(r"1/lambda +(\d+) +accuracy", told) == ["40", "60"]
    assert "no file was written" in told
    assert "Traceback" not in told
    assert sorted(tmp_path.iterdir()) == before


def test_an_interrupted_run_tells_how_many_trials_were_right(tmp_path: Path) -> None:
    model, network = write_model(tmp_path / "m.h5"), tmp_path / "net.h5"
    write_trials(tmp_path / "steps.h5")
    made = [PROGRAM, "convert", model, "--task", tmp_path / "steps.h5", "--grid", "60", "--dt", str(DT), "-o", network]
    subprocess.run(made, check=True, capture_output=True)
    with running("run", network, "--task", "go-nogo", "--trials", 1_000_000) as terminal:
        terminal.wait_for(r"trials .*[1-9]\d*/1000000")
        code, printed, told = terminal.interrupt()
    assert (code, printed) == (130, "")
    assert re.search(r"interrupted after [1-9]\d* of 1000000 trials: \d+ right by rule 'published'", told), told


@pytest.mark.slow
def test_an_interrupted_training_leaves_a_checkpoint_that_resume_goes_on_from(tmp_path: Path) -> None:
    need("torch", resource="train")
    output, state = tmp_path / "m.h5", tmp_path / "m.h5.checkpoint"
    options = ["train", "go-nogo", "-o", output, "--neurons", 12, "--batch", 2, "--learning-rate", 1e-6]
    with running(*options, "--max-steps", 100_000) as terminal:
        terminal.wait_for(r"loss .*[1-9]\d*/100000")
        code, printed, told = terminal.interrupt()
    assert (code, printed) == (130, "")
    assert not output.exists()
    assert state.is_file()
    words = " ".join(told.split())
    stopped = re.search(r"training stopped after (\d+) steps; go on with --resume", words)
    assert stopped, told
    steps = int(stopped[1]) + 2
    call = [PROGRAM, *map(str, options), "--max-steps", str(steps), "--resume", "--json"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 1, f"a learning rate of almost 0 does not converge: {done.stderr}"
    found = json.loads(done.stdout)
    assert (found["steps"], found["converged"]) == (steps, False)
    assert output.is_file()
    assert not state.exists(), "a finished run needs no checkpoint"


def test_a_job_in_a_log_prints_no_progress(tmp_path: Path) -> None:
    """Where standard error is a file, a bar would fill it with lines."""
    options = ["--task", "go-nogo", "--grid", "60", "--dt", str(DT), "--trials", "2", "--test-trials", "2"]
    call = [PROGRAM, "convert", write_model(tmp_path / "m.h5"), *options]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
