"""Sources: one file per format, each gives a RateNetwork or says why not. Nothing in a file is ever executed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spikeport.convert.sources import arrays, content, hdf5, matlab
from spikeport.snn.errors import InvalidNetworkError, SpikeportError
from spikeport.snn.rate import RateNetwork
from spikeport.snn.reading import check_readable, parsing

__all__ = ["LOADERS", "Source", "load_source"]


@dataclass(frozen=True)
class Source:
    """A format: its name, the contents (see content.py) that a file of it may have, and its loader."""

    name: str
    contents: tuple[str, ...]
    load: Callable[[Path], RateNetwork]


_OURS = Source("spikeport rate-network file", (content.HDF5,), hdf5.load)
LOADERS = {
    ".mat": Source("MATLAB file (v5 or v7.3)", (content.MATLAB_V5, content.HDF5), matlab.load),
    ".h5": _OURS,
    ".hdf5": _OURS,
    ".npz": Source("NumPy .npz file", (content.NPZ,), arrays.load_npz),
    ".safetensors": Source("safetensors file", (content.SAFETENSORS,), arrays.load_safetensors),
}
_PICKLED = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".dill")
_NPY = (".npy",)


def load_source(path: str | os.PathLike[str]) -> RateNetwork:
    """The rate network in `path`: .mat, .h5, .npz or .safetensors, by suffix and by content."""
    path = Path(path)
    suffix = path.suffix.lower()
    check_readable(path, "trained rate network")
    found = content.content_of(path)
    if suffix in _PICKLED or found in content.PICKLES:
        raise SpikeportError(
            f"{path}: a pickle may run any program when it is read, so it is never loaded",
            [f"suffix '{path.suffix}', content {found}"],
            hint="save its arrays instead: np.savez('model.npz', w_rec=..., w_in=..., ...), "
            "or safetensors.torch.save_file({...}, 'model.safetensors'); docs/formats.md has the names",
        )
    source = LOADERS.get(suffix)
    if source is None:
        raise _unknown_suffix(path, found)
    if found not in source.contents:
        raise InvalidNetworkError(
            f"{path}: not a {source.name}: its content is {found}", hint=_rename(path, found) or f"file {path}"
        )
    with parsing(path, source.name):
        return source.load(path)


def _unknown_suffix(path: Path, found: str) -> SpikeportError:
    known = ", ".join(f"{suffix} ({source.name})" for suffix, source in LOADERS.items())
    shown = f"suffix '{path.suffix}'" if path.suffix else "no suffix"
    return SpikeportError(
        f"{path}: {shown} names no source format; the content is {found}",
        [f"known: {known}"],
        hint=_rename(path, found) or "save the arrays with np.savez('model.npz', w_rec=..., ...)",
    )


def _rename(path: Path, found: str) -> str:
    """The command that gives a file the suffix of its content, where there is one."""
    for suffix, source in LOADERS.items():
        if found in source.contents and found != content.HDF5:  # HDF5 may be a .mat or ours
            return f"cp {path} {path.with_suffix(suffix)}   and use that"
    return ""
