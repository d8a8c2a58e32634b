"""`convert --for CHIP`: what the options mean there, and which do not go together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from spikeport import show
from spikeport.commands import choices, emit, names
from spikeport.snn.errors import SpikeportError

Chip = Annotated[
    str | None,
    typer.Option("--for", help="A chip: search in its own integers, at 1 ms; what it lacks is given up, by name."),
]
Bits = Annotated[
    str | None,
    typer.Option(help="A,B,C: bits of a weight, with --for; prints accuracy against bits, keeps that of the most."),
]
UNUSED = {  # option -> its default, and why a chip has no use for it
    "bracket": (None, "takes a --grid"),
    "objective": ("accuracy", "is judged by accuracy"),
    "fast": (False, "runs every candidate to the end, to pair it with float"),
    "dtype": ("float32", "computes in its own integers"),
    "scheduler": (None, "is emulated here"),
}


def convert_for_chip(
    model: Path, task: str, output: Path | None, *, chip: str | None, bits: str | None, more: list[str] | None,
    method: str, max_rate: float | None, given: Mapping[str, Any], force: bool, as_json: bool,
) -> int:  # fmt: skip
    """The verb `convert` where --for names a chip; given: convert's other options, as convert_network has them."""
    from spikeport.chips import search_on_chip
    from spikeport.convert.sources import load_source
    from spikeport.show_chips import chip_search
    from spikeport.snn.files import save_spiking_network
    from spikeport.targets.registry import TARGETS, get_target

    if chip is None:
        said = [option for option, value in (("--bits", bits), ("--set", more)) if value]
        raise SpikeportError(
            f"{' and '.join(said)}: a setting of a chip, and none is named", hint="--for loihi --bits 8"
        )
    unused = UNUSED if method == "lambda" else {name: why for name, why in UNUSED.items() if name != "bracket"}
    wrong = [f"--{name}: {chip} {why}" for name, (default, why) in unused.items() if given[name] != default]
    if wrong:
        raise SpikeportError("convert --for: these options are of the search in floating point", wrong)
    if bits is not None and "bits" not in get_target(chip).choices:
        able = [name for name in TARGETS if "bits" in get_target(name).choices]
        raise SpikeportError(
            f"--bits: {chip} has no such choice, its weights have one width", [f"those that have: {', '.join(able)}"],
            hint=f"--for {chip}   alone",
        )  # fmt: skip
    options = {name: value for name, value in given.items() if name not in unused}
    with show.progress() as report:
        found = search_on_chip(
            load_source(model), task, chip, method=method, max_rate=max_rate, variants=variants(bits, more),
            progress=report, **options,
        )  # fmt: skip
    kept = found.rows[0]
    if output is not None:
        save_spiking_network(kept.network, output, overwrite=force)
    said_all = found.as_dict() | {"output": None if output is None else str(output)}
    emit(said_all, lambda said: chip_search(said, task=task), as_json)
    return 0


def variants(bits: str | None, more: list[str] | None) -> list[dict[str, str]]:
    """The settings of the chip to try, the most bits first; --set holds for all of them."""
    fixed = choices(more)
    if bits is None:
        return [fixed]
    listed = names(bits)
    wrong = [f"'{b}' is no number" for b in listed if not b.isdecimal()]
    wrong += ["none is given"] if not listed else []
    wrong += ["--set bits names them too"] if "bits" in fixed else []
    if wrong:
        raise SpikeportError(f"--bits {bits}: cannot be", wrong, hint="--bits 4,6,8")
    return [{**fixed, "bits": str(b)} for b in sorted({int(b) for b in listed}, reverse=True)]
