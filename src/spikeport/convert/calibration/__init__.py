"""Calibrated conversion: the f-I curve of each LIF unit matched to phi, then corrected in the closed loop."""

from __future__ import annotations

from spikeport.convert.calibration.calibrate import MAX_RATE_HZ, Calibration, calibrate
from spikeport.convert.calibration.curves import Curve, fi_curve
from spikeport.convert.calibration.rounds import Round
from spikeport.convert.calibration.units import Units

__all__ = ["MAX_RATE_HZ", "Calibration", "Curve", "Round", "Units", "calibrate", "fi_curve"]
