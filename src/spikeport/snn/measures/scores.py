"""A number per unit, where some units have none: a silent unit has no CV, a constant rate no correlation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.neurons import Array


@dataclass(frozen=True, kw_only=True)
class Scores:
    """values, defined: (n,). Where defined is False there is no value (0 stands there), because of `undefined_when`."""

    values: Array
    defined: NDArray[np.bool_]
    undefined_when: str

    @property
    def n_undefined(self) -> int:
        return int((~self.defined).sum())

    def mean(self) -> float | None:
        """Over the units that have a value; None where none has."""
        return float(self.values[self.defined].mean()) if self.defined.any() else None

    def median(self) -> float | None:
        """Over the units that have a value; None where none has."""
        return float(np.median(self.values[self.defined])) if self.defined.any() else None

    def __str__(self) -> str:
        if not self.defined.any():
            return f"no unit has a value: {self.undefined_when}"
        left = (
            f", {self.n_undefined} of {self.values.size} units without: {self.undefined_when}"
            if self.n_undefined
            else ""
        )
        return f"median {self.median():.3f}, mean {self.mean():.3f}{left}"


def ratio(above: Array, below: Array, defined: NDArray[np.bool_], undefined_when: str) -> Scores:
    """above / below where defined, without a division elsewhere."""
    values = np.divide(above, below, out=np.zeros(np.shape(above)), where=defined)
    return Scores(values=values, defined=np.asarray(defined), undefined_when=undefined_when)
