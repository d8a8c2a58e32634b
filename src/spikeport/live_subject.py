"""The simulated subject as a source and a sink of a file: a closed loop without anybody in it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from spikeport.loop.configuration import Field, Fields, need, number, or_null, whole
from spikeport.loop.subject.centre_out import CentreOut
from spikeport.loop.subject.encoder import Tuning
from spikeport.loop.subject.metrics import Figures
from spikeport.loop.subject.subject import N_UNITS, SPEED, Subject, SubjectInLoop
from spikeport.snn.errors import SpikeportError

FIELDS: Fields = {
    "seed": need(whole(0), "of the counts and of the targets' order"),
    "n_trials": Field(or_null(whole(1)), "after which it ends; null: never"),
    "capacity": Field(whole(1), "packets that may wait"),
    "n_units": Field(whole(1), "units that are recorded"),
    "tuning_seed": Field(whole(0), "of their preferred directions"),
    "delay": Field(number(0), "s: what the subject sees is so old"),
    "speed": Field(number(above=0), "cm/s, intended when far away"),
    "near": Field(number(above=0), "cm, where slowing down begins"),
    "n_targets": Field(whole(2), "targets on the circle"),
    "distance": Field(number(above=0), "cm from the centre to a target"),
    "radius": Field(number(above=0), "cm, of a target"),
    "hold": Field(number(0), "s in the target"),
    "timeout": Field(number(above=0), "s of a trial"),
    "pause": Field(number(0), "s between two trials"),
    "edge": Field(number(above=0), "cm to the end of the screen"),
}


def subject(values: dict[str, Any], period: float) -> SubjectInLoop:
    """The subject; a packet of counts each period (s) of the loop."""
    given = dict(values)
    task = CentreOut(**{f.name: given.pop(f.name) for f in fields(CentreOut) if f.name in given})
    of_loop = {name: given.pop(name) for name in ("seed", "n_trials", "capacity") if name in given}
    speed = given.get("speed", SPEED)
    n, seed = given.pop("n_units", N_UNITS), given.pop("tuning_seed", 0)
    tuning = Tuning.drawn(n, seed=seed, full=speed)
    return SubjectInLoop(Subject(task=task, tuning=tuning, period=period, **given), **of_loop)


def cursor(source: Any) -> SubjectInLoop:
    """The same subject, as a sink: the outputs are its cursor's velocity."""
    if not isinstance(source, SubjectInLoop):
        raise SpikeportError("'subject' moves the cursor of a source of kind subject, which there is not")
    return source


def figures(source: Any) -> dict[str, Any] | None:
    """How the subject did, None where there is no subject, or no trial has ended."""
    if not isinstance(source, SubjectInLoop) or not source.trials:
        return None
    return Figures.of(source.trials, source.subject.task).as_dict()
