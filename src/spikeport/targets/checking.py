"""What targets say of a network before anything runs; and what is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikeport.snn.errors import MissingDependencyError, SpikeportError, UnsupportedError
from spikeport.snn.files import load_spiking_network
from spikeport.snn.losses import Loss
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.base import Exporter, Runner, Target, check_choices
from spikeport.targets.registry import TARGETS, get_target


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a target says of a network: it takes it (with losses), or refuses it with every problem.

    missing: the modules that are not installed; a verdict needs none of them.
    """

    target: str
    problems: tuple[str, ...]
    losses: tuple[Loss, ...]
    missing: tuple[str, ...]
    hint: str = ""

    @property
    def takes(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """A row of `spikeport check --json`."""
        losses = [{"what": loss.what, "where": loss.where, "how_much": loss.how_much} for loss in self.losses]
        return {"target": self.target, "takes": self.takes, "problems": list(self.problems), "losses": losses,
                "installed": not self.missing, "hint": self.hint}  # fmt: skip


def check_network(
    network: SpikingNetwork | str | Path,
    targets: Sequence[str] | None = None,
    *,
    allow: Collection[str] = (),
    **choices: str,
) -> tuple[Verdict, ...]:
    """What each target says of `network`, without running it or importing its framework; default: every target.

    choices: each goes to the targets that have it, or, as "loihi.bits", to that target alone.
    """
    network = network if isinstance(network, SpikingNetwork) else load_spiking_network(network)
    asked = [get_target(name) for name in (TARGETS if targets is None else targets)]
    mine = shared_choices(asked, choices)
    return tuple(_verdict(target, network, allow, mine[target.name]) for target in asked)


def shared_choices(targets: Sequence[Target], choices: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """target -> its own of `choices`: NAME goes to every target that has it, TARGET.NAME to that one, and wins there.

    What no target has is refused; so is a value that a target does not know.
    """
    found: dict[str, dict[str, str]] = {}
    for target in targets:
        alone = {
            name: choices[f"{target.name}.{name}"] for name in target.choices if f"{target.name}.{name}" in choices
        }
        found[target.name] = {name: value for name, value in choices.items() if name in target.choices} | alone
    known = {name for t in targets for own in t.choices for name in (own, f"{t.name}.{own}")}
    homeless = [name for name in choices if name not in known]
    if homeless:
        raise SpikeportError(
            f"{', '.join(homeless)}: none of these targets has such a choice",
            [f"there are: {', '.join(sorted(known)) or 'none'}"],
            hint="spikeport targets",
        )
    for target in targets:
        check_choices(target, found[target.name])
    return found


def _verdict(target: Target, network: SpikingNetwork, allow: Collection[str], choices: dict[str, str]) -> Verdict:
    missing = missing_modules(target)
    try:
        lowering = target.lower(network, allow=allow, **check_choices(target, choices))
    except UnsupportedError as refusal:
        return Verdict(target=target.name, problems=refusal.problems, losses=(), missing=missing, hint=refusal.hint)
    return Verdict(target=target.name, problems=(), losses=lowering.losses, missing=missing)


def missing_modules(target: Target) -> tuple[str, ...]:
    """What the target needs and is not installed; nothing is imported."""
    return tuple(name for name in target.requires if importlib.util.find_spec(name) is None)


def need_installed(target: Target) -> None:
    """MissingDependencyError, with the pip line, where something that the target runs on is not there."""
    missing = missing_modules(target)
    if missing:
        raise MissingDependencyError.for_extra(", ".join(missing), target.extra, f"target {target.name}")


def runner(name: str) -> Runner:
    """The target of that name, if it simulates and is installed."""
    target = get_target(name)
    if not isinstance(target, Runner):
        raise SpikeportError(
            f"target {name} does not run networks, it writes files", hint=f"spikeport export FILE --target {name}"
        )
    need_installed(target)
    return target


def exporter(name: str) -> Exporter:
    """The target of that name, if it writes files and is installed."""
    target = get_target(name)
    if not isinstance(target, Exporter):
        raise SpikeportError(
            f"target {name} writes no files, it runs networks", hint=f"spikeport run FILE --target {name}"
        )
    need_installed(target)
    return target


def list_targets() -> list[dict[str, Any]]:
    """A row for each target: what it does, what it needs, what it may be told. Nothing is imported."""
    rows = []
    for target in map(get_target, TARGETS):
        missing = missing_modules(target)
        rows.append({
            "target": target.name, "summary": target.summary, "runs": isinstance(target, Runner),
            "exports": isinstance(target, Exporter), "extra": target.extra, "installed": not missing,
            "fix": f'pip install "spikeport[{target.extra}]"' if missing else None,
            "dtypes": list(target.capabilities.dtypes), "devices": list(target.capabilities.devices),
            "choices": {name: list(values) for name, values in target.choices.items()},
            "source": target.capabilities.source,
        })  # fmt: skip
    return rows
