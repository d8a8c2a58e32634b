"""What a page shows beyond the summary: units, outputs over time, trials, trajectories; sums over the trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spikeport.convert.validation.free import Trajectories
from spikeport.convert.validation.lists import rounded
from spikeport.convert.validation.shown import Shown
from spikeport.convert.validation.traces import LABELS, Traces
from spikeport.convert.validation.units import Kinds, UnitNumbers, kinds_of, units_as_dict
from spikeport.convert.validation.verdicts import Bools
from spikeport.snn.neurons import Array
from spikeport.snn.rate import RateNetwork, RateRecording
from spikeport.snn.recording import Recording
from spikeport.snn.tasks import Task, Trials


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What is collected while the trials go by."""

    kinds: Kinds
    traces: Traces
    shown: Shown

    @classmethod
    def of(cls, source: RateNetwork) -> Picture:
        kinds = kinds_of(source)
        return cls(kinds=kinds, traces=Traces(dt=source.dt), shown=Shown.of(kinds.order()))

    def add(
        self, part: Trials, rate: RateRecording, runs: Mapping[str, tuple[Recording, str]],
        outputs: Mapping[str, Array], right: Mapping[str, Bools],
    ) -> Picture:  # fmt: skip
        """runs: level -> (recording, population of its units).  outputs, right: of the rate model, too."""
        assert rate.r is not None
        return Picture(
            kinds=self.kinds, traces=self.traces.add(outputs, right, part),
            shown=self.shown.add(part, rate.r, rate.dt, runs),
        )  # fmt: skip

    def as_dict(self, task: Task, units: Sequence[UnitNumbers], paths: Mapping[str, Trajectories]) -> dict[str, Any]:
        """The keys `units`, `events`, `traces`, `shown` and `trajectories` of the JSON."""
        return {
            "units": units_as_dict(self.kinds, units),
            "events": events_of(task),
            "traces": self.traces.as_dict(),
            "shown": self.shown.as_dict(),
            "trajectories": _trajectories(paths, self.traces.dt),
        }


def events_of(task: Task) -> dict[str, Any]:
    """The task's events and response windows, [start, end] in s from the start of a trial; end null: to the end."""
    events: Mapping[str, tuple[float, float]] = getattr(task, "events", {})
    return {
        "named": {name: list(rounded(span, 6)) for name, span in events.items()},
        "windows": {kind: [w.start, w.end] for kind, w in task.windows.items()},
        "duration_s": round(task.n_samples * task.dt, 9),
    }


def _trajectories(paths: Mapping[str, Trajectories], dt: float) -> dict[str, Any]:
    """Paths are [label][component][sample], of the first labels only."""
    first = next(iter(paths.values()))
    return {
        "dt": dt,
        "labels": first.labels[:LABELS].tolist(),
        "labels_left_out": max(0, len(first.labels) - LABELS),
        "explained": first.components.explained,
        "variance": rounded(first.components.variance),
        "rate": _path(first.rate),
        "levels": {
            name: {"spiking": _path(p.spiking), "distance": p.distance, "distance_aligned": p.distance_aligned}
            for name, p in paths.items()
        },
    }


def _path(path: Array) -> Any:
    """(samples, labels, d) -> [label][component][sample]."""
    return rounded(path.transpose(1, 2, 0)[:LABELS])
