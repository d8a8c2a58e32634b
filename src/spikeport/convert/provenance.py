"""What a converted network says of its conversion: the task, which trials it was made with, and the curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spikeport.convert.search import Candidate, Search
from spikeport.snn.seen import mark
from spikeport.snn.spiking import SpikingNetwork


def provenance_of(
    winner: SpikingNetwork, search: Search, right: Mapping[str, int], test_trials: int, candidates: Sequence[Candidate]
) -> dict[str, Any]:
    """right: by rule, of test_trials fresh ones."""
    return {
        **winner.provenance,
        "task": search.task.name,
        "rule": search.rule,
        "seed": search.seed,
        "search_trials": search.trials,
        "test_trials": test_trials,
        **mark(search.task),
        "spiking_right": dict(right),
        **({"search": _curve(candidates)} if candidates else {}),
    }


def _curve(candidates: Sequence[Candidate]) -> dict[str, list[Any]]:
    """The search as columns, a number per candidate: right trials (or the distance), how many trials, mean rate."""
    found: dict[str, list[Any]] = {
        "inverse_lambda": [c.inverse_lambda for c in candidates],
        "trials": [c.trials for c in candidates],
        "mean_rate_hz": [c.mean_rate_hz for c in candidates],
        "stopped": [c.stopped for c in candidates],
    }
    if all(c.accuracy is not None for c in candidates):
        return found | {"right": [round((c.accuracy or 0.0) * c.trials) for c in candidates]}
    return found | {"distance": [c.distance for c in candidates]}
