"""The page says what the JSON says, escapes what files say, and is refused early where it cannot be written."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_cases import HOSTILE, laddered, validated
from require import need
from small_models import DT, follower, write_model, write_trials
from typer.testing import CliRunner, Result

from spikeport import transfer
from spikeport.cli import app
from spikeport.convert.report.folder import check_report, write_report
from spikeport.snn.errors import MissingDependencyError, SpikeportError
from spikeport.snn.files import save_spiking_network

SECTIONS = (
    "verdict", "numbers", "why", "search", "activity", "outputs", "units", "trajectories", "replay", "losses",
    "provenance",
)  # fmt: skip


class Read(HTMLParser):
    """What a browser takes from a page: elements with data-path and their texts, sections, scripts, addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.marked: list[tuple[str, str | None, str]] = []
        self.sections: list[str] = []
        self.scripts: dict[str, str] = {}
        self.addresses: list[str] = []
        self.text = ""
        self._open: list[tuple[str, str, str | None, int]] = []
        self._script: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.addresses += [v for k, v in attrs if k in ("src", "href") and v is not None]
        if tag == "section":
            self.sections.append(found["id"] or "")
        if tag == "script":
            self._script = found.get("id") or f"script {len(self.scripts)}"
            self.scripts[self._script] = ""
        if found.get("data-path") is not None:
            self._open.append((tag, found["data-path"] or "", found.get("data-format"), len(self.text)))

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None
        if self._open and self._open[-1][0] == tag:
            _, path, form, start = self._open.pop()
            self.marked.append((path, form, self.text[start:].strip()))

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] += data
        else:
            self.text += data


def at(found: Any, path: str) -> Any:
    """The value at a path of the page: keys joined by dots, "\\." is a dot of a key's own."""
    for key in re.split(r"(?<!\\)\.", path):
        found = found[int(key)] if isinstance(found, list) else found[key.replace("\\.", ".")]
    return found


def says(text: str, value: Any, form: str | None) -> bool:
    """Is `text` this value, to the digits that it shows?"""
    if value is None:
        return text == "–"
    if isinstance(value, bool) or isinstance(value, str) or form is None:
        return text == ({True: "yes", False: "no"}[value] if isinstance(value, bool) else (value or "none"))
    percent = text.endswith("%")
    shown = Decimal(text.replace("−", "-").removesuffix("%"))
    unit = Decimal(1).scaleb(shown.as_tuple().exponent)  # type: ignore[arg-type]
    return abs(shown - Decimal(value) * (100 if percent else 1)) <= unit * Decimal("0.5001")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("bokeh", resource="report")
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def full(folder: Path) -> tuple[dict[str, Any], Read]:
    from spikeport.convert.report.page import page

    found = laddered(validated("full", folder))
    return found, Read(page(found))


def test_every_number_of_the_text_is_the_one_of_the_json(full: tuple[dict[str, Any], Read]) -> None:
    found, read = full
    assert len(read.marked) > 150
    wrong = [(path, text) for path, form, text in read.marked if not says(text, at(found, path), form)]
    assert not wrong


def test_the_page_holds_the_json_that_it_was_made_from(full: tuple[dict[str, Any], Read]) -> None:
    found, read = full
    assert json.loads(read.scripts["spikeport-data"]) == json.loads(json.dumps(found))


def test_the_page_has_every_section_and_fetches_nothing(full: tuple[dict[str, Any], Read]) -> None:
    read = full[1]
    assert tuple(read.sections) == SECTIONS
    assert {a for a in read.addresses if not a.startswith(("#", "data:"))} == set()


def test_a_text_of_a_file_is_text_and_ends_no_script(full: tuple[dict[str, Any], Read]) -> None:
    read = full[1]
    assert HOSTILE in read.text
    assert not any("alert('x')" in script for name, script in read.scripts.items() if name.startswith("script"))
    assert len(read.scripts) == 4, "the data, Bokeh and its log level, the figures"


def test_a_page_says_what_was_not_measured(folder: Path) -> None:
    from spikeport.convert.report.page import page

    read = Read(page(validated("bare", folder)))
    for words in ("Run spikeport validate … --why", "None was recorded in this network", "No target was replayed",
                  "no labels", "20 units have none", "none declared"):  # fmt: skip
        assert words in read.text


@pytest.mark.parametrize("case", ["a file", "a page is there", "a file above", "no permission"])
def test_a_folder_that_cannot_take_a_page_is_refused(case: str, tmp_path: Path) -> None:
    target, match = tmp_path / "out", "no page can be written there"
    if case == "a file":
        target.write_text("mine")
        match = "is a file, must be a folder"
    elif case == "a page is there":
        target.mkdir()
        (target / "index.html").write_text("mine")
        match = "exists already"
    elif case == "a file above":
        target.write_text("mine")
        target = target / "deeper"
    else:
        target = Path("/proc/no-such-folder")  # not even root can make one there
        if not Path("/proc").is_dir():
            target = Path("/dev/null/folder")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SpikeportError, match=match):
        check_report(target)
    assert sorted(tmp_path.rglob("*")) == before


def test_asking_leaves_nothing_behind_and_force_replaces(tmp_path: Path, folder: Path) -> None:
    check_report(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    (tmp_path / "index.html").write_text("mine")
    check_report(tmp_path, overwrite=True)
    assert os.listdir(tmp_path) == ["index.html"]
    assert (tmp_path / "index.html").read_text() == "mine"
    write_report(validated("bare", folder), tmp_path, overwrite=True)
    assert (tmp_path / "index.html").stat().st_size < 3e6
    assert os.listdir(tmp_path) == ["index.html"]


def test_without_the_extra_the_pip_line_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r'pip install "spikeport\[report\]"'):
        check_report(tmp_path)


def call(tmp_path: Path, *options: object) -> Result:
    if not (tmp_path / "net.h5").exists():
        write_trials(tmp_path / "steps.h5", n=8)
        save_spiking_network(transfer(follower(), 60, dt=DT), tmp_path / "net.h5")
        write_model(tmp_path / "model.h5")
    names = ["validate", tmp_path / "net.h5", "--against", tmp_path / "model.h5", "--task", tmp_path / "steps.h5"]
    return CliRunner().invoke(app, [str(a) for a in (*names, "--trials", 4, *options)])


def test_the_verb_writes_the_page_and_says_where(tmp_path: Path, folder: Path) -> None:
    done = call(tmp_path, "--report", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["report"] == str(tmp_path / "out" / "index.html")
    page = Read(Path(found["report"]).read_text(encoding="utf-8"))
    data = json.loads(page.scripts["spikeport-data"])
    assert data == {k: v for k, v in found.items() if k != "report"}
    assert [f["sha256"] is not None for f in data["provenance"]["files"]] == [True, True, True]
    again = call(tmp_path, "--report", tmp_path / "out")
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    assert again.stdout == "", "before anything ran"
