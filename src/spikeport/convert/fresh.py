"""What the fresh trials say of the budget, and why a network may be silent on them.

    rate +- 1.96 sd / sqrt(n)       spikes/s a unit, sd: of n trials

The budget is a constraint: what is above it by more than these trials can be wrong is refused; what is above it by less
is a warning. One trial has no spread, so it cannot tell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from spikeport.convert.calibration.bounds import Bounds
from spikeport.convert.calibration.budget import highest_rate
from spikeport.convert.methods import Made
from spikeport.convert.presets import Preset
from spikeport.convert.search import beyond
from spikeport.snn.errors import RefusedError

CONFIDENCE = 0.95
NORMAL = 1.96  # standard errors to either side, of that
UNLIKE = 2.0  # times the budget: then the trials that chose it were others than these, and no smaller budget mends it


@dataclass(frozen=True, kw_only=True)
class FreshRate:
    """hz: spikes/s a unit, a mean over trials.  error: its standard error, infinite of a single trial."""

    hz: float
    error: float
    trials: int


def check_rate(rate: FreshRate, made: Made) -> None:
    """Refuse what is above the budget of `made` by more than these trials can be wrong."""
    budget = made.max_rate_hz
    if budget is None or rate.hz - NORMAL * rate.error <= budget:
        return
    if rate.hz > UNLIKE * budget:
        hint = "trials in mixed order, so that those that choose the network are of every kind; or more --trials"
    else:
        hint = f"--max-rate {0.98 * budget**2 / rate.hz:.3g}, or more --trials"
    raise RefusedError(
        f"the converted network is above the budget of {budget:g} spikes/s a unit",
        [f"{beyond(rate.hz, budget)} on {rate.trials} fresh trials, +- {NORMAL * rate.error:.2g} ({CONFIDENCE:.0%}); "
         "on the trials that chose it, it kept the budget", *made.warnings],
        hint=hint,
    )  # fmt: skip


def rate_warnings(rate: FreshRate, budget: float | None) -> list[str]:
    """Of a network that is not refused."""
    if budget is None:
        return []
    if rate.trials == 1:
        return [
            f"{rate.hz:.4g} spikes/s a unit on the one fresh trial, which cannot tell whether the budget of {budget:g} "
            "is kept: --test-trials 2 or more can"
        ]
    if rate.hz <= budget:
        return []
    return [
        f"{beyond(rate.hz, budget)} +- {NORMAL * rate.error:.2g} spikes/s a unit ({CONFIDENCE:.0%}) on {rate.trials} "
        f"fresh trials, above the budget of {budget:g}"
    ]


def silence(made: Made, settings: Preset, bounds: Bounds, duration: float) -> str:
    """That no unit fired on the fresh trials, of `duration` s each, and what may be the reason."""
    said, because = "the network is silent: no unit fired in any trial", []
    found, bracket = made.calibration, bounds.inverse_lambda
    if found is not None and bracket is not None:
        lambdas = found.units.inverse_lambda[found.alive]
        if (lambdas >= bracket[1] * (1 - 1e-6)).all():
            because.append(f"1/lambda may not be above {bracket[1]:g}, and all units whose rate moves are there")
    if found is not None and bounds.t_ref is not None:
        most = highest_rate(replace(settings, t_ref=found.t_ref))
        if most * duration < 1 and (made.max_rate_hz is None or most < made.max_rate_hz):
            because.append(f"with t_ref {found.t_ref:g} s no unit may be asked for more than {most:.3g} spikes/s")
    if made.max_rate_hz is not None and not because and _budget_chose(made):
        because.append("the budget may be too small for any to fire")
    return "; ".join([said, *because])


def _budget_chose(made: Made) -> bool:
    """Might more spikes a second have given another network? Not where no candidate of a search was above them."""
    return not made.candidates or any(c.mean_rate_hz > (made.max_rate_hz or 0.0) for c in made.candidates)
