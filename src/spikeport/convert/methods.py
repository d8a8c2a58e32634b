"""The methods of a conversion: from a search's settings to a spiking network, before it is measured on fresh trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from spikeport.convert.calibration.bounds import Bounds, Range, parse_range
from spikeport.convert.calibration.calibrate import MAX_RATE_HZ, Calibration, calibrate
from spikeport.convert.finetuned import Finetuning, finetune
from spikeport.convert.grid import PUBLISHED_GRID, parse_grid
from spikeport.convert.grid import bracket as bracket_grid
from spikeport.convert.presets import Preset
from spikeport.convert.search import Candidate, Search, beyond
from spikeport.convert.transfer import losses, transfer
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.losses import Loss
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.training.tuning import TuningOptions, load_tune

METHODS = ("lambda", "calibrated", "finetuned")


@dataclass(frozen=True, kw_only=True)
class Made:
    """A spiking network and how a method came to it."""

    network: SpikingNetwork
    inverse_lambda: float
    losses: tuple[Loss, ...]
    warnings: tuple[str, ...]
    max_rate_hz: float | None
    candidates: tuple[Candidate, ...] = ()
    calibration: Calibration | None = None
    finetuning: Finetuning | None = None

    @property
    def remedy(self) -> str:
        """What may have more trials right, by the method that made it."""
        if self.calibration is None:
            return "one lambda bends no f-I curve, --method calibrated does"
        first = "" if self.finetuning is not None else "--method finetuned (extra train), "
        return f"{first}a larger --max-rate, more --trials, or noise to choose from (--noise LOW:HIGH) may help"


def searched(
    search: Search, settings: Preset, grid: str | Sequence[float] | None, bracket: tuple[float, float] | None,
    max_rate: float | None,
) -> Made:  # fmt: skip
    """Method "lambda": the best candidate, among those within the budget where there is one; RefusedError if none."""
    values = _values(grid, bracket)
    transfer(search.source, values[0], preset=settings)  # refuses settings before the work starts
    search = replace(search, max_rate_hz=max_rate)
    candidates = search.over(values) if bracket is None else search.within(*bracket)
    best = candidates[search.best(candidates)]
    if max_rate is not None and not search.allows(best):
        raise RefusedError(
            f"no 1/lambda of the search stays within {max_rate:g} spikes/s a unit",
            [f"the fewest: {beyond(best.mean_rate_hz, max_rate)} spikes/s, at 1/lambda {best.inverse_lambda:g}"],
            hint=f"--method calibrated --max-rate {max_rate:g}   or a grid of smaller values",
        )
    return Made(
        network=transfer(search.source, best.inverse_lambda, preset=settings), inverse_lambda=best.inverse_lambda,
        losses=tuple(losses(search.source, settings)), warnings=tuple(_end_of_grid(candidates, best)),
        max_rate_hz=max_rate, candidates=candidates,
    )  # fmt: skip


def calibrated(search: Search, settings: Preset, max_rate: float | None, bounds: Bounds | None = None) -> Made:
    """Method "calibrated", on the trials that a search would see; bounds: of what it may choose."""
    bounds = bounds or Bounds()
    limit = MAX_RATE_HZ if max_rate is None else max_rate
    found = calibrate(
        search.source, search.task, seed=search.seed, trials=search.trials, max_rate_hz=limit, preset=settings,
        rule=search.rule, noise_sd=bounds.noise_sd, t_ref=bounds.t_ref, inverse_lambda=bounds.inverse_lambda,
        n_threads=None if search.n_jobs < 0 else search.n_jobs,
    )  # fmt: skip
    return Made(
        network=found.network, inverse_lambda=found.inverse_lambda, losses=found.losses, warnings=found.warnings,
        max_rate_hz=limit, calibration=found,
    )  # fmt: skip


def finetuned(search: Search, settings: Preset, max_rate: float | None, bounds: Bounds | None = None) -> Made:
    """Method "finetuned": the calibrated network, trained further on the trials that calibrated it."""
    made = calibrated(search, settings, max_rate, bounds)
    assert made.calibration is not None
    assert made.max_rate_hz is not None
    found = finetune(search, made.calibration, made.max_rate_hz, TuningOptions(seed=search.seed))
    return replace(made, network=found.network, warnings=(*made.warnings, *found.warnings), finetuning=found)


def check_method(method: str, **options: Any) -> None:
    """Refuse a method that there is not, and options of the other one."""
    if method not in METHODS:
        raise SpikeportError(f"method '{method}' is unknown, must be one of {', '.join(METHODS)}")
    unused = {"grid": None, "objective": "accuracy", "fast": False, "scheduler": None}
    given = {name: value for name, value in options.items() if value is not None}  # a grid may be an array
    wrong = [name for name, default in unused.items() if name in given and (default is None or given[name] != default)]
    if method != "lambda" and wrong:
        raise SpikeportError(
            f"method '{method}' searches no lambda",
            [f"{name}: an option of method 'lambda'" for name in wrong],
            hint="--max-rate 20   is its budget, in spikes/s a unit",
        )
    if method == "finetuned":
        load_tune()  # torch may be missing: said before the work, not after


def bounded(
    method: str, preset: Preset, noise: float | Range | None, t_ref: float | Range | None, bracket: Range | None
) -> tuple[Preset, Bounds]:
    """The preset with what is a single value, and the bounds of what is not; method "lambda" chooses neither."""
    ranges = {
        "noise": None if noise is None else parse_range(noise, "noise", "--noise 0:0.1"),
        "t_ref": None if t_ref is None else parse_range(t_ref, "t_ref", "--t-ref 0:0.002"),
    }
    lambdas = None if method == "lambda" or bracket is None else parse_range(bracket, "1/lambda", "--bracket 10:200")
    single = {name: r[0] for name, r in ranges.items() if r is not None and not (r[0] < r[1] or r[0] > r[1])}
    wide = [f"{name}: {r[0]:g}:{r[1]:g}" for name, r in ranges.items() if r is not None and name not in single]
    if method == "lambda" and wide:
        raise SpikeportError(
            "method 'lambda' chooses 1/lambda alone, as published", [f"{w}, must be one value" for w in wide],
            hint="--method calibrated   chooses within bounds",
        )  # fmt: skip
    fields = {"noise": "noise_sd", "t_ref": "t_ref"}
    settings: dict[str, Any] = {fields[name]: value for name, value in single.items()}
    preset = replace(preset, **settings)  # first, because it refuses in words that fit every method
    return preset, Bounds(noise_sd=ranges["noise"], t_ref=ranges["t_ref"], inverse_lambda=lambdas)


def _end_of_grid(candidates: Sequence[Candidate], best: Candidate) -> list[str]:
    if len(candidates) > 1 and best.inverse_lambda in (candidates[0].inverse_lambda, candidates[-1].inverse_lambda):
        return [f"the best 1/lambda, {best.inverse_lambda:g}, is the end of the grid: a wider one may hold a better"]
    return []


def _values(grid: str | Sequence[float] | None, bracket: tuple[float, float] | None) -> tuple[float, ...]:
    """The values of 1/lambda to begin with."""
    if bracket is None:
        return parse_grid(PUBLISHED_GRID if grid is None else grid)
    if grid is not None:
        raise SpikeportError("a grid and a bracket: the search takes one of them", hint="--bracket 10:200   alone")
    return bracket_grid(*bracket)
