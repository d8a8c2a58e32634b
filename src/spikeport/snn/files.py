"""Our own files: what `storage` can hold, field by field. docs/formats.md describes each."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from spikeport.snn.reading import naming
from spikeport.snn.rate import RateNetwork
from spikeport.snn.storage import Json, kind_of, read_tree, write_tree

__all__ = ["kind_of", "load_rate_network", "save_rate_network"]

_RATE_ARRAYS = ("tau", "w_rec", "w_in", "w_out", "b_rec", "b_out")


def save_rate_network(network: RateNetwork, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write `network` to an HDF5 file that `load_rate_network` gives back bit for bit."""
    tree = {
        **{name: getattr(network, name) for name in _RATE_ARRAYS},
        "dt": float(network.dt),
        "phi": network.phi,
        "phi_max": None if network.phi_max is None else float(network.phi_max),
        "noise_sd": float(network.noise_sd),
        "x0_sd": float(network.x0_sd),
        "labels": dict(network.labels),
        "provenance": Json(dict(network.provenance)),
    }
    write_tree(path, "rate-network", tree, overwrite=overwrite)


def load_rate_network(path: str | os.PathLike[str]) -> RateNetwork:
    """Read what `save_rate_network` wrote."""
    stored = read_tree(path, "rate-network")
    stored.require((*_RATE_ARRAYS, "dt", "phi", "noise_sd", "x0_sd"))
    tree = stored.tree
    labels, provenance = tree.get("labels", {}), tree.get("provenance", {})
    problems = [f"{name}: must be an array of numbers" for name in _RATE_ARRAYS if not _is_numeric(tree[name])]
    problems += [f"{name}: must be a number" for name in ("dt", "noise_sd", "x0_sd", "phi_max") if not _is_number(tree.get(name, 0.0))]
    if not isinstance(tree["phi"], str):
        problems.append("phi: must be text")
    if not isinstance(labels, dict) or not all(isinstance(m, np.ndarray) and m.dtype == np.bool_ for m in labels.values()):
        problems.append("labels: must be a group of boolean arrays")
    if not isinstance(provenance, dict):
        problems.append("provenance: must be a JSON object")
    if problems:
        raise stored.invalid(problems)
    with naming(stored.path):
        return RateNetwork(
            **{name: np.asarray(tree[name], dtype=np.float64) for name in _RATE_ARRAYS},
            dt=float(tree["dt"]),
            phi=tree["phi"],
            phi_max=None if tree.get("phi_max") is None else float(tree["phi_max"]),
            noise_sd=float(tree["noise_sd"]),
            x0_sd=float(tree["x0_sd"]),
            labels=labels,
            provenance=provenance,
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiu"
