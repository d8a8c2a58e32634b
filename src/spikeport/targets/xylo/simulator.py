"""XyloSim itself, told a chip: SynSense's simulator, where `xylosim` is installed (extra `xylo`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from spikeport.snn.errors import MissingDependencyError, SpikeportError
from spikeport.targets.fixed_point.integers import Ints
from spikeport.targets.xylo.chip import Chip, Readouts


@dataclass(frozen=True)
class Simulator:
    """A xylosim.v2.XyloLayer, and the synapses that it points to: without them it crashes."""

    layer: Any
    synapses: Any

    def evolve(self, given: Ints) -> dict[str, Ints]:
        """One trial from v = 0; given: (time, channels) counts. What step.simulate gives."""
        self.layer.reset_all()
        z_out = self.layer.evolve(np.asarray(given).astype(int).tolist())
        hidden = {name: np.array(getattr(self.layer, f"rec_{at}")).T for name, at in _STATES.items()}
        return {
            "z": np.array(self.layer.rec_recurrent_spikes), "z_out": np.array(z_out), "v": hidden["v"],
            "i": np.stack([hidden["i_1"], hidden["i_2"]], axis=2), "v_out": hidden["v_out"],
            "i_out": hidden["i_out"][:, :, None],
        }  # fmt: skip


_STATES = {"v": "v_mem", "i_1": "i_syn", "i_2": "i_syn2", "v_out": "v_mem_out", "i_out": "i_syn_out"}


def simulator(chip: Chip) -> Simulator:
    """XyloSim with this chip; it has no v0, so one that is not 0 is refused. A chip without read-out neurons gets one,
    which nothing reaches."""
    try:
        from xylosim.v2 import XyloLayer, XyloSynapse
    except ImportError as error:
        raise MissingDependencyError.for_extra("xylosim", "xylo", "XyloSim") from error
    if chip.whole("v0").any():
        raise SpikeportError("XyloSim starts at v = 0", [f"v0: up to {np.abs(chip.whole('v0')).max()}"])

    def lists(weight: Any) -> list[list[Any]]:
        """A list of synapses for each source, of weight (sources, targets, synapses)."""
        return [
            [XyloSynapse(int(t), int(s), int(w[t, s])) for t, s in zip(*np.nonzero(w), strict=True)] for w in weight
        ]

    out = _idle(chip.n) if chip.readouts is None else chip.readouts
    synapses = lists(chip.weights_in), lists(chip.weights_rec), lists(out.weight[:, :, None])
    found = XyloLayer(
        synapses_in=synapses[0], synapses_rec=synapses[1], synapses_out=synapses[2], aliases=[[]] * chip.n,
        has_bias=True, weight_shift_inp=chip.shift_in, weight_shift_rec=chip.shift_rec, weight_shift_out=out.shift,
        dash_syns_out=_numbers(out.dash_syn[:, None]), name="spikeport",
        **{name: _numbers(chip.whole(name)) for name in ("threshold", "bias", "dash_mem")},
        **{f"{name}_out": _numbers(getattr(out, name)) for name in ("threshold", "bias", "dash_mem")},
        dash_syns=_numbers(chip.whole("dash_syn")),
    )  # fmt: skip
    return Simulator(found, synapses)


def _numbers(values: Any) -> Any:
    return np.asarray(values).astype(int).tolist()


def _idle(n: int) -> Readouts:
    zero = np.zeros(1, dtype=np.int64)
    return Readouts(weight=np.zeros((n, 1), dtype=np.int8), dash_mem=zero, dash_syn=zero, threshold=zero + 1, bias=zero)
