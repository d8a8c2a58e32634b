"""A loop's file with a guard: what it must say, who arms, what is given and logged, and the way to every transport."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from guard_cases import WIDE
from hypothesis import given
from hypothesis import strategies as st
from live_cases import LOOP, answer, call, write_loop
from require import need

from spikeport.live_guard import Crossing, Crossings, read_stimuli
from spikeport.loop.configuration import Problems
from spikeport.loop.guard.commands import Pulse
from spikeport.loop.guard.console import Console, GuardProcess
from spikeport.loop.packets import Output

need("yaml", resource="live")

PULSE = {
    "site": "a", "polarity": "cathodic first", "amplitude_uA": 10, "width_us": 200, "interphase_us": 50,
}  # fmt: skip
WATCH = {"heartbeat_timeout_us": 5_000_000, "clock_jump_us": 10_000_000, "lateness_us": 10_000_000,
         "missed_deadlines": 10_000}  # fmt: skip
GUARD: dict[str, Any] = {
    "limits": WIDE | {"late_us": 1_000_000},
    "watch": WATCH,
    "stimuli": [{"output": 0, "above": 0.5, **PULSE}],
    "log": "guard.jsonl",
    "when_tripped": "stop",
}
WALL = {"clock": {"kind": "wall"}, "record": {"path": "session.spklog", "on_loss": "stop"}}


def output(value: float) -> Output:
    return Output(tick=0, seq=0, values=np.array([value]), safe=False, cause="fresh", deadline_ns=0, source_ns=0,
                  received_ns=0, start_ns=0, end_ns=0)  # fmt: skip


@given(st.lists(st.floats(-2, 2)), st.floats(-1, 1))
def test_a_stimulus_is_asked_for_once_at_each_crossing_from_below(values: list[float], above: float) -> None:
    pulse = Pulse.symmetric("a", polarity="cathodic first", amplitude_uA=1, width_us=1, interphase_us=0)
    asked = Crossings([Crossing(0, above, pulse)])
    found = [bool(list(asked(output(v)))) for v in values]
    high = [v > above for v in values]
    assert found == [i > 0 and high[i] and not high[i - 1] for i in range(len(values))]


def test_stimuli_are_pulses_and_trains_and_what_is_wrong_is_said_with_its_place() -> None:
    problems = Problems()
    train = {"n_pulses": 3, "rate_hz": 100}
    read_stimuli([{"output": 0, "above": 1, **PULSE, **train}, {"output": 0, "above": 1, **PULSE}], "g", problems, 1)
    assert problems.found == []
    given_at = {"output": 0, "above": 1, **PULSE}
    wrong = [
        {**given_at, "output": 5},
        {**given_at, "amplitude_uA": -1, "polarity": "up"},
        {**given_at, "rate_hz": 100},
        {"above": 1, **PULSE, "side": 3},
    ]
    read_stimuli(wrong, "g", problems, 1)
    assert [line.partition(" ")[0] for line in problems.found] == [
        "g[0].output:", "g[1]:", "g[1]:", "g[1]:", "g[2]:", "g[3].side:", "g[3].output:",
    ]  # fmt: skip
    read_stimuli(3, "g", problems, 1)
    assert "must be a list" in problems.found[-1]


def test_a_crossing_stimulates_in_a_dry_run_and_the_log_has_it(tmp_path: Path) -> None:
    loop = write_loop(tmp_path, n=200, guard=GUARD, **WALL)
    found = answer("live", "run", loop, "--arm", "A. Tester")
    assert (found["ended"], found["guard"]["state"]) == ("source ended", "disarmed")
    log = [json.loads(line) for line in (tmp_path / "guard.jsonl").read_text().splitlines()]
    assert [each["by"] for each in log if each.get("by")] == ["A. Tester"]
    given_ones = [each for each in log if each["kind"] == "pulse"]
    assert len(given_ones) == found["guard"]["given"]
    # the input rises at samples 40 and 120, and the output follows; ticks that a busy machine merged may hide one
    assert 1 <= found["guard"]["given"] <= 2 or found["merged_ticks"] > 0


def test_a_guard_that_trips_ends_the_run_with_exit_code_1(tmp_path: Path) -> None:
    watch = {**WATCH, "lateness_us": 0.001, "missed_deadlines": 0}
    loop = write_loop(tmp_path, guard={**GUARD, "watch": watch}, **WALL)
    done = call("live", "run", loop, "--arm", "A. Tester", code=1)
    assert "guard: tripped" in done.stderr
    shown = answer("live", "show", tmp_path / "session.spklog")
    assert shown["ending"] == "clean"
    assert shown["stopped"]["safe_value_emitted"]


def test_nobody_arms_it_by_accident(tmp_path: Path) -> None:
    loop = write_loop(tmp_path, guard=GUARD, **WALL)
    assert '--arm "A. Name"' in call("live", "run", loop, code=2).stderr
    assert not (tmp_path / "guard.jsonl").exists()
    assert not (tmp_path / "session.spklog").exists()
    plain = write_loop(tmp_path, name="plain.yaml", **WALL)
    assert "no section `guard`" in call("live", "run", plain, "--arm", "A. Tester", code=2).stderr


def test_a_name_that_is_blank_arms_nothing_and_leaves_the_log_to_be_written(tmp_path: Path) -> None:
    loop = write_loop(tmp_path, guard=GUARD, **WALL)
    assert '--arm "A. Name"' in call("live", "run", loop, "--arm", " ", code=2).stderr
    assert not (tmp_path / "guard.jsonl").exists()


def test_a_log_that_exists_asks_for_a_new_one_and_not_for_force(tmp_path: Path) -> None:
    loop = write_loop(tmp_path, guard=GUARD, **WALL)
    (tmp_path / "guard.jsonl").write_text("an old session\n")
    for arguments in ([], ["--force"]):
        errors = call("live", "run", loop, "--arm", "A. Tester", *arguments, code=2).stderr
        assert "guard.log: " in errors
        assert "name a new log: a guard's log is never replaced" in errors
        assert "--force" not in errors
    assert (tmp_path / "guard.jsonl").read_text() == "an old session\n"


def test_ctrl_c_while_the_guard_starts_names_the_log_that_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(console: Console, *, by: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Console, "arm", interrupted)
    loop = write_loop(tmp_path, guard=GUARD, **WALL)
    errors = call("live", "run", loop, "--arm", "A. Tester", code=130).stderr
    assert errors == f"interrupted\nwritten until then: {tmp_path / 'guard.jsonl'}\n"


def test_ctrl_c_before_anything_was_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(GuardProcess, "start", interrupted)
    loop = write_loop(tmp_path, guard=GUARD, **WALL)
    errors = call("live", "run", loop, "--arm", "A. Tester", code=130).stderr
    assert errors == "interrupted\nno file was written\n"


def test_the_line_of_the_guard_counts_the_stops_of_the_loop_apart(tmp_path: Path) -> None:
    loop = write_loop(tmp_path, guard={**GUARD, "stimuli": []}, **WALL)
    shown = call("live", "run", loop, "--arm", "A. Tester").stdout
    assert "disarmed; 0 asked, 0 allowed, 0 refused, 0 given; " in shown
    log = [json.loads(line) for line in (tmp_path / "guard.jsonl").read_text().splitlines()]
    stops = sum(each["kind"] == "stop" for each in log)
    assert f"0 given; {stops} times told to stop" in shown
    assert stops > 0


def test_every_limit_that_is_missing_unknown_or_wrong_is_said(tmp_path: Path) -> None:
    limits = {**WIDE, "rate_hertz": 3, "amplitude_uA": "many"}
    del limits["shannon_k"], limits["late_us"]
    loop = write_loop(tmp_path, guard={**GUARD, "limits": limits, "watch": {}, "device": "my:Device"})
    done = call("live", "run", loop, code=2)
    for line in (
        "guard.device: a file runs nothing",
        "guard.limits.rate_hertz: unknown, did you mean rate_hz?",
        "guard.limits.shannon_k: is missing",
        "guard.limits.late_us: is missing",
        "guard.limits.amplitude_uA: ",
        "guard.watch.heartbeat_timeout_us: is missing",
        "guard.watch.missed_deadlines: is missing",
        "clock.kind: 'virtual', but the guard's process reads the machine's",
    ):
        assert line in done.stderr, done.stderr


def test_the_one_limit_that_may_be_none_must_say_null(tmp_path: Path) -> None:
    loop = write_loop(tmp_path, guard=GUARD, **WALL)
    call("live", "run", loop, "--check")
    loop.write_text(loop.read_text().replace('"blanking_all_us": null', '"blanking_all_us": '))
    assert "guard.limits.blanking_all_us: has no value; write null" in call("live", "run", loop, code=2).stderr


ENDPOINT = "tcp://127.0.0.1:5599"
REDIS = {"server": "127.0.0.1:6379", "stream": "y", "when_blocked": "drop"}
TRANSPORTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "udp",
        {"bind": "127.0.0.1:0", "peer": "127.0.0.1", "stamps": "least delay"},
        {"to": "127.0.0.1:9", "when_blocked": "raise"},
    ),
    (
        "zmq",
        {"pattern": "sub", "connect": ENDPOINT, "wait": 0},
        {"pattern": "pub", "bind": ENDPOINT, "when_blocked": "drop"},
    ),
    ("lsl", {"stream": "x", "sequence": "last channel"}, {"name": "out", "source_id": "y"}),
    ("redis", {"stream": "x", "counter": {"name": "sync.i", "step": 2}}, REDIS),
    ("redis", {"stream": "x", "counter": None, "time": None}, REDIS),
]


@pytest.mark.parametrize(("kind", "source", "sink"), TRANSPORTS, ids=lambda each: each if isinstance(each, str) else "")
def test_every_transport_can_be_said_in_a_file(
    kind: str, source: dict[str, Any], sink: dict[str, Any], tmp_path: Path
) -> None:
    if kind != "udp":
        need({"zmq": "zmq", "lsl": "pylsl", "redis": "redis"}[kind], resource=kind)
    loop = write_loop(tmp_path, source={"kind": kind, **source}, sink={"kind": kind, **sink}, **WALL)
    found = answer("live", "run", loop, "--check")
    assert found["source"]["kind"] == found["sink"]["kind"] == kind


def test_what_a_part_itself_finds_wrong_comes_with_its_place(tmp_path: Path) -> None:
    loop = write_loop(
        tmp_path,
        source={"kind": "udp", "bind": "nowhere"},
        sink={"kind": "udp", "to": "127.0.0.1:99999", "when_blocked": "drop"},
        policy={**LOOP["policy"], "capacity": 1, "window": 3},
        **WALL,
    )
    errors = call("live", "run", loop, code=2).stderr
    assert "source: udp source: address 'nowhere', must be host:port" in errors
    assert "sink: udp sink: address '127.0.0.1:99999'" in errors
    assert "policy.capacity: 1 packets, must be above window + backlog" in errors
