"""The guard in a process of its own, with loops that are killed, stopped, or send what is no message.

Times here are relations: how many pulses after a kill at most, by the stated time and the rate; nothing is timed.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from guard_cases import WIDE, pulse, train
from guard_loop import N_PULSES, RATE_HZ

from spikeport.loop.guard import wire
from spikeport.loop.guard.commands import Pattern
from spikeport.loop.guard.console import GuardProcess, Link
from spikeport.loop.guard.limits import SPECS, Limits
from spikeport.loop.guard.watchdog import WatchLimits
from spikeport.snn.errors import RefusedError, SpikeportError

HERE = Path(__file__).parent
TIMEOUT_S = 1.5  # the stated time
WATCH = {
    "heartbeat_timeout_us": TIMEOUT_S * 1e6,
    "clock_jump_us": 10**7,
    "lateness_us": 10**7,
    "missed_deadlines": 1000,
}
LIMITS = WIDE | {"late_us": 10**6, "train_pulses": N_PULSES, "rate_hz": 1000}
PATIENCE_S = 60.0


class Rig:
    """A guard, and a loop in another process."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.log_path = folder / "guard.jsonl"
        self.guard = GuardProcess.start(Limits(**LIMITS), WatchLimits(**WATCH), log=self.log_path, **options)
        self.loop: subprocess.Popen[str] | None = None

    def start_loop(self, mode: str, link: Link | None = None) -> subprocess.Popen[str]:
        """Armed, with a train under way and beating."""
        self.guard.console.arm(by="A. Tester")
        descriptor = (link or self.guard.link).detach()
        command = [sys.executable, str(HERE / "guard_loop.py"), str(descriptor), mode]
        self.loop = subprocess.Popen(command, pass_fds=[descriptor], stdout=subprocess.PIPE, text=True)
        os.close(descriptor)  # the loop alone holds its end
        assert self.loop.stdout is not None
        assert self.loop.stdout.readline() == "begun\n"
        return self.loop

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    def pulses(self) -> list[int]:
        return [record["at_ns"] for record in self.log if record["kind"] == "pulse"]

    def wait_for(self, happened: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE_S
        while not happened():
            assert time.monotonic() < until, f"it never came; the log ends with {self.log[-5:]}"
            time.sleep(0.02)

    def wait_for_pulses(self, n: int) -> None:
        self.wait_for(lambda: len(self.pulses()) >= n)

    def wait_for_state(self, state: str) -> str:
        """And the cause."""
        self.wait_for(lambda: self.guard.console.status()["state"] == state)
        return str(self.guard.console.status()["cause"])

    def close(self) -> None:
        if self.loop is not None:
            self.loop.kill()
            self.loop.wait()
            assert self.loop.stdout is not None
            self.loop.stdout.close()
        self.guard.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    try:
        yield made
    finally:
        made.close()


def assert_silent_within_the_stated_time(rig: Rig, at_ns: int) -> None:
    """Bounded by time and by number; cut, not finished; and silent afterwards."""
    stated_ns = int(TIMEOUT_S * 1e9)
    n = len(rig.pulses())
    begin_ns = next(record["at_ns"] for record in rig.log if record["kind"] == "allowed")
    planned = [begin_ns + number * 10**9 // RATE_HZ for number in range(n)]
    after = [(plan, given) for plan, given in zip(planned, rig.pulses(), strict=True) if given > at_ns]
    assert all(given <= at_ns + stated_ns for _, given in after)
    overdue = sum(plan <= at_ns for plan, _ in after)  # on a machine that is busy
    assert len(after) <= RATE_HZ * TIMEOUT_S + 1 + overdue
    assert overdue <= RATE_HZ * LIMITS["late_us"] / 1e6 + 1
    assert n < N_PULSES
    kinds = [record["kind"] for record in rig.log]
    cut = next(record for record in rig.log if record["kind"] == "cut")
    assert cut["pulses_left"] == N_PULSES - n
    assert "silence" in kinds[kinds.index("cut") :]
    time.sleep(0.3)  # in which a train that goes on gives 30 pulses
    assert len(rig.pulses()) == n


def test_kill_9_of_the_loop_leaves_the_sink_silent(rig: Rig) -> None:
    loop = rig.start_loop("beat")
    rig.wait_for_pulses(20)
    at_ns = time.monotonic_ns()
    os.kill(loop.pid, signal.SIGKILL)
    assert rig.wait_for_state("tripped") == "loop: its end of the pipe is closed"
    assert_silent_within_the_stated_time(rig, at_ns)


def test_kill_9_is_found_also_where_another_process_holds_the_pipe_open(rig: Rig) -> None:
    """Then there is no end of file: the heartbeats are missed."""
    held = os.dup(rig.guard.link._socket.fileno())
    try:
        loop = rig.start_loop("beat")
        rig.wait_for_pulses(20)
        at_ns = time.monotonic_ns()
        os.kill(loop.pid, signal.SIGKILL)
        assert rig.wait_for_state("tripped").startswith("heartbeat: none for ")
        assert_silent_within_the_stated_time(rig, at_ns)
    finally:
        os.close(held)


def test_a_loop_that_hangs_leaves_the_sink_silent_also_when_it_goes_on(rig: Rig) -> None:
    loop = rig.start_loop("beat")
    rig.wait_for_pulses(20)
    os.kill(loop.pid, signal.SIGSTOP)
    at_ns = time.monotonic_ns()
    assert rig.wait_for_state("tripped").startswith("heartbeat: none for ")
    os.kill(loop.pid, signal.SIGCONT)
    assert_silent_within_the_stated_time(rig, at_ns)
    assert rig.guard.console.status()["state"] == "tripped"


@pytest.mark.parametrize(
    ("mode", "cause"),
    [
        ("garbage", "message: bytes that are no frame"),
        ("half a frame", "heartbeat: none for "),
        ("changed frame", "message: a frame that was changed on its way"),
        ("old frame", "message: frame 0 where "),
        ("console's message", "message: a message that a loop cannot send"),
        ("no JSON", "message: no JSON: "),
        ("nan", "values: output 1 of tick "),
        ("hang", "heartbeat: none for "),
    ],
)
def test_what_a_sane_loop_does_not_do_trips(rig: Rig, mode: str, cause: str) -> None:
    rig.start_loop(mode)
    assert rig.wait_for_state("tripped").startswith(cause)
    assert 0 < len(rig.pulses()) < N_PULSES
    assert [record["kind"] for record in rig.log].count("cut") == 1


def test_a_loop_that_ends_in_order_disarms_and_cuts(rig: Rig) -> None:
    rig.start_loop("end")
    assert rig.wait_for_state("disarmed") == ""
    assert 0 < len(rig.pulses()) < N_PULSES


def test_a_tripped_guard_takes_a_new_loop_after_a_reset_and_remembers_what_was_given(rig: Rig) -> None:
    loop = rig.start_loop("beat")
    rig.wait_for_pulses(5)
    os.kill(loop.pid, signal.SIGKILL)
    loop.wait()
    assert loop.stdout is not None
    loop.stdout.close()
    cause = rig.wait_for_state("tripped")
    console = rig.guard.console
    with pytest.raises(RefusedError, match="when the last loop is gone and the guard is disarmed"):
        console.attach()
    with pytest.raises(RefusedError, match="arm is not possible in the state tripped"):
        console.arm(by="A. Tester")
    with pytest.raises(RefusedError, match="must read back the cause"):
        console.reset(by="A. Tester", cause="something")
    before = console.reset(by="A. Tester", cause=cause)["sites"]["a"]["charge_aC"]
    assert before == len(rig.pulses()) * 2 * 2 * 10**9
    rig.start_loop("beat", console.attach())
    rig.wait_for(lambda: console.status()["sites"]["a"]["charge_aC"] > before)


def test_the_emergency_stop_cuts(rig: Rig) -> None:
    rig.start_loop("beat")
    rig.wait_for_pulses(5)
    assert rig.guard.console.trip(by="A. Tester", cause="it twitched")["state"] == "tripped"
    n = len(rig.pulses())
    time.sleep(0.2)
    assert len(rig.pulses()) == n < N_PULSES


def test_the_end_of_the_console_ends_the_session_in_silence(rig: Rig) -> None:
    rig.start_loop("beat")
    rig.wait_for_pulses(5)
    rig.guard.close()
    assert rig.guard._process.returncode == 0
    causes = [record["cause"] for record in rig.log if record["kind"] == "state"]
    assert causes[-1] == "console: its end of the pipe is closed"
    assert rig.log[-1]["kind"] == "silence"


def test_sigterm_of_the_guard_ends_the_session_in_silence_and_ctrl_c_does_not(rig: Rig) -> None:
    rig.start_loop("beat")
    rig.wait_for_pulses(5)
    os.kill(rig.guard.pid, signal.SIGINT)
    rig.wait_for_pulses(len(rig.pulses()) + 5)
    os.kill(rig.guard.pid, signal.SIGTERM)
    assert rig.guard._process.wait(PATIENCE_S) == 0
    assert [record["cause"] for record in rig.log if record["kind"] == "state"][-1] == "terminated"
    assert rig.log[-1]["kind"] == "silence"


def test_nothing_but_the_guards_permits_moves_the_device(rig: Rig) -> None:
    """Not armed, not started: commands are refused, and the log has no pulse."""
    link = rig.guard.link
    link.command(pulse())
    with pytest.raises(RefusedError, match="start is refused"):
        link.start()
    rig.guard.console.arm(by="A. Tester")
    link.command(pulse())
    link.start()
    answers = link.answers()
    assert [answer["limits"] for answer in answers if "allowed" in answer] == [
        ["state: disarmed, limit running"],
        ["state: armed, limit running"],
    ]
    assert rig.pulses() == []


def answers_to(link: Link, n: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < n:
        assert select.select([link._channel], [], [], PATIENCE_S)[0]
        found += [answer for answer in link.answers() if "allowed" in answer]
    return found


def test_a_refusal_comes_back_with_its_limits_and_is_in_the_log(rig: Rig) -> None:
    link = rig.guard.link
    rig.guard.console.arm(by="A. Tester")
    link.start()
    link.command(pulse("elsewhere"))
    link.command(train(N_PULSES + 1, 100))
    link.invalid("amplitude is nan")
    link.command(pulse())
    first, second, third = answers_to(link, 3)
    assert first["limits"] == ["site at 'elsewhere': unknown, limit one of the 3 sites of area_um2"]
    assert second["limits"] == [f"train_pulses at 'a': {N_PULSES + 1}, limit {N_PULSES}"]
    assert third["allowed"]
    refused = [record["limits"] for record in rig.log if record["kind"] == "refused"]
    assert refused == [first["limits"], second["limits"], ["command: amplitude is nan"]]
    assert rig.guard.console.status()["asked"] == 4


def test_a_command_of_the_link_that_is_none_is_refused_and_the_guard_goes_on(rig: Rig) -> None:
    link = rig.guard.link
    rig.guard.console.arm(by="A. Tester")
    link.start()
    link._numbered({"do": "stimulate", "pattern": False, "parts": [{"site": "a"}]})
    link.command(pulse())
    first, second = answers_to(link, 2)
    assert first["limits"] == [
        "command: message: not a command, it has a part with other fields than a pulse or a train has"
    ]
    assert second["allowed"]


def test_a_loop_learns_that_the_guard_is_gone(rig: Rig) -> None:
    link = rig.guard.link
    rig.guard.console.arm(by="A. Tester")
    link.start()
    os.kill(rig.guard.pid, signal.SIGKILL)
    rig.guard._process.wait(PATIENCE_S)
    for _ in range(100):  # what it had still sent comes first, the end after it
        link.answers()
        if link.closed:
            break
        time.sleep(0.01)
    assert link.closed
    assert link.command(pulse()) == -1
    with pytest.raises(SpikeportError, match="its process is gone"):
        rig.guard.console.status()


def test_a_guard_that_does_not_read_does_not_block_the_loop(rig: Rig) -> None:
    os.kill(rig.guard.pid, signal.SIGSTOP)
    try:
        sent = 0
        while rig.guard.link.command(pulse()) >= 0:
            sent += 1
            assert sent < 100_000
        assert rig.guard.link._channel.unsent <= wire.MAX_UNSENT + wire.MAX_BODY + 100
    finally:
        os.kill(rig.guard.pid, signal.SIGCONT)


DEVICE = """
import os

class Line:
    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def deliver(self, pulses, at_ns):
        for pulse in pulses:
            os.write(self.file, f"{pulse.site} {pulse.amplitude_nA}\\n".encode())

    def silence(self):
        os.write(self.file, b"silence\\n")

class Deaf:
    def deliver(self, pulses, at_ns):
        pass
"""


def test_a_device_of_the_users_gets_the_pulses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_device.py").write_text(DEVICE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    given = tmp_path / "given.txt"
    made = Rig(tmp_path, device="my_device:Line", options={"path": str(given)})
    try:
        made.start_loop("end")
        made.wait_for_state("disarmed")
        lines = given.read_text().splitlines()
        assert lines[0] == lines[-1] == "silence"
        assert lines.count("a 10000") == len(made.pulses()) > 0
    finally:
        made.close()


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("no_such_module:Line", "ModuleNotFoundError"),
        ("my_device:Nothing", "has no attribute 'Nothing'"),
        ("my_device:Deaf", "lacks deliver or silence"),
        ("my_device:Line", "missing 1 required positional argument"),
    ],
)
def test_a_device_that_is_none_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, message: str
) -> None:
    (tmp_path / "my_device.py").write_text(DEVICE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RefusedError, match=message):
        GuardProcess.start(Limits(**LIMITS), WatchLimits(**WATCH), log=tmp_path / "log", device=device)
    assert not (tmp_path / "log").exists()


def test_a_log_is_never_written_over(rig: Rig) -> None:
    with pytest.raises(RefusedError, match="no log of the guard: File exists"):
        GuardProcess.start(Limits(**LIMITS), WatchLimits(**WATCH), log=rig.log_path)


def test_the_log_begins_with_what_was_allowed(rig: Rig) -> None:
    header = rig.log[0]
    assert Limits.from_wire(header["limits"]).digest() == header["digest"] == Limits(**LIMITS).digest()
    assert WatchLimits.from_wire(header["watch"]).given == WatchLimits(**WATCH).given
    assert header["device"] == "dry run"


def test_a_guard_takes_limits_of_a_thousand_sites(tmp_path: Path) -> None:
    sites = {f"electrode {number:04d} of the array": Fraction(10_000 + number, 7) for number in range(1024)}
    many = {name: dict.fromkeys(sites, value) for name, value in LIMITS.items() if SPECS[name].per_site}
    limits = Limits(**(LIMITS | many | {"area_um2": sites}))
    with GuardProcess.start(limits, WatchLimits(**WATCH), log=tmp_path / "log") as guard:
        assert guard.console.status()["limits"] == limits.digest()
        assert len(guard.console.status()["sites"]) == 1024
        guard.console.arm(by="A. Tester")
        guard.link.start()
        guard.link.command(Pattern(tuple(pulse(f"nowhere {number}") for number in range(16))))
        assert len(answers_to(guard.link, 1)[0]["limits"]) == 16 + 1  # and simultaneous_sites
