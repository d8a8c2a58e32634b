"""Unit by unit: what kind it is, what the rate model's r is, and what each level's spikes make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikeport.convert.validation.lists import rounded, scores
from spikeport.snn.measures import Scores
from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork

BINS = 24  # of a rate distribution


@dataclass(frozen=True, kw_only=True)
class UnitNumbers:
    """One level, unit by unit, (n,): spikes/s; correlation and error of lambda s against r; mean r; mean lambda s."""

    name: str
    rates_hz: Array
    correlation: Scores
    error: Scores
    mean_r: Array
    mean_lambda_s: Array


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """Which units are excitatory and which inhibitory (indices), and how that is known. som: a part of inh."""

    exc: tuple[int, ...]
    inh: tuple[int, ...]
    som: tuple[int, ...]
    known_from: str

    def order(self) -> tuple[int, ...]:
        """The units as figures show them: excitatory first."""
        return self.exc + self.inh

    def as_dict(self) -> dict[str, list[int]]:
        return {"exc": list(self.exc), "inh": list(self.inh), "som": list(self.som)}


def kinds_of(source: RateNetwork) -> Kinds:
    """From the model's labels; where it has none, from the sign of each unit's summed outgoing weights."""
    labels = source.labels
    som = tuple(map(int, np.flatnonzero(labels["som"]))) if "som" in labels else ()
    if "inh" in labels or "exc" in labels:
        inhibitory = labels["inh"] if "inh" in labels else ~labels["exc"]
        known_from = "the labels of the rate model"
    else:
        inhibitory = source.w_rec.sum(axis=0) < 0
        mixed = int(((source.w_rec > 0).any(axis=0) & (source.w_rec < 0).any(axis=0)).sum())
        known_from = "the sign of each unit's summed outgoing weights: the rate model has no labels"
        if mixed:
            known_from += f", and {mixed} of {source.n_neurons} units have weights of both signs"
    return Kinds(
        exc=tuple(map(int, np.flatnonzero(~inhibitory))), inh=tuple(map(int, np.flatnonzero(inhibitory))), som=som,
        known_from=known_from,
    )  # fmt: skip


def units_as_dict(kinds: Kinds, levels: Sequence[UnitNumbers]) -> dict[str, Any]:
    """The key `units` of the JSON."""
    return {
        "n": len(kinds.order()),
        "kinds": kinds.as_dict(),
        "kinds_from": kinds.known_from,
        "mean_r": rounded(levels[0].mean_r),
        "levels": {
            level.name: {
                "rate_hz": rounded(level.rates_hz),
                "correlation": scores(level.correlation),
                "error": scores(level.error),
                "mean_lambda_s": rounded(level.mean_lambda_s),
            }
            for level in levels
        },
        "distributions": {
            "r": _distribution(kinds, {"rate model": levels[0].mean_r}),
            "rate_hz": _distribution(kinds, {level.name: level.rates_hz for level in levels}),
        },
    }


def _distribution(kinds: Kinds, values: Mapping[str, Array]) -> dict[str, Any]:
    """How many units have which value: common edges from 0 (or the lowest) on, counts by level and kind."""
    everything = np.concatenate([v[np.isfinite(v)] for v in values.values()])
    low, high = (min(0.0, float(everything.min())), float(everything.max())) if everything.size else (0.0, 0.0)
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    return {
        "edges": rounded(edges, 6),
        "counts": {
            name: {
                kind: np.histogram(v[list(units)], edges)[0].tolist() if units else [0] * BINS
                for kind, units in (("exc", kinds.exc), ("inh", kinds.inh))
            }
            for name, v in values.items()
        },
    }
