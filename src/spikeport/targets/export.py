"""Exporting: a spiking network into a file that another tool reads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikeport.snn.files import load_spiking_network
from spikeport.snn.losses import Loss
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.writing import check_writable
from spikeport.targets.base import check_choices
from spikeport.targets.checking import exporter


@dataclass(frozen=True, kw_only=True)
class Export:
    """What was written, and what it gave up, with permission."""

    target: str
    path: Path
    losses: tuple[Loss, ...]
    choices: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """What `spikeport export --json` prints."""
        losses = [{"what": loss.what, "where": loss.where, "how_much": loss.how_much} for loss in self.losses]
        return {"target": self.target, "output": str(self.path), "losses": losses, "choices": self.choices}


def export_network(
    network: SpikingNetwork | str | Path,
    target: str,
    path: str | Path,
    *,
    allow: Collection[str] = (),
    overwrite: bool = False,
    **choices: str,
) -> Export:
    """Write `network` for `target`, whole or not at all; refused, with every reason, where it cannot be said exactly.

    allow: what may be given up, by feature; each is a loss.  choices: the target's own (`spikeport targets`).
    """
    to = exporter(target)
    check_writable(path, overwrite)
    network = network if isinstance(network, SpikingNetwork) else load_spiking_network(network)
    chosen = check_choices(to, choices)
    lowering = to.lower(network, allow=allow, **chosen)
    written = to.export(lowering, Path(path), overwrite=overwrite)
    return Export(target=target, path=written, losses=lowering.losses, choices=chosen)
