"""The target `onnx`: the canonical step as an ONNX graph, written to a file or run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import SpikeportError
from spikeport.snn.rate import RateNetwork
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.base import Lowering, RunOptions, approximated
from spikeport.targets.capabilities import Capabilities, Problem, check
from spikeport.targets.onnx import model, rate, runtime
from spikeport.targets.onnx.network import FORMS, describe, network_form, noisy_populations

DTYPES = ("float64", "float32")


CAPABILITIES = Capabilities(
    dtypes=DTYPES,  # what ONNX Runtime's CPU kernels of these operators have: its docs/OperatorKernels.md
    devices=("cpu",),  # the graph itself names no device; this is where `run` runs it, and where it was tested
    source="ONNX operators, opset 13: github.com/onnx/onnx docs/Operators.md",
)


def _choices() -> dict[str, tuple[str, ...]]:
    return {"form": FORMS, "dtype": DTYPES, "traces": ("none", "v")}


@dataclass(frozen=True, kw_only=True)
class ONNX:
    """The whole step as a graph of standard operators, so it takes every network that fits into one file.

    form: "sequence" (one Scan over time) or "step"; `run` uses the same form.  dtype: of the file (a run has its own).
    traces: "v" also puts out v before the reset.
    """

    name: str = "onnx"
    summary: str = "ONNX graph of the whole network, for any ONNX runtime; run by ONNX Runtime (CPU)"
    extra: str = "onnx"
    requires: tuple[str, ...] = ("onnx", "onnxruntime")
    suffix: str = ".onnx"
    beside: tuple[str, ...] = ()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=_choices)
    capabilities: Capabilities = CAPABILITIES

    def problems(self, network: SpikingNetwork, **choices: str) -> tuple[Problem, ...]:
        found = check(network, self.capabilities)
        size = weight_bytes(network, choices.get("dtype", DTYPES[0]))
        if size > model.MAX_BYTES:
            value, limit = f"{size / 2**30:.2f} GiB of weights", "an ONNX file holds 2 GiB (a protobuf message)"
            found += (Problem(feature="neurons", where="network: neurons", value=value, limit=limit),)
        return found

    def lower(self, network: SpikingNetwork, *, allow: Collection[str] = (), **choices: str) -> Lowering:
        lowered, losses = approximated(self, network, allow, **choices)
        settings = {name: known[0] for name, known in self.choices.items()} | choices
        return Lowering(target=self.name, source=network, network=lowered, losses=losses, settings=settings)

    def run(self, lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
        wrong = [f"dtype '{options.dtype}': there are {', '.join(DTYPES)}"] * (options.dtype not in DTYPES)
        wrong += [f"device '{options.device}': there is cpu"] * (options.device not in self.capabilities.devices)
        if wrong:
            raise SpikeportError("onnx: cannot run so", wrong, hint="spikeport targets")
        return runtime.run_graph(lowering, inputs, options, lowering.settings.get("form", FORMS[0]))

    def export(self, lowering: Lowering, path: Path, *, overwrite: bool = False) -> Path:
        chosen = {name: known[0] for name, known in self.choices.items()} | dict(lowering.settings)
        net, kind, dtype = lowering.network, chosen["form"], chosen["dtype"]
        traces = [f"{p.name}.v" for p in net.populations] if chosen["traces"] == "v" else []
        form = network_form(net, kind, dtype, noise=noisy_populations(net), traces=traces)
        written = model.to_model(form.graph, describe(net, form, kind, dtype))
        return model.write_model(written, path, overwrite)

    def export_rate(self, network: RateNetwork, path: Path, *, overwrite: bool = False, **choices: str) -> Path:
        """A rate network instead of a spiking one."""
        chosen = {name: known[0] for name, known in self.choices.items()} | choices
        if chosen["traces"] != "none":
            raise SpikeportError("onnx: traces: a rate network has no v", hint="form step, which puts out its rates r")
        return rate.export_rate(network, path, form=chosen["form"], dtype=chosen["dtype"], overwrite=overwrite)


def weight_bytes(network: SpikingNetwork, dtype: str) -> int:
    """Bytes of all weights of `network` in a file."""
    weights = [p.weight for p in network.projections] + [r.weight for r in network.readouts]
    return sum(w.size for w in weights) * (8 if dtype == "float64" else 4)
