"""Small source files of every format, as their publishers write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from safetensors.numpy import save_file
from scipy.io import savemat

from spikeport.snn.rate import RateNetwork

ARRAYS = ("tau", "w_rec", "w_in", "w_out", "b_rec", "b_out")


def assert_same_numbers(a: RateNetwork, b: RateNetwork) -> None:
    for name in ARRAYS:
        assert getattr(a, name).dtype == np.float64
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    for name in ("dt", "phi", "phi_max", "noise_sd", "x0_sd"):
        assert getattr(a, name) == getattr(b, name), name
    assert {name: mask.tolist() for name, mask in a.labels.items()} == {n: m.tolist() for n, m in b.labels.items()}


def nan(shape: tuple[int, ...]) -> np.ndarray:
    array = np.ones(shape)
    array[0, 1] = np.nan
    return array


def published(n: int = 6, n_inputs: int = 1, n_outputs: int = 1, **changes: Any) -> dict[str, Any]:
    """The variables of a small published model; a change of None removes one."""
    rng = np.random.default_rng(n)
    inh = (np.arange(n) % 3 == 2)[:, None]
    som_m = np.ones((n, n), dtype=np.float32)
    som_m[np.ix_(np.flatnonzero(inh)[:1], np.flatnonzero(inh))] = 0
    variables: dict[str, Any] = {
        "w": np.abs(rng.normal(size=(n, n))).astype(np.float32),
        "m": np.diag(np.where(inh[:, 0], -1, 1)).astype(np.float32),
        "som_m": som_m,
        "w_in": rng.normal(size=(n, n_inputs)).astype(np.float32),
        "w_out": rng.normal(size=(n_outputs, n)).astype(np.float32),
        "b_out": rng.normal(size=(n_outputs, 1)).astype(np.float32),
        "taus": np.array([[4.0, 20.0]]),
        "taus_gaus": rng.normal(size=(n, 1)).astype(np.float32),
        "activation": "sigmoid",
        "N": n,
        "som_N": 1,
        "exc": (~inh).astype(np.uint8),
        "inh": inh.astype(np.uint8),
        "w0": np.zeros((n, n), dtype=np.float32),
        "losses": np.zeros((1, 9)),
    }
    return {name: value for name, value in {**variables, **changes}.items() if value is not None}


def write_v5(path: Path, variables: dict[str, Any]) -> Path:
    savemat(path, variables, do_compression=True)
    return path


def write_v73(path: Path, variables: dict[str, Any], *, attributes: bool = True) -> Path:
    """As MATLAB's save -v7.3: a user block of 512 bytes, arrays transposed, text as UTF-16 codes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            if isinstance(value, str):
                codes = np.frombuffer(value.encode("utf-16-le"), dtype=np.uint16)
                data, matlab_class = codes[:, None], "char"
            else:
                data = np.atleast_2d(value).T
                matlab_class = {"float32": "single", "float64": "double"}.get(str(data.dtype), str(data.dtype))
            dataset = file.create_dataset(name, data=data, compression="gzip" if data.size > 50 else None)
            if attributes:
                dataset.attrs["MATLAB_class"] = np.bytes_(matlab_class)
        file.create_group("#refs#")
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    with path.open("r+b") as raw:
        raw.write(head)
    return path


WRITERS = {"v5": write_v5, "v7.3": write_v73}


def plain(n: int = 6, **changes: Any) -> dict[str, Any]:
    """The documented names of a .npz, all of them; a change of None removes one."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "w_rec": rng.normal(size=(n, n)),
        "w_in": rng.normal(size=(n, 2)),
        "w_out": rng.normal(size=(3, n)),
        "tau": rng.uniform(0.02, 0.1, n),
        "dt": np.array(0.005),
        "phi": "relu",
        "b_rec": rng.normal(size=n),
        "b_out": rng.normal(size=3),
        "phi_max": np.array(20.0),
        "noise_sd": np.array(0.1),
        "x0_sd": np.array(0.01),
        "label_exc": np.arange(n) % 3 > 0,
    }
    return {name: value for name, value in {**arrays, **changes}.items() if value is not None}


def write_npz(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def write_safetensors(path: Path, arrays: dict[str, Any]) -> Path:
    texts = {name: value for name, value in arrays.items() if isinstance(value, str)}
    # contiguous, because save_file writes a strided view's memory as it lies
    numbers = {
        name: np.ascontiguousarray(value).reshape(np.shape(value))
        for name, value in arrays.items()
        if name not in texts
    }
    save_file(numbers, path, metadata=texts)
    return path


PLAIN = {"npz": write_npz, "safetensors": write_safetensors}
