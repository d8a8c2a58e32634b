"""The target `c`: one step as a self-contained C99 file, and its run on this machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import SpikeportError
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.writing import write_whole
from spikeport.targets.base import Lowering, RunOptions, approximated, run_problems
from spikeport.targets.c.source import Source, float_source
from spikeport.targets.capabilities import Capabilities, Problem, check

CAPABILITIES = Capabilities(
    dtypes=("float64", "float32"),
    source="ISO C99 (ISO/IEC 9899:1999) on a machine whose float and double are those of IEEE 754",
)


def _choices() -> dict[str, tuple[str, ...]]:
    return {"dtype": ("float32", "float64"), "weights": ("auto", "dense", "sparse"), "noise": ("philox", "none")}


@dataclass(frozen=True, kw_only=True)
class CTarget:
    """A C99 file: fixed-size state, no heap, constant tables; every network, exactly.

    dtype: of the file (a run has its own).  weights: "auto" is the smaller of dense and sparse, projection by
    projection.  noise: "philox", the network's own, number for number, from the generator of snn/noise.py in C; "none":
    the file has no generator, and a noisy network is refused unless noise is given up by name (allow).
    """

    name: str = "c"
    summary: str = (
        "self-contained C99 file of one step, without a heap, for a microcontroller; run here by a C compiler"
    )
    extra: str = ""
    requires: tuple[str, ...] = ()
    suffix: str = ".c"
    beside: tuple[str, ...] = ()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=_choices)
    capabilities: Capabilities = CAPABILITIES

    def problems(self, network: SpikingNetwork, **choices: str) -> tuple[Problem, ...]:
        return check(network, replace(self.capabilities, noise=choices.get("noise", "philox") == "philox"))

    def lower(self, network: SpikingNetwork, *, allow: Collection[str] = (), **choices: str) -> Lowering:
        lowered, losses = approximated(self, network, allow, **choices)
        settings = {name: known[0] for name, known in self.choices.items()} | choices
        return Lowering(target=self.name, source=network, network=lowered, losses=losses, settings=settings)

    def run(self, lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
        from spikeport.targets.c.running import run_compiled

        problems = run_problems(self, options.dtype, options.device)
        if problems:
            raise SpikeportError("c: cannot run so", problems, hint="spikeport targets")
        return run_compiled(lowering, inputs, options, lowering.settings["weights"])

    def source(self, lowering: Lowering) -> Source:
        """The file's text, and what it costs."""
        return float_source(lowering.network, lowering.settings["dtype"], lowering.settings["weights"])

    def export(self, lowering: Lowering, path: Path, *, overwrite: bool = False) -> Path:
        written = self.source(lowering)
        with write_whole(path, overwrite) as part:
            part.write_text(written.text, encoding="ascii")
        return path

    def costs(self, lowering: Lowering) -> Mapping[str, Any]:
        """Bytes and operations, as `spikeport export` prints them."""
        return self.source(lowering).sizes.as_dict()


C = CTarget()
