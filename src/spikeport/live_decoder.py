"""Decoders from files: a spiking network, a rate network, a Kalman filter, a linear read-out; a shadow, a smoothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spikeport.convert.sources import load_source
from spikeport.loop.decoders.rate import RateDecoder
from spikeport.loop.decoders.shadow import Shadow
from spikeport.loop.decoders.spiking import SpikingDecoder
from spikeport.loop.kalman import KalmanDecoder, KalmanModel
from spikeport.loop.ports import Decoder
from spikeport.loop.readout import LinearDecoder, LinearModel, Smoothed, Smoothing
from spikeport.snn.errors import SpikeportError
from spikeport.snn.files import kind_of, load_spiking_network
from spikeport.snn.npz import read_npz

OF_NETWORKS = ("dtype", "seed", "first_trial", "with_noise", "outputs")
OF_SPIKING = ("dtype", "outputs")  # names that a rate network has no use for
MODELS: Mapping[str, tuple[type, tuple[str, ...], Any]] = {  # .npz: the arrays that a model has
    "Kalman filter": (KalmanModel, ("a", "w", "c", "b", "q", "period"), KalmanDecoder),
    "linear read-out": (LinearModel, ("weight", "bias", "tau", "period"), LinearDecoder),
}
SMOOTHING = ("tau", "centre", "scale")


def load_decoder(
    values: Mapping[str, Any],
    folder: Path,
    period: float,
    *,
    shadow: Mapping[str, Any] | None = None,
    smoothing: str | None = None,
) -> Decoder:
    """The decoder of a file's section `decoder`; period: s, of a tick."""
    beside = None if shadow is None else shadow["network"]
    named = {"network": values["network"], "shadow": beside, "smoothing": smoothing}
    given = {name: folder / Path(file).expanduser() for name, file in named.items() if file is not None}
    missing = [f"{name}: {path}: no such file" for name, path in given.items() if not os.path.exists(path)]
    if missing:
        raise SpikeportError("decoder", missing)
    decoder = _one(values, folder, period)
    if shadow is not None:
        decoder = Shadow(decoder, _one(shadow, folder, period))
    return decoder if smoothing is None else Smoothed(decoder, _smoothing(given["smoothing"], decoder.period))


def decoder_of(recorded: Mapping[str, Any], network: Path, smoothing: Path | None = None) -> Decoder:
    """A decoder like the one that a record describes, around the network of a file."""
    period = recorded.get("period")
    if not isinstance(period, float):
        raise SpikeportError(f"the record has a decoder of kind {recorded.get('kind')!r:.60}, which no file describes")
    if "smoothing" in recorded and smoothing is None:
        raise SpikeportError("the record's decoder was behind a smoothing", hint="--smoothing smoothing.npz")
    if not os.path.exists(network):  # pathlib's raises where a name is too long
        raise SpikeportError(f"{network}: no such file", hint="--decoder net.h5")
    values = {name: recorded[name] for name in _names_of(network) if name in recorded}
    given = None if smoothing is None else str(smoothing)
    return load_decoder({"network": str(network), **values}, Path(), period, smoothing=given)


def is_spiking(path: Path) -> bool:
    """Whether a file is a spiking network of ours; False also where it is something else."""
    if path.suffix.lower() not in (".h5", ".hdf5"):
        return False
    try:
        return kind_of(path) == "spiking-network"
    except SpikeportError:  # a .mat of version 7.3, or no file: load_source says which
        return False


def model_of(path: Path) -> str:
    """Which of MODELS a file is, by the names of its arrays; "" where it is none."""
    if path.suffix.lower() != ".npz":
        return ""
    found = set(read_npz(path, "model"))
    return next((kind for kind, (_, names, _) in MODELS.items() if set(names) == found), "")


def _names_of(path: Path) -> tuple[str, ...]:
    """What may be chosen of the decoder that a file makes."""
    if is_spiking(path):
        return OF_NETWORKS
    return () if model_of(path) else tuple(name for name in OF_NETWORKS if name not in OF_SPIKING)


def _one(values: Mapping[str, Any], folder: Path, period: float) -> Decoder:
    given = dict(values)
    path = folder / Path(given.pop("network")).expanduser()
    model, allowed = model_of(path), _names_of(path)
    what = model or "rate network"
    wrong = [f"{name}: {given[name]}, but {path.name} is a {what}" for name in given if name not in allowed]
    if wrong:
        raise SpikeportError(what, wrong)
    if model:
        kind, names, decoder = MODELS[model]
        arrays = read_npz(path, model)
        values_of: dict[str, Any] = dict(arrays)
        for name in {"tau", "period"} & set(names):
            if arrays[name].shape == ():
                values_of[name] = float(arrays[name])
        made: Decoder = decoder(kind(**values_of))
        return made
    if is_spiking(path):
        return SpikingDecoder(load_spiking_network(path), period=period, **given)
    network = load_source(path)
    steps = period / network.dt
    whole = round(steps) >= 1 and abs(steps - round(steps)) <= 1e-9 * steps
    return RateDecoder(network, period=period if whole else None, **given)


def _smoothing(path: Path, period: float) -> Smoothing:
    arrays = read_npz(path, "smoothing")
    if set(arrays) != set(SMOOTHING) or arrays["tau"].ndim:
        raise SpikeportError(f"{path}: has {', '.join(arrays)}, a smoothing has {', '.join(SMOOTHING)}, tau one number")
    return Smoothing(tau=float(arrays["tau"]), period=period, centre=arrays["centre"], scale=arrays["scale"])
