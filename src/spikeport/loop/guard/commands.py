"""What a loop may ask for: a biphasic current pulse, a train of them, several sites at once, or silence.

    current
     |    __________ second phase: opposite sign
     |   |          |
    -+---|--|__|----|----> t        amplitude, width; interphase; second amplitude, second width
     |___|
     first phase: negative where the polarity is "cathodic first"

Phase charge Q = amplitude * width: 1 nA * 1 ns = 1 aC, so with whole nA and ns every charge is an integer. Nothing is
clipped or rounded: what is no such number is refused, with all problems at once. The ranges here are those of the
format; what is safe is a matter of Limits, which have no defaults.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from spikeport.loop.guard.exact import NS_PER_S, NS_PER_US, Number, count, exact, from_wire, to_wire, whole, within
from spikeport.snn.errors import SpikeportError

POLARITIES = ("cathodic first", "anodic first")
MAX_AMPLITUDE_UA = 1_000_000  # of the format, not of safety
MAX_WIDTH_US = 1_000_000
MAX_RATE_HZ = 1_000_000
MAX_PULSES = 10_000  # of one train: bounds the time that the guard takes for one command
MAX_PARTS = 16  # of one pattern
MAX_SITE = 64  # characters


class _Problems:
    """All problems of one object before it is refused."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.found: list[str] = []

    def take(self, name: str, read: Callable[[], Any]) -> Any:
        """What `read` gives, or None and a problem under `name`."""
        try:
            return read()
        except ValueError as error:
            self.found.append(f"{name} {error}")
            return None

    def refuse(self) -> None:
        if self.found:
            raise SpikeportError(f"{self.what}: not a command", self.found, hint="give each value in its unit")


def check_site(value: object) -> str:
    """A site's name; ValueError otherwise."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_SITE or not value.isprintable():
        raise ValueError(f"must be a name of 1 to {MAX_SITE} printable characters")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """One biphasic pulse at one site.

    amplitude_uA, second_amplitude_uA: sizes of the two phases, > 0, whole nA.  width_us, second_width_us: > 0, whole
    ns.  interphase_us: the pause between them, >= 0, whole ns.  polarity: one of POLARITIES.
    """

    site: str
    polarity: str
    amplitude_uA: Number
    width_us: Number
    interphase_us: Number
    second_amplitude_uA: Number
    second_width_us: Number
    amplitude_nA: int = field(init=False, repr=False, compare=False)
    width_ns: int = field(init=False, repr=False, compare=False)
    interphase_ns: int = field(init=False, repr=False, compare=False)
    second_amplitude_nA: int = field(init=False, repr=False, compare=False)
    second_width_ns: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        problems = _Problems(f"pulse at {self.site!r:.80}")
        problems.take("site", lambda: check_site(self.site))
        if self.polarity not in POLARITIES:
            problems.found.append(f"polarity must be one of: {', '.join(POLARITIES)}")
        for name in ("amplitude", "second_amplitude"):
            self._keep(problems, name, "uA", "nA", Fraction(1, 1000), MAX_AMPLITUDE_UA)
        for name, low in (
            ("width", Fraction(1, 1000)),
            ("interphase", Fraction(0)),
            ("second_width", Fraction(1, 1000)),
        ):
            self._keep(problems, name, "us", "ns", low, MAX_WIDTH_US)
        problems.refuse()

    def _keep(self, problems: _Problems, name: str, unit: str, small: str, low: Fraction, high: int) -> None:
        given = getattr(self, f"{name}_{unit}")
        units = problems.take(f"{name}_{unit}", lambda: whole(given, 1000, low, high, unit, small))
        object.__setattr__(self, f"{name}_{small}", units)

    @classmethod
    def symmetric(
        cls, site: str, *, polarity: str, amplitude_uA: Number, width_us: Number, interphase_us: Number
    ) -> Pulse:
        """Two phases of the same size and width: balanced to the last attocoulomb."""
        return cls(
            site=site,
            polarity=polarity,
            amplitude_uA=amplitude_uA,
            width_us=width_us,
            interphase_us=interphase_us,
            second_amplitude_uA=amplitude_uA,
            second_width_us=width_us,
        )

    @property
    def charge_aC(self) -> int:
        """Q1 = amplitude * width."""
        return self.amplitude_nA * self.width_ns

    @property
    def second_charge_aC(self) -> int:
        """Q2 = second amplitude * second width."""
        return self.second_amplitude_nA * self.second_width_ns

    @property
    def first_aC(self) -> int:
        """What the first phase alone leaves: -Q1 with the cathodic phase first, Q1 with the anodic one."""
        return -self.charge_aC if self.polarity == "cathodic first" else self.charge_aC

    @property
    def net_aC(self) -> int:
        """What stays: Q2 - Q1 with the cathodic phase first, Q1 - Q2 with the anodic one."""
        net = self.second_charge_aC - self.charge_aC
        return net if self.polarity == "cathodic first" else -net

    @property
    def balance(self) -> Fraction:
        """The charge-balance ratio Q2 / Q1; 1 is balanced."""
        return Fraction(self.second_charge_aC, self.charge_aC)

    @property
    def duration_ns(self) -> int:
        """From the onset of the first phase to the end of the second."""
        return self.width_ns + self.interphase_ns + self.second_width_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """`n_pulses` of one pulse; pulse j begins ceil(j * 10^9 / rate_hz) ns after the first.  Pulses may not overlap."""

    pulse: Pulse
    n_pulses: int
    rate_hz: Number
    rate: Fraction = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        problems = _Problems("train")
        pulse: Any = self.pulse
        if not isinstance(pulse, Pulse):
            problems.found.append("pulse must be a Pulse")
        problems.take("n_pulses", lambda: count(self.n_pulses, 1, MAX_PULSES))
        low = Fraction(1, 1000)
        rate = problems.take("rate_hz", lambda: within(self.rate_hz, low, MAX_RATE_HZ, "Hz"))
        if rate is not None and isinstance(pulse, Pulse) and NS_PER_S // rate < pulse.duration_ns:
            period, lasts = NS_PER_S // rate, pulse.duration_ns
            problems.found.append(f"rate_hz gives a period of {period} ns, shorter than its pulse of {lasts} ns")
        problems.refuse()
        object.__setattr__(self, "rate", rate)

    def onsets_ns(self) -> Iterator[int]:
        """When each pulse begins, from 0."""
        top, bottom = NS_PER_S * self.rate.denominator, self.rate.numerator
        return (-(-j * top // bottom) for j in range(self.n_pulses))


@dataclass(frozen=True, slots=True)
class Pattern:
    """Several sites that begin together, allowed or refused as one: a bipolar pair is a pattern of two pulses."""

    parts: tuple[Pulse | Train, ...]

    def __post_init__(self) -> None:
        problems = _Problems("pattern")
        parts: Any = self.parts
        if not isinstance(parts, tuple) or not all(isinstance(part, Pulse | Train) for part in parts):
            problems.found.append("parts must be a tuple of pulses and trains")
        elif not 0 < len(parts) <= MAX_PARTS:
            problems.found.append(f"parts are {len(parts)}, must be 1 to {MAX_PARTS}")
        elif len({pulse_of(part).site for part in parts}) < len(parts):
            problems.found.append("parts name a site twice")
        problems.refuse()


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing of what is under way comes any more; a pulse that has begun comes to its end, which balances it, and then
    the device is silenced. Allowed in every state."""


Command = Pulse | Train | Pattern | Stop


def pulse_of(part: Pulse | Train) -> Pulse:
    """The pulse of a part."""
    return part if isinstance(part, Pulse) else part.pulse


def schedule(command: Pulse | Train | Pattern) -> list[tuple[int, tuple[Pulse, ...]]]:
    """What the command means: (ns after its start, the pulses that begin then), in order of time."""
    together: dict[int, list[Pulse]] = {}
    for part in command.parts if isinstance(command, Pattern) else (command,):
        for onset in (0,) if isinstance(part, Pulse) else part.onsets_ns():
            together.setdefault(onset, []).append(pulse_of(part))
    return [(onset, tuple(together[onset])) for onset in sorted(together)]


def down_to_nA(value_uA: Number) -> Fraction:
    """The largest amplitude of whole nA that is not above `value_uA`: for a decoder's output, which is no such number.

    A choice of the caller, never made by the guard. NaN, infinity and bools are refused.
    """
    try:
        return Fraction(math.floor(exact(value_uA) * 1000), 1000)
    except ValueError as error:
        raise SpikeportError(
            f"amplitude {error}", hint="check the decoder's output before it becomes a command"
        ) from None


def to_message(command: Command) -> dict[str, Any]:
    """The command as plain JSON values in nA and ns."""
    if isinstance(command, Stop):
        return {"do": "stop"}
    parts = command.parts if isinstance(command, Pattern) else (command,)
    return {"do": "stimulate", "pattern": isinstance(command, Pattern), "parts": [_part_message(p) for p in parts]}


def _part_message(part: Pulse | Train) -> dict[str, Any]:
    pulse = pulse_of(part)
    message: dict[str, Any] = {
        "site": pulse.site,
        "polarity": pulse.polarity,
        "nA": [pulse.amplitude_nA, pulse.second_amplitude_nA],
        "ns": [pulse.width_ns, pulse.interphase_ns, pulse.second_width_ns],
    }
    if isinstance(part, Train):
        message |= {"n_pulses": int(part.n_pulses), "rate": to_wire(part.rate)}
    return message


def from_message(message: object) -> Command:
    """What `to_message` wrote, checked again: the other side is not trusted. SpikeportError otherwise."""
    if message == {"do": "stop"}:
        return Stop()
    try:
        if not isinstance(message, Mapping) or set(message) != {"do", "pattern", "parts"}:
            raise ValueError("has other fields than do, pattern, parts")
        if message["do"] != "stimulate" or not isinstance(message["parts"], list):
            raise ValueError("is no stimulate with a list of parts")
        parts = tuple(_read_part(part) for part in message["parts"][: MAX_PARTS + 1])
    except ValueError as error:
        raise SpikeportError(f"message: not a command, it {error}") from None
    return parts[0] if message["pattern"] is False and len(parts) == 1 else Pattern(parts)


def _read_part(part: object) -> Pulse | Train:
    shape = {"site", "polarity", "nA", "ns"}
    if not isinstance(part, Mapping) or set(part) not in (shape, shape | {"n_pulses", "rate"}):
        raise ValueError("has a part with other fields than a pulse or a train has")
    nA, ns = part["nA"], part["ns"]
    if not isinstance(nA, list) or len(nA) != 2 or not isinstance(ns, list) or len(ns) != 3:
        raise ValueError("has a part without two amplitudes and three times")
    if any(type(number) is not int for number in (*nA, *ns)):
        raise ValueError("has an amplitude or a time that is no whole number")
    pulse = Pulse(
        site=part["site"],
        polarity=part["polarity"],
        amplitude_uA=Fraction(nA[0], 1000),
        second_amplitude_uA=Fraction(nA[1], 1000),
        width_us=Fraction(ns[0], NS_PER_US),
        interphase_us=Fraction(ns[1], NS_PER_US),
        second_width_us=Fraction(ns[2], NS_PER_US),
    )
    if "rate" not in part:
        return pulse
    return Train(pulse=pulse, n_pulses=part["n_pulses"], rate_hz=from_wire(part["rate"]))
