"""Replay: the recorded inputs and times into a decoder once more; the outputs must be the same bits.

Tick n brought the decoder to t = (n + 1) period, with the values that the record has for it, or None where it has none.
Compared is what the decoder itself gave: not the safe value, and not the last output of a tick that was skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikeport.loop.packets import NS, Array
from spikeport.loop.ports import Decoder
from spikeport.loop.record.format import decode_json, encode_json
from spikeport.loop.record.read import Record
from spikeport.loop.record.reader import Event, RecordReader
from spikeport.loop.record.writer import LOST, versions
from spikeport.snn.errors import SpikeportError


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first tick whose outputs are other bits: its number, the output, and both values."""

    tick: int
    output: int
    recorded: float
    replayed: float

    def __str__(self) -> str:
        return f"tick {self.tick}, output {self.output}: recorded {self.recorded!r}, replayed {self.replayed!r}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a replay found.

    other_decoder: how this decoder describes itself otherwise than the recorded one, line by line.  other_versions:
    the same of the programs.  ticks: read.  compared, differing: of them.  not_compared: why not, and how many.
    largest: the largest |recorded - replayed|.  ending: how the record ended.  whole: neither cut nor damaged.
    """

    other_decoder: tuple[str, ...]
    other_versions: tuple[str, ...]
    ticks: int
    compared: int
    differing: int
    not_compared: Mapping[str, int]
    first: Difference | None
    largest: float
    ending: str
    whole: bool

    @property
    def identical(self) -> bool:
        """Every compared output has the same bits, and at least one was compared."""
        return self.compared > 0 and self.differing == 0

    @property
    def holds(self) -> bool:
        """Identical, of a record that is neither cut nor damaged."""
        return self.identical and self.whole

    def as_dict(self) -> dict[str, Any]:
        first = None if self.first is None else {n: getattr(self.first, n) for n in Difference.__dataclass_fields__}
        plain = {name: getattr(self, name) for name in ("ticks", "compared", "differing", "largest", "ending", "whole")}
        lists = {name: list(getattr(self, name)) for name in ("other_decoder", "other_versions")}
        return {
            "identical": self.identical,
            **lists,
            **plain,
            "not_compared": dict(self.not_compared),
            "first_difference": first,
        }

    def __str__(self) -> str:
        lines = [f"another decoder: {line}" for line in self.other_decoder]
        lines += [f"another version: {line}" for line in self.other_versions]
        if self.first is not None:
            lines += [f"{self.differing} of {self.compared} ticks differ, by up to {self.largest:g}", str(self.first)]
        elif self.compared:
            read = "" if self.whole else " that could be read"
            lines.append(f"{self.compared} of {self.ticks} ticks{read} compared, all outputs identical")
        else:
            lines.append(f"{self.ticks} ticks, none to compare")
        lines += [f"not compared: {n} ticks, {why}" for why, n in self.not_compared.items()]
        if self.ending != "clean":
            lines.append(f"the loop did not close the record: {self.ending}" if self.whole
                         else f"the record is not whole: {self.ending}")  # fmt: skip
        return "\n".join(lines)


def replay(record: Record | RecordReader, decoder: Decoder, *, period_ns: int | None = None) -> Comparison:
    """Feed the record's inputs and times to `decoder`, from its reset state, and compare its outputs.

    period_ns: of a tick, where the record's header has no period_ns. A RecordReader is used up.
    """
    period_ns = _period(record.header, period_ns)
    settle = getattr(decoder, "settle", None)  # a shadow's own step
    decoder.reset()
    found = _Found()
    for item in _up_to_loss(record, found):
        t = (item.tick + 1) * period_ns / NS
        nothing = bool(np.isnan(item.inputs).all())
        if not nothing and item.inputs.size != decoder.n_inputs:
            raise SpikeportError(f"replay: {item.inputs.size} values a tick, the decoder takes {decoder.n_inputs}")
        if item.outputs.size != decoder.n_outputs:
            raise SpikeportError(f"replay: {item.outputs.size} outputs a tick, the decoder has {decoder.n_outputs}")
        replayed = np.asarray(decoder.step(None if nothing else item.inputs, t), dtype=np.float64)
        if item.safe:
            found.leave("the safe value went out")
        elif item.cause == "skipped":
            found.leave("skipped: nothing went out")
        else:
            found.compare(item.tick, item.outputs, replayed)
        if settle is not None:
            settle()
    return Comparison(
        other_decoder=tuple(_others(record.header.get("decoder"), dict(decoder.describe()), "decoder")),
        other_versions=tuple(_others(record.versions, versions(), "")),
        ticks=found.ticks, compared=found.compared, differing=found.differing, not_compared=found.left,
        first=found.first, largest=found.largest, ending=str(record.ending),
        whole=record.ending.whole,
    )  # fmt: skip


class _Found:
    """Counts that grow with the replay."""

    def __init__(self) -> None:
        self.ticks = self.compared = self.differing = 0
        self.left: dict[str, int] = {}
        self.first: Difference | None = None
        self.largest = 0.0

    def leave(self, why: str) -> None:
        self.left[why] = self.left.get(why, 0) + 1

    def compare(self, tick: int, recorded: Array, replayed: Array) -> None:
        self.compared += 1
        wrong = np.flatnonzero(recorded.view(np.int64) != replayed.view(np.int64))
        if not wrong.size:
            return
        self.differing += 1
        with np.errstate(invalid="ignore"):  # infinities
            self.largest = max(self.largest, float(np.nanmax(np.abs(recorded[wrong] - replayed[wrong]), initial=0.0)))
        if self.first is None:
            j = int(wrong[0])
            self.first = Difference(tick=tick, output=j, recorded=float(recorded[j]), replayed=float(replayed[j]))


def _up_to_loss(record: Record | RecordReader, found: _Found) -> Iterator[Any]:
    """The ticks; after one that the recorder lost the decoder's state is not known, so the rest is only counted."""
    lost = False
    for item in record:
        if isinstance(item, Event):
            lost = lost or (item.kind == LOST and item.details.get("ticks") != 0)
            continue
        found.ticks += 1
        if lost:
            found.leave("after ticks that the recorder lost")
        else:
            yield item


def _period(header: Mapping[str, Any], period_ns: int | None) -> int:
    stored = header.get("period_ns")
    found = stored if period_ns is None else period_ns
    if type(found) is not int or found < 1:
        raise SpikeportError(f"replay: a period of {found!r} ns, must be a whole number above 0", hint="period_ns=")
    return found


def _others(recorded: Any, here: Any, where: str) -> Iterator[str]:
    """What differs between two descriptions, by its place; both in JSON's own types."""
    if not isinstance(recorded, Mapping):
        yield f"the record does not describe its {where}"
        return
    a, b = (dict(_flat(decode_json(encode_json(side, where)), "")) for side in (recorded, here))
    for name in sorted(a.keys() | b.keys()):
        if encode_json([a.get(name)], where) != encode_json([b.get(name)], where):
            yield f"{name}: recorded {a.get(name, 'nothing')}, here {b.get(name, 'nothing')}"


def _flat(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _flat(part, f"{where}.{name}" if where else name)
    else:
        yield where, value
