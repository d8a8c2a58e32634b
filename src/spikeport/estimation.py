"""A spiking network on a chip, and the rate network that it came from on a processor: what they cost, side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikeport.convert.sources import load_source
from spikeport.snn.errors import SpikeportError
from spikeport.snn.files import load_recording, load_spiking_network
from spikeport.snn.fingerprint import fingerprint
from spikeport.snn.rate import RateNetwork
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import Task, get_task
from spikeport.targets.base import check_choices
from spikeport.targets.estimates import Estimate, estimate, estimate_rate
from spikeport.targets.estimates.counts import RECORD_ANEW
from spikeport.targets.estimates.estimate import check_device
from spikeport.targets.registry import get_target
from spikeport.targets.run import Progress, RunResult, run_network

TRIALS = 20
PROCESSORS = ("cpu", "gpu", "arm")


@dataclass(frozen=True, kw_only=True)
class Estimation:
    """spiking: of the run.  rate: of the rate network, by processor.  run: what the run gave, unless it was given."""

    target: str
    spiking: Estimate
    rate: tuple[Estimate, ...]
    run: RunResult | None
    losses: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """What `spikeport estimate --json` prints."""
        run = None if self.run is None else self.run.as_dict()
        kept = ("task", "seed", "rule", "spiking_accuracy", "interval", "mean_rate_hz", "silent_trials", "warnings")
        return {
            "target": self.target,
            "run": None if run is None else {name: run[name] for name in kept},
            "spiking": self.spiking.as_dict(),
            "rate": {str(e.device): e.as_dict() for e in self.rate},
            "losses": list(self.losses),
        }


def estimate_network(
    network: SpikingNetwork | str | Path,
    task: Task | str | Path | None = None,
    *,
    target: str = "loihi",
    trials: int | None = None,
    first: int = 0,
    seed: int = 0,
    rule: str | None = None,
    allow: Collection[str] = (),
    against: RateNetwork | str | Path | None = None,
    device: str | None = None,
    recording: str | Path | None = None,
    progress: Progress | None = None,
    **choices: str,
) -> Estimation:
    """Run trials of `task` on `target` (default 20, or what a file has), or take a recording; estimate its cost.

    against: the rate network it came from, whose counts and cost come beside; refused where its sizes are others.
    Where a file does not say what it is a run of, or was made from, that is one of the losses.  device: price the
    counts by its figures instead of the target's.
    """
    if (task is None) == (recording is None):
        raise SpikeportError("estimate: it needs a task to run, or a recording, and not both",
                             hint="--task go-nogo, or --recording run.h5")  # fmt: skip
    if device is not None:
        check_device(device)
    network = network if isinstance(network, SpikingNetwork) else load_spiking_network(network)
    source = load_source(against) if isinstance(against, (str, Path)) else against
    doubts = [] if source is None else _origin(network, source)
    on = get_target(target)
    run = None
    if task is not None:
        task = get_task(task) if isinstance(task, (str, Path)) else task
        more: Any = dict(choices)  # of the target: run_network's other keywords are its own
        run = run_network(
            network, task, target=target, trials=_how_many(task, first) if trials is None else trials, first=first,
            seed=seed, rule=rule, allow=allow, keep=True, progress=progress, **more,
        )  # fmt: skip
        assert run.recording is not None  # keep=True
        given = run.recording
    else:
        given = load_recording(str(recording))
        doubts += _recorded(network, given, str(recording))
    lowering = on.lower(network, allow=allow, **check_choices(on, choices))
    spiking = estimate(lowering, given, device=device)
    rate = (
        [estimate_rate(source, spiking.duration, d, spiking.trials) for d in PROCESSORS] if source is not None else []
    )
    return Estimation(
        target=target, spiking=spiking, rate=tuple(rate), run=run, losses=(*map(str, lowering.losses), *doubts)
    )


def _origin(network: SpikingNetwork, source: RateNetwork) -> list[str]:
    """Refuse a rate network of other sizes than the spiking one; a line where it may be another one all the same."""
    sizes = {
        "inputs": (source.n_inputs, sum(i.n for i in network.inputs)),
        "outputs": (source.n_outputs, sum(r.weight.shape[0] for r in network.readouts[:1])),
        "units": (source.n_neurons, network.n_neurons),
    }
    problems = [f"{what}: {a} in the rate network, {b} in the spiking one" for what, (a, b) in sizes.items() if a != b]
    if problems:
        raise SpikeportError(
            "estimate: the rate network is not the one that this network came from", problems,
            hint="--against RATE, the file that `spikeport convert` was given",
        )  # fmt: skip
    made = network.provenance.get("source")
    said, here = made.get("sha256") if isinstance(made, Mapping) else None, source.provenance.get("sha256")
    if said is None or here is None:
        return ["against: whether this network came from this rate network is not known: no sha256 to compare"]
    if said != here:
        return [f"against: this network was made from another file (sha256 {said!s:.16}) than this one ({here!s:.16})"]
    return []


def _recorded(network: SpikingNetwork, given: Recording, path: str) -> list[str]:
    """Refuse a recording of another network; a line where the file does not say of which it is."""
    mine = fingerprint(network)
    if given.network is None:
        return ["recording: it does not say of which network it is; only populations, sizes and dt were compared"]
    if given.network != mine:
        raise SpikeportError(
            f"estimate: {path} is a recording of another network",
            [f"sha256 {given.network[:16]} in the recording, {mine[:16]} of this network"], hint=RECORD_ANEW,
        )  # fmt: skip
    return []


def _how_many(task: Task, first: int) -> int:
    available: int | None = getattr(task, "n_trials", None)
    return TRIALS if available is None else max(1, min(TRIALS, available - first))
