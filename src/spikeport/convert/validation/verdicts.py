"""The task depth: which trials are right at each level, on the same trials, with intervals and a paired test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.measures import mcnemar, paired_difference, wilson

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """right: level -> rule -> (trials,) bool, the same trials everywhere; the rate model first, then the network."""

    right: Mapping[str, Mapping[str, Bools]]
    rule: str

    def accuracy(self, level: str, rule: str | None = None) -> tuple[float, tuple[float, float]]:
        """Share of right trials, and its Wilson interval (95 %)."""
        right = self.right[level][self.rule if rule is None else rule]
        return float(right.mean()), wilson(int(right.sum()), right.size)

    def paired(self, a: str, b: str) -> tuple[int, int, float]:
        """(only a right, only b right, p of the exact McNemar test), by the rule in use."""
        return mcnemar(self.right[a][self.rule], self.right[b][self.rule])

    def difference(self, above: str, here: str) -> dict[str, Any]:
        """How much more often `here` is right than `above`, with its interval (95 %) and McNemar's p."""
        only_above, only_here, p = self.paired(above, here)
        size, interval = paired_difference(self.right[above][self.rule], self.right[here][self.rule])
        return {"difference": size, "interval": list(interval), "only_there": only_above, "only_here": only_here,
                "p": p}  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        levels, found = list(self.right), {}
        for level in levels:
            by_rule = {}
            for rule in self.right[level]:
                accuracy, interval = self.accuracy(level, rule)
                by_rule[rule] = {"accuracy": accuracy, "interval": list(interval)}
            found[level] = {**by_rule[self.rule], "rule": self.rule, "trials": int(self.right[level][self.rule].size),
                            "by_rule": by_rule}  # fmt: skip
        for level in levels[1:]:
            found[level]["difference"] = {"against": levels[0]} | self.difference(levels[0], level)
            against = levels[0] if level == levels[1] else levels[1]  # the spiking network: with the rate model
            only_above, only_here, p = self.paired(against, level)
            found[level]["mcnemar"] = {
                "against": against, "only_there": only_above, "only_here": only_here, "p": p,
            }  # fmt: skip
        return found
