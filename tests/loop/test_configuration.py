"""A loop's file is read strictly: what is unknown, twice, missing, wrong or code is said, all at once, with lines."""

from __future__ import annotations

import inspect
import math
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from require import need

from spikeport.loop import configuration as c
from spikeport.snn.errors import SpikeportError

yaml = need("yaml", resource="live")


def read(tmp_path: Path, text: str, **options: Any) -> tuple[dict[str, Any], list[str]]:
    path = tmp_path / "loop.yaml"
    path.write_text(text, encoding="utf-8")
    values, problems = c.read_file(path, **options)
    return values, problems.found


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 1e-3), ("1E3", 1e3), ("-.5", -0.5), ("2.", 2.0), ("+7", 7), ("0", 0), ("true", True),
        ("null", None), ("~", None), ("'1e-3'", "1e-3"), ("no", "no"), ("on", "on"), ("12:30", "12:30"), ("010", "010"),
        ("0x10", "0x10"), ("1_000", "1_000"), (".inf", ".inf"), ("127.0.0.1:5000", "127.0.0.1:5000"),
        ("2024-01-02", "2024-01-02"),
    ],
)  # fmt: skip
def test_a_value_is_what_the_core_schema_says_and_nothing_more(tmp_path: Path, written: str, value: Any) -> None:
    values, problems = read(tmp_path, f"a: {written}")
    assert problems == []
    assert values == {"a": value}
    assert type(values["a"]) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_is_read_back_as_it_was_printed(tmp_path_factory: pytest.TempPathFactory, x: float) -> None:
    values, problems = read(tmp_path_factory.mktemp("f"), f"a: {x!r}")
    assert problems == []
    assert values["a"] == x


def test_keys_are_texts(tmp_path: Path) -> None:
    values, _ = read(tmp_path, "{1: 2, true: 3, 1e1: 4, null: 5}")
    assert values == {"1": 2, "true": 3, "1e1": 4, "null": 5}


def test_what_is_wrong_with_the_writing_is_said_all_at_once_with_its_line(tmp_path: Path) -> None:
    text = "a: 1\nb:\nc: &x [1, 2]\nd: *x\ne: !!python/object/apply:os.system ['true']\na: 2\nf: {g: 1, g: 2}\n"
    _, problems = read(tmp_path, text)
    assert [line.partition(": ")[0] for line in problems] == ["b", "d", "e", "a", "f.g"]
    assert "(line 2)" in problems[0]
    assert "alias" in problems[1]
    assert "runs nothing" in problems[2]
    assert "lines 1 and 6" in problems[3]


@pytest.mark.parametrize("text", [r'a: "\0"', r'a: "\ud800"', r'"\u200b": 1', "? [1]\n: 2\n"])
def test_what_no_name_and_no_path_can_be_is_a_problem(tmp_path: Path, text: str) -> None:
    _, problems = read(tmp_path, text)
    assert len(problems) == 1
    assert problems[0].isprintable()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- 1", "no mapping"), ("a", "no mapping"), ("a: [1", "no YAML"), ("a: b: c", "no YAML"),
        ("[" * 5000, "brackets|no YAML"), ("a: " + "x" * (1 << 20), "at most"), ("a: 1\n---\nb: 2\n", "no YAML"),
    ],
)  # fmt: skip
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(SpikeportError, match=why):
        read(tmp_path, text)


def test_a_file_that_cannot_be_read_is_refused_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(SpikeportError, match="cannot be read: No such file"):
        c.read_file(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(SpikeportError, match="no text in UTF-8"):
        c.read_file(tmp_path / "bad.yaml")


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    problems = c.Problems()
    found = c.check(
        {"capcity": 3}, {"capacity": c.Field(c.whole(1), "x"), "bind": c.Field(c.text, "y")}, "source", problems
    )
    assert found == {}
    assert problems.found == ["source.capcity: unknown, did you mean capacity?"]


def test_a_value_out_of_range_is_said_with_its_place_and_limit() -> None:
    problems = c.Problems(lines={"source.capacity": 7})
    fields = {
        "capacity": c.Field(c.whole(1), "x"),
        "lost": c.need(c.one_of("hold"), "what to do"),
        "x": c.need(c.text, "y"),
    }
    c.check({"capacity": -3, "lost": "no"}, fields, "source", problems)
    assert problems.found == [
        "source.capacity: -3, must be at least 1 (line 7)",
        "source.lost: 'no', must be one of hold",
        "source.x: missing: y",
    ]


def test_a_kind_of_pythons_only_is_refused_with_the_way_in_python() -> None:
    problems = c.Problems()
    assert c.kind_of({"kind": "memory"}, ["udp"], "sink", problems, {"memory": "MemorySink"}) == ""
    assert c.kind_of({"kind": "upd"}, ["udp"], "sink", problems, {}) == ""
    assert c.kind_of({}, ["udp"], "sink", problems, {}) == ""
    assert problems.found == [
        "sink.kind: 'memory' is Python's only, because a file runs nothing: MemorySink",
        "sink.kind: 'upd', did you mean udp?",
        "sink.kind: missing, one of udp",
    ]


READERS = [c.number(0, most=1), c.whole(0, 9), c.text, c.flag, c.one_of("a"), c.or_null(c.number(above=0)),
           c.several(c.whole(0))]  # fmt: skip


@given(st.sampled_from(READERS), st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                                              lambda x: st.lists(x) | st.dictionaries(st.text(), x)))  # fmt: skip
def test_a_reader_takes_a_value_or_says_what_it_must_be(read_one: c.Reader, value: Any) -> None:
    said = ""
    try:
        found = read_one(value)
    except ValueError as error:
        found, said = None, str(error)
    assert said == "" or said.startswith("must be ")
    assert not (isinstance(found, float) and not math.isfinite(found))


def test_what_is_not_installed_is_named_with_the_line_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loop.yaml").write_text("a: 1", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(SpikeportError, match=r'pip install "spikeport\[live\]"'):
        c.read_file(tmp_path / "loop.yaml")
    parts = import_module("spikeport.live_parts")
    part = parts.Part({}, lambda given: None, needs=("no_such_module", "nothing", "zmq"))
    assert part.missing() == 'needs nothing, which is not installed: pip install "spikeport[zmq]"'


# ---- the tables against the classes

CLASSES = {
    ("source", "udp"): ("transports.udp", "UdpSource", ()),
    ("source", "zmq"): ("transports.zmq", "ZmqSource", ()),
    ("source", "lsl"): ("transports.lsl", "LslSource", ()),
    ("source", "redis"): ("transports.redis", "RedisSource", ()),
    ("source", "recording"): ("sources.recording", "ArraySource", ("values", "name")),
    ("sink", "udp"): ("transports.udp", "UdpSink", ()),
    ("sink", "zmq"): ("transports.zmq", "ZmqSink", ()),
    ("sink", "lsl"): ("transports.lsl", "LslSink", ("n_outputs",)),
    ("sink", "redis"): ("transports.redis", "RedisSink", ()),
    ("clock", "wall"): ("clocks", "RealTime", ()),
    ("clock", "virtual"): ("clocks", "VirtualClock", ()),
    ("", "policy"): ("policies", "Policy", ()),
    ("", "record"): ("record.outside", "ProcessRecorder", ()),
    ("", "decoder"): ("decoders.spiking", "SpikingDecoder", ("network", "period", "batch_size")),
}
EXTRA = {"recording": {"file", "trials", "pause"}, "decoder": {"network"}}


@pytest.mark.parametrize("where", CLASSES, ids=" ".join)
def test_a_file_can_say_all_that_a_part_can_be_told(where: tuple[str, str]) -> None:
    parts = import_module("spikeport.live_parts")
    kind, name = where
    tables = {"source": parts.SOURCES, "sink": parts.SINKS, "clock": parts.CLOCKS}
    fields = tables[kind][name].fields if kind else getattr(parts, name.upper())
    module, cls, given_elsewhere = CLASSES[where]
    made = getattr(import_module(f"spikeport.loop.{module}"), cls)
    parameters = {n: p for n, p in inspect.signature(made).parameters.items() if n not in given_elsewhere}
    assert set(fields) - EXTRA.get(name, set()) == set(parameters)
    must = {n for n, p in parameters.items() if p.default is inspect.Parameter.empty} - {"n_channels"}
    must -= {"period"}  # of a recording: the loop's, unless it is said
    assert must <= {n for n, field in fields.items() if field.must}


def test_every_source_sink_and_clock_is_held_against_its_class() -> None:
    parts = import_module("spikeport.live_parts")
    all_of = {("source", k) for k in parts.SOURCES} | {("sink", k) for k in parts.SINKS}
    assert all_of - CLASSES.keys() == {("sink", "none"), ("source", "subject"), ("sink", "subject")}
