"""`spikeport live` in real processes: run, Ctrl-C, kill -9, the record, its replay, and what a file must not say."""

from __future__ import annotations

import copy
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_cases import LOOP, answer, call, listening, producing, running, write_loop
from require import need
from small_models import follower

from spikeport.live import load
from spikeport.loop.record.read import read_record, summary
from spikeport.snn.errors import SpikeportError
from spikeport.snn.files import save_rate_network

need("yaml", resource="live")
WALL = {"clock": {"kind": "wall"}, "record": {"path": "session.spklog", "on_loss": "stop"}}


def udp(to: str) -> dict[str, Any]:
    """Sections of a loop over UDP."""
    return {
        **WALL,
        "source": {"kind": "udp", "bind": "127.0.0.1:0", "capacity": 1000},
        "sink": {"kind": "udp", "to": to, "when_blocked": "drop"},
    }


def test_a_loop_over_udp_ends_with_ctrl_c_and_its_record_replays_bit_for_bit(tmp_path: Path) -> None:
    with listening() as listener:
        loop = write_loop(tmp_path, **udp(listener.address))
        with running(loop) as run, producing(run.address, 10_000):
            listener.wait_for(lambda: listener.causes().count("fresh") >= 100, "outputs")
            found = run.end(signal.SIGINT, 130)
        listener.wait_for(lambda: listener.causes()[-1] == "stopped", "the safe value")
        emitted = list(listener.outputs)
    last = emitted[-1].output
    assert (last.cause, last.safe, last.values.tolist()) == ("stopped", True, [-1.0])
    assert found["ended"] == "interrupted"
    assert found["imbalances"] == []
    record = read_record(tmp_path / "session.spklog")
    assert str(record.ending) == "clean"
    assert len(record) == found["ticks"]
    by_tick = {each.output.tick: each.output.values for each in emitted[:-1]}
    heard = [row for tick, row in zip(record.tick.tolist(), record.outputs, strict=True) if tick in by_tick]
    assert len(heard) >= 100
    assert all(np.array_equal(row, by_tick[t]) for t, row in zip(record.tick.tolist(), record.outputs, strict=True)
               if t in by_tick)  # fmt: skip
    replayed = answer("live", "replay", tmp_path / "session.spklog", "--decoder", tmp_path / "rate.h5")
    assert replayed["identical"]
    assert replayed["compared"] >= 100
    assert replayed["other_decoder"] == []


def test_a_producer_that_is_killed_brings_the_safe_value_until_another_one_comes(tmp_path: Path) -> None:
    with listening() as listener:
        loop = write_loop(tmp_path, **udp(listener.address))
        with running(loop) as run:
            with producing(run.address, 100_000) as producer:
                listener.wait_for(lambda: listener.causes().count("fresh") >= 50, "outputs")
                producer.send_signal(signal.SIGKILL)
                producer.wait()
            killed = len(listener.outputs)
            listener.wait_for(lambda: listener.causes(killed).count("stream lost") >= 20, "the stream's loss")
            lost = len(listener.outputs)
            with producing(run.address, 100_000):
                listener.wait_for(lambda: listener.causes(lost).count("fresh") >= 50, "the way back")
                found = run.end(signal.SIGTERM, 143)
        outputs = [each.output for each in listener.outputs]
    assert all(o.safe and o.values[0] == -1.0 for o in outputs if o.cause == "stream lost")
    assert found["lost_streams"] >= 1
    assert found["restarts"] >= 1
    shown = answer("live", "show", tmp_path / "session.spklog")
    assert shown["ending"] == "clean"
    assert shown["causes"] == {cause: n for cause, n in found["causes"].items() if n}
    assert shown["events"]["stream lost"] == found["lost_streams"]
    assert [gap for gap in shown["gap_list"] if gap["cause"] == "stream lost"]


def test_what_a_killed_loop_recorded_is_shown_and_replayed(tmp_path: Path) -> None:
    record = tmp_path / "session.spklog"
    with listening() as listener:
        loop = write_loop(tmp_path, **udp(listener.address))
        with running(loop) as run, producing(run.address, 10_000):
            listener.wait_for(lambda: listener.causes().count("fresh") >= 50, "outputs")
            run.process.send_signal(signal.SIGKILL)
            run.process.wait()
        ticks = listener.outputs[-1].output.tick
        listener.wait_for(lambda: str(summary(record)["ending"]).startswith("abandoned"), "the record's end")
    shown = answer("live", "show", record)
    assert shown["ticks"] + shown["merged_ticks"] >= ticks  # all but what the pipe had not taken yet
    assert shown["stopped"] == {}
    assert answer("live", "replay", record, "--decoder", tmp_path / "rate.h5")["differing"] == 0
    record.write_bytes(record.read_bytes()[:-100])
    cut = call("live", "show", record, code=1).stdout
    assert "ending          cut at byte" in cut
    call("live", "replay", record, "--decoder", tmp_path / "rate.h5", code=1)


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    first = answer("live", "run", write_loop(tmp_path))
    before = (tmp_path / "session.spklog").read_bytes()
    call("live", "run", tmp_path / "loop.yaml", code=2)  # a record is not written over unasked
    call("live", "run", tmp_path / "loop.yaml", "--force")
    assert (tmp_path / "session.spklog").read_bytes() == before
    assert (first["ended"], first["ticks"], first["causes"]["fresh"]) == ("source ended", 200, 198)
    shown = answer("live", "show", tmp_path / "session.spklog")
    assert shown["header"]["configuration"]["policy"] == LOOP["policy"]
    assert shown["timing"]["stages"]["decode"]["n"] == 200
    assert shown["stopped"]["safe_value_emitted"]


def test_another_network_is_named_and_differs(tmp_path: Path) -> None:
    call("live", "run", write_loop(tmp_path), "--ticks", 50)
    save_rate_network(follower(seed=1), tmp_path / "other.h5")
    done = call("live", "replay", tmp_path / "session.spklog", "--decoder", tmp_path / "other.h5", code=1)
    assert "another decoder: network: recorded" in done.stdout
    assert "tick 2, output 0" in done.stdout


def test_a_policy_that_ends_the_run_is_exit_code_1(tmp_path: Path) -> None:
    loop = write_loop(
        tmp_path,
        clock={"kind": "virtual", "costs": {"decode": 12_000_000}},
        policy={**LOOP["policy"], "overload": "stop"},
    )
    found = answer("live", "run", loop, code=1)
    assert found["ended"].startswith("overload: tick")


def test_everything_that_is_wrong_with_a_file_is_said_at_once(tmp_path: Path) -> None:
    loop = write_loop(
        tmp_path,
        decoder={"network": "none.h5", "dtyp": "float32"},
        source={"kind": "recording", "file": "samples.npy", "capacity": -3},
        sink={"kind": "python"},
        clock={"kind": "wal"},
        policy={"lost": "no", "capacity": "many"},
        record={"path": "no/such/folder/x.spklog", "on_loss": "stop"},
        rekord={},
    )
    done = call("live", "run", loop, "--check", code=2)
    for line in (
        "decoder.dtyp: unknown, did you mean dtype?",
        "source.capacity: -3, must be at least 1",
        "sink.kind: 'python' is Python's only",
        "clock.kind: 'wal', did you mean wall?",
        "policy.lost: 'no', must be one of hold, zero, skip, abort",
        "policy.overload: missing",
        "policy.lost_after: missing",
        "policy.good: missing",
        "policy.safe: missing",
        "policy.capacity: 'many', must be a whole number",
        "record: ",
        "rekord: unknown, did you mean record?",
    ):
        assert f"\n  {line}" in done.stderr, line
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        ({"source": {"kind": "udp", "bind": "127.0.0.1:0"}}, "'virtual' waits for nothing, and a source 'udp'"),
        ({"policy": {**LOOP["policy"], "safe": [0, 0]}}, "policy: safe value of 2, the decoder has 1 outputs"),
        ({"decoder": {"network": "none.h5", "dtype": "float32"}}, "decoder.network: none.h5: no such file"),
        ({"decoder": {"network": "rate.h5", "dtype": "float32"}}, "decoder.dtype: float32, but rate.h5 is a rate"),
        ({"source": {"kind": "recording", "file": "samples.npy", "trials": 1}}, "source.trials: is for a file of"),
        ({"sink": {"kind": "subject"}}, "sink: 'subject' moves the cursor of a source"),
        ({"decoder": {"network": "rate.h5", "shadow": "other.h5"}}, "decoder.shadow: other.h5: no such file"),
        (
            {"record": {**LOOP["record"], "path": "rate.h5", "overwrite": True}},
            "record: rate.h5: exists already and is no record",
        ),
        (
            {"record": {**LOOP["record"], "path": "loop.yaml", "overwrite": True}},
            "record: loop.yaml: exists already and is no",
        ),
        ({"policy": None}, "policy: missing: what to do when data are lost"),
        ({"period": 0}, "period: 0, must be above 0"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    sections: dict[str, Any], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpikeportError, match=why):
        load(write_loop(Path(), **sections))


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_a_file_that_is_no_record_is_never_replaced_whatever_the_file_says(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    victim = tmp_path / "victim.h5"
    victim.write_bytes(b"years of work")
    record = {**LOOP["record"], "path": "victim.h5", "overwrite": True}
    done = call("live", "run", write_loop(tmp_path, record=record), *options, code=2)
    assert "is no record" in done.stderr
    assert victim.read_bytes() == b"years of work"


def test_a_period_that_is_no_number_is_the_only_problem(tmp_path: Path) -> None:
    loop = write_loop(tmp_path)
    loop.write_text(loop.read_text().replace(f'"period": {LOOP["period"]}', '"period": .nan'), encoding="utf-8")
    with pytest.raises(SpikeportError, match="1 problem\\n  period: ") as refused:
        load(loop)
    assert len(refused.value.problems) == 1


def test_a_damaged_record_replays_with_exit_code_1(tmp_path: Path) -> None:
    call("live", "run", write_loop(tmp_path), "--ticks", 60)
    record = tmp_path / "session.spklog"
    data = bytearray(record.read_bytes())
    data[-600] ^= 1
    record.write_bytes(data)
    done = call("live", "replay", record, "--decoder", tmp_path / "rate.h5", code=1)
    assert "ticks that could be read compared, all outputs identical" in done.stdout
    assert "the record is not whole: damaged" in done.stdout
    assert not answer("live", "show", record, code=1)["whole"]
    missing = call("live", "replay", record, "--decoder", tmp_path / "none.h5", code=2)
    assert "none.h5: no such file" in missing.stderr


def test_a_source_that_never_heard_anything_says_so(tmp_path: Path) -> None:
    loop = write_loop(tmp_path, **{**udp("127.0.0.1:9"), "sink": {"kind": "none"}})
    done = call("live", "run", loop, "--ticks", 3)
    assert "warning         nothing was heard from source udp 127.0.0.1:" in done.stdout
    assert "127.0.0.1:0" not in done.stdout  # the port that the system chose
    assert answer("live", "run", write_loop(tmp_path, record=None), "--ticks", 3)["warnings"] == []


def places(value: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every name of a configuration, by its path."""
    here = [at] if at else []
    return here + ([p for k, v in value.items() for p in places(v, (*at, k))] if isinstance(value, dict) else [])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3),
    max_leaves=4,
)
WHOLE: dict[str, Any] = {  # every section, so that every part sees strange values
    **LOOP,
    "decoder": {"network": "rate.h5", "seed": 3, "shadow": {"network": "rate.h5"}, "smoothing": "none.npz"},
    "clock": {"kind": "virtual", "start_ns": 0, "costs": {"decode": [1, 2]}},
    "guard": {"limits": {"area_um2": {"a": 1}}, "watch": {"lateness_us": 1}, "log": "g", "when_tripped": "stop",
              "stimuli": [{"output": 0, "above": 1}]},
}  # fmt: skip
OTHERS = [
    {"kind": "udp", "bind": "127.0.0.1:0", "peer": None, "capacity": 3, "buffer": 9},
    {"kind": "zmq", "pattern": "sub", "connect": "tcp://x", "wait": 1, "high_water": 3},
    {"kind": "lsl", "stream": "x", "sequence": "inferred", "by": "name", "buffer": 1},
    {
        "kind": "redis",
        "stream": "x",
        "counter": {"name": "i", "dtype": "uint8", "step": 1},
        "dtype": "int8",
        "time": "t",
    },
    {"kind": "subject", "seed": 1, "n_trials": 1, "delay": 0.1, "n_units": 5, "hold": 0.5, "radius": 1},
    {"kind": "recording", "file": "samples.npy", "period": 1, "phase": 0, "latency": 0, "repeat": None, "capacity": 3},
]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_file_with_any_value_anywhere_is_taken_or_refused_with_reasons(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    loop = copy.deepcopy({**WHOLE, "source": data.draw(st.sampled_from([LOOP["source"], *OTHERS]))})
    *way, last = data.draw(st.sampled_from(places(loop)))
    inner = loop
    for name in way:
        inner = inner[name]
    inner[last] = data.draw(VALUES)
    with pytest.raises(SpikeportError, match="problem"):  # `none.npz` at least is not there
        load(write_loop(folder, **{name: value for name, value in loop.items() if value is not None}))


def test_a_check_runs_and_writes_nothing(tmp_path: Path) -> None:
    loop = write_loop(tmp_path, **udp("127.0.0.1:9"))
    before = sorted(tmp_path.iterdir())
    done = call("live", "run", loop, "--check")
    assert "everything fits; nothing was run" in done.stdout
    assert sorted(tmp_path.iterdir()) == before


def test_a_shadow_is_compared_and_left_out_of_the_replay(tmp_path: Path) -> None:
    loop = write_loop(tmp_path, decoder={"network": "rate.h5", "shadow": {"network": "rate.h5", "seed": 9}})
    found = answer("live", "run", loop)
    assert found["decoder"]["shadow"]["n"] == 200
    assert answer("live", "replay", tmp_path / "session.spklog", "--decoder", tmp_path / "rate.h5")["identical"]


def test_a_simulated_subject_closes_the_loop_of_a_file(tmp_path: Path) -> None:
    from spikeport.loop.subject.encoder import Tuning
    from spikeport.loop.subject.subject import SPEED

    tuning = Tuning.drawn(24, seed=0, full=SPEED)
    weight = 2 * np.stack([np.cos(tuning.direction), np.sin(tuning.direction)]) / 24 * SPEED / 0.1  # counts of 10 ms
    weight /= tuning.depth
    np.savez(tmp_path / "linear.npz", weight=weight, bias=-0.01 * weight @ tuning.baseline, tau=0.1, period=0.01)
    loop = write_loop(
        tmp_path,
        period=0.01,
        decoder={"network": "linear.npz"},
        source={"kind": "subject", "seed": 1, "n_trials": 3, "n_units": 24, "timeout": 3},
        sink={"kind": "subject"},
        policy={**LOOP["policy"], "safe": [0, 0], "good": 1},
    )
    found = answer("live", "run", loop)
    assert found["ended"] == "source ended"
    assert found["subject"]["trials"] == 3
    assert answer("live", "replay", tmp_path / "session.spklog", "--decoder", tmp_path / "linear.npz")["identical"]


def test_the_floor_is_measured(tmp_path: Path) -> None:
    found = answer("live", "floor", "--ticks", 20, "--period", "1e-3")
    assert found["timer_floor"]["n"] == 20
    assert found["clock"]["environment"]["cpus"] == os.cpu_count()


def test_the_floor_asks_for_all_that_it_is_told_to_and_gives_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def lock() -> Any:
        asked.append("locked")
        return lambda: asked.append("given back")

    monkeypatch.setattr("spikeport.loop.clocks._lock_memory", lock)
    found = answer("live", "floor", "--ticks", 2, "--lock-memory")
    assert asked == ["locked", "given back"]
    assert found["clock"]["got"] == {"lock_memory": "granted"}
    assert "whole numbers" in call("live", "floor", "--cpus", "a", code=2).stderr


def test_a_record_becomes_nwb(tmp_path: Path) -> None:
    pynwb = need("pynwb", resource="nwb")
    call("live", "run", write_loop(tmp_path))
    session = tmp_path / "session.yaml"
    session.write_text("identifier: 1\ndescription: a test\n", encoding="utf-8")
    where = ("live", "export-nwb", tmp_path / "session.spklog", "-o", tmp_path / "s.nwb", "--session", session)
    refused = call(*where, code=2)
    assert "start_time: missing" in refused.stderr
    with session.open("a", encoding="utf-8") as file:
        file.write("start_time: 2024-01-02T03:04:05+00:00\nexperimenter: Doe, Jane\n")
        file.write("subject: {subject_id: 001, species: Macaca mulatta, sex: F, age: P8Y}\n")
    assert answer(*where)["outputs"] == 200
    with pynwb.NWBHDF5IO(tmp_path / "s.nwb", "r") as io:
        read = io.read()
        assert (read.subject.subject_id, read.identifier) == ("001", "1")


def test_the_help_lists_the_verbs() -> None:
    shown = call("live", "--help").stdout
    assert all(f"  {verb} " in shown for verb in ("run", "replay", "show", "export-nwb", "floor"))
