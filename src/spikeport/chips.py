"""Conversion that knows the chip: the search over lambda in the chip's own arithmetic, and accuracy against bits.

A network is made for each 1/lambda, lowered, and run on the same trials as all others; the best is measured on fresh
trials. What rounding costs depends on the task, so it is measured by the task.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spikeport.convert.transfer import transfer
from spikeport.snn.errors import SpikeportError
from spikeport.snn.losses import Loss
from spikeport.snn.measures import wilson
from spikeport.snn.rate import RateNetwork
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import Task, get_task
from spikeport.targets.run import RunResult, run_network

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ChipPoint:
    """One setting of the search, measured. choices: of the chip (`bits`)."""

    inverse_lambda: float
    choices: Mapping[str, str]
    accuracy: float
    mean_rate_hz: float


@dataclass(frozen=True, kw_only=True)
class ChipSearch:
    """The best of the search on fresh trials: one for each combination of choices, in their order.

    points: everything tried.  best: its point of the search.  right: of `trials` fresh ones, by `rule`.
    """

    points: tuple[ChipPoint, ...]
    best: tuple[ChipPoint, ...]
    networks: tuple[SpikingNetwork, ...]
    right: tuple[int, ...]
    trials: int
    rule: str
    losses: tuple[tuple[Loss, ...], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers: a row for each combination of choices."""
        return {
            "rule": self.rule,
            "trials": self.trials,
            "rows": [
                {**point.choices, "inverse_lambda": point.inverse_lambda, "accuracy": n / self.trials,
                 "interval": list(wilson(n, self.trials)), "losses": [str(loss) for loss in losses]}
                for point, n, losses in zip(self.best, self.right, self.losses, strict=True)
            ],
        }  # fmt: skip


def search_on_chip(
    source: RateNetwork,
    task: Task | str,
    chip: str,
    *,
    grid: Sequence[float],
    variants: Sequence[Mapping[str, str]] = ({},),
    dt: float = 1e-3,
    preset: str = "standard",
    trials: int = 50,
    test_trials: int = 200,
    seed: int = 0,
    rule: str | None = None,
    allow: Collection[str] = ("precision", "noise", "synapse"),
    progress: Progress = lambda text: None,
) -> ChipSearch:
    """Search 1/lambda on `chip`, once for each of `variants` (its choices: {"bits": "4"}); test the best on new trials.

    Every point sees trials 0 .. trials - 1, the best of each variant trials .. trials + test_trials - 1. Of equals, the
    one with the fewest spikes.
    """
    task = get_task(task) if isinstance(task, str) else task
    if not grid or not variants:
        raise SpikeportError("search on a chip: nothing to try", [f"grid {list(grid)}, {len(variants)} variants"])
    rule = task.rules[0] if rule is None else rule

    def measured(network: SpikingNetwork, choices: Mapping[str, str], first: int, n: int) -> RunResult:
        more: Any = dict(choices)  # of the target: run_network's other keywords are its own
        return run_network(
            network, task, target=chip, trials=n, first=first, seed=seed, rule=rule, allow=allow, batch=100, **more
        )

    points, best, networks, right, losses = [], [], [], [], []
    for choices in variants:
        mine: list[tuple[ChipPoint, SpikingNetwork]] = []
        for inverse_lambda in grid:
            network = transfer(source, inverse_lambda, preset=preset, dt=dt)
            found = measured(network, choices, 0, trials)
            point = ChipPoint(inverse_lambda=inverse_lambda, choices=dict(choices),
                              accuracy=found.right[rule] / trials, mean_rate_hz=found.mean_rate_hz)  # fmt: skip
            progress(f"{dict(choices)} 1/lambda {inverse_lambda:g}: {point.accuracy:.3f}")
            mine.append((point, network))
        point, network = max(mine, key=lambda pair: (pair[0].accuracy, -pair[0].mean_rate_hz))
        tested = measured(network, choices, trials, test_trials)
        points += [p for p, _ in mine]
        best.append(point)
        networks.append(network)
        right.append(tested.right[rule])
        losses.append(tested.losses)
    return ChipSearch(
        points=tuple(points), best=tuple(best), networks=tuple(networks), right=tuple(right), trials=test_trials,
        rule=rule, losses=tuple(losses),
    )  # fmt: skip
