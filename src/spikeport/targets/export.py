"""Exporting: a spiking network, or a rate network, into a file that another tool reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from spikeport.snn.errors import RefusedError
from spikeport.snn.files import kind_of, load_rate_network, load_spiking_network
from spikeport.snn.hdf5 import is_hdf5
from spikeport.snn.losses import Loss
from spikeport.snn.rate import RateNetwork
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.writing import check_writable
from spikeport.targets.base import Exporter, Lowering, check_choices
from spikeport.targets.checking import exporter


@dataclass(frozen=True, kw_only=True)
class Export:
    """What was written, and what it gave up, with permission. beside: files that belong to `path`.

    costs: what it takes where it runs, where the target can tell (bytes, operations of a step).  notes: what whoever
    reads the file must know, by name.
    """

    target: str
    path: Path
    beside: tuple[Path, ...]
    losses: tuple[Loss, ...]
    choices: dict[str, str]
    costs: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """What `spikeport export --json` prints."""
        losses = [{"what": loss.what, "where": loss.where, "how_much": loss.how_much} for loss in self.losses]
        beside = [str(path) for path in self.beside]
        return {"target": self.target, "output": str(self.path), "beside": beside, "losses": losses,
                "choices": self.choices, "costs": dict(self.costs), "notes": dict(self.notes)}  # fmt: skip


@runtime_checkable
class RateExporter(Exporter, Protocol):
    """A target that writes rate networks too."""

    def export_rate(self, network: RateNetwork, path: Path, *, overwrite: bool = False, **choices: str) -> Path: ...


@runtime_checkable
class Costed(Exporter, Protocol):
    """A target that can tell what its file takes, before it runs."""

    def costs(self, lowering: Lowering) -> Mapping[str, Any]: ...


def export_network(
    network: SpikingNetwork | RateNetwork | str | Path,
    target: str,
    path: str | Path,
    *,
    allow: Collection[str] = (),
    overwrite: bool = False,
    **choices: str,
) -> Export:
    """Write `network` for `target`, whole or not at all; refused, with every reason, where it cannot be said exactly.

    network: spiking or rate, or one of our files of either.
    allow: what may be given up, by feature; each is a loss.  choices: the target's own (`spikeport targets`).
    """
    to = exporter(target)
    check_writable(path, overwrite)
    network = _load(network) if isinstance(network, (str, Path)) else network
    chosen = check_choices(to, choices)
    if isinstance(network, RateNetwork):
        if not isinstance(to, RateExporter):
            raise RefusedError(
                f"{to.name}: cannot take a rate network, only spiking ones",
                hint="spikeport convert FILE --task TASK -o net.h5   makes it spike",
            )
        written = to.export_rate(network, Path(path), overwrite=overwrite, **chosen)
        return Export(target=target, path=written, beside=(), losses=(), choices=chosen)
    lowering = to.lower(network, allow=allow, **chosen)
    written = to.export(lowering, Path(path), overwrite=overwrite)
    beside = tuple(written.with_suffix(suffix) for suffix in to.beside)
    costs = to.costs(lowering) if isinstance(to, Costed) else {}
    notes = lowering.settings.get("notes", {})
    return Export(
        target=target, path=written, beside=beside, losses=lowering.losses, choices=chosen, costs=costs, notes=notes
    )  # fmt: skip


def _load(path: str | Path) -> SpikingNetwork | RateNetwork:
    """What one of our files holds; anything but a rate network is read, or refused, as a spiking one."""
    file = Path(path)
    if file.is_file() and is_hdf5(file) and kind_of(file) == "rate-network":
        return load_rate_network(file)
    return load_spiking_network(file)
