"""Conversion that knows the chip: the search over lambda in the chip's own arithmetic, and accuracy against bits.

    lambda       every 1/lambda of the grid is transferred at the chip's step, lowered, and run in the chip's integers
    calibrated   calibrated at that step; then 1/lambda of all units times each of SCALES that keeps them within their
                 bracket, in the chip's integers
    finetuned    trained as it is for no chip; only measured here

The best of each setting of the chip (8 bits, 6, 4) is measured on fresh trials, float and chip on the same ones. What
rounding costs depends on the task, so it is measured by the task.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from spikeport import chip_trials
from spikeport.bounds import bounds_of
from spikeport.chip_results import ChipPoint, ChipRow, ChipSearch, Unmet
from spikeport.chip_trials import Judged, Lowered, Progress, Versus
from spikeport.chip_warnings import slow, warnings
from spikeport.convert.calibration.bounds import Bounds, Range
from spikeport.convert.calibration.budget import check_budget
from spikeport.convert.calibration.observed import observe
from spikeport.convert.calibration.ranges import ranges
from spikeport.convert.calibration.units import Units, rebuild
from spikeport.convert.conversion import MOST_CALIBRATION, conversion_trials, rate_accuracy
from spikeport.convert.finetuned import TRIALS as FINETUNING_TRIALS
from spikeport.convert.fits import check_fit
from spikeport.convert.grid import PUBLISHED_GRID, middle_of_plateau, parse_grid
from spikeport.convert.methods import Made, bounded, calibrated, check_method, finetuned
from spikeport.convert.presets import Preset, get_preset
from spikeport.convert.search import Candidate, Search, SearchInterrupted
from spikeport.convert.transfer import Builder, losses
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.losses import Loss
from spikeport.snn.rate import RateNetwork
from spikeport.snn.seen import mark
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import Task, get_task
from spikeport.targets.base import Runner, check_choices

DT = 1e-3  # s, the step with which both boards keep up with real time
TRIALS = 50  # a candidate
SCALES = (0.8, 0.9, 1.0, 1.1, 1.25)  # of a calibrated 1/lambda, around what fits the float network

__all__ = ["ChipPoint", "ChipRow", "ChipSearch", "search_on_chip"]


def search_on_chip(  # long: a third of it is the signature
    source: RateNetwork,
    task: Task | str,
    chip: str,
    *,
    method: str = "lambda",
    grid: str | Sequence[float] | None = None,
    variants: Sequence[Mapping[str, str]] = ({},),
    dt: float | None = None,
    noise: float | Range | None = None,
    t_ref: float | Range | None = None,
    bracket: Range | None = None,
    preset: str | Preset = "standard",
    max_rate: float | None = None,
    trials: int | None = None,
    test_trials: int | None = None,
    seed: int = 0,
    rule: str | None = None,
    n_jobs: int = -1,
    progress: Progress | None = None,
) -> ChipSearch:
    """Convert `source` for `task` on `chip`, once for each of `variants` (its choices: {"bits": "4"}).

    grid: of 1/lambda, method "lambda" only (default: the published 20:75:5).  dt: s (default 1 ms).  noise: mV a
    step, t_ref: s, and bracket: 1/lambda, as convert_network has them, within what the chip has.  max_rate: spikes/s
    a unit at most, on the chip too; without it a calibration keeps its own 20, and a chip that exceeds them is warned
    of.  trials: of each candidate (default 50, fine-tuned 60; half of a file's, to calibrate at most 300), the same for
    all; test_trials: fresh ones for the answer (1000).  Of the best candidates, the middle of the plateau.
    What the chip lacks is given up, each as a named loss; what it refuses even so is refused.
    """
    started = time.perf_counter()
    task = get_task(task) if isinstance(task, str) else task
    on = chip_trials.chip(chip)
    if not variants:
        raise SpikeportError(f"{chip}: nothing to try, no setting of the chip is given")
    for choices in variants:
        check_choices(on, dict(choices))
    check_fit(source, task)
    check_method(method, grid=grid, objective="accuracy", fast=False, scheduler=None)
    check_budget(max_rate)
    preset = get_preset(preset) if isinstance(preset, str) else preset
    preset = replace(preset, dt=DT if dt is None else dt)
    settings, bounds = _within(on, method, preset, noise, t_ref, bracket)
    if rule is not None and rule not in task.rules:
        raise SpikeportError(f"rule '{rule}': task '{task.name}' has {', '.join(task.rules)}")
    rule = task.rules[0] if rule is None else rule
    enough = FINETUNING_TRIALS if method == "finetuned" else TRIALS
    trials, test_trials = conversion_trials(
        task, trials, test_trials, enough, None if method == "lambda" else MOST_CALIBRATION
    )
    search = Search(
        build=Builder(source, settings), task=task, rule=rule, source=source, trials=trials, seed=seed,
        n_jobs=n_jobs, progress=progress,
    )  # fmt: skip
    bench = _Bench(on, search, test_trials, len(variants))
    try:
        candidates, made = _candidates(search, settings, method, grid, max_rate, bounds)
        limit = max_rate if made is None else made.max_rate_hz
        other = "--grid, " if method == "lambda" else "--bracket, " if bounds.inverse_lambda is not None else ""
        best, unmet = bench.compare(candidates, variants, max_rate, f"another {other}--dt or --method")
        rows = [bench.measure(_with_ranges(search, candidates[i]), p) for i, p in best]
        rate = rate_accuracy(source, task, seed=seed, first=trials, n=test_trials)
    except KeyboardInterrupt:
        raise SearchInterrupted(f"{bench.where}, for {chip}", tuple(_known(bench.points, trials))) from None
    return ChipSearch(
        chip=chip, method=method, task=task.name, rule=rule, preset=settings.name, dt=settings.dt, seed=seed,
        max_rate_hz=limit, search_trials=trials, trials=test_trials, rate=rate,
        points=tuple(bench.points), rows=tuple(rows), unmet=tuple(unmet),
        losses=(*_quiet(preset, settings), *(losses(source, settings) if made is None else made.losses)),
        warnings=(*slow(chip, settings.dt, DT), *(() if made is None else made.warnings),
                  *warnings(rows, unmet, bench.points, rule, limit, SCALES,
                            bounds.inverse_lambda if method == "calibrated" else None)),
        seconds=time.perf_counter() - started,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    network: SpikingNetwork
    inverse_lambda: float
    scale: float = 1.0


def _within(
    on: Runner, method: str, preset: Preset, noise: float | Range | None, t_ref: float | Range | None,
    bracket: Range | None,
) -> tuple[Preset, Bounds]:  # fmt: skip
    """The preset within what the chip has of noise and refractory period, and what a calibration may choose of them."""
    limits = bounds_of(on, preset=preset)
    assert limits.noise_sd is not None
    assert limits.t_ref is not None
    if method == "lambda" and bracket is not None:
        raise SpikeportError(f"{on.name}: method 'lambda' takes no bracket there", hint="a grid of 1/lambda")
    settings, bounds = bounded(method, preset, noise, t_ref, bracket)
    problems = [
        f"{name}: {asked[1]:g} {unit}, {on.name} has {'none' if most == 0 else f'{most:g} {unit} at most'}{why}"
        for name, unit, asked, (_, most), why in (
            ("noise", "mV a step", bounds.noise_sd, limits.noise_sd, " of a known sequence"),
            ("t_ref", "s", bounds.t_ref, limits.t_ref, ""),
        )
        if asked is not None and asked[1] > most
    ]
    if problems:
        raise SpikeportError(f"{on.name}: cannot convert for that", problems, hint="--noise and --t-ref left out")
    if bounds.noise_sd is None:
        settings = replace(settings, noise_sd=min(settings.noise_sd, limits.noise_sd[1]))
    # a calibrated unit's f-I curve is fitted, so it can do with less; a transferred one gives it up, with a loss
    if bounds.t_ref is None and method != "lambda" and settings.t_ref > limits.t_ref[1]:
        settings, bounds = replace(settings, t_ref=limits.t_ref[1]), replace(bounds, t_ref=limits.t_ref)
    return settings, bounds


def _quiet(preset: Preset, settings: Preset) -> list[Loss]:
    """The noise that the preset has and the chip has not."""
    if settings.noise_sd >= preset.noise_sd:
        return []
    return [Loss("converted without membrane noise", "population", f"sd {preset.noise_sd:g} mV a step in the preset")]


def _candidates(
    search: Search, settings: Preset, method: str, grid: str | Sequence[float] | None, max_rate: float | None,
    bounds: Bounds,
) -> tuple[list[_Candidate], Made | None]:  # fmt: skip
    """What to compare on the chip; and how the method made it, where it is not the plain transfer."""
    if method == "lambda":
        values = parse_grid(PUBLISHED_GRID if grid is None else grid)
        return [_Candidate(network=search.build(v), inverse_lambda=v) for v in values], None
    if method == "finetuned":
        made = finetuned(search, settings, max_rate, bounds)
        return [_Candidate(network=made.network, inverse_lambda=made.inverse_lambda)], made
    made = calibrated(search, settings, max_rate, bounds)
    return [
        _Candidate(network=scaled(search.source, made.network, s), inverse_lambda=made.inverse_lambda * s, scale=s)
        for s in scales_within(made.network, bounds.inverse_lambda)
    ], made


def scales_within(network: SpikingNetwork, bracket: Range | None) -> tuple[float, ...]:
    """Those of SCALES with which every unit's 1/lambda stays within the bracket that its calibration kept."""
    if bracket is None:
        return SCALES
    each = Units.from_dict(network.provenance["calibration"]["units"]).inverse_lambda
    least, most = float(each.min()), float(each.max())
    return tuple(s for s in SCALES if s == 1 or (bracket[0] <= s * least and s * most <= bracket[1]))


def scaled(source: RateNetwork, network: SpikingNetwork, scale: float) -> SpikingNetwork:
    """A calibrated network with 1/lambda of every unit times `scale`: its spikes weigh so much less, all else stays.

    Its provenance has the weights by which silent units hear those spikes; what it heard itself, only _with_ranges.
    """
    if scale == 1:
        return network
    said = network.provenance
    calibration = dict(said["calibration"])
    units = Units.from_dict(calibration["units"])
    units = replace(units, inverse_lambda=units.inverse_lambda * scale)
    calibration["units"] = units.as_dict()
    heard = [[w / scale for w in row] for row in calibration["silent"]["w_spike"]]
    calibration["silent"] = {**calibration["silent"], "w_spike": heard}
    provenance = {**said, "inverse_lambda": said["inverse_lambda"] * scale, "calibration": calibration}
    return rebuild(source, replace(network, provenance=provenance))


def _with_ranges(search: Search, candidate: _Candidate) -> _Candidate:
    """The candidate with its own ranges on the trials that calibrated it, of drive and of what silent units hear."""
    if candidate.scale == 1:
        return candidate
    observed = observe(search.source, search.task, seed=search.seed, trials=search.trials, first=0, rule=search.rule)
    network, provenance = candidate.network, candidate.network.provenance
    kept = ranges(
        search.source, network, Units.from_dict(provenance["calibration"]["units"]), observed, seed=search.seed,
        first=0, n_threads=None if search.n_jobs < 0 else search.n_jobs,
    )  # fmt: skip
    calibration = {**provenance["calibration"], **kept}
    return replace(candidate, network=replace(network, provenance={**provenance, "calibration": calibration}))


class _Bench:
    """Runs candidates on one chip; remembers what was measured, for Ctrl-C."""

    def __init__(self, on: Runner, search: Search, test_trials: int, n_variants: int) -> None:
        self.on, self.search, self.test_trials, self.n_variants = on, search, test_trials, n_variants
        self.points: list[ChipPoint] = []
        self.where = "while the candidates are made"
        self._floats: dict[int, Judged] = {}

    def compare(
        self, candidates: Sequence[_Candidate], variants: Sequence[Mapping[str, str]], limit: float | None, hint: str
    ) -> tuple[list[tuple[int, ChipPoint]], list[Unmet]]:
        """Every candidate with every variant: of each variant the best, (index of its candidate, point), or why there
        is none; refused with the hint where there is none of any."""
        best, unmet = [], []
        self.where = "in the search"
        for i, choices in enumerate(variants):
            mine = []
            for k, candidate in enumerate(candidates):
                mine.append(self._point(k, candidate, choices))
                self.points.append(mine[-1])
                self._say(i * len(candidates) + k + 1, len(variants) * len(candidates), f"search on {self.on.name}")
            at = best_of(mine, limit)
            if isinstance(at, str):
                unmet.append(Unmet(choices=dict(choices), why=at))
            else:
                best.append((at, mine[at]))
        if not best:
            hint += "" if limit is None else ", or a larger --max-rate"
            raise RefusedError(f"{self.on.name}: takes no candidate", [str(u) for u in unmet], hint=hint)
        return best, unmet

    def _point(self, k: int, candidate: _Candidate, choices: Mapping[str, str]) -> ChipPoint:
        network, seed, n = candidate.network, self.search.seed, self.search.trials
        if k not in self._floats:
            self._floats[k] = self._judged(chip_trials.in_float(network, seed), network, 0, n)
        in_float = self._floats[k]
        refused, on_chip = "", None
        try:
            lowering = chip_trials.lowered(self.on, network, choices, seed)
            on_chip = self._judged(lowering.simulate, network, 0, n)
        except RefusedError as refusal:
            refused = "; ".join(refusal.problems)
        assert self.search.rule is not None
        return ChipPoint(
            inverse_lambda=candidate.inverse_lambda, scale=candidate.scale, choices=dict(choices),
            accuracy=None if on_chip is None else float(on_chip.right[self.search.rule].mean()),
            float_accuracy=float(in_float.right[self.search.rule].mean()),
            mean_rate_hz=(in_float if on_chip is None else on_chip).mean_rate_hz, refused=refused,
        )  # fmt: skip

    def measure(self, candidate: _Candidate, point: ChipPoint) -> ChipRow:
        """A winner on the fresh trials, float and chip on the same ones."""
        search, network = self.search, candidate.network
        named = ", ".join(f"{name} {value}" for name, value in point.choices.items())
        self.where = "on the fresh trials" + (f" of {named}" if named else "")
        lowering = chip_trials.lowered(self.on, network, point.choices, search.seed)
        on_chip = self._judged(
            lowering.simulate, network, search.trials, self.test_trials, f"fresh trials on {self.on.name} {named}"
        )
        in_float = self._judged(
            chip_trials.in_float(network, search.seed), network, search.trials, self.test_trials, "fresh trials, float"
        )
        by_rule = {rule: Versus.of(in_float.right[rule], on_chip.right[rule]) for rule in search.task.rules}
        row = ChipRow(
            choices=point.choices, point=point, network=network, by_rule=by_rule, mean_rate_hz=on_chip.mean_rate_hz,
            allowed=lowering.allowed, losses=lowering.losses,
        )  # fmt: skip
        return replace(row, network=replace(network, provenance=self._provenance(row, lowering)))

    def _judged(self, simulate: chip_trials.Simulate, network: SpikingNetwork, first: int, n: int,
                what: str = "") -> Judged:  # fmt: skip
        return chip_trials.judge(
            simulate, network, self.search.task, first=first, n=n, seed=self.search.seed,
            progress=(lambda done: self._say(done, n, what)) if what else (lambda done: None),
        )  # fmt: skip

    def _say(self, done: int, total: int, what: str) -> None:
        if self.search.progress is not None:
            self.search.progress(done, total, what.strip())

    def _provenance(self, row: ChipRow, lowering: Lowered) -> dict[str, Any]:
        """Where the network comes from; `spiking_right` and `search` are float's, as in any conversion."""
        search = self.search
        assert search.rule is not None
        mine = [p for p in self.points if p.choices == row.choices]
        return {
            **row.network.provenance, "task": search.task.name, "rule": search.rule, "seed": search.seed,
            "search_trials": search.trials, "test_trials": self.test_trials, **mark(search.task),
            "spiking_right": {rule: versus.float_right for rule, versus in row.by_rule.items()},
            "search": _columns(mine, search.trials, [p.float_accuracy for p in mine]),
            "chip": {
                "name": self.on.name, "choices": dict(row.choices), "scale": row.point.scale,
                "right": {rule: versus.chip_right for rule, versus in row.by_rule.items()},
                "trials": self.test_trials, "less_float": [row.by_rule[search.rule].difference,
                                                           *row.by_rule[search.rule].interval],
                "mean_rate_hz": row.mean_rate_hz, "allowed": list(lowering.allowed),
                "losses": [str(loss) for loss in lowering.losses],
                "search": _columns([p for p in mine if not p.refused], search.trials),
                "refused": {f"{p.inverse_lambda:g}": p.refused for p in mine if p.refused},
            },
        }  # fmt: skip


def best_of(points: Sequence[ChipPoint], limit: float | None) -> int | str:
    """The middle of the plateau of the best among what the chip takes, within the budget; or why there is none."""
    taken = [p for p in points if p.accuracy is not None]
    if not taken:
        return "; ".join(dict.fromkeys(f"1/lambda {p.inverse_lambda:g}: {p.refused}" for p in points))
    least = min(taken, key=lambda p: p.mean_rate_hz)
    if limit is not None and least.mean_rate_hz > limit:
        fewest = f"the fewest are {least.mean_rate_hz:.3g}, at 1/lambda {least.inverse_lambda:g}"
        return f"no candidate stays within {limit:g} spikes/s a unit, {fewest}"
    inside = [p.accuracy if limit is None or p.mean_rate_hz <= limit else None for p in points]
    return middle_of_plateau([-1.0 if accuracy is None else accuracy for accuracy in inside])


def _columns(points: Sequence[ChipPoint], trials: int, accuracies: Sequence[float] | None = None) -> dict[str, Any]:
    """A search as columns, as conversion.py writes it."""
    found = [p.accuracy or 0.0 for p in points] if accuracies is None else accuracies
    return {
        "inverse_lambda": [p.inverse_lambda for p in points], "trials": [trials] * len(points),
        "mean_rate_hz": [p.mean_rate_hz for p in points], "stopped": [False] * len(points),
        "right": [round(a * trials) for a in found],
    }  # fmt: skip


def _known(points: Sequence[ChipPoint], trials: int) -> list[Candidate]:
    """What Ctrl-C tells."""
    return [
        Candidate(inverse_lambda=p.inverse_lambda, accuracy=p.accuracy, by_rule={}, mean_rate_hz=p.mean_rate_hz,
                  distance=None, trials=trials)
        for p in points if p.accuracy is not None
    ]  # fmt: skip
