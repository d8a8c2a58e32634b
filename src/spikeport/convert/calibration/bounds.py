"""What calibration may choose: membrane noise, refractory period and 1/lambda, each within bounds that a target sets.

    low <= noise_sd <= high      mV a step          low, the middle and high are tried
    low <= t_ref    <= high      s                  the same, each rounded to whole steps, as a network runs it
    low <= L_i      <= high      spikes/s per r     1/lambda of each unit: a constraint of the budget

A chip without noise has noise_sd (0, 0). None: not bounded, so what the preset has (t_ref: that, or none).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from spikeport.convert.presets import Preset, t_ref_problems
from spikeport.snn.errors import SpikeportError

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """See the module; a single value is (value, value)."""

    noise_sd: Range | None = None
    t_ref: Range | None = None
    inverse_lambda: Range | None = None

    def __post_init__(self) -> None:
        problems = []
        for name, unit, found, least in (
            ("noise", "mV a step", self.noise_sd, 0.0),
            ("t_ref", "s", self.t_ref, 0.0),
            ("1/lambda", "spikes/s", self.inverse_lambda, None),
        ):
            if found is None:
                continue
            low, high = found
            shown = f"{name}: {low:g}{'' if low == high else f':{high:g}'} {unit}"
            if not (np.isfinite(found).all() and (low > 0 if least is None else low >= least)):
                problems.append(f"{shown}, must be {'positive' if least is None else '0 or more'}, and finite")
            elif low > high:
                problems.append(f"{shown}, LOW must not be above HIGH")
            elif name == "t_ref":
                problems += t_ref_problems(high)
        if problems:
            raise SpikeportError(
                "calibration cannot choose within these bounds", problems, hint="--noise 0:0.1 --t-ref 0:0.002"
            )

    def noises(self, preset: Preset) -> tuple[float, ...]:
        """The noises to try, the smallest first."""
        return (preset.noise_sd,) if self.noise_sd is None else _three(self.noise_sd)

    def t_refs(self, preset: Preset) -> tuple[float, ...]:
        """The refractory periods to try, the shortest first: whole numbers of steps, each once."""
        asked = (0.0, preset.t_ref) if self.t_ref is None else _three(self.t_ref)
        return tuple(sorted({replace(preset, t_ref=t).t_ref_run for t in asked}))


def _three(bounds: Range) -> tuple[float, ...]:
    low, high = bounds
    return tuple(dict.fromkeys((low, (low + high) / 2, high)))


def parse_range(text: str | float | Sequence[float], what: str, example: str) -> Range:
    """ "LOW:HIGH", "VALUE", or the numbers themselves."""
    try:
        if isinstance(text, str):
            values = [float(part) for part in text.split(":")]
        else:
            values = [float(v) for v in np.atleast_1d(np.asarray(text, dtype=np.float64))]
    except (TypeError, ValueError):
        values = []
    if not 1 <= len(values) <= 2:
        raise SpikeportError(f"{what} '{text}': must be a number, or LOW:HIGH", hint=example)
    return values[0], values[-1]
