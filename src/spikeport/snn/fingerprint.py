"""What a network is, as one number: two files with the same one step alike, whoever wrote them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from spikeport.snn.codec import encode
from spikeport.snn.spiking import SpikingNetwork


def fingerprint(network: SpikingNetwork) -> str:
    """sha256 of all that a network is, but for its provenance; the same before it is saved and after."""
    digest = hashlib.sha256()
    _hash(digest, encode(replace(network, provenance={})) | {"provenance": None})
    return digest.hexdigest()


def _hash(digest: Any, value: Any) -> None:
    """Every part behind its type and length, so that no two trees give the same bytes."""
    if isinstance(value, Mapping):
        parts = [(key, item) for key, item in sorted(value.items()) if item is not None]
        digest.update(f"dict {len(parts)};".encode())
        for key, item in parts:
            digest.update(f"key {len(key.encode())};{key}".encode())
            _hash(digest, item)
    elif isinstance(value, str):
        digest.update(f"text {len(value.encode())};{value}".encode())
    else:
        array = np.asarray(value, dtype=np.float64)  # steps and sizes are far below 2^53
        digest.update(f"numbers {array.shape};".encode() + np.ascontiguousarray(array).astype("<f8").tobytes())
