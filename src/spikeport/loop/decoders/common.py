"""What decoders share: FALCON's arrays checked, time to whole steps, and a network's fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeport.loop.packets import Array
from spikeport.snn import noise
from spikeport.snn.errors import SpikeportError
from spikeport.snn.fingerprint import fingerprint as of_spiking
from spikeport.snn.spiking import SpikingNetwork

_SLACK = 1e-3  # of a step: t and dt are rounded, which is 6e-6 of a step after the 2^34 that noise has keys for


def steps_until(t: float, dt: float, done: int) -> int:
    """Steps that a state of `done` steps has to make to be at time t: floor(t / dt) - done.

    The rule for a t between two steps: the state is that of the last whole step. Steps are counted from 0 each time,
    so nothing adds up.
    """
    if not np.isfinite(t):
        raise SpikeportError(f"decoder: time {t} s, must be a finite number")
    n = int(t / dt + _SLACK) - done
    if n < 0:
        raise SpikeportError(
            f"decoder: asked for {t:.9g} s, but the state is at {done * dt:.9g} s, and time does not go back",
            hint="reset(), or restore() a snapshot",
        )
    if done + n > noise.LIMITS["step"]:
        raise SpikeportError(
            f"decoder: {done + n} steps, but noise has keys for {noise.LIMITS['step']}, and would repeat itself",
            hint="reset() the decoder before that",
        )
    return n


def whole_steps(period: float, dt: float, what: str) -> int:
    """How many steps of dt s a period has, where they are whole."""
    n = round(period / dt) if np.isfinite(period) else 0
    if n < 1 or abs(n * dt - period) > 1e-9 * period:
        raise SpikeportError(
            f"decoder: a period of {period!r} s, which is not a whole number of the {what}'s steps of {dt:g} s",
            hint=f"a period of {max(1, n) * dt:g} s",
        )
    return n


def rows(values: ArrayLike, n_batch: int, n_inputs: int) -> Array:
    """(n_batch, n_inputs) float64 of what FALCON's predict or observe was given."""
    found: Array = np.asarray(values, dtype=np.float64)
    if found.shape != (n_batch, n_inputs):
        raise SpikeportError(
            f"decoder: observations of shape {found.shape}, must be (n_batch, n_channels) = {(n_batch, n_inputs)}"
        )
    return found


def ended(dones: ArrayLike, n_batch: int) -> NDArray[np.bool_]:
    """(n_batch,) bool of what FALCON's on_done was given."""
    found = np.asarray(dones)
    if found.shape != (n_batch,):
        raise SpikeportError(f"decoder: dones of shape {found.shape}, must be ({n_batch},)")
    return found.astype(np.bool_)


def check_tags(tags: Any, n_batch: int) -> list[str]:
    """FALCON names the data set of each row; none, or one empty name, says nothing.

    Its evaluator has fewer in its last batch, and then serves as many rows as names.
    """
    found = [str(tag) for tag in tags]
    if len(found) > n_batch:
        raise SpikeportError(f"decoder: {len(found)} data set tags for a batch of {n_batch}, must be one each, or none")
    return found


def check_batch(batch_size: int) -> int:
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise SpikeportError(f"decoder: batch_size {batch_size!r}, must be a whole number, 1 or more")
    return int(batch_size)


def fingerprint(network: Any) -> str:
    """SHA-256 of a network's or model's numbers and names, without its provenance.

    A spiking network has the one that its recordings, NIR files and C files carry.
    """
    if isinstance(network, SpikingNetwork):
        return of_spiking(network)
    digest = hashlib.sha256()
    _feed(digest, network)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if is_dataclass(value) and not isinstance(value, type):
        digest.update(f"<{type(value).__name__}".encode())
        for field in fields(value):
            if field.name != "provenance":
                digest.update(f".{field.name}=".encode())
                _feed(digest, getattr(value, field.name))
        digest.update(b">")
    elif isinstance(value, Mapping):
        digest.update(f"<map {len(value)}".encode())
        for key in sorted(value):
            digest.update(f".{key!r}=".encode())
            _feed(digest, value[key])
    elif isinstance(value, (tuple, list)):
        digest.update(f"<list {len(value)}".encode())
        for item in value:
            _feed(digest, item)
    elif isinstance(value, (np.ndarray, np.generic, float)):
        array = np.ascontiguousarray(value)
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"<{little.dtype.str} {array.shape}".encode())
        digest.update(little.tobytes())
    else:
        digest.update(f"<{type(value).__name__} {value!r}".encode())
