"""Which weights a fine-tuning left: a file that says it was fine-tuned may have been changed since.

A network whose weights are still those is one step below its calibrated network, and that step says what it did.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from spikeport.convert.calibration.calibrate import judged_on
from spikeport.snn.neurons import per_unit
from spikeport.snn.spiking import SpikingNetwork


def weights_digest(network: SpikingNetwork) -> str:
    """sha256 of all that training may change: biases, projections, read-outs; the same before a file and after."""
    digest = hashlib.sha256()
    arrays = [per_unit(p.bias, p.n) for p in network.populations]
    arrays += [j.weight for j in network.projections] + [r.weight for r in network.readouts]
    for array in arrays:
        digest.update(f"{array.shape};".encode())
        digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return digest.hexdigest()


def is_finetuned(network: SpikingNetwork) -> bool:
    """Does its provenance tell of a fine-tuning that left exactly these weights?"""
    said = network.provenance.get("finetuning")
    return isinstance(said, Mapping) and "weights" in said and said["weights"] == weights_digest(network)


def take_trained(above: SpikingNetwork, below: SpikingNetwork) -> SpikingNetwork:
    """`above` with what training may change as `below` has it, where one of the two is as a fine-tuning left it."""
    if not (is_finetuned(above) or is_finetuned(below)):
        return above
    populations = zip(above.populations, below.populations, strict=True)
    projections = zip(above.projections, below.projections, strict=True)
    readouts = zip(above.readouts, below.readouts, strict=True)
    return replace(
        above, populations=tuple(replace(p, bias=q.bias) for p, q in populations),
        projections=tuple(replace(j, weight=k.weight) for j, k in projections),
        readouts=tuple(replace(r, weight=s.weight) for r, s in readouts),
    )  # fmt: skip


def trained_words(a: SpikingNetwork, b: SpikingNetwork) -> str:
    """What the fine-tuning says of itself, and how far it moved the weights."""
    kept = (b if is_finetuned(b) else a).provenance
    said, judges = kept["finetuning"], judged_on(int(kept["calibration"]["trials"]))
    moved = [
        float(np.sqrt(np.mean((k.weight - j.weight) ** 2) / np.mean(j.weight**2)))
        for j, k in zip(a.projections, b.projections, strict=True) if np.any(j.weight)
    ]  # fmt: skip
    return (
        f"{said['steps']} steps: output error {said['loss_before']:.3g} -> {said['loss_after']:.3g} on {judges}, "
        f"{said['mean_rate_hz_before']:.3g} -> {said['mean_rate_hz_after']:.3g} spikes/s, weights "
        f"moved by up to {max(moved, default=0.0):.2g} of their rms"
    )
