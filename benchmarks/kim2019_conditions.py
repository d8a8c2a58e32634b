"""Of kim2019.py: its conditions and its file of results."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spikeport.convert.presets import Preset, get_preset
from spikeport.snn.errors import SpikeportError
from spikeport.snn.training import TrainingOptions
from spikeport.snn.writing import check_writable

GRID = "20:75:5"  # of 1/lambda; with TRIALS each, the published search (lambda_grid_search.m)
LOW_GRID = "4:20:2"  # below the published grid, where the best of it is its lower end
TRIALS, TEST_TRIALS = 100, 1000
SUCCESS = 0.95  # "task performance >= 95 %" of the paper
# The paper and the example in its code's README: a trial a gradient step, no clipping, no SOM units, tau 20 to 100 ms,
# 5,000 trials at most, a look at 100 fresh trials every 100 trials.
PUBLISHED = TrainingOptions(
    batch=1, clip_norm=1e9, n_som=0, tau_bounds=(0.020, 0.100), look_every=100, max_steps=5000, test_trials=TEST_TRIALS
)
OURS = TrainingOptions()  # the defaults of `spikeport train`
VARIANTS: dict[str, dict[str, Any]] = {  # of training, to find out which of its details decides
    "batch16": {"batch": 16, "look_every": 10, "max_steps": 1000},
    "clipped": {"clip_norm": 1.0},
    "quiet": {"rate_cost": 30.0},
    "pinh30": {"p_inh": 0.3},
    "trials3000": {"min_trials": 3000},
    "trials5000": {"min_trials": 5000},
    "loss1": {"loss_below": 1.0},
    "ours": {n: getattr(OURS, n) for n in ("batch", "look_every", "max_steps", "clip_norm", "n_som", "tau_bounds")},
}
TASKS = {"gonogo": "go-nogo", "xor": "xor", "integration": "integration"}


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What is trained (`network`, the name of its files) and how it is converted."""

    name: str
    network: str
    task: str
    options: TrainingOptions
    preset: Preset
    grid: str

    @property
    def transferred(self) -> bool:
        """Is it of the published transfer alone, whose preset or grid it changes? A calibration has its own."""
        return self.name != self.network


NOISES = (0.0, 1.0)  # mV a step: networks with two states, which one without noise enters at the wrong time, need some
AT_1_MS = {"method": "calibrated", "preset": "standard", "max_rate": 20.0, "dt": 1e-3, "noise": 0.0}
METHODS: dict[str, dict[str, Any]] = {  # name here -> arguments of convert_network in place of the published search's
    "lambda": {},
    "calibrated": {"method": "calibrated", "preset": "standard", "max_rate": 20.0},
    "calibrated_1ms": AT_1_MS,
    "calibrated_1ms_noise": AT_1_MS | {"noise": NOISES},
    "calibrated_100hz": AT_1_MS | {"max_rate": 100.0},
    "finetuned_1ms": AT_1_MS | {"method": "finetuned"},
}

PAPER: dict[str, tuple[float | None, float | None]] = {  # per cent of 100 networks: success, mean accuracy
    "gonogo_sigmoid_250": (94, 98.8),
    "gonogo_softplus_250": (55, 88.3),
    "gonogo_relu_250": (0, 59.7),
    "gonogo_sigmoid_250_tau20": (65, None),
}
SETS = {
    "headline": ["gonogo_sigmoid_250", "gonogo_softplus_250", "gonogo_relu_250"],
    "tau": ["gonogo_sigmoid_250_tau20"],
    "sizes": [f"gonogo_{phi}_{n}" for n in (100, 50, 10) for phi in ("sigmoid", "softplus", "relu")],
    "refractory": [f"gonogo_sigmoid_250_ref{ms}" for ms in (0, 1, 4, 6, 8, 10)],  # 2 ms is the headline's
    "tasks": ["integration_sigmoid_250", "xor_sigmoid_250"],
}


def condition(name: str) -> Condition:
    """TASK_PHI_N, then any of: tau20, the VARIANTS of training; of the conversion refMS, noiseNN, bout and low."""
    task, phi, n, *extras = [*name.split("_"), *[""] * (3 - len(name.split("_")))]
    options, preset, grid, trained = PUBLISHED, get_preset("kim2019"), GRID, [task, phi, n]
    problems = [] if task in TASKS and n.isdigit() else [f"must begin with {'|'.join(TASKS)}_PHI_N"]
    for extra in extras:
        if extra.startswith("ref") and extra[3:].isdigit():
            preset = replace(preset, t_ref=int(extra[3:]) / 1000)
            continue
        if extra.startswith("noise") and extra[5:].isdigit():
            preset = replace(preset, noise_sd=int(extra[5:]) / 100)
            continue
        if extra == "bout":
            preset = replace(preset, keep_b_out=True)
            continue
        if extra == "low":
            grid = LOW_GRID
            continue
        trained.append(extra)
        if extra == "tau20":
            options = replace(options, tau_bounds=(0.020, 0.020))
        elif extra in VARIANTS:
            options = replace(options, **VARIANTS[extra])
        else:
            problems.append(f"'{extra}' is unknown, must be tau20, refMS, noiseNN, bout, low, {' or '.join(VARIANTS)}")
    if problems:
        raise SpikeportError(f"condition '{name}'", problems, hint=f"--conditions {','.join(SETS)} are sets")
    return Condition(
        name=name,
        network="_".join(trained),
        task=TASKS[task],
        options=replace(options, phi=phi, n_neurons=int(n)),
        preset=preset,
        grid=grid,
    )


def conditions_of(text: str) -> list[Condition]:
    names = list(SETS) if text == "all" else text.split(",")
    return [condition(n) for name in names for n in SETS.get(name, [name])]


# ---------------------------------------------------------------- the file of results


@dataclass
class Results:
    """A file of JSON lines, added to line by line. lines: what it holds; a line that was cut off is told and left."""

    path: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    broken: int = 0

    def __post_init__(self) -> None:
        if not self.path.exists():
            check_writable(self.path)
            return
        for text in self.path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                line = None
            if isinstance(line, dict) and "kind" in line:
                self.lines.append(line)
            else:
                self.broken += bool(text.strip())

    def find(self, kind: str, **keys: Any) -> list[dict[str, Any]]:
        return [x for x in self.lines if x["kind"] == kind and all(x.get(k) == v for k, v in keys.items())]

    def add(self, line: dict[str, Any]) -> None:
        """Write a line, whole and on the disk, before anything else is done."""
        cut = self.path.exists() and self.path.read_bytes()[-1:] not in (
            b"",
            b"\n",
        )  # a run that was killed as it wrote
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if cut else "") + json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.lines.append(line)
