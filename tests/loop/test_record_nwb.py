"""A record as NWB: the inspector passes it, what it holds is what was recorded, and what is missing is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from record_cases import HEADER, PERIOD, feed, lines, record_of
from require import need

from spikeport.loop.record import nwb
from spikeport.loop.record.nwb import Session, Subject, to_nwb
from spikeport.loop.record.read import Record, read_record
from spikeport.loop.record.writer import LOST, MemoryRecorder
from spikeport.snn.errors import MissingDependencyError, SpikeportError

SESSION = Session(
    identifier="2025-11-03-a",
    description="a leaky integrator in the loop",
    start_time=datetime(2025, 11, 3, 9, 30, tzinfo=UTC),
    experimenter=("Doe, Jane",),
    experiment_description="a test of the record",
    institution="none",
    lab="none",
)
SUBJECT = Subject(subject_id="m1", species="Macaca mulatta", sex="F", age="P8Y", description="simulated")


@pytest.fixture(scope="module", autouse=True)
def libraries() -> None:
    need("pynwb", resource="nwb")
    need("nwbinspector", resource="nwb")


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(str(path), "r") as io:
        yield io.read()


def complaints(path: Path, *, skip_validate: bool = True) -> list[tuple[str, str]]:
    """(importance, what) of every message of the inspector; with the schema's own, unless that is skipped."""
    from nwbinspector import inspect_nwbfile

    found = inspect_nwbfile(nwbfile_path=str(path), skip_validate=skip_validate)
    return [(message.importance.name, f"{message.check_function_name}: {message.message}") for message in found]


def seconds(ns: Any, zero_ns: int) -> Any:
    return (np.asarray(ns) - zero_ns) / 1e9


@pytest.mark.parametrize("lost", [0.0, 0.3])
def test_the_inspector_has_nothing_to_say(tmp_path: Path, lost: float) -> None:
    to_nwb(read_record(record_of(200, lost=lost)), tmp_path / "a.nwb", SESSION, SUBJECT)
    assert complaints(tmp_path / "a.nwb", skip_validate=lost == 0.0) == []


def test_what_the_inspector_suggests_is_what_was_not_given(tmp_path: Path) -> None:
    least = Session(identifier="a", description="b", start_time=SESSION.start_time, keywords=())
    to_nwb(read_record(record_of(50)), tmp_path / "a.nwb", least, SUBJECT)
    found = complaints(tmp_path / "a.nwb")
    assert {importance for importance, _ in found} == {"BEST_PRACTICE_SUGGESTION"}
    assert sorted(what.partition(":")[0] for _, what in found) == [
        "check_experiment_description", "check_experimenter_exists", "check_institution", "check_keywords",
    ]  # fmt: skip


def test_the_values_are_those_of_the_record_and_gaps_stay_gaps(tmp_path: Path) -> None:
    record = read_record(record_of(200, lost=0.3))
    written = to_nwb(record, tmp_path / "a.nwb", SESSION, SUBJECT)
    used = record.seq >= 0
    assert 0 < used.sum() < len(record)
    with opened(tmp_path / "a.nwb") as file:
        inputs, outputs = file.acquisition["inputs"], file.acquisition["outputs"]
        assert np.array_equal(inputs.data[:], record.inputs[used])
        assert np.array_equal(outputs.data[:], record.outputs[record.emitted])
        assert inputs.timestamps[:] == pytest.approx(seconds(record.source_ns[used], written.zero_ns), abs=1e-10)
        emitted = record.emitted_ns[record.emitted]
        assert outputs.timestamps[:] == pytest.approx(seconds(emitted, written.zero_ns), abs=1e-10)
        assert np.diff(inputs.timestamps[:]).max() > 1.5e-9 * PERIOD  # nothing stands in for what was lost
        assert file.session_start_time == SESSION.start_time
        assert file.subject.species == "Macaca mulatta"
    assert (written.inputs, written.outputs) == (used.sum(), record.emitted.sum())
    assert f"inputs: {(~used).sum()} of 200 ticks have no sample" in written.notes


def test_equal_distances_are_a_rate(tmp_path: Path) -> None:
    written = to_nwb(read_record(record_of(50, lost=0.0)), tmp_path / "a.nwb", SESSION, SUBJECT)
    with opened(tmp_path / "a.nwb") as file:
        inputs, outputs = file.acquisition["inputs"], file.acquisition["outputs"]
        assert inputs.rate == outputs.rate == 1e9 / PERIOD
        assert inputs.timestamps is None
        assert inputs.starting_time == pytest.approx(seconds(PERIOD - 700_000, written.zero_ns))


def test_the_tables_have_every_tick_and_every_event(tmp_path: Path) -> None:
    record = read_record(record_of(60, lost=0.3))
    written = to_nwb(record, tmp_path / "a.nwb", SESSION, SUBJECT)
    with opened(tmp_path / "a.nwb") as file:
        ticks, events = file.acquisition["ticks"], file.acquisition["events"]
        for name in nwb._STAMPS:
            assert np.array_equal(ticks[name][:], getattr(record, name))
        assert np.array_equal(ticks["cause"][:], record.cause)
        assert "1 held, 2 zero" in ticks["cause"].description
        assert np.array_equal(ticks["is_safe"][:], record.safe)
        assert list(events["kind"][:]) == [event.kind for event in record.events]
        assert list(events["after_ticks"][:]) == [event.index for event in record.events]
        first = record.events[0]
        assert events["details"][0] == "; ".join(f"{name}={first.details[name]}" for name in sorted(first.details))
        assert events["timestamp"][0] == pytest.approx(seconds(first.at_ns, written.zero_ns))


def test_the_notes_say_where_it_comes_from(tmp_path: Path) -> None:
    record = read_record(record_of(20)[:-200])
    written = to_nwb(record, tmp_path / "a.nwb", SESSION, SUBJECT)
    with opened(tmp_path / "a.nwb") as file:
        notes = json.loads(file.notes)
    assert notes["header"] == HEADER
    assert notes["versions"] == record.versions
    assert notes["ending"].startswith("cut at byte")
    assert notes["zero_ns"] == written.zero_ns
    assert any("not whole: cut" in note for note in written.notes)


def test_nested_details_are_spelled_out(tmp_path: Path) -> None:
    details = {"limits": [{"name": "rate", "value": 3}, {"name": "charge", "value": 0.5}], "site": {"id": 4}}
    with MemoryRecorder() as recorder:
        recorder.open(HEADER)
        feed(recorder, lines(30))
        recorder.event("refused", 10**9, **details)
    to_nwb(read_record(recorder.data), tmp_path / "a.nwb", SESSION, SUBJECT)
    with opened(tmp_path / "a.nwb") as file:
        assert file.acquisition["events"]["details"][-1] == (
            "limits[0].name=rate; limits[0].value=3; limits[1].name=charge; limits[1].value=0.5; site.id=4"
        )
    assert complaints(tmp_path / "a.nwb") == []


def test_stamps_that_do_not_rise_give_way_to_those_that_do_and_that_is_said(tmp_path: Path) -> None:
    record = read_record(record_of(40, lost=0.0))
    source = record.source_ns.copy()
    source[20:] -= 50 * PERIOD  # the producer's clock was set back
    written = to_nwb(replace(record, source_ns=source), tmp_path / "a.nwb", SESSION, SUBJECT)
    assert any("timestamps are received_ns, because source_ns does not rise" in note for note in written.notes)
    assert complaints(tmp_path / "a.nwb") == []


def test_a_run_without_a_packet_has_no_inputs(tmp_path: Path) -> None:
    record = read_record(record_of(20, lost=0.0))
    written = to_nwb(replace(record, seq=np.full(20, -1)), tmp_path / "a.nwb", SESSION, SUBJECT)
    assert written.inputs == 0
    with opened(tmp_path / "a.nwb") as file:
        assert "inputs" not in file.acquisition
    assert complaints(tmp_path / "a.nwb") == []


def test_a_long_series_is_compressed(tmp_path: Path) -> None:
    record = read_record(record_of(20, lost=0.0))
    many: Mapping[str, Any] = {
        name: np.tile(getattr(record, name), (70, 40)) if getattr(record, name).ndim == 2
        else np.arange(1400) * PERIOD if name.endswith("_ns") else np.tile(getattr(record, name), 70)
        for name in (*nwb._STAMPS, "cause", "safe", "inputs", "outputs")
    }  # fmt: skip
    long: Record = replace(record, **many)
    to_nwb(long, tmp_path / "a.nwb", SESSION, SUBJECT)
    with opened(tmp_path / "a.nwb") as file:
        assert file.acquisition["inputs"].data.compression == "gzip"
        assert np.array_equal(file.acquisition["inputs"].data[:], long.inputs)


def test_what_the_recorder_lost_is_in_the_notes(tmp_path: Path) -> None:
    with MemoryRecorder() as recorder:
        recorder.open(HEADER)
        feed(recorder, lines(20, lost=0.0))
        recorder.event(LOST, 10**8, ticks=3, events=0, first_tick=20, last_tick=22)
    written = to_nwb(read_record(recorder.data), tmp_path / "a.nwb", SESSION, SUBJECT)
    assert "the recorder lost 3 ticks; the events say which" in written.notes


def test_all_that_is_missing_is_asked_for_at_once(tmp_path: Path) -> None:
    record = replace(read_record(record_of(5)), machine={"started": "2025-11-03T09:30:00+00:00"})
    with pytest.raises(SpikeportError) as caught:
        to_nwb(record, tmp_path / "a.h5", Session(), Subject())
    said = str(caught.value)
    for name in ("identifier", "description", "start_time", "subject.subject_id", "subject.species", "subject.sex"):
        assert f"  {name}: missing\n" in said
    assert "subject.age: missing, or date_of_birth" in said
    assert "a.h5: must end in .nwb" in said
    assert "the record was begun at 2025-11-03T09:30:00+00:00" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"start_time": datetime(2025, 1, 1)}, "has no time zone"),
        ({"start_time": datetime.now(UTC) + timedelta(days=2)}, "is yet to come"),
        ({"session_id": "a/b"}, "session_id: 'a/b' has a slash"),
        ({"age": "8 years"}, "subject.age: '8 years', must be an ISO 8601 duration"),
        ({"age": "P"}, "subject.age: 'P'"),
        ({"species": "macaque"}, "subject.species: 'macaque', must be a Latin binomial"),
        ({"sex": "female"}, "subject.sex: 'female', must be one of M, F, O, U"),
        ({"species": "Caenorhabditis elegans", "sex": "M"}, "must be one of XO, XX"),
        ({"weight": "8kg"}, "subject.weight: '8kg'"),
        ({"subject_id": "a/b"}, "subject.subject_id: 'a/b' has a slash"),
    ],
)
def test_what_the_inspector_would_refuse_is_refused_before_it_is_written(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    session = replace(SESSION, **{k: v for k, v in change.items() if k in Session.__dataclass_fields__})
    subject = replace(SUBJECT, **{k: v for k, v in change.items() if k in Subject.__dataclass_fields__})
    with pytest.raises(SpikeportError) as caught:
        to_nwb(read_record(record_of(5)), tmp_path / "a.nwb", session, subject)
    assert reason in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("age", ["P90D", "P1Y2M", "P12W", "P1D/P3D", "P90Y/", "P0.5Y", "PT12H"])
def test_ages_that_the_inspector_takes_are_taken(age: str) -> None:
    assert nwb.problems_of(SESSION, replace(SUBJECT, age=age)) == []


def test_an_empty_record_and_one_without_a_time_axis_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpikeportError, match="the record has no tick"):
        to_nwb(read_record(record_of(0)), tmp_path / "a.nwb", SESSION, SUBJECT)
    record = read_record(record_of(5, lost=0.0))
    still = {f"{name}_ns": np.zeros(5, dtype=np.int64) for name in ("emitted", "end", "deadline")}
    with pytest.raises(SpikeportError, match="the stamps of the outputs do not rise"):
        to_nwb(replace(record, **still), tmp_path / "a.nwb", SESSION, SUBJECT)


def test_a_file_of_choices_gives_session_and_subject() -> None:
    session, subject = Session.of(
        {"identifier": "a", "start_time": "2025-11-03T09:30:00+00:00", "subject": {"subject_id": "m1", "sex": "F"}}
    )
    assert session.start_time == SESSION.start_time
    assert (subject.subject_id, subject.sex) == ("m1", "F")
    with pytest.raises(SpikeportError) as caught:
        Session.of({"who": "me", "start_time": "noon", "subject": {"name": "x"}})
    for reason in ("who: unknown", "subject.name: unknown", "start_time: 'noon' is no time in ISO 8601"):
        assert reason in str(caught.value)


def test_without_the_extra_the_way_to_get_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nwb, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r'pip install "spikeport\[nwb\]"'):
        to_nwb(read_record(record_of(5)), tmp_path / "a.nwb", SESSION, SUBJECT)


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    record, path = read_record(record_of(20)), tmp_path / "a.nwb"
    path.write_bytes(b"mine")
    with pytest.raises(SpikeportError, match="exists already"):
        to_nwb(record, path, SESSION, SUBJECT)
    assert path.read_bytes() == b"mine"
    to_nwb(record, path, SESSION, SUBJECT, overwrite=True)
    with opened(path) as file:
        assert "outputs" in file.acquisition


def test_a_start_that_the_machines_own_clock_contradicts_is_refused_or_explained(tmp_path: Path) -> None:
    assert SESSION.start_time is not None
    record = read_record(record_of(5))
    near = replace(record, machine={"started": (SESSION.start_time + timedelta(hours=23)).isoformat()})
    far = replace(record, machine={"started": "2024-11-03T09:30:00+00:00"})
    assert not any("machine" in note for note in to_nwb(near, tmp_path / "near.nwb", SESSION, SUBJECT).notes)
    with pytest.raises(SpikeportError, match=r"2025-11-03T09:30:00\+00:00, but by .* begun at 2024-11-03T09:30:00"):
        to_nwb(far, tmp_path / "far.nwb", SESSION, SUBJECT)
    assert not (tmp_path / "far.nwb").exists()
    explained = replace(SESSION, machine_clock="its battery was empty")
    notes = to_nwb(far, tmp_path / "far.nwb", explained, SUBJECT).notes
    assert any(note.endswith("2024-11-03T09:30:00+00:00: its battery was empty") for note in notes)
