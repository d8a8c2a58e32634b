"""Method "finetuned": a calibrated network, trained a little further towards the rate network (snn/training/tune.py).

Only where it is asked for by name. Outputs to follow are those that calibration follows, rates the rate network's
without its noise, on the trials of the calibration; the last third of them judges, as there. Where that finds no gain,
the calibrated network is kept.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from spikeport.convert.calibration.budget import trial_weights
from spikeport.convert.calibration.calibrate import Calibration, judged_on
from spikeport.convert.calibration.loop import HELD_OUT
from spikeport.convert.calibration.observed import observe
from spikeport.convert.calibration.ranges import drive_range
from spikeport.convert.search import Search, SearchInterrupted
from spikeport.convert.trained import weights_digest
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.training.tuning import Teacher, Tuned, TuningInterrupted, TuningLook, TuningOptions, load_tune

TRIALS = 60  # 40 train, 20 judge: with twice the calibration's, what was learned holds on fresh ones
GAIN = 0.97  # of the error before: less of a gain is chance, by the calibration's own measure


@dataclass(frozen=True, kw_only=True, eq=False)
class Finetuning:
    """What the fine-tuning of a calibrated network did. better: than that, on trials that trained neither; else the
    network is the calibrated one.  before, after: looks at them.  steps: of Adam."""

    network: SpikingNetwork
    better: bool
    before: TuningLook
    after: TuningLook
    looks: tuple[TuningLook, ...]
    steps: int
    seconds: float

    @property
    def warnings(self) -> tuple[str, ...]:
        if self.better:
            return ()
        trials = int(self.network.provenance["calibration"]["trials"])
        return (
            f"fine-tuning made it no better: output error {self.before.score:.3f} on {judged_on(trials)} before, "
            f"{self.after.score:.3f} at best in {self.steps} steps; the calibrated network is kept",
        )

    def as_dict(self) -> dict[str, Any]:
        """What is printed and, less the looks, kept in the network's provenance; plain numbers."""
        return {
            "started_from": "calibrated", "better": self.better, "steps": self.steps, "kept_step": self.after.step,
            "loss_before": self.before.score, "loss_after": self.after.score,
            "mean_rate_hz_before": self.before.mean_rate_hz, "mean_rate_hz_after": self.after.mean_rate_hz,
            "looks": [look.as_dict() for look in self.looks], "seconds": self.seconds,
        }  # fmt: skip


def finetune(search: Search, calibration: Calibration, max_rate_hz: float, options: TuningOptions) -> Finetuning:
    """Train `calibration`'s network on the trials that calibrated it; Ctrl-C is SearchInterrupted."""
    observed = observe(search.source, search.task, seed=search.seed, trials=search.trials, first=0, rule=search.rule)
    teacher = Teacher(
        inputs=observed.trials.inputs, outputs=observed.outputs, rates=observed.quiet_r,
        baseline=calibration.units.baseline, per_spike=1 / calibration.units.inverse_lambda, first=0,
        held_out=max(1, search.trials // HELD_OUT), weights=trial_weights(search.task, observed.trials, search.seed),
    )  # fmt: skip
    n_threads = None if search.n_jobs < 0 else search.n_jobs
    try:
        tuned: Tuned = load_tune().tune(
            calibration.network, teacher, options, max_rate_hz=max_rate_hz, n_threads=n_threads,
            progress=search.progress,
        )  # fmt: skip
    except TuningInterrupted as interrupt:
        found = interrupt.result
        where = f"in the fine-tuning, {interrupt}: output error {found.before.score:.3f} before, "
        raise SearchInterrupted(f"{where}{found.after.score:.3f} at best", ()) from None
    before, after = tuned.before, tuned.after
    better = is_better(before, after, max_rate_hz)
    made = Finetuning(
        network=calibration.network, better=better, before=before, after=after, looks=tuned.looks, steps=tuned.steps,
        seconds=tuned.seconds,
    )  # fmt: skip
    return replace(made, network=_with_provenance(made, tuned, teacher, options))


def is_better(before: TuningLook, after: TuningLook, max_rate_hz: float) -> bool:
    """Within the budget, and by more than chance."""
    return after.mean_rate_hz <= max_rate_hz and after.score < GAIN * before.score


def _with_provenance(made: Finetuning, tuned: Tuned, teacher: Teacher, options: TuningOptions) -> SpikingNetwork:
    """The network that is kept, and what it says of itself: "finetuned" only where it is."""
    network = tuned.network if made.better else made.network
    kept = {name: value for name, value in made.as_dict().items() if name not in ("looks", "seconds")}
    kept |= {"options": asdict(options), "surrogate_height": tuned.height}
    provenance = {**network.provenance, "finetuning": kept}
    if made.better:
        low, high = drive_range(network, teacher.inputs, seed=options.seed, first=teacher.first, n_threads=1)
        ranges = {"drive_low": low, "drive_high": high}
        said = {**dict(network.provenance["calibration"]), **{n: np.round(v, 6).tolist() for n, v in ranges.items()}}
        provenance |= {"method": "finetuned", "calibration": said}
        provenance["finetuning"] = {**kept, "weights": weights_digest(network)}
    return replace(network, provenance=provenance)
