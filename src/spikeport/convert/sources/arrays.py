"""Plain arrays with documented names, as .npz or .safetensors.

    x[k] = (1 - dt/tau) x[k-1] + dt/tau (w_rec r[k-1] + w_in u[k] + b_rec) + noise,   r = phi(x),   o = w_out r + b_out

Required: w_rec (N, N), w_in (N, n_inputs), w_out (n_outputs, N), all (post, pre); tau s, (N,) or one number; dt s; phi,
text. One input may come as (N,), one output as (N,). Optional, and what absence means, exactly: b_rec (N,) and b_out
(n_outputs,), zero; phi_max, no upper clip; noise_sd of a step, a network without noise; x0_sd, it starts at x = 0;
label_<name> (N,) of 0 and 1, no labels. Any other name is refused, because it would be dropped in silence.
A .safetensors file holds texts in its metadata; numbers may stand there too, or be arrays of one value.
phi "tanh" becomes the sigmoid network that it equals (signed.py); its provenance says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.convert.signed import from_tanh
from spikeport.convert.sources.content import NPZ, SAFETENSORS, missing, provenance_of
from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.npz import read_npz
from spikeport.snn.rate import RateNetwork
from spikeport.snn.reading import naming, parsing

REQUIRED = ("w_rec", "w_in", "w_out", "tau", "dt", "phi")
OPTIONAL = ("b_rec", "b_out", "phi_max", "noise_sd", "x0_sd")
LABEL = "label_"
_NUMBERS = ("dt", "phi_max", "noise_sd", "x0_sd")
_HINT = "docs/formats.md   lists the names, shapes and units"


def load_npz(path: Path) -> RateNetwork:
    """The network in a .npz file of documented names; pickled objects are refused unread."""
    found = read_npz(path, "NumPy .npz file")
    return _network(path, found, provenance_of(path, NPZ))


def load_safetensors(path: Path) -> RateNetwork:
    """The network in a .safetensors file of documented names; texts (phi) come from its metadata."""
    from safetensors import safe_open  # here, so that other formats work where it is not installed

    with parsing(path, "safetensors file"), safe_open(path, framework="numpy") as file:
        found: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}
        texts = {k: v for k, v in (file.metadata() or {}).items() if k in (*REQUIRED, *OPTIONAL)}
    twice = sorted(set(found) & set(texts))
    if twice:
        raise InvalidNetworkError(f"{path}: {', '.join(twice)} both as array and in the metadata", hint=_HINT)
    return _network(
        path, {**found, **{name: np.array(text) for name, text in texts.items()}}, provenance_of(path, SAFETENSORS)
    )


def _network(path: Path, found: Mapping[str, NDArray[Any]], provenance: dict[str, Any]) -> RateNetwork:
    problems = missing(REQUIRED, found)
    unknown = [name for name in found if name not in (*REQUIRED, *OPTIONAL) and not name.startswith(LABEL)]
    problems += [f"{name}: an unknown name, its values would be dropped" for name in unknown]
    numbers: dict[str, float] = {}
    arrays: dict[str, NDArray[np.float64]] = {}
    labels: dict[str, NDArray[np.bool_]] = {}
    for name, value in found.items():
        if name in unknown or name == "phi":
            continue
        if name in _NUMBERS:
            problems += _put_number(numbers, name, value)
        elif value.dtype.kind not in "fiub":
            problems.append(f"{name}: type {value.dtype}, must be real numbers")
        elif name.startswith(LABEL):
            problems += [] if np.isin(value, (0, 1)).all() else [f"{name}: values other than 0 and 1"]
            labels[name.removeprefix(LABEL)] = value.astype(np.bool_)
        else:
            arrays[name] = value.astype(np.float64)
    phi = found.get("phi", np.array(""))
    if "phi" in found and (phi.dtype.kind != "U" or phi.size != 1):
        problems.append(f"phi: type {phi.dtype} and shape {phi.shape}, must be one text")
    if "tau" in arrays and arrays["tau"].size != 1 and arrays["tau"].ndim != 1:
        problems.append(f"tau: shape {arrays['tau'].shape}, must be (N,) or one number")
    if problems:
        known = ", ".join((*REQUIRED, *OPTIONAL, f"{LABEL}<name>"))
        raise InvalidNetworkError(f"{path}: not a rate network (known names: {known})", problems, hint=_HINT)
    _widen(arrays)
    n, n_outputs = arrays["w_rec"].shape[0], arrays["w_out"].shape[0]
    signed = str(phi.item()) == "tanh"  # the one signed activation that is a sigmoid in other units
    make: Callable[..., RateNetwork] = from_tanh if signed else partial(RateNetwork, phi=str(phi.item()))
    with naming(path):
        return make(
            w_rec=arrays["w_rec"],
            w_in=arrays["w_in"],
            w_out=arrays["w_out"],
            tau=arrays["tau"],
            b_rec=arrays.get("b_rec", np.zeros(n)),
            b_out=arrays.get("b_out", np.zeros(n_outputs)),
            dt=numbers["dt"],
            phi_max=numbers.get("phi_max"),
            noise_sd=numbers.get("noise_sd", 0.0),
            x0_sd=numbers.get("x0_sd", 0.0),
            labels=labels,
            provenance=provenance,
        )


def _put_number(numbers: dict[str, float], name: str, value: NDArray[Any]) -> list[str]:
    """Put one number, given as an array of one value or as text, into `numbers`; the problem if it is none."""
    if value.size == 1 and value.dtype.kind in "fiuU":
        try:
            numbers[name] = float(value.item())
        except ValueError:
            return [f"{name}: {value.item()!r}, must be a number"]
        return []
    return [f"{name}: type {value.dtype} and shape {value.shape}, must be one number"]


def _widen(arrays: dict[str, NDArray[np.float64]]) -> None:
    """Give the documented short forms their full shape: one tau for all, one input, one output, one output's bias."""
    arrays["w_rec"] = np.atleast_2d(arrays["w_rec"])
    n = arrays["w_rec"].shape[0]
    if arrays["w_in"].ndim == 1:
        arrays["w_in"] = arrays["w_in"][:, None]
    if arrays["w_out"].ndim == 1:
        arrays["w_out"] = arrays["w_out"][None, :]
    if arrays["w_out"].ndim == 0:
        arrays["w_out"] = arrays["w_out"][None, None]
    if arrays["tau"].size == 1:
        arrays["tau"] = np.full(n, arrays["tau"].item())
    if "b_out" in arrays and arrays["b_out"].ndim == 0:
        arrays["b_out"] = arrays["b_out"][None]
