"""The shipped models are found, in a checkout and in an installed package."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikeport import resources
from spikeport.snn.errors import SpikeportError


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two empty places to look in: that of an installed package, and that of a checkout."""
    found = (tmp_path / "models", tmp_path / "examples" / "models")
    for place in found:
        place.mkdir(parents=True)
    monkeypatch.setattr(resources, "PLACES", found)
    return found


@pytest.mark.parametrize("place", [0, 1], ids=["installed", "checkout"])
@pytest.mark.parametrize("stored", ["go_nogo", "go-nogo"])
@pytest.mark.parametrize("asked", ["go_nogo", "go-nogo", "go-nogo.h5"])
def test_a_model_is_found_by_name(places: tuple[Path, Path], place: int, stored: str, asked: str) -> None:
    file = places[place] / f"{stored}.h5"
    file.touch()
    assert resources.model_path(asked) == file


def test_an_unknown_model_is_refused_with_the_ones_there_are(places: tuple[Path, Path]) -> None:
    (places[0] / "xor.h5").touch()
    with pytest.raises(SpikeportError, match="no model 'nor' comes with spikeport\n  there are: xor"):
        resources.model_path("nor")


def test_lost_models_are_reported_with_the_places_searched(places: tuple[Path, Path]) -> None:
    with pytest.raises(SpikeportError, match="none; looked in"):
        resources.model_path("xor")


def test_decoders_are_found_in_their_own_folder_and_nowhere_else() -> None:
    assert resources.model_path("cursor-rate", "decoders").name == "cursor_rate.h5"
    assert not resources.shipped_models().keys() & resources.shipped_models("decoders").keys()


@pytest.mark.parametrize("folder", ["", "decoders"])
def test_every_shipped_model_is_small(folder: str) -> None:
    models = resources.shipped_models(folder)
    assert models
    assert all(path.stat().st_size < 1_000_000 for path in models.values())
