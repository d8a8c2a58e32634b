"""States, permits, devices."""

from __future__ import annotations

import copy
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from guard_cases import WIDE, Bench, pulse, train

from spikeport.loop.guard.commands import Pulse, Stop, Train
from spikeport.loop.guard.guard import Guard, Permit
from spikeport.loop.guard.limits import Limits
from spikeport.loop.guard.process import Log
from spikeport.loop.guard.states import EVENTS, TRANSITIONS, State
from spikeport.loop.guard.stimulator import DryRun, Stimulator
from spikeport.snn.errors import RefusedError, SpikeportError

# -- states


def guard_in(state: State) -> Guard:
    guard = Guard(Limits(**WIDE))
    for event in {State.DISARMED: (), State.ARMED: ("arm",), State.RUNNING: ("arm", "start"), State.TRIPPED: ("trip",)}[
        state
    ]:
        guard.event(event, 0, by="A. Tester", cause="a cause" if event == "trip" else "")
    assert guard.state is state
    return guard


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", EVENTS)
def test_the_table_of_transitions_is_all_there_is(state: State, event: str) -> None:
    guard = guard_in(state)
    expected = {
        ("disarmed", "arm"): "armed",
        ("armed", "start"): "running",
        ("armed", "end"): "disarmed",
        ("running", "end"): "disarmed",
        ("armed", "disarm"): "disarmed",
        ("running", "disarm"): "disarmed",
        ("tripped", "reset"): "disarmed",
    } | {(before, "trip"): "tripped" for before in ("disarmed", "armed", "running")}
    after = expected.get((state.value, event))
    if after is None:
        with pytest.raises(RefusedError, match=f"{event} is not possible in the state {state.value}"):
            guard.event(event, 0, by="A. Tester", cause="a cause")
        assert guard.state is state
    else:
        guard.event(event, 0, by="A. Tester", cause="a cause")
        assert guard.state.value == after
    assert len(expected) == len(TRANSITIONS)


@pytest.mark.parametrize("state", [state for state in State if state is not State.RUNNING])
def test_only_a_running_guard_gives_anything(state: State) -> None:
    guard = guard_in(state)
    answer = guard.request(pulse(), 0)
    assert [violation.text for violation in answer.violations] == [f"state: {state.value}, limit running"]
    assert guard.due(10**9) == []


@pytest.mark.parametrize("state", State)
def test_stop_is_allowed_in_every_state(state: State) -> None:
    guard = guard_in(state)
    silences = guard.silences
    assert guard.request(Stop(), 0).allowed
    assert guard.silences == silences + 1


@pytest.mark.parametrize("event", ["arm", "disarm", "reset"])
@pytest.mark.parametrize("by", ["", "  "])
def test_a_person_gives_a_name(event: str, by: str) -> None:
    with pytest.raises(RefusedError, match=f"{event} needs the name"):
        guard_in(State.ARMED).event(event, 0, by=by)


def test_a_reset_reads_back_the_cause_to_the_letter() -> None:
    guard = guard_in(State.TRIPPED)
    for wrong in ("", "A cause", "a cause "):
        with pytest.raises(RefusedError, match="must read back the cause of the trip, which is: a cause"):
            guard.event("reset", 0, by="A. Tester", cause=wrong)
    guard.event("reset", 0, by="A. Tester", cause="a cause")
    assert guard.state is State.DISARMED


def test_the_first_cause_of_a_trip_is_the_one_that_stays() -> None:
    records: list[tuple[str, dict[str, Any]]] = []
    guard = Guard(Limits(**WIDE), record=lambda kind, at_ns, **details: records.append((kind, details)))
    guard.trip("first", 0)
    guard.trip("second", 1)
    assert guard.cause == "first"
    assert records[-1] == ("also", {"cause": "second"})


@pytest.mark.parametrize("event", ["end", "disarm", "trip"])
def test_leaving_running_cuts_what_is_under_way_and_silences_the_device(event: str) -> None:
    bench = Bench.running(WIDE)
    bench.ask(train(100, 100))
    silences = bench.station.device.silences  # type: ignore[attr-defined]
    bench.station.end() if event == "end" else bench.station.person(event, by="A. Tester", cause="x")
    bench.wait(450)  # the pulse that has begun comes to its end, but not where the guard trips
    assert bench.station.device.silences > silences  # type: ignore[attr-defined]
    bench.wait(10**6)
    assert len(bench.log) == 1


def test_stop_cuts_a_train_and_the_guard_goes_on() -> None:
    bench = Bench.running(WIDE)
    bench.ask(train(100, 100))
    assert bench.ask(Stop(), 15_000).allowed
    bench.wait(10**6)
    assert len(bench.log) == 2
    assert bench.refused(pulse()) == set()


def test_neither_trip_nor_reset_gives_budget_back() -> None:
    bench = Bench.running(WIDE | {"session_charge_nC": 8})
    bench.ask(pulse())
    bench.station.trip("a cause")
    bench.station.person("reset", by="A. Tester", cause="a cause")
    bench.station.person("arm", by="A. Tester")
    bench.station.start()
    assert bench.refused(train(2, 100), 1000) == {"session_charge_nC"}
    assert bench.refused(pulse()) == set()


def test_a_clock_that_goes_back_trips_the_guard() -> None:
    bench = Bench.running(WIDE)
    bench.ask(train(3, 100), 1000)
    bench.now_ns -= 1
    bench.station.service()
    assert bench.state == "tripped"
    assert bench.guard.cause == "clock: the guard's own went back by 0.001 us"


def test_what_is_no_command_is_not_judged() -> None:
    with pytest.raises(SpikeportError, match="dict is no command"):
        guard_in(State.RUNNING).request({"do": "stop"}, 0)  # type: ignore[arg-type]


# -- permits


def with_permit() -> tuple[Guard, Permit]:
    guard = guard_in(State.RUNNING)
    guard.request(pulse(), 0)
    (permit,) = guard.due(0)
    return guard, permit


def test_a_permit_is_taken_once() -> None:
    guard, permit = with_permit()
    assert guard.redeem(permit, 0)[1] == (pulse(),)
    with pytest.raises(RefusedError, match="not valid"):
        guard.redeem(permit, 0)
    assert guard.state is State.TRIPPED
    assert guard.cause.startswith("permit: ")
    assert guard.given == 1


def test_a_permit_made_elsewhere_is_not_taken() -> None:
    guard, permit = with_permit()
    forged = Permit()
    forged.nonce = permit.nonce  # even with the number of a good one
    _, of_another = with_permit()
    for wrong in (forged, of_another, None, "permit"):
        guard, permit = with_permit()
        if isinstance(wrong, Permit) and wrong is forged:
            forged.nonce = permit.nonce
        with pytest.raises(RefusedError, match="not valid"):
            guard.redeem(wrong, 0)  # type: ignore[arg-type]
        assert (guard.state, guard.given) == (State.TRIPPED, 0)


def test_a_permit_cannot_be_copied() -> None:
    _, permit = with_permit()
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied"):
            attempt(permit)


def test_a_permit_is_void_after_its_pass() -> None:
    guard, permit = with_permit()
    guard.due(1)
    with pytest.raises(RefusedError, match="not valid"):
        guard.redeem(permit, 1)


def test_a_permit_is_void_after_a_cut() -> None:
    guard, permit = with_permit()
    guard.request(Stop(), 0)
    with pytest.raises(RefusedError, match="not valid"):
        guard.redeem(permit, 0)
    assert guard.given == 0


# -- devices


class Broken(DryRun):
    """Raises on request."""

    fails = ""

    def deliver(self, pulses: tuple[Pulse, ...], at_ns: int) -> None:
        if self.fails == "deliver":
            raise OSError("unplugged")
        super().deliver(pulses, at_ns)

    def silence(self) -> None:
        if self.fails == "silence":
            raise OSError("unplugged")
        super().silence()


def test_a_device_that_fails_trips_the_guard() -> None:
    device = Broken()
    bench = Bench.running(WIDE, device=device)
    bench.ask(train(10, 100))
    device.fails = "deliver"
    silences = device.silences
    bench.wait(10**6)
    assert bench.guard.cause == "device: it raised OSError: unplugged"
    assert device.silences == silences + 1
    assert len(device.pulses) == 1


def test_a_device_that_fails_gets_nothing_else_in_that_pass() -> None:
    device = Broken()
    bench = Bench.running(WIDE, device=device)
    device.fails = "deliver"
    bench.station.command(pulse("a"))
    bench.station.command(pulse("b"))
    silences = device.silences
    bench.station.service()
    assert bench.guard.cause == "device: it raised OSError: unplugged"
    assert (device.silences, bench.guard.given) == (silences + 1, 1)


def test_a_device_that_cannot_be_silenced_is_told_again_until_it_obeys() -> None:
    device = Broken()
    bench = Bench.running(WIDE, device=device)
    bench.ask(train(10, 100))
    device.fails = "silence"
    bench.ask(Stop(), 1000)
    assert bench.guard.cause == "device: silence raised OSError: unplugged"
    device.fails, silences = "", device.silences
    bench.station.service()
    assert device.silences == silences + 1
    bench.station.service()
    assert device.silences == silences + 1


def test_what_cannot_be_recorded_is_not_given() -> None:
    device = DryRun()
    bench = Bench.running(WIDE, device=device)
    bench.ask(train(10, 100))

    def full(kind: str, at_ns: int, **details: Any) -> None:
        raise OSError("no space left")

    bench.station._stimulator._record = full
    bench.wait(10**6)
    assert bench.guard.cause == "record: it raised OSError: no space left"
    assert len(device.pulses) == 1
    status = bench.station.status()
    assert (status["given"], status["sites"]["a"]["charge_aC"]) == (1, 4 * 10**9)  # nor does it count


def test_a_guard_whose_record_was_full_is_reset_when_that_takes_a_line_again() -> None:
    bench = Bench.running(WIDE)
    listener = bench._record

    def full(kind: str, at_ns: int, **details: Any) -> None:
        raise OSError("no space left")

    bench.station._listener = full
    bench.ask(pulse())  # "allowed", the trip, its cut and its silence
    assert bench.state == "tripped"
    cause = bench.guard.cause
    with pytest.raises(RefusedError, match="reset is not possible while its log takes nothing: OSError: no space left"):
        bench.station.person("reset", by="A. Tester", cause=cause)
    assert bench.state == "tripped"
    bench.station._listener = listener
    bench.station.service()
    bench.station.person("reset", by="A. Tester", cause=cause)
    bench.station.service()
    assert bench.state == "disarmed"
    reset = next(record for record in bench.records if record.get("event") == "reset")
    assert (reset["by"], reset["cause"], reset["lines_lost"]) == ("A. Tester", cause, 5)
    bench.station.person("arm", by="A. Tester")
    bench.station.start()
    assert bench.refused(pulse()) == set()
    assert bench.state == "running"


@pytest.mark.parametrize("taken", [0, 1, 10, -1])
def test_what_a_full_disk_took_of_a_line_does_not_join_the_next(
    taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(str(tmp_path / "log"))
    log("first", 1)
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda file, data: write(file, data[:taken]))
        for _ in range(2):
            with pytest.raises(OSError, match="only a part of a line"):
                log("torn", 2)
    log("second", 3)
    log("third", 4)
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if line]
    assert [json.loads(line)["kind"] for line in (lines[0], *lines[-2:])] == ["first", "second", "third"]
    assert all(line in '{"kind": "torn", "at_ns": 2}' for line in lines[1:-2])


def test_a_refusal_that_cannot_be_recorded_trips_the_guard() -> None:
    bench = Bench.running(WIDE)

    def full(kind: str, at_ns: int, **details: Any) -> None:
        raise OSError("no space left")

    bench.guard._listener = full
    bench.ask(pulse("elsewhere"))
    assert bench.state == "tripped"
    assert bench.guard.cause == "record: OSError: no space left"


def test_every_pulse_is_recorded_before_it_is_given() -> None:
    order: list[str] = []

    class Ordered(DryRun):
        def deliver(self, pulses: tuple[Pulse, ...], at_ns: int) -> None:
            order.append("device")

    guard = guard_in(State.RUNNING)
    stimulator = Stimulator(guard, Ordered(), lambda kind, at_ns, **details: order.append(kind), lambda: 0)
    guard.request(Train(pulse=pulse(), n_pulses=1, rate_hz=1), 0)
    assert stimulator.give(guard.due(0)[0], 0) == 1
    assert order == ["pulse", "device"]


def test_the_state_alone_withholds_what_is_due() -> None:
    """Also where nothing was cut, which no event leaves behind."""
    guard, permit = with_permit()
    guard.state = State.ARMED
    assert guard.redeem(permit, 0) == (1, ())
    assert guard.due(0) == []
    assert guard.given == 0


# -- stops


def test_a_stop_is_in_the_record_and_counts_apart_from_the_stimuli() -> None:
    bench = Bench.running(WIDE)
    bench.ask(train(100, 100))
    bench.ask(Stop(), 15_000)
    status = bench.station.status()
    assert (status["asked"], status["allowed"], status["stops"]) == (1, 1, 1)
    stop = next(record for record in bench.records if record["kind"] == "stop")
    assert (stop["command"], stop["state"]) == ({"do": "stop"}, "running")
    kinds = [record["kind"] for record in bench.records]
    assert kinds[kinds.index("stop") :] == ["stop", "cut", "silence"]


def test_every_silence_has_its_cause_in_the_record() -> None:
    bench = Bench.running(WIDE)
    bench.ask(Stop())
    bench.station.person("disarm", by="A. Tester")
    bench.station.person("arm", by="A. Tester")
    bench.station.start()
    bench.station.end()
    bench.station.trip("it twitched")
    bench.station.person("reset", by="A. Tester", cause="it twitched")
    assert [record["cause"] for record in bench.records if record["kind"] == "silence"] == [
        "the guard's start", "asked by the loop", "disarmed", "the loop's end", "tripped", "reset",
    ]  # fmt: skip
