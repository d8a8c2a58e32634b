"""The top of the ladder below the rate model: the spiking network as the transfer meant it, before anything else."""

from __future__ import annotations

from spikeport.convert.attribution.steps import at_dt, comparable
from spikeport.convert.calibration.units import rebuild
from spikeport.convert.presets import PRESETS, PUBLISHED_DT
from spikeport.convert.transfer import transfer
from spikeport.snn.errors import SpikeportError
from spikeport.snn.rate import RateNetwork
from spikeport.snn.spiking import SpikingNetwork


def ideal_of(source: RateNetwork, network: SpikingNetwork) -> tuple[SpikingNetwork, str]:
    """The network that `network` descends from, and what it is in words.

    Where its provenance names the published transfer: that transfer of `source`, with the preset's own settings, at the
    same lambda. Where it names a calibration, or a fine-tuning, which starts from one: what the calibration made, at
    its own dt. Otherwise the network itself at the published step, where its own is longer: then weights and settings
    cannot be judged, and the words say so.
    """
    said = network.provenance
    preset, inverse = said.get("preset"), said.get("inverse_lambda")
    if said.get("method") == "lambda" and preset in PRESETS and isinstance(inverse, float | int):
        try:
            made = transfer(source, float(inverse), preset=str(preset))
        except SpikeportError:  # a network that this rate model cannot have made
            made = None
        if made is not None and comparable(made, network):
            return made, f"the transfer with preset {preset} at 1/lambda {inverse:g}, dt {made.dt * 1e3:g} ms"
    if said.get("method") in ("calibrated", "finetuned"):
        try:
            made = rebuild(source, network)
        except SpikeportError:
            made = None
        if made is not None and comparable(made, network):
            return made, f"the calibrated network, as its calibration made it for dt {made.dt * 1e3:g} ms"
    unknown = "its weights and settings are taken as they are: its provenance names no transfer of this model"
    if network.dt > PUBLISHED_DT:
        return at_dt(network, PUBLISHED_DT), f"the network at dt {PUBLISHED_DT * 1e3:g} ms; {unknown}"
    return network, f"the network itself; {unknown}"
