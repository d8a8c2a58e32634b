"""snn/hdf5_heaps.py: a heap of texts whose sizes do not add up is refused; HDF5 itself would read on without an end."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.hdf5 import open_hdf5
from spikeport.snn.hdf5_heaps import heap_problems

TEXT = h5py.string_dtype()


def write(path: Path, texts: list[str], **how: str) -> Path:
    with h5py.File(path, "w", **how) as file:
        file.create_dataset("texts", data=texts, dtype=TEXT)
        file.attrs["note"] = "a text of an attribute is kept there too"
    return path


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=6000), max_size=40))
def test_what_hdf5_writes_has_no_problem(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = write(tmp_path_factory.mktemp("heap") / "a.h5", texts)
    assert heap_problems(path, length=8) == []


def test_texts_that_were_written_over_and_deleted_leave_no_problem(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", [letter * 500 for letter in "abcdefgh"])
    for turn in range(6):
        with h5py.File(path, "a") as file:
            file["texts"][:] = [letter * (200 * turn + 1) for letter in "abcdefgh"]
            file.attrs["note"] = str(turn) * 900
            file.create_dataset(f"more{turn}", data=["x" * 3000] * turn, dtype=TEXT)
            if turn > 2:
                del file[f"more{turn - 2}"]
        assert heap_problems(path, length=8) == []


@pytest.mark.parametrize("length", [4, 8])
def test_the_files_own_size_of_lengths_is_used(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.h5"
    how = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    how.set_sizes(8, length)
    with h5py.File(h5py.h5f.create(bytes(path), h5py.h5f.ACC_TRUNC, how)) as file:
        file.create_dataset("texts", data=["one", "three"], dtype=TEXT)
    with open_hdf5(path, "file of texts") as file:
        assert list(file["texts"][()]) == [b"one", b"three"]
    assert heap_problems(path, length) == []
    at = path.read_bytes().index(b"one") - 8  # the size, and what pads it to 8 bytes
    damage(path, at, (0).to_bytes(length, "little")[:-1] + b"\x40")
    with pytest.raises(InvalidNetworkError, match=r"object \d at byte"), open_hdf5(path, "file of texts"):
        pass


@pytest.mark.parametrize(
    ("before", "behind", "change", "said"),
    [
        (b"GCOL", 8, b"\xff" * 8, "of 18446744073709551615 bytes, the file has"),
        (b"GCOL", 8, bytes(8), "of 0 bytes"),
        (b"one", -8, b"\xff" * 8, "of 18446744073709551615 bytes"),  # with its padding 0: the loop without an end
        (b"one", -8, (1 << 63).to_bytes(8, "little"), "of 9223372036854775808 bytes"),
    ],
)
def test_a_size_that_cannot_be_is_refused_with_its_place(
    tmp_path: Path, before: bytes, behind: int, change: bytes, said: str
) -> None:
    path = write(tmp_path / "a.h5", ["one", "two"])
    damage(path, path.read_bytes().index(before) + behind, change)
    with pytest.raises(InvalidNetworkError) as refusal, open_hdf5(path, "file of texts"):
        pass
    assert f"{path}: damaged" in str(refusal.value)
    assert "heap of texts at byte" in str(refusal.value)
    assert said in str(refusal.value)
    assert "h5repack" in str(refusal.value)


def test_reserved_bytes_that_are_not_zero_hide_no_heap(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", ["one", "two"])
    at = path.read_bytes().index(b"GCOL")
    damage(path, at + 5, b"\x07\x07\x07" + bytes(8))
    assert len(heap_problems(path, length=8)) == 1


def damage(path: Path, at: int, change: bytes) -> None:
    raw = bytearray(path.read_bytes())
    raw[at : at + len(change)] = change
    path.write_bytes(raw)
