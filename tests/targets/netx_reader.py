"""A reader of netx files and Lava's bit-accurate processes, written from their sources and without anything of ours.

NetDict, optimize_weight_bits, Network._create     lava-dl, netx/utils.py and netx/hdf5.py at 4919a66
Dense, LIF (fixed point, bit accurate)             lava-nc 0.10: every Dense takes a step
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

Ints = np.ndarray


def run(path: Path, spikes: Ints) -> list[Ints]:
    """Spikes (time, batch, n) of every dense layer for those of the input."""
    found = []
    with h5py.File(path, "r") as file:
        layers = [file["layer"][str(i)] for i in range(len(file["layer"]))]
        assert word(layers[0]["type"]) == "input"
        assert "neuron" not in layers[0]
        assert tuple(layers[0]["shape"][()]) == spikes.shape[2:]
        for layer in layers[1:]:
            assert word(layer["type"]) == "dense"
            spikes = dense(layer, spikes)
            found.append(spikes)
    return found


def word(dataset: Any) -> str:
    value = dataset[0] if len(dataset.shape) > 0 else dataset[()]
    return str(value.decode("ascii"))


def dense(layer: Any, spikes: Ints) -> Ints:
    n = int(np.prod(layer["shape"][()]))
    weight, bits, exponent, mixed = optimised(layer["weight"][()].astype(int))
    assert weight.shape == (n, spikes.shape[2])
    neuron = layer["neuron"]
    assert word(neuron["type"]) in ("LOIHI", "CUBA")
    du, dv, vth = neuron["iDecay"][()] - 1, neuron["vDecay"][()], neuron["vThMant"][()]
    assert 0 <= du <= 4095
    assert 0 <= dv <= 4095
    assert 0 <= vth <= 131071
    bias_mant = layer["bias"][()].astype(int) if "bias" in layer else np.zeros(n, dtype=int)
    assert np.abs(bias_mant).max() <= 4095
    cut = 8 - bits + mixed  # the Dense process drops the bits that it does not store
    stored = (np.clip(weight, -256 if mixed else 0, 255) >> cut) << cut
    assert (stored == weight).all(), "what the reader makes of the weights is what they are"
    u, v = (np.zeros((spikes.shape[1], n), dtype=np.int64) for _ in range(2))
    arrived, out = np.zeros_like(u), []
    for row in spikes:
        u = toward_0(u * (4096 - (du + 1))) + (arrived << 6)
        assert np.abs(u).max() < 2**23
        v = np.clip(toward_0(v * (4096 - dv)) + u + (bias_mant << 6), -(2**23) + 1, 2**23 - 1)
        z = v > vth << 6
        v = np.where(z, 0, v)
        out.append(z.astype(np.int64))
        total = row.astype(np.int64) @ stored.T
        arrived = total << exponent if exponent >= 0 else total >> -exponent
    return np.stack(out)


def toward_0(product: Ints) -> Ints:
    return np.sign(product) * (np.abs(product) >> 12)


def optimised(weight: Ints) -> tuple[Ints, int, int, bool]:
    """optimize_weight_bits: the matrix, how many bits, which exponent, whether signs are mixed."""
    most, least = weight.max(), weight.min()
    assert -256 <= least, "it would clip"
    assert most <= (254 if least < 0 else 255), "it would clip"
    mixed = not (most < 0 or least >= 0)
    with np.errstate(divide="ignore"):
        if mixed:
            scale = min(np.float64(127) / most if most > 0 else np.inf, np.float64(-128) / least)
        else:
            scale = np.float64(-256) / least if most < 0 else np.float64(255) / most
    scale_bits = int(np.floor(np.log2(scale)) + mixed)
    n = next(n for n in range(8, -1, -1) if n == 0 or not (weight % 2**n).any())
    return weight << scale_bits, 8 - scale_bits - (n - mixed), -scale_bits, mixed
