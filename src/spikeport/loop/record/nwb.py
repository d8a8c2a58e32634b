"""A record as NWB (Neurodata Without Borders), which `nwbinspector` passes and DANDI takes.

    acquisition/inputs   the packets that were used, at their source's stamps: where none was, there is no sample
    acquisition/outputs  what the sink was given, at the moment when it had it
    acquisition/ticks    a row a tick, all stamps in ns on the loop's clock, as they were recorded
    acquisition/events   what explains them: gaps, misses, refusals
    notes                the record's header, versions, machine and ending, as JSON

Nothing is filled in or made up: what NWB asks and a record cannot know (who, what, when) is asked for.
Source: NWB 2 schema; the best practices that nwbinspector checks.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.loop.packets import Array
from spikeport.loop.record.read import Record
from spikeport.loop.record.reader import Event
from spikeport.snn.errors import MissingDependencyError, SpikeportError
from spikeport.snn.writing import write_whole

_SPECIES = (
    r"[A-Z][a-z]+ [a-z]+|http://purl\.obolibrary\.org/obo/NCBITaxon_\d+"  # nwbinspector's check_subject_species_form
)
_N = r"\d+(\.\d+)?"
_PART = rf"P(?=[\dT])({_N}Y)?({_N}M)?({_N}W)?({_N}D)?(T(?=\d)({_N}H)?({_N}M)?({_N}S)?)?"
_AGE = rf"{_PART}(/({_PART})?)?"  # ISO 8601 duration, or a range of two
_CHUNK = 1 << 20  # bytes of data from which on a series is compressed
_STAMPS = {  # the integers of a tick
    "tick": "number of the tick, from 0; one that is missing was merged into the next",
    "seq": "the producer's number of the packet, -1 without one",
    "deadline_ns": "when it was due",
    "source_ns": "when its packet was taken, 0 without one",
    "received_ns": "when its packet was received, 0 without one",
    "start_ns": "beginning of decoding",
    "end_ns": "end of decoding",
    "emitted_ns": "when the sink had it, 0 where nothing went out",
}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Who. species: Latin binomial ("Macaca mulatta") or an NCBI taxonomy link.  sex: M, F, O or U; of C. elegans, XO
    or XX.  age: ISO 8601 ("P90D", "P12Y"), or instead date_of_birth."""

    subject_id: str = ""
    species: str = ""
    sex: str = ""
    age: str = ""
    date_of_birth: datetime | None = None
    description: str = ""
    strain: str = ""
    weight: str = ""


@dataclass(frozen=True, kw_only=True)
class Session:
    """What NWB asks of a session; the first three must be given, the rest is better given.

    start_time: with its time zone, of the beginning of the record, within a day of what the machine's own clock said
    then.  machine_clock: why that clock was wrong; then start_time stands, and a note says it.
    experimenter: "Last, First".  unit_in, unit_out: of the values.
    """

    identifier: str = ""
    description: str = ""
    start_time: datetime | None = None
    experimenter: Sequence[str] = ()
    experiment_description: str = ""
    institution: str = ""
    lab: str = ""
    keywords: Sequence[str] = ("closed loop", "spiking neural network", "brain-computer interface")
    session_id: str = ""
    machine_clock: str = ""
    unit_in: str = "a.u."
    unit_out: str = "a.u."

    @classmethod
    def of(cls, choices: Mapping[str, Any]) -> tuple[Session, Subject]:
        """From names and values, as a file has them: the session's, and the subject's under `subject`.

        Times may be texts in ISO 8601. All that is unknown is said at once.
        """
        values = dict(choices)
        subject = values.pop("subject", None)
        given = dict(subject) if isinstance(subject, Mapping) else {}
        problems = [f"{name}: unknown" for name in values if name not in {f.name for f in fields(cls)}]
        problems += [f"subject.{name}: unknown" for name in given if name not in {f.name for f in fields(Subject)}]
        for where, name in ((values, "start_time"), (given, "date_of_birth")):
            if isinstance(where.get(name), str):
                try:
                    where[name] = datetime.fromisoformat(where[name])
                except ValueError:
                    problems.append(f"{name}: {where[name]!r} is no time in ISO 8601")
        if problems:
            raise SpikeportError("NWB: what describes the session is not as it must be", problems)
        return cls(**values), Subject(**given)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a file has of a record: rows of each part, what the times are, and what is not in it."""

    path: Path
    inputs: int
    outputs: int
    events: int
    zero_ns: int
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)} | {
            "path": str(self.path), "notes": list(self.notes),
        }  # fmt: skip


def problems_of(session: Session, subject: Subject) -> list[str]:
    """What is missing or wrong of what NWB and its inspector ask, a line each."""
    texts = {"identifier": session.identifier, "description": session.description}
    texts |= {f"subject.{n}": getattr(subject, n) for n in ("subject_id", "species", "sex")}
    found = [f"{name}: missing" for name, text in texts.items() if not str(text).strip()]
    start = session.start_time
    if start is None or start.tzinfo is None:
        found.append(f"start_time: {'missing' if start is None else f'{start} has no time zone'}")
    elif start > datetime.now(start.tzinfo):
        found.append(f"start_time: {start} is yet to come")
    if not subject.age and subject.date_of_birth is None:
        found.append("subject.age: missing, or date_of_birth")
    if subject.age and not re.fullmatch(_AGE, subject.age):
        found.append(f"subject.age: {subject.age!r}, must be an ISO 8601 duration such as P90D")
    if subject.species and not re.fullmatch(_SPECIES, subject.species):
        found.append(f"subject.species: {subject.species!r}, must be a Latin binomial, or an NCBI taxonomy link")
    sexes = ("XO", "XX") if subject.species == "Caenorhabditis elegans" else ("M", "F", "O", "U")
    if subject.sex and subject.sex not in sexes:
        found.append(f"subject.sex: {subject.sex!r}, must be one of {', '.join(sexes)}")
    if subject.weight and not re.fullmatch(r"\d+(\.\d+)? (kg|g|mg|ug|ng|pg)", subject.weight):
        found.append(f"subject.weight: {subject.weight!r}, must be a number, a space and a unit: 2.3 kg")
    names = {"subject.subject_id": subject.subject_id, "session_id": session.session_id}
    found += [f"{name}: {text!r} has a slash" for name, text in names.items() if "/" in text]
    return found


def _apart(record: Record, session: Session) -> str:
    """What start_time and the machine's own clock say of the beginning, where they are more than a day apart."""
    started, start = record.machine.get("started"), session.start_time
    if not isinstance(started, str) or start is None or start.tzinfo is None:
        return ""
    try:
        clock = datetime.fromisoformat(started)
    except ValueError:  # a header of another program's
        return ""
    if clock.tzinfo is None or abs(start - clock) <= timedelta(days=1):
        return ""
    return f"{start.isoformat()}, but by the machine's clock the record was begun at {started}"


def to_nwb(
    record: Record, path: str | os.PathLike[str], session: Session, subject: Subject, *, overwrite: bool = False
) -> Written:
    """Write `record` to `path` (.nwb). Refused, with every reason, where something that NWB asks is not given."""
    found = problems_of(session, subject)
    if not str(path).endswith(".nwb"):
        found.append(f"{path}: must end in .nwb")
    if not len(record):
        found.append("the record has no tick")
    apart = _apart(record, session)
    if apart and not session.machine_clock.strip():
        found.append(f"start_time: {apart}; where that clock was wrong, machine_clock says why")
    if found:
        started = record.machine.get("started")
        hint = f"the record was begun at {started}" if started and session.start_time is None else ""
        raise SpikeportError("NWB: the record cannot be written", found, hint=hint)
    if find_spec("pynwb") is None:
        raise MissingDependencyError.for_extra("pynwb", "nwb", "writing NWB")
    series, zero_ns, notes = _series(record, session)
    if apart:
        notes.append(f"start_time is {apart}: {session.machine_clock}")
    with warnings.catch_warnings(), write_whole(path, overwrite) as whole:
        # the file has its name when it is whole; until then it ends in .part
        warnings.filterwarnings("ignore", message=".*does not end in '.nwb'")
        _write(record, whole, session, subject, series, zero_ns, notes)
    return Written(
        path=Path(path), inputs=len(series["inputs"].data), outputs=len(series["outputs"].data),
        events=len(record.events), zero_ns=zero_ns, notes=tuple(notes),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Series:
    """Samples (n, channels) at times in ns, strictly rising."""

    data: Array
    at_ns: NDArray[np.int64]
    stamp: str
    unit: str
    description: str


def _series(record: Record, session: Session) -> tuple[dict[str, _Series], int, list[str]]:
    """Inputs and outputs, the time that is 0, and what is to be known of them."""
    used, emitted, notes = record.seq >= 0, record.emitted, []
    parts = {
        "inputs": (used, record.inputs, ("source_ns", "received_ns", "deadline_ns"), session.unit_in,
                   "the packets that the decoder was given; a tick without one has no sample"),
        "outputs": (emitted, record.outputs, ("emitted_ns", "end_ns", "deadline_ns"), session.unit_out,
                    "what went out; a tick that was skipped has no sample"),
    }  # fmt: skip
    found = {}
    for name, (rows, values, stamps, unit, what) in parts.items():
        rising = [s for s in stamps if (np.diff(getattr(record, s)[rows]) > 0).all()]
        if not rising:
            raise SpikeportError(f"NWB: the stamps of the {name} do not rise, so there is no axis of time for them")
        stamp = rising[0]
        if stamp != stamps[0]:
            notes.append(f"{name}: timestamps are {stamp}, because {stamps[0]} does not rise from sample to sample")
        at = getattr(record, stamp)[rows]
        found[name] = _Series(data=values[rows], at_ns=at, stamp=stamp, unit=unit, description=what)
        if not rows.all():
            notes.append(f"{name}: {int((~rows).sum())} of {len(record)} ticks have no sample")
    if not found["inputs"].data.size:
        notes.append("inputs: no tick had a packet, so there is no series")
    if record.ending.kind != "clean":
        notes.append(f"the record is not whole: {record.ending}")
    if record.lost["ticks"]:
        notes.append(f"the recorder lost {record.lost['ticks']} ticks; the events say which")
    first = min(int(s.at_ns[0]) for s in found.values() if s.at_ns.size)
    zero = min([first, int(record.deadline_ns[0]), *(event.at_ns for event in record.events)])
    return found, zero, notes


def _write(
    record: Record,
    path: Path,
    session: Session,
    subject: Subject,
    series: Mapping[str, _Series],
    zero_ns: int,
    notes: Sequence[str],
) -> None:
    from pynwb import NWBHDF5IO, NWBFile, TimeSeries
    from pynwb.file import Subject as NWBSubject

    told = {
        name: getattr(session, name) or None for name in ("experiment_description", "institution", "lab", "session_id")
    }
    who = {f.name: getattr(subject, f.name) or None for f in fields(subject)}
    provenance = {
        "zero_ns": zero_ns, "notes": list(notes), "ending": str(record.ending), "header": dict(record.header),
        "versions": dict(record.versions), "machine": dict(record.machine),
    }  # fmt: skip
    file = NWBFile(
        session_description=session.description,
        identifier=session.identifier,
        session_start_time=session.start_time,
        experimenter=list(session.experimenter) or None,
        keywords=list(session.keywords) or None,
        notes=json.dumps(provenance, sort_keys=True, default=str),
        subject=NWBSubject(**who),
        **told,
    )
    for name, part in series.items():
        if part.data.size:
            text = f"{part.description}. Time is its {part.stamp}, in s since {zero_ns} ns of the loop's clock."
            file.add_acquisition(
                TimeSeries(
                    name=name, data=_packed(part.data), unit=part.unit, description=text, **_times(part, zero_ns)
                )
            )
    file.add_acquisition(_ticks(record, zero_ns))
    if record.events:
        file.add_acquisition(_events(record.events, zero_ns))
    with NWBHDF5IO(str(path), "w") as io:
        io.write(file)


def _packed(data: Any) -> Any:
    """The data, compressed where that is worth a chunk."""
    from hdmf.backends.hdf5.h5_utils import H5DataIO

    return H5DataIO(data, compression="gzip", shuffle=True) if getattr(data, "nbytes", 0) > _CHUNK else data


def _times(series: _Series, zero_ns: int) -> dict[str, Any]:
    """timestamps; or rate and starting_time, where the samples are at exactly equal distances, to the ns."""
    steps = np.diff(series.at_ns)
    if steps.size > 1 and (steps == steps[0]).all():
        return {"rate": 1e9 / float(steps[0]), "starting_time": float(series.at_ns[0] - zero_ns) * 1e-9}
    return {"timestamps": (series.at_ns - zero_ns) * 1e-9}


def _ticks(record: Record, zero_ns: int) -> Any:
    """A row a tick: every stamp and number of the record, whole."""
    columns: list[tuple[str, str, Any]] = [("timestamp", "the deadline, s", (record.deadline_ns - zero_ns) * 1e-9)]
    columns += [(name, about, getattr(record, name)) for name, about in _STAMPS.items()]
    causes = ", ".join(f"{i} {name}" for i, name in enumerate(record.causes))
    columns += [
        ("cause", f"why it used what it used: {causes}", record.cause),  # a text each would be ten times the size
        ("is_safe", "whether the declared safe value went out", record.safe),
    ]
    return _table("ticks", "Every tick of the loop; what ends in _ns is in ns of the loop's clock.", columns)


def _events(events: Sequence[Event], zero_ns: int) -> Any:
    return _table(
        "events",
        "What explains the ticks: gaps, packets that came late or twice, missed deadlines, refusals, the end.",
        [
            ("timestamp", "when it was noticed, s", np.array([(event.at_ns - zero_ns) * 1e-9 for event in events])),
            ("after_ticks", "how many ticks were recorded before it", np.array([event.index for event in events])),
            ("kind", "what it is", [event.kind for event in events]),
            ("details", "name=value, as recorded", ["; ".join(_words(event.details, "")) for event in events]),
        ],
    )


def _table(name: str, description: str, columns: Sequence[tuple[str, str, Any]]) -> Any:
    from hdmf.common import DynamicTable, VectorData

    made = [VectorData(name=n, description=about, data=_packed(data)) for n, about, data in columns]
    return DynamicTable(name=name, description=description, columns=made)


def _words(value: Any, where: str) -> Iterator[str]:
    """name=value of every leaf: a dict in a text is what nwbinspector refuses."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _words(part, f"{where}.{name}" if where else str(name))
    elif isinstance(value, (list, tuple)) and any(isinstance(part, Mapping) for part in value):
        for i, part in enumerate(value):
            yield from _words(part, f"{where}[{i}]")
    else:
        yield f"{where}={value}"
