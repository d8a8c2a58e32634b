"""Stimuli from a file, without code: an output that rises above a value asks for a pulse or a train.

Anything else (an amplitude that follows an output, patterns of sites) is a function in Python: GuardSink's `commands`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spikeport.loop.configuration import Field, Fields, Problems, as_it_is, check, need, number, whole
from spikeport.loop.guard.commands import Command, Pulse, Train
from spikeport.loop.guard.limits import Limits
from spikeport.loop.guard.sink import GuardSink
from spikeport.loop.guard.watchdog import WatchLimits
from spikeport.loop.packets import Output
from spikeport.loop.ports import Clock, Sink
from spikeport.snn.errors import SpikeportError

STIMULUS: Fields = {
    "output": need(whole(0), "number of the output, from 0"),
    "above": need(number(), "the value that it must rise above"),
    "site": need(as_it_is, "the electrode"),
    "polarity": need(as_it_is, "cathodic first or anodic first"),
    "amplitude_uA": need(as_it_is, "of the first phase"),
    "width_us": need(as_it_is, "of the first phase"),
    "interphase_us": need(as_it_is, "the pause between the phases"),
    "second_amplitude_uA": Field(as_it_is, "default: as the first"),
    "second_width_us": Field(as_it_is, "default: as the first"),
    "n_pulses": Field(as_it_is, "pulses of a train"),
    "rate_hz": Field(as_it_is, "of a train"),
}


@dataclass
class Crossing:
    """One stimulus: `command` when output `output` is above `above`, and was not at the last decoded tick.

    The first output only says where it stands.
    """

    output: int
    above: float
    command: Pulse | Train
    was: bool | None = field(default=None)

    def asks(self, output: Output) -> bool:
        now = bool(output.values[self.output] > self.above)
        was, self.was = self.was, now
        return now and was is False


class Crossings:
    """All stimuli of a file, as a GuardSink's `commands`."""

    def __init__(self, crossings: Sequence[Crossing]) -> None:
        self._crossings = tuple(crossings)

    def __call__(self, output: Output) -> Iterable[Command]:
        return [crossing.command for crossing in self._crossings if crossing.asks(output)]


def read_stimuli(values: Any, where: str, problems: Problems, n_outputs: int | None) -> Crossings:
    """The stimuli of a file; what is wrong becomes a problem. n_outputs: the decoder's, None where it is not known."""
    if not isinstance(values, list):
        problems.add(where, f"must be a list of stimuli, each with {', '.join(STIMULUS)}")
        return Crossings(())
    found = []
    for i, each in enumerate(values):
        place = f"{where}[{i}]"
        given = check(each, STIMULUS, place, problems)
        if n_outputs is not None and given.get("output", -1) >= n_outputs:
            problems.add(f"{place}.output", f"{given['output']}, the decoder has outputs 0 to {n_outputs - 1}")
        if problems.within(place):
            continue
        try:
            found.append(_crossing(given))
        except SpikeportError as error:
            for line in error.problems or (error.what,):
                problems.add(place, line)
    return Crossings(found)


def _crossing(given: dict[str, Any]) -> Crossing:
    train = {name: given.pop(name) for name in ("n_pulses", "rate_hz") if name in given}
    output, above = given.pop("output"), given.pop("above")
    second = {f"second_{name}": given[name] for name in ("amplitude_uA", "width_us")}
    pulse = Pulse(**{**second, **given})
    if not train:
        return Crossing(output, above, pulse)
    if len(train) == 1:
        raise SpikeportError("train", ["n_pulses and rate_hz go together"])
    return Crossing(output, above, Train(pulse=pulse, **train))


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """The section `guard`, read."""

    limits: Limits
    watch: WatchLimits
    stimuli: Crossings
    log: Path
    when_tripped: str


class GuardedSink:
    """The guard first, then the sink: a heartbeat must not wait for a transport.

    Where the guard raises, because it tripped, is gone, or hangs, the sink does not get that tick's value of the
    decoder; a safe value it gets in any case. took: which of the two took the last output.
    """

    def __init__(self, guard: GuardSink, sink: Sink) -> None:
        self._guard, self._sink = guard, sink
        self._raised = False
        self.took = {"guard": False, "sink": False}

    def open(self, clock: Clock) -> None:
        self._raised = False
        self._sink.open(clock)
        self._guard.open(clock)

    def emit(self, output: Output) -> None:
        self.took = {"guard": False, "sink": False}
        failed: BaseException | None = None
        try:
            self._guard.emit(output)
            self.took["guard"] = True
        except BaseException as error:
            failed = error
        if failed is None or output.safe:
            self._sink.emit(output)
            self.took["sink"] = True
        if failed is None or (self._raised and output.cause == "stopped" and isinstance(failed, Exception)):
            return  # the first one ended the run
        self._raised = True
        raise failed

    def close(self) -> None:
        try:
            self._guard.close()
        finally:
            self._sink.close()

    def describe(self) -> dict[str, Any]:
        return {**self._sink.describe(), "guard": dict(self._guard.describe())}

    def __getattr__(self, name: str) -> Any:  # what some sinks have beside: notes, report
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._sink, name)
