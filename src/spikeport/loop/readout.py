"""A linear read-out of smoothed counts, by ridge regression; and the smoothing by itself, in front of a network.

    s[t] = s[t-1] + (1 - exp(-T / tau)) (y[t] - s[t-1])         T: bin, y: counts in it
    v[t] = B s[t] + b,    B, b = argmin sum |v - B s - b|^2 + ridge |B|^2      (b is not penalised)

Source: Hoerl & Kennard, Technometrics 12, 1970.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeport.loop.decoders.binned import Binned
from spikeport.loop.decoders.common import fingerprint
from spikeport.loop.kalman import check_trials
from spikeport.loop.packets import Array
from spikeport.loop.ports import Decoder
from spikeport.snn.errors import SpikeportError


@dataclass(frozen=True, kw_only=True)
class LinearModel:
    """weight: (d, n).  bias: (d,).  tau, period: s; tau 0: counts as they are."""

    weight: Array
    bias: Array
    tau: float
    period: float

    def __post_init__(self) -> None:
        weight, bias = (np.array(a, dtype=np.float64) for a in (self.weight, self.bias))
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", bias)
        problems = []
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or 0 in weight.shape:
            problems.append(f"weight {weight.shape}, bias {bias.shape}, must be (d, n) and (d,)")
        elif not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            problems.append("weight or bias: a value that is not finite")
        problems += check_smoothing(self.tau, self.period)
        if problems:
            raise SpikeportError("linear read-out: its model contradicts itself", problems)


def check_smoothing(tau: float, period: float) -> list[str]:
    """Problems of the filter's numbers."""
    found = [] if np.isfinite(tau) and tau >= 0 else [f"tau: {tau} s, must be 0 or more"]
    return found if np.isfinite(period) and period > 0 else [*found, f"period: {period} s, must be positive"]


def share(tau: float, period: float) -> float:
    """Of the new counts in the smoothed ones: 1 - exp(-T / tau)."""
    return 1.0 if tau == 0 else float(-np.expm1(-period / tau))


def smoothed(counts: ArrayLike, tau: float, period: float) -> Array:
    """s of counts (ticks, n), from s = 0 on."""
    y = np.asarray(counts, dtype=np.float64)
    a, s = share(tau, period), np.zeros(y.shape[1])
    found = np.empty_like(y)
    for t in range(len(y)):
        s += a * (y[t] - s)
        found[t] = s
    return found


def fit_linear(
    counts: ArrayLike, velocity: ArrayLike, trial: ArrayLike, *, period: float, tau: float, ridge: float
) -> LinearModel:
    """B and b for counts (ticks, n) and velocity (ticks, d). ridge: >= 0, in squared counts."""
    y, x, _ = check_trials(counts, velocity, trial)
    problems = check_smoothing(tau, period)
    if not (np.isfinite(ridge) and ridge >= 0):
        problems.append(f"ridge: {ridge}, must be 0 or more")
    if problems:
        raise SpikeportError("linear read-out: it cannot be fitted", problems)
    s = smoothed(y, tau, period)
    middle, centre = s.mean(axis=0), x.mean(axis=0)
    design = np.vstack([s - middle, np.sqrt(ridge) * np.eye(s.shape[1])])
    wanted = np.vstack([x - centre, np.zeros((s.shape[1], x.shape[1]))])
    weight: Array = np.asarray(np.linalg.lstsq(design, wanted, rcond=None)[0].T, dtype=np.float64)
    return LinearModel(weight=weight, bias=centre - weight @ middle, tau=tau, period=period)


class LinearDecoder(Binned):
    """The read-out as a decoder. A bin without counts leaves the smoothed counts, and so the velocity, as they are."""

    def __init__(self, model: LinearModel, *, batch_size: int = 1) -> None:
        self.model, self._share = model, share(model.tau, model.period)
        d, n = model.weight.shape
        super().__init__(n, d, period=model.period, batch_size=batch_size)

    def begin(self) -> dict[str, Array]:
        return {"s": np.zeros(self.n_inputs)}

    def bin(self, state: dict[str, Array], counts: Array | None, output: Array) -> None:
        if counts is not None:
            state["s"] += self._share * (counts - state["s"])
        output[:] = self.model.weight @ state["s"] + self.model.bias

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "linear read-out", "model": fingerprint(self.model), **super().describe()}


class Smoothing(Binned):
    """(s - centre) / scale of the counts: what a network is fed. centre, scale: (n,)."""

    def __init__(self, *, tau: float, period: float, centre: ArrayLike, scale: ArrayLike, batch_size: int = 1) -> None:
        self.centre, self.scale = (np.array(a, dtype=np.float64) for a in (centre, scale))
        problems = check_smoothing(tau, period)
        if self.centre.ndim != 1 or self.centre.shape != self.scale.shape or not (self.scale > 0).all():
            problems.append(f"centre {self.centre.shape}, scale {self.scale.shape}: (n,) each, scale positive")
        if problems:
            raise SpikeportError("smoothing: its numbers contradict themselves", problems)
        self.tau, self._share = float(tau), share(tau, period)
        super().__init__(len(self.centre), len(self.centre), period=period, batch_size=batch_size)

    @classmethod
    def from_dict(cls, numbers: Mapping[str, Any]) -> Smoothing:
        """What as_dict() gave, as the provenance of a trained decoder keeps it."""
        missing = [name for name in ("tau", "period", "centre", "scale") if name not in numbers]
        if missing:
            raise SpikeportError("smoothing: numbers are missing", [f"{name}: missing" for name in missing])
        return cls(tau=numbers["tau"], period=numbers["period"], centre=numbers["centre"], scale=numbers["scale"])

    def as_dict(self) -> dict[str, Any]:
        centre, scale = self.centre.tolist(), self.scale.tolist()
        return {"tau": self.tau, "period": self.period, "centre": centre, "scale": scale}

    def begin(self) -> dict[str, Array]:
        return {"s": self.centre.copy()}

    def bin(self, state: dict[str, Array], counts: Array | None, output: Array) -> None:
        if counts is not None:
            state["s"] += self._share * (counts - state["s"])
        np.subtract(state["s"], self.centre, out=output)
        output /= self.scale

    def of(self, counts: ArrayLike) -> Array:
        """Of counts (ticks, n), from the centre on."""
        return np.asarray(smoothed(np.asarray(counts) - self.centre, self.tau, self.period) / self.scale)

    def describe(self) -> Mapping[str, Any]:
        numbers = fingerprint((self.centre, self.scale))
        return {"kind": "smoothing", "tau": self.tau, "numbers": numbers, **super().describe()}


class Smoothed:
    """`decoder` behind a smoothing: counts in, what `decoder` says of the smoothed ones out. One period for both.

    Its shadow, where it has one, is fed the same. A bin without counts feeds what was there before.
    """

    def __init__(self, decoder: Decoder, smoothing: Smoothing) -> None:
        problems = []
        if decoder.n_inputs != smoothing.n_outputs:
            problems.append(f"{smoothing.n_outputs} channels smoothed, the decoder takes {decoder.n_inputs}")
        if abs(decoder.period - smoothing.period) > 1e-9 * smoothing.period:
            problems.append(f"period {smoothing.period} s of the smoothing, {decoder.period} s of the decoder")
        if problems:
            raise SpikeportError("smoothed decoder: its parts do not fit", problems)
        self.decoder, self.smoothing = decoder, smoothing
        self.n_inputs, self.n_outputs, self.period = smoothing.n_inputs, decoder.n_outputs, smoothing.period

    def reset(self, dataset_tags: Sequence[Path | str] = ()) -> None:
        self.smoothing.reset(dataset_tags)
        self.decoder.reset(dataset_tags)

    def predict(self, neural_observations: ArrayLike) -> NDArray[np.floating]:
        return self.decoder.predict(self.smoothing.predict(neural_observations))

    def observe(self, neural_observations: ArrayLike) -> None:
        self.predict(neural_observations)

    def on_done(self, dones: ArrayLike) -> None:
        self.smoothing.on_done(dones)
        self.decoder.on_done(dones)

    def step(self, events: ArrayLike | None, t: float) -> Array:
        return self.decoder.step(self.smoothing.step(events, t), t)

    def settle(self) -> None:
        """The shadow's part of the last step."""
        after = getattr(self.decoder, "settle", None)
        if after is not None:
            after()

    def report(self) -> dict[str, Any]:
        """What the decoder reports; the loop puts it into its summary."""
        ask = getattr(self.decoder, "report", None)
        return {} if ask is None else dict(ask())

    def snapshot(self) -> Any:
        return self.smoothing.snapshot(), self.decoder.snapshot()

    def restore(self, state: Any) -> None:
        self.smoothing.restore(state[0])
        self.decoder.restore(state[1])

    def describe(self) -> Mapping[str, Any]:
        return {**self.decoder.describe(), "smoothing": self.smoothing.describe()}
