"""A record that is being written is nobody else's: not replaced, and its writer notices where its file went."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from record_cases import HEADER, feed, lines, record_of, write_record

from spikeport.loop.record.outside import ProcessRecorder
from spikeport.loop.record.process import Appender
from spikeport.loop.record.read import read_record
from spikeport.loop.record.writer import FileRecorder, Recording, make_way
from spikeport.snn import locking
from spikeport.snn.errors import SpikeportError
from spikeport.snn.writing import check_writable, write_whole

IN_USE = "a.spklog: is being written by another program"
Make = Callable[..., Recording]


def process_recorder(path: Path, **options: Any) -> Recording:
    return ProcessRecorder(path, on_loss="count", deterministic=True, **options)


both = pytest.mark.parametrize("make", [process_recorder, FileRecorder], ids=["process", "file"])


def begun(make: Make, path: Path, **options: Any) -> Recording:
    recorder = make(path, **options)
    recorder.open(HEADER)
    return recorder


@both
@pytest.mark.parametrize("other", [process_recorder, FileRecorder], ids=["by process", "by file"])
def test_a_record_in_use_is_not_replaced(tmp_path: Path, make: Make, other: Make) -> None:
    path = tmp_path / "a.spklog"
    write_record(path, 3)
    late = other(path, overwrite=True)  # made while nobody writes, opened later
    with begun(make, path, overwrite=True) as recorder:
        feed(recorder, lines(200))
        with pytest.raises(SpikeportError, match=IN_USE):
            other(path, overwrite=True)
        with pytest.raises(SpikeportError, match=IN_USE):
            late.open(HEADER)
    assert path.read_bytes() == record_of(200)


def test_nothing_else_is_written_in_its_place_either(tmp_path: Path) -> None:
    path = tmp_path / "a.spklog"
    with begun(process_recorder, path) as recorder:
        with pytest.raises(SpikeportError, match=IN_USE):
            check_writable(path, overwrite=True)
        with pytest.raises(SpikeportError, match=IN_USE), write_whole(path, overwrite=True):
            pass
        feed(recorder, lines(20))
    assert path.read_bytes() == record_of(20)
    check_writable(path, overwrite=True)


def test_the_system_frees_the_record_of_a_writer_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.spklog"
    recorder = ProcessRecorder(path, on_loss="count")
    recorder.open(HEADER)
    os.kill(recorder.pid or 0, signal.SIGKILL)
    with pytest.raises(SpikeportError, match="not whole"):
        recorder.close()
    with begun(process_recorder, path, overwrite=True):
        pass
    assert read_record(path).ending.kind == "clean"


def test_a_record_that_is_read_may_be_replaced(tmp_path: Path) -> None:
    path = write_record(tmp_path / "a.spklog", 3)
    with path.open("rb"), begun(FileRecorder, path, overwrite=True):
        pass
    assert path.read_bytes() == record_of(0)


def test_of_many_that_want_the_same_record_one_gets_it(tmp_path: Path) -> None:
    path = write_record(tmp_path / "a.spklog", 3)

    def try_it(_: int) -> Recording | str:
        try:
            return begun(FileRecorder, path, overwrite=True)
        except SpikeportError as error:
            return str(error)

    for _ in range(10):
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(try_it, range(8)))
        (one,) = [each for each in found if isinstance(each, Recording)]
        feed(one, lines(5))
        one.close()  # which raises where its file was removed
        assert path.read_bytes() == record_of(5)


def remove(path: Path) -> None:
    path.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("b.spklog"))


def put_another_there(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"another")


@both
@pytest.mark.parametrize(
    ("what", "said"),
    [
        (remove, "it was removed"),
        (move, "it was moved to another name"),
        (put_another_there, "it was replaced by another file"),
    ],
)
def test_a_record_that_went_away_meanwhile_is_told_at_the_end(
    tmp_path: Path, make: Make, what: Callable[[Path], None], said: str
) -> None:
    path = tmp_path / "a.spklog"
    recorder = begun(make, path)
    feed(recorder, lines(20))
    what(path)
    feed(recorder, lines(20))
    with pytest.raises(SpikeportError, match=f"a.spklog: the record is not there: {said}"):
        recorder.close()
    assert said in recorder.broken
    if what is move:
        assert read_record(path.with_name("b.spklog")).ending.kind == "clean"


@both
def test_a_program_may_change_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    monkeypatch.chdir(tmp_path)
    with begun(make, Path("a.spklog")):
        monkeypatch.chdir("/")
    assert (tmp_path / "a.spklog").read_bytes() == record_of(0)


def test_a_system_without_locks_is_noted_and_the_record_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    for overwrite in (False, True):
        with begun(FileRecorder, tmp_path / "a.spklog", overwrite=overwrite) as recorder:
            pass
        assert recorder.report()["refused"] == ["no locks here: Function not implemented"]
    assert (tmp_path / "a.spklog").read_bytes() == record_of(0)


@both
@pytest.mark.parametrize("old", [False, True], ids=["leads nowhere", "leads to a record"])
def test_a_link_stays_a_link_and_the_file_that_it_names_is_replaced(tmp_path: Path, make: Make, old: bool) -> None:
    path, named = tmp_path / "link.spklog", tmp_path / "a.spklog"
    path.symlink_to(named)
    if old:
        write_record(named, 3)
    with begun(make, path, overwrite=True):
        pass
    assert path.is_symlink()
    assert not named.is_symlink()
    assert named.read_bytes() == record_of(0)


def open_file(path: Path) -> None:
    FileRecorder(path).open(HEADER)


def open_process(path: Path) -> None:
    Appender(path, fsync_s=1.0)  # what the other process begins with


@pytest.mark.parametrize("begin", [open_process, open_file], ids=["process", "file"])
def test_a_place_that_another_takes_before_it_is_locked_is_his(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: Callable[[Path], None]
) -> None:
    """Between making a file and locking it there is a moment in which another program may remove it as an old one."""
    path = tmp_path / "a.spklog"
    lock = locking.hold

    def too_late(file: int) -> str:
        path.unlink()
        path.write_bytes(b"another")
        return lock(file)

    monkeypatch.setattr(locking, "hold", too_late)
    with pytest.raises((SpikeportError, BlockingIOError), match="another program took its place"):
        begin(path)
    assert path.read_bytes() == b"another"


def test_a_file_that_is_made_but_not_begun_yet_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.spklog"
    path.touch()  # what another program has just made, after our look at the old record
    monkeypatch.setattr("spikeport.loop.record.writer.check_record", lambda *_: None)
    with pytest.raises(SpikeportError, match=IN_USE):
        make_way(path, True)
    assert path.exists()
