"""Targets: where a spiking network can go.

    lower   SpikingNetwork -> Lowering: the network as the target will be told it, and what was lost on the way
    run     Lowering, inputs -> Recording, already in the source's units      (a Runner)
    export  Lowering -> files                                                 (an Exporter)

A target either gives the reference's spikes, or gives them with each approximation named in `losses`, or refuses with
every reason. An approximation is made only where the caller allows it by the name of the feature that it gives up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.losses import Loss
from spikeport.snn.neurons import Array
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.approximations import APPROXIMATIONS, Shortest, approximate, longer_delays
from spikeport.targets.capabilities import Capabilities, Problem

OTHERS = "spikeport check FILE --all-targets   shows which targets can"


@dataclass(frozen=True, kw_only=True)
class Lowering:
    """`source` as `target` will be told it.

    network: with the same inputs and population names, and the same spikes but for `losses`.  scale: population ->
    (offset, factor), (n,) or numbers, in mV: v of the source is offset + factor v of the network (default: equal).
    settings: what the target wants to remember.
    """

    target: str
    source: SpikingNetwork
    network: SpikingNetwork
    losses: tuple[Loss, ...] = ()
    scale: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def invert(self, recording: Recording) -> Recording:
        """A recording of `network`, in the source's units: traces in mV; spikes and outputs are the same."""
        traces = {}
        for name, values in recording.traces.items():
            population, what = name.rsplit(".", 1)  # a population may have a dot in its name
            offset, factor = self.scale.get(population, (np.float64(0), np.float64(1)))
            traces[name] = values * factor + (offset if what == "v" else 0.0)
        return replace(recording, traces=traces)

    def forward_v(self, population: str, v: Array) -> Array:
        """v of the source's `population`, mV, in the units of `network`."""
        offset, factor = self.scale.get(population, (np.float64(0), np.float64(1)))
        return np.asarray((v - offset) / factor)

    def forward_noise(self, population: str, added: Array) -> Array:
        """Noise of a step, mV, in the units of `network`."""
        return np.asarray(added / self.scale.get(population, (np.float64(0), np.float64(1)))[1])


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run; everything is in the source network's terms.

    n_steps, n_batch: default from the inputs.  first_trial: the key of the first trial's noise and v0.  v0: population
    -> (n,) or (batch, n) mV.  noise_values: population -> (time, batch, n) mV instead of drawn noise.  record: traces,
    "population.v" (before the reset).
    """

    n_steps: int | None = None
    n_batch: int | None = None
    seed: int = 0
    first_trial: int = 0
    with_noise: bool = True
    v0: Mapping[str, Array] | None = None
    noise_values: Mapping[str, Array] | None = None
    record: Collection[str] = ()
    dtype: str = "float64"
    device: str = "cpu"


@runtime_checkable
class Target(Protocol):
    """What every target declares; nothing here imports its framework.

    extra: the one in pyproject.toml; requires: the modules it needs, as imported.  choices: option of `lower` -> its
    values, the default first.  problems: what it cannot take (the generic check of its capabilities, and whatever only
    the target knows).  lower: RefusedError where a problem is left that `allow` does not give up.
    """

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def extra(self) -> str: ...
    @property
    def requires(self) -> tuple[str, ...]: ...
    @property
    def choices(self) -> Mapping[str, tuple[str, ...]]: ...
    @property
    def capabilities(self) -> Capabilities: ...

    def problems(self, network: SpikingNetwork, **choices: str) -> tuple[Problem, ...]: ...

    def lower(self, network: SpikingNetwork, *, allow: Collection[str] = (), **choices: str) -> Lowering: ...


@runtime_checkable
class Runner(Target, Protocol):
    """A target that simulates."""

    def run(self, lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording: ...


@runtime_checkable
class Exporter(Target, Protocol):
    """A target that writes a file. suffix: what its name ends with, say ".onnx"; beside: of files that go with it."""

    @property
    def suffix(self) -> str: ...
    @property
    def beside(self) -> tuple[str, ...]: ...

    def export(self, lowering: Lowering, path: Path, *, overwrite: bool = False) -> Path: ...


def approximated(
    target: Target,
    network: SpikingNetwork,
    allow: Collection[str],
    shortest: Shortest | None = None,
    /,
    **choices: str,
) -> tuple[SpikingNetwork, tuple[Loss, ...]]:
    """`network` with what the target lacks given up where `allow` names it; refused where anything is left.

    shortest: the shortest delay that the target takes, where it differs between projections.
    "precision" is given up by the target itself: after this it rounds to its own integers, and adds what that costs. So
    is what else a target names in `gives_up`: "held_via", where its host makes counts of spikes of held values.
    """
    unknown = sorted(set(allow) - APPROXIMATIONS.keys())
    if unknown:
        known = ", ".join(APPROXIMATIONS)
        raise SpikeportError(f"allow: {', '.join(unknown)} is no approximation", [f"there are: {known}"])
    lacking = {p.feature for p in target.problems(network, **choices)}
    reduced, losses = approximate(network, lacking & set(allow))
    if "min_delay" in allow:
        reduced, late = longer_delays(reduced, shortest or (lambda _, j: target.capabilities.min_delay))
        losses += late
    own: frozenset[str] = getattr(target, "gives_up", frozenset({"precision"}))
    left = [p for p in target.problems(reduced, **choices) if p.feature not in own & set(allow)]
    refuse(target.name, network, left, APPROXIMATIONS.keys() - ({"held_via"} - own))
    return reduced, losses


def refuse(
    target: str, network: SpikingNetwork, problems: Collection[Problem], known: Collection[str] = APPROXIMATIONS.keys()
) -> None:
    """Raise RefusedError with every problem, and the way out where one of the approximations `known` would do."""
    if not problems:
        return
    ways = sorted({p.feature for p in problems} & set(known))
    raise RefusedError(
        f"{target}: cannot take {title(network)}",
        [str(p) for p in problems],
        hint=f"--allow {','.join(ways)}   gives that up, as a named loss" if ways else OTHERS,
    )


def title(network: SpikingNetwork) -> str:
    """What to call a network in a message."""
    source = network.provenance.get("source")
    file = source.get("file") if isinstance(source, Mapping) else None
    return f"the network made from '{file}'" if file else "this network"


def run_problems(target: Target, dtype: str, device: str) -> list[str]:
    """Why the target cannot compute in `dtype` on `device`, by its capabilities."""
    can, found = target.capabilities, []
    # a target of integers has no dtype to choose, so what a run has by default means its own
    if dtype not in can.dtypes and (can.precision or dtype != RunOptions.dtype):
        found.append(f"dtype '{dtype}': target {target.name} has {', '.join(can.dtypes)}")
    if device not in can.devices:
        found.append(f"device '{device}': target {target.name} has {', '.join(can.devices)}")
    return found


def check_choices(target: Target, choices: Mapping[str, str]) -> dict[str, str]:
    """`choices` with the defaults filled in; an unknown name or value is refused."""
    wrong = [f"{name}: {target.name} has no such choice" for name in choices if name not in target.choices]
    wrong += [f"{name}: '{choices[name]}', must be one of {', '.join(known)}"
              for name, known in target.choices.items() if name in choices and choices[name] not in known]  # fmt: skip
    if wrong:
        able = "; ".join(f"{name} ({', '.join(known)})" for name, known in target.choices.items())
        raise SpikeportError(f"{target.name}: cannot do that", wrong, hint=f"its choices: {able or 'none'}")
    return {name: known[0] for name, known in target.choices.items()} | dict(choices)
