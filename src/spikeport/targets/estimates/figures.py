"""Published figures of what one event costs on a device: every one with its source, each event with a range.

An event's range is from the least to the largest of its figures. [how verified] of a row: "quoted", the passage itself
was read; "abstract"; "file", the number was read in the file that is named; "second hand", it was read where somebody
else quotes it, who is named. A number without a source is not here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

VERIFIED = ("quoted", "abstract", "file", "second hand")
UNITS = ("J", "s", "W", "1")


class Range(NamedTuple):
    """From low to high, both possible."""

    low: float
    high: float

    def __mul__(self, factor: object) -> Range:
        if not isinstance(factor, (int, float)):
            return NotImplemented
        return Range(self.low * factor, self.high * factor)

    def plus(self, other: Range) -> Range:
        return Range(self.low + other.low, self.high + other.high)


@dataclass(frozen=True)
class Figure:
    """What one `event` costs on `device`, in `unit`: low .. high as this source has it.

    source: who and when.  where: the table or page.  basis: how they got it.  verified: one of VERIFIED, and by whom.
    """

    device: str
    event: str
    unit: str
    low: float
    high: float
    source: str
    where: str
    basis: str
    verified: str

    def as_dict(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def problems(self) -> list[str]:
        """What keeps it from being used."""
        found = [
            f"{name}: empty" for name in ("source", "where", "basis", "verified") if not getattr(self, name).strip()
        ]
        if not any(self.source.rstrip(")").endswith(str(year)) for year in range(1990, 2100)):
            found.append(f"source: '{self.source}' ends with no year")
        if self.verified.partition(":")[0] not in VERIFIED:
            found.append(f"verified: '{self.verified}', must begin with one of {', '.join(VERIFIED)}")
        if self.unit not in UNITS:
            found.append(f"unit: '{self.unit}', must be one of {', '.join(UNITS)}")
        if not 0 <= self.low <= self.high < float("inf"):
            found.append(f"low {self.low}, high {self.high}: must be 0 <= low <= high")
        return [f"{self.device}, {self.event}: {problem}" for problem in found]


# what is counted
SYNAPSE, UPDATE, SPIKE, MESSAGE, HOP = "synaptic event", "neuron update", "spike", "message", "hop"
ARRIVAL, STEP, MAC, BYTE = "arrival", "step", "multiply-accumulate", "byte moved"
POWER, SLOWDOWN = "power", "slow-down"

pJ, nJ, ns = 1e-12, 1e-9, 1e-9

_DAVIES = ("Davies et al., IEEE Micro 38(1), 2018", "Table 2, p. 96", "pre-silicon simulation",
           "second hand: KerasSpiking (synaptic event, update); a public table quotes every row")  # fmt: skip
_SANAFE = ("Boyle et al., IEEE TCAD 44(8), 2025", "SANA-FE 2.2.9, loihi.yaml",
           "fitted to a Nahuku board, by their account within 11.7 % (energy) and 24.3 % (time)", "file")  # fmt: skip
_BLOUW = ("Blouw et al., arXiv 1812.01739, 2019", "table of power, idle .. running",
          "measured on another network, two layers of 256 units", "quoted")  # fmt: skip
_SHARP = ("Sharp et al., J. Neurosci. Methods 210, 2012", "abstract", "measured on four chips", "abstract")
_HOEPPNER = "Höppner et al., IEEE TCAS-I 66(8), 2019"
_KERAS = "second hand: KerasSpiking, ModelEnergy"
_HOROWITZ = ("Horowitz, ISSCC 2014", "Fig. 1.1.9", "45 nm, 0.9 V: the arithmetic alone, no instruction")
_DEGNAN = ("Degnan, Marr & Hasler, IEEE TVLSI 24(1), 2016", "survey", "whole processor, over its multiply-accumulates",
           _KERAS)  # fmt: skip

FIGURES = (
    Figure("loihi", SYNAPSE, "J", 23.6 * pJ, 23.6 * pJ, *_DAVIES),  # "(min)"
    Figure("loihi", SYNAPSE, "J", 33.6 * pJ, 35.5 * pJ, *_SANAFE),  # sparse, dense
    Figure("loihi", UPDATE, "J", 52 * pJ, 81 * pJ, *_DAVIES),  # inactive, active
    Figure("loihi", UPDATE, "J", 51.2 * pJ, 72.8 * pJ, *_SANAFE),  # access, and 21.6 of an update
    Figure("loihi", SPIKE, "J", 0.0, 69.3 * pJ, *_SANAFE),  # 0: Davies et al. list none beside the message
    Figure("loihi", MESSAGE, "J", 1.7 * pJ, 1.7 * pJ, *_DAVIES),  # within a tile
    Figure("loihi", MESSAGE, "J", 111 * pJ, 111 * pJ, *_SANAFE),
    Figure("loihi", HOP, "J", 3.0 * pJ, 4.0 * pJ, *_DAVIES),  # east-west, north-south
    Figure("loihi", HOP, "J", 3.0 * pJ, 4.2 * pJ, *_SANAFE),
    Figure("loihi", SYNAPSE, "s", 3.5 * ns, 3.5 * ns, *_DAVIES),
    Figure("loihi", SYNAPSE, "s", 3.8 * ns, 4.7 * ns, *_SANAFE),
    Figure("loihi", UPDATE, "s", 5.3 * ns, 8.4 * ns, *_DAVIES),
    Figure("loihi", UPDATE, "s", 6.0 * ns, 9.7 * ns, *_SANAFE),
    Figure("loihi", SPIKE, "s", 0.0, 30 * ns, *_SANAFE),
    Figure("loihi", MESSAGE, "s", 2.1 * ns, 2.1 * ns, *_DAVIES),
    Figure("loihi", MESSAGE, "s", 5.1 * ns, 5.1 * ns, *_SANAFE),
    Figure("loihi", ARRIVAL, "s", 0.0, 16 * ns, *_SANAFE),
    Figure("loihi", STEP, "s", 113 * ns, 465 * ns, *_DAVIES),  # barrier over 1 .. 32 tiles
    Figure("loihi", STEP, "s", 600 * ns, 1800 * ns, *_SANAFE),
    Figure("loihi", POWER, "W", 0.029, 0.110, *_BLOUW),
    Figure("spinnaker", SYNAPSE, "J", 43 * nJ, 43 * nJ, *_SHARP),
    Figure("spinnaker", SYNAPSE, "J", 13.3 * nJ, 13.3 * nJ, _HOEPPNER, "as read there", "measured", _KERAS),
    Figure("spinnaker", UPDATE, "J", 100 * nJ, 100 * nJ, *_SHARP),  # of a neuron and ms; their step is 1 ms
    Figure("spinnaker", UPDATE, "J", 26 * nJ, 26 * nJ, _HOEPPNER, "as read there", "measured", _KERAS),
    Figure("spinnaker", POWER, "W", 0.255, 1.0, "Stromatias et al., IJCNN 2013", "abstract; idle power in the text",
           "measured on a board of 48 chips; of one chip",
           "abstract: less than 1 W per chip; 0.255 W idle is second hand, in a public benchmark"),
    Figure("spinnaker", SLOWDOWN, "1", 1.0, 20.0, "van Albada et al., Front. Neurosci. 12:291, 2018", "abstract",
           "measured with steps of 0.1 ms; with 1 ms it runs in real time", "abstract"),
    Figure("spinnaker2", SYNAPSE, "J", 0.20 * nJ, 0.26 * nJ, "Höppner et al., arXiv 2103.08392, 2021", "Table I",
           "measured on a test chip", "second hand: a public table of figures names the row"),
    Figure("spinnaker2", SYNAPSE, "J", 0.45 * nJ, 0.45 * nJ, _HOEPPNER, "as read there", "measured, prototype", _KERAS),
    Figure("spinnaker2", UPDATE, "J", 2.19 * nJ, 2.19 * nJ, _HOEPPNER, "as read there", "measured, prototype", _KERAS),
    Figure("xylo", POWER, "W", 100e-6, 100e-6, "Bos & Muir, arXiv 2208.12991, 2022", "abstract: below 100 uW",
           "measured on another network, inference alone", "abstract"),
    Figure("xylo", POWER, "W", 291e-6, 291e-6, "Muir & Bos, arXiv 2406.15112, 2024", "abstract",
           "measured on another network, Xylo Audio 2, dynamic alone", "abstract"),
    Figure("cpu", MAC, "J", 4.6 * pJ, 4.6 * pJ, *_HOROWITZ,
           "second hand: PMC8934428, Table 3 (3.7 pJ float multiply, 0.9 pJ add)"),
    Figure("cpu", MAC, "J", 8.6 * nJ, 8.6 * nJ, *_DEGNAN),
    Figure("cpu", BYTE, "J", 1.25 * pJ, 1.25 * pJ, *_HOROWITZ[:2], "45 nm, 8 KB cache, 10 pJ for 64 bits",
           "second hand: PMC8934428, Table 3"),
    Figure("cpu", POWER, "W", 17.01, 28.48, *_BLOUW),
    Figure("gpu", MAC, "J", 41 * pJ, 41 * pJ, "NVIDIA A100 datasheet, 2020", "FP32 19.5 TFLOPS, SXM 400 W",
           "power over peak rate, two operations each: no small network comes near",
           "second hand: glennklockwood.com and others list both"),
    Figure("gpu", MAC, "J", 0.3 * nJ, 0.3 * nJ, *_DEGNAN),
    Figure("gpu", POWER, "W", 14.97, 37.83, *_BLOUW),
    Figure("arm", MAC, "J", 4.6 * pJ, 4.6 * pJ, *_HOROWITZ,
           "second hand: PMC8934428, Table 3 (3.7 pJ float multiply, 0.9 pJ add)"),
    Figure("arm", MAC, "J", 0.9 * nJ, 0.9 * nJ, *_DEGNAN),
)  # fmt: skip

DEVICES = tuple(dict.fromkeys(f.device for f in FIGURES))


def figures(device: str, event: str, unit: str) -> tuple[Figure, ...]:
    """All figures of an event; none where nothing is published."""
    return tuple(f for f in FIGURES if (f.device, f.event, f.unit) == (device, event, unit))


def spread(found: Iterable[Figure]) -> Range:
    """From the least to the largest."""
    rows = tuple(found)
    return Range(min(f.low for f in rows), max(f.high for f in rows))
