"""Where the files that come with spikeport are: the trained models that `spikeport demo` starts from.

A wheel carries examples/models as spikeport/models; in a checkout they stay where people look for them.
"""

from __future__ import annotations

from pathlib import Path

from spikeport.snn.errors import SpikeportError

PACKAGE = Path(__file__).resolve().parent
PLACES = (PACKAGE / "models", PACKAGE.parents[1] / "examples" / "models")  # installed, or a checkout (src layout)


def shipped_models(folder: str = "") -> dict[str, Path]:
    """The models that come with spikeport, name -> file; empty if the installation lost them. folder: inside of theirs;
    "decoders" has those of the closed loop, which no task of `spikeport demo` belongs to."""
    for place in PLACES:
        found = {path.stem: path for path in sorted((place / folder).glob("*.h5"))}
        if found:
            return found
    return {}


def model_path(name: str, folder: str = "") -> Path:
    """The file of a shipped model, by its name; `go-nogo` and `go_nogo` are the same. folder: as of shipped_models."""
    models = shipped_models(folder)
    wanted = name.removesuffix(".h5").replace("_", "-")
    for stem, path in models.items():
        if stem.replace("_", "-") == wanted:
            return path
    known = ", ".join(models) or f"none; looked in {' and '.join(str(place / folder) for place in PLACES)}"
    raise SpikeportError(f"no model {name!r} comes with spikeport", [f"there are: {known}"])
