"""MATLAB v7.3 files: HDF5, column-major, so each array comes transposed; text is an array of UTF-16 codes."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from spikeport.snn.hdf5 import check_dataset, open_hdf5, read_attributes, read_dataset


def read_v73(path: Path, wanted: Collection[str]) -> tuple[dict[str, NDArray[Any]], list[str], list[str]]:
    """(the variables of `wanted` that are there, the names of all variables, problems), in MATLAB's orientation."""
    found: dict[str, NDArray[Any]] = {}
    problems = []
    size = path.stat().st_size
    with open_hdf5(path, what="MATLAB v7.3 file") as file:
        names = [str(name) for name in file if not str(name).startswith("#")]  # #refs#: what cells point to
        for name in wanted:
            if name not in names:
                continue
            link, node = file.get(name, getlink=True), None
            if isinstance(link, h5py.HardLink):  # any other may lead out of this file
                node = file[name]
            if not isinstance(node, h5py.Dataset):
                problems.append(f"{name}: a structure or a link, must be a full matrix of real numbers, or text")
                continue
            reasons = check_dataset(node, name, size)
            attributes = read_attributes(path, node, only=("MATLAB_class", "MATLAB_empty"))
            if "MATLAB_class" not in attributes:
                reasons.append(f"{name}: no MATLAB_class, so MATLAB did not write it, and rows may stand as columns")
            problems += reasons
            if not reasons:
                found[name] = _decode(node, attributes)
    return found, names, problems


def _decode(node: h5py.Dataset, attributes: dict[str, Any]) -> NDArray[Any]:
    array = read_dataset(node)
    if attributes.get("MATLAB_empty"):
        return np.zeros((0, 0))  # the dataset then holds the size, not values
    array = array.T if array.ndim > 1 else array
    if attributes.get("MATLAB_class") == "char":
        rows = np.atleast_2d(array).astype("<u2")
        return np.array([row.tobytes().decode("utf-16-le") for row in rows])
    return array
